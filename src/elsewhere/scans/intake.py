"""One scan in, one prepared volume in the store out, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.files import write_whole
from elsewhere.scans import store
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import Fact, Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.units import declared_window
from elsewhere.scans.volume import Volume, measure, prepare
from elsewhere.stages import stage
from elsewhere.table_format import to_json

Examine = Callable[[NDArray[Any]], object]


def take_in(  # noqa: PLR0917 - a task of engine.run, which passes arguments by place
    kind: str, scan: Scan, root: Path, folder: Path, preparation: Preparation, examine: Examine
) -> store.Stored | BadScan:
    """Read, measure, prepare and store one scan; a scan that is already there is not read again.

    Args:
        kind: the kind of site (a key of `elsewhere.scans.sites.KINDS`).
        scan: the scan.
        root: the site's folder.
        folder: the store.
        preparation: how the volume is prepared.
        examine: voxels as read -> what forensics keeps of them, as `to_json` takes it; importable by name.

    Raises:
        OSError: the store cannot be written (disk full, no permission).
    """
    module = reader(kind)
    try:
        path = place_of(kind, scan, root, folder, preparation)
        if (stored := store.find(path)) is not None:
            return stored
        if (mark := _mark(path)).is_file():
            return _crashed(scan, mark.read_text(encoding="utf-8"))
        with stage("read and decode"):
            volume = module.read(scan)
        voxels, record = _made(volume, prepared_as(preparation, scan.facts), examine)
        del volume
    except BadScan as error:
        return error
    except MemoryError:
        return BadScan(
            _name(scan), "does not fit into memory", "Prepare it on a larger machine, or with fewer --workers"
        )
    except Exception as error:  # one bad scan never stops a site, whatever a codec does with it
        return BadScan(
            _name(scan),
            f"cannot be prepared ({type(error).__name__}: {error})",
            "Take the scan out, or report it with this message",
        )
    with stage("write to the store"):
        return store.write(path, voxels, record)


def note_crash(scan: Scan, path: Path | None, how: str) -> BadScan:
    """The scan whose reading ended its process; remembered at its place in the store, until its files change.

    Args:
        scan: the scan.
        path: its place in the store; None where the system ended the process: the next start tries it again.
        how: how the process ended, continuing "the process that read it …".
    """
    if path is not None:
        write_whole(_mark(path), how)
        return _crashed(scan, how)
    return BadScan(
        _name(scan),
        f"the process that read it {how}, also when it was tried alone: this machine has too little memory for it",
        "Prepare it on a larger machine; it is tried again at the next start",
    )


def ended(scan: Scan, how: str) -> BadScan:
    """The scan whose reading ended its process, where nothing is kept of it: the next run tries it again.

    Args:
        scan: the scan.
        how: how the process ended, continuing "the process that read it …".
    """
    then = "Export or download the scan again, or use a machine with more memory"
    return BadScan(_name(scan), f"the process that read it {how}, also when it was tried alone", then)


def place_of(kind: str, scan: Scan, root: Path, folder: Path, preparation: Preparation) -> Path:
    """The scan's place in the store.

    Raises:
        BadScan: a file has gone since the site was listed.
    """
    return store.place(folder, store.key(scan, root, (kind, reader(kind).READER_VERSION), preparation))


def _mark(path: Path) -> Path:
    return path.with_suffix(".crashed")


def _crashed(scan: Scan, how: str) -> BadScan:
    return BadScan(
        _name(scan),
        f"the process that read it {how}: a file of it is damaged, or its decoder has a fault",
        "Export or download the scan again; it is not tried again until its files change",
    )


def _made(volume: Volume, preparation: Preparation, examine: Examine) -> tuple[NDArray[Any], dict[str, Any]]:
    """The prepared voxels, and what is kept beside them; the volume's own are no longer what they were."""
    with stage("measure and examine"):
        facts, forensics = {**measure(volume), **_assumed(volume, preparation)}, to_json(examine(volume.voxels))
    with stage("prepare"):
        voxels, notes = prepare(volume, preparation, overwrite=True)
    return voxels, {"facts": facts, "notes": [*volume.notes, *notes], "forensics": forensics}


def prepared_as(preparation: Preparation, facts: Mapping[str, Fact]) -> Preparation:
    """The preparation of a scan with these facts: with the window that its site declares for relative values."""
    window = declared_window(facts)
    return preparation if window is None else replace(preparation, relative_window=window)


def _assumed(volume: Volume, preparation: Preparation) -> dict[str, Fact]:
    """The window by which relative values are turned into HU, so that the audit can compare it with the one it sees."""
    if volume.units != "relative" or preparation.encoding != "hu":
        return {}
    return dict(zip(("window_low", "window_high"), preparation.relative_window, strict=True))


def _name(scan: Scan) -> str:
    return str(scan.files[0]) if scan.files else f"{scan.site}/{scan.scan}"
