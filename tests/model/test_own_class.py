"""A class of the user's own in the product's training: resumed to the bit, kept, trusted only by the study at hand."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.model.backbone import make_network
from elsewhere.model.declared import OwnNetwork
from elsewhere.model.network import copy_checkpoint, load_checkpoint, read_checkpoint_record
from elsewhere.model.network_settings import NetworkSettings
from elsewhere.model.prediction import predict
from elsewhere.model.recipe import TrainingSettings
from elsewhere.model.runnable import open_model
from elsewhere.model.sample import Case, SampleSettings
from elsewhere.model.settings import check_trainable
from elsewhere.model.training import train

SAMPLE = SampleSettings(normalisation="window", window=(-1000, 100), intensity=(0.8, 1.2))
VOXELS = {i: np.random.default_rng(i).normal(-500 + 200 * (i % 2), 100, (6, 8, 8)).astype(np.int16) for i in range(6)}
CASES = [Case("A", f"p{i}", f"s{i}", i % 2, 6, int(v.min()), int(v.max())) for i, v in VOXELS.items()]
MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, classes=2, norm=False):
        super().__init__()
        self.conv = nn.Conv3d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm3d(width) if norm else nn.GroupNorm(1, width)
        self.drop = nn.Dropout(0.3)
        self.unused = nn.Parameter(torch.zeros(3))
        self.head = nn.Sequential(nn.Linear(width, 5), nn.ReLU(), nn.Linear(5, classes))

    def forward(self, x):
        return self.head(self.drop(self.norm(self.conv(x).relu()).mean((2, 3, 4))))

class Softmaxed(Net):
    def forward(self, x):
        return super().forward(x).softmax(1)

class Hidden(Net):
    def __init__(self):
        super().__init__()
        self.late = nn.Linear(2, 2)

class Tied(Net):
    def __init__(self):
        super().__init__()
        self.again = self.conv

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.last = nn.LazyLinear(4), nn.Linear(4, 2)

class Headless(nn.Module):
    def forward(self, x):
        return x.mean((2, 3, 4)).repeat(1, 2)

def number():
    return 3
"""


@pytest.fixture
def own(tmp_path: Path) -> NetworkSettings:
    """A class in a module of its own folder; modules are known by their names in a process, so each has its own."""
    name = f"own_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return NetworkSettings(input=(4, 8, 8), kind=f"{name}:Net", folder=tmp_path, allow_code=True, dropout=0.2)


def read(case: Case, start: int, stop: int) -> Any:
    return VOXELS[int(case.scan[1:])][start:stop]


class Stopped(Exception):
    pass


def trained(own: NetworkSettings, folder: Path, stop: int = 0, **changed: Any) -> Path:
    options = {"iterations": 4, "validate_every": 2, "save_every": 1, "learning_rate": 1e-3, "threads": 1, "batch": 2}
    settings = TrainingSettings(**{**options, "tensorboard": False, "accelerator": "cpu", **changed})

    def progress(done: int, _total: int, _text: str) -> None:
        if done == stop:
            raise Stopped

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command")
        return train(own, SAMPLE, settings, CASES[:4], CASES[4:], read, folder, {}, progress, stride=2)


@pytest.mark.parametrize("changed", [{}, {"ema": 0.9}, {"batch": 1}])
def test_a_stopped_training_ends_with_the_same_bytes(own: NetworkSettings, tmp_path: Path, changed: Any) -> None:
    """Also where a parameter gets no gradient, and with the class's own dropout."""
    whole = trained(own, tmp_path / "whole", **changed)
    with pytest.raises(Stopped):
        trained(own, tmp_path / "stopped", stop=3, **changed)
    again = trained(own, tmp_path / "stopped", **changed)
    first, second = (stem.with_suffix(".safetensors").read_bytes() for stem in (whole, again))
    assert first == second
    network, record = load_checkpoint(whole, own)
    assert len(predict(network, CASES[0], read, SAMPLE, stride=2)) == 2
    assert set(record["network"]) == {"input", "dropout", "classes", "kind", "arguments", "code"}
    assert str(tmp_path) not in whole.with_suffix(".json").read_text()


