"""A finished study in; scores of its home scans under graded CT shifts, and which shift explains each site, out.

Raw scans are read through the readers of their sites, shifted, prepared and predicted. Each scan's probabilities are
kept under a key of all that they depend on, so that a stopped run goes on and nothing is ever stale.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.markup import escape

from elsewhere import engine
from elsewhere.commands.predict import device_of
from elsewhere.commands.train import usable_rows
from elsewhere.errors import BadScan, BadStudy
from elsewhere.evidence.decision import OperatingPoint, choose_threshold
from elsewhere.evidence.dose import NOTHING, Explanation, dose_curve, explain, say
from elsewhere.files import write_whole
from elsewhere.model.batch import predict_many
from elsewhere.model.network import Network, load_checkpoint, read_checkpoint_record
from elsewhere.model.prediction import DETERMINISTIC, read_predictions
from elsewhere.model.sample import Case, Read, SampleSettings
from elsewhere.plan import Folder, Site, Study, default_folder, load_study, write_table
from elsewhere.scans import store
from elsewhere.scans.scan import Scan
from elsewhere.scans.shifts import LADDERS, SHIFTS_VERSION, Shift, apply_shift, obstacle, plan_shift, plan_shifts
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Preparation, content_hash, prepare

Row = dict[str, Any]
Found = dict[str, float | str]  # "blur 2" -> probability, or why there is none

AS_IS = "as it is"
HELD = 1 << 26  # bytes of prepared volumes that wait to be predicted together
SCANS = 40
"""Home test scans per model unless told otherwise: half of each class, where there are enough."""


@dataclass(frozen=True)
class Task:
    """One home scan and the models to try it on.

    Attributes:
        kind: of its site.
        root: the site's folder.
        scan: the scan.
        preparation: how the study prepares volumes.
        sample: how stored voxels become inputs.
        stride: slices from one window of a long scan to the next.
        shifts: to apply, besides none.
        models: stem and hash of each model's checkpoint, and the file that keeps what it says of this scan.
        seed: of the noise.
        device: to predict on.
    """

    kind: str
    root: Path
    scan: Scan
    preparation: Preparation
    sample: SampleSettings
    stride: int
    shifts: tuple[Shift, ...]
    models: tuple[tuple[Path, str, Path], ...]
    seed: int
    device: str


@dataclass(frozen=True)
class Home:
    """One model and one of its training sites, whose test scans are shifted.

    Attributes:
        model: its name.
        site: the training site.
        rows: the test scans chosen, rows of scans.parquet.
        positives: share of positives among all of the site's test scans.
    """

    model: str
    site: str
    rows: tuple[Row, ...]
    positives: float


def stress(
    study: Annotated[Path, typer.Argument(help="Study file (TOML).")],
    out: Annotated[Path | None, typer.Argument(help="The study's folder [runs/NAME].")] = None,
    *,
    models: Annotated[str, typer.Option(help="Names, with commas between [models of a single site].")] = "",
    shifts: Annotated[str, typer.Option(help=f"Shifts, with commas between [all]: {', '.join(LADDERS)}.")] = "",
    doses: Annotated[str, typer.Option(help="Doses of one shift, with commas between [its usual ones].")] = "",
    scans: Annotated[int, typer.Option(min=2, help="Home test scans per model, half of each class.")] = SCANS,
    workers: Annotated[int | None, typer.Option(help="Processes [all cores].")] = None,
) -> None:
    """Shift home scans step by step (kernel, noise, thickness, …), predict, and ask which shift explains each site."""
    plan = load_study(study)
    folder = Folder(out or default_folder(plan))
    chosen = _shifts(_names(shifts), _names(doses))
    run_stress(plan, folder, _names(models), chosen, scans=scans, workers=workers)


def run_stress(
    plan: Study,
    folder: Folder,
    models: Sequence[str] = (),
    shifts: Sequence[Shift] = (),
    *,
    scans: int = SCANS,
    workers: int | None = None,
) -> None:
    """Write stress/curves.parquet and stress/explanations.parquet into the study's folder, and print what they say.

    Raises:
        BadStudy: there is no such model, or it has not been predicted.
        BadCheckpoint: a model's weights are missing or damaged.
    """
    shifts = tuple(shifts) or plan_shifts()
    names = _models(plan, models)
    rows = usable_rows(folder)
    homes = [_home(rows, name, site, scans) for name in names for site in plan.models[name]]
    tasks, bad = _tasks(plan, folder, homes, shifts)
    if device_of(plan.training.accelerator) == "cuda":
        workers = workers or 1  # processes side by side on one card only slow each other down
    left = [(task,) for task in tasks if _missing(task)]
    for index, result in engine.run(stress_scan, left, workers=workers, describe=f"Shifting ({plan.name})"):
        if isinstance(result, BadScan):
            scan = left[index][0].scan
            bad.append((scan.site, scan.scan, result))
    found = {(h.model, h.site): _probabilities(folder, h, tasks) for h in homes}
    for (_, site), given in found.items():
        if not given:
            raise BadStudy(plan.name, f"no test scan of {site} could be shifted; the first: {bad[0][2]}", "See it")
    curves, explanations = [], []
    for home in homes:
        given = found[home.model, home.site]
        curves += _curves(plan, folder, home, shifts, given)
        explanations += _explanations(plan, folder, home, shifts, given)
    write_table(folder.root / "stress" / "curves.parquet", curves)
    write_table(folder.root / "stress" / "explanations.parquet", explanations)
    _print(curves, explanations, bad)


# What is asked ----------------------------------------------------------------------------------------------------


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


def _shifts(names: Sequence[str], doses: Sequence[str]) -> tuple[Shift, ...]:
    if doses and len(names) != 1:
        raise BadStudy("--doses", f"is given for {len(names) or 'all'} shifts", "Name the one shift with --shifts")
    try:
        numbers = [float(dose) for dose in doses]
    except ValueError as error:
        raise BadStudy("--doses", f"is {','.join(doses)!r}", "Give numbers with commas between") from error
    return plan_shifts(names, numbers)


def _models(plan: Study, names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in plan.models:
            raise BadStudy("--models", f"names {name!r}", f"The study's models: {', '.join(plan.models)}")
    chosen = tuple(dict.fromkeys(names)) or tuple(name for name, sites in plan.models.items() if len(sites) == 1)
    if not chosen:
        raise BadStudy(plan.name, "has no model of a single site", f"Give --models: {', '.join(plan.models)}")
    return chosen


def _home(rows: Sequence[Row], model: str, site: str, scans: int) -> Home:
    """Test scans of a training site: half of each class, in an order that the ids alone decide."""
    test = [r for r in rows if r["site"] == site and r["subset"] == "test"]
    order = sorted(test, key=lambda r: hashlib.sha256(f"{site}\x1f{r['scan']}".encode()).hexdigest())
    classes = [[r for r in order if r["label"] == c] for c in (1, 0)]
    half = [min(len(classes[0]), scans // 2), min(len(classes[1]), scans - scans // 2)]
    counts = [min(len(own), scans - half[1 - i]) for i, own in enumerate(classes)]
    chosen = [r for own, count in zip(classes, counts, strict=True) for r in own[:count]]
    return Home(model, site, tuple(chosen), len(classes[0]) / len(test))


def _tasks(
    plan: Study, folder: Folder, homes: Sequence[Home], shifts: tuple[Shift, ...]
) -> tuple[list[Task], list[tuple[str, str, BadScan]]]:
    """One task per home scan, with the models that call it home; scans that are gone are bad."""
    checkpoints = {h.model: folder.model(h.model) / "checkpoint" for h in homes}
    hashes = {name: str(read_checkpoint_record(stem)["sha256"]) for name, stem in checkpoints.items()}
    tasks, bad = [], []
    for name in dict.fromkeys(h.site for h in homes):
        site = plan.site(name)
        scans = {s.scan: s for s in reader(site.kind).find(site.root, name, site.labels, **site.options).scans}
        ours = [h for h in homes if h.site == name]
        wanted = {r["scan"]: [h.model for h in ours if r in h.rows] for h in ours for r in h.rows}
        for scan, models in wanted.items():
            try:
                if scan not in scans:
                    raise BadScan(f"{name}: {scan}", "is no longer at its site", "Restore it, or run the study again")
                at = [(checkpoints[m], hashes[m], _place(plan, folder, site, scans[scan], hashes[m])) for m in models]
                tasks.append(_task(plan, site, scans[scan], shifts, at))
            except BadScan as error:
                bad.append((name, scan, error))
    return tasks, bad


def _task(
    plan: Study, site: Site, scan: Scan, shifts: tuple[Shift, ...], models: Iterable[tuple[Path, str, Path]]
) -> Task:
    return Task(
        kind=site.kind,
        root=site.root,
        scan=scan,
        preparation=plan.preparation,
        sample=plan.sample,
        stride=plan.prediction.stride,
        shifts=shifts,
        models=tuple(models),
        seed=plan.seed,
        device=device_of(plan.training.accelerator),
    )


def _place(plan: Study, folder: Folder, site: Site, scan: Scan, checkpoint: str) -> Path:
    """File that keeps what one checkpoint says of one scan; everything that this depends on is in its name."""
    scanned = store.key(scan, site.root, (site.kind, reader(site.kind).READER_VERSION), plan.preparation)
    content = [SHIFTS_VERSION, checkpoint, scanned, asdict(plan.sample), plan.prediction.stride, plan.seed]
    name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    return folder.root / "stress" / "scans" / f"{name}.json"


# One scan ---------------------------------------------------------------------------------------------------------


def stress_scan(task: Task) -> BadScan | None:
    """Predict one scan under every shift that is not kept yet, and keep it; a scan that fails is told, not raised.

    Raises:
        BadCheckpoint: the weights are damaged.
        OSError: the folder cannot be written.
    """
    kept = {place: _kept(place) for _, _, place in task.models}
    missing = _missing(task)
    if not missing:
        return None
    networks = {place: _network(stem, sha, task.device) for stem, sha, place in task.models}
    try:
        for entry, answers in _answers(task, missing, networks):
            for place, answer in answers.items():
                kept[place][entry] = answer
    except BadScan as error:
        return error
    except Exception as error:  # one bad scan never stops a site, whatever a codec does with it
        return BadScan(
            f"{task.scan.site}: {task.scan.scan}",
            f"cannot be shifted ({type(error).__name__}: {error})",
            "Take the scan out, or report it with this message",
        )
    for place, found in kept.items():
        write_whole(place, json.dumps(found))
    return None


def _missing(task: Task) -> list[Shift]:
    """Shifts, the scan as it is among them, that a model has not answered yet."""
    kept = [_kept(place) for _, _, place in task.models]
    return [s for s in (plan_shift("blur", 0), *task.shifts) if any(_entry(s) not in found for found in kept)]


def _entry(shift: Shift) -> str:
    return f"{shift.name} {shift.dose!r}" if shift.dose else AS_IS


def _kept(place: Path) -> Found:
    try:
        found: Found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


@lru_cache(maxsize=16)
def _network(stem: Path, sha: str, device: str) -> Network:  # noqa: ARG001 - the hash is part of the cache's key
    torch.set_num_threads(min(2, torch.get_num_threads()))
    return load_checkpoint(stem)[0].to(device)


def _answers(
    task: Task, shifts: Sequence[Shift], networks: Mapping[Path, Network]
) -> Iterable[tuple[str, dict[Path, float | str]]]:
    """Each shift's answer of each model; voxels that were met before are not predicted again."""
    volume = reader(task.kind).read(task.scan)
    volume = replace(volume, facts={**task.scan.facts, **volume.facts})
    noise = (task.seed, int(hashlib.sha256(task.scan.scan.encode()).hexdigest()[:8], 16))
    names: dict[str, str] = {}
    held: dict[str, NDArray[Any]] = {}
    said: dict[str, dict[Path, float | str]] = {}
    for shift in shifts:
        if why := obstacle(volume, shift):
            yield _entry(shift), dict.fromkeys(networks, why)
            continue
        moved = apply_shift(volume, shift, noise)
        if AS_IS in names and np.array_equal(moved.voxels, volume.voxels):
            names[_entry(shift)] = names[AS_IS]
            continue
        voxels, _ = prepare(moved, task.preparation)
        name = names[_entry(shift)] = content_hash(voxels)
        if name not in said:
            held[name] = voxels
        if sum(v.nbytes for v in held.values()) > HELD:
            said |= _predict(task, networks, held)
            held = {}
    said |= _predict(task, networks, held)
    yield from ((entry, said[name]) for entry, name in names.items())


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


