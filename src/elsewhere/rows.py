"""Rows of the tables that commands write and pages show; `studies/records.py` keeps them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from elsewhere.statistics.decision import OperatingPoint, Reading, Rule
from elsewhere.statistics.diagnosis.findings import Finding
from elsewhere.statistics.diagnosis.tested import ClassSeparation, PartRanking, SaliencyShare, SiteSeparation
from elsewhere.statistics.learned import Learned
from elsewhere.statistics.score import CellScore
from elsewhere.table_format import column


@dataclass(frozen=True)
class ModelAtSite:
    """One model at one site.

    Attributes:
        model: its name.
        site: the site's name.
    """

    model: str
    site: str


@dataclass(frozen=True)
class ScoreRow(CellScore, ModelAtSite):
    """Scores of one model at one site under one threshold reading (scores.parquet).

    Attributes:
        made_from: key of the predictions and settings; None in tables of early versions.
    """

    made_from: str | None = None

    @property
    def point(self) -> OperatingPoint:
        """Where the model says positive; how accurate that was on validation scans is not kept."""
        rule: Rule = "argmax" if self.threshold_rule == "argmax" else "grid"
        reading: Reading = "site" if self.threshold_reading == "site" else "model"
        return OperatingPoint(self.threshold, rule, reading, math.nan, 0)


@dataclass(frozen=True)
class ProductScoreRow(ModelAtSite):
    """Scores of one product (a model that is not trained here) at one site (product_scores.parquet).

    Its other columns are those of `CellScore`, None where they need decisions and the product's are not known.

    Attributes:
        given: test scans of the site.
        unanswered: those to which it gave no score; they are left out of the scores.
        unanswered_share: their share, 0..1.
        unanswered_low: lower end of its 95 % interval, by patient.
        unanswered_high: upper end.
    """

    given: int
    unanswered: int
    unanswered_share: float
    unanswered_low: float | None
    unanswered_high: float | None
    scans: int
    patients: int
    positives: int
    negatives: int
    positive_patients: int
    negative_patients: int
    note: str
    threshold: float | None
    threshold_rule: str | None
    threshold_reading: str
    threshold_note: str
    true_positive: int | None
    false_negative: int | None
    false_positive: int | None
    true_negative: int | None
    accuracy: float | None
    accuracy_sampling_low: float | None
    accuracy_sampling_high: float | None
    sensitivity: float | None
    sensitivity_sampling_low: float | None
    sensitivity_sampling_high: float | None
    specificity: float | None
    specificity_sampling_low: float | None
    specificity_sampling_high: float | None
    balanced_accuracy: float | None
    balanced_accuracy_sampling_low: float | None
    balanced_accuracy_sampling_high: float | None
    proportion_sampling_method: str | None
    auc: float | None
    auc_sampling_low: float | None
    auc_sampling_high: float | None
    auc_sampling_method: str | None
    auc_bootstrap_low: float | None
    auc_bootstrap_high: float | None
    auc_grid: float | None
    dropout_passes: int
    auc_dropout_mean: float | None
    auc_dropout_sd: float | None
    auc_grid_dropout_mean: float | None
    auc_grid_dropout_sd: float | None
    brier: float
    ece: float
    ece_if_calibrated: float
    calibration_intercept: float | None
    calibration_intercept_sampling_low: float | None
    calibration_intercept_sampling_high: float | None
    calibration_slope: float | None
    calibration_slope_sampling_low: float | None
    calibration_slope_sampling_high: float | None
    observed_expected: float | None
    observed_expected_sampling_low: float | None
    observed_expected_sampling_high: float | None
    calibration_note: str
    baseline_majority_accuracy: float
    baseline_chance_auc: float | None


@dataclass(frozen=True)
class SeedRow(ModelAtSite):
    """One score of one model at one site over several trainings (seeds.parquet).

    Attributes:
        score: name of the score.
        first: of the first training.
        sampling_low: lower end of its 95 % interval.
        sampling_high: upper end.
        dropout_sd: its standard deviation over dropout passes; None but for the AUC.
        seeds, mean, standard_deviation, smallest, largest: as in `SeedSpread`.
        made_from: key of the predictions and settings; None in tables of early versions.
    """

    score: str
    first: float
    sampling_low: float | None
    sampling_high: float | None
    dropout_sd: float | None
    seeds: int
    mean: float
    standard_deviation: float | None
    smallest: float
    largest: float
    made_from: str | None = None


@dataclass(frozen=True)
class LearnedRow:
    """Whether one model learned (learned.parquet).

    Attributes:
        model: its name.
        degenerate: whether nothing may be concluded from its scores.
        auc to detectable, checks, by_chance: as in `Learned`.
        made_from: key of the predictions; None in tables of early versions.
    """

    model: str
    degenerate: bool
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    accuracy: float
    majority: float
    spread: float
    scans: int
    reasons: tuple[str, ...] = field(metadata=column(as_lines=True))
    remarks: tuple[str, ...] = field(metadata=column(as_lines=True))
    detectable: float | None = None
    made_from: str | None = None
    checks: int = 0
    by_chance: float | None = None

    @property
    def learned(self) -> Learned:
        """The judgement itself."""
        return Learned(**{n: v for n, v in vars(self).items() if n not in {"model", "degenerate", "made_from"}})


@dataclass(frozen=True)
class DropRow(ModelAtSite):
    """Where one model lost accuracy between home and a site that it never saw (decomposition.parquet).

    Every part is an accuracy or a difference of two, with the ends of its 95 % interval.

    Attributes:
        home: the training sites whose test scans are home, joined by " + ".
        home_accuracy: at home.
        accuracy: at the site.
        drop: home_accuracy less accuracy; the four parts add up to it.
        case_mix: other strata of patients; None where they are not known on both sides.
        threshold: another share of positives.
        threshold_held: the same, with the interval for numbers of patients that were fixed.
        calibration: scores that have moved.
        ranking: what no threshold brings back.
        largest: the part that is surely the largest, or "".
        note: what could not be divided, and why.
        method: of the intervals.
        discriminates: whether the model discriminates at the site; only there does a difference have parts. True in
            tables of early versions, which did not ask.
    """

    home: str
    home_accuracy: float
    home_accuracy_low: float
    home_accuracy_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    drop: float
    drop_low: float
    drop_high: float
    case_mix: float | None
    case_mix_low: float | None
    case_mix_high: float | None
    threshold: float
    threshold_low: float
    threshold_high: float
    threshold_held: float
    threshold_held_low: float
    threshold_held_high: float
    calibration: float
    calibration_low: float
    calibration_high: float
    ranking: float
    ranking_low: float
    ranking_high: float
    largest: str
    note: str
    method: str
    discriminates: bool = True


@dataclass(frozen=True)
class LocalRow(ModelAtSite):
    """What n labelled local scans would give one model at a site that it never saw (local_scans.parquet).

    Attributes:
        scans: number of labelled local scans.
        draws: of these scans.
        as_is: accuracy as the model is, with the middle 95 % of the draws.
        rethresholded: with a threshold from the local scans.
        recalibrated: with scores recalibrated on them.
        log_loss_as_is: log loss as the model is.
        log_loss_recalibrated: recalibrated.
    """

    scans: int
    draws: int
    as_is: float
    as_is_low: float
    as_is_high: float
    rethresholded: float
    rethresholded_low: float
    rethresholded_high: float
    recalibrated: float
    recalibrated_low: float
    recalibrated_high: float
    log_loss_as_is: float
    log_loss_recalibrated: float


UNLEARNED = "degenerate"
"""What stands for the shift in the one `DoseRow` of a model that did not learn."""


@dataclass(frozen=True)
class DoseRow:
    """One model's scores of one of its training sites under one dose of one CT shift (stress/curves.parquet).

    Attributes:
        model: its name.
        home: the training site whose test scans were shifted.
        shift: its name, or "degenerate" in the one row of a model that did not learn.
        dose: 0 is the scans as they are.
        unit: of the dose.
        words: what was done, or why nothing was.
        scans: scans scored; 0 where none was.
        auc, low, high, difference, difference_low, difference_high, p_value, p_value_holm, positive_share: as in
            `Dosed`; None where no scan was scored.
    """

    model: str
    home: str
    shift: str
    dose: float
    unit: str
    words: str
    scans: int = 0
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    p_value_holm: float | None = None
    positive_share: float | None = None


@dataclass(frozen=True)
class ExplanationRow:
    """One dose of one shift as an explanation of a model's scores at another site (stress/explanations.parquet).

    Attributes:
        model: its name.
        home: the training site whose test scans were shifted.
        site: the other site.
        shift: its name, or "none".
        dose: of it.
        distance: between home under this shift and the site, in log-odds; None where nothing could be compared.
        words: what it says; the whole sentence in the best row.
        best: whether this row is the answer for its site.
        shown, p_left, fits: as in `Candidate`.
        sureness, outcome, distance_unshifted: as in `Explanation`.
        p: chance that the best of all would gain as much were the site like home.
        p_difference: chance of the distance as it is were the site's patients like home's.
        tried: number of shifts that could be applied.
        of: number of shifts asked for.
    """

    model: str
    home: str
    site: str
    shift: str
    dose: float
    distance: float | None
    words: str
    best: bool
    shown: bool | None
    p_left: float | None
    fits: bool | None
    sureness: float | None
    outcome: str
    distance_unshifted: float | None
    p: float | None
    p_difference: float | None
    tried: int
    of: int


@dataclass(frozen=True)
class LookedAtRow:
    """One scan that `elsewhere diagnose` looked at (diagnosis/scans.parquet).

    Attributes:
        site: name of the site.
        patient: patient id within the site.
        scan: scan id within the site.
        label: 1 or 0.
        subset: "train", "validation" or "test".
        lungs_found: whether lungs were found; where not, only its metadata count.
        lung_share: share of the volume that the lungs take.
        outside_found: whether there is anything outside the body.
    """

    site: str
    patient: str
    scan: str
    label: int
    subset: str
    lungs_found: bool
    lung_share: float
    outside_found: bool


@dataclass(frozen=True)
class SeparationRow(SiteSeparation):
    """How well test scans of two sites are told apart by one view of them (diagnosis/separation.parquet).

    Attributes:
        permutations: number of them; 0 in tables of early versions.
        degenerate: why the model did not learn, or "".
    """

    permutations: int = 0
    degenerate: str = ""


@dataclass(frozen=True)
class ClassSeparationRow(ClassSeparation):
    """How well positives and negatives of one site are told apart by one view of them (diagnosis/labels.parquet).

    Attributes:
        permutations: number of them; 0 in tables of early versions.
        fact: the kind of metadata that does most of it; "" for other views.
        p_holm: p after Holm over all rows; None in tables of early versions.
        p_floor: the smallest p_holm that the permutations could give where it is that, 0 otherwise.
    """

    permutations: int = 0
    fact: str = ""
    p_holm: float | None = None
    p_floor: float = 0.0


@dataclass(frozen=True)
class ShortcutRow(PartRanking):
    """A model's AUC at one site where it sees only a part of each scan (diagnosis/shortcuts.parquet).

    Attributes:
        permutations: number of them; 0 in tables of early versions.
        degenerate: why the model did not learn, or "".
    """

    permutations: int = 0
    degenerate: str = ""


@dataclass(frozen=True)
class FindingRow(Finding):
    """One cause that `elsewhere diagnose` names (findings.json).

    Attributes:
        p_floor: as in `Finding`; 0 in files of early versions.
    """

    p_floor: float = 0.0


@dataclass(frozen=True)
class SaliencyRow(SaliencyShare):
    """Where one model looks in one scan (diagnosis/saliency.parquet).

    Attributes:
        degenerate: why the model did not learn, or "".
    """

    degenerate: str = ""
