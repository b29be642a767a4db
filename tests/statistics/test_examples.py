"""The examples in the docstrings of the statistics, run as they stand."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

from elsewhere import statistics

MODULES = [m.name for m in pkgutil.walk_packages(statistics.__path__, "elsewhere.statistics.") if not m.ispkg]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    found = doctest.testmod(import_module(name), report=True)
    assert found.failed == 0


def test_the_measures_that_a_notebook_uses_have_an_example() -> None:
    examples = {m: doctest.DocTestFinder().find(import_module(f"elsewhere.statistics.{m}")) for m in USED}
    shown = {m: {test.name.rpartition(".")[2] for test in tests if test.examples} for m, tests in examples.items()}
    assert {m: sorted(set(names) - shown[m]) for m, names in USED.items()} == {m: [] for m in USED}


USED = {
    "calibration": ("brier_score", "calibration_error", "calibration_line", "decision_curve", "reliability_curve"),
    "comparison": ("compare_models", "holm"),
    "confounding": ("site_only_auc",),
    "decision": ("choose_threshold", "decide", "fit_recalibration", "log_odds", "recalibrate"),
    "delong": ("auc_covariance", "placements"),
    "intervals": ("auc_interval", "effective_trials", "mean_interval", "proportion_interval", "wilson_ends", "z_value"),
    "logistic": ("fit_logistic",),
    "over_sites": ("auc_over_sites", "new_site", "over_sites"),
    "roc": ("exact_auc", "exact_roc", "grid_auc"),
    "score": ("count_confusion",),
    "strata": ("age_and_sex", "age_words"),
    "verdict_rule": ("scans_to_prove",),
}
