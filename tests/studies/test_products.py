"""Models that a study judges from a table of scores: rows and scans, refusals, the network's own cell, the page."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from elsewhere.commands.report.cells import read_cells
from elsewhere.commands.report.kept_study import read_study
from elsewhere.commands.report.products import product_tests
from elsewhere.commands.study import study
from elsewhere.errors import BadStudy, BadTable
from elsewhere.pages.report import Model
from elsewhere.statistics.evaluation import ONLY_DECISIONS
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.local_products import read_kept
from elsewhere.studies.models import Product
from elsewhere.studies.predictions import read_predictions
from elsewhere.studies.products import match_product, read_product_scores, read_products
from elsewhere.studies.records import PRODUCT_SCORES, SCANS, SCORES, ProductRow, read_identity
from study_rows import a_scan

SITES = """
[sites.A]
kind = "volumes"
root = "a"
use = "test"
[sites.B]
kind = "volumes"
root = "b"
use = "test"
"""
TESTED = [
    a_scan(site=site, patient=f"p{i}", scan=f"2020/{site}{i}.nii.gz", label=i % 2) for site in "AB" for i in range(40)
]


def table(file: Path, rows: list[dict[str, Any]]) -> Path:
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def plan(folder: Path, more: str = "") -> Study:
    file = folder / "study.toml"
    file.write_text(f'{more}\n{SITES}\n[models.Vendor]\nkind = "scores"\ntable = "vendor.csv"\nthreshold = 0.5\n')
    return load_study(file)


def match(folder: Path, rows: list[dict[str, Any]]) -> list[ProductRow]:
    table(folder / "vendor.csv", rows)
    found = plan(folder)
    return match_product(found.products[0], found, TESTED)


def test_a_study_of_products_needs_no_network(tmp_path: Path) -> None:
    found = plan(tmp_path, "combinations = []")
    assert found.combinations == ()
    assert found.products == (Product("Vendor", "scores", (tmp_path / "vendor.csv").resolve(), threshold=0.5),)
    assert plan(tmp_path).combinations == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[models.V]\nkind = "keras"\ntable = "v.csv"', r"key `models\.V\.kind` is 'keras'\. Use one of scores, else"),
        ('[models.V]\nkind = "scores"', r"key `models\.V\.table` is missing"),
        ('[models.V]\nkind = "scores"\ntable = "v.csv"\ncolor = 1', r"key `models\.V\.color` is unknown"),
        ("[models]\nV = 3", r"key `models\.V` is 3"),
    ],
)
def test_mistakes_name_the_key(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "s.toml").write_text(f"{SITES}\n{text}\n")
    with pytest.raises(BadStudy, match=says):
        load_study(tmp_path / "s.toml")


def test_a_product_must_not_have_the_name_of_a_network(tmp_path: Path) -> None:
    text = SITES.replace('use = "test"\n[sites.B]', "[sites.B]") + '[models.A]\nkind = "scores"\ntable = "v.csv"\n'
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(BadStudy, match="has the name of a trained network"):
        load_study(tmp_path / "s.toml")


def test_without_products_nothing_may_be_untrained(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SITES)
    with pytest.raises(BadStudy, match="has no site to train on"):
        load_study(tmp_path / "s.toml")


@pytest.mark.parametrize("name", ["2020/{}.nii.gz", "2020/{}", "2020\\{}.NII.GZ"])
def test_rows_are_found_by_the_scan_with_or_without_its_ending(tmp_path: Path, name: str) -> None:
    rows = [{"scan": name.format(f"{s}{i}"), "score": 0.9 if i % 2 else 0.1} for s in "AB" for i in range(40)]
    found = match(tmp_path, rows)
    assert [(r.scan, r.probability, r.call) for r in found[:2]] == [
        ("2020/A0.nii.gz", 0.1, 0),
        ("2020/A1.nii.gz", 0.9, 1),
    ]
    assert len(found) == 80


def test_by_patient_where_the_table_has_no_scan_and_the_site_tells_patients_apart(tmp_path: Path) -> None:
    rows = [{"site": s, "patient": f"p{i}", "score": (i + (s == "B")) / 100} for s in "AB" for i in range(40)]
    found = {(r.site, r.patient): r.probability for r in match(tmp_path, rows)}
    assert (found["A", "p3"], found["B", "p3"]) == (0.03, 0.04)
    with pytest.raises(BadTable, match="'p0' stands here and in line 2"):
        match(tmp_path, [{k: v for k, v in r.items() if k != "site"} for r in rows])


def test_a_site_that_the_product_was_not_given_is_left_out_and_refusals_stay(tmp_path: Path) -> None:
    rows = [
        {"scan": f"2020/A{i}", "score": "" if i < 4 else 0.5, "refused": "thin" if i < 4 else ""} for i in range(39)
    ]
    found = match(tmp_path, rows)
    assert {r.site for r in found} == {"A"}
    assert [r.reason for r in found].count("thin") == 4
    assert [r.reason for r in found].count("no row in its table") == 1


def test_too_few_rows_other_labels_or_no_scan_of_the_study_are_errors(tmp_path: Path) -> None:
    rows = [{"scan": f"2020/A{i}", "score": 0.5, "label": i % 2} for i in range(40)]
    with pytest.raises(BadTable, match=r"holds 30 of the 40 test scans of A; not there: 2020/A30\.nii\.gz, "):
        match(tmp_path, rows[:30])
    with pytest.raises(BadTable, match=r"has the label 0, in the study 1"):
        match(tmp_path, [{**r, "label": 0 if i == 1 else r["label"]} for i, r in enumerate(rows)])
    with pytest.raises(BadTable, match=r"holds no test scan of the study \(its ids: x0, x1, x2; ours: 2020/A0"):
        match(tmp_path, [{"scan": f"x{i}", "score": 0.5} for i in range(3)])


def test_scores_without_a_unit_are_not_for_a_study(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        SITES + '[models.V]\nkind = "scores"\ntable = "v.csv"\nscale = "lower-is-sicker"\n'
    )
    with pytest.raises(BadStudy, match=r"models\.V\.scale"):
        load_study(tmp_path / "s.toml")


def test_the_columns_are_those_of_a_network_s_scores_and_only_what_needs_decisions_may_be_empty_besides() -> None:
    theirs, ours = PRODUCT_SCORES.columns, SCORES.columns
    assert {c.name for c in ours} - {c.name for c in theirs} == {"made_from"}
    empty, empty_here = ({c.name for c in columns if c.optional} for columns in (ours, theirs))
    own = {"unanswered_low", "unanswered_high"}
    assert empty_here - own == {c.name for c in theirs if c.name in {*empty, *ONLY_DECISIONS}}


@pytest.fixture(scope="module")
def beside(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A study with a network and, as a product, that network's own scores; it refuses two scans of one site."""
    folder = tmp_path_factory.mktemp("beside")
    text = tiny_study_file.read_text()
    (folder / "tiny.toml").write_text(text)
    study(folder / "tiny.toml", folder / "out", workers=1)
    own = [read_predictions(Folder(folder / "out").predictions("UTSW", site)) for site in ("UTSW", "CC-CCII")]
    tested = [found.subset("test").deterministic for found in own]
    rows = [
        {"site": site, "scan": scan, "score": repr(float(probability)), "refused": ""}
        for found in tested
        for site, scan, probability in zip(found.sites, found.scans, found.probabilities, strict=True)
    ]
    there = [i for i, r in enumerate(rows) if r["site"] == "CC-CCII"]
    for i in there[:2]:
        rows[i] |= {"score": "", "refused": "too thin"}
    table(folder / "vendor.csv", rows)
    product = '[models.Vendor]\nkind = "scores"\ntable = "vendor.csv"\nthreshold = 0.5\nscale = "probability"\n'
    (folder / "tiny.toml").write_text(text + product)
    study(folder / "tiny.toml", folder / "out", workers=1)
    return Folder(folder / "out")


