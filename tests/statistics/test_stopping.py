"""The stop rule: published boundaries, error and labels in small simulations, each state, what makes it worthless."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from elsewhere.statistics.stopping import StopRule, boundaries, boundary_at, look, reading_order

RULE = StopRule("auc", 0.80, 20)


def product(auc, scans, seed=0, prevalence=0.5):
    random = np.random.default_rng([77, seed])
    labels = (random.random(scans) < prevalence).astype(np.int64)
    return labels, random.normal(size=scans) + 2**0.5 * norm.ppf(auc) * labels


def until_stop(auc, seed, prevalence=0.4, rule=RULE):
    labels, scores = product(auc, rule.cap, seed, prevalence)
    for count in range(rule.step, rule.cap + 1, rule.step):
        found = look(rule, labels[:count], np.arange(count), scores[:count], None)
        if found.state != "go on":
            return found.state, count
    raise AssertionError("no end")


def test_boundaries_are_the_published_ones():
    # R: ldbounds::ldBounds(5, iuse = 2, alpha = 0.05), Pocock-type spending (Lan & DeMets 1983)
    assert boundaries((0.2, 0.4, 0.6, 0.8, 1.0)) == pytest.approx((2.4380, 2.4268, 2.4101, 2.3966, 2.3859), abs=2e-4)
    assert boundaries((1.0,)) == pytest.approx((1.95996,), abs=1e-4)


def test_boundaries_hold_the_error_over_uneven_looks():
    shares = (0.1, 0.15, 0.4, 0.41, 0.9, 1.0)
    steps = np.sqrt(np.diff([0, *shares]))
    paths = (np.random.default_rng(4).normal(size=(40_000, 6)) * steps).cumsum(axis=1) / np.sqrt(shares)
    crossed = (np.abs(paths) > boundaries(shares)).any(axis=1).mean()
    assert crossed == pytest.approx(0.05, abs=0.004)


def test_a_rare_class_has_fewer_looks_and_a_lower_boundary():
    assert boundary_at(200, 20, 400, 0.05) < boundary_at(200, 20, 400, 0.5)
    assert boundary_at(500, 20, 400, 0.5) == boundary_at(400, 20, 400, 0.5)


@pytest.mark.parametrize(("auc", "state", "most"), [(0.92, "good enough", 150), (0.55, "not good enough", 90)])
def test_a_clear_product_is_judged_rightly_with_few_labels(auc, state, most):
    found = [until_stop(auc, seed) for seed in range(40)]
    assert np.median([count for _, count in found]) <= most
    assert sum(s == state for s, _ in found) >= 38


def test_a_product_exactly_as_good_as_needed_is_seldom_judged():
    found = [until_stop(0.80, seed) for seed in range(60)]
    assert sum(state != "cap" for state, _ in found) <= 7  # 5 % each: more than 7 of 60 has a chance of 1 %


def test_the_states_of_a_look():
    labels, scores = product(0.995, 60)
    found = look(RULE, labels, np.arange(60), scores, None)
    assert (found.state, found.sentence.startswith("Stop: good enough. 60 labels: discrimination (AUC)")) == (
        "good enough",
        True,
    )
    assert found.value.low > 0.80
    few = look(RULE, labels[:12], np.arange(12), scores[:12], None)
    assert (few.state, few.value) == ("go on", None)
    assert "too few for a look (at least 10 labelled patients of each class)" in few.sentence
    labels, scores = product(0.80, 60)
    assert look(RULE, labels, np.arange(60), scores, None).state == "go on"
    ended = look(RULE, labels, np.arange(60), scores, None, cap=60)
    assert ended.sentence.endswith("the cap of 60 labels is reached.")
    assert look(RULE, labels, np.arange(60), -scores, None).state == "not good enough"
    assert look(RULE, np.zeros(60, int), np.arange(60), scores, None, cap=60).state == "cap"


def test_scans_of_one_patient_say_less():
    labels, scores = product(0.93, 120)
    copies = [np.repeat(column[:30], 4) for column in (labels, scores)]
    alone = look(RULE, copies[0], np.arange(120), copies[1], None)
    grouped = look(RULE, copies[0], np.arange(120) // 4, copies[1], None)
    assert abs(grouped.distance) < 0.7 * abs(alone.distance)


def test_sensitivity_and_specificity_count_their_class_alone():
    labels = np.array([1] * 40 + [0] * 40)
    called = np.array([True] * 40 + [True] * 20 + [False] * 20)
    patients = np.arange(80)
    good = look(StopRule("sensitivity", 0.7, 20), labels, patients, np.zeros(80), called)
    bad = look(StopRule("specificity", 0.8, 20), labels, patients, np.zeros(80), called)
    assert (good.state, good.value.estimate) == ("good enough", 1.0)
    assert (bad.state, bad.value.estimate) == ("not good enough", 0.5)
    with pytest.raises(ValueError, match="sensitivity needs the product's threshold or calls"):
        look(good.rule, labels, patients, np.zeros(80), None)


def test_scans_that_were_not_chosen_by_the_order_make_a_caution():
    labels, scores = product(0.9, 60)
    found = look(RULE, labels, np.arange(60), scores, None, unplanned=30)
    assert "30 of 60 labelled scans are not those" in found.caution
    assert replace(found, unplanned=5).caution == ""


def test_the_reading_order_is_the_same_at_every_call_and_does_not_know_the_scores():
    names = [f"s{i}" for i in range(50)]
    first = [names[i] for i in reading_order(names)]
    more = [name for name in ([*names, "t"][i] for i in reading_order([*names, "t"])) if name != "t"]
    assert first == more != names


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("auc", 0.4, 20), "need must be above 0.5 and below 1, is 0.4"),
        (("auc", 0.8, 2), "next must be at least 5, is 2"),
        (("auc", 0.8, 20, 10), "cap must be at least 20, is 10"),
    ],
)
def test_rules_that_cannot_be_are_refused(said, words):
    with pytest.raises(ValueError, match=words):
        StopRule(*said)
