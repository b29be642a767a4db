"""Prediction against the plain way, window by window; dropout passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.fast_prediction import streams
from elsewhere.model.kernels.library import lanes, library
from elsewhere.model.network import Network, NetworkSettings
from elsewhere.model.prediction import (
    PredictionSettings,
    extract_features,
    measure_fast_error,
    predict,
    predict_both,
    predict_passes,
)
from elsewhere.model.sample import Case, SampleSettings, evaluation_input, evaluation_windows

PLAIN = NetworkSettings(
    input=(8, 16, 16), filters=(8, 16), kernels=((3, 3, 3),) * 2, pools=((2, 2, 2),), dense=(256, 128), dense_groups=16
)
FUSED = replace(PLAIN, pools=((4, 4, 4),))  # level 1 as the paper's: takes the streamed way
SETTINGS = {
    "paper": SampleSettings(),
    "window": SampleSettings(normalisation="window"),
    "literal zero": SampleSettings(padding="literal_zero"),
    "window extrema": SampleSettings(extrema="window"),
    "literal zero in a window": SampleSettings(normalisation="window", padding="literal_zero"),
}


def make_network(settings: NetworkSettings = PLAIN) -> Network:
    torch.manual_seed(1)
    return Network(settings).eval()


def make_scan(slices: int, dtype: str = "int16"):
    low, high = (0, 256) if dtype == "uint8" else (-1000, 2000)
    voxels = np.random.default_rng(slices).integers(low, high, (slices, 16, 16)).astype(dtype)
    voxels[: slices // 2] //= 2  # so that windows differ in their extrema
    case = Case("utsw", "p1", f"s{slices}", 1, slices, int(voxels.min()), int(voxels.max()))
    return case, lambda _, start, stop: voxels[start:stop]


def plainly(network, case, read, settings, starts):
    """One input after the other through the plain module in float64."""
    exact = Network(network.settings).double().eval()
    exact.load_state_dict(network.state_dict())
    with torch.inference_mode():
        inputs = [torch.from_numpy(evaluation_input(case, read, s, settings, 8))[None, None].double() for s in starts]
        return np.array([exact(x).softmax(1)[0, 1].item() for x in inputs])


@pytest.mark.parametrize("dtype", ["int16", "uint8"])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("architecture", [PLAIN, FUSED], ids=["plain", "fused"])
def test_windows_equal_the_plain_way(architecture, name, dtype):
    network = make_network(architecture)
    for slices, starts in ((5, [0]), (8, [0]), (14, [0, 4, 6])):
        case, read = make_scan(slices, dtype)
        expected = plainly(network, case, read, SETTINGS[name], starts)
        np.testing.assert_allclose(predict(network, case, read, SETTINGS[name], 4), expected, rtol=0, atol=1e-5)


def test_never_more_than_a_window_is_read():
    case, read = make_scan(30)
    asked = []

    def watched(case, start, stop):
        asked.append(stop - start)
        return read(case, start, stop)

    predict(make_network(), case, watched, stride=8)
    assert asked == [8] * 4


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_random_state_are_left_as_they_were(training):
    network, state = make_network().train(training), torch.get_rng_state()
    case, read = make_scan(9)
    predict(network, case, read)
    predict_passes(network, case, read, prediction=PredictionSettings(2, 8))
    assert network.training is training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_passes_are_a_function_of_seed_scan_and_pass(share):
    network = make_network(replace(PLAIN, dropblock=share))
    (case, read), (other, read_other) = make_scan(12), make_scan(13)
    first = predict_passes(network, case, read, prediction=PredictionSettings(5, 4), seed=1)
    predict_passes(network, other, read_other, prediction=PredictionSettings(3, 4), seed=1)
    again = predict_passes(network, case, read, prediction=PredictionSettings(3, 4), seed=1)
    np.testing.assert_array_equal(first[:3], again)
    assert len(set(first)) == 5
    assert first[0] != predict_passes(network, case, read, prediction=PredictionSettings(1, 4), seed=2)[0]


def test_a_fixed_trunk_gives_the_passes_of_the_whole_network():
    """Without DropBlock only the head is random: the same numbers as running everything again."""
    network = make_network(replace(PLAIN, dropblock=0.0))
    case, read = make_scan(8)
    quick = predict_passes(network, case, read, prediction=PredictionSettings(40), seed=3)
    inputs = torch.from_numpy(evaluation_input(case, read, 0, slices=8))[None, None]
    network.train()
    torch.manual_seed(0)
    with torch.inference_mode():
        slow = np.array([network(inputs).double().softmax(1)[0, 1].item() for _ in range(400)])
    assert abs(quick.mean() - slow.mean()) < 5 * slow.std() / np.sqrt(40)
    assert 0.5 < quick.std() / slow.std() < 2


def test_a_pass_is_the_maximum_over_its_windows():
    network = make_network()
    case, read = make_scan(16)
    _, first_read = make_scan(16)
    short = replace(case, slices=8)
    both = predict_passes(network, case, read, prediction=PredictionSettings(20, 8), seed=0)
    first = predict_passes(network, short, first_read, prediction=PredictionSettings(20, 8), seed=0)
    assert (both >= first).all()
    assert (both > first).any()
    assert (both == first).any()


def test_dropblock_is_active_in_the_passes():
    without = replace(PLAIN, dropout=0.0)
    case, read = make_scan(8)
    passes = predict_passes(make_network(without), case, read, prediction=PredictionSettings(4))
    assert len(set(passes)) == 4
    neither = make_network(replace(without, dropblock=0.0))
    silent = predict_passes(neither, case, read, prediction=PredictionSettings(4))
    assert set(silent) == set(predict(neither, case, read))


def test_features_are_those_of_the_most_covid_like_window():
    network = make_network()
    case, read = make_scan(16)
    probabilities = predict(network, case, read, stride=4)
    features = extract_features(network, case, read, stride=4)
    assert features.shape == (128,)
    with torch.inference_mode():
        again = network.last(torch.from_numpy(features)[None]).double().softmax(1)[0, 1].item()
    assert again == pytest.approx(probabilities.max(), abs=1e-7)


@pytest.mark.parametrize("way", [predict, predict_passes, extract_features])
def test_not_a_number_is_refused(way):
    network = make_network()
    nn.init.constant_(network.last.bias, torch.nan)
    case, read = make_scan(8)
    with pytest.raises(BadScan, match="utsw: s8: the network's probability for it is not a number"):
        way(network, case, read)


@pytest.mark.parametrize(("name", "value"), [("passes", -1), ("stride", 0)])
def test_settings_are_checked(name, value):
    with pytest.raises(BadStudy, match=rf"prediction\.{name}: is {value}"):
        PredictionSettings(**{name: value})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_predicts_the_processors_values():
    network, (case, read) = make_network(FUSED), make_scan(14)
    expected = predict(network, case, read, stride=4)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        np.testing.assert_allclose(predict(network.cuda(), case, read, stride=4), expected, atol=1e-4)
        assert len(predict_passes(network, case, read, prediction=PredictionSettings(2))) == 2


@pytest.mark.parametrize("normalisation", ["paper", "window"])
@pytest.mark.parametrize("stride", [4, 3])
def test_windows_that_share_their_first_level_equal_the_plain_network(normalisation: str, stride: int) -> None:
    network = make_network(replace(FUSED, input=(8, 64, 64)))
    assert streams(network.settings)
    voxels = np.random.default_rng(0).integers(-1000, 600, (21, 64, 64)).astype(np.int16)
    case = Case("A", "p", "s", 1, 21, int(voxels.min()), int(voxels.max()))
    settings = SampleSettings(normalisation=normalisation)  # type: ignore[arg-type]
    found = predict(network, case, lambda _, start, stop: voxels[start:stop], settings, stride)
    starts = evaluation_windows(21, 8, stride)
    inputs = [evaluation_input(case, lambda _, a, b: voxels[a:b], start, settings, 8) for start in starts]
    with torch.inference_mode():
        plain = network(torch.from_numpy(np.stack(inputs))[:, None]).double().softmax(1)[:, 1].numpy()
    assert len(found) == len(starts) > 3
    assert np.abs(found - plain).max() < 1e-5


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_both_at_once_equals_one_after_the_other(share: float) -> None:
    network = make_network(replace(PLAIN, dropblock=share, dropout=0.3))
    voxels = np.random.default_rng(0).integers(-1000, 600, (13, 16, 16)).astype(np.int16)
    case = Case("A", "p", "s", 1, 13, int(voxels.min()), int(voxels.max()))
    settings = PredictionSettings(passes=4, stride=3)
    scan = (network, case, lambda _, start, stop: voxels[start:stop], SampleSettings())
    single, passes = predict_both(*scan, settings, seed=5)
    assert (single == predict(*scan, 3)).all()
    assert (passes == predict_passes(*scan, settings, seed=5)).all()
    assert len(set(passes)) > 1


def test_seeding_leaves_nothing_behind() -> None:
    before = len(torch.cuda._queued_calls)
    network = make_network()
    voxels = np.zeros((8, 16, 16), np.int16)
    case = Case("A", "p", "s", 1, 8, 0, 0)
    predict_passes(network, case, lambda _, start, stop: voxels[start:stop], prediction=PredictionSettings(passes=5))
    assert len(torch.cuda._queued_calls) - before <= 1


@pytest.mark.skipif(library() is None, reason="elsewhere was installed without a C++ compiler")
def test_the_fast_mode_reaches_windows_and_passes_and_its_error_is_measured():
    deep = replace(
        FUSED,
        input=(24, 64, 128),
        filters=(8, 16, 8),
        kernels=((3, 3, 3), (5, 5, 5), (1, 3, 3)),
        pools=((4, 4, 4), (2, 4, 4)),
        groups=8,
        dropblock=0.0,
    )
    network, voxels = make_network(deep), np.random.default_rng(0).integers(0, 999, (40, 64, 128)).astype(np.int16)
    case = Case("utsw", "p", "s", 1, 40, 0, 998)

    def read(_, start, stop):
        return voxels[start:stop]

    exact, fast = (predict(network, case, read, stride=8, fast=mode) for mode in (False, True))
    error = measure_fast_error(network, case, read)
    assert (error > 0) == (lanes(fast=True) == 32) == bool((exact != fast).any())
    np.testing.assert_allclose(fast, exact, rtol=0, atol=0.1)
    both = predict_both(network, case, read, prediction=PredictionSettings(2, 8, fast=True), seed=1)
    np.testing.assert_array_equal(both[0], fast)
    assert measure_fast_error(make_network(PLAIN), *make_scan(9)) == 0
