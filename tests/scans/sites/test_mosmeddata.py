"""MosMedData: registry and folders, orientation, damage, and the real masks and registry."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from openpyxl import Workbook

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.scan import SUBSETS, Scan, split
from elsewhere.scans.sites import mosmeddata
from elsewhere.scans.volume import Volume

SPACING = (8.0, 0.7, 0.7)


def touch(root: Path, *names: str) -> None:
    """Studies as empty files: enough for `find`, which opens none."""
    for name in names:
        path = root / "studies" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def register(root: Path, *rows: str) -> None:
    text = "\r\n".join(["study_id,category,study_file,mask_file", *rows]) + "\r\n"
    (root / "dataset_registry.csv").write_bytes(("\ufeff" + text).encode())


def study(path: Path, values: np.ndarray) -> Scan:
    """A file with these values, axes left-anterior-superior as published, and its scan."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, np.diag([-0.7, 0.7, 8.0, 1.0]))
    image.set_sform(image.affine, code=1)
    nibabel.save(image, path)
    return Scan("Moscow", "study_0255", "study_0255", 1, (path,))


@settings(max_examples=25, deadline=None)
@given(
    voxels=arrays(np.int16, array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(-32768, 32767)),
    category=st.sampled_from(mosmeddata.CATEGORIES),
    number=st.integers(1, 1110),
    mm=st.tuples(*[st.integers(100, 9999).map(lambda micro: micro / 1000)] * 3),
)
def test_read_of_write_is_the_volume(
    tmp_path_factory: pytest.TempPathFactory, voxels: np.ndarray, category: str, number: int, mm: tuple
) -> None:
    root = tmp_path_factory.mktemp("site")
    name, label = f"study_{number:04d}", int(category != "CT-0")
    written = Scan("Moscow", name, name, label, facts={"category": category})
    mosmeddata.write(root, written, Volume(voxels, "HU", mm, 0))
    mosmeddata.write_tables(root, [written])
    found = mosmeddata.find(root, "Moscow", ct0="negative")
    (scan,) = found.scans
    assert (found.bad, found.notes) == ((), ())
    assert (scan.patient, scan.scan, scan.label) == (name, name, label)
    assert (scan.stratum, scan.facts["category"]) == ("positive" if label else "negative", category)
    volume = mosmeddata.read(scan)
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(volume.voxels, voxels)
    assert (volume.units, volume.spacing, volume.offset, volume.notes) == ("HU", mm, 0, ())


def test_marker_at_right_anterior_superior_is_at_the_origin(tmp_path: Path) -> None:
    values = np.full((6, 5, 4), -1000, dtype=np.int16)
    values[0, -1, -1] = 500  # i runs to the left, j to anterior, k to superior: right, anterior, superior corner
    voxels = mosmeddata.read(study(tmp_path / "study_0255.nii.gz", values)).voxels
    assert voxels.shape == (4, 5, 6)
    assert np.unravel_index(voxels.argmax(), voxels.shape) == (0, 0, 0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((4, 5), np.int16), r"holds 2 dimensions, expected 3 \(slices, rows, columns\)"),
        (np.zeros((4, 5, 6, 2), np.int16), r"holds 4 dimensions, expected 3 \(slices, rows, columns\)"),
        (np.full((4, 5, 6), np.nan, np.float32), "holds 120 voxels that are NaN or infinite"),
        (np.zeros((4, 5, 6), np.uint8), "holds uint8 values, which cannot be HU"),
    ],
)
def test_bad_volumes_are_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    with pytest.raises(BadScan, match=rf"CT-1/study_0255\.nii\.gz: {reason}"):
        mosmeddata.read(study(tmp_path / "studies" / "CT-1" / "study_0255.nii.gz", values))


def test_truncated_study_is_refused(tmp_path: Path) -> None:
    scan = study(tmp_path / "study_0255.nii.gz", np.random.default_rng(0).integers(0, 99, (20, 20, 20)).astype("i2"))
    scan.files[0].write_bytes(scan.files[0].read_bytes()[:2000])
    with pytest.raises(BadScan, match=r"study_0255\.nii\.gz: cannot be read \(.*\)\. Download or export it again"):
        mosmeddata.read(scan)


def test_ct0_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "CT-0/study_0001", "CT-1/study_0255")
    register(tmp_path, "1,CT-0,/studies/CT-0/study_0001.nii.gz,", "255,CT-1,/studies/CT-1/study_0255.nii.gz,")
    found = mosmeddata.find(tmp_path, "Moscow")
    assert [(s.scan, s.label) for s in found.scans] == [("study_0255", 1)]
    assert found.notes == ("1 studies of CT-0 are left out (ct0 = omit)",)
    both = mosmeddata.find(tmp_path, "Moscow", ct0="negative").scans
    assert [(s.scan, s.label, s.facts["severity"]) for s in both] == [("study_0001", 0, 0), ("study_0255", 1, 1)]
    with pytest.raises(BadSite, match=r"ct0 is 'positive'\. Set it to omit or negative"):
        mosmeddata.find(tmp_path, "Moscow", ct0="positive")  # type: ignore[arg-type]


def test_the_published_xlsx_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path / "COVID19_1110", "CT-2/study_0939")
    book = Workbook()
    book.active.title = "MosMedData COVID19_1110"
    for row in (mosmeddata.REGISTRY_COLUMNS, (939, "CT-2", "/studies/CT-2/study_0939.nii.gz", None)):
        book.active.append(row)
    book.save(tmp_path / "COVID19_1110" / "dataset_registry.xlsx")
    found = mosmeddata.find(tmp_path, "Moscow")
    assert [(s.scan, s.facts["category"]) for s in found.scans] == [("study_0939", "CT-2")]
    assert (found.bad, found.notes) == ((), ())


