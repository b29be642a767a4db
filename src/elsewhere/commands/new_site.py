"""The site that a verdict is asked about: a folder with kind and options, or a site of a study file; and its scans."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from elsewhere.errors import BadSite, BadStudy
from elsewhere.plan import Site, check_options, load_sites
from elsewhere.scans.dicom.series import find_series
from elsewhere.scans.labels import LabelRow, find_table, write_labels
from elsewhere.scans.scan import Found
from elsewhere.scans.sites import KINDS, images, reader, volumes


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
        kind = kind or "utsw"
        if kind not in KINDS:
            raise BadStudy("--kind", f"is {kind!r}", f"Use one of {', '.join(KINDS)}")
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


def find_scans(site: Site, out: Path) -> Found:
    """The site's scans; where its kind wants a labels table and there is none, all of them as unlabelled."""
    labels = site.labels
    if labels is None and site.kind in {"utsw", "volumes", "images"}:
        try:
            find_table(site.root, None, site.name)
        except BadSite:
            labels = _unlabelled(site.kind, site.root, out)
    return reader(site.kind).find(site.root, site.name, labels, **site.options)


def _unlabelled(kind: str, root: Path, out: Path) -> Path | None:
    """A labels table that names every scan below the root, all of them unknown; None where there is nothing."""
    if not root.is_dir():
        raise BadSite(root, "no such folder", "Give the folder of the new site's scans")
    rows = list(_unknown_rows(kind, root))
    if not rows:
        return None
    path = out / "unlabelled.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, rows)
    return path


def _unknown_rows(kind: str, root: Path) -> Iterable[LabelRow]:
    """One row per DICOM series that is a CT volume, per volume file, or per folder of slices or single image.

    Without a table nothing says which files are of one patient, except in DICOM: each scan counts as its own.
    """
    if kind == "utsw":
        for series in find_series(root)[0]:
            if not series.refusal:
                yield LabelRow(series.patient or series.uid, None, series_uid=series.uid, scan=series.uid)
    else:
        for name in (volumes if kind == "volumes" else images).name_scans(root):
            yield LabelRow(name, None, path=name, scan=name)
