"""Numbers in; the plain words and figures that stand on the page out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from elsewhere.audit_rows import RuleRow
from elsewhere.pages.report.content import Model, Report, Study
from elsewhere.pages.report.records import KINS, kin_of, number, one_class, value_in
from elsewhere.rows import ProductScoreRow, ScoreRow
from elsewhere.statistics.confounding import MEASURED
from elsewhere.statistics.permutation import p_value, rounded_floor
from elsewhere.wording import decimals, numbered, verb

NOT_MEASURED = "not measured"
ODD_SCANS = "rules of metadata and simple measures, and odd scans"
"""What the audit makes, as `Study.absent` names it where the audit did not run."""

SURE = 0.05
"""A rule of metadata is drawn full at this p or below."""

COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def figure(value: Any, digits: int = 2) -> str:
    """A number as the page prints it, an en dash where there is none."""
    found = number(value)
    return "–" if found is None else f"{found:.{digits}f}"


def interval(low: Any, high: Any, digits: int = 2) -> str:
    """Both ends, "" where there is none."""
    return "" if number(low) is None or number(high) is None else f"{figure(low, digits)}–{figure(high, digits)}"


WHOLE_SCALE = (0.05, 0.95)
"""An interval of an AUC or a share that reaches from below the one to above the other tells nothing."""


def estimate(value: Any, low: Any, high: Any, digits: int = 2) -> str:
    """An AUC or a share and its interval in brackets; no number where the interval is the whole scale."""
    ends = interval(low, high, digits)
    if ends and low <= WHOLE_SCALE[0] and high >= WHOLE_SCALE[1]:
        return f"cannot tell ({ends})"
    return figure(value, digits) + (f" ({ends})" if ends else "")


def signed(value: Any, digits: int = 2) -> str:
    """A number with its sign, a true minus; 0 without one, and an en dash where there is no number."""
    found = number(value)
    if found is None:
        return "–"
    text = f"{found:+.{digits}f}".replace("-", "−")
    return text if set(text) & set("123456789") else text[1:]


def signed_ends(low: Any, high: Any) -> str:
    """Both ends of an interval, "+0.004 to +0.15": one that is not 0 is not printed as 0."""
    digits = decimals(*(end for end in (number(low), number(high)) if end is not None))
    return f"{signed(low, digits)} to {signed(high, digits)}"


def spread(mean: Any, deviation: Any) -> str:
    """Mean ± standard deviation with the paper's three digits."""
    return "–" if number(mean) is None else f"{figure(mean, 3)} ± {figure(deviation, 3)}"


def count(how_many: int, what: str, several: str = "") -> str:
    """ "three models", "1 model" becomes "one model"; `several` where the plural is not made with s."""
    word = COUNTS[how_many] if how_many < len(COUNTS) else f"{how_many:,}"
    return f"{word} {what if how_many == 1 else several or what + 's'}"


def listed(names: Sequence[str]) -> str:
    """ "A, B and C"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def spaced(model: str) -> str:
    """A model's name with room to wrap: "A+B" becomes "A + B"."""
    return " + ".join(part.strip() for part in model.split("+"))


def shown_name(model: Model) -> str:
    """A model's name as it is printed: "A + B", or "A + B, mean of 5 folds"."""
    name = spaced(model.name.partition("~")[0] if model.folds else model.name)
    return f"{name}, mean of {model.folds} folds" if model.folds else name


def one_class_words(row: ScoreRow | ProductScoreRow) -> tuple[str, str, str]:
    """What a one-class cell says instead of an AUC: ("positives only", "no AUC", "sensitivity 0.53 (0.36–0.69)")."""
    kind = one_class(row)
    rate = "sensitivity" if kind == "positive" else "specificity"
    return f"{kind}s only", "no AUC", f"{rate} {estimate(getattr(row, rate), *_ends(row, rate))}"


def threshold_words(row: ScoreRow | None) -> str:
    """ "t = 0.47", or "argmax" when the best threshold was trivial."""
    if row is None or number(row.threshold) is None:
        return ""
    return "argmax" if row.threshold_rule == "argmax" else f"t = {figure(row.threshold)}"


def rule_sees(rules: Sequence[RuleRow]) -> str:
    """What these rules know: "metadata", or "metadata or simple measures of the picture" where one was measured."""
    facts = {name for rule in rules for name in rule.facts.split(", ")}
    return "metadata or simple measures of the picture" if facts & set(MEASURED) else "metadata"


def rule_p(value: float | None, permutations: int | None) -> str:
    """p of a metadata rule by shuffled labels: "≤ 0.010" where it is the smallest that so many shuffles can give."""
    found, shuffles = number(value), number(permutations)
    return "–" if found is None else p_value(found, rounded_floor(shuffles))


def rules_words(rules: Sequence[RuleRow]) -> str:
    """What the figure of the metadata rules shows, and how many of them do better than chance."""
    tried = [p for rule in rules if (p := number(rule.p_value)) is not None]
    sure = sum(p <= SURE for p in tried)
    seen = rule_sees(rules)
    measured = " (such as its lowest and highest value, padding and black share)" if seen != "metadata" else ""
    said = f"Discrimination (AUC) of rules that see only {seen}{measured}, on patients they have not seen. "
    if tried:
        said += f"Squares: p of {SURE} or less by shuffled labels, which {sure} of {len(tried)} "
        said += f"{'rule has' if len(tried) == 1 else 'rules have'}; chance alone gives about {SURE * len(tried):.1f}. "
    return f"{said}No network sees metadata: of those it can learn only what goes with them in the picture."