def test_the_same_cell_from_a_table_and_from_the_network(beside: Folder) -> None:
    ours = next(r for r in SCORES.read(beside.scores) if (r.model, r.site) == ("UTSW", "UTSW"))
    (theirs,) = (r for r in PRODUCT_SCORES.read(beside.product_scores) if r.site == "UTSW")
    for name in (
        "auc",
        "auc_sampling_low",
        "auc_bootstrap_high",
        "brier",
        "calibration_intercept",
        "calibration_slope",
    ):
        assert getattr(theirs, name) == pytest.approx(getattr(ours, name), abs=1e-12), name


def test_the_product_stands_in_the_matrix_and_in_its_own_section(beside: Folder) -> None:
    page = (beside.root / "report.html").read_text(encoding="utf-8")
    assert "Vendor (product)" in page
    assert "Products beside the networks" in page
    assert not (beside.root / "tables" / "tiny-products-tests.csv").exists()  # no network learned
    rows = {r.site: r for r in PRODUCT_SCORES.read(beside.product_scores)}
    assert set(rows) == {"UTSW", "CC-CCII"}
    assert rows["CC-CCII"].unanswered == 2


def test_products_and_networks_are_compared_on_the_scans_that_both_answered(beside: Folder) -> None:
    cells = read_cells(beside, read_study(beside))
    tests = product_tests(beside, cells, [Model("UTSW", ("UTSW",)), Model("COVID-CTset+MosMedData", ("COVID-CTset",))])
    same = {t.site: t for t in tests if t.network == "UTSW"}
    assert set(same) == {"UTSW", "CC-CCII"}
    assert all(t.difference == 0 and t.tests == len(tests) == 4 for t in same.values())
    assert same["CC-CCII"].scans == len(cells["UTSW", "CC-CCII"].scans) - 2


