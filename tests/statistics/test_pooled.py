"""Mean AUCs over groups of cells: plain means, their intervals, and what moves together."""

from __future__ import annotations

import numpy as np
import pytest

from elsewhere.statistics.intervals import auc_interval
from elsewhere.statistics.pooled import SiteScores, mean_aucs
from elsewhere.statistics.roc import exact_auc


def a_site(seed: int, scans: int = 80, models: int = 2) -> SiteScores:
    """Scores of several models at one site, two scans a patient."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.permutation(np.arange(scans // 2) % 2), 2)
    scores = {f"m{i}": rng.normal(size=scans) + 1.2 * labels for i in range(models)}
    return SiteScores(labels, [f"p{i // 2}" for i in range(scans)], scores)


def test_a_group_mean_is_the_plain_mean_of_its_cells() -> None:
    sites = {"A": a_site(1), "B": a_site(2)}
    cells = [("m0", "A"), ("m1", "A"), ("m0", "B")]
    aucs = [float(exact_auc(sites[s].labels, sites[s].scores[m])) for m, s in cells]
    found = mean_aucs(sites, {"all": cells, "none": []})
    assert set(found) == {"all"}
    assert found["all"].estimate == pytest.approx(np.mean(aucs), abs=1e-12)
    assert found["all"].low < found["all"].estimate < found["all"].high


def test_one_cell_has_about_the_interval_of_its_auc() -> None:
    site = a_site(3, scans=200, models=1)
    found = mean_aucs({"A": site}, {"one": [("m0", "A")]})["one"]
    alone = auc_interval(site.labels, site.patients, site.scores["m0"])
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_cells_that_share_patients_move_together_and_others_do_not() -> None:
    twin = a_site(4)
    same = SiteScores(twin.labels, twin.patients, {"m0": twin.scores["m0"], "m1": twin.scores["m0"]})
    shared = mean_aucs({"A": same}, {"g": [("m0", "A"), ("m1", "A")], "one": [("m0", "A")]})
    assert shared["g"].high - shared["g"].low == pytest.approx(shared["one"].high - shared["one"].low)
    apart = mean_aucs({"A": same, "B": a_site(5)}, {"g": [("m0", "A"), ("m0", "B")]})["g"]
    assert apart.high - apart.low < 0.9 * (shared["g"].high - shared["g"].low)


def test_a_difference_of_equal_cells_is_next_to_nothing() -> None:
    twin = a_site(6)
    same = SiteScores(twin.labels, twin.patients, {"m0": twin.scores["m0"], "m1": twin.scores["m0"]})
    found = mean_aucs({"A": same}, {"x": [("m0", "A")], "y": [("m1", "A")]}, [("x", "y"), ("x", "z")])
    assert set(found) == {"x", "y", "x - y"}
    one = found["x"]
    lopsided = abs(one.estimate - one.low - (one.high - one.estimate))  # what square-and-add leaves of equal cells
    assert found["x - y"].estimate == 0
    assert (-found["x - y"].low, found["x - y"].high) == pytest.approx((lopsided, lopsided), abs=1e-6)
    assert lopsided < 0.3 * (one.high - one.low)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="needs both classes"):
        mean_aucs({"A": SiteScores([1, 1], ["p", "q"], {"m": [0.1, 0.2]})}, {"g": [("m", "A")]})


def test_several_trainings_count_with_their_mean_and_widen_the_interval() -> None:
    site = a_site(7, models=3)
    once = mean_aucs({"A": site}, {"g": [("m0", "A")]})["g"]
    found = mean_aucs({"A": site}, {"g": [("m0", "A")]}, trainings={"m0": ["m0", "m1", "m2"]})["g"]
    aucs = [float(exact_auc(site.labels, site.scores[m])) for m in ("m0", "m1", "m2")]
    assert found.estimate == pytest.approx(np.mean(aucs))
    reach = 4.302653 * np.std(aucs, ddof=1) / 3**0.5  # t of 2 degrees of freedom
    assert found.estimate - found.low >= reach
    assert found.high - found.estimate >= reach
    assert "spread over trainings" in found.method
    assert "networks held" in once.method


def test_trainings_that_agree_leave_the_interval_as_it_is() -> None:
    twin = a_site(8)
    same = SiteScores(twin.labels, twin.patients, {"m0": twin.scores["m0"], "m0~5": twin.scores["m0"]})
    alone = mean_aucs({"A": same}, {"g": [("m0", "A")]})["g"]
    both = mean_aucs({"A": same}, {"g": [("m0", "A")]}, trainings={"m0": ["m0", "m0~5"]})["g"]
    assert (both.estimate, both.low, both.high) == pytest.approx((alone.estimate, alone.low, alone.high))


def test_a_seed_that_lifts_home_and_elsewhere_alike_leaves_their_difference() -> None:
    first, second = a_site(9), a_site(10)
    lifted = {
        s: {"m0": x.scores["m0"], "m0~1": x.scores["m0"] + 3 * np.asarray(x.labels)}
        for s, x in (("A", first), ("B", second))
    }
    sites = {
        "A": SiteScores(first.labels, first.patients, lifted["A"]),
        "B": SiteScores(second.labels, second.patients, lifted["B"]),
    }
    groups = {"x": [("m0", "A")], "y": [("m0", "B")]}
    found = mean_aucs(sites, groups, [("x", "y")], trainings={"m0": ["m0", "m0~1"]})
    wide, narrow = found["x"].high - found["x"].low, found["x - y"].high - found["x - y"].low
    assert narrow < wide  # the seed moves each mean far, their difference little
