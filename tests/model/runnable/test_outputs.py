"""Declared outputs: what each kind of number comes to, and what contradicts its declaration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.declared import OutputSettings
from elsewhere.model.runnable.outputs import probability_of, scan_probability


def probability(numbers: Any, **settings: Any) -> float:
    return probability_of(np.array(numbers), OutputSettings(**settings), "Net", "A: s")


def test_each_kind_of_number() -> None:
    shares = np.exp([0.3, 1.2, -2.0]) / np.exp([0.3, 1.2, -2.0]).sum()
    assert probability([[0.3, 1.2, -2.0]]) == pytest.approx(shares[1], abs=1e-12)
    assert probability([[0.3, 1.2, -2.0]], positive=(0, 2)) == pytest.approx(shares[0] + shares[2], abs=1e-12)
    assert probability([[1.5]], gives="logit") == pytest.approx(1 / (1 + np.exp(-1.5)), abs=1e-12)
    assert probability(1.5, gives="logit") == probability([[1.5]], gives="logit")
    assert probability([[9.0, -1.0]], gives="logit", positive=(1,)) == pytest.approx(1 / (1 + np.e), abs=1e-12)
    assert probability([[0.25, 0.75]], gives="probabilities") == 0.75
    assert probability([0.25, 0.25, 0.5], gives="probabilities", positive=(1, 2)) == 0.75
    assert probability([[0.4]], gives="probability") == 0.4
    assert probability([[[[0.4]]]], gives="probability") == 0.4  # axes of length 1 behind
    assert probability([[-800.0]], gives="logit") == pytest.approx(0, abs=1e-300)
    assert probability([[1000.0, -1000.0]]) == 0


@pytest.mark.parametrize(
    ("numbers", "settings", "says"),
    [
        ([[0.2, 0.8]], {"positive": (2,)}, r"gives 2 number\(s\), and output\.positive is \[2\]"),
        ([[0.2]], {"positive": (0,)}, r'one number, and output\.gives is .logits.\. Say output\.gives = "logit"'),
        ([[0.2, 0.9]], {"gives": "probabilities"}, r"add to 1\.1, and output\.gives is 'probabilities'"),
        ([[-0.2, 1.2]], {"gives": "probabilities"}, r"no probabilities.*output\.gives = 'logits'\?"),
        ([[1.7]], {"gives": "probability"}, r"gives 1\.7, which are no probabilities.*output\.gives = 'logit'\?"),
        ([[0.1, 0.9], [0.1, 0.9]], {}, r"gives numbers of the shape \[2, 2\] for one input"),
    ],
)
def test_numbers_that_contradict_the_declaration_stop_the_study(numbers: Any, settings: Any, says: str) -> None:
    with pytest.raises(BadStudy, match=says):
        probability(numbers, **settings)


def test_a_number_that_is_none_is_the_scan_s_affair() -> None:
    with pytest.raises(BadScan, match="A: s: Net gives nan, 1 for it"):
        probability([[np.nan, 1.0]])


def test_windows_are_summed_up_as_declared() -> None:
    assert scan_probability([0.1, 0.7, 0.4], OutputSettings()) == 0.7
    assert scan_probability([0.1, 0.7, 0.4], OutputSettings(windows="mean")) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"positive": (1, 1)}, r"output\.positive: is \[1, 1\]"),
        ({"positive": (-1,)}, r"output\.positive: is \[-1\]"),
        ({"gives": "logit", "positive": (0, 1)}, r"output\.positive: is \[0, 1\].*do not exclude each other"),
    ],
)
def test_what_cannot_be_is_named(given: Any, says: str) -> None:
    with pytest.raises(BadStudy, match=says):
        OutputSettings(**given)
