"""`elsewhere stress` on tiny sites: its records, what it keeps, what it does with bad scans, what it refuses."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands import stress as command
from elsewhere.commands.stress import run_stress
from elsewhere.commands.study import run_study
from elsewhere.errors import BadStudy
from elsewhere.model.network import load_checkpoint, save_checkpoint
from elsewhere.pages.report.stress import sentence
from elsewhere.rows import DoseRow
from elsewhere.scans.shifts import LADDERS, plan_shifts
from elsewhere.statistics.learned import Learned
from elsewhere.statistics.roc import exact_auc
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder, read_table
from elsewhere.studies.learned import learned_models
from elsewhere.studies.shifting import tasks_of
from study_rows import a_scan

COLUMNS = {"model", "home", "shift", "dose", "unit", "words", "auc", "low", "high", "positive_share", "scans"}
EXPLAINED = {"model", "home", "site", "shift", "dose", "distance", "distance_unshifted", "words", "best"}
NOISE = plan_shifts(["noise"])


def all_learned(_: Folder, models: Mapping[str, Any]) -> dict[str, Learned]:
    """Networks of four steps know nothing; what is done with ones that do is tested here."""
    return dict.fromkeys(models, Learned(0.9, 0.8, 1.0, 0.9, 0.5, 1.0, 40, (), ()))


@pytest.fixture(autouse=True)
def learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "learned_models", all_learned)


@pytest.fixture(scope="module")
def ran(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Folder]:
    """A study file and its finished folder: two single-site models and one of two sites, five test scans a class."""
    root = tmp_path_factory.mktemp("stress")
    text = tiny_study_file.read_text().replace('["COVID-CTset", "MosMedData"]', '["CC-CCII"], ["UTSW", "COVID-CTset"]')
    file = root / "study.toml"
    file.write_text(text + "[split]\ntrain = 0.4\ntest = 0.45\n")
    run_study(file, Folder(root / "out"), workers=1)
    return file, Folder(root / "out")


@pytest.fixture(scope="module")
def made(ran: tuple[Path, Folder]) -> tuple[Study, Folder]:
    """The same after `elsewhere stress` with all shifts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "learned_models", all_learned)
        result = CliRunner().invoke(app, ["stress", str(ran[0]), str(ran[1].root), "--scans", "10", "--workers", "1"])
    assert result.exit_code == 0, result.output
    return load_study(ran[0]), ran[1]


@pytest.fixture
def again(made: tuple[Study, Folder], tmp_path: Path) -> tuple[Study, Folder]:
    """A copy of the folder for a test to change."""
    return made[0], Folder(shutil.copytree(made[1].root, tmp_path / "out"))


def curves(folder: Folder) -> list[dict[str, Any]]:
    return read_table(folder.root / "stress" / "curves.parquet")


def explanations(folder: Folder) -> list[dict[str, Any]]:
    return read_table(folder.root / "stress" / "explanations.parquet")


def kept(folder: Folder) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (folder.root / "stress" / "scans").iterdir()}


def test_every_dose_of_every_shift_has_its_row(made: tuple[Study, Folder]) -> None:
    rows = curves(made[1])
    assert set(rows[0]) >= COLUMNS
    assert {(r["model"], r["home"]) for r in rows} == {("UTSW", "UTSW"), ("CC-CCII", "CC-CCII")}
    own = [r for r in rows if r["model"] == "UTSW"]
    expected = {(name, float(dose)) for name, ladder in LADDERS.items() for dose in (0, *ladder.doses)}
    assert {(r["shift"], r["dose"]) for r in own} == expected
    assert all(0 <= r["low"] <= r["auc"] <= r["high"] <= 1 and r["scans"] == 10 for r in own)
    assert all((r["words"] == "as it is") == (r["dose"] == 0) == (r["difference"] is None) for r in own)


def test_dose_zero_is_what_the_study_predicted(made: tuple[Study, Folder]) -> None:
    rows = read_table(made[1].predictions("UTSW", "UTSW"))
    test = [r for r in rows if r["subset"] == "test" and r["pass"] == -1]
    assert len(test) == 10
    said = {r["scan"]: r["probability"] for r in test}
    auc = float(exact_auc([r["label"] for r in test], [r["probability"] for r in test]))
    assert [r["auc"] for r in curves(made[1]) if r["model"] == "UTSW" and r["dose"] == 0] == pytest.approx(
        [auc] * len(LADDERS)
    )
    found = [json.loads(p.read_text())["as it is"] for p in (made[1].root / "stress" / "scans").iterdir()]
    assert all(any(abs(f - p) < 1e-5 for f in found) for p in said.values())


