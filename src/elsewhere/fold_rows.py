"""Rows of the tables that a cross-validation writes and the page shows; `studies/records.py` keeps them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OutOfFoldRow:
    """One scan of a training site, as the network that never saw its patient scores it (out_of_fold.parquet).

    Attributes:
        model: its name.
        site: the site's name.
        patient: patient id within the site.
        scan: scan id within the site.
        label: 1 or 0.
        fold: whose network it is, from 1.
        probability: without dropout, the highest over the windows.
        threshold: from which that network calls a scan positive, chosen on other patients.
        call: 1 or 0.
    """

    model: str
    site: str
    patient: str
    scan: str
    label: int
    fold: int
    probability: float
    threshold: float
    call: int


@dataclass(frozen=True)
class CrossValidatedRow:
    """A model's cross-validation at one of its training sites (cross_validation.parquet).

    Attributes:
        model: its name.
        site: the site's name.
        folds: number of folds.
        scans: all labelled scans of the site.
        patients: whose they are.
        positives: positive scans.
        negatives: negative scans.
        positive_patients: patients with a positive scan.
        negative_patients: patients with a negative scan.
        auc: within folds (`statistics.cross_validated`); None where there is none, and `note` says why.
        auc_low: lower end of its 95 % interval, by patient.
        auc_high: upper end.
        pooled: AUC of all out-of-fold scores together; `pooled_low`, `pooled_high` as of one network's scores.
        fold_aucs: AUC of each fold that has one.
        sensitivity: at each fold's own threshold; None without positives; with `_low` and `_high`.
        specificity: the same without negatives.
        single: AUC of the one training of the study's split on its test patients there; None where there is none.
        single_low: lower end of its interval.
        single_high: upper end.
        single_patients: number of these test patients.
        note: why a number is missing, or "".
        made_from: key of the predictions.
    """

    model: str
    site: str
    folds: int
    scans: int
    patients: int
    positives: int
    negatives: int
    positive_patients: int
    negative_patients: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    pooled: float | None
    pooled_low: float | None
    pooled_high: float | None
    fold_aucs: tuple[float, ...]
    sensitivity: float | None
    sensitivity_low: float | None
    sensitivity_high: float | None
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None
    single: float | None
    single_low: float | None
    single_high: float | None
    single_patients: int
    note: str
    made_from: str


@dataclass(frozen=True)
class EnsembleRow:
    """The mean of a model's fold networks at a site that none of them saw; shown and not kept.

    Attributes:
        model: name of the ensemble.
        site: the site's name.
        ensemble: AUC of the mean of the fold networks.
        single: AUC of the one network of the study's split, on the same scans.
        difference: ensemble less single.
        low: lower end of its 95 % interval, paired and by patient.
        high: upper end.
        member_lowest: lowest AUC of a fold network.
        member_highest: highest.
    """

    model: str
    site: str
    ensemble: float
    single: float
    difference: float
    low: float
    high: float
    member_lowest: float
    member_highest: float
