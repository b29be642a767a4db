"""Many small scans side by side against one after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from elsewhere.errors import BadScan
from elsewhere.model import batch
from elsewhere.model.batch import predict_many, predict_spread
from elsewhere.model.network import Network, NetworkSettings
from elsewhere.model.prediction import PredictionSettings, predict, predict_both
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


@pytest.mark.parametrize("dropblock", [0.0, 0.1])
@pytest.mark.parametrize("passes", [0, 3])
def test_dropout_side_by_side_is_dropout_one_after_the_other(dropblock: float, passes: int) -> None:
    torch.manual_seed(1)
    own = Network(replace(SMALL, dropblock=dropblock, dropout=0.3)).eval()
    scans, how = [scan(slices) for slices in (5, 8, 23)], PredictionSettings(passes=passes, stride=4)
    found = predict_spread(own, scans, SampleSettings(), how, seed=2)
    for (windows, spread), (case, read) in zip(found, scans, strict=True):
        expected = predict_both(own, case, read, SampleSettings(), how, seed=2)
        assert windows == pytest.approx(expected[0], abs=1e-5)
        assert spread == pytest.approx(expected[1], abs=1e-5)
        assert len(spread) == passes
    assert not own.training


def test_large_inputs_go_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "LARGEST_SMALL", 0)
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
