"""Networks in files, and of a user's own class: our own network, exported, is our own network; faults are named."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from given_scans import INPUT, a_checkpoint, a_network, a_scan
from safetensors.torch import save_file

from elsewhere.errors import BadCheckpoint, BadScan, BadStudy
from elsewhere.model.declared import NetworkFile, OutputSettings, UserNetwork
from elsewhere.model.runnable import hash_of, open_model
from elsewhere.model.sample import evaluation_windows

EXAMPLE = torch.linspace(0, 1, 4 * 16 * 16).reshape(1, 1, 4, 16, 16)
MODULE = """
import torch
class Net(torch.nn.Module):
    def __init__(self, classes=2, scale=1.0):
        super().__init__()
        self.last, self.scale = torch.nn.Linear(1, classes), scale
    def forward(self, x):
        return self.scale * self.last(x.mean((2, 3, 4)))
def number():
    return 3
"""


class Twice(torch.nn.Module):
    """Two outputs by name, of which the first counts."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        mean = x.mean((2, 3, 4))
        return {"logits": torch.cat([mean, 3 * mean], 1), "other": x}


def exported(file: Path, network: torch.nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network, (EXAMPLE,)), file)


def traced(file: Path, network: torch.nn.Module) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.trace(network, EXAMPLE, check_trace=False, strict=False).save(str(file))


def graph(file: Path, network: torch.nn.Module) -> None:
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (EXAMPLE,), str(file), dynamo=True, verbose=False)


WRITERS = {"exported": exported, "torchscript": traced, "onnx": graph}


def a_file(folder: Path, kind: Any, network: torch.nn.Module) -> NetworkFile:
    file = folder / f"net.{kind}"
    WRITERS[kind](file, network)
    return NetworkFile(name="Net", kind=kind, allow_code=True, file=file, input=INPUT)


