"""Whether a network learned to tell the classes apart, from labels, sites and probabilities of its validation scans.

How often it marks what it should not, and misses what it should: docs/verdict-tables.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from elsewhere.statistics.calibration import LEAST_SPREAD
from elsewhere.statistics.columns import Floats, Ints, check_groups, check_labels, check_probabilities, count_groups
from elsewhere.statistics.decision import CLOSEST_TO_CERTAIN, choose_threshold
from elsewhere.statistics.delong import auc_variance
from elsewhere.statistics.intervals import binormal_variance, score_ends, z_value
from elsewhere.statistics.selected import Selected

LEVEL = 0.95
POWER = 0.80
"""Share of trainings in which an AUC at `Learned.detectable` is found surely above chance."""
CHANCE = (1 - LEVEL) / 2
"""An AUC that chance reaches in this share of trainings or more is not surely above chance."""


@dataclass(frozen=True)
class Learned:
    """What validation scans say of a network before anything else is said of it.

    Attributes:
        auc: discrimination, sites apart: pairs of a positive and a negative scan of one site only; None without one.
        auc_low: lower end of its 95 % interval, patient-clustered.
        auc_high: upper end.
        accuracy: at the best threshold on these scans (optimistic: chosen on them).
        majority: share of the majority class.
        spread: standard deviation of the log-odds.
        scans: number of scans.
        reasons: sentences, one for each sign that nothing was learned; empty where none was found.
        remarks: sentences on what else limits the network; they mark nothing.
        detectable: the least true AUC that this number of scans shows surely above chance in 80 % of trainings; None
            where no AUC would be, as with very few scans, or where it cannot be measured.
        checks: number of checks that the weights were chosen among by these scans; 0 where they were not, or where
            it is not known.
        by_chance: how often the best of so many checks has this AUC by chance (`chance_of_selection`); None where it
            was not measured.
    """

    auc: float | None
    auc_low: float | None
    auc_high: float | None
    accuracy: float
    majority: float
    spread: float
    scans: int
    reasons: tuple[str, ...]
    remarks: tuple[str, ...]
    detectable: float | None = None
    checks: int = 0
    by_chance: float | None = None

    @property
    def degenerate(self) -> bool:
        """Whether nothing may be concluded from this network's scores.

        >>> Learned(0.55, 0.35, 0.73, 0.6, 0.5, 1.0, 20, ("not surely above chance",), ()).degenerate
        True
        """
        return bool(self.reasons)


def judge_learned(
    labels: ArrayLike,
    patients: ArrayLike,
    sites: ArrayLike,
    probabilities: ArrayLike,
    *,
    scans: str = "validation scans",
    selected: Selected | None = None,
) -> Learned:
    """Judge a network by the validation scans of its training sites (scans,); `scans` is what to call them.

    A network is degenerate where its discrimination within sites is not surely above chance (lower end of the 95 %
    interval at or below 0.5), or where the best of as many checks reaches it by chance in 2.5 % of trainings or more,
    or its log-odds hardly vary. `selected` says what chance does among the checks that the weights were chosen from on
    these scans; None where they were chosen on others. Sites are kept apart because a network that only tells
    sites with different prevalence apart ranks their pooled scans well. A best accuracy that does not exceed the
    majority share is a remark, not a sign: at low prevalence a useful network has it too.

    Raises:
        ValueError: no scan, NaN, labels other than 0 and 1, probabilities outside 0 to 1, lengths that differ.

    >>> found = judge_learned([0] * 10 + [1] * 10, range(20), ["A"] * 20, np.linspace(0.1, 0.9, 20))
    >>> found.auc, found.degenerate, found.detectable
    (1.0, False, 0.84)
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    groups, places = check_groups(patients, truth.size), check_groups(sites, truth.size, "sites")
    found = auc_within_sites(truth, groups, places, values)
    least = None if found is None else _detectable(truth, groups, places)
    spread = float(np.std(logit(np.clip(values, CLOSEST_TO_CERTAIN, 1 - CLOSEST_TO_CERTAIN))))
    accuracy = choose_threshold(truth, values).accuracy
    majority = float(max(truth.mean(), 1 - truth.mean()))
    auc, low, high = found or (None, None, None)
    chosen = selected or Selected(0, None)
    reasons = (*_reasons(found, spread, least, scans), *_chance(found, chosen, scans))
    remarks = ((_trivial(accuracy, majority, scans),) if accuracy <= majority else ()) + _unmeasured(chosen, scans)
    return Learned(
        auc,
        low,
        high,
        accuracy,
        majority,
        spread,
        truth.size,
        reasons,
        remarks,
        least,
        chosen.checks,
        chosen.p,
    )


