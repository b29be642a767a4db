"""The verdict's page: the parts of a loss stand only where the model discriminates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from elsewhere.pages import verdict as verdict_page
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.verdict import Scans, judge


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
