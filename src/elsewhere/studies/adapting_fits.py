"""The fits of an adaptation: each a task of its own, kept under a key of all that it depends on; a kill loses none."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.errors import BadStudy
from elsewhere.model.adapting import AdaptingSettings, Way, adapt_network, needs_trunk
from elsewhere.model.batch import predict_highest
from elsewhere.model.cuda import device_of
from elsewhere.model.features import Features, compute_features
from elsewhere.model.network import Network, load_checkpoint, read_checkpoint_record, versions
from elsewhere.model.sample import Case, Read, SampleSettings, seed_of
from elsewhere.stages import stage
from elsewhere.studies.adapting_scans import AdaptingScan, AdaptingScans, reader_of
from elsewhere.studies.kept import key
from elsewhere.studies.known_model import KnownModel
from elsewhere.studies.needs import workers_on
from elsewhere.table_format import TableFormat

ALL = 0
"""Size of a fit on all patients that may be fitted on."""
NO_FOLD = -1

Accelerator = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class FitScore:
    """What one fit says of one scan that it was not fitted on.

    Attributes:
        site: where the scan is from.
        scan: its id.
        label: 1 or 0.
        probability: without dropout, the highest over the windows.
    """

    site: str
    scan: str
    label: Annotated[int, pa.int8()]
    probability: float


FIT_SCORES = TableFormat("scores of a fit", 1, FitScore, "Run `elsewhere adapt` again: it fits what is missing")


@dataclass(frozen=True)
class Fit:
    """One fit.

    Attributes:
        way: what of the network changes; "" for the network as it is.
        size: patients of each class; `ALL` for all.
        draw: number of the draw.
        fold: that is left out; `NO_FOLD` for none.
        fitted: the scans.
        asked: scans that it is asked about.
    """

    way: Way
    size: int
    draw: int
    fold: int
    fitted: tuple[AdaptingScan, ...]
    asked: tuple[AdaptingScan, ...]


@dataclass(frozen=True)
class Bench:
    """What all fits of an adaptation share.

    Attributes:
        folder: where they are kept.
        stem: checkpoint of the network as it is.
        checkpoint: SHA-256 of its weights.
        sample: how scans become its inputs.
        stride: slices from one window to the next.
        settings: of the fits.
        home: scans to replay.
        record: what a checkpoint says of itself.
    """

    folder: Path
    stem: Path
    checkpoint: str
    sample: SampleSettings
    stride: int
    settings: AdaptingSettings
    home: tuple[AdaptingScan, ...]
    record: Mapping[str, object]

    def key(self, fit: Fit) -> str:
        """Of a fit: of everything that it depends on."""
        home = [scan.identity for scan in self.home] if fit.way == "all+replay" else []
        inputs = [scan.identity for scan in fit.fitted], [scan.identity for scan in fit.asked], home
        settings = {name: v for name, v in asdict(self.settings).items() if name != "accelerator"}
        own = [
            fit.way,
            fit.size,
            fit.draw,
            fit.fold,
            asdict(self.sample),
            self.stride,
            settings,
            str(torch.__version__),
        ]
        return key("adapted fits", self.checkpoint, *own, *inputs)

    def table(self, fit: Fit) -> Path:
        """File that keeps its scores."""
        return self.folder / "fits" / f"{self.key(fit)}.parquet"

    def features(self, scans: Sequence[AdaptingScan]) -> Path:
        """File that keeps the features of some scans."""
        own = [asdict(self.sample), self.stride, self.settings.views, self.settings.seed]
        name = key("features", self.checkpoint, *own, [[*scan.identity, scan.part] for scan in scans])
        return self.folder / "features" / f"{name}.safetensors"


def bench_of(model: KnownModel, scans: AdaptingScans, settings: AdaptingSettings, target: Path) -> Bench:
    """What all fits of an adaptation share; the network as it is lies in `target` afterwards.

    Raises:
        BadCheckpoint: the weights are missing or damaged.
    """
    stem = target / "start" / "checkpoint"
    public = ("model", "protocol", "training_sites", "preparation", "sample", "versions", "iteration", "finding")
    kept = stem.with_suffix(".json").is_file() and read_checkpoint_record(stem)["sha256"] == model.checkpoint
    if not kept:
        model.save(stem, public)
    load_checkpoint(stem)  # raises where it is damaged: now, not in every task
    record = {
        "model": f"{model.name} at {scans.place}",
        "study": model.study,
        "origin": model.origin,
        "protocol": model.protocol,
        "training_sites": [*model.trained_on, scans.place],
        "preparation": asdict(model.settings.preparation),
        "parent": model.checkpoint,
        "versions": versions(),
        **({"finding": model.finding} if model.finding else {}),
    }
    home = tuple(scans.part("replay"))
    stride = model.settings.prediction.stride
    own = replace(settings, accelerator=_accelerator(model))
    return Bench(target, stem, model.checkpoint, model.settings.sample, stride, own, home, record)


def _accelerator(model: KnownModel) -> Accelerator:
    return "cuda" if model.settings.accelerator == "cuda" else "cpu" if model.settings.accelerator == "cpu" else "auto"


def carry_out(
    bench: Bench, fits: Sequence[Fit], features: Mapping[str, Path], workers: int | None, describe: str
) -> list[dict[tuple[str, str], float]]:
    """What each fit says of the scans that it is asked about; fits that are kept are not made again.

    Args:
        bench: what they share.
        fits: to make.
        features: from `keep_features`.
        workers: processes; None means one per core.
        describe: what the progress bar says.

    Raises:
        WorkerDied: a fit was ended twice, as for want of memory.
        BadStudy: a folder in use by another run.
    """
    lacking = [fit for fit in fits if not _is_kept(bench, fit)]
    workers = workers_on(workers, bench.settings.accelerator)
    tasks = [(bench, fit, dict(features)) for fit in lacking]
    scans = [scan for fit in lacking for scan in (*fit.fitted, *fit.asked)]
    for _ in engine.run(make_fit, tasks, workers=workers, describe=describe, needs=_needs(bench, scans)):
        pass
    tables = (FIT_SCORES.read(bench.table(fit)) for fit in fits)
    return [{(row.site, row.scan): row.probability for row in rows} for rows in tables]


def _needs(bench: Bench, scans: Sequence[AdaptingScan]) -> engine.Needs:
    stores = dict.fromkeys(Path(scan.file).parent for scan in (*scans, *bench.home))
    return engine.Needs((bench.stem.parent, *stores), (bench.folder,), bench.settings.accelerator)


def _is_kept(bench: Bench, fit: Fit) -> bool:
    with suppress(BadStudy):
        return FIT_SCORES.made_from(bench.table(fit)) == bench.key(fit)
    return False


def make_fit(bench: Bench, fit: Fit, features: Mapping[str, Path]) -> None:
    """Fit, ask about the scans that are asked, keep what is said; a checkpoint stays only of the last fit."""
    name = bench.key(fit)
    work = bench.folder / "fits" / f"{name}.work"
    kept = None if needs_trunk(fit.way) else _loaded(tuple(sorted(map(str, features.values()))))
    everything = (*fit.fitted, *fit.asked, *bench.home)
    network, read = load_checkpoint(bench.stem)[0], reader_of(everything)
    cases, home = [scan.case for scan in fit.fitted], [scan.case for scan in bench.home]
    with stage("fit"):
        stem = adapt_network(
            network,
            bench.sample,
            fit.way,
            cases,
            read,
            work,
            bench.record,
            settings=replace(bench.settings, seed=fit_seed(bench.settings.seed, fit)),
            home=home,
            features=kept,
            stride=bench.stride,
        )
    adapted = load_checkpoint(stem)[0]
    asked = [scan.case for scan in fit.asked]
    with stage("ask"):
        said = _asked(adapted, asked, read, bench, kept)
    rows = [FitScore(c.site, c.scan, c.label, p) for c, p in zip(asked, said, strict=True)]
    FIT_SCORES.write(bench.table(fit), rows, name)
    if fit.size != ALL or fit.fold != NO_FOLD:
        shutil.rmtree(work, ignore_errors=True)


def fit_seed(seed: int, fit: Fit) -> int:
    """Seed of a fit: ways of one draw, size and fold share order and augmentation."""
    return seed_of(seed, "fit", fit.size, fit.draw, fit.fold)


def checkpoint_of(bench: Bench, fit: Fit) -> Path:
    """Stem of the checkpoint of a fit on all patients."""
    return bench.folder / "fits" / f"{bench.key(fit)}.work" / "checkpoint"


def _asked(network: Network, cases: list[Case], read: Read, bench: Bench, kept: Features | None) -> list[float]:
    if kept is not None:
        return [kept.probability(network, case) for case in cases]
    network.to(device_of(bench.settings.accelerator))
    return list(chain.from_iterable(predict_highest(network, cases, read, bench.sample, bench.stride)))


@lru_cache(maxsize=2)
def _loaded(paths: tuple[str, ...]) -> Features:
    parts = [Features.load(Path(path)) for path in paths]
    return Features(
        {place: value for part in parts for place, value in part.views.items()},
        {place: value for part in parts for place, value in part.windows.items()},
    )


def keep_features(
    bench: Bench, scans: Sequence[AdaptingScan], workers: int | None, *, together: int = 40
) -> dict[str, Path]:
    """Files with the features of all scans, some scans each: those to fit have their training inputs', too."""
    groups: list[tuple[AdaptingScan, ...]] = []
    for site in dict.fromkeys(scan.case.site for scan in scans):
        own = [scan for scan in scans if scan.case.site == site]
        groups += [tuple(own[i : i + together]) for i in range(0, len(own), together)]
    paths = {str(i): bench.features(group) for i, group in enumerate(groups)}
    tasks = [(bench, group) for i, group in enumerate(groups) if not paths[str(i)].is_file()]
    for _ in engine.run(make_features, tasks, workers=workers, describe="Features", needs=_needs(bench, scans)):
        pass
    return paths


