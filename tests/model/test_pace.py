"""The time of an iteration is measured, and told in words."""

from __future__ import annotations

import pytest

from elsewhere.model.network import NetworkSettings
from elsewhere.model.pace import in_words, seconds_per_iteration
from elsewhere.model.recipe import TrainingSettings

TINY = NetworkSettings((4, 16, 16), (2, 4), ((3, 3, 3),) * 2, ((2, 4, 4),), (8,), 1, 1)


def test_an_iteration_takes_time() -> None:
    assert 0 < seconds_per_iteration(TINY, TrainingSettings(batch=2, accelerator="cpu"), steps=2) < 60


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (59, "less than a minute"),
        (60, "about 1 minute"),
        (5_399, "about 90 minutes"),
        (5_400, "about 2 hours"),
        (25_000, "about 7 hours"),
        (400_000, "about 5 days"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
