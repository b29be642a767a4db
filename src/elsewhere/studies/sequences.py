"""Sites learned one after another: every step a training, every network asked at every site, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import torch

from elsewhere import engine
from elsewhere.errors import BadStudy
from elsewhere.model import training
from elsewhere.model.adapting import trainable_of
from elsewhere.model.batch import predict_highest
from elsewhere.model.cuda import device_of
from elsewhere.model.job import WITHOUT_EFFECT
from elsewhere.model.network import checkpoint_is_whole, load_checkpoint, read_checkpoint_record
from elsewhere.model.start import Start
from elsewhere.sequence_rows import JOINT, NAIVE, SequenceOutcome, SequenceResult, SequenceRow
from elsewhere.statistics.columns import check_groups
from elsewhere.statistics.transfer import SiteScores, final_difference, transfer_of
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import key
from elsewhere.studies.learned import read_learned
from elsewhere.studies.needs import study_needs, workers_on
from elsewhere.studies.prepared import cases, shelf_reader
from elsewhere.studies.records import SEQUENCE_ROWS, ScanRow, read_identity, usable_rows
from elsewhere.studies.sequence_plan import SequenceSettings, Step, Way, later_steps
from elsewhere.studies.trainings import check_trained_scans, checkpoint_record
from elsewhere.table_format import TableFormat

AGAIN = "Run `elsewhere sequence` again: finished steps are kept"


@dataclass(frozen=True)
class StepScore:
    """What a network says of one test scan after a step.

    Attributes:
        scan: its id.
        patient: whose it is.
        label: 1 or 0.
        probability: without dropout, the highest over the windows.
    """

    scan: str
    patient: str
    label: Annotated[int, pa.int8()]
    probability: float


STEP_SCORES = TableFormat("scores of a sequence", 1, StepScore, AGAIN)


@dataclass(frozen=True)
class Sequences:
    """A prepared and trained study, and the sequences wanted of it.

    Attributes:
        file: the study file, or its folder.
        plan: the study.
        folder: its folder.
    """

    file: Path
    plan: Study
    folder: Folder

    @property
    def settings(self) -> SequenceSettings:
        """The study's `[sequence]`."""
        if self.plan.sequence is None:
            then = 'Add to the study file: [sequence] with orders = [["A", "B"]]'
            raise BadStudy(self.plan.name, "has no `[sequence]`", then)
        return self.plan.sequence

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the trainings: those of the study."""
        return self.plan.seeds or (self.plan.training.seed,)

    @cached_property
    def rows(self) -> list[ScanRow]:
        """The usable scans."""
        return usable_rows(self.folder)

    def own(self, step: Step) -> str:
        """Name of the study's network that stands for a step: one site alone, or all sites together."""
        name = next(name for name, sites in self.plan.models.items() if set(sites) == set(step.sites))
        return name if step.seed == self.seeds[0] else f"{name}~{step.seed}"

    def is_own(self, step: Step) -> bool:
        """Whether the study itself trains this network."""
        return step.way == JOINT or len(step.sites) == 1

    def stem(self, step: Step) -> Path:
        """The checkpoint of a step."""
        return (
            self.folder.checkpoint(self.own(step)) if self.is_own(step) else self.folder.step(step.name) / "checkpoint"
        )

    def table(self, step: Step, site: str) -> Path:
        """What it says of a site's test scans."""
        name = self.own(step) if self.is_own(step) else step.name
        return self.folder.step_scores(name, site)

    def key(self, step: Step, site: str) -> str:
        """Of that table: of everything that it depends on."""
        scans = [asdict(case) for case in cases(self.rows, [site], "test")]
        weights = read_checkpoint_record(self.stem(step))["sha256"]
        return key("sequence scores", weights, asdict(self.plan.sample), self.plan.prediction.stride, scans)


