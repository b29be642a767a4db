"""How often the right CT shift is named for a site whose truth is known, and how often one is named wrongly.

Everything is simulated. Per seed there is one home (half of its patients positive, no acquisition tied to the label,
64 x 64 pixels, slices 8 mm apart), whose scans are kept in HU and as 8-bit pictures (-1350..150), and three networks
trained on its training patients: the harmonised protocol on HU, the paper's on HU, and the paper's on the 8-bit
pictures. A seed with one whose validation scans do not show that it learned (`judge_learned`) is left out, and the
next is taken. Its other patients are the pool: in each repetition half of each class stays home and half plays a new
site.

* listed: the site's scans get a shift of the list at one of its doses, or at a dose that is not tried;
* left out: the same with the planted shift taken off the list; whatever is named then is wrong;
* nothing: the site's scans stay as they are;
* off the list: other patients whose disease, bodies, scans or labels differ by a cause that is no shift (`CAUSES`);
* as a scanner makes it: other patients, scanned in another way (`SCANNERS`), not by the shift's own formula.

"By scores alone" is what would be named if the pictures were not looked at. Rules were chosen on seeds below 100.

`python benchmarks/dose.py [repetitions] [first seed] [seeds]` writes docs/dose-tables.md (8, 7000 and 1).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from dose_sites import CAUSES, SCANNERS, Change, eight_bits, number_of, plans, same, scan
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.engine import cores
from elsewhere.model.batch import predict_many
from elsewhere.model.network import Network, NetworkSettings, load_checkpoint
from elsewhere.model.recipe import TrainingSettings
from elsewhere.model.sample import Case, SampleSettings
from elsewhere.model.training import train
from elsewhere.scans.marks import marks, shifted_marks
from elsewhere.scans.phantom.exam import Plan
from elsewhere.scans.shifts import LUNG_WINDOW, Shift, apply_shift, obstacle, plan_shift, plan_shifts
from elsewhere.scans.volume import Preparation, Volume, prepare
from elsewhere.statistics.explanation import Explanation, Key, explain, shown, with_midpoints
from elsewhere.statistics.learned import judge_learned
from elsewhere.statistics.roc import exact_auc

TRAINING, VALIDATION, POOL, OTHERS = 140, 60, 200, 100
BETWEEN = {"sharpen": 150, "noise": 35, "narrow": 15, "wide": 15, "contrast": 150, "darker": 7, "brighter": 7,
           "flatter": 30, "steeper": 15}  # fmt: skip
"""Doses that are planted and not tried."""
PAGE = Path(__file__).parents[1] / "docs" / "dose-tables.md"

Scores = NDArray[np.float64]
Marks = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Way:
    """One kind of data and one protocol."""

    name: str
    eight_bits: bool
    preparation: Preparation
    sample: SampleSettings


SIZE = (16, 32, 32)
PAPER = Preparation(size=SIZE), SampleSettings()
HARMONISED = (
    Preparation(size=SIZE, grid="fixed", encoding="hu", maximum=100.0, crop="lungs"),
    SampleSettings(normalisation="window", intensity=(0.8, 1.2)),
)
WAYS = (
    Way("harmonised, HU", False, *HARMONISED),
    Way("paper, HU", False, *PAPER),
    Way("paper, 8 bits", True, *PAPER),
)
NETWORK = NetworkSettings(
    input=SIZE, filters=(8, 16, 32, 64), kernels=((3, 3, 3),) * 4, pools=((2, 2, 2),) * 3, dense=(128,), groups=8,
    dense_groups=16, dropblock=0.0, dropout=0.05,
)  # fmt: skip
TRAINED = TrainingSettings(
    iterations=350, batch=8, learning_rate=5e-4, validate_every=35, save_every=350, threads=1, tensorboard=False,
    accelerator="cpu", balanced_classes=True, select="log_loss", schedule="cosine", weight_decay=1e-4,
)  # fmt: skip
STRIDE, RESAMPLES = 12, 300


# Networks and their scores -----------------------------------------------------------------------------------------


def case_of(plan: Plan, voxels: NDArray[Any]) -> Case:
    return Case("Home", plan.patient_id, plan.scan_id, plan.label, len(voxels), int(voxels.min()), int(voxels.max()))


class UnlearnedError(Exception):
    """A network of a seed did not learn; its text names both."""


def learn(way: Way, scans: Sequence[tuple[Plan, Volume]], seed: int) -> Network:
    """A network of the first scans, chosen on the next. Raises UnlearnedError where it did not learn."""
    torch.set_num_threads(1)
    prepared = {}
    cases = []
    for plan, volume in scans:
        voxels, _ = prepare(eight_bits(volume) if way.eight_bits else volume, way.preparation)
        prepared[plan.scan_id] = voxels
        cases.append(case_of(plan, voxels))

    def read(case: Case, start: int, stop: int) -> NDArray[Any]:
        return prepared[case.scan][start:stop]

    with TemporaryDirectory() as folder:
        parts = cases[:TRAINING], cases[TRAINING:]
        stem = train(NETWORK, way.sample, replace(TRAINED, seed=seed), *parts, read, Path(folder), {}, stride=STRIDE)
        network = load_checkpoint(stem)[0]
    said = predict_many(network, [(case, read) for case in parts[1]], way.sample, STRIDE)
    labels = [case.label for case in parts[1]]
    judged = judge_learned(labels, range(len(labels)), [0] * len(labels), [float(p.max()) for p in said])
    if judged.degenerate:
        raise UnlearnedError(f"{seed} ({way.name}: AUC {judged.auc:.2f} on the validation scans)")
    return network


@dataclass(frozen=True)
class Scanned:
    """Scans as one way has them: labels, patients, probabilities and marks, as they are (and under each shift)."""

    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    probabilities: dict[Key, Scores]
    marks: dict[Key, Marks]


AS_IS: Key = ("", 0.0)


def tried(way: Way) -> list[Shift]:
    volume = Volume(np.zeros((2, 2, 2), np.uint8), "relative") if way.eight_bits else None
    return [s for s in plan_shifts() if volume is None or not obstacle(volume, s)]


def planted(way: Way) -> list[Shift]:
    names = {shift.name for shift in tried(way)}
    return [*tried(way), *(plan_shift(name, dose) for name, dose in BETWEEN.items() if name in names)]


def scored(network: Network, way: Way, plan: Plan, volume: Volume, shifts: Sequence[Shift]) -> dict[Key, Any]:
    """(probability, marks) of one scan as it is and under each shift."""
    torch.set_num_threads(1)
    volume = eight_bits(volume) if way.eight_bits else volume
    pictures, found = [], {}
    for shift in (plan_shift("blur", 0), *shifts):
        moved = apply_shift(volume, shift, (number_of(plan),))
        voxels, _ = prepare(moved, way.preparation)
        pictures.append((case_of(plan, voxels), partial(_slices, voxels)))
        key = (shift.name, shift.dose) if shift.dose else AS_IS
        found[key] = shifted_marks(moved, *key, LUNG_WINDOW) if shift.dose else marks(moved)
    said = predict_many(network, pictures, way.sample, STRIDE)
    return {key: (float(p.max()), found[key]) for key, p in zip(found, said, strict=True)}


def _slices(voxels: NDArray[Any], _: Case, start: int, stop: int) -> NDArray[Any]:
    return voxels[start:stop]


def gathered(people: Sequence[Plan], rows: Sequence[dict[Key, Any]], wrong: float = 0.0) -> Scanned:
    labels = np.array([plan.label for plan in people])
    flipped = np.random.default_rng([len(people), 9]).random(labels.size) < wrong
    keys = list(rows[0])
    columns = {key: np.array([row[key][0] for row in rows]) for key in keys}
    tables = {}
    for key in keys:
        names = dict.fromkeys(mark for row in rows for mark in row[key][1])
        tables[key] = {mark: np.array([row[key][1].get(mark, np.nan) for row in rows]) for mark in names}
    return Scanned(np.where(flipped, 1 - labels, labels), np.array([p.patient_id for p in people]), columns, tables)


@dataclass(frozen=True)
class World:
    """One seed and way: its pool under every shift, and the other sites."""

    way: Way
    seed: int
    auc: float
    pool: Scanned
    sites: Mapping[str, Scanned]


def chunk(seed: int, name: str, change: Change, numbers: tuple[int, int]) -> list[tuple[Plan, Volume]]:
    return [(plan, scan(plan, change)) for plan in plans(seed, name, numbers[1])[numbers[0] :]]


def pool_chunk(network: Network, way: Way, scans: Sequence[tuple[Plan, Volume]], shifts: Sequence[Shift]) -> list[Any]:
    return [scored(network, way, plan, volume, shifts) for plan, volume in scans]


def run(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], words: str) -> list[Any]:
    found = dict(engine.run(function, list(tasks), describe=words))
    return [found[i] for i in range(len(tasks))]


PART = 20


def worlds(seed: int, sizes: tuple[int, int]) -> list[World]:
    """The three ways of one seed; `sizes` are the pool's and the other sites' numbers of patients."""
    as_is = (_as_planned, same, 0.0)
    count = TRAINING + VALIDATION + sizes[0]
    edges = [(first, min(first + PART, count)) for first in range(0, count, PART)]
    home = [s for part in run(chunk, [(seed, "Home", as_is, edge) for edge in edges], "Home") for s in part]
    changes = CAUSES | {name: change for name, (_, change) in SCANNERS.items()}
    edges = [(first, min(first + PART, sizes[1])) for first in range(0, sizes[1], PART)]
    made = run(_site_chunk, [(seed, name, edge) for name in changes for edge in edges], "Sites")
    per = len(edges)
    others = {n: [s for part in made[i * per : i * per + per] for s in part] for i, n in enumerate(changes)}
    networks = run(learn, [(way, home[: TRAINING + VALIDATION], seed) for way in WAYS], "Training")
    return [
        _world(way, network, seed, home[TRAINING + VALIDATION :], others)
        for way, network in zip(WAYS, networks, strict=True)
    ]


def _as_planned(plan: Plan) -> Plan:
    return plan


def _site_chunk(seed: int, name: str, edge: tuple[int, int]) -> list[tuple[Plan, Volume]]:
    change = CAUSES[name] if name in CAUSES else SCANNERS[name][1]
    return chunk(seed, f"Site {name}", change, edge)


def _world(
    way: Way, network: Network, seed: int, pool: list[tuple[Plan, Volume]], others: dict[str, list[tuple[Plan, Volume]]]
) -> World:
    parts = [pool[i : i + PART] for i in range(0, len(pool), PART)]
    rows = [r for p in run(pool_chunk, [(network, way, part, planted(way)) for part in parts], way.name) for r in p]
    found = gathered([plan for plan, _ in pool], rows)
    sites = run(pool_chunk, [(network, way, scans, ()) for scans in others.values()], f"{way.name}, sites")
    gone = {
        name: gathered([plan for plan, _ in scans], rows, CAUSES[name][2] if name in CAUSES else 0.0)
        for (name, scans), rows in zip(others.items(), sites, strict=True)
    }
    return World(way, seed, float(exact_auc(found.labels, found.probabilities[AS_IS])), found, gone)


# What is said of a site --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """One site that was asked about, and the answer.

    Attributes:
        table: "nothing", "listed", "left out", "off the list" or "scanner".
        way: kind of data and protocol.
        cause: what was planted.
        expected: the shift that is right, "" for none.
        distance: of the scores, unshifted.
        named: the shift named, "" for none.
        rivals: the others that fit.
        outcome: as `Explanation` has it.
        alone: the shift that the scores alone would have named.
    """

    table: str
    way: str
    cause: str
    expected: str
    distance: float
    named: str
    rivals: tuple[str, ...]
    outcome: str
    alone: str


def answered(world: World, repetition: int) -> list[Site]:
    """All questions of one repetition in one world."""
    there = _half(world.pool, repetition)
    home, away = (_part(world.pool, rows) for rows in (~there, there))
    keys = [(shift.name, shift.dose) for shift in tried(world.way)]
    found = [_ask(world, home, _as(away, AS_IS), keys, ("nothing", "as it is", ""))]
    for shift in planted(world.way):
        site, words = _as(away, (shift.name, shift.dose)), f"{shift.name} {shift.dose:g}"
        found.append(_ask(world, home, site, keys, ("listed", words, shift.name)))
        others = [key for key in keys if key[0] != shift.name]
        found.append(_ask(world, home, site, others, ("left out", words, "")))
    for name, site in world.sites.items():
        expected = SCANNERS[name][0] if name in SCANNERS else ""
        table = "scanner" if expected else "off the list"
        found.append(_ask(world, home, site, keys, (table, name, expected)))
    return found


def _half(pool: Scanned, repetition: int) -> NDArray[np.bool_]:
    random = np.random.default_rng([repetition, 1])
    there = np.zeros(pool.labels.size, bool)
    for label in (0, 1):
        rows = random.permutation(np.flatnonzero(pool.labels == label))
        there[rows[: rows.size // 2]] = True
    return there


def _part(scanned: Scanned, rows: NDArray[np.bool_]) -> Scanned:
    return Scanned(
        scanned.labels[rows],
        scanned.patients[rows],
        {key: column[rows] for key, column in scanned.probabilities.items()},
        {key: {mark: column[rows] for mark, column in table.items()} for key, table in scanned.marks.items()},
    )


def _as(site: Scanned, key: Key) -> Scanned:
    """A site whose scans are as one shift makes them; the marks that the shift does not have stay as they were."""
    marks_there = site.marks[AS_IS] | site.marks[key]
    return Scanned(site.labels, site.patients, {AS_IS: site.probabilities[key]}, {AS_IS: marks_there})


def _ask(world: World, home: Scanned, site: Scanned, keys: Sequence[Key], about: tuple[str, str, str]) -> Site:
    ours = (home.labels, home.patients, home.probabilities[AS_IS])
    theirs = (site.labels, site.patients, site.probabilities[AS_IS])
    shifted = with_midpoints(ours[2], {key: home.probabilities[key] for key in keys})
    seen = shown(home.marks[AS_IS], {key: home.marks[key] for key in keys}, site.marks[AS_IS])
    said = explain(ours, shifted, theirs, seen, resamples=RESAMPLES, seed=world.seed)
    alone = explain(ours, shifted, theirs, dict.fromkeys(seen, True), resamples=RESAMPLES, seed=world.seed)
    return Site(
        about[0], world.way.name, *about[1:], said.distance_unshifted, _name(said), said.rivals, said.outcome,
        _name(alone),
    )  # fmt: skip


def _name(said: Explanation) -> str:
    return said.best.shift if said.best else ""


# The page ----------------------------------------------------------------------------------------------------------


def share(cases: Sequence[Site], test: Callable[[Site], bool]) -> str:
    return f"{np.mean([test(case) for case in cases]):.0%}" if cases else ""


def any_named(case: Site) -> bool:
    return bool(case.named)


def any_alone(case: Site) -> bool:
    return bool(case.alone)


def right(case: Site) -> bool:
    return case.named == case.expected


def among(case: Site) -> bool:
    return bool(case.named) and case.named != case.expected and case.expected in case.rivals


def wrong(case: Site) -> bool:
    return bool(case.named) and not right(case) and not among(case)


def names(cases: Sequence[Site]) -> str:
    counted = Counter(case.named for case in cases if case.named)
    return ", ".join(f"{name} {count / len(cases):.0%}" for name, count in counted.most_common(3)) or "–"


def off_table(cases: Sequence[Site]) -> str:
    lines = ["| cause | scores lie apart | a shift named (wrong) | which | by scores alone |", "|---|---|---|---|---|"]
    for cause in dict.fromkeys(case.cause for case in cases):
        own = [case for case in cases if case.cause == cause]
        apart = f"{np.median([case.distance for case in own]):.2f}"
        cells = [cause, apart, share(own, any_named), names(own), share(own, any_alone)]
        lines.append(f"| {' | '.join(cells)} |")
    every = [share(cases, any_named), "", share(cases, any_alone)]
    return "\n".join([*lines, f"| all | | {' | '.join(every)} |"])


BINS = (0.2, 0.5, 1.0, np.inf)
SPANS = ("below 0.2", "0.2 to 0.5", "0.5 to 1", "above 1")


def listed_table(cases: Sequence[Site]) -> str:
    heads = ("right shift", "right one among those that fit", "wrong shift", "none, alike", "none, otherwise")
    lines = [f"| scores lie apart | sites | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    for place, span in enumerate(SPANS):
        own = [case for case in cases if np.searchsorted(BINS[:-1], case.distance, side="right") == place]
        if own:
            lines.append(f"| {span} | {len(own)} | {_verdicts(own)} |")
    return "\n".join(lines)


def _verdicts(own: Sequence[Site]) -> str:
    cells = [share(own, test) for test in (right, among, wrong)]
    cells.append(share(own, lambda c: c.outcome == "alike"))
    cells.append(share(own, lambda c: c.outcome in {"pictures", "scores"}))
    return " | ".join(cells)


def by_shift(cases: Sequence[Site], heading: str) -> str:
    heads = ("right shift", "right one among those that fit", "wrong shift", "none, alike", "none, otherwise")
    lines = [f"| {heading} | data | scores lie apart | {' | '.join(heads)} |", f"|---|---|---|{'---|' * len(heads)}"]
    for cause, way in dict.fromkeys((case.cause, case.way) for case in cases):
        own = [case for case in cases if (case.cause, case.way) == (cause, way)]
        apart = float(np.median([case.distance for case in own]))
        if apart >= BINS[0]:
            lines.append(f"| {cause} | {way} | {apart:.2f} | {_verdicts(own)} |")
    return "\n".join(lines)


def page(cases: Sequence[Site], learned: tuple[list[World], list[str]], asked: Sequence[int], minutes: float) -> str:
    made, left_out = learned
    tables = {name: [case for case in cases if case.table == name] for name in dict.fromkeys(c.table for c in cases)}
    seeds = ", ".join(dict.fromkeys(str(world.seed) for world in made))
    aucs = "; ".join(f"{world.way.name} {world.auc:.2f}" for world in made)
    method = (__doc__ or "").split("\n\n", 1)[1].rsplit("\n\n", 1)[0]
    off, out = tables["off the list"], tables["left out"]
    moved = [case for case in off if case.distance >= BINS[0]]
    return f"""# Naming a CT shift, measured

