"""DICOM series → volume (`find_series`, `choose`, `read_volume`), and volume → DICOM series (`write_series`).

tags: file → text of its tags · header: text → numbers · series: files → series · stack: images → their order ·
pixels: bytes → HU · volume: files → `Volume` · writing: `Volume` → files.
"""

from elsewhere.scans.dicom.series import Series, choose, find_series
from elsewhere.scans.dicom.volume import read_volume
from elsewhere.scans.dicom.writing import uid_of, write_series

__all__ = ["Series", "choose", "find_series", "read_volume", "uid_of", "write_series"]
