"""Transfer along a sequence of sites against plain counting, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from elsewhere.statistics.transfer import SiteScores, final_difference, mean_contrast, transfer_of


def drawn(random: np.random.Generator, site: str, aucs: list[float], trainings: int = 2, scans: int = 60) -> SiteScores:
    """Binormal scores whose true AUC after each step is given."""
    labels = (np.arange(scans) % 3 == 0).astype(np.int64)
    shift = 2**0.5 * ndtri(np.array(aucs))
    noise = random.normal(size=scans) + 0.5 * random.normal(size=(trainings, len(aucs), scans))
    return SiteScores(site, labels, np.arange(scans), noise / 1.25**0.5 + shift[None, :, None] * labels)


def plain_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    positive, negative = scores[labels == 1], scores[labels == 0]
    return float(np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative]))


def test_against_plain_counting() -> None:
    random = np.random.default_rng(4)
    sites = [drawn(random, name, aucs) for name, aucs in
             (("A", [0.9, 0.75, 0.6]), ("B", [0.6, 0.95, 0.9]), ("C", [0.5, 0.7, 0.9]))]  # fmt: skip
    r = np.mean(
        [[[plain_auc(one.labels, one.scores[k, i]) for one in sites] for i in range(3)] for k in range(2)], axis=0
    )
    found = transfer_of(sites)
    assert found.unlearned == ()
    assert found.final.estimate == pytest.approx(r[2].mean())
    assert found.backward.estimate == pytest.approx(np.mean([r[2, 0] - r[0, 0], r[2, 1] - r[1, 1]]))
    best = [max(r[0, 0], r[1, 0]) - r[2, 0], max(r[0, 1], r[1, 1]) - r[2, 1]]
    assert found.forgetting.estimate == pytest.approx(np.mean(best))
    assert found.forward.estimate == pytest.approx(np.mean([r[0, 1] - 0.5, r[1, 2] - 0.5]))
    assert found.forgetting.low > 0 > found.backward.high


def test_a_site_that_was_not_learned_is_neither_kept_nor_forgotten() -> None:
    random = np.random.default_rng(5)
    found = transfer_of([drawn(random, "A", [0.5, 0.5]), drawn(random, "B", [0.5, 0.95])])
    assert found.unlearned == ("A",)
    assert found.backward is None
    assert found.forgetting is None
    assert found.final is not None


def test_a_site_of_one_class_enters_no_mean() -> None:
    random = np.random.default_rng(6)
    two = [drawn(random, "A", [0.9, 0.8, 0.7]), drawn(random, "C", [0.6, 0.7, 0.9])]
    one = SiteScores("B", np.ones(9, np.int64), np.arange(9), random.random((2, 3, 9)))
    found = transfer_of([two[0], one, two[1]])
    assert found.final == mean_contrast(two, [np.array([0, 0, 1.0])] * 2)
    assert one.after(0) is None


def test_the_same_scores_differ_by_nothing_and_other_scans_are_refused() -> None:
    random = np.random.default_rng(7)
    a, b = drawn(random, "A", [0.9, 0.8]), drawn(random, "B", [0.7, 0.8])
    found = final_difference([a, b], [a, b])
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="A and B are not the same scans"):
        final_difference([a, b], [b, a])
    with pytest.raises(ValueError, match="scores must be of shape"):
        transfer_of([a, b, a])


def test_intervals_cover_what_was_lost() -> None:
    """Fresh patients and trainings in 500 repeats: the true backward transfer lies inside 95 % intervals."""
    hits = []
    for seed in range(500):
        random = np.random.default_rng([seed, 77])
        sites = [drawn(random, "A", [0.9, 0.7], 1, 90), drawn(random, "B", [0.7, 0.9], 1, 90)]
        backward = transfer_of(sites).backward
        hits.append(backward is not None and backward.low <= -0.2 <= backward.high)
    assert 0.92 <= np.mean(hits) <= 0.985


def test_patients_with_several_scans_widen_the_interval() -> None:
    random = np.random.default_rng(9)
    once = drawn(random, "A", [0.8, 0.7], 1, 30)
    twice = SiteScores("A", once.labels.repeat(4), once.patients.repeat(4), once.scores.repeat(4, axis=2))
    weights = [np.array([-1.0, 1.0])]
    narrow, same = mean_contrast([once], weights), mean_contrast([twice], weights)
    assert same.estimate == pytest.approx(narrow.estimate)
    assert same.high - same.low == pytest.approx(narrow.high - narrow.low, rel=0.02)
