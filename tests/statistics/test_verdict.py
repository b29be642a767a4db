"""The verdict's rule at each of its branches, its sentences on both sides, the estimate without labels, the page."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from elsewhere.pages.verdict import Occasion, render
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.estimate import KnownSite
from elsewhere.statistics.learned import judge_learned
from elsewhere.statistics.requirements import Requirements, all_met
from elsewhere.statistics.verdict import Scans, Verdict, judge, judge_unlabelled
from elsewhere.statistics.verdict_rule import EXIT_CODES, scans_to_prove

HALF = OperatingPoint(0.5, "grid", "model", 0.9, 100)
OCCASION = Occasion(
    "A", ("A",), "New <b>", "/scans/new", "simulated", "abc", (("s1", "is empty", "copy it"),), "elsewhere verdict"
)


def _scans(n: int, gap: float, seed: int, *, shift: float = 0.0, positives: float = 0.5, slope: float = 1.0) -> Scans:
    """Scores that are calibrated (log-odds gap · x) where shift is 0, slope 1 and half are positive."""
    random = np.random.default_rng(seed)
    labels = (np.arange(n) < positives * n).astype(int)
    odds = gap * (random.normal(0, 1, n) + gap * (labels - 0.5))
    return Scans(labels, np.array([f"{seed}/{i}" for i in range(n)]), expit(slope * odds + shift))


HOME = _scans(400, 2.5, 1)


def _judge(here: Scans, home: Scans = HOME, point: OperatingPoint = HALF, **options: Requirements | float) -> Verdict:
    return judge(here, home, point, resamples=20, **options)  # type: ignore[arg-type]


def test_exit_codes_are_the_published_ones() -> None:
    assert EXIT_CODES == {
        "nothing": 0, "re-threshold": 10, "recalibrate": 10, "adapt": 11, "do not use": 12,
        "not learned": 30, "cannot tell": 20, "estimate only": 21,
    }  # fmt: skip


# It works


def test_nothing_where_every_requirement_is_met() -> None:
    found = _judge(_scans(500, 2.5, 2))
    assert (found.action, found.exit_code, found.scans_needed, found.estimated) == ("nothing", 0, None, False)
    assert all_met(found.requirements)
    assert found.lines[0] == "It works here: every requirement is met."
    assert "its decisions hold: sensitivity 0.88" in found.reason
    assert found.lost is not None
    assert found.lost.low < 0 < found.lost.high


def test_as_good_an_estimate_from_fewer_scans_is_no_such_verdict() -> None:
    found = _judge(_scans(60, 2.5, 2))
    assert found.action == "cannot tell"
    assert "works" not in found.headline
    assert found.scans_needed is not None
    assert found.scans_needed > 60


def test_the_reported_failure_is_no_longer_told_that_it_works() -> None:
    """26 of 30 positives missed at 6 % prevalence: a constant call of "negative" has nearly the same accuracy."""
    here = _scans(500, 2.5, 3, shift=-6.5, positives=0.06)
    found = _judge(here)
    assert found.sensitivity is not None
    assert found.sensitivity.estimate < 0.2
    assert found.exit_code == 10
    assert found.headline.startswith("Do not use unchanged")
    assert "of 30 positives are missed" in found.reason
    assert "surely not met" in found.reason
    assert "decisions hold" not in " ".join(found.lines)


def test_nor_is_a_model_that_misses_as_many_at_home() -> None:
    blind = OperatingPoint(0.995, "grid", "model", 0.9, 100)
    found = _judge(_scans(500, 2.5, 3, positives=0.1), _scans(500, 2.5, 1, positives=0.1), blind)
    assert found.home_sensitivity is not None
    assert found.home_sensitivity.estimate < 0.5
    assert found.action == "re-threshold"


def test_a_stated_requirement_decides() -> None:
    here = _scans(500, 2.5, 2)
    assert _judge(here, stated=Requirements(least_sensitivity=0.80, least_specificity=0.80)).action == "nothing"
    assert _judge(here, stated=Requirements(least_sensitivity=0.90)).action == "cannot tell"
    assert _judge(here, stated=Requirements(least_auc=0.99)).exit_code == 12  # not even home reaches it
    assert _judge(here, stated=Requirements(net_benefit_at=0.3)).action == "nothing"
    assert _judge(here, stated=Requirements(net_benefit_at=0.02)).action != "nothing"  # treat-all is as good


def test_a_smaller_loss_of_discrimination_within_the_margin_is_no_reason_to_adapt() -> None:
    home, here = _scans(4000, 3.0, 1), _scans(3000, 2.4, 2)
    found = _judge(here, home)
    assert found.lost is not None
    assert found.lost.low > 0
    assert found.action in {"nothing", "recalibrate"}


# Probabilities and thresholds


def test_recalibrate_where_the_log_odds_are_shifted() -> None:
    found = _judge(_scans(400, 2.5, 3, shift=4))
    assert (found.action, found.exit_code) == ("recalibrate", 10)
    assert found.headline == "Do not use unchanged: recalibrate for this site first"
    assert found.local_slope == pytest.approx(1, abs=0.4)
    assert found.local_intercept == pytest.approx(-4, abs=1.5)
    assert found.local_threshold == pytest.approx(0.5, abs=0.25)
    assert found.decomposition is not None
    assert found.decomposition.calibration.low > 0.1


@pytest.mark.parametrize(("prevalence", "action"), [(0.5, "recalibrate"), (0.53, "recalibrate"), (0.05, "nothing")])
def test_an_enriched_set_does_not_say_whether_probabilities_hold(prevalence, action) -> None:
    found = _judge(_scans(2000, 2.5, 3, slope=4), prevalence=prevalence)
    assert found.action == action
    assert any("another share of positives shifts" in step for step in found.rule) == (action == "nothing")


def test_where_the_decisions_hold_a_recalibration_is_for_the_probabilities_alone() -> None:
    found = _judge(_scans(2000, 2.5, 3, slope=4))
    assert (found.action, found.headline) == (
        "recalibrate",
        "Its decisions hold here: recalibrate before its probabilities are read",
    )
    assert all_met(found.requirements)
    assert found.local_threshold == pytest.approx(0.5, abs=0.1)


def test_overconfidence_that_home_has_too_is_no_finding_about_this_site() -> None:
    sure_home, sure_here = _scans(400, 2.5, 1, slope=5), _scans(500, 2.5, 2, slope=5)
    same = _judge(sure_here, sure_home)
    assert same.gain is not None
    assert same.gain.low > 0.02  # a recalibration would help, but as much at home
    assert same.action == "nothing"
    assert _judge(sure_here).action == "recalibrate"


def test_rethreshold_where_only_the_decisions_are_off() -> None:
    """The probabilities are as right as at home; the threshold of home (0.95) is not for here."""
    cautious = OperatingPoint(0.95, "grid", "model", 0.9, 100)
    found = _judge(_scans(300, 2.2, 4), HOME, cautious)
    assert (found.action, found.exit_code) == ("re-threshold", 10)
    assert found.local_threshold is not None
    assert 0.2 < found.local_threshold < 0.8
    assert f"{found.local_threshold:.2g}" in found.next_step
    assert "patients left out of its choice had sensitivity" in found.next_step


def test_a_local_threshold_keeps_the_sensitivity_at_low_prevalence() -> None:
    here = _scans(1500, 2.5, 4, shift=-3, positives=0.08)
    found = _judge(here)
    assert found.local_threshold is not None
    assert found.local_intercept is None or found.local_slope is not None
    scores = np.asarray(here.probabilities)
    if found.local_intercept is not None and found.local_slope is not None:
        scores = expit(found.local_intercept + found.local_slope * np.log(scores / (1 - scores)))
    called = scores >= found.local_threshold
    assert called[np.asarray(here.labels) == 1].mean() > 0.75


def test_adapt_where_no_threshold_reaches_the_requirements() -> None:
    wanted = Requirements(least_auc=0.6, least_sensitivity=0.9, least_specificity=0.9)
    found = _judge(_scans(400, 1.2, 5), HOME, HALF, stated=wanted)
    assert found.action == "adapt"
    assert "no local threshold reaches the requirements" in found.reason


# Discrimination


def test_adapt_where_ranking_is_lost_but_not_gone() -> None:
    found = _judge(_scans(300, 0.8, 5))
    assert (found.action, found.exit_code) == ("adapt", 11)
    assert found.headline == "Do not use unchanged: adapt to this site first"
    assert "surely below the required 0.80" in found.reason
    assert found.home_auc is not None
    assert found.scans_needed == 2 * scans_to_prove(found.home_auc.estimate, 0.5)
    assert f"about {found.scans_needed} labelled scans" in found.next_step


def test_adapt_where_it_is_surely_below_home_alone() -> None:
    found = _judge(_scans(300, 1.2, 6), _scans(400, 3, 1), stated=Requirements(least_auc=0.6, margin=0.1))
    assert found.action == "adapt"
    assert "surely below home's" in found.reason


def test_do_not_use_where_not_even_home_reaches_the_requirement() -> None:
    found = _judge(_scans(400, 1.0, 6), _scans(600, 1.0, 1), stated=Requirements(least_auc=0.9))
    assert (found.action, found.exit_code) == ("do not use", 12)
    assert "both are surely below the required 0.90" in found.reason


def test_no_discrimination_here_is_not_distinguishable_from_chance() -> None:
    random = np.random.default_rng(6)
    found = _judge(Scans(np.arange(200) % 2, np.arange(200), random.random(200)))
    assert (found.action, found.exit_code) == ("do not use", 12)
    assert "not distinguishable from chance (AUC 0.5)" in found.reason
    assert "wrong way" not in found.reason


def test_few_scans_below_home_but_with_chance_in_reach_are_left_open() -> None:
    random = np.random.default_rng(2)
    labels = np.arange(24) % 2
    scores = expit(labels - 0.5 + random.normal(0, 1, 24))
    wanted = Requirements(least_auc=0.7, least_sensitivity=0.3, least_specificity=0.3)
    found = _judge(Scans(labels, np.arange(24), scores), stated=wanted)
    assert found.auc is not None
    assert found.lost is not None
    assert found.auc.low < 0.5 < 0.7 < found.auc.high
    assert found.lost.low > 0
    assert found.action == "cannot tell"


def test_scores_that_point_the_wrong_way_are_said_to() -> None:
    random = np.random.default_rng(6)
    labels = np.arange(200) % 2
    found = _judge(Scans(labels, np.arange(200), expit(random.normal(0, 1, 200) - (labels - 0.5))))
    assert (found.action, found.exit_code) == ("do not use", 12)
    assert "the scores point the wrong way" in found.reason
    assert "chance" not in found.reason
    assert found.auc is not None
    assert found.auc.high < 0.5


def test_an_auc_on_both_sides_of_its_requirement_leaves_it_open() -> None:
    found = _judge(_scans(30, 1.5, 8), _scans(100, 1.6, 9))
    assert found.auc is not None
    assert found.auc.low < 0.8 < found.auc.high
    assert (found.action, found.exit_code) == ("cannot tell", 20)
    assert "leaves open: discrimination (AUC) at least 0.80 (default)" in found.reason


def test_where_home_is_too_small_no_requirement_is_to_be_chosen_by_the_number_that_it_judges() -> None:
    few = Scans([1] * 15 + [0] * 15, range(30), [0.9] * 15 + [0.1] * 15)
    here = _scans(1000, 2.5, 8)
    found = _judge(here, few)
    assert (found.action, found.scans_needed) == ("cannot tell", None)
    assert "scans here would not settle" in found.next_step
    assert "stated with --least-" in found.next_step
    assert "after these scans were seen, holds for new scans alone" in found.next_step
    stated = Requirements(least_auc=0.8, least_sensitivity=0.8, least_specificity=0.8)
    assert all_met(_judge(here, few, stated=stated).requirements)


# What cannot be told


def test_cannot_tell_from_few_patients_however_many_scans() -> None:
    found = _judge(Scans([0, 1] * 50, ["a", "b"] * 50, [0.1, 0.9] * 50))
    assert (found.action, found.exit_code) == ("cannot tell", 20)
    assert "Only 1 patients with the disease and 1 without" in found.reason
    assert "Already not met" not in found.reason
    assert found.decomposition is None


def test_what_is_sure_from_few_patients_is_said() -> None:
    found = _judge(Scans([1] * 9 + [0] * 60, range(69), [0.2] * 9 + [0.1] * 60))
    assert found.action == "cannot tell"
    assert "Already not met: sensitivity at least 0.70" in found.reason


def test_cannot_tell_from_one_class_but_its_sensitivity_is_given() -> None:
    found = _judge(Scans([1] * 40, range(40), [0.9] * 30 + [0.1] * 10))
    assert (found.action, found.auc, found.specificity) == ("cannot tell", None, None)
    assert found.sensitivity is not None
    assert found.sensitivity.estimate == 0.75
    assert found.positives == 40


def test_cannot_tell_where_home_has_one_class() -> None:
    found = _judge(_scans(60, 2.5, 7), Scans([1] * 9, range(9), [0.8] * 9))
    assert found.action == "cannot tell"
    assert "no site with both classes" in found.reason
    assert found.scans_needed is None


# At home first


def test_a_model_that_does_not_discriminate_at_home_is_said_to_before_anything_else() -> None:
    random = np.random.default_rng(2)
    home = Scans(np.arange(300) % 2, np.arange(300), random.random(300))
    for here in (_scans(300, 2.5, 2), _scans(300, 0.0, 2), Scans([1] * 4, range(4), [0.9] * 4)):
        found = _judge(here, home)
        assert (found.action, found.exit_code) == ("not learned", 30)
        assert "internal test scans is not surely above chance" in found.reason
        assert found.decomposition is None


def test_a_constant_is_named() -> None:
    constant = Scans(np.arange(100) % 2, np.arange(100), np.full(100, 0.31))
    found = _judge(_scans(300, 2.5, 2), constant)
    assert found.action == "not learned"
    assert "scores hardly differ" in found.reason


def test_a_model_that_tells_its_home_sites_apart_and_nothing_else_is_named() -> None:
    random = np.random.default_rng(4)
    labels = np.concatenate([np.arange(100) < 90, np.arange(100) < 10]).astype(int)
    sites = np.repeat(["a", "b"], 100)
    scores = expit(np.where(sites == "a", 2.0, -2.0) + random.normal(0, 0.5, 200))
    assert _judge(_scans(300, 2.5, 2), Scans(labels, np.arange(200), scores)).action != "not learned"
    assert _judge(_scans(300, 2.5, 2), Scans(labels, np.arange(200), scores, sites=sites)).action == "not learned"


def test_a_small_internal_test_set_leaves_it_to_the_validation_scans() -> None:
    few = Scans([0, 1] * 4, range(8), [0.4, 0.6] * 4)
    random = np.random.default_rng(2)
    labels = np.arange(100) % 2
    noise = judge_learned(labels, np.arange(100), np.zeros(100), random.random(100))
    good = judge_learned(labels, np.arange(100), np.zeros(100), expit(2 * labels + random.normal(0, 1, 100)))
    assert _judge(_scans(300, 2.5, 2), few, validation=noise).action == "not learned"  # type: ignore[arg-type]
    assert _judge(_scans(300, 2.5, 2), few, validation=good).action != "not learned"  # type: ignore[arg-type]


def test_where_no_scans_at_home_could_show_it_nothing_is_said_of_it() -> None:
    few = Scans([0, 1], range(2), [0.4, 0.6])
    found = _judge(_scans(300, 2.5, 2), few)
    assert found.action == "cannot tell"
    assert "discrimination shown" not in found.headline


# Numbers and the record


def test_predictive_values_at_the_local_and_at_a_given_prevalence() -> None:
    found = _judge(_scans(400, 2.5, 2), prevalence=0.05)
    local, given = found.predictive
    assert (local.given, given.given) == (False, True)
    assert local.ppv is not None
    assert given.ppv is not None
    assert given.ppv.estimate < local.ppv.estimate
    assert given.alerts.estimate < local.alerts.estimate
    page = render(found, OCCASION)
    assert "0.050, given" in page
    assert "Likelihood ratio of a positive call" in page


def test_ties_and_perfection() -> None:
    tied = _judge(Scans([0, 1] * 30, range(60), [0.5] * 60))
    assert (tied.action, tied.auc.estimate if tied.auc else None) == ("cannot tell", 0.5)
    assert "All 60 probabilities are the same" in tied.reason
    perfect = _judge(Scans([0, 1] * 100, range(200), [0.01, 0.99] * 100))
    assert perfect.exit_code in {0, 10}
    for found in (tied, perfect):
        json.dumps(found.to_record(), allow_nan=False)
        render(found, OCCASION)


def test_the_record_has_the_rule_and_every_requirement() -> None:
    found = _judge(_scans(300, 2.5, 2, shift=-3), stated=Requirements(least_sensitivity=0.8))
    record = found.to_record()
    assert record["stated"]["least_sensitivity"] == 0.8
    assert record["rule"] == list(found.rule)
    by_demand = {r["demand"]: r for r in record["requirements"]}
    row = by_demand["sensitivity at least 0.80 (stated)"]
    assert (row["met"], row["status"]) == (False, "not met")
    assert row["value"]["low"] < row["value"]["estimate"] < row["value"]["high"] < row["limit"]
    assert by_demand["specificity at least 0.70 (default)"]["met"] is True


def test_wrong_input_is_an_error() -> None:
    with pytest.raises(ValueError, match="NaN"):
        judge(Scans([0, 1], [1, 2], [0.1, np.nan]), HOME, HALF)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        judge(Scans([0, 1], [1, 2], [0.1, 1.5]), HOME, HALF)
    with pytest.raises(ValueError, match="labels hold 2"):
        judge(Scans([0, 2], [1, 2], [0.1, 0.5]), HOME, HALF)


def test_scans_to_prove_by_hand() -> None:
    """Hanley & McNeil 1982 at AUC 0.8, 90 + 90 scans: Q1 = 2/3, Q2 = 0.7111; SE 0.0331; 1.96 · SE > 0.05."""
    up = down = 90
    q1, q2 = 0.8 / 1.2, 2 * 0.64 / 1.8
    error = ((0.16 + (up - 1) * (q1 - 0.64) + (down - 1) * (q2 - 0.64)) / (up * down)) ** 0.5
    assert error == pytest.approx(0.0331, abs=2e-4)
    found = scans_to_prove(0.8, 0.5)
    assert found == pytest.approx(180 * (1.96 * error / 0.05) ** 2, abs=10)  # the variance falls as 1 / scans
    assert scans_to_prove(0.8, 0.1) > found
    assert scans_to_prove(1.0, 0.5) == scans_to_prove(0.95, 0.5)
    with pytest.raises(ValueError, match="both classes"):
        scans_to_prove(0.8, 0.0)


# Without labels


def _known(name: str, gap: float, seed: int, *, seen: bool = False, noise: float = 0.0) -> KnownSite:
    random = np.random.default_rng(seed)
    labels = np.arange(400) % 2
    odds = gap * (random.normal(0, 1, 400) + gap * (labels - 0.5))
    mixed = np.where(random.random(400) < noise, random.permutation(odds), odds)
    return KnownSite(name, labels, expit(mixed), seen)


HOME_SITE = _known("home", 3, 1, seen=True)
HOME_SCANS = Scans(HOME_SITE.labels, range(400), HOME_SITE.probabilities)


def _unlabelled(noise: float, *, sites: int = 4, stated: Requirements = Requirements()) -> Verdict:  # noqa: B008
    """Known sites that differ a little, all with that share of pure noise; the new one as they."""
    known = [_known(f"K{i}", 3 - 0.05 * i, 20 + i, noise=noise) for i in range(sites)]
    here = _known("new", 3, 4)
    return judge_unlabelled(here.probabilities, range(400), [HOME_SITE, *known], HOME_SCANS, HALF, stated=stated)


@pytest.mark.parametrize(
    ("noise", "least", "side"),
    [
        (0.0, None, "all of it at or above the required 0.80 (default)"),
        (0.95, None, "all of it below the required 0.80 (default)"),
        (0.3, 0.85, "on both sides of the required 0.85 (stated)"),
    ],
)
def test_an_estimate_is_only_that_whichever_side_its_range_lies_on(noise: float, least: float, side: str) -> None:
    found = _unlabelled(noise, stated=Requirements(least_auc=least))
    assert (found.action, found.exit_code, found.estimated, found.auc) == ("estimate only", 21, True, None)
    assert found.headline == "Estimate only: no labels were used"
    assert side in found.reason
    assert "works" not in " ".join(found.lines)


def test_an_estimate_says_which_requirements_it_cannot_look_at() -> None:
    assert _unlabelled(0.0, stated=Requirements(least_auc=0.7)).notes == ()
    (note,) = _unlabelled(0.0, stated=Requirements(least_sensitivity=0.7)).notes
    assert "cannot be estimated without labels" in note


def test_two_known_sites_give_an_estimate_without_a_range() -> None:
    found = _unlabelled(0.0, sites=2)
    assert found.exit_code == 21
    assert "without a range: the model was measured at 2 sites" in found.reason


def test_too_few_known_sites_end_with_the_estimates_code_too() -> None:
    found = _unlabelled(0.0, sites=1)
    assert (found.exit_code, found.estimate) == (21, None)
    assert "Nothing can be estimated without labels" in found.reason


def test_scores_unlike_any_known_site_are_refused() -> None:
    known = [HOME_SITE, _known("B", 2.5, 2), _known("C", 2.3, 3)]
    found = judge_unlabelled([0.999] * 50, range(50), known, HOME_SCANS, HALF)
    assert (found.action, found.exit_code, found.estimate) == ("estimate only", 21, None)
    assert "outside everything measured" in found.reason


def test_a_model_that_does_not_discriminate_at_home_gets_no_estimate() -> None:
    noise = Scans(HOME_SITE.labels, range(400), np.random.default_rng(0).random(400))
    found = judge_unlabelled([0.5] * 50, range(50), [HOME_SITE], noise, HALF)
    assert (found.action, found.exit_code, found.estimated) == ("not learned", 30, True)


# The page


def test_the_page_says_it_plainly_first_and_needs_no_network() -> None:
    found = _judge(_scans(300, 0.8, 5))
    page = render(found, OCCASION)
    assert "Research use only. Not a medical device." in page
    assert page.index(found.reason.split(",")[0]) < page.index("The numbers") < page.index("How it was worked out")
    assert "New &lt;b&gt;" in page
    assert "New <b>" not in page
    assert "simulated" in page
    assert "is empty" in page
    assert not any(word in page for word in ("http://", "https://", "<script", "@import", "url("))
    for name in ("threshold (prevalence)", "calibration", "ranking", "Discrimination (AUC)", "Sensitivity"):
        assert name in page


def test_the_page_has_every_requirement_and_whether_it_is_met() -> None:
    page = render(_judge(_scans(300, 2.5, 2, shift=-3)), OCCASION)
    row = page[page.index('<th scope="row">sensitivity at least 0.70 (default)') :]
    assert row[: row.index("</tr>")].endswith("<td>no</td>")
    row = page[page.index('<th scope="row">specificity at least 0.70 (default)') :]
    assert row[: row.index("</tr>")].endswith("<td>yes</td>")


def test_the_page_of_an_estimate_says_so_and_shows_its_errors() -> None:
    found = _unlabelled(0.3)
    page = render(found, OCCASION)
    assert "An estimate, not a measurement." in page
    assert found.estimate is not None
    for site in found.estimate.left_out:
        assert f"{site.error:+.3f}" in page
    few = render(_judge(Scans([1] * 4, range(4), [0.9] * 4)), OCCASION)
    assert "not measured" in few


def test_counts_on_the_page_agree_in_number() -> None:
    found = _judge(Scans([1], [0], [0.9]))
    assert "1 scan of 1 patient from" in render(found, OCCASION)
    assert "2 scans of 2 patients from" in render(replace(found, scans=2, patients=2), OCCASION)
