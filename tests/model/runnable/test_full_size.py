"""The paper's network at its full size, as .pt2, TorchScript and ONNX, against what its study predicts."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elsewhere.model.declared import InputSettings, NetworkFile, OwnNetwork
from elsewhere.model.network import Network, NetworkSettings, save_checkpoint
from elsewhere.model.runnable import open_model
from elsewhere.model.runnable.protocol import GivenScan
from elsewhere.model.runnable.staged_norm import with_staged_norms
from elsewhere.scans.volume import Volume

pytestmark = pytest.mark.slow

SIZE = (128, 512, 512)
INPUT = InputSettings(size=SIZE, stride=32, smooth=False, window=(-1000, 100))
RECORD = {
    "preparation": {"size": list(SIZE), "grid": "in_plane", "encoding": "hu", "minimum": -1000.0, "maximum": 100.0},
    "sample": {"normalisation": "window", "window": [-1000, 100]},
}


def a_scan(seed: int, slices: int) -> GivenScan:
    """Noise around -700 HU with a dense block: at the size of the input in the plane, so that nothing is resampled."""
    random = np.random.default_rng(seed)
    hu = random.normal(-700, 200, (slices, *SIZE[1:])).astype(np.int16)
    hu[20 : 40 + 20 * seed, 100 : 200 + 50 * seed, 150:300] += 600
    return GivenScan("There", f"p{seed}", f"s{seed}", Volume(hu, "HU", (2.5, 0.7, 0.7), 0.0))


@cache
def a_network() -> Network:
    """Random weights."""
    torch.manual_seed(0)
    return Network(NetworkSettings()).eval()


def written(folder: Path, kind: Any) -> NetworkFile:
    """Its GroupNorms taken apart: torch.export's own come out 4e-4 off here, ONNX Runtime's 2e-2 a layer."""
    file, example = folder / {"exported": "net.pt2"}.get(kind, f"net.{kind}"), torch.zeros(1, 1, *SIZE)
    network = with_staged_norms(a_network())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if kind == "exported":
            torch.export.save(torch.export.export(network, (example,)), file)
        elif kind == "torchscript":
            torch.jit.trace(network, example, check_trace=False, strict=False).save(str(file))
        else:
            torch.onnx.export(network, (example,), str(file), dynamo=True, verbose=False)
    return NetworkFile(name="Net", kind=kind, allow_code=True, file=file, input=INPUT)


SCANS = ((0, 128), (1, 140))
"""Seed and slices: one scan of one window, and one of two."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """What the study predicts, through the kernels where there are any."""
    stem = tmp_path_factory.mktemp("study") / "checkpoint"
    save_checkpoint(stem, a_network(), RECORD)
    model = open_model(OwnNetwork(name="Own", checkpoint=stem, stride=32))
    return [model.score(a_scan(*one)) for one in SCANS]


@pytest.mark.parametrize("kind", ["exported", "torchscript", "onnx"])
def test_it_scores_as_in_its_study(tmp_path: Path, kind: str, expected: list[np.ndarray]) -> None:
    for package in ("onnxruntime", "onnxscript") if kind == "onnx" else ():
        pytest.importorskip(package)
    assert [len(found) for found in expected] == [1, 2]
    assert np.ptp([found.max() for found in expected]) > 1e-3  # it tells the scans apart
    model = open_model(written(tmp_path, kind))
    for one, study in zip(SCANS, expected, strict=True):
        np.testing.assert_allclose(model.score(a_scan(*one)), study, rtol=0, atol=1e-5)
