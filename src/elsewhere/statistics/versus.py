"""Two versions of a product on the same scans in; whether the new one is worse, and each decision that flipped, out.

Differences are new less old, on scans that both were given. For sensitivity and specificity a scan that only one of
them answered counts as a wrong decision of the other, so that an update cannot gain by refusing what is hard; the AUC
is over scans that both scored. With a margin, a measure is **not worse** where the whole 95 % interval of the
difference lies above -margin, **worse** where the whole interval lies below -margin, **open** otherwise. Without one,
a measure is **lower** or **higher** where the interval, widened for the number of measures (Bonferroni), leaves out 0.
Where fewer than 10 patients of a class stand behind a difference it is **too few** whatever its interval, unless
nothing that it is made of changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, spearmanr

from elsewhere.statistics.acceptance import WORSE_THAN_BEFORE, at_level
from elsewhere.statistics.columns import Floats, Ints, check_groups
from elsewhere.statistics.comparison import Comparison, compare_models, compare_models_within_sites
from elsewhere.statistics.evaluation import plain
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.paired import paired_share_difference
from elsewhere.statistics.requirements import Measure
from elsewhere.statistics.score_shift import Realignment, Shift, realign, score_shifts
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS
from elsewhere.wording import decimals, numbered

Status = Literal["not worse", "worse", "open", "lower", "higher", "no sure difference", "too few"]


@dataclass(frozen=True)
class PairedRows:
    """Scans that both versions were given.

    Attributes:
        scans: id of each (rows,).
        labels: 1, 0, or -1 where not known (rows,).
        patients: patient of each (rows,).
        new: scores of the new version, larger meaning more positive; NaN where it gave none (rows,).
        old: likewise of the old version.
        new_calls: decisions of the new version, 1 or 0, -1 where it gave none (rows,); None where not known.
        old_calls: likewise of the old version.
        sites: site of each (rows,); None where there is one.
        metadata: column -> value of each, "" where not known.
        one_scale: whether both say what they say on the same scale.
        show: a threshold of the new version in words of its own scale.
    """

    scans: Sequence[str]
    labels: Ints
    patients: ArrayLike
    new: Floats
    old: Floats
    new_calls: Ints | None = None
    old_calls: Ints | None = None
    sites: Sequence[str] | None = None
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)
    one_scale: bool = True
    show: Callable[[float], str] = "from {:.4g}".format


@dataclass(frozen=True)
class Difference:
    """One measure of both versions on the same scans.

    Attributes:
        measure: which.
        scans: scans behind it.
        new: of the new version.
        old: of the old version.
        difference: new less old, with its 95 % interval.
        p_value: two-sided, of no difference (AUC only); None elsewhere.
        status: what the interval says, see the module.
        margin: what `status` is about; None without one.
        patients: behind it; of the AUC those of the rarer class.
    """

    measure: Measure
    scans: int
    new: float
    old: float
    difference: Interval
    p_value: float | None
    status: Status
    margin: float | None
    patients: int

    @property
    def sentence(self) -> str:
        """What was found, in words.

        >>> gap = Interval(-0.05, -0.12, 0.02, "")
        >>> Difference("sensitivity", 60, 0.9, 0.95, gap, None, "open", 0.1, 60).sentence.rpartition(": ")[2]
        'whether it is worse by more than 0.10 is open.'
        """
        d = self.difference
        digits = decimals(d.low, d.high, least=3)
        ends = f"{d.low:+.{digits}f} to {d.high:+.{digits}f}"
        gap = f"new less old {d.estimate:+.3f} (95 % interval {ends})"
        name = self.measure[0].upper() + self.measure[1:]
        side = "surely lower, but " if d.high < 0 else "surely higher, and " if d.low > 0 else ""
        verdict = {
            "not worse": f"{side}not worse by {self.margin or 0:.2f} or more",
            "worse": f"surely worse by more than {self.margin or 0:.2f}",
            "open": f"{side}whether it is worse by more than {self.margin or 0:.2f} is open",
            "lower": "surely lower",
            "higher": "surely higher",
            "no sure difference": "no sure difference",
            "too few": f"too few patients to tell ({self.patients}; {LEAST_PATIENTS} are the least)",
        }[self.status]
        return f"{name}: old {self.old:.3f}, new {self.new:.3f}; {gap}: {verdict}."


@dataclass(frozen=True)
class Flip:
    """A scan that the two versions decide otherwise.

    Attributes:
        scan: id.
        label: 1, 0, or -1 where not known.
        old_score: None where the old version gave none.
        new_score: likewise.
        was_positive: the old decision.
        effect: what the flip does: "positive now missed", "negative now called", "positive now found", "negative now
            cleared", "now called, label not known", "now not called, label not known".
    """

    scan: str
    label: int
    old_score: float | None
    new_score: float | None
    was_positive: bool
    effect: str


EFFECTS = {
    (1, True): "positive now missed",
    (0, False): "negative now called",
    (1, False): "positive now found",
    (0, True): "negative now cleared",
    (-1, False): "now called, label not known",
    (-1, True): "now not called, label not known",
}
"""(label, decision of the old version) -> effect, the harmful ones first."""


@dataclass(frozen=True)
class Versus:
    """Everything that the scans say of two versions.

    Attributes:
        common: scans that both tables hold.
        answered: of them, answered by both.
        only_new: answered by the new version alone.
        only_old: answered by the old version alone: newly refused.
        only_old_positives: positive ones among them.
        added: scans of the new table alone.
        dropped: scans of the old table alone.
        differences: AUC, sensitivity, specificity; those that can be measured.
        unmeasured: measures that cannot be.
        margin: stated; None without.
        rank_correlation: Spearman's, over scans answered by both; None where a version's scores are all alike.
        flips: harmful ones first.
        effects: effect -> number of flips.
        shifts: of the scores by stratum; empty where the scales differ.
        realignment: proposed threshold of the new version, found without labels; None where none is proposed.
        notes: what else to know.

    >>> calls = np.array([0, 1] * 30)
    >>> rows = PairedRows(list(map(str, range(60))), calls, range(60), calls * 1.0, calls * 1.0, calls, calls)
    >>> found = compare_versions(rows, margin=0.1)
    >>> found.outcome, found.exit_code, found.headline[:63]
    ('not worse', 0, 'The new version is not worse than the old one by 0.10 or more i')
    """

    common: int
    answered: int
    only_new: int
    only_old: int
    only_old_positives: int
    added: int
    dropped: int
    differences: tuple[Difference, ...]
    unmeasured: tuple[Measure, ...]
    margin: float | None
    rank_correlation: float | None
    flips: tuple[Flip, ...]
    effects: Mapping[str, int]
    shifts: tuple[Shift, ...]
    realignment: Realignment | None
    notes: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """In a few words: "worse", "not worse", "open", or "" without a margin.

        Not worse: in every measure, and on every scan of the old table: an update that leaves hard ones out of its own
        is not shown to be as good.
        """
        if self.margin is None:
            return ""
        statuses = {d.status for d in self.differences}
        if "worse" in statuses:
            return "worse"
        all_there = not self.unmeasured and not self.dropped
        return "not worse" if statuses == {"not worse"} and all_there else "open"

    @property
    def exit_code(self) -> int:
        """14 where a measure is worse than the margin allows, 20 where that is open, else 0."""
        return {"worse": WORSE_THAN_BEFORE, "open": 20}.get(self.outcome, 0)

    @property
    def headline(self) -> str:
        """The comparison in a sentence."""
        if self.outcome:
            alike = {"open", "too few"} if self.outcome == "open" else {self.outcome}
            told = [d.measure for d in self.differences if d.status in alike]
            sure = [d for d in self.differences if d.status not in {"worse", "too few"}]
            fallen = [d.measure for d in sure if d.difference.high < 0]
            lower = f" Surely lower: {', '.join(fallen)}." if fallen else ""
            rest: list[str] = [*told, *(self.unmeasured if self.outcome == "open" else ())]
            if self.dropped and self.outcome == "open":
                rest.append(f"{numbered(self.dropped, 'scan')} of the old table are not in the new one")
            return {
                "worse": f"The new version is worse than the old one by more than the margin of {self.margin:.2f}: "
                f"{', '.join(told)}.",
                "not worse": f"The new version is not worse than the old one by {self.margin:.2f} or more in "
                f"{', '.join(told)}.{lower}",
                "open": f"Whether the new version is worse than the old one by more than {self.margin:.2f} is open: "
                f"{', '.join(rest)}.{lower}",
            }[self.outcome]
        few = [d.measure for d in self.differences if d.status == "too few"]
        lacking = f" Too few patients to tell in {', '.join(few)}." if few else ""
        moved = [f"{d.measure} surely {d.status}" for d in self.differences if d.status in {"lower", "higher"}]
        if moved:
            return f"New version against old: {', '.join(moved)}.{lacking}"
        told = [d.measure for d in self.differences if d.status != "too few"]
        where = ", ".join(told) or "anything that can be measured"
        return f"New version against old: no sure difference in {where}.{lacking}"


def compare_versions(rows: PairedRows, margin: float | None = None, *, added: int = 0, dropped: int = 0) -> Versus:
    """Compare two versions of a product on the scans that both were given.

    Args:
        rows: those scans.
        margin: what AUC, sensitivity and specificity may at most lose; None for none.
        added: scans of the new table alone.
        dropped: scans of the old table alone.

    Raises:
        ValueError: no scan in common, or a margin outside 0 to 1.

    >>> labels, scores = np.array([0, 1]), (np.array([0.1, 0.4]), np.array([0.1, 0.6]))
    >>> rows = PairedRows(["s1", "s2"], labels, ["p1", "p2"], *scores, np.array([0, 0]), np.array([0, 1]))
    >>> [(flip.scan, flip.effect) for flip in compare_versions(rows).flips]
    [('s2', 'positive now missed')]
    """
    if margin is not None and not 0 < margin < 1:
        raise ValueError(f"margin must be above 0 and below 1, is {margin:g}")
    if not len(rows.scans):
        raise ValueError("the two tables have no scan in common")
    groups = check_groups(np.asarray(rows.patients), len(rows.scans))
    scored = np.isfinite(rows.new), np.isfinite(rows.old)
    both = scored[0] & scored[1]
    differences = _differences(rows, groups, both, margin)
    measures: tuple[Measure, ...] = ("discrimination (AUC)", "sensitivity", "specificity")
    flips = _flips(rows)
    shifts = score_shifts(rows.new[both], rows.old[both], groups[both], _kept(rows.metadata, both))
    wide = _scale_note(rows, both)
    lost = scored[1] & ~scored[0]
    varied = both.sum() > 2 and np.ptp(rows.new[both]) > 0 and np.ptp(rows.old[both]) > 0
    return Versus(
        common=len(rows.scans),
        answered=int(both.sum()),
        only_new=int((scored[0] & ~scored[1]).sum()),
        only_old=int(lost.sum()),
        only_old_positives=int((rows.labels[lost] == 1).sum()),
        added=added,
        dropped=dropped,
        differences=differences,
        unmeasured=tuple(m for m in measures if m not in {d.measure for d in differences}),
        margin=margin,
        rank_correlation=float(spearmanr(rows.new[both], rows.old[both]).statistic) if varied else None,
        flips=flips,
        effects={e: n for e in EFFECTS.values() if (n := sum(f.effect == e for f in flips))},
        shifts=() if wide else shifts,
        realignment=_realignment(rows, groups, both),
        notes=(wide,) if wide else (),
    )


def _kept(metadata: Mapping[str, Sequence[str]], kept: NDArray[np.bool_]) -> dict[str, list[str]]:
    return {n: [v for v, k in zip(values, kept, strict=True) if k] for n, values in metadata.items()}


def _scale_note(rows: PairedRows, both: NDArray[np.bool_]) -> str:
    """Why shifts of the scores would mean nothing; "" where they do."""
    if not rows.one_scale:
        return "The two versions' scores are on different scales: their shift is not shown."
    if both.sum() < 2:
        return "Fewer than two scans were answered by both: the shift of the scores is not shown."
    new, old = (np.quantile(s[both], [0.05, 0.95]) for s in (rows.new, rows.old))
    if new[0] > old[1] or old[0] > new[1]:
        return (
            f"The scores do not overlap (90 % of the old lie in {old[0]:.4g} to {old[1]:.4g}, of the new in "
            f"{new[0]:.4g} to {new[1]:.4g}): the scale itself seems to have changed, so their shift is not shown."
        )
    return ""


def version_record(versus: Versus) -> dict[str, Any]:
    """JSON-able: every number of a comparison, its sentences, infinities as None.

    >>> rows = PairedRows(["s1", "s2"], np.array([0, 1]), ["p1", "p2"], np.array([0.1, 0.4]), np.array([0.1, 0.6]))
    >>> version_record(compare_versions(rows))["rank_correlation"] is None  # of two scans there is none
    True
    """
    record: dict[str, Any] = plain(
        asdict(versus) | {"headline": versus.headline, "outcome": versus.outcome, "exit_code": versus.exit_code}
    )
    for row, difference in zip(record["differences"], versus.differences, strict=True):
        row["sentence"] = difference.sentence
    if versus.realignment is not None:
        record["realignment"]["sentence"] = versus.realignment.sentence
    return record


# AUC, sensitivity, specificity ---------------------------------------------------------------------------------------


def _differences(
    rows: PairedRows, groups: Ints, both: NDArray[np.bool_], margin: float | None
) -> tuple[Difference, ...]:
    found: list[tuple[Measure, int, float, float, Interval, float | None]] = []
    shares: tuple[tuple[Measure, int], ...] = (("sensitivity", 1), ("specificity", 0))
    people: dict[Measure, int] = {"discrimination (AUC)": _rarer(rows, groups, both & (rows.labels >= 0))}
    compared = _compare_auc(rows, groups, both & (rows.labels >= 0))
    if compared is not None:
        c, scans = compared
        found.append(
            (
                "discrimination (AUC)",
                scans,
                c.first,
                c.second,
                Interval(c.difference, c.low, c.high, c.method),
                c.p_value,
            )
        )
    if rows.new_calls is not None and rows.old_calls is not None:
        given = (rows.new_calls >= 0) | (rows.old_calls >= 0)
        for measure, label in shares:
            kept = given & (rows.labels == label)
            if not kept.any():
                continue
            people[measure] = np.unique(groups[kept]).size
            new, old = ((calls[kept] == label).astype(np.int64) for calls in (rows.new_calls, rows.old_calls))
            gap = paired_share_difference(new, old, groups[kept])
            if _same_answers(rows, given):
                gap = Interval(0.0, 0.0, 0.0, "no score and no decision changed")
            found.append((measure, int(kept.sum()), float(new.mean()), float(old.mean()), gap, None))
    level = 1 - 0.05 / max(len(found), 1)
    return tuple(
        Difference(
            measure, scans, new, old, gap, p, _status(gap, margin, level, people[measure]), margin, people[measure]
        )
        for measure, scans, new, old, gap, p in found
    )


def _rarer(rows: PairedRows, groups: Ints, used: NDArray[np.bool_]) -> int:
    """Patients of the rarer class behind the AUC: of sites that have both classes."""
    sites = np.zeros(used.size) if rows.sites is None else np.array(rows.sites)
    pairs = used & np.isin(sites, np.intersect1d(sites[used & (rows.labels == 1)], sites[used & (rows.labels == 0)]))
    return min(np.unique(groups[pairs & (rows.labels == c)]).size for c in (0, 1))


def _same_answers(rows: PairedRows, given: NDArray[np.bool_]) -> bool:
    assert rows.new_calls is not None
    assert rows.old_calls is not None
    same = np.array_equal(rows.new_calls[given], rows.old_calls[given])
    return same and np.array_equal(rows.new[given], rows.old[given], equal_nan=True)


def _compare_auc(rows: PairedRows, groups: Ints, used: NDArray[np.bool_]) -> tuple[Comparison, int] | None:
    labels = rows.labels[used]
    if not used.any() or labels.min() == labels.max():
        return None
    columns = labels, groups[used], rows.new[used], rows.old[used]
    sites = np.zeros(labels.size) if rows.sites is None else np.array(rows.sites)[used]
    if np.unique(sites).size > 1:
        found = compare_models_within_sites(columns[0], columns[1], sites, columns[2], columns[3])
    else:
        found = compare_models(*columns)
    parts = [sites == site for site in np.unique(sites)]
    if found is not None and all(np.array_equal(rankdata(columns[2][p]), rankdata(columns[3][p])) for p in parts):
        note = "every scan keeps its rank, so the AUC is the same"
        found = Comparison(found.first, found.second, 0.0, 0.0, 0.0, 1.0, None, 1, note)
    return None if found is None else (found, int(used.sum()))


def _status(gap: Interval, margin: float | None, level: float, patients: int) -> Status:
    if patients < LEAST_PATIENTS and not gap.low == gap.high == 0:
        return "too few"
    if margin is not None:
        return "not worse" if gap.low > -margin else "worse" if gap.high < -margin else "open"
    wide = at_level(gap, level, bounds=(-1.0, 1.0))
    return "lower" if wide.high < 0 else "higher" if wide.low > 0 else "no sure difference"


# Flips, and the threshold --------------------------------------------------------------------------------------------


def _flips(rows: PairedRows) -> tuple[Flip, ...]:
    if rows.new_calls is None or rows.old_calls is None:
        return ()
    places = np.flatnonzero((rows.new_calls != rows.old_calls) & (rows.new_calls >= 0) & (rows.old_calls >= 0))
    order = list(EFFECTS.values())

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    found = [
        Flip(
            rows.scans[i],
            int(rows.labels[i]),
            number(rows.old[i]),
            number(rows.new[i]),
            bool(rows.old_calls[i] == 1),
            EFFECTS[int(rows.labels[i]), bool(rows.old_calls[i] == 1)],
        )
        for i in places.tolist()
    ]
    return tuple(sorted(found, key=lambda f: order.index(f.effect)))


def _realignment(rows: PairedRows, groups: Ints, both: NDArray[np.bool_]) -> Realignment | None:
    if rows.old_calls is None:
        return None
    used = both & (rows.old_calls >= 0)
    called = None if rows.new_calls is None or (rows.new_calls[used] < 0).any() else rows.new_calls[used] == 1
    return realign(rows.new[used], rows.old_calls[used] == 1, called, rows.labels[used], groups[used], show=rows.show)
