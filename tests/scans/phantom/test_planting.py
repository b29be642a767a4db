"""Simulated sites on disk: the published layouts read back, the planted truth, the cache, a killed run."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere.errors import BadSite
from elsewhere.scans.phantom import planting
from elsewhere.scans.phantom.exam import make
from elsewhere.scans.phantom.planting import Simulation, truth_files, write_sites
from elsewhere.scans.phantom.sites import default_sites, plan_site, turn
from elsewhere.scans.sites import reader

TINY = Simulation(seed=3, matrix=48, finest=12.0, sites=tuple(replace(s, patients=7) for s in default_sites()))


def run_here(function, tasks, describe):
    for index, task in enumerate(tasks):
        yield index, function(*task)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sites")
    write_sites(TINY, out, run_here)
    return out


def rows_of(out: Path, site: str) -> list[dict[str, str]]:
    with truth_files(out, site)[0].open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("site", TINY.sites, ids=lambda s: s.name)
def test_the_layout_reads_back(planted, site):
    found = reader(site.layout).find(planted / site.name, site.name)
    assert not found.bad
    plans = {plan.scan_id: plan for plan in plan_site(site, TINY.seed, TINY.finest)}
    assert {s.scan: (s.patient, s.label) for s in found.scans} == {k: (p.patient_id, p.label) for k, p in plans.items()}
    for scan in found.scans:
        plan = plans[scan.scan]
        volume, made = reader(site.layout).read(scan), make(plan, TINY.matrix).volume
        assert (volume.units, volume.offset) == (made.units, made.offset)
        if plan.facts.get("extension") != ".jpg":  # JPEG loses
            np.testing.assert_array_equal(volume.voxels, made.voxels)


@pytest.mark.parametrize("site", TINY.sites, ids=lambda s: s.name)
def test_the_sidecar_tells_what_was_planted(planted, site):
    rows = rows_of(planted, site.name)
    plans = plan_site(site, TINY.seed, TINY.finest)
    assert [r["scan"] for r in rows] == [p.scan_id for p in plans]
    assert [r["disease"] for r in rows] == [p.disease.kind for p in plans]
    assert all((r["disease"] == "covid") == (r["label"] == "1") for r in rows)
    made = make(plans[0], TINY.matrix)
    assert float(rows[0]["lesion_share"]) == pytest.approx(made.lesion_share, abs=1e-4)
    what = json.loads(truth_files(planted, site.name)[1].read_text())
    assert what["dials"] == dict(site.dials)
    assert set(what["directions"]) == set(what["dials"])
    assert "assumption" in what["planted"]


def test_the_published_tables_do_not_hold_the_truth(planted):
    for path in planted.glob("*/*.csv"):
        assert "lesion_share" not in path.read_text()
        assert "severity" not in path.read_text()


def test_the_positives_only_site_has_no_negative(planted):
    rows = rows_of(planted, "MosMedData")
    assert {r["label"] for r in rows} == {"1"}
    assert {p.name for p in (planted / "MosMedData" / "studies").iterdir()} <= {"CT-1", "CT-2", "CT-3", "CT-4"}


def test_a_finished_site_is_not_made_again(planted):
    def refuse(function, tasks, describe):
        raise AssertionError("made again")

    assert [p.name for p in write_sites(TINY, planted, refuse)] == [s.name for s in TINY.sites]


def test_other_settings_are_refused_rather_than_mixed(planted):
    other = replace(TINY, sites=(turn(TINY.sites[0], kernel=0.5),))
    with pytest.raises(BadSite, match="made with other settings"):
        write_sites(other, planted, run_here)


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / "UTSW").mkdir()
    (tmp_path / "UTSW" / "real.dcm").write_text("patient")
    with pytest.raises(BadSite, match="is no simulated site"):
        write_sites(TINY, tmp_path, run_here)
    assert (tmp_path / "UTSW" / "real.dcm").read_text() == "patient"


def test_a_killed_run_goes_on_to_the_same_bytes(planted, tmp_path):
    only = replace(TINY, sites=TINY.sites[1:2])

    def die_at_the_fifth(function, tasks, describe):
        for index, task in enumerate(tasks[:5]):
            yield index, function(*task)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sites(only, tmp_path, die_at_the_fifth)
    half = next((tmp_path / "CC-CCII").rglob("0003.*"))
    finished = {p: p.stat().st_mtime_ns for p in (tmp_path / "CC-CCII").rglob("*.png")}
    assert finished
    counted = []

    def count(function, tasks, describe):
        counted.append(len(tasks))
        yield from run_here(function, tasks, describe)

    write_sites(only, tmp_path, count)
    assert counted == [len(plan_site(only.sites[0], 3, 12.0)) - 5]
    assert all(p.stat().st_mtime_ns == t for p, t in finished.items())
    assert half.exists()
    assert _bytes(tmp_path / "CC-CCII") == _bytes(planted / "CC-CCII")
    assert truth_files(tmp_path, "CC-CCII")[0].read_text() == truth_files(planted, "CC-CCII")[0].read_text()
    assert not list(tmp_path.glob(".*"))


def test_a_site_begun_with_other_settings_starts_anew(tmp_path):
    def die(function, tasks, describe):
        function(*tasks[0])
        raise KeyboardInterrupt
        yield

    small = replace(TINY, sites=(replace(TINY.sites[3], patients=2),))
    with pytest.raises(KeyboardInterrupt):
        write_sites(replace(small, seed=9), tmp_path, die)
    write_sites(small, tmp_path, run_here)
    assert len(rows_of(tmp_path, "MosMedData")) == 2


def test_the_key_holds_version_and_settings(monkeypatch):
    site = TINY.sites[0]
    key = planting.site_key(TINY, site)
    assert key == planting.site_key(TINY, default_seven(site.name))
    assert key != planting.site_key(replace(TINY, seed=4), site)
    assert key != planting.site_key(TINY, turn(site, dose=0.2))
    monkeypatch.setattr(planting, "SIMULATOR_VERSION", 99)
    assert key != planting.site_key(TINY, site)


def default_seven(name: str):
    return replace(next(s for s in default_sites() if s.name == name), patients=7)


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
