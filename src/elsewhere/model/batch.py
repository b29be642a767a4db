"""Several scans and a network in, the windows' COVID probabilities out: small networks take them side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elsewhere.memory import LARGEST_SMALL
from elsewhere.model.network import Network
from elsewhere.model.prediction import (
    PredictionSettings,
    fused,
    predict,
    predict_both,
    predict_from,
    probabilities,
    trunk_of,
)
from elsewhere.model.sample import Case, Read, SampleSettings, evaluation_input, evaluation_windows

TOGETHER = 8
"""Inputs in one batch: torch convolves one small volume at a time several times slower, more than 8 no quicker."""


def side_by_side(network: Network) -> int:
    """How many scans are worth predicting together: TOGETHER, or 1 where inputs are large."""
    return TOGETHER if prod(network.settings.input) <= LARGEST_SMALL else 1


def predict_many(
    network: Network, scans: Sequence[tuple[Case, Read]], settings: SampleSettings, stride: int
) -> list[NDArray[np.float64]]:
    """What `predict` gives for each scan, up to rounding in the last digits of float32.

    Args:
        network: in evaluation mode, on any device.
        scans: each with the function that reads its stored slices.
        settings: how stored voxels become inputs.
        stride: slices from one window to the next.

    Raises:
        BadScan: a probability is not a number.
    """
    if side_by_side(network) == 1:
        return [predict(network, case, read, settings, stride) for case, read in scans]
    assert not network.training
    with torch.inference_mode():
        logits = [[network.head(w) for w in windows] for windows in _features(network, scans, settings, stride)]
    return [probabilities(torch.cat(windows), case) for (case, _), windows in zip(scans, logits, strict=True)]


def predict_highest(
    network: Network, cases: Sequence[Case], read: Read, settings: SampleSettings, stride: int
) -> Iterator[list[float]]:
    """Highest probability over the windows of each scan, without dropout, some scans at a time.

    Args:
        network: in evaluation mode, on any device.
        cases: the scans, in the order of the answers.
        read: gives their stored slices.
        settings: how stored voxels become inputs.
        stride: slices from one window to the next.

    Raises:
        BadScan: a probability is not a number.
    """
    together = 4 * side_by_side(network)
    for first in range(0, len(cases), together):
        group = [(case, read) for case in cases[first : first + together]]
        yield [float(windows.max()) for windows in predict_many(network, group, settings, stride)]


def predict_spread(
    network: Network,
    scans: Sequence[tuple[Case, Read]],
    settings: SampleSettings,
    prediction: PredictionSettings,
    *,
    seed: int = 0,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """What `predict_both` gives for each scan, up to rounding in the last digits of float32.

    Raises:
        BadScan: a probability is not a number.
    """
    if side_by_side(network) == 1 or network.settings.dropblock > 0 or fused(network):
        return [predict_both(network, case, read, settings, prediction, seed=seed) for case, read in scans]
    with torch.inference_mode():
        features = _features(network.eval(), scans, settings, prediction.stride)
    return [
        predict_from(network, case, windows, prediction, seed=seed)
        for (case, _), windows in zip(scans, features, strict=True)
    ]


def _features(
    network: Network, scans: Sequence[tuple[Case, Read]], settings: SampleSettings, stride: int
) -> list[list[Tensor]]:
    """The trunk's features, (1, flat), of every window of every scan."""
    slices, device = network.settings.input[0], network.last.weight.device
    windows = [(i, start) for i, (case, _) in enumerate(scans) for start in _starts(case, slices, stride)]
    found: list[list[Tensor]] = [[] for _ in scans]
    for first in range(0, len(windows), TOGETHER):
        group = windows[first : first + TOGETHER]
        inputs = np.stack([evaluation_input(*scans[i], start, settings, slices) for i, start in group])
        features = trunk_of(network, torch.from_numpy(inputs)[:, None].to(device))
        for (i, _), window in zip(group, features.split(1), strict=True):
            found[i].append(window)
    return found


def _starts(case: Case, slices: int, stride: int) -> tuple[int, ...]:
    return evaluation_windows(case.slices, slices, stride)
