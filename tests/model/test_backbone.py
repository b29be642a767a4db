"""Networks of MONAI in the product's training: resumed to the bit, kept and read again, predicted; what they lack."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elsewhere.errors import BadStudy
from elsewhere.model.adapting import AdaptingSettings, adapt_network, trainable_of
from elsewhere.model.backbone import Backbone, make_network
from elsewhere.model.network import Network, load_checkpoint, read_checkpoint_record, save_checkpoint
from elsewhere.model.network_settings import MONAI_NETWORKS, NetworkSettings, network_settings
from elsewhere.model.prediction import extract_features, predict, predict_passes
from elsewhere.model.recipe import Average, TrainingSettings
from elsewhere.model.saliency import find_saliency
from elsewhere.model.sample import Case, SampleSettings
from elsewhere.model.settings import PredictionSettings, check_trainable
from elsewhere.model.training import train

SETTINGS = NetworkSettings(input=(32, 32, 32), kind="ResNet10", dropout=0.2)
SAMPLE = SampleSettings(normalisation="window", window=(-1000, 100), intensity=(0.8, 1.2))
VOXELS = {
    i: np.random.default_rng(i).normal(-500 + 200 * (i % 2), 100, (36, 32, 32)).astype(np.int16) for i in range(6)
}
CASES = [Case("A", f"p{i}", f"s{i}", i % 2, 36, int(v.min()), int(v.max())) for i, v in VOXELS.items()]


@pytest.fixture(autouse=True)
def _monai() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("monai.networks.nets", reason="MONAI is not installed: pip install 'elsewhere[monai]'")


def read(case: Case, start: int, stop: int) -> Any:
    return VOXELS[int(case.scan[1:])][start:stop]


class Stopped(Exception):
    pass


def trained(folder: Path, stop: int = 0, **changed: Any) -> Path:
    options = {"iterations": 4, "validate_every": 2, "save_every": 1, "learning_rate": 1e-3, "threads": 1, "batch": 2}
    settings = TrainingSettings(**{**options, "tensorboard": False, "accelerator": "cpu", **changed})

    def progress(done: int, _total: int, _text: str) -> None:
        if done == stop:
            raise Stopped

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command")
        return train(SETTINGS, SAMPLE, settings, CASES[:4], CASES[4:], read, folder, {}, progress, stride=2)


@pytest.mark.parametrize("changed", [{}, {"ema": 0.9}])
def test_a_stopped_training_ends_with_the_same_bytes(tmp_path: Path, changed: dict[str, Any]) -> None:
    whole = trained(tmp_path / "whole", **changed)
    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", stop=3, **changed)
    again = trained(tmp_path / "stopped", **changed)
    first, second = (stem.with_suffix(".safetensors").read_bytes() for stem in (whole, again))
    assert first == second
    network, record = load_checkpoint(whole)
    assert isinstance(network, Backbone)
    assert record["network"] == {"input": [32, 32, 32], "dropout": 0.2, "classes": 2, "kind": "ResNet10"}
    windows = predict(network, CASES[0], read, SAMPLE, stride=2)
    assert len(windows) == 3
    assert len(extract_features(network, CASES[0], read, SAMPLE, 2)) == network.last.in_features
    passes = predict_passes(network, CASES[0], read, SAMPLE, PredictionSettings(passes=4, stride=2))
    assert np.ptp(passes) > 0  # dropout before the last layer


QUICK = ("DenseNet121", "ResNet10", "ResNet18")


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow) for k in MONAI_NETWORKS]
)
def test_every_name_is_a_network_whose_last_layer_was_found(kind: str) -> None:
    torch.manual_seed(0)
    network = make_network(replace(SETTINGS, kind=kind)).eval()
    with torch.inference_mode():
        features = network.trunk(torch.rand(1, 1, 32, 32, 32))
        assert features.shape == (1, network.last.in_features)
        assert network.head(features).shape == (1, 2)


def test_the_last_layer_is_the_network_s_own() -> None:
    """Trunk and head together are MONAI's network: nothing lies behind the layer that was taken out."""
    from monai.networks.nets import DenseNet121  # noqa: PLC0415

    torch.manual_seed(3)
    theirs = DenseNet121(spatial_dims=3, in_channels=1, out_channels=2).eval()
    torch.manual_seed(3)
    ours = make_network(replace(SETTINGS, kind="DenseNet121")).eval()
    inputs = torch.rand(2, 1, 32, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours(inputs), theirs(inputs), rtol=0, atol=0)


