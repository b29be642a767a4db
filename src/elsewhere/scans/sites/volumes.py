"""NIfTI, MHA/MHD or NRRD files and a labels table in; volumes out. For any hospital, and for STOIC2021's layout.

`<root>/<any depth>/<file>.nii.gz | .nii | .mha | .mhd | .nrrd | .nhdr` with `labels.csv` (`patient_id, label, path`),
or with STOIC2021's `metadata/reference.csv` (`PatientID, probCOVID, probSevere`), whose ids are the files' names.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans import metaimage, nrrd
from elsewhere.scans.label_columns import TableOptions
from elsewhere.scans.labels import LabelRow, find_table, match, read_labels, row_of, unlabelled, write_labels
from elsewhere.scans.nifti import read_nifti, write_nifti
from elsewhere.scans.scan import Fact, Found, Scan
from elsewhere.scans.slices import no_such_folder, walk
from elsewhere.scans.tables import known, read_rows
from elsewhere.scans.units import DeclaredUnits, check_declared, check_window, with_units
from elsewhere.scans.values import form
from elsewhere.scans.volume import Volume

READER_VERSION = 4

NIFTI = (".nii", ".nii.gz")
METAIMAGE = (".mha", ".mhd")
NRRD = (".nrrd", ".nhdr")
ENDS = (*NIFTI, *METAIMAGE, *NRRD)
MASK = re.compile(r"(^|[^a-z])(mask|seg|segmentation|label|labelmap|lesion|lesions|annotation|roi)s?([^a-z]|$)")
"""Names of what is drawn over a scan."""

OTHERS = {
    ".npy": "a .npy file tells neither spacing nor orientation: save the volumes as NIfTI, with their affine (nibabel)",
    ".npz": "a .npz file tells neither spacing nor orientation: save the volumes as NIfTI, with their affine (nibabel)",
    ".dcm": 'for DICOM write kind = "dicom"',
    ".png": 'for folders of slices write kind = "images"',
    ".jpg": 'for folders of slices write kind = "images"',
    ".tif": 'for folders of slices write kind = "images"',
    ".hdr": "convert .hdr/.img pairs to .nii.gz",
    ".zip": "unpack the archives first",
    ".tar": "unpack the archives first",
    ".gz": "unpack the archives first",
    ".rar": "unpack the archives first",
    ".7z": "unpack the archives first",
}
"""What to do with files that this kind does not read, by their extension."""
STOIC_TABLE = Path("metadata") / "reference.csv"


def find(
    root: Path,
    site: str,
    labels: Path | None = None,
    *,
    units: DeclaredUnits = "auto",
    offset: float | None = None,
    window: tuple[float, float] | None = None,
    columns: dict[str, str] | None = None,
    positive: tuple[str, ...] = (),
    negative: tuple[str, ...] = (),
) -> Found:
    """List the volumes that the labels table names.

    Args:
        root: folder of the volumes, at any depth.
        site: name of the site.
        labels: the labels table; else `labels.csv` or `labels.xlsx` in the root, else STOIC's `metadata/reference.csv`.
        units: "auto" takes values for HU when the lowest is at most −500 and refuses others; "HU", "ct_number"
            (HU + offset) and "relative" are taken as said.
        offset: what to subtract to get HU, for "HU" (0) and "ct_number" (1024).
        window: (low, high) HU that this site's relative values were cut with, where it is known; else
            `preparation.relative_window` is assumed.
        columns: name of a labels table's column -> its name in this site's; "" for one that is not to be read.
        positive: labels that are positive; alone, all others are negative.
        negative: labels that are negative.

    Raises:
        BadSite: no volumes, no table, or a table that is wrong.
    """
    root, declared = Path(root), check_declared(units, offset, site) | check_window(window, units, site)
    unread: list[BadScan] = []
    files, others = _walk_volumes(root, unread)
    if not files:
        raise _nothing_found(root, others)
    notes: list[str] = []
    table, rows, facts = _read_table(root, labels, site, TableOptions(columns or {}, positive, negative), notes)
    matched = match(rows, files, table, _look_up(files, others))
    scans = [row.as_scan(site, paths, {**facts.get(row.patient, {}), **declared}) for row, paths in matched.pairs]
    return Found(tuple(scans), (*matched.bad, *unread), (*matched.notes, *notes), matched.missing)


def name_scans(root: Path) -> list[str]:
    """Paths below the root, as a labels table names them, of all volumes but masks that lie beside their volume."""
    names = list(_walk_volumes(Path(root), [])[0])
    return [name for name in names if not _is_mask_beside(name, names)]


def read(scan: Scan) -> Volume:
    """The volume of one file, re-oriented to the canonical axes. Raises BadScan."""
    path = scan.files[0]
    extension = _extension(path.name)
    grid = (
        read_nifti(path)
        if extension in NIFTI
        else metaimage.read_metaimage(path)
        if extension in METAIMAGE
        else nrrd.read_nrrd(path)
    )
    return with_units(grid.voxels, dict(scan.facts), path, grid.spacing, grid.notes)


def write(root: Path, scan: Scan, volume: Volume) -> None:
    """Write `<scan id><extension>`; fact `extension` (.nii.gz) says how. Raises BadScan without spacing."""
    path = Path(root) / _path_of(scan)
    path.parent.mkdir(parents=True, exist_ok=True)
    extension = _extension(path.name)
    if extension in NIFTI:
        write_nifti(path, volume)
    elif extension in METAIMAGE:
        metaimage.write_metaimage(path, volume)
    else:
        nrrd.write_nrrd(path, volume)


def write_tables(root: Path, scans: list[Scan]) -> None:
    """Write `labels.csv`."""
    write_labels(Path(root) / "labels.csv", [row_of(scan, path=_path_of(scan)) for scan in scans])


def _path_of(scan: Scan) -> str:
    return f"{scan.scan}{scan.facts.get('extension') or '.nii.gz'}"


# Files and table ---------------------------------------------------------------------------------------------------


def _walk_volumes(root: Path, unread: list[BadScan]) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """Path below the root → the volume's files, the header first; and the names of all other files."""
    found: dict[str, tuple[Path, ...]] = {}
    others: list[str] = []
    for folder, names in walk(root, unread) if root.is_dir() else ():
        for name in names:
            below = (folder / name).relative_to(root).as_posix()
            if _extension(name):
                found[below] = _files(folder / name)
            else:
                others.append(below)
    return found, others


