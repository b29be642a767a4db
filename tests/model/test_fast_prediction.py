"""Fused prediction against the plain network in float64: every instruction set, dtype, edge and fallback."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from elsewhere.model import fast_prediction, level1_prediction, level1_streamed, level2_prediction
from elsewhere.model.dropblock import draw_blocks
from elsewhere.model.kernels.library import library
from elsewhere.model.level1_prediction import Window
from elsewhere.model.network import Network, NetworkSettings, max_pool

SMALL = NetworkSettings(
    input=(16, 32, 64), filters=(8, 16), kernels=((3, 3, 3), (3, 5, 5)), pools=((4, 4, 4),), dense=(64,), dense_groups=4
)
DEEP = NetworkSettings(
    input=(24, 64, 128),
    filters=(8, 16, 8),
    kernels=((3, 3, 3), (5, 5, 5), (1, 3, 3)),
    pools=((4, 4, 4), (2, 4, 4)),
    dense=(64,),
    dense_groups=4,
)

NEAR, FLOOR = 10, 2e-6
"""How many times torch's own error against float64 ours may be, and the share of the largest value it counts as."""

needs_kernel = pytest.mark.skipif(
    not fast_prediction.available(), reason="elsewhere was installed without a C++ compiler"
)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(5)
    return signed(Network(SMALL))


