"""The scans that an adaptation needs: of the new place to fit and to score, of home to replay and to choose by, of old
sites to see what is forgotten. A patient is fitted on or scored, never both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadSite, BadStudy
from elsewhere.model.sample import Case, Read
from elsewhere.scans import store
from elsewhere.scans.scan import Fact
from elsewhere.statistics.adaptation import FIRST, LEAST_PATIENTS, patient_classes, set_apart
from elsewhere.statistics.strata import age_and_sex
from elsewhere.studies.file import Site
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import METADATA, KnownModel
from elsewhere.studies.new_scans import Bad, first_bad, fresh_scans, stored_hashes, stored_metadata
from elsewhere.studies.new_site import find_scans
from elsewhere.studies.prepared import case_of
from elsewhere.studies.records import ScanRow, read_identity, usable_rows
from elsewhere.wording import numbered

Part = Literal["fit", "score", "replay", "choose", "old"]
Said = Mapping[tuple[str, str], float]
"""Site and scan -> probability."""
SCORED = 0.5
"""Share of the patients that are scored and never fitted on, where no split of the study says which."""


@dataclass(frozen=True)
class AdaptingScan:
    """One labelled scan of an adaptation.

    Attributes:
        case: the scan.
        file: its prepared volume.
        part: "fit" (may be fitted on) or "score" (never) of the new place; "replay" (trained on at home), "choose"
            (validated on at home) or "old" (test scans of home and of other old sites).
        hashes: of its voxels, as read and as stored.
        metadata: `METADATA` of it.
        stratum: sex and age band; None where either is unknown.
    """

    case: Case
    file: str
    part: Part
    hashes: tuple[str, ...]
    metadata: Mapping[str, Fact]
    stratum: str | None = None

    @property
    def person(self) -> str:
        """SITE/PATIENT."""
        return f"{self.case.site}/{self.case.patient}"

    @property
    def identity(self) -> list[object]:
        """What a fit depends on, JSON-able."""
        return [self.case.site, self.case.patient, self.case.scan, self.case.label, *self.hashes]


@dataclass(frozen=True)
class AdaptingScans:
    """All scans of an adaptation.

    Attributes:
        place: name of the new place.
        scans: in a fixed order.
        bad: scans of the new place that cannot be used.
        notes: what to know of how they were divided.
    """

    place: str
    scans: tuple[AdaptingScan, ...]
    bad: tuple[Bad, ...] = ()
    notes: tuple[str, ...] = ()

    def part(self, *names: Part) -> list[AdaptingScan]:
        """The scans of some parts."""
        return [scan for scan in self.scans if scan.part in names]

    @property
    def old_sites(self) -> list[str]:
        """Old sites with test scans of both classes."""
        old = self.part("old")
        return [
            s
            for s in dict.fromkeys(o.case.site for o in old)
            if len({o.case.label for o in old if o.case.site == s}) == 2
        ]


@dataclass(frozen=True, eq=False)
class Columns:
    """Some scans as columns, in their order."""

    scans: tuple[AdaptingScan, ...]
    labels: NDArray[np.int64]
    people: NDArray[np.str_]

    @classmethod
    def of(cls, scans: Sequence[AdaptingScan]) -> Columns:
        """Of these scans."""
        return cls(tuple(scans), np.array([s.case.label for s in scans]), np.array([s.person for s in scans]))

    def said(self, said: Said) -> NDArray[np.float64]:
        """Their probabilities (scans,)."""
        return np.array([said[s.case.site, s.case.scan] for s in self.scans])

    @property
    def patients(self) -> tuple[int, int]:
        """Patients with a positive scan, and the others."""
        counts = np.bincount(patient_classes(self.labels, self.people)[1], minlength=2)
        return int(counts[1]), int(counts[0])


def is_site(folder: Folder, name: str) -> bool:
    """Whether this is a site of a study that was run; False where there is no study."""
    return folder.study.is_file() and name in {one["name"] for one in read_identity(folder)["settings"]["sites"]}


def scans_of_study(model: KnownModel, site: str) -> AdaptingScans:
    """Scans of an adaptation to a site of the model's own study: as the study split them.

    Raises:
        BadStudy: no such site, the model was trained there, or it has too few labelled scans.
    """
    folder = Folder(model.where)
    rows = usable_rows(folder)
    sites = list(dict.fromkeys(row.site for row in rows))
    if site not in sites:
        raise BadStudy(folder.root, f"has no site {site!r}", f"Choose one of {', '.join(sites)}, or give a folder")
    if site in model.trained_on:
        raise BadStudy(site, f"is a site that {model.name} was trained on", "Choose another site, or another model")
    labelled = [row for row in rows if row.site == site and row.label is not None]
    here, notes = _divided([scan_of_row(row, "score") for row in labelled], [row.subset for row in labelled])
    return AdaptingScans(site, (*here, *old_scans(model, rows, site)), notes=notes)


def old_scans(model: KnownModel, rows: Sequence[ScanRow], without: str = "") -> list[AdaptingScan]:
    """Scans of home and of the other old sites of the model's study."""
    parts: Mapping[str, Part] = {"train": "replay", "validation": "choose"}
    found = []
    for row in sorted(rows, key=lambda r: (r.site, r.scan)):
        if row.site == without or row.label is None:
            continue
        if row.subset == "test":
            found.append(scan_of_row(row, "old"))
        elif row.site in model.trained_on and row.subset in parts:
            found.append(scan_of_row(row, parts[row.subset]))
    return found


