"""What `elsewhere adapt` reaches with networks that learned: whole adaptations between simulated sites.

One seed: three sites (UTSW, CC-CCII, COVID-CTset) of 240 patients, half positive, every dial at its usual strength, and
for each another 192 patients of the same site ("again"); a network for each site by the paper's protocol (100
patients to train on). Then:

* pairs: UTSW to CC-CCII, CC-CCII to COVID-CTset, COVID-CTset to UTSW. `elsewhere adapt` at 32 patients of each class,
  and the curves of some ways from 4 to 64, five draws; patients of the new site's test set are scored. The gap is the
  AUC of the network that was trained there less that of the network as it is, on the same patients.
* how many: the curve of the first three numbers (4, 8, 16) says how many an AUC takes; the AUC asked for is that of the
  curve of all five at 32 and at 64, which is the truth.
* intervals: of each chosen model, 200 times, 48 patients drawn with replacement from all that are scored; the 95 %
  interval of their AUC against the AUC of all.
* nothing lost: 32 + 32 of the other patients of a network's own site; the choice among the same ways.
* labels: dense parts fitted on patients chosen at random, stratified by score, or as k-centres, from 90 of the new site
  of which a fifth are positive; and the AUC as it is, estimated from the 32 that are chosen first.

`nice -n 15 python benchmarks/adapt_networks.py FOLDER SEED ...` writes the second part of docs/adapt-tables.md; what
is finished in FOLDER is not done again. `--pairs`, `--groups`, `--ways` and `--curves` make it smaller.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from adapt_networks_page import COUNTS, DRAWS, GROUP, NETWORKS, PAGE, REPEATS, SIZES, Found, Record, page
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.commands.study import run_study
from elsewhere.model.adapting import WAYS, AdaptingSettings, Way
from elsewhere.scans.phantom.planting import Simulation, write_sites
from elsewhere.scans.phantom.sites import default_sites
from elsewhere.statistics.adaptation import choose_way, deal_folds, draw_scans
from elsewhere.statistics.intervals import auc_interval
from elsewhere.statistics.labelling import CHOOSING, choose_k_centre, choose_random, choose_stratified, weighted_auc
from elsewhere.statistics.learning_curve import fit_curve, how_many
from elsewhere.statistics.roc import exact_auc
from elsewhere.statistics.verdict_rule import scans_to_prove
from elsewhere.studies.adaptations import AdaptPlan, adapt_model, curve_fits
from elsewhere.studies.adapting_fits import (
    ALL,
    NO_FOLD,
    Bench,
    Fit,
    as_it_is,
    bench_of,
    carry_out,
    keep_features,
    mean_features,
)
from elsewhere.studies.adapting_scans import AdaptingScan, AdaptingScans, Columns, Said, scans_of_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import KnownModel, trained_model
from elsewhere.studies.records import ADAPT_ROWS

LAYOUTS = {"UTSW": "dicom", "CC-CCII": "cc_ccii", "COVID-CTset": "covid_ctset"}
PAIRS = (("UTSW", "CC-CCII"), ("CC-CCII", "COVID-CTset"), ("COVID-CTset", "UTSW"))
PATIENTS, AGAIN, MATRIX, FINEST = 240, 192, 96, 12.0
SAMPLED, RARE = 48, 18
LARGEST = ("all", "here", GROUP)
Floats = NDArray[np.float64]

STUDY = """\
name = "adapting"
title = "Simulated sites for adapting"
origin = "simulated"
protocol = "paper"
seed = {seed}
store = "store"
combinations = [["UTSW"], ["CC-CCII"], ["COVID-CTset"]]

[split]
train = 0.42
test = 0.4

[preparation]
smooth = true

[network]
input = [24, 32, 32]
filters = [8, 16, 32]
kernels = [[3, 3, 3], [3, 3, 3], [3, 3, 3]]
pools = [[2, 2, 2], [2, 2, 2]]
dense = [64]
groups = 8
dense_groups = 8
dropblock = 0.0
dropout = 0.05

[training]
iterations = 320
batch = 4
learning_rate = 5e-4
balanced_classes = true
schedule = "cosine"
weight_decay = 1e-4
select = "log_loss"
validate_every = 40
save_every = 320
threads = 1
tensorboard = false

[prediction]
passes = 0
stride = 24

