"""The verdict's page: the parts of a loss stand only where the model discriminates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from elsewhere.pages import verdict as verdict_page
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.verdict import Scans, Verdict, judge, judge_unlabelled

POINT = OperatingPoint(0.5, "grid", "model", 0.9, 100)
PEOPLE = np.array([f"{i}" for i in range(200)])
LABELS = np.arange(200) % 2
LINES = (
    verdict_page.ScanLine("good", 1, 0.9, True, ()),
    verdict_page.ScanLine("head", 0, 0.7, True, ("lungs not found",)),
)


def _scans(gap: float, seed: int = 3, sites: np.ndarray | None = None) -> Scans:
    random = np.random.default_rng(seed)
    return Scans(LABELS, PEOPLE, expit(gap * (LABELS - 0.5) + random.normal(0, 2, 200)), None, sites)


def _page(said: Verdict, **more: object) -> str:
    occasion = verdict_page.Occasion("A", ("A",), "New", "new", "real", "abc", (), "elsewhere verdict", **more)  # type: ignore[arg-type]
    return verdict_page.render(said, occasion)


@pytest.mark.parametrize(("gap", "mark", "tone"), [(6.0, "✓", "yes"), (0.0, "✗", "no")])
def test_the_headline_has_the_mark_of_its_verdict(gap: float, mark: str, tone: str) -> None:
    said = judge(_scans(gap, 5), _scans(6.0), POINT, resamples=20)
    assert f'<span class="mark {tone}" aria-hidden="true">{mark}</span>{said.headline}' in _page(said)


def test_without_labels_the_mark_is_a_question_and_there_is_no_picture() -> None:
    said = judge_unlabelled(_scans(6.0).probabilities, PEOPLE, [], _scans(6.0), POINT)
    page = _page(said, home=_scans(6.0))
    assert ">?</span>Estimate only" in page
    assert "ROC curve: sensitivity" not in page


def test_home_and_here_stand_side_by_side_with_the_numbers_of_the_table() -> None:
    here, home = _scans(3.0, 5), _scans(6.0)
    said = judge(here, home, POINT, resamples=20)
    assert said.auc is not None
    assert said.home_auc is not None
    page = _page(said, here=here, home=home)
    for auc in (said.auc, said.home_auc):
        assert f"AUC {auc.estimate:.3f}" in page
        assert f"95 % {auc.low:.3f} to {auc.high:.3f}" in page
    assert "100 positive, 100 negative scans" in page
    assert "ROC curve: sensitivity" in page
    assert "Calibration: share of positives" in page
    assert "Here as adjusted" not in page
    assert "Here as adjusted" in _page(said, here=here, home=home, adjusted=True)


def test_several_homes_have_a_curve_each_and_no_auc_of_scans_of_two_sites() -> None:
    here, home = _scans(3.0, 5), _scans(6.0, sites=np.where(np.arange(200) < 100, "East", "West"))
    said = judge(here, home, POINT, resamples=20)
    assert said.home_auc is not None
    page = _page(said, here=here, home=home)
    assert "home: East" in page
    assert "home: West" in page
    assert f"AUC {said.home_auc.estimate:.3f}" not in page


def test_hospital_date_remarks_and_sign_off_stand_on_the_page() -> None:
    said = judge(_scans(6.0, 5), _scans(6.0), POINT, resamples=20)
    page = _page(said, hospital="St <Mary>", date="2026-11-28", scans=LINES)
    assert "Will A work at St &lt;Mary&gt;?" in page
    assert "St &lt;Mary&gt; (scans: New) · 2026-11-28" in page
    assert "1 scan of those it read has a remark (list of scans)" in page
    assert page.index(">head<") < page.index(">good<")
    assert "lungs not found" in page
    assert page.count('<td class="line">') == 9
    plain = _page(said, date="2026-11-28", scans=LINES[:1])
    assert "Will A work at New?" in plain
    assert "(scans: New)" not in plain
    assert "remark (list" not in plain
    assert "Scans that were read: 1</summary>" in plain


def test_a_long_list_is_cut_and_says_so() -> None:
    said = judge(_scans(6.0, 5), _scans(6.0), POINT, resamples=20)
    lines = LINES[:1] * verdict_page.MOST_LINES
    assert "scans.csv has all" not in _page(said, scans=lines)
    cut = _page(said, scans=(*lines, LINES[1]))
    assert f"The first {verdict_page.MOST_LINES}, those with remarks before the others; scans.csv has all." in cut
    assert ">head<" in cut


@pytest.mark.parametrize(("gap", "divided"), [(6.0, True), (0.0, False), (-1.5, False)])
def test_a_loss_is_divided_only_where_the_model_discriminates(gap: float, divided: bool) -> None:
    """Scores moved by 3 log-odds: of a model that ranks, of noise, and of one that ranks the wrong way round."""
    random = np.random.default_rng(3)
    labels, people = np.arange(200) % 2, np.array([f"{i}" for i in range(200)])
    ours = expit(6 * (labels - 0.5) + random.normal(0, 2, 200))
    theirs = expit(gap * (labels - 0.5) + random.normal(0, 2, 200) + 3)
    point = OperatingPoint(0.5, "grid", "model", 0.9, 100)
    said = judge(Scans(labels, people, theirs), Scans(labels, people, ours), point, resamples=50)
    occasion = verdict_page.Occasion("A", ("A",), "New", "/scans/new", "real", "abc", (), "elsewhere verdict")
    page = verdict_page.render(said, occasion)
    assert "Where accuracy was lost" in page
    assert ("a new threshold or recalibration corrects it" in page) is divided
    assert ("The parts cannot be told apart: the model does not discriminate here" in page) is not divided
