"""NIfTI, MHA/MHD or NRRD files and a labels table in; volumes out. For any hospital, and for STOIC2021's layout.

`<root>/<any depth>/<file>.nii.gz | .nii | .mha | .mhd | .nrrd` with `labels.csv` (`patient_id, label, path`), or with
STOIC2021's `metadata/reference.csv` (`PatientID, probCOVID, probSevere`), whose ids are the files' names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.labels import LabelRow, find_table, match, read_labels, row_of, unlabelled, write_labels
from elsewhere.scans.nifti import Grid, canonical, check_dimensions, read_nifti, unreadable, write_nifti
from elsewhere.scans.scan import Fact, Found, Scan
from elsewhere.scans.slices import walk
from elsewhere.scans.tables import known, read_rows
from elsewhere.scans.units import DeclaredUnits, check_declared, with_units
from elsewhere.scans.volume import Volume

READER_VERSION = 1

NIFTI = (".nii", ".nii.gz")
ITK = (".mha", ".mhd", ".nrrd")
DATA_OF_MHD = (".raw", ".zraw")
STOIC_TABLE = Path("metadata") / "reference.csv"


def find(
    root: Path,
    site: str,
    labels: Path | None = None,
    *,
    units: DeclaredUnits = "auto",
    offset: float | None = None,
) -> Found:
    """List the volumes that the labels table names.

    Args:
        root: folder of the volumes, at any depth.
        site: name of the site.
        labels: the labels table; else `labels.csv` or `labels.xlsx` in the root, else STOIC's `metadata/reference.csv`.
        units: "auto" takes values for HU when the lowest is at most −500 and refuses others; "HU", "ct_number"
            (HU + offset) and "relative" are taken as said.
        offset: what to subtract to get HU, for "HU" (0) and "ct_number" (1024).

    Raises:
        BadSite: no volumes, no table, or a table that is wrong.
    """
    root, declared = Path(root), check_declared(units, offset, site)
    files = _walk_volumes(root)
    if not files:
        raise _nothing(root)
    table, rows, facts = _read_table(root, labels, site)
    matched = match(rows, files, table, _look_up(files))
    scans = [row.as_scan(site, paths, {**facts.get(row.patient, {}), **declared}) for row, paths in matched.pairs]
    return Found(tuple(scans), matched.bad, matched.notes)


def _nothing(root: Path) -> BadSite:
    what = f"holds no {', '.join((*NIFTI, *ITK))} file" if root.is_dir() else "no such folder"
    return BadSite(root, what, "Point `root` at the folder of the volumes (archives must be unpacked)")


def read(scan: Scan) -> Volume:
    """The volume of one file, re-oriented to the canonical axes. Raises BadScan."""
    path = scan.files[0]
    grid = read_nifti(path) if _extension(path.name) in NIFTI else _read_itk(path)
    return with_units(grid.voxels, dict(scan.facts), path, grid.spacing, grid.notes)


def write(root: Path, scan: Scan, volume: Volume) -> None:
    """Write `<scan id><extension>`; fact `extension` (.nii.gz) says how. Raises BadScan without spacing."""
    path = Path(root) / _path_of(scan)
    path.parent.mkdir(parents=True, exist_ok=True)
    if _extension(path.name) in NIFTI:
        write_nifti(path, volume)
    else:
        _write_itk(path, volume)


def write_tables(root: Path, scans: list[Scan]) -> None:
    """Write `labels.csv`."""
    write_labels(Path(root) / "labels.csv", [row_of(scan, path=_path_of(scan)) for scan in scans])


def _path_of(scan: Scan) -> str:
    return f"{scan.scan}{scan.facts.get('extension') or '.nii.gz'}"


# Files and table ---------------------------------------------------------------------------------------------------


def _walk_volumes(root: Path) -> dict[str, tuple[Path, ...]]:
    """Path below the root → the volume's files."""
    found: dict[str, tuple[Path, ...]] = {}
    for folder, names in walk(root) if root.is_dir() else ():
        for name in names:
            if extension := _extension(name):
                data = tuple(folder / (name[:-4] + end) for end in DATA_OF_MHD if name[:-4] + end in names)
                files = (folder / name, *(data if extension == ".mhd" else ()))
                found[(folder / name).relative_to(root).as_posix()] = files
    return found


