"""A level in training, held or streamed: gradients against float64 autograd, the same draws, bytes and fallbacks."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from elsewhere.model import fast_training as under_test
from elsewhere.model import training_kernel
from elsewhere.model.dropblock import draw_blocks
from elsewhere.model.dropped_blocks import Blocks
from elsewhere.model.fast_training import Trained, takes
from elsewhere.model.network import Network, NetworkSettings
from elsewhere.model.sample import Case
from elsewhere.model.training import SampleSettings, TrainingSettings, train

PAPER = NetworkSettings(
    input=(16, 16, 16), filters=(8, 8), kernels=((3, 3, 3), (3, 5, 5)), pools=((4, 4, 4),), dense=(64,), dense_groups=4
)
DEMO = NetworkSettings(
    input=(8, 32, 32),
    filters=(8, 16, 16),
    kernels=((3, 3, 3),) * 3,
    pools=((2, 2, 2), (1, 2, 1)),
    dense=(64,),
    groups=4,
    dense_groups=4,
    dropblock=0.0,
    dropout=0.0,
)
ODD = NetworkSettings(
    input=(14, 9, 22),
    filters=(16, 8),
    kernels=((3, 3, 3), (1, 3, 3)),
    pools=((2, 3, 2),),
    dense=(64,),
    dense_groups=4,
    dropblock=0.4,
)
FLAT = NetworkSettings(
    input=(1, 16, 24), filters=(8, 8), kernels=((3, 3, 3),) * 2, pools=((2, 2, 4),), dense=(64,), dense_groups=4
)
NETWORKS = {"paper": PAPER, "demo": DEMO, "odd": ODD, "flat": FLAT}

needs_kernel = pytest.mark.skipif(
    training_kernel.library() is None, reason="elsewhere was installed without a C++ compiler"
)


@pytest.fixture(autouse=True)
def one_thread():
    """Small maps: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_kernel(monkeypatch):
    monkeypatch.setattr(training_kernel, "library", lambda: None)


@pytest.fixture
def stream(monkeypatch):
    """Every first level counts as too large to be held."""
    monkeypatch.setattr(under_test, "LARGE", 1)


def make_network(settings: NetworkSettings) -> Network:
    torch.manual_seed(4)
    network = Network(settings).train()
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):  # trained scales have both signs, and shifts
            nn.init.normal_(module.weight, 1.0, 0.7)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return network


def draw_inputs(settings: NetworkSettings, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 1, *settings.input, generator=torch.Generator().manual_seed(6))


def results(module: nn.Module, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits, gradients by parameter, and the next random number after a step."""
    module.zero_grad()
    torch.manual_seed(8)
    logits = module(inputs)
    logits.square().sum().backward()
    gradients = {name.removeprefix("network."): one.grad for name, one in module.named_parameters()}
    return {"logits": logits.detach(), **gradients, "next random number": torch.rand(1)}


def error(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], part: str = "") -> float:
    """Largest distance, as a share of what is expected, of any gradient of the network's `part`."""
    names = [name for name in expected if name.startswith(part) and name != "next random number"]
    assert names
    return max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in names)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("large", [1, 1 << 60], ids=["streamed", "held"])
def test_in_float64_gradients_are_autograds(monkeypatch, name, large):
    monkeypatch.setattr(under_test, "LARGE", large)
    network, inputs = make_network(NETWORKS[name]).double(), draw_inputs(NETWORKS[name]).double()
    expected = results(network, inputs)
    monkeypatch.setattr(Trained, "forward", through_all_levels)
    found = results(Trained(network), inputs)
    assert error(found, expected) < 1e-11
    assert found["next random number"] == expected["next random number"]


def through_all_levels(trained: Trained, maps: torch.Tensor) -> torch.Tensor:
    """`Trained.forward`, with every level of 3×3×3 convolutions through `run`, whether that pays or not."""
    network = trained.network
    for index, kernel in enumerate(network.settings.kernels):
        way = under_test.run if kernel == (3, 3, 3) else under_test._plainly
        maps = way(network, index, maps)
    return network.head(maps.flatten(1))


