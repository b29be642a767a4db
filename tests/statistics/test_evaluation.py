"""Evaluation of a product: every case counted, cells as a study's, sites, subgroups, and what may not be said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from elsewhere.pages.evaluation import EvaluationContext, render_evaluation
from elsewhere.statistics.acceptance import read_claims
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.evaluation import ProductRows, evaluate_product, to_record
from elsewhere.statistics.over_sites import auc_over_sites
from elsewhere.statistics.predictive import values_at
from elsewhere.statistics.product_sites import share_over_sites
from elsewhere.statistics.requirements import Requirements
from elsewhere.statistics.score import score_cell
from elsewhere.statistics.scored import Scored
from elsewhere.statistics.subgroups import find_subgroups, levels

POINT = OperatingPoint(0.5, "grid", "model", 0.9, 50)


def rows(scans=400, gap=2.2, seed=0, **more):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, scans)
    scores = 1 / (1 + np.exp(-(random.normal(size=scans) + gap * (labels - 0.5))))
    patients = np.array([f"p{i // 2}" for i in range(scans)])
    return ProductRows(labels, patients, scores, None, [""] * scans, **{"threshold": 0.5, **more})


def test_a_cell_is_that_of_a_study_to_the_last_digits():
    given = rows()
    (cell,) = evaluate_product(given, Requirements()).cells
    wanted = score_cell(given.labels, given.patients, given.scores, operating_point=POINT).to_record()
    numbers = {k: v for k, v in wanted.items() if isinstance(v, int | float)}
    assert len(numbers) > 35
    for name, value in numbers.items():
        assert cell[name] == pytest.approx(value, abs=1e-12), name


def test_any_scale_gives_the_same_ranking_and_no_calibration():
    given = rows()
    raw = replace(given, scores=np.log(given.scores / (1 - given.scores)), threshold=0.0, is_probability=False)
    one, other = evaluate_product(given, Requirements()), evaluate_product(raw, Requirements())
    assert (other.auc, other.sensitivity, other.specificity) == (one.auc, one.sensitivity, one.specificity)
    assert (other.line, other.reliability, other.benefit) == (None, None, None)
    assert other.cells[0]["brier"] is None
    assert other.cells[0]["auc_bootstrap_low"] == pytest.approx(one.cells[0]["auc_bootstrap_low"], abs=1e-12)
    assert one.benefit is not None


def test_calls_are_the_decisions_whatever_the_threshold():
    given = rows()
    section = evaluate_product(replace(given, calls=(given.scores >= 0.7).astype(int)), Requirements())
    assert section.sensitivity.estimate == pytest.approx(np.mean(given.scores[given.labels == 1] >= 0.7))
    assert section.cells[0]["sensitivity"] == section.sensitivity.estimate
    assert any("would decide" in note for note in section.notes)
    odd = (given.scores >= 0.7).astype(int)
    odd[np.argmax(given.scores)] = 0
    section = evaluate_product(replace(given, calls=odd), Requirements())
    assert any("not those of one threshold on its scores: 1 scans" in note for note in section.notes)


def test_without_decisions_nothing_is_said_of_them():
    section = evaluate_product(rows(threshold=None), Requirements())
    assert (section.sensitivity, section.values, section.likelihood_ratios) == (None, (), None)
    assert section.cells[0]["sensitivity"] is None
    assert section.answer.action == "cannot tell"
    assert section.what_if


def test_every_case_is_counted_and_refused_ones_by_reason_and_metadata():
    given = rows(100)
    scores, labels, refused = given.scores.copy(), given.labels.copy(), [""] * 100
    scores[:12], refused[:10] = np.nan, ["too thin"] * 10
    labels[90:95] = -1
    given = replace(given, scores=scores, labels=labels, refused=refused, metadata={"kernel": ["B"] * 20 + ["S"] * 80})
    section = evaluate_product(given, Requirements())
    f = section.flow
    assert (f.rows, f.refused, f.no_score, f.no_label, f.scans) == (100, 10, 2, 5, 83)
    assert f.rows == f.refused + f.no_score + f.no_label + f.scans
    assert [r[:2] for r in section.refusals.reasons] == [("too thin", 10), ("no score, no reason given", 2)]
    assert [g[:4] for g in section.refusals.groups] == [("kernel", "B", 20, 12), ("kernel", "S", 80, 0)]
    missed = labels[:12].sum()
    hits = section.sensitivity.estimate * section.flow.positives
    assert section.refusals.sensitivity.estimate == pytest.approx(hits / (section.flow.positives + missed))
    assert "no answer to 12 of 100 scans" in section.unanswered
    assert evaluate_product(rows(), Requirements()).unanswered == ""


def test_a_product_that_is_silent_where_it_would_be_wrong_does_not_work():
    """It refuses a quarter of the scans, all those it would decide wrongly: perfect where it answers."""
    given = rows(600, gap=2.6)
    wrong = (given.scores >= 0.5) != (given.labels == 1)
    silent = replace(given, scores=np.where(wrong, np.nan, given.scores))
    answer = evaluate_product(silent, Requirements(least_sensitivity=0.95)).answer
    assert answer.action == "cannot tell"
    assert f"{wrong.sum()} scans have no answer" in answer.reason
    few = replace(
        given, scores=np.where(np.arange(600) < 3, np.nan, rows(600, gap=6.0).scores), labels=rows(600).labels
    )
    assert evaluate_product(few, Requirements()).answer.action == "nothing"  # three scans change nothing


def test_rows_that_recur_are_told_and_coarse_scores_are_not():
    given = rows(40)
    again = {"patients": np.array([f"p{i}" for i in range(400)]), "refused": [""] * 400}
    copies = replace(given, labels=np.tile(given.labels, 10), scores=np.tile(given.scores, 10), **again)
    assert any(note.startswith("360 of 400 scans repeat") for note in evaluate_product(copies, Requirements()).notes)
    coarse = replace(rows(400), scores=np.round(rows(400).scores, 1))
    for alone in (rows(400), coarse):
        assert not any("repeat another" in note for note in evaluate_product(alone, Requirements()).notes)


def test_a_column_that_holds_all_scans_in_one_group_makes_none():
    dates = [f"2026-0{1 + i % 3}-1{i % 9}" for i in range(400)]
    ages = [str(60 + i % 30) for i in range(400)]
    section = evaluate_product(replace(rows(), metadata={"date": dates, "age": ages}), Requirements())
    assert (section.subgroups, section.comparisons) == ((), 0)
    assert set(section.not_grouped) == {"date", "age"}


def test_predictive_values_at_the_given_prevalence():
    given = rows()
    section = evaluate_product(given, Requirements(), prevalence=0.05)
    wanted = values_at(given.labels, given.patients, (given.scores >= 0.5).astype(int), 0.05)
    assert section.values[1] == wanted
    assert section.what_if[4].values == wanted  # 0.5


def test_several_sites_have_a_row_each_and_a_prediction_interval_for_a_new_one():
    given = rows(1000)
    place = np.arange(1000) // 2 % 5
    sites = np.array([f"H{p}" for p in place])
    given = replace(given, scores=np.clip(given.scores + 0.08 * (place - 2), 0, 1))
    section = evaluate_product(replace(given, sites=sites.tolist()), Requirements())
    parts = [(given.labels[sites == s], given.patients[sites == s], given.scores[sites == s]) for s in np.unique(sites)]
    assert section.over_sites["discrimination (AUC)"] == auc_over_sites(parts)
    over = section.over_sites["sensitivity"]
    assert over.new_low < over.low < over.mean < over.high < over.new_high
    assert [r.site for r in section.sites] == ["H0", "H1", "H2", "H3", "H4"]
    assert [c["site"] for c in section.cells] == ["all", "H0", "H1", "H2", "H3", "H4"]
    assert evaluate_product(replace(given, sites=["one"] * 1000), Requirements()).sites == ()


def test_sites_that_only_differ_in_prevalence_do_not_raise_the_auc():
    random = np.random.default_rng(3)
    site = np.repeat([0, 1], 500)
    labels = (random.random(1000) < np.where(site == 0, 0.1, 0.9)).astype(int)
    scores = np.clip(0.2 + 0.6 * site + 0.05 * random.normal(size=1000), 0, 1)
    given = ProductRows(labels, np.arange(1000), scores, None, [""] * 1000, sites=[f"H{s}" for s in site])
    assert evaluate_product(given, Requirements()).auc.high < 0.6
    assert evaluate_product(replace(given, sites=None), Requirements()).auc.low > 0.8


def test_a_share_over_sites_by_hand():
    assert share_over_sites([([1, 0], [0, 1])]) is None
    right = np.array([1] * 15 + [0] * 5)
    found = share_over_sites([(right, np.arange(20))] * 3)
    assert found.mean == pytest.approx(15.5 / 21, abs=1e-4)
    assert found.new_low is None  # three sites cannot tell


# Subgroups ---------------------------------------------------------------------------------------------------------


def test_a_subgroup_that_does_worse_is_marked_and_equal_ones_are_not():
    random = np.random.default_rng(5)
    labels, kernel = random.integers(0, 2, 1200), random.integers(0, 2, 1200)

    def scored(gap):
        scores = random.normal(size=1200) + gap * (labels - 0.5)
        return Scored(labels, np.arange(1200), scores, scores >= 0)

    metadata = {"kernel": [f"B{k}" for k in kernel], "sex": [("F", "M")[i % 2] for i in range(1200)]}
    worse, comparisons, _ = find_subgroups(scored(np.where(kernel == 1, 0.5, 2.5)), metadata)
    marks = {g.level: g.differs for g in worse}
    assert "higher AUC" in marks["B0"]
    assert "lower AUC" in marks["B1"]  # of two, the failing one is marked too
    assert (marks["F"], marks["M"], comparisons) == ((), (), 6)
    marked = sum(any(g.differs for g in find_subgroups(scored(1.5), metadata)[0]) for _ in range(40))
    assert marked <= 6  # 5 % of 40 is 2


def test_small_subgroups_say_that_they_are_too_small():
    random = np.random.default_rng(6)
    labels, scores = random.integers(0, 2, 200), random.random(200)
    (small, large), comparisons, unused = find_subgroups(
        Scored(labels, np.arange(200), scores, scores > 0.5),
        {"scanner": ["A"] * 12 + ["B"] * 188, "note": [f"n{i}" for i in range(200)], "all": ["x"] * 200},
    )
    assert (small.auc, small.sensitivity, large.auc is None) == (None, None, False)
    assert (comparisons, unused) == (0, ("note", "all"))


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("age", ["39", "40", "60", ""], ["under 40", "40 to under 60", "60 and over", "not known"]),
        ("thickness", ["1", "5", "1"], ["1", "5", "1"]),
        (
            "dose",
            [str(i) for i in range(9)],
            ["under 2.667"] * 3 + ["2.667 to under 5.333"] * 3 + ["5.333 and over"] * 3,
        ),
        ("date", ["2025-01-31", "2025-12-01"], ["2025 Q1", "2025 Q4"]),
        ("date", [f"{2000 + i}-01-31" for i in range(13)], [str(2000 + i) for i in range(13)]),
        ("one", ["a", "a", ""], None),
        ("id", [f"x{i}" for i in range(13)], None),
    ],
)
def test_levels(name, values, wanted):
    assert levels(name, values) == wanted


# The record and the page -------------------------------------------------------------------------------------------


def page(*sections, **more):
    context = EvaluationContext(
        "Product <X>", "scores.csv", "", {"score": "s"}, "probabilities", ("A remark.",), 0, "e"
    )
    return render_evaluation(sections, replace(context, **more))


def test_the_page_says_what_was_measured_and_leaves_out_what_means_nothing():
    given = rows(metadata={"sex": ["F", "M"] * 200}, sites=["A", "A", "B", "B"] * 100)
    section = evaluate_product(given, Requirements(), claims=read_claims({"auc": {"value": 0.999}}), prevalence=0.1)
    html = page(section)
    assert section.exit_code == 13
    for words in ("Not as claimed", "surely lower than claimed", "Product &lt;X&gt;", "Research use only", "A remark."):
        assert words in html, words
    assert "fewer than 4 sites: cannot tell" in html
    assert "Decision curve" in html
    raw = evaluate_product(replace(given, is_probability=False, threshold=None), Requirements())
    assert "Decision curve:" not in page(raw)
    assert "the score is not a probability" in page(raw)
    both = page(replace(section, name="nodule"), replace(raw, name="effusion"))
    assert "nodule: Not as claimed" in both
    assert "effusion: Cannot tell" in both


def test_the_record_is_json_with_every_number():
    section = evaluate_product(rows(), Requirements(), claims=read_claims({"auc": 0.5}))
    record = json.loads(json.dumps(to_record(section), allow_nan=False))
    assert record["auc"]["estimate"] == section.auc.estimate
    assert record["claims"][0]["status"] == "not contradicted"
    assert record["requirements"][0]["met"] is True
    assert record["flow"]["scans"] == 400
