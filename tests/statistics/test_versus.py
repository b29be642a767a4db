"""Two versions on the same scans: R's own numbers on aSAH, each status on both sides, flips, refusals.

`tests/golden/asah.csv`: 113 patients with aneurysmal subarachnoid haemorrhage (Turck et al. 2010, Intensive Care Med
36:107), published as `aSAH` in R's package pROC (Robin et al. 2011, BMC Bioinformatics 12:77). What R prints of it is
from pROC's own tests (github.com/xrobin/pROC, tests/testthat/test-roc.test.R and test-ci.auc.R).
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere.statistics.intervals import auc_interval
from elsewhere.statistics.versus import PairedRows, compare_versions, version_record

with (Path(__file__).parents[1] / "golden" / "asah.csv").open() as opened:
    ASAH = list(csv.DictReader(opened))
OUTCOME = np.array([row["outcome"] == "Poor" for row in ASAH], dtype=np.int64)
MARKER = {name: np.array([float(row[name]) for row in ASAH]) for name in ("wfns", "s100b", "ndka")}
AUCS = {"wfns": 0.82367886178861793, "s100b": 0.73136856368563685, "ndka": 0.61195799457994582}


# 43 of 49 patients with ovarian cancer and bowel obstruction (DeLong et al. 1988, Biometrics 44:837), as printed in the
# manual of SAS, "Comparing Receiver Operating Characteristic Curves": albumin, total protein, K-G score, outcome
OVARIAN = np.fromstring(
    """3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
    3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
    4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
    4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
    2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1""",
    sep=" ",
).reshape(43, 4)


def versions(scans=600, seed=0, drop=0.0, noise=0.3, gap=2.4, patients=None, shift=0.0):
    """An old version and a new one whose gap between the classes is smaller by `drop`; both call from 0."""
    random = np.random.default_rng(seed)
    labels = (np.arange(scans) % 2).astype(np.int64)
    both = random.normal(size=scans) + gap * (labels - 0.5)
    old = both + noise * random.normal(size=scans)
    new = both + noise * random.normal(size=scans) - drop * (labels - 0.5) + shift
    return PairedRows(
        scans=[f"s{i}" for i in range(scans)],
        labels=labels,
        patients=np.arange(scans) if patients is None else patients,
        new=new,
        old=old,
        new_calls=(new >= 0).astype(np.int64),
        old_calls=(old >= 0).astype(np.int64),
    )


def measure(found, name):
    return next(d for d in found.differences if d.measure.startswith(name))


@pytest.mark.parametrize(
    ("new", "old", "p_value", "low", "high"),
    [
        ("wfns", "s100b", 0.0271757822291882, 0.0104061769564846, 0.174214419249478),
        ("wfns", "ndka", 0.00514557970691098, 0.0634011709339876, 0.3600405634833566),
        ("ndka", "s100b", 0.164295175223054, -0.2876917446341914, 0.0488706064228094),
    ],
)
def test_differences_are_those_that_r_prints(new, old, p_value, low, high):
    rows = PairedRows([str(i) for i in range(113)], OUTCOME, np.arange(113), MARKER[new], MARKER[old])
    auc = measure(compare_versions(rows), "discrimination")
    assert (auc.new, auc.old) == pytest.approx((AUCS[new], AUCS[old]), abs=1e-12)
    assert auc.p_value == pytest.approx(p_value, rel=1e-9)
    assert (auc.difference.low, auc.difference.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(
    ("column", "auc", "p_value", "low", "high"),
    [
        (0, 0.736559139784946, 0.910206347201035, -0.176117368734695, 0.197622745078781),
        (1, 0.647849462365591, 0.456139707507474, -0.282988015572399, 0.127074037077776),
    ],
)
def test_differences_are_those_of_delong_s_own_patients(column, auc, p_value, low, high):
    """Against the K-G score, fewer points the better; numbers of R's pROC 1.18.0."""
    outcome, patients = OVARIAN[:, 3].astype(np.int64), np.arange(43)
    rows = PairedRows([str(i) for i in range(43)], outcome, patients, OVARIAN[:, column], 10 - OVARIAN[:, 2])
    found = measure(compare_versions(rows), "discrimination")
    assert (found.new, found.old) == pytest.approx((auc, 0.725806451612903), abs=1e-12)
    assert found.p_value == pytest.approx(p_value, rel=1e-9)
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=1e-12)


def test_the_interval_of_one_marker_is_the_one_that_r_prints():
    found = auc_interval(OUTCOME, np.arange(113), MARKER["ndka"], method="wald")
    assert (found.low, found.estimate, found.high) == pytest.approx(
        (0.501244999271703, 0.611957994579946, 0.722670989888189), abs=1e-12
    )


