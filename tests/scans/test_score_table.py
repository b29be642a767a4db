"""Score tables: columns recognised, numbers read, and each kind of bad table refused with its row; both sides."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from elsewhere.errors import BadTable, ElsewhereError
from elsewhere.scans.score_columns import normal_name, recognise
from elsewhere.scans.score_table import ScoreTable, read_score_table

SCORES = tuple(round(0.02 + 0.04 * i, 2) for i in range(24))
BASE: dict[str, Sequence[object]] = {
    "scan": [f"s{i}" for i in range(24)],
    "patient": [f"p{i}" for i in range(24)],
    "score": SCORES,
    "label": [int(i % 3 == 0) for i in range(24)],
}


def write(path: Path, columns: Mapping[str, Sequence[object]], delimiter: str = ",", above: str = "") -> Path:
    """A CSV of columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(above)
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def changed(name: str, row: int, value: object) -> dict[str, Sequence[object]]:
    """The base table with one cell changed."""
    column = list(BASE[name])
    column[row] = value
    return {**BASE, name: column}


def read(tmp_path: Path, columns: Mapping[str, Sequence[object]], **options: Any) -> ScoreTable:
    return read_score_table(write(tmp_path / "scores.csv", columns), **options)


def said_of_calls(table: ScoreTable) -> list[str]:
    return [remark for remark in table.remarks if "calls all" in remark]


def refused(tmp_path: Path, columns: Mapping[str, Sequence[object]], **options: Any) -> str:
    with pytest.raises(ElsewhereError) as caught:
        read(tmp_path, columns, **options)
    assert "scores.csv" in str(caught.value) or "labels.csv" in str(caught.value)
    return str(caught.value)


# What is read ------------------------------------------------------------------------------------------------------


def test_csv_xlsx_and_parquet_read_alike_to_the_last_bit(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random(24).tolist()
    columns = {**BASE, "score": scores}
    book = Workbook()
    book.active.append(list(columns))
    for row in zip(*columns.values(), strict=True):
        book.active.append(list(row))
    book.save(tmp_path / "a.xlsx")
    pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), tmp_path / "a.parquet")
    write(tmp_path / "a.csv", columns)
    for name in ("a.csv", "a.xlsx", "a.parquet"):
        table = read_score_table(tmp_path / name)
        assert table.score.tolist() == pytest.approx(scores, rel=1e-15 if name == "a.xlsx" else 0, abs=0), name
        assert table.label.tolist() == list(BASE["label"])
        assert table.patient[3] == "p3"


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("AI Score (%)", "score"),
        ("probCOVID", "score"),
        ("Output", "score"),
        ("Ground Truth", "label"),
        ("COVID-19", "label"),
        ("Diagnosis", "label"),
        ("finding", "label"),
        ("PatientID", "patient"),
        ("StudyInstanceUID", "scan"),
        ("Institution Name", "site"),
        ("AI result", "call"),
        ("rejection reason", "refused"),
        ("Software Version", "version"),
    ],
)
def test_names_of_columns_are_recognised(header: str, role: Any) -> None:
    others = [n for n in ("score", "label") if n != role]
    assert recognise([*others, header], {}, "x")[role] == len(others)


def test_a_second_possible_column_asks_and_a_weaker_one_does_not() -> None:
    with pytest.raises(BadTable, match=r"2 columns may be the score: 'score' or 'probability'. Say which with --score"):
        recognise(["score", "probability", "label"], {}, "x")
    assert recognise(["score", "probability", "label"], {"score": "probability"}, "x")["score"] == 1
    places = recognise(["score", "diagnosis", "label", "finding"], {}, "x")
    assert (places["label"], places["finding"]) == (2, 3)
    with pytest.raises(BadTable, match=r"has no column 'proba' \(columns: 'score', 'label'\)"):
        recognise(["score", "label"], {"score": "proba"}, "x")
    assert "score" not in recognise(["severity score", "label"], {}, "x")
    assert normal_name("  AI_score\ufeff") == "ai_score"


def test_titles_semicolons_decimal_commas_and_blank_lines(tmp_path: Path) -> None:
    columns = {**BASE, "score": [f"{v:.2f}".replace(".", ",") for v in SCORES]}
    file = write(tmp_path / "scores.csv", columns, ";", above="Export of the reading room\n\n# made by hand\n")
    table = read_score_table(file)
    assert table.score.tolist() == list(SCORES)
    assert any("decimal commas" in r for r in table.remarks)
    assert table.line[0] == 5


