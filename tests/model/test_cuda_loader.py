"""Batches of a device, tried on the processor: the processor's own batches to the bit, and volumes kept in time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from elsewhere import stages
from elsewhere.errors import BadScan
from elsewhere.model.cuda_loader import GIB, DeviceBatches, Volumes
from elsewhere.model.network import NetworkSettings
from elsewhere.model.sample import Case, SampleSettings
from elsewhere.model.training import Batches, Job, TrainingSettings, make_batches

NETWORK = NetworkSettings(
    input=(4, 8, 8), filters=(4,), kernels=((3, 3, 3),), pools=(), dense=(8,), groups=2, dense_groups=2
)
SETTINGS = TrainingSettings(batch=3, loaders=2)
CPU = torch.device("cpu")


def voxels_of(case: Case) -> NDArray[np.int16]:
    voxels = np.random.default_rng(int(case.scan)).integers(-1000, 500, (case.slices, 8, 8)).astype(np.int16)
    voxels[0, 0, :2] = case.minimum, case.maximum
    return voxels


CASES = [Case("A", f"p{i}", str(i), i % 2, 3 + i, -1000, 500) for i in range(7)]


class Reads:
    """A reader that counts, by scan and by whole volumes."""

    def __init__(self) -> None:
        self.windows: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()

    def __call__(self, case: Case, start: int, stop: int) -> NDArray[np.int16]:
        (self.whole if stop - start == case.slices else self.windows)[case.scan] += 1
        return voxels_of(case)[start:stop]


def make_job(settings: TrainingSettings = SETTINGS, read: Reads | None = None) -> Job:
    return Job(NETWORK, SampleSettings(), settings, CASES, CASES, read or Reads(), Path(), {}, None)


def make_loader(job: Job, volumes: Volumes | None = None, rank: int = 0, devices: int = 1) -> DeviceBatches:
    host = Batches(job, rank, devices)
    volumes = volumes or Volumes(job.read, CPU, 0, 0)
    return DeviceBatches(
        host._samples,
        job.sample,
        volumes,
        slices=NETWORK.input[0],
        draws=host._draws,
        device=CPU,
        threads=job.settings.loaders,
    )


@pytest.mark.parametrize(("rank", "devices"), [(0, 1), (1, 2)])
@pytest.mark.parametrize("kept", [0, GIB])
def test_the_processor_s_batches_to_the_bit(rank: int, devices: int, kept: int) -> None:
    job = make_job()
    host = Batches(job, rank, devices)
    with make_loader(job, Volumes(job.read, CPU, kept, 0), rank, devices) as loader:
        for iteration in (0, 1, 2, 7, 8, 9, 3):  # in order, as after a restart, and back
            expected, found = host.take(iteration), loader.take(iteration)
            assert torch.equal(found[0], expected[0])
            assert torch.equal(found[1], expected[1])
            assert found[2] == expected[2]


def test_a_processor_makes_its_batches_itself() -> None:
    assert isinstance(make_batches(make_job(), 0, 1, CPU), Batches)


def test_a_batch_stays_as_it_is_when_the_next_is_made() -> None:
    with make_loader(make_job()) as loader:
        inputs = loader.take(0)[0]
        before = inputs.clone()
        loader.take(1)
        assert torch.equal(inputs, before)


def test_waiting_for_the_loader_is_a_stage_of_its_own() -> None:
    stages.start()
    with make_loader(make_job()) as loader:
        loader.take(0)
    assert stages.stop()["wait for the loader"].count == 1


@pytest.mark.parametrize("place", ["card", "pinned"])
def test_volumes_that_fit_are_read_once(place: str) -> None:
    read, case = Reads(), CASES[6]
    volumes = Volumes(read, CPU, **{"card": 0, "pinned": 0, place: voxels_of(case).nbytes})
    for start in (0, 2, 5, 1):
        assert np.array_equal(volumes.window(case, start, start + 4), voxels_of(case)[start : start + 4])
    assert (read.windows["6"], read.whole["6"]) == (1, 1)


def test_volumes_beyond_the_budget_are_read_window_by_window() -> None:
    read = Reads()
    volumes = Volumes(read, CPU, voxels_of(CASES[6]).nbytes + 1, voxels_of(CASES[4]).nbytes - 1)
    for case in (CASES[6], CASES[5], CASES[4], CASES[3]):
        for start in (0, 1, 2):
            assert np.array_equal(volumes.window(case, start, start + 3), voxels_of(case)[start : start + 3])
    assert read.whole == {"6": 1, "3": 1}, "one on the card, one pinned, two beyond"
    assert read.windows == {"6": 1, "5": 3, "4": 3, "3": 1}


def test_a_bad_scan_stops_the_training_by_name() -> None:
    def read(case: Case, start: int, stop: int) -> NDArray[np.int16]:
        raise BadScan("scan.b2nd", "the prepared volume is damaged", "Delete this file")

    job = replace(make_job(), read=read)
    with make_loader(job) as loader, pytest.raises(BadScan, match=r"scan\.b2nd: the prepared volume is damaged"):
        loader.take(0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kept", [{}, {"card_gib": 1.0}, {"pinned_gib": 1.0}])
def test_the_card_s_batches_are_the_processor_s(kept: dict[str, float]) -> None:
    job = make_job(replace(SETTINGS, **kept))
    host = Batches(job, 0, 1)
    with make_batches(job, 0, 1, torch.device("cuda")) as loader:
        for iteration in range(12):
            expected, found = host.take(iteration), loader.take(iteration)
            assert torch.equal(found[0].cpu(), expected[0])
            assert torch.equal(found[1].cpu(), expected[1])
