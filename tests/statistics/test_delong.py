"""DeLong's covariance against R's pROC, and its clustered form against Obuchowski's formulas in plain loops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from elsewhere.statistics.delong import auc_covariance, auc_spread, placements

GOLDEN = Path(__file__).parents[1] / "golden"
GIVEN = json.loads((GOLDEN / "proc_input.json").read_text())["sets"]
PROC = json.loads((GOLDEN / "proc.json").read_text())


@pytest.mark.parametrize("name", GIVEN)
def test_covariance_equals_r_proc(name):
    data, golden = GIVEN[name], PROC["sets"][name]
    aucs, covariance = auc_covariance(data["labels"], [data["a"], data["b"]])
    assert aucs == pytest.approx([golden["a"]["auc"], golden["b"]["auc"]], abs=1e-10)
    assert np.diag(covariance) == pytest.approx([golden["a"]["variance"], golden["b"]["variance"]], abs=1e-10)
    assert covariance[0, 1] == pytest.approx(golden["pair"]["covariance"], abs=1e-10)


def test_by_hand():
    # positives 0.9 0.4, negatives 0.5 0.1: V10 = 1, 0.5; V01 = 0.5, 1; AUC 0.75; S10 = S01 = 0.125; var = 0.125
    aucs, covariance = auc_covariance([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1])
    assert aucs[0] == 0.75
    assert covariance[0, 0] == pytest.approx(0.125, abs=1e-15)


def obuchowski(labels, patients, scores):
    """Obuchowski 1997, equations as printed, in loops."""
    values = [[None] * len(labels) for _ in scores]
    for k, row in enumerate(scores):
        for i, yi in enumerate(labels):
            others = [row[j] for j, yj in enumerate(labels) if yj != yi]
            wins = [(row[i] > o) if yi else (row[i] < o) for o in others]
            values[k][i] = np.mean([w + 0.5 * (row[i] == o) for w, o in zip(wins, others, strict=True)])
    m, n = sum(labels), len(labels) - sum(labels)
    people = sorted(set(patients))
    theta = [np.mean([v for v, y in zip(row, labels, strict=True) if y]) for row in values]

    def pull(k, person, label):
        mine = [i for i, (p, y) in enumerate(zip(patients, labels, strict=True)) if p == person and y == label]
        return sum(values[k][i] for i in mine) - len(mine) * theta[k]

    i10 = len({p for p, y in zip(patients, labels, strict=True) if y})
    i01 = len({p for p, y in zip(patients, labels, strict=True) if not y})
    count = len(people)
    covariance = np.zeros((len(scores), len(scores)))
    for a in range(len(scores)):
        for b in range(len(scores)):
            s10 = i10 / ((i10 - 1) * m) * sum(pull(a, p, 1) * pull(b, p, 1) for p in people)
            s01 = i01 / ((i01 - 1) * n) * sum(pull(a, p, 0) * pull(b, p, 0) for p in people)
            s11 = count / (count - 1) * sum(pull(a, p, 1) * pull(b, p, 0) for p in people)
            s11t = count / (count - 1) * sum(pull(b, p, 1) * pull(a, p, 0) for p in people)
            covariance[a, b] = s10 / m + s01 / n + (s11 + s11t) / (m * n)
    return np.array(theta), covariance


@pytest.mark.parametrize("mixed", [False, True])
def test_clustered_covariance_equals_obuchowski(mixed):
    random = np.random.default_rng(6)
    patients = random.integers(0, 14, 45)
    labels = random.integers(0, 2, 45) if mixed else patients % 2
    scores = (random.random((3, 45)) + 0.3 * labels).round(1)
    aucs, covariance = auc_covariance(labels, scores, patients)
    theta, slow = obuchowski(labels.tolist(), patients.tolist(), scores.tolist())
    assert np.allclose(aucs, theta, atol=1e-12)
    assert np.allclose(covariance, slow, atol=1e-12)


def worth(labels, scores, patients):
    """Effective (positives, negatives) of one model's scores."""
    return auc_spread(labels, scores, patients)[2][0]


def test_copies_of_a_scan_do_not_make_us_surer():
    random = np.random.default_rng(7)
    labels, scores = np.repeat([0, 1], 15), random.random(30)
    _, once = auc_covariance(labels, scores)
    _, thrice = auc_covariance(np.tile(labels, 3), np.tile(scores, 3), np.tile(np.arange(30), 3))
    assert thrice[0, 0] == pytest.approx(once[0, 0], rel=1e-12)
    assert worth(np.tile(labels, 3), np.tile(scores, 3), np.tile(np.arange(30), 3)) == pytest.approx((15, 15))


def test_scans_of_their_own_patients_are_worth_themselves():
    random = np.random.default_rng(8)
    labels = np.repeat([0, 1], [12, 9])
    assert worth(labels, random.random(21), np.arange(21)) == pytest.approx((9, 12))


def test_perfect_ranking_has_no_variance_and_one_patient_an_unknown_one():
    assert auc_covariance([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])[1][0, 0] == 0
    assert np.isnan(auc_covariance([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], [0, 1, 2, 2])[1]).all()
    assert np.isnan(auc_covariance([0, 1], [0.1, 0.2])[1]).all()


def test_placements_average_to_the_auc_in_both_classes():
    random = np.random.default_rng(9)
    labels, scores = np.repeat([0, 1], [7, 5]), random.integers(0, 4, (2, 12)) / 4
    placed = placements(labels, scores)
    assert np.allclose(placed[:, labels == 1].mean(axis=1), placed[:, labels == 0].mean(axis=1))


def test_one_class_and_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match="needs both classes"):
        auc_covariance([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="patients have shape"):
        auc_covariance([0, 1], [0.1, 0.2], [1])
