"""The verdict's rule at each of its branches, the estimate without labels against hand arithmetic, the page."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit

from elsewhere.evidence.decision import OperatingPoint
from elsewhere.evidence.estimate import KnownSite, estimate_auc, expected_auc, outside
from elsewhere.evidence.verdict import (
    EXIT_CODES,
    Scans,
    Verdict,
    judge,
    judge_unlabelled,
    scans_to_prove,
)
from elsewhere.evidence.verdict_page import Occasion, render

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


HOME = _scans(300, 2.5, 1)


def test_exit_codes_are_the_published_ones() -> None:
    assert EXIT_CODES == {
        "nothing": 0, "re-threshold": 10, "recalibrate": 10, "adapt": 11, "do not use": 12, "cannot tell": 20
    }  # fmt: skip


def test_nothing_where_all_holds() -> None:
    said = judge(_scans(300, 2.5, 2), HOME, HALF, resamples=50)
    assert (said.action, said.exit_code, said.scans_needed) == ("nothing", 0, None)
    assert said.lines[0] == "It works here."
    assert not said.estimated
    assert said.auc is not None
    assert said.auc.low < said.auc.estimate < said.auc.high


def test_recalibrate_where_the_log_odds_are_shifted() -> None:
    said = judge(_scans(300, 2.5, 3, shift=4), HOME, HALF, resamples=50)
    assert (said.action, said.exit_code) == ("recalibrate", 10)
    assert said.local_slope == pytest.approx(1, abs=0.4)
    assert said.local_intercept == pytest.approx(-4, abs=1.5)
    assert said.scans_needed in {10, 20, 50, 100, 200}
    assert said.decomposition is not None
    assert said.decomposition.calibration.low > 0.1


def test_overconfidence_that_home_has_too_is_no_finding_about_this_site() -> None:
    sure_home, sure_here = _scans(300, 2.5, 1, slope=5), _scans(300, 2.5, 2, slope=5)
    same = judge(sure_here, sure_home, HALF, resamples=50)
    assert same.gain is not None
    assert same.gain.recalibrate.low > 0.02  # a recalibration would help, but as much at home
    assert same.action == "nothing"
    assert judge(sure_here, HOME, HALF, resamples=50).action == "recalibrate"


def test_rethreshold_where_only_the_decisions_are_off() -> None:
    """The probabilities are as right as at home; the threshold of home (0.95) is not for here."""
    cautious = OperatingPoint(0.95, "grid", "model", 0.9, 100)
    said = judge(_scans(300, 2.2, 4), HOME, cautious, resamples=50)
    assert (said.action, said.exit_code) == ("re-threshold", 10)
    assert said.local_threshold == pytest.approx(0.5, abs=0.25)
    assert f"{said.local_threshold:.2f}" in said.next_step


def test_adapt_where_ranking_is_lost_but_not_gone() -> None:
    said = judge(_scans(300, 0.8, 5), HOME, HALF, resamples=50)
    assert (said.action, said.exit_code) == ("adapt", 11)
    assert said.home_auc is not None
    assert said.scans_needed == 2 * scans_to_prove(said.home_auc.estimate, 0.5)
    assert f"about {said.scans_needed} labelled scans" in said.next_step


@pytest.mark.parametrize("gap", [0.0, -1.0])
def test_do_not_use_where_ranking_is_gone_or_turned(gap: float) -> None:
    random = np.random.default_rng(6)
    labels = np.arange(200) % 2
    scores = expit(random.normal(0, 1, 200) + gap * (labels - 0.5))
    said = judge(Scans(labels, np.arange(200), scores), HOME, HALF, resamples=50)
    assert (said.action, said.exit_code) == ("do not use", 12)
    assert said.auc is not None
    assert said.auc.estimate < 0.6  # and below 0.5 it stays below 0.5
    assert gap == 0 or said.auc.estimate < 0.45
    assert "tossing a coin" in said.reason


def test_cannot_tell_from_few_patients_however_many_scans() -> None:
    many = Scans([0, 1] * 50, ["a", "b"] * 50, [0.1, 0.9] * 50)
    said = judge(many, HOME, HALF)
    assert (said.action, said.exit_code) == ("cannot tell", 20)
    assert "Only 1 patients with the disease and 1 without" in said.reason
    assert said.decomposition is None


def test_cannot_tell_from_one_class_but_its_sensitivity_is_given() -> None:
    said = judge(Scans([1] * 40, range(40), [0.9] * 30 + [0.1] * 10), HOME, HALF)
    assert (said.action, said.auc, said.specificity) == ("cannot tell", None, None)
    assert said.sensitivity is not None
    assert said.sensitivity.estimate == 0.75
    assert said.positives == 40


def test_cannot_tell_where_home_has_one_class() -> None:
    said = judge(_scans(60, 2.5, 7), Scans([1] * 9, range(9), [0.8] * 9), HALF)
    assert said.action == "cannot tell"
    assert "one class" in said.reason
    assert said.scans_needed is None


def test_cannot_tell_where_the_interval_is_wide() -> None:
    said = judge(_scans(24, 1.5, 8), _scans(40, 1.6, 9), HALF, resamples=50)
    assert said.auc is not None
    assert said.auc.low < 0.7 < said.auc.high
    assert said.action == "cannot tell"
    assert "may be anything from" in said.reason


def test_ties_and_perfection() -> None:
    tied = judge(Scans([0, 1] * 30, range(60), [0.5] * 60), HOME, HALF, resamples=20)
    assert (tied.action, tied.auc.estimate if tied.auc else None) == ("do not use", 0.5)
    perfect = judge(Scans([0, 1] * 30, range(60), [0.01, 0.99] * 30), HOME, HALF, resamples=20)
    assert perfect.action == "nothing"
    for said in (tied, perfect):
        json.dumps(said.to_record(), allow_nan=False)


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


def test_expected_auc_by_hand() -> None:
    """Two scans, 0.8 and 0.4: the pair (first positive, second negative) weighs 0.48, the other way round 0.08."""
    assert expected_auc([0.8, 0.4]) == pytest.approx(0.48 / 0.56)
    assert expected_auc([0.3, 0.3, 0.3]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no pair"):
        expected_auc([1.0, 1.0])


def test_expected_auc_is_the_mean_over_drawn_labels() -> None:
    random = np.random.default_rng(0)
    p = np.round(random.random(40), 1) * 0.9 + 0.05
    won = made = 0.0
    for _ in range(4000):
        y = random.random(40) < p
        above = p[y][:, None] - p[~y][None]
        won, made = won + (above > 0).sum() + (above == 0).sum() / 2, made + above.size
    assert expected_auc(p) == pytest.approx(won / made, abs=0.005)


def _known(name: str, gap: float, seed: int, *, seen: bool = False, noise: float = 0.0) -> KnownSite:
    """A site where part of the scores' spread is noise: the model is surer than it should be."""
    random = np.random.default_rng(seed)
    labels = np.arange(400) % 2
    odds = gap * (random.normal(0, 1, 400) + gap * (labels - 0.5))
    mixed = np.where(random.random(400) < noise, random.permutation(odds), odds)
    return KnownSite(name, labels, expit(mixed), seen)


