"""All models' scores of the test scans in; paired tests of networks and of protocols out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from elsewhere.commands.report.cells import Cell, Cells, several_against_one
from elsewhere.pages import report as page
from elsewhere.pages.report.records import kin_of
from elsewhere.statistics.comparison import Comparison, adjust_family, compare_at, compare_models
from elsewhere.statistics.pooled import SiteScores, mean_aucs
from elsewhere.studies.returned import Return

Row = dict[str, Any]


def comparisons(cells: Cells, models: Sequence[page.Model], returned: Sequence[Return] = ()) -> list[Row]:
    """Paired tests within one study, as two families with Holm's adjustment each.

    At hospitals that sent their AUCs and how these vary together, the tests are those of the scans there.

    "several": every network of several sites against each network of one of its sites, at that site ("trained") and at
    each site that neither saw ("unseen"). "pairs": every pair of networks at each site with two classes.
    """
    sites = [
        s for s in dict.fromkeys(s for _, s in cells) if any(c.two_classes for (_, k), c in cells.items() if k == s)
    ]
    sent = {one.hospital: (one.aucs, one.counts.scans) for one in returned if one.aucs is not None}
    sites += list(sent)
    several = [
        (
            {"family": "several", "relation": relation, "site": site, "first": first, "second": second},
            site,
            first,
            second,
        )
        for relation, pairs in several_against_one(models, sites).items()
        for site, first, second in pairs
    ]
    every = [
        ({"family": "pairs", "relation": "", "site": site, "first": a.name, "second": b.name}, site, a.name, b.name)
        for site in sites
        for a, b in combinations(models, 2)
    ]
    rows: list[Row] = []
    for family in (several, every):
        pairs: list[tuple[Row, Comparison, int]] = []
        for head, site, a, b in family:
            if site not in sent:
                pairs.append((head, *_compared(cells[a, site], cells[b, site])))
            elif {a, b} <= set(sent[site][0].models):
                pairs.append((head, compare_at(sent[site][0], a, b), sent[site][1]))
        rows += _tested(pairs)
    return rows


def between_protocols(studies: Sequence[tuple[page.Study, Cells]]) -> list[Row]:
    """The same network under two protocols at the same site, on the test scans that both scored; first less second.

    One family of tests for each pair of studies; and one record per relation of network and site, "mean", whose
    interval is that of `mean_aucs`. Networks that did not learn under either are left out, and
    so are pairs of studies whose scans are of different origin: equal names are not equal scans there.
    """
    rows: list[Row] = []
    for (one, ours), (other, theirs) in combinations(studies, 2):
        if one.origin != other.origin:
            continue
        heads: list[tuple[Row, Cell, Cell]] = []
        for model in (m for m in one.able if m.name in {n.name for n in other.able}):
            for site in (site.name for site in one.sites):
                both = _shared(ours.get((model.name, site)), theirs.get((model.name, site)))
                if both:
                    head = {"family": "protocols", "relation": kin_of(model, site), "site": site, "model": model.name}
                    heads.append(({**head, "first": one.name, "second": other.name}, *both))
        rows += _tested([(head, *_compared(*pair)) for head, *pair in heads]) + _means(heads)
    return rows


def _compared(one: Cell, other: Cell) -> tuple[Comparison, int]:
    """The test of two cells, and their scans."""
    return compare_models(one.labels, one.patients, one.probabilities, other.probabilities), len(one.labels)


def _tested(pairs: Sequence[tuple[Row, Comparison, int]]) -> list[Row]:
    """The rows of one family of tests, from head, test and number of scans."""
    rows = []
    for (head, _, scans), comparison in zip(pairs, adjust_family([found for _, found, _ in pairs]), strict=True):
        values = asdict(comparison)
        named = {"auc_first": values.pop("first"), "auc_second": values.pop("second"), "tests": values.pop("family")}
        rows.append({**head, **named, **values, "scans": scans})
    return rows


def _means(pairs: Sequence[tuple[Row, Cell, Cell]]) -> list[Row]:
    """Mean difference over the cells of each relation (`mean_aucs`), patients of a site the same for all."""
    sites: dict[str, SiteScores] = {}
    for site in dict.fromkeys(head["site"] for head, _, _ in pairs):
        here = [(head["model"], a, b) for head, a, b in pairs if head["site"] == site]
        if len({tuple(a.scans.tolist()) for _, a, _ in here}) > 1:
            continue  # networks of one study score the same scans; a folder where they do not has no joint draw
        scores = {f"{m}/{i}": c.probabilities for m, a, b in here for i, c in ((1, a), (2, b))}
        sites[site] = SiteScores(here[0][1].labels, here[0][1].patients, scores)
    groups: dict[str, list[tuple[str, str]]] = {}
    for head, _, _ in pairs:
        for i in (1, 2):
            if head["site"] in sites:
                groups.setdefault(f"{head['relation']}/{i}", []).append((f"{head['model']}/{i}", head["site"]))
    relations = list(dict.fromkeys(name.partition("/")[0] for name in groups))
    found = mean_aucs(sites, groups, [(f"{r}/1", f"{r}/2") for r in relations])
    rows = []
    for relation in relations:
        interval = found[f"{relation}/1 - {relation}/2"]
        head = {"family": "protocols", "relation": relation, "site": "", "model": "mean"}
        names = {key: pairs[0][0][key] for key in ("first", "second")}
        aucs = {"auc_first": found[f"{relation}/1"].estimate, "auc_second": found[f"{relation}/2"].estimate}
        ends = {"difference": interval.estimate, "low": interval.low, "high": interval.high, "method": interval.method}
        rows.append({**head, **names, **aucs, **ends, "cells": len(groups[f"{relation}/1"])})
    return rows


def _shared(one: Cell | None, other: Cell | None) -> tuple[Cell, Cell] | None:
    """Both cells on the scans that they share, in one order; None where those lack a class or labels disagree."""
    if one is None or other is None:
        return None
    scans, ours, theirs = np.intersect1d(one.scans, other.scans, return_indices=True)
    first, second = _taken(one, ours), _taken(other, theirs)
    same = np.array_equal(first.labels, second.labels) and np.array_equal(first.patients, second.patients)
    return (first, second) if scans.size and same and first.two_classes else None


def _taken(cell: Cell, kept: np.ndarray) -> Cell:
    passes = cell.passes[:, kept] if len(cell.passes) else cell.passes
    return Cell(cell.scans[kept], cell.patients[kept], cell.labels[kept], cell.probabilities[kept], passes)
