"""A scan of a study in; its picture, and where other grids lie in it, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from elsewhere.scans.display import Frame, Picture, draw_scan, prepared_frame, whole_frame
from elsewhere.scans.intake import prepared_as
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.store import Shelf
from elsewhere.scans.units import USUAL_OFFSET
from elsewhere.scans.volume import Units, Volume, lung_box
from elsewhere.studies.file import Study
from elsewhere.studies.looking import Looked
from elsewhere.studies.records import ScanRow

CUBE = "the size of its voxels is not known here, so it is drawn as a cube"


@dataclass(frozen=True)
class Stretch:
    """How slices of one grid lie along another: theirs = first + factor * ours, counted at the slices' edges."""

    first: float = 0.0
    factor: float = 1.0

    def there(self, ours: float) -> float:
        """Place on the other grid."""
        return self.first + self.factor * ours

    def back(self, theirs: float) -> float:
        """Place on our grid."""
        return (theirs - self.first) / self.factor


@dataclass(frozen=True)
class Drawn:
    """A scan drawn, and where other grids lie in it.

    Attributes:
        picture: the scan.
        frame: of the prepared grid, for overlays.
        size: rows and columns of the prepared grid.
        words: what is drawn.
        prepared: prepared slices -> displayed slices.
        source: slices as read -> displayed slices; None where that is not known.
    """

    picture: Picture
    frame: Frame
    size: tuple[int, int]
    words: str
    prepared: Stretch
    source: Stretch | None


def draw_prepared(study: Study, row: ScanRow, bits: int) -> Drawn:
    """The scan as the network sees it, from the store."""
    facts, cropped = row.facts, study.preparation.crop == "lungs"
    shelf = Shelf({(row.site, row.scan): Path(row.file)})
    voxels = shelf.read(row.site, row.scan, 0, row.slices)
    pixel, thick = (float(facts.get(name) or 0) for name in ("pixel_spacing_mm", "slice_spacing_mm"))
    spacing = (thick, pixel, pixel) if pixel and thick and not cropped else None
    source = (row.source_slices, row.rows, row.columns)
    frame = prepared_frame(voxels.shape if cropped else source, spacing, None, voxels.shape)
    words = [f"The scan as the network sees it, {_size(voxels)}", *(["cropped to the lungs"] if cropped else [])]
    words += [] if spacing else [CUBE]
    if study.preparation.encoding == "hu" and row.units == "relative":
        words.append("grey values taken back to HU through an assumed window")
    units, offset = _stored_units(study, row, facts)
    picture = draw_scan(voxels, units, offset, frame, bits)
    stretch = None if cropped else Stretch(0.0, len(voxels) / row.source_slices)
    return Drawn(picture, frame, study.preparation.size[1:], _words(words, picture, bits), Stretch(), stretch)


def _stored_units(study: Study, row: ScanRow, facts: Mapping[str, Any]) -> tuple[Units, float | None]:
    if study.preparation.encoding == "hu" or row.units == "HU":
        return "HU", 0.0
    if row.units == "ct_number":
        return "ct_number", float(facts.get("declared_offset") or USUAL_OFFSET)
    return "relative", None


def draw_original(study: Study, row: ScanRow, bits: int, volume: Volume) -> Drawn:
    """The scan as it was read."""
    return _prepared_in(volume, prepared_as(study.preparation, row.facts), row.slices, bits)


def draw_own_grid(volume: Volume, row: ScanRow, bits: int, looked: Looked) -> Drawn:
    """The scan as it was read, with the grid on which a model that was not trained here looked at it."""
    if looked.preparation is not None:
        return _prepared_in(volume, prepared_as(looked.preparation, row.facts), looked.slices, bits)
    size = Preparation(size=volume.voxels.shape[:3], grid="fixed")
    return _prepared_in(volume, size, looked.slices, bits)


def _prepared_in(volume: Volume, preparation: Preparation, slices: int, bits: int) -> Drawn:
    """The scan as it was read, and where a prepared grid of so many slices lies in it."""
    box = None
    if preparation.crop == "lungs":
        box = lung_box(volume, preparation.margin, preparation.relative_window)
    whole = whole_frame(volume.voxels.shape, volume.spacing)
    shape = (slices, *(preparation.size[1:]))
    frame = prepared_frame(volume.voxels.shape, volume.spacing, box, shape)
    words = [f"The scan as it was read, {_size(volume.voxels)}", *([] if volume.spacing else [CUBE])]
    picture = draw_scan(volume.voxels, volume.units, volume.offset, whole, bits)
    stretch = Stretch(frame.corner[0] / whole.spacing[0], frame.spacing[0] / whole.spacing[0])
    return Drawn(picture, frame, preparation.size[1:], _words(words, picture, bits), stretch, Stretch())


def _size(voxels: NDArray[Any]) -> str:
    return " x ".join(map(str, voxels.shape)) + " voxels (slices, rows, columns)"


def _words(words: Sequence[str], picture: Picture, bits: int) -> str:
    unit = " HU" if picture.units == "HU" else ""
    if picture.step == 1:
        depth = f"{bits} bit, every value as stored"
    else:
        depth = f"8 bit: steps of {picture.step:.1f}{unit} from {picture.low:.0f} to {picture.high:.0f}{unit}"
    return "; ".join([*words, depth]) + "."
