"""Scans of a site and models that call it home in; what each model makes of each scan under each shift, kept, out.

Raw scans are read through the readers of their sites, shifted, measured (`marks`), prepared and predicted. Each scan's
probabilities are kept under a key of all that they depend on, so that a stopped run goes on and nothing is ever stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.model.batch import predict_many
from elsewhere.model.cuda import device_of
from elsewhere.model.declared import Declared
from elsewhere.model.network import Network, load_checkpoint, read_checkpoint_record
from elsewhere.model.network_settings import NetworkSettings
from elsewhere.model.runnable import hash_of
from elsewhere.model.runnable.protocol import RunnableModel
from elsewhere.model.sample import Case, Read, SampleSettings
from elsewhere.scans import store
from elsewhere.scans.intake import prepared_as
from elsewhere.scans.marks import MARKS_VERSION, marks, shifted_marks
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import Scan
from elsewhere.scans.shifts import SHIFTS_VERSION, Shift, apply_shift, obstacle, plan_shift
from elsewhere.scans.sites import list_site, reader
from elsewhere.scans.volume import Volume, content_hash, prepare
from elsewhere.studies.asking import answer_of, given_of, model_to_run, opened
from elsewhere.studies.file import Site, Study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import keep_record, kept_record, key

Found = dict[str, Any]
""""blur 2" -> probability, or why there is none; "marks blur 2" -> {mark: value}."""

AS_IS = "as it is"
HELD = 1 << 26  # bytes of prepared volumes that wait to be predicted together


@dataclass(frozen=True)
class Task:
    """One home scan and the models to try it on.

    Attributes:
        kind: of its site.
        scan: the scan.
        preparation: how the study prepares volumes.
        sample: how stored voxels become inputs.
        stride: slices from one window of a long scan to the next.
        shifts: to apply, besides none.
        models: each model (its checkpoint's stem, or what the study file says of one that was not trained here), its
            hash, and the file that keeps what it says of this scan.
        seed: of the noise.
        device: to predict on.
        network: of the study's own models.
    """

    kind: str
    scan: Scan
    preparation: Preparation
    sample: SampleSettings
    stride: int
    shifts: tuple[Shift, ...]
    models: tuple[tuple[Path | Declared, str, Path], ...]
    seed: int
    device: str
    network: NetworkSettings | None = None


@dataclass(frozen=True)
class Look:
    """One scan of another site, to be measured as it is.

    Attributes:
        kind: of its site.
        scan: the scan.
        relative_window: HU window that 0..255 data are taken to have.
        place: file that keeps its marks.
    """

    kind: str
    scan: Scan
    relative_window: tuple[float, float]
    place: Path


# What is to be done -----------------------------------------------------------------------------------------------


def tasks_of(
    plan: Study, folder: Folder, homes: Mapping[str, Mapping[str, Sequence[str]]], shifts: tuple[Shift, ...]
) -> tuple[list[Task], list[tuple[str, str, BadScan]]]:
    """One task per home scan; scans that are gone are bad.

    Args:
        plan: the study.
        folder: its folder.
        homes: training site -> scan -> models that are to be tried on it.
        shifts: to apply.
    """
    names = dict.fromkeys(model for scans in homes.values() for models in scans.values() for model in models)
    asked = {name: asked_of(plan, folder, name) for name in names}
    hashes = {name: hash_of(m) if isinstance(m, Declared) else checkpoint_hash(m) for name, m in asked.items()}
    tasks: list[Task] = []
    bad: list[tuple[str, str, BadScan]] = []
    for name, wanted in homes.items():
        site = plan.site(name)
        scans = scans_of(site)
        for scan, models in wanted.items():
            try:
                found = _listed(scans, name, scan)
                at = [(asked[m], hashes[m], place_of(plan, folder, site, found, hashes[m])) for m in models]
                tasks.append(_task(plan, site, found, shifts, at))
            except BadScan as error:
                bad.append((name, scan, error))
    return tasks, bad


def asked_of(plan: Study, folder: Folder, name: str) -> Path | Declared:
    """A model as a task names it: the stem of its checkpoint, or what the study file says of it."""
    return model_to_run(plan, name, "--models") or folder.checkpoint(name)


def checkpoint_hash(stem: Path) -> str:
    """Hash of a checkpoint's weights; raises BadCheckpoint."""
    return str(read_checkpoint_record(stem)["sha256"])


def looks_of(
    plan: Study, folder: Folder, wanted: Mapping[str, Sequence[str]]
) -> tuple[list[Look], list[tuple[str, str, BadScan]]]:
    """One look per scan of other sites, site -> scans; scans that are gone are bad."""
    looks: list[Look] = []
    bad: list[tuple[str, str, BadScan]] = []
    for name, names in wanted.items():
        site = plan.site(name)
        scans = scans_of(site)
        for scan in names:
            try:
                found = _listed(scans, name, scan)
                place = _marks_place(plan, folder, site, found)
                looks.append(Look(site.kind, found, prepared_as(plan.preparation, found.facts).relative_window, place))
            except BadScan as error:
                bad.append((name, scan, error))
    return looks, bad


def scans_of(site: Site) -> dict[str, Scan]:
    """A site's scans by their ids."""
    found = list_site(site.kind, site.root, site.name, site.labels, site.options)
    return {scan.scan: scan for scan in found.scans}


def _listed(scans: Mapping[str, Scan], site: str, scan: str) -> Scan:
    if scan not in scans:
        raise BadScan(f"{site}: {scan}", "is no longer at its site", "Restore it, or run the study again")
    return scans[scan]


def _task(
    plan: Study, site: Site, scan: Scan, shifts: tuple[Shift, ...], models: Iterable[tuple[Path | Declared, str, Path]]
) -> Task:
    return Task(
        kind=site.kind,
        scan=scan,
        preparation=prepared_as(plan.preparation, scan.facts),
        sample=plan.sample,
        stride=plan.prediction.stride,
        shifts=shifts,
        models=tuple(models),
        seed=plan.seed,
        device=device_of(plan.training.accelerator),
        network=plan.network,
    )


def place_of(plan: Study, folder: Folder, site: Site, scan: Scan, checkpoint: str) -> Path:
    """File that keeps what one model, by its hash, says of one scan; everything that this depends on is in its name."""
    preparation = prepared_as(plan.preparation, scan.facts)
    scanned = store.key(scan, site.root, (site.kind, reader(site.kind).READER_VERSION), preparation)
    inputs = [checkpoint, scanned, asdict(plan.sample), plan.prediction.stride, plan.seed]
    return folder.shifted_scan(key("shifted scans", SHIFTS_VERSION, MARKS_VERSION, *inputs))


def _marks_place(plan: Study, folder: Folder, site: Site, scan: Scan) -> Path:
    """File that keeps the marks of one scan as it is."""
    kind, preparation = (site.kind, reader(site.kind).READER_VERSION), prepared_as(plan.preparation, scan.facts)
    return folder.marks(key("marks", MARKS_VERSION, store.key(scan, site.root, kind, preparation)))


# One scan ---------------------------------------------------------------------------------------------------------


def stress_scan(task: Task) -> BadScan | None:
    """Predict one scan under every shift that is not kept yet, and keep it; a scan that fails is told, not raised.

    Raises:
        BadCheckpoint: the weights are damaged.
        OSError: the folder cannot be written.
    """
    told = {place: kept_record(place) for _, _, place in task.models}
    lacking = _lacking(task, told.values())
    if not lacking:
        return None
    own = [(m, sha, p) for m, sha, p in task.models if not isinstance(m, Declared)]
    networks = {p: _network(m, sha, task.device, task.network) for m, sha, p in own}
    foreign = {p: opened(m, sha, task.device) for m, sha, p in task.models if isinstance(m, Declared)}
    try:
        for entry, answers in _answers(task, lacking, networks, foreign):
            for place, answer in answers.items():
                told[place][entry] = answer
    except BadScan as error:
        return error
    except Exception as error:  # one bad scan never stops a site, whatever a codec does with it
        return _failed(task.scan, "shifted", error)
    for place, found in told.items():
        keep_record(place, found)
    return None


def measure_scan(look: Look) -> BadScan | None:
    """Measure one scan as it is, and keep its marks; a scan that fails is told, not raised.

    Raises:
        OSError: the folder cannot be written.
    """
    if kept_record(look.place):
        return None
    try:
        found = marks(_read(look.kind, look.scan), look.relative_window)
    except BadScan as error:
        return error
    except Exception as error:  # as above
        return _failed(look.scan, "measured", error)
    keep_record(look.place, found)
    return None


def _failed(scan: Scan, what: str, error: Exception) -> BadScan:
    return BadScan(
        f"{scan.site}: {scan.scan}",
        f"cannot be {what} ({type(error).__name__}: {error})",
        "Take the scan out, or report it with this message",
    )


def _read(kind: str, scan: Scan) -> Volume:
    volume = reader(kind).read(scan)
    return replace(volume, facts={**scan.facts, **volume.facts})


def missing(task: Task) -> list[Shift]:
    """Shifts, the scan as it is among them, that a model has not answered yet."""
    return _lacking(task, [kept_record(place) for _, _, place in task.models])


def _lacking(task: Task, told: Collection[Found]) -> list[Shift]:
    return [s for s in (plan_shift("blur", 0), *task.shifts) if any(entry_of(s) not in found for found in told)]


def entry_of(shift: Shift) -> str:
    """Under which name the answer to a shift is kept."""
    return f"{shift.name} {shift.dose!r}" if shift.dose else AS_IS


def marks_of(shift: Shift) -> str:
    """Under which name the marks of a shift are kept."""
    return f"marks {entry_of(shift)}"


@lru_cache(maxsize=16)
def _network(stem: Path, sha: str, device: str, network: NetworkSettings | None) -> Network:  # noqa: ARG001 - the hash is part of the cache's key
    torch.set_num_threads(min(2, torch.get_num_threads()))
    return load_checkpoint(stem, network)[0].to(device)


def _answers(
    task: Task,
    shifts: Sequence[Shift],
    networks: Mapping[Path, Network],
    foreign: Mapping[Path, RunnableModel],
) -> Iterable[tuple[str, dict[Path, Any]]]:
    """Each shift's marks and its answer of each model; voxels that were met before are not predicted again.

    A shift on which a model that was not trained here fails has no answer of it, and is tried again by the next run.
    """
    volume = _read(task.kind, task.scan)
    noise = (task.seed, int(hashlib.sha256(task.scan.scan.encode()).hexdigest()[:8], 16))
    names: dict[str, str] = {}
    held: dict[str, NDArray[Any]] = {}
    said: dict[str, dict[Path, float | str]] = {}
    theirs: dict[str, dict[Path, float | str]] = {}
    for shift in shifts:
        if why := obstacle(volume, shift):
            yield entry_of(shift), dict.fromkeys([*networks, *foreign], why)
            continue
        moved = apply_shift(volume, shift, noise)
        seen = _marks(moved, shift, task.preparation.relative_window)
        yield marks_of(shift), dict.fromkeys([*networks, *foreign], seen)
        if AS_IS in theirs and np.array_equal(moved.voxels, volume.voxels):
            names |= {entry_of(shift): names[AS_IS]} if networks else {}
            theirs[entry_of(shift)] = theirs[AS_IS]
            continue
        theirs[entry_of(shift)] = _ask(task.scan, moved, foreign)
        if not networks:
            continue
        voxels, _ = prepare(moved, task.preparation)
        name = names[entry_of(shift)] = content_hash(voxels)
        if name not in said:
            held[name] = voxels
        if sum(v.nbytes for v in held.values()) > HELD:
            said |= _predict(task, networks, held)
            held = {}
    said |= _predict(task, networks, held)
    yield from ((entry, said[names[entry]] | own if networks else own) for entry, own in theirs.items())


def _ask(scan: Scan, volume: Volume, models: Mapping[Path, RunnableModel]) -> dict[Path, float | str]:
    """Probability of each model that was not trained here, or why it refuses; of one that fails nothing."""
    found: dict[Path, float | str] = {}
    for place, model in models.items():
        answer = answer_of(model, given_of(scan, volume))
        if (probability := answer.probability) is not None:
            found[place] = probability
        elif answer.refused:
            found[place] = answer.reason
    return found


def _marks(volume: Volume, shift: Shift, window: tuple[float, float]) -> dict[str, float]:
    return shifted_marks(volume, shift.name, shift.dose, window) if shift.dose else marks(volume, window)


def _predict(
    task: Task, networks: Mapping[Path, Network], volumes: Mapping[str, NDArray[Any]]
) -> dict[str, dict[Path, float | str]]:
    """Prepared volumes by name -> each model's probability."""
    scans = [_case(task.scan, voxels) for voxels in volumes.values()]
    answers = {place: predict_many(n, scans, task.sample, task.stride) for place, n in networks.items()}
    return {name: {place: float(a[i].max()) for place, a in answers.items()} for i, name in enumerate(volumes)}


def _case(scan: Scan, voxels: NDArray[Any]) -> tuple[Case, Read]:
    def read(_: Case, start: int, stop: int) -> NDArray[Any]:
        return voxels[start:stop]

    extrema = int(voxels.min()), int(voxels.max())
    return Case(scan.site, scan.patient, scan.scan, scan.label or 0, len(voxels), *extrema), read
