"""The network against an independent reading of protocol.md in plain numpy; DropBlock; the checkpoint."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.model.dropblock import DropBlock, draw_blocks
from elsewhere.model.network import (
    Network,
    NetworkSettings,
    amend_checkpoint,
    load_checkpoint,
    max_pool,
    network_settings,
    save_checkpoint,
    versions,
)

SMALL = NetworkSettings(
    input=(8, 16, 24),
    filters=(8, 16, 32),
    kernels=((3, 3, 3), (3, 5, 5), (3, 3, 3)),
    pools=((2, 2, 2), (2, 2, 3)),
    dense=(1024, 512),
)


def mutate(rng: np.random.Generator, content: bytes) -> bytes:
    """One byte changed, a few cut out, or a few put in, at a random place."""
    at, some = int(rng.integers(len(content))), rng.bytes(int(rng.integers(1, 5)))
    changed = bytes([content[at] ^ int(rng.integers(1, 256))])
    return [
        content[:at] + changed + content[at + 1 :],
        content[:at] + content[at + len(some) :],
        content[:at] + some + content[at:],
    ][int(rng.integers(3))]


def make_network(settings: NetworkSettings = SMALL) -> Network:
    """A network whose GroupNorm scales have both signs, as after training."""
    torch.manual_seed(3)
    network = Network(settings).eval()
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, 0.7)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return network


# ---- a second implementation: numpy, float64, loops, written from protocol.md alone ----


def plain_conv(x, weight, bias):
    """Same padding, stride 1; x (channels, s, r, c), weight (out, in, ks, kr, kc)."""
    margins = [(0, 0), *((k // 2, k // 2) for k in weight.shape[2:])]
    padded = np.pad(x, margins)
    out = np.zeros((len(weight), *x.shape[1:]))
    for o in range(len(weight)):
        out[o] = bias[o]
        for i in range(len(x)):
            for a, b, c in np.ndindex(weight.shape[2:]):
                window = padded[i, a : a + x.shape[1], b : b + x.shape[2], c : c + x.shape[3]]
                out[o] += weight[o, i, a, b, c] * window
    return out


def plain_group_norm(x, groups, weight, bias):
    out = np.empty_like(x)
    wide = len(x) // groups
    for g in range(groups):
        part = x[g * wide : (g + 1) * wide]
        normal = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
        for j in range(wide):
            out[g * wide + j] = normal[j] * weight[g * wide + j] + bias[g * wide + j]
    return out


def plain_pool(x, pool):
    channels, s, r, c = x.shape
    a, b, d = pool
    out = np.empty((channels, s // a, r // b, c // d))
    for index in np.ndindex(out.shape):
        k, i, j, m = index
        out[index] = x[k, i * a : i * a + a, j * b : j * b + b, m * d : m * d + d].max()
    return out


def plain_forward(network: Network, x):
    """Levels of twice conv → ReLU → GroupNorm, max pooling between, dense layers → ReLU → GroupNorm, one to classes.

    Weights are taken by their order in the network, not by name.
    """
    arrays = [p.detach().numpy().astype(np.float64) for p in network.parameters()]
    convs = iter([a for a in arrays if a.ndim == 5])
    matrices = iter([a for a in arrays if a.ndim == 2])
    by_module = [m for m in network.modules() if isinstance(m, nn.Conv3d | nn.Linear | nn.GroupNorm)]
    vectors = {id(m): m.bias.detach().numpy().astype(np.float64) for m in by_module}
    conv_modules = [m for m in by_module if isinstance(m, nn.Conv3d)]
    linear_modules = [m for m in by_module if isinstance(m, nn.Linear)]
    norm_modules = iter([m for m in by_module if isinstance(m, nn.GroupNorm)])
    settings = network.settings
    for level in range(len(settings.filters)):
        for _ in range(2):
            x = np.maximum(plain_conv(x, next(convs), vectors[id(conv_modules.pop(0))]), 0)
            norm = next(norm_modules)
            x = plain_group_norm(x, 8, norm.weight.detach().numpy().astype(np.float64), vectors[id(norm)])
        if level < len(settings.pools):
            x = plain_pool(x, settings.pools[level])
    x = x.reshape(-1)
    for _ in settings.dense:
        x = np.maximum(next(matrices) @ x + vectors[id(linear_modules.pop(0))], 0)
        norm = next(norm_modules)
        x = plain_group_norm(x, 32, norm.weight.detach().numpy().astype(np.float64), vectors[id(norm)])
    return next(matrices) @ x + vectors[id(linear_modules.pop(0))]


@pytest.mark.parametrize("seed", [0, 1])
def test_network_equals_the_plain_reading(seed):
    network = make_network()
    inputs = torch.rand(2, 1, *SMALL.input, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        logits = network(inputs).numpy()
    expected = np.array([plain_forward(network, one.numpy().astype(np.float64)) for one in inputs])
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    with torch.inference_mode():
        exact = network.double()(inputs.double()).numpy()
    np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-12)


def test_parts_make_the_whole():
    network = make_network()
    inputs = torch.rand(2, 1, *SMALL.input)
    with torch.inference_mode():
        features = network.rest(network.level1(inputs))
        assert features.shape == (2, SMALL.flat)
        torch.testing.assert_close(network.head(features), network(inputs), rtol=0, atol=0)
        assert network.penultimate(network.trunk(inputs)).shape == (2, 512)


def test_gradients_equal_float64():
    network = make_network()
    exact = copy.deepcopy(network).double()
    inputs = torch.rand(1, 1, *SMALL.input)
    F.cross_entropy(network(inputs), torch.tensor([1])).backward()
    F.cross_entropy(exact(inputs.double()), torch.tensor([1])).backward()
    for one, other in zip(network.parameters(), exact.parameters(), strict=True):
        scale = other.grad.abs().max().item() + 1e-3
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=0, atol=2e-4 * scale)


def test_full_size_has_the_papers_parameters_and_shape():
    with torch.device("meta"):
        network = Network()
    assert sum(parameter.numel() for parameter in network.parameters()) == 12_839_658
    assert network.settings.map_sizes[-1] == (4, 4, 4)
    assert network.settings.flat == 8192


@pytest.mark.parametrize("size", [(1, 64, 64), (2, 64, 128), (128, 256, 256)])
def test_any_size_that_the_pools_divide(size):
    settings = NetworkSettings(input=size, pools=((2, 4, 4), (2, 4, 4), (2, 2, 2), (2, 2, 2)))
    with torch.device("meta"):
        assert Network(settings).eval()(torch.empty(1, 1, *size)).shape == (1, 2)


def test_one_slice_trains():
    settings = replace(SMALL, input=(1, 8, 12))
    F.cross_entropy(Network(settings)(torch.rand(1, 1, 1, 8, 12)), torch.tensor([0])).backward()
    assert settings.map_sizes[-1] == (1, 2, 2)


WRONG = {
    "pools": ({"input": (8, 10, 12)}, r"network\.pools: pool 2 divides rows by 2, but there are 5 of them"),
    "groups": ({"groups": 3}, r"network\.groups: 3 groups do not divide 8 of filters"),
    "dense_groups": (
        {"dense": (40,), "dense_groups": 32},
        r"network\.dense_groups: 32 groups do not divide 40 of dense",
    ),
    "kernels": (
        {"kernels": ((2, 3, 3),) * 3},
        r"network\.kernels: must have odd edges, so that a map keeps its size, is \(\(2, 3",
    ),
    "levels": ({"kernels": ((3, 3, 3),)}, "must hold one kernel for each of filters, is"),
    "few pools": ({"pools": ()}, "must hold one pool fewer than filters, is"),
    "share": ({"dropout": 1.0}, r"network\.dropout: must be in \[0, 1\), is 1\.0\. Correct it under \[network\]"),
    "no dense": ({"dense": ()}, r"network\.dense: must hold one number or more, all of them 1 or above, is \(\)"),
    "single": (
        {"input": (1, 4, 6), "filters": (8, 8, 8), "groups": 8},
        r"network\.groups: is 8, which leaves 1 in the smallest group of filters = \[8, 8, 8\].*Use fewer groups, or",
    ),
    "pairs": (
        {"dense": (64,), "dense_groups": 32},
        r"network\.dense_groups: is 32, which leaves 2 in the smallest group of dense = \[64\]",
    ),
    "three": ({"dense": (96, 24), "dense_groups": 8}, r"leaves 3 in the smallest group.*cannot learn"),
    "narrow": (
        {"dense": (64, 2), "dense_groups": 0},
        r"network\.dense_groups: is 1, which leaves 2 in .* \[64, 2\].*Widen dense",
    ),
    "no pool": ({"pools": ((2, 2, 2), (0, 2, 2))}, r"network\.pools: must hold numbers of 1 or more, is"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_cannot_be_built(name):
    changed, message = WRONG[name]
    with pytest.raises(BadStudy, match=message):
        replace(SMALL, **changed)


@pytest.mark.parametrize(
    ("changed", "groups", "dense_groups"),
    [
        ({}, 8, 32),
        ({"dense": (64,)}, 8, 16),
        ({"dense": (40,)}, 8, 10),
        ({"dense": (1024, 20)}, 8, 4),
        ({"dense": (7,)}, 8, 1),
        ({"filters": (6, 12, 24)}, 6, 32),
        ({"filters": (8, 8, 8), "input": (1, 4, 6)}, 2, 32),
    ],
)
def test_groups_are_chosen_so_that_a_network_can_learn(changed, groups, dense_groups):
    """The most, up to the paper's, that divide every width and leave four values or more."""
    settings = replace(SMALL, groups=0, dense_groups=0, **changed)
    assert (settings.groups, settings.dense_groups) == (groups, dense_groups)