def test_the_estimate_is_right_where_the_calibration_holds() -> None:
    home = _known("home", 2.5, 1, seen=True)
    known = [home, _known("B", 2.5, 2), _known("C", 2.0, 3)]
    new = _known("new", 2.3, 4)
    found = estimate_auc((home.labels, home.probabilities), known, new.probabilities)
    truth = estimate_auc((home.labels, home.probabilities), [*known[:2], new], new.probabilities).left_out[1].measured
    assert found.auc == pytest.approx(truth, abs=0.03)
    assert found.largest_error < 0.04
    assert {s.site for s in found.left_out} == {"B", "C"}  # home was seen in training
    assert found.sureness == pytest.approx(2 / 3)


def test_a_site_left_out_says_nothing_of_its_own_excess() -> None:
    home = _known("home", 2.5, 1, seen=True)
    known = [_known("B", 2.5, 2), _known("C", 2.5, 3, noise=0.8)]
    found = estimate_auc((home.labels, home.probabilities), known, _known("D", 2.5, 4).probabilities)
    by_name = {s.site: s for s in found.left_out}
    # two sites: each is corrected by the other's excess, so that the errors are equal and opposite, and large
    assert by_name["B"].error == pytest.approx(-by_name["C"].error, abs=1e-12)
    assert found.largest_error > 0.2
    assert found.high - found.low > 0.3


