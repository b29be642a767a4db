"""What the page says of arms, on both sides of each condition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_study import a_study

from elsewhere.arm_rows import ERM, RULES, ArmRow, TrialRow
from elsewhere.pages.report.arms import section, sentence_of
from elsewhere.pages.report.folder import Folder


def an_arm(arm: str, difference: float = 0.01, p: float | None = 0.5, site: str = "", **values: object) -> ArmRow:
    row = ArmRow(
        "training domains", arm, site, "A+B: 1", 3, 0.8 + difference, 0.8, difference, difference - 0.02,
        difference + 0.02, p, p, 2, "",
    )  # fmt: skip
    return replace(row, **values)  # type: ignore[arg-type]


def an_erm(**values: object) -> ArmRow:
    nothing = {"difference": None, "low": None, "high": None, "p_value": None, "p_value_holm": None}
    return replace(an_arm(ERM), auc=0.8, **{**nothing, **values})  # type: ignore[arg-type]


def a_trial(arm: str, **values: object) -> TrialRow:
    row = TrialRow(arm, 1, "objective = v_rex", "A+B", "C", 3, 0.9, None, 0.8, 0.75, 0.7, 0.8)
    return replace(row, **values)  # type: ignore[arg-type]


def said(*rows: ArmRow) -> str:
    return sentence_of("training domains", [an_erm(), *rows])


def test_no_arm_is_better_where_none_is() -> None:
    words = said(an_arm("V-REx", 0.03, 0.06), an_arm("GroupDRO", -0.01, 0.9))
    assert "no arm is surely better than ERM at unseen sites (Holm over 2 arms" in words
    assert "between −0.010 and +0.030" in words
    assert "is surely better" not in words.replace("no arm is surely better", "")


def test_an_arm_that_is_surely_better_is_named_with_its_interval() -> None:
    words = said(an_arm("V-REx", 0.05, 0.04), an_arm("GroupDRO", -0.01, 0.9))
    assert "V-REx (+0.050, +0.03 to +0.07) is surely better than ERM" in words
    assert "no arm" not in words


def test_surely_worse_is_not_better() -> None:
    words = said(an_arm("V-REx", -0.05, 0.01))
    assert "no arm is surely better" in words
    assert "V-REx (−0.050, −0.07 to −0.03) is surely worse than ERM" in words


def test_one_training_each_says_nothing_of_the_recipes() -> None:
    words = said(an_arm("V-REx", 0.2, 1e-6, trainings=1))
    assert "each network was trained once" in words
    assert "better" not in words


def test_an_arm_without_a_trial_by_a_rule_is_named_with_the_reason() -> None:
    gone = {"auc": None, "difference": None, "low": None, "high": None, "p_value": None, "p_value_holm": None}
    lacking = replace(an_arm("CORAL"), reason="without one of A+B: there is one site", **gone)
    assert "CORAL has no trial by this rule: without one of A+B" in said(an_arm("V-REx"), lacking)
    assert "no arm could be compared (without one of A+B" in said(lacking)


def test_the_oracle_is_marked() -> None:
    rows = [replace(row, rule="oracle") for row in (an_erm(), an_arm("V-REx"))]
    assert "oracle, which looks at validation scans of the very site that is tested" in sentence_of("oracle", rows)


def whole(**values: object) -> list[ArmRow]:
    return [
        replace(row, rule=rule)
        for rule in RULES
        for row in (
            an_erm(), an_erm(site="C"), an_arm("V-REx", **values), an_arm("V-REx", site="C", p=None, auc=0.6),
            an_arm("V-REx", site="D", p=None, auc=0.9),
        )
    ]  # fmt: skip


def test_the_section_shows_each_site_the_worst_and_every_trial(tmp_path: Path) -> None:
    study = replace(a_study(), arms=whole(), arm_trials=[a_trial(ERM, settings=""), a_trial("V-REx")])
    found = section(study, "paper", Folder(tmp_path))
    assert found is not None
    line = found.tables[0].rows[1]
    assert (line["auc C"], line["auc D"], line["worst"], line["worst_site"]) == (0.6, 0.9, 0.6, "C")
    assert len(found.tables) == len(found.sentences) == 3
    assert [row.arm for row in found.trials.rows] == [ERM, "V-REx"]
    assert "2 ways to train (ERM, V-REx)" in found.words


@pytest.mark.parametrize(
    ("settings", "words"),
    [("mixstyle = 0.5", "Every arm keeps the fast kernels"), ("precision = bf16-mixed", "Without the fast kernels")],
)
def test_arms_without_the_fast_kernels_are_named(tmp_path: Path, settings: str, words: str) -> None:
    study = replace(a_study(), arms=whole(), arm_trials=[a_trial(ERM), a_trial("X", settings=settings)])
    found = section(study, "paper", Folder(tmp_path))
    assert found is not None
    assert words in found.kernels
    assert ("X." in found.kernels) == (settings != "mixstyle = 0.5")


def test_the_section_stands_where_nothing_could_be_compared(tmp_path: Path) -> None:
    gone = {"auc": None, "difference": None, "low": None, "high": None, "p_value": None, "p_value_holm": None}
    rows = [replace(an_arm(arm), rule=rule, reason="one class", **gone) for rule in RULES for arm in (ERM, "V-REx")]
    found = section(replace(a_study(), arms=rows), "paper", Folder(tmp_path))
    assert found is not None
    assert "no arm could be compared (one class)" in found.sentences[0]


def test_nothing_is_said_without_arms(tmp_path: Path) -> None:
    assert section(a_study(), "paper", Folder(tmp_path)) is None
