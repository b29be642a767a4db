"""The columns of a labels table: which is which, what a site's options say of them, and whose rows they are."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elsewhere.errors import BadSite
from elsewhere.scans.scan import NEGATIVE, POSITIVE
from elsewhere.scans.values import alike, check_ids, parse_label

KEYS = ("series_uid", "path", "study_uid")
FACTS = ("contrast", "date", "age", "sex")
COLUMNS = ("patient_id", "scan_id", *KEYS, "label", "subset", *FACTS)
SITE = "site"
SYNONYMS = {
    "patient": "patient_id",
    "patientid": "patient_id",
    "scan": "scan_id",
    "scanid": "scan_id",
    "seriesuid": "series_uid",
    "seriesinstanceuid": "series_uid",
    "series_instance_uid": "series_uid",
    "studyuid": "study_uid",
    "studyinstanceuid": "study_uid",
    "study_instance_uid": "study_uid",
    "hospital": SITE,
}


@dataclass(frozen=True)
class TableOptions:
    """What a site's options in the study file say of its labels table.

    Attributes:
        columns: name of a column here -> its name in the table; "" for one that is not to be read.
        positive: labels of the table that are positive; alone, all others are negative.
        negative: labels that are negative.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    positive: Sequence[str] = ()
    negative: Sequence[str] = ()

    def label(self, text: str) -> int | None:
        """1, 0, or None for `unknown`. Raises ValueError."""
        words = text.strip().casefold()
        for values, label in ((self.positive, POSITIVE), (self.negative, NEGATIVE)):
            if words in {value.strip().casefold() for value in values}:
                return label
        if self.positive and not self.negative and words not in {"", "unknown"}:
            return NEGATIVE
        return parse_label(text)


def cell(text: str) -> str:
    """The text of a cell, without spaces and byte order marks around it."""
    return text.strip().strip("\ufeff").strip()


def column_name(name: str, synonyms: Mapping[str, str]) -> str:
    """The name that a column has here; its own, in lower case, where it is none of ours."""
    name = cell(name).lower()
    if name in synonyms:
        return synonyms[name]
    name = re.sub(r"[\s\-]+", "_", name)
    return SYNONYMS.get(name, name)


def find_columns(
    header: Sequence[str],
    where: str,
    *,
    keys: Sequence[str],
    ignore: Collection[str],
    synonyms: Mapping[str, str],
    options: TableOptions,
    notes: list[str],
) -> dict[str, int]:
    """Column name -> its place in the header.

    Args:
        header: as in the table.
        where: what an error calls the table.
        keys: of which one must be there.
        ignore: columns that may be there and are not read, in lower case.
        synonyms: lower-case name in the table -> column name.
        options: of the site.
        notes: takes a sentence on the columns that are not known.

    Raises:
        BadSite: a column is missing, stands twice, or an option names one that is not there.
    """
    given = _given(header, where, options)
    accepted = f"Columns accepted: {', '.join(COLUMNS)}"
    places = list(given.items())
    for i, name in enumerate(header):
        known = column_name(name, synonyms)
        if i not in given.values() and known not in options.columns and cell(name).lower() not in ignore:
            places.append((known, i))
    names = [name for name, _ in places if name]
    allowed = (*COLUMNS, SITE)
    if twice := [name for name, n in Counter(names).items() if n > 1 and name in allowed]:
        raise BadSite(where, f"has duplicated columns: {', '.join(twice)}", "Keep one of each")
    missing = [name for name in ("patient_id", "label") if name not in names]
    if not any(key in names for key in keys):
        missing.append(" or ".join(keys))
    unknown = [name for name in dict.fromkeys(names) if name not in allowed]
    if missing:
        hints = [f"`{close[0]}` may be {n}" for n in missing if (close := difflib.get_close_matches(n, unknown, n=1))]
        then = f"Rename them, or name them with the site's option `columns`. {accepted}"
        hint = f" ({'; '.join(hints)})" if hints else ""
        raise BadSite(where, f"missing columns: {', '.join(missing)}{hint} (found: {', '.join(names)})", then)
    if unknown:
        free = [name for name in COLUMNS if name not in names]
        like = {name: difflib.get_close_matches(name, free, n=1, cutoff=0.75) for name in unknown}
        shown = [f"{name} (did you mean {like[name][0]}?)" if like[name] else name for name in unknown]
        notes.append(f"{Path(where.partition(': ')[2] or where).name}: columns not used: {', '.join(shown)}")
    return {name: i for name, i in places if name in allowed}