@needs_kernel
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("large", "lanes"), [(1, "16"), (1 << 60, "16"), (1 << 60, "8"), (1 << 60, "4")])
def test_the_kernels_gradients_are_no_worse_than_the_plain_ones(monkeypatch, name, lanes, large):
    monkeypatch.setenv("ELSEWHERE_LANES", lanes)
    monkeypatch.setattr(under_test, "LARGE", large)
    monkeypatch.setattr(Trained, "forward", through_all_levels)
    network, inputs = make_network(NETWORKS[name]), draw_inputs(NETWORKS[name])
    truth = results(copy.deepcopy(network).double(), inputs.double())
    plain, found = results(network, inputs), results(Trained(network), inputs)
    assert found["next random number"] == plain["next random number"]
    assert error(found, truth) < max(2 * error(plain, truth), 1e-5)


@needs_kernel
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("large", [1, 1 << 60], ids=["streamed", "held"])
def test_the_same_bytes_for_any_number_of_threads(monkeypatch, name, large):
    monkeypatch.setattr(under_test, "LARGE", large)
    network, inputs = make_network(NETWORKS[name]), draw_inputs(NETWORKS[name])

    def step(threads: int) -> list[torch.Tensor]:
        torch.set_num_threads(threads)
        torch.manual_seed(8)
        pooled = under_test.run(network, 0, inputs)
        toward = torch.linspace(-1, 1, pooled.numel()).view_as(pooled)
        return [pooled.detach(), *torch.autograd.grad((pooled * toward).sum(), network.levels[0].parameters())]

    assert all(torch.equal(a, b) for a, b in zip(step(1), step(3), strict=True))


@pytest.mark.usefixtures("without_kernel", "stream")
def test_without_the_kernel_a_large_level_is_streamed_all_the_same():
    network, inputs = make_network(PAPER), draw_inputs(PAPER)
    assert takes(network, 0, inputs)
    assert error(results(Trained(network), inputs), results(network, inputs)) < 1e-4


@pytest.mark.usefixtures("without_kernel")
def test_without_the_kernel_a_small_network_is_the_plain_one():
    network, inputs = make_network(PAPER), draw_inputs(PAPER)
    assert not takes(network, 0, inputs)
    plain, found = results(network, inputs), results(Trained(network), inputs)
    assert all(torch.equal(plain[name], found[name]) for name in plain)


@needs_kernel
def test_it_takes_what_it_can_and_leaves_the_rest():
    network, inputs = make_network(PAPER), draw_inputs(PAPER)
    assert takes(network, 0, inputs)
    assert not takes(network, 1, torch.rand(1, 8, 4, 4, 16))  # 3×5×5
    assert not takes(network, 0, inputs.double())
    assert not takes(network, 0, inputs.to("meta"))
    assert not takes(make_network(DEMO), 2, torch.rand(1, 16, 4, 8, 8))  # narrow
    with torch.autocast("cpu"):
        assert not takes(network, 0, inputs)


@pytest.mark.parametrize("filters", [(4, 8), (8, 4), (12, 16)])
def test_filters_that_are_not_in_blocks_of_eight_train_like_the_plain_network(filters):
    settings = dataclasses.replace(DEMO, filters=(*filters, 16), groups=4)
    network, inputs = make_network(settings), draw_inputs(settings)
    assert not (takes(network, 0, inputs) and takes(network, 1, torch.rand(2, filters[0], 4, 16, 16)))
    expected = results(network, inputs)
    assert error(results(Trained(network), inputs), expected) < 1e-3


