"""Numbers in; the plain words and figures that stand on the page out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elsewhere.evidence.report.content import Record, Report, Study
from elsewhere.evidence.report.records import KINS, Group, kin_of, number, one_class

NOT_MEASURED = "not measured"
NOTABLE_DROP = 0.05
"""A fall of the AUC by this much counts as one (the mark of Yu et al. 2022, external validation of 86 algorithms)."""

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


def count(how_many: int, what: str) -> str:
    """ "three models", "1 model" becomes "one model"."""
    word = COUNTS[how_many] if how_many < len(COUNTS) else f"{how_many:,}"
    return f"{word} {what}" + ("" if how_many == 1 else "s")


def listed(names: Sequence[str]) -> str:
    """ "A, B and C"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def spaced(model: str) -> str:
    """A model's name with room to wrap: "A+B" becomes "A + B"."""
    return " + ".join(part.strip() for part in model.split("+"))


def one_class_words(record: Record) -> tuple[str, str, str]:
    """What a one-class cell says instead of an AUC: ("positives only", "no AUC", "sensitivity 0.53 (0.36–0.69)")."""
    kind = one_class(record)
    rate = "sensitivity" if kind == "positive" else "specificity"
    ends = (record.get(rate), record.get(f"{rate}_sampling_low"), record.get(f"{rate}_sampling_high"))
    return f"{kind}s only", "no AUC", f"{rate} {estimate(*ends)}"


def threshold_words(record: Record | None) -> str:
    """ "t = 0.47", or "argmax" when the best threshold was trivial."""
    if record is None or number(record.get("threshold")) is None:
        return ""
    return "argmax" if record.get("threshold_rule") == "argmax" else f"t = {figure(record['threshold'])}"


def details(study: Study, model: str, site: str, record: Record | None) -> str:
    """Everything about one cell in sentences, for pointer, keyboard, finger and screen reader."""
    trained = next(m for m in study.models if m.name == model)
    head = f"{spaced(model)} tested at {site} ({KINS[kin_of(trained, site)]}): "
    if record is None:
        return head + NOT_MEASURED + "."
    scans = (
        f"{figure(record.get('scans'), 0)} scans of {figure(record.get('patients'), 0)} patients, "
        f"{figure(record.get('positives'), 0)} positive and {figure(record.get('negatives'), 0)} negative. "
    )
    reading = "threshold reading (b)" if record.get("threshold_reading") == "site" else "threshold reading (a)"
    accuracy = (
        f"Accuracy {estimate(record.get('accuracy'), *_ends(record, 'accuracy'))} at {threshold_words(record)}, "
        f"{reading}; always the commoner class: {figure(record.get('baseline_majority_accuracy'))}."
    )
    if one_class(record):
        return f"{head}{', '.join(one_class_words(record))}. {scans}{accuracy}"
    auc = f"AUC {figure(record.get('auc'), 3)}, 95 % interval {interval(*_ends(record, 'auc'), 3) or NOT_MEASURED}. "
    return f"{head}{auc}{scans}{accuracy} Chance, and a rule that knows only the site: AUC 0.50."


def opening(study: Study) -> str:
    """What was trained and where it was tested."""
    trained = sorted({site for model in study.models for site in model.trained_on}, key=_order(study))
    tested = [site.name for site in study.sites]
    singles = sum(len(model.trained_on) == 1 for model in study.models)
    networks = count(len(study.models), "network").capitalize()
    split = "" if singles in {0, len(study.models)} else f" ({singles} on one site each, the others on several)"
    verb = "was" if len(study.models) == 1 else "were"
    return (
        f"{networks} {verb} trained to call chest CT scans COVID-positive or -negative on {listed(trained)}{split}, "
        f"and each was tested on held-out patients of {listed(tested)}."
    )


def finding(found: Sequence[Group], fall: Group | None = None) -> str:
    """What the group means say, by a fixed rule that `how to read` states."""
    by_kin = {group.kin: group for group in found}
    home, away = by_kin.get("home") or by_kin.get("seen"), by_kin.get("unseen")
    if away is None:
        return "No network was tested at a site it had never seen, so nothing is known about elsewhere."
    start = f"at sites it had never seen, a network's mean AUC is {estimate(away.mean, away.low, away.high)}"
    if home is None:
        return f"{start[0].upper()}{start[1:]}; {_against_guessing(away)}."
    kind = "at home" if home.kin == "home" else "at its training sites"
    drop = home.mean - away.mean
    at_home = (
        f"{kind[0].upper()}{kind[1:]}, on new patients, the mean AUC is {estimate(home.mean, home.low, home.high)}"
    )
    return (
        f"{at_home}; {start}. {_fall(fall) if fall else _drop(drop, home, away)} Elsewhere {_against_guessing(away)}."
    )


def comparison(names: Sequence[str], found: Sequence[Sequence[Group]]) -> str:
    """How the elsewhere means of several studies compare; "" for one study or where none was measured."""
    means = {name: {g.kin: g.mean for g in groups} for name, groups in zip(names, found, strict=True)}
    away = {name: f"{kins['unseen']:.2f} (“{name}”)" for name, kins in means.items() if "unseen" in kins}
    if len(away) < 2:
        return ""
    return f"Side by side, the mean AUC at sites never seen in training is {listed(list(away.values()))}."


def _fall(fall: Group) -> str:
    """The difference, when its own interval is known."""
    ends = f"(95\u00a0%: {signed(fall.low)} to {signed(fall.high)})"
    if fall.low <= 0 <= fall.high:
        return f"The difference of {abs(fall.mean):.2f} {ends} may be the luck of these patients."
    size = "" if abs(fall.mean) >= NOTABLE_DROP else ", a small one"
    if fall.mean > 0:
        return f"That is a fall of {fall.mean:.2f} {ends}{size}: more than the luck of these patients."
    return f"That is {-fall.mean:.2f} higher elsewhere than at home {ends}{size}."


def holdings(report: Report) -> str:
    """What of patients stands on the page and in its tables."""
    slices = sum(e.pixels is not None for study in report.studies for e in study.examples)
    listed_ = any(study.hardest or study.audit.forensics or study.audit.duplicates for study in report.studies)
    parts = ["counts and scores"]
    if slices:
        parts.append(f"{slices} example slices")
    if listed_:
        parts.append("scan and patient ids as the data sets give them, with facts such as age, sex, kernel and date")
    ending = "Every patient is simulated." if report.origin == "simulated" else "Look it over before you hand it on."
    return f"This page and its tables hold {listed(parts)}. No volume and no name. {ending}"


def _drop(drop: float, home: Group, away: Group) -> str:
    if abs(drop) < NOTABLE_DROP:
        return f"That is a difference of {abs(drop):.2f}: no notable fall."
    if drop < 0:
        return f"That is {-drop:.2f} higher elsewhere than at home."
    clear = away.high < home.low
    return f"That is a fall of {drop:.2f}" + (
        "; the intervals do not overlap."
        if clear
        else ", but the intervals overlap: other patients could give another."
    )


def _against_guessing(away: Group) -> str:
    if away.low > 0.5:
        return "the networks still rank patients better than guessing (0.50)"
    if away.high < 0.5:
        return "the scores point the wrong way more often than the right one (guessing is 0.50)"
    return "this cannot be told from guessing (0.50)"


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


def _ends(record: Record, name: str) -> tuple[Any, Any]:
    return record.get(f"{name}_sampling_low"), record.get(f"{name}_sampling_high")


def _order(study: Study) -> Any:
    places = {site.name: place for place, site in enumerate(study.sites)}
    return lambda name: (places.get(name, len(places)), name)
