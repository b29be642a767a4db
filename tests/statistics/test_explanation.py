"""A planted shift is named where scores and pictures show it; chance, foreign causes, few scans, half fits are not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import wasserstein_distance

from elsewhere.statistics.explanation import (
    Explanation,
    Key,
    explain,
    pictures_show,
    say,
    shown,
    wasserstein,
    with_midpoints,
)

MOVES = {("up", 1.0): 1.0, ("up", 2.0): 2.0, ("down", 1.0): -1.0, ("down", 2.0): -2.0, ("tiny", 1.0): 0.01}
WORDS = {key: f"{key[0]} by {key[1]:g}" for key in MOVES}
TRIED = (3, 4)

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def scores(seed: int, scans: int = 120, each: int = 1, gap: float = 2.0) -> Columns:
    """Labels, patients and log-odds; `each` scans of a patient share most of their spread."""
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(scans), each)
    labels = np.repeat(np.arange(scans) % 2, each)
    odds = np.repeat(random.normal(0, 1, scans), each) + random.normal(0, 0.3, scans * each) + gap * (labels - 0.5)
    return labels, patients, odds


def compared(
    home: Columns, site: Columns, moves: Mapping[Key, float] = MOVES, shows: Mapping[Key, bool | None] | None = None
) -> Explanation:
    """Log-odds of home, moved by each shift, against the site's."""
    shifted = {key: expit(home[2] + by) for key, by in moves.items()}
    seen = dict.fromkeys(moves, True) if shows is None else shows
    return explain((*home[:2], expit(home[2])), shifted, (*site[:2], expit(site[2])), seen, resamples=200)


def moved(site: Columns, by: float | np.ndarray) -> Columns:
    return site[0], site[1], site[2] + by


def words(said: Explanation) -> str:
    return say(said, WORDS, "Home", "There", TRIED)