def test_the_papers_groups_are_untouched():
    assert (NetworkSettings().groups, NetworkSettings().dense_groups) == (8, 32)
    assert replace(SMALL, dense=(64,), dense_groups=16).dense_groups == 16
    with pytest.raises(BadStudy):
        replace(SMALL, dense=(64,), dense_groups=32)


def test_group_norm_of_pairs_tells_nothing_but_their_order():
    """Why groups of two are refused: the same output for any two pairs that are ordered alike."""
    outputs = [nn.GroupNorm(2, 4)(torch.tensor([values])) for values in ([0.0, 1.0, 5.0, 3.0], [2.0, 9.0, 70.0, 1.0])]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-3)


def test_input_of_another_size_is_refused():
    with pytest.raises(BadCheckpoint, match=r"takes \(channel, slices, rows, columns\) = \(1, 8, 16, 24\)"):
        make_network()(torch.zeros(1, 1, 8, 8, 8))


@pytest.mark.parametrize("pool", [(2, 2, 2), (4, 4, 4), (2, 4, 4), (1, 3, 2)])
def test_quick_maxima_are_max_pooling(pool):
    maps = torch.randn(2, 3, 8, 12, 12, generator=torch.Generator().manual_seed(1)).relu()
    assert torch.equal(max_pool(maps, pool), F.max_pool3d(maps, pool))
    assert torch.equal(max_pool(maps.clone().requires_grad_(), pool), F.max_pool3d(maps, pool))


