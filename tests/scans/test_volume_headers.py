"""NIfTI, MetaImage and NRRD headers: units, orientation, data files, sizes and checksums, on both sides."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from elsewhere.errors import BadScan
from elsewhere.scans.grid import Grid
from elsewhere.scans.metaimage import read_metaimage, write_metaimage
from elsewhere.scans.nifti import read_nifti, write_nifti
from elsewhere.scans.nrrd import read_nrrd, write_nrrd
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import volumes
from elsewhere.scans.store import key
from elsewhere.scans.volume import Preparation, Volume

SPACING = (2.0, 0.7, 0.9)


def hu(shape: tuple[int, int, int] = (3, 4, 5)) -> np.ndarray:
    return np.random.default_rng(0).integers(-1024, 3000, shape).astype(np.int16)


def nifti(path: Path, voxels: np.ndarray, **changes: object) -> Path:
    """As `write_nifti`, then header fields set as told."""
    write_nifti(path, Volume(voxels, "HU", SPACING, 0))
    image = nibabel.load(path)
    image.header["vox_offset"] = 352
    for name, value in changes.items():
        image.header[name] = value
    image.header["scl_slope"], image.header["scl_inter"] = changes.get("scl_slope", 1), changes.get("scl_inter", 0)
    block = image.header.binaryblock
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    content = block + content[len(block) :]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def text(path: Path, old: str, new: str) -> Path:
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


def mha(path: Path, voxels: np.ndarray | None = None) -> Path:
    write_metaimage(path, Volume(hu() if voxels is None else voxels, "HU", SPACING, 0))
    return path


def nrrd(path: Path, voxels: np.ndarray | None = None) -> Path:
    write_nrrd(path, Volume(hu() if voxels is None else voxels, "HU", SPACING, 0))
    return path


# Units of length and orientation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "factor"), [(1, 1e-3), (2, 1.0), (3, 1e3), (0, 1.0)])
def test_lengths_of_nifti_become_millimetres(tmp_path: Path, code: int, factor: float) -> None:
    path = tmp_path / "a.nii"
    affine = np.diag([-0.9 * factor, -0.7 * factor, -2.0 * factor, 1.0])
    image = nibabel.Nifti1Image(hu().transpose(2, 1, 0), affine)
    image.set_sform(affine, 1)
    image.header["xyzt_units"] = code | 8  # and seconds
    nibabel.save(image, path)
    grid = read_nifti(path)
    assert (grid.spacing, grid.notes) == (SPACING, ())
    assert np.array_equal(grid.voxels, hu())


def test_a_unit_that_makes_no_ct_is_a_wrong_word(tmp_path: Path) -> None:
    grid = read_nifti(nifti(tmp_path / "a.nii", hu(), xyzt_units=1))
    assert grid.spacing == SPACING
    assert grid.notes == ("voxels of 0.9 × 0.7 × 2 m are none of a CT; their lengths were taken as mm",)
    grid = read_nifti(nifti(tmp_path / "b.nii", hu(), xyzt_units=5))
    assert grid.notes == ("lengths are in 'unit 5', which is no known unit; 0.9 × 0.7 × 2 were taken as mm",)


@pytest.mark.parametrize(("unit", "factor"), [("um", 1000), ("mm", 1), ("cm", 0.1)])
def test_lengths_of_metaimage_and_nrrd_become_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    slice_, row, column = (mm * factor for mm in SPACING)
    path = text(mha(tmp_path / "a.mha"), "ElementSpacing = 0.9 0.7 2.0", f"ElementSpacing = {column} {row} {slice_}")
    text(path, "NDims = 3", f"NDims = 3\nDistanceUnits = {unit}")
    assert (read_metaimage(path).spacing, read_metaimage(path).notes) == (SPACING, ())
    path = nrrd(tmp_path / "a.nrrd")
    text(path, "(0.9,0,0) (0,0.7,0) (0,0,2.0)", f"({column},0,0) (0,{row},0) (0,0,{slice_})")
    text(path, "kinds:", f'space units: "{unit}" "{unit}" "{unit}"\nkinds:')
    assert (read_nrrd(path).spacing, read_nrrd(path).notes) == (SPACING, ())


def test_qform_against_sform(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", Volume(hu(), "HU", SPACING, 0))
    image = nibabel.load(tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii").notes == ()  # both there, and one
    turned = image.affine.copy()
    turned[0] *= -1
    image.set_qform(turned, code=1)
    nibabel.save(image, tmp_path / "b.nii")
    (note,) = read_nifti(tmp_path / "b.nii").notes
    assert note == "sform (LAS, 0.9 × 0.7 × 2) and qform (RAS, 0.9 × 0.7 × 2) disagree; the sform was taken"
    image.set_qform(image.affine * [[1, 1, 1.5, 1]], code=1)
    nibabel.save(image, tmp_path / "c.nii")
    assert "qform (LAS, 0.9 × 0.7 × 3)" in read_nifti(tmp_path / "c.nii").notes[0]
    image = nibabel.load(tmp_path / "a.nii")
    image.header["vox_offset"] = 352
    for row in ("srow_x", "srow_y", "srow_z"):
        image.header[row] = 0
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "d.nii").write_bytes(image.header.binaryblock + content[348:])
    grid = read_nifti(tmp_path / "d.nii")
    assert grid.notes == ("its sform has no volume; the qform was taken",)
    assert np.array_equal(grid.voxels, hu())


def test_an_identity_affine_is_noted(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(hu(), np.eye(4))
    nibabel.save(image, tmp_path / "a.nii")
    assert "its affine is the identity" in read_nifti(tmp_path / "a.nii").notes[0]
    image = nibabel.Nifti1Image(hu(), np.diag([1, 1, 1.5, 1]))
    nibabel.save(image, tmp_path / "b.nii")
    assert read_nifti(tmp_path / "b.nii").notes == ()
    path = mha(tmp_path / "a.mha")
    text(path, "ElementSpacing = 0.9 0.7 2.0", "ElementSpacing = 1 1 1")
    assert read_metaimage(path).notes == ()  # 1 mm, but placed
    content = path.read_bytes()
    start, end = content.index(b"Offset"), content.index(b"CenterOf")
    path.write_bytes(content[:start] + b"Offset = 0 0 0\n" + content[end:])
    assert "its affine is the identity" in read_metaimage(path).notes[0]


def test_axes_of_length_one_say_nothing(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(hu().transpose(2, 1, 0)[..., None, None], np.diag([-0.9, -0.7, -2.0, 1.0]))
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert np.array_equal(read_nifti(tmp_path / "a.nii.gz").voxels, hu())
    path = mha(tmp_path / "a.mha")
    text(path, "NDims = 3", "NDims = 4")
    text(path, "DimSize = 5 4 3", "DimSize = 5 4 3 1")
    text(path, "ElementSpacing = 0.9 0.7 2.0", "ElementSpacing = 0.9 0.7 2.0 1")
    text(path, "TransformMatrix = 1 0 0 0 1 0 0 0 1", "TransformMatrix = 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")
    assert np.array_equal(read_metaimage(path).voxels, hu())
    path = nrrd(tmp_path / "a.nrrd")
    text(path, "dimension: 3", "dimension: 4")
    text(path, "sizes: 5 4 3", "sizes: 1 5 4 3")
    text(path, "space directions: ", "space directions: none ")
    text(path, "kinds: ", "kinds: list ")
    assert np.array_equal(read_nrrd(path).voxels, hu())
    text(path, "sizes: 1 5 4 3", "sizes: 3 5 4 1")
    with pytest.raises(BadScan, match="holds 3 numbers a voxel, expected 1"):
        read_nrrd(path)


@pytest.mark.parametrize("space", ["3D-right-handed", "scanner-xyz", "left-posterior-superior-time"])
def test_spaces_without_anatomy_are_refused(tmp_path: Path, space: str) -> None:
    path = text(nrrd(tmp_path / "a.nrrd"), "left-posterior-superior", space)
    with pytest.raises(BadScan, match=rf"tells no orientation of the patient \(its space is '{space}'\)"):
        read_nrrd(path)
    path = text(nrrd(tmp_path / "b.nrrd"), "left-posterior-superior", "RAS")
    assert np.array_equal(read_nrrd(path).voxels, hu()[:, ::-1, ::-1])


# What a header has lost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["NDims", "DimSize", "ElementSpacing", "ElementType", "TransformMatrix"])
def test_a_lost_line_of_metaimage_is_refused(tmp_path: Path, line: str) -> None:
    path = text(mha(tmp_path / "a.mha"), f"\n{line} =", "\nComment =")
    with pytest.raises(BadScan, match=rf"has no line {line}"):
        read_metaimage(path)


@pytest.mark.parametrize("field", ["type", "dimension", "sizes", "space directions", "encoding", "endian"])
def test_a_lost_field_of_nrrd_is_refused(tmp_path: Path, field: str) -> None:
    path = text(nrrd(tmp_path / "a.nrrd"), f"\n{field}:", "\ncontent:")
    with pytest.raises(BadScan, match=r"has no field|tells no byte order"):
        read_nrrd(path)


def test_other_words_that_change_values_are_refused(tmp_path: Path) -> None:
    path = text(mha(tmp_path / "a.mha"), "NDims = 3", "NDims = 3\nElementToIntensityFunctionSlope = 0.5")
    with pytest.raises(BadScan, match="asks for its values to be rescaled"):
        read_metaimage(path)
    path = text(nrrd(tmp_path / "a.nrrd"), "endian:", "old min: -1024\nendian:")
    with pytest.raises(BadScan, match=r"were requantised \(old min: -1024\)"):
        read_nrrd(path)
    with pytest.raises(BadScan, match="scales its values by inf"):
        read_nifti(nifti(tmp_path / "a.nii", hu(), scl_slope=np.inf))
    with pytest.raises(BadScan, match=r"is the header of a pair \(\.hdr and \.img\)"):
        read_nifti(nifti(tmp_path / "b.nii", hu(), magic=b"ni1"))
    path = text(mha(tmp_path / "b.mha"), "NDims = 3", "NDims = 3\nDimSize = 4 4 4")
    with pytest.raises(BadScan, match="says DimSize twice: 4 4 4 and 5 4 3"):
        read_metaimage(path)


def test_dimensions_that_are_too_small_are_told(tmp_path: Path) -> None:
    path = text(mha(tmp_path / "a.mha"), "DimSize = 5 4 3", "DimSize = 5 4 2")
    with pytest.raises(BadScan, match=r"holds 40 bytes more than the 80 that its header promises"):
        read_metaimage(path)
    path = text(nrrd(tmp_path / "a.nrrd"), "sizes: 5 4 3", "sizes: 5 4 1")
    with pytest.raises(BadScan, match="bytes more than the 40"):
        read_nrrd(path)
    grid = read_nifti(nifti(tmp_path / "a.nii", hu(), dim=[3, 5, 4, 2, 1, 1, 1, 1]))
    assert grid.notes == ("40 bytes behind the last voxel are not read: its header may name too few slices",)


# Checksums ----------------------------------------------------------------------------------------------------------


def _packed_mha(path: Path) -> tuple[Path, int, Callable[[Path], Grid]]:
    content = text(mha(path, hu((20, 16, 16))), "CompressedData = False", "CompressedData = True").read_bytes()
    start = content.index(b"LOCAL\n") + 6
    path.write_bytes(content[:start] + zlib.compress(content[start:]))
    return path, start, read_metaimage


def _packed_nrrd(path: Path) -> tuple[Path, int, Callable[[Path], Grid]]:
    content = text(nrrd(path, hu((20, 16, 16))), "encoding: raw", "encoding: gzip").read_bytes()
    start = content.index(b"\n\n") + 2
    path.write_bytes(content[:start] + gzip.compress(content[start:]))
    return path, start + 10, read_nrrd


@pytest.mark.parametrize("make", [_packed_mha, _packed_nrrd])
def test_damage_in_compressed_data_is_refused(
    tmp_path: Path, make: Callable[[Path], tuple[Path, int, Callable[[Path], Grid]]]
) -> None:
    """Any byte of the stream, its checksum's own included."""
    path, start, read = make(tmp_path / "a")
    whole = path.read_bytes()
    assert np.array_equal(read(path).voxels, hu((20, 16, 16)))
    last = len(whole) - (4 if read is read_nrrd else 0) - 1  # gzip's last word is a length, looked at as well
    for at in [*np.random.default_rng(0).integers(start, last, 60), last]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(at) % 8
        path.write_bytes(bytes(damaged))
        with pytest.raises(BadScan, match="cannot be read"):
            read(path)
    path.write_bytes(whole[:-3])
    with pytest.raises(BadScan, match="end early"):
        read(path)


