"""Numbers in; the plain words and figures that stand on the page out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elsewhere.pages.report.content import Record, Report, Study
from elsewhere.pages.report.records import KINS, kin_of, number, one_class
from elsewhere.rows import ScoreRow
from elsewhere.wording import numbered, verb

NOT_MEASURED = "not measured"
ODD_SCANS = "rules without lungs and odd scans"
"""What the audit makes, as `Study.absent` names it where the audit did not run."""

SURE = 0.05
"""A rule that sees metadata alone is drawn full at this p or below."""

COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def figure(value: Any, digits: int = 2) -> str:
    """A number as the page prints it, an en dash where there is none."""
    found = number(value)
    return "–" if found is None else f"{found:.{digits}f}"


def interval(low: Any, high: Any, digits: int = 2) -> str:
    """Both ends, "" where there is none."""
    return "" if number(low) is None or number(high) is None else f"{figure(low, digits)}–{figure(high, digits)}"


def estimate(value: Any, low: Any, high: Any, digits: int = 2) -> str:
    """A number and its interval in brackets."""
    ends = interval(low, high, digits)
    return figure(value, digits) + (f" ({ends})" if ends else "")


def signed(value: Any, digits: int = 2) -> str:
    """A number with its sign, a true minus; 0 without one, and an en dash where there is no number."""
    found = number(value)
    if found is None:
        return "–"
    text = f"{found:+.{digits}f}".replace("-", "−")
    return text if set(text) & set("123456789") else text[1:]


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


def one_class_words(row: ScoreRow) -> tuple[str, str, str]:
    """What a one-class cell says instead of an AUC: ("positives only", "no AUC", "sensitivity 0.53 (0.36–0.69)")."""
    kind = one_class(row)
    rate = "sensitivity" if kind == "positive" else "specificity"
    return f"{kind}s only", "no AUC", f"{rate} {estimate(getattr(row, rate), *_ends(row, rate))}"


def threshold_words(row: ScoreRow | None) -> str:
    """ "t = 0.47", or "argmax" when the best threshold was trivial."""
    if row is None or number(row.threshold) is None:
        return ""
    return "argmax" if row.threshold_rule == "argmax" else f"t = {figure(row.threshold)}"


def rules_words(rules: Sequence[Record]) -> str:
    """What the figure of the metadata rules shows, and how many of them do better than chance."""
    tried = [p for rule in rules if (p := number(rule.get("p_value"))) is not None]
    sure = sum(p <= SURE for p in tried)
    said = "Discrimination (AUC) of rules that see metadata alone, on patients they have not seen. "
    if tried:
        said += f"Squares: p of {SURE} or less by shuffled labels, which {sure} of {len(tried)} "
        said += f"{'rule has' if len(tried) == 1 else 'rules have'}; chance alone gives about {SURE * len(tried):.1f}. "
    return f"{said}No network sees metadata; what goes with them in the picture it can learn instead of the disease."


def details(study: Study, model: str, site: str, row: ScoreRow | None) -> str:
    """Everything about one cell in sentences, for pointer, keyboard, finger and screen reader."""
    trained = next(m for m in study.models if m.name == model)
    head = f"{spaced(model)} tested at {site} ({KINS[kin_of(trained, site)]}): "
    if row is None:
        return head + NOT_MEASURED + "."
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


def opening(study: Study) -> str:
    """What was trained and where it was tested."""
    trained = sorted({site for model in study.models for site in model.trained_on}, key=_order(study))
    scored = {row.site for row in study.scores}
    tested = [site.name for site in study.sites if site.name in scored]
    singles = sum(len(model.trained_on) == 1 for model in study.models)
    networks = count(len(study.models), "network").capitalize()
    split = "" if singles in {0, len(study.models)} else f" ({singles} on one site each, the others on several)"
    start = f"{networks} {verb(len(study.models), 'was', 'were')} trained to classify chest CT scans as positive or "
    start += f"negative on {listed(trained)}{split}"
    if not tested:
        return f"{start}; no test score is in the records."
    missing = len(study.models) * len(study.sites) - len({(r.model, r.site) for r in study.scores})
    which = "each was tested" if not missing else "they were tested"
    gap = (
        f" ({missing} of {len(study.models) * len(study.sites)} cells {verb(missing, 'is', 'are')} missing)"
        if missing
        else ""
    )
    return f"{start}, and {which} on held-out patients of {listed(tested)}{gap}."


def holdings(report: Report) -> str:
    """What of patients stands on the page and in its tables."""
    slices = sum(e.pixels is not None for study in report.studies for e in study.examples)
    listed_ = any(s.hardest or s.bad_scans or s.audit.forensics or s.audit.duplicates for s in report.studies)
    parts = ["counts and scores"]
    if slices:
        parts.append(numbered(slices, "example slice"))
    if listed_:
        parts.append("scan and patient ids as the data sets give them, with metadata such as age, sex, kernel and date")
    ending = "Every patient is simulated." if report.origin == "simulated" else "Look it over before you hand it on."
    real = report.origin != "simulated"
    ids = " Where an id of a data set is or holds a name, so does this page." if listed_ and real else ""
    return f"This page and its tables hold {listed(parts)}; no volume.{ids} {ending}"


def banners(report: Report) -> list[str]:
    """What the reader must know before any number."""
    simulated = (
        "Simulated scans. Every patient and every scanner on this page was made by a program. The numbers show "
        "what the software does; they are no evidence about any hospital or about COVID-19."
    )
    repacked = (
        "Re-packed scans. Real CT of one data set, written into the file layouts of others. The numbers show "
        "that the software reads those layouts; they say nothing about the sites whose names stand here."
    )
    return {"simulated": [simulated], "repacked": [repacked], "real": []}[report.origin]


def _numbered(value: Any, noun: str) -> str:
    found = number(value)
    return f"– {noun}s" if found is None else numbered(int(found), noun)


def _ends(row: ScoreRow, name: str) -> tuple[Any, Any]:
    return getattr(row, f"{name}_sampling_low"), getattr(row, f"{name}_sampling_high")


def _order(study: Study) -> Any:
    places = {site.name: place for place, site in enumerate(study.sites)}
    return lambda name: (places.get(name, len(places)), name)
