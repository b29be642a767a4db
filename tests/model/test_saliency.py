"""A small network and a scan in; its evidence lies where arithmetic says, its share in a mask is right by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from elsewhere.model.network import Network, NetworkSettings, max_pool
from elsewhere.model.prediction import extract_features, predict
from elsewhere.model.saliency import Saliency, find_saliencies, find_saliency, map_level
from elsewhere.model.sample import Case, SampleSettings, evaluation_input

SMALL = NetworkSettings(
    input=(8, 32, 32), filters=(2, 4, 4), kernels=((3, 3, 3),) * 3, pools=((2, 2, 2), (2, 2, 2)), dense=(8,),
    groups=1, dense_groups=1, dropblock=0.0, dropout=0.0,
)  # fmt: skip
STREAMED = NetworkSettings(
    input=(8, 32, 32), filters=(8, 8), kernels=((3, 3, 3),) * 2, pools=((4, 4, 4),), dense=(8,), groups=8,
    dense_groups=1, dropblock=0.0, dropout=0.0,
)  # fmt: skip
SAMPLE = SampleSettings()


def network(settings: NetworkSettings, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(settings).eval()


def scan(slices: int = 20) -> tuple[Case, NDArray[np.int16]]:
    voxels = np.random.default_rng(slices).integers(-1000, 800, (slices, 32, 32)).astype(np.int16)
    return Case("A", "p", "s", 1, slices, int(voxels.min()), int(voxels.max())), voxels


def find(settings: NetworkSettings, slices: int, level: int | None = None) -> Saliency:
    case, voxels = scan(slices)
    return find_saliency(network(settings), case, lambda _, a, b: voxels[a:b], SAMPLE, 4, level=level)


@pytest.mark.parametrize("settings", [SMALL, STREAMED], ids=["plain", "streamed"])
@pytest.mark.parametrize("slices", [5, 8, 20])
def test_probability_and_features_are_those_of_prediction(settings: NetworkSettings, slices: int) -> None:
    case, voxels = scan(slices)
    net, found = network(settings), find(settings, slices)

    def read(_: Case, start: int, stop: int) -> NDArray[np.int16]:
        return voxels[start:stop]

    assert found.probability == pytest.approx(predict(net, case, read, SAMPLE, 4).max(), abs=1e-5)
    np.testing.assert_allclose(found.features, extract_features(net, case, read, SAMPLE, 4), atol=1e-4)
    assert (found.length, found.count) == (8, min(slices, 8))
    assert found.top == (8 - found.count) // 2


@pytest.mark.parametrize("settings", [SMALL, STREAMED], ids=["plain", "streamed"])
def test_several_scans_side_by_side_are_as_one_by_one(settings: NetworkSettings) -> None:
    net, lengths = network(settings), (20, 5, 8, 27, 8, 31)
    scans = [(case, partial(cut, voxels)) for case, voxels in map(scan, lengths)]
    for together, (case, read) in zip(find_saliencies(net, scans, SAMPLE, 4), scans, strict=True):
        alone = find_saliency(net, case, read, SAMPLE, 4)
        assert together.probability == pytest.approx(alone.probability, abs=1e-5)
        np.testing.assert_allclose(together.features, alone.features, atol=1e-4)
        np.testing.assert_allclose(together.cells, alone.cells, rtol=1e-4, atol=1e-5)
        assert (together.start, together.count, together.top) == (alone.start, alone.count, alone.top)
    assert find_saliencies(net, [], SAMPLE, 4) == []


def cut(voxels: NDArray[np.int16], _: Case, start: int, stop: int) -> NDArray[np.int16]:
    return voxels[start:stop]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_cells_are_the_gradient_times_the_maps(level: int) -> None:
    """By the chain rule written out, through hooks on the whole network."""
    case, voxels = scan(8)
    net = network(SMALL)
    kept: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, __: object, maps: torch.Tensor) -> None:
        maps.retain_grad()
        kept.append(maps)

    handle = net.levels[level].register_forward_hook(keep)
    logits = net(torch.from_numpy(evaluation_input(case, lambda _, a, b: voxels[a:b], 0, SAMPLE, 8))[None, None])[0]
    handle.remove()
    (logits[1] - logits[0]).backward()
    assert kept[0].grad is not None
    expected = (kept[0] * kept[0].grad).sum(1)[0].clamp_min(0).detach().numpy()
    np.testing.assert_allclose(find(SMALL, 8, level).cells, expected, atol=1e-6)


def test_nothing_is_left_behind_in_the_network() -> None:
    case, voxels = scan(8)
    net = network(SMALL)
    find_saliency(net, case, lambda _, a, b: voxels[a:b], SAMPLE, 4)
    assert all(p.grad is None for p in net.parameters())
    assert not net.training


def test_the_map_is_as_deep_as_it_can_be_with_eight_rows() -> None:
    assert map_level(network(SMALL)) == 2
    assert find(SMALL, 8).cells.shape == (2, 8, 8)
    assert map_level(Network()) == 3  # the paper's: 8 x 8 x 8
    assert map_level(network(STREAMED)) == 1
    tiny = NetworkSettings(
        input=(2, 4, 4), filters=(2,), kernels=((3, 3, 3),), pools=(), dense=(4,), groups=1, dense_groups=1
    )
    assert map_level(network(tiny)) == 0


def test_share_inside_by_hand() -> None:
    """Two slices of 2 x 2 cells over 4 x 4 x 4 voxels: one cell whole, one half in the mask; a padding slice above."""
    cells = np.zeros((2, 2, 2), np.float32)
    cells[0, 0, 0], cells[1, 1, 1], cells[1, 0, 1] = 3, 2, 5
    mask = np.zeros((5, 4, 4), bool)
    mask[2, :2, :2] = True  # first slice of the window: with the padding above it half of cell (0, 0, 0)
    mask[3:5, 2:, 2:] = True  # all of cell (1, 1, 1)
    found = Saliency(0.5, np.zeros(1, np.float32), cells, start=2, count=3, top=1, length=4)
    inside, expected = found.share_inside(mask)
    assert inside == pytest.approx((3 * 0.5 + 2) / 10)
    assert expected == pytest.approx((4 + 8) / 64)
    assert found.share_inside(~np.zeros_like(mask))[1] == pytest.approx(0.75)


def test_no_evidence_has_no_place() -> None:
    found = Saliency(0.1, np.zeros(1, np.float32), np.zeros((1, 2, 2), np.float32), 0, 2, 0, 2)
    assert found.share_inside(np.ones((2, 4, 4), bool)) == (None, 1.0)


def test_max_pooling_keeps_the_maps_when_a_gradient_is_taken() -> None:
    maps = torch.rand(1, 2, 4, 4, 4, requires_grad=True)
    max_pool(maps, (2, 2, 2)).sum().backward()
    assert maps.grad is not None
    assert float(maps.grad.sum()) == 16
