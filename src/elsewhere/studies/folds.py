"""A study's scans as the network of each fold sees them: which it is fitted on, chosen by, and tried on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from elsewhere.errors import BadStudy
from elsewhere.scans.scan import SUBSETS
from elsewhere.studies.file import Study
from elsewhere.studies.fold_names import fold_of
from elsewhere.studies.records import ScanRow


def as_seen_by(name: str, rows: Collection[ScanRow]) -> list[ScanRow]:
    """The scans with the subset that they have for a training.

    For the network of a fold, at its training sites: "test" are the scans of its fold, "validation" those that choose
    its weights and threshold, "train" all others that are in a fold. For any other training as the split has it.

    Args:
        name: of the training.
        rows: usable scans.
    """
    model, number = fold_of(name)
    sites = set(model.split("+")) if number else set()
    return [replace(r, subset=_subset(r, number)) if r.fold and r.site in sites else r for r in rows]


def _subset(row: ScanRow, number: int) -> str:
    if row.fold == number:
        return "test"
    return "validation" if row.chooses == number else "train"


def check_fold_subsets(study: Study, rows: Collection[ScanRow]) -> None:
    """Refuse a fold that kept no usable scan of a subset.

    Raises:
        BadStudy: names the site and the fold.
    """
    for name in study.folds:
        seen = as_seen_by(name, rows)
        for site in study.trained_on(name):
            for subset in SUBSETS:
                if not any((r.site, r.subset) == (site, subset) for r in seen):
                    raise BadStudy(
                        study.site(site).root,
                        f"site {site} has no usable scan left in the {subset} part of fold {fold_of(name)[1]}",
                        "Look at bad_scans.csv, add or repair scans, or give fewer `folds` under [split]",
                    )
