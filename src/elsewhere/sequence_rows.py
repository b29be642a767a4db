"""What `elsewhere sequence` writes and its page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.transfer import Transfer

NAIVE: Literal["naive"] = "naive"
JOINT: Literal["joint"] = "joint"


@dataclass(frozen=True)
class SequenceRow:
    """One cell of the matrix of a sequence (transfer.parquet): the AUC at a site after a step.

    Attributes:
        way: how later sites were learned.
        order: the sites, joined by " > ".
        step: number of sites learned, from 1.
        learned: the site learned last.
        site: where it is tested.
        relation: "learned" (in this step or before), "to come" (later in the order) or "never".
        trainings: that differ in their seed.
        scans: of the test set.
        positives: positive ones among them.
        auc: mean over trainings; None where the site has one class.
        auc_low: lower end of its 95 % interval, over trainings and patients.
        auc_high: upper end.
    """

    way: str
    order: str
    step: int
    learned: str
    site: str
    relation: str
    trainings: int
    scans: int
    positives: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None


@dataclass(frozen=True)
class SequenceOutcome:
    """One way along one order.

    Attributes:
        way: how later sites were learned.
        order: the sites.
        transfer: what it came to.
        over_naive: final mean AUC less that of the naive way; None for that way itself or where it was not run.
        to_joint: final mean AUC less that of a network trained on all sites together; likewise.
    """

    way: str
    order: tuple[str, ...]
    transfer: Transfer
    over_naive: Interval | None
    to_joint: Interval | None


@dataclass(frozen=True)
class SequenceResult:
    """Everything that the page shows.

    Attributes:
        study: name of the study.
        origin: "real", "repacked" or "simulated".
        seeds: of the trainings.
        rows: of transfer.parquet.
        outcomes: every way along every order.
        unlearned: networks of a first site that learned nothing.
        page: the page.
    """

    study: str
    origin: str
    seeds: tuple[int, ...]
    rows: Sequence[SequenceRow]
    outcomes: tuple[SequenceOutcome, ...]
    unlearned: tuple[str, ...]
    page: Path | None = None
