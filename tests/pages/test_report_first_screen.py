"""The first screen: what is answered, warned of and advised, from records on both sides of each condition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_study import a_cell, a_group, a_study, marked

from elsewhere.pages.report import Audit, Report, write_report
from elsewhere.pages.report.first_screen import answer, brief, next_steps, warnings
from elsewhere.pages.report.sections import SECTIONS


def means_of(home: tuple[float, float, float], away: tuple[float, float, float], fell: tuple[float, float, float]):
    groups = [a_group("home", *home), a_group("unseen", *away), a_group("fall", *fell)]
    return a_study(a_cell("A", "A", home[0]), a_cell("A", "B", away[0], half=0.3), groups=groups)


HOME = (0.90, 0.85, 0.95)


@pytest.mark.parametrize(
    ("home", "away", "fell", "said"),
    [
        (HOME, (0.42, 0.37, 0.47), (0.48, 0.40, 0.55), "rank the wrong way elsewhere on average (mean AUC 0.90"),
        (HOME, (0.53, 0.45, 0.60), (0.37, 0.28, 0.45), "lose all of it elsewhere"),
        ((0.60, 0.55, 0.65), (0.54, 0.495, 0.585), (0.06, 0.02, 0.09), "lose some, and perhaps all, of it"),
        (HOME, (0.65, 0.45, 0.80), (0.25, 0.08, 0.45), "lose some, and perhaps all, of it"),
        (HOME, (0.62, 0.55, 0.70), (0.28, 0.21, 0.35), "lose most of it"),
        (HOME, (0.62, 0.55, 0.70), (0.28, 0.19, 0.37), "lose some of it"),  # less than half is not ruled out
        (HOME, (0.896, 0.88, 0.91), (0.004, 0.001, 0.007), "lose little of it"),
        (HOME, (0.88, 0.80, 0.93), (0.02, -0.04, 0.08), "are not shown to lose any of it elsewhere"),
        ((0.70, 0.6, 0.8), (0.50, 0.35, 0.65), (0.20, -0.05, 0.45), "are not shown to discriminate elsewhere"),
        (HOME, (0.96, 0.93, 0.98), (-0.06, -0.10, -0.02), "discriminate better elsewhere"),
        ((0.55, 0.45, 0.65), (0.50, 0.42, 0.58), (0.05, 0.01, 0.09), "not shown to discriminate even at home"),
    ],
)  # fmt: skip
def test_how_much_is_lost_is_said_by_the_intervals(home, away, fell, said: str) -> None:
    assert said in answer(means_of(home, away, fell))


def test_what_some_cells_keep_is_said_beside_what_the_mean_loses() -> None:
    """Two cells at 0.85 and two at 0.20 have a mean of 0.53: not all is lost."""
    cells = [a_cell("A", "B", 0.85), a_cell("A", "C", 0.85), a_cell("B", "A", 0.2), a_cell("B", "C", 0.2)]
    cells.append(a_cell("A", "A", 0.9))
    for away, said in (
        ((0.525, 0.45, 0.60), "lose it elsewhere but for 2 of 4 cells"),
        ((0.42, 0.37, 0.47), "rank the wrong way elsewhere on average, and are above chance in 2 of 4 cells"),
    ):
        means = [a_group("home", *HOME), a_group("unseen", *away), a_group("fall", 0.4, 0.3, 0.5)]
        assert said in answer(a_study(*cells, groups=means))


def test_without_means_or_networks_nothing_is_answered() -> None:
    assert answer(a_study(a_cell("A", "A"))).startswith("No AUC was measured")
    study = means_of(HOME, (0.6, 0.55, 0.65), (0.3, 0.2, 0.4))
    none = marked(study, *(m.name for m in study.models))
    assert answer(none).startswith("None of the 3 networks learned")
    assert (brief(none), next_steps(Report("None", [none]))) == ("", [])
    assert "0.30 lower elsewhere than at home" in brief(study)


def test_networks_that_did_not_learn_come_first_and_three_warnings_are_enough() -> None:
    study = a_study(a_cell("A", "A", 0.9), audit=Audit(warnings=("One.", "Two.", "Three.", "Four.")))
    assert warnings(Report("All", [study])).shown == ("One.", "Two.", "Three.")
    assert warnings(Report("All", [study, replace(study, name="other")])).more == 1  # the same scans, said once
    lost = warnings(Report("Lost", [marked(study, "B")]))
    assert lost.shown[0].startswith("1 of 3 networks did not learn, by its own validation scans")
    assert (lost.shown[1:], lost.more) == (("One.", "Two."), 2)
    assert "under “paper”" in warnings(Report("Both", [marked(study, "B"), replace(study, name="other")])).shown[0]
    assert warnings(Report("Quiet", [a_study()])).shown == ()


def test_what_to_do_follows_from_the_cells_elsewhere() -> None:
    good, chance, wrong = a_cell("A", "B", 0.8), a_cell("A", "C", 0.55), a_cell("B", "C", 0.3)
    all_good = next_steps(Report("Good", [a_study(good)]))
    assert len(all_good) == 2
    assert "In 1 of 1 cell it is" in all_good[0]
    assert "does not mend" not in " ".join(all_good)
    steps = next_steps(Report("Mixed", [a_study(good, chance, wrong)]))
    assert steps[0].startswith(
        "In 2 of 3 cells elsewhere the AUC is not shown to be above chance; in 1 it is below: the"
    )
    assert "elsewhere verdict STUDY MODEL FOLDER" in steps[-1]
    assert next_steps(Report("Home", [a_study(a_cell("A", "A", 0.9))])) == []


def test_all_but_the_first_section_is_folded_under_its_question(tmp_path: Path) -> None:
    study = means_of(HOME, (0.42, 0.37, 0.47), (0.48, 0.40, 0.55))
    page = write_report(Report("One", [study]), tmp_path).read_text(encoding="utf-8")
    first, _, rest = page.partition('<details class="fold">')
    assert "rank the wrong way elsewhere" in first
    assert first.count("<section") == 1
    assert 'data-table="paper-cells"' in first
    assert page.count('<details class="fold">') == page.count("<section") - 1 > 5
    assert "Does it work elsewhere?" in first[first.index("</nav>") :]
    questions = [section.question for section in SECTIONS[1:]]
    assert all(questions)
    assert len(dict.fromkeys(questions)) == sum(a != b for a, b in zip(["", *questions], questions, strict=False))
    assert rest.count("<section") == rest.count("</section>")