[evaluation]
resamples = 200
"""


@dataclass(frozen=True)
class Run:
    """One seed."""

    place: Path
    seed: int
    ways: tuple[Way, ...]
    curves: tuple[Way, ...]
    workers: int

    @property
    def study(self) -> Path:
        """Folder of the study."""
        return self.place / "study"

    def once(self, name: str, make: Callable[[], Record]) -> Record:
        """What `make` gives, made once: kept as JSON, with the seconds of processor time that it took."""
        file = self.place / "found" / f"{name}.json"
        if not file.is_file():
            begun, clock = _processor(), time.monotonic()
            found = make() | {"processor": round(_processor() - begun, 1), "wall": round(time.monotonic() - clock, 1)}
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found, indent=1), encoding="utf-8")
            print(f"{datetime.now(UTC):%H:%M:%S} seed {self.seed}: {name}, {found['processor']:.0f} s", flush=True)
        kept: Record = json.loads(file.read_text(encoding="utf-8"))
        return kept


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def make_study(run: Run) -> Record:
    """Sites, networks and their predictions."""
    wanted = [site for site in default_sites() if site.name in LAYOUTS]
    for name, patients, seed in (("sites", PATIENTS, run.seed), ("again", AGAIN, run.seed + 500_000)):
        sites = tuple(replace(site, patients=patients, positive=0.5) for site in wanted)
        write_sites(Simulation(seed, MATRIX, FINEST, sites), run.place / name, partial(engine.run, workers=run.workers))
    text = STUDY.format(seed=run.seed)
    for name, kind in LAYOUTS.items():
        text += f'\n[sites.{name}]\nkind = "{kind}"\nroot = "sites/{name}"\n'
        text += f'\n[sites."{name}-again"]\nkind = "{kind}"\nroot = "again/{name}"\nuse = "test"\n'
    (run.place / "study.toml").write_text(text, encoding="utf-8")
    run_study(run.place / "study.toml", Folder(run.study), run.workers)
    models = [trained_model(run.study, name) for name in LAYOUTS]
    return {"learned": {model.name: not model.learned.degenerate for model in models}}


def scans_between(model: KnownModel, site: str) -> AdaptingScans:
    """Scans of an adaptation, of old sites those of home alone."""
    found = scans_of_study(model, site)
    kept = tuple(s for s in found.scans if s.part != "old" or s.case.site in model.trained_on)
    return replace(found, scans=kept)


def auc_at(model: KnownModel, site: str) -> float:
    """AUC on the test set of a site."""
    own = [s for s in model.scores if s.site == site and s.subset == "test"]
    return float(exact_auc(np.array([s.label for s in own]), np.array([s.probability for s in own])))


# A pair ------------------------------------------------------------------------------------------------------------


def adapt_pair(run: Run, home: str, site: str) -> Record:
    """A whole adaptation with 32 patients of each class, and the curves of two ways."""
    model, there = trained_model(run.study, home), trained_model(run.study, site)
    scans, target = scans_between(model, site), run.place / "adapted" / f"{home} {site}"
    settings = AdaptingSettings(seed=run.seed)
    found, new = adapt_model(model, scans, AdaptPlan(run.ways, (GROUP,), DRAWS, None, settings), target, run.workers)
    score, fit = Columns.of(scans.part("score")), Columns.of(scans.part("fit"))
    bench = bench_of(model, scans, settings, target)
    features = keep_features(bench, scans.part("fit", "score", "choose", "old"), run.workers)
    curves = run.curves
    fits = curve_fits(scans, fit, curves, SIZES, AdaptPlan(curves, SIZES, DRAWS, None, settings))
    said = carry_out(bench, fits, features, run.workers, "Curves")
    tables = {
        way: np.array(
            [
                [score.said(of) for one, of in zip(fits, said, strict=True) if (one.way, one.size) == (way, size)]
                for size in SIZES
            ]
        )
        for way in curves
    }
    chosen = [] if new is None else [s.probability for s in new.scores if (s.site, s.subset) == (site, "test")]
    adapted = found.decision == "adapt"
    return {
        "before": found.before.estimate,
        "there": auc_at(there, site),
        "home": auc_at(model, home),
        "decision": found.decision,
        "way": found.way,
        "fitted": found.fitted,
        "after": None if found.after is None else found.after.estimate,
        "forgotten": [f.change.estimate for f in found.forgotten if f.relation == "home"],
        "ways": [(p.way, p.auc.estimate, None if p.home is None else p.home.estimate) for p in found.curve],
        "all": [r.auc for r in ADAPT_ROWS.read(target / "curve.parquet") if (r.way, r.relation, r.size) == LARGEST],
        "need": needs(score, tables, auc_at(model, home)),
        "covered": covered(score, np.array(chosen), run.seed) if adapted else None,
        "rule": scans_to_prove(auc_at(model, home), 0.5),
        "fits": found.fits + len(fits),
    }


def needs(score: Columns, tables: dict[Way, Floats], home: float) -> Record:
    """For each way: what the first three numbers say of how many patients the AUC at 32 and at 64 takes.

    And how many the AUC of home takes, by the curve of all.
    """
    found: list[Record] = []
    at_home: Record = {}
    for way, table in tables.items():
        whole = fit_curve(score.labels, score.people, table, SIZES)
        first = fit_curve(score.labels, score.people, table[:3], SIZES[:3])
        assert whole is not None
        for truth in SIZES[3:]:
            said = how_many(first, whole.at(truth))
            found.append({"way": way, "truth": truth, "said": said.patients, "low": said.low, "high": said.high})
        at_home[way] = how_many(whole, home).patients
    return {"said": found, "home": at_home}


def covered(score: Columns, values: Floats, seed: int) -> float:
    """Share of samples of patients, with replacement, whose 95 % interval holds the AUC of all."""
    truth, rng = exact_auc(score.labels, values), np.random.default_rng([seed, 21])
    names = np.unique(score.people)
    places = [np.flatnonzero(score.people == name) for name in names]
    held = 0
    for _ in range(REPEATS):
        drawn = rng.integers(len(names), size=SAMPLED)
        rows = np.concatenate([places[i] for i in drawn])
        people = np.repeat(np.arange(SAMPLED), [places[i].size for i in drawn])
        interval = auc_interval(score.labels[rows], people, values[rows])
        held += interval.low <= truth <= interval.high
    return held / REPEATS


# Nothing lost ------------------------------------------------------------------------------------------------------


def groups_of(scans: list[AdaptingScan], number: int, seed: int) -> list[list[AdaptingScan]]:
    """Disjoint groups of 32 + 32 patients."""
    columns = Columns.of(scans)
    drawn = [set(draw_scans(columns.labels, columns.people, GROUP * (i + 1), 0, seed).tolist()) for i in range(number)]
    return [[scans[i] for i in sorted(now - before)] for before, now in zip([set(), *drawn], drawn, strict=False)]


def nothing_lost(run: Run, home: str, number: int) -> Record:
    """The choice on a group of other patients of the network's own site, and what the best way truly changes."""
    model = trained_model(run.study, home)
    all_of = scans_of_study(model, f"{home}-again")
    here = [replace(s, part="fit") for s in all_of.part("fit", "score")]
    group = groups_of(here, number + 1, run.seed)[number]
    inside = {s.person for s in group}
    rest = tuple(replace(s, part="score") for s in here if s.person not in inside)
    choose = tuple(all_of.part("choose"))
    scans = AdaptingScans(f"{home}-again", (*group, *rest, *choose, *all_of.part("replay")))
    plan = AdaptPlan(run.ways, SIZES, 1, None, AdaptingSettings(seed=run.seed))
    bench = bench_of(model, scans, plan.settings, run.place / "same" / f"{home} {number}")
    features = keep_features(bench, scans.part("fit", "score", "choose"), run.workers)
    before = as_it_is(bench, scans.part("fit", "score", "choose"), features)
    choice = left_out(run, bench, features, Columns.of(group), before)
    best = max((c for c in choice.candidates if c.name in WAYS), key=lambda c: c.saved.estimate).name
    final = Fit(next(w for w in WAYS if w == (choice.way or best)), ALL, 0, NO_FOLD, tuple(group), rest)
    (after,) = carry_out(bench, [final], features, run.workers, "Final")
    score = Columns.of(rest)
    change = [float(exact_auc(score.labels, score.said(said))) for said in (before, after)]
    return {"decision": choice.decision, "way": choice.way, "best": best, "before": change[0], "after": change[1]}


