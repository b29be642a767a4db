"""Rows of two tables paired: by scan, patient or line; whatever makes a pair doubtful is refused with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elsewhere.errors import BadTable
from elsewhere.scans.score_pairs import cases_hash, pair_rows
from elsewhere.scans.score_table import ScoreTable, read_score_table


def table(path: Path, text: str, **said: object) -> ScoreTable:
    path.write_text(text)
    return read_score_table(path, lenient=True, **said)


def pairs(new: ScoreTable, old: ScoreTable) -> list[tuple[int, int]]:
    found = pair_rows(new, np.ones(len(new.scan), bool), old)
    return list(zip(found.new.tolist(), found.old.tolist(), strict=True))


def test_scans_are_paired_whatever_their_order_and_either_table_may_know_the_label(tmp_path: Path) -> None:
    new = table(tmp_path / "new.csv", "scan,score,label\na,0.1,0\nb,0.9,\nc,0.5,1\nd,0.5,1\n")
    old = table(tmp_path / "old.csv", "scan,score,label\nc,0.4,\nb,0.8,1\na,0.2,0\nx,0.3,0\n")
    found = pair_rows(new, np.ones(4, bool), old)
    assert (found.new.tolist(), found.old.tolist()) == ([0, 1, 2], [2, 1, 0])
    assert found.label.tolist() == [0, 1, 1]
    assert (found.added, found.dropped) == (1, 1)


def test_without_scans_patients_are_paired_and_lines_of_one_file(tmp_path: Path) -> None:
    new = table(tmp_path / "new.csv", "patient,score,label\np,0.1,0\nq,0.9,1\n")
    old = table(tmp_path / "old.csv", "patient,score\nq,0.1\np,0.9\n")
    assert pairs(new, old) == [(0, 1), (1, 0)]
    one = table(tmp_path / "one.csv", "score,score_b,label\n0.1,0.3,0\n0.9,0.3,1\n")
    assert pairs(one, one) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("new", "old", "words"),
    [
        ("scan,score,label\na,0.1,0\nb,0.9,1\n", "scan,score\nx,0.1\n", r"has no scan of .*new\.csv \(a, b, …\)"),
        ("scan,score,label\na,0.1,0\nb,0.9,1\n", "score\n0.1\n", r"old\.csv: has no column that names the scan"),
        (
            "scan,score,label\na,0.1,0\nb,0.9,1\n",
            "scan,score,label\nb,0.9,0\na,0.1,1\n",
            r"line 3: scan 'a' is labelled 1, in .*new\.csv 0 \(2 scans differ\)",
        ),
        (
            "scan,score,label\na,0.1,0\nb,0.9,1\n",
            "scan,score,version\na,0.1,1\na,0.2,2\n",
            r"holds 2 versions \(1, 2\)",
        ),
        (
            "patient,score,label\na,0.1,0\nb,0.9,1\n",
            "patient,score\na,0.1\na,0.2\n",
            r"line 3: patient 'a' stands here and in line 2",
        ),
    ],
)
def test_doubtful_pairs_are_refused(tmp_path: Path, new: str, old: str, words: str) -> None:
    first, second = table(tmp_path / "new.csv", new), table(tmp_path / "old.csv", old)
    with pytest.raises(BadTable, match=words):
        pair_rows(first, np.ones(len(first.scan), bool), second)


def test_findings_and_sites_are_kept_apart(tmp_path: Path) -> None:
    text = "scan,site,finding,score,label\na,N,x,0.1,0\na,S,x,0.2,1\na,N,y,0.3,1\n"
    new, old = table(tmp_path / "new.csv", text), table(tmp_path / "old.csv", text)
    kept = np.array([f == "x" for f in new.finding])
    found = pair_rows(new, kept, old)
    assert (found.new.tolist(), found.old.tolist()) == ([0, 1], [0, 1])


def test_the_fingerprint_is_of_cases_and_labels_not_of_scores_or_order(tmp_path: Path) -> None:
    texts = {
        "a": "scan,score,label\na,0.1,0\nb,0.9,1\n",
        "b": "scan,score,label\nb,0.2,1\na,0.3,0\nc,0.3,\n",
        "c": "scan,score,label\na,0.1,1\nb,0.9,0\n",
    }
    found = {n: table(tmp_path / f"{n}.csv", text) for n, text in texts.items()}
    prints = {n: cases_hash(t, np.ones(len(t.scan), bool)) for n, t in found.items()}
    assert prints["a"] == prints["b"] != prints["c"]