def test_without_registry_the_folders_tell_the_category(tmp_path: Path) -> None:
    touch(tmp_path, "CT-3/study_1064", "other/study_0001")
    found = mosmeddata.find(tmp_path, "Moscow")
    assert [(s.scan, s.facts["category"]) for s in found.scans] == [("study_1064", "CT-3")]
    assert "categories are taken from the folders" in found.notes[0]
    assert "study_0001 has the category 'OTHER', expected one of CT-0, CT-1" in str(found.bad[0])


def test_registry_and_files_that_disagree_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "CT-1/study_0255", "CT-1/study_0256", "CT-1/study_0257", "CT-2/study_0255")
    register(
        tmp_path,
        "255,CT-1,/studies/CT-1/study_0255.nii.gz,",
        "256,CT-2,/studies/CT-2/study_0256.nii.gz,",
        "258,CT-1,/studies/CT-1/study_0258.nii.gz,",
        "9,CT-0,/studies/CT-0/study_0009.nii.gz,",
    )
    found = mosmeddata.find(tmp_path, "Moscow")
    assert [s.scan for s in found.scans] == ["study_0255"]
    reasons = "\n".join(map(str, found.bad))
    assert "study_0255 stands twice, here and at" in reasons
    assert "study_0256 lies under CT-1, but the registry says CT-2" in reasons
    assert "study_0257.nii.gz: is not in dataset_registry.csv" in reasons
    assert "study_0258: dataset_registry.csv lists it, but its file is not there" in reasons
    assert len(found.bad) == 4


def test_empty_packed_and_wrong_tables(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"holds no studies like studies/CT-1/study_0255\.nii\.gz"):
        mosmeddata.find(tmp_path, "Moscow")
    (tmp_path / "COVID19_1110.zip").touch()
    with pytest.raises(BadSite, match=r"holds COVID19_1110\.zip, not unpacked"):
        mosmeddata.find(tmp_path, "Moscow")
    touch(tmp_path, "CT-1/study_0255")
    with pytest.raises(BadSite, match=r"gone\.csv: no such table"):
        mosmeddata.find(tmp_path, "Moscow", tmp_path / "gone.csv")
    register(tmp_path, "1,CT-0,/studies/CT-0/study_0001.nii.gz,")
    with pytest.raises(BadSite, match=r"none of its 1 studies is there \(study_0001; found study_0255\)"):
        mosmeddata.find(tmp_path, "Moscow")


def test_write_refuses_what_the_layout_cannot_hold(tmp_path: Path) -> None:
    voxels = np.zeros((2, 3, 4), dtype=np.int16)
    with pytest.raises(BadScan, match="has units ct_number, expected HU"):
        mosmeddata.write(tmp_path, Scan("M", "p", "study_0001", 1), Volume(voxels, "ct_number", SPACING, 1024))
    with pytest.raises(BadScan, match=r"scan7: is no id of this layout\. Name scans like study_0255"):
        mosmeddata.write(tmp_path, Scan("M", "p", "scan7", 1), Volume(voxels, "HU", SPACING, 0))


def test_split_gives_the_papers_patients() -> None:
    subsets = split([Scan("Moscow", f"{n}", f"{n}", 1) for n in range(856)])
    assert [list(subsets.values()).count(name) for name in SUBSETS] == [616, 69, 171]


# The real registry and masks ---------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_real_registry_gives_856_positives_and_their_split(real_data: Path, tmp_path: Path) -> None:
    registry = real_data / "mosmeddata" / "dataset_registry.csv"
    with registry.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    touch(tmp_path, *(row["study_file"].removeprefix("/studies/").removesuffix(".nii.gz") for row in rows))
    shutil.copy(registry, tmp_path)
    found = mosmeddata.find(tmp_path, "Moscow", ct0="negative")
    assert found.bad == ()
    categories = [scan.facts["category"] for scan in found.scans]
    assert [categories.count(name) for name in mosmeddata.CATEGORIES] == [254, 684, 125, 45, 2]
    scans = mosmeddata.find(tmp_path, "Moscow").scans
    assert len(scans) == 856
    assert [list(split(scans).values()).count(name) for name in SUBSETS] == [616, 69, 171]


@pytest.mark.real
def test_the_real_geometry_is_turned_as_its_affine_says(real_data: Path, tmp_path: Path) -> None:
    """A real mask's header (LAS) on a study: index [0, 0, 0] is the right, anterior, superior corner."""
    for mask in sorted((real_data / "mosmeddata" / "masks").iterdir())[::10]:
        image = nibabel.load(mask)
        path = tmp_path / "studies" / "CT-1" / mask.name.replace("_mask", "")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(mask, path)
        volume = mosmeddata.read(Scan("Moscow", "p", path.name[:10], 1, (path,)))
        assert nibabel.aff2axcodes(image.affine) == ("L", "A", "S")
        assert volume.spacing is not None
        assert volume.spacing[0] == 8.0
        assert 0.58 <= volume.spacing[1] <= 1.15
        slices, rows, columns = volume.voxels.shape
        stored = np.asarray(image.dataobj)
        assert stored.shape == (columns, rows, slices)
        lesion = np.argwhere(volume.voxels)[:50]
        assert len(lesion)
        for at_slice, row, column in lesion:
            assert stored[column, rows - 1 - row, slices - 1 - at_slice] == volume.voxels[at_slice, row, column]
