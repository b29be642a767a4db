"""An estimate of a model's AUC at a site without labels, from its scores, with its range over the known sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import ks_2samp

from elsewhere.statistics.columns import Floats, check_both_classes, check_groups, check_labels, check_probabilities
from elsewhere.statistics.decision import Recalibration, fit_recalibration, recalibrate
from elsewhere.statistics.over_sites import auc_log_odds, new_site, over_sites
from elsewhere.statistics.roc import exact_auc

LEAST_SITES = 2
"""Sites that the model was not trained on, with both classes, without which nothing corrects an estimate."""

SITES_FOR_A_RANGE = 3
"""Such sites without which no range is given: from two, the prediction interval is nearly 0 to 1."""

LEAST_SCANS = 20
"""Scans of the new site below which its scores are no distribution."""

KOLMOGOROV = 1.358
"""95 % point of Kolmogorov's distribution: sampling alone moves two equal distributions this far · √(1/n + 1/m)."""

SLACK = 0.1
"""Metadata lie outside where they are this much of the known range, or of the value, beyond what was measured."""

CLOSEST_TO_PERFECT = 0.01
"""AUCs are kept this far from 0 and 1 on the log-odds scale, on which the sites' excesses are compared."""

METHOD = (
    "expected AUC of the scores after calibration at home (confidence-based estimation), less its mean excess at the "
    "known sites the model had not seen, on the log-odds scale; random-effects prediction interval over those sites "
    "(REML mean; interval over the confidence distribution of the variance between sites)"
)


@dataclass(frozen=True)
class KnownSite:
    """One site with labels where the model was tried.

    Attributes:
        name: of the site.
        labels: 1 or 0 (scans,).
        probabilities: the model's (scans,).
        seen: the model was trained there.
        patients: patient of each scan (scans,); without, every scan is its own.
    """

    name: str
    labels: ArrayLike
    probabilities: ArrayLike
    seen: bool
    patients: ArrayLike | None = None


@dataclass(frozen=True)
class LeftOut:
    """One known site treated as if it had no labels.

    Attributes:
        site: its name.
        measured: its AUC from the labels.
        estimated: what the estimate said without them.
        error: estimated - measured.
    """

    site: str
    measured: float
    estimated: float
    error: float


@dataclass(frozen=True)
class Estimate:
    """An AUC estimated without labels; never a measurement.

    Attributes:
        auc: the estimate.
        low: lower end of the 95 % prediction interval for the AUC at a new site; None with fewer than three sites.
        high: upper end.
        confidence_only: the expected AUC before the known sites corrected it.
        spread: standard deviation of the excess between sites (log-odds, REML), without sampling error.
        left_out: each known unseen site in turn.
        largest_error: largest absolute error among them.
        mean_error: mean absolute error.
        method: in words.
    """

    auc: float
    low: float | None
    high: float | None
    confidence_only: float
    spread: float
    left_out: tuple[LeftOut, ...]
    largest_error: float
    mean_error: float
    method: str = METHOD

    @property
    def range_words(self) -> str:
        """What the range is, or why there is none.

        >>> left_out = tuple(LeftOut(name, 0.8, 0.82, 0.02) for name in "BCD")
        >>> Estimate(0.8, 0.6, 0.9, 0.82, 0.1, left_out, 0.02, 0.02).range_words[:57]
        'The 95 % prediction interval for a new site, 0.60 to 0.90'
        """
        sites = len(self.left_out)
        if self.low is None or self.high is None:
            return (
                f"the model was measured at {sites} sites that it was not trained on; a range takes "
                f"{SITES_FOR_A_RANGE} or more."
            )
        return (
            f"The 95 % prediction interval for a new site, {self.low:.2f} to {self.high:.2f}, rests on {sites} known "
            "unseen sites and holds only if the new site is one more of their kind."
        )


def expected_auc(probabilities: ArrayLike) -> float:
    """AUC that scans with these probabilities would have on average, were each positive with its own probability.

    Σ p_i (1 − p_j) [p_i > p_j] / Σ p_i (1 − p_j) over i ≠ j.

    The ratio of the expected comparisons won to those made, over pairs of different scans; ties count half.

    Raises:
        ValueError: fewer than two scans, NaN, outside 0 to 1, or all certain of one class.

    >>> round(expected_auc([0.2, 0.8]), 3)  # 0.8 * 0.8 / (0.8 * 0.8 + 0.2 * 0.2)
    0.941
    """
    given = np.asarray(probabilities, dtype=np.float64)
    values = np.sort(check_probabilities(given, given.size))
    levels, place = np.unique(values, return_inverse=True)
    up, down = np.bincount(place, values), np.bincount(place, 1 - values)
    own = np.bincount(place, values * (1 - values))
    below = np.cumsum(down) - down
    made = float(values.sum() * (1 - values).sum() - own.sum())
    if levels.size == 0 or made <= 0:
        raise ValueError("these probabilities leave no pair of a positive and a negative; no AUC can be expected")
    return float((up @ below + (up @ down - own.sum()) / 2) / made)


