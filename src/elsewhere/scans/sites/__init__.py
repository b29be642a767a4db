"""The published layouts: one module each, with `find`, `read`, `write`, `write_tables` and `READER_VERSION`."""

from __future__ import annotations

import ast
import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from elsewhere.scans.scan import Found, Scan

if TYPE_CHECKING:  # numpy takes longer than a study file to check
    from elsewhere.scans.volume import Volume

KINDS = {
    "dicom": "DICOM series of any hospital, with a labels table",
    "cc_ccii": "CC-CCII (China), raw or cleaned release",
    "covid_ctset": "COVID-CTset (Iran), 16-bit TIFF",
    "mosmeddata": "MosMedData COVID19_1110 (Russia), NIfTI",
    "volumes": "NIfTI, MHA or NRRD files, with a labels table",
    "images": "folders of slices, or one image per scan, with a labels table",
}

ALIASES = {"utsw": "dicom", "nifti": "volumes"}
"""Other names of kinds: `utsw` was the name of `dicom`, after the site of the paper that brought it."""


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
    """The module of one kind of site, or of an alias. Raises KeyError for a kind that KINDS does not list."""
    kind = ALIASES.get(kind, kind)
    if kind not in KINDS:
        raise KeyError(kind)
    return cast(Reader, import_module(f"{__name__}.{kind}"))


def option_names(kind: str) -> tuple[str, ...]:
    """Keyword-only options of a kind's `find`, from its source: importing what reads DICOM takes most of a second.

    Raises:
        KeyError: a kind that KINDS does not list.

    >>> option_names("dicom")
    ('columns', 'positive', 'negative')
    """
    kind = ALIASES.get(kind, kind)
    if kind not in KINDS:
        raise KeyError(kind)
    source = Path(__file__).with_name(f"{kind}.py")
    if not source.is_file():  # installed without sources
        find = signature(reader(kind).find)
        return tuple(p.name for p in find.parameters.values() if p.kind is Parameter.KEYWORD_ONLY)
    functions = (one for one in ast.parse(source.read_bytes()).body if isinstance(one, ast.FunctionDef))
    return tuple(option.arg for one in functions if one.name == "find" for option in one.args.kwonlyargs)


MOST_FILES = 50_000
"""A folder of more files is listed anew each time: its listing is not worth the memory."""
MOST_LISTINGS = 8
_listings: dict[tuple[object, ...], tuple[str, Found]] = {}


def list_site(kind: str, root: Path, site: str, labels: Path | None, options: Mapping[str, object]) -> Found:
    """A site's scans without decoding a pixel; the listing before where no file has changed since in this process.

    Args:
        kind: of the site.
        root: its folder.
        site: its name.
        labels: its table; None where the layout knows where it is.
        options: of the reader.

    Raises:
        BadSite: as the reader's `find`.
    """
    whole = (kind, root, site, labels, repr(sorted(options.items())))
    state = _state_of([root] if labels is None else [root, labels])
    if state and whole in _listings and _listings[whole][0] == state:
        return _listings[whole][1]
    found = reader(kind).find(root, site, labels, **options)
    if state:
        _listings.pop(whole, None)
        _listings[whole] = state, found
        for oldest in list(_listings)[:-MOST_LISTINGS]:
            del _listings[oldest]
    return found


def _state_of(places: Sequence[Path]) -> str:
    """A hash of names, sizes and times of all files there; "" where they are too many, or one cannot be seen."""
    seen, count, left = hashlib.sha256(), 0, [str(place) for place in places]
    try:
        while left:
            path = left.pop()
            state = os.stat(path)
            seen.update(f"{path}\0{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}\n".encode())
            if stat.S_ISDIR(state.st_mode):
                left += sorted(entry.path for entry in os.scandir(path))
            count += 1
            if count + len(left) > MOST_FILES:
                return ""
    except (OSError, UnicodeError):
        return ""
    return seen.hexdigest()


def lister(kind: str) -> Callable[..., Found] | None:
    """What lists a folder of this kind without a labels table (root, name); None where the layout brings labels."""
    found: Callable[..., Found] | None = getattr(reader(kind), "find_unlabelled", None)
    return found


def kind_of(text: str) -> str | None:
    """The kind that a user means: its name or an alias, in any case; None where there is none such.

    >>> kind_of("DICOM"), kind_of("utsw"), kind_of("nifti"), kind_of("ct")
    ('dicom', 'dicom', 'volumes', None)
    """
    name = text.strip().lower()
    return name if (name := ALIASES.get(name, name)) in KINDS else None
