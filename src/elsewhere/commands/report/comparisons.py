"""All models' scores of the test scans in; paired tests of networks and of protocols out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from elsewhere.commands.report.cells import Cell, Cells, several_against_one
from elsewhere.pages import report as page
from elsewhere.pages.report.records import kin_of
from elsewhere.statistics.comparison import Comparison, adjust_family, compare_at, compare_models
from elsewhere.statistics.pooled import SiteScores, mean_aucs
from elsewhere.studies.returned import Return


@dataclass(frozen=True)
class Head:
    """What is compared: as in `ComparisonRow`; `model`: of two studies the network."""

    family: str
    relation: str
    site: str
    first: str
    second: str
    model: str = ""


def comparisons(
    cells: Cells, models: Sequence[page.Model], returned: Sequence[Return] = ()
) -> list[page.ComparisonRow]:
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
        Head("several", relation, *pair)
        for relation, pairs in several_against_one(models, sites).items()
        for pair in pairs
    ]
    every = [Head("pairs", "", site, a.name, b.name) for site in sites for a, b in combinations(models, 2)]
    rows: list[page.ComparisonRow] = []
    for family in (several, every):
        tests: list[tuple[Head, Comparison, int]] = []
        for head in family:
            site, a, b = head.site, head.first, head.second
            if site not in sent:
                tests.append((head, *_compared(cells[a, site], cells[b, site])))
            elif {a, b} <= set(sent[site][0].models):
                tests.append((head, compare_at(sent[site][0], a, b), sent[site][1]))
        rows += _tested(tests)
    return rows


def between_protocols(
    studies: Sequence[tuple[page.Study, Cells]],
) -> tuple[list[page.ProtocolRow], list[page.ProtocolMean]]:
    """The same network under two protocols at the same site, on the test scans that both scored; first less second.

    Networks that did not learn under either are left out, and so are pairs of studies whose scans are of different
    origin: equal names are not equal scans there.

    Returns:
        One family of tests for each pair of studies; and one mean per relation of network and site, whose interval is
        that of `mean_aucs`.
    """
    rows: list[page.ProtocolRow] = []
    means: list[page.ProtocolMean] = []
    for (one, ours), (other, theirs) in combinations(studies, 2):
        if one.origin != other.origin:
            continue
        heads: list[tuple[Head, Cell, Cell]] = []
        for model in (m for m in one.able if m.name in {n.name for n in other.able}):
            for site in (site.name for site in one.sites):
                both = _shared(ours.get((model.name, site)), theirs.get((model.name, site)))
                if both:
                    head = Head("protocols", kin_of(model, site), site, one.name, other.name, model.name)
                    heads.append((head, *both))
        tested = _tested([(head, *_compared(*pair)) for head, *pair in heads])
        rows += [page.ProtocolRow(**vars(row), model=head.model) for (head, *_), row in zip(heads, tested, strict=True)]
        means += _means(heads)
    return rows, means


def _compared(one: Cell, other: Cell) -> tuple[Comparison, int]:
    """The test of two cells, and their scans."""
    return compare_models(one.labels, one.patients, one.probabilities, other.probabilities), len(one.labels)


def _tested(pairs: Sequence[tuple[Head, Comparison, int]]) -> list[page.ComparisonRow]:
    """The rows of one family of tests, from head, test and number of scans."""
    return [
        page.ComparisonRow(
            family=head.family,
            relation=head.relation,
            site=head.site,
            first=head.first,
            second=head.second,
            auc_first=found.first,
            auc_second=found.second,
            tests=found.family,
            difference=found.difference,
            low=found.low,
            high=found.high,
            p_value=found.p_value,
            p_value_holm=found.p_value_holm,
            method=found.method,
            scans=scans,
        )
        for (head, _, scans), found in zip(pairs, adjust_family([found for _, found, _ in pairs]), strict=True)
    ]


def _means(pairs: Sequence[tuple[Head, Cell, Cell]]) -> list[page.ProtocolMean]:
    """Mean difference over the cells of each relation (`mean_aucs`), patients of a site the same for all."""
    sites: dict[str, SiteScores] = {}
    for site in dict.fromkeys(head.site for head, _, _ in pairs):
        here = [(head.model, a, b) for head, a, b in pairs if head.site == site]
        if len({tuple(a.scans.tolist()) for _, a, _ in here}) > 1:
            continue  # networks of one study score the same scans; a folder where they do not has no joint draw
        scores = {f"{m}/{i}": c.probabilities for m, a, b in here for i, c in ((1, a), (2, b))}
        sites[site] = SiteScores(here[0][1].labels, here[0][1].patients, scores)
    groups: dict[str, list[tuple[str, str]]] = {}
    for head, _, _ in pairs:
        for i in (1, 2):
            if head.site in sites:
                groups.setdefault(f"{head.relation}/{i}", []).append((f"{head.model}/{i}", head.site))
    relations = list(dict.fromkeys(name.partition("/")[0] for name in groups))
    found = mean_aucs(sites, groups, [(f"{r}/1", f"{r}/2") for r in relations])
    rows = []
    for relation in relations:
        interval = found[f"{relation}/1 - {relation}/2"]
        rows.append(
            page.ProtocolMean(
                relation=relation,
                first=pairs[0][0].first,
                second=pairs[0][0].second,
                auc_first=found[f"{relation}/1"].estimate,
                auc_second=found[f"{relation}/2"].estimate,
                difference=interval.estimate,
                low=interval.low,
                high=interval.high,
                cells=len(groups[f"{relation}/1"]),
                method=interval.method,
            )
        )
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
