"""Which of a study's models learned: from the validation predictions of their training sites, and of no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from elsewhere.errors import BadStudy
from elsewhere.statistics.learned import judge_learned
from elsewhere.studies.folder import Folder
from elsewhere.studies.learned import learned_models, read_learned, write_learned
from elsewhere.studies.predictions import write_predictions
from elsewhere.studies.records import SCANS
from study_rows import a_prediction, a_scan


def write(folder: Folder, model: str, site: str, gap: float, subset: str = "validation", passes: int = 1) -> None:
    """40 scans of two patients' scans each, positives `gap` log-odds above negatives; later passes are worthless."""
    random = np.random.default_rng([len(site), ord(site[0])])
    labels = np.arange(40) % 2
    odds = random.normal(0, 1, 40) + gap * labels
    scans = [
        {"site": site, "subset": subset, "patient": f"p{i // 4}{labels[i]}", "scan": f"s{i}", "label": int(labels[i])}
        for i in range(40)
    ]
    rows = [
        a_prediction(**scan, model=model, dropout_pass=turn, probability=float(expit(odds[i])) if turn < 0 else 0.5)
        for turn in range(-1, passes)
        for i, scan in enumerate(scans)
    ]
    write_predictions(folder.predictions(model, site), rows)
    kept = {(r.site, r.scan): r for r in (SCANS.read(folder.scans) if folder.scans.is_file() else [])}
    kept |= {(site, str(scan["scan"])): a_scan(**scan) for scan in scans}
    SCANS.write(folder.scans, list(kept.values()))


def test_each_model_is_judged_by_its_own_sites_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for model, gaps in {"A": (4.0, 0.0), "B": (4.0, 0.0), "A+B": (4.0, 4.0)}.items():
        for site, gap in zip("AB", gaps, strict=True):
            write(folder, model, site, gap)
    judged = learned_models(folder, {"A": ("A",), "B": ("B",), "A+B": ("A", "B")})
    assert {name: found.degenerate for name, found in judged.items()} == {"A": False, "B": True, "A+B": False}
    assert {name: found.scans for name, found in judged.items()} == {"A": 40, "B": 40, "A+B": 80}


def test_patients_of_two_sites_with_one_name_are_two_patients(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for site in "AB":
        write(folder, "A+B", site, 1.0)
    (found,) = learned_models(folder, {"A+B": ("A", "B")}).values()
    labels, sites = np.tile(np.arange(40) % 2, 2), np.repeat(["A", "B"], 40)
    odds = [np.random.default_rng([1, ord(s)]).normal(0, 1, 40) + np.arange(40) % 2 for s in "AB"]
    people = [f"{s}{i // 4}{i % 2}" for s in "AB" for i in range(40)]
    assert found == judge_learned(labels, people, sites, expit(np.concatenate(odds)))


def test_a_model_without_validation_scans_is_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write(folder, "A", "A", 4.0, subset="test")
    with pytest.raises(BadStudy, match="holds no validation scan of A, so that nothing tells whether A learned"):
        learned_models(folder, {"A": ("A",)})
    with pytest.raises(BadStudy, match="does not exist"):
        learned_models(folder, {"B": ("B",)})


def checkpoint(folder: Folder, p: float | None) -> Path:
    """The record of model A's weights, chosen among eight checks."""
    path = folder.checkpoint("A").with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = {} if p is None else {"by_chance": {"checks": 8, "p": p}}
    path.write_text(json.dumps({"format": 1, "sha256": "", "selection": {"checks": 8}} | chosen), encoding="utf-8")
    return path


def test_the_choice_of_the_weights_counts(tmp_path: Path) -> None:
    folder, models = Folder(tmp_path), {"A": ("A",)}
    write(folder, "A", "A", 4.0)
    checkpoint(folder, 0.3)
    assert "as the best of 8 checks" in learned_models(folder, models)["A"].reasons[0]
    checkpoint(folder, 0.001)
    assert not learned_models(folder, models)["A"].degenerate
    checkpoint(folder, None)
    found = learned_models(folder, models)["A"]
    assert not found.degenerate
    assert "best of 8 checks" in found.remarks[-1]


def test_a_kept_judgement_holds_while_the_choice_is_the_same_and_when_the_weights_are_gone(tmp_path: Path) -> None:
    folder, models = Folder(tmp_path), {"A": ("A",)}
    write(folder, "A", "A", 4.0)
    path = checkpoint(folder, 0.3)
    write_learned(folder, learned_models(folder, models), models)
    path.unlink()
    assert read_learned(folder, models)["A"].degenerate
    checkpoint(folder, 0.001)
    assert not read_learned(folder, models)["A"].degenerate
