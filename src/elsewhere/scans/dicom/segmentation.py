"""An overlay on a scan, and the scan's own DICOM files, in; the overlay as a DICOM segmentation of them, out.

Any viewer that knows the series draws it at its place: the overlay is put on the images' own pixels, and each of its
frames names the image that it lies on (PS3.3, C.8.20; fractional "occupancy": 255 is the maximum, not certainty).
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from elsewhere.errors import BadInstallation, BadScan
from elsewhere.files import write_whole
from elsewhere.scans.dicom.stack import Stack, Turn
from elsewhere.scans.dicom.volume import read_stack
from elsewhere.scans.dicom.writing import uid_of

MOST = 255
"""Level of the map's maximum."""
CODES = "99ELSEWHERE"
"""Our own codes (PS3.3, 8.2): the standard has none for what a model looked at."""


@dataclass(frozen=True)
class Maker:
    """Who made an overlay.

    Attributes:
        model: its name.
        identity: of its weights or file.
        words: how the overlay was made.
    """

    model: str
    identity: str
    words: str


def write_segmentation(path: Path, files: Sequence[Path], where: str, overlay: bytes, maker: Maker) -> None:
    """Write one overlay as a DICOM segmentation of the series that the scan was read from.

    Args:
        path: the file to write.
        files: of the scan, as its site lists them.
        where: the scan's name, for messages.
        overlay: 0..1 of its maximum, as `display.draw_overlay` makes it; it lies in the scan as it was read.
        maker: who made it.

    Raises:
        BadInstallation: highdicom is not installed.
        BadScan: the scan has no such series: several images in one file, or nothing that says where they lie.
    """
    stack = read_stack(files, where)
    first = stack.headers[0]
    if first.frames > 1:
        what = "holds several images in one file, and a segmentation is written for one image a file"
        raise BadScan(where, what, "Save the overlay as NIfTI from the page")
    if first.position is None or stack.spacing is None:
        what = "does not say where its images lie, so a segmentation has no place"
        raise BadScan(where, what, "Save the overlay as NIfTI from the page")
    rows, columns = (first.columns, first.rows) if stack.turn.swap else (first.rows, first.columns)
    levels = on_grid(overlay, (len(stack.headers), rows, columns), stack.spacing)
    written = io.BytesIO()
    _segmentation(stack, _as_stored(levels, stack.turn), overlay, maker).save_as(written)
    write_whole(path, written.getvalue())


def on_grid(overlay: bytes, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> NDArray[np.uint8]:
    """A map on a scan's own voxels, linear between its own and 0 outside its field.

    Args:
        overlay: a map of 0..1 as .nii.gz whose affine counts mm from the scan's first edge, as `draw_overlay` writes.
        shape: slices, rows and columns of the scan.
        spacing: of its voxels, in mm.

    Returns:
        uint8 [slice, row, column], 255 for 1.
    """
    from nibabel import Nifti1Image  # noqa: PLC0415  (late, as in display.py)

    image: Any = Nifti1Image.from_bytes(gzip.decompress(overlay))
    found = np.asarray(image.dataobj, np.float32).T
    for axis, place in enumerate((2, 1, 0)):
        step = -float(image.affine[place, place])
        edge = -float(image.affine[place, 3]) - step / 2
        centres = ((np.arange(shape[axis]) + 0.5) * spacing[axis] - edge) / step - 0.5
        found = _along(found, axis, centres)
    return np.clip(np.rint(found * MOST), 0, MOST).astype(np.uint8)


def _along(values: NDArray[np.float32], axis: int, places: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Values at places of an axis counted in voxels; 0 beyond the first and the last voxel's edge."""
    last = values.shape[axis] - 1
    held = np.clip(places, 0, last)
    low = np.floor(held).astype(int)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    share = (held - low).astype(np.float32).reshape(shape)
    inside = ((places >= -0.5) & (places <= last + 0.5)).reshape(shape)
    lower, upper = values.take(low, axis), values.take(np.minimum(low + 1, last), axis)
    found: NDArray[np.float32] = np.where(inside, lower + share * (upper - lower), np.float32(0))
    return found


def _as_stored(levels: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """Canonical [slice, row, column] -> rows and columns as the files have them: `Turn.apply` undone."""
    levels = levels[:, :: -1 if turn.flip_rows else 1, :: -1 if turn.flip_columns else 1]
    return np.ascontiguousarray(levels.swapaxes(1, 2) if turn.swap else levels)


def _segmentation(stack: Stack, levels: NDArray[np.uint8], overlay: bytes, maker: Maker) -> Any:
    try:
        from highdicom import AlgorithmIdentificationSequence, seg  # noqa: PLC0415  (an extra)
        from pydicom.sr.codedict import Code, codes  # noqa: PLC0415
    except ImportError as error:
        what = "needs highdicom, which is not installed"
        raise BadInstallation("--seg", what, "pip install 'elsewhere[seg]'") from error
    version = metadata.version("elsewhere")
    algorithm = AlgorithmIdentificationSequence(
        name=maker.model[:64], version=maker.identity[:64], family=codes.cid7162.ArtificialIntelligence
    )
    described = seg.SegmentDescription(
        segment_number=1,
        segment_label="Evidence for positive",
        segmented_property_category=Code("explanation", CODES, "What a model looked at"),
        segmented_property_type=Code("evidence", CODES, "Evidence for positive"),
        algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    described.SegmentDescription = maker.words
    uid = stack.headers[0].series_uid
    return seg.Segmentation(
        source_images=[dcmread(header.path, stop_before_pixels=True) for header in stack.headers],
        pixel_array=levels.astype(np.float32) / MOST,
        segmentation_type=seg.SegmentationTypeValues.FRACTIONAL,
        fractional_type=seg.SegmentationFractionalTypeValues.OCCUPANCY,
        max_fractional_value=MOST,
        segment_descriptions=[described],
        series_instance_uid=uid_of("seg", uid, maker.identity),
        series_number=9000,
        sop_instance_uid=uid_of("seg", uid, maker.identity, hashlib.sha256(overlay).hexdigest()),
        instance_number=1,
        manufacturer="elsewhere",
        manufacturer_model_name="elsewhere view",
        software_versions=version,
        device_serial_number="0",
        series_description=f"What {maker.model} looked at (research use only)"[:64],
    )