@pytest.mark.parametrize("seed", range(3))
def test_the_distance_is_scipys(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.normal(0, 1, 13).round(1), random.normal(1, 2, 8).round(1)
    ours, theirs = random.integers(0, 4, (5, 13)) + 0.0, random.integers(1, 3, (5, 8)) + 0.0
    expected = [wasserstein_distance(first, second, a, b) for a, b in zip(ours, theirs, strict=True)]
    assert wasserstein(first, second, ours, theirs) == pytest.approx(expected, abs=1e-12)


def test_the_distance_by_hand() -> None:
    one = np.ones((1, 2))
    assert wasserstein(np.array([0.0, 1.0]), np.array([2.0, 3.0]), one, one) == pytest.approx([2.0])
    assert wasserstein(np.array([0.0, 1.0]), np.array([1.0, 0.0]), one, one) == pytest.approx([0.0], abs=1e-15)


# Named, or not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("move", "name", "dose"), [(2.0, "up", 2.0), (-2.0, "down", 2.0)])
def test_a_planted_shift_is_named(move: float, name: str, dose: float) -> None:
    said = compared(scores(0), moved(scores(1000), move))
    assert said.outcome == "named"
    assert said.best is not None
    assert (said.best.shift, said.best.dose, said.best.fits) == (name, dose, True)
    assert said.best.distance < said.distance_unshifted == pytest.approx(2, abs=0.6)
    assert max(said.p_value, said.p_difference) < 0.05 < (said.best.p_left or 0)
    assert (said.sureness, said.rivals, said.scans) == (1.0, (), (120, 120))
    sentence = words(said)
    assert f"'{name} by 2' moves the scores alike (leaves {said.best.distance:.2f}, within sampling error)" in sentence
    assert sentence.endswith("the scans of There show it; other causes are not excluded; 3 of 4 shifts could be tried.")


def test_the_same_scores_without_the_pictures_name_nothing() -> None:
    """What a disease mix does to scores a shift may do too; only the pictures tell them apart."""
    shows = {key: False if key[0] == "up" else None for key in MOVES}
    said = compared(scores(0), moved(scores(1000), 2.0), shows=shows)
    assert (said.outcome, said.best) == ("pictures", None)
    assert words(said).endswith("the scans of There show none of them: no shift is named, the cause is another.")


def test_pictures_that_show_a_shift_which_does_not_move_the_scores_so_name_nothing() -> None:
    shows = {key: key[0] == "down" for key in MOVES}
    said = compared(scores(0), moved(scores(1000), 2.0), shows=shows)
    assert (said.outcome, said.best) == ("scores", None)
    assert "the scans of There show down, but none of these alone moves the scores as they lie there" in words(said)


def test_shifts_that_fit_alike_are_named_together() -> None:
    jitter = np.random.default_rng(7).normal(0, 0.1, 120)
    home, site = scores(17), moved(scores(18), 2.0)
    shifted = {("this", 1.0): expit(home[2] + 2 + jitter), ("that", 1.0): expit(home[2] + 2 - jitter)}
    given = (*home[:2], expit(home[2])), shifted, (*site[:2], expit(site[2]))
    said = explain(*given, dict.fromkeys(shifted, True), resamples=200)
    assert said.best is not None
    assert len(said.rivals) == 1
    assert 0.3 < (said.sureness or 0) < 1
    sentence = say(said, {key: key[0] for key in shifted}, "Home", "There", (2, 2))
    assert f"% of resamples); so does {said.rivals[0]}; other causes are not excluded" in sentence


def test_a_site_like_home_needs_no_shift() -> None:
    said = compared(scores(0), scores(1000))
    assert (said.outcome, said.best, said.sureness, said.rivals) == ("alike", None, None, ())
    assert "within sampling error (p = " in words(said)
    assert words(said).endswith("there is nothing to explain.")


def test_a_sure_difference_that_is_small_is_not_explained() -> None:
    """1600 scans prove a difference of 0.15 log-odds; it decides nothing."""
    said = compared(scores(0, 1600), moved(scores(1, 1600), 0.15), {("up", 1.0): 0.15})
    assert said.p_difference < 0.05
    assert said.outcome == "alike"
    assert words(said).endswith("which is less than 0.2: there is nothing to explain.")


@pytest.mark.parametrize(("home", "site"), [(90, 200), (200, 90)])
def test_fewer_than_a_hundred_scans_are_too_few(home: int, site: int) -> None:
    said = compared(scores(0, home), moved(scores(1, site), 2.0))
    assert (said.outcome, said.best) == ("too few", None)
    assert f"{home} and {site} scans are too few to name a shift (at least 100 of each site)" in words(said)


def test_scores_pushed_apart_both_ways_are_explained_by_none() -> None:
    push = np.where(np.random.default_rng(0).random(120) < 0.5, -2.5, 2.5)
    said = compared(scores(3, gap=0), moved(scores(4, gap=0), push))
    assert said.p_difference < 0.05
    assert (said.outcome, said.best) == ("scores", None)


def test_a_cause_that_moves_one_class_alone_is_not_a_shift_that_moves_both() -> None:
    """Milder disease: the positives' scores fall, the negatives' stay. On average over all scans 'down 1' would fit."""
    site = scores(9)
    said = compared(scores(8), moved(site, -2.0 * site[0]))
    assert (said.outcome, said.best) == ("scores", None)


def test_a_shift_that_leaves_a_rest_beyond_chance_is_not_named() -> None:
    said = compared(scores(7), moved(scores(8), 2.5), {("up", 1.0): 1.0, ("up", 2.0): 2.0})
    nearest = min(said.candidates, key=lambda c: c.distance)
    assert (nearest.shift, nearest.dose) == ("up", 2.0)
    assert said.best is None or (nearest.p_left or 0) > 0.05
    assert compared(scores(7), moved(scores(8), 4.0), {("up", 1.0): 1.0}).outcome == "scores"


def test_false_alarms_stay_below_their_level() -> None:
    alarms = sum(compared(scores(seed), scores(seed + 1000)).best is not None for seed in range(10, 50))
    assert alarms <= 4  # 5 % of 40 are 2; 5 or more have a chance of 5 %


def test_scans_of_one_patient_do_not_count_as_many() -> None:
    """Twenty scans a patient of few patients: the distance that 120 patients prove, these do not."""
    home, site = scores(11, scans=6, each=20), moved(scores(12, scans=6, each=20), 0.8)
    moves = {("up", 1.0): 1.0}
    clustered = compared(home, site, moves)
    alone = compared((home[0], np.arange(120), home[2]), (site[0], np.arange(120), site[2]), moves)
    assert clustered.p_difference > 0.05 > alone.p_difference


def test_a_site_of_one_class_is_compared_in_that_class() -> None:
    home, site = scores(1, 240), scores(2, 240)
    kept = site[0] == 1
    said = compared(home, (site[0][kept], site[1][kept], site[2][kept] + 2), {("up", 2.0): 2.0})
    assert (said.classes, said.scans, said.outcome) == ((1,), (120, 120), "named")


def test_the_same_seed_gives_the_same_explanation() -> None:
    assert compared(scores(0), moved(scores(1), 1.0)) == compared(scores(0), moved(scores(1), 1.0))


def test_explanations_refuse_what_they_cannot_compare() -> None:
    labels, patients, odds = scores(1)
    home = (labels, patients, expit(odds))
    with pytest.raises(ValueError, match="no shift was tried"):
        explain(home, {}, home, {})
    with pytest.raises(ValueError, match="no class has 5 scans"):
        explain(home, {("up", 1.0): home[2]}, ([1, 1, 0], [1, 2, 3], [0.5, 0.5, 0.5]), {("up", 1.0): True})
    with pytest.raises(ValueError, match="NaN"):
        explain(home, {("up", 1.0): np.full(120, np.nan)}, home, {("up", 1.0): True})


# Doses between, and pictures --------------------------------------------------------------------------------------


def test_doses_in_the_middle_have_the_mean_log_odds() -> None:
    as_is, far = np.array([0.5, 0.2]), np.array([0.9, 0.2])
    found = with_midpoints(as_is, {("a", 4.0): far, ("a", 2.0): as_is, ("b", 1.0): far})
    assert list(found) == [("a", 1.0), ("a", 2.0), ("a", 3.0), ("a", 4.0), ("b", 0.5), ("b", 1.0)]
    assert found["a", 4.0] == pytest.approx(far)
    assert found["a", 1.0] == pytest.approx(as_is)
    assert found["a", 3.0] == pytest.approx([expit(np.log(9) / 2), 0.2])
    assert found["b", 0.5] == pytest.approx(found["a", 3.0])


def values(middle: float, spread: float = 1.0, seed: int = 0, count: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).normal(middle, spread, count)


@pytest.mark.parametrize(
    ("site", "answer"),
    [
        (values(12, seed=1), True),  # as far as the shift goes
        (values(11.2, seed=1), True),  # half of it and a little
        (values(10.4, seed=1), False),  # a fifth
        (values(16, seed=1), False),  # three times
        (values(8, seed=1), False),  # the other way
        (values(10, seed=1), False),
        (np.full(60, np.nan), None),  # not told
        (np.concatenate([values(12, seed=1), np.full(70, np.nan)]), None),  # told of fewer than half
        (np.array([]), None),
    ],
)
def test_a_picture_shows_a_shift_or_does_not(site: np.ndarray, answer: bool | None) -> None:
    home = values(10)
    assert pictures_show({"grain": home}, {"grain": home + 2}, {"grain": site}) is answer


def test_a_mark_that_a_shift_hardly_moves_says_nothing() -> None:
    home = values(10)
    assert pictures_show({"grain": home}, {"grain": home + 0.1}, {"grain": home + 5}) is None
    constant = np.full(60, 5.0)
    assert pictures_show({"mm": constant}, {"mm": constant + 0.1}, {"mm": constant + 0.1}) is True
    assert pictures_show({"mm": constant}, {"mm": constant}, {"mm": constant}) is None


def test_every_mark_that_a_shift_moves_must_be_there() -> None:
    home = {"edge": values(10), "grain": values(5, seed=2)}
    after = {"edge": home["edge"] + 2, "grain": home["grain"] + 2}
    both = {"edge": values(12, seed=3), "grain": values(7, seed=4)}
    assert pictures_show(home, after, both) is True
    assert pictures_show(home, after, both | {"grain": values(5, seed=4)}) is False
    assert pictures_show(home, after, {"edge": both["edge"]}) is True  # the other is not known there


def test_the_doses_between_have_the_marks_between() -> None:
    home = {"mm": np.full(40, 5.0)}
    found = shown(home, {("thickness", 10.0): {"mm": np.full(40, 10.0)}}, {"mm": np.full(40, 7.0)})
    assert found == {("thickness", 5.0): True, ("thickness", 10.0): False}  # 2 of 2.5 mm; 2 of 5
