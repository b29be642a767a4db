"""Settings of simulated sites in; their folders in the published layouts out, and the planted truth beside each.

For a site `UTSW` in folder `out` there are `out/UTSW/` (the layout, nothing else), `out/UTSW.truth.csv` (one row per
scan: disease, severity, acquisition, hospital, lesion share) and `out/UTSW.truth.json` (settings, dials, version, key).
The JSON is written last: a site is finished when it is there. Until then `out/.UTSW.making/` keeps one record per
finished scan, so that a killed run goes on where it stopped; a half-written scan is written again, byte for byte.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from elsewhere.errors import BadSite
from elsewhere.files import write_whole
from elsewhere.memory import keep_freed_memory
from elsewhere.scans.phantom.exam import Made, Plan, make
from elsewhere.scans.phantom.sites import default_sites, in_words, plan_site
from elsewhere.scans.phantom.ties import TIES, SiteSettings
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader

SIMULATOR_VERSION = 3
PLANTED = (
    "Simulated. Disease, body and scanner are planted, and so is the tie between label and acquisition: "
    "its strength (dials, 0 none .. 1 full) and its direction, which differs from site to site, are assumptions, "
    "not findings."
)


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes:
        seed: changes every patient.
        matrix: rows and columns of every slice.
        finest: finest slice distance in mm; protocols with thinner slices are made this coarse.
        sites: the sites.
    """

    seed: int = 0
    matrix: int = 96
    finest: float = 4.0
    sites: tuple[SiteSettings, ...] = default_sites()


class Map(Protocol):
    """How the scans are worked off: like `elsewhere.engine.run`."""

    def __call__(self, function: Any, tasks: Any, *, describe: str) -> Any:
        """Call function(*task) for every task; yield (index, result) in any order."""


