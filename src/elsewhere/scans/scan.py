"""One examination as its site tells it (patient, label, files), and the split by patient."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from elsewhere.errors import BadScan, BadStudy
from elsewhere.wording import numbered

POSITIVE, NEGATIVE = 1, 0
CLASSES = {POSITIVE: "positive", NEGATIVE: "negative"}
SUBSETS = ("train", "validation", "test")
MOST_FOLDS = 10

Fact = str | int | float | bool | None


@dataclass(frozen=True)
class Scan:
    """One CT scan, not yet read.

    Attributes:
        site: name of the site, as the study file has it.
        patient: patient id, unique within the site; the unit of the split.
        scan: scan id, unique within the site; the unit of training and scoring.
        label: 1 COVID-positive, 0 COVID-negative, None unknown.
        files: the scan's files; for slices in slice order, first is the most superior if the site says so.
        stratum: the group that is split on its own ("positive", "negative", or a named control group).
        facts: what the site's tables and headers say before any pixel is decoded (age, sex, kernel, class, …).
    """

    site: str
    patient: str
    scan: str
    label: int | None
    files: tuple[Path, ...] = ()
    stratum: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The split stratum; the class name where the site names none."""
        return self.stratum or ("unlabelled" if self.label is None else CLASSES[self.label])


@dataclass(frozen=True)
class Found:
    """What a site's folder holds.

    Attributes:
        scans: its scans.
        bad: what cannot be used, with path and reason.
        notes: remarks for the audit.
        missing: labels of the scans that its table lists and the folder does not hold, or not in a usable form.
    """

    scans: tuple[Scan, ...]
    bad: tuple[BadScan, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class SplitSettings:
    """Shares of patients per class and site (paper, section "Data"; protocol page "Sites and splits").

    Attributes:
        train: share of patients for training, rounded to the nearest patient.
        test: share of patients for testing; validation is the rest.
        seed: changes who goes where, never how many.
        folds: for cross-validation by patient: beside the split, every patient of a training site is in one of so many
            parts, each scored by a network trained on the others; 0 for none.
        local: share of the test patients of each site on which a threshold and a recalibration are chosen for models
            that are not trained here; these are then scored on the others. 0 for none.

    Raises:
        BadStudy: a share is no share, none is left for validation, or a number of folds that cannot be.
    """

    train: float = 0.72
    test: float = 0.20
    seed: int = 0
    folds: int = 0
    local: float = 0.0

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            if not 0 < getattr(self, name) < 1:
                raise BadStudy(f"split.{name}", f"is {getattr(self, name)}", "Give a share between 0 and 1")
        if not self.train + self.test < 1:
            what = f"and `split.test` are {self.train} and {self.test}"
            raise BadStudy("split.train", what, "Leave a share for validation: their sum must stay below 1")
        if not 0 <= self.local < 1:
            raise BadStudy("split.local", f"is {self.local}", "Give a share between 0 and 1, or 0 to keep no patient")
        if self.folds and not 2 <= self.folds <= MOST_FOLDS:
            then = f"Give 2 to {MOST_FOLDS} for cross-validation by patient (5 is usual), or 0 for none"
            raise BadStudy("split.folds", f"is {self.folds}", then)


def split_counts(patients: int, settings: SplitSettings) -> tuple[int, int, int]:
    """Numbers of (train, validation, test) patients for one class of one site.

    The recovered rule: train = round(0.72 n), test = round(0.20 n), validation = the rest.
    """
    train, test = round(settings.train * patients), round(settings.test * patients)
    return train, patients - train - test, test


def split(scans: Iterable[Scan], settings: SplitSettings = SplitSettings()) -> dict[tuple[str, str], str]:
    """Assign every (site, scan id) to "train", "validation" or "test", by patient within site and stratum.

    Who goes where depends on the seed, the site, the stratum and the patient's id alone, so that adding or
    reordering sites never changes a split. A patient with scans in two strata follows the first in sorted order.

    Raises:
        BadStudy: a stratum has too few patients for its three subsets.
    """
    scans = list(scans)
    subset = {}
    for (site, group), patients in sorted(_patients_by_stratum(scans).items()):
        counts = split_counts(len(patients), settings)
        if min(counts) < 1:
            raise BadStudy(
                site,
                f"{len(patients)} patients in stratum '{group}' cannot fill train, validation and test "
                f"(they would get {counts[0]}, {counts[1]}, {counts[2]})",
                "Add patients, or change the shares under [split] in the study file",
            )
        ranked = sorted(patients, key=lambda p: _rank(settings.seed, site, group, p))
        for name, share in zip(SUBSETS, _cut(ranked, counts), strict=True):
            subset.update({(site, p): name for p in share})
    return {(s.site, s.scan): subset[s.site, s.patient] for s in scans}


@dataclass(frozen=True)
class Fold:
    """Where a patient stands in a cross-validation.

    Attributes:
        number: the fold whose network scores him and never sees him, from 1.
        chooses: the fold whose network's weights and threshold are chosen on him; 0 where none is. All other networks
            are fitted on him.
    """

    number: int
    chooses: int


def draw_folds(scans: Iterable[Scan], settings: SplitSettings) -> dict[tuple[str, str], Fold]:
    """Assign every (site, scan id) to a fold, by patient within site and stratum, as `split` does.

    Fold sizes of a stratum differ by one patient at most. The validation patients of a fold are drawn from the next
    fold, so many that training and validation share the other folds as the split's shares of the two have it, and at
    least one of each stratum. Who goes where depends on the seed, the site, the stratum and its patients alone.

    Raises:
        BadStudy: a stratum has too few patients.
    """
    scans = list(scans)
    folds: dict[tuple[str, str], Fold] = {}
    number = settings.folds
    for (site, group), patients in sorted(_patients_by_stratum(scans).items()):
        if len(patients) < max(number, 3):
            what = f"{numbered(len(patients), 'patient')} in stratum '{group}' cannot fill {number} folds"
            raise BadStudy(site, what, "Add patients, or give fewer `folds` under [split] in the study file")
        ranked = sorted(patients, key=lambda p: _rank(settings.seed, "folds", site, group, p))
        first = int(_rank(settings.seed, "first fold", site, group)[:8], 16)
        parts = [ranked[i::number] for i in range(number)]
        for i, part in enumerate(parts):
            before = len(ranked) - len(parts[i - 1])  # patients that the network of the fold before may see
            wanted = round((1 - settings.train / (1 - settings.test)) * before)
            choosing = min(max(wanted, 1), len(part), before - 1)
            for place, patient in enumerate(part):
                fold, previous = (first + i) % number + 1, (first + i - 1) % number + 1
                folds[site, patient] = Fold(fold, previous if place < choosing else 0)
    return {(s.site, s.scan): folds[s.site, s.patient] for s in scans}


def draw_kept(patients: Mapping[tuple[str, str], str], settings: SplitSettings) -> set[tuple[str, str]]:
    """The test patients that are kept for thresholds and recalibration: of each site and group the share `local`.

    Who is kept depends on the seed, the site, the group and its patients alone.

    Args:
        patients: (site, patient) -> group that is divided on its own.
        settings: with the share and the seed.

    >>> sorted(draw_kept({("A", "p"): "positive", ("A", "q"): "positive"}, SplitSettings(local=0.5, seed=3)))
    [('A', 'q')]
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (site, patient), group in patients.items():
        groups[site, group].append(patient)
    kept: set[tuple[str, str]] = set()
    for (site, group), members in groups.items():
        ranked = sorted(members, key=lambda p: _rank(settings.seed, "local", site, group, p))
        kept |= {(site, patient) for patient in ranked[: round(settings.local * len(ranked))]}
    return kept


def split_hash(subsets: Mapping[tuple[str, str], str]) -> str:
    """Short hash of a split, the same whatever the order: a result's proof of which split made it."""
    rows = sorted([*key, value] for key, value in subsets.items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _patients_by_stratum(scans: Sequence[Scan]) -> dict[tuple[str, str], set[str]]:
    stratum: dict[tuple[str, str], str] = {}
    for scan in scans:
        key = (scan.site, scan.patient)
        stratum[key] = min(stratum.get(key, scan.group), scan.group)
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (site, patient), group in stratum.items():
        groups[site, group].add(patient)
    return groups


def _rank(seed: int, *names: str) -> str:
    return hashlib.sha256("\x1f".join([str(seed), *names]).encode()).hexdigest()


def _cut(items: Sequence[str], counts: Sequence[int]) -> list[Sequence[str]]:
    edges = [0]
    for count in counts:
        edges.append(edges[-1] + count)
    return [items[a:b] for a, b in pairwise(edges)]
