"""`elsewhere plan`: its table, its sentences, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from elsewhere.cli import app


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["plan", *map(str, words)])


def test_the_largest_need_is_named() -> None:
    result = run("--prevalence", 0.018, "--auc", 0.8, "--oe-width", 1, "--log-odds", -5, 2.5)
    assert result.exit_code == 0, result.output
    assert "discrimination (AUC)" in result.stdout
    assert "4,252" in result.stdout
    assert "Needed: 4,554 scans of 4,554 patients, about 82 of them positive; calibration slope" in result.stdout
    assert "Design effect" not in result.stdout


def test_clusters_and_few_positives_are_said() -> None:
    result = run("--prevalence", 0.02, "--specificity", 0.9, "--scans-per-patient", 2)
    assert "Design effect 1.50: 2 scans per patient, correlation 0.5; with one scan per patient 142 patients" in (
        result.stdout
    )
    assert "With 4 positive scans these formulas are rough" in result.stdout


def test_what_cannot_be_planned_is_refused() -> None:
    result = run("--prevalence", 0.3)
    assert result.exit_code == 2
    assert "nothing to plan for" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--auc", 0.4), "--auc must be above 0.5 and below 1, is 0.4"),
        (("--auc", 0.8, "--auc-width", 2), "--auc-width must be above 0 and below 1, is 2"),
        (("--sensitivity", 0.9, "--specificity", 0.9, "--net-benefit-at", 1.5), "--net-benefit-at must be above 0"),
        (("--sensitivity", 0.9, "--net-benefit-at", 0.2), "--net-benefit-at (net benefit) needs sensitivity and"),
        (("--auc", 0.8, "--scans-per-patient", 0.5), "--scans-per-patient must be at least 1, is 0.5"),
    ],
)
def test_errors_name_the_option_as_it_was_written(words: tuple[object, ...], said: str) -> None:
    result = run("--prevalence", 0.3, *words)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