def site_key(simulation: Simulation, site: SiteSettings) -> str:
    """Hash of everything that decides a site's bytes."""
    what = [SIMULATOR_VERSION, simulation.seed, simulation.matrix, simulation.finest, asdict(site)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def write_sites(simulation: Simulation, out: Path, run: Map) -> list[Path]:
    """Write every site that is not there yet, or what a killed run left of it; returns the sites' folders.

    Raises:
        BadSite: a folder holds a site made with other settings, or something that is no simulated site.
    """
    missing = [site for site in simulation.sites if not _is_finished(simulation, site, out)]
    plans = {site.name: plan_site(site, simulation.seed, simulation.finest) for site in missing}
    tasks = []
    for site in missing:
        root, making = _claim(simulation, site, out)
        todo = [plan for plan in plans[site.name] if not (making / _record_name(plan)).exists()]
        tasks += [(plan, site.layout, simulation.matrix, root, making) for plan in todo]
    if tasks:
        for _ in run(write_scan, tasks, describe=f"Simulating {', '.join(site.name for site in missing)}"):
            pass
    for site in missing:
        _finish(simulation, site, out, plans[site.name])
    return [out / site.name for site in simulation.sites]


def write_scan(plan: Plan, layout: str, matrix: int, root: Path, making: Path) -> None:
    """Make one scan, write its files, then its record."""
    keep_freed_memory()
    made = make(plan, matrix)
    reader(layout).write(root, as_scan(plan), made.volume)
    write_whole(making / _record_name(plan), json.dumps(truth(plan, made)))


def as_scan(plan: Plan) -> Scan:
    """The scan as its site tells it: nothing of the planted truth but what the published tables say."""
    known = dict(plan.facts)
    if plan.protocol.encoding != "window":
        known |= {"kernel": plan.protocol.kernel, "thickness_mm": plan.protocol.thickness}
        known |= {"manufacturer": plan.protocol.scanner, "reconstruction_diameter_mm": round(plan.protocol.fov, 1)}
    return Scan(plan.site, plan.patient_id, plan.scan_id, plan.label, stratum=plan.stratum, facts=known)


def truth(plan: Plan, made: Made) -> dict[str, Any]:
    """One row of the planted truth."""
    protocol = asdict(plan.protocol)
    shift, window = protocol.pop("shift"), protocol.pop("window")
    windowed = plan.protocol.encoding == "window"
    return {
        "site": plan.site, "patient": plan.patient_id, "scan": plan.scan_id, "label": plan.label,
        "stratum": plan.stratum, "disease": plan.disease.kind, "severity": round(plan.disease.severity, 4),
        "lesion_share": round(made.lesion_share, 4), "slices": len(made.volume.voxels), **protocol,
        "shift_y": round(shift[0], 2), "shift_x": round(shift[1], 2),
        "window_low": window[0] if windowed else None, "window_high": window[1] if windowed else None,
        "age": plan.patient.age, "sex": plan.patient.sex, "bmi": round(plan.patient.bmi, 1),
        "arms_up": plan.patient.arms_up, "prone": plan.patient.prone,
    }  # fmt: skip


def truth_files(out: Path, site: str) -> tuple[Path, Path]:
    """(CSV, JSON) of one site's planted truth."""
    return out / f"{site}.truth.csv", out / f"{site}.truth.json"


def _making(out: Path, site: SiteSettings) -> Path:
    return out / f".{site.name}.making"


def _is_finished(simulation: Simulation, site: SiteSettings, out: Path) -> bool:
    root, sidecar = out / site.name, truth_files(out, site.name)[1]
    if not (sidecar.exists() and root.is_dir()):
        return False
    found, key = json.loads(sidecar.read_text()).get("key"), site_key(simulation, site)
    if found != key:
        what = f"holds a simulated site made with other settings (key {found}, asked for {key})"
        raise BadSite(root, what, f"Choose another folder, or delete {site.name}/ and {sidecar.name}")
    shutil.rmtree(_making(out, site), ignore_errors=True)
    return True


def _claim(simulation: Simulation, site: SiteSettings, out: Path) -> tuple[Path, Path]:
    """(site's folder, folder of its records): started anew, or taken up where the settings are the same."""
    root, making, key = out / site.name, _making(out, site), site_key(simulation, site)
    mark = making / "key"
    if mark.exists() and mark.read_text() == key:
        root.mkdir(exist_ok=True)
        return root, making
    if root.exists() and not mark.exists():
        raise BadSite(root, "exists and is no simulated site", "Choose another folder for the simulated sites")
    if root.exists():
        shutil.rmtree(root)  # begun by this program with other settings, never finished
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    write_whole(mark, key)
    root.mkdir(exist_ok=True)
    return root, making


def _finish(simulation: Simulation, site: SiteSettings, out: Path, plans: list[Plan]) -> None:
    making = _making(out, site)
    reader(site.layout).write_tables(out / site.name, [as_scan(plan) for plan in plans])
    rows = [json.loads((making / _record_name(plan)).read_text()) for plan in plans]
    _write_truth(simulation, site, out, rows)
    shutil.rmtree(making)


def _record_name(plan: Plan) -> str:
    return plan.scan_id.replace("/", "-") + ".json"


def _write_truth(simulation: Simulation, site: SiteSettings, out: Path, rows: list[dict[str, Any]]) -> None:
    table, sidecar = truth_files(out, site.name)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(table, text.getvalue())
    what = {
        "planted": PLANTED,
        "in_words": in_words(site), "key": site_key(simulation, site), "simulator_version": SIMULATOR_VERSION,
        "seed": simulation.seed, "matrix": simulation.matrix, "finest_mm": simulation.finest,
        "dials": dict(site.dials), "directions": _directions(site), "settings": asdict(site), "scans": len(rows),
    }  # fmt: skip
    write_whole(sidecar, json.dumps(what, indent=1))


def _directions(site: SiteSettings) -> dict[str, dict[str, str]]:
    """How positives and negatives are scanned where a factor is tied to the label."""
    return {
        factor: dict(zip(("positives", "negatives"), TIES[site.layout][factor], strict=True))
        for factor, strength in site.dials
        if strength
    }
