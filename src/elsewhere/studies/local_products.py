"""Test patients that are kept for models not trained here, and what a local threshold and a recalibration give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elsewhere import engine
from elsewhere.local_rows import KeptPatientRow, LocalReadingRow
from elsewhere.scans.scan import CLASSES, SplitSettings, draw_kept
from elsewhere.statistics.decision import Recalibration
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.local_reading import Choice, Compared, Sample, choose_locally, compare_locally
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import KEPT_PATIENTS, ProductRow, ScanRow
from elsewhere.wording import numbered

Patient = tuple[str, str]
"""Site and patient."""


def keep_patients(settings: SplitSettings, scans: Sequence[ScanRow]) -> frozenset[Patient]:
    """The test patients that are kept, by site and class; one who shares a volume with a scored patient is scored.

    Args:
        settings: with the share and the seed.
        scans: usable test scans.
    """
    labels: dict[Patient, int] = {}
    for row in scans:
        labels[row.site, row.patient] = max(labels.get((row.site, row.patient), 0), row.known_label)
    kept = draw_kept({patient: CLASSES[label] for patient, label in labels.items()}, settings)
    while True:
        scored = {row.content_hash for row in scans if (row.site, row.patient) not in kept}
        shared = {(r.site, r.patient) for r in scans if r.content_hash in scored} & kept
        if not shared:
            return frozenset(kept)
        kept -= shared


def say_kept(kept: frozenset[Patient], scans: Sequence[ScanRow]) -> None:
    """Print how many patients of each class are kept at each site."""
    for site in dict.fromkeys(row.site for row in scans):
        counts = []
        for label, name in CLASSES.items():
            patients = {(r.site, r.patient) for r in scans if r.site == site and r.label == label}
            counts.append(f"{len(patients & kept)} of {numbered(len(patients), f'{name} patient')}")
        engine.say(
            f"{' and '.join(counts)} for a threshold and a recalibration; all others are scored", f"Kept at {site}:"
        )


def read_kept(folder: Folder) -> frozenset[Patient]:
    """The kept patients of a study; none where it keeps none.

    Raises:
        BadStudy: the table is damaged or of another format.
    """
    if not folder.kept_patients.is_file():
        return frozenset()
    return frozenset((row.site, row.patient) for row in KEPT_PATIENTS.read(folder.kept_patients))


def write_kept(folder: Folder, kept: frozenset[Patient]) -> None:
    """Keep the kept patients."""
    KEPT_PATIENTS.write(folder.kept_patients, [KeptPatientRow(*patient) for patient in sorted(kept)])


def is_kept(row: ProductRow, kept: frozenset[Patient]) -> bool:
    """Whether a scan is a kept patient's, and so is not scored."""
    return (row.site, row.patient) in kept


@dataclass(frozen=True)
class _Known:
    """What a row says beside the measures."""

    model: str
    site: str
    choice: Choice
    kept_unanswered: int
    patients: tuple[int, int]
    own_threshold: float | None


def local_readings(rows: Sequence[ProductRow], kept: frozenset[Patient]) -> list[LocalReadingRow]:
    """What was chosen on the kept patients, measured on the others.

    Args:
        rows: of one product at one site.
        kept: kept patients.
    """
    known = [(row, row.probability) for row in rows if row.probability is not None]
    apart = [(row, p) for row, p in known if is_kept(row, kept)]
    scored = [(row, p) for row, p in known if not is_kept(row, kept)]
    if not scored:
        return []
    choice = choose_locally(_sample(apart)) if apart else Choice(0, 0, None, None, "none of them has a score")
    first, unanswered = scored[0][0], sum(is_kept(row, kept) and row.probability is None for row in rows)
    up, down = (len({row.patient for row, _ in scored if row.label == label}) for label in (1, 0))
    head = _Known(first.model, first.site, choice, unanswered, (up, down), first.threshold)
    calls = [row.call for row, _ in scored]
    called = None if None in calls else np.array(calls, dtype=np.int64)
    compared = compare_locally(_sample(scored), choice, called)
    return [_row(head, one) for one in compared] or [_row(head, None)]


def _sample(rows: Sequence[tuple[ProductRow, float]]) -> Sample:
    return Sample([r.label for r, _ in rows], [r.patient for r, _ in rows], [p for _, p in rows])


def _row(head: _Known, one: Compared | None) -> LocalReadingRow:
    line = head.choice.line or Recalibration(float("nan"), float("nan"))
    own, changed, difference = (None, None, None) if one is None else (one.own, one.changed, one.difference)
    return LocalReadingRow(
        model=head.model,
        site=head.site,
        change="" if one is None else one.change,
        measure="" if one is None else one.measure,
        **_ends("own", own),
        **_ends("changed", changed),
        **_ends("difference", difference),
        outcome="" if one is None else one.outcome,
        kept_positive_patients=head.choice.positive_patients,
        kept_negative_patients=head.choice.negative_patients,
        kept_unanswered=head.kept_unanswered,
        positive_patients=head.patients[0],
        negative_patients=head.patients[1],
        own_threshold=head.own_threshold,
        threshold=head.choice.threshold,
        intercept=None if head.choice.line is None else line.intercept,
        slope=None if head.choice.line is None else line.slope,
        reason=head.choice.reason,
    )


def _ends(name: str, found: Interval | None) -> dict[str, float | None]:
    values = (None, None, None) if found is None else (found.estimate, found.low, found.high)
    finite = [None if value is None or not np.isfinite(value) else float(value) for value in values]
    return dict(zip((name, f"{name}_low", f"{name}_high"), finite, strict=True))
