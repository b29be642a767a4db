"""`make real`: the study commands on real CT, where it is at hand: re-packed sites, further sites, one page."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from elsewhere.errors import BadSite
from elsewhere.studies.folder import read_table

specification = spec_from_file_location("real_run", Path(__file__).parents[1] / "benchmarks" / "real.py")
assert specification
assert specification.loader
run = module_from_spec(specification)
specification.loader.exec_module(run)


def test_without_real_data_the_next_step_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadSite, match=r"holds no real CT data\. Set ELSEWHERE_REAL_DATA"):
        run.real(tmp_path / "out", tmp_path)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_study_runs_on_real_pixels(real_data: Path, tmp_path: Path) -> None:
    run.real(tmp_path, real_data, full_size=False)
    html = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert "re-packed" in html.lower()
    scans = read_table(tmp_path / "study" / "scans.parquet")
    assert {s["site"] for s in scans} >= {"UTSW", "CC-CCII", "COVID-CTset", "MosMedData", "NLST", "ACRIN"}
    kernels = {json.loads(s["facts"]).get("kernel") for s in scans if s["site"] == "Lung-PET-CT-Dx"}
    assert {"B70f", "B40f"} <= kernels
    assert len(read_table(tmp_path / "study" / "scores.parquet")) == 9 * (4 * 2 + 3)
