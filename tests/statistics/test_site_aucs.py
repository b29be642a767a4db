"""What is known of a site without its scans gives the same tests and means as the scans themselves."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from elsewhere.statistics.comparison import compare_at, compare_models
from elsewhere.statistics.over_sites import auc_over_sites
from elsewhere.statistics.pooled import SiteScores, mean_aucs
from elsewhere.statistics.roc import coarse_roc, exact_auc, exact_roc
from elsewhere.statistics.site_aucs import SiteAucs, site_aucs

NAMES = ("A", "B", "C")


def drawn(seed: int, scans: int = 60) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(scans) % 2
    patients = rng.integers(0, scans // 2, scans)
    common = rng.normal(size=scans)
    return labels, patients, {m: labels + common + rng.normal(size=scans) for m in NAMES}


SITES = {f"site {i}": drawn(i, 40 + 10 * i) for i in range(5)}
KNOWN = {name: site_aucs(*columns) for name, columns in SITES.items()}


@pytest.mark.parametrize("pair", list(combinations(NAMES, 2)))
def test_paired_tests_are_those_of_the_scans(pair: tuple[str, str]) -> None:
    for name, (labels, patients, scores) in SITES.items():
        ours = compare_models(labels, patients, scores[pair[0]], scores[pair[1]])
        assert compare_at(KNOWN[name], *pair) == ours


def test_the_mean_over_hospitals_is_that_of_the_scans() -> None:
    columns = [(labels, patients, scores["A"]) for labels, patients, scores in SITES.values()]
    ours = auc_over_sites(columns)
    assert auc_over_sites([site.of(["A"]) for site in KNOWN.values()]) == ours
    assert auc_over_sites([*columns[:2], *(site.of(["A"]) for site in list(KNOWN.values())[2:])]) == ours
    assert auc_over_sites([KNOWN["site 0"].of(["A"])]) == auc_over_sites(columns[:1])
    both = [(labels, patients, np.stack([scores["A"], scores["C"]])) for labels, patients, scores in SITES.values()]
    assert auc_over_sites([site.of(["A", "C"]) for site in KNOWN.values()]) == auc_over_sites(both)


def test_means_over_cells_are_those_of_the_scans() -> None:
    groups = {"one": [("A", "site 0"), ("B", "site 1")], "two": [("B", "site 0"), ("C", "site 1"), ("C", "site 2")]}
    whole = {name: SiteScores(*columns) for name, columns in SITES.items()}
    ours = mean_aucs(whole, groups, [("one", "two")])
    assert mean_aucs(KNOWN, groups, [("one", "two")]) == ours
    assert mean_aucs({**whole, "site 1": KNOWN["site 1"]}, groups, [("one", "two")]) == ours


def test_models_are_picked_in_the_order_asked_for() -> None:
    site = KNOWN["site 3"]
    picked = site.of(["C", "A"])
    assert picked.models == ("C", "A")
    assert picked.aucs == (site.aucs[2], site.aucs[0])
    assert picked.covariance == (
        (site.covariance[2][2], site.covariance[2][0]),
        (site.covariance[0][2], site.covariance[0][0]),
    )
    with pytest.raises(ValueError, match="not in"):
        site.of(["D"])


def test_numbers_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="2 models, but not as many"):
        SiteAucs(("A", "B"), (0.5, 0.6), (0.4, 0.5), (0.6, 0.7), ((0.1,), (0.1,)), ((9.0, 9.0),) * 2, 9)
    with pytest.raises(ValueError, match="no model"):
        site_aucs([0, 1], [0, 1], {})


def test_a_class_of_a_single_patient_leaves_nothing_to_pool() -> None:
    assert site_aucs([0, 0, 1, 1], [0, 1, 2, 2], {"A": [1, 2, 3, 4]}).log_odds is None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("least", [1, 5])
def test_no_step_of_a_coarse_curve_is_a_few_patients(seed: int, least: int) -> None:
    """Some patients have many scans, scores are tied in some draws, and a class may be small."""
    rng = np.random.default_rng(seed)
    scans = int(rng.integers(12, 90))
    patients, labels = rng.integers(0, scans // 2, scans), (rng.random(scans) < 0.35).astype(int)
    labels[:2] = [0, 1]
    scores = np.round(labels + rng.normal(size=scans), int(rng.integers(0, 4)))
    points = coarse_roc(labels, patients, scores, least)
    counts = np.bincount(labels, minlength=2)
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == counts.tolist()
    order = np.argsort(-scores, kind="stable")
    for first, last in zip(points[:-1].sum(axis=1), points[1:].sum(axis=1), strict=True):
        step = order[first:last]
        if len(points) > 2:  # one step holds everybody, however few
            assert all(len(set(patients[step][labels[step] == c].tolist())) >= least for c in (0, 1))
        assert last == scans or scores[order[last - 1]] > scores[order[last]]  # equal scores stay together


def test_a_coarse_curve_is_a_part_of_the_whole_one() -> None:
    labels, patients, scores = SITES["site 4"]
    coarse, whole = coarse_roc(labels, patients, scores["A"]), exact_roc(labels, scores["A"])
    rates = (whole.false_positive_rate * 40, whole.true_positive_rate * 40)
    assert {tuple(p) for p in coarse.tolist()} <= set(
        zip(*(np.rint(r).astype(int).tolist() for r in rates), strict=True)
    )
    assert 2 < len(coarse) < len(whole.thresholds)
    false, true = (coarse[:, c] / coarse[-1, c] for c in (0, 1))
    assert np.trapezoid(true, false) == pytest.approx(float(exact_auc(labels, scores["A"])), abs=0.06)
    with pytest.raises(ValueError, match="least must be 1 or more"):
        coarse_roc(labels, patients, scores["A"], 0)
