"""One odd thing beside good scans is a row or is passed over, and never the end of a site; with a table and without."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from elsewhere.errors import BadScan
from elsewhere.scans.dicom import write_series
from elsewhere.scans.labels import LabelRow, write_labels
from elsewhere.scans.nifti import write_nifti
from elsewhere.scans.sites import dicom, images, volumes
from elsewhere.scans.slices import encode_slice
from elsewhere.scans.volume import Volume

END = {dicom: ".dcm", volumes: ".nii.gz", images: ".png"}
KINDS = pytest.mark.parametrize("site", list(END), ids=lambda site: site.__name__.rpartition(".")[2])


def hu(seed: int = 0) -> np.ndarray:
    voxels = np.full((8, 40, 40), -1000, np.int16)
    voxels[:, 5:35, 5:35] = np.random.default_rng(seed).integers(0, 80, (8, 30, 30))
    voxels[:, 10:30, 8:18] = -850
    return voxels


def good(root: Path, site: ModuleType) -> None:
    """Two scans, a and b, and their table."""
    for i, name in enumerate("ab"):
        volume = Volume(hu(i), "HU", (2.0, 0.7, 0.7), 0)
        if site is dicom:
            write_series(root / name, volume, patient=name, study_uid=f"1.{i + 1}", series_uid=f"1.{i + 1}.1", facts={})
        elif site is volumes:
            write_nifti(root / f"{name}.nii.gz", volume)
        else:
            (root / name).mkdir(parents=True)
            for z, picture in enumerate(hu(i)):
                encode_slice(root / name / f"{z}.png", ((picture + 1000) // 8).astype(np.uint8))
    end = ".nii.gz" if site is volumes else ""
    write_labels(root / "labels.csv", [LabelRow(n, i, path=f"{n}{end}", scan=n) for i, n in enumerate("ab")])


def raw(content: bytes, name: str = "odd") -> Callable[[Path, str], object]:
    def write(root: Path, end: str) -> None:
        (root / f"{name}{end}").parent.mkdir(exist_ok=True)
        (root / f"{name}{end}").write_bytes(content)

    return write


def bind(root: Path, end: str) -> None:
    here = os.getcwd()
    os.chdir(root)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"s{end}")
    finally:
        os.chdir(here)


def latin(root: Path, end: str) -> None:
    (Path(os.fsdecode(os.fsencode(root) + b"/M\xfcller" + end.encode()))).write_bytes(b"damaged")


def deep(root: Path, end: str) -> None:
    folder = root / "/".join(["d" * 100] * 20)
    folder.mkdir(parents=True)
    (folder / f"x{end}").write_bytes(b"damaged")


def forbidden(root: Path, end: str) -> None:
    (root / f"shut{end}").write_bytes(b"damaged")
    (root / f"shut{end}").chmod(0)


THINGS: dict[str, Callable[[Path, str], object]] = {
    "empty": raw(b""),
    "zeros": raw(bytes(100_000)),
    "ten bytes": raw(b"0123456789"),
    "text": raw(b"patient,label\n1,2\n" * 50),
    "noise": raw(np.random.default_rng(0).bytes(50_000)),
    "a DICOM preamble alone": raw(bytes(128) + b"DICM"),
    "a gzip start": raw(b"\x1f\x8b\x08\0" + bytes(20)),
    "a picture's start": raw(b"\x89PNG\r\n\x1a\n" + bytes(9)),
    "a TIFF without pages": raw(b"II*\0\0\0\0\0"),
    "an archive": raw(b"PK\x03\x04" + bytes(200)),
    "a Mac's shadow": raw(b"\0\x05\x16\x07", "._a"),
    "a name of 255 bytes": raw(b"damaged", "n" * 247),
    "a name with a line break": raw(b"damaged", "two\nlines"),
    "a name with brackets": raw(b"damaged", "[/old] [thorax]"),
    "a name with a formula": raw(b"damaged", "=1+1"),
    "a name with percent signs": raw(b"damaged", "100%s %d {0}"),
    "a name that is no UTF-8": latin,
    "a folder called like a file": lambda root, end: (root / f"folder{end}").mkdir(),
    "a pipe": lambda root, end: os.mkfifo(root / f"pipe{end}"),
    "a socket": bind,
    "a link to itself": lambda root, end: (root / f"loop{end}").symlink_to(f"loop{end}"),
    "a link to nowhere": lambda root, end: (root / f"gone{end}").symlink_to("nowhere"),
    "a link to its own folder": lambda root, _: (root / "again").symlink_to(root, target_is_directory=True),
    "a link to a device": lambda root, end: (root / f"zero{end}").symlink_to("/dev/zero"),
    "a path of 2000 letters": deep,
    "a file without rights": forbidden,
}


@KINDS
@pytest.mark.parametrize("thing", THINGS)
def test_an_odd_thing_beside_good_scans(tmp_path: Path, site: ModuleType, thing: str) -> None:
    root = tmp_path / "site"
    good(root, site)
    THINGS[thing](root, END[site])
    found = site.find(root, "here")
    assert [scan.patient for scan in found.scans] == ["a", "b"]
    alone = site.find_unlabelled(root, "here")
    assert len({scan.scan for scan in alone.scans}) == len(alone.scans) >= 2
    read = 0
    for scan in (*found.scans, *alone.scans):
        with suppress(BadScan):
            read += site.read(scan).voxels.shape == (8, 40, 40)
    assert read == 4


@KINDS
@pytest.mark.parametrize(
    "row",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../b",
        "nowhere",
        "x" * 5000,
        "y" * 5000 + "/a",
        "b/" + "9" * 5000,
        "M\udcfcller".encode(errors="surrogateescape").decode("latin-1"),
        "[/a]",
        "%s",
        "=1+1",
        "a\\b",
    ],
    ids=lambda row: row[:12],
)
def test_an_odd_row_beside_good_ones(tmp_path: Path, site: ModuleType, row: str) -> None:
    good(tmp_path, site)
    with (tmp_path / "labels.csv").open("a", encoding="utf-8") as file:
        columns = (tmp_path / "labels.csv").read_text().splitlines()[0].split(",")
        cells = {"patient_id": "z", "label": "1", "path": f'"{row}"', "scan_id": "z"}
        file.write(",".join(cells.get(name, "") for name in columns) + "\n")
    found = site.find(tmp_path, "here")
    assert [scan.patient for scan in found.scans][:2] == ["a", "b"]
    assert [bad.where for bad in found.bad] == ["z"]
    assert found.bad[0].next_step