def _extension(name: str) -> str:
    """The volume extension of a file name, or "" when it has none."""
    return next((end for end in (*NIFTI, *ITK) if name.lower().endswith(end)), "")


def _look_up(files: Mapping[str, object]) -> Callable[[LabelRow], str | None]:
    """Row → file: its path with or without extension, or, without a path, a file named after the patient."""
    without: dict[str, str] = {}
    by_stem: dict[str, str] = {}
    for name in files:
        bare = name[: -len(_extension(name))]
        without.setdefault(bare, name)
        by_stem.setdefault(bare.rpartition("/")[2], name)

    def look_up(row: LabelRow) -> str | None:
        if not row.path:
            return by_stem.get(row.patient)
        return row.path if row.path in files else without.get(row.path)

    return look_up


def _read_table(
    root: Path, labels: Path | None, site: str
) -> tuple[Path, list[LabelRow], Mapping[str, Mapping[str, Fact]]]:
    """The table's place, its rows, and STOIC's severity by patient."""
    stoic = Path(labels) if labels is not None else root / STOIC_TABLE
    if stoic.name != STOIC_TABLE.name or not stoic.is_file() or (labels is None and (root / "labels.csv").is_file()):
        table = find_table(root, labels, site)
        return table, read_labels(table, site, keys=("path", "patient_id")), {}
    synonyms = {"PatientID": "patient_id", "probCOVID": "label"}
    rows = read_labels(stoic, site, keys=("patient_id",), ignore=("probSevere",), synonyms=synonyms)
    severe = {row["PatientID"]: known(row.get("probSevere")) for row in read_rows(stoic, ("PatientID",))}
    facts: dict[str, dict[str, Fact]] = {k: {"severe": None if v is None else float(v) > 0} for k, v in severe.items()}
    return stoic, [replace(row, scan=row.patient) for row in rows], facts


# MHA and NRRD ------------------------------------------------------------------------------------------------------


def _read_itk(path: Path) -> Grid:
    import SimpleITK  # noqa: PLC0415  (276 MB: only who reads MHA or NRRD loads it)

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise unreadable(path, RuntimeError(reason)) from error
    check_dimensions(image.GetSize(), path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        what = f"holds {image.GetNumberOfComponentsPerPixel()} numbers a voxel, expected 1"
        raise BadScan(path, what, "Save the CT as one grey volume")
    if path.suffix.lower() == ".nrrd" and "NRRD_space" not in image.GetMetaDataKeys():
        what = "tells no orientation (its header has no 'space')"
        raise BadScan(path, what, "Convert it from DICOM again, or add space and space directions to its header")
    directions = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ directions  # ITK counts towards left and posterior
    values = SimpleITK.GetArrayViewFromImage(image).transpose(2, 1, 0)
    parts = (values[:, :, plane : plane + 1] for plane in range(values.shape[2]))
    return canonical(parts, values.shape, values.dtype, affine, path)


def _write_itk(path: Path, volume: Volume) -> None:
    import SimpleITK  # noqa: PLC0415

    if volume.spacing is None:
        raise BadScan(path, "has no spacing, which the format must tell", "Give the volume its spacing")
    image: Any = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.voxels[::-1]))
    image.SetSpacing(tuple(float(mm) for mm in reversed(volume.spacing)))
    SimpleITK.WriteImage(image, str(path))


# Without a table --------------------------------------------------------------------------------------------------


def find_unlabelled(root: Path, site: str, *, units: DeclaredUnits = "auto", offset: float | None = None) -> Found:
    """List all volumes, without labels, each of a patient of its own; the options are those of `find`.

    Raises:
        BadSite: no volumes.
    """
    declared, files = check_declared(units, offset, site), _walk_volumes(Path(root))
    if not files:
        raise _nothing(Path(root))
    return Found(unlabelled(site, files, declared))