def test_too_few_known_sites_or_scans_are_refused() -> None:
    home = _known("home", 2.5, 1, seen=True)
    one_class = KnownSite("M", [1] * 50, [0.7] * 50, False)
    with pytest.raises(ValueError, match=r"1 site\(s\) with both classes"):
        estimate_auc((home.labels, home.probabilities), [home, _known("B", 2, 2), one_class], [0.5] * 30)
    with pytest.raises(ValueError, match="5 scans are too few"):
        estimate_auc((home.labels, home.probabilities), [home], [0.5] * 5)


def _unlabelled(gap: float, noise: float = 0.0) -> Verdict:
    home = _known("home", 3, 1, seen=True)
    known = [home, _known("B", 3, 2, noise=noise), _known("C", 3, 3, noise=noise)]
    here = _known("new", gap, 4)
    columns = (home.labels, home.probabilities)
    return judge_unlabelled(here.probabilities, range(400), known, columns, HALF)


def test_an_estimate_is_marked_and_acted_on_only_where_it_is_sure() -> None:
    works, noise = _unlabelled(3), _unlabelled(3, noise=0.95)
    assert (works.action, works.exit_code, works.estimated) == ("nothing", 0, True)
    assert "(an estimate: no labels were used)" in works.headline
    assert works.auc is None
    assert (noise.action, noise.exit_code) == ("do not use", 12)
    assert noise.estimate is not None
    assert noise.estimate.auc < 0.6


def test_an_estimate_in_between_decides_nothing() -> None:
    said = _unlabelled(3, noise=0.5)
    assert (said.action, said.exit_code) == ("cannot tell", 20)
    assert "which decides nothing" in said.reason


def test_scores_unlike_any_known_site_are_refused() -> None:
    home = _known("home", 2.5, 1, seen=True)
    known = [home, _known("B", 2.5, 2), _known("C", 2.3, 3)]
    said = judge_unlabelled([0.999] * 50, range(50), known, (home.labels, home.probabilities), HALF)
    assert (said.action, said.exit_code, said.estimate) == ("cannot tell", 20, None)
    assert "outside everything measured" in said.reason
    assert outside(_known("D", 2.4, 5).probabilities, known) == ()


def test_facts_beyond_the_known_range_are_refused_and_missing_ones_are_not() -> None:
    known = {"units": ["HU"] * 5 + ["relative"], "slice_spacing_mm": [1.0, 5.0], "black_share": [None, 0.1]}
    assert outside([], [], {"units": ["ct_number"] * 3}, known) == ("units is ct_number, which no known scan has.",)
    (words,) = outside([], [], {"slice_spacing_mm": [10.0, 10.0, 2.0]}, known)
    assert words == "slice_spacing_mm is 10 in the middle scan, the known sites reach from 1 to 5."
    inside = {"units": ["HU", "HU", "odd"], "slice_spacing_mm": [5.2, None], "black_share": [float("nan")], "x": [1]}
    assert outside([], [], inside, known) == ()


# The page


def test_the_page_says_it_plainly_first_and_needs_no_network() -> None:
    said = judge(_scans(300, 0.8, 5), HOME, HALF, resamples=50)
    page = render(said, OCCASION)
    assert "Research use only. Not a medical device." in page
    assert page.index(said.reason.split(",")[0]) < page.index("The numbers") < page.index("How it was worked out")
    assert "New &lt;b&gt;" in page
    assert "New <b>" not in page
    assert "simulated" in page
    assert "is empty" in page
    assert not any(word in page for word in ("http://", "https://", "<script", "@import", "url("))
    for name in ("threshold (prevalence)", "calibration", "ranking"):
        assert name in page


def test_the_page_of_an_estimate_says_so_and_shows_its_errors() -> None:
    said = _unlabelled(3, noise=0.5)
    page = render(said, OCCASION)
    assert "An estimate, not a measurement." in page
    assert said.estimate is not None
    for site in said.estimate.left_out:
        assert f"{site.error:+.3f}" in page
    few = render(judge(Scans([1] * 4, range(4), [0.9] * 4), HOME, HALF), OCCASION)
    assert "not known" in few
