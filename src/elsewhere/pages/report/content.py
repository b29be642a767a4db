"""What the page is made of: names, numbers, records and small pictures; one `Report` for one or several studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elsewhere.arm_rows import ArmRow, TrialRow
from elsewhere.audit_rows import LookRow, OddityRow, RuleRow, TieRow
from elsewhere.fold_rows import CrossValidatedRow, EnsembleRow
from elsewhere.local_rows import LocalReadingRow
from elsewhere.pages.report.details import CellDetails
from elsewhere.pages.report.options import Options, options_of
from elsewhere.pages.report.shown_rows import (
    ComparisonRow,
    ContrastRow,
    CurveRow,
    GroupRow,
    HardScanRow,
    JudgedRow,
    JudgementRow,
    NewHospital,
    OverSitesRow,
    PatientsRow,
    ProductTestRow,
    ProtocolMean,
    ProtocolRow,
    SelectionRow,
)
from elsewhere.rows import (
    ClassSeparationRow,
    DoseRow,
    DropRow,
    ExplanationRow,
    FindingRow,
    LocalRow,
    ModelAtSite,
    ProductScoreRow,
    SaliencyRow,
    ScoreRow,
    SeedRow,
    SeparationRow,
    ShortcutRow,
)
from elsewhere.statistics.audit import CountRow, FactsRow, Leak, ScanName

Record = Mapping[str, Any]
"""One flat row of a table, as Parquet or CSV gives it; a value that was not measured is None or NaN."""

Origin = Literal["real", "repacked", "simulated"]


@dataclass(frozen=True)
class Site:
    """One hospital or data set, as the tables and pictures name it.

    Attributes:
        name: the site's name in all records.
        country: where it lies, "" when not told.
        form: how its files came ("DICOM, HU", "PNG slices, 0–255", …), "" when not told.
        note: one sentence the reader should know ("positives only"), or "".
        visited: day (ISO) on which its cells were computed at the hospital, whose scans nobody here has seen; "" for a
            site whose scans are at hand.
    """

    name: str
    country: str = ""
    form: str = ""
    note: str = ""
    visited: str = ""


@dataclass(frozen=True)
class Model:
    """One trained network.

    Attributes:
        name: the model's name in all records.
        trained_on: names of the sites it was trained on; decides what is home, seen and unseen.
        best_iteration: the iteration whose weights were kept, None when not known.
        weights: checksum of the checkpoint, "" when not known.
        degenerate: why nothing may be concluded from its scores, a sentence each (`statistics.learned`); empty: none.
            Such a model is marked wherever it stands; means, drops, comparisons and lessons leave it out.
        folds: number of networks whose mean it is, one of each fold of a cross-validation; 0 for one network.
    """

    name: str
    trained_on: tuple[str, ...]
    best_iteration: int | None = None
    weights: str = ""
    degenerate: tuple[str, ...] = ()
    folds: int = 0


@dataclass(frozen=True)
class RocBand:
    """The ROC curve of one model at one site, and its band over dropout passes (`statistics.roc` makes both).

    Attributes:
        model: the model's name.
        site: the site's name.
        fpr: (points,) false-positive rates of the deterministic scores at thresholds 0..1 by 0.01, in any order.
        tpr: (points,) true-positive rates at the same thresholds.
        band_fpr: (n,) false-positive rates at which the dropout band is given; empty without dropout passes.
        band_low: (n,) mean − 1 SD of the true-positive rate over the passes.
        band_high: (n,) mean + 1 SD.

    Raises:
        ValueError: the band's lower edge lies above its upper one.
    """

    model: str
    site: str
    fpr: Sequence[float] | NDArray[np.floating]
    tpr: Sequence[float] | NDArray[np.floating]
    band_fpr: Sequence[float] | NDArray[np.floating] = ()
    band_low: Sequence[float] | NDArray[np.floating] = ()
    band_high: Sequence[float] | NDArray[np.floating] = ()

    def __post_init__(self) -> None:
        if np.any(np.asarray(self.band_low) > np.asarray(self.band_high)):
            raise ValueError(f"the dropout band of {self.model} at {self.site} has its lower edge above its upper one")


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities of one model at one site can be believed (`statistics.calibration` makes it all).

    Attributes:
        model: the model's name.
        site: the site's name.
        said: mean probability of each bin (bins,).
        happened: share of positives in it (bins,).
        happened_low: lower end of its 95 % interval (bins,).
        happened_high: upper end (bins,).
        scans: scans in the bin (bins,).
        threshold: probabilities from which one would act (n,).
        benefit: net benefit per scan of acting by the model (n,).
        treat_all: net benefit of acting on everyone (n,); acting on nobody is 0.
        least_gain: lower 95 % end of `benefit` less the better of both (n,) (`statistics.requirements.least_gains`).
        observed_expected_corrected: O:E of the probabilities corrected from half positives, as where classes are drawn
            in turn in training, to the share at the site; None where it was not made.
    """

    model: str
    site: str
    said: Sequence[float] | NDArray[np.floating]
    happened: Sequence[float] | NDArray[np.floating]
    happened_low: Sequence[float] | NDArray[np.floating]
    happened_high: Sequence[float] | NDArray[np.floating]
    scans: Sequence[int] | NDArray[np.integer]
    threshold: Sequence[float] | NDArray[np.floating]
    benefit: Sequence[float] | NDArray[np.floating]
    treat_all: Sequence[float] | NDArray[np.floating]
    least_gain: Sequence[float] | NDArray[np.floating]
    observed_expected_corrected: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Why scores fall elsewhere (`elsewhere diagnose`); each part may be empty.

    Attributes:
        separation: how well two sites are told apart.
        shortcuts: a model's AUC on scans with parts erased.
        saliency: where a model looks.
        labels: what tells positive from negative at a site without any lung.
        findings: causes in words.
    """

    separation: Sequence[SeparationRow] = ()
    shortcuts: Sequence[ShortcutRow] = ()
    saliency: Sequence[SaliencyRow] = ()
    labels: Sequence[ClassSeparationRow] = ()
    findings: Sequence[FindingRow] = ()


@dataclass(frozen=True)
class Stress:
    """What graded changes of the scans do to the scores (`elsewhere stress`); each part may be empty.

    Attributes:
        curves: scores at each dose of each shift.
        explanations: which shift makes home scans score most like those of a new site.
    """

    curves: Sequence[DoseRow] = ()
    explanations: Sequence[ExplanationRow] = ()


@dataclass(frozen=True)
class ExampleSlice:
    """One slice of one scan for Figure 1.

    Attributes:
        site: the site's name.
        label: 1 positive, 0 negative.
        pixels: uint8 [row, column], already windowed (0 black, 255 white), radiological display, at most about 256²;
            None where there is nothing to show, and the caption says why.
        caption: what it shows and how it was windowed ("lung window −1350..150 HU, slice 31 of 62").
        scan: scan id, "" when it must not stand on the page.
        stage: whether it is the scan "as read" or "as the network gets it"; names its row.
    """

    site: str
    label: int
    pixels: NDArray[np.uint8] | None
    caption: str = ""
    scan: str = ""
    stage: str = ""


@dataclass(frozen=True)
class BadScanRow:
    """One scan that could not be used (a row of `bad_scans.csv`).

    Attributes:
        site: the site's name.
        scan: scan id, or "" when the file gave none.
        path: file or folder at fault.
        reason: what is wrong, with the value found.
        next_step: what to do about it.
    """

    site: str
    scan: str
    path: str
    reason: str
    next_step: str


@dataclass(frozen=True)
class Audit:
    """What the audit found before any training (`audit.json`; `counts` goes to `Study.counts`).

    Attributes:
        warnings: plain sentences, the worst first ("Site and label are confounded: …").
        leaks: patients and contents that stand on two sides of a split.
        duplicates: groups of scans with equal voxels.
        facts: facts by site and class (padding share, black share, encoding, matrix, spacing …).
        site_only_auc: AUC of a rule that knows nothing but the site, over all sites together; None with one class.
        confounding: further rules of metadata and simple measures.
        forensics: odd scans and pairs of scans, suspected leaks first.
        looks: how the scans of each site and class look.
    """

    warnings: Sequence[str] = ()
    leaks: Sequence[Leak] = ()
    duplicates: Sequence[Sequence[ScanName]] = ()
    facts: Sequence[FactsRow] = ()
    site_only_auc: float | None = None
    confounding: Sequence[RuleRow] = ()
    forensics: Sequence[OddityRow] = ()
    looks: Sequence[LookRow] = ()


@dataclass(frozen=True)
class UnansweredRow(ModelAtSite):
    """Why a product gave no answer to some test scans of a site; shown and not kept.

    Attributes:
        reason: as the product, or whoever ran it, gave it.
        scans: to which it gave none for this reason.
        given: test scans of the site.
    """

    reason: str
    scans: int
    given: int


@dataclass(frozen=True)
class RanModel:
    """A model that was not trained here and was run on the test scans.

    Attributes:
        name: its name.
        words: what it is, in words ("an ONNX graph, net.onnx").
        sha256: of its files and its declaration.
        foreign_code: why foreign code was run, continuing "it …"; "" where none was.
    """

    name: str
    words: str
    sha256: str
    foreign_code: str = ""


@dataclass(frozen=True)
class VisitRow:
    """What one hospital sent back whose scans did not leave it (returns/NAME.json); shown and not kept.

    Attributes:
        hospital: its name.
        date: day on which it was computed there (ISO).
        kit: number of the kit that it ran.
        models: of the kit.
        scans: scored.
        patients: they come from.
        positive_patients: patients with a positive scan.
        negative_patients: patients with a negative scan.
        unlabelled: scans without a label.
        unusable: scans that could not be used.
        copies: second volumes with the voxels of another scan of their patient.
        learned_from: scans that a model of the kit was trained or chosen on, left out.
        counts_only: whether too few patients of a class let nothing but counts leave.
        warnings: what the audit there says of rules of metadata and simple measures, a sentence each.
        outside: names of the metadata of which most scans lie beyond all that the study knows, joined by ", ".
    """

    hospital: str
    date: str
    kit: str
    models: tuple[str, ...]
    scans: int
    patients: int
    positive_patients: int
    negative_patients: int
    unlabelled: int
    unusable: int
    copies: int
    learned_from: int
    counts_only: bool
    warnings: tuple[str, ...] = ()
    outside: str = ""


@dataclass(frozen=True)
class Study:
    """One study: its models, each tested at every site, under one protocol.

    Attributes:
        name: short and unique within the report; stands in headings and file names ("paper").
        protocol: the protocol in one or two plain sentences.
        models: the models in the order of the paper (single-site ones first).
        sites: the test sites in the order of the columns.
        counts: Table 1, one row per site, class and subset.
        patients: who they are, one row per site, class and subset.
        scores: `scores.parquet`, one row per model, site and threshold reading; None is shown as not measured.
        groups: mean AUC over groups of cells; left out, the page takes the plain mean over cells, and says so.
        new_hospital: what to expect of one more; None where it was not computed.
        calibrations: reliability and decision curves, one per model and two-class site.
        drops: where accuracy was lost from home to elsewhere, one row per model and unseen two-class site.
        local: what n labelled local scans would give.
        hardest: test scans that most models get wrong, the hardest first.
        judged: who judged the hardest scans, one row per site and class.
        contrasts: paired differences of decisions on the same scans.
        diagnosis: what `elsewhere diagnose` kept.
        stress: what `elsewhere stress` kept.
        trainings: scores over several trainings that differ in their seed alone, one row per model, site and score;
            empty where each model was trained once.
        arms: ways to train compared with ERM, one row per rule of selection, arm and unseen site.
        arm_trials: their trials.
        learned: whether each model learned anything, from validation scans of its training sites.
        selections: how each model's kept weights were chosen; models of older versions have none.
        comparisons: paired tests of networks on the same scans.
        products: names of models that were not trained here and are judged from their scores.
        ran: those of them that were run here; the others are known from a table.
        unanswered: to which scans they gave no answer, and why.
        product_scores: each of them at each site, one row each.
        product_local: what kept patients give them, one row for each measure.
        product_tests: paired tests of products and networks.
        over_sites: each model's AUC over the sites that it never saw, as a sample of hospitals.
        visits: what hospitals sent back whose scans did not leave them; they stand among `sites`, too.
        cross_validation: of each model at each of its training sites, where the study has folds.
        ensembles: the mean of each model's fold networks. They stand in the matrix and the tables of cells, and nowhere
            where networks are counted, averaged or tested.
        ensembles_elsewhere: each of them at each site that it never saw.
        details: subgroups, precision against recall, model cards.
        ties: what a simulation tied to the label.
        absent: parts that were not made, {what in words: the command that makes it}.
        rocs: ROC curves with dropout bands, one per model and two-class site.
        curves: `curves.csv` of all models, one row per logged point.
        bad_scans: scans that could not be used.
        audit: what the audit found.
        examples: slices for Figure 1.
        reading: the threshold reading of the matrix's accuracies, "model" or "site"; both stand further down.
        departures: how this study departs from the paper's protocol, {option: value in words}; empty for none.
        settings: the resolved study settings, nested as in `study.json`; shown and kept as they are.
        versions: {software: version}.
        seeds: {what: seed}.
        split_hash: which split made this.
        notes: further plain sentences about the study, as its file gives them.
        left_out: what the preparation left out or repaired, in sentences.
        origin: "real" downloads, "repacked" (real pixels of one data set in the layouts of others) or "simulated"; the
            last two put a banner on the page.
        planted: what a simulation planted, one plain sentence each; each is an assumption, not a finding.
        published: True where the study repeats the paper's (same sites), so that the paper's numbers are shown; with
            an origin other than "real" the page says that they cannot be compared.
    """

    name: str
    protocol: str
    models: Sequence[Model]
    sites: Sequence[Site]
    counts: Sequence[CountRow] = ()
    patients: Sequence[PatientsRow] = ()
    scores: Sequence[ScoreRow] = ()
    groups: Sequence[GroupRow] = ()
    new_hospital: NewHospital | None = None
    calibrations: Sequence[Calibration] = ()
    drops: Sequence[DropRow] = ()
    local: Sequence[LocalRow] = ()
    hardest: Sequence[HardScanRow] = ()
    judged: Sequence[JudgedRow] = ()
    contrasts: Sequence[ContrastRow] = ()
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    stress: Stress = field(default_factory=Stress)
    trainings: Sequence[SeedRow] = ()
    arms: Sequence[ArmRow] = ()
    arm_trials: Sequence[TrialRow] = ()
    learned: Sequence[JudgementRow] = ()
    selections: Sequence[SelectionRow] = ()
    comparisons: Sequence[ComparisonRow] = ()
    products: Sequence[str] = ()
    ran: Sequence[RanModel] = ()
    unanswered: Sequence[UnansweredRow] = ()
    product_scores: Sequence[ProductScoreRow] = ()
    product_local: Sequence[LocalReadingRow] = ()
    product_tests: Sequence[ProductTestRow] = ()
    over_sites: Sequence[OverSitesRow] = ()
    visits: Sequence[VisitRow] = ()
    cross_validation: Sequence[CrossValidatedRow] = ()
    ensembles: Sequence[Model] = ()
    ensembles_elsewhere: Sequence[EnsembleRow] = ()
    details: CellDetails = field(default_factory=CellDetails)
    ties: Sequence[TieRow] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    rocs: Sequence[RocBand] = ()
    curves: Sequence[CurveRow] = ()
    bad_scans: Sequence[BadScanRow] = ()
    audit: Audit = field(default_factory=Audit)
    examples: Sequence[ExampleSlice] = ()
    reading: Literal["model", "site"] = "model"
    departures: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    split_hash: str = ""
    notes: Sequence[str] = ()
    left_out: Sequence[str] = ()
    origin: Origin = "real"
    planted: Sequence[str] = ()
    published: bool = False

    @cached_property
    def options(self) -> Options:
        """The settings that sentences tell, each with its type."""
        return options_of(self.settings)

    @property
    def able(self) -> Sequence[Model]:
        """The models that learned something: those that means, drops, comparisons and lessons speak of."""
        return [model for model in self.models if not model.degenerate]

    @property
    def scored(self) -> Sequence[Model]:
        """All that has cells: the networks, then the ensembles."""
        return [*self.models, *self.ensembles]

    @property
    def at_hand(self) -> Sequence[Site]:
        """The sites whose scans are here: those that example slices and the diagnosis speak of."""
        return [site for site in self.sites if not site.visited]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        title: the page's title.
        studies: one study, or several to be shown side by side.
        protocols: paired tests of the same network under two studies.
        protocol_means: the mean difference over the cells of each relation of network and site.
        made: when the records were made, in words; "" leaves it out (the page itself never asks the clock).
        command: the command that makes this page again, "" when unknown.
    """

    title: str
    studies: Sequence[Study]
    protocols: Sequence[ProtocolRow] = ()
    protocol_means: Sequence[ProtocolMean] = ()
    made: str = ""
    command: str = ""

    @property
    def origin(self) -> Origin | Literal["mixed"]:
        """Where the scans of all studies come from; "mixed" where they differ."""
        origins = {study.origin for study in self.studies}
        return origins.pop() if len(origins) == 1 else "mixed"