def left_out(run: Run, bench: Bench, features: dict[str, Path], fit: Columns, before: Said) -> Any:
    """The choice, by fits that leave out a fold each."""
    folds = deal_folds(fit.labels, fit.people, run.seed)
    fits = [
        Fit(way, ALL, 0, int(fold), *(tuple(s for s, f in zip(fit.scans, folds, strict=True) if (f != fold) == kept)
                                      for kept in (True, False)))
        for way in run.ways for fold in np.unique(folds)
    ]  # fmt: skip
    said = carry_out(bench, fits, features, run.workers, "Choosing")
    values: dict[str, Floats] = {}
    for way in run.ways:
        together = {place: p for f, of in zip(fits, said, strict=True) if f.way == way for place, p in of.items()}
        values[way] = fit.said(together)
    return choose_way(fit.labels, fit.people, folds, fit.said(before), values)


# Which to label ----------------------------------------------------------------------------------------------------


def labels_needed(run: Run, home: str, site: str) -> Record:
    """AUC after the dense part was fitted on so many patients, chosen in three ways, five draws each."""
    model = trained_model(run.study, home)
    scans, target = scans_between(model, site), run.place / "adapted" / f"{home} {site}"
    plan = AdaptPlan(("dense",), SIZES, 1, None, AdaptingSettings(seed=run.seed))
    bench = bench_of(model, scans, plan.settings, target)
    used = scans.part("fit", "score")
    features = keep_features(bench, used, run.workers)
    before, vectors = as_it_is(bench, used, features), mean_features(features)
    score, asked = Columns.of(scans.part("score")), tuple(scans.part("score"))
    as_is = float(exact_auc(score.labels, score.said(before)))
    found: Record = {
        "before": as_is,
        "auc": {},
        "estimate": {},
        "pool": [],
    }
    for draw in range(DRAWS):
        pool = rare_pool(scans.part("fit"), run.seed + draw)
        people = list(dict.fromkeys(s.person for s in pool))
        own = {p: [s for s in pool if s.person == p] for p in people}
        scores = np.array([max(before[s.case.site, s.case.scan] for s in own[p]) for p in people])
        truth = np.array([max(s.case.label for s in own[p]) for p in people])
        vector = np.array([np.mean([vectors[s.case.site, s.case.scan] for s in own[p]], axis=0) for p in people])
        found["pool"].append(float(exact_auc(truth, scores)))
        for how in CHOOSING:
            order = [chosen(how, scores, vector, count, draw) for count in COUNTS]
            fits = [
                Fit("dense", count, draw, NO_FOLD, tuple(s for i in places for s in own[people[i]]), asked)
                for count, (places, _) in zip(COUNTS, order, strict=True)
                if len(set(truth[places].tolist())) == 2
            ]
            aucs = dict.fromkeys(COUNTS, as_is)
            for fit, said in zip(fits, carry_out(bench, fits, features, run.workers, "Labels"), strict=True):
                aucs[fit.size] = float(exact_auc(score.labels, score.said(said)))
            found["auc"].setdefault(how, []).append([aucs[count] for count in COUNTS])
            places, weights = order[COUNTS.index(32)]
            both = len(set(truth[places].tolist())) == 2
            pair = [
                weighted_auc(truth[places], scores[places], w) if both else None
                for w in (np.ones(places.size), weights)
            ]
            found["estimate"].setdefault(how, []).append([*pair, int(truth[places].sum())])
    return found