@pytest.mark.parametrize(
    ("scale", "values", "wanted"),
    [
        ("percent", ["50", "12.5 %"], [0.5, 0.125]),
        ("logit", ["0", "-2.1972245773362196"], [0.5, 0.1]),
        ("higher-is-sicker", ["1e3", "-4"], [1000, -4]),
        ("lower-is-sicker", ["3", "−4"], [-3, 4]),
    ],
)
def test_scales(tmp_path: Path, scale: Any, values: list[str], wanted: list[float]) -> None:
    columns = {**BASE, "score": [*values, *["7"] * 22]}
    table = read(tmp_path, columns, scale=scale, threshold=float(values[0]))
    assert table.score[:2] == pytest.approx(wanted)
    assert table.threshold == pytest.approx(wanted[0])
    assert table.is_probability == (scale in {"percent", "logit"})


def test_a_positive_value_may_be_named(tmp_path: Path) -> None:
    columns = {**BASE, "label": ["CAP", "COVID-19", "unknown", *["healthy"] * 21]}
    table = read(tmp_path, columns, positive="cap")
    assert table.label[:4].tolist() == [1, 0, -1, 0]
    assert "never says 'capp'" in refused(tmp_path, columns, positive="capp")
    assert "line 2: label is 'CAP', which is no label (values: healthy ×21" in refused(tmp_path, columns)


def test_refused_scans_keep_their_reason_and_lose_their_score(tmp_path: Path) -> None:
    table = read(tmp_path, {**BASE, "refused": ["too thin", "yes", "no", *[""] * 21]})
    assert table.refused[:4] == ["too thin", "no reason given", "", ""]
    assert np.isnan(table.score[:2]).all()
    assert np.isfinite(table.score[2:]).all()


# Labels of another file --------------------------------------------------------------------------------------------


def test_labels_are_joined_with_what_else_their_table_knows(tmp_path: Path) -> None:
    scores = {"scan": BASE["scan"], "score": SCORES}
    order = [*range(23, -1, -1)]
    write(
        tmp_path / "labels.csv",
        {
            "Scan ID": [str(BASE["scan"][i]).upper() for i in order],
            "patient": [f"q{i}" for i in order],
            "truth": [BASE["label"][i] for i in order],
            "kernel": [f"B{i % 2}" for i in order],
        },
    )
    table = read(tmp_path, scores, labels=tmp_path / "labels.csv")
    assert table.label.tolist() == list(BASE["label"])
    assert table.patient[5] == "q5"
    assert table.metadata["kernel"][:2] == ["B0", "B1"]


def test_labels_that_do_not_match_name_the_first_three(tmp_path: Path) -> None:
    scores = {"scan": BASE["scan"], "score": SCORES}
    ids = [*BASE["scan"][:22], "x1", "x2"]
    labels = write(tmp_path / "labels.csv", {"scan": ids, "label": BASE["label"]})
    said = refused(tmp_path, scores, labels=labels)
    assert "22 of its 24 labelled scans are in" in said
    assert "not there: x1, x2" in said
    many = {k: [*v, *v[:0]] for k, v in scores.items()}
    labels = write(tmp_path / "labels.csv", {"scan": [*BASE["scan"][:23], "x1"], "label": BASE["label"]})
    assert read(tmp_path, many, labels=labels).label[23] == -1  # 96 % are found
    both = {**scores, "label": [1, *BASE["label"][1:]]}
    write(tmp_path / "labels.csv", {"scan": BASE["scan"], "truth": BASE["label"]})
    assert read(tmp_path, both, labels=labels).label.tolist() == list(BASE["label"])
    both["label"] = [0, *BASE["label"][1:]]
    assert "line 2: label is '0', but" in refused(tmp_path, both, labels=labels)
    write(tmp_path / "labels.csv", {"scan": ["s1", "s1"], "label": [0, 1]})
    assert "line 3: scan 's1' has another label than in line 2" in refused(tmp_path, scores, labels=labels)
    write(tmp_path / "labels.csv", {"other": ["s1", "s1"], "label": [0, 1]})
    assert "has no column in common" in refused(tmp_path, scores, labels=labels)


# What cannot be right ----------------------------------------------------------------------------------------------


def test_scores_outside_the_scale(tmp_path: Path) -> None:
    said = refused(tmp_path, changed("score", 3, 1.7))
    assert "line 5: score is 1.7, outside 0 to 1 (1 of 24 scores are outside" in said
    assert "--scale" in said
    assert read(tmp_path, changed("score", 3, 1.0)).score[3] == 1
    assert "outside 0 to 100" in refused(tmp_path, changed("score", 3, 101), scale="percent")
    assert "though the scale is percent" in refused(tmp_path, BASE, scale="percent")


