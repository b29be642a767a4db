"""The card's path on the processor: inputs to the bit, the first level and its gradients as the plain module's."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elsewhere.errors import BadCheckpoint
from elsewhere.model import cuda
from elsewhere.model.cuda import carry_out, compiled, finish, fuse
from elsewhere.model.dropblock import _positions_unasked
from elsewhere.model.network import Network, NetworkSettings
from elsewhere.model.sample import Case, SampleSettings, apply_plan, draw_plan

SMALL = NetworkSettings(
    input=(8, 16, 16),
    filters=(8, 8),
    kernels=((3, 3, 3), (3, 3, 3)),
    pools=((4, 4, 4),),
    dense=(8,),
    groups=4,
    dense_groups=2,
    block=3,
)
CUDA = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.fixture(params=["cpu", CUDA])
def place(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


SETTINGS = [
    SampleSettings(),
    SampleSettings(padding="literal_zero"),
    SampleSettings(extrema="window"),
    SampleSettings(normalisation="window", intensity=(0.8, 1.2)),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
@pytest.mark.parametrize("slices", [5, 11])
def test_a_plan_gives_the_same_bytes_there(
    place: torch.device, settings: SampleSettings, dtype: type, slices: int
) -> None:
    random = np.random.default_rng(slices)
    low, high = (-2000, 3000) if dtype is np.int16 else (0, 256)
    voxels = random.integers(low, high, (slices, 12, 12)).astype(dtype)
    voxels[0, 0, :2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    extrema = int(voxels.min()), int(voxels.max())
    case = Case("A", "p", "s", 1, slices, *extrema)
    for draw in range(24):
        plan = draw_plan(np.random.default_rng([3, draw]), case, settings, 8)
        taken = voxels[plan.start : plan.start + plan.count]
        expected = apply_plan(taken, plan, settings, extrema, 8)
        found = carry_out(torch.from_numpy(taken).to(place), plan, settings, extrema, 8).cpu().numpy()
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected), plan


def make_network(**changes: Any) -> Network:
    torch.manual_seed(1)
    network = Network(replace(SMALL, **changes))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # scales of both signs
    return network


def run(network: Network, inputs: Tensor) -> list[Tensor]:
    """Pooled maps, and the gradients of all that the first level holds."""
    torch.manual_seed(2)
    maps = network.level1(inputs)
    network.zero_grad()
    (maps * torch.arange(maps.numel(), dtype=maps.dtype).view(maps.shape).sin()).sum().backward()
    gradients = [p.grad for p in network.levels[0].parameters()]
    return [maps.detach(), *(g for g in gradients if g is not None)]


@pytest.mark.parametrize("changes", [{}, {"dropblock": 0.0}, {"groups": 8}, {"pools": ((1, 4, 4),)}])
@pytest.mark.parametrize("training", [True, False])
def test_the_first_level_is_the_plain_one_with_its_gradients(changes: dict[str, Any], training: bool) -> None:
    plain = make_network(**changes).double().train(training)
    fused = copy.deepcopy(plain)
    fuse(fused)
    inputs = torch.rand(2, 1, *SMALL.input, dtype=torch.float64)
    expected, found = run(plain, inputs), run(fused, inputs)
    assert len(found) == len(expected) == 9
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_fused_network_predicts_what_the_plain_one_does() -> None:
    network = make_network().eval()
    inputs = torch.rand(2, 1, *SMALL.input)
    with torch.inference_mode():
        expected = network(inputs)
        fuse(network)
        torch.testing.assert_close(network(inputs), expected, rtol=0, atol=1e-5)


def test_bfloat16_maps_stay_bfloat16_with_wide_statistics() -> None:
    torch.manual_seed(0)
    maps, affine = torch.randn(2, 8, 4, 8, 8) + 30, (torch.randn(8), torch.randn(8))  # bfloat16 has steps of 0.1 there
    maps = maps.bfloat16().float()
    expected = finish(maps, affine, None, groups=4, eps=1e-5, pool=None)
    found = finish(maps.bfloat16(), affine, None, groups=4, eps=1e-5, pool=None)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


def test_wrong_inputs_are_refused_in_the_network_s_words() -> None:
    network = make_network()
    fuse(network)
    with pytest.raises(BadCheckpoint, match="this network takes"):
        network(torch.rand(1, 1, 8, 8, 8))


def test_the_function_is_one_graph_that_can_be_compiled() -> None:
    """What torch.compile needs, tried without a code generator: no break in the graph, the same values."""
    torch.manual_seed(0)
    captured = torch.compile(finish, backend="aot_eager", fullgraph=True, dynamic=False)
    maps = torch.randn(1, 8, 4, 8, 8)
    affine, dropped = (torch.randn(8), torch.randn(8)), torch.rand(maps.shape) < 0.1
    results = []
    for through in (finish, captured):
        leaf = maps.clone().requires_grad_()
        out = through(leaf, affine, dropped, groups=8, eps=1e-5, pool=(2, 2, 2))
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1])


def test_the_processor_has_nothing_to_compile() -> None:
    assert compiled(torch.device("cpu")) is finish


def test_a_card_without_a_compiler_falls_back_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no C compiler\nand a long story")

    monkeypatch.setattr(cuda, "_try", refuse)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old card")
    compiled.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert compiled(torch.device("cuda")) is finish
        assert compiled(torch.device("cuda")) is finish
    compiled.cache_clear()
    (record,) = caplog.records
    assert record.getMessage().startswith("torch.compile does not work on Old card (RuntimeError: no C compiler)")


def test_corners_drawn_without_a_question_are_a_bernoulli_process() -> None:
    torch.manual_seed(0)
    trials, chance, repeats = 5000, 0.01, 400
    drawn = [_positions_unasked(trials, chance, None) for _ in range(repeats)]
    assert all(int(d.max()) == trials and int(d.min()) >= 0 for d in drawn)
    inside = torch.cat([d[d < trials] for d in drawn])
    assert all(len(d[d < trials].unique()) == len(d[d < trials]) for d in drawn)
    expected = trials * chance * repeats
    assert abs(len(inside) - expected) < 4 * expected**0.5
    quarters = torch.histc(inside.double(), 4, 0, trials)
    assert (quarters - expected / 4).abs().max() < 4 * (expected / 4) ** 0.5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("ignore")  # torch's remarks on its own parts
@pytest.mark.parametrize("pool", [None, (2, 2, 2)])
def test_compiled_values_and_gradients_are_the_function_s(pool: tuple[int, int, int] | None) -> None:
    card = torch.device("cuda")
    assert compiled(card) is not finish, "torch.compile does not work here"
    torch.manual_seed(0)
    maps = torch.randn(2, 8, 8, 16, 16, device=card)
    affine = torch.randn(8, device=card), torch.randn(8, device=card)
    dropped = torch.rand(maps.shape, device=card) < 0.1
    results = []
    for through in (finish, compiled(card)):
        leaf = maps.clone().requires_grad_()
        out = through(leaf, affine, dropped, groups=8, eps=1e-5, pool=pool)
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)
