"""What a validation is wanted to show, and how exactly, in; how many scans and patients it needs, out.

Each measure's number is the least at which its 95 % interval is as narrow as wanted, at the values that are expected
(Riley et al. 2021, Stat Med 40:4230, doi:10.1002/sim.9025; sensitivity and specificity as shares of their class).
Several scans of one patient say less than as many patients: every number is multiplied by the design effect
1 + (m - 1) · ICC, m scans per patient, ICC their correlation (Kish 1965).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.special import expit, logit, ndtri

from elsewhere.statistics.columns import Floats
from elsewhere.statistics.intervals import LEVEL, binormal_variance, score_ends, z_value

MOST = 10_000_000
"""A plan for more scans than this is no plan."""
NODES = 4001
"""Points of the integral over a normal distribution, from -8 to 8 standard deviations."""


@dataclass(frozen=True)
class Expected:
    """What is expected where the validation takes place, and how exactly it is wanted.

    Attributes:
        prevalence: share of positive scans.
        auc: discrimination; None leaves it out of the plan.
        sensitivity: at the product's threshold; None leaves it, and the net benefit, out.
        specificity: likewise.
        threshold: threshold probability of the net benefit; None leaves it out.
        calibration: whether the scores are probabilities, so that slope and O:E count.
        log_odds: mean and standard deviation of the log-odds of the scores, where known; else two normal
            distributions of equal spread that have this AUC and prevalence.
        auc_width: wanted width of the 95 % interval of the AUC.
        share_width: of sensitivity and specificity.
        slope_width: of the calibration slope.
        oe_width: of observed over expected positives.
        benefit_width: of the net benefit over the prevalence (standardised net benefit).
        scans_per_patient: mean number of scans of one patient.
        correlation: of what two scans of one patient say (intraclass correlation).

    Raises:
        ValueError: a value outside its range, or nothing to plan for.
    """

    prevalence: float
    auc: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    threshold: float | None = None
    calibration: bool = False
    log_odds: tuple[float, float] | None = None
    auc_width: float = 0.1
    share_width: float = 0.1
    slope_width: float = 0.2
    oe_width: float = 0.2
    benefit_width: float = 0.2
    scans_per_patient: float = 1.0
    correlation: float = 0.5

    def __post_init__(self) -> None:
        for name in ("prevalence", "auc", "sensitivity", "specificity", "threshold"):
            value = getattr(self, name)
            low = 0.5 if name == "auc" else 0.0
            if value is not None and not low < value < 1:
                raise ValueError(f"{name} must be above {low:g} and below 1, is {value:g}")
        for name in ("auc_width", "share_width", "slope_width", "oe_width", "benefit_width"):
            value, most = getattr(self, name), 1.0 if name in {"auc_width", "share_width"} else np.inf
            if not 0 < value < most:
                wanted = f"above 0 and below {most:g}" if most < np.inf else "above 0"
                raise ValueError(f"{name} must be {wanted}, is {value:g}")
        if not self.scans_per_patient >= 1:
            raise ValueError(f"scans_per_patient must be at least 1, is {self.scans_per_patient:g}")
        if not 0 <= self.correlation <= 1:
            raise ValueError(f"correlation must be 0 to 1, is {self.correlation:g}")
        if self.log_odds is not None and not self.log_odds[1] > 0:
            raise ValueError(f"log_odds must have a standard deviation above 0, it is {self.log_odds[1]:g}")
        if self.threshold is not None and (self.sensitivity is None or self.specificity is None):
            raise ValueError("threshold (net benefit) needs sensitivity and specificity")
        if self.calibration and self.log_odds is None and self.auc is None:
            raise ValueError("calibration needs auc, or log_odds")
        if not self.calibration and self.auc is None and self.sensitivity is None and self.specificity is None:
            raise ValueError("nothing to plan for: give auc, sensitivity, specificity or calibration")

    @property
    def design_effect(self) -> float:
        """Factor on the number of scans for several scans of one patient.

        >>> Expected(0.1, auc=0.8, scans_per_patient=3, correlation=0.5).design_effect  # 1 + (3 - 1) * 0.5
        2.0
        """
        return 1 + (self.scans_per_patient - 1) * self.correlation


@dataclass(frozen=True)
class Need:
    """What one measure needs.

    Attributes:
        measure: which.
        expected: its value.
        width: wanted width of its 95 % interval.
        independent: scans, were each of another patient.
        scans: scans, design effect included.
        patients: patients they come from.
        positives: positive ones among the scans, as expected.
    """

    measure: str
    expected: float
    width: float
    independent: int
    scans: int
    patients: int
    positives: int


def plan_sizes(expected: Expected) -> tuple[Need, ...]:
    """What each measure needs; the largest number of scans serves all.

    Raises:
        ValueError: more than ten million scans would be needed.

    >>> [(n.measure, n.independent, n.scans, n.patients) for n in plan_sizes(Expected(0.5, sensitivity=0.9))]
    [('sensitivity', 277, 277, 277)]
    >>> [(n.scans, n.patients) for n in plan_sizes(Expected(0.5, sensitivity=0.9, scans_per_patient=2))]  # 277 * 1.5
    [(416, 208)]
    """
    e, found = expected, list[Need]()

    def add(measure: str, value: float, width: float, scans: float) -> None:
        if not scans <= MOST:
            raise ValueError(f"{measure} to within a width of {width:g} needs more than {MOST:,} scans; ask for less")
        independent = ceil(scans - 1e-9)
        whole = ceil(independent * e.design_effect - 1e-9)
        patients = ceil(whole / e.scans_per_patient - 1e-9)
        found.append(Need(measure, value, width, independent, whole, patients, round(whole * e.prevalence)))

    if e.auc is not None:
        add("discrimination (AUC)", e.auc, e.auc_width, scans_for_auc(e.auc, e.prevalence, e.auc_width))
    for name, value, share in (
        ("sensitivity", e.sensitivity, e.prevalence),
        ("specificity", e.specificity, 1 - e.prevalence),
    ):
        if value is not None:
            add(name, value, e.share_width, scans_for_share(value, share, e.share_width))
    if e.calibration:
        add("observed over expected", 1.0, e.oe_width, scans_for_oe(e.prevalence, e.oe_width))
        add("calibration slope", 1.0, e.slope_width, scans_for_slope(*_spread(e), e.slope_width))
    if e.threshold is not None and e.sensitivity is not None and e.specificity is not None:
        rates = e.sensitivity, e.specificity
        benefit = standardised_net_benefit(*rates, e.prevalence, e.threshold)
        scans = scans_for_net_benefit(*rates, e.prevalence, e.threshold, e.benefit_width)
        add("standardised net benefit", benefit, e.benefit_width, scans)
    return tuple(found)


def _error(width: float) -> float:
    return width / (2 * z_value(LEVEL))


def auc_error(auc: float, prevalence: float, scans: float) -> float:
    """Standard error of an AUC (Newcombe 2006, method 4; Riley et al. 2021, equation 9).

    SE² = A (1 − A) (1 + h (1 − A) / (2 − A) + h A / (1 + A)) / (n² π (1 − π)), h = n / 2 − 1.

    >>> round(auc_error(0.8, 0.5, 100), 4)  # √(0.16 * 30.94 / 2500)
    0.0445
    """
    half = scans / 2 - 1
    inside = 1 + half * (1 - auc) / (2 - auc) + half * auc / (1 + auc)
    return float(np.sqrt(auc * (1 - auc) * inside / (scans**2 * prevalence * (1 - prevalence))))


def expected_auc_ends(auc: float, positives: int, negatives: int, factor: float = 1.0) -> tuple[float, float]:
    """Ends of the 95 % interval that an AUC will have (`intervals.score_ends`), one scan a patient.

    Args:
        auc: that will be seen, below 1.
        positives: patients.
        negatives: patients.
        factor: of the variance, as `cross_validated.DEPENDENCE`.

    >>> tuple(round(end, 2) for end in expected_auc_ends(0.85, 20, 48))
    (0.72, 0.92)
    """
    scans = (float(positives), float(negatives))
    return score_ends(auc, binormal_variance(auc, scans), scans, z_value(LEVEL) * factor**0.5)


def scans_for_auc(auc: float, prevalence: float, width: float) -> int:
    """Least number of scans with such a width.

    >>> scans_for_auc(0.8, 0.018, 0.1)
    4252
    """
    low, high = 2, 4
    while auc_error(auc, prevalence, high) > _error(width) and high <= MOST:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if auc_error(auc, prevalence, middle) <= _error(width) else (middle + 1, high)
    return low


def scans_for_share(share: float, of_class: float, width: float) -> float:
    """Scans for a sensitivity (or specificity) where `of_class` of them are positive (or negative).

    >>> round(scans_for_share(0.9, 0.5, 0.1))
    277
    """
    return share * (1 - share) / (_error(width) ** 2 * of_class)


def scans_for_oe(prevalence: float, width: float) -> float:
    """Scans for observed over expected positives around 1 (Riley et al. 2021, equation 2).

    The interval is exp(± z · error), so that its error is found from its width by sinh.

    >>> round(scans_for_oe(0.018, 1.0))
    905
    """
    error = float(np.arcsinh(width / 2)) / z_value(LEVEL)
    return (1 - prevalence) / (prevalence * error**2)


def scans_for_slope(log_odds: Floats, weights: Floats, width: float) -> float:
    """Scans for the calibration slope around 1 (Riley et al. 2021, equation 7).

    I₀₀ / (SE² (I₀₀ I₁₁ − I₀₁²)), I₀₀, I₀₁, I₁₁ the means of p (1 − p), x p (1 − p), x² p (1 − p), x the log-odds of
    p.

    Args:
        log_odds: values of the scores' log-odds (points,).
        weights: how frequent each is (points,), summing to 1.
        width: of the 95 % interval.

    >>> round(scans_for_slope(np.array([-2.0, 2.0]), np.array([0.5, 0.5]), 0.4))  # 1 / (0.102² * 2² * 0.105)
    229
    """
    chance = expit(log_odds)
    bend = weights * chance * (1 - chance)
    first, mixed, second = (float((bend * log_odds**k).sum()) for k in (0, 1, 2))
    return first / (_error(width) ** 2 * (first * second - mixed**2))


def normal_log_odds(mean: float, spread: float) -> tuple[Floats, Floats]:
    """Points and weights of a normal distribution of the log-odds.

    >>> points, weights = normal_log_odds(-1.0, 2.0)
    >>> round(float(weights @ points), 3), round(float(weights @ (points + 1) ** 2) ** 0.5, 3)
    (-1.0, 2.0)
    """
    unit = np.linspace(-8, 8, NODES)
    weights = np.exp(-(unit**2) / 2)
    return mean + spread * unit, weights / weights.sum()


def binormal_log_odds(auc: float, prevalence: float) -> tuple[Floats, Floats]:
    """Points and weights of calibrated log-odds, normal with equal spread in each class (Riley et al. 2021, section 4).

    The spread is √2 · Φ⁻¹(AUC), the distance of the means its square.

    >>> points, weights = binormal_log_odds(0.8, 0.1)
    >>> round(float(weights @ expit(points)), 3)  # calibrated: the mean probability is the prevalence
    0.1
    """
    variance = 2 * float(ndtri(auc)) ** 2
    middle, spread = float(logit(prevalence)), variance**0.5
    up, weights = normal_log_odds(middle + variance / 2, spread)
    down, _ = normal_log_odds(middle - variance / 2, spread)
    return np.concatenate([up, down]), np.concatenate([prevalence * weights, (1 - prevalence) * weights])


def _spread(e: Expected) -> tuple[Floats, Floats]:
    if e.log_odds is not None:
        return normal_log_odds(*e.log_odds)
    assert e.auc is not None
    return binormal_log_odds(e.auc, e.prevalence)


def standardised_net_benefit(sensitivity: float, specificity: float, prevalence: float, threshold: float) -> float:
    """Net benefit over the prevalence: 1 is a product without error.

    sens − (1 − spec) (1 − π) / π · t / (1 − t), π the prevalence, t the threshold probability (Vickers & Elkin
    2006).

    >>> round(standardised_net_benefit(0.9, 0.9, 0.1, 0.1), 3)  # 0.9 - 0.1 * 9 / 9
    0.8
    """
    return sensitivity - (1 - specificity) * _weight(prevalence, threshold)


def scans_for_net_benefit(
    sensitivity: float, specificity: float, prevalence: float, threshold: float, width: float
) -> float:
    """Scans for the standardised net benefit (Marsh et al. 2020; Riley et al. 2021, equation 11).

    >>> round(scans_for_net_benefit(0.2, 0.99, 0.018, 0.08, 0.2))
    3551
    """
    w = _weight(prevalence, threshold)
    variance = sensitivity * (1 - sensitivity) / prevalence + w**2 * specificity * (1 - specificity) / (1 - prevalence)
    variance += w**2 * (1 - specificity) ** 2 / (prevalence * (1 - prevalence))
    return variance / _error(width) ** 2


def _weight(prevalence: float, threshold: float) -> float:
    return (1 - prevalence) / prevalence * threshold / (1 - threshold)
