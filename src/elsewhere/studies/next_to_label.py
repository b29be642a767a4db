"""Which patients of a new place to label next, chosen by a model's scores or features; and what was chosen before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.adapting_rows import ChosenRow
from elsewhere.errors import BadOption, BadStudy
from elsewhere.files import csv_text, write_whole
from elsewhere.model.adapting import AdaptingSettings
from elsewhere.model.sample import Case
from elsewhere.statistics.labelling import Choosing, choose_k_centre, choose_random, choose_stratified
from elsewhere.studies.adapting_fits import as_it_is, bench_of, keep_features, mean_features
from elsewhere.studies.adapting_scans import AdaptingScan, AdaptingScans, scan_of_row
from elsewhere.studies.file import Site
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import KnownModel
from elsewhere.studies.new_scans import fresh_scans, stored_hashes, stored_metadata
from elsewhere.studies.new_site import find_scans
from elsewhere.studies.records import CHOSEN_ROWS, usable_rows
from elsewhere.wording import numbered

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Waiting:
    """The usable scans of a place, labelled or not.

    Attributes:
        place: its name.
        scans: in the order of their ids; the label of an unlabelled one is 0 and means nothing.
        labelled: ids of those that have a label.
    """

    place: str
    scans: tuple[AdaptingScan, ...]
    labelled: frozenset[str]

    def patients(self, *, labelled: bool) -> dict[str, list[AdaptingScan]]:
        """Patients and their scans; one with a labelled scan counts as labelled."""
        known = {s.person for s in self.scans if s.case.scan in self.labelled}
        found: dict[str, list[AdaptingScan]] = {}
        for scan in self.scans:
            if (scan.person in known) == labelled:
                found.setdefault(scan.person, []).append(scan)
        return found


@dataclass(frozen=True)
class NextToLabel:
    """What was chosen to be labelled next.

    Attributes:
        place: where.
        how: it was chosen.
        patients: chosen.
        unlabelled: patients without a label, the chosen ones among them.
        scans: a row for each scan of the chosen patients.
        file: table to fill in.
    """

    place: str
    how: Choosing
    patients: int
    unlabelled: int
    scans: tuple[ChosenRow, ...]
    file: Path


def waiting_in_study(model: KnownModel, site: str) -> Waiting:
    """The scans of a site of the model's own study."""
    rows = sorted((r for r in usable_rows(Folder(model.where)) if r.site == site), key=lambda r: r.scan)
    labelled = frozenset(r.scan for r in rows if r.label is not None)
    return Waiting(site, tuple(scan_of_row(row, "score") for row in rows), labelled)


def waiting_in_folder(model: KnownModel, site: Site, target: Path, workers: int | None) -> Waiting:
    """The scans of a folder, prepared as the model wants them; copies of what it learned from are left out."""
    fresh, _ = fresh_scans(model, site, find_scans(site), target / "store", workers)
    scans = []
    for scan, kept in fresh:
        case = Case(site.name, scan.patient, scan.scan, scan.label or 0, kept.slices, kept.minimum, kept.maximum)
        scans.append(AdaptingScan(case, str(kept.path), "score", stored_hashes(kept), stored_metadata(kept)))
    return Waiting(site.name, tuple(scans), frozenset(s.scan for s, _ in fresh if s.label is not None))


def choose_next(  # noqa: PLR0917 - what to ask whom, then how it is run
    model: KnownModel, waiting: Waiting, count: int, how: Choosing, target: Path, seed: int, workers: int | None = None
) -> NextToLabel:
    """Choose patients without a label, and keep which (next.csv to fill in, chosen.parquet for later).

    A patient's score is the highest of its scans, its features are the mean of theirs.

    Args:
        model: whose scores and features decide.
        waiting: the scans of the place.
        count: of patients.
        how: they are chosen.
        target: folder of the adaptation to this place.
        seed: of what is drawn.
        workers: processes; None means one per core.

    Raises:
        BadOption: fewer patients are without a label.
    """
    pool, known = waiting.patients(labelled=False), waiting.patients(labelled=True)
    if count > len(pool):
        what = f"is {count}, but {numbered(len(pool), 'patient')} of {waiting.place} have no label"
        raise BadOption("--next", what, "Ask for fewer" if pool else "Adapt with the labels that are there")
    people = list(pool)
    places, weights = _chosen(model, waiting, (pool, known), count, how, target, seed, workers)
    rows = [
        ChosenRow(how, s.case.scan, s.case.patient, None if weights is None else float(weights[i]), s.hashes[0])
        for i, place in enumerate(places.tolist())
        for s in pool[people[place]]
    ]
    labelled = {s.hashes[0] for s in waiting.scans if s.case.scan in waiting.labelled}
    before = [row for row in chosen_before(target) if row.voxels in labelled]
    CHOSEN_ROWS.write(target / "chosen.parquet", [*before, *rows])
    cells = [(r.scan, r.patient, "", "" if r.weight is None else f"{r.weight:.6g}") for r in rows]
    write_whole(target / "next.csv", csv_text(("scan_id", "patient_id", "label", "weight"), cells, plain=True))
    return NextToLabel(waiting.place, how, count, len(pool), tuple(rows), target / "next.csv")


def _chosen(  # noqa: PLR0917 - as `choose_next`
    model: KnownModel,
    waiting: Waiting,
    patients: tuple[dict[str, list[AdaptingScan]], dict[str, list[AdaptingScan]]],
    count: int,
    how: Choosing,
    target: Path,
    seed: int,
    workers: int | None,
) -> tuple[NDArray[np.int64], Vectors | None]:
    """Places among the unlabelled patients, and weights where they were drawn."""
    pool, known = patients
    if how == "random":
        return choose_random(len(pool), count, seed)
    bench = bench_of(model, AdaptingScans(waiting.place, waiting.scans), AdaptingSettings(), target)
    features = keep_features(bench, waiting.scans, workers)
    if how == "stratified":
        said = as_it_is(bench, waiting.scans, features)
        scores = [max(said[s.case.site, s.case.scan] for s in own) for own in pool.values()]
        return choose_stratified(scores, count, seed)
    vectors = mean_features(features)

    def middle(own: Sequence[AdaptingScan]) -> Vectors:
        return sum((vectors[s.case.site, s.case.scan] for s in own), np.zeros(1)) / len(own)

    return choose_k_centre(
        [middle(own) for own in pool.values()], count, [middle(own) for own in known.values()], seed
    ), None


def chosen_before(target: Path) -> list[ChosenRow]:
    """What `choose_next` chose for this place before; none where it was not asked."""
    try:
        return CHOSEN_ROWS.read(target / "chosen.parquet")
    except BadStudy:
        return []


def chosen_note(target: Path, scans: Sequence[AdaptingScan]) -> str:
    """What to know of an adaptation where labelled scans of the new place were not drawn alike; "" where they were.

    Args:
        target: folder of the adaptation.
        scans: of the new place, to fit and to score.
    """
    used = {scan.hashes[0] for scan in scans}
    own = [row for row in chosen_before(target) if row.how != "random" and row.voxels in used]
    if not own:
        return ""
    ways = " or ".join(dict.fromkeys(row.how for row in own))
    return (
        f"{numbered(len(own), 'labelled scan')} of {len(scans)} were chosen by --next ({ways}), not drawn alike: "
        "the AUCs here are those of such a choice, not of the place. Judge the model on scans that were drawn alike."
    )
