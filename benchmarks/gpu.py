"""A CUDA device in; milliseconds of a full-size training step and prediction, how busy it is kept, peak memory, out.

    python benchmarks/gpu.py [--rounds 5] [--precision bf16-mixed] [--card 4]

The training is the product's own: its step, its loader, a store of made-up scans. How busy the card is kept is the time
of a step on one batch that is already there, over that of a step with the loader.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import FIGURE_HEAD, HEAD, Figure, Missing, Part, machine, table
from predict import LENGTH, make_scan

from elsewhere.model import training
from elsewhere.model.cuda import carry_out, compiled, finish, fuse
from elsewhere.model.fast_training import Trained
from elsewhere.model.network import Network, NetworkSettings
from elsewhere.model.prediction import predict
from elsewhere.model.sample import Case, SampleSettings, evaluation_plan
from elsewhere.model.state import State
from elsewhere.scans import store

SCANS, SLICES, WARM = 8, 200, 8
STEP, PREDICTION, PEAK, BUSY = 15.0, 10.0, 12.0, 0.95  # issue 3's targets on one H200: ms, ms, GiB, share


def make_job(folder: Path, precision: Any, card: float) -> training.Job:
    """A full-size training over a store of made-up scans."""
    voxels, stored, cases = make_scan(SLICES).voxels, {}, []
    for number in range(SCANS):
        one = store.write(folder / f"{number}.b2nd", np.roll(voxels, number, axis=1), {})
        stored[str(number)] = one
        cases.append(Case("site", str(number), str(number), number % 2, SLICES, one.minimum, one.maximum))
    settings = training.TrainingSettings(accelerator="cuda", precision=precision, card_gib=card, tensorboard=False)
    network, sample = NetworkSettings(), SampleSettings()
    read = lambda case, start, stop: stored[case.scan].read(start, stop)  # noqa: E731
    return training.Job(network, sample, settings, cases, cases, read, folder, {}, None)


class Same:
    """One batch, already on the card, again and again."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def take(self, _: int) -> Any:
        return self._batch


def train(job: training.Job, rounds: int) -> tuple[list[float], list[float], float]:
    """Milliseconds of steps with the loader, and on one batch; peak GiB."""
    from lightning.fabric import Fabric  # noqa: PLC0415 - takes seconds to import

    fabric = Fabric(accelerator="cuda", devices=1, precision=job.settings.precision)
    network = Network(job.network)
    optimizer = torch.optim.Adam(network.parameters(), lr=job.settings.learning_rate, fused=True)
    module, optimizer = fabric.setup(Trained(network), optimizer)
    fuse(network)
    run = training._Run(fabric, job, State({}), network, optimizer, None)
    torch.cuda.reset_peak_memory_stats()
    with training.make_batches(job, 0, 1, fabric.device) as batches:
        loaded = timed(lambda: training._step(run, module, batches), rounds)
        same: Any = Same(batches.take(run.state.iteration))
        alone = timed(lambda: training._step(run, module, same), rounds)
    return loaded, alone, torch.cuda.max_memory_allocated() / 2**30


def predictions(job: training.Job, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds from voxels in memory to a probability, and from voxels on the card to logits."""
    network, case = Network(job.network).eval().cuda(), job.training[0]
    fuse(network)
    voxels = job.read(case, 0, LENGTH)
    short = Case("site", "p", "s", 1, LENGTH, case.minimum, case.maximum)
    there, plan = torch.from_numpy(voxels).cuda(), evaluation_plan(short, 0)

    @torch.inference_mode()
    def on_the_card() -> None:
        network(carry_out(there, plan, job.sample, (case.minimum, case.maximum), LENGTH)[None, None])

    whole = timed(lambda: predict(network, short, lambda _, start, stop: voxels[start:stop]), rounds)
    return whole, timed(on_the_card, rounds, wait=True)


def timed(work: Callable[[], object], rounds: int, *, wait: bool = False) -> list[float]:
    """Milliseconds of each round, after some unmeasured ones; where not `wait`, from one's end to the next one's.

    A training step waits for its loss itself, and its backward pass runs on beside what comes next.
    """
    for _ in range(WARM):
        work()
    torch.cuda.synchronize()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        if wait:
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return times


def figure(what: str, times: list[float], target: float | None) -> Figure:
    return Figure(what, statistics.median(times), "ms", target, f"{min(times):.1f}–{max(times):.1f} ms")


def measure(rounds: int, precision: str = "bf16-mixed", card: float = 4.0) -> Part:
    if not torch.cuda.is_available():
        return Part([Missing("training step and prediction at full size", "", "no CUDA device here")])
    device = torch.device("cuda", torch.cuda.current_device())
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(Path(folder), precision, card)
        loaded, alone, peak = train(job, 10 * rounds)
        whole, there = predictions(job, 10 * rounds)
    busy = statistics.median(alone) / statistics.median(loaded)
    figures = [
        figure(f"training step, {precision}, batch 1", loaded, STEP),
        figure("the same on a batch that is already there", alone, None),
        Figure("the card idles for the loader", 1 - busy, "of the time", 1 - BUSY),
        Figure("peak memory of training", peak, "GiB", PEAK),
        figure("prediction, from voxels in memory", whole, PREDICTION),
        figure("prediction, from voxels on the card", there, None),
    ]
    how = "compiled" if compiled(device) is not finish else "not compiled"
    return Part(figures=figures, text=f"{torch.cuda.get_device_name()}, first level {how}.\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="tens of steps")
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--card", type=float, default=4.0, help="GiB of volumes kept on the card")
    given = parser.parse_args()
    found = measure(given.rounds, given.precision, given.card)
    print(machine(["elsewhere", "torch"]))
    print(table(HEAD, [row.cells() for row in found.rows]))
    print(table(FIGURE_HEAD, [one.cells() for one in found.figures]), found.text)


if __name__ == "__main__":
    main()
