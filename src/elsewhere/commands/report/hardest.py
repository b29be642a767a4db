"""All models' calls of the test scans in; scans that most able networks get wrong, and what is known of each, out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from elsewhere.audit_rows import OddityRow
from elsewhere.commands.report.cells import Cells
from elsewhere.commands.report.drop import operating_points
from elsewhere.pages import report as page
from elsewhere.pages.report.records import number
from elsewhere.rows import ScoreRow
from elsewhere.statistics.consensus import consensus
from elsewhere.statistics.decision import OperatingPoint, decide
from elsewhere.statistics.strata import age_words
from elsewhere.studies.records import ScanRow

MOST = 12  # scans of each class that are listed
TOLD = ("age", "sex", "kernel", "thickness_mm", "slices", "units", "class", "category")
"""Facts that stand beside a hard case."""


@dataclass(frozen=True)
class Hardest:
    """The scans that most networks get wrong, and who judged them.

    Attributes:
        scans: the listed ones (`Study.hardest`).
        judged: one row per site and class (`Study.judged`).
    """

    scans: list[page.HardScanRow]
    judged: list[page.JudgedRow]


def hardest(
    scans: Sequence[ScanRow],
    cells: Cells,
    models: Sequence[page.Model],
    scores: Sequence[ScoreRow],
    oddities: Sequence[OddityRow],
) -> Hardest:
    """Test scans that more than half of the judges get wrong at their own thresholds, the hardest of each class first.

    Judges of a site are the networks that discriminate there: a positive that is missed by networks which rank no
    better than chance is no hard scan. So models that call every scan of every site the same, or whose AUC there is
    not above chance with its whole interval, have no vote; at a site of one class, where no AUC can be had, the first
    rule alone holds. Give models that learned (`statistics.learned`). With fewer than two judges nothing of a site is
    listed.
    """
    points = operating_points(scores)
    able = [m for m in models if _has_opinion(m.name, cells, points[m.name])]
    rows: list[page.HardScanRow] = []
    judged: list[page.JudgedRow] = []
    for site in dict.fromkeys(s for _, s in cells):
        judges = [m for m in able if _discriminates(m.name, site, scores)]
        found = list(_site(site, cells, judges, points)) if len(judges) > 1 else []
        rows += found
        judged += _judged(site, found, _labels(cells, site), len(judges))
    known = known_facts(scans, oddities)
    listed = []
    for label in (1, 0):
        of_class = [r for r in rows if r.label == label and r.mostly_wrong]
        of_class.sort(key=lambda r: (-r.wrong / r.models, -r.distance))
        listed += [replace(r, known=known.get((r.site, r.scan), "")) for r in of_class[:MOST]]
    return Hardest(listed, judged)


def _has_opinion(model: str, cells: Cells, point: OperatingPoint) -> bool:
    called = np.concatenate([decide(cell.probabilities, point) for (m, _), cell in cells.items() if m == model])
    return bool(called.any() and not called.all())


def _discriminates(model: str, site: str, scores: Sequence[ScoreRow]) -> bool:
    """Whether the whole interval of the AUC lies above chance; a site of one class has none and lets all pass."""
    row = next((r for r in scores if (r.model, r.site) == (model, site)), None)
    if row is None:
        return False
    low = number(row.auc_sampling_low)
    return not (row.positives and row.negatives) if low is None else low > 0.5


def _judged(
    site: str, rows: Sequence[page.HardScanRow], labels: Sequence[int], judges: int
) -> Iterable[page.JudgedRow]:
    for label in (1, 0):
        if scans := labels.count(label):
            wrong = [r.patient for r in rows if r.label == label and r.mostly_wrong]
            yield page.JudgedRow(site, label, scans, judges, len(wrong), len(set(wrong)))


def _labels(cells: Cells, site: str) -> list[int]:
    return next(list(map(int, cell.labels)) for (_, s), cell in cells.items() if s == site)


def _site(
    site: str, cells: Cells, models: Sequence[page.Model], points: Mapping[str, OperatingPoint]
) -> Iterable[page.HardScanRow]:
    found = [cells[model.name, site] for model in models]
    table = np.stack([cell.probabilities for cell in found])
    if not table.size:
        return
    agreed = consensus(found[0].labels, table, [points[model.name] for model in models])
    here = np.array([site in model.trained_on for model in models])
    for i in agreed.hardest_first().tolist():
        yield page.HardScanRow(
            site=site,
            scan=str(found[0].scans[i]),
            patient=str(found[0].patients[i]),
            label=int(found[0].labels[i]),
            models=len(models),
            wrong=int(agreed.wrong[:, i].sum()),
            trained_here=int(here.sum()),
            trained_here_wrong=int(agreed.wrong[here, i].sum()),
            mean_probability=float(table[:, i].mean()),
            distance=float(agreed.distance[i]),
        )


def known_facts(scans: Sequence[ScanRow], oddities: Sequence[OddityRow]) -> dict[tuple[str, str], str]:
    """What the facts and the forensics say of each scan (site, scan), in words."""
    odd = defaultdict(list)
    for oddity in oddities:
        if not oddity.is_pair:
            odd[oddity.site, oddity.scan].append(oddity.finding)
    known = {}
    for row in scans:
        told = [_words(name, row.facts[name]) for name in TOLD if row.facts.get(name) not in (None, "")]
        place = row.site, row.scan
        known[place] = ", ".join(
            [
                *([row.stratum] if row.stratum and row.stratum not in {"positive", "negative"} else []),
                *told,
                *dict.fromkeys(odd[place]),
            ]
        )
    return known


def _words(name: str, value: Any) -> str:
    words = age_words(value) if name == "age" and isinstance(value, int | float) else value
    return f"{name.removesuffix('_mm')} {words}"
