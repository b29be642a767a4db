"""Labels, sites and probabilities of validation scans in; whether the network learned to tell the classes apart out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from elsewhere.evidence.columns import Floats, Ints, check_groups, check_labels, check_probabilities
from elsewhere.evidence.decision import CLOSEST_TO_CERTAIN, choose_threshold
from elsewhere.evidence.delong import auc_covariance, effective_scans
from elsewhere.evidence.intervals import score_ends, z_value

LEVEL = 0.95
LEAST_SPREAD = 0.1
"""Standard deviation of the log-odds below which scores hardly differ: near 0.5, less than 0.025 in probability."""


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

    @property
    def degenerate(self) -> bool:
        """Whether nothing may be concluded from this network's scores."""
        return bool(self.reasons)


def judge_learned(labels: ArrayLike, patients: ArrayLike, sites: ArrayLike, probabilities: ArrayLike) -> Learned:
    """Judge a network by the validation scans of its training sites (scans,).

    A network is degenerate where its discrimination within sites is not surely above chance (lower end of the 95 %
    interval at or below 0.5), or its log-odds hardly vary. Sites are kept apart because a network that only tells
    sites with different prevalence apart ranks their pooled scans well. A best accuracy that does not exceed the
    majority share is a remark, not a sign: at low prevalence a useful network has it too.

    Raises:
        ValueError: no scan, NaN, labels other than 0 and 1, probabilities outside 0 to 1, lengths that differ.
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    groups, places = check_groups(patients, truth.size), check_groups(sites, truth.size, "sites")
    found = auc_within_sites(truth, groups, places, values)
    spread = float(np.std(logit(np.clip(values, CLOSEST_TO_CERTAIN, 1 - CLOSEST_TO_CERTAIN))))
    accuracy = choose_threshold(truth, values).accuracy
    majority = float(max(truth.mean(), 1 - truth.mean()))
    auc, low, high = found or (None, None, None)
    return Learned(
        auc,
        low,
        high,
        accuracy,
        majority,
        spread,
        truth.size,
        tuple(_reasons(found, spread)),
        (_trivial(accuracy, majority),) if accuracy <= majority else (),
    )


def auc_within_sites(labels: Ints, patients: Ints, sites: Ints, scores: Floats) -> tuple[float, float, float] | None:
    """AUC over pairs of the same site, with its 95 % interval; None where no site has two classes.

    Sites are weighted by their pairs' harmonic size, n+ n- / (n+ + n-), which is near the inverse variance (van
    Elteren 1960). The interval is `score_ends` on the summed variance, 0 to 1 where a class comes from one patient.

    Args:
        labels: 1 or 0 (scans,).
        patients: patient of each scan, as integers; a patient belongs to one site.
        sites: site of each scan, as integers.
        scores: larger meaning more positive (scans,).
    """
    parts = [np.flatnonzero(sites == site) for site in np.unique(sites)]
    parts = [part for part in parts if 0 < labels[part].sum() < part.size]
    if not parts:
        return None
    weights = np.array([labels[p].sum() * (1 - labels[p]).sum() / p.size for p in parts])
    weights = weights / weights.sum()
    found = [auc_covariance(labels[p], scores[p], patients[p]) for p in parts]
    auc = float(sum(w * aucs[0] for w, (aucs, _) in zip(weights, found, strict=True)))
    variance = float(sum(w**2 * covariance[0, 0] for w, (_, covariance) in zip(weights, found, strict=True)))
    if not np.isfinite(variance):
        return auc, 0.0, 1.0
    worth = [effective_scans(labels[p], scores[p], patients[p]) for p in parts]
    return auc, *score_ends(auc, variance, _added(worth), z_value(LEVEL))


def _added(worth: Sequence[tuple[float, float]]) -> tuple[float, float]:
    positives, negatives = np.sum(worth, axis=0)
    return float(positives), float(negatives)


def _reasons(found: tuple[float, float, float] | None, spread: float) -> list[str]:
    reasons = []
    if found is None:
        reasons.append("no validation site has both classes, so that its discrimination cannot be measured")
    elif found[1] <= 0.5:
        auc, low, high = found
        reasons.append(
            f"its discrimination on the validation scans is not surely above chance (AUC {auc:.2f}, 95 % interval "
            f"{low:.2f} to {high:.2f}; chance is 0.50)"
        )
    if spread < LEAST_SPREAD:
        reasons.append(f"its scores hardly differ (standard deviation of the log-odds {spread:.3f})")
    return reasons


def _trivial(accuracy: float, majority: float) -> str:
    return (
        f"no threshold makes it more accurate on the validation scans than calling each the majority class "
        f"({accuracy:.2f} against {majority:.2f})"
    )