def test_a_network_is_compared_on_the_scans_of_patients_that_were_not_kept(beside: Folder, tmp_path: Path) -> None:
    """The same study with kept patients: nothing is trained again, and no test holds one of them."""
    shutil.copytree(beside.root.parent, tmp_path / "beside")
    folder, file = Folder(tmp_path / "beside" / "out"), tmp_path / "beside" / "tiny.toml"
    weights = folder.checkpoint("UTSW").with_suffix(".safetensors")
    before = weights.stat().st_mtime_ns
    file.write_text(file.read_text().replace("[sites.UTSW]", "[split]\nlocal = 0.5\n[sites.UTSW]"))
    study(file, folder.root, workers=1)
    assert weights.stat().st_mtime_ns == before
    cells, kept = read_cells(folder, read_study(folder)), read_kept(folder)
    tests = product_tests(folder, cells, [Model("UTSW", ("UTSW",))])
    answered = {(r.site, r.scan) for r in read_products(folder) if r.probability is not None}
    compared = {t.site: t.scans for t in tests}
    assert compared
    for site, scans in compared.items():
        cell = cells["UTSW", site]
        pairs = zip(cell.patients.tolist(), cell.scans.tolist(), strict=True)
        left = [scan for patient, scan in pairs if (site, patient) not in kept and (site, scan) in answered]
        assert scans == len(left) < len(cell.scans)
    page = (folder.root / "report.html").read_text(encoding="utf-8")
    assert "Vendor at UTSW: neither a threshold nor a recalibration was chosen on the kept patients" in page
    assert "A threshold and a recalibration from patients kept for it" in page
    assert "a share of 50%" in page


def test_scores_of_another_table_are_refused(beside: Folder) -> None:
    settings = read_identity(beside)["settings"]
    assert len(read_product_scores(beside, settings)) == 2
    with pytest.raises(BadTable, match=r"does not belong to products\.parquet"):
        read_product_scores(beside, settings | {"seed": 99})


def test_a_study_of_products_alone_makes_a_page(beside: Folder, tiny_study_file: Path, tmp_path: Path) -> None:
    text = tiny_study_file.read_text().replace('combinations = [["UTSW"], ["COVID-CTset", "MosMedData"]]', "")
    start = text.index("[sites.UTSW]")
    end = text.index("[sites.CC-CCII]")
    text = "combinations = []\n" + text[:start] + text[start:end].rstrip() + '\nuse = "test"\n'
    rows = [
        {"scan": r.scan, "score": 0.9 if r.label else 0.2, "call": r.label}
        for r in SCANS.read(beside.scans)
        if r.site == "UTSW"
    ]
    table(tmp_path / "vendor.csv", rows)
    (tmp_path / "alone.toml").write_text(text + '[models.Vendor]\nkind = "scores"\ntable = "vendor.csv"\n')
    study(tmp_path / "alone.toml", tmp_path / "out", workers=1)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "No network was trained; Vendor is judged from scores." in page
    (row,) = PRODUCT_SCORES.read(Folder(tmp_path / "out").product_scores)
    assert (row.auc, row.sensitivity, row.threshold) == (1.0, 1.0, None)
