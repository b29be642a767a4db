"""Scans in numbers in; who and what is told apart, and the models' AUCs on parts of the scans, as records, out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.commands.diagnose.probed import ProbedScan
from elsewhere.scans.regions import VIEWS
from elsewhere.statistics.confounding import MEASURED, tabulate_facts
from elsewhere.statistics.diagnosis.battery import Ranking, rank
from elsewhere.statistics.diagnosis.findings import CAUSES, GLOBAL_PARTS, LOCAL_PARTS, SURE
from elsewhere.statistics.diagnosis.separation import FEWEST, Separation, SeparationSettings, beyond, separate
from elsewhere.statistics.diagnosis.tested import ClassSeparation, PartRanking, SiteSeparation
from elsewhere.studies.prepared import PATIENTS, RULES, one_kind

Table = NDArray[np.float64]

SITE_VIEWS = {
    "lungs_erased": ("background", "objects", "texture", "body"),
    "border": ("background", "objects"),
    "lung_histogram": ("lungs",),
}
"""Views of the picture that sites are told apart by -> the parts of `describe` in them."""

ACQUISITION = {
    rule: tuple(name for name in names if name not in MEASURED)
    for rule, names in RULES.items()
    if rule not in PATIENTS and not set(names) <= set(MEASURED)
}
"""Facts of the acquisition as headers have them; the views of the picture know what is measured in it."""

ALL_ACQUISITION = tuple(name for names in ACQUISITION.values() for name in names)


class Columns(NamedTuple):
    """What `separate` takes: a view of scans, the group and the patient of each."""

    view: Table
    groups: list[int]
    patients: list[str]


class Pair(NamedTuple):
    """Two sites, what of their test scans is looked at, and whose features ("" for views of the scans)."""

    home: str
    site: str
    view: str
    model: str


class Place(NamedTuple):
    """A site, what of its scans is looked at, and how many have it."""

    site: str
    view: str
    scans: int


def separations(
    scans: Sequence[ProbedScan],
    models: Sequence[str],
    sites: Sequence[str],
    settings: SeparationSettings,
    workers: int | None,
) -> tuple[list[SiteSeparation], list[ClassSeparation]]:
    """How well test scans of two sites, and positives and negatives of one, are told apart.

    The second uses every labelled scan: no model has a part in it. More permutations are drawn where Holm's adjustment
    of so many tests needs them.
    """
    pairs, places = list(_pairs(scans, models, sites)), list(_places(scans, sites))
    asked = [*(columns for _, columns in pairs), *(columns for _, columns in places)]
    enough = replace(settings, permutations=max(settings.permutations, int(2 * len(asked) / SURE)))
    tasks = [(*columns, enough) for columns in asked]
    done = dict(engine.run(separate, tasks, workers=workers, describe="Telling sites and labels apart"))
    apart = [_of_sites(pair, done[i]) for i, (pair, _) in enumerate(pairs)]
    classes = [
        _of_classes(place, done[i], _fact(scans, place, enough))
        for i, (place, _) in enumerate(places, start=len(pairs))
    ]
    return apart, classes


def _of_sites(pair: Pair, found: Separation) -> SiteSeparation:
    here, there = found.patients
    return SiteSeparation(
        *pair,
        auc=found.auc,
        low=found.low,
        high=found.high,
        p=found.p_value,
        power=found.power,
        patients_home=there,
        patients_site=here,
        permutations=found.permutations,
    )


def _of_classes(place: Place, found: Separation, fact: str) -> ClassSeparation:
    return ClassSeparation(
        *place,
        auc=found.auc,
        low=found.low,
        high=found.high,
        p=found.p_value,
        power=found.power,
        patients=sum(found.patients),
        permutations=found.permutations,
        fact=fact,
    )


def _pairs(scans: Sequence[ProbedScan], models: Sequence[str], sites: Sequence[str]) -> Iterator[tuple[Pair, Columns]]:
    test = [scan for scan in scans if scan.subset == "test"]
    for home, site in combinations(sites, 2):
        pair = [scan for scan in test if scan.site in {home, site}]
        views = [(view, "") for view in (*SITE_VIEWS, "facts")] + [("features", model) for model in models]
        for view, model in views:
            kept, table = _view(pair, view, model)
            groups = [int(scan.site == site) for scan in kept]
            if table is not None and _enough(kept, groups):
                yield Pair(home, site, view, model), Columns(table, groups, _people(kept))


def _places(scans: Sequence[ProbedScan], sites: Sequence[str]) -> Iterator[tuple[Place, Columns]]:
    for site in sites:
        here = [scan for scan in scans if scan.site == site]
        for view in (*CAUSES, "lung_histogram"):
            kept, table = _view(here, view)
            labels = [scan.label for scan in kept]
            if table is not None and _enough(kept, labels):
                yield Place(site, view, len(kept)), Columns(table, labels, _people(kept))


def _view(scans: Sequence[ProbedScan], view: str, model: str = "") -> tuple[Sequence[ProbedScan], Table | None]:
    """The scans that have a view, and its table; None where it is the same for all."""
    if view == "facts":
        return scans, _facts(scans, ALL_ACQUISITION)
    kept = [scan for scan in scans if scan.lungs_found]
    if not kept:
        return kept, None
    if model:
        return _features(kept, model)
    table = _table(kept, SITE_VIEWS.get(view, (view,)))
    if not np.ptp(table, axis=0).any():
        return kept, None
    return kept, beyond(table, _table(kept, GLOBAL_PARTS)) if view in LOCAL_PARTS else table


def _table(scans: Sequence[ProbedScan], parts: Sequence[str]) -> Table:
    return np.array([np.concatenate([scan.numbers[part] for part in parts]) for scan in scans])


def _features(scans: Sequence[ProbedScan], model: str) -> tuple[Sequence[ProbedScan], Table | None]:
    found = [(scan, seen.features) for scan in scans if (seen := scan.seen_by(model))]
    return [scan for scan, _ in found], np.array([features for _, features in found]) if found else None


def _facts(scans: Sequence[ProbedScan], names: Sequence[str]) -> Table | None:
    known = [name for name in names if any(scan.facts.get(name) is not None for scan in scans)]
    try:
        columns = {name: one_kind([scan.facts.get(name) for scan in scans]) for name in known}
        return tabulate_facts(columns, len(scans))[1]
    except ValueError:  # no fact differs
        return None


def _people(scans: Sequence[ProbedScan]) -> list[str]:
    return [f"{scan.site}/{scan.patient}" for scan in scans]


def _enough(scans: Sequence[ProbedScan], groups: Sequence[int]) -> bool:
    people = [{p for p, g in zip(_people(scans), groups, strict=True) if g == group} for group in (0, 1)]
    only = [people[0] - people[1], people[1] - people[0]]
    return min(map(len, only)) >= FEWEST


def _fact(scans: Sequence[ProbedScan], place: Place, settings: SeparationSettings) -> str:
    """For facts the kind of fact that tells the classes apart best; "" for other views."""
    if place.view != "facts":
        return ""
    here = [scan for scan in scans if scan.site == place.site]
    labels, people = [scan.label for scan in here], _people(here)
    tables = {rule: _facts(here, names) for rule, names in ACQUISITION.items()}
    alone = replace(settings, permutations=0)
    found = {rule: separate(table, labels, people, alone).auc for rule, table in tables.items() if table is not None}
    return max(found, key=lambda rule: found[rule])


# The battery -------------------------------------------------------------------------------------------------------


def shortcuts(scans: Sequence[ProbedScan], model: str, site: str, settings: SeparationSettings) -> list[PartRanking]:
    """One model's AUC on whole scans of one site and on parts of them; none where the site has one class."""
    shown = [(scan, seen.probabilities) for scan in scans if scan.site == site and (seen := scan.seen_by(model))]
    made = []
    for view in ("whole", *VIEWS):
        known = [(scan, value) for scan, probabilities in shown if (value := probabilities[view]) is not None]
        labels, people = [scan.label for scan, _ in known], [scan.patient for scan, _ in known]
        if len(set(labels)) < 2:  # one class, or not shown here
            continue
        found, null = rank(labels, people, [value for _, value in known], settings.permutations, settings.seed)
        made += [_ranking(model, site, view, found, settings)]
        made += [_ranking(model, site, "label_shuffle", null, settings)] if view == "whole" else []
    return made


def _ranking(model: str, site: str, view: str, found: Ranking, settings: SeparationSettings) -> PartRanking:
    return PartRanking(
        model,
        site,
        view,
        auc=found.auc,
        low=found.low,
        high=found.high,
        p=found.p_value,
        patients=found.patients,
        scans=found.scans,
        permutations=settings.permutations,
    )