def _given(header: Sequence[str], where: str, options: TableOptions) -> dict[str, int]:
    """The places of the columns that the options name."""
    names, found = [cell(name) for name in header], dict[str, int]()
    for ours, theirs in options.columns.items():
        if ours not in (*COLUMNS, SITE):
            close = difflib.get_close_matches(ours, COLUMNS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Columns: {', '.join((*COLUMNS, SITE))}"
            raise BadSite(where, f"option `columns` names {ours!r}, which no labels table has", hint)
        if not theirs:
            continue
        fitting = [i for i, name in enumerate(names) if name.casefold() == theirs.strip().casefold()]
        if len(fitting) != 1:
            close = difflib.get_close_matches(theirs, names, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Columns of the table: {', '.join(names)}"
            number = "more than one column is" if fitting else "no column is"
            raise BadSite(where, f"{number} called {theirs!r}, as option `columns` has it", hint)
        found[ours] = fitting[0]
    return found


def own_lines(
    lines: Sequence[tuple[int, dict[str, str]]], site: str, root: Path | None, where: str, notes: list[str]
) -> list[tuple[int, dict[str, str]]]:
    """The rows of this site, by the column `site`; all of them where it is absent, empty, or the same everywhere.

    Args:
        lines: (number, cells by column).
        site: name of the site; the name of its folder stands for it as well.
        root: its folder.
        where: what an error calls the table.
        notes: takes a sentence on the rows that are left out.

    Raises:
        BadSite: the column has several values, and none names this site.
    """
    values = Counter(cells.get(SITE, "") for _, cells in lines)
    if len(values) < 2:
        return list(lines)
    wanted = {_plain(site)} | ({_plain(root.name)} if root else set())
    own = [(n, cells) for n, cells in lines if _plain(cells.get(SITE, "")) in wanted]
    if not own:
        shown = ", ".join(repr(value) for value, _ in values.most_common(5))
        what = f"its column of sites names others only ({shown})"
        then = 'Name the site, or its folder, as the table does; `columns = { site = "" }` reads all rows'
        raise BadSite(where, what, then)
    name = Path(where.partition(": ")[2] or where).name
    notes.append(f"{name}: {len(lines) - len(own)} rows of other sites are not read")
    return own


def check_ids_of(lines: Sequence[tuple[int, Mapping[str, str]]], where: str) -> None:
    """Raises BadSite where a spreadsheet has cut the patients' or the scans' ids off."""
    for name in ("patient_id", "scan_id"):
        try:
            check_ids(cells.get(name, "") for _, cells in lines)
        except ValueError as error:
            raise BadSite(where, str(error), "Format the column as text and fill the ids in again") from error


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", alike(text)).casefold()


def below(path: str, root: Path | None) -> str:
    """A path with the root, or the root's name, in front: the part below the root.

    Examples:
        >>> below("ct/here/p1.nii", Path("/data/ct/here")), below("there/p1.nii", Path("/data/ct/here"))
        ('p1.nii', 'there/p1.nii')
    """
    parts = path.split("/")
    if root is None or len(parts) < 2 or "\0" in path or os.path.exists(root / parts[0]):
        return path
    whole = root.resolve().parts
    for i in range(len(parts) - 1, 0, -1):
        front = parts[:i]
        if tuple(front) == whole[-i:] or Path("/", *front).resolve() == root.resolve():
            return "/".join(parts[i:])
    return path