def estimate_auc(
    home: tuple[ArrayLike, ArrayLike],
    known: Sequence[KnownSite],
    probabilities: ArrayLike,
    patients: ArrayLike | None = None,
) -> Estimate:
    """AUC of a model at a site without labels.

    Scores are calibrated at home (Platt), their expected AUC is taken as if that calibration held (Guillory et al.
    2021 and Garg et al. 2022 do so for accuracy), and the mean excess of that number over the truth at the known
    unseen sites is taken off. The range is a random-effects prediction interval over those sites; each is also left
    out in turn, its excess then coming from the others alone.

    Args:
        home: (labels, probabilities) of home validation scans.
        known: sites with labels where the model was tried; those of one class, or that it was trained on, are
            passed over.
        probabilities: at the new site (scans,).
        patients: patient of each of those scans (scans,); without, every scan is its own.

    Raises:
        ValueError: fewer than 2 usable known sites, home of one class, fewer than 20 scans.

    >>> labels, probabilities = [0, 0, 1, 1] * 5, [0.2, 0.6, 0.4, 0.8] * 5
    >>> known = [KnownSite(name, labels, probabilities, seen=False) for name in "BC"]
    >>> found = estimate_auc((labels, probabilities), known, probabilities)  # the new site is as the known ones
    >>> round(found.auc, 2), found.low
    (0.75, None)
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.size < LEAST_SCANS:
        raise ValueError(f"{values.size} scans are too few for an estimate from their scores; it takes {LEAST_SCANS}")
    usable = [site for site in known if not site.seen and _is_measurable(site)]
    if len(usable) < LEAST_SITES:
        raise ValueError(
            f"the study has {len(usable)} site(s) with two patients or more of both classes that this model was not "
            f"trained on; an estimate is corrected by {LEAST_SITES} or more"
        )
    scale = _calibration(home)
    measured = np.array([float(exact_auc(s.labels, s.probabilities)) for s in usable])
    expected = np.array([_expected(s.probabilities, scale) for s in usable])
    excess = _log_odds(expected) - _log_odds(measured)
    variances = np.array([_excess_variance(s, scale) for s in usable])
    rest = [np.arange(excess.size) != place for place in range(excess.size)]
    others = np.array([over_sites(excess[kept], variances[kept]).mean for kept in rest])
    guesses = expit(_log_odds(expected) - others)
    left_out = tuple(
        LeftOut(s.name, float(m), float(g), float(g - m)) for s, m, g in zip(usable, measured, guesses, strict=True)
    )
    errors = np.abs(guesses - measured)
    alone = _expected(values, scale)
    middle = _log_odds(np.array([alone]))[0]
    found = over_sites(excess, variances)
    low = high = None
    if len(usable) >= SITES_FOR_A_RANGE:
        least, most = new_site(excess, variances, _expected_variance(values, patients, scale))
        low, high = float(expit(middle - most)), float(expit(middle - least))
    auc, spread = float(expit(middle - found.mean)), found.between or 0.0
    return Estimate(auc, low, high, alone, spread, left_out, float(errors.max()), float(errors.mean()))


def _is_measurable(site: KnownSite) -> bool:
    labels = np.asarray(site.labels)
    patients = np.arange(labels.size) if site.patients is None else np.asarray(site.patients)
    return min(np.unique(patients[labels == c]).size for c in (0, 1)) >= 2


def _log_odds(aucs: Floats) -> Floats:
    inside: Floats = logit(np.clip(aucs, CLOSEST_TO_PERFECT, 1 - CLOSEST_TO_PERFECT))
    return inside


def _excess_variance(site: KnownSite, scale: Recalibration) -> float:
    """Sampling variance of the excess (log-odds): of the expected AUC, and of the measured one (DeLong)."""
    found = auc_log_odds(site.labels, site.patients, site.probabilities)
    assert found is not None, f"{site.name} is not measurable"
    measured = found[1]
    return measured + _expected_variance(np.asarray(site.probabilities, np.float64), site.patients, scale)


def _expected_variance(values: Floats, patients: ArrayLike | None, scale: Recalibration) -> float:
    """Sampling variance of the expected AUC (log-odds), patients as the unit."""
    groups = np.arange(values.size) if patients is None else check_groups(patients, values.size)
    pulls = np.bincount(groups, expected_auc_influence(recalibrate(values, scale)))
    auc = float(np.clip(_expected(values, scale), CLOSEST_TO_PERFECT, 1 - CLOSEST_TO_PERFECT))
    return float((pulls**2).sum()) / (auc * (1 - auc)) ** 2


def expected_auc_influence(probabilities: ArrayLike) -> Floats:
    """By how much each scan (scans,) pulls the expected AUC: linearised, sum 0; their squares add up to its variance.

    Of the ratio won / made, scan i is in p_i · (1 - p_j) as the positive and in p_j · (1 - p_i) as the negative.

    Raises:
        ValueError: as `expected_auc`.

    >>> pulls = expected_auc_influence([0.2, 0.4, 0.9])
    >>> pulls.round(3).tolist()  # of 0.2: (1.04 - 1.58 / 1.76 * 1.18) / 1.76
    [-0.011, -0.032, 0.043]
    """
    values = np.asarray(probabilities, dtype=np.float64)
    auc = expected_auc(values)
    levels, place = np.unique(values, return_inverse=True)
    up, down = np.bincount(place, values, levels.size), np.bincount(place, 1 - values, levels.size)
    below, above = np.cumsum(down) - down, up.sum() - np.cumsum(up)
    beaten = below[place] + (down[place] - (1 - values)) / 2
    beating = above[place] + (up[place] - values) / 2
    won = values * beaten + (1 - values) * beating
    made = values * (down.sum() - (1 - values)) + (1 - values) * (up.sum() - values)
    pull: Floats = (won - auc * made) / (made.sum() / 2)
    return pull


def _calibration(home: tuple[ArrayLike, ArrayLike]) -> Recalibration:
    labels = check_labels(home[0])
    check_both_classes(labels)
    return fit_recalibration(labels, home[1])


def _expected(probabilities: ArrayLike, scale: Recalibration) -> float:
    values: Floats = recalibrate(probabilities, scale)
    return expected_auc(values)


def outside(
    probabilities: ArrayLike,
    known: Sequence[KnownSite],
    facts: Mapping[str, Sequence[object]] = {},
    known_facts: Mapping[str, Sequence[object]] = {},
) -> tuple[str, ...]:
    """In what this site lies outside everything measured, a sentence each; empty where it lies inside.

    Scores: their Kolmogorov-Smirnov distance from the nearest known site, less what sampling alone can make (95 %),
    is larger than that of any known site from its own nearest. Facts: most scans have a value beyond the range, or
    a category, of every known scan. Facts that are not known on both sides are passed over.

    Args:
        probabilities: the model's at the new site (scans,).
        known: at least two sites, those it was trained on included; labels are not used.
        facts: name -> one value per scan of the new site, None where unknown.
        known_facts: the same for all known scans.

    >>> known = [KnownSite(name, [0, 1], [0.4, 0.6], seen=False) for name in "AB"]
    >>> outside([0.5], known, {"slice thickness": [10.0]}, {"slice thickness": [1.0, 5.0]})
    ('slice thickness is 10 in the middle scan, the known sites reach from 1 to 5.',)
    """
    said = [_outside_fact(name, facts[name], known_facts.get(name, ())) for name in facts]
    scores = [np.asarray(site.probabilities, dtype=np.float64) for site in known]
    here = np.asarray(probabilities, dtype=np.float64)
    if len(scores) >= 2 and here.size:
        near = [min(_distance(a, b) for j, b in enumerate(scores) if j != i) for i, a in enumerate(scores)]
        gaps = [_distance(here, s) - KOLMOGOROV * (1 / here.size + 1 / s.size) ** 0.5 for s in scores]
        if min(gaps) > max(near):
            said.append("The scores are spread as at no known site.")
    return tuple(words for words in said if words)


def _distance(first: Floats, second: Floats) -> float:
    return float(ks_2samp(first, second, method="asymp").statistic)


def _outside_fact(name: str, here: Sequence[object], known: Sequence[object]) -> str:
    ours, theirs = ([v for v in values if v is not None and v == v] for values in (here, known))  # noqa: PLR0124 - NaN
    if not ours or not theirs:
        return ""
    if any(isinstance(v, str) for v in [*ours, *theirs]):
        strange = sorted({str(v) for v in ours} - {str(v) for v in theirs})
        share = sum(str(v) in strange for v in ours) / len(ours)
        return f"{name} is {', '.join(strange)}, which no known scan has." if share > 0.5 else ""
    values, seen = np.array(ours, dtype=np.float64), np.array(theirs, dtype=np.float64)
    low, high = float(seen.min()), float(seen.max())
    slack = SLACK * max(high - low, abs(low), abs(high))
    beyond = (values < low - slack) | (values > high + slack)
    if beyond.mean() <= 0.5:
        return ""
    return f"{name} is {np.median(values):g} in the middle scan, the known sites reach from {low:g} to {high:g}."
