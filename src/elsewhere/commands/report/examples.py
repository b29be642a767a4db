"""A study's scans in; one slice of one scan per site and class, as read and as the network gets it, out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.commands.report.kept_study import KeptSite, KeptStudy
from elsewhere.errors import BadScan, BadSite, BadStudy
from elsewhere.pages import report as page
from elsewhere.pages.report.pictures import shrink
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import list_site, reader
from elsewhere.scans.store import Shelf
from elsewhere.scans.units import declared_window
from elsewhere.scans.volume import Volume, content_hash, lung_box
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import VERSIONS, key
from elsewhere.studies.records import EXAMPLES, ExampleRow, ScanRow

LUNG_WINDOW = (-1350, 150)  # HU
STAGES = {"real": "as read", "repacked": "as re-packed", "simulated": "as simulated"}
NETWORK = "as the network gets it"

Pixels = NDArray[np.uint8]


def examples(folder: Folder, scans: Sequence[ScanRow], study: KeptStudy) -> Iterable[page.ExampleSlice]:
    """Two slices for each site and class: the first test scan, a little below the middle, raw and prepared.

    The raw slice comes from the scan's own files, and is kept in the study's folder (`examples.parquet`) so that a
    second page need not search the site again; where the files are gone or changed, the example says so.
    """
    rows = [row for row in scans if row.subset == "test"]
    chosen = [
        min(found, key=lambda r: r.scan)
        for site in study.site_names
        for label in (1, 0)
        if (found := [r for r in rows if r.site == site and r.label == label])
    ]
    raw = _raw_slices(folder, study, chosen)
    for row in chosen:
        pixels, caption = raw[row.site, row.scan]
        stage = STAGES[study.settings.origin]
        yield page.ExampleSlice(row.site, int(row.label or 0), pixels, caption, stage=stage)
        yield _prepared(row, study.preparation)


def _number(row: ScanRow) -> int:
    return int(0.55 * row.slices)


def _prepared(row: ScanRow, preparation: Preparation) -> page.ExampleSlice:
    number, label = _number(row), int(row.label or 0)
    shelf = Shelf({(row.site, row.scan): Path(row.file)})
    try:
        picture = shelf.read(row.site, row.scan, number, number + 1)[0].astype(np.float32)
    except BadScan as error:  # a study that was handed over without its store still has its page
        return page.ExampleSlice(row.site, label, None, error.what, stage=NETWORK)
    units = "HU" if preparation.encoding == "hu" else row.units
    pixels, words = _windowed(picture, units, 1024.0)
    if units == "HU" and row.units == "relative":
        words = "grey values through an assumed window"
    caption = f"{_size(pixels)}, slice {number + 1} of {row.slices}, {words}"
    return page.ExampleSlice(row.site, label, shrink(pixels), caption, stage=NETWORK)


def _raw_slices(
    folder: Folder, study: KeptStudy, rows: Sequence[ScanRow]
) -> dict[tuple[str, str], tuple[Pixels | None, str]]:
    """(site, scan) -> the slice as read, 8-bit and small enough for the page, or None, with its caption."""
    file, kept = folder.examples, {}
    if file.is_file():
        with suppress(BadStudy):  # damaged, or of another format: drawn again
            kept = {(r.site, r.scan, r.key): r for r in EXAMPLES.read(file)}
    records, listed = [], {}
    for row in rows:
        site = next(s for s in study.sites if s.name == row.site)
        window = declared_window(row.facts) or study.preparation.relative_window
        made_by = {**study.all_settings["preparation"], "relative_window": list(window)}
        wanted = key("examples", row.content_hash, row.slices, made_by)
        known = [wanted, f"{row.content_hash} {row.slices} {made_by}"]  # the second in release 0.1.0
        known = known if VERSIONS["examples"] == 1 else known[:1]
        record = next((kept[row.site, row.scan, k] for k in known if (row.site, row.scan, k) in kept), None)
        if record is None:
            if site.name not in listed:
                listed[site.name] = _scans_of(folder, site)
            box = (study.preparation.margin, window) if study.preparation.crop == "lungs" else None
            drawn = _raw(row, site.kind, listed[site.name], box)
            record = ExampleRow(row.site, row.scan, wanted, *drawn)
        records.append(record)
    if good := [record for record in records if record.pixels is not None]:
        EXAMPLES.write(file, good)
    return {(r.site, r.scan): (_unpack(r), r.caption) for r in records}


def _unpack(record: ExampleRow) -> Pixels | None:
    if record.pixels is None:
        return None
    return np.frombuffer(record.pixels, np.uint8).reshape(-1, record.width)


def _scans_of(folder: Folder, site: KeptSite) -> dict[str, Scan] | None:
    """The scans of a site's folder as it is now; None where there is no such folder any more."""
    labels = folder.place(site.labels) if site.labels else None
    try:
        found = list_site(site.kind, folder.place(site.root), site.name, labels, site.options)
    except (BadSite, OSError):
        return None
    return {scan.scan: scan for scan in found.scans}


def _raw(
    row: ScanRow, kind: str, scans: dict[str, Scan] | None, box: tuple[float, tuple[float, float]] | None
) -> tuple[bytes | None, int, str]:
    """Pixels, their width and a caption; no pixels where the scan's files are gone, changed or unreadable."""
    if scans is None or row.scan not in scans:
        return None, 0, "its files are gone"
    try:
        volume = reader(kind).read(scans[row.scan])
    except (BadScan, OSError):
        return None, 0, "its files cannot be read"
    if content_hash(volume.voxels) != row.content_hash:
        return None, 0, "its files have changed since"
    number = _source_slice(volume, row, box)
    pixels, words = _windowed(volume.voxels[number].astype(np.float32), volume.units, volume.offset or 0.0)
    drawn = shrink(pixels)
    smaller = f" (drawn 1:{pixels.shape[1] // drawn.shape[1]})" if drawn.shape != pixels.shape else ""
    caption = f"{_size(pixels)}{smaller}, slice {number + 1} of {len(volume.voxels)}, {words}"
    return drawn.tobytes(), drawn.shape[1], caption


def _source_slice(volume: Volume, row: ScanRow, box: tuple[float, tuple[float, float]] | None) -> int:
    """The slice as read that lies where the prepared one does; `box`: margin and window of a crop to the lungs."""
    first, stop = 0, len(volume.voxels)
    if box is not None and (lungs := lung_box(volume, *box)) is not None:
        first, stop = lungs[0].start, lungs[0].stop
    return min(first + int((_number(row) + 0.5) / row.slices * (stop - first)), len(volume.voxels) - 1)


def _size(pixels: Pixels) -> str:
    return " × ".join(map(str, pixels.shape))


def _windowed(picture: NDArray[np.float32], units: str, offset: float) -> tuple[Pixels, str]:
    if units == "HU":
        low, high, words = *map(float, LUNG_WINDOW), f"window {LUNG_WINDOW[0]}..{LUNG_WINDOW[1]} HU"
    elif units == "ct_number":
        low, high, words = LUNG_WINDOW[0] + offset, LUNG_WINDOW[1] + offset, "CT numbers in the same window"
    else:
        low, high, words = 0.0, 255.0, "grey values as published"
    return np.clip((picture - low) / (high - low) * 255, 0, 255).astype(np.uint8), words
