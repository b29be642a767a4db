"""Rows of a user's table and folders of scans in; sites with a row for each scan out, and what did not match."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from elsewhere.errors import BadTable
from elsewhere.scans.dicom.header import read_headers
from elsewhere.scans.inventory import VOLUME_ENDS, Inventory
from elsewhere.scans.labels import LabelRow
from elsewhere.scans.own_table import OwnRole, OwnRow, OwnTable
from elsewhere.scans.scan import Fact
from elsewhere.scans.values import (
    Order,
    form,
    normal_path,
    parse_age,
    parse_contrast,
    parse_date,
    parse_sex,
    slash_order,
)

DICOM = "dicom"
PARSERS: Mapping[OwnRole, Callable[[str], Fact]] = {
    "contrast": parse_contrast,
    "date": parse_date,
    "age": parse_age,
    "sex": parse_sex,
}


@dataclass(frozen=True)
class OwnSite:
    """One site that a table and a folder make.

    Attributes:
        name: for the study file.
        inventory: of its folder.
        root: the folder, or the part of it that holds all of this site's scans.
        rows: its labels table.
    """

    name: str
    inventory: Inventory
    root: Path
    rows: tuple[LabelRow, ...]


@dataclass(frozen=True)
class Assignment:
    """How rows and scans came together.

    Attributes:
        sites: those that have a scan with a row.
        lost: lines of rows without a scan, with what they say.
        spare: folder -> names of scans without a row.
    """

    sites: tuple[OwnSite, ...]
    lost: tuple[str, ...]
    spare: Mapping[Path, tuple[str, ...]]


def assign(table: OwnTable, folders: Sequence[Inventory]) -> Assignment:
    """Give each row its folder and scan. A row's path may be relative to its folder, begin with the folder's name,
    be absolute, or be a bare file name; without a path its scan is that of its UID, else the one named after its
    patient.

    Args:
        table: the rows.
        folders: with the scans, none of them of a published layout.

    Raises:
        BadTable: rows fit several folders and nothing tells which, or two rows name one scan.
    """
    indices = [_Index(folder, studies="study_uid" in table.columns) for folder in folders]
    owners = _owners(table, indices)
    taken: dict[tuple[int, str], OwnRow] = {}
    lost: list[str] = []
    groups: dict[tuple[int, str], list[tuple[OwnRow, str]]] = defaultdict(list)
    for row in table.rows:
        site = row.cells.get("site", "")
        if not row.cells["patient"]:
            lost.append(f"line {row.line}: the patient is empty")
            continue
        hits = {i: hit for i in owners[site] if (hit := indices[i].find(row))}
        best = {i: name for i, (rank, name) in hits.items() if rank == min(r for r, _ in hits.values())}
        if not best:
            lost.append(f"line {row.line}: {_says(row)}")
            continue
        if len(best) > 1:
            names = " and in ".join(str(folders[i].root) for i in best)
            what = f"line {row.line}: {_says(row)} may be a scan in {names}"
            raise BadTable(table.path, what, "Put the folder's name before the file's, or name folders as in --site")
        ((place, name),) = best.items()
        if (other := taken.get((place, name))) is not None:
            what = f"lines {other.line} and {row.line} both name {folders[place].root / name}"
            then = "Keep one row per scan; where they are of two hospitals, name the folders as in the column of sites"
            raise BadTable(table.path, what, then)
        taken[place, name] = row
        groups[place, site].append((row, name))
    order = slash_order(row.cells.get("date", "") for row in table.rows)
    called = _site_names(list(groups), folders)
    shared = Counter(place for place, _ in groups)
    sites = tuple(
        _site(called[key], folders[key[0]], rows, order, shared=shared[key[0]] > 1) for key, rows in groups.items()
    )
    spare = {
        folder.root: tuple(name for name in folder.scans if (i, name) not in taken) for i, folder in enumerate(folders)
    }
    return Assignment(sites, tuple(lost), {root: names for root, names in spare.items() if names})


def _says(row: OwnRow) -> str:
    cells = row.cells
    return repr(cells.get("series_uid") or cells.get("path") or cells.get("study_uid") or cells["patient"])


class _Index:
    """The scans of one folder by everything that a row may call them."""

    def __init__(self, folder: Inventory, *, studies: bool) -> None:
        self.folder = folder
        self.whole: dict[str, set[str]] = defaultdict(set)
        self.bare: dict[str, set[str]] = defaultdict(set)
        for name, scan in folder.scans.items():
            paths = [f.relative_to(folder.root).as_posix() for f in scan.files] if folder.kind == DICOM else [name]
            for path in paths:
                self._add(path, name)
            if folder.kind == DICOM:
                self.whole[name].add(name)
                self.whole[_uid(name)].add(name)
                self.bare[form(scan.patient)].add(name)
                if studies:
                    self.whole[next(iter(read_headers(scan.files[0]))).study_uid].add(name)

    def _add(self, path: str, name: str) -> None:
        for spelling in (path, _without_end(path)):
            self.whole[form(spelling)].add(name)
            self.bare[form(spelling).rpartition("/")[2]].add(name)
        if self.folder.kind == DICOM:  # a folder stands for the series in it
            for parent in Path(path).parents:
                self.whole[form(parent.as_posix())].add(name)

    def find(self, row: OwnRow) -> tuple[int, str] | None:
        """(how far the row's words are from the scan's name, name); None where none or several fit."""
        for role in ("series_uid", "path", "study_uid"):
            if text := row.cells.get(role, ""):
                return self._by_path(text) if role == "path" else _one(self.whole.get(text), 0)
        return _one(self.bare.get(form(row.cells["patient"])), 1)

    def _by_path(self, text: str) -> tuple[int, str] | None:
        path = form(normal_path(text))
        if hit := _one(self.whole.get(path), 0):
            return hit
        parts, root = path.split("/"), form(self.folder.root.resolve().as_posix()).split("/")
        for i in range(len(parts) - 1, 0, -1):  # the folder's own name, or the whole way to it, stands in front
            if parts[i - 1] == root[-1] and (hit := _one(self.whole.get("/".join(parts[i:])), 0)):
                return hit
        return _one(self.bare.get(path), 1) if len(parts) == 1 else None


def _one(names: set[str] | None, rank: int) -> tuple[int, str] | None:
    return (rank, next(iter(names))) if names and len(names) == 1 else None


def _uid(name: str) -> str:
    return name.partition(" ")[0]


def _without_end(path: str) -> str:
    end = next((end for end in sorted(VOLUME_ENDS, key=len, reverse=True) if path.lower().endswith(end)), "")
    return path[: -len(end)] if end else os.path.splitext(path)[0]


# Sites -------------------------------------------------------------------------------------------------------------


def _owners(table: OwnTable, indices: Sequence[_Index]) -> dict[str, list[int]]:
    """Value of the site column -> the folders that its rows may lie in.

    A folder that is called like the value is it. Else, where all rows of the value that fit one folder only agree on
    it, that one; a folder that is called like another value is not taken.
    """
    every = list(range(len(indices)))
    values = list(dict.fromkeys(row.cells.get("site", "") for row in table.rows))
    called = {
        value: [i for i in every if value and plain(indices[i].folder.root.resolve().name) == plain(value)]
        for value in values
    }
    named = {i for places in called.values() for i in places}
    owners: dict[str, list[int]] = {}
    for value in values:
        if called[value]:
            owners[value] = called[value]
            continue
        free = [i for i in every if i not in named]
        votes: Counter[int] = Counter()
        for row in table.rows:
            if row.cells.get("site", "") == value:
                hits = [i for i in free if indices[i].find(row)]
                votes.update(hits if len(hits) == 1 else [])
        owners[value] = list(votes) if value and len(votes) == 1 else free
    return owners


def plain(text: str) -> str:
    """A name without case, accents and marks, to compare a hospital's name with a folder's."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or text
    return re.sub(r"[\W_]+", "", letters).casefold()