def test_a_fraction_as_the_threshold_of_percent_blames_no_product(tmp_path: Path) -> None:
    """0.5 on a scale of percent is half a percent: nearly every scan would be called positive."""
    rows = {**BASE, "score": [100 * s for s in SCORES]}
    assert "Give --threshold 50 if the fraction 0.5" in refused(tmp_path, rows, scale="percent", threshold=0.5)
    assert not said_of_calls(read(tmp_path, rows, scale="percent", threshold=50))
    low = {**BASE, "score": [0.1 * (i % 12) for i in range(24)]}  # a product that says up to 1.1 %
    assert not said_of_calls(read(tmp_path, low, scale="percent", threshold=0.5))


def test_a_threshold_that_calls_every_scan_alike_is_told(tmp_path: Path) -> None:
    rows = {**BASE, "score": [10 * s for s in SCORES]}
    for threshold, kind in ((-0.5, "positive"), (50, "negative")):
        told = said_of_calls(read(tmp_path, rows, scale="higher-is-sicker", threshold=threshold))
        assert told == [
            f"The threshold {threshold:g} calls all 24 scored scans {kind}: is it on the scale of the scores?"
        ]
    logits = {**BASE, "score": [8 * s - 4 for s in SCORES]}
    assert not said_of_calls(read(tmp_path, logits, scale="logit", threshold=-1))
    assert "calls all 24 scored scans negative" in said_of_calls(read(tmp_path, logits, scale="logit", threshold=9))[0]
    told = said_of_calls(read(tmp_path, rows, scale="lower-is-sicker", threshold=50))
    assert "calls all 24 scored scans positive" in told[0]
    assert not said_of_calls(read(tmp_path, rows, scale="lower-is-sicker", threshold=5))


def test_a_threshold_outside_the_scale(tmp_path: Path) -> None:
    assert "the threshold 50 lies outside its scale, probability" in refused(tmp_path, BASE, threshold=50)
    assert "lies outside its scale" in refused(tmp_path, BASE, threshold=float("nan"), scale="higher-is-sicker")
    assert read(tmp_path, BASE, threshold=1.0).threshold == 1


def test_the_same_scan_twice(tmp_path: Path) -> None:
    said = refused(tmp_path, changed("scan", 9, "s3"))
    assert "line 11: scan 's3' stands here and in line 5, with the scores 0.14 and 0.38. Two versions" in said
    both = {**changed("scan", 9, "s3"), "version": [f"{1 + (i == 9)}.0" for i in range(24)]}
    assert set(read(tmp_path, both).version) == {"1.0", "2.0"}


def test_a_label_hidden_among_the_metadata(tmp_path: Path) -> None:
    words = ["positive" if v else "negative" for v in BASE["label"]]
    said = refused(tmp_path, {**BASE, "pcr": words})
    assert "column 'pcr' says of every scan what the label 'label' says: a second label" in said
    table = read(tmp_path, {**BASE, "pcr": words}, given={"label": "label"})
    assert "pcr" not in table.metadata
    assert any("'pcr' agrees" in r for r in table.remarks)
    one_off = [*words[:-1], "positive"]
    assert "pcr" in read(tmp_path, {**BASE, "pcr": one_off}).metadata
    scanners = ["A" if v else "B" for v in BASE["label"]]  # confounded, but no label
    assert "scanner" in read(tmp_path, {**BASE, "scanner": scanners}).metadata
    assert "is the label 'label' again" in refused(tmp_path, {**BASE, "score": BASE["label"]})


def test_one_class_and_one_patient(tmp_path: Path) -> None:
    assert "all 24 scans with a score and a label are negative: one class" in refused(
        tmp_path, {**BASE, "label": [0] * 24}
    )
    assert "all scans are of one patient" in refused(tmp_path, {**BASE, "patient": ["p"] * 24})
    assert "no scan has both a score and a label" in refused(tmp_path, {**BASE, "label": [""] * 24})