def test_shifts_that_need_hu_are_refused_at_an_8_bit_site_with_the_reason(made: tuple[Study, Folder]) -> None:
    rows = [r for r in curves(made[1]) if r["model"] == "CC-CCII"]
    refused = {r["shift"] for r in rows if r["auc"] is None}
    assert refused == {name for name, ladder in LADDERS.items() if ladder.needs_hu} | {"thickness"}
    assert all(r["scans"] == 0 for r in rows if r["auc"] is None)
    words = {r["shift"]: r["words"] for r in rows if r["auc"] is None}
    assert words["noise"].startswith("not done: needs HU, and the scan holds relative grey values")
    assert "distance of the slices" in words["thickness"]


def test_each_other_site_has_one_best_explanation(made: tuple[Study, Folder]) -> None:
    rows = explanations(made[1])
    assert set(rows[0]) >= EXPLAINED
    groups = defaultdict(list)
    for row in rows:
        groups[row["model"], row["site"]].append(row)
    others = {"UTSW": {"CC-CCII", "COVID-CTset", "MosMedData"}, "CC-CCII": {"UTSW", "COVID-CTset", "MosMedData"}}
    assert set(groups) == {(model, site) for model, sites in others.items() for site in sites}
    for (model, site), own in groups.items():
        assert sum(r["best"] for r in own) == 1
        assert (own[0]["shift"], own[0]["dose"]) == ("none", 0)
        assert all(r["distance_unshifted"] == own[0]["distance"] >= 0 for r in own)
        best = next(r for r in own if r["best"])
        assert best["words"].startswith(f"scores of {model} and {site} lie")
        assert best["words"].endswith("are too few to name a shift (at least 100 of each site).")
        assert {r["outcome"] for r in own} == {"too few"}
        assert (own[0]["tried"], own[0]["of"]) == ((14, 14) if model == "UTSW" else (8, 14))
        doses = sorted(r["dose"] for r in own if r["shift"] == "blur")
        assert doses == [0.5, 1, 1.5, 2, 3, 4]  # the usual doses and those in the middle


