"""What `elsewhere adapt` writes and its page shows: a row for each fit and site, and the whole as one record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from elsewhere.statistics.adaptation import Choice, Decision
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.learning_curve import HowMany

HEADLINES: dict[Decision, str] = {
    "adapt": "Adapted",
    "recalibrate": "Do not adapt: recalibrate",
    "nothing": "Do not adapt: leave it as it is",
    "cannot tell": "Cannot tell",
}
DO_NOT_ADAPT = 15
CANNOT_TELL = 20
RECALIBRATE = 10
"""As `elsewhere verdict` says it."""


@dataclass(frozen=True)
class AdaptRow:
    """One fit of an adaptation, scored at one site on scans that it was not fitted on (curve.parquet).

    Attributes:
        way: what of the network changed; "as it is", "threshold" and "recalibration" change none of it.
        size: patients of each class that it was fitted on; 0 for all of them.
        draw: number of the draw.
        site: where it is scored.
        relation: "here" (the new place), "home" (trained there) or "other" (an old site that it never saw).
        scans: scored.
        positives: positive ones among them.
        fitted: scans that it was fitted on.
        auc: discrimination; None where the site has one class.
        auc_low: lower end of its 95 % interval, clustered by patient.
        auc_high: upper end.
        accuracy: at its threshold: that of home as it is; of the fitted scans ("threshold", "recalibration"); else 0.5.
        accuracy_low: lower end.
        accuracy_high: upper end.
        log_loss: mean over patients, in nats.
        log_loss_low: lower end.
        log_loss_high: upper end.
        change: AUC less that of the model as it is, on the same scans; below 0 it was forgotten.
        change_low: lower end.
        change_high: upper end.
    """

    way: str
    size: int
    draw: int
    site: str
    relation: str
    scans: int
    positives: int
    fitted: int
    auc: float | None
    auc_low: float | None
    auc_high: float | None
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float
    log_loss_low: float
    log_loss_high: float
    change: float | None
    change_low: float | None
    change_high: float | None


@dataclass(frozen=True)
class ChosenRow:
    """A scan that was chosen to be labelled next (chosen.parquet).

    Attributes:
        how: "random", "stratified" or "k-centre".
        scan: its id.
        patient: its patient.
        weight: patients that this one stands for; None where nobody was drawn ("k-centre").
        voxels: hash of its voxels as read, by which it is known under another id.
    """

    how: str
    scan: str
    patient: str
    weight: float | None
    voxels: str


@dataclass(frozen=True)
class CurvePoint:
    """One way at one number of patients, over all draws.

    Attributes:
        way: what of the network changed.
        size: patients of each class; 0 for all of them.
        draws: of patients.
        auc: mean over draws at the new place, with an interval over draws and patients.
        home: its change at home, over draws and patients; None where home is not at hand.
    """

    way: str
    size: int
    draws: int
    auc: Interval
    home: Interval | None


@dataclass(frozen=True)
class Forgotten:
    """What the adapted model lost at one old site.

    Attributes:
        site: the old site.
        relation: "home" or "other".
        scans: of its test set.
        before: AUC of the model as it was.
        after: of the adapted model.
        change: after less before, paired; below 0 it was forgotten.
    """

    site: str
    relation: str
    scans: int
    before: Interval
    after: Interval
    change: Interval


@dataclass(frozen=True)
class Adaptation:
    """What an adaptation came to.

    Attributes:
        model: name of the model.
        site: the new place.
        checkpoint: SHA-256 of the weights as they were.
        decision: what to do.
        way: that was adapted in; "" for none.
        choice: how that was decided, on the patients that were fitted on.
        trainable: whether the model could be trained at all.
        fitted: patients that may be fitted on, (positive, negative).
        scored: patients that are scored and never fitted on, (positive, negative).
        before: AUC of the model as it was, on the scored patients.
        after: of the adapted model; None where it was not adapted.
        change: after less before, paired.
        curve: the learning curves.
        curve_way: the way that `how_many` is about.
        how_many: patients of each class for the AUC wanted.
        table: the same for further AUCs.
        forgotten: at the old sites.
        threshold: of the model that was written, on its probabilities.
        slope: factor on the log-odds.
        intercept: log-odds added.
        file: the model that was written; None for none.
        page: the page.
        seconds: wall-clock time of this run.
        fits: fits in all, kept ones among them.
        notes: what else to know.
    """

    model: str
    site: str
    checkpoint: str
    decision: Decision
    way: str
    choice: Choice
    trainable: bool
    fitted: tuple[int, int]
    scored: tuple[int, int]
    before: Interval
    after: Interval | None = None
    change: Interval | None = None
    curve: tuple[CurvePoint, ...] = ()
    curve_way: str = ""
    how_many: HowMany | None = None
    table: tuple[HowMany, ...] = ()
    forgotten: tuple[Forgotten, ...] = ()
    threshold: float | None = None
    slope: float = 1.0
    intercept: float = 0.0
    file: Path | None = None
    page: Path | None = None
    seconds: float = 0.0
    fits: int = 0
    notes: tuple[str, ...] = ()

    @property
    def surely_better(self) -> bool:
        """Whether the adapted model surely ranks better on the patients that were scored and never fitted on."""
        return self.change is not None and self.change.low > 0

    @property
    def exit_code(self) -> int:
        """0 adapted and surely better, 10 recalibrate instead, 15 do not adapt, 20 cannot tell."""
        if self.decision == "adapt":
            return 0 if self.surely_better else CANNOT_TELL
        return {"recalibrate": RECALIBRATE, "nothing": DO_NOT_ADAPT, "cannot tell": CANNOT_TELL}[self.decision]

    @property
    def headline(self) -> str:
        """The outcome in a few words."""
        if self.decision != "adapt":
            return HEADLINES[self.decision]
        if self.surely_better:
            return f"{HEADLINES['adapt']} ({self.way}), and surely better here"
        return f"{HEADLINES['adapt']} ({self.way}), but not surely better on the patients it is scored on"

    def to_record(self) -> dict[str, object]:
        """JSON-able: every number, infinities as None."""
        record = {**asdict(self), "headline": self.headline, "exit_code": self.exit_code}
        found = _plain(record)
        assert isinstance(found, dict)
        return found


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value
