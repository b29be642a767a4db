"""One study's records in; what the paper got wrong, each point with this run's own number for it, out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from elsewhere.evidence.intervals import LEVEL, z_value
from elsewhere.evidence.report.content import Record, Study
from elsewhere.evidence.report.folder import Folder
from elsewhere.evidence.report.records import cell, groups, index, kin_of, number, one_class
from elsewhere.evidence.report.table import plain_table
from elsewhere.evidence.report.words import figure, listed, signed, spaced


@dataclass(frozen=True)
class Lesson:
    """One point.

    Attributes:
        title: the point in a few words.
        paper: what the paper does, in a sentence.
        here: what this run measured about it.
        section: id of the page's section that holds the numbers.
    """

    title: str
    paper: str
    here: str
    section: str


def section(studies: Sequence[Study], out: Folder) -> dict[str, Any] | None:
    """All points that the first study has numbers for; None where it has none."""
    lessons = [lesson for make in LESSONS for lesson in [make(studies)] if lesson]
    if not lessons:
        return None
    headings = {"title": "Point", "paper": "What the paper does", "here": "What this run measured"}
    rows = [{"title": x.title, "paper": x.paper, "here": x.here} for x in lessons]
    table = out.add_table(plain_table("lessons", "What the paper got wrong, and this run's numbers.", rows, headings))
    return {"lessons": lessons, "table": table, "study": studies[0].name}


def _cells(study: Study, reading: str = "model") -> Iterable[tuple[str, Record]]:
    """(kin, record) of every measured cell."""
    cells = index(study.scores)
    for model in study.models:
        for site in study.sites:
            record = cell(cells, model.name, site.name, reading)
            if record:
                yield kin_of(model, site.name), record


def _threshold(studies: Sequence[Study]) -> Lesson | None:
    own, local = (
        [r for kin, r in _cells(studies[0], reading) if kin == "unseen" and not one_class(r)]
        for reading in ("model", "site")
    )
    if not own or len(own) != len(local):
        return None
    honest, borrowed = (fmean(float(r["accuracy"]) for r in rows) for rows in (own, local))
    return Lesson(
        "The threshold is chosen at the hospital under test",
        "It picks each threshold on labelled scans of the site it then tests. A new hospital has none.",
        f"At never-seen sites the mean accuracy is {honest:.2f} with the network's own threshold and {borrowed:.2f} "
        f"with one chosen there, over {len(own)} cells with two classes"
        + (
            ": no difference here."
            if abs(borrowed - honest) < 0.005
            else f": {signed(borrowed - honest)} is borrowed from labels nobody has."
        ),
        "decisions",
    )


def _spread(studies: Sequence[Study]) -> Lesson | None:
    ratios = []
    for _, r in _cells(studies[0]):
        low, high, sd = (number(r.get(key)) for key in ("auc_sampling_low", "auc_sampling_high", "auc_grid_dropout_sd"))
        if low is not None and high is not None and sd:
            ratios.append((high - low) / (2 * z_value(LEVEL)) / sd)
    if not ratios:
        return None
    return Lesson(
        "The ± is not how sure one can be",
        "Its ± is the spread over dropout passes of one network on one set of scans.",
        f"In the middle cell the sampling error of the AUC is {median(ratios):.1f} times the dropout spread (between "
        f"{min(ratios):.1f} and {max(ratios):.1f} times).",
        "ranking",
    )


def _grid(studies: Sequence[Study]) -> Lesson | None:
    gaps = [
        (abs(float(r["auc"]) - float(r["auc_grid"])), r)
        for _, r in _cells(studies[0])
        if number(r.get("auc")) is not None and number(r.get("auc_grid")) is not None
    ]
    if not gaps:
        return None
    gap, worst = max(gaps, key=lambda pair: pair[0])
    return Lesson(
        "The AUC is read off a coarse grid",
        "Thresholds in steps of 0.01 make ties of all scans between two steps.",
        f"The grid AUC differs from the exact one by {fmean(g for g, _ in gaps):.3f} on average and by {gap:.3f} at "
        f"most ({spaced(str(worst['model']))} at {worst['site']}).",
        "ranking",
    )


def _one_class(studies: Sequence[Study]) -> Lesson | None:
    study = studies[0]
    trained = {model.name: model.trained_on for model in study.models}
    single = [r for _, r in _cells(study) if one_class(r) == "positive"]
    knew, new = (
        [float(r["sensitivity"]) for r in single if (r["site"] in trained[str(r["model"])]) == inside]
        for inside in (True, False)
    )
    if not single:
        return None
    names = listed(list(dict.fromkeys(str(r["site"]) for r in single)))
    said = f"{names} has positives only: {len(single)} cells have no AUC and say so."
    if knew and new:
        said += f" Networks trained on it call {fmean(knew):.0%} of its scans positive, the others {fmean(new):.0%}: "
        said += "to recognise the site is enough to be right there."
    return Lesson(
        "A site with one class is averaged in",
        "It averages accuracy over sites of which one has no negatives, and finds that training on it helps.",
        said,
        "matrix",
    )


def _floor(studies: Sequence[Study]) -> Lesson | None:
    study = studies[0]
    found = [r for _, r in _cells(study, study.reading) if not one_class(r)]
    if not found:
        return None
    under = sum(float(r["accuracy"]) <= float(r["baseline_majority_accuracy"]) for r in found)
    return Lesson(
        "Accuracy stands without its floor",
        "It prints accuracies without what calling everyone the commoner class would reach.",
        f"In {under} of {len(found)} cells the network's accuracy is no better than that.",
        "decisions",
    )


def _below(studies: Sequence[Study]) -> Lesson | None:
    away = [r for kin, r in _cells(studies[0]) if kin == "unseen" and number(r.get("auc")) is not None]
    if not away:
        return None
    below = sum(float(r["auc"]) < 0.5 for r in away)
    surely = sum((number(r.get("auc_sampling_high")) or 1.0) < 0.5 for r in away)
    return Lesson(
        "Below 0.5 is not “random”",
        "It calls AUCs of 0.38 to 0.57 elsewhere near random.",
        f"Here {below} of {len(away)} cells at never-seen sites lie below 0.5, {surely} of them with their whole "
        "interval: what was learnt at home points the wrong way there, which guessing does not do.",
        "matrix",
    )


def _copies(studies: Sequence[Study]) -> Lesson | None:
    audit = studies[0].audit
    suspected = sum(bool(r.get("suspected_leak")) for r in audit.forensics)
    return Lesson(
        "The same patient on both sides",
        "78 negative patients of one data set are counted twice, so that about 22 of 72 test negatives were trained "
        "on too.",
        f"This run found {len(audit.leaks)} leaks between the sides of the split, {len(audit.duplicates)} groups of "
        f"equal scans, and {suspected} pairs that look like one patient on two sides.",
        "audit",
    )


def _site_only(studies: Sequence[Study]) -> Lesson | None:
    audit = studies[0].audit
    rules = [
        r for r in audit.confounding if number(r.get("auc")) is not None and (number(r.get("p_value")) or 1) <= 0.05
    ]
    within = [r for r in rules if "all sites" not in str(r["sites"])]
    if audit.site_only_auc is None and not within:
        return None
    said = []
    if audit.site_only_auc is not None:
        said.append(
            f"A rule that knows only the hospital reaches an AUC of {figure(audit.site_only_auc)} over all sites"
        )
    if within:
        best = max(within, key=lambda r: float(r["auc"]))
        said.append(f"knowing only {best['rule']} gives {figure(best['auc'])} at {best['sites']}")
    return Lesson(
        "Facts that give the label away",
        "It looks at no rule that sees no lung: hospital, scanner, date or age.",
        "; ".join(said) + ".",
        "audit",
    )


def _segmented(studies: Sequence[Study]) -> Lesson | None:
    shares = {
        (r["site"], r["label"]): number(r.get("lung_segmented_share")) or 0.0
        for r in studies[0].audit.facts
        if "label" in r
    }
    uneven = {
        site: (shares[site, 1], shares[site, 0])
        for site in dict.fromkeys(s for s, _ in shares)
        if (site, 1) in shares and (site, 0) in shares and abs(shares[site, 1] - shares[site, 0]) >= 0.02
    }
    if not uneven:
        return None
    said = [
        f"at {site} {positive:.0%} of the positives and {negative:.0%} of the negatives"
        for site, (positive, negative) in uneven.items()
    ]
    return Lesson(
        "Lung-segmented scans in one class",
        "More than half of one class of one data set shows lungs on black, and it trains on them as they are.",
        f"Lungs on black: {listed(said)}.",
        "audit",
    )


def _nature(studies: Sequence[Study]) -> Lesson | None:
    means = {s.name: g.mean for s in studies for g in groups(s) if g.kin == "unseen"}
    if len(means) < 2:
        return None
    return Lesson(
        "“Networks fail elsewhere” is not in the nature of the task",
        "It concludes from one way of preparing scans. Others report 0.93 elsewhere with the lungs cut out first.",
        "The mean AUC elsewhere is "
        + listed([f"{mean:.2f} (“{name}”)" for name, mean in means.items()])
        + ", same scans and split.",
        "short",
    )


LESSONS: tuple[Callable[[Sequence[Study]], Lesson | None], ...] = (
    _threshold, _spread, _grid, _one_class, _floor, _below, _copies, _site_only, _segmented, _nature,
)  # fmt: skip
