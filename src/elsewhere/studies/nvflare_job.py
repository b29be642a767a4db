"""A kit as a job of NVFlare, which runs the visit at every client (`nvflare_visit.py`); written without NVFlare."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from elsewhere.errors import BadOption
from elsewhere.files import write_whole

TASK, KIT = "visit", "kit.zip"
HERE, WHERE = "elsewhere-visit.toml", "ELSEWHERE_VISIT"
META = {"name": "elsewhere visit", "resource_spec": {}, "min_clients": 1, "deploy_map": {"app": ["@ALL"]}}
SERVER = {"workflows": [{"id": TASK, "path": "elsewhere.nvflare_visit.GatherReturns", "args": {}}]}
CLIENT = {
    "executors": [{"tasks": [TASK], "executor": {"path": "elsewhere.nvflare_visit.VisitScans", "args": {}}}],
}


def check_job(folder: Path) -> None:
    """Refuse a folder that is there already. Raises BadOption."""
    if folder.exists():
        raise BadOption(str(folder), "is there already", "Give another folder, or move it away")


def write_job(kit: Path, folder: Path) -> None:
    """Write the folder of a job, as `nvflare simulator` and `nvflare job submit` take it.

    No program travels with it: the server and every client run the elsewhere that is installed there.

    Args:
        kit: from `elsewhere kit`.
        folder: must not be there yet.

    Raises:
        BadOption: it is.
    """
    check_job(folder)
    for name, content in (("config_fed_server", SERVER), ("config_fed_client", CLIENT)):
        whole = {"format_version": 2, **content, "components": []}
        write_whole(folder / "app" / "config" / f"{name}.json", json.dumps(whole, indent=1))
    shutil.copyfile(kit, folder / "app" / "config" / KIT)
    write_whole(folder / "meta.json", json.dumps(META, indent=1))


@dataclass(frozen=True, kw_only=True)
class VisitHere:
    """What a client says of its own scans, in `elsewhere-visit.toml`; paths that are not absolute are from that file.

    Attributes:
        scans: folder of the scans.
        kind: file format of the scans.
        labels: labels table; "" for the one in the folder.
        option: site options, KEY=VALUE.
        hospital: its name for the study's page; "" for the kit's, or one made from numbers.
        work: folder for prepared scans (patient data) and a copy of the return.
        digits: cut every number to so many; None for all.
        agreed: whether the return may leave; without it, it stays in `work`, to be read first.
    """

    scans: Path
    work: Path
    kind: str | None = None
    labels: Path | None = None
    option: tuple[str, ...] = ()
    hospital: str = ""
    digits: int | None = None
    agreed: bool = False


def read_here(path: Path) -> VisitHere:
    """What a client says of its own scans.

    Raises:
        BadOption: the file is missing, no TOML, or says something else.
    """
    then = f"Write {HERE} into the client's folder `local`: scans, work, agreed (docs/how-to/visit.md)"
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadOption(str(path), f"cannot be read ({error})", then) from error
    names = {one.name for one in fields(VisitHere)}
    if wrong := sorted(given.keys() - names):
        raise BadOption(str(path), f"key {wrong[0]} is unknown", f"Known are {', '.join(sorted(names))}")
    if lacking := [name for name in ("scans", "work") if name not in given]:
        raise BadOption(str(path), f"{lacking[0]} is missing", then)
    if not isinstance(given.get("agreed", False), bool):
        raise BadOption(str(path), f"agreed is {given['agreed']!r}", "Write true or false, without quotes")
    paths = {name: path.parent / given[name] for name in ("scans", "work", "labels") if given.get(name)}
    return VisitHere(**{**given, "option": tuple(given.get("option", ())), **paths})
