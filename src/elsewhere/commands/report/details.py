"""The test scans of each cell in; its subgroups, its precision–recall curve and each model's card out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from elsewhere.commands.report.cells import Cell, Cells
from elsewhere.errors import BadStudy
from elsewhere.pages.report.details import CellDetails
from elsewhere.rows import ScoreRow
from elsewhere.scans.scan import Fact
from elsewhere.statistics.decision import decide
from elsewhere.statistics.precision_recall import precision_recall
from elsewhere.statistics.scored import Scored
from elsewhere.statistics.subgroups import Subgroup, find_subgroups
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import trained_model
from elsewhere.studies.model_card import model_card
from elsewhere.studies.records import ScanRow

COLUMNS = {
    "age": "age",
    "sex": "sex",
    "manufacturer": "manufacturer",
    "model": "scanner",
    "kernel": "kernel",
    "contrast": "contrast",
}
"""Metadata that make subgroups, and their names on the page."""


def details(  # noqa: PLR0917 - called once
    folder: Folder,
    rows: Sequence[ScanRow],
    cells: Cells,
    scores: Sequence[ScoreRow],
    reading: str,
    models: Sequence[str],
) -> CellDetails:
    """What the page shows of single cells; a model without scores at its own sites has no card.

    Args:
        folder: of the study.
        rows: its scans.
        cells: test scans as each model scores them.
        scores: of the cells, with their thresholds.
        reading: which threshold decides.
        models: names of the networks.
    """
    known = {(row.site, row.scan): row for row in rows}
    points = {(s.model, s.site): s for s in scores if s.threshold_reading == reading and s.threshold is not None}
    groups = {key: _subgroups(cell, key[1], known, points.get(key)) for key, cell in cells.items()}
    curves = {key: precision_recall(c.labels, c.probabilities) for key, c in cells.items() if c.two_classes}
    cards = {}
    for name in models:
        with suppress(BadStudy):
            cards[name] = model_card(trained_model(folder.root, name))
    return CellDetails({key: found for key, found in groups.items() if found}, curves, cards)


def _subgroups(
    cell: Cell, site: str, known: dict[tuple[str, str], ScanRow], row: ScoreRow | None
) -> tuple[Subgroup, ...]:
    facts = [known[site, scan].facts if (site, scan) in known else {} for scan in cell.scans.tolist()]
    metadata = {
        name: ["" if (value := f.get(key)) is None else _level(value) for f in facts] for key, name in COLUMNS.items()
    }
    patients = np.unique(cell.patients, return_inverse=True)[1].astype(np.int64)
    called = None if row is None else decide(cell.probabilities, row.point)
    return find_subgroups(Scored(cell.labels, patients, cell.probabilities, called), metadata)[0]


def _level(value: Fact) -> str:
    return {True: "with", False: "without"}[value] if isinstance(value, bool) else str(value)
