"""Intervals against R's pROC, printed examples, their own defining equations and simulation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtri
from scipy.stats import bootstrap, norm

from elsewhere.statistics.bootstrap import resampled_aucs
from elsewhere.statistics.intervals import (
    Interval,
    auc_interval,
    binormal_variance,
    bootstrap_interval,
    effective_trials,
    mean_interval,
    proportion_interval,
    score_ends,
    wilson_ends,
    z_value,
)
from elsewhere.statistics.roc import exact_auc

GOLDEN = Path(__file__).parents[1] / "golden"
GIVEN = json.loads((GOLDEN / "proc_input.json").read_text())["sets"]
PROC = json.loads((GOLDEN / "proc.json").read_text())["sets"]
METHODS = ("score", "logit", "wald", "percentile", "bca")


@pytest.mark.parametrize("name", GIVEN)
def test_wald_interval_equals_r_proc(name):
    labels = GIVEN[name]["labels"]
    found = auc_interval(labels, np.arange(len(labels)), GIVEN[name]["a"], "wald")
    assert (found.low, found.high) == pytest.approx(PROC[name]["a"]["ci"], abs=1e-10)


def test_wilson_equals_the_printed_example():
    # Newcombe 1998, Statist. Med. 17:857, table I: 81/263, 15/148, 0/20, 1/29, method 3
    printed = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (right, trials), ends in printed.items():
        assert wilson_ends(right / trials, trials) == pytest.approx(ends, abs=6e-5)


def test_wilson_ends_solve_its_equation():
    low, high = wilson_ends(0.3, 17.5)
    for end in (low, high):
        assert (0.3 - end) ** 2 == pytest.approx(z_value(0.95) ** 2 * end * (1 - end) / 17.5)


def testbinormal_variance_equals_integration():
    positives, negatives, auc = 11.0, 23.0, 0.87
    shift = 2**0.5 * ndtri(auc)
    pair = quad(lambda x: norm.cdf(x) ** 2 * norm.pdf(x - shift), -12, 12)[0]  # two negatives below one positive
    slow = (auc * (1 - auc) + (positives + negatives - 2) * (pair - auc**2)) / (positives * negatives)
    assert binormal_variance(auc, (positives, negatives)) == pytest.approx(slow, rel=1e-6)


def test_score_ends_lie_196_of_their_own_errors_away():
    auc, scans, z = 0.8, (20.0, 48.0), z_value(0.95)
    variance = 1.7 * binormal_variance(auc, scans)
    for end in score_ends(auc, variance, scans, z):
        assert abs(auc - end) == pytest.approx(z * (1.7 * binormal_variance(end, scans)) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_turning_the_classes_round_turns_the_interval_round(method):
    random = np.random.default_rng(0)
    labels, people = np.repeat([0, 1], [40, 20]), np.arange(60) // 2
    scores = random.normal(size=60) + labels
    ahead, back = (auc_interval(labels, people, s, method) for s in (scores, -scores))
    assert back.estimate == pytest.approx(1 - ahead.estimate)
    # the bootstrap's quantiles interpolate between the same resamples, from the other end
    assert (back.low, back.high) == pytest.approx(
        (1 - ahead.high, 1 - ahead.low), abs=1e-6 if method != "bca" else 5e-3
    )
    assert back.high < 0.5 < ahead.low


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("scores", "auc"), [([0.1, 0.2, 0.8, 0.9], 1.0), ([0.9, 0.8, 0.1, 0.2], 0.0), ([0.5] * 4, 0.5)]
)
def test_extremes_stay_inside_0_and_1(method, scores, auc):
    found = auc_interval([0, 0, 1, 1], range(4), scores, method)
    assert found.estimate == auc
    assert 0 <= found.low <= auc <= found.high <= 1


def test_the_default_admits_doubt_about_a_perfect_ranking():
    found = auc_interval(np.repeat([0, 1], 20), range(40), np.arange(40) / 40)
    assert found.estimate == found.high == 1
    assert 0.85 < found.low < 0.97


def test_one_patient_in_a_class_says_nothing():
    found = auc_interval([0, 0, 1, 1], [0, 1, 2, 2], [0.1, 0.2, 0.8, 0.9])
    assert (found.low, found.high) == (0.0, 1.0)
    assert "single patient" in found.method
    assert auc_interval([0, 1], [0, 0], [0.1, 0.2]).method.startswith("unknown")


def test_more_scans_of_the_same_patients_do_not_narrow():
    random = np.random.default_rng(1)
    labels, scores, people = np.repeat([0, 1], 25), random.normal(size=50), np.arange(50)
    once = auc_interval(labels, people, scores + labels)
    thrice = auc_interval(np.tile(labels, 3), np.tile(people, 3), np.tile(scores + labels, 3))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_percentile_is_the_quantile_of_the_resamples():
    random = np.random.default_rng(2)
    labels, people, scores = np.repeat([0, 1], 20), np.arange(40), random.random(40)
    drawn = resampled_aucs(labels, people, scores, 2000, 5)[0]
    found = auc_interval(labels, people, scores, "percentile", seed=5)
    assert (found.low, found.high) == tuple(np.quantile(drawn, [0.025, 0.975]))


def test_bca_is_near_scipys():
    random = np.random.default_rng(3)
    positives, negatives = random.normal(1.5, 1, 30), random.normal(0, 1, 50)
    labels, people = np.repeat([1, 0], [30, 50]), np.arange(80)
    scores = np.concatenate([positives, negatives])
    drawn = resampled_aucs(labels, people, scores, 20_000)[0]
    ours = bootstrap_interval(labels, people, scores, drawn, accelerated=True)

    def auc(a, b, axis):
        return exact_auc(np.repeat([1, 0], [a.shape[-1], b.shape[-1]]), np.concatenate([a, b], axis=axis))

    theirs = bootstrap((positives, negatives), auc, n_resamples=20_000, method="BCa", rng=random).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


@pytest.mark.parametrize(("auc", "scans_each"), [(0.5, 1), (0.9, 1), (0.99, 1), (0.9, 3)])
def test_coverage_of_the_default(auc, scans_each):
    """20 against 48 patients, 600 repetitions: 93 to 98 % (one standard error is 0.9)."""
    random = np.random.default_rng([int(100 * auc), scans_each])
    labels, people = (np.repeat(v, scans_each) for v in (np.repeat([1, 0], [20, 48]), np.arange(68)))
    held = []
    for _ in range(600):
        noise = random.normal(size=68)[people] * 0.8 + random.normal(size=people.size) * 0.6
        found = auc_interval(labels, people, noise + 2**0.5 * ndtri(auc) * labels)
        held.append(found.low <= auc <= found.high)
    assert 0.93 <= np.mean(held) <= 0.98


def test_effective_trials_by_hand():
    assert effective_trials([1, 0, 1, 1], np.arange(4)) == 4
    assert effective_trials([1, 1, 0, 0, 1, 1], np.array([0, 0, 1, 1, 2, 2])) == pytest.approx(3)
    assert effective_trials([1, 1, 1, 1], np.array([0, 0, 1, 1])) == 2  # nothing known: as if they agreed
    assert effective_trials([1, 0, 1, 0], np.array([0, 0, 1, 1])) == 4  # never more than the scans
    # sizes 1, 2, 3 that agree: 36 / 14 patients' worth
    assert effective_trials([1] * 6, np.array([0, 1, 1, 2, 2, 2])) == pytest.approx(36 / 14)


def test_proportion_interval_of_single_scans_is_wilsons():
    found = proportion_interval([1] * 81 + [0] * 182, range(263))
    assert (found.estimate, found.low, found.high) == pytest.approx((81 / 263, 0.2553, 0.3662), abs=6e-5)
    assert proportion_interval([1, 1, 1], range(3)).high == 1.0
    assert proportion_interval([0], [7]).low == 0.0


def test_mean_interval_by_hand():
    found = mean_interval(Interval(0.8, 0.5, 0.9, ""), Interval(0.6, 0.2, 0.9, ""))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.7, 0.7 - 0.25, 0.7 + 0.5 * 0.1**0.5))


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="patients have shape"):
        proportion_interval([1, 0], [1])


def test_scans_of_a_lone_patient_that_are_ranked_apart_have_no_interval_either() -> None:
    """Effective numbers of scans would divide by one patient less one."""
    found = auc_interval([0, 0, 1, 1], [0, 1, 2, 2], [0.1, 0.5, 0.3, 0.9])
    assert (found.estimate, found.low, found.high) == (0.75, 0.0, 1.0)
    assert "single patient" in found.method