def test_a_second_run_reads_no_scan_and_gives_the_same_bytes(
    again: tuple[Study, Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise AssertionError("a scan was shifted again")

    names = ("curves.parquet", "explanations.parquet")
    before, files = [(again[1].root / "stress" / n).read_bytes() for n in names], kept(again[1])
    monkeypatch.setattr(command, "stress_scan", explode)
    # the checkpoint's hash decides, not its place; the study's folder may move
    run_stress(*again, scans=10, workers=1)
    assert [(again[1].root / "stress" / n).read_bytes() for n in names] == before
    assert kept(again[1]) == files


def test_a_killed_run_goes_on_and_a_cut_file_is_made_again(again: tuple[Study, Folder]) -> None:
    files = sorted((again[1].root / "stress" / "scans").iterdir())
    before = {f.name: f.read_bytes() for f in files}
    files[0].unlink()
    files[1].write_text('{"as it is": 0.5, "bl')
    rows = curves(again[1])
    run_stress(*again, scans=10, workers=1)
    assert curves(again[1]) == rows
    assert {f.name: f.read_bytes() for f in files} == before


def test_other_weights_are_not_answered_from_what_is_kept(again: tuple[Study, Folder]) -> None:
    study, folder = again
    stem, before = folder.model("UTSW") / "checkpoint", set(kept(folder))
    network, record = load_checkpoint(stem)
    with torch.no_grad():
        network.last.bias[1] += 3
    save_checkpoint(stem, network, {k: v for k, v in record.items() if k not in {"sha256", "network", "format"}})
    was = {r["shift"]: r["positive_share"] for r in curves(folder) if r["model"] == "UTSW" and r["dose"] == 0}
    run_stress(study, folder, ["UTSW"], NOISE, scans=10, workers=1)
    assert len(set(kept(folder)) - before) == 10
    assert next(r["positive_share"] for r in curves(folder)) >= was["noise"]


def test_another_dose_is_added_to_what_is_kept(again: tuple[Study, Folder]) -> None:
    study, folder = again
    names = set(kept(folder))
    run_stress(study, folder, ["UTSW"], plan_shifts(["noise"], [7]), scans=10, workers=1)
    assert [(r["dose"], r["unit"]) for r in curves(folder)] == [(0, "HU"), (7, "HU")]
    assert set(kept(folder)) == names
    assert all(r["words"] != "" for r in curves(folder))


def test_scans_that_fail_cost_themselves_and_no_other(
    again: tuple[Study, Folder], inject: Callable[[dict[str, str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be read, a codec that raises, one that ends its process."""
    study, folder = again
    shutil.rmtree(folder.root / "stress")
    chosen = [row.scan for row in command._home(command.usable_rows(folder), "UTSW", "UTSW", 10).rows]
    inject(dict(zip((f"UTSW/{scan}/" for scan in chosen), ("EIO", "codec", "SIGSEGV"), strict=False)))
    run_stress(study, folder, ["UTSW"], NOISE, scans=10, workers=1)
    assert {r["scans"] for r in curves(folder)} == {7}
    said = " ".join(capsys.readouterr().err.split())
    for words in ("Input/output error", "(RuntimeError: codec)", "signal 11 (SIGSEGV)"):
        assert words in said
    inject({})
    run_stress(study, folder, ["UTSW"], NOISE, scans=10, workers=1)
    assert {r["scans"] for r in curves(folder)} == {10}


@pytest.mark.parametrize(("fault", "said"), [("EIO", "Input/output error"), ("SIGSEGV", r"signal 11 \(SIGSEGV\)")])
def test_all_scans_bad_is_an_error(
    again: tuple[Study, Folder], inject: Callable[[dict[str, str]], None], fault: str, said: str
) -> None:
    shutil.rmtree(again[1].root / "stress")
    chosen = command._home(command.usable_rows(again[1]), "UTSW", "UTSW", 10).rows
    inject({f"UTSW/{row.scan}/": fault for row in chosen})
    with pytest.raises(BadStudy, match=rf"no test scan of UTSW could be shifted; the first: .*{said}"):
        run_stress(*again, ["UTSW"], NOISE, scans=10, workers=1)


def test_a_model_of_two_sites_is_shifted_at_both(again: tuple[Study, Folder]) -> None:
    study, folder = again
    run_stress(study, folder, ["UTSW+COVID-CTset"], NOISE, scans=10, workers=1)
    assert {(r["model"], r["home"]) for r in curves(folder)} == {
        ("UTSW+COVID-CTset", "UTSW"),
        ("UTSW+COVID-CTset", "COVID-CTset"),
    }
    assert {r["site"] for r in explanations(folder)} == {"CC-CCII", "MosMedData"}


def test_scans_are_chosen_by_class_and_always_the_same() -> None:
    rows = [a_scan(scan=f"s{i}", patient=f"p{i}", label=int(i < 6)) for i in range(30)]
    eight, again = (command._home(order, "A", "A", 8) for order in (rows, rows[::-1]))
    assert [r.label for r in eight.rows] == [1] * 4 + [0] * 4
    assert eight.rows == again.rows
    assert eight.positives == 0.2
    assert [r.label for r in command._home(rows, "A", "A", 20).rows] == [1] * 6 + [0] * 14
    assert len(command._home(rows, "A", "A", 99).rows) == 30
    twelve = command._home(rows, "A", "A", 12)
    assert {r.scan for r in eight.rows} < {r.scan for r in twelve.rows}


def test_tasks_travel_to_worker_processes(made: tuple[Study, Folder]) -> None:
    home = command._home(command.usable_rows(made[1]), "UTSW", "UTSW", 4)
    tasks, bad = tasks_of(*made, {"UTSW": {r.scan: ["UTSW"] for r in home.rows}}, NOISE)
    assert (len(tasks), bad) == (4, [])
    assert pickle.loads(pickle.dumps(tasks)) == tasks


def test_pictures_are_measured_once_at_home_under_each_shift_and_at_the_other_sites(made: tuple[Study, Folder]) -> None:
    home = [json.loads(p.read_text()) for p in (made[1].root / "stress" / "scans").iterdir()]
    wide = [found for found in home if isinstance(found.get("noise 10.0"), float)]
    assert all(f["marks wide 40.0"]["field"] == pytest.approx(1.4 * f["marks as it is"]["field"]) for f in wide)
    assert all(f["marks noise 50.0"]["grain"] > f["marks as it is"]["grain"] for f in wide)
    away = [json.loads(p.read_text()) for p in (made[1].root / "stress" / "marks").iterdir()]
    assert len(away) >= 30
    assert all(0 < f["body"] < 1 and f["floor"] < f["ceiling"] for f in away)


def test_a_site_that_cannot_be_compared_has_its_row_and_the_reason(
    again: tuple[Study, Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("no class has 5 scans at home and at the other site")

    before = set(explanations(again[1])[0])
    monkeypatch.setattr(command, "explain", refuse)
    run_stress(*again, ["UTSW"], NOISE, scans=10, workers=1)
    rows = explanations(again[1])
    assert {(r["site"], r["shift"], r["best"], r["outcome"]) for r in rows} == {
        (site, "none", True, "too few") for site in ("CC-CCII", "COVID-CTset", "MosMedData")
    }
    assert rows[0]["words"] == "no class has 5 scans at home and at the other site: too few to name a shift"
    assert set(rows[0]) == before


def test_a_degenerate_model_is_named_and_nothing_is_said_of_causes(
    again: tuple[Study, Folder], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, folder = again

    def judged(asked: Folder, models: Mapping[str, Any]) -> dict[str, Learned]:
        found = all_learned(asked, models)
        return found | {"UTSW": Learned(0.5, 0.4, 0.6, 0.5, 0.5, 0.01, 40, ("its scores hardly differ",), ())}

    monkeypatch.setattr(command, "learned_models", judged)
    run_stress(study, folder, scans=10, workers=1)
    rows = [r for r in curves(folder) if r["model"] == "UTSW"]
    assert [(r["home"], r["shift"], r["auc"], r["scans"]) for r in rows] == [("UTSW", "degenerate", None, 0)]
    assert rows[0]["words"] == "degenerate: its scores hardly differ"
    assert {r["model"] for r in explanations(folder)} == {"CC-CCII"}
    assert any(r["model"] == "CC-CCII" and r["auc"] is not None for r in curves(folder))
    printed = " ".join(capsys.readouterr().err.split())
    assert "UTSW at UTSW: degenerate: its scores hardly differ. It is not stressed." in printed
    assert "UTSW: scores of" not in printed


def test_where_no_model_learned_no_scan_is_read_and_no_old_explanation_stays(
    again: tuple[Study, Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real judgement: four steps of training taught these networks nothing."""
    monkeypatch.setattr(command, "learned_models", learned_models)
    monkeypatch.setattr(command, "stress_scan", lambda *_: pytest.fail("shifted"))
    run_stress(*again, scans=10, workers=1)
    assert {r["shift"] for r in curves(again[1])} == {"degenerate"}
    assert not (again[1].root / "stress" / "explanations.parquet").exists()


def test_most_is_lost_only_where_it_is_significantly_lost() -> None:
    row = DoseRow("A", "A", "blur", 2.0, "mm", "blurred", 40, 0.7, difference=-0.2, difference_low=-0.3)
    sure = replace(row, difference_high=-0.1, p_value=0.001)
    unsure = replace(row, difference_high=0.004, p_value=0.3, difference=-0.25, auc=0.65)
    here = ("A", "A")
    assert command.falls([sure, unsure])[here] == (
        "AUC 0.90 on 40 scans; most is lost with 'blurred': 0.70 (difference -0.20, 95 % -0.30 to -0.10)"
    )
    assert command.falls([unsure])[here] == (
        "AUC 0.90 on 40 scans; no fall is significant among the study's 1 test (Holm); lowest with 'blurred': 0.65 "
        "(difference -0.25, 95 % -0.300 to 0.004)"
    )
    twice = [replace(sure, p_value=0.02), unsure, unsure]
    assert "no fall is significant among the study's 3 tests (Holm)" in command.falls(twice)[here]
    assert "most is lost with" in command.falls(twice[:2])[here]


def test_the_console_adjusts_for_the_same_family_of_tests_as_the_page() -> None:
    """0.02 among the two tests of A is significant, among the six of the study it is not: both must say the same."""
    row = DoseRow("A", "A", "blur", 2.0, "mm", "blurred", 40, 0.7, difference=-0.2, difference_low=-0.3)
    fallen = replace(row, difference_high=-0.1, p_value=0.02)
    others = [replace(fallen, model=name, home=name, p_value=0.9) for name in ("A", "B", "B", "C", "C")]
    assert "most is lost with" in command.falls([fallen, others[0]])["A", "A"]
    assert "no fall is significant among the study's 6 tests" in command.falls([fallen, *others])["A", "A"]
    assert "No fall of the AUC is significant after adjustment (Holm) for 6 tests" in sentence([fallen, *others])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "nonsense"], "--models: names 'nonsense'"),
        (["--shifts", "fog"], "--shifts: names 'fog'"),
        (["--doses", "1,2"], "is given for all shifts"),
        (["--shifts", "blur,noise", "--doses", "1"], "is given for 2 shifts"),
        (["--shifts", "blur", "--doses", "much"], "--doses: is 'much'"),
    ],
)
def test_what_it_refuses(
    made: tuple[Study, Folder], options: list[str], message: str, ran: tuple[Path, Folder]
) -> None:
    result = CliRunner().invoke(app, ["stress", str(ran[0]), str(made[1].root), *options])
    assert result.exit_code == 1
    assert message in str(result.exception)
