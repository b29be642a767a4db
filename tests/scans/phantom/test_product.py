"""A made-up product's scores of simulated patients: what it sees, what it refuses, and what its update loses."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere import evaluate
from elsewhere.scans.phantom.product import DRIFT, ProductScan, product_scans, write_product
from elsewhere.statistics.roc import exact_auc

Row = dict[str, str]


def truth(scans: int = 200, **more: str) -> list[Row]:
    """Half positive, half normal; half of each made with a sharp kernel."""
    plain = {"site": "UTSW", "thickness": "6.0", "age": "60", "sex": "F"}
    return [
        plain
        | {"scan": f"s{i}", "patient": f"p{i}", "label": str(i % 2), "kernel": ("soft", "sharp")[i // 2 % 2]}
        | ({"disease": "covid", "lesion_share": "0.15"} if i % 2 else {"disease": "normal", "lesion_share": "0.0"})
        | more
        for i in range(scans)
    ]


def odds(rows: list[ProductScan]) -> np.ndarray:
    values = np.array([float(row.score) for row in rows])
    return np.log(values / (1 - values))


def test_it_sees_the_lesions_and_its_update_loses_sharp_kernels() -> None:
    old, new = (product_scans(truth(), version, 3) for version in ("1.0", "2.0"))
    assert exact_auc([row.label for row in old], odds(old)) > 0.9
    sharp = np.array([row.kernel == "sharp" for row in old])
    moved = odds(old) - odds(new)
    assert np.allclose(moved[sharp], DRIFT, atol=0.05)
    assert np.allclose(moved[~sharp], 0.0, atol=1e-9)
    assert [replace(row, score="", version="") for row in old] == [replace(row, score="", version="") for row in new]


def test_it_refuses_thin_slices_and_no_others() -> None:
    thin, thick = product_scans(truth(4, thickness="1.5"), "1.0", 3), product_scans(truth(4, thickness="2.0"), "1.0", 3)
    assert [(row.score, row.refused) for row in thin] == [("", "slices thinner than 2 mm")] * 4
    assert all(row.score and not row.refused for row in thick)


def test_chance_is_that_of_the_seed_the_site_and_the_scan() -> None:
    rows = truth(8)
    assert product_scans(rows, "1.0", 3) == product_scans(rows, "1.0", 3)
    assert product_scans(rows, "1.0", 4) != product_scans(rows, "1.0", 3)
    assert not np.allclose(odds(product_scans(truth(8, site="B"), "1.0", 3)), odds(product_scans(rows, "1.0", 3)))


def test_evaluate_takes_its_tables_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, thickness in (("UTSW", "6.0"), ("MosMedData", "1.5")):
        with (tmp_path / f"{name}.truth.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(truth(1)[0]))
            writer.writeheader()
            writer.writerows(truth(400, site=name, thickness=thickness))
    before, after = write_product(tmp_path, ["UTSW", "MosMedData"], tmp_path / "product", 3)
    found = evaluate(after, versus=before, margin=0.05, threshold=0.5, scale="probability", out=tmp_path / "page")
    said = capsys.readouterr().out
    assert "It gave no answer to 400 of 800 scans" in said
    assert "worse than the old one by more than the margin of 0.05: sensitivity" in said
    assert found.exit_code == 14
