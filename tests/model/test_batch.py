"""Many small scans side by side against one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elsewhere.errors import BadScan
from elsewhere.model import batch
from elsewhere.model.batch import predict_many
from elsewhere.model.network import Network, NetworkSettings
from elsewhere.model.prediction import predict
from elsewhere.model.sample import Case, Read, SampleSettings

SMALL = NetworkSettings(
    input=(8, 16, 16), filters=(8, 16), kernels=((3, 3, 3),) * 2, pools=((2, 2, 2),), dense=(64,), dense_groups=16
)


def network() -> Network:
    torch.manual_seed(1)
    return Network(SMALL).eval()


def scan(slices: int) -> tuple[Case, Read]:
    voxels = np.random.default_rng(slices).integers(-1000, 500, (slices, 16, 16)).astype(np.int16)
    extrema = int(voxels.min()), int(voxels.max())
    return Case("a", "p", f"s{slices}", 1, slices, *extrema), lambda _, start, stop: voxels[start:stop]


@pytest.mark.parametrize("settings", [SampleSettings(), SampleSettings(normalisation="window")])
def test_side_by_side_is_one_after_the_other(settings: SampleSettings) -> None:
    scans = [scan(slices) for slices in (5, 8, 23, 9, 30)]  # 1, 1, 5, 2 and 7 windows: batches across scans
    found = predict_many(network(), scans, settings, 4)
    expected = [predict(network(), case, read, settings, 4) for case, read in scans]
    assert [len(f) for f in found] == [len(e) for e in expected]
    assert np.concatenate(found) == pytest.approx(np.concatenate(expected), abs=1e-5)


def test_large_inputs_go_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "SMALL", 0)
    scans = [scan(8), scan(20)]
    found = predict_many(network(), scans, SampleSettings(), 4)
    assert all(np.array_equal(f, predict(network(), c, r, stride=4)) for f, (c, r) in zip(found, scans, strict=True))


def test_no_scan_is_no_answer() -> None:
    assert predict_many(network(), [], SampleSettings(), 4) == []


def test_weights_that_are_no_numbers_are_told() -> None:
    broken = network()
    with torch.no_grad():
        broken.last.bias[0] = float("nan")
    with pytest.raises(BadScan, match="a: s8: the network's probability for it is not a number"):
        predict_many(broken, [scan(8)], SampleSettings(), 4)
