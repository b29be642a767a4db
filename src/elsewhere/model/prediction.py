"""COVID probabilities of a scan, per window and per dropout pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elsewhere.errors import BadScan
from elsewhere.model.cuda import carry_out
from elsewhere.model.fast_prediction import TrunkPasses, fast_error, predict_trunk, predict_windows, streams
from elsewhere.model.level1_prediction import Window
from elsewhere.model.network import Network, seed_torch
from elsewhere.model.sample import (
    Case,
    Plan,
    Read,
    apply_plan,
    choose_grey,
    evaluation_plan,
    evaluation_windows,
    padding_value,
    read_planned,
    seed_of,
)
from elsewhere.model.settings import WINDOW_STRIDE, PredictionSettings, SampleSettings

POSITIVE = 1  # the output that is COVID


VOXELS_TOGETHER = 1 << 21
"""Windows of small networks go through together: torch convolves a single small volume several times slower."""

PAPER, FIFTY = SampleSettings(), PredictionSettings()


def predict(
    network: Network,
    case: Case,
    read: Read,
    settings: SampleSettings = PAPER,
    stride: int = WINDOW_STRIDE,
    *,
    fast: bool = False,
) -> NDArray[np.float64]:
    """COVID probability of each window of a scan, without dropout; the scan's is their maximum.

    Args:
        network: on any device; its mode is left as it was.
        case: the scan.
        read: gives its stored slices; one window's at a time, or the whole scan where its windows share work.
        settings: how stored voxels become inputs.
        stride: slices from one window to the next.
        fast: see `PredictionSettings`.

    Raises:
        BadScan: a probability is not a number.
    """
    with _mode(network, training=False):
        features = _all_features(network, case, read, settings, _starts(network, case, stride), fast=fast)
        return probabilities(torch.cat([network.head(window) for window in features]), case)


def predict_passes(
    network: Network,
    case: Case,
    read: Read,
    settings: SampleSettings = PAPER,
    prediction: PredictionSettings = FIFTY,
    *,
    seed: int = 0,
) -> NDArray[np.float64]:
    """COVID probability of a scan in each pass with Dropout and DropBlock active, shape (passes,).

    Monte Carlo dropout (Gal and Ghahramani, ICML 2016; protocol page, "Evaluation"): the maximum over windows inside
    each pass. A pass is a function of (seed, scan, pass): fewer passes are the first of many. Without DropBlock the
    convolutional part is not random, and is computed once per window.

    Raises:
        BadScan: a probability is not a number.
    """
    if network.settings.dropblock == 0:
        return predict_both(network, case, read, settings, prediction, seed=seed)[1]
    starts = _starts(network, case, prediction.stride)
    trunks = (_random_trunk(network, case, read, settings, start, fast=prediction.fast) for start in starts)
    return _passes(network, case, zip(starts, trunks, strict=True), prediction.passes, seed)


def predict_both(
    network: Network,
    case: Case,
    read: Read,
    settings: SampleSettings = PAPER,
    prediction: PredictionSettings = FIFTY,
    *,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What `predict` and `predict_passes` give, the convolutional part computed once where it is not random."""
    if prediction.passes == 0:
        return predict(network, case, read, settings, prediction.stride, fast=prediction.fast), np.empty(0)
    if network.settings.dropblock > 0:
        single = predict(network, case, read, settings, prediction.stride, fast=prediction.fast)
        return single, predict_passes(network, case, read, settings, prediction, seed=seed)
    with _mode(network, training=False):
        starts = _starts(network, case, prediction.stride)
        features = _all_features(network, case, read, settings, starts, fast=prediction.fast)
    return predict_from(network, case, features, prediction, seed=seed)


def predict_from(
    network: Network, case: Case, features: Sequence[Tensor], prediction: PredictionSettings, *, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What `predict_both` gives of a network without DropBlock, from the trunk's features of each window, (1, flat)."""
    with _mode(network, training=False):
        single = probabilities(torch.cat([network.head(window) for window in features]), case)
    starts = _starts(network, case, prediction.stride)
    trunks = [(start, partial(_same, window)) for start, window in zip(starts, features, strict=True)]
    return single, _passes(network, case, trunks, prediction.passes, seed)


def _passes(
    network: Network, case: Case, trunks: Iterable[tuple[int, Callable[[], Tensor]]], passes: int, seed: int
) -> NDArray[np.float64]:
    """Highest probability over windows in each pass; `trunks` gives each window's start and its features anew."""
    device = network.last.weight.device
    highest = np.zeros(passes)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), _mode(network, training=True):
        for start, trunk in trunks:
            for number in range(passes):
                seed_torch(seed_of(seed, case.site, case.scan, start, number), device)
                highest[number] = max(highest[number], probabilities(network.head(trunk()), case)[0])
    return highest


def _same(features: Tensor) -> Tensor:
    return features


def extract_features(
    network: Network,
    case: Case,
    read: Read,
    settings: SampleSettings = PAPER,
    stride: int = WINDOW_STRIDE,
) -> NDArray[np.float32]:
    """What the last layer sees of a scan: the features, (last dense width,), of its most COVID-like window."""
    with _mode(network, training=False):
        starts = _starts(network, case, stride)
        windows = [network.penultimate(found) for found in _all_features(network, case, read, settings, starts)]
        chosen = int(probabilities(network.last(torch.cat(windows)), case).argmax())
        features: NDArray[np.float32] = windows[chosen][0].float().cpu().numpy()
    return features


