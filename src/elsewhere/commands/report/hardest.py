"""All models' calls of the test scans in; the scans that most of them get wrong, and what is known of each, out."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from elsewhere.commands.report.cells import Cells
from elsewhere.commands.report.drop import operating_points
from elsewhere.evidence import report as page
from elsewhere.evidence.consensus import consensus
from elsewhere.evidence.decision import OperatingPoint, decide
from elsewhere.kept import read_scans
from elsewhere.plan import Folder

MOST = 12  # scans of each class that are listed
TOLD = ("age", "sex", "kernel", "thickness_mm", "slices", "units", "class", "category")
"""Facts that stand beside a hard case."""


def hardest(
    folder: Folder,
    cells: Cells,
    models: Sequence[page.Model],
    scores: Sequence[Mapping[str, Any]],
    findings: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Test scans that more than half of the models get wrong at their own thresholds, the hardest of each class first.

    Models that call every scan of every site the same have no opinion and are left out. With fewer than two others
    there is no consensus, and nothing is listed.
    """
    points = operating_points(scores)
    models = [model for model in models if _has_opinion(model.name, cells, points[model.name])]
    if len(models) < 2:
        return []
    rows = [row for site in dict.fromkeys(s for _, s in cells) for row in _site(site, cells, models, points)]
    known = _known(folder, findings)
    listed = []
    for label in (1, 0):
        of_class = [r for r in rows if r["label"] == label and 2 * r["wrong"] > r["models"]]
        of_class.sort(key=lambda r: (-r["wrong"] / r["models"], -r["distance"]))
        listed += [{**r, "known": known.get((r["site"], r["scan"]), "")} for r in of_class[:MOST]]
    return listed


def _has_opinion(model: str, cells: Cells, point: OperatingPoint) -> bool:
    called = np.concatenate([decide(cell.probabilities, point) for (m, _), cell in cells.items() if m == model])
    return bool(called.any() and not called.all())


def _site(site: str, cells: Cells, models: Sequence[page.Model], points: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    found = [cells[model.name, site] for model in models]
    table = np.stack([cell.probabilities for cell in found])
    if not table.size:
        return
    agreed = consensus(found[0].labels, table, [points[model.name] for model in models])
    here = np.array([site in model.trained_on for model in models])
    for i in agreed.hardest_first().tolist():
        yield {
            "site": site,
            "scan": str(found[0].scans[i]),
            "patient": str(found[0].patients[i]),
            "label": int(found[0].labels[i]),
            "models": len(models),
            "wrong": int(agreed.wrong[:, i].sum()),
            "trained_here": int(here.sum()),
            "trained_here_wrong": int(agreed.wrong[here, i].sum()),
            "mean_probability": float(table[:, i].mean()),
            "distance": float(agreed.distance[i]),
        }


def _known(folder: Folder, findings: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """What the facts and the forensics say of each scan, in words."""
    odd = defaultdict(list)
    for finding in (f for f in findings.get("forensics", ()) if "other_scan" not in f):
        odd[finding["site"], finding["scan"]].append(finding["finding"])
    known = {}
    for row in read_scans(folder):
        facts = json.loads(row["facts"])
        told = [f"{name.removesuffix('_mm')} {facts[name]}" for name in TOLD if facts.get(name) not in (None, "")]
        place = (row["site"], row["scan"])
        known[place] = ", ".join(
            [
                *([row["stratum"]] if row["stratum"] not in {None, "", "positive", "negative"} else []),
                *told,
                *dict.fromkeys(odd[place]),
            ]
        )
    return known
