"""Acquisition changed in training: the shifts of `stress` on stored voxels, in range, a function of the draw."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import CASES, NETWORK, RECORD, SAMPLE, SETTINGS, Killed, kill_at, read, results, run

from elsewhere.errors import BadStudy
from elsewhere.model.acquisition import KINDS, Acquire, Grid, draw_shift
from elsewhere.model.cuda_loader import DeviceBatches, Volumes
from elsewhere.model.job import Job, draws_of, samples_of
from elsewhere.model.sample import Case
from elsewhere.model.training import Batches, train_job
from elsewhere.scans.shifts import LADDERS, apply_shift

HU = Grid("HU", 0.0, (5.0, 2.0, 2.0))
CASE = Case("a", "p", "s", 1, 5, -1000, 400)
CHANGED = replace(SETTINGS, tensorboard=False, acquisition=0.8)


def job(folder: Path, progress=None, **changed) -> Job:
    settings = replace(CHANGED, **changed)
    return Job(NETWORK, SAMPLE, settings, CASES[:8], CASES[8:], read, folder, RECORD, progress, grid_of=lambda _: HU)


def volume() -> np.ndarray:
    voxels = np.random.default_rng(3).integers(-1000, 401, (5, 12, 12)).astype(np.int16)
    voxels[0, 0, :2] = -1000, 400
    return voxels


def test_every_kind_is_drawn_within_its_usual_doses():
    shifts = [draw_shift(np.random.default_rng([i]), HU, 0.5, 1.0) for i in range(2000)]
    count = Counter(one.name for one in shifts if one)
    assert set(count) == set(KINDS)
    assert 900 < count.total() < 1100
    for one in filter(None, shifts):
        assert LADDERS[one.name].doses[0] <= one.dose <= LADDERS[one.name].doses[-1]
    assert max(one.dose for one in shifts if one and one.name == "noise") > 40


def test_strength_scales_the_dose_up_to_the_largest_that_makes_sense():
    half, whole, huge = (draw_shift(np.random.default_rng(5), HU, 1.0, s) for s in (0.5, 1.0, 1e6))
    assert half is not None
    assert half.dose * 2 == pytest.approx(whole.dose)
    assert huge.dose == LADDERS[huge.name].largest


@pytest.mark.parametrize(
    ("grid", "without"),
    [(Grid("relative", None, None), {"noise", "window", "thickness"}), (replace(HU, spacing=None), {"thickness"})],
)
def test_what_a_scan_cannot_have_is_not_drawn(grid, without):
    names = {draw_shift(np.random.default_rng([i]), grid, 1.0, 1.0).name for i in range(400)}
    assert names == set(KINDS) - without


def test_slices_are_those_that_stress_would_make():
    for draw in range(60):
        rng = np.random.default_rng([7, draw, 4])
        shift = draw_shift(rng, HU, 1.0, 1.0)
        found, ends = Acquire(1.0, 1.0, lambda _: HU, 7)(draw, CASE, volume())
        expected = apply_shift(HU.volume(volume()), shift, (7, draw)).voxels
        assert np.array_equal(found, expected.clip(*ends))
        assert found.dtype == np.int16
        if shift.name == "window":
            assert ends == (expected.min(), expected.max())
        else:
            assert ends == (-1000, 400)


def test_nothing_is_changed_without_a_share():
    voxels = volume()
    found, ends = Acquire(0.0, 1.0, lambda _: HU, 7)(1, CASE, voxels)
    assert found is voxels
    assert ends == (-1000, 400)


def test_inputs_are_the_same_again_and_change_with_the_draw():
    samples = samples_of(job(Path(), acquisition=1.0))
    plain = samples_of(job(Path(), acquisition=0.0))
    inputs = [samples.example(draw)[0].copy() for draw in range(8)]
    assert all(np.array_equal(samples.example(draw)[0], one) for draw, one in enumerate(inputs))
    assert [samples.plan(draw) for draw in range(8)] == [plain.plan(draw) for draw in range(8)]
    assert sum(not np.array_equal(plain.example(draw)[0], one) for draw, one in enumerate(inputs)) >= 6


def test_batches_of_a_card_are_the_same():
    one = job(Path(), acquisition=1.0)
    volumes = Volumes(read, torch.device("cpu"), 0, 0)
    loader = DeviceBatches(
        samples_of(one), SAMPLE, volumes, slices=6, draws=lambda i: draws_of(2, 0, 1, i), device=torch.device("cpu"),
        threads=1,
    )  # fmt: skip
    with loader, Batches(one, 0, 1) as plain:
        for iteration in range(4):
            assert torch.allclose(loader.take(iteration)[0], plain.take(iteration)[0], atol=1e-6)


def test_it_resumes_bit_by_bit(tmp_path):
    train_job(job(tmp_path / "whole"))
    with pytest.raises(Killed):
        train_job(job(tmp_path / "killed", kill_at(7)))
    train_job(job(tmp_path / "killed"))
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def test_it_is_refused_where_nothing_tells_what_the_numbers_mean(tmp_path):
    with pytest.raises(BadStudy, match=r"training\.acquisition: is 0\.8, but nothing tells"):
        run(tmp_path, CHANGED)
