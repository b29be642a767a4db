"""An ONNX graph through ONNX Runtime, and once through the reference evaluator where ONNX Runtime may be wrong.

ONNX Runtime adds up whole groups in single precision: GroupNormalization and InstanceNormalization over 512 × 512 × 128
voxels were off by 2e-2 in a layer, and by nothing on small ones (measured with onnxruntime 1.32 and a random network).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadCheckpoint, BadInstallation, BadStudy
from elsewhere.wording import numbered

Floats = NDArray[np.float32]

NORMS = ("GroupNormalization", "InstanceNormalization")
LARGEST_SURE = 1_000_000
"""Elements that a normalisation may add up before its result is doubted."""
TOLERANCE = 1e-3
"""Difference to the reference evaluator, of the largest value, above which the graph is refused."""
INSTALL = "Install the extra: pip install 'elsewhere[onnx]'"


@dataclass(frozen=True)
class LargeNorm:
    """A normalisation over so many elements that ONNX Runtime may be wrong.

    Attributes:
        output: name of what the node gives.
        kind: GroupNormalization or InstanceNormalization.
        elements: of its input, of one scan.
    """

    output: str
    kind: str
    elements: int


class Graph:
    """A graph as a function from one input, a batch of one, to its first output.

    Where it has a large normalisation, that of the first input is compared with the reference evaluator's.

    Args:
        file: the graph.
        shape: of the inputs that it will be given.

    Raises:
        BadInstallation: onnx or onnxruntime is missing.
        BadCheckpoint: the file is damaged, or holds operations that ONNX Runtime does not know.
        BadStudy: the graph takes inputs of another shape or another number of inputs.
    """

    def __init__(self, file: Path, shape: Sequence[int]) -> None:
        try:
            import onnx  # noqa: PLC0415 - an extra
            import onnxruntime  # noqa: PLC0415
        except ImportError as error:
            raise BadInstallation('kind = "onnx"', f"needs {error.name}, which is not installed", INSTALL) from error
        try:
            self._session = _session(str(file), onnxruntime)
            self._model = onnx.load(file)
            self._large = large_norms(self._model, shape)
        except Exception as error:  # both packages have errors of their own for a damaged file
            text = " ".join(str(error).split())[:300]
            raise BadCheckpoint(
                file, f"cannot be opened ({type(error).__name__}: {text})", "Export it again"
            ) from error
        self._file = file
        given = self._session.get_inputs()
        _check_inputs(file, given, shape)
        self._name = given[0].name
        self._doubted = bool(self._large)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know of its large normalisations."""
        if not self._large:
            return ()
        largest = max(self._large, key=lambda norm: norm.elements)
        return (
            f"{self._file.name} has {numbered(len(self._large), 'normalisation')} of more than {LARGEST_SURE:,} "
            f"elements (the largest: {largest.kind} of {largest.elements:,}), where ONNX Runtime has been wrong: each "
            "process compared those of its first scan with the reference evaluator, and they agreed",
        )

    def __call__(self, inputs: Floats) -> NDArray[Any]:
        """Its first output.

        Raises:
            BadStudy: ONNX Runtime and the reference evaluator differ.
        """
        if self._doubted:
            check_norms(self._file, self._model, self._large, {self._name: inputs})
            self._doubted = False
        return np.asarray(self._session.run(None, {self._name: inputs})[0])


def _session(model: str | bytes, onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def large_norms(model: Any, shape: Sequence[int]) -> list[LargeNorm]:
    """The normalisations of a graph (onnx.ModelProto) over more than `LARGEST_SURE` elements, for inputs of a shape.

    Those of graphs whose sizes cannot be inferred are counted with the size of the input.
    """
    from onnx import shape_inference  # noqa: PLC0415 - an extra

    graph = shape_inference.infer_shapes(model).graph
    sizes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        edges = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if edges and all(edges[1:]):
            sizes[value.name] = math.prod(edges[1:])
    functions = {f.name: f for f in model.functions}
    found = []
    for node in (*graph.node, *(n for f in functions.values() for n in f.node)):
        elements = sizes.get(node.input[0] if node.input else "", math.prod(shape))
        if node.op_type in NORMS and elements > LARGEST_SURE:
            found.append(LargeNorm(node.output[0], node.op_type, elements))
    return found


def check_norms(file: Path, model: Any, large: Sequence[LargeNorm], inputs: Mapping[str, Floats]) -> None:
    """Compare the large normalisations of one input with the reference evaluator of the onnx package.

    Args:
        file: of the graph, for messages.
        model: the graph (onnx.ModelProto).
        large: its large normalisations.
        inputs: name of its input -> one input.

    Raises:
        BadStudy: one of them differs by more than `TOLERANCE` of the largest value.
    """
    import onnxruntime  # noqa: PLC0415 - an extra
    from onnx import ModelProto, ValueInfoProto, helper  # noqa: PLC0415
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415

    opened = ModelProto()
    opened.CopyFrom(model)
    nodes = {node.output[0]: node for node in model.graph.node}
    wanted = [nodes[norm.output] for norm in large if norm.output in nodes]
    names = list(dict.fromkeys(name for node in wanted for name in (*node.input, node.output[0])))
    there = {value.name for value in opened.graph.output}
    opened.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in there)
    found = dict(zip(names, _session(opened.SerializeToString(), onnxruntime).run(names, dict(inputs)), strict=True))
    for node in wanted:
        values = {name: _value_info(name, found[name]) for name in (*node.input, node.output[0])}
        own = [values[name] for name in dict.fromkeys(node.input)]
        graph = helper.make_graph([node], "one", own, [values[node.output[0]]])
        alone = ModelProto(ir_version=model.ir_version, graph=graph, opset_import=model.opset_import)
        given = {name: found[name] for name in node.input}
        expected = np.asarray(ReferenceEvaluator(alone).run(None, given)[0], np.float64)
        error = np.abs(found[node.output[0]] - expected).max() / max(1.0, float(np.abs(expected).max()))
        if not error <= TOLERANCE:
            what = (
                f"ONNX Runtime's {node.op_type} ({node.output[0]}) is off by {error:.1e} of the reference evaluator's"
            )
            then = "Export the network as TorchScript or with torch.export, and use that kind"
            raise BadStudy(file, what, then)


def _value_info(name: str, values: NDArray[Any]) -> Any:
    from onnx import helper  # noqa: PLC0415 - an extra

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)


def _check_inputs(file: Path, given: Sequence[Any], shape: Sequence[int]) -> None:
    if len(given) != 1:
        names = ", ".join(one.name for one in given)
        raise BadStudy(file, f"takes {len(given)} inputs ({names})", "Export it so that it takes the scan alone")
    theirs = list(given[0].shape)
    fits = len(theirs) == len(shape) and all(
        not isinstance(edge, int) or edge == ours for edge, ours in zip(theirs, shape, strict=True)
    )
    if not fits or given[0].type != "tensor(float)":
        what = f"takes {given[0].type} {theirs}, and its declaration makes tensor(float) {list(shape)}"
        raise BadStudy(file, what, "Correct `input.size`, `input.channel` and `input.channels`")