Made by `python benchmarks/dose.py {" ".join(map(str, asked))}` ({datetime.now(UTC).date()}, {minutes:.0f} minutes on
{cores()} cores). [What is done, and what it is not](how-to/stress.md).

## What was done

{method}

AUC of the networks on the pool: {aucs} (seeds {seeds}; left out: {"; ".join(left_out) or "none"}). The
{asked[0]} repetitions share one pool and are not independent: a share of 5 % is known to about ± 5 points.

## What came out

* **Causes that are not on the list**: a shift is named at {share(off, any_named)} of the sites (at
  {share(moved, any_named)} of those whose scores lie 0.2 log-odds or more from home's); by scores alone it would be
  {share(off, any_alone)} ({share(moved, any_alone)}).
* **The planted shift left out of the list**: another is named at {share(out, any_named)} of the sites; by scores alone
  {share(out, any_alone)}.
* **Nothing planted**: a shift is named at {share(tables["nothing"], any_named)} of the sites.
* **Shifts on the list**: a wrong one is named at {share(tables["listed"], wrong)} of the sites.

### Off the list

{off_table(off)}

### On the list, by how far the scores lie apart

{listed_table(tables["listed"])}

### The planted shift left out, by how far the scores lie apart

A name is wrong here; "right" stands for none.

{listed_table(out)}

### As a scanner makes it

Where the scores lie at least 0.2 log-odds apart.

{by_shift(tables["scanner"], "scanner")}

### Each shift and dose

Where the scores lie at least 0.2 log-odds apart.

{by_shift(tables["listed"], "planted")}
"""


def learned_worlds(first: int, seeds: int) -> tuple[list[World], list[str]]:
    """The worlds of so many seeds from `first` on whose networks all learned, and those that were left out."""
    made: list[list[World]] = []
    left_out: list[str] = []
    while len(made) < seeds:
        try:
            made.append(worlds(first + len(made) + len(left_out), (POOL, OTHERS)))
        except UnlearnedError as error:
            left_out.append(str(error))
    return [world for one in made for world in one], left_out


def main(repetitions: int, first: int, seeds: int) -> None:
    started = time.monotonic()
    learned = learned_worlds(first, seeds)
    tasks = [(world, repetition) for world in learned[0] for repetition in range(repetitions)]
    cases = [case for part in run(answered, tasks, "Explaining") for case in part]
    text = page(cases, learned, (repetitions, first, seeds), (time.monotonic() - started) / 60)
    print(text)
    if first >= 100:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]), *(8, 7000, 1)[len(sys.argv) - 1 :])
