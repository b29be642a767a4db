"""A study's networks and its products on the same test scans in; paired tests, and scans without an answer, out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from elsewhere.commands.report.cells import Cells
from elsewhere.model.declared import (
    CommandModel,
    Declared,
    MonaiBundle,
    NetworkFile,
    OwnNetwork,
    UserNetwork,
    bare_command,
)
from elsewhere.model.runnable.command_run import QUOTED
from elsewhere.pages import report as page
from elsewhere.statistics.comparison import adjust_family, compare_models
from elsewhere.studies.asking import declared_models
from elsewhere.studies.folder import Folder
from elsewhere.studies.local_products import is_kept, read_kept
from elsewhere.studies.products import read_products

FORMATS = {"exported": "a network exported with torch.export", "torchscript": "a TorchScript program"}


def product_tests(folder: Folder, cells: Cells, models: Sequence[page.Model]) -> list[page.ProductTestRow]:
    """Every product against every network that learned, at each site where both answered scans of both classes.

    One family with Holm's adjustment; product less network. Patients that are kept for thresholds are left out.
    """
    scores: dict[tuple[str, str], dict[str, float]] = {}
    kept = read_kept(folder)
    for row in read_products(folder):
        if row.probability is not None and not is_kept(row, kept):
            scores.setdefault((row.model, row.site), {})[row.scan] = row.probability
    heads, found = [], []
    for (product, site), theirs in scores.items():
        for model in models:
            cell = cells.get((model.name, site))
            if cell is None:
                continue
            both = np.array([scan in theirs for scan in cell.scans.tolist()], dtype=bool)
            labels = cell.labels[both]
            if not both.any() or labels.min() == labels.max():
                continue
            own = np.array([theirs[scan] for scan in cell.scans[both].tolist()])
            found.append(compare_models(labels, cell.patients[both], own, cell.probabilities[both]))
            heads.append((product, model.name, site, int(both.sum())))
    return [
        page.ProductTestRow(
            *head,
            auc_product=comparison.first,
            auc_network=comparison.second,
            tests=comparison.family,
            difference=comparison.difference,
            low=comparison.low,
            high=comparison.high,
            p_value=comparison.p_value,
            p_value_holm=comparison.p_value_holm,
            method=comparison.method,
        )
        for head, comparison in zip(heads, adjust_family(found), strict=True)
    ]


def unanswered(folder: Folder) -> list[page.UnansweredRow]:
    """Test scans to which a product gave no answer, counted by product, site and reason, the commonest first."""
    rows = read_products(folder)
    given = Counter((row.model, row.site) for row in rows)
    lost = Counter((r.model, r.site, r.reason.partition(QUOTED)[0]) for r in rows if r.probability is None)
    return [page.UnansweredRow(*head, scans, given[head[:2]]) for head, scans in lost.most_common()]


def ran_models(folder: Folder) -> list[page.RanModel]:
    """The models that were run, as the page names them: of paths the last part alone, as it goes to others."""
    return [page.RanModel(d.name, _what(d), sha, d.runs_code) for d, sha in declared_models(folder)]


def _what(declared: Declared) -> str:
    if isinstance(declared, OwnNetwork):
        return f"a network that another study of elsewhere trained, {declared.checkpoint.parent.name}"
    if isinstance(declared, CommandModel):
        version = f", version {declared.version}" if declared.version else ""
        form = "NIfTI" if declared.give == "nifti" else "DICOM"
        return f"a program, `{bare_command(declared.run)}`{version}, which was given each scan as {form}"
    if isinstance(declared, NetworkFile):
        return f"{FORMATS.get(declared.kind, 'an ONNX graph')}, {declared.file.name}"
    if isinstance(declared, UserNetwork):
        return f"a PyTorch network, {declared.network} with {declared.weights.name}"
    if isinstance(declared, MonaiBundle):
        return f"a MONAI bundle, {declared.bundle.name}, with its own preprocessing"
    raise NotImplementedError(type(declared).__name__)