# Records ----------------------------------------------------------------------------------------------------------


def _probabilities(folder: Folder, home: Home, tasks: Sequence[Task]) -> dict[str, Found]:
    """Scan -> what the model says of it under each shift; scans that failed are absent."""
    stem, wanted = folder.model(home.model) / "checkpoint", {r["scan"] for r in home.rows}
    found = {}
    for task in tasks:
        if task.scan.site == home.site and task.scan.scan in wanted:
            place = next((p for s, _, p in task.models if s == stem), None)
            if place is not None and (kept := _kept(place)):
                found[task.scan.scan] = kept
    return found


def _curves(plan: Study, folder: Folder, home: Home, shifts: Sequence[Shift], given: Mapping[str, Found]) -> list[Row]:
    """A row per dose of each shift, dose 0 first; where a shift could not be applied to any scan, why."""
    point, rows = _point(plan, folder, home.model), []
    for name in dict.fromkeys(s.name for s in shifts):
        ladder = [s for s in shifts if s.name == name]
        kept = [r for r in home.rows if _told(given.get(r["scan"], {}), [AS_IS, *map(_entry, ladder)])]
        if not kept:
            rows += [_refused(home, s, given) for s in ladder]
            continue
        steps = {s.dose: s for s in (plan_shift(name, 0), *ladder)}
        scores = {dose: [given[r["scan"]][_entry(s)] for r in kept] for dose, s in steps.items()}
        labels, patients = [r["label"] for r in kept], [r["patient"] for r in kept]
        curve = dose_curve(labels, patients, scores, point, home.positives)
        rows += [_row(home, steps[step.dose]) | asdict(step) for step in curve]
    return rows


