"""Charts over evaluations: distances, alarms that come, stand and end, updates, and what counts as nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from elsewhere.statistics.intervals import Interval, binormal_variance
from elsewhere.statistics.monitoring import (
    LIMITS,
    Evaluated,
    Part,
    distance_between,
    distance_from,
    follow,
    judge_update,
    measure_parts,
    read_chart,
    variances,
)
from elsewhere.statistics.versus import PairedRows, compare_versions

NEEDS = {"discrimination (AUC)": 0.8, "sensitivity": 0.7, "specificity": 0.7}


def evaluated(seed: int, auc: float = 0.92, scans: int = 120, **also: object) -> Evaluated:
    random = np.random.default_rng(seed)
    labels = (np.arange(scans) % 2).astype(np.int64)
    scores = random.normal(size=scans) + 2**0.5 * norm.ppf(auc) * (labels - 0.5)
    values = {
        "date": f"2026-{1 + seed % 12:02d}-01",
        "version": "1.0",
        "update": False,
        "labels": labels,
        "patients": [f"{seed}/{i}" for i in range(scans)],
        "scores": scores,
        "calls": (scores >= 0).astype(np.int64),
    } | also
    return Evaluated(**values)  # type: ignore[arg-type]


def test_variances_are_those_of_single_estimates() -> None:
    parts = [Part(0.9, (30.0, 50.0), 1.3, 30), Part(0.7, (40.0,), 1.0, 40), Part(0.8, (12.0, 9.0), 1.0, 9)]
    wanted = [1.3 * binormal_variance(0.8, (30, 50)), 0.8 * 0.2 / 40, binormal_variance(0.8, (12, 9))]
    np.testing.assert_allclose(variances(parts, 0.8), wanted, rtol=1e-12)


def test_shares_are_compared_by_the_root_of_the_likelihood_ratio() -> None:
    first, second = Part(45 / 50, (50.0,), 1.0, 50), Part(30 / 40, (40.0,), 1.0, 40)
    pooled = 75 / 90

    def likelihood(hits: int, scans: int, share: float) -> float:
        return float(binom.logpmf(hits, scans, share))

    alone = 2 * (likelihood(75, 90, pooled) - likelihood(75, 90, 0.7))
    assert distance_from([first, second], 0.7) == pytest.approx(alone**0.5)
    apart = likelihood(45, 50, 0.9) + likelihood(30, 40, 0.75) - likelihood(45, 50, pooled) - likelihood(30, 40, pooled)
    assert distance_between([first], [second]) == pytest.approx(-((2 * apart) ** 0.5))


def test_nothing_is_read_from_fewer_than_ten_patients_nor_from_shares_that_are_all_alike() -> None:
    few, many = Part(0.2, (9.0,), 1.0, 9), Part(0.9, (50.0,), 1.0, 50)
    assert distance_from([few], 0.8) is None
    assert distance_between([many], [few]) is None
    assert distance_between([Part(1.0, (30.0,), 1.0, 30)], [Part(1.0, (40.0,), 1.0, 40)]) == 0.0


def test_measures_of_one_evaluation() -> None:
    base = evaluated(1)
    scores = base.scores.copy()
    scores[:6] = np.nan
    e = evaluated(1, scores=scores, calls=np.where(np.isfinite(scores), scores >= 0, -1).astype(np.int64))
    (lost,), (alerts,), (found,) = (measure_parts(e, m) for m in ("no answer", "alerts", "sensitivity"))
    assert lost.value == 6 / 120
    assert alerts.value == pytest.approx((scores[6:] >= 0).mean())
    assert found.value == pytest.approx((scores[6:][e.labels[6:] == 1] >= 0).mean())
    assert found.patients == 57
    assert measure_parts(evaluated(1, calls=None), "sensitivity") == []


def test_the_auc_is_measured_within_sites_that_have_both_classes() -> None:
    base = evaluated(2)
    sites = ["A" if i < 60 else "B" for i in range(120)]
    apart = measure_parts(
        evaluated(2, scores=base.scores + 100 * (np.arange(120) < 60), sites=sites), "discrimination (AUC)"
    )
    plain = [measure_parts(evaluated(2, sites=sites), "discrimination (AUC)")]
    assert [p.value for p in apart] == [p.value for p in plain[0]]
    one_class = ["A" if label else "B" for label in base.labels]
    assert measure_parts(evaluated(2, sites=one_class), "discrimination (AUC)") == []


def test_a_product_that_stays_good_raises_no_alarm() -> None:
    course = follow([evaluated(s) for s in range(8)], NEEDS, [None] * 8)
    assert course.exit_code == 0
    assert course.sentences[0].startswith("No alarm after 8 evaluations")
    assert course.sentences[0].endswith("and nothing has surely changed.")


def test_after_one_evaluation_it_does_not_say_that_nothing_changed() -> None:
    course = follow([evaluated(0)], NEEDS, [None])
    assert course.exit_code == 0
    assert course.sentences[0].endswith("no two evaluations can be compared yet, so that a change could not be seen.")


def test_a_product_that_falls_below_its_need_is_stopped_and_the_sentence_says_since_when() -> None:
    history = [evaluated(s) for s in range(4)] + [evaluated(s, auc=0.6) for s in range(4, 8)]
    course = follow(history, NEEDS, [None] * 8)
    assert course.exit_code == 12
    assert course.sentences[0].startswith("Stop: discrimination (AUC) is below the required 0.80")
    assert "2026-05-01" in course.sentences[0]
    assert any("has fallen" in words for words in course.sentences)


def test_a_fall_above_the_need_is_worse_but_no_stop() -> None:
    history = [evaluated(s, auc=0.99, scans=400) for s in range(3)] + [
        evaluated(s, auc=0.92, scans=400) for s in (3, 4)
    ]
    course = follow(history, NEEDS, [None] * 5)
    assert course.exit_code == 14
    assert not any(words.startswith("Stop") for words in course.sentences)


def test_more_alerts_alone_ask_for_labels() -> None:
    shifted = [evaluated(s, labels=np.full(120, -1), calls=np.ones(120, np.int64)) for s in (3, 4)]
    course = follow([evaluated(s) for s in range(3)] + shifted, NEEDS, [None] * 5)
    assert course.exit_code == 20
    assert "label new scans to tell" in course.sentences[0]


def test_an_alarm_stands_until_another_version_is_evaluated() -> None:
    bad = [evaluated(s) for s in range(2)] + [evaluated(s, auc=0.6) for s in range(2, 5)]
    still = [*bad, evaluated(5, auc=0.97)]
    assert follow(still, NEEDS, [None] * 6).exit_code == 12
    mended = [*bad, evaluated(5, auc=0.97, version="1.1")]
    course = follow(mended, NEEDS, [None] * 6)
    assert course.exit_code == 0
    (need,) = (c for c in course.charts if (c.measure, c.kind) == ("discrimination (AUC)", "need"))
    assert [r.alarm is not None for r in need.readings] == [False, False, True, True, True, False]
    assert need.readings[-1].since == 5


def test_an_update_on_frozen_scans_counts_in_no_chart() -> None:
    again = [evaluated(0)] + [evaluated(0, auc=0.2, update=True, version="2") for _ in range(3)]
    course = follow(again, NEEDS, [None] * 4)
    assert all(c.looks == (0,) for c in course.charts)


def test_nothing_to_read_yet_is_said() -> None:
    course = follow([evaluated(0, scans=8)], NEEDS, [None])
    assert course.exit_code == 20
    assert "Nothing can be said yet" in course.sentences[0]


def versions(lost: float) -> tuple[PairedRows, PairedRows]:
    """Rows of the same version twice, and of one that misses a share of the positives."""
    random = np.random.default_rng(3)
    labels = (np.arange(300) % 2).astype(np.int64)
    old = random.normal(size=300) + 2.4 * (labels - 0.5)
    new = old - 4 * ((random.random(300) < lost) & (labels == 1))
    ids, calls = [str(i) for i in range(300)], [(s >= 0).astype(np.int64) for s in (old, new)]
    people = np.arange(300)
    same = PairedRows(ids, labels, people, old, old, calls[0], calls[0])
    return same, PairedRows(ids, labels, people, new, old, calls[1], calls[0])


def test_updates_are_judged_more_strictly_the_more_there_were() -> None:
    same, worse = (compare_versions(rows) for rows in versions(0.3))
    assert judge_update(same, 1, None).lost == ()
    assert "sensitivity" in judge_update(worse, 1, None).lost
    assert judge_update(worse, 1, 0.5).lost == ()
    levels = [judge_update(worse, k, None).level for k in range(1, 200)]
    assert levels == sorted(levels)
    assert sum((1 - level) / 2 for level in levels) * 3 <= 0.05
    with pytest.raises(ValueError, match="counted from 1"):
        judge_update(worse, 0, None)


def test_a_worse_update_is_an_alarm_while_its_version_is_in_use() -> None:
    versus = compare_versions(versions(0.3)[1])
    first, update = evaluated(0), evaluated(1, update=True, version="2")
    course = follow([first, update], NEEDS, [None, versus])
    assert course.exit_code == 14
    assert "Version 2 (2026-02-01) is worse than the first one on the frozen scans" in course.sentences[0]
    assert follow([first, update, evaluated(2)], NEEDS, [None, versus, None]).exit_code == 0


def test_charts_look_back_twelve_evaluations_at_most() -> None:
    seen: list[int] = []

    def distance(start: int, split: int, stop: int) -> float:
        seen.append(stop - split)
        return 0.0

    readings = read_chart(20, ["1"] * 20, distance, LIMITS["need"])
    assert max(seen) == 12
    assert not any(r.alarm is not None for r in readings)


def test_both_directions_where_asked() -> None:
    def high(*_: int) -> float:
        return 5.0

    assert read_chart(1, ["1"], high, 3.0, both=True)[0].alarm == 0
    assert read_chart(1, ["1"], high, 3.0)[0].alarm is None
    assert isinstance(judge_update(compare_versions(versions(0.0)[0]), 1, 0.05).differences["sensitivity"], Interval)
