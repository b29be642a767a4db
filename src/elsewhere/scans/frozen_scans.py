"""The labelled scans of a product's acceptance test, which every later version is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from elsewhere.errors import BadTable
from elsewhere.scans.score_table import ScoreTable
from elsewhere.scans.score_values import UNKNOWN_LABEL

Key = tuple[str, str, str]
"""(finding, site, scan)."""
Labels = Mapping[Key, int]


def labelled_scans(table: ScoreTable) -> dict[Key, int]:
    """(finding, site, scan) -> label, of the rows with a label."""
    keys = zip(table.finding, table.site, table.scan, table.label.tolist(), strict=True)
    return {(finding, site, scan): label for finding, site, scan, label in keys if label != UNKNOWN_LABEL}


def with_frozen_labels(table: ScoreTable, frozen: Labels) -> ScoreTable:
    """The table with the labels of the frozen scans where it has none itself."""
    keys = zip(table.finding, table.site, table.scan, strict=True)
    labels = zip(keys, table.label.tolist(), strict=True)
    found = [frozen.get(key, UNKNOWN_LABEL) if own == UNKNOWN_LABEL else own for key, own in labels]
    return replace(table, label=np.array(found, dtype=np.int64))


def holds_frozen(table: ScoreTable, frozen: Labels) -> bool:
    """Whether a table is of the frozen scans: all of them, with the same labels, and no other labelled scan.

    Raises:
        BadTable: it holds some of them but not all, others beside them, or other labels.
    """
    here = labelled_scans(table)
    common = len(frozen.keys() & here.keys())
    if not common:
        return False
    if lost := sorted(frozen.keys() - here.keys()):
        what = f"holds {common} of the {len(frozen)} frozen scans; not there: {names_of(lost)}"
        raise BadTable(table.where, what, "Give all of them a row, also those that the product refuses")
    if more := sorted(here.keys() - frozen.keys()):
        what = f"holds {len(more)} labelled scans beside the {len(frozen)} frozen ones ({names_of(more)})"
        raise BadTable(table.where, what, "Give frozen scans and new scans in tables of their own")
    if other := sorted(key for key, label in frozen.items() if here[key] != label):
        what = f"{len(other)} frozen scans have another label than at the acceptance test ({names_of(other)})"
        raise BadTable(table.where, what, "Correct the labels, or begin another folder with a new acceptance test")
    return True


def names_of(keys: Sequence[Key]) -> str:
    """The first three scans, for a message."""
    return ", ".join(scan for _, _, scan in keys[:3]) + (", …" if len(keys) > 3 else "")