def _files(path: Path) -> tuple[Path, ...]:
    """A volume's file, and the data file that its header names: the store must know when either changes."""
    format_ = {".mha": metaimage, ".mhd": metaimage, ".nhdr": nrrd, ".nrrd": nrrd}.get(path.suffix.lower())
    try:
        data = format_.data_file(path) if format_ else None
    except BadScan:  # said again, and listed, when the scan is read
        data = None
    return (path,) if data is None else (path, data)


def _extension(name: str) -> str:
    """The volume extension of a file name, or "" when it has none."""
    return next((end for end in ENDS if name.lower().endswith(end)), "")


def _nothing_found(root: Path, others: list[str]) -> BadSite:
    if not root.is_dir():
        return no_such_folder(root)
    ends = Counter(Path(name).suffix.lower() for name in others)
    known = [end for end, _ in ends.most_common() if end in OTHERS]
    what = f"holds no {', '.join(ENDS)} file"
    if not known:
        return BadSite(root, what, "Point `root` at the folder of the volumes (archives must be unpacked)")
    number = f"{ends[known[0]]} {known[0]} file{'s' if ends[known[0]] > 1 else ''}"
    return BadSite(root, f"{what}, but {number}", OTHERS[known[0]][0].upper() + OTHERS[known[0]][1:])