def test_pooling_leaves_an_axis_of_one_alone():
    assert max_pool(torch.randn(1, 2, 1, 8, 8), (2, 2, 2)).shape == (1, 2, 1, 4, 4)


# ---- DropBlock ----

TO_DROP = {"cube": (6, 12, 12, 12), "flat": (8, 1, 20, 20), "clipped": (400, 4, 4, 4), "thin": (40, 3, 5, 9)}


def expected_share(shape, share, size):
    """Share of voxels covered by at least one block, if every start is drawn on its own: from γ, voxel by voxel."""
    block = [min(size, edge) for edge in shape[1:]]
    valid = [edge - b + 1 for edge, b in zip(shape[1:], block, strict=True)]
    gamma = share / np.prod(block) * np.prod(shape[1:]) / np.prod(valid)
    covers = [
        [min(i, v - 1) - max(0, i - b + 1) + 1 for i in range(e)]
        for e, b, v in zip(shape[1:], block, valid, strict=True)
    ]
    starts = np.einsum("i,j,k->ijk", *covers)
    return 1 - np.mean((1 - gamma) ** starts)


@pytest.mark.parametrize("name", TO_DROP)
def test_dropped_share_is_that_of_the_article(name):
    shape = TO_DROP[name]
    torch.manual_seed(0)
    shares = np.array([draw_blocks(shape, 0.1, 5).double().mean().item() for _ in range(300)])
    error = shares.std() / np.sqrt(len(shares))
    assert abs(shares.mean() - expected_share(shape, 0.1, 5)) < 4 * error
    assert 0.08 < shares.mean() <= 0.1 + 4 * error


