"""Which weights are kept, by each rule; what is recorded and warned of, on records with both answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import log_loss

from elsewhere.model.sample import Case
from elsewhere.model.selection import Check, best_check, describe_selection, score_check, within_site_auc
from elsewhere.statistics.learned import judge_learned


def check(iteration: int, accuracy: float = 0.5, loss: float = 0.6, auc: float | None = 0.7) -> Check:
    return Check(iteration, 0.5, accuracy, loss, auc)


def cases(labels: str, sites: str = "") -> list[Case]:
    return [
        Case(s, f"p{i}", f"s{i}", int(c), 5, 0, 1)
        for i, (c, s) in enumerate(zip(labels, sites or "A" * len(labels), strict=True))
    ]


@pytest.mark.parametrize(
    ("select", "kept"),
    [("accuracy", 2), ("log_loss", 5), ("auc", 4)],
)
def test_each_rule_keeps_its_own(select, kept):
    """Accuracy the first of its ties, the others the last."""
    checks = [
        check(1, 0.5, 0.9, 0.8),
        check(2, 0.8, 0.7, 0.9),
        check(3, 0.8, 0.5, 0.95),
        check(4, 0.7, 0.6, 0.95),
        check(5, 0.6, 0.5, 0.4),
    ]
    assert best_check(checks, select).iteration == kept


def test_auc_gives_way_to_log_loss_where_it_is_undefined():
    checks = [check(1, 0.9, 0.5, None), check(2, 0.5, 0.4, None), check(3, 0.5, 0.45, None)]
    assert best_check(checks, "auc").iteration == 2
    record = describe_selection(checks, "auc", cases("0011", "AABB"), balanced=False)
    assert (record["select"], record["criterion"], record["tied"]) == ("auc", "log_loss", 1)


def test_scores_against_other_implementations():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, 40), rng.random(40)
    scored = score_check(7, 0.3, cases("".join(map(str, labels))), probabilities, balanced=False)
    assert scored[:2] == (7, 0.3)
    assert scored.accuracy == np.mean((probabilities > 0.5) == labels)
    assert scored.log_loss == pytest.approx(log_loss(labels, probabilities))
    u = mannwhitneyu(probabilities[labels == 1], probabilities[labels == 0]).statistic
    assert scored.auc == pytest.approx(u / labels.sum() / (1 - labels).sum())


def test_balanced_log_loss_weighs_the_classes_alike():
    p = np.array([0.1, 0.2, 0.3, 0.4])
    expected = (-np.log([0.9, 0.8, 0.7]).mean() - math.log(0.4)) / 2
    assert score_check(1, 0.0, cases("0001"), p, balanced=True).log_loss == pytest.approx(expected)
    assert score_check(1, 0.0, cases("0000"), p, balanced=True).log_loss == pytest.approx(-np.log(1 - p).mean())


def test_saturated_probabilities_have_a_log_loss():
    scored = score_check(1, 0.0, cases("01"), np.array([1.0, 0.0]), balanced=False)
    assert scored.log_loss == pytest.approx(-math.log(1e-12), rel=1e-4)


def test_recognising_the_site_brings_no_auc():
    """Site B is mostly positive; a score that knows only the site has a pooled AUC of 0.8, within sites 0.5."""
    labels, sites = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1]), list("AAAAABBBBB")
    scores = np.array([0.2] * 5 + [0.9] * 5)
    assert within_site_auc(["all"] * 10, labels, scores) == pytest.approx(0.8)
    assert within_site_auc(sites, labels, scores) == 0.5


def test_a_site_of_one_class_does_not_count():
    assert within_site_auc(list("AAMM"), np.array([0, 1, 1, 1]), np.array([0.2, 0.3, 0.0, 0.1])) == 1.0
    assert within_site_auc(list("AAMM"), np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.9, 0.9])) is None


def test_sites_are_weighted_as_in_the_statistics():
    labels, sites = np.array([0, 1, 0, 0, 1, 1]), list("AABBBB")
    assert within_site_auc(sites, labels, np.array([0.1, 0.9, 0.9, 0.8, 0.1, 0.2])) == pytest.approx(0.5 / 1.5)
    rng = np.random.default_rng(4)
    labels, codes, scores = rng.integers(0, 2, 60), rng.integers(0, 3, 60), rng.random(60)
    judged = judge_learned(labels, np.arange(60), codes, scores)
    assert within_site_auc(["ABC"[code] for code in codes], labels, scores) == pytest.approx(judged.auc)


NEGATIVE = "0001"  # majority share 0.75


def warnings(checks, select="accuracy", labels=NEGATIVE, sites="", *, balanced=False) -> list[str]:
    return describe_selection(checks, select, cases(labels, sites), balanced=balanced)["warnings"]


def test_the_record_holds_kept_last_ties_and_majority():
    checks = [check(1, 0.75, 0.6, 0.6), check(2, 0.75, 0.5, 0.8), check(3, 0.5, 0.7, 0.9)]
    record = describe_selection(checks, "accuracy", cases(NEGATIVE), balanced=False)
    assert record["kept"] == checks[0]._asdict()
    assert record["last"] == checks[2]._asdict()
    assert (record["checks"], record["tied"], record["majority_share"], record["balanced"]) == (3, 2, 0.75, False)


def test_a_kept_check_at_majority_is_warned_of():
    (sentence,) = warnings([check(35, 0.75, 0.6, 0.63), check(70, 0.75, 0.5, 0.77)])
    assert sentence == (
        "the kept weights (iteration 35) have a validation accuracy at threshold 0.5 of 0.75, reached by 2 of 2 "
        "checks, no better than always answering the majority class (0.75); AUC within sites 0.63 kept, 0.77 last. "
        'Set training.select = "log_loss", or train longer, with more scans or other settings'
    )
    assert warnings([check(35, 0.80, 0.6, 0.63)]) == []


def test_a_log_loss_of_a_constant_is_warned_of():
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    (sentence,) = warnings([check(5, 1.0, entropy + 0.01, 0.0)], "log_loss")
    assert "validation log loss of 0.57, no better than the same answer for every scan (0.56)" in sentence
    assert "AUC within sites 0.00 kept, 0.00 last. Train longer" in sentence
    assert warnings([check(5, 1.0, entropy - 0.01)], "log_loss") == []
    assert warnings([check(5, 1.0, 0.60)], "log_loss", balanced=True) == []
    (sentence,) = warnings([check(5, 1.0, 0.70)], "log_loss", balanced=True)
    assert (
        "validation class-balanced log loss of 0.70, no better than the same answer for every scan (0.69)" in sentence
    )


def test_an_auc_of_chance_is_warned_of():
    assert "AUC within sites of 0.50, no better than" in warnings([check(5, 1.0, 0.1, 0.5)], "auc")[0]
    assert warnings([check(5, 1.0, 0.1, 0.51)], "auc") == []


def test_the_accuracy_of_the_majority_beside_a_good_criterion():
    """A low prevalence: nothing above 0.5, yet well ranked; it is said, and not called useless."""
    (sentence,) = warnings([check(5, 0.75, 0.3, 0.9)], "log_loss")
    assert (
        "an accuracy of 0.75, no better than always answering the majority class (0.75); their AUC within sites is 0.90"
        in sentence
    )
    (below,) = warnings([check(5, 0.70, 0.3, 0.9)], "log_loss")
    assert "an accuracy of 0.70, no better than always answering the majority class (0.75)" in below
    assert warnings([check(5, 0.76, 0.3, 0.9)], "log_loss") == []


def test_one_class_of_validation_scans():
    (sentence,) = warnings([check(5, 1.0, 0.1, None)], "auc", "1111")
    assert sentence.startswith("all 4 validation scans have label 1: no criterion can tell")


def test_no_site_with_both_classes():
    first, *rest = warnings([check(5, 1.0, 0.1, None)], "auc", "0011", "AABB")
    assert "no site has both classes among its validation scans: the weights were chosen by log loss" in first
    assert rest == []
