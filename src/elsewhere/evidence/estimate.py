"""A model's scores at a site without labels in; an estimate of its AUC there, with its measured error, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import ks_2samp

from elsewhere.evidence.columns import Floats, Ints, check_both_classes, check_groups, check_labels, check_probabilities
from elsewhere.evidence.decision import Recalibration, fit_recalibration, recalibrate
from elsewhere.evidence.intervals import LEVEL, z_value
from elsewhere.evidence.roc import exact_auc

LEAST_SITES = 2
"""Sites that the model was not trained on, with both classes, without which no error can be measured."""

LEAST_SCANS = 20
"""Scans of the new site below which its scores are no distribution."""

RESAMPLES = 200
"""Of the new site's patients, for the sampling error of the expected AUC."""

KOLMOGOROV = 1.358
"""95 % point of Kolmogorov's distribution: sampling alone moves two equal distributions this far · √(1/n + 1/m)."""

SLACK = 0.1
"""A fact lies outside where it is this much of the known range, or of the value, beyond what was measured."""

METHOD = (
    "expected AUC of the scores after calibration at home (confidence-based estimation), less its mean excess at the "
    "known sites the model had not seen"
)


@dataclass(frozen=True)
class KnownSite:
    """One site with labels where the model was tried.

    Attributes:
        name: of the site.
        labels: 1 or 0 (scans,).
        probabilities: the model's (scans,).
        seen: the model was trained there.
    """

    name: str
    labels: ArrayLike
    probabilities: ArrayLike
    seen: bool


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
    """An AUC guessed without labels. It is an estimate, never a measurement.

    Attributes:
        auc: the estimate.
        low: auc less the largest error that the estimate made at a known site left out, and the sampling error of
            the scans here (square-and-add).
        high: auc with them added.
        sampling: half-width of the 95 % sampling interval of the expected AUC, patients resampled.
        confidence_only: the expected AUC before the known sites corrected it.
        left_out: each known unseen site in turn.
        largest_error: largest absolute error among them.
        mean_error: mean absolute error.
        sureness: k / (k + 1) for k sites: how often low..high would hold at best, were the new site drawn like them.
        method: in words.
    """

    auc: float
    low: float
    high: float
    sampling: float
    confidence_only: float
    left_out: tuple[LeftOut, ...]
    largest_error: float
    mean_error: float
    sureness: float
    method: str = METHOD


def expected_auc(probabilities: ArrayLike) -> float:
    """AUC that scans with these probabilities would have on average, were each positive with its own probability.

    The ratio of the expected comparisons won to those made, over pairs of different scans; ties count half.

    Raises:
        ValueError: fewer than two scans, NaN, outside 0 to 1, or all certain of one class.
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
    unseen sites is taken off. Its error is measured by leaving out each of these sites in turn: the excess then
    comes from the others alone.

    Args:
        home: (labels, probabilities) of home validation scans.
        known: sites with labels where the model was tried; those of one class, or that it was trained on, are
            passed over.
        probabilities: at the new site (scans,).
        patients: patient of each of those scans (scans,); without, every scan is its own.

    Raises:
        ValueError: fewer than 2 usable known sites, home of one class, fewer than 20 scans.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.size < LEAST_SCANS:
        raise ValueError(f"{values.size} scans are too few for an estimate from their scores; it takes {LEAST_SCANS}")
    usable = [site for site in known if not site.seen and len(set(np.asarray(site.labels).tolist())) == 2]
    if len(usable) < LEAST_SITES:
        raise ValueError(
            f"the study has {len(usable)} site(s) with both classes that this model was not trained on; the error of "
            f"an estimate can only be measured with {LEAST_SITES} or more"
        )
    scale = _calibration(home)
    measured = np.array([float(exact_auc(s.labels, s.probabilities)) for s in usable])
    expected = np.array([_expected(s.probabilities, scale) for s in usable])
    excess = expected - measured
    others = (excess.sum() - excess) / (excess.size - 1)
    guesses = np.clip(expected - others, 0, 1)
    left_out = tuple(
        LeftOut(s.name, float(m), float(g), float(g - m)) for s, m, g in zip(usable, measured, guesses, strict=True)
    )
    errors = np.abs(guesses - measured)
    alone = _expected(values, scale)
    auc, largest = float(np.clip(alone - excess.mean(), 0, 1)), float(errors.max())
    groups = np.arange(values.size) if patients is None else check_groups(patients, values.size)
    sampling = _sampling(recalibrate(values, scale), groups)
    half = float(np.hypot(largest, sampling))
    return Estimate(
        auc,
        max(auc - half, 0.0),
        min(auc + half, 1.0),
        sampling,
        alone,
        left_out,
        largest,
        float(errors.mean()),
        len(usable) / (len(usable) + 1),
    )


def _sampling(values: Floats, groups: Ints) -> float:
    """Half-width of the 95 % interval of the expected AUC over resampled patients."""
    members = [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]
    random = np.random.default_rng([len(members), RESAMPLES])
    drawn = [
        np.concatenate([members[i] for i in row])
        for row in random.integers(len(members), size=(RESAMPLES, len(members)))
    ]
    return float(z_value(LEVEL) * np.std([expected_auc(values[rows]) for rows in drawn], ddof=1))


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