def _told(found: Found, entries: Iterable[str]) -> bool:
    return all(isinstance(found.get(entry), float) for entry in entries)


def _row(home: Home, shift: Shift) -> Row:
    return {"model": home.model, "home": home.site} | asdict(shift) | {"shift": shift.name}


def _refused(home: Home, shift: Shift, given: Mapping[str, Found]) -> Row:
    """A row without scores that says why: the commonest reason."""
    reasons = [found[_entry(shift)] for found in given.values() if isinstance(found.get(_entry(shift)), str)]
    words = max(reasons, key=reasons.count) if reasons else "no scan could be shifted"
    return _row(home, shift) | {"words": f"not done: {words}", "scans": 0}


def _point(plan: Study, folder: Folder, model: str) -> OperatingPoint:
    """The model's own threshold, from the validation scans of its training sites."""
    rows = [r for s in plan.models[model] for r in _predicted(folder, model, s, "validation")]
    labels, probabilities = ([r[key] for r in rows] for key in ("label", "probability"))
    return choose_threshold(labels, probabilities, ties=plan.evaluation.ties)


def _predicted(folder: Folder, model: str, site: str, subset: str) -> list[Row]:
    rows = read_predictions(folder.predictions(model, site))
    return [r for r in rows if r["subset"] == subset and r["pass"] == DETERMINISTIC]


