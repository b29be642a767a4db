"""Rows of the tables on what a threshold and a recalibration from kept patients do for models not trained here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LocalReadingRow:
    """One measure of a product at one site as it is, and with what was chosen on kept patients (product_local.parquet).

    Where nothing could be chosen there is one row without a measure, which says why.

    Attributes:
        model: the product's name.
        site: the site's name.
        change: "threshold" or "recalibration"; "" in a row that says why there is neither.
        measure: its name; likewise.
        own: as the product is; None where it is not known or does not exist.
        own_low: lower end of its 95 % interval, by patient.
        own_high: upper end.
        changed: with the local threshold, or with recalibrated probabilities.
        changed_low: lower end.
        changed_high: upper end.
        difference: changed less own, on the same scans.
        difference_low: lower end.
        difference_high: upper end.
        outcome: "better", "worse", "not shown", or "" where there is no difference.
        kept_positive_patients: patients with a positive scan that were kept and answered.
        kept_negative_patients: patients with a negative scan likewise.
        kept_unanswered: scans of kept patients to which the product gave no answer.
        positive_patients: scored patients with a positive scan.
        negative_patients: scored patients with a negative scan.
        own_threshold: the product's own, as a probability; None where it is not known.
        threshold: the local one; None where there is none.
        intercept: of the recalibration; likewise.
        slope: of the recalibration; likewise.
        reason: why nothing was chosen, or measured; "" where it was.
    """

    model: str
    site: str
    change: str
    measure: str
    own: float | None
    own_low: float | None
    own_high: float | None
    changed: float | None
    changed_low: float | None
    changed_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    outcome: str
    kept_positive_patients: int
    kept_negative_patients: int
    kept_unanswered: int
    positive_patients: int
    negative_patients: int
    own_threshold: float | None
    threshold: float | None
    intercept: float | None
    slope: float | None
    reason: str


@dataclass(frozen=True)
class KeptPatientRow:
    """A test patient who was kept for thresholds and recalibration of products (kept_patients.parquet).

    Attributes:
        site: name of the site.
        patient: patient id within the site.
    """

    site: str
    patient: str