def _site_names(groups: Sequence[tuple[int, str]], folders: Sequence[Inventory]) -> dict[tuple[int, str], str]:
    """A name for each site that a study file takes, none twice."""
    names: dict[tuple[int, str], str] = {}
    for place, value in groups:
        folder = folders[place].root.resolve().name
        name = site_name(value or folder)
        if name in names.values():
            name = site_name(f"{value} {folder}")
        names[place, value] = name if name not in names.values() else f"{name} {len(names) + 1}"
    return names


def site_name(text: str) -> str:
    """The nearest name that a study file takes: ASCII letters, digits, space and `. _ -`, a letter or digit first.

    >>> site_name("Universitätsklinik Köln (A)"), site_name("北京")
    ('Universitatsklinik Koln A', 'Site')
    """
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9 ._-]+", " ", letters).strip(" ._-")
    return re.sub(r" {2,}", " ", name) or "Site"


def _site(
    name: str, folder: Inventory, pairs: Sequence[tuple[OwnRow, str]], order: Order | None, *, shared: bool
) -> OwnSite:
    root = _common(folder, [n for _, n in pairs]) if shared else folder.root
    below = "" if root == folder.root else root.relative_to(folder.root).as_posix() + "/"
    rows = []
    for row, scan in pairs:
        uid, path = (_uid(scan), "") if folder.kind == DICOM else ("", scan.removeprefix(below))
        if folder.kind == DICOM and " " in scan:  # several series share the UID: its folder names it
            uid, path = "", folder.scans[scan].files[0].parent.relative_to(root).as_posix()
        facts = MappingProxyType(_facts(row, order))
        made = LabelRow(row.cells["patient"], row.label, series_uid=uid, path=path, facts=facts)
        rows.append(replace(made, scan=made.key))
    return OwnSite(name, folder, root, tuple(rows))


def _common(folder: Inventory, names: Sequence[str]) -> Path:
    parents = {str(file.parent) for name in names for file in folder.scans[name].files}
    if folder.kind == "images":  # a folder of slices is a scan, and its site's root lies above it
        parents = {str((folder.root / name).parent) for name in names}
    return Path(os.path.commonpath(parents))


def _facts(row: OwnRow, order: Order | None) -> dict[str, Fact]:
    """Age, sex, date and contrast where they can be understood; the others are left out."""
    facts: dict[str, Fact] = {}
    for role, parse in PARSERS.items():
        if text := row.cells.get(role, ""):
            with suppress(ValueError):
                facts[role] = parse_date(text, order) if role == "date" else parse(text)
    return facts
