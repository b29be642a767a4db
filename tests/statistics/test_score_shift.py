"""Shift of scores by stratum, and a threshold found without labels: found where planted, silent where not."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.statistics.score_shift import clustered_mean, realign, score_shifts


def scores(scans=400, seed=3):
    random = np.random.default_rng(seed)
    return random.normal(size=scans), 0.1 * random.normal(size=scans), [("soft", "sharp")[i % 2] for i in range(scans)]


def test_a_shift_of_one_kernel_is_found_there_alone():
    old, noise, kernel = scores()
    sex = [("F", "M")[i // 2 % 2] for i in range(400)]
    new = old + noise + 0.5 * np.array([k == "sharp" for k in kernel])
    found = {(s.column, s.level): s for s in score_shifts(new, old, np.arange(400), {"kernel": kernel, "sex": sex})}
    assert found["", "all scans"].mean.estimate == pytest.approx(0.25, abs=0.03)
    assert found["kernel", "sharp"].mean.estimate == pytest.approx(0.5, abs=0.03)
    assert found["kernel", "sharp"].differs == "more"
    assert (found["sex", "F"].differs, found["sex", "M"].differs) == ("", "")


def test_noise_alone_is_seldom_named():
    random, named = np.random.default_rng(11), 0
    for _ in range(200):
        old = random.normal(size=120)
        columns = {f"c{j}": random.choice(list("ab"), 120).tolist() for j in range(4)}
        found = score_shifts(old + random.normal(size=120), old, np.arange(120), columns)
        named += any(s.differs for s in found)
    assert named <= 0.08 * 200


def test_few_patients_have_no_interval():
    old, noise, _ = scores(9)
    assert score_shifts(old + noise, old, np.arange(9), {})[0].mean is None
    assert score_shifts(old[:0], old[:0], np.arange(0), {}) == ()
    assert clustered_mean(old, np.zeros(9, int)).high == np.inf


def test_a_moved_scale_is_undone_without_labels():
    old, _, _ = scores()
    found = realign(2 * old + 3, old >= 0.7, 2 * old + 3 >= 0.7, np.full(400, -1), np.arange(400))
    assert found is not None
    assert (found.proposed, found.otherwise, found.calls) == (True, 0, int((old >= 0.7).sum()))
    assert found.threshold == pytest.approx(4.4, abs=0.05)
    assert "found without labels and not yet checked" in found.sentence
    assert found.sensitivity is None


def test_nothing_is_proposed_where_the_share_called_has_not_changed():
    old, noise, _ = scores()
    found = realign(old + noise, old >= 0.7, old + noise >= 0.7, np.full(400, -1), np.arange(400))
    assert found is not None
    assert not found.proposed
    assert found.sentence.endswith("no other threshold is proposed.")


def test_equal_scores_are_cut_at_the_nearest_and_no_cut_is_none():
    new, old = np.array([1.0, 1, 1, 2, 2, 3]), np.array([0, 0, 0, 0, 1, 1], bool)
    found = realign(new, old, None, np.array([0, 0, 0, 0, 1, 1]), np.arange(6))
    assert found is not None
    assert (found.threshold, found.calls, found.proposed) == (1.5, 3, True)  # 1 and 3 are equally near: more called
    assert found.sensitivity is not None
    assert (found.sensitivity.estimate, found.new_calls) == (1.0, None)
    for none in (np.zeros(6, bool), np.ones(6, bool)):
        assert realign(new, none, None, np.zeros(6, int), np.arange(6)) is None
    assert realign(np.ones(6), old, None, np.zeros(6, int), np.arange(6)) is None
