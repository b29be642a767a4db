"""A MONAI bundle as a model: its own transforms make the network's input of a NIfTI of the scan in HU."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elsewhere.errors import BadCheckpoint, BadInstallation, BadScan, BadStudy
from elsewhere.model.declared import MonaiBundle
from elsewhere.model.runnable.network_file import read_weights, through_torch
from elsewhere.model.runnable.outputs import probability_of
from elsewhere.model.runnable.protocol import GivenScan, ScoresOnly
from elsewhere.scans.nifti import write_nifti

NOT_THEIRS = ("_meta_", "bundle_root")
"""Keys that the parser, or this file, puts into a configuration."""
INSTALL = "Install the extra: pip install 'elsewhere[monai]'"


class Bundle(ScoresOnly):
    """The network and the preprocessing of a bundle.

    Args:
        declared: what the study file says of it.
        device: "cpu" or "cuda".

    Raises:
        BadInstallation: MONAI is not installed.
        BadCheckpoint: a file of the bundle is missing or damaged, or the weights are of another network.
        BadStudy: the configuration does not hold what it is said to hold.
    """

    def __init__(self, declared: MonaiBundle, device: str) -> None:
        self._declared = declared
        for name in (declared.config, declared.weights):
            if not (declared.bundle / name).is_file():
                then = f"Correct `models.{declared.name}.bundle`, `config` or `weights`"
                raise BadCheckpoint(declared.bundle / name, "does not exist", then)
        parse = _parser(declared)
        network, preprocess = parse(declared.network), parse(declared.preprocessing)
        if not isinstance(network, torch.nn.Module) or not callable(preprocess):
            what = f"gives {type(network).__name__} as {declared.network}, {type(preprocess).__name__} as preprocessing"
            raise _wrong(declared, what)
        weights = declared.bundle / declared.weights
        try:
            network.load_state_dict(read_weights(weights))
        except (RuntimeError, TypeError) as error:
            what = f"does not fit {declared.network} ({_text(error)})"
            raise BadCheckpoint(weights, what, "Give the weights of this network") from error
        self._preprocess: Callable[[dict[str, Any]], dict[str, Any]] = preprocess
        self._forward = through_torch(network.eval(), device)

    def score(self, given: GivenScan) -> NDArray[np.float64]:
        """The bundle's probability for the whole scan (1,).

        Raises:
            BadStudy: the network gives other numbers than its declaration says.
            BadScan: the preprocessing or the network fails on the scan.
        """
        declared = self._declared
        with tempfile.TemporaryDirectory(prefix="elsewhere-", ignore_cleanup_errors=True) as folder:
            file = Path(folder) / "scan.nii.gz"
            write_nifti(file, given.in_hu())
            try:
                image = self._preprocess({declared.image: str(file)})[declared.image]
                inputs = np.ascontiguousarray(torch.as_tensor(image).float().cpu().numpy()[None])
                numbers = self._forward(inputs)
            except Exception as error:  # whatever a stranger's transforms or network raise
                what = f"{declared.name} fails on it ({type(error).__name__}: {_text(error)})"
                raise BadScan(given.name, what, "Run the bundle's preprocessing by hand on this scan") from error
        return np.array([probability_of(numbers, declared.output, declared.name, given.name)])


def _parser(declared: MonaiBundle) -> Callable[[str], Any]:
    """A function from a name in the bundle's configuration to what it stands for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI's remarks on packages that it does not find
            from monai.bundle import ConfigParser  # noqa: PLC0415 - an extra, which takes seconds to import
    except ImportError as error:
        raise BadInstallation('kind = "monai"', f"needs {error.name}, which is not installed", INSTALL) from error
    parser = ConfigParser()
    try:
        parser.read_config(str(declared.bundle / declared.config))
    except Exception as error:  # JSON's and YAML's own errors
        raise _wrong(declared, f"cannot be read ({type(error).__name__}: {_text(error)})") from error
    parser["bundle_root"] = str(declared.bundle)

    def parse(name: str) -> Any:
        if name not in parser:
            known = ", ".join(sorted(key for key in map(str, parser.get() or ()) if key not in NOT_THEIRS))
            raise _wrong(declared, f"has no {name!r}; it has {known}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return parser.get_parsed_content(name)
        except Exception as error:  # whatever its classes and expressions raise
            raise _wrong(declared, f"cannot make {name} ({type(error).__name__}: {_text(error)})") from error

    return parse


def _wrong(declared: MonaiBundle, what: str) -> BadStudy:
    then = f"Correct `config`, `network` or `preprocessing` of [models.{declared.name}]"
    return BadStudy(declared.bundle / declared.config, what, then)


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