# Sizes, pipes, data files -------------------------------------------------------------------------------------------


def test_promises_are_compared_with_the_file_before_memory_is_taken(tmp_path: Path) -> None:
    huge = {
        read_nrrd: text(nrrd(tmp_path / "a.nrrd"), "sizes: 5 4 3", "sizes: 50000 500 100"),
        read_metaimage: text(mha(tmp_path / "a.mha"), "DimSize = 5 4 3", "DimSize = 50000 500 100"),
        read_nifti: nifti(tmp_path / "a.nii.gz", hu(), dim=[3, 30000, 500, 160, 1, 1, 1, 1]),
    }
    tracemalloc.start()
    for read, path in huge.items():
        with pytest.raises(BadScan, match="is cut short: the header promises"):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


def test_a_bomb_is_no_longer_than_the_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros deflate a thousand to one: what the file can hold, the ceiling still forbids."""
    path = nifti(tmp_path / "a.nii.gz", np.zeros((100, 200, 200), np.int16))
    assert read_nifti(path).voxels.shape == (100, 200, 200)
    monkeypatch.setenv("ELSEWHERE_LARGEST_SCAN_GB", "0.007")
    with pytest.raises(BadScan, match=r"ELSEWHERE_LARGEST_SCAN_GB"):
        read_nifti(path)
    monkeypatch.delenv("ELSEWHERE_LARGEST_SCAN_GB")
    small = nifti(tmp_path / "b.nii", hu()).read_bytes()
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(small + bytes(80 << 20)))  # behind the last voxel
    with pytest.raises(BadScan, match="bytes behind the last voxel that its header names"):
        read_nifti(tmp_path / "c.nii.gz")


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../secret.raw", "sub/../../secret.raw", "C:\\x.raw", "..\\secret.raw", "."]
)
@pytest.mark.parametrize("kind", ["mhd", "nhdr", "nrrd"])
def test_data_files_elsewhere_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    root = tmp_path / "site"
    root.mkdir()
    (tmp_path / "secret.raw").write_bytes(hu().tobytes())
    if kind == "mhd":
        path = text(mha(root / "a.mhd"), "ElementDataFile = a.raw", f"ElementDataFile = {name}")
    else:
        path = nrrd(root / f"a.{kind}")
        path.write_bytes(path.read_bytes().partition(b"\n\n")[0] + f"\ndata file: {name}\n".encode())
    (root / "labels.csv").write_text(f"patient_id,label,path\np1,1,{path.name}\n")
    (scan,) = volumes.find(root, "Lyon").scans
    assert scan.files == (path,)
    with pytest.raises(BadScan, match="is not beside it or below"):
        volumes.read(scan)


def _detached(root: Path, kind: str) -> tuple[Path, Path]:
    """(header, data) of a volume whose data file has another name."""
    if kind == "mhd":
        path = text(mha(root / "s.mhd"), "ElementDataFile = s.raw", "ElementDataFile = deep/voxels.bin")
        content = (root / "s.raw").read_bytes()
    else:
        path = nrrd(root / f"s.{kind}")
        header, _, content = path.read_bytes().partition(b"\n\n")
        path.write_bytes(header + b"\ndata file: deep/voxels.bin\n")
    (root / "deep").mkdir()
    (root / "deep" / "voxels.bin").write_bytes(content)
    (root / "labels.csv").write_text(f"patient_id,label,path\np1,1,{path.name}\n")
    return path, root / "deep" / "voxels.bin"


@pytest.mark.parametrize("kind", ["mhd", "nhdr", "nrrd"])
def test_the_stores_key_holds_the_data_file(tmp_path: Path, kind: str) -> None:
    header, data = _detached(tmp_path, kind)

    def name() -> str:
        (scan,) = volumes.find(tmp_path, "Lyon").scans
        assert scan.files == (header, data)
        assert np.array_equal(volumes.read(scan).voxels, hu())
        return key(scan, tmp_path, ("volumes", volumes.READER_VERSION), Preparation())

    before = name()
    assert name() == before
    os.utime(data, (1.6e9, 1.6e9))
    assert name() != before
    data.unlink()
    (scan,) = volumes.find(tmp_path, "Lyon").scans
    with pytest.raises(BadScan, match=r"voxels\.bin: cannot be"):
        key(scan, tmp_path, ("volumes", 2), Preparation())
    with pytest.raises(BadScan, match=r"voxels\.bin: cannot be read \(No such file"):
        volumes.read(scan)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    for name, read in (("a.nii", read_nifti), ("a.mha", read_metaimage), ("a.nrrd", read_nrrd)):
        os.mkfifo(tmp_path / name)
        with pytest.raises(BadScan, match="is no regular file"):
            read(tmp_path / name)
    mha(tmp_path / "s1.mha")
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np1,1,s1.mha\np2,0,a.nii\n")
    found = volumes.find(tmp_path, "Lyon")
    assert [scan.scan for scan in found.scans] == ["s1.mha"]


def test_links_that_lead_nowhere_and_locked_folders_are_rows(tmp_path: Path) -> None:
    mha(tmp_path / "s1.mha")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone.mha").symlink_to("nothing.mha")
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np1,1,s1.mha\n")
    found = volumes.find(tmp_path, "Lyon")
    assert [scan.scan for scan in found.scans] == ["s1.mha"]
    assert {Path(bad.where).name: bad.what.partition(" (")[0] for bad in found.bad} == {
        "loop": "is a link that cannot be followed",
        "gone.mha": "is a link that leads nowhere",
    }


# Names --------------------------------------------------------------------------------------------------------------


def test_ambiguous_names_are_told_and_masks_are_no_scans(tmp_path: Path) -> None:
    for name in ("p1.nii.gz", "p1_mask.nii.gz", "p2.nii.gz", "deep/p2.nii.gz"):
        nifti(tmp_path / name, hu())
    mha(tmp_path / "p1.mha")
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np1,1,p1\nother,0,p2.nii.gz\n")
    found = volumes.find(tmp_path, "Lyon")
    assert [scan.scan for scan in found.scans] == ["p2.nii.gz"]
    (bad,) = [bad for bad in found.bad if bad.where == "p1"]
    assert bad.what == "'p1' fits 2 files: p1.mha, p1.nii.gz"
    (tmp_path / "labels.csv").write_text("patient_id,label\np2,1\np1_mask,0\n")
    found = volumes.find(tmp_path, "Lyon")
    assert [bad.what for bad in found.bad if bad.where == "p2"] == ["'p2' fits 2 files: p2.nii.gz, deep/p2.nii.gz"]
    assert volumes.name_scans(tmp_path) == ["p1.mha", "p1.nii.gz", "p2.nii.gz", "deep/p2.nii.gz"]


def test_files_of_other_kinds_get_a_next_step(tmp_path: Path) -> None:
    np.save(tmp_path / "p1.npy", hu())
    from elsewhere.errors import BadSite  # noqa: PLC0415

    with pytest.raises(BadSite, match=r"but 1 \.npy file\. A \.npy file tells neither spacing nor orientation"):
        volumes.find(tmp_path, "Lyon")
    mha(tmp_path / "s1.mha")
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np1,1,s1.mha\np2,0,p1.npy\n")
    (bad,) = [bad for bad in volumes.find(tmp_path, "Lyon").bad if "npy" in str(bad)][:1]
    assert "save the volumes as NIfTI" in bad.next_step


def test_a_site_may_say_which_window_its_grey_values_had(tmp_path: Path) -> None:
    from elsewhere.errors import BadSite  # noqa: PLC0415

    mha(tmp_path / "s1.mha", np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np1,1,s1.mha\n")
    (scan,) = volumes.find(tmp_path, "Lyon", units="relative", window=(-1000, 400)).scans
    assert (scan.facts["declared_window_low"], scan.facts["declared_window_high"]) == (-1000.0, 400.0)
    with pytest.raises(BadSite, match=r"window is \(400, -1000\)"):
        volumes.find(tmp_path, "Lyon", units="relative", window=(400, -1000))
    with pytest.raises(BadSite, match="window is given with units 'HU'"):
        volumes.find(tmp_path, "Lyon", units="HU", window=(-1000, 400))


def test_scans_without_a_site_are_read(tmp_path: Path) -> None:
    scan = Scan("Lyon", "p1", "s1", 1, (nrrd(tmp_path / "a.nhdr"),))
    assert volumes.read(scan).units == "HU"
