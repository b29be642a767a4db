"""A network that learned one site after another in; what it kept of each, what it gained for the next, out.

R[i, j] is the AUC at site j after learning site i of n, on test scans. With it (Lopez-Paz & Ranzato, NeurIPS 2017;
forgetting: Chaudhry et al., ECCV 2018):

* final: mean over j of R[n, j];
* backward transfer: mean over j < n of R[n, j] − R[j, j]; below 0, later sites cost what earlier ones gave;
* forgetting: mean over j < n of max(i < n) R[i, j] − R[n, j]; the best step is taken as known, which makes it larger;
* forward transfer: mean over j > 1 of R[j−1, j] − 0.5, what earlier sites give for one that comes next.

A site that was not learned cannot be forgotten: it enters neither backward transfer nor forgetting. That is judged on
the same test scans, and a site that was learned by luck there looks more forgotten than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from elsewhere.statistics.adaptation import mean_auc
from elsewhere.statistics.columns import Floats, Ints, check_groups
from elsewhere.statistics.delong import auc_covariance
from elsewhere.statistics.intervals import LEVEL, Interval

CHANCE, NO_SPREAD = 0.5, 1e-12
METHOD = "mean over sites; over trainings and patients"


@dataclass(frozen=True, eq=False)
class SiteScores:
    """What a network said of one site's test scans after each step.

    Attributes:
        site: name.
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,).
        scores: (trainings, steps, scans).

    >>> scores = np.array([[[1.0, 2, 3, 4], [1.0, 3, 2, 4]]])  # one training, two steps
    >>> site = SiteScores("A", np.array([0, 0, 1, 1]), np.arange(4), scores)
    >>> bool(site.ranks), site.after(0).estimate, site.after(1).estimate
    (True, 1.0, 0.75)
    """

    site: str
    labels: Ints
    patients: Ints
    scores: Floats

    @property
    def ranks(self) -> bool:
        """Whether both classes are there."""
        return bool(self.labels.size and self.labels.min() != self.labels.max())

    def after(self, step: int) -> Interval | None:
        """AUC after a step, counted from 0, over trainings and patients; None with one class."""
        return mean_auc(self.labels, self.patients, self.scores[:, step]) if self.ranks else None


@dataclass(frozen=True)
class Transfer:
    """What a sequence of sites came to.

    Attributes:
        final: mean AUC over the sites after the last one; None where no site has both classes.
        backward: backward transfer; None where no site but the last was learned.
        forgetting: likewise.
        forward: forward transfer; None where no later site has both classes.
        unlearned: sites whose AUC was not surely above 0.5 after they were learned.
    """

    final: Interval | None
    backward: Interval | None
    forgetting: Interval | None
    forward: Interval | None
    unlearned: tuple[str, ...]


def transfer_of(sites: Sequence[SiteScores]) -> Transfer:
    """Transfer over the sites of an order, in that order; step i learned site i.

    Args:
        sites: at least two, each with scores after every step.

    Raises:
        ValueError: NaN, lengths that differ, another number of steps than of sites.

    >>> scores = np.array([[np.arange(20.0), np.arange(20.0) % 10]])  # AUC 1 after the first site, 0.5 after the second
    >>> found = transfer_of([SiteScores(name, np.repeat([0, 1], 10), np.arange(20), scores) for name in "AB"])
    >>> found.final.estimate, found.backward.estimate, found.forgetting.estimate, found.forward.estimate
    (0.5, -0.5, 0.5, 0.5)
    """
    steps = len(sites)
    if any(one.scores.shape[1:] != (steps, one.labels.size) for one in sites):
        raise ValueError(f"scores must be of shape (trainings, {steps}, scans)")
    own = [(place, one, one.after(place)) for place, one in enumerate(sites) if one.ranks]
    unlearned = tuple(one.site for _, one, auc in own if auc is None or auc.low <= CHANCE)
    kept = [(place, one) for place, one, _ in own if place < steps - 1 and one.site not in unlearned]
    later = [(place, one) for place, one, _ in own if place > 0]
    return Transfer(
        mean_contrast([one for _, one, _ in own], [_steps(steps, (steps - 1, 1.0)) for _ in own]),
        mean_contrast([one for _, one in kept], [_steps(steps, (steps - 1, 1.0), (place, -1.0)) for place, _ in kept]),
        mean_contrast([one for _, one in kept], [_lost(one, steps) for _, one in kept]),
        mean_contrast([one for _, one in later], [_steps(steps, (place - 1, 1.0)) for place, _ in later], CHANCE),
        unlearned,
    )


def final_difference(one: Sequence[SiteScores], other: Sequence[SiteScores]) -> Interval | None:
    """Mean AUC after the last step of one sequence less that of another, on the same scans of the same sites.

    Args:
        one: sites with scores of the first, (trainings, steps, scans).
        other: the same sites and scans, and as many trainings.

    Raises:
        ValueError: other scans.

    >>> labels, last = np.array([0, 0, 1, 1]), ([1.0, 2, 3, 4], [1.0, 3, 2, 4])
    >>> one, other = (SiteScores("A", labels, np.arange(4), np.array([[scores]])) for scores in last)
    >>> final_difference([one], [other]).estimate  # 1 - 0.75
    0.25
    """
    pairs = []
    for a, b in zip(one, other, strict=True):
        if a.site != b.site or not np.array_equal(a.labels, b.labels) or not np.array_equal(a.patients, b.patients):
            raise ValueError(f"{a.site} and {b.site} are not the same scans")
        pairs.append(SiteScores(a.site, a.labels, a.patients, np.stack([a.scores[:, -1], b.scores[:, -1]], axis=1)))
    pairs = [pair for pair in pairs if pair.ranks]
    return mean_contrast(pairs, [np.array([1.0, -1.0])] * len(pairs))


def mean_contrast(sites: Sequence[SiteScores], weights: Sequence[Floats], less: float = 0.0) -> Interval | None:
    """Mean over sites of a weighted sum of the AUCs after each step, with an interval over trainings and patients.

    Patients of different sites are independent; a training is the same one at all sites. The patients' part is from
    the clustered DeLong covariance, that of several trainings a t-interval over them; half-widths are squared and
    added. Of one training the interval is over patients alone.

    Args:
        sites: each with scores (trainings, steps, scans) and both classes.
        weights: of the steps, for each site (steps,).
        less: subtracted from the mean.

    Returns:
        The interval; None without sites.

    >>> apart = SiteScores("A", np.array([0, 0, 1, 1]), np.arange(4), np.array([[[1.0, 2, 3, 4], [1.0, 2, 3, 4]]]))
    >>> mean_contrast([apart], [np.array([1.0, -1.0])]).estimate
    0.0
    """
    if not sites:
        return None
    by_training, variance, patients = [], 0.0, 0
    for one, weight in zip(sites, weights, strict=True):
        trainings, steps, scans = one.scores.shape
        aucs, covariance = auc_covariance(one.labels, one.scores.reshape(-1, scans), one.patients)
        spread = np.tile(weight, trainings) / trainings
        by_training.append(aucs.reshape(trainings, steps) @ weight)
        variance += _variance(spread, covariance, one.scores[:, np.abs(weight) > 0], float(weight.sum()))
        patients += int(check_groups(one.patients, scans).max()) + 1
    own = np.mean(by_training, axis=0)
    middle = float(own.mean()) - less
    least, most = (float(np.mean([sign(w, 0).sum() for w in weights])) - less for sign in (np.minimum, np.maximum))
    if not np.isfinite(variance):
        return Interval(middle, least, most, "unknown: too few patients, or scores that separate the classes wholly")
    quantile = 0.5 + LEVEL / 2
    over_patients = float(t.ppf(quantile, max(patients - len(sites), 1))) * max(variance, 0.0) ** 0.5 / len(sites)
    over_trainings = 0.0
    if own.size > 1:
        over_trainings = float(t.ppf(quantile, own.size - 1) * own.std(ddof=1) / own.size**0.5)
    half = float(np.hypot(over_patients, over_trainings))
    return Interval(middle, max(middle - half, least), min(middle + half, most), METHOD)


def _variance(weights: Floats, covariance: Floats, scores: Floats, total: float) -> float:
    """Of the weighted sum of AUCs; NaN where it comes out as 0 and is not.

    Scores that separate the classes wholly, or not at all, have no spread in the sample. The same scores (trainings,
    steps, scans) after each step that counts, under weights that sum to 0 (`total`), have none at all.
    """
    found = float(weights @ covariance @ weights)
    same = abs(total) < NO_SPREAD and bool((scores == scores[:, :1]).all())
    return found if found > NO_SPREAD else 0.0 if same else float("nan")


def _steps(steps: int, *given: tuple[int, float]) -> Floats:
    found = np.zeros(steps)
    for step, weight in given:
        found[step] += weight
    return found


def _lost(one: SiteScores, steps: int) -> Floats:
    """Weights of the best step before the last (on the mean over trainings) less the last."""
    aucs, _ = auc_covariance(one.labels, one.scores.reshape(-1, one.labels.size), one.patients)
    best = int(aucs.reshape(-1, steps).mean(axis=0)[:-1].argmax())
    return _steps(steps, (best, 1.0), (steps - 1, -1.0))
