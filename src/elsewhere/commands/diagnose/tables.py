"""Scans in numbers in; who and what is told apart, and the models' AUCs on parts of the scans, as records, out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.scans.regions import VIEWS
from elsewhere.statistics.confounding import MEASURED, tabulate_facts
from elsewhere.statistics.diagnosis.battery import Ranking, rank
from elsewhere.statistics.diagnosis.findings import CAUSES, GLOBAL_PARTS, LOCAL_PARTS, SURE
from elsewhere.statistics.diagnosis.separation import FEWEST, Separation, SeparationSettings, beyond, separate
from elsewhere.studies.prepared import PATIENTS, RULES, one_kind

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

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


def separations(
    scans: Rows, models: Sequence[str], sites: Sequence[str], settings: SeparationSettings, workers: int | None
) -> tuple[list[Row], list[Row]]:
    """How well test scans of two sites, and positives and negatives of one, are told apart.

    The second uses every labelled scan: no model has a part in it. More permutations are drawn where Holm's adjustment
    of so many tests needs them.

    Returns:
        rows of separation.parquet, rows of labels.parquet (without `p_holm`).
    """
    asked = [*_site_tasks(scans, models, sites), *_label_tasks(scans, sites)]
    enough = replace(settings, permutations=max(settings.permutations, int(2 * len(asked) / SURE)))
    tasks = [(*columns, enough) for _, columns in asked]
    done = dict(engine.run(separate, tasks, workers=workers, describe="Telling sites and labels apart"))
    rows = [_row(row, done[i]) for i, (row, _) in enumerate(asked)]
    labels = [row for row in rows if "home" not in row]
    return [row for row in rows if "home" in row], [_with_fact(row, scans, enough) for row in labels]


def _row(row: Row, found: Separation) -> Row:
    here, there = found.patients
    sizes = {"patients_home": there, "patients_site": here} if "home" in row else {"patients": here + there}
    return {
        **row,
        "auc": found.auc,
        "low": found.low,
        "high": found.high,
        "p": found.p_value,
        "power": found.power,
        **sizes,
        "permutations": found.permutations,
    }


def _site_tasks(scans: Rows, models: Sequence[str], sites: Sequence[str]) -> Iterator[tuple[Row, tuple[Any, ...]]]:
    test = [r for r in scans if r["subset"] == "test"]
    for home, site in combinations(sites, 2):
        pair = [r for r in test if r["site"] in {home, site}]
        views = [(view, "") for view in (*SITE_VIEWS, "facts")] + [("features", model) for model in models]
        for view, model in views:
            kept, table = _view(pair, view, model)
            groups = [int(r["site"] == site) for r in kept]
            if table is not None and _enough(kept, groups):
                yield {"home": home, "site": site, "view": view, "model": model}, (table, groups, _people(kept))


def _label_tasks(scans: Rows, sites: Sequence[str]) -> Iterator[tuple[Row, tuple[Any, ...]]]:
    for site in sites:
        here = [r for r in scans if r["site"] == site]
        for view in (*CAUSES, "lung_histogram"):
            kept, table = _view(here, view)
            labels = [r["label"] for r in kept]
            if table is not None and _enough(kept, labels):
                yield {"site": site, "view": view, "scans": len(kept)}, (table, labels, _people(kept))


def _view(rows: Rows, view: str, model: str = "") -> tuple[Rows, NDArray[np.float64] | None]:
    """The scans that have a view, and its table; None where it is the same for all."""
    if view == "facts":
        return rows, _facts(rows, ALL_ACQUISITION)
    kept = [r for r in rows if r["lungs_found"]]
    if not kept:
        return kept, None
    if model:
        return _features(kept, model)
    table = _table(kept, SITE_VIEWS.get(view, (view,)))
    if not np.ptp(table, axis=0).any():
        return kept, None
    return kept, beyond(table, _table(kept, GLOBAL_PARTS)) if view in LOCAL_PARTS else table


def _table(rows: Rows, parts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([np.concatenate([row[part] for part in parts]) for row in rows])


def _features(rows: Rows, model: str) -> tuple[Rows, NDArray[np.float64] | None]:
    seen = [(r, m["features"]) for r in rows for m in r["models"] if m["model"] == model]
    return [r for r, _ in seen], np.array([features for _, features in seen]) if seen else None


def _facts(rows: Rows, names: Sequence[str]) -> NDArray[np.float64] | None:
    known = [name for name in names if any(r["facts"].get(name) is not None for r in rows)]
    try:
        return tabulate_facts({name: one_kind([r["facts"].get(name) for r in rows]) for name in known}, len(rows))[1]
    except ValueError:  # no fact differs
        return None


def _people(rows: Rows) -> list[str]:
    return [f"{r['site']}/{r['patient']}" for r in rows]


def _enough(rows: Rows, groups: Sequence[int]) -> bool:
    people = [{p for p, g in zip(_people(rows), groups, strict=True) if g == group} for group in (0, 1)]
    only = [people[0] - people[1], people[1] - people[0]]
    return min(map(len, only)) >= FEWEST


def _with_fact(row: Row, scans: Rows, settings: SeparationSettings) -> Row:
    """The row, for facts with the kind of fact that does most of it."""
    row = {**row, "fact": ""}
    if row["view"] != "facts":
        return row
    here = [r for r in scans if r["site"] == row["site"]]
    labels, people = [r["label"] for r in here], _people(here)
    tables = {rule: _facts(here, names) for rule, names in ACQUISITION.items()}
    alone = replace(settings, permutations=0)
    found = {rule: separate(table, labels, people, alone).auc for rule, table in tables.items() if table is not None}
    best = max(found, key=lambda rule: found[rule])
    return {**row, "fact": best}


# The battery -------------------------------------------------------------------------------------------------------


PROBABILITIES = {"whole": "probability"} | {view: view for view in VIEWS}


def shortcuts(scans: Rows, model: str, site: str, settings: SeparationSettings) -> list[Row]:
    """Rows of shortcuts.parquet of one model at one site; none where the site has one class."""
    shown = [(r, m) for r in scans if r["site"] == site for m in r["models"] if m["model"] == model]
    scores = {view: [m[name] for _, m in shown] for view, name in PROBABILITIES.items()}
    rows = []
    for view, values in scores.items():
        kept = [i for i, value in enumerate(values) if value is not None]
        labels, people = [shown[i][0]["label"] for i in kept], [shown[i][0]["patient"] for i in kept]
        if len(set(labels)) < 2:  # one class, or not shown here
            continue
        found, null = rank(labels, people, [values[i] for i in kept], settings.permutations, settings.seed)
        rows += [_ranking(model, site, view, found, settings)]
        rows += [_ranking(model, site, "label_shuffle", null, settings)] if view == "whole" else []
    return rows


def _ranking(model: str, site: str, view: str, found: Ranking, settings: SeparationSettings) -> Row:
    return {
        "model": model,
        "site": site,
        "view": view,
        "auc": found.auc,
        "low": found.low,
        "high": found.high,
        "p": found.p_value,
        "patients": found.patients,
        "scans": found.scans,
        "permutations": settings.permutations,
    }