@pytest.mark.parametrize("kind", WRITERS)
def test_our_own_network_exported_scores_as_in_its_study(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("onnxruntime") if kind == "onnx" else None
    there, own = open_model(a_file(tmp_path, kind, a_network())), open_model(a_checkpoint(tmp_path))
    scores = []
    for seed in range(4):
        expected = own.score(a_scan(seed))
        assert len(expected) == len(evaluation_windows(7, 4, 2)) == 3
        np.testing.assert_allclose(there.score(a_scan(seed)), expected, atol=1e-5)
        scores.append(expected.max())
    assert np.ptp(scores) > 1e-3  # the network tells these scans apart


def test_a_scan_s_probability_may_be_the_mean_of_its_windows(tmp_path: Path) -> None:
    declared = a_file(tmp_path, "torchscript", a_network())
    each = open_model(declared).score(a_scan())
    mean = open_model(replace(declared, output=OutputSettings(windows="mean"))).score(a_scan())
    assert mean == pytest.approx([each.mean()])


def test_the_first_of_several_outputs_counts(tmp_path: Path) -> None:
    found = open_model(a_file(tmp_path, "exported", Twice())).score(a_scan())
    assert ((found > 0.5) & (found < 1)).all()


@pytest.mark.parametrize("kind", ["exported", "torchscript", "onnx"])
@pytest.mark.parametrize("content", [None, b"", b"no network", pickle.dumps({"a": 1})])
def test_files_that_are_no_network_are_named(tmp_path: Path, kind: Any, content: bytes | None) -> None:
    pytest.importorskip("onnxruntime") if kind == "onnx" else None
    file = tmp_path / "net.bin"
    if content is not None:
        file.write_bytes(content)
    declared = NetworkFile(name="Net", kind=kind, allow_code=True, file=file, input=INPUT)
    with pytest.raises(BadCheckpoint, match=r"net\.bin: (does not exist|cannot be opened)"):
        open_model(declared)


def test_a_network_that_fails_on_a_scan_costs_that_scan(tmp_path: Path) -> None:
    declared = replace(a_file(tmp_path, "torchscript", a_network()), input=replace(INPUT, size=(4, 8, 8)))
    with pytest.raises(BadScan, match=r"There: s0: Net fails on it \(\w+: .*Its input was \[1, 1, 4, 8, 8\]"):
        open_model(declared).score(a_scan())


def test_numbers_that_contradict_the_declaration_are_the_study_s_affair(tmp_path: Path) -> None:
    declared = replace(a_file(tmp_path, "torchscript", a_network()), output=OutputSettings(positive=(2,)))
    with pytest.raises(BadStudy, match=r"model Net: gives 2 number\(s\), and output\.positive is \[2\]"):
        open_model(declared).score(a_scan())


def test_the_identity_of_its_scores_follows_file_and_declaration(tmp_path: Path) -> None:
    declared = a_file(tmp_path, "torchscript", a_network())
    first = hash_of(declared)
    assert hash_of(replace(declared, name="B", threshold=0.1)) == first
    assert hash_of(replace(declared, input=replace(INPUT, window=(-900, 100)))) != first
    assert hash_of(replace(declared, output=OutputSettings(positive=(0,)))) != first
    traced(declared.file, a_network(1))
    assert hash_of(declared) != first
    declared.file.unlink()
    with pytest.raises(BadCheckpoint, match="does not exist, or holds no file"):
        hash_of(declared)


def test_the_identity_of_another_study_s_network_is_that_of_its_weights(tmp_path: Path) -> None:
    first, other = a_checkpoint(tmp_path / "a"), a_checkpoint(tmp_path / "b")
    assert hash_of(first) == hash_of(other)
    assert hash_of(replace(first, checkpoint=first.checkpoint.with_name("checkpoint.json"))) == hash_of(first)
    assert hash_of(replace(first, stride=1)) != hash_of(first)
    assert hash_of(a_checkpoint(tmp_path / "a", seed=1)) != hash_of(other)


# A class of one's own ----------------------------------------------------------------------------------------------


def own_class(folder: Path, save: Callable[[Path, dict[str, Any]], None], ending: str, **said: Any) -> UserNetwork:
    (folder / "my_net.py").write_text(MODULE)
    weights = {"last.weight": torch.tensor([[0.0], [2.0]]), "last.bias": torch.tensor([0.0, -1.0])}
    save(folder / f"w.{ending}", weights)
    given = {"name": "Net", "network": "my_net:Net", "folder": folder, "allow_code": True, "input": INPUT} | said
    return UserNetwork(weights=folder / f"w.{ending}", **given)


def safe(file: Path, weights: dict[str, Any]) -> None:
    save_file(weights, file)


def plain(file: Path, weights: dict[str, Any]) -> None:
    torch.save(weights, file)


def inside(file: Path, weights: dict[str, Any]) -> None:
    torch.save({"epoch": 3, "state_dict": weights}, file)


@pytest.mark.parametrize(("save", "ending"), [(safe, "safetensors"), (plain, "pt"), (inside, "ckpt")])
def test_weights_of_a_user_s_class(tmp_path: Path, save: Callable[..., None], ending: str) -> None:
    from elsewhere.model.runnable.inputs import inputs_of  # noqa: PLC0415 - the reference beside the model

    found = open_model(own_class(tmp_path, save, ending)).score(a_scan())
    means = np.array([window.mean(dtype=np.float64) for window in inputs_of(a_scan(), INPUT)])
    np.testing.assert_allclose(found, 1 / (1 + np.exp(1 - 2 * means)), atol=1e-6)


def test_arguments_reach_the_class(tmp_path: Path) -> None:
    flat = open_model(own_class(tmp_path, plain, "pt", arguments='{"scale": 0.0}')).score(a_scan())
    assert flat == pytest.approx([0.5] * 3)


class Evil:
    """What a pickle may carry out."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil"),))


def test_weights_are_never_more_than_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    declared = own_class(tmp_path, lambda file, _: torch.save({"last.weight": Evil()}, file), "pt")
    with pytest.raises(BadCheckpoint, match=r"w\.pt: holds more than weights, and only weights are read"):
        open_model(declared)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("said", "error", "says"),
    [
        ({"network": "my_net:Gone"}, BadStudy, r"models\.Net\.network: is 'my_net:Gone', which cannot be made \(Attr"),
        ({"network": "no_such_net:Net"}, BadStudy, r"cannot be made \(ModuleNotFoundError"),
        ({"network": "my_net:number"}, BadStudy, r"which gives int\. Name a class"),
        ({"arguments": '{"depth": 3}'}, BadStudy, r"cannot be made \(TypeError: .*depth"),
        ({"arguments": '{"classes": 3}'}, BadCheckpoint, r"w\.pt: does not fit my_net:Net \(.*size mismatch"),
    ],
)
def test_what_is_wrong_with_a_class_is_named(tmp_path: Path, said: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        open_model(own_class(tmp_path, plain, "pt", **said))


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps([1, 2])])
def test_weights_that_are_none_are_named(tmp_path: Path, content: bytes) -> None:
    declared = own_class(tmp_path, lambda file, _: file.write_bytes(content) and None, "pt")
    with pytest.raises(BadCheckpoint, match=r"w\.pt: "):
        open_model(declared)


def test_the_identity_of_its_scores_follows_code_and_weights(tmp_path: Path) -> None:
    declared = own_class(tmp_path, plain, "pt")
    first = hash_of(declared)
    (tmp_path / "my_net.py").write_text(MODULE + "\n")
    assert hash_of(declared) != first