def auc_within_sites(labels: Ints, patients: Ints, sites: Ints, scores: Floats) -> tuple[float, float, float] | None:
    """AUC over pairs of the same site, with its 95 % interval; None where no site has two classes.

    Sites are weighted by their pairs' harmonic size, n+ n- / (n+ + n-), which is near the inverse variance (van
    Elteren 1960). The interval is `score_ends` on the summed variance. Sites where a class comes from one patient
    say nothing of it and are left out; where every site is so, it is 0 to 1.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan, as integers; a patient belongs to one site.
        sites: site of each scan, as integers.
        scores: larger meaning more positive (scans,).

    >>> labels, sites = np.array([0, 0, 1, 1] * 2), np.repeat([0, 1], 4)
    >>> scores = np.array([1.0, 2, 3, 4, 11, 12, 13, 14])  # pooled they would give 0.75
    >>> auc_within_sites(labels, np.arange(8), sites, scores)[0]
    1.0
    """
    parts = [np.flatnonzero(sites == site) for site in np.unique(sites)]
    parts = [part for part in parts if 0 < labels[part].sum() < part.size]
    if not parts:
        return None
    wide = [p for p in parts if min(count_groups(patients[p][labels[p] == c]) for c in (0, 1)) >= 2]
    parts = wide or parts
    weights = np.array([labels[p].sum() * (1 - labels[p]).sum() / p.size for p in parts])
    weights = weights / weights.sum()
    found = [auc_variance(labels[p], scores[p], patients[p]) for p in parts]
    auc = float(sum(w * own for w, (own, _, _) in zip(weights, found, strict=True)))
    variance = float(sum(w**2 * own for w, (_, own, _) in zip(weights, found, strict=True)))
    if not np.isfinite(variance):
        return auc, 0.0, 1.0
    worth = _added([own for _, _, own in found])
    return auc, *score_ends(auc, variance, worth, z_value(LEVEL))


def _added(worth: Sequence[tuple[float, float]]) -> tuple[float, float]:
    positives, negatives = np.sum(worth, axis=0)
    return float(positives), float(negatives)


def _detectable(labels: Ints, patients: Ints, sites: Ints) -> float | None:
    """Least AUC with 80 % power against 0.5, two equal normal distributions, patients as scans, sites as auc_within."""
    counts = [
        tuple(np.unique(patients[(sites == site) & (labels == c)]).size for c in (1, 0)) for site in np.unique(sites)
    ]
    sizes = [(float(up), float(down)) for up, down in counts if min(up, down) >= 2]
    if not sizes:
        return None
    weights = np.array([up * down / (up + down) for up, down in sizes])
    shares = weights / weights.sum()

    def error(auc: float) -> float:
        parts = [w**2 * binormal_variance(auc, size) for w, size in zip(shares, sizes, strict=True)]
        return float(np.sqrt(np.sum(parts)))

    chance = z_value(LEVEL) * error(0.5)
    grid = np.arange(0.51, 1.0, 0.01)
    shown = [a for a in grid if a - 0.5 >= chance + z_value(2 * POWER - 1) * error(float(a))]
    return round(float(shown[0]), 2) if shown else None


def _reasons(
    found: tuple[float, float, float] | None, spread: float, detectable: float | None, scans: str
) -> list[str]:
    reasons = []
    if found is None:
        reasons.append(f"no site has both classes in the {scans}, so that its discrimination cannot be measured")
    elif found[2] < 0.5:
        auc, low, high = found
        reasons.append(
            f"its scores point the wrong way on the {scans} (AUC {auc:.2f}, 95 % interval {low:.2f} to {high:.2f}): "
            "positive scans get the lower ones; look whether the labels were exchanged before anything is trained again"
        )
    elif found[1] <= 0.5:
        auc, low, high = found
        reasons.append(
            f"its discrimination on the {scans} is not surely above chance (AUC {auc:.2f}, 95 % interval "
            f"{low:.2f} to {high:.2f}; chance is 0.50); {_power_words(detectable)}"
        )
    if spread < LEAST_SPREAD:
        reasons.append(f"its scores hardly differ (standard deviation of the log-odds {spread:.3f})")
    return reasons


def _chance(found: tuple[float, float, float] | None, chosen: Selected, scans: str) -> tuple[str, ...]:
    """A reason of its own only where the interval, which knows nothing of the choice, shows discrimination."""
    if found is None or found[1] <= 0.5 or chosen.p is None or chosen.p < CHANCE:
        return ()
    what = f"as the best of {chosen.checks} checks on these" if chosen.checks > 1 else "on these"
    return (
        f"chance alone reaches its AUC of {found[0]:.2f} on the {scans} in {chosen.p:.0%} of trainings, {what}: labels "
        "exchanged among the patients of each site do as well",
    )


def _unmeasured(chosen: Selected, scans: str) -> tuple[str, ...]:
    if chosen.checks < 2 or chosen.p is not None:
        return ()
    return (
        f"its weights are the best of {chosen.checks} checks on the {scans}, and how well chance does then was not "
        "measured when it was trained: its discrimination on them looks better than it is",
    )


def _power_words(detectable: float | None) -> str:
    if detectable is None:
        return "with so few scans no network could be shown to discriminate"
    return f"with so many scans an AUC of {detectable:.2f} or more would have been shown in 80 % of trainings"


def _trivial(accuracy: float, majority: float, scans: str) -> str:
    return (
        f"no threshold makes it more accurate on the {scans} than calling each the majority class "
        f"({accuracy:.2f} against {majority:.2f})"
    )
