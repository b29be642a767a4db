"""Test patients kept for models that are not trained here: who; nothing is chosen on a scored scan; the records."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere.errors import BadStudy, BadTable
from elsewhere.local_rows import LocalReadingRow
from elsewhere.scans.scan import SplitSettings
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.local_products import keep_patients, read_kept
from elsewhere.studies.products import read_local_readings, read_product_scores, score_products
from elsewhere.studies.records import PRODUCT_SCORES, SCANS, ScanRow, usable_rows
from study_rows import a_scan

SITES = "".join(f'[sites.{name}]\nkind = "volumes"\nroot = "{name}"\nuse = "test"\n' for name in "ABC")
TESTED = [
    a_scan(
        site=site, patient=f"p{i // 2}", scan=f"{site}{i}", label=i // 2 % 2, content_hash=f"{site}{i}", subset="test"
    )
    for site, patients in (("A", 100), ("B", 30), ("C", 60))
    for i in range(2 * patients)
    if not (site == "C" and i // 2 % 2)
]
"""Two scans of each patient: 50 of each class at A, 15 of each at B, 30 negative ones at C."""


def score(row: ScanRow) -> float:
    """Log-odds too high by 2, so that 0.5 calls too much positive."""
    seed = [ord(row.site), int(row.scan[1:])]
    return float(1 / (1 + np.exp(-(np.random.default_rng(seed).normal(0, 1) + 2.5 * row.known_label + 0.75))))


def write_table(folder: Path, scores: dict[str, float | str], rows: Sequence[ScanRow] = TESTED) -> None:
    with (folder / "vendor.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["site", "scan", "score", "refused"])
        for row in rows:
            value = scores.get(row.scan, score(row))
            refused = isinstance(value, str)
            writer.writerow([row.site, row.scan, "" if refused else value, value if refused else ""])


def plan(folder: Path, local: float | None = 0.4, threshold: str = "threshold = 0.5") -> Study:
    split = "" if local is None else f"[split]\nlocal = {local}\n"
    (folder / "study.toml").write_text(
        f'combinations = []\n{split}[evaluation]\nresamples = 20\n{SITES}[models.Vendor]\nkind = "scores"\n'
        f'table = "vendor.csv"\nscale = "probability"\n{threshold}\n'
    )
    return load_study(folder / "study.toml")


def judged(root: Path, study: Study, rows: Sequence[ScanRow] = TESTED) -> Folder:
    folder = Folder(root / "out")
    folder.root.mkdir(exist_ok=True)
    SCANS.write(folder.scans, list(rows))
    score_products(study, folder)
    return folder


def readings(folder: Folder, study: Study, site: str) -> dict[str, LocalReadingRow]:
    found = read_local_readings(folder, study.settings())
    return {row.measure: row for row in found if row.site == site}


def test_a_share_of_each_class_at_each_site_is_kept_and_not_scored(tmp_path: Path) -> None:
    write_table(tmp_path, {})
    study = plan(tmp_path)
    folder = judged(tmp_path, study)
    kept = read_kept(folder)
    labels = {(row.site, row.patient): row.known_label for row in TESTED}
    counts = [sum(labels[one] == label for one in kept if one[0] == site) for site in "ABC" for label in (1, 0)]
    assert counts == [20, 20, 6, 6, 0, 12]
    scored = {row.site: row for row in read_product_scores(folder, study.settings())}
    assert [(scored[site].patients, scored[site].given) for site in "ABC"] == [(60, 120), (18, 36), (18, 36)]
    found = readings(folder, study, "A")
    assert found["sensitivity"].own == scored["A"].sensitivity
    assert found["specificity"].own == scored["A"].specificity
    assert found["Brier score"].own == pytest.approx(scored["A"].brier)
    assert found["calibration slope"].own == pytest.approx(scored["A"].calibration_slope)
    assert found["calibration slope"].own_low == pytest.approx(scored["A"].calibration_slope_sampling_low)
    assert found["balanced accuracy"].outcome == found["Brier score"].outcome == "better"
    assert {(r.kept_positive_patients, r.kept_negative_patients) for r in found.values()} == {(20, 20)}
    assert {(r.positive_patients, r.negative_patients) for r in found.values()} == {(30, 30)}
    assert found["sensitivity"].own_threshold == 0.5


def test_few_patients_and_one_class_have_a_reason_and_no_number(tmp_path: Path) -> None:
    write_table(tmp_path, {})
    study = plan(tmp_path)
    folder = judged(tmp_path, study)
    for site, says in (("B", "they are 6 positive and 6 negative"), ("C", "they are 0 positive and 12 negative")):
        (row,) = readings(folder, study, site).values()
        assert row.reason == f"{says}, and a threshold from fewer than 10 of a class is chance"
        assert {row.own, row.changed, row.difference, row.threshold, row.slope, row.intercept} == {None}


def test_nothing_is_chosen_on_a_scan_that_is_scored(tmp_path: Path) -> None:
    """Other scores of all scored scans leave threshold and recalibration as they are; of the kept ones they do not."""
    write_table(tmp_path, {})
    study = plan(tmp_path)
    folder = judged(tmp_path, study)
    kept = read_kept(folder)
    first = readings(folder, study, "A")["sensitivity"]
    write_table(tmp_path, {r.scan: 0.01 if r.label else 0.99 for r in TESTED if (r.site, r.patient) not in kept})
    second = readings(judged(tmp_path, study), study, "A")["sensitivity"]
    assert (second.threshold, second.slope, second.intercept) == (first.threshold, first.slope, first.intercept)
    assert second.own != first.own
    write_table(tmp_path, {r.scan: score(r) / 2 for r in TESTED if (r.site, r.patient) in kept})
    third = readings(judged(tmp_path, study), study, "A")["sensitivity"]
    assert third.threshold != first.threshold
    assert third.own == first.own


def test_scores_that_are_all_alike_or_refused_have_a_reason(tmp_path: Path) -> None:
    write_table(tmp_path, {row.scan: 0.3 for row in TESTED})
    study = plan(tmp_path)
    folder = judged(tmp_path, study)
    (row,) = readings(folder, study, "A").values()
    assert row.reason == "their scores are all alike, and no threshold divides them"
    kept = read_kept(folder)
    write_table(tmp_path, {row.scan: "too thick" for row in TESTED if (row.site, row.patient) in kept})
    (row,) = readings(judged(tmp_path, study), study, "A").values()
    assert (row.reason, row.kept_unanswered) == ("none of them has a score", 80)


def test_without_decisions_of_its_own_there_is_nothing_to_compare(tmp_path: Path) -> None:
    write_table(tmp_path, {})
    study = plan(tmp_path, threshold="")
    found = readings(judged(tmp_path, study), study, "A")
    assert (found["sensitivity"].own, found["sensitivity"].difference, found["sensitivity"].own_threshold) == (
        None,
    ) * 3
    assert found["sensitivity"].changed is not None


def test_who_is_kept_follows_the_seed_and_nothing_else(tmp_path: Path) -> None:
    settings = SplitSettings(local=0.4)
    kept = keep_patients(settings, TESTED)
    assert keep_patients(settings, TESTED[::-1]) == kept
    assert keep_patients(settings, [row for row in TESTED if row.site != "B"]) == {p for p in kept if p[0] != "B"}
    assert keep_patients(replace(settings, seed=1), TESTED) != kept
    assert keep_patients(SplitSettings(), TESTED) == frozenset()


def test_a_volume_that_stands_under_two_patients_is_never_on_both_sides() -> None:
    settings = SplitSettings(local=0.4)
    kept = keep_patients(settings, TESTED)
    apart, scored = (next(r for r in TESTED if ((r.site, r.patient) in kept) is side) for side in (True, False))
    twin = [replace(row, content_hash=scored.content_hash) if row is apart else row for row in TESTED]
    assert keep_patients(settings, twin) == kept - {(apart.site, apart.patient)}


def test_without_a_share_the_records_are_those_of_before(tmp_path: Path) -> None:
    write_table(tmp_path, {})
    study = plan(tmp_path)
    folder = judged(tmp_path, study)
    assert study.settings()["split"]["local"] == 0.4
    study = plan(tmp_path, None)
    folder = judged(tmp_path, study)  # a folder that had kept patients keeps none any more
    assert "local" not in study.settings()["split"]
    assert not folder.kept_patients.exists()
    assert not folder.product_local.exists()
    assert read_local_readings(folder, study.settings()) == []
    assert next(row.patients for row in PRODUCT_SCORES.read(folder.product_scores)) == 100
    assert len(usable_rows(folder)) == len(TESTED)


def test_readings_of_other_kept_patients_are_refused(tmp_path: Path) -> None:
    write_table(tmp_path, {})
    study = plan(tmp_path)
    folder = judged(tmp_path, study)
    folder.kept_patients.unlink()
    for read in (read_local_readings, read_product_scores):
        with pytest.raises(BadTable, match=r"does not belong to products\.parquet.*Run `elsewhere study` again"):
            read(folder, study.settings())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"[split]\nlocal = 1.0\n{SITES}", r"key `split\.local` is 1\.0.*Give a share between 0 and 1"),
        (f"[split]\nlocal = -0.1\n{SITES}", r"key `split\.local` is -0\.1"),
        (
            f"[split]\nlocal = 0.3\n{SITES}".replace('root = "A"\nuse = "test"', 'root = "A"'),
            r"key `split\.local` is 0\.3, and there is no model that is not trained here",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(BadStudy, match=says):
        load_study(tmp_path / "s.toml")
