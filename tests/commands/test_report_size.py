"""A study of 400 cells, its folder written by hand, in; a page that can be opened, all of it in its tables, out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from elsewhere.commands.report import report
from elsewhere.pages.report.folder import PAGE, PER_CELL, TALLEST
from elsewhere.pages.report.table import ROWS_ON_PAGE
from elsewhere.rows import ScoreRow
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.score import score_cell
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.predictions import PredictionRow, write_predictions
from elsewhere.studies.records import SCANS as SCAN_TABLE
from elsewhere.studies.records import SCORES
from study_rows import a_prediction, a_scan

SITES = [f"Site {i:02}" for i in range(1, 21)]
SCANS = 60
LABELS = np.arange(SCANS) // 2 % 2
PATIENTS = [f"p{i // 2}" for i in range(SCANS)]
EMPTY = ("counts", "facts", "duplicates", "leaks", "warnings", "notes", "repaired", "forensics")


def probabilities_of(model: str, site: str) -> tuple[np.ndarray, np.ndarray]:
    """Of every scan, without dropout and of two passes; better at home."""
    random = np.random.default_rng([SITES.index(model), SITES.index(site)])
    pull = 1.6 if model == site else 0.8
    single = 1 / (1 + np.exp(-random.normal(size=SCANS) - pull * (LABELS - 0.5)))
    return single, np.clip(single + random.normal(0, 0.03, (2, SCANS)), 0, 1)


def rows_of(model: str, site: str) -> Iterator[PredictionRow]:
    single, passes = probabilities_of(model, site)
    for subset, turns in (("validation", [single]), ("test", [single, *passes])):
        for turn, values in enumerate(turns, -1):
            for i, value in enumerate(values.tolist()):
                scan = {"subset": subset, "patient": PATIENTS[i], "scan": f"{subset[0]}{i:02}", "label": int(LABELS[i])}
                yield a_prediction(model=model, site=site, dropout_pass=turn, probability=value, **scan)


def scores_of(model: str, site: str) -> Iterator[ScoreRow]:
    for reading in ("model", "site"):
        point = OperatingPoint(0.5, "grid", reading, 1.0, 10)
        single, passes = probabilities_of(model, site)
        cell = score_cell(LABELS, PATIENTS, single, passes, operating_point=point, resamples=50)
        yield ScoreRow(model=model, site=site, **vars(cell))


def write_records(root: Path) -> Folder:
    """A network of each site, at every site."""
    combinations = json.dumps([[site] for site in SITES])
    tables = "".join(f'[sites."{site}"]\nkind = "volumes"\nroot = "{site}"\n' for site in SITES)
    (root / "study.toml").write_text(f'protocol = "paper"\ncombinations = {combinations}\n{tables}')
    folder = Folder(root / "out")
    for model in SITES:
        for site in SITES:
            write_predictions(folder.predictions(model, site), list(rows_of(model, site)))
        folder.model(model).mkdir(parents=True)
        record = {"format": 1, "iteration": 5, "sha256": "c0ffee"}
        (folder.model(model) / "checkpoint.json").write_text(json.dumps(record))
        (folder.model(model) / "curves.csv").write_text("iteration,training_loss\n1,0.7\n")
    SCORES.write(folder.scores, [row for model in SITES for site in SITES for row in scores_of(model, site)])
    scans = [
        a_scan(site=site, patient=PATIENTS[i], scan=f"{subset[0]}{i:02}", label=int(LABELS[i]), subset=subset,
               content_hash=f"{site}{i}", facts={"age": 30 + i, "sex": "FM"[i % 2]})
        for site in SITES for i in range(SCANS) for subset in ("validation", "test")
    ]  # fmt: skip
    SCAN_TABLE.write(folder.scans, scans)
    identity = {"settings": load_study(root / "study.toml").settings(), "models": {site: [site] for site in SITES}}
    folder.study.write_text(json.dumps({**identity, "versions": {}, "split_hash": "5417"}))
    folder.bad_scans.write_text("site,scan,path,reason,next_step\n")
    folder.audit.write_text(json.dumps({**{name: [] for name in EMPTY}, "site_only_auc": 0.6, "copies_left_out": 0}))
    return folder


@pytest.mark.slow
def test_four_hundred_cells_make_a_page(tmp_path: Path) -> None:
    folder, cells = write_records(tmp_path), len(SITES) ** 2
    page = report([folder.root]).read_text(encoding="utf-8")
    assert len(page.encode()) <= PAGE + PER_CELL * cells
    heights = [float(found) for found in re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)"', page)]
    assert 0 < max(heights) <= TALLEST
    assert "Too large to stand on this page; it lies beside it" in page
    for linked in set(re.findall(r'href="((?:figures|tables)/[^"]+)"', page)):
        assert (folder.root / linked).is_file()
    with (folder.root / "tables" / "study-decomposition.csv").open(encoding="utf-8", newline="") as file:
        moves = list(csv.DictReader(file))
    assert len({(row["model"], row["site"]) for row in moves}) == cells - len(SITES)
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        assert table.count("<tr") <= ROWS_ON_PAGE + 2
