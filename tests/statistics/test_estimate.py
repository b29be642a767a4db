"""The estimate without labels against hand arithmetic, its range, and what lies outside everything measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from elsewhere.statistics.estimate import KnownSite, estimate_auc, expected_auc, expected_auc_influence, outside
from elsewhere.statistics.over_sites import auc_log_odds, new_site


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


def test_the_influence_gives_the_variance_of_resampled_scans() -> None:
    random = np.random.default_rng(1)
    p = np.round(expit(random.normal(0, 2, 150)), 2)
    pulls = expected_auc_influence(p)
    drawn = [expected_auc(p[random.integers(150, size=150)]) for _ in range(2000)]
    assert pulls.sum() == pytest.approx(0, abs=1e-12)
    assert (pulls**2).sum() == pytest.approx(np.var(drawn), rel=0.12)


def _known(name: str, gap: float, seed: int, *, seen: bool = False, noise: float = 0.0) -> KnownSite:
    """A site where part of the scores' spread is noise: the model is surer than it should be."""
    random = np.random.default_rng(seed)
    labels = np.arange(400) % 2
    odds = gap * (random.normal(0, 1, 400) + gap * (labels - 0.5))
    mixed = np.where(random.random(400) < noise, random.permutation(odds), odds)
    return KnownSite(name, labels, expit(mixed), seen)


def _home() -> KnownSite:
    return _known("home", 2.5, 1, seen=True)


def _columns(site: KnownSite) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(site.labels), np.asarray(site.probabilities)


def test_the_estimate_is_right_where_the_calibration_holds() -> None:
    known = [_home(), _known("B", 2.5, 2), _known("C", 2.0, 3)]
    new = _known("new", 2.3, 4)
    found = estimate_auc(_columns(known[0]), known, new.probabilities)
    truth = estimate_auc(_columns(known[0]), [*known[:2], new], new.probabilities).left_out[1].measured
    assert found.auc == pytest.approx(truth, abs=0.03)
    assert found.largest_error < 0.04
    assert {s.site for s in found.left_out} == {"B", "C"}  # home was seen in training


def test_two_sites_give_no_range_and_three_do() -> None:
    known = [_home(), _known("B", 2.5, 2), _known("C", 2.0, 3), _known("D", 2.2, 5)]
    new = _known("new", 2.3, 4).probabilities
    two, three = (estimate_auc(_columns(known[0]), known[:n], new) for n in (3, 4))
    assert (two.low, two.high) == (None, None)
    assert "measured at 2 sites" in two.range_words
    assert "takes 3 or more" in two.range_words
    assert three.low is not None
    assert three.high is not None
    assert three.low < three.auc < three.high
    assert "holds only if" in three.range_words
    assert f"{three.low:.2f} to {three.high:.2f}" in three.range_words


def test_the_range_is_that_of_the_page_widened_by_the_new_sites_own_error() -> None:
    """`over_sites.new_site` over the excesses: many scans of the new site give its interval, few a wider one."""
    known = [_home(), _known("B", 2.5, 2), _known("C", 1.5, 3, noise=0.3), _known("D", 2.2, 5)]
    home, many = _columns(known[0]), _known("new", 2.0, 4).probabilities
    found, few = (estimate_auc(home, known, scores) for scores in (np.repeat(many, 50), np.asarray(many)[:40]))
    sites = [estimate_auc(home, known, site.probabilities).confidence_only for site in known[1:]]
    excess = logit(sites) - logit([site.measured for site in found.left_out])
    errors = [auc_log_odds(site.labels, site.patients, site.probabilities)[1] for site in known[1:]]
    least, most = new_site(excess, errors)
    middle = logit(found.confidence_only)
    assert logit([found.low, found.high]) == pytest.approx([middle - most, middle - least], rel=0.05)
    assert logit(few.high) - logit(few.low) > 1.02 * (logit(found.high) - logit(found.low))


def test_a_site_left_out_says_nothing_of_its_own_excess() -> None:
    known = [_known("B", 2.5, 2), _known("C", 2.5, 3, noise=0.8)]
    found = estimate_auc(_columns(_home()), known, _known("D", 2.5, 4).probabilities)
    by_name = {s.site: s for s in found.left_out}
    # two sites: each is corrected by the other's excess, so that the errors are opposite, and large
    assert by_name["B"].error < -0.2
    assert by_name["C"].error > 0.2


def test_too_few_known_sites_or_scans_are_refused() -> None:
    one_class, one_patient = KnownSite("M", [1] * 50, [0.7] * 50, False), KnownSite("P", [1, 0, 0], [0.7] * 3, False)
    with pytest.raises(ValueError, match=r"1 site\(s\) with two patients or more of both classes"):
        estimate_auc(_columns(_home()), [_home(), _known("B", 2, 2), one_class, one_patient], [0.5] * 30)
    with pytest.raises(ValueError, match="5 scans are too few"):
        estimate_auc(_columns(_home()), [_home()], [0.5] * 5)


def test_metadata_beyond_the_known_range_are_refused_and_missing_ones_are_not() -> None:
    known = {"units": ["HU"] * 5 + ["relative"], "slice_spacing_mm": [1.0, 5.0], "black_share": [None, 0.1]}
    assert outside([], [], {"units": ["ct_number"] * 3}, known) == ("units is ct_number, which no known scan has.",)
    (words,) = outside([], [], {"slice_spacing_mm": [10.0, 10.0, 2.0]}, known)
    assert words == "slice_spacing_mm is 10 in the middle scan, the known sites reach from 1 to 5."
    inside = {"units": ["HU", "HU", "odd"], "slice_spacing_mm": [5.2, None], "black_share": [float("nan")], "x": [1]}
    assert outside([], [], inside, known) == ()