def test_every_start_is_equally_likely_and_independent_between_channels():
    torch.manual_seed(1)
    hits = np.zeros((3, 4, 4, 4))
    for _ in range(3000):
        hits += draw_blocks((3, 4, 4, 4), 0.2, 1).numpy()
    assert np.abs(hits / 3000 - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 3000)


def test_dropped_voxels_are_whole_blocks_inside_the_map():
    torch.manual_seed(2)
    for _ in range(200):
        for channel in draw_blocks((2, 8, 9, 10), 0.03, 3).numpy():
            covered = np.zeros_like(channel)
            for a, b, c in np.ndindex(6, 7, 8):
                if channel[a : a + 3, b : b + 3, c : c + 3].all():
                    covered[a : a + 3, b : b + 3, c : c + 3] = True
            np.testing.assert_array_equal(covered, channel)


def test_a_clipped_block_drops_whole_maps():
    torch.manual_seed(3)
    dropped = draw_blocks((500, 1, 3, 4), 0.3, 5).flatten(1)
    assert torch.equal(dropped.all(1), dropped.any(1))
    assert 0.2 < dropped[:, 0].float().mean() < 0.4


def test_what_is_kept_is_scaled_sample_by_sample():
    torch.manual_seed(4)
    maps = torch.ones(3, 8, 6, 12, 12)
    dropped = DropBlock(0.1, 5).train()(maps.clone())
    np.testing.assert_allclose(dropped.mean((1, 2, 3, 4)).numpy(), 1, atol=1e-5)
    kept = (dropped > 0).float().mean((1, 2, 3, 4))
    np.testing.assert_allclose(dropped.amax((1, 2, 3, 4)).numpy(), (1 / kept).numpy(), rtol=1e-5)
    assert len(set(kept.tolist())) == 3


def test_gradient_passes_where_values_do():
    torch.manual_seed(5)
    maps = torch.randn(2, 4, 6, 6, 6, requires_grad=True)
    out = DropBlock(0.3, 3).train()(maps * 1)
    out.backward(torch.ones_like(out))
    torch.testing.assert_close(maps.grad * maps, out)


def test_evaluation_drops_nothing():
    maps = torch.randn(1, 2, 4, 4, 4)
    assert DropBlock(0.5, 2).eval()(maps) is maps
    assert DropBlock(0.0, 2).train()(maps) is maps


def test_everything_dropped_is_zero_not_nan():
    torch.manual_seed(0)
    outs = [DropBlock(0.9, 5).train()(torch.ones(1, 1, 2, 2, 2)) for _ in range(20)]
    assert any(not out.any() for out in outs)
    assert all(out.isfinite().all() for out in outs)


# ---- checkpoint ----


@pytest.fixture
def stem(tmp_path):
    path = tmp_path / "model" / "checkpoint"
    save_checkpoint(path, make_network(), {"training_sites": ["utsw"], "split_hash": "abc"})
    return path


def test_checkpoint_gives_the_network_back(stem):
    network, record = load_checkpoint(stem)
    expected = make_network()
    assert network.settings == SMALL
    assert not network.training
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), expected.parameters(), strict=True))
    assert record["training_sites"] == ["utsw"]
    assert record["versions"]["torch"] == str(torch.__version__)
    assert sorted(p.name for p in stem.parent.iterdir()) == ["checkpoint.json", "checkpoint.safetensors"]


