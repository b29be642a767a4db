"""Resampled AUCs against resampling in a loop with scikit-learn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from elsewhere.statistics import bootstrap
from elsewhere.statistics.bootstrap import (
    auc_without_each_patient,
    draw_patients,
    patient_strata,
    resampled_aucs,
)
from elsewhere.statistics.delong import auc_covariance


def cell(seed, scans=60, patients=23, mixed=True):
    random = np.random.default_rng(seed)
    people = np.concatenate([np.arange(patients), random.integers(0, patients, scans - patients)])
    labels = random.integers(0, 2, scans) if mixed else people % 2
    return labels, people, (random.random((2, scans)) + 0.4 * labels).round(1)


@pytest.mark.parametrize("mixed", [True, False])
def test_every_resample_equals_scikit_learn_on_the_drawn_scans(mixed):
    labels, people, scores = cell(0, mixed=mixed)
    drawn = draw_patients(labels, people, 40, seed=3)
    fast = resampled_aucs(labels, people, scores, 40, seed=3)
    for resample, counts in enumerate(drawn.astype(int)):
        scans = np.concatenate([np.repeat(np.flatnonzero(people == p), c) for p, c in enumerate(counts)])
        for model in (0, 1):
            slow = roc_auc_score(labels[scans], scores[model, scans])
            assert fast[model, resample] == pytest.approx(slow, abs=1e-10)


def test_draws_keep_the_strata_and_depend_on_the_seed_alone():
    labels, people, _ = cell(1)
    strata = patient_strata(labels, people)
    drawn = draw_patients(labels, people, 50, seed=0)
    for stratum in (0, 1, 2):
        assert (drawn[:, strata == stratum].sum(axis=1) == (strata == stratum).sum()).all()
    assert np.array_equal(drawn, draw_patients(labels, people, 50, seed=0))
    assert not np.array_equal(drawn, draw_patients(labels, people, 50, seed=1))


def test_each_patient_is_drawn_once_on_average():
    labels, people, _ = cell(2)
    assert np.allclose(draw_patients(labels, people, 20_000, 0).mean(axis=0), 1, atol=0.04)


def test_spread_of_resamples_is_the_clustered_delong_error():
    random = np.random.default_rng(3)
    people = np.repeat(np.arange(300), 3)
    labels = (people < 120).astype(int)
    scores = random.normal(size=300)[people] + 0.3 * random.normal(size=900) + labels
    spread = resampled_aucs(labels, people, scores, 4000)[0].std()
    clustered, plain = (auc_covariance(labels, scores, p)[1][0, 0] ** 0.5 for p in (people, None))
    assert spread == pytest.approx(clustered, rel=0.04)
    assert spread > 1.4 * plain


def test_blocks_change_nothing(monkeypatch):
    labels, people, scores = cell(4)
    drawn, aucs = draw_patients(labels, people, 30, 1), resampled_aucs(labels, people, scores, 30, 1)
    monkeypatch.setattr(bootstrap, "LARGEST_TABLE", 50)
    assert np.array_equal(draw_patients(labels, people, 30, 1), drawn)
    assert np.array_equal(resampled_aucs(labels, people, scores, 30, 1), aucs)


def test_memory_grows_with_the_scans_not_with_the_square_of_the_patients():
    random = np.random.default_rng(6)
    labels, scores = random.integers(0, 2, 20_000), random.random(20_000)
    tracemalloc.start()
    resampled_aucs(labels, np.arange(20_000), scores, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # a table of patients by patients would take 800 MB


def test_auc_without_each_patient_equals_leaving_it_out():
    labels, people, scores = cell(5)
    left_out = auc_without_each_patient(labels, people, scores[0])
    for patient in range(people.max() + 1):
        kept = people != patient
        assert left_out[patient] == pytest.approx(roc_auc_score(labels[kept], scores[0, kept]), abs=1e-10)
    assert np.isnan(auc_without_each_patient(np.array([0, 0, 1]), np.array([0, 1, 2]), np.array([0.1, 0.2, 0.3]))[2])


def test_extremes():
    assert (resampled_aucs([0, 1], [0, 1], [0.1, 0.9], 10) == 1).all()
    assert (resampled_aucs([0, 1], [0, 0], [0.9, 0.1], 10) == 0).all()
    assert (resampled_aucs([0, 1, 0, 1], [0, 1, 2, 3], [0.5] * 4, 10) == 0.5).all()
    with pytest.raises(ValueError, match="needs both classes"):
        resampled_aucs([1, 1], [0, 1], [0.1, 0.2], 10)
