"""The published layouts: one module each, with `find`, `read`, `write`, `write_tables` and `READER_VERSION`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from elsewhere.scans.scan import Found, Scan
from elsewhere.scans.volume import Volume

KINDS = {
    "utsw": "DICOM series of any hospital, with a labels table",
    "cc_ccii": "CC-CCII (China), raw or cleaned release",
    "covid_ctset": "COVID-CTset (Iran), 16-bit TIFF",
    "mosmeddata": "MosMedData COVID19_1110 (Russia), NIfTI",
    "volumes": "NIfTI, MHA or NRRD files, with a labels table",
    "images": "folders of slices, or one image per scan, with a labels table",
}


class Reader(Protocol):
    """What every module of this folder offers."""

    READER_VERSION: int

    def find(self, root: Path, site: str, labels: Path | None = None, **options: Any) -> Found:
        """List a site's scans without decoding a pixel."""

    def read(self, scan: Scan) -> Volume:
        """Read one scan. Raises BadScan."""

    def write(self, root: Path, scan: Scan, volume: Volume) -> None:
        """Write one scan's files in this layout."""

    def write_tables(self, root: Path, scans: list[Scan]) -> None:
        """Write the layout's tables (labels, registry) for all scans."""


def reader(kind: str) -> Reader:
    """The module of one kind of site. Raises KeyError for a kind that KINDS does not list."""
    if kind not in KINDS:
        raise KeyError(kind)
    return cast(Reader, import_module(f"{__name__}.{kind}"))
