"""Folders of slices, or one image per scan, with a labels table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import images
from elsewhere.scans.slices import encode_slice
from elsewhere.scans.volume import Volume

SIZE = (5, 7)


def place(root: Path, name: str, pixels: np.ndarray) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    encode_slice(root / name, pixels)


def table(root: Path, *rows: str) -> None:
    (root / "labels.csv").write_text("\n".join(["patient_id,label,path", *rows]) + "\n")


def grey(value: int = 0) -> np.ndarray:
    return np.full(SIZE, value, dtype=np.uint8)


def only(root: Path, **options: object) -> Scan:
    found = images.find(root, "Leiden", **options)  # type: ignore[arg-type]
    assert found.bad == ()
    (scan,) = found.scans
    return scan


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(),
    shape=array_shapes(min_dims=3, max_dims=3, max_side=9),
    kind=st.sampled_from(["8 bit", "HU", "CT number"]),
    name=st.sampled_from(["s1", "deep/er/s-2"]),
)
def test_read_of_write_is_the_volume(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, shape: tuple, kind: str, name: str
) -> None:
    root = tmp_path_factory.mktemp("site")
    low, high, dtype = {"8 bit": (0, 255, np.uint8), "HU": (-1024, 3071, np.int16), "CT number": (0, 4095, np.int16)}[
        kind
    ]
    voxels = data.draw(arrays(dtype, shape, elements=st.integers(low, high)))
    units, offset = {"8 bit": ("relative", None), "HU": ("HU", 0), "CT number": ("ct_number", 1024)}[kind]
    written = Scan("Leiden", "p1", name, 1, stratum="positive", facts={"sex": "M"})
    images.write(root, written, Volume(voxels, units, None, offset))  # type: ignore[arg-type]
    images.write_tables(root, [written])
    scan = only(root, units=units)
    assert (scan.patient, scan.scan, scan.label, scan.stratum) == ("p1", name, 1, "positive")
    assert scan.facts["sex"] == "M"
    volume = images.read(scan)
    assert volume.voxels.dtype == dtype
    assert np.array_equal(volume.voxels, voxels)
    assert (volume.units, volume.spacing, volume.offset) == (units, None, offset)


def test_marker_at_right_anterior_superior_is_at_the_origin(tmp_path: Path) -> None:
    first = grey()
    first[0, 0] = 255
    for number in range(2, 12):
        place(tmp_path, f"s1/slice{number}.png", grey())
    place(tmp_path, "s1/slice1.png", first)
    table(tmp_path, "p1,1,s1")
    voxels = images.read(only(tmp_path)).voxels
    assert np.unravel_index(voxels.argmax(), voxels.shape) == (0, 0, 0)


def test_one_image_is_a_scan_of_one_slice(tmp_path: Path) -> None:
    place(tmp_path, "covid/a.png", grey(1))
    place(tmp_path, "covid/b.jpg", grey(2))
    place(tmp_path, "normal/c.bmp", grey(3))
    table(tmp_path, "p1,1,covid/a.png", r"p2,1,covid\b.jpg", "p3,0,/normal/c.bmp")
    scans = images.find(tmp_path, "Leiden").scans
    assert [images.read(scan).voxels.shape for scan in scans] == [(1, *SIZE)] * 3
    assert [images.read(scan).voxels[0, 0, 0] for scan in scans] == [1, 2, 3]
    assert [scan.facts["extension"] for scan in scans] == [".png", ".jpg", ".bmp"]


def test_eight_bits_are_relative_and_deep_values_must_be_told(tmp_path: Path) -> None:
    place(tmp_path, "s1/0.png", np.full(SIZE, 1064, dtype=np.uint16))
    table(tmp_path, "p1,1,s1")
    with pytest.raises(BadScan, match=r"0\.png: holds values 1064 to 1064, which do not look like HU.*and `offset`"):
        images.read(only(tmp_path))
    volume = images.read(only(tmp_path, units="ct_number", offset=1000))
    assert (volume.units, volume.offset, volume.voxels[0, 0, 0]) == ("ct_number", 1000, 1064)
    volume = images.read(only(tmp_path, units="HU", offset=1024))
    assert (volume.units, volume.offset, volume.voxels[0, 0, 0]) == ("HU", 0, 40)
    place(tmp_path, "s1/0.png", grey(9))
    assert images.read(only(tmp_path)).units == "relative"
    with pytest.raises(BadScan, match="holds 8-bit values, which cannot be ct_number"):
        images.read(only(tmp_path, units="ct_number"))


def test_float_slices_are_rounded_or_refused(tmp_path: Path) -> None:
    (tmp_path / "s1").mkdir()
    table(tmp_path, "p1,1,s1")
    tifffile.imwrite(tmp_path / "s1" / "0.tif", np.linspace(-1000, 1000, 35, dtype=np.float32).reshape(SIZE))
    volume = images.read(only(tmp_path))
    assert volume.units == "HU"
    assert "values were rounded to whole numbers" in volume.notes[0]
    tifffile.imwrite(tmp_path / "s1" / "0.tif", np.linspace(0, 1, 35, dtype=np.float32).reshape(SIZE))
    with pytest.raises(BadScan, match="holds values 0 to 1: normalised, HU are lost"):
        images.read(only(tmp_path))


def test_leftovers_are_listed(tmp_path: Path) -> None:
    place(tmp_path, "s1/0.png", grey())
    place(tmp_path, "s2/0.png", grey())
    table(tmp_path, "p1,1,s1", "p3,0,s3")
    found = images.find(tmp_path, "Leiden")
    assert [scan.scan for scan in found.scans] == ["s1"]
    assert sorted(bad.where for bad in found.bad) == ["s2", "s3"]


def test_mixed_sizes_are_refused_and_damage_is_told(tmp_path: Path) -> None:
    for number in range(10):
        place(tmp_path, f"s1/{number}.png", grey())
    table(tmp_path, "p1,1,s1")
    (tmp_path / "s1" / "4.png").write_bytes(b"")
    note = "1 of 10 slices cannot be used and are left out: 4.png (cannot be decoded (the file is empty))"
    assert images.read(only(tmp_path)).notes == (note,)
    place(tmp_path, "s1/4.png", np.zeros((9, 9), dtype=np.uint8))
    with pytest.raises(BadScan, match=r"s1: slices differ in size: 0\.png is 5 × 7, 4\.png is 9 × 9"):
        images.read(only(tmp_path))


def test_empty_folder_and_missing_table(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"holds no \.bmp, \.jpeg, \.jpg, \.png, \.tif, \.tiff file"):
        images.find(tmp_path, "Leiden")
    place(tmp_path, "s1/0.png", grey())
    with pytest.raises(BadSite, match="no labels table"):
        images.find(tmp_path, "Leiden")


@pytest.mark.real
def test_real_slices_of_covid_ctset(real_data: Path, tmp_path: Path) -> None:
    """The published 8-bit slices as a two-dimensional collection: 14 positive, 7 negative."""
    root = real_data / "covid-ctset" / "png-slices-from-CovCT"
    rows = [f"{p.name.split('_')[1]},{int('covid' in p.name)},{p.name}" for p in sorted(root.iterdir())]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["patient_id,label,path", *rows]) + "\n")
    found = images.find(root, "Iran", labels)
    assert found.bad == ()
    assert [sum(s.label == label for s in found.scans) for label in (1, 0)] == [14, 7]
    for scan in found.scans[::5]:
        volume = images.read(scan)
        assert (volume.voxels.shape, volume.units) == ((1, 512, 512), "relative")
        assert volume.voxels.std() > 20