def details(study: Study, model: str, site: str, row: ScoreRow | None) -> str:
    """Everything about one cell in sentences, for pointer, keyboard, finger and screen reader."""
    trained = next(m for m in study.scored if m.name == model)
    head = f"{shown_name(trained)} tested at {site} ({KINS[kin_of(trained, site)]}): "
    if row is None:
        return head + NOT_MEASURED + "."
    if trained.folds and site in trained.trained_on:
        head += "not the mean here: each scan was scored by the one network that never saw its patient. "
    scans = (
        f"{_numbered(row.scans, 'scan')} of {_numbered(row.patients, 'patient')}, "
        f"{figure(row.positives, 0)} positive and {figure(row.negatives, 0)} negative. "
    )
    reading = "threshold reading (b)" if row.threshold_reading == "site" else "threshold reading (a)"
    accuracy = (
        f"Accuracy {estimate(row.accuracy, *_ends(row, 'accuracy'))} at {threshold_words(row)}, "
        f"{reading}; majority class: {figure(row.baseline_majority_accuracy)}."
    )
    if one_class(row):
        return f"{head}{', '.join(one_class_words(row))}. {scans}{accuracy}"
    auc = f"AUC {figure(row.auc, 3)}, 95 % interval {interval(*_ends(row, 'auc'), 3) or NOT_MEASURED}. "
    return f"{head}{auc}{scans}{accuracy} Chance, and a rule that knows only the site: AUC 0.50."


def networks_trained(studies: Sequence[Study]) -> str:
    """ "Nine networks", or "Nine networks under each of two protocols, 18 in all," with several studies.

    Networks of two studies are two networks, even where they have one name: each study trains its own.
    """
    counts = [len(study.models) for study in studies]
    if len(studies) == 1:
        return count(counts[0], "network").capitalize()
    total = f"{sum(counts):,}"
    alike = len({tuple(model.name for model in study.models) for study in studies}) == 1
    if alike and len({study.origin for study in studies}) == 1:
        each = count(counts[0], "network").capitalize()
        return f"{each} under each of {count(len(studies), 'protocol')}, {total} in all,"
    parts = listed([f"{number_:,} under “{study.name}”" for number_, study in zip(counts, studies, strict=True)])
    return f"{total} networks ({parts})"


def opening(report: Report) -> str:
    """What was trained and where it was tested; sites and gaps are those of all studies together."""
    models = [(study, model) for study in report.studies for model in study.models]
    if not models:
        products = list(dict.fromkeys(name for study in report.studies for name in study.products))
        judged = f"; {listed(products)} {verb(len(products), 'is', 'are')} judged from scores" if products else ""
        return f"No network was trained{judged}."
    order = _order(report.studies[0])
    trained = sorted({site for _, model in models for site in model.trained_on}, key=order)
    scored = {row.site for study in report.studies for row in study.scores}
    names = dict.fromkeys(site.name for study in report.studies for site in study.sites)
    tested = [name for name in names if name in scored]
    singles = sum(len(model.trained_on) == 1 for model in report.studies[0].models)
    alike = len({tuple(m.name for m in study.models) for study in report.studies}) == 1
    split = (
        ""
        if not alike or singles in {0, len(report.studies[0].models)}
        else (f" ({singles} on one site each, the others on several)")
    )
    start = f"{networks_trained(report.studies)} {verb(len(models), 'was', 'were')} trained to classify chest CT scans "
    start += f"as positive or negative on {listed(trained)}{split}"
    if not tested:
        return f"{start}; no test score is in the records."
    cells = sum(len(study.models) * len(study.sites) for study in report.studies)
    scored_cells = {(place, r.model, r.site) for place, study in enumerate(report.studies) for r in study.scores}
    missing = sum(
        (place, model.name, site.name) not in scored_cells
        for place, study in enumerate(report.studies)
        for model in study.models
        for site in study.sites
    )
    which = "each was tested" if not missing else "they were tested"
    gap = f" ({missing} of {cells} cells {verb(missing, 'is', 'are')} missing)" if missing else ""
    return f"{start}, and {which} on held-out patients of {listed(tested)}{gap}."


def _numbered(value: Any, noun: str) -> str:
    found = number(value)
    return f"– {noun}s" if found is None else numbered(int(found), noun)


def _ends(row: ScoreRow | ProductScoreRow, name: str) -> tuple[Any, Any]:
    return getattr(row, f"{name}_sampling_low"), getattr(row, f"{name}_sampling_high")


def _order(study: Study) -> Any:
    places = {site.name: place for place, site in enumerate(study.sites)}
    return lambda name: (places.get(name, len(places)), name)


def share_words(name: str) -> Callable[[Any, object], str]:
    """How a column shows a score with its interval by patient."""
    ends = f"{name}_sampling_low", f"{name}_sampling_high"
    return lambda value, row: estimate(value, *(value_in(row, end) for end in ends))


def difference_words(value: Any, row: object) -> str:
    """A difference with its interval: "+0.08 (−0.02 to +0.18)"."""
    return f"{signed(value)} ({signed_ends(value_in(row, 'low'), value_in(row, 'high'))})"
