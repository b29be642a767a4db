"""One study's records in; what the paper got wrong, each point with this run's own number for it, out.

What is said of the paper is what its text says, or named as our reading of it. What is said of this run is a function
of its numbers with an opposite: where they do not show the point, the sentence says that. Networks that did not learn
are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from scipy.stats import binom

from elsewhere.pages.report.content import Report, Study
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.headline import against, left_out_words
from elsewhere.pages.report.origins import mechanism
from elsewhere.pages.report.records import cell, index, kin_of, number, one_class
from elsewhere.pages.report.story import crop_words
from elsewhere.pages.report.table import Table, plain_table
from elsewhere.pages.report.words import ODD_SCANS, count, figure, listed, rule_sees, signed, signed_ends, spaced
from elsewhere.rows import ScoreRow
from elsewhere.statistics.intervals import LEVEL, z_value
from elsewhere.wording import numbered, verb

SURE = 0.05
"""A metadata rule counts at this p or below; so do more of them than chance gives, by the binomial law, at this
one. So do cells below chance."""

TAIL = 0.025
"""Share of cells whose whole 95 % interval lies below an AUC of 0.5 where the AUC is 0.5."""

EVERYWHERE = "all sites"


@dataclass(frozen=True)
class Lesson:
    """One point.

    Attributes:
        title: the point in a few words; it claims nothing about this run.
        paper: what the paper does, in a sentence.
        here: what this run measured about it.
        section: id of the page's section that holds the numbers.
    """

    title: str
    paper: str
    here: str
    section: str


@dataclass(frozen=True)
class Lessons:
    """What the section shows: the points, of which study, what its scans can show of them, and who was left out."""

    lessons: Sequence[Lesson]
    table: Table
    study: str
    left_out: str
    mechanism: str


def section(report: Report, out: Folder) -> Lessons | None:
    """All points that the first study has numbers for; None where it has none."""
    first = report.studies[0]
    lessons = [lesson for lesson in (*(make(first) for make in LESSONS), nature(report)) if lesson]
    if not lessons:
        return None
    headings = {"title": "Point", "paper": "What the paper does", "here": "What this run measured"}
    rows = [{"title": x.title, "paper": x.paper, "here": x.here} for x in lessons]
    table = out.add_table(plain_table("lessons", "What the paper got wrong, and this run's numbers.", rows, headings))
    return Lessons(lessons, table, first.name, left_out_words(first), mechanism(first))


def _cells(study: Study, reading: str = "model") -> Iterable[tuple[str, ScoreRow]]:
    """(kin, scores) of every measured cell of the networks that learned."""
    cells = index(study.scores)
    for model in study.able:
        for site in study.sites:
            record = cell(cells, model.name, site.name, reading)
            if record:
                yield kin_of(model, site.name), record


def _threshold(study: Study) -> Lesson | None:
    found = next((r for r in study.contrasts if r.contrast == "threshold"), None)
    if found is None:
        return None
    start = (
        f"At sites never seen the mean accuracy is {found.second:.2f} with the network's own threshold (a) and "
        f"{found.first:.2f} with one chosen on labelled scans of the tested site (b), over "
        f"{numbered(found.cells, 'cell')} of two classes"
    )
    return Lesson(
        "Whose validation scans choose the threshold?",
        "Its text says that the threshold maximises accuracy “on the validation data”, not of which site. That the "
        "best one was 0 “for MosMedData, which only has positive labels” fits a threshold for each tested site "
        "(b); that is our reading, not its statement. A new hospital has no labelled scans to choose with.",
        f"{start}: "
        + _judged(
            (found.estimate, found.low, found.high),
            "(b) gains {size} {ends}, from labels that a new hospital does not have",
            "(b) loses {size} {ends}: labelled scans of the tested site did not help",
            "the difference of {size} {ends} is within sampling error, so nothing is shown to be gained from the "
            "labels of the tested site",
        ),
        "decisions",
    )


def _spread(study: Study) -> Lesson | None:
    pairs = []
    for _, r in _cells(study):
        low, high, sd = number(r.auc_sampling_low), number(r.auc_sampling_high), number(r.auc_grid_dropout_sd)
        if low is not None and high is not None and sd is not None:
            pairs.append(((high - low) / (2 * z_value(LEVEL)), sd))
    if not pairs:
        return None
    larger = sum(sampling > dropout for sampling, dropout in pairs)
    if larger == len(pairs):
        said = f"In {'the one cell' if larger == 1 else f'each of {larger} cells'} the sampling error is the larger one"
    elif larger:
        said = f"The sampling error is the larger one in {larger} of {len(pairs)} cells and the smaller one, or equal, "
        said += f"in {len(pairs) - larger}: neither can stand for the other"
    else:
        said = f"In none of {numbered(len(pairs), 'cell')} is the sampling error the larger one: here the ± did not "
        said += "understate it, though it measures something else"
    ratios = [sampling / dropout for sampling, dropout in pairs if dropout > 0]
    numbers = (
        f" (ratio {median(ratios):.1f} in the middle cell, {min(ratios):.1f} to {max(ratios):.1f})" if ratios else ""
    )
    return Lesson(
        "The ± is not a sampling error",
        "Its ± is the spread over dropout passes of one network on one set of scans, not over other patients.",
        f"{said}{numbers}.",
        "ranking",
    )


def _grid(study: Study) -> Lesson | None:
    gaps = [
        (abs(auc - grid), r)
        for _, r in _cells(study)
        if (auc := number(r.auc)) is not None and (grid := number(r.auc_grid)) is not None
    ]
    if not gaps:
        return None
    gap, worst = max(gaps, key=lambda pair: pair[0])
    where = f"{spaced(worst.model)} at {worst.site}"
    return Lesson(
        "The AUC is read off a coarse grid",
        "Thresholds in steps of 0.01 make ties of all scans between two steps.",
        f"The grid AUC differs from the exact one by {fmean(g for g, _ in gaps):.3f} on average over "
        f"{numbered(len(gaps), 'cell')} and by {gap:.3f} at most ({where})."
        if gap >= 0.0005
        else "Here it does no harm: the grid AUC equals the exact one to three digits in "
        f"{numbered(len(gaps), 'cell')}.",
        "ranking",
    )


def _one_class(study: Study) -> Lesson | None:
    single = [r for _, r in _cells(study) if one_class(r)]
    if not single:
        return None
    sites = {r.site: one_class(r) for r in single}
    said = [f"{site} has {kind}s only" for site, kind in sites.items()]
    said = [f"{listed(said)}: {numbered(len(single), 'cell')} {verb(len(single), 'has', 'have')} no AUC"]
    for found in (r for r in study.contrasts if r.contrast == "one class"):
        kind = sites.get(found.site, "positive")
        shares = f"{found.first:.0%} of the scans of {found.site} and the others {found.second:.0%}"
        said.append(
            f"networks trained on it call {shares} {kind} (threshold reading (a)): "
            + _judged(
                (found.estimate, found.low, found.high),
                "{size} {ends} more, at a site where every such call is right, so that recognising the disease and "
                "recognising the site cannot be told apart there",
                "{size} {ends} fewer: training on the site did not raise its share",
                "the difference of {size} {ends} is within sampling error, so training on the site is not shown to "
                "matter there",
            ).removesuffix(".")
        )
    return Lesson(
        "A site with one class",
        "MosMedData has positives only. The paper averages with and without it, reports that training on it improved "
        "the total average but none of the three other sites, whose performance it lowered, and suspects that the "
        "networks learned “simply to identify the data source”.",
        " ".join(_sentence(part) for part in said),
        "matrix",
    )


def _floor(study: Study) -> Lesson | None:
    found = [
        (accuracy, number(r.accuracy_sampling_low) or 0.0, majority)
        for _, r in _cells(study, study.reading)
        if not one_class(r)
        and (accuracy := number(r.accuracy)) is not None
        and (majority := number(r.baseline_majority_accuracy)) is not None
    ]
    if not found:
        return None
    under = sum(accuracy <= majority for accuracy, _, majority in found)
    clear = sum(low > majority for _, low, majority in found)
    return Lesson(
        "Accuracy without its floor",
        "Its text gives accuracies without the share of the majority class, which calling every scan so reaches.",
        f"Of {numbered(len(found), 'cell')} with two classes the accuracy (threshold reading "
        f"({'b' if study.reading == 'site' else 'a'})) is not above the majority share in {under}; "
        f"it is above it with its whole 95 % interval in {clear}.",
        "decisions",
    )


def _below(study: Study) -> Lesson | None:
    away = [r for kin, r in _cells(study) if kin == "unseen"]
    above, around, below = against(away)
    total = len(above) + len(around) + len(below)
    if not total:
        return None
    under = sum((number(r.auc) or 0.0) < 0.5 for r in (*above, *around, *below))
    start = f"Here {under} of {numbered(total, 'cell')} at sites never seen {verb(under, 'lies', 'lie')} below 0.5"
    if not under:
        said = f"Here none of {numbered(total, 'cell')} at sites never seen lies below 0.5."
    elif not below:
        said = f"{start}, none of them with its whole interval: no score is shown to point the wrong way."
    else:
        said = f"{start}; {len(below)} {verb(len(below), 'does', 'do')} so with the whole 95 % interval "
        said += f"({listed(_names(below))}), where chance alone gives about {TAIL * total:.1f}: "
        if binom.sf(len(below) - 1, total, TAIL) <= SURE:
            said += "more than chance explains if the cells are independent; there negatives score above positives."
        else:
            said += "no more than chance explains; no score is shown to point the wrong way."
    return Lesson(
        "Below 0.5 is not always “random”",
        "It finds AUCs of 0.380 to 0.570 at unseen sites, without intervals by patient, and calls them close to random "
        "guessing.",
        said,
        "matrix",
    )


def _copies(study: Study) -> Lesson | None:
    audit = study.audit
    said = f"This run's split has {count(len(audit.leaks), 'leak')} by patient id or equal voxels between its sides"
    copies = len(audit.duplicates)
    said += f"; {count(copies, 'group')} of scans {verb(copies, 'has', 'have')} equal voxels"
    if ODD_SCANS in study.absent:
        said += "; pairs that look alike were not searched for"
    else:
        pairs = sum(bool(r.suspected_leak) for r in audit.forensics)
        said += f"; {count(pairs, 'pair')} on two sides {verb(pairs, 'looks', 'look')} like one patient"
    return Lesson(
        "The same patient on both sides",
        "It counts 360 negative patients of COVID-CTset, of whom 78 lie in the archive twice; split at random by "
        "folder, about 22 of its 72 test negatives have their copy in training.",
        f"{said}.",
        "audit",
    )


def _site_only(study: Study) -> Lesson | None:
    audit = study.audit
    tried = [r for r in audit.confounding if EVERYWHERE not in r.sites and number(r.p_value) is not None]
    if audit.site_only_auc is None and not tried:
        return None
    said = []
    if audit.site_only_auc is not None:
        auc = float(audit.site_only_auc)
        what = "which is chance" if round(auc, 2) == 0.5 else "without seeing a scan"
        said.append(f"a rule that knows only the site has an AUC of {auc:.2f} over all sites, {what}")
    if tried:
        sure = [r for r in tried if r.p_value is not None and r.p_value <= SURE and r.auc > 0.5]
        start = (
            f"of {numbered(len(tried), 'rule')} that {verb(len(tried), 'knows', 'know')} only {rule_sees(tried)}, each "
            f"within one site, {len(sure)} {verb(len(sure), 'tells', 'tell')} the classes apart at p of {SURE} or "
            f"less, where chance alone gives about {SURE * len(tried):.1f}"
        )
        if sure and binom.sf(len(sure) - 1, len(tried), SURE) <= SURE:
            best = max(sure, key=lambda r: r.auc)
            said.append(f"{start}; the strongest is {best.rule} at {best.sites} (AUC {figure(best.auc)})")
        else:
            said.append(f"{start}: no more than chance explains")
    return Lesson(
        "Label information in the metadata",
        "It suspects such a tie (a hospital within CC-CCII) and tries no rule that sees metadata alone: site, scanner, "
        "date or age.",
        _sentence("; ".join(said)),
        "audit",
    )


def _segmented(study: Study) -> Lesson | None:
    facts = {(r.site, r.label): (r.lung_segmented_share, r.scans) for r in study.audit.facts if r.label is not None}
    sites = [site for site in dict.fromkeys(s for s, _ in facts) if (site, 1) in facts and (site, 0) in facts]
    if not sites:
        return None
    said = [
        f"at {site} {_of(*facts[site, 1])} positives and {_of(*facts[site, 0])} negatives"
        for site in sites
        if facts[site, 1][0] or facts[site, 0][0]
    ]
    return Lesson(
        "Lung-segmented scans in one class",
        "In CC-CCII 56 % of the Normal scans, 10 % of NCP and 0.3 % of CP show lungs on black; its text names no step "
        "for them.",
        f"Lungs on black here: {listed(said)}." if said else f"No scan of {listed(sites)} looks lung-segmented here.",
        "audit",
    )


def nature(report: Report) -> Lesson | None:
    """Whether what was changed between the first two studies changes discrimination elsewhere, paired on the scans."""
    if len(report.studies) < 2:
        return None
    names = [study.name for study in report.studies[:2]]
    wanted = (mean for mean in report.protocol_means if mean.relation == "unseen")
    found = next((mean for mean in wanted if [mean.first, mean.second] == names), None)
    if found is None:
        said = (
            f"No network that learned under both “{names[0]}” and “{names[1]}” was tested elsewhere on the same scans, "
        )
        said += "so this run does not compare them."
    else:
        said = f"On the same scans of sites never seen, over {numbered(found.cells, 'cell')}, the mean AUC is "
        said += f"{found.auc_first:.2f} under “{names[0]}” and {found.auc_second:.2f} under “{names[1]}”: "
        said += _judged(
            (found.difference, found.low, found.high),
            f"“{names[0]}” discriminates better by {{size}} {{ends}}, with one training of each held fixed",
            f"“{names[1]}” discriminates better by {{size}} {{ends}}, with one training of each held fixed",
            f"the difference, “{names[0]}” less “{names[1]}”, of {{size}} {{ends}} is within sampling error, so what "
            "was changed between the two is not shown to matter",
        )
        said += _built_in(report.studies[:2])
    return Lesson(
        "Is failure elsewhere in the nature of the task?",
        "It writes: “With limited data and learning time, these AI algorithms are bound to fail when they encounter a "
        "unique data distribution they have never seen before”, and that it “did not fully explore the possible "
        "techniques to improve robustness and prevent overfitting”. With lungs segmented first, Jin et al. 2020 report "
        "an AUC of 0.930 on CC-CCII and of 0.933 on MosMedData.",
        said,
        "protocols",
    )


def _built_in(studies: Sequence[Study]) -> str:
    """Whether a simulation favours the one of two studies that crops to the lungs; "" where not exactly one does."""
    crops = [study for study in studies if _crops(study)]
    if len(crops) != 1 or not (said := crop_words(studies[0].ties)):
        return ""
    return (
        f" “{crops[0].name}” crops to the lungs, “{next(s.name for s in studies if s not in crops)}” does not. {said}"
    )


def _crops(study: Study) -> bool:
    preparation = study.options.preparation
    return preparation is not None and preparation.crop not in {None, "none"}


def _judged(found: tuple[float, float, float], more: str, fewer: str, within: str) -> str:
    """One of three sentences, by where the interval of a paired difference (it, low, high) lies against 0.

    A sentence with its direction in words (gains, loses, fewer) has the size and the interval in that direction.
    """
    mean, low, high = found
    words, size = within, signed(mean)
    if low > 0:
        words, size = more, figure(abs(mean))
    elif high < 0:
        words, size, low, high = fewer, figure(abs(mean)), -high, -low
    ends = f"(95\u00a0%: {signed_ends(low, high)})"
    return words.replace("{size}", size).replace("{ends}", ends) + "."


def _names(rows: Sequence[ScoreRow]) -> list[str]:
    return [f"{spaced(r.model)} at {r.site}" for r in rows]


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _of(share: float, scans: int) -> str:
    return f"{round(share * scans)} of {scans}"


LESSONS: tuple[Callable[[Study], Lesson | None], ...] = (
    _threshold, _spread, _grid, _one_class, _floor, _below, _copies, _site_only, _segmented,
)  # fmt: skip
