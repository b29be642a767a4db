"""A study's networks and its products on the same test scans in; paired tests out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from elsewhere.commands.report.cells import Cells
from elsewhere.pages import report as page
from elsewhere.statistics.comparison import adjust_family, compare_models
from elsewhere.studies.folder import Folder
from elsewhere.studies.products import read_products


def product_tests(folder: Folder, cells: Cells, models: Sequence[page.Model]) -> list[dict[str, Any]]:
    """Every product against every network that learned, at each site where both answered scans of both classes.

    One family with Holm's adjustment; product less network.
    """
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for row in read_products(folder):
        if row.probability is not None:
            scores.setdefault((row.model, row.site), {})[row.scan] = row.probability
    heads, found = [], []
    for (product, site), theirs in scores.items():
        for model in models:
            cell = cells.get((model.name, site))
            if cell is None:
                continue
            kept = np.array([scan in theirs for scan in cell.scans.tolist()], dtype=bool)
            labels = cell.labels[kept]
            if not kept.any() or labels.min() == labels.max():
                continue
            own = np.array([theirs[scan] for scan in cell.scans[kept].tolist()])
            found.append(compare_models(labels, cell.patients[kept], own, cell.probabilities[kept]))
            heads.append({"product": product, "network": model.name, "site": site, "scans": int(kept.sum())})
    rows = []
    for head, comparison in zip(heads, adjust_family(found), strict=True):
        values = asdict(comparison)
        named = {"auc_product": values.pop("first"), "auc_network": values.pop("second"), "tests": values.pop("family")}
        rows.append({**head, **named, **values})
    return rows
