"""A network in one file (torch.export, TorchScript, ONNX), or a user's own class, asked through the one protocol."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from elsewhere.errors import BadCheckpoint, BadScan, BadStudy
from elsewhere.model.declared import InputSettings, NetworkFile, OutputSettings, UserNetwork
from elsewhere.model.own_code import make_own
from elsewhere.model.runnable.inputs import batch_shape, inputs_of
from elsewhere.model.runnable.outputs import probability_of, scan_probability
from elsewhere.model.runnable.protocol import GivenScan, ScoresOnly

Floats = NDArray[np.float32]
Forward = Callable[[Floats], NDArray[Any]]
"""One input, a batch of one, to the numbers that the network gives of it."""


class DeclaredNetwork(ScoresOnly):
    """A network that takes declared inputs and gives declared numbers.

    Args:
        name: of the model.
        settings: what it takes, and what it gives.
        forward: the network.
        remarks: what whoever reads its scores should know.
    """

    def __init__(
        self,
        name: str,
        settings: tuple[InputSettings, OutputSettings],
        forward: Forward,
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.remarks = remarks
        self._name, self._forward = name, forward
        self._input, self._output = settings

    def score(self, given: GivenScan) -> NDArray[np.float64]:
        """Probability of each window; of their mean, where the declaration says so (1,).

        Raises:
            BadStudy: the network gives other numbers than its declaration says.
            BadScan: no input can be made of the scan, or the network fails on it.
        """
        found = []
        for window in inputs_of(given, self._input):
            try:
                numbers = self._forward(window)
            except BadStudy:
                raise
            except Exception as error:  # whatever a stranger's network raises
                text = " ".join(str(error).split())[:300]
                what = f"{self._name} fails on it ({type(error).__name__}: {text})"
                then = f"Its input was {list(batch_shape(self._input))}: compare `input` with how it was trained"
                raise BadScan(given.name, what, then) from error
            found.append(probability_of(numbers, self._output, self._name, given.name))
        if self._output.windows == "mean":
            return np.array([scan_probability(found, self._output)])
        return np.array(found)


def open_network_file(declared: NetworkFile, device: str) -> DeclaredNetwork:
    """The network of a file.

    Raises:
        BadCheckpoint: the file is missing, damaged, or of another kind.
        BadInstallation: ONNX Runtime is not installed.
    """
    if not declared.file.is_file():
        raise BadCheckpoint(declared.file, "does not exist", f"Correct `models.{declared.name}.file`")
    forward: Forward
    remarks: tuple[str, ...] = ()
    if declared.kind == "onnx":
        from elsewhere.model.runnable.onnx_graph import Graph  # noqa: PLC0415 - ONNX Runtime is an extra

        graph = Graph(declared.file, batch_shape(declared.input))
        forward, remarks = graph, graph.remarks
    elif declared.kind == "exported":
        forward = through_torch(_opened(declared.file, lambda file: torch.export.load(file).module()), device)
    else:
        forward = through_torch(_opened(declared.file, lambda file: torch.jit.load(file, "cpu").eval()), device)
    return DeclaredNetwork(declared.name, (declared.input, declared.output), forward, remarks)


def _opened(file: Path, load: Callable[[str], torch.nn.Module]) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's remarks on its own formats, which nobody here can heed
        try:
            return load(str(file))
        except Exception as error:  # each of torch's readers has its own errors for a damaged file
            text = " ".join(str(error).split())[:300]
            what = f"cannot be opened ({type(error).__name__}: {text})"
            raise BadCheckpoint(file, what, "Export it again with this version of torch, or correct `kind`") from error


def through_torch(module: torch.nn.Module, device: str) -> Forward:
    """A module as a function from one input to the numbers that it gives."""
    there = module.to(device)

    def forward(inputs: Floats) -> NDArray[Any]:
        with torch.inference_mode():
            return _first(there(torch.from_numpy(inputs).to(device))).float().cpu().numpy()

    return forward


def _first(given: Any) -> Tensor:
    """The network's first output, where it gives several by place or by name."""
    while not isinstance(given, Tensor):
        if isinstance(given, dict):
            given = list(given.values())
        if not isinstance(given, list | tuple) or not given:
            raise TypeError(f"the network gives {type(given).__name__}, not a tensor")
        given = given[0]
    return given


# A class of the user's own -----------------------------------------------------------------------------------------


def open_user_network(declared: UserNetwork, device: str) -> DeclaredNetwork:
    """The network of a user's own class, with its weights.

    Raises:
        BadStudy: the module or class cannot be imported or called, or it gives no torch.nn.Module.
        BadCheckpoint: the weights cannot be read, or are of another network.
    """
    network = _made(declared)
    try:
        network.load_state_dict(read_weights(declared.weights))
    except (RuntimeError, TypeError) as error:
        text = " ".join(str(error).split())[:300]
        what = f"does not fit {declared.network} ({text})"
        raise BadCheckpoint(
            declared.weights, what, "Give the weights of this class, made with these arguments"
        ) from error
    forward = through_torch(network.eval(), device)
    return DeclaredNetwork(declared.name, (declared.input, declared.output), forward)


def _made(declared: UserNetwork) -> torch.nn.Module:
    key = f"models.{declared.name}"
    made = make_own(declared.network, declared.folder, declared.arguments, (f"{key}.network", key))
    if not isinstance(made, torch.nn.Module):
        what = f"is {declared.network!r}, which gives {type(made).__name__}"
        raise BadStudy(f"{key}.network", what, "Name a class, or a function, that gives a torch.nn.Module")
    return made


def read_weights(file: Path) -> dict[str, Tensor]:
    """A state dict; a checkpoint that holds one under "state_dict" or "model" is taken apart.

    Raises:
        BadCheckpoint: the file cannot be read, or holds more than weights.
    """
    then = "Save the state dict with torch.save or safetensors"
    try:
        found: Any = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        text = " ".join(str(error).split())[:200]
        raise BadCheckpoint(file, f"cannot be read as weights ({type(error).__name__}: {text})", then) from error
    except Exception as error:  # pickle.UnpicklingError: more than weights, which is not carried out
        what = "holds more than weights, and only weights are read"
        raise BadCheckpoint(file, what, then) from error
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise BadCheckpoint(file, f"holds {type(found).__name__}, no state dict", then)
    return found
