"""`elsewhere init`: folders of scans and one table in; a study file and a labels table for each site out."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands import split_names
from elsewhere.errors import BadStudy, BadTable
from elsewhere.files import short_name, write_whole
from elsewhere.scans.assignment import OwnSite, assign, site_name
from elsewhere.scans.inventory import Inventory, take_inventory
from elsewhere.scans.labels import LabelRow, tables_in, write_labels
from elsewhere.scans.own_table import Ask, OwnRole, describe_labels, read_own_table
from elsewhere.scans.scan import CLASSES, SplitSettings, split_counts
from elsewhere.scans.sites import KINDS, kind_of
from elsewhere.studies.expected import expected_words
from elsewhere.studies.file import load_study
from elsewhere.studies.keys import VARIABLE
from elsewhere.wording import numbered, verb

ITERATIONS = 20_000
SMALL = """iterations = 300
validate_every = 50
learning_rate = 5e-4
batch = 4

[network]
preset = "small"   # shows the whole path in minutes; its scores mean little

[prediction]
passes = 10
"""
SHOWN = 5  # of each kind of leftover


def init(
    folders: Annotated[list[Path], typer.Argument(help="Folders of the scans, one or more.")],
    *,
    table: Annotated[
        Path | None, typer.Option(help="Table with the labels [the one in or beside the folders].")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="Column of the patients [recognised by its name].")] = None,
    path: Annotated[str | None, typer.Option(help="Column of the files or folders [recognised].")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the labels [recognised].")] = None,
    site: Annotated[str | None, typer.Option(help="Column of the hospitals [recognised].")] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="Labels that are positive, with commas between or repeated.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help=f"File format: {', '.join(KINDS)} [recognised].")] = None,
    small: Annotated[bool, typer.Option("--small", help="A small network: minutes without a GPU.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for study.toml and the labels tables.")] = Path(),
) -> Path:
    """Write a study file and labels tables from folders of scans and one table; nothing is trained.

    Says what matched and what did not. On a terminal it asks what it cannot recognise.
    """
    wanted = None if kind is None else kind_of(kind)
    if kind is not None and wanted is None:
        raise BadStudy("--kind", f"is {kind!r}", f"Use one of {', '.join(KINDS)}")
    named: dict[OwnRole, str | None] = {"patient": patient, "path": path, "label": label, "site": site}
    given: dict[OwnRole, str] = {role: name for role, name in named.items() if name is not None}
    inventories = [take_inventory(folder, wanted) for folder in folders]
    for one in inventories:
        engine.say(f"{numbered(len(one.scans), 'scan')} ({KINDS[one.kind]})", f"{one.root}:")
        for note in one.notes:
            engine.say(note, "Note:", "yellow")
        for bad in one.bad[:SHOWN]:
            engine.say(bad, "Not used:", "yellow")
    values, ask = split_names(positive), _ask if _terminal() else None
    file = write_study(inventories, table, given, values, out, small=small, ask=ask)
    engine.say(f"next: elsewhere prepare {file}, then elsewhere study {file}", f"Wrote {file};")
    return file


def write_study(
    inventories: Sequence[Inventory],
    table: Path | None,
    given: Mapping[OwnRole, str],
    positive: Sequence[str],
    out: Path,
    *,
    small: bool = False,
    ask: Ask | None = None,
) -> Path:
    """Match a table with folders of scans; write `study.toml` and `labels/SITE.csv`; print what matched.

    Args:
        inventories: of the folders.
        table: of the labels; None looks for one table in each folder, else for one beside them.
        given: role -> name of its column, where it is not to be recognised.
        positive: values of the label column that are positive.
        out: folder to write to.
        small: ask for the small network and a short training.
        ask: asks the user what cannot be recognised; None in scripts.

    Returns:
        The study file.

    Raises:
        BadTable: no table, or one that cannot be understood or matches no scan.
        BadStudy: there is a study file already, or no site has the patients that a training needs.
    """
    file = out / "study.toml"
    if file.exists():
        raise BadStudy(file, "is there already", "Give another folder with --out, or move it away")
    own = [one for one in inventories if not one.published]
    sites: list[OwnSite] = []
    for path, group in _tables(own, table).items():
        sites += _match(path, group, given, positive, ask)
    names = [s.name for s in sites]
    published = {_fresh(site_name(one.root.resolve().name), names): one for one in inventories if one.published}
    trained = [s.name for s in sites if _can_train(s.rows)]
    if not trained and not published:
        least = _least_patients()
        what = f"no site has the {least} patients of each class that a training needs"
        raise BadStudy(", ".join(names), what, "Add patients, or put the folders of several hospitals together")
    tables = {s.name: Path("labels") / f"{short_name(s.name)}.csv" for s in sites}
    text = _head(small)
    for s in sites:
        text += _block(s.name, s.inventory.kind, s.root, out, tables[s.name], test=s.name not in trained)
    for name, one in published.items():
        text += _block(name, one.kind, one.root, out)
    (out / "labels").mkdir(parents=True, exist_ok=True)
    for s in sites:
        write_labels(out / tables[s.name], s.rows)
        _print_site(s, trained=s.name in trained)
    write_whole(file, text)
    load_study(file)
    return file


def _tables(own: Sequence[Inventory], table: Path | None) -> dict[Path, list[Inventory]]:
    """Table -> the folders that it is for."""
    if table is not None:
        return {table: list(own)} if own else {}
    inside = {one.root: tables_in(one.root) for one in own}
    if own and all(len(found) == 1 for found in inside.values()):
        return {inside[one.root][0]: [one] for one in own}
    parents = dict.fromkeys(one.root.resolve().parent for one in own)
    beside = [path for parent in parents for path in tables_in(parent)]
    if not any(inside.values()) and len(beside) == 1:
        return {beside[0]: list(own)}
    if not own:
        return {}
    there = ", ".join(map(str, [*(p for found in inside.values() for p in found), *beside])) or "none"
    raise BadTable(
        ", ".join(str(one.root) for one in own),
        f"it is not clear which table has the labels (tables in and beside the folders: {there})",
        "Name it with --table",
    )


def _match(
    path: Path, folders: Sequence[Inventory], given: Mapping[OwnRole, str], positive: Sequence[str], ask: Ask | None
) -> list[OwnSite]:
    table = read_own_table(path, given, positive, ask)
    engine.say(f"{len(table.rows)} rows", f"{path}:")
    engine.say("; ".join(f"{role} = {name!r}" for role, name in table.columns.items()), "Columns:")
    if table.unused:
        engine.say(", ".join(map(repr, table.unused)), "Columns not used:")
    engine.say(describe_labels(table), "Labels:")
    found = assign(table, folders)
    if not found.sites:
        scans = [name for folder in folders for name in folder.scans]
        what = (
            f"none of its {len(table.rows)} rows matches a scan (table: {_some(found.lost)}; on disk: {_some(scans)})"
        )
        raise BadTable(path, what, "Name the column of the files with --path; paths begin at the folder of the scans")
    if found.lost:
        engine.say(f"{numbered(len(found.lost), 'row')} without a scan: {_some(found.lost)}", "Not matched:", "yellow")
    for root, names in found.spare.items():
        engine.say(f"{numbered(len(names), 'scan')} of {root} without a row: {_some(names)}", "Not matched:", "yellow")
    return list(found.sites)


def _some(items: Sequence[str]) -> str:
    more = f"; and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return "; ".join(items[:SHOWN]) + more


def _fresh(name: str, taken: list[str]) -> str:
    while name in taken:
        name += " 2"
    taken.append(name)
    return name


def _patients(rows: Sequence[LabelRow]) -> dict[int, int]:
    """Class -> number of patients; one with scans of both counts as negative, as the split has it."""
    lowest: dict[str, int] = {}
    for row in rows:
        if row.label is not None:
            lowest[row.patient] = min(row.label, lowest.get(row.patient, row.label))
    return {label: sum(found == label for found in lowest.values()) for label in CLASSES}


def _least_patients() -> int:
    return next(n for n in range(1, 1000) if min(split_counts(n, SplitSettings())) >= 1)


def _can_train(rows: Sequence[LabelRow]) -> bool:
    return min(_patients(rows).values()) >= _least_patients()


def _print_site(site: OwnSite, *, trained: bool) -> None:
    patients = _patients(site.rows)
    words = ", ".join(f"{numbered(patients[label], 'patient')} {name}" for label, name in CLASSES.items())
    engine.say(f"{numbered(len(site.rows), 'scan')}; {words}", f"{site.name}:", "bold")
    unlabelled = sum(row.label is None for row in site.rows)
    if unlabelled:
        engine.say(
            f"{numbered(unlabelled, 'scan')} without a label {verb(unlabelled, 'is', 'are')} never scored", "Note:"
        )
    both = {row.patient for row in site.rows if row.label == 1} & {row.patient for row in site.rows if row.label == 0}
    if both:
        have = verb(len(both), "has", "have")
        engine.say(
            f"{numbered(len(both), 'patient')} {have} scans of both labels: {_some(sorted(both))}", "Note:", "yellow"
        )
    if not trained:
        words = f"fewer than {_least_patients()} patients of one class: the whole site is for external validation"
        engine.say(words, "Note:", "yellow")
        return
    for label, name in CLASSES.items():
        train, validation, test = split_counts(patients[label], SplitSettings())
        engine.say(f"  {name}: {train} patients train, {validation} validate, {test} test")
    tested = [split_counts(patients[label], SplitSettings())[2] for label in (1, 0)]
    if words := expected_words((tested[0], tested[1]), (patients[1], patients[0]), 0):
        engine.say(f"  so tested, {words}")


# The study file ----------------------------------------------------------------------------------------------------


def _head(small: bool) -> str:
    return "\n".join(
        [
            "# Written by `elsewhere init`. All keys: documentation, “The study file”.",
            '# A network is trained on each site with use = "split", and tested at every site.',
            "",
            "[training]",
            SMALL if small else f"iterations = {ITERATIONS}\n",
        ]
    )


def _block(name: str, kind: str, root: Path, out: Path, labels: Path | None = None, *, test: bool = False) -> str:
    quoted = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
    lines = [f"[sites.{quoted}]", f'kind = "{kind}"', f"root = {_quoted(_path_from(root, out))}"]
    if labels is not None:
        lines.append(f"labels = {_quoted(labels.as_posix())}")
    lines.append(f'use = "{"test" if test else "split"}"')
    return "\n" + "\n".join(lines) + "\n"


def _path_from(root: Path, out: Path) -> str:
    """The folder's path as the study file has it: relative where it lies below the file or beside it."""
    whole, start = root.resolve(), out.resolve()
    near = whole.is_relative_to(start) or (whole.is_relative_to(start.parent) and len(start.parents) > 1)
    text = Path(os.path.relpath(whole, start)).as_posix() if near else whole.as_posix()
    if VARIABLE.search(text) or text.startswith("~"):
        raise BadStudy(
            root, "holds a `$` or begins with `~`, which a study file reads as a variable", "Rename the folder"
        )
    return text


def _quoted(text: str) -> str:
    """A TOML string; JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


# Asking ------------------------------------------------------------------------------------------------------------


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: str, answers: Sequence[str]) -> str:
    typer.echo(question, err=True)
    for number, answer in enumerate(answers, start=1):
        typer.echo(f"  {number}  {answer}", err=True)
    number = 0
    while not 1 <= number <= len(answers):
        number = typer.prompt("Number", type=int, err=True)
    return answers[number - 1]