@pytest.mark.parametrize(
    ("rows", "margin", "outcome", "code"),
    [
        (versions(scans=2000), 0.05, "not worse", 0),
        (versions(scans=2000, drop=1.6), 0.05, "worse", 14),
        (versions(scans=60), 0.05, "open", 20),
        (versions(scans=2000, drop=1.6), None, "", 0),
    ],
)
def test_each_outcome_of_a_margin(rows, margin, outcome, code):
    found = compare_versions(rows, margin)
    assert (found.outcome, found.exit_code) == (outcome, code)


def test_without_a_margin_a_fall_is_named_and_chance_is_not():
    worse, alike = compare_versions(versions(scans=2000, drop=1.6)), compare_versions(versions())
    assert measure(worse, "discrimination").status == "lower"
    assert "discrimination (AUC) surely lower" in worse.headline
    assert {d.status for d in alike.differences} == {"no sure difference"}
    assert alike.headline.startswith("New version against old: no sure difference in discrimination (AUC)")


def test_a_sure_fall_within_the_margin_is_not_hidden():
    """Not worse by the margin, or open, is no reason to keep quiet about a fall that is sure."""
    rows = versions(scans=2000, drop=1.6)
    fall = measure(compare_versions(rows), "discrimination").difference
    assert fall.high < 0
    for margin, status in ((0.9, "not worse"), (-(fall.low + fall.high) / 2, "open")):
        found = compare_versions(rows, margin)
        told = measure(found, "discrimination")
        assert told.status == status
        assert ": surely lower, " in told.sentence
        assert "Surely lower: discrimination (AUC)" in found.headline
    assert "urely" not in measure(compare_versions(versions(), 0.1), "discrimination").sentence
    assert "urely lower" not in compare_versions(versions(), 0.1).headline


def test_scans_left_out_of_the_new_table_leave_it_open():
    rows = versions(scans=4000, noise=0.05)
    assert compare_versions(rows, 0.05).outcome == "not worse"
    found = compare_versions(rows, 0.05, dropped=59)
    assert (found.outcome, found.exit_code) == ("open", 20)
    assert "59 scans of the old table are not in the new one" in found.headline
    assert compare_versions(rows, 0.05, added=59).outcome == "not worse"


def test_no_flip_in_few_scans_does_not_show_that_versions_are_alike():
    rows = versions(scans=30, noise=0.0)
    rows = replace(rows, new=rows.new * 1.5 + 0.001)  # other scores, the same decisions
    found = compare_versions(rows, 0.05)
    assert found.flips == ()
    assert measure(found, "sensitivity").status == "open"
    assert measure(found, "discrimination").difference.high == 0  # the ranks are the same, whatever the scans


def test_the_same_scores_and_decisions_are_not_worse():
    rows = versions(scans=30, noise=0.0)
    found = compare_versions(rows, 0.01)
    assert found.outcome == "not worse"
    assert measure(found, "specificity").difference.method == "no score and no decision changed"


def test_flips_are_listed_with_the_harmful_ones_first():
    rows = versions(scans=4, noise=0.0)
    rows = replace(rows, new_calls=np.array([1, 1, 0, 0]), old_calls=np.array([0, 0, 1, 1]))
    found = compare_versions(rows)
    assert [f.effect for f in found.flips] == [
        "positive now missed",
        "negative now called",
        "positive now found",
        "negative now cleared",
    ]
    assert [f.scan for f in found.flips] == ["s3", "s0", "s1", "s2"]
    unknown = compare_versions(replace(rows, labels=np.full(4, -1)))
    assert set(unknown.effects) == {"now called, label not known", "now not called, label not known"}
    assert unknown.differences == ()


def test_an_update_gains_nothing_by_refusing_what_is_hard():
    rows = versions(scans=2000)
    hard = (rows.labels == 1) & (rows.old < 0.4)
    refusing = replace(rows, new=np.where(hard, np.nan, rows.new), new_calls=np.where(hard, -1, rows.new_calls))
    found = compare_versions(refusing, 0.05)
    assert measure(found, "discrimination").difference.estimate > -0.01
    assert measure(found, "sensitivity").status == "worse"
    assert (found.only_old, found.only_old_positives) == (int(hard.sum()), int(hard.sum()))


