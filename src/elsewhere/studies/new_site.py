"""The site that a verdict is asked about: a folder with kind and options, or a site of a study file; and its scans."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from elsewhere.errors import BadSite, BadStudy
from elsewhere.scans.label_columns import TableOptions, column_name
from elsewhere.scans.labels import TABLE_NAMES, TITLES, find_table, tables_in
from elsewhere.scans.scan import Found
from elsewhere.scans.sites import KINDS, dicom, images, kind_of, list_site, volumes
from elsewhere.scans.tables import read_lines
from elsewhere.studies.file import Site, check_options, load_sites

UNLABELLED: Mapping[str, Callable[..., Found]] = {
    "dicom": dicom.find_unlabelled,
    "volumes": volumes.find_unlabelled,
    "images": images.find_unlabelled,
}
"""What lists a site's scans where no table names them, by kind; the other layouts say of each scan what it is."""

TABLE_KEYS = tuple(field.name for field in fields(TableOptions))
"""Options that say something of a labels table: none where there is no table."""


def read_options(given: Sequence[str]) -> dict[str, Any]:
    """Site options from KEY=VALUE; a value is read as in a study file, and as text where it is no TOML.

    Raises:
        BadStudy: one without "=", or a key twice.
    """
    options: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or key.strip() in options:
            what = f"is {text!r}" if key.strip() not in options else f"gives {key.strip()!r} twice"
            raise BadStudy("--option", what, "Write each as KEY=VALUE once, as --option units=HU --option offset=-1024")
        try:
            options[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[key.strip()] = value.strip()
    return options


def new_site(
    scans: Path,
    kind: str | None = None,
    labels: Path | None = None,
    options: Mapping[str, Any] = {},
    name: str | None = None,
) -> Site:
    """The new site: a folder with its kind, labels and options, or a site of a study file.

    Raises:
        BadStudy: an unknown kind, option or site; or both a study file and what it already says.
    """
    if scans.suffix != ".toml":
        if name is not None:
            raise BadStudy(
                "--site", f"is {name!r}, but {scans} is no study file", "Give a study file (.toml), or no --site"
            )
        wanted = kind or "dicom"
        if (kind := kind_of(wanted)) is None:
            raise BadStudy("--kind", f"is {wanted!r}", f"Use one of {', '.join(KINDS)}")
        return Site(scans.resolve().name, kind, scans, labels, options=check_options("--option", kind, options))
    if kind or labels or options:
        raise BadStudy(scans, "is a study file, which names kind, labels and options itself", "Leave those options out")
    sites = {site.name: site for site in load_sites(scans)}
    if name is None and len(sites) == 1:
        return next(iter(sites.values()))
    if name not in sites:
        what = "has several sites" if name is None else f"has no site {name!r}"
        raise BadStudy(scans, what, f"Choose one with --site: {', '.join(sites)}")
    return sites[name]


def find_scans(site: Site) -> Found:
    """The site's scans; where its kind wants a labels table and there is none, all that its reader lists, unlabelled.

    Raises:
        BadSite: the folder or its table is missing or wrong.
    """
    if site.labels is None and site.kind in UNLABELLED and not _has_table(site):
        options = {key: value for key, value in site.options.items() if key not in TABLE_KEYS}
        found = UNLABELLED[site.kind](site.root, site.name, **options)
        if tables := tables_in(site.root):
            names = ", ".join(path.name for path in tables)
            found = replace(found, notes=(*found.notes, f"Of {names} none is called labels.csv: none was read."))
        return found
    return list_site(site.kind, site.root, site.name, site.labels, site.options)


def _has_table(site: Site) -> bool:
    try:
        table = find_table(site.root, None, site.name)
    except BadSite:
        return site.kind == "volumes" and (site.root / volumes.STOIC_TABLE).is_file()
    return table.name.lower() in TABLE_NAMES or _tells_labels(table, site)


def _tells_labels(table: Path, site: Site) -> bool:
    """Whether the only table of a folder, under any name, has a column of labels: else it is some other table."""
    theirs = str(site.options.get("columns", {}).get("label", "label")).strip().lower()
    try:
        lines = read_lines(table, str(table))[:TITLES]
    except BadSite:
        return True  # said again when it is read
    return any(column_name(cell, {theirs: "label"}) == "label" for _, cells in lines for cell in cells)
