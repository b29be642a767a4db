"""A product that cannot be trained, asked what a new threshold or a recalibration for one place would bring."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from elsewhere.adapting_rows import Adaptation
from elsewhere.errors import BadStudy
from elsewhere.statistics.adaptation import choose_way, deal_folds, patient_classes, set_apart
from elsewhere.statistics.decision import fit_recalibration, recalibrate
from elsewhere.statistics.intervals import auc_interval
from elsewhere.statistics.local_threshold import choose_local_threshold
from elsewhere.statistics.requirements import LEAST_SHARE
from elsewhere.studies.adapting_scans import SCORED
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import PRODUCTS, read_identity

ONLY = "cannot be trained here: a threshold and a recalibration are all that is tried."


def is_product(folder: Folder, name: str) -> bool:
    """Whether this is a model of a study that was not trained there; False where there is no study."""
    if not folder.study.is_file():
        return False
    return name in {product["name"] for product in read_identity(folder)["settings"].get("products", ())}


def product_scores(folder: Folder, name: str, site: str) -> tuple[list[int], list[str], list[float]]:
    """Labels, patients and probabilities of a product at one site of its study.

    Raises:
        BadStudy: the product has no score there.
    """
    rows = [r for r in PRODUCTS.read(folder.products) if r.model == name]
    own = [(r.label, r.patient, r.probability) for r in rows if r.site == site and r.probability is not None]
    if not own:
        sites = ", ".join(dict.fromkeys(r.site for r in rows)) or "none"
        raise BadStudy(folder.products, f"{name} has no scores at {site!r}", f"Choose one of its sites: {sites}")
    labels, patients, values = zip(*own, strict=True)
    return list(labels), list(patients), list(values)


def adapt_scores(  # noqa: PLR0917 - columns of one table
    name: str, site: str, labels: Sequence[int], patients: Sequence[str], probabilities: ArrayLike, seed: int = 0
) -> Adaptation:
    """What a new threshold or recalibration would bring: chosen on half of the patients, AUC on the others.

    Args:
        name: of the product.
        site: where the scans are from.
        labels: 1 or 0 (scans,).
        patients: patient of each (scans,).
        probabilities: of the product (scans,).
        seed: of the halves.

    Raises:
        BadStudy: fewer than four patients of a class.
    """
    truth, people = np.asarray(labels), np.asarray(patients)
    values = np.asarray(probabilities, dtype=np.float64)
    counts = np.bincount(patient_classes(truth, people)[1], minlength=2)
    if counts.min() < 4:
        what = f"has {counts[1]} positive and {counts[0]} negative patients with a score"
        raise BadStudy(site, what, "Label more: four of each are the least")
    apart = set_apart(truth, people, SCORED, seed)
    fit, score = ~apart, apart
    folds = deal_folds(truth[fit], people[fit], seed)
    choice = choose_way(truth[fit], people[fit], folds, values[fit], {})
    line = fit_recalibration(truth[fit], values[fit]) if np.ptp(values[fit]) > 0 else None
    threshold = choose_local_threshold(truth[fit], values[fit], (LEAST_SHARE, LEAST_SHARE))
    sides = [np.bincount(patient_classes(truth[m], people[m])[1], minlength=2) for m in (fit, score)]
    moves = line is not None and line.slope > 0 and choice.decision == "recalibrate"
    return Adaptation(
        model=name,
        site=site,
        checkpoint="",
        decision=choice.decision,
        way="",
        choice=choice,
        trainable=False,
        fitted=(int(sides[0][1]), int(sides[0][0])),
        scored=(int(sides[1][1]), int(sides[1][0])),
        before=auc_interval(truth[score], people[score], values[score]),
        threshold=float(recalibrate(threshold, line)) if moves and line is not None else threshold,
        slope=line.slope if moves and line is not None else 1.0,
        intercept=line.intercept if moves and line is not None else 0.0,
        notes=(f"{name} {ONLY}",),
    )
