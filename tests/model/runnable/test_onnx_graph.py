"""ONNX graphs: large normalisations are found, compared with the reference evaluator, and refused where they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from given_scans import a_scan

from elsewhere.errors import BadStudy
from elsewhere.model.declared import InputSettings, NetworkFile, OutputSettings
from elsewhere.model.runnable import onnx_graph, open_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

LARGE, SMALL = (64, 128, 128), (4, 16, 16)


def normalising(file: Path, size: tuple[int, ...], op: str = "InstanceNormalization") -> NetworkFile:
    """A graph of one normalisation and a mean of its squares, of a scan of this size."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    more: dict[str, Any] = {"num_groups": 1} if op == "GroupNormalization" else {}
    nodes = [
        helper.make_node(op, ["x", "scale", "bias"], ["normed"], epsilon=1e-5, **more),
        helper.make_node("Mul", ["normed", "normed"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["y"], keepdims=0),
        helper.make_node("Reshape", ["y", "one"], ["logit"]),
    ]
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", floats, [1, 1, *size])],
        [helper.make_tensor_value_info("logit", floats, [1])],
        [
            helper.make_tensor("scale", floats, [1], [1.0]),
            helper.make_tensor("bias", floats, [1], [0.0]),
            helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1]),
        ],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), file)
    return NetworkFile(
        name="Net", kind="onnx", file=file, input=InputSettings(size), output=OutputSettings(gives="logit")
    )


@pytest.mark.parametrize("op", onnx_graph.NORMS)
def test_large_normalisations_are_compared_and_remarked(tmp_path: Path, op: str) -> None:
    model = open_model(normalising(tmp_path / "net.onnx", LARGE, op))
    (remark,) = model.remarks
    assert remark.startswith("net.onnx has 1 normalisation of more than 1,000,000 elements (the largest: ")
    assert f"{op} of 1,048,576" in remark
    assert model.score(a_scan()) == pytest.approx([1 / (1 + np.exp(-1))], abs=1e-3)


def test_small_ones_are_not(tmp_path: Path) -> None:
    model = open_model(normalising(tmp_path / "net.onnx", SMALL))
    assert model.remarks == ()
    assert model.score(a_scan()) == pytest.approx([1 / (1 + np.exp(-1))], abs=1e-3)


def test_where_the_two_differ_the_graph_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's large sums are off by some 1e-7 everywhere: a tolerance below that stands for a wrong one."""
    monkeypatch.setattr(onnx_graph, "TOLERANCE", 1e-12)
    large = open_model(normalising(tmp_path / "large.onnx", LARGE))
    with pytest.raises(BadStudy, match=r"large\.onnx: ONNX Runtime's InstanceNormalization \(normed\) is off by"):
        large.score(a_scan())
    open_model(normalising(tmp_path / "small.onnx", SMALL)).score(a_scan())


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (
            InputSettings((4, 16, 8)),
            r"takes tensor\(float\) \[1, 1, 4, 16, 16\], and its .* makes .*\[1, 1, 4, 16, 8\]",
        ),
        (InputSettings((4, 16, 16), channel="none"), r"makes tensor\(float\) \[1, 4, 16, 16\]\. Correct `input\.size`"),
    ],
)
def test_inputs_of_another_shape_are_named(tmp_path: Path, declared: InputSettings, says: str) -> None:
    from dataclasses import replace  # noqa: PLC0415

    with pytest.raises(BadStudy, match=says):
        open_model(replace(normalising(tmp_path / "net.onnx", SMALL), input=declared))
