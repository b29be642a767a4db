"""Comparisons of networks and of protocols: each sentence from records on both sides of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_study import a_protocol_mean

from elsewhere.pages.report import (
    ComparisonRow,
    GroupRow,
    Model,
    OverSitesRow,
    ProtocolRow,
    Report,
    Site,
    Study,
    comparisons,
    write_report,
)
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.over_sites import over_sites_table

MODELS = (Model("A", ("A",)), Model("A+B", ("A", "B")))
TEST = ComparisonRow(
    family="several",
    relation="trained",
    site="A",
    first="A+B",
    second="A",
    auc_first=0.9,
    auc_second=0.8,
    difference=0.1,
    low=0.02,
    high=0.18,
    p_value=0.01,
    p_value_holm=0.03,
    tests=3,
    method="paired",
    scans=60,
)


def a_study(low: float, high: float, trainings: int = 1, **test: Any) -> Study:
    mean = GroupRow("several - one, trained", (low + high) / 2, low, high, 1, trainings, "bootstrap")
    tests = [replace(TEST, **test)]
    return Study("paper", "In a sentence.", MODELS, (Site("A"), Site("B")), groups=[mean], comparisons=tests)


@pytest.mark.parametrize(
    ("low", "high", "mean", "once", "over_trainings"),
    [
        (0.02, 0.18, "0.10 higher (95\u00a0%: 0.02 to 0.18) than that of", "discriminate better. ", "helped. "),
        (-0.18, -0.02, "0.10 lower (95\u00a0%: 0.02 to 0.18) than that of", "discriminate worse. ", "hurt. "),
        (
            -0.02,
            0.18,
            "+0.08 (95\u00a0%: −0.02 to +0.18), over one comparison:",
            "are not shown to discriminate better or worse. ",
            "is not shown to help or to hurt. ",
        ),
    ],
)
def test_networks_of_several_sites_are_judged_by_the_whole_interval(
    low: float, high: float, mean: str, once: str, over_trainings: str
) -> None:
    """One training of each tells of these networks; that training on several sites helps or hurts takes several."""
    words = comparisons.several_sentence(a_study(low, high))
    assert words.startswith("At the site of that one (internal test sets) the mean AUC of networks of several sites ")
    assert mean in words
    assert f"these networks of several sites {once}" in words
    assert "training on several sites" not in words
    assert words.endswith("each network is one training (seed), which is held fixed.")
    several = comparisons.several_sentence(a_study(low, high, trainings=2))
    assert mean in several
    assert f"training on several sites {over_trainings}" in several
    assert "these networks" not in several


def test_significance_is_holms_and_has_a_sign() -> None:
    assert "Significant after Holm's adjustment for 3 tests: 1 higher of 1" in comparisons.several_sentence(
        a_study(0.0, 0.1)
    )
    lower = comparisons.several_sentence(a_study(0.0, 0.1, difference=-0.1))
    assert "1 lower of 1" in lower
    not_one = comparisons.several_sentence(a_study(0.0, 0.1, p_value=0.01, p_value_holm=0.06))
    assert "No single difference is significant after Holm's adjustment for 3 tests (p ≤ 0.05)." in not_one


def test_several_trainings_are_said_to_be_in_the_interval() -> None:
    words = comparisons.several_sentence(a_study(0.02, 0.18, trainings=3))
    assert words.endswith("p-values are of the first training.")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.02, 0.2, "“paper” is 0.11 higher (95\u00a0%: 0.02 to 0.20) than that of “harmonised”, over one pair of "
         "network and site: these networks discriminate better under “paper”."),
        (-0.2, -0.02, "“paper” is 0.11 lower (95\u00a0%: 0.02 to 0.20) than that of “harmonised”, over one pair of "
         "network and site: these networks discriminate better under “harmonised”."),
        (-0.1, 0.1, "“paper” less that of “harmonised” is 0.00 (95\u00a0%: −0.10 to +0.10), over one pair of network "
         "and site: under neither are they shown to discriminate better."),
    ],
)  # fmt: skip
def test_protocols_are_judged_by_the_whole_interval(low: float, high: float, said: str, tmp_path: Path) -> None:
    head = {"family": "protocols", "relation": "unseen", "first": "paper", "second": "harmonised", "site": "B"}
    cell = ProtocolRow(**vars(TEST) | head, model="A")
    mean = a_protocol_mean(0.6, 0.5, low, high, difference=(low + high) / 2, cells=1)
    words = comparisons.protocol_sentence([cell], [mean])
    assert words.startswith("At sites never seen in training (external validation) the mean AUC of “paper”")
    assert said in words
    both = [a_study(0, 1), replace(a_study(0, 1), name="harmonised")]
    shown = comparisons.protocols(Report("Two", both, protocols=[cell], protocol_means=[mean]), Folder(tmp_path))
    assert shown is not None
    assert shown.tests is not None
    assert comparisons.protocols(Report("One", [a_study(0, 1)]), Folder(tmp_path)) is None


def test_the_papers_claim_stands_as_published_and_as_unsuited_to_simulated_scans(tmp_path: Path) -> None:
    words = comparisons.paper_words()
    assert "at UTSW AUC 0.826 ± 0.024 for the network of UTSW, 0.937 ± 0.018 for that of UTSW + COVID-CTset" in words
    assert "no interval and no test" in words
    study = replace(a_study(0.02, 0.18), origin="simulated", published=True)
    page = write_report(Report("One", [study]), tmp_path).read_text(encoding="utf-8")
    assert "must not be compared with them" in page
    assert "these networks of several sites discriminate better" in page
    own = write_report(Report("Own", [a_study(0.02, 0.18)]), tmp_path / "own").read_text(encoding="utf-8")
    assert "0.826" not in own


def test_few_sites_cannot_tell_and_more_give_a_prediction_interval() -> None:
    few = OverSitesRow(2, 0.7, 0.02, 0.99, None, None, None, model="A")
    many = replace(few, sites=5, low=0.3, between=0.3, new_low=0.5, new_high=0.9)
    study = Study("paper", "In a sentence.", MODELS, (Site("A"),), over_sites=[few, many])
    table = over_sites_table(study, "new")
    told = {c.key: [c.print(r) for r in table.rows] for c in table.columns}
    assert told["new_low"] == ["two sites cannot tell", "0.50–0.90"]
    assert told["mean"] == ["cannot tell (0.02–0.99)", "0.70 (0.30–0.99)"]
    assert told["between"] == ["–", "0.30"]
