"""The head of the page: records on both sides of each sentence, and what it then says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_study import REASON, a_cell, a_group, a_protocol_mean, a_study, marked

from elsewhere.pages.report import HardScanRow, Model, NewHospital, Report, headline, write_report
from elsewhere.pages.report.origins import holdings
from elsewhere.pages.report.words import opening
from elsewhere.rows import SeedRow
from study_rows import partly

HOME, AWAY = a_cell("A", "A", 0.9, 0.05), a_cell("A", "B", 0.6, 0.05)


def test_the_means_are_named_with_cells_and_intervals() -> None:
    said = headline.headline(a_study(HOME, AWAY))
    assert said.startswith(
        "Mean discrimination (AUC, with 95 % interval): 0.90 (0.85–0.95) at home (internal test set of the only "
        "training site), 1 cell; 0.60 (0.55–0.65) elsewhere (external validation, sites never seen in training), 1 "
        "cell."
    )


@pytest.mark.parametrize(
    ("mean", "low", "high", "words"),
    [
        (
            0.30,
            0.21,
            0.38,
            "discrimination is 0.30 lower elsewhere than at home; home less elsewhere +0.30 (95\u00a0%: +0.21",
        ),
        (0.03, 0.01, 0.05, "is 0.03 lower elsewhere than at home, a small difference;"),
        (0.30, -0.10, 0.70, "is +0.30 (95\u00a0%: −0.10 to +0.70): within sampling error of the patients."),
        (-0.2, -0.30, -0.1, "discrimination is 0.20 higher elsewhere than at home;"),
        (-0.2, -0.50, 0.10, "is −0.20 (95\u00a0%: −0.50 to +0.10): within sampling error of the patients."),
    ],
)
def test_the_difference_is_judged_by_its_own_interval(mean: float, low: float, high: float, words: str) -> None:
    study = a_study(HOME, AWAY, groups=[a_group("fall", mean, low, high)])
    assert words in headline.headline(study)
    assert "luck" not in headline.headline(study)


@pytest.mark.parametrize(("low", "high", "side"), [(0.43, 0.64, "beyond"), (-0.1, 0.64, "within")])
def test_the_difference_of_the_same_networks_stands_beside_that_of_all(low: float, high: float, side: str) -> None:
    """Networks of several sites are tested elsewhere and have no cell at home: the plain difference mixes both."""
    study = a_study(HOME, AWAY, groups=[a_group("fall", 0.3, 0.2, 0.4)])
    assert "each against itself" not in headline.headline(study)
    groups = [*study.groups, a_group("fall, same networks", 0.54, low, high)]
    said = headline.headline(a_study(HOME, AWAY, a_cell("A+D", "B", 0.8), groups=groups))
    assert "is 0.30 lower elsewhere than at home; " in said
    assert "of those that have both, each against itself, the difference is +0.54" in said
    assert f"to +0.64), {side} sampling error." in said


def test_a_difference_without_an_interval_is_not_judged() -> None:
    said = headline.headline(a_study(HOME, AWAY))
    assert "The difference, home less elsewhere, is +0.30; it has no interval of its own here" in said
    assert "lower" not in said
    assert "With one training" not in said


@pytest.mark.parametrize(
    ("aucs", "words"),
    [
        ((0.9, 0.8, 0.7), "Of the 3 cells elsewhere that have an interval, the AUC is above chance (0.50) with "
         "its whole 95 % interval in 3."),
        ((0.9, 0.5, 0.2), "above chance (0.50) with its whole 95 % interval in 1, not distinguishable from chance in 1 "
         "and below chance with its whole interval in 1."),
        ((0.5, 0.55, 0.45), "the AUC is not distinguishable from chance in 3."),
        ((0.2, 0.2, 0.2), "the AUC is below chance with its whole interval in 3."),
    ],
)  # fmt: skip
def test_chance_is_said_of_cells_and_never_of_a_mean(aucs: tuple[float, ...], words: str) -> None:
    """A mean of 0.65 over 0.95, 0.95, 0.2 and 0.5 is above 0.5, and "the networks" are not."""
    scores = [a_cell(m, s, auc) for (m, s), auc in zip((("A", "B"), ("A", "C"), ("B", "A")), aucs, strict=True)]
    said = headline.headline(a_study(HOME, *scores))
    assert words in said
    assert "better than guessing" not in said


def test_what_was_held_fixed_is_said_for_one_training_and_for_several() -> None:
    groups = [a_group("home", 0.9, 0.85, 0.95), a_group("unseen", 0.6, 0.55, 0.65), a_group("fall", 0.3, 0.2, 0.4)]
    once = headline.headline(a_study(HOME, AWAY, groups=groups))
    assert "With one training of each network discrimination is 0.30 lower elsewhere" in once
    assert "beyond sampling error of the patients. " in once
    assert "sites and trained networks are held fixed. Each network was trained once" in once
    row = partly(SeedRow, model="A", site="A", score="auc", seeds=3, standard_deviation=0.02)
    rows = [row, replace(row, site="B", standard_deviation=0.12), replace(row, score="ece")]
    study = a_study(HOME, AWAY, groups=[replace(r, trainings=3) for r in groups], trainings=rows)
    several = headline.headline(study)
    assert "Over three trainings of each network discrimination is 0.30 lower elsewhere" in several
    assert "beyond sampling error of the patients and the spread over trainings. " in several
    assert "and other trainings (three seeds of each network); the sites are held fixed." in several
    assert "standard deviation of 0.07 in the middle cell and 0.12 at most" in several
    assert "trained once" not in several


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (None, ""),
        (NewHospital(None, None, 0), ""),
        (NewHospital(0.1, 0.99, 2), "Two unseen sites cannot tell how far the AUC would lie"),
        (NewHospital(0.1, 0.99, 3), "Three unseen sites cannot tell"),
        (
            NewHospital(0.55, 0.91, 6),
            "At a new hospital an AUC of 0.55–0.91 is to be expected (95 % prediction interval",
        ),
        (NewHospital(None, None, 6), ""),
    ],
)
def test_a_new_hospital_is_spoken_of_only_with_enough_sites(new: NewHospital | None, words: str) -> None:
    said = headline.new_hospital(new)
    assert said.startswith(words)
    assert bool(said) == bool(words)


def test_few_unseen_sites_are_said_at_the_head() -> None:
    assert "One unseen site cannot tell" in headline.headline(a_study(HOME, AWAY))
    given = a_study(HOME, AWAY, new_hospital=NewHospital(0.5, 0.9, 5))
    assert "AUC of 0.50–0.90 is to be expected" in headline.headline(given)


def test_networks_that_did_not_learn_are_left_out_and_counted() -> None:
    study = a_study(HOME, AWAY, a_cell("B", "A", 0.1))
    said = headline.headline(marked(study, "B"))
    assert said.startswith(
        "1 of 3 networks did not learn, as far as their validation scans show, and is left out (B). Mean"
    )
    assert "0.60 (0.55–0.65) elsewhere" in said
    assert "below chance" not in said
    assert "did not learn" not in headline.headline(study)


def test_when_no_network_learned_that_is_all_that_is_said() -> None:
    study = marked(a_study(HOME, AWAY), "A", "B", "A+D")
    words = (
        "None of the 3 networks learned to tell the classes apart, as far as the validation scans of its training "
        "sites show, so nothing is concluded from the scores."
    )
    assert headline.headline(study) == words
    alone = a_study(models=(Model("A", ("A",), degenerate=REASON),))
    assert headline.headline(alone).startswith("The network did not learn to tell the classes apart")


def test_a_page_without_a_network_that_learned_shows_no_mean(tmp_path: Path) -> None:
    study = marked(a_study(HOME, AWAY), "A", "B", "A+D")
    page = write_report(Report("T", (study,)), tmp_path).read_text(encoding="utf-8")
    assert "None of the 3 networks learned" in page
    assert "Mean AUC at home" not in page


def test_without_a_site_never_seen_nothing_is_said_of_elsewhere() -> None:
    said = headline.headline(a_study(HOME))
    assert "No network was tested at a site it had never seen, so nothing is known about elsewhere." in said
    assert "external validation" not in said
    assert headline.headline(a_study()).startswith("No AUC was measured")


def test_two_studies_are_set_side_by_side_with_their_paired_difference() -> None:
    one, two = a_study(HOME, AWAY), a_study(HOME, replace(AWAY, auc=0.8), name="harmonised")
    assert headline.comparison(Report("T", (one, two))).endswith("is 0.60 (“paper”) and 0.80 (“harmonised”).")
    assert "means over different networks" in headline.comparison(Report("T", (one, marked(two, "B"))))
    assert headline.comparison(Report("T", (one,))) == ""
    for low, high, side in ((-0.3, -0.1, "beyond"), (-0.5, 0.1, "within"), (0.1, 0.3, "beyond")):
        paired = a_protocol_mean(0.6, 0.8, low, high, difference=(low + high) / 2, cells=1)
        rows = [paired, replace(paired, relation="home")]
        said = headline.comparison(Report("T", (one, two), protocol_means=rows))
        assert "over 1 cell of networks that learned under both, “paper” less “harmonised” is" in said
        assert said.endswith(f"), {side} sampling error of the patients.")


def test_the_opening_names_what_was_tested_and_what_is_missing() -> None:
    full = [a_cell(m, s, 0.7) for m in ("A", "B", "A+D") for s in "ABCD"]
    assert opening(alone(*full)).endswith("and each was tested on held-out patients of A, B, C and D.")
    assert "COVID" not in opening(alone(*full))
    some = opening(alone(*full[:5]))
    assert some.endswith("they were tested on held-out patients of A, B, C and D (7 of 12 cells are missing).")
    assert opening(alone()).endswith("; no test score is in the records.")


def alone(*scores: dict) -> Report:
    return Report("T", (a_study(*scores),))


def test_the_networks_of_every_study_are_counted() -> None:
    """Three networks under each of two protocols are six networks, and three were never trained twice."""
    full = [a_cell(m, s, 0.7) for m in ("A", "B", "A+D") for s in "ABCD"]
    one, two = a_study(*full), a_study(*full, name="harmonised")
    assert opening(Report("T", (one,))).startswith("Three networks were trained to classify chest CT scans as positive")
    both = opening(Report("T", (one, two)))
    assert both.startswith("Three networks under each of two protocols, 6 in all, were trained to classify")
    assert "(2 on one site each, the others on several), and each was tested" in both
    other = a_study(*full[:4], name="harmonised", models=(Model("A", ("A",)),))
    said = opening(Report("T", (one, other)))
    assert said.startswith("4 networks (3 under “paper” and 1 under “harmonised”) were trained")
    assert "on one site each" not in said
    assert opening(Report("T", (one, a_study(*full[:9], name="b")))).endswith("(3 of 24 cells are missing).")


def test_the_page_does_not_promise_that_ids_hold_no_name() -> None:
    listed = a_study(hardest=[partly(HardScanRow, site="A")])
    assert "Where an id of a data set is or holds a name, so does this page." in holdings(Report("T", (listed,)))
    assert "name" not in holdings(Report("T", (replace(listed, origin="simulated"),)))
    assert "is or holds a name" not in holdings(Report("T", (a_study(),)))
