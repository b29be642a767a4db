"""Train a network and keep its best validated weights; a training that was killed goes on where it stopped."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elsewhere.errors import BadCheckpoint, BadScan, BadStudy
from elsewhere.model.attempts import attempt, locks_are_local, settle
from elsewhere.model.backbone import make_network
from elsewhere.model.batch import predict_many
from elsewhere.model.cuda import fuse
from elsewhere.model.cuda_loader import DeviceBatches
from elsewhere.model.curves import Curves
from elsewhere.model.fast_training import Trained
from elsewhere.model.features import FeatureBatches, Head
from elsewhere.model.job import SCANS, Batches, Job, Progress, deciding, lengthened, make_batches
from elsewhere.model.mixstyle import draw_mix
from elsewhere.model.network import (
    Network,
    NetworkSettings,
    amend_checkpoint,
    checkpoint_is_whole,
    read_checkpoint_record,
    save_checkpoint,
    seed_torch,
)
from elsewhere.model.objectives import Objective
from elsewhere.model.recipe import Average, TrainingSettings, make_optimizer, rate_at
from elsewhere.model.sample import WINDOW_STRIDE, Case, Read, SampleSettings, hash_cases, seed_of
from elsewhere.model.selection import (
    WORDS,
    best_check,
    by_chance,
    criterion,
    describe_selection,
    is_enough,
    score_check,
)
from elsewhere.model.settings import sites_obstacle
from elsewhere.model.state import State, check_job, lock, read_state, restore, save_state
from elsewhere.model.teacher import Teacher
from elsewhere.stages import stage
from elsewhere.statistics.selected import Selected


def train(  # noqa: PLR0917 - the settings first, then the scans, then where to: called from one place
    network_settings: NetworkSettings,
    sample_settings: SampleSettings,
    training_settings: TrainingSettings,
    training: Sequence[Case],
    validation: Sequence[Case],
    read: Read,
    folder: Path,
    record: Mapping[str, Any],
    progress: Progress | None = None,
    *,
    stride: int = WINDOW_STRIDE,
) -> Path:
    """Train a network, or go on where a killed training stopped; a finished one is not repeated.

    Randomness is a function of seed and iteration, and the state is saved whole, so that a training killed at any
    moment and started again ends with the same bytes as one that was left alone (same machine, same thread count).

    Args:
        network_settings: the network.
        sample_settings: how scans become inputs.
        training_settings: iterations, batch, Adam, validation, devices.
        training: pooled training scans of all training sites.
        validation: pooled validation scans of the same sites.
        read: gives a case's stored slices.
        folder: the model's folder: checkpoint.safetensors, checkpoint.json, curves.csv, tensorboard/, state/.
        record: what the checkpoint says of itself; `allow_one_class` in it permits a training set of one class.
        progress: called with (iterations done, iterations, text).
        stride: slices from one window of a long validation scan to the next.

    Returns:
        The checkpoint's path without suffix, for `load_checkpoint`.

    Raises:
        BadStudy: no scans, one class only, settings that changed since the start, a folder in use.
        BadScan: the loss is not a number.
        BadCheckpoint: the saved state is damaged.
    """
    job = Job(
        network_settings,
        sample_settings,
        training_settings,
        training,
        validation,
        read,
        folder,
        record,
        progress,
        stride,
    )
    return train_job(job)


def train_job(job: Job) -> Path:
    """The same of a job; see `train`."""
    _check(job)
    if not locks_are_local():
        with lock(job.folder / "state"):
            _go_on(job)
        return job.stem
    settle(job.folder)
    if not _is_over(job, _saved_state(job)):
        with attempt(job.folder, job.identity()) as own:
            _go_on(replace(job, folder=own))
    return job.stem


def _go_on(job: Job) -> None:
    state = _saved_state(job)
    if not _is_over(job, state):
        _launch(job, state)


def check_kept(job: Job, *, whole: bool) -> None:
    """Refuse scans, or anything, that a begun or finished training of the same folder does not go on with.

    Args:
        job: the training as it would be now.
        whole: compare everything that decides the result, and not only scans, labels, split and preparation.

    Raises:
        BadStudy: names what has changed.
        BadCheckpoint: the training's state is damaged.
    """
    now = json.loads(json.dumps(job.identity()))
    begun = _begun(job, now)
    if begun is None:
        return
    before = {**begun, "training": lengthened(begun["training"], now["training"])}
    if any(before.get(name) != now[name] for name in SCANS):
        raise BadStudy(
            job.folder,
            "this training was started with other scans: files, labels or the split have changed since",
            "Restore them, give another folder for this study, or remove that folder to train again",
        )
    if whole:
        check_job(job.folder, before, now)
    else:
        old, new = (one["record"].get("preparation") for one in (before, now))
        check_job(job.folder, {"preparation": old}, {"preparation": new})


def _begun(job: Job, now: dict[str, Any]) -> dict[str, Any] | None:
    """What a training of this folder was started with, by its state; by its checkpoint where its state is gone.

    A checkpoint that is damaged beside no state says nothing: the training starts from its beginning.
    """
    state = read_state(job.state_path)
    if state is not None:
        return state.job
    try:
        record = read_checkpoint_record(job.stem)
    except BadCheckpoint:
        return None
    known: dict[str, Any] = {name: record[name] for name in ("network", "sample") if name in record}
    known |= {name: value for name, value in zip(SCANS, scan_hashes_of(record), strict=True) if value}
    if "training" in record:
        known["training"] = deciding(record["training"])
    if "preparation" in record:
        known["record"] = {**now["record"], "preparation": record["preparation"]}
    return now | known


def scan_hashes_of(record: Mapping[str, Any]) -> tuple[str, str]:
    """Hashes of the training and validation scans that a checkpoint's record keeps; "" where it is of a version before.

    Args:
        record: what `read_checkpoint_record` gives.
    """
    hashes = record.get("scan_hashes", {})
    return hashes.get(SCANS[0], ""), hashes.get(SCANS[1], "")


def _check(job: Job) -> None:
    for name, cases in (("training", job.training), ("validation", job.validation)):
        if not cases:
            raise BadStudy(job.folder, f"there are no {name} scans", "Look at the study's list of bad scans")
    labels = {case.label for case in job.training}
    if len(labels) < job.network.classes and not job.record.get("allow_one_class", False):
        raise BadStudy(
            job.folder,
            f"all {len(job.training)} training scans have label {labels.pop()}",
            "Add a site that has the other class: a network cannot learn a difference it never sees",
        )
    if (wrong := sites_obstacle(job.settings, len({case.site for case in job.training}))) is not None:
        key, what, then = wrong
        raise BadStudy(f"training.{key}", what, then)
    if job.start is not None and job.start.trunk_stays and (job.settings.mixstyle or job.settings.acquisition):
        what = "(or training.acquisition) changes what enters the convolutional part, whose features are kept here"
        raise BadStudy("training.mixstyle", what, "Set both to 0")
    _, rows, columns = job.network.input
    if rows != columns and job.sample.augment and job.sample.turn:
        raise BadStudy(
            "sample.turn", f"inputs of {rows} rows and {columns} columns cannot be turned", "Set turn = false"
        )


def _saved_state(job: Job) -> State:
    """The state to go on from: the saved one, or a new one where there is none or its checkpoint was removed."""
    state, fresh = read_state(job.state_path), State(json.loads(json.dumps(job.identity())))
    if state is None:
        return fresh
    begun = {**state.job, "training": lengthened(state.job["training"], fresh.job["training"])}
    check_job(job.folder, begun, fresh.job)
    state.job = fresh.job
    if _is_over(job, state):
        return state if checkpoint_is_whole(job.stem) else fresh
    if state.best_iteration and not job.stem.with_suffix(".json").exists():
        return fresh
    if state.best_iteration:
        read_checkpoint_record(job.stem)  # raises where it is damaged: now, not at the end
    return state


def _is_over(job: Job, state: State) -> bool:
    settings = job.settings
    return state.iteration >= settings.iterations or is_enough(state.curves, settings.select, settings.patience)


def _launch(job: Job, state: State) -> None:
    """Run on one device here, or on several in processes of their own (or a cluster's)."""
    from lightning.fabric import Fabric  # noqa: PLC0415 - takes seconds to import

    several = job.settings.devices > 1
    cluster = any(name in os.environ for name in ("LOCAL_RANK", "SLURM_PROCID"))
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `srun` command is available")  # one process needs none
        fabric = Fabric(
            accelerator=auto if job.settings.accelerator == "auto" else job.settings.accelerator,
            devices=job.settings.devices,
            precision=job.settings.precision,
            strategy=("ddp" if cluster else "ddp_fork") if several else "auto",
        )
    if several:
        fabric.launch(_run, job, state)
    else:
        _run(fabric, job, state)


@dataclass
class _Run:
    """One device's part of a training under way; `curves` only in the process that writes, `average` where wanted."""

    fabric: Any
    job: Job
    state: State
    network: Network
    optimizer: Any
    objective: Objective
    average: Average | None
    curves: Curves | None
    batches: Batches | DeviceBatches | FeatureBatches
    teacher: Teacher | None

    @property
    def averaged(self) -> Network | None:
        """The network of the averaged weights."""
        return self.average.network if self.average else None

    @property
    def validated(self) -> Network:
        """The network that is validated and kept."""
        return self.averaged or self.network


def _run(fabric: Any, job: Job, state: State) -> None:
    settings = job.settings
    with _reproducible(settings.threads):
        torch.manual_seed(seed_of(settings.seed, "weights"))
        network = make_network(job.network, settings.batch)
        if job.start:
            job.start.begin(network)
        average = Average(network, settings.ema) if settings.ema else None
        optimizer = make_optimizer(network, settings)
        if state.iteration:
            restore(job.state_path, state, network, optimizer, average.network if average else None)
        stays = job.trunk_stays
        objective = Objective(settings, state.site_weights, [case.site for case in job.training], network)
        module, optimizer = fabric.setup(Head(network) if stays else Trained(network), optimizer)
        if average:
            average.network.to(fabric.device)
        if fabric.device.type == "cuda":
            for one in (network, average.network) if average else (network,):
                fuse(one)
        parts = (("network", job.network), ("sample", job.sample), ("training", settings))
        curves = None
        if fabric.is_global_zero:
            curves = Curves(job.folder, state.curves, tensorboard=settings.tensorboard, settings=parts)
        place = fabric.global_rank, fabric.world_size
        with (
            FeatureBatches(job, network, fabric.device, *place)
            if stays
            else make_batches(job, *place, fabric.device) as batches
        ):
            teacher = _teacher(job, fabric.device)
            run = _Run(fabric, job, state, network, optimizer, objective, average, curves, batches, teacher)
            while not _is_over(job, state):
                _step(run, module)
                _keep(run)
        if curves:
            curves.close()


def _teacher(job: Job, device: torch.device) -> Teacher | None:
    """The network as it was, where the training holds on to what it said; its weights come from the start."""
    if job.start is None or not job.start.distil:
        return None
    with torch.random.fork_rng(devices=[]):
        return Teacher(make_network(job.network, job.settings.batch).to(device), job.start)


def _step(run: _Run, module: Any) -> None:
    """One iteration of Adam on the objective."""
    done, fabric, settings = run.state.iteration, run.fabric, run.job.settings
    wait = torch.cuda.synchronize if fabric.device.type == "cuda" else None  # for `--profile`
    with stage("augment", wait):
        inputs, labels, cases = run.batches.take(done)
    seed_torch(seed_of(settings.seed, "dropout", done, fabric.global_rank), fabric.device)
    module.train()
    with stage("forward", wait):
        if settings.mixstyle:
            rng = np.random.default_rng(seed_of(settings.seed, "mixstyle", done, fabric.global_rank))
            module.module.mix = draw_mix(rng, len(labels), settings.mixstyle, settings.mixstyle_alpha)
        logits = module(inputs)
        loss = run.objective(logits, labels, cases, done)
        if run.teacher:
            loss = loss + run.teacher.loss(logits, inputs)
        run.state.loss_sum += _finite(loss, cases, done)
    run.optimizer.zero_grad()
    with stage("backward", wait):
        fabric.backward(loss)
    with stage("step", wait):
        if run.job.start:
            run.job.start.pull(run.network)
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(run.network.parameters(), settings.clip)
        for group in run.optimizer.param_groups:
            group["lr"] = rate_at(done, settings)
        run.optimizer.step()
        if run.average:
            run.average.update(run.network, done + 1)
    run.state.iteration += 1


def _keep(run: _Run) -> None:
    """After an iteration: validate, keep the model if it is the best, save the state; each where it is due."""
    state, settings = run.state, run.job.settings
    validate = state.iteration == settings.iterations or state.iteration % settings.validate_every == 0
    if validate:
        with stage("validation"):
            _validate(run)
    if run.curves and (validate or state.iteration % settings.save_every == 0):
        with stage("save the state"):
            save_state(run.job.state_path, state, run.network, run.optimizer, run.averaged)
    if run.curves and run.job.progress:
        run.job.progress(state.iteration, settings.iterations, _text(run.job, state))


def _validate(run: _Run) -> None:
    job, state = run.job, run.state
    probabilities = validation_probabilities(run.fabric, job, run.validated, run.batches)
    since = state.iteration - (state.curves[-1].iteration if state.curves else 0)
    balanced = job.settings.balanced_classes
    check = score_check(state.iteration, state.loss_sum / since, job.validation, probabilities, balanced=balanced)
    state.curves.append(check)
    state.probabilities.append(probabilities)
    state.loss_sum = 0.0
    state.best_iteration = best_check(state.curves, job.settings.select).iteration
    if run.curves:
        if state.best_iteration == state.iteration:
            save_checkpoint(job.stem, run.validated, _describe(job, state))
        elif _is_over(job, state):
            chance = _by_chance(job, state)
            amend_checkpoint(job.stem, selection=_selection(job, state), by_chance=chance and asdict(chance))
        run.curves.add(state.curves)


def validation_probabilities(
    fabric: Any, job: Job, network: Network, batches: Batches | DeviceBatches | FeatureBatches
) -> NDArray[np.float64]:
    """COVID probability of each validation scan, (scans,), without dropout; shared out among the devices."""
    scans = len(job.validation)
    mine = range(fabric.global_rank, scans, fabric.world_size)
    training = network.training
    network.eval()
    if isinstance(batches, FeatureBatches):
        windows = batches.windows(network, [job.validation[i] for i in mine])
    else:
        windows = predict_many(network, [(job.validation[i], job.read) for i in mine], job.sample, job.stride)
    network.train(training)
    probabilities = torch.zeros(scans, dtype=torch.float64)
    probabilities[list(mine)] = torch.tensor([one.max() for one in windows], dtype=torch.float64)
    found: NDArray[np.float64] = fabric.all_reduce(probabilities, reduce_op="sum").cpu().numpy()
    return found


def _describe(job: Job, state: State) -> dict[str, Any]:
    selection = _selection(job, state)
    return {
        **job.record,
        "sample": asdict(job.sample),
        "training": asdict(job.settings),
        "training_scans": len(job.training),
        "validation_scans": len(job.validation),
        "scan_hashes": dict(zip(SCANS, (hash_cases(job.training), hash_cases(job.validation)), strict=True)),
        "iteration": state.best_iteration,
        "validation_accuracy": selection["kept"]["accuracy"],
        "selection": selection,
        **({} if (chance := _by_chance(job, state)) is None else {"by_chance": asdict(chance)}),
        **({"start": job.start.identity()} if job.start else {}),
    }


def _selection(job: Job, state: State) -> dict[str, Any]:
    settings = job.settings
    return describe_selection(state.curves, settings.select, job.validation, balanced=settings.balanced_classes)


def _by_chance(job: Job, state: State) -> Selected | None:
    """Of the training that is over: until then the choice is not made."""
    if not _is_over(job, state):
        return None
    settings, said = job.settings, state.probabilities
    return by_chance(state.curves, settings.select, job.validation, said, balanced=settings.balanced_classes)


def _text(job: Job, state: State) -> str:
    if not state.curves:
        return "before the first validation"
    by = criterion(state.curves, job.settings.select)
    best = best_check(state.curves, job.settings.select)
    return f"best validation {WORDS[by]} {getattr(best, by):.2f} at {best.iteration}"


def _finite(loss: Tensor, cases: Sequence[Case], iteration: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise BadScan(
            ", ".join(f"{case.site}: {case.scan}" for case in cases),
            f"the training loss is {value} at iteration {iteration}",
            "Look at the scan's voxels; if they are sound, lower training.learning_rate",
        )
    return value


@contextmanager
def _reproducible(threads: int) -> Iterator[None]:
    """Deterministic kernels and a set number of threads for a while; torch's own random state is put back."""
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        ):
            yield
    finally:
        torch.set_num_threads(before)