def signed(network: Network) -> Network:
    """Trained scales have both signs, and shifts."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, 0.7)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return network.eval()


def draw_window(dtype: str = "int16", slices: int = 16, columns: int = 64, **fields: float) -> Window:
    rng = np.random.default_rng(3)
    stored = rng.integers(0, 250, (slices, 32, columns)).astype(dtype)
    return Window(stored, **{"start": 0, "length": 16, "zero": 5.0, "unit": 1 / 250, **fields})  # type: ignore[arg-type]


def plain(network: Network, window: Window, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """The slow obvious way."""
    exact = copy.deepcopy(network).to(dtype)
    x = window.normalise(0, window.length, dtype)[None, None]
    with torch.inference_mode():
        return {"level1": exact.level1(x), "logits": exact(x)}


def assert_near(found: torch.Tensor, network: Network, window: Window, what: str = "logits") -> None:
    """As near to float64 as torch's own layers in float32, but for a factor: no compiler's rounding decides it."""
    exact = plain(network, window)[what]
    theirs = float((plain(network, window, torch.float32)[what] - exact).abs().max())
    ours = float((found - exact).abs().max())
    assert ours <= NEAR * max(theirs, FLOOR * float(exact.abs().max())), (ours, theirs)


@needs_kernel
@pytest.mark.parametrize("lanes", ["16", "8", "4"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_every_instruction_set_and_stored_type_gives_the_plain_logits(network, monkeypatch, lanes, dtype):
    monkeypatch.setenv("ELSEWHERE_LANES", lanes)
    window = draw_window(dtype)
    assert_near(fast_prediction.predict_level1(network, window), network, window, "level1")
    assert_near(fast_prediction.predict_logits(network, window), network, window)


def train_briefly(network: Network, steps: int) -> Network:
    """Weights that a training has moved: a darker block tells positive from negative."""
    rng, optimiser = np.random.default_rng(0), torch.optim.AdamW(network.parameters(), 1e-3)
    network.train()
    for _ in range(steps):
        x = torch.from_numpy(rng.random((2, 1, *network.settings.input), np.float32))
        x[1, :, 4:8, 8:20, 8:20] *= 0.5
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), torch.tensor([0, 1])).backward()
        optimiser.step()
    return network.eval()


@needs_kernel
@pytest.mark.parametrize("settings", [SMALL, DEEP], ids=["two levels", "three levels"])
@pytest.mark.parametrize("steps", [0, 10], ids=["random", "trained"])
@pytest.mark.parametrize("seed", range(4))
def test_logits_are_as_near_to_float64_as_torchs_but_for_a_factor(settings, steps, seed):
    torch.manual_seed(seed)
    network = signed(Network(settings))
    if steps:
        network = train_briefly(network, steps)
    voxels = np.random.default_rng(seed).integers(0, 250, settings.input).astype(np.int16)
    window = Window(voxels, 0, settings.input[0], zero=5.0, unit=1 / 250)
    assert_near(fast_prediction.predict_logits(network, window), network, window)


WINDOWS = {
    "a run inside a longer scan": {"slices": 40, "start": 11},
    "padding above and below": {"slices": 5, "start": -6},
    "padding that is not zero": {"slices": 9, "start": -3, "padding": 0.3},
    "clipped values": {"low": 0.1, "high": 0.7},
}


@needs_kernel
@pytest.mark.parametrize("fields", WINDOWS.values(), ids=WINDOWS.keys())
def test_windows_are_cut_padded_and_clipped_as_the_plain_way_does(network, fields):
    window = draw_window(**fields)
    assert_near(fast_prediction.predict_level1(network, window), network, window, "level1")


@pytest.mark.parametrize("fields", WINDOWS.values(), ids=WINDOWS.keys())
def test_the_streamed_way_equals_the_plain_one_to_rounding_in_float64(network, fields):
    window = draw_window(**fields)
    result = level1_streamed.level1(fast_prediction.read_level1(network), window, torch.float64)
    torch.testing.assert_close(result[None], plain(network, window)["level1"], atol=1e-12, rtol=0)


def test_normalise_cuts_pads_and_clips():
    stored = np.array([[[0]], [[10]], [[20]], [[30]]], np.int16)
    window = Window(stored, start=2, length=4, zero=10, unit=0.1, high=1.5, padding=7.0)
    assert window.normalise(-1, 5).flatten().tolist() == [0, 1, 1.5, 7, 7, 0]
    assert Window(stored, start=-1, length=3, padding=7.0).normalise(0, 3).flatten().tolist() == [7, 0, 10]


@needs_kernel
def test_any_number_of_threads_gives_the_same_bytes(network):
    window = draw_window(slices=30)
    one, *others = (
        level1_prediction.level1(fast_prediction.read_level1(network), window, threads=n).tobytes()
        for n in (1, 2, 3, 7)
    )
    assert all(other == one for other in others)


def test_without_the_kernel_the_result_is_the_same_and_the_log_says_so_once(network, monkeypatch, caplog):
    monkeypatch.setattr("importlib.machinery.EXTENSION_SUFFIXES", [])
    library.cache_clear()
    try:
        window = draw_window()
        with caplog.at_level(logging.WARNING):
            logits = [fast_prediction.predict_logits(network, window) for _ in range(2)]
    finally:
        library.cache_clear()
    assert sum("Install a compiler" in record.message for record in caplog.records) == 1
    assert_near(logits[1], network, window)


def test_columns_that_fill_no_whole_vector_go_through_torch_operations():
    torch.manual_seed(1)
    network = Network(NetworkSettings(input=(16, 32, 40), filters=(8, 8), kernels=((3, 3, 3),) * 2, pools=((4, 4, 4),)))
    window = draw_window(columns=40)
    assert not level1_prediction.fits(window)
    assert_near(fast_prediction.predict_logits(network.eval(), window), network, window)


@pytest.mark.parametrize(
    "other", [{"filters": (4, 16), "groups": 4}, {"kernels": ((1, 3, 3), (3, 3, 3))}, {"pools": ((2, 4, 4),)}]
)
def test_another_first_level_is_left_to_the_plain_module(other):
    settings = NetworkSettings(**{**vars(SMALL), **other})
    torch.manual_seed(1)
    network, window = Network(settings).eval(), draw_window()
    assert not fast_prediction.streams(settings)
    assert_near(fast_prediction.predict_logits(network, window), network, window)


SCANS = {
    "the protocol's: a stride, and one that ends at the last slice": [0, 8, 16, 24, 28],
    "an end that is no whole pool away": [0, 8, 16, 21],
    "more than one call takes, apart, and out of order": [40, *range(0, 36, 4), 64],
}


@needs_kernel
@pytest.mark.parametrize("lanes", ["16", "8", "4"])
@pytest.mark.parametrize("starts", SCANS.values(), ids=SCANS.keys())
def test_overlapping_windows_equal_the_plain_network_on_each(monkeypatch, lanes, starts):
    monkeypatch.setenv("ELSEWHERE_LANES", lanes)
    torch.manual_seed(5)
    network = signed(Network(NetworkSettings(**{**vars(SMALL), "input": (24, 32, 64)})))
    scan = draw_window(slices=90, start=1)
    scan.voxels[40:] //= 3  # windows differ in their statistics
    features = fast_prediction.predict_windows(network, scan, starts, 24)
    for start, found in zip(starts, features, strict=True):
        with torch.inference_mode():
            assert_near(network.head(found), network, replace(scan, start=1 + start, length=24))


def test_windows_share_a_call_when_they_overlap_by_whole_pools():
    assert fast_prediction.share([0, 32, 64, 96, 128, 160, 172], 128) == [[0, 1, 2, 3, 4, 5, 6]]
    assert fast_prediction.share([0, 32, 64, 73], 128) == [[0, 1, 2], [3]]
    assert fast_prediction.share([0, 128, 160], 128) == [[0], [1, 2]]
    assert fast_prediction.share(range(0, 40, 4), 16) == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]]


@needs_kernel
@pytest.mark.parametrize("lanes", ["16", "8", "4"])
@pytest.mark.parametrize(("settings", "share"), [(SMALL, 0.1), (SMALL, 0.9), (DEEP, 0.1)])
def test_a_pass_with_dropblock_equals_the_plain_pass_of_the_same_seed(monkeypatch, lanes, settings, share):
    monkeypatch.setenv("ELSEWHERE_LANES", lanes)
    torch.manual_seed(5)
    network = signed(Network(NetworkSettings(**{**vars(settings), "dropblock": share}))).train()
    slices, rows, columns = settings.input
    voxels = np.random.default_rng(3).integers(0, 250, (slices - 2, rows, columns)).astype(np.int16)
    window = Window(voxels, -1, slices, zero=5.0, unit=1 / 250)
    passes = fast_prediction.TrunkPasses(network, window)
    exact = copy.deepcopy(network).double()
    x = window.normalise(0, slices, torch.float64)[None, None]
    results = []
    for seed in range(3):
        torch.manual_seed(seed)
        results.append(passes().double())
        torch.manual_seed(seed)
        with torch.inference_mode():
            expected = exact.trunk(x)
        # a misplaced block changes features by 0.1 and more; norms over few voxels spread rounding further than usual
        torch.testing.assert_close(results[-1], expected, atol=2e-4, rtol=0)
    assert not torch.equal(results[0], results[1])


def test_passes_without_the_kernel_are_the_plain_network(network, monkeypatch):
    monkeypatch.setattr(fast_prediction, "available", lambda: False)
    window = draw_window()
    with torch.inference_mode():
        torch.testing.assert_close(
            fast_prediction.TrunkPasses(network, window)(), network.trunk(window.normalise(0, 16)[None, None])
        )


@needs_kernel
def test_blocks_cover_what_the_plain_map_covers():
    shape = (8, 6, 16, 32)
    torch.manual_seed(2)
    dropped = draw_blocks(shape, 0.3, 5)
    torch.manual_seed(2)
    assert fast_prediction._draw_drops(shape, 0.3, 5).count(shape) == int(dropped.sum()) > 0


@needs_kernel
def test_the_fast_mode_is_near_and_says_how_near(monkeypatch):
    torch.manual_seed(6)
    network = signed(Network(DEEP))
    voxels = np.random.default_rng(0).integers(0, 250, (24, 64, 128)).astype(np.int16)
    window = Window(voxels, 0, 24, unit=1 / 250)
    exact, fast = (fast_prediction.predict_logits(network, window, fast=mode) for mode in (False, True))
    error = fast_prediction.fast_error(network, window)
    assert error == float((exact - fast).abs().max()) < 0.3
    assert (error > 0) == (level1_prediction.lanes(fast=True) == 32)
    monkeypatch.setenv("ELSEWHERE_LANES", "8")  # a processor without bfloat16
    assert fast_prediction.fast_error(network, window) == 0


def test_not_a_number_is_not_swallowed(network):
    window = draw_window("float32")
    window.voxels[3, 4, 5] = np.nan
    assert fast_prediction.predict_logits(network, window).isnan().all()


@needs_kernel
@pytest.mark.parametrize("lanes", ["16", "8", "4"])
def test_the_second_level_equals_the_plain_one(monkeypatch, lanes):
    monkeypatch.setenv("ELSEWHERE_LANES", lanes)
    torch.manual_seed(6)
    network = signed(Network(DEEP))
    maps = torch.randn(1, 8, 6, 16, 32)
    assert level2_prediction.fits(DEEP)
    with torch.inference_mode():
        exact, usual = (
            max_pool(made.levels[1](maps.to(made.last.weight.dtype)), (2, 4, 4))
            for made in (copy.deepcopy(network).double(), network)
        )
        ours, theirs = (rms(found - exact) for found in (level2_prediction.level2(network, maps[0].numpy()), usual))
        assert ours < 2 * theirs < 1e-4
        torch.testing.assert_close(fast_prediction._rest(network, maps), network.rest(maps), atol=1e-4, rtol=0)


def rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


@needs_kernel
def test_the_second_level_gives_the_same_bytes_for_any_number_of_threads():
    network, maps = signed(Network(DEEP)), np.random.default_rng(0).random((8, 6, 16, 32), np.float32)
    before, results = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.add(level2_prediction.level2(network, maps).numpy().tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(results) == 1


@pytest.mark.parametrize("other", [{"pools": ((4, 4, 4), (2, 2, 4))}, {"input": (24, 64, 32)}])
def test_another_second_level_is_left_to_torch(other):
    settings = NetworkSettings(**{**vars(DEEP), **other})
    assert not level2_prediction.fits(settings)
    torch.manual_seed(1)
    network = Network(settings).eval()
    window = Window(np.zeros((24, *settings.input[1:]), np.int16) + np.arange(settings.input[2], dtype=np.int16), 0, 24)
    assert_near(fast_prediction.predict_logits(network, window), network, window)
