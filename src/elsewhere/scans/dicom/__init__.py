"""DICOM series → volume (`find_series`, `choose`, `read_volume`), and volume → DICOM series (`write_series`).

tags: file → text of its tags · texts: text → numbers · header: tags → one `Header` an image · separate: images of one
UID → who belongs together · stack: images → their order · preference: which of several · series: files → series ·
codestream: encoded bytes → their size · pixels: bytes → stored values · hounsfield: stored values → HU ·
volume: files → `Volume` · writing: `Volume` → files.
"""

from elsewhere.scans.dicom.series import Series, choose, find_series
from elsewhere.scans.dicom.volume import read_volume
from elsewhere.scans.dicom.writing import uid_of, write_series

__all__ = ["Series", "choose", "find_series", "read_volume", "uid_of", "write_series"]
