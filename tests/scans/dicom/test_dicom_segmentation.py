"""An overlay as a DICOM segmentation: on the images' own pixels, however turned; refused where it has no place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite

from elsewhere.errors import BadScan
from elsewhere.scans.dicom import write_series
from elsewhere.scans.dicom.segmentation import Maker, on_grid, write_segmentation
from elsewhere.scans.display import Frame, draw_overlay
from elsewhere.scans.volume import Volume

seg = pytest.importorskip("highdicom.seg", reason="pip install 'elsewhere[seg]'")

SHAPE, SPACING = (6, 20, 30), (5.0, 2.0, 1.0)
MAKER = Maker("A", "0123abcd", "HiResCAM of the most positive window.")


def an_overlay() -> tuple[bytes, np.ndarray]:
    """A map on half as many rows and columns; what it is on every voxel of the scan."""
    shares = np.zeros((6, 10, 15), np.float32)
    shares[4, 2:5, 9:12] = 1.0  # low in the chest, anterior, the patient's left
    overlay = draw_overlay(shares, Frame((0, 0, 0), (5.0, 4.0, 2.0)))
    return overlay, on_grid(overlay, SHAPE, SPACING)


def a_series(folder: Path) -> list[Path]:
    voxels = np.full(SHAPE, -800, np.int16)
    volume = Volume(voxels, "HU", SPACING, 0.0)
    write_series(folder, volume, patient="p1", study_uid="1.2.3", series_uid="1.2.3.4", facts={})
    return sorted(folder.iterdir())


def test_a_map_lies_where_its_frame_says() -> None:
    overlay, levels = an_overlay()
    assert levels.shape == SHAPE
    assert set(np.unique(levels[[0, 1, 2, 3, 5]])) == {0}
    assert levels[4, 6:8, 20:22].min() == 255  # inside the block
    assert levels[4, :3].max() == levels[4, 11:].max() == 0
    assert levels[4, 6, 17] == pytest.approx(255 * 0.25, abs=1)  # a quarter of the way from cell 8's centre to cell 9's
    part = on_grid(draw_overlay(np.ones((2, 4, 4), np.float32), Frame((10, 8, 5), (5, 4, 5))), SHAPE, SPACING)
    assert (part[2:4, 4:12, 5:25] == 255).all()
    assert part.sum() == 255 * 2 * 8 * 20  # and nothing outside its field
    assert on_grid(overlay, (6, 10, 15), (5.0, 4.0, 2.0)).max() == 255


def turned(path: Path, dataset_turn: str) -> None:
    """The same image as a scanner stores it of a patient who lies prone, or with its axes exchanged."""
    image = dcmread(path)
    pixels, (x, y, z) = image.pixel_array, map(float, image.ImagePositionPatient)
    row, column = map(float, image.PixelSpacing)
    if dataset_turn == "prone":
        image.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        image.ImagePositionPatient = [x + column * (pixels.shape[1] - 1), y + row * (pixels.shape[0] - 1), z]
        pixels = pixels[::-1, ::-1]
    else:
        image.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
        image.PixelSpacing, pixels = [column, row], pixels.T
        image.Rows, image.Columns = pixels.shape
    image.PixelData = np.ascontiguousarray(pixels).tobytes()
    dcmwrite(path, image, enforce_file_format=True)


@pytest.mark.parametrize("how", ["as written", "prone", "exchanged"])
def test_each_frame_lies_on_its_image_and_on_its_pixels(tmp_path: Path, how: str) -> None:
    files = a_series(tmp_path / "series")
    overlay, levels = an_overlay()
    if how != "as written":
        for file in files:
            turned(file, how)
    write_segmentation(tmp_path / "seg.dcm", files[::-1], "A: p1", overlay, MAKER)
    found = seg.segread(tmp_path / "seg.dcm")
    assert found.SegmentationType == "FRACTIONAL"
    assert found.get_segment_description(1).algorithm_type.value == "AUTOMATIC"
    source = dcmread(files[4])  # the fifth from the head
    (pixels,) = found.get_pixels_by_source_instance([source.SOPInstanceUID], rescale_fractional=False)
    expected = {"as written": levels[4], "prone": levels[4][::-1, ::-1], "exchanged": levels[4].T}[how]
    np.testing.assert_array_equal(pixels[..., 0], expected)
    assert found.NumberOfFrames == 1  # images without evidence have no frame
    assert found.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert found.PatientID == "p1"


def test_the_same_overlay_gives_the_same_ids(tmp_path: Path) -> None:
    files, (overlay, _) = a_series(tmp_path / "series"), an_overlay()
    for name in "ab":
        write_segmentation(tmp_path / name, files, "A: p1", overlay, MAKER)
    a, b = (dcmread(tmp_path / name) for name in "ab")
    assert a.SOPInstanceUID == b.SOPInstanceUID
    write_segmentation(tmp_path / "b", files, "A: p1", overlay, Maker("B", "ffff", ""))
    assert dcmread(tmp_path / "b").SeriesInstanceUID != a.SeriesInstanceUID


def test_images_without_a_place_are_refused(tmp_path: Path) -> None:
    files, (overlay, _) = a_series(tmp_path / "series"), an_overlay()
    for file in files:
        image = dcmread(file)
        del image.ImagePositionPatient
        dcmwrite(file, image, enforce_file_format=True)
    with pytest.raises(BadScan, match="does not say where its images lie"):
        write_segmentation(tmp_path / "seg.dcm", files, "A: p1", overlay, MAKER)
    assert not (tmp_path / "seg.dcm").exists()
