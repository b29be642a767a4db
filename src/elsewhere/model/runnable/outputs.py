"""The numbers that a declared network gives in, a probability of being positive out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.declared import OutputSettings

SUM_TO_ONE = 1e-3
"""How far probabilities of classes that exclude each other may be from adding to 1 (half precision rounds so far)."""

Floats = NDArray[np.float64]


def probability_of(numbers: NDArray[np.floating], settings: OutputSettings, model: str, scan: str) -> float:
    """The probability that one input is positive.

    Args:
        numbers: what the network gave for a batch of one, (1, classes), (classes,), (1,) or a single number; axes of
            length 1 behind do not count.
        settings: what they are.
        model: name of the model, for messages.
        scan: site and scan, for messages.

    Raises:
        BadStudy: the network gives other numbers than its declaration says: as many, or of another kind.
        BadScan: a number is not finite.
    """
    values = np.asarray(numbers, np.float64)
    if values.size != max(values.shape, default=1):
        what = f"gives numbers of the shape {list(values.shape)} for one input"
        raise BadStudy(f"model {model}", what, "It must give one number, or one for each class: export that alone")
    values = values.reshape(-1)
    if not np.isfinite(values).all():
        raise BadScan(scan, f"{model} gives {_shown(values)} for it", "Look at the scan's voxels, and at its input")
    if max(settings.positive) >= values.size:
        what = f"gives {values.size} number(s), and output.positive is {list(settings.positive)}"
        raise BadStudy(f"model {model}", what, "Places count from 0; correct `output.positive`")
    if settings.exclusive and values.size == 1:
        then = 'Say output.gives = "logit" or "probability"'
        raise BadStudy(f"model {model}", f"gives one number, and output.gives is {settings.gives!r}", then)
    if settings.gives == "logits":
        shifted = np.exp(values - values.max())
        return float(shifted[list(settings.positive)].sum() / shifted.sum())
    if settings.gives == "logit":
        return float(1 / (1 + np.exp(-np.clip(values[settings.positive[0]], -700, 700))))
    _check_probabilities(values, settings, model)
    return float(min(1.0, values[list(settings.positive)].sum()))


def scan_probability(windows: Sequence[float], settings: OutputSettings) -> float:
    """The scan's probability of those of its windows (at least one)."""
    return float(np.mean(windows) if settings.windows == "mean" else np.max(windows))


def _check_probabilities(values: Floats, settings: OutputSettings, model: str) -> None:
    chosen = values if settings.exclusive else values[list(settings.positive)]
    then = f"Say what they are: output.gives = {'logits' if settings.exclusive else 'logit'!r}?"
    if chosen.min() < 0 or chosen.max() > 1 + SUM_TO_ONE:
        what = f"gives {_shown(values)}, which are no probabilities, and output.gives is {settings.gives!r}"
        raise BadStudy(f"model {model}", what, then)
    if settings.exclusive and abs(values.sum() - 1) > SUM_TO_ONE:
        what = f"gives {_shown(values)}, which add to {values.sum():.4g}, and output.gives is {settings.gives!r}"
        raise BadStudy(f"model {model}", what, f'{then[:-1]}, or "probability" for findings that do not exclude?')


def _shown(values: Floats) -> str:
    return ", ".join(f"{value:.4g}" for value in values[:6]) + (", …" if values.size > 6 else "")
