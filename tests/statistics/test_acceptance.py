"""The rule of acceptance on both sides of each step, and claims: true ones stand, false ones are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from elsewhere.statistics.acceptance import (
    at_level,
    decide_acceptance,
    exit_code,
    judge_claims,
    read_claims,
)
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.requirements import Requirements
from elsewhere.statistics.scored import Scored, discrimination
from elsewhere.statistics.verdict_rule import EXIT_CODES


def product(scans=600, gap=2.2, threshold=0.0, seed=0, positives=0.4, scale=1.0):
    """Binormal scores around 0, one scan per patient: AUC is Φ(gap / √2)."""
    random = np.random.default_rng(seed)
    labels = (np.arange(scans) < positives * scans).astype(np.int64)
    scores = scale * (random.normal(size=scans) + gap * (labels - 0.5))
    called = None if threshold is None else scores >= scale * threshold
    return Scored(labels, np.arange(scans), scores, called)


def probable(scans, odds=1.0):
    """The same product with its scores as probabilities."""
    values = 1 / (1 + np.exp(-odds * scans.scores))
    return Scored(scans.labels, scans.patients, values, scans.called)


@pytest.mark.parametrize(
    ("scans", "action", "words"),
    [
        (product(gap=2.6), "nothing", "its decisions hold: sensitivity"),
        (product(gap=2.6, threshold=1.6), "re-threshold", "sensitivity at least 0.70 (default) is surely not met"),
        (product(gap=1.3, threshold=1.6, scans=3000), "adapt", "no local threshold reaches the requirements"),
        (product(gap=0.6), "adapt", "surely below the required 0.80"),
        (product(gap=0.0), "do not use", "not distinguishable from chance"),
        (product(gap=-2.0), "do not use", "the scores point the wrong way"),
        (product(gap=1.2, scans=60), "cannot tell", "leaves open: discrimination (AUC)"),
        (product(gap=2.6, threshold=None), "cannot tell", "the product's decisions are not known"),
        (product(scans=24, gap=2.6, positives=0.2), "cannot tell", "Only 5 patients with the finding"),
        (replace(product(), scores=np.full(600, 0.3)), "cannot tell", "All 600 scores are the same (0.3)"),
    ],
)
def test_each_answer(scans, action, words):
    strict = scans.labels.size == 3000
    wanted = Requirements(0.75, 0.85, 0.85) if strict else Requirements()
    answer = decide_acceptance(scans, wanted)
    said = f"{answer.reason} {answer.next_step}"
    assert (answer.action, words in said) == (action, True), said


def test_an_interval_that_reaches_below_a_requirement_never_works():
    for seed in range(40):
        scans = product(scans=150, gap=2.0, seed=seed)
        auc = discrimination(scans)
        action = decide_acceptance(
            scans, Requirements(least_auc=0.9, least_sensitivity=0.5, least_specificity=0.5)
        ).action
        assert (action == "nothing") == (auc.low >= 0.9)


def test_a_new_threshold_is_told_on_the_scale_of_the_scores():
    scans = product(gap=2.6, threshold=1.6)
    answer = decide_acceptance(scans, Requirements(), show=lambda t: f"at {t:.2f} units")
    assert f"Call positive at {answer.local_threshold:.2f} units" in answer.next_step
    called = scans.scores >= answer.local_threshold
    assert np.mean(called[scans.labels == 1]) > 0.75
    assert np.mean(~called[scans.labels == 0]) > 0.75


def test_scores_said_to_be_probabilities_must_be_right_and_others_need_not():
    off, right = probable(product(gap=2.6), odds=0.2), probable(product(gap=2.6), odds=2.6)
    assert decide_acceptance(off, Requirements(), probability=True).action == "recalibrate"
    assert decide_acceptance(off, Requirements()).action == "nothing"
    assert decide_acceptance(right, Requirements(), probability=True).action == "nothing"


# Claims ------------------------------------------------------------------------------------------------------------


def auc_claimed(value, **more):
    return read_claims({"auc": {"value": value, **more}})


def named(true_gap, seed, claims, scans=120):
    tested = product(scans=scans, gap=true_gap, seed=seed, positives=0.5)
    return judge_claims(claims, {"discrimination (AUC)": discrimination(tested)})[0].status == "contradicted"


def test_a_false_claim_is_named_and_a_true_one_hardly_ever():
    """Claimed 0.94, true 0.76 or 0.94 (gap = √2 Φ⁻¹(AUC)); the whole table is in benchmarks/evaluate.py."""
    false, true = 2**0.5 * 0.7063, 2**0.5 * 1.5548
    claims = auc_claimed(0.94)
    assert sum(named(false, seed, claims) for seed in range(60)) >= 57
    assert sum(named(true, seed, claims) for seed in range(60)) <= 6


def test_a_claim_with_an_interval_of_its_own_is_contradicted_less_easily():
    tight, wide = auc_claimed(0.90, low=0.89, high=0.91), auc_claimed(0.90, low=0.70, high=0.97)
    here = {"discrimination (AUC)": Interval(0.80, 0.74, 0.85, "")}
    assert [judge_claims(c, here)[0].status for c in (tight, wide)] == ["contradicted", "not contradicted"]
    better = {"discrimination (AUC)": Interval(0.97, 0.95, 0.98, "")}
    assert judge_claims(tight, better)[0].status == "not contradicted"
    assert judge_claims(tight, {})[0].status == "not measured"


def test_three_claims_raise_the_level():
    claims = read_claims({"auc": 0.9, "sensitivity": 0.9, "specificity": {"value": 0.9, "n": 100}, "source": "leaflet"})
    assert [c.source for c in claims] == ["leaflet"] * 3
    found = judge_claims(claims, {"sensitivity": Interval(0.8, 0.7, 0.89, "")})
    assert found[1].level == pytest.approx(1 - 0.1 / 3)
    assert judge_claims(claims[:2], {})[0].level == pytest.approx(0.95)
    assert claims[2].value.low == pytest.approx(0.826, abs=1e-3)  # Wilson, 90 of 100
    assert "96.7 % interval" in found[1].sentence


def test_levels():
    wide = at_level(Interval(0.9, 0.8, 0.95, ""), 0.999)
    assert wide.low < 0.8 < 0.95 < wide.high <= 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no claim; give one of the sections auc, sensitivity, specificity"),
        ({"accuracy": 0.9}, "unknown key 'accuracy'"),
        ({"auc": {"low": 0.9}}, "auc has no value"),
        ({"auc": 94}, "auc.value must be above 0 and at most 1, is 94"),
        ({"auc": {"value": "0.9"}}, "auc.value must be a number"),
        ({"auc": {"value": 0.9, "low": 0.92, "high": 0.95}}, "must rise"),
        ({"auc": {"value": 0.9, "n": 1}}, "auc.n must be at least 2"),
        ({"auc": {"value": 0.9, "ci": 1}}, "unknown key 'ci'"),
    ],
)
def test_bad_claims_are_refused(content, words):
    with pytest.raises(ValueError, match=r"must|no |unknown") as caught:
        read_claims(content)
    assert words in str(caught.value)


def test_the_worst_finding_gives_the_exit_code():
    good, bad = decide_acceptance(product(gap=2.6), Requirements()), decide_acceptance(product(gap=0.6), Requirements())
    assert exit_code([good], []) == 0
    assert exit_code([good, bad], []) == EXIT_CODES["adapt"] == 11
    lower = judge_claims(auc_claimed(0.99), {"discrimination (AUC)": discrimination(product(gap=0.6))})
    assert exit_code([bad], lower) == 13
    assert (
        exit_code([good], judge_claims(auc_claimed(0.8), {"discrimination (AUC)": Interval(0.9, 0.8, 0.95, "")})) == 0
    )


def share_named(auc: float, scans: int, seed: int, repetitions: int = 400) -> float:
    """Share of tests in which a claimed AUC of 0.94 is contradicted."""
    gap, stated, count = 2**0.5 * float(norm.ppf(auc)), read_claims({"auc": 0.94}), 0
    for repetition in range(repetitions):
        tested = discrimination(product(scans, gap, seed=[seed, repetition, scans], positives=0.5))
        count += judge_claims(stated, {"discrimination (AUC)": tested})[0].status == "contradicted"
    return count / repetitions


def test_a_false_claim_is_named_and_a_true_one_is_not():
    """Claimed 0.94, 120 scans: a true 0.76 is named in at least 95 % of 400 tests, a true 0.94 in at most 5 % of 2000.

    6000 tests with another seed: 3.4 % of a true 0.94 (120 scans), 3.8 % (60), 2.8 % (1000).
    """
    assert share_named(0.76, 120, seed=1128) >= 0.95
    assert share_named(0.94, 120, seed=1128, repetitions=2000) <= 0.05