def test_mixed_versions_without_a_version_column(tmp_path: Path) -> None:
    n = 80
    random = np.random.default_rng(1)
    scores, days = random.random(n).round(3), [f"2025-{1 + i // 10:02d}-01" for i in range(n)]
    split = [int(s >= (0.5 if i < 40 else 0.3)) for i, s in enumerate(scores)]
    base = {
        "scan": [f"s{i}" for i in range(n)],
        "score": scores,
        "label": random.integers(0, 2, n),
        "date": days,
    }
    said = refused(tmp_path, {**base, "call": split})
    assert "up to 2025-04-01 its calls follow one threshold, from 2025-05-01 on another one" in said
    assert read(tmp_path, {**base, "call": [int(s >= 0.5) for s in scores]}).call is not None
    assert read(tmp_path, {**base, "call": split, "version": [i // 40 for i in range(n)]}).version[0] == "0"
    noisy = [c ^ (i % 7 == 0) for i, c in enumerate(split)]  # calls of no threshold at all: a note of the page
    assert read(tmp_path, {**base, "call": noisy}).call is not None


def test_decimal_commas_that_break_a_row(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("scan,score,label\ns1,0,93,1\ns2,0,12,0\n")
    with pytest.raises(BadTable, match=r"line 2 has 4 cells, the header 3: s1, 0, 93, 1. Decimal commas\?"):
        read_score_table(tmp_path / "scores.csv")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("1,234", "a decimal comma or a thousands separator"),
        ("1'234", "a thousands separator"),
        ("1 234.5", "a thousands separator"),
        ("1.234.567", "a thousands separator"),
        ("2024-03-12", "a date: a spreadsheet has made it"),
        ("12.03.2024", "a date: a spreadsheet has made it"),
        ("3-Dec", "a date: a spreadsheet has made it"),
        ("03. Dez", "a date: a spreadsheet has made it"),
        ("93%", "Say --scale percent"),
        ("error 7", "not a number"),
        ("1_0", "not a number"),
        ("1e999", "not a finite number"),
    ],
)
def test_numbers_that_may_be_something_else(tmp_path: Path, value: str, what: str) -> None:
    columns = {**BASE, "score": [str(i + 1) for i in range(23)] + [value]}
    assert what in refused(tmp_path, columns, scale="higher-is-sicker")
    assert "line 25" in refused(tmp_path, columns, scale="higher-is-sicker")


def test_commas_beside_dots_are_refused_and_plain_decimal_commas_are_not(tmp_path: Path) -> None:
    said = refused(tmp_path, {**BASE, "score": ["0,5", *SCORES[1:]]})
    assert "line 2: score is '0,5', but '0.06' in line 3: decimal commas or thousands separators?" in said
    columns = {**BASE, "score": ["0,125", *(str(v).replace(".", ",") for v in SCORES[1:])]}
    assert read(tmp_path, columns).score[0] == 0.125


def test_dates_read_as_numbers(tmp_path: Path) -> None:
    said = refused(tmp_path, {**BASE, "date": ["2025-01-01", "45231", *["2025-01-01"] * 22]})
    assert "line 3: date is '45231': a spreadsheet's number of a day, not a date" in said
    table = read(tmp_path, {**BASE, "date": ["20250101", "7.4.2025", *["2025-01-01"] * 22]})
    assert table.metadata["date"][:2] == ["2025-01-01", "2025-04-07"]
    book = Workbook()
    book.active.append(["scan", "score", "label"])
    for i in range(24):
        book.active.append([f"s{i}", date(2025, 3, 12) if i == 4 else SCORES[i], i % 2])
    book.save(tmp_path / "scores.xlsx")
    with pytest.raises(BadTable, match="line 6: score is '2025-03-12', a date"):
        read_score_table(tmp_path / "scores.xlsx")


def test_what_is_missing_or_empty(tmp_path: Path) -> None:
    assert "has no column of scores" in refused(tmp_path, {k: v for k, v in BASE.items() if k != "score"})
    assert "has no column of labels" in refused(tmp_path, {k: v for k, v in BASE.items() if k != "label"})
    assert "line 4: the patient is empty" in refused(tmp_path, changed("patient", 2, ""))
    assert "rounded" in refused(tmp_path, changed("patient", 2, "1.2E+19"))
    assert "has a score but no call" in refused(tmp_path, {**BASE, "call": ["", *[1] * 23]})
    assert "neither a positive nor a negative call" in refused(tmp_path, {**BASE, "call": ["maybe", *[1] * 23]})
    with pytest.raises(BadTable, match="no such table"):
        read_score_table(tmp_path / "nowhere.csv")
    (tmp_path / "scores.csv").write_text("scan,score,label\n")
    with pytest.raises(BadTable, match="has no row of scores"):
        read_score_table(tmp_path / "scores.csv")
