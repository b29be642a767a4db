"""Rows that a command makes for the page alone: shown there and in its tables, kept nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from elsewhere.statistics.over_sites import OverSites


@dataclass(frozen=True)
class PatientsRow:
    """Who the patients of one site, class and subset are, as far as their scans tell.

    Attributes:
        site: the site's name.
        label: 1, 0 or None (unlabelled).
        subset: "train", "validation" or "test".
        patients: number of them, each once.
        age_known: patients whose age is known.
        age: median of their ages; None without any.
        age_low: lower quartile.
        age_high: upper quartile.
        sex_known: patients whose sex is known.
        women: share of women among them.
        first_month: of a scan ("2020-04"); None where no scan tells it.
        last_month: the same of the last.
    """

    site: str
    label: int | None
    subset: str
    patients: int
    age_known: int
    age: float | None
    age_low: float | None
    age_high: float | None
    sex_known: int
    women: float | None
    first_month: str | None
    last_month: str | None


@dataclass(frozen=True)
class CurveRow:
    """One logged point of a training (curves.csv).

    Attributes:
        model: the network's name.
        logged: column -> value, None where it was not logged: `iteration`, and any of `training_loss`,
            `validation_accuracy`, `validation_loss`; other columns are left to the CSV.
    """

    model: str
    logged: Mapping[str, float | None]

    @property
    def iteration(self) -> float:
        """Iterations done."""
        return float(self.logged["iteration"] or 0)


@dataclass(frozen=True)
class GroupRow:
    """Mean AUC over a group of cells, or the difference of two such means.

    Attributes:
        group: "home" (the only training site), "seen" (one of several) or "unseen" (not among them); "fall": home (or
            seen) less unseen; "fall, same networks": that over pairs of cells of one network, only where other networks
            stand on the two sides; "several - one, trained" and "several - one, unseen": networks of several sites less
            those of one of them.
        auc: the mean, or the difference.
        auc_low: lower end of its 95 % interval.
        auc_high: upper end.
        cells: number of them; of a difference those of its first side.
        trainings: how many of each network entered; with more than one their spread is in the interval.
        method: how the interval was made, in words.
    """

    group: str
    auc: float
    auc_low: float
    auc_high: float
    cells: int
    trainings: int = 1
    method: str = ""


@dataclass(frozen=True)
class NewHospital:
    """What a random-effects model over the unseen sites says of one more.

    Attributes:
        low: lower end of the 95 % prediction interval of the AUC; None where it was not made.
        high: upper end.
        sites: number of sites behind it.
    """

    low: float | None
    high: float | None
    sites: int


@dataclass(frozen=True)
class OverSitesRow(OverSites):
    """One model's AUC over the sites that it never saw, as a sample of hospitals.

    Attributes:
        model: its name.
    """

    model: str


@dataclass(frozen=True)
class HardScanRow:
    """One test scan that most networks get wrong.

    Attributes:
        site: name of the site.
        scan: scan id within the site.
        patient: patient id within the site.
        label: 1 or 0.
        models: networks that judged it.
        wrong: those of them that call it wrongly.
        trained_here: networks trained at its site.
        trained_here_wrong: those of them that call it wrongly.
        mean_probability: over the networks.
        distance: mean distance of the probability from the label over the networks (0..1).
        known: what is known of it, in words.
    """

    site: str
    scan: str
    patient: str
    label: int
    models: int
    wrong: int
    trained_here: int
    trained_here_wrong: int
    mean_probability: float
    distance: float
    known: str = ""

    @property
    def mostly_wrong(self) -> bool:
        """Whether more than half of the networks call it wrongly."""
        return 2 * self.wrong > self.models


@dataclass(frozen=True)
class JudgedRow:
    """Who judged the test scans of one class at one site.

    Attributes:
        site: name of the site.
        label: 1 or 0.
        scans: number of them.
        models: networks that discriminate there.
        mostly_wrong: scans that most of them get wrong; the page lists the first of each class.
        mostly_wrong_patients: whose scans those are.
    """

    site: str
    label: int
    scans: int
    models: int
    mostly_wrong: int
    mostly_wrong_patients: int


@dataclass(frozen=True)
class ContrastRow:
    """A paired difference of decisions on the same scans.

    Attributes:
        contrast: "threshold": right decisions under reading (b) less (a) at unseen sites; "one class": scans of a
            one-class site called that class by networks trained on it less by the others.
        site: the one-class site; "" for all.
        first: share of the first.
        second: share of the second.
        estimate: first less second.
        low: lower end of its 95 % interval.
        high: upper end.
        cells: number of them.
        method: of the interval, in words.
    """

    contrast: str
    site: str
    first: float
    second: float
    estimate: float
    low: float
    high: float
    cells: int
    method: str = ""


@dataclass(frozen=True)
class JudgementRow:
    """Whether one network learned, as `statistics.learned.Learned` says, with its sentences joined by "; ".

    Attributes:
        model: its name.
    """

    model: str
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    accuracy: float
    majority: float
    spread: float
    scans: int
    reasons: str
    remarks: str
    detectable: float | None = None
    checks: int = 0
    by_chance: float | None = None


@dataclass(frozen=True)
class SelectionRow:
    """How one network's kept weights were chosen among its validation checks.

    Attributes:
        model: its name.
        select: the rule.
        criterion: what it came to.
        checks: number of them.
        tied: those that are as good as the best.
        kept_iteration: of the kept weights.
        kept_accuracy, kept_log_loss, kept_auc: their scores; the AUC is None where no site has both classes.
        last_iteration, last_accuracy, last_log_loss, last_auc: the same of the last weights.
        majority_share: of the validation scans.
        no_better_than_majority: whether the kept accuracy is at most that.
        warnings: sentences.
    """

    model: str
    select: str
    criterion: str
    checks: int
    tied: int
    kept_iteration: int
    kept_accuracy: float
    kept_log_loss: float
    kept_auc: float | None
    last_iteration: int
    last_accuracy: float
    last_log_loss: float
    last_auc: float | None
    majority_share: float
    no_better_than_majority: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonRow:
    """A paired test of two networks on the same scans of one site, first less second.

    Attributes:
        family: "several" (networks of several sites against those of one), "pairs" or "protocols".
        relation: of "several", where: "trained" or "unseen"; of "protocols", of network and site: "home", "seen" or
            "unseen"; else "".
        site: name of the site.
        first: name of the first network; of "protocols", of the first study.
        second: of the second.
        auc_first: its AUC.
        auc_second: the AUC of the second.
        tests: in the family.
        difference: of the AUCs.
        low: lower end of its 95 % interval.
        high: upper end.
        p_value: of this test alone.
        p_value_holm: after Holm over the family.
        method: of the test, in words.
        scans: number of them.
    """

    family: str
    relation: str
    site: str
    first: str
    second: str
    auc_first: float
    auc_second: float
    tests: int
    difference: float
    low: float
    high: float
    p_value: float
    p_value_holm: float | None
    method: str
    scans: int


@dataclass(frozen=True)
class ProtocolRow(ComparisonRow):
    """A paired test of the same network under two studies.

    Attributes:
        model: the network's name.
    """

    model: str


@dataclass(frozen=True)
class ProtocolMean:
    """The mean difference of the same networks under two studies, over the cells of one relation.

    Attributes:
        relation: of network and site: "home", "seen" or "unseen".
        first: name of the first study.
        second: of the second.
        auc_first: mean AUC under the first.
        auc_second: under the second.
        difference: first less second.
        low: lower end of its 95 % interval.
        high: upper end.
        cells: number of them.
        method: of the interval, in words.
    """

    relation: str
    first: str
    second: str
    auc_first: float
    auc_second: float
    difference: float
    low: float
    high: float
    cells: int
    method: str = ""


@dataclass(frozen=True)
class ProductTestRow:
    """A paired test of a product and a network on the scans of one site that both answered, product less network.

    Attributes:
        product: name of the product.
        network: name of the network.
        site: name of the site.
        scans: number of them.
        auc_product: AUC of the product.
        auc_network: of the network.
        tests: in the family.
        difference, low, high, p_value, p_value_holm, method: as in `ComparisonRow`.
    """

    product: str
    network: str
    site: str
    scans: int
    auc_product: float
    auc_network: float
    tests: int
    difference: float
    low: float
    high: float
    p_value: float
    p_value_holm: float | None
    method: str