def rare_pool(scans: list[AdaptingScan], seed: int) -> list[AdaptingScan]:
    """72 negative patients and 18 positive ones, drawn."""
    columns = Columns.of(scans)
    few, many = (
        set(columns.people[draw_scans(columns.labels, columns.people, n, 0, seed)].tolist())
        for n in (RARE, min(columns.patients))
    )
    positive = set(columns.people[columns.labels == 1].tolist())
    return [s for s in scans if s.person in (few if s.person in positive else many)]


def chosen(how: str, scores: Floats, vectors: Floats, count: int, draw: int) -> tuple[NDArray[np.int64], Floats]:
    """Places of the patients that are labelled, and their weights; those of k-centre are 1."""
    if how == "random":
        return choose_random(scores.size, count, draw)
    if how == "stratified":
        return choose_stratified(scores, count, draw)
    return choose_k_centre(vectors, count, seed=draw), np.ones(count)


# All -----------------------------------------------------------------------------------------------------------------


def main(given: Namespace) -> None:
    """All seeds, then the page."""
    found: Found = []
    for seed in given.seeds:
        run = Run(given.folder / str(seed), seed, tuple(given.ways), tuple(given.curves), given.workers)
        run.place.mkdir(parents=True, exist_ok=True)
        learned = run.once("study", partial(make_study, run))["learned"]
        steps: list[tuple[str, Callable[[], Record], tuple[str, ...]]] = []
        for home, site in PAIRS[: given.pairs]:
            steps.append((f"labels {home} {site}", partial(labels_needed, run, home, site), (home,)))
            steps.append((f"pair {home} {site}", partial(adapt_pair, run, home, site), (home, site)))
        for number in range(given.groups):
            steps += [(f"same {home} {number}", partial(nothing_lost, run, home, number), (home,)) for home in LAYOUTS]
        for name, step, needed in steps:
            if all(learned[one] for one in needed):
                found.append((seed, name, run.once(name, step)))
    if {name.split()[0] for _, name, _ in found} == {"labels", "pair", "same"}:
        command = f"nice -n 15 python benchmarks/adapt_networks.py {' '.join(sys.argv[1:])}"
        before = PAGE.read_text(encoding="utf-8")
        first = before[: before.index(NETWORKS)] if NETWORKS in before else before.rstrip() + "\n\n"
        PAGE.write_text(first + page(found, command.replace(str(given.folder), "FOLDER")), encoding="utf-8")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--pairs", type=int, default=len(PAIRS))
    parser.add_argument("--groups", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--curves", nargs="+", choices=WAYS, default=["dense", "all"])
    parser.add_argument("--workers", type=int, default=1)
    main(parser.parse_args(sys.argv[1:]))