def test_checkpoint_bytes_are_reproducible(stem, tmp_path):
    again = tmp_path / "again"
    save_checkpoint(again, make_network(), {"training_sites": ["utsw"], "split_hash": "abc"})
    for suffix in (".json", ".safetensors"):
        assert again.with_suffix(suffix).read_bytes() == stem.with_suffix(suffix).read_bytes()


def test_record_can_be_amended(stem):
    amend_checkpoint(stem, thresholds={"utsw": 0.4})
    assert load_checkpoint(stem)[1]["thresholds"] == {"utsw": 0.4}


def test_missing_checkpoint(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"none\.json: it cannot be read \(No such file"):
        load_checkpoint(tmp_path / "none")


def test_missing_weights(stem):
    stem.with_suffix(".safetensors").unlink()
    with pytest.raises(BadCheckpoint, match=r"checkpoint\.safetensors: it cannot be read"):
        load_checkpoint(stem)


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_damaged_weights(stem, cut):
    path = stem.with_suffix(".safetensors")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadCheckpoint, match=r"SHA-256 is .* the record says"):
        load_checkpoint(stem)


def test_damaged_record(stem):
    stem.with_suffix(".json").write_text("{", encoding="utf-8")
    with pytest.raises(BadCheckpoint, match="it is not JSON"):
        load_checkpoint(stem)


def test_other_version(stem):
    path = stem.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}), encoding="utf-8")
    with pytest.raises(BadCheckpoint, match="it has checkpoint format 99, this version of elsewhere reads 1 and 2"):
        load_checkpoint(stem)


@pytest.mark.parametrize("change", [{"filters": [8, 16, 16]}, {"colour": 1}, {"groups": 5}])
def test_settings_that_do_not_fit_the_weights(stem, change):
    amend_checkpoint(stem, network=json.loads(stem.with_suffix(".json").read_text())["network"] | change)
    with pytest.raises(BadCheckpoint, match="weights and settings do not fit"):
        load_checkpoint(stem)


def test_any_mutation_of_a_checkpoint_is_told(stem):
    """Single bytes changed, cut out or put in, in either file: 200 times, none passes, none ends in another error."""
    rng = np.random.default_rng(11)
    whole = {suffix: stem.with_suffix(suffix).read_bytes() for suffix in (".json", ".safetensors")}
    for number in range(200):
        suffix = (".json", ".safetensors")[number % 2]
        stem.with_suffix(suffix).write_bytes(mutate(rng, whole[suffix]))
        with pytest.raises(
            BadCheckpoint, match=r"checkpoint\.(json|safetensors): .*([Cc]opy it again|the version that wrote)"
        ):
            load_checkpoint(stem)
        stem.with_suffix(suffix).write_bytes(whole[suffix])
    assert load_checkpoint(stem)[1]["split_hash"] == "abc"


def test_a_checkpoint_of_the_former_release_is_read(stem):
    """Format 1 had no checksum of the record; the weights mean the same."""
    path = stem.with_suffix(".json")
    record = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"} | {"format": 1}
    path.write_text(json.dumps(record), encoding="utf-8")
    assert load_checkpoint(stem)[0].settings == SMALL
    path.write_text(json.dumps(record | {"format": 2}), encoding="utf-8")
    with pytest.raises(BadCheckpoint, match="does not fit its checksum"):
        load_checkpoint(stem)


def test_settings_survive_json():
    assert network_settings(json.loads(json.dumps(SMALL.__dict__))) == SMALL


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_processors_values():
    network = make_network()
    inputs = torch.rand(2, 1, *SMALL.input)
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = network(inputs)
        result = copy.deepcopy(network).cuda()(inputs.cuda()).cpu()
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_drops_blocks_like_the_processor():
    torch.manual_seed(0)
    shares = [draw_blocks((6, 12, 12, 12), 0.1, 5, torch.device("cuda")).double().mean().item() for _ in range(200)]
    assert np.mean(shares) == pytest.approx(expected_share((6, 12, 12, 12), 0.1, 5), abs=0.005)


@pytest.mark.parametrize("build", ["2.13.0", "2.13.0+cpu", "2.13.0+cu130"])
def test_the_build_of_torch_is_recorded_and_not_its_package_alone(build: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", build)
    assert versions()["torch"] == build
