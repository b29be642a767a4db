"""NIfTI, MHA, MHD and NRRD with a labels table, and STOIC2021's layout."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import volumes
from elsewhere.scans.volume import Volume

with warnings.catch_warnings():  # SimpleITK's SWIG types lack __module__
    warnings.simplefilter("ignore", DeprecationWarning)
    import SimpleITK

SPACING = (8.0, 0.7, 0.9)
EXTENSIONS = [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"]


def hu(shape: tuple[int, int, int] = (3, 4, 5)) -> np.ndarray:
    return np.random.default_rng(0).integers(-1024, 3000, shape).astype(np.int16)


def put(root: Path, extension: str = ".mha", volume: Volume | None = None, name: str = "s1") -> Scan:
    scan = Scan("Lyon", "p1", name, 1, facts={"extension": extension})
    volumes.write(root, scan, volume or Volume(hu(), "HU", SPACING, 0))
    volumes.write_tables(root, [scan])
    return scan


def only(root: Path, **options: object) -> Scan:
    found = volumes.find(root, "Lyon", **options)  # type: ignore[arg-type]
    assert found.bad == ()
    (scan,) = found.scans
    return scan


@settings(max_examples=40, deadline=None)
@given(
    voxels=arrays(np.int16, array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(-32768, 32767)),
    extension=st.sampled_from(EXTENSIONS),
    name=st.sampled_from(["s1", "deep/er/s-2", "ä 3"]),
    mm=st.tuples(*[st.integers(100, 9999).map(lambda micro: micro / 1000)] * 3),
    facts=st.sampled_from([{}, {"age": 53, "sex": "F", "contrast": True, "date": "2020-04-07"}]),
)
def test_read_of_write_is_the_volume(
    tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray, extension: str, name: str, mm: tuple, facts: dict
) -> None:
    root = tmp_path_factory.mktemp("site")
    written = Scan("Lyon", "p1", name, 0, stratum="controls", facts={**facts, "extension": extension})
    volumes.write(root, written, Volume(voxels, "HU", mm, 0))
    volumes.write_tables(root, [written])
    scan = only(root, units="HU")
    assert (scan.patient, scan.scan, scan.label, scan.stratum) == ("p1", name, 0, "controls")
    assert {key: scan.facts[key] for key in facts} == facts
    volume = volumes.read(scan)
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(volume.voxels, voxels)
    assert (volume.units, volume.spacing, volume.offset, volume.notes) == ("HU", mm, 0, ())


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_other_units_come_back_as_declared(tmp_path: Path, extension: str) -> None:
    relative = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    put(tmp_path / "r", extension, Volume(relative, "relative", SPACING))
    volume = volumes.read(only(tmp_path / "r", units="relative"))
    assert (volume.units, volume.offset, volume.voxels.dtype) == ("relative", None, np.uint8)
    assert np.array_equal(volume.voxels, relative)
    put(tmp_path / "c", extension, Volume((hu() + 1024).astype(np.int16), "ct_number", SPACING, 1024))
    volume = volumes.read(only(tmp_path / "c", units="ct_number"))
    assert (volume.units, volume.offset) == ("ct_number", 1024)
    with pytest.raises(BadScan, match="do not look like HU"):
        volumes.read(only(tmp_path / "c"))
    with pytest.raises(BadScan, match="holds 8-bit values, which cannot be HU"):
        volumes.read(only(tmp_path / "r"))


def test_hu_are_recognised(tmp_path: Path) -> None:
    put(tmp_path)
    volume = volumes.read(only(tmp_path))
    assert (volume.units, volume.spacing) == ("HU", SPACING)


@pytest.mark.parametrize("extension", [".mha", ".nrrd"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_marker_at_right_anterior_superior_is_at_the_origin(
    tmp_path: Path, extension: str, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """Whatever the stored axes: index i, j, k runs along patient axis order[·] (x left, y posterior, z superior)."""
    directions = np.zeros((3, 3))
    size = [0, 0, 0]
    for index, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        directions[axis, index] = sign
        size[index] = (5, 4, 3)[axis]
    image = SimpleITK.Image(size, SimpleITK.sitkInt16) - 1000
    corner = [0, 0, 0]
    for index, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        at_start = sign > 0 if axis < 2 else sign < 0  # right and anterior lie at low x and y, superior at high z
        corner[index] = 0 if at_start else size[index] - 1
    image[corner] = 500
    image.SetDirection(directions.ravel().tolist())
    image.SetSpacing([(0.9, 0.7, 8.0)[axis] for axis in order])
    SimpleITK.WriteImage(image, str(tmp_path / f"s1{extension}"))
    (tmp_path / "labels.csv").write_text(f"patient_id,label,path\np1,1,s1{extension}\n")
    volume = volumes.read(only(tmp_path))
    assert np.unravel_index(volume.voxels.argmax(), volume.voxels.shape) == (0, 0, 0)
    assert volume.voxels.shape == (3, 4, 5)
    assert volume.spacing == SPACING


def test_stoic_layout(tmp_path: Path) -> None:
    for name in ("11", "12", "13"):
        put(tmp_path / "data" / "mha", name=name)
    (tmp_path / "data" / "mha" / "labels.csv").unlink()
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "reference.csv").write_text("PatientID,probCOVID,probSevere\n11,1.0,1.0\n12,0,0\n14,1,0\n")
    found = volumes.find(tmp_path, "STOIC")
    assert [(s.patient, s.scan, s.label, s.facts["severe"]) for s in found.scans] == [
        ("11", "11", 1, True),
        ("12", "12", 0, False),
    ]
    assert found.notes == (
        "1 row of reference.csv has no usable scan",
        "1 scan on disk has no row in reference.csv and is not used",
    )
    named = volumes.find(tmp_path / "data", "STOIC", tmp_path / "metadata" / "reference.csv")
    assert [s.patient for s in named.scans] == ["11", "12"]


def test_paths_may_lack_their_extension_and_mhd_keeps_its_data(tmp_path: Path) -> None:
    put(tmp_path, ".mhd")
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np1,1,./s1\n")
    assert [path.name for path in only(tmp_path).files] == ["s1.mhd", "s1.raw"]
    (tmp_path / "labels.csv").write_text("patient_id,label\ns1,1\n")
    assert only(tmp_path).scan == "s1"


def test_rows_without_files_and_files_without_rows_are_listed(tmp_path: Path) -> None:
    put(tmp_path)
    put(tmp_path, name="s2")
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np1,1,s1.mha\np3,0,s3.mha\n")
    found = volumes.find(tmp_path, "Lyon")
    assert [s.scan for s in found.scans] == ["s1.mha"]
    assert sorted(bad.where for bad in found.bad) == ["s2.mha", "s3.mha"]
    assert found.missing == (0,)  # of the row, not of the file that no row names


def test_empty_folder_missing_table_and_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"holds no \.nii, \.nii\.gz, \.mha, \.mhd, \.nrrd, \.nhdr file"):
        volumes.find(tmp_path, "Lyon")
    put(tmp_path)
    with pytest.raises(BadSite, match="units is 'hu'"):
        volumes.find(tmp_path, "Lyon", units="hu")  # type: ignore[arg-type]
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(BadSite, match="no labels table"):
        volumes.find(tmp_path, "Lyon")


def _write(path: Path, image: SimpleITK.Image) -> Scan:
    SimpleITK.WriteImage(image, str(path))
    return Scan("Lyon", "p1", "s1", 1, (path,))


def test_other_dimensions_and_channels_are_refused(tmp_path: Path) -> None:
    flat = SimpleITK.Image([4, 5], SimpleITK.sitkInt16)
    four = SimpleITK.Image([4, 5, 6, 2], SimpleITK.sitkInt16)
    colour = SimpleITK.Image([4, 5, 6], SimpleITK.sitkVectorInt16, 3)
    with pytest.raises(BadScan, match=r"a\.mha: holds 2 dimensions, expected 3 \(slices, rows, columns\)"):
        volumes.read(_write(tmp_path / "a.mha", flat))
    with pytest.raises(BadScan, match=r"b\.mha: holds 4 dimensions, expected 3"):
        volumes.read(_write(tmp_path / "b.mha", four))
    with pytest.raises(BadScan, match=r"c\.mha: holds 3 numbers a voxel, expected 1"):
        volumes.read(_write(tmp_path / "c.mha", colour))


@pytest.mark.parametrize("extension", [".mha", ".nrrd", ".mhd"])
def test_truncated_files_are_refused(tmp_path: Path, extension: str) -> None:
    put(tmp_path, extension)
    path = tmp_path / ("s1.raw" if extension == ".mhd" else f"s1{extension}")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadScan, match=rf"s1{extension}: cannot be read \(.*\)\. Download or export it again"):
        volumes.read(only(tmp_path))


def test_nrrd_without_orientation_is_refused(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nspacings: 1 1 2\nencoding: raw\nendian: little\n\n"
    (tmp_path / "s1.nrrd").write_bytes(header.encode() + hu().tobytes())
    with pytest.raises(BadScan, match=r"tells no orientation \(its header has no 'space'\)"):
        volumes.read(Scan("Lyon", "p1", "s1", 1, (tmp_path / "s1.nrrd",)))


def test_write_needs_a_spacing(tmp_path: Path) -> None:
    with pytest.raises(BadScan, match="has no spacing"):
        put(tmp_path, ".mha", Volume(hu(), "HU", None, 0))


@pytest.mark.real
def test_real_nrrd_equals_its_dicom_and_stands_upright(real_data: Path, tmp_path: Path) -> None:
    """The Chest Imaging Platform's CT: lungs are air, the apex (less lung) is slice 0, the spine at the bottom."""
    source = real_data / "chest-imaging-platform" / "ct-64.nrrd"
    volume = volumes.read(Scan("CIP", "p1", "s1", 1, (source,)))
    assert (volume.units, volume.voxels.shape) == ("HU", (79, 64, 64))
    lungs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(source.with_name("wholeLung-64.nrrd"))))[::-1] > 0
    assert volume.voxels[lungs].mean() < -600
    assert lungs[:20].sum() < lungs[-40:-20].sum()
    centre = volume.voxels[30:50, :, 24:40] > 250
    assert centre[:, 32:].sum() > centre[:, :32].sum()


@pytest.mark.real
def test_real_nifti_in_ras(real_data: Path) -> None:
    path = real_data / "totalsegmentator" / "example_ct.nii.gz"
    volume = volumes.read(Scan("Basel", "p1", "s1", 0, (path,)))
    assert (volume.units, volume.voxels.dtype, volume.spacing) == ("HU", np.int16, (3.0, 3.0, 3.0))
    assert volume.voxels.shape == (112, 101, 122)