def run_sequences(given: Sequences, workers: int | None = None) -> SequenceResult:
    """Train what is missing, ask every network at every site, and say what came of it; a killed run goes on.

    Args:
        given: a study that was run.
        workers: processes; None means one per core.

    Raises:
        BadStudy: the study has no `[sequence]`, or was not run; a site of an order has one class.
        BadCheckpoint: weights of the study are missing or damaged.
    """
    settings, plan = given.settings, given.plan
    _check_settings(given)
    _check_networks(given)
    workers = workers_on(workers, plan.training.accelerator)
    needs = study_needs(plan, given.folder, accelerator=plan.training.accelerator, also=[given.file.resolve()])
    for depth in range(2, max(map(len, settings.orders)) + 1):
        steps = later_steps(settings, given.seeds, depth)
        for step in steps:
            _check_step(given, step)
        tasks = [(given.file, given.folder.root, step) for step in steps]
        words = f"Learning site {depth} of the sequence"
        for _ in engine.run(train_step, tasks, workers=workers, describe=words, ticks=True, needs=needs):
            pass
    asked = [
        (given.file, given.folder.root, step, site.name)
        for step in _all_steps(given)
        for site in plan.sites
        if not _is_asked(given, step, site.name) and cases(given.rows, [site.name], "test")
    ]
    for _ in engine.run(ask_step, asked, workers=workers, describe="Asking at every site", ticks=True, needs=needs):
        pass
    return _result(given)


SETTLED = ("split", "preparation", "network", "sample", "training", "prediction")
"""Sections that the study's own networks were trained and asked with."""


def _check_settings(given: Sequences) -> None:
    """Refuse a study file whose settings are not those that the folder was run with."""
    read_identity(given.folder)
    kept = load_study(given.folder.root)
    for section in SETTLED:
        now, before = (asdict(getattr(plan, section)) for plan in (given.plan, kept))
        for name in now:
            if name not in WITHOUT_EFFECT and now[name] != before.get(name):
                what = f"key `{section}.{name}` is {now[name]}, and {given.folder.root} was run with {before.get(name)}"
                raise BadStudy(given.file, what, "Restore it, or run `elsewhere study` into another folder first")


def _check_step(given: Sequences, step: Step) -> None:
    """Refuse a step that was begun with other settings or scans."""
    try:
        training.check_kept(step_job(given, step), whole=True)
    except BadStudy as error:
        what = f"{error.what.replace('training.', 'sequence.')} ({step.name})"
        then = f"Restore it, or remove {given.folder.sequence}: the steps are trained anew, the study's networks stay"
        raise BadStudy(given.file, what, then) from error


def _all_steps(given: Sequences) -> list[Step]:
    """Every network of every sequence, once."""
    steps = [
        Step(way, order[:depth], seed)
        for order in given.settings.orders
        for way in given.settings.ways
        for depth in range(1, len(order) + 1)
        for seed in given.seeds
    ]
    return list({given.stem(step): step for step in steps}.values())


def _check_networks(given: Sequences) -> None:
    """Refuse a study whose own networks are missing or of other scans, and sites with one class."""
    for step in _all_steps(given):
        site = step.sites[-1]
        labels = {case.label for case in cases(given.rows, [site], "train")}
        if len(labels) < 2:
            what = (
                f"has {'one class' if labels else 'no scan'} among its training scans, and cannot be learned by itself"
            )
            raise BadStudy(f"site {site}", what, "Leave it out of `sequence.orders`")
        if not cases(given.rows, [site], "test"):
            raise BadStudy(f"site {site}", "has no test scan", "Leave it out of `sequence.orders`, or change [split]")
        if given.is_own(step):
            name, stem = given.own(step), given.stem(step)
            if not checkpoint_is_whole(stem):
                raise BadStudy(stem, f"{name} is not trained", "Run `elsewhere study` first")
            sites = given.plan.trained_on(name)
            check_trained_scans(given.folder, name, sites, read_checkpoint_record(stem), given.rows)