def test_its_arguments_are_the_class_s(own: NetworkSettings) -> None:
    assert make_network(replace(own, arguments='{"width": 7}')).inner.conv.out_channels == 7
    with pytest.raises(BadStudy, match=r"network.kind: is .* cannot be made \(TypeError: .*`network.arguments`"):
        make_network(replace(own, arguments='{"depth": 7}'))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Softmaxed", "which does more after its last linear layer"),
        ("Hidden", "which does more after its last linear layer, or does not end in it"),
        ("Tied", "has one tensor under two names"),
        ("Lazy", "leaves the size of .* open"),
        ("Headless", "whose last linear layer gives nothing, as there is none"),
        ("number", "which gives int. Name a class"),
        ("Gone", "cannot be made \\(AttributeError"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_reason(own: NetworkSettings, name: str, says: str) -> None:
    settings = replace(own, kind=own.kind.replace(":Net", f":{name}"))
    with pytest.raises(BadStudy, match=says):
        make_network(settings).trunk(torch.zeros(2, 1, 4, 8, 8))


def test_another_number_of_classes_is_refused(own: NetworkSettings) -> None:
    with pytest.raises(BadStudy, match=r"gives 3 numbers, and network.classes is 2"):
        make_network(replace(own, arguments='{"classes": 3}'))


def test_batch_norm_and_a_batch_of_one(own: NetworkSettings, tmp_path: Path) -> None:
    normed = replace(own, arguments='{"norm": true}')
    with pytest.raises(BadStudy, match=r"training.batch: is 1, and .*:Net has BatchNorm"):
        trained(normed, tmp_path / "one", batch=1)
    trained(normed, tmp_path / "two")


def test_without_leave_nothing_is_imported(own: NetworkSettings, tmp_path: Path) -> None:
    module = own.kind.partition(":")[0]
    (tmp_path / f"{module}.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n{MODULE}")
    settings = replace(own, allow_code=False)
    with pytest.raises(BadStudy, match=r"network.allow_code: is not set, and .* runs a module of yours"):
        check_trainable(settings, TrainingSettings(), SAMPLE)
    with pytest.raises(BadStudy, match="there is no leave to run it"):
        make_network(settings)
    assert not (tmp_path / "ran").exists()
    make_network(replace(own))
    assert (tmp_path / "ran").exists()


def test_a_checkpoint_is_no_leave(own: NetworkSettings, tmp_path: Path) -> None:
    stem = trained(own, tmp_path / "model")
    for trusted in (None, replace(own, allow_code=False), NetworkSettings()):
        with pytest.raises(BadCheckpoint, match="whose code is run in its own study alone"):
            load_checkpoint(stem, trusted)
    with pytest.raises(BadCheckpoint, match="whose code is run in its own study alone"):
        open_model(OwnNetwork(name="Theirs", checkpoint=stem, allow_code=True))
    with pytest.raises(BadCheckpoint, match="whose code it does not hold: it is not exported, adapted or sent"):
        copy_checkpoint(stem, tmp_path / "copy", ("model",))


def test_changed_code_is_another_network(own: NetworkSettings, tmp_path: Path) -> None:
    stem = trained(own, tmp_path / "model")
    file = tmp_path / f"{own.kind.partition(':')[0]}.py"
    file.write_text(f"{MODULE}\n# changed\n")
    changed = replace(own)  # reads the files again
    assert changed.code != own.code
    with pytest.raises(BadCheckpoint, match="was trained with other code or settings"):
        load_checkpoint(stem, changed)
    with pytest.raises(BadStudy, match=r"network\.code"):
        trained(changed, tmp_path / "model")
    assert read_checkpoint_record(stem)["network"]["code"] == own.code


def test_a_folder_without_the_module_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match=r"network.folder: is .*, which holds no gone\.py and no folder gone"):
        NetworkSettings(input=(4, 8, 8), kind="gone:Net", folder=tmp_path, allow_code=True)
