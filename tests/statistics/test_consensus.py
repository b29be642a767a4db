"""How many models are wrong about each scan: counts by hand, order, and refusals."""

from __future__ import annotations

import pytest

from elsewhere.statistics.consensus import consensus
from elsewhere.statistics.decision import OperatingPoint

HALF = OperatingPoint(0.5, "grid", "model", 1.0, 4)
STRICT = OperatingPoint(0.9, "grid", "model", 1.0, 4)


def test_wrong_calls_are_counted_at_each_model_s_own_threshold() -> None:
    found = consensus([1, 1, 0, 0], [[0.8, 0.2, 0.1, 0.6], [0.8, 0.95, 0.1, 0.95]], [HALF, STRICT])
    assert found.wrong.tolist() == [[False, True, False, True], [True, False, False, True]]
    assert found.wrong_share.tolist() == [0.5, 0.5, 0.0, 1.0]
    assert found.distance == pytest.approx([0.2, 0.425, 0.1, 0.775])


def test_the_hardest_comes_first_and_the_surest_error_among_equals() -> None:
    found = consensus([1, 1, 0, 0], [[0.8, 0.2, 0.1, 0.6], [0.8, 0.95, 0.1, 0.95]], [HALF, STRICT])
    assert found.hardest_first().tolist() == [3, 1, 0, 2]


def test_each_model_needs_its_operating_point() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 2\), but there are 2 operating points"):
        consensus([1, 0], [[0.2, 0.3]], [HALF, HALF])