def step_job(given: Sequences, step: Step) -> training.Job:
    """The training of a step: its last site's scans, from the weights of the step before."""
    settings, plan, site = given.settings, given.plan, step.sites[-1]
    network, before = load_checkpoint(given.stem(step.before), plan.network)
    base = replace(plan.training, seed=step.seed)
    fitting = replace(
        base,
        iterations=settings.iterations or base.iterations,
        learning_rate=settings.learning_rate or base.learning_rate,
        warm_up=min(base.warm_up, (settings.iterations or base.iterations) // 2),
    )
    record = {**checkpoint_record(plan, step.name, step.sites, given.rows), "parent": before["sha256"]}
    replay = step.way == "replay"
    start = Start(
        network.state_dict(),
        trainable_of(network, "all"),
        anchor=settings.anchor if step.way == "anchored" else 0.0,
        replay=settings.replay if replay else 0.0,
        home=cases(given.rows, step.sites[:-1], "train") if replay else (),
        distil=settings.distil if step.way == "distilled" else 0.0,
        temperature=settings.temperature,
    )
    return training.Job(
        network.settings,
        plan.sample,
        fitting,
        cases(given.rows, [site], "train"),
        cases(given.rows, [site], "validation"),
        shelf_reader(given.rows),
        given.folder.step(step.name),
        record,
        None,
        plan.prediction.stride,
        start,
    )


def train_step(file: Path, root: Path, step: Step, tick: Callable[[float, str], None]) -> None:
    """Learn the last site of a step; a finished step is not repeated."""
    job = step_job(Sequences(file, load_study(file), Folder(root)), step)
    training.train_job(replace(job, progress=lambda done, total, text: tick(done / total, f"{step.name} {text}")))


def ask_step(file: Path, root: Path, step: Step, site: str, tick: Callable[[float, str], None]) -> None:
    """What a network says of a site's test scans, kept."""
    given = Sequences(file, load_study(file), Folder(root))
    plan, read = given.plan, shelf_reader(given.rows)
    torch.set_num_threads(plan.training.threads or torch.get_num_threads())
    network = load_checkpoint(given.stem(step), plan.network)[0].to(device_of(plan.training.accelerator))
    asked = cases(given.rows, [site], "test")
    said: list[float] = []
    for some in predict_highest(network, asked, read, plan.sample, plan.prediction.stride):
        said += some
        tick(len(said) / len(asked), f"{step.name} at {site}")
    found = [StepScore(c.scan, c.patient, c.label, p) for c, p in zip(asked, said, strict=True)]
    STEP_SCORES.write(given.table(step, site), found, given.key(step, site))


def _is_asked(given: Sequences, step: Step, site: str) -> bool:
    with suppress(BadStudy):
        return STEP_SCORES.made_from(given.table(step, site)) == given.key(step, site)
    return False


# What came of it ---------------------------------------------------------------------------------------------------


def _result(given: Sequences) -> SequenceResult:
    settings, plan = given.settings, given.plan
    rows, outcomes = list[SequenceRow](), list[SequenceOutcome]()
    for order in settings.orders:
        scores: dict[str, dict[str, SiteScores]] = {way: _scores(given, way, order) for way in settings.ways}
        for way, sites in scores.items():
            rows += _rows(way, order, sites, len(given.seeds))
            learned = [sites[name] for name in order]
            others = {other: [scores[other][name] for name in order] for other in (NAIVE, JOINT) if other in scores}
            less = {other: final_difference(learned, theirs) for other, theirs in others.items() if other != way}
            outcomes.append(SequenceOutcome(way, order, transfer_of(learned), less.get(NAIVE), less.get(JOINT)))
    SEQUENCE_ROWS.write(given.folder.transfer, rows)
    firsts = {given.own(Step("naive", order[:1], seed)) for order in settings.orders for seed in given.seeds}
    judged = read_learned(given.folder, {name: plan.trained_on(name) for name in firsts})
    unlearned = tuple(sorted(name for name, found in judged.items() if found.degenerate))
    return SequenceResult(plan.name, plan.origin, given.seeds, rows, tuple(outcomes), unlearned)


def _scores(given: Sequences, way: Way, order: tuple[str, ...]) -> dict[str, SiteScores]:
    """Each site -> what was said of its test scans after each step by each training."""
    found = {}
    for site in given.plan.sites:
        if not cases(given.rows, [site.name], "test"):
            continue
        tables = [
            [
                STEP_SCORES.read(given.table(Step(way, order[:depth], seed), site.name))
                for depth in range(1, len(order) + 1)
            ]
            for seed in given.seeds
        ]
        first = tables[0][0]
        labels = np.array([row.label for row in first], dtype=np.int64)
        patients = check_groups([row.patient for row in first], labels.size)
        said = np.array([[[row.probability for row in one] for one in steps] for steps in tables])
        found[site.name] = SiteScores(site.name, labels, patients, said)
    return found


def _rows(way: str, order: tuple[str, ...], sites: dict[str, SiteScores], trainings: int) -> list[SequenceRow]:
    found = []
    for depth in range(1, len(order) + 1):
        for name, scores in sites.items():
            auc = scores.after(depth - 1)
            relation = "learned" if name in order[:depth] else "to come" if name in order else "never"
            found.append(
                SequenceRow(
                    way,
                    " > ".join(order),
                    depth,
                    order[depth - 1],
                    name,
                    relation,
                    trainings,
                    scores.labels.size,
                    int(scores.labels.sum()),
                    *((None, None, None) if auc is None else (auc.estimate, auc.low, auc.high)),
                )
            )
    return found