@pytest.mark.usefixtures("stream")
def test_a_streamed_level_keeps_no_map_between_forward_and_back(monkeypatch):
    kept = []
    monkeypatch.setattr(
        under_test, "_Pass", lambda *given, real=under_test._Pass: kept.append(real(*given)) or kept[-1]
    )
    network, inputs = make_network(PAPER), draw_inputs(PAPER, batch=1)
    under_test.run(network, 0, inputs)
    values = math.prod(PAPER.input) * PAPER.filters[0]
    (given,) = kept
    tensors = [one for one in vars(given).values() if isinstance(one, torch.Tensor)]
    assert not given._memory
    assert 0 < sum(one.numel() for one in tensors) < values / 16


@needs_kernel
@pytest.mark.parametrize("large", [1, 1 << 60], ids=["streamed", "held"])
def test_not_a_number_is_passed_on(monkeypatch, large):
    monkeypatch.setattr(under_test, "LARGE", large)
    network, inputs = make_network(PAPER), draw_inputs(PAPER)
    inputs[1, 0, 5, 5, 5] = math.nan
    logits = Trained(network)(inputs)
    assert logits[0].isfinite().all()
    assert logits[1].isnan().all()


@needs_kernel
def test_a_second_way_back_is_refused():
    network, inputs = make_network(PAPER), draw_inputs(PAPER)
    loss = under_test.run(network, 0, inputs).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


@pytest.mark.parametrize("shape", [(8, 6, 16, 20), (3, 1, 4, 9), (2, 5, 5, 5)])
@pytest.mark.parametrize("share", [0.02, 0.9])
def test_blocks_are_those_of_dropblock(shape, share):
    torch.manual_seed(2)
    expected = draw_blocks(shape, share, 5)
    torch.manual_seed(2)
    blocks = Blocks.draw(shape, share, 5)
    assert torch.equal(blocks.mask(0, shape[1]), expected)
    assert torch.equal(blocks.mask(shape[1] // 2, shape[1]), expected[:, shape[1] // 2 :])
    assert blocks.count() == int(expected.sum())
    if training_kernel.library() is not None:
        assert training_kernel.count(blocks) == int(expected.sum())


@needs_kernel
@pytest.mark.parametrize("large", [1, 1 << 60], ids=["streamed", "held"])
def test_where_nothing_is_kept_nothing_is_left(monkeypatch, large):
    monkeypatch.setattr(under_test, "LARGE", large)
    settings = NetworkSettings(**{**vars(PAPER), "input": (4, 4, 16), "dropblock": 0.999, "block": 4})
    network, inputs = make_network(settings), draw_inputs(settings)
    torch.manual_seed(3)
    expected = network.level1(inputs)
    torch.manual_seed(3)
    found = under_test.run(network, 0, inputs)
    assert (expected == 0).any()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


CASES = [Case("ab"[i % 2], f"p{i}", f"s{i}", i // 2 % 2, 16, 0, 200) for i in range(8)]


def run_training(folder, progress=None) -> bytes:
    def read(case: Case, start: int, stop: int):
        rng = np.random.default_rng(int(case.scan[1:]))
        return (rng.integers(0, 100, (16, 16, 16)) + 100 * case.label).astype(np.int16)[start:stop]

    settings = TrainingSettings(
        iterations=3, batch=2, validate_every=3, save_every=1, threads=1, accelerator="cpu", tensorboard=False
    )
    train(PAPER, SampleSettings(turn=False), settings, CASES[:4], CASES[4:], read, folder, {}, progress)
    return (folder / "state" / "current.safetensors").read_bytes()


@pytest.mark.usefixtures("stream")
def test_a_resumed_training_through_it_ends_with_the_same_bytes(tmp_path):
    class KilledError(BaseException):
        pass

    def kill(done, total, text):
        if done == 1:
            raise KilledError

    whole = run_training(tmp_path / "whole")
    with pytest.raises(KilledError):
        run_training(tmp_path / "killed", kill)
    assert run_training(tmp_path / "killed") == whole