def test_an_average_keeps_the_running_statistics() -> None:
    network = make_network(SETTINGS)
    average = Average(network, 0.5)
    network.train()(torch.rand(2, 1, 32, 32, 32))
    average.update(network, 1)
    for own, current in zip(average.network.buffers(), network.buffers(), strict=True):
        assert torch.equal(own, current)


def test_the_paper_s_network_is_recorded_as_before(tmp_path: Path) -> None:
    """Without `kind`, so that identities, checkpoints and states of versions before are the same."""
    settings = NetworkSettings((4, 16, 16), (2, 4), ((3, 3, 3), (3, 3, 3)), ((2, 4, 4),), (8,), 1, 1)
    added = {"kind", "folder", "arguments", "allow_code", "code"}
    assert settings.record() == {name: value for name, value in asdict(settings).items() if name not in added}
    torch.manual_seed(0)
    first = Network(settings)
    torch.manual_seed(0)
    second = make_network(settings)
    assert type(second) is Network
    save_checkpoint(tmp_path / "a", first, {})
    save_checkpoint(tmp_path / "b", second, {})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert network_settings(json.loads(json.dumps(read_checkpoint_record(tmp_path / "a")["network"]))) == settings


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"kind": "densenet121"}, "Did you mean 'DenseNet121'"),
        ({"kind": "UNet"}, "network.kind: is 'UNet'. Use one of paper, DenseNet121"),
        ({"kind": "my module:Net"}, "or a class of yours: module:Class"),
        ({"filters": (4, 8)}, "network.filters: is set, and ResNet10 has its own"),
        ({"input": (16, 32, 32)}, "must be 32 or more along each axis"),
        ({"dropout": 1.0}, r"must be in \[0, 1\)"),
        ({"allow_code": True}, "network.allow_code: must be left out: it is for a class of your own"),
        ({"kind": "paper", "arguments": '{"a": 1}'}, "network.arguments: must be left out"),
    ],
)
def test_what_cannot_be_is_said(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(BadStudy, match=says):
        replace(SETTINGS, **changed)


@pytest.mark.parametrize(
    ("kind", "edge", "batch", "says"),
    [
        ("ResNet10", 32, 1, "training.batch: is 1, and ResNet10 has BatchNorm: it would be trained on each scan's own"),
        ("DenseNet121", 32, 2, "its smallest maps leave 2 values to a channel"),
        ("ResNet10", 32, 2, ""),
        ("DenseNet121", 64, 2, ""),
        ("DenseNet121", 33, 2, ""),
    ],
)
def test_batches_that_batch_norm_makes_nothing_of_are_refused(kind: str, edge: int, batch: int, says: str) -> None:
    settings, training = NetworkSettings(input=(edge, edge, edge), kind=kind), TrainingSettings(batch=batch)
    if not says:
        check_trainable(settings, training, SAMPLE)
        return
    with pytest.raises(BadStudy, match=says):
        check_trainable(settings, training, SAMPLE)


def test_what_it_cannot_do_is_refused_with_the_reason() -> None:
    network = make_network(SETTINGS).eval()
    with pytest.raises(BadStudy, match="gradients at a level are known of the paper's network alone"):
        find_saliency(network, CASES[0], read, SAMPLE, 2)
    with pytest.raises(
        BadStudy, match=r"the way 'norm': fits GroupNorm, and ResNet10 has BatchNorm.*Choose from last, all"
    ):
        trainable_of(network, "norm")
    with pytest.raises(BadStudy, match="is `last` for ResNet10, which has one dense layer"):
        trainable_of(network, "dense")


@pytest.mark.parametrize("way", ["last", "all"])
def test_the_ways_that_have_a_meaning_adapt_it(tmp_path: Path, way: Any) -> None:
    """What a way does not change stays to the last bit, the running statistics among it where the trunk stays."""
    torch.manual_seed(0)
    network = make_network(SETTINGS).eval()
    settings = AdaptingSettings(iterations=2, batch=2, views=1, accelerator="cpu")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command")
        stem = adapt_network(network, SAMPLE, way, CASES, read, tmp_path / way, {}, settings=settings, stride=2)
    before, after = network.state_dict(), load_checkpoint(stem)[0].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"last.weight", "last.bias"} <= changed
    assert (len(changed) == 2) is (way == "last")
