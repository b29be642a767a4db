"""Random effects over sites: metafor's published results on the BCG trials, a slow prediction interval, coverage."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtri
from scipy.stats import chi2, norm

from elsewhere.statistics.over_sites import auc_log_odds, auc_over_sites, new_site, over_sites
from elsewhere.statistics.roc import exact_auc

# Colditz et al. 1994, 13 trials: cases and others among the vaccinated, cases and others among the controls
BCG = np.array(
    [
        [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
        [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232],
        [17, 1699, 65, 1600], [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825],
    ],
    float,
)  # fmt: skip


def bcg():
    """Log relative risks and their variances."""
    a, b, c, d = BCG.T
    return np.log(a / (a + b) / (c / (c + d))), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)


def a_site(auc, positives, negatives, random, models=1):
    labels = np.repeat([1, 0], [positives, negatives])
    return labels, np.arange(labels.size), np.sqrt(2) * ndtri(auc) * labels + random.normal(size=(models, labels.size))


def test_reml_and_mean_equal_metafor_on_the_bcg_trials():
    """REML, as in Viechtbauer 2010 (J. Stat. Softw. 36(3)); numbers of R's metafor 3.8-1 with test="knha"."""
    found = over_sites(*bcg())
    assert found.between**2 == pytest.approx(0.313243326, rel=1e-6)
    assert (found.mean, found.low, found.high) == pytest.approx((-0.714532, -1.108444, -0.320621), abs=1e-6)


def test_the_prediction_interval_holds_the_one_of_metafor_and_is_little_wider_on_13_trials():
    """metafor 3.8-1, predict(rma(yi, vi, test="knha")): t interval with tau² taken as known, which ours does not."""
    found = over_sites(*bcg())
    assert found.new_low < -1.996017
    assert found.new_high > 0.566952
    assert 1 < (found.new_high - found.new_low) / (0.566952 + 1.996017) < 1.08


def test_the_prediction_interval_equals_draws_of_the_variance_between_sites():
    values, errors = bcg()
    random = np.random.default_rng(1)

    def heterogeneity(between):
        weights = 1 / (errors + between)
        return weights @ (values - weights @ values / weights.sum()) ** 2

    drawn = []
    for wanted in chi2.rvs(12, size=3000, random_state=random):
        between = brentq(lambda b, w=wanted: heterogeneity(b) - w, 0, 100) if heterogeneity(0) > wanted else 0.0
        weights = 1 / (errors + between)
        mean = random.normal(weights @ values / weights.sum(), weights.sum() ** -0.5)
        drawn.append(random.normal(mean, between**0.5, size=50))
    found = over_sites(values, errors)
    assert (found.new_low, found.new_high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.05)


def test_few_sites_cannot_tell_of_a_new_one():
    one, two, three = (over_sites([0.1, 0.5, 0.9][:k], [0.1] * k) for k in (1, 2, 3))
    assert (one.low, one.between, one.new_low) == (None, None, None)
    assert two.high - two.low > 4  # t with one degree of freedom
    assert three.new_low is None
    assert over_sites([0.1, 0.5, 0.9, 1.3], [0.1] * 4).new_low is not None


def test_models_on_the_same_patients_are_no_further_hospitals():
    random = np.random.default_rng(2)
    sites = [a_site(auc, 40, 60, random) for auc in (0.7, 0.8, 0.75, 0.85)]
    twice = [(labels, patients, np.repeat(scores, 2, axis=0)) for labels, patients, scores in sites]
    assert astuple(auc_over_sites(twice)) == pytest.approx(astuple(auc_over_sites(sites)))


def test_a_perfect_site_keeps_its_variance():
    random = np.random.default_rng(3)
    found = auc_over_sites([([1, 1, 0, 0], range(4), [4.0, 3, 2, 1]), *(a_site(0.8, 30, 30, random) for _ in range(3))])
    assert 0.6 < found.mean < 0.95
    assert found.low < found.mean < found.high


