"""The fold networks of a study in; what the page shows of their means out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from elsewhere.commands.report.cells import Cells, read_cells
from elsewhere.commands.report.kept_study import KeptStudy
from elsewhere.fold_rows import CrossValidatedRow, EnsembleRow
from elsewhere.model.network import MEMBERS, read_checkpoint_record
from elsewhere.pages import report as page
from elsewhere.statistics.comparison import compare_models
from elsewhere.statistics.roc import exact_auc
from elsewhere.studies.fold_names import fold_name
from elsewhere.studies.folder import Folder

UNSURE = ("the discrimination of its networks on patients that they never saw is not distinguishable from chance",)


def ensembles(folder: Folder, study: KeptStudy, validated: Sequence[CrossValidatedRow]) -> list[page.Model]:
    """The ensembles of a study; one whose networks are at no training site surely above chance is marked."""
    found = []
    for name, sites in study.ensembles.items():
        record = read_checkpoint_record(folder.checkpoint(name))
        lows = [r.auc_low for r in validated if r.model == name.partition("~")[0] and r.auc_low is not None]
        reasons = () if any(low > 0.5 for low in lows) else UNSURE
        found.append(page.Model(name, tuple(sites), None, record["sha256"], reasons, record[MEMBERS]))
    return found


def ensembles_elsewhere(folder: Folder, study: KeptStudy, cells: Cells) -> Iterable[EnsembleRow]:
    """Each ensemble beside the one network of the study's split, at sites of two classes that neither saw.

    Args:
        folder: the study's.
        study: its study.json.
        cells: the test scans as its networks score them.
    """
    for name, sites in study.ensembles.items():
        model = name.partition("~")[0]
        members = [fold_name(model, i + 1) for i in range(study.folds)]
        own = read_cells(folder, study, [name, *members])
        for site in (s for s in study.site_names if s not in sites):
            cell, single = own[name, site], cells[model, site]
            if cell.two_classes:
                found = compare_models(cell.labels, cell.patients, cell.probabilities, single.probabilities)
                aucs = [float(exact_auc(cell.labels, own[member, site].probabilities)) for member in members]
                ends = (found.difference, found.low, found.high)
                yield EnsembleRow(name, site, found.first, found.second, *ends, min(aucs), max(aucs))
