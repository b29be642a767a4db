"""`elsewhere evaluate --next`: labels are asked for in batches until it is known; the page comes at the end."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


class Reader:
    """A table of scores, and someone who labels what is asked for."""

    def __init__(self, folder: Path, gap: float, scans: int = 200) -> None:
        random = np.random.default_rng(3)
        self.truth = {f"s{i}": i % 2 for i in range(scans)}
        self.scores = {s: random.normal() + gap * (y - 0.5) for s, y in self.truth.items()}
        self.labels: dict[str, int] = {}
        self.file, self.asked = folder / "scores.csv", folder / "scores-evaluation" / "next.csv"
        self.write()

    def write(self) -> None:
        with self.file.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["scan", "score", *(["label"] if self.labels else [])])
            for scan, score in self.scores.items():
                writer.writerow([scan, score, *([self.labels.get(scan, "")] if self.labels else [])])

    def read(self) -> list[str]:
        with self.asked.open() as file:
            scans = [row["scan"] for row in csv.DictReader(file)]
        self.labels |= {s: self.truth[s] for s in scans}
        self.write()
        return scans

    def ask(self, *words: object) -> Any:
        return run(self.file, "--scale", "higher-is-sicker", "--threshold", 0, "--next", 20, *words)


def until_stop(reader: Reader, *words: object) -> Any:
    for _ in range(12):
        result = reader.ask(*words)
        if "Label these" not in result.stdout:
            return result
        reader.read()
    raise AssertionError("no end")


def test_a_good_product_stops_early_and_gets_its_page(tmp_path: Path) -> None:
    reader = Reader(tmp_path, gap=3.2)
    first = reader.ask()
    assert first.exit_code == 20, first.output
    assert "0 labels: too few for a look" in first.stdout
    assert "score" not in reader.asked.read_text()
    assert not (tmp_path / "scores-evaluation" / "evaluation.html").exists()
    assert len(reader.read()) == 20
    result = until_stop(reader)
    assert result.exit_code == 0, result.output
    assert "Stop: good enough." in result.stdout
    assert len(reader.labels) <= 100
    page = (tmp_path / "scores-evaluation" / "evaluation.html").read_text()
    assert "Stop rule:" in page
    found = json.loads((tmp_path / "scores-evaluation" / "evaluation.json").read_text())["stop"]
    assert (found["state"], found["unplanned"]) == ("good enough", 0)


def test_a_useless_product_stops_early(tmp_path: Path) -> None:
    reader = Reader(tmp_path, gap=0.2)
    result = until_stop(reader)
    assert "Stop: not good enough." in result.stdout
    assert result.exit_code in {11, 12}, result.output


def test_at_the_cap_nothing_is_said_to_work(tmp_path: Path) -> None:
    reader = Reader(tmp_path, gap=2.4)
    result = until_stop(reader, "--cap", 40, "--least-auc", 0.9)
    assert "Stop: cannot tell." in result.stdout
    assert "the cap of 40 labels is reached" in result.stdout
    assert result.exit_code == 20


def test_scans_that_the_reader_picked_are_said(tmp_path: Path) -> None:
    reader = Reader(tmp_path, gap=2.0)
    clear = sorted(reader.scores, key=lambda s: -abs(reader.scores[s]))[:60]
    reader.labels = {s: reader.truth[s] for s in clear}
    reader.write()
    result = reader.ask()
    assert "are not those that the reading order proposes" in result.stdout
    assert "It works here" not in result.stdout
    assert result.exit_code == 20


def test_sensitivity_can_decide(tmp_path: Path) -> None:
    result = until_stop(Reader(tmp_path, gap=4.0), "--stop-on", "sensitivity", "--least-sensitivity", 0.6)
    assert "Stop: good enough." in result.stdout
    assert "sensitivity" in result.stdout


@pytest.mark.parametrize(
    ("text", "words", "code", "says"),
    [
        ("scan,score\na,0.1\n", ("--stop-on", "ppv"), 2, "--stop-on must be one of auc, sensitivity, specificity"),
        ("scan,score\na,0.1\n", ("--stop-on", "sensitivity"), 1, "decisions are not known"),
        ("score\n0.1\n", (), 1, "has no column that names the scan"),
        ("scan,score,site\na,0.1,N\nb,0.1,S\n", (), 1, "holds 2 sites; --next takes one"),
        ("scan,score,finding,label\na,0.1,x,\na,0.1,y,\n", (), 1, "holds several findings or versions"),
        ("scan,score\na,0.1\n", ("--cap", 5), 2, "cap must be at least 20, is 5"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, text: str, words: tuple[object, ...], code: int, says: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    result = run(tmp_path / "a.csv", "--next", 20, *words)
    assert result.exit_code == code, result.output
    assert says in " ".join(f"{result.output} {result.exception}".replace("│", " ").split())