def test_a_single_site_gives_its_own_auc():
    """0.5 away from 0 and 1, 0.9 near them, and 1 itself: the mean over one hospital is that hospital's number."""
    random = np.random.default_rng(4)
    for auc in (0.2, 0.5, 0.9):
        labels, patients, scores = a_site(auc, 20, 30, random, models=3)
        found = auc_over_sites([(labels, patients, scores)])
        assert found.mean == pytest.approx(np.mean(exact_auc(labels, scores)), abs=1e-12)
        assert (found.sites, found.low, found.new_low) == (1, None, None)
    assert auc_over_sites([([1, 1, 0, 0], range(4), [4.0, 3, 2, 1])]).mean == 1.0
    alone = ([1, 0, 0], [0, 1, 2], [0.9, 0.1, 0.2])  # a class of one patient: left out, so one site stays
    labels, patients, scores = a_site(0.7, 20, 30, random)
    assert auc_over_sites([alone, (labels, patients, scores)]).mean == pytest.approx(exact_auc(labels, scores[0]))


def test_an_auc_is_moved_only_within_half_a_scan_of_the_ends():
    random = np.random.default_rng(5)
    labels, patients, scores = a_site(0.8, 25, 40, random)
    auc = float(exact_auc(labels, scores[0]))
    assert auc_log_odds(labels, patients, scores)[0] == pytest.approx(logit(auc), abs=1e-12)
    assert auc_log_odds(labels, patients, -scores)[0] == pytest.approx(-logit(auc), abs=1e-12)
    perfect, variance = auc_log_odds([1] * 9 + [0] * 12, None, [2.0] * 9 + [1.0] * 12)
    assert expit(perfect) == pytest.approx(1 - 0.5 / 10)  # as (9 + 0.5) / (9 + 1)
    assert variance > 0
    nearly = [2.0] * 8 + [1.5] + [1.6] + [1.0] * 11  # one of 108 pairs is turned round: 0.991, within half a scan
    assert auc_log_odds([1] * 9 + [0] * 12, None, nearly)[0] == pytest.approx(perfect)


@pytest.mark.parametrize(("mean", "positives"), [(0.75, 30), (0.9, 15)])
def test_prediction_intervals_hold_new_sites(mean, positives):
    """150 studies of six hospitals, AUC 0.75 or 0.9, SD 0.5 in log-odds: share of new hospitals inside, 92 to 98 %."""
    held = []
    for study in range(150):
        random = np.random.default_rng([study, 11])
        truth = expit(random.normal(logit(mean), 0.5, 6))
        found = auc_over_sites([a_site(auc, positives, 2 * positives, random) for auc in truth])
        ends = (logit([found.new_low, found.new_high]) - logit(mean)) / 0.5
        held.append(norm.cdf(ends[1]) - norm.cdf(ends[0]))
    assert 0.92 < np.mean(held) < 0.98


@pytest.mark.parametrize("sites", [3, 5])
@pytest.mark.parametrize("between", [0.2, 0.6])
def test_prediction_intervals_hold_what_is_known_of_a_new_site(sites: int, between: float) -> None:
    """100 studies of hospitals of unlike sizes, the new one known with an error of its own: 93.5 to 99 %."""
    held = []
    for study in range(100):
        random = np.random.default_rng([study, sites, int(10 * between), 12])
        errors = random.choice([0.02, 0.06, 0.1], sites)
        low, high = new_site(random.normal(0.3, np.sqrt(between**2 + errors)), errors, own_variance=0.05)
        law = norm(0.3, np.sqrt(between**2 + 0.05))
        held.append(law.cdf(high) - law.cdf(low))
    assert 0.935 < np.mean(held) < 0.99


def test_only_an_error_of_the_new_sites_own_widens_it() -> None:
    plain, same, wide = (np.ptp(new_site([0.1, 0.4, 0.2], [0.1] * 3, own)) for own in (0.0, 0.0, 0.5))
    assert plain == same < wide
    for given, words in ((([0.1], [0.1]), "two or more"), (([0.1, 0.2], [0.1, 0.1], -1.0), "own_variance must be")):
        with pytest.raises(ValueError, match=words):
            new_site(*given)


@pytest.mark.parametrize(("values", "errors"), [([], []), ([0.1], [0.1, 0.2]), ([0.1, np.nan], [0.1, 0.1]), ([1], [0])])
def test_bad_input_is_refused(values, errors):
    with pytest.raises(ValueError, match=r"per site|finite"):
        over_sites(values, errors)


def test_a_single_patient_everywhere_is_refused():
    with pytest.raises(ValueError, match="single patient"):
        auc_over_sites([([1, 0, 0], [0, 1, 2], [0.9, 0.1, 0.2])])
