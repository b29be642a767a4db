import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from elsewhere.statistics.intervals import auc_interval
from elsewhere.statistics.learned import judge_learned


def network(separation: float, positives: int, negatives: int, seed: int, spread: float = 1.0):
    random = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    scores = random.normal(size=labels.size) + separation * labels
    patients = np.arange(labels.size)
    return labels, patients, np.zeros(labels.size), expit(spread * (scores - scores.mean()))


def test_a_network_that_ranks_is_not_degenerate():
    found = judge_learned(*network(2.0, 30, 60, 0))
    assert not found.degenerate
    assert found.reasons == ()


def test_one_site_has_the_interval_of_the_auc():
    labels, patients, sites, probabilities = network(1.0, 30, 60, 1)
    found, interval = (
        judge_learned(labels, patients, sites, probabilities),
        auc_interval(labels, patients, probabilities),
    )
    assert (found.auc, found.auc_low, found.auc_high) == pytest.approx(
        (interval.estimate, interval.low, interval.high), abs=1e-12
    )


def test_scores_that_point_the_wrong_way_are_not_called_chance():
    labels, patients, sites, probabilities = network(3.0, 30, 60, 0)
    found = judge_learned(labels, patients, sites, 1 - probabilities)
    assert found.degenerate
    assert "point the wrong way" in found.reasons[0]
    assert "labels were exchanged" in found.reasons[0]
    assert "chance" not in found.reasons[0]


def test_a_constant_is_degenerate_for_both_reasons():
    labels, patients, sites, _ = network(2.0, 30, 60, 0)
    found = judge_learned(labels, patients, sites, np.full(labels.size, 0.31))
    assert len(found.reasons) == 2
    assert "not surely above chance" in found.reasons[0]


def test_scores_that_hardly_move_are_named_though_they_rank():
    found = judge_learned(*network(3.0, 30, 60, 0, spread=0.01))
    assert len(found.reasons) == 1
    assert "hardly differ" in found.reasons[0]


def test_noise_is_degenerate():
    assert judge_learned(*network(0.0, 30, 60, 3)).degenerate


def test_a_network_that_only_knows_the_site_is_degenerate():
    random = np.random.default_rng(4)
    labels = np.concatenate([np.repeat([1, 0], [45, 5]), np.repeat([1, 0], [5, 45])])
    sites = np.repeat(["a", "b"], 50)
    probabilities = expit(np.where(sites == "a", 2.0, -2.0) + random.normal(0, 0.3, 100))
    pooled = judge_learned(labels, np.arange(100), np.zeros(100), probabilities)
    apart = judge_learned(labels, np.arange(100), sites, probabilities)
    assert not pooled.degenerate
    assert apart.degenerate


def test_one_class_only_cannot_be_judged_and_says_so():
    found = judge_learned(np.ones(9), np.arange(9), np.zeros(9), np.linspace(0.1, 0.9, 9))
    assert found.auc is None
    assert found.degenerate
    assert "both classes" in found.reasons[0]


def test_low_prevalence_is_a_remark_only():
    found = judge_learned(*network(1.2, 20, 380, 5))
    assert not found.degenerate
    assert bool(found.remarks) == (found.accuracy <= found.majority)


def test_patients_widen_the_interval():
    labels, patients, sites, probabilities = network(0.6, 20, 40, 6)
    alone = judge_learned(np.repeat(labels, 3), np.arange(180), np.repeat(sites, 3), np.repeat(probabilities, 3))
    clustered = judge_learned(
        np.repeat(labels, 3), np.repeat(patients, 3), np.repeat(sites, 3), np.repeat(probabilities, 3)
    )
    assert clustered.auc_low < alone.auc_low


def test_a_site_with_one_patient_of_a_class_does_not_hide_what_the_others_show():
    labels, patients, sites, probabilities = network(2.0, 30, 60, 0)
    more = np.array([1, 0, 0]), np.array([90, 91, 92]), np.ones(3), np.array([0.2, 0.7, 0.8])
    columns = [np.concatenate(pair) for pair in zip((labels, patients, sites, probabilities), more, strict=True)]
    assert not judge_learned(*columns).degenerate
    assert judge_learned(*columns).auc == judge_learned(labels, patients, sites, probabilities).auc


def test_the_reason_names_the_auc_that_so_many_scans_would_have_shown():
    few, many = judge_learned(*network(0.0, 10, 20, 3)), judge_learned(*network(0.0, 100, 200, 3))
    assert few.detectable > many.detectable > 0.5
    assert f"an AUC of {few.detectable:.2f} or more" in few.reasons[0]
    one = judge_learned([1, 0], [0, 1], [0, 0], [0.6, 0.4])
    assert one.detectable is None
    assert "no network could be shown" in one.reasons[0]


def test_what_is_called_detectable_is_shown_in_four_of_five_trainings():
    least = judge_learned(*network(0.0, 20, 40, 0)).detectable
    separation = 2**0.5 * norm.ppf(least)
    shown = [not judge_learned(*network(separation, 20, 40, seed)).degenerate for seed in range(150)]
    assert 0.7 < np.mean(shown) < 0.92


def test_the_scans_are_called_what_they_are():
    columns = network(0.0, 30, 60, 3)
    assert "on the validation scans" in judge_learned(*columns).reasons[0]
    assert "on the internal test scans" in judge_learned(*columns, scans="internal test scans").reasons[0]