def _explanations(
    plan: Study, folder: Folder, home: Home, shifts: Sequence[Shift], given: Mapping[str, Found]
) -> list[Row]:
    """For each other site, a row per shift and dose, and one that says what explains it best."""
    ready = [s for s in shifts if any(_told(f, [AS_IS, _entry(s)]) for f in given.values())]
    kept = [r for r in home.rows if _told(given.get(r["scan"], {}), [AS_IS, *map(_entry, ready)])]
    if not ready or not kept:
        return []
    ours = ([r["label"] for r in kept], [r["patient"] for r in kept], [given[r["scan"]][AS_IS] for r in kept])
    shifted = {(s.name, s.dose): [given[r["scan"]][_entry(s)] for r in kept] for s in ready}
    words = {(s.name, s.dose): s.words for s in ready}
    rows = []
    for site in plan.sites:
        if site.name in plan.models[home.model] or not folder.predictions(home.model, site.name).is_file():
            continue
        there = _predicted(folder, home.model, site.name, "test")
        columns = tuple([r[name] for r in there] for name in ("label", "patient", "probability"))
        try:
            said = explain(ours, shifted, (columns[0], columns[1], columns[2]), seed=plan.seed)
        except ValueError:  # no class with enough scans at both sites: nothing to compare
            continue
        base = {"model": home.model, "home": home.site, "site": site.name}
        rows += [base | row for row in _explained(said, words, home.site, site.name)]
    return rows


def _explained(said: Explanation, words: Mapping[tuple[str, float], str], home: str, site: str) -> Iterable[Row]:
    """A row for each candidate, and one for no shift; exactly one of them is the best."""
    common = {"distance_unshifted": said.distance_unshifted, "p": said.p_value, "p_difference": said.p_difference}
    sentence = say(said, words, home, site)
    rows = [(NOTHING, 0.0, said.distance_unshifted, None), *((c.shift, c.dose, c.distance, c) for c in said.candidates)]
    for shift, dose, distance, candidate in rows:
        best = candidate == said.best
        plain = f"{words.get((shift, dose), AS_IS)}: {distance:.2f} log-odds from {site}"
        row = {"shift": shift, "dose": dose, "distance": distance, "words": sentence if best else plain, "best": best}
        yield row | common | {"sureness": said.sureness if best else None, "p_left": said.p_left if best else None}


def _print(curves: Sequence[Row], explanations: Sequence[Row], bad: Sequence[tuple[str, str, BadScan]]) -> None:
    for home in dict.fromkeys((r["model"], r["home"]) for r in curves):
        own = [r for r in curves if (r["model"], r["home"]) == home and r.get("difference") is not None]
        if own:
            worst = min(own, key=lambda r: r["difference"])
            engine.console.print(
                f"{home[0]} at {home[1]}: AUC {worst['auc'] - worst['difference']:.2f}; the most is lost with "
                f"'{worst['words']}': {worst['auc']:.2f}",
                soft_wrap=True,
            )
    for row in explanations:
        if row["best"]:
            engine.console.print(f"{row['model']}: {row['words']}", soft_wrap=True)
    for site, scan, error in bad[:5]:
        engine.console.print(f"[red]{site}, {escape(scan)}[/]: {escape(str(error))}", soft_wrap=True)
    if len(bad) > 5:
        engine.console.print(f"… and {len(bad) - 5} more scans could not be used.")