def mean_features(features: Mapping[str, Path]) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Features of each scan, the mean over its windows (flat,), from the files of `keep_features`."""
    kept = _loaded(tuple(sorted(map(str, features.values()))))
    return {place: windows.double().mean(dim=0).numpy() for place, windows in kept.windows.items()}


def make_features(bench: Bench, scans: tuple[AdaptingScan, ...]) -> None:
    """Compute and keep the features of some scans."""
    if bench.settings.threads:
        torch.set_num_threads(bench.settings.threads)
    network = load_checkpoint(bench.stem)[0].to(device_of(bench.settings.accelerator))
    found = compute_features(
        network,
        reader_of(scans),
        bench.sample,
        bench.stride,
        trained=[s.case for s in scans if s.part == "fit"],
        predicted=[s.case for s in scans if s.part != "replay"],
        views=bench.settings.views,
        seed=bench.settings.seed,
    )
    found.save(bench.features(scans))


def as_it_is(bench: Bench, scans: Sequence[AdaptingScan], features: Mapping[str, Path]) -> dict[tuple[str, str], float]:
    """What the network as it is says of scans."""
    network, kept = load_checkpoint(bench.stem)[0], _loaded(tuple(sorted(map(str, features.values()))))
    return {(s.case.site, s.case.scan): kept.probability(network, s.case) for s in scans}