def _is_mask_beside(name: str, names: Collection[str]) -> bool:
    """Whether a name says mask, and another name is the same without it."""
    bare = name[: -len(_extension(name))].lower()
    others = {other[: -len(_extension(other))].lower() for other in names}
    rest = MASK.sub("", bare.rpartition("/")[2]).strip("-_. ")
    folder = bare.rpartition("/")[0]
    return rest != bare.rpartition("/")[2] and (f"{folder}/{rest}" if folder else rest) in others - {bare}


def _look_up(files: Mapping[str, object], others: Collection[str]) -> Callable[[LabelRow], str | None]:
    """Row → file: its path with or without extension, or, without a path, a file named after the patient.

    Case and composed accents may differ. Raises BadScan where several files fit, or where the file is there and of a
    kind that is not read.
    """
    without: dict[tuple[str, bool], list[str]] = defaultdict(list)  # the name or, True, what its spellings share
    by_stem: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for name in files:
        bare = name[: -len(_extension(name))]
        for there, spelling in ((without, bare), (by_stem, bare.rpartition("/")[2])):
            there[spelling, False].append(name)
            there[form(spelling), True].append(name)
    unreadable = set(others)

    def look_up(row: LabelRow) -> str | None:
        if row.path in files:
            return row.path
        wanted, there = (row.path, without) if row.path else (row.patient, by_stem)
        fitting = there.get((wanted, False)) or there.get((form(wanted), True), [])
        if len(fitting) > 1:
            what = f"'{row.path or row.patient}' fits {len(fitting)} files: {', '.join(fitting[:5])}"
            raise BadScan(row.scan, what, "Give the table the whole path, with its extension")
        if not fitting and row.path in unreadable:
            end = Path(row.path).suffix.lower()
            next_step = OTHERS.get(end, f"save it as one of {', '.join(ENDS)}")
            raise BadScan(row.scan, f"is a {end or 'file without extension'}, which is not read as a volume", next_step)
        return fitting[0] if fitting else None

    return look_up


def _read_table(
    root: Path, labels: Path | None, site: str, options: TableOptions, notes: list[str]
) -> tuple[Path, list[LabelRow], Mapping[str, Mapping[str, Fact]]]:
    """The table's place, its rows, and STOIC's severity by patient."""
    stoic = Path(labels) if labels is not None else root / STOIC_TABLE
    if stoic.name != STOIC_TABLE.name or not stoic.is_file() or (labels is None and (root / "labels.csv").is_file()):
        table = find_table(root, labels, site)
        rows = read_labels(table, site, keys=("path", "patient_id"), options=options, root=root, notes=notes)
        return table, rows, {}
    synonyms = {"PatientID": "patient_id", "probCOVID": "label"}
    rows = read_labels(stoic, site, keys=("patient_id",), ignore=("probSevere",), synonyms=synonyms)
    severe = {row["PatientID"]: known(row.get("probSevere")) for row in read_rows(stoic, ("PatientID",))}
    facts: dict[str, dict[str, Fact]] = {k: {"severe": None if v is None else float(v) > 0} for k, v in severe.items()}
    return stoic, [replace(row, scan=row.patient) for row in rows], facts


# Without a table --------------------------------------------------------------------------------------------------


def find_unlabelled(
    root: Path,
    site: str,
    *,
    units: DeclaredUnits = "auto",
    offset: float | None = None,
    window: tuple[float, float] | None = None,
) -> Found:
    """List all volumes but masks beside theirs, without labels, each of a patient of its own; options as in `find`.

    Raises:
        BadSite: no volumes.
    """
    root, unread = Path(root), list[BadScan]()
    declared = check_declared(units, offset, site) | check_window(window, units, site)
    files, others = _walk_volumes(root, unread)
    if not files:
        raise _nothing_found(root, others)
    names = name_scans(root)
    masks = [name for name in files if name not in set(names)]
    told = [f"{len(masks)} masks beside their volumes, by their names, are not read, first {masks[0]}"] if masks else []
    return Found(unlabelled(site, {name: files[name] for name in names}, declared), tuple(unread), tuple(told))