def test_sites_are_compared_within():
    rows = versions(scans=800)
    site = np.arange(800) % 4 // 2  # both classes at each
    moved = replace(rows, sites=[f"H{s}" for s in site], new=rows.new + 50 * site, new_calls=None)
    apart = compare_versions(moved)
    assert measure(apart, "discrimination").difference.estimate == pytest.approx(0, abs=0.02)
    pooled = compare_versions(replace(moved, sites=None))
    assert measure(pooled, "discrimination").difference.estimate < -0.1
    assert apart.unmeasured == ("sensitivity", "specificity")


def test_an_auc_that_is_equal_within_sites_is_equal():
    rows = versions(200)
    sites = np.repeat(["A", "B"], 100).tolist()
    moved = replace(rows, sites=sites, new=np.where(np.array(sites) == "A", rows.old, rows.old + 3))
    auc = measure(compare_versions(moved, 0.05), "discrimination")
    assert (auc.status, auc.difference.low, auc.difference.high) == ("not worse", 0.0, 0.0)
    assert measure(compare_versions(replace(moved, sites=None), 0.05), "discrimination").status != "not worse"


@pytest.mark.parametrize("margin", [None, 0.05])
def test_few_patients_show_no_difference_however_many_their_scans(margin):
    rows = versions(400, drop=2.0)
    few = replace(rows, patients=np.where(rows.labels == 1, np.arange(400) % 6, np.arange(400)))  # three positive
    enough = replace(rows, patients=np.where(rows.labels == 1, np.arange(400) % 20, np.arange(400)))  # ten
    for name in ("discrimination", "sensitivity"):
        assert measure(compare_versions(few, margin), name).status == "too few"
        assert "too few patients to tell (3; 10 are the least)" in measure(compare_versions(few, margin), name).sentence
        assert measure(compare_versions(enough, margin), name).status in {"lower", "worse"}
    assert measure(compare_versions(few, margin), "specificity").status in {"lower", "worse"}
    found = compare_versions(few)
    assert "Too few patients to tell in discrimination (AUC), sensitivity" in found.headline
    assert compare_versions(replace(few, new=few.old, new_calls=few.old_calls), 0.05).outcome == "not worse"


def test_patients_are_counted_behind_the_difference_and_not_beside_it():
    rows = versions(400, drop=2.0)
    positive = np.flatnonzero(rows.labels == 1)
    refused = np.isin(np.arange(400), positive[4:])
    new, old = (np.where(refused, np.nan, s) for s in (rows.new, rows.old))
    calls = [np.where(refused, -1, c) for c in (rows.new_calls, rows.old_calls)]
    found = compare_versions(replace(rows, new=new, old=old, new_calls=calls[0], old_calls=calls[1]))
    assert {d.measure: d.status for d in found.differences if d.measure != "specificity"} == {
        "discrimination (AUC)": "too few",
        "sensitivity": "too few",
    }
    apart = np.where(np.isin(np.arange(400), positive[4:]), "only positives", "both").tolist()
    assert measure(compare_versions(replace(rows, sites=apart)), "discrimination").patients == 4


def test_patients_are_the_unit():
    one, many = versions(scans=400), versions(scans=400, patients=np.arange(400) // 10)
    widths = [measure(compare_versions(r), "discrimination").difference for r in (one, many)]
    copied = replace(many, **{n: np.repeat(getattr(one, n)[:40], 10) for n in ("labels", "new", "old")})
    again = measure(compare_versions(replace(copied, new_calls=None)), "discrimination").difference
    assert again.high - again.low > 2 * (widths[0].high - widths[0].low)


def test_a_changed_scale_is_said_instead_of_a_shift():
    rows = versions()
    assert compare_versions(rows).shifts
    assert "the scale itself seems to have changed" in compare_versions(replace(rows, new=rows.new + 40)).notes[0]
    assert "on different scales" in compare_versions(replace(rows, one_scale=False)).notes[0]


def test_a_record_holds_every_number():
    found = version_record(compare_versions(versions(shift=1.0), 0.05))
    assert found["outcome"] in found["headline"] or found["outcome"] == "worse"
    assert found["differences"][0]["sentence"].startswith("Discrimination (AUC): old")
    assert found["realignment"]["sentence"].startswith("Of 600 scans")


def test_nothing_in_common_and_a_margin_outside_are_refused():
    rows = versions(scans=10)
    with pytest.raises(ValueError, match="margin must be above 0 and below 1, is 5"):
        compare_versions(rows, 5)
    empty = PairedRows([], *(np.empty(0, int) for _ in range(2)), *(np.empty(0) for _ in range(2)))
    with pytest.raises(ValueError, match="no scan in common"):
        compare_versions(empty)