def trunk_features(
    network: Network,
    case: Case,
    read: Read,
    settings: SampleSettings = PAPER,
    stride: int = WINDOW_STRIDE,
) -> Tensor:
    """Features of every window of a scan, (windows, flat), as they leave the convolutional part without dropout."""
    with _mode(network, training=False):
        return torch.cat(_all_features(network, case, read, settings, _starts(network, case, stride)))


def measure_fast_error(network: Network, case: Case, read: Read, settings: SampleSettings = PAPER) -> float:
    """Largest change of a logit that the fast mode makes on a scan's first window; 0 where it changes nothing."""
    if not fused(network):
        return 0.0
    with _mode(network, training=False):
        return fast_error(network, window_at(network, case, read, settings, 0))


class _mode:  # noqa: N801 - a context manager, used like a function
    """Switch dropout on or off and gradients off, and put things back."""

    def __init__(self, network: Network, *, training: bool) -> None:
        self.network, self.before, self.inference = network, network.training, torch.inference_mode()
        self.training = training

    def __enter__(self) -> None:
        self.network.train(self.training)
        self.inference.__enter__()

    def __exit__(self, *error: object) -> None:
        self.inference.__exit__(*error)
        self.network.train(self.before)


def _starts(network: Network, case: Case, stride: int) -> tuple[int, ...]:
    return evaluation_windows(case.slices, network.settings.input[0], stride)


def _inputs(network: Network, case: Case, read: Read, settings: SampleSettings, start: int) -> Tensor:
    slices = network.settings.input[0]
    plan = evaluation_plan(case, start, slices)
    voxels, device = read_planned(read, case, plan), network.last.weight.device
    if device.type != "cpu":  # stored voxels are half as many bytes to copy
        there = torch.from_numpy(voxels).to(device)
        return carry_out(there, plan, settings, (case.minimum, case.maximum), slices)[None, None]
    inputs = apply_plan(voxels, plan, settings, (case.minimum, case.maximum), slices)
    return torch.from_numpy(inputs)[None, None]


def _all_features(
    network: Network, case: Case, read: Read, settings: SampleSettings, starts: Sequence[int], *, fast: bool = False
) -> list[Tensor]:
    """The trunk's features of every window without dropout; windows of a long scan share their first level."""
    if len(starts) > 1 and settings.extrema == "volume" and fused(network):
        scan = _window(network, case, read, settings, evaluation_plan(case, 0, case.slices))
        return predict_windows(network, scan, starts, network.settings.input[0], fast=fast)
    if fused(network):
        windows = (window_at(network, case, read, settings, start) for start in starts)
        return [predict_trunk(network, window, fast=fast) for window in windows]
    together = max(1, VOXELS_TOGETHER // prod(network.settings.input))
    groups = [starts[i : i + together] for i in range(0, len(starts), together)]
    batches = (torch.cat([_inputs(network, case, read, settings, start) for start in group]) for group in groups)
    return [window for batch in batches for window in trunk_of(network, batch).split(1)]


def trunk_of(network: Network, batch: Tensor) -> Tensor:
    """The trunk's features; one small volume is taken twice on a CPU, where torch convolves it four times slower."""
    if len(batch) == 1 and batch.device.type == "cpu" and batch.numel() <= VOXELS_TOGETHER:
        return network.trunk(batch.expand(2, -1, -1, -1, -1))[:1]
    return network.trunk(batch)


def _random_trunk(
    network: Network, case: Case, read: Read, settings: SampleSettings, start: int, *, fast: bool
) -> Callable[[], Tensor]:
    """A function that gives one window's features anew with DropBlock; what is not random is computed once."""
    if fused(network):
        return TrunkPasses(network, window_at(network, case, read, settings, start), fast=fast)
    return partial(network.trunk, _inputs(network, case, read, settings, start))


def fused(network: Network) -> bool:
    """Whether the trunk goes through the fast path of large networks on the processor."""
    return network.last.weight.device.type == "cpu" and streams(network.settings)


def window_at(network: Network, case: Case, read: Read, settings: SampleSettings, start: int) -> Window:
    """The stored slices of one window of a scan and how they become intensities, for the fused levels."""
    return _window(network, case, read, settings, evaluation_plan(case, start, network.settings.input[0]))


def _window(network: Network, case: Case, read: Read, settings: SampleSettings, plan: Plan) -> Window:
    """A plan's stored slices and how they become intensities, for the fused levels."""
    slices = max(network.settings.input[0], plan.count)
    voxels = read_planned(read, case, plan)
    volume = settings.extrema == "volume"
    extrema = (case.minimum, case.maximum) if volume else (int(voxels.min()), int(voxels.max()))
    grey = choose_grey(plan, settings, extrema, padded=plan.count < slices)
    clip = {"low": 0.0, "high": 1.0} if grey.clip else {}
    return Window(voxels, -plan.top, slices, grey.lower, grey.factor, padding=padding_value(settings, grey), **clip)


def probabilities(logits: Tensor, case: Case) -> NDArray[np.float64]:
    """COVID probabilities of logits (windows, classes), in float64 so that they saturate late.

    Raises:
        BadScan: one is not a number.
    """
    probabilities: NDArray[np.float64] = logits.double().softmax(1)[:, POSITIVE].cpu().numpy()
    if not np.isfinite(probabilities).all():
        raise BadScan(
            f"{case.site}: {case.scan}",
            "the network's probability for it is not a number",
            "Look at the scan's voxels and at the training's curves: the weights or the input are not finite",
        )
    return probabilities