def scans_of_folder(
    model: KnownModel, site: Site, home: Folder | None, target: Path, workers: int | None
) -> AdaptingScans:
    """Scans of an adaptation to a folder with labels.

    Args:
        model: the model.
        site: the folder, with its kind, labels and options.
        home: the study's folder, where its scans are at hand; None for an exported model.
        target: where prepared scans go.
        workers: processes; None means one per core.

    Raises:
        BadSite: no scan has a label or can be used.
        BadStudy: too few patients of a class.
    """
    listed = find_scans(site)
    labelled = replace(listed, scans=tuple(scan for scan in listed.scans if scan.label is not None))
    if not labelled.scans:
        raise BadSite(site.root, "has no labelled scan: an adaptation learns from labels", "Give --labels")
    fresh, bad = fresh_scans(model, site, labelled, target / "store", workers)
    if not fresh:
        raise BadSite(site.root, f"no scan can be used; the first: {first_bad(bad)}", "Look at the reasons")
    rows = [] if home is None else usable_rows(home)
    name = site.name if site.name not in {row.site for row in rows} else f"{site.name} (new)"
    here = []
    for scan, kept in fresh:
        case = Case(name, scan.patient, scan.scan, scan.label or 0, kept.slices, kept.minimum, kept.maximum)
        stratum = age_and_sex({**kept.record["facts"], **scan.facts})
        here.append(AdaptingScan(case, str(kept.path), "score", stored_hashes(kept), stored_metadata(kept), stratum))
    divided, notes = _divided(here, [""] * len(here))
    return AdaptingScans(name, (*divided, *old_scans(model, rows)), tuple(bad), notes)


def scan_of_row(row: ScanRow, part: Part) -> AdaptingScan:
    """A scan of a study."""
    hashes = tuple(one for one in (row.content_hash, row.prepared_hash) if one)
    metadata = {name: getattr(row, name) for name in METADATA}
    return AdaptingScan(case_of(row), row.file, part, hashes, metadata, age_and_sex(row.facts))


def _divided(here: Sequence[AdaptingScan], subsets: Sequence[str]) -> tuple[list[AdaptingScan], tuple[str, ...]]:
    """Which scans of the new place may be fitted on: those that the study does not test on, or half of the patients.

    The study's split is taken where it leaves enough of each class on both sides.
    """
    order = sorted(range(len(here)), key=lambda i: here[i].case.scan)
    scans, parts = [here[i] for i in order], [subsets[i] for i in order]
    people = {"test": set[str](), "fit": set[str]()}
    for scan, subset in zip(scans, parts, strict=True):
        people["test" if subset == "test" else "fit"].add(scan.person)
    split = [
        subset in {"train", "validation"} and s.person not in people["test"]
        for s, subset in zip(scans, parts, strict=True)
    ]
    notes: tuple[str, ...] = (
        "Fitted on scans of the study's training and validation set of this site, scored on its test set.",
    )
    if _fewest(scans, split) < FIRST or _fewest(scans, [not fit for fit in split]) < LEAST_PATIENTS:
        labels, patients = [s.case.label for s in scans], [s.person for s in scans]
        split = (~set_apart(labels, patients, SCORED)).tolist() if len(set(labels)) == 2 else [False] * len(scans)
        notes = (f"{SCORED:.0%} of the patients of each class, drawn at random, were set apart to be scored.",)
    few = _fewest(scans, split)
    if few < FIRST or len({s.case.label for s, fit in zip(scans, split, strict=True) if not fit}) < 2:
        what = f"has {numbered(max(few, 0), 'patient')} of the rarer class to fit on"
        raise BadStudy(scans[0].case.site, what, f"Label more: {2 * FIRST} patients of each class are the least")
    return [replace(s, part="fit" if fit else "score") for s, fit in zip(scans, split, strict=True)], notes


def _fewest(scans: Sequence[AdaptingScan], fit: Sequence[bool]) -> int:
    chosen = [s for s, use in zip(scans, fit, strict=True) if use]
    if not chosen:
        return 0
    _, classes = patient_classes([s.case.label for s in chosen], [s.person for s in chosen])
    return int(np.bincount(classes, minlength=2).min())


def reader_of(scans: Sequence[AdaptingScan]) -> Read:
    """A function that reads windows of the prepared volumes."""
    shelf = store.Shelf({(s.case.site, s.case.scan): Path(s.file) for s in scans})

    def read(case: Case, start: int, stop: int) -> NDArray[Any]:
        return shelf.read(case.site, case.scan, start, stop)

    return read
