"""A study's folder written by hand in; what `elsewhere report` computes from it, keeps, and says is missing."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elsewhere.audit_rows import TieRow
from elsewhere.commands.report import assembly, drop, report
from elsewhere.commands.report.cells import Cells, further_trainings, read_cells
from elsewhere.commands.report.comparisons import between_protocols
from elsewhere.commands.report.contrasts import contrasts
from elsewhere.commands.report.hardest import hardest, known_facts
from elsewhere.commands.report.kept_study import read_study
from elsewhere.commands.report.patients import characteristics
from elsewhere.errors import BadStudy
from elsewhere.model.sample import hash_cases
from elsewhere.pages.report import NewHospital, Study
from elsewhere.records import write_record
from elsewhere.rows import FindingRow, ScoreRow, SeparationRow
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.roc import exact_auc
from elsewhere.statistics.score import score_cell
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder, write_table
from elsewhere.studies.learned import learned_models, read_learned, write_learned
from elsewhere.studies.predictions import PREDICTED, PredictionRow, write_predictions
from elsewhere.studies.prepared import cases
from elsewhere.studies.records import SCANS as SCAN_TABLE
from elsewhere.studies.records import SCORES, ScanRow, read_findings, scores_key, usable_rows
from elsewhere.table_format import TableFormat
from study_rows import a_prediction, a_scan

SITES = ("A", "B", "C")
MODELS = {"A": ("A",), "B": ("B",), "A+B": ("A", "B"), "C": ("C",)}
SCANS = 48
FILE = """
origin = "simulated"
protocol = "harmonised"
combinations = [["A"], ["B"], ["A", "B"], ["C"]]
[sites]
A = { kind = "volumes", root = "A" }
B = { kind = "volumes", root = "B" }
C = { kind = "volumes", root = "C" }
[evaluation]
resamples = 100
"""


def scores_of(model: str, site: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities: right at home, noise elsewhere; network C calls everything the same; C has one "
    "class."""
    rng = np.random.default_rng([len(model), SITES.index(site)])
    labels = np.ones(SCANS, int) if site == "C" else (np.arange(SCANS) // 2 % 2)
    pull = 2.5 if site in MODELS[model] else 0.0
    probabilities = 1 / (1 + np.exp(-rng.normal(size=SCANS) - pull * (labels - 0.5)))
    return labels, np.full(SCANS, 0.4) if model == "C" else probabilities


def rows_of(model: str, site: str) -> list[PredictionRow]:
    """Predictions, two scans a patient, one dropout pass."""
    labels, probabilities = scores_of(model, site)
    return [
        a_prediction(
            model=model,
            site=site,
            subset=subset,
            patient=f"p{i // 2}",
            scan=f"{subset[0]}{i:02}",
            label=int(labels[i]),
            dropout_pass=turn,
            probability=float(probabilities[i]),
        )
        for subset, turns in (("validation", (-1,)), ("test", (-1, 0)))
        for turn in turns
        for i in range(SCANS)
    ]


@pytest.fixture
def made(tmp_path: Path) -> Folder:
    """A finished study of four networks at three sites, without volumes."""
    file = tmp_path / "study.toml"
    file.write_text(FILE, encoding="utf-8")
    folder, settings = Folder(tmp_path / "out"), load_study(file).settings()
    identity = {"settings": settings, "models": {m: list(s) for m, s in MODELS.items()}, "versions": {}}
    scores = []
    for model in MODELS:
        for site in SITES:
            write_predictions(folder.predictions(model, site), rows_of(model, site))
            labels, probabilities = scores_of(model, site)
            patients = [f"p{i // 2}" for i in range(SCANS)]
            for reading in ("model", "site"):
                point = OperatingPoint(0.5, "grid", reading, 1.0, 10)
                cell = score_cell(labels, patients, probabilities, operating_point=point, resamples=20)
                scores.append(ScoreRow(model=model, site=site, **vars(cell)))
        folder.model(model).mkdir(parents=True)
        (folder.model(model) / "checkpoint.json").write_text(
            json.dumps({"format": 1, "iteration": 5, "sha256": "c0ffee"})
        )
        (folder.model(model) / "curves.csv").write_text("iteration,training_loss\n1,0.7\n")
    SCORES.write(folder.scores, scores)
    SCAN_TABLE.write(folder.scans, [scan_row(site, i, u) for site in SITES for i in range(SCANS) for u in PREDICTED])
    folder.study.write_text(json.dumps(identity | {"split_hash": "5417"}), encoding="utf-8")
    folder.bad_scans.write_text("site,scan,path,reason,next_step\n")
    folder.audit.write_text(json.dumps(AUDIT), encoding="utf-8")
    return folder


AUDIT = {
    "counts": [],
    "facts": [],
    "duplicates": [],
    "leaks": [],
    "site_only_auc": 0.6,
    "warnings": [],
    "notes": [],
    "copies_left_out": 0,
    "repaired": [],
    "forensics": [{"finding": "reversed", "site": "A", "scan": "t00", "detail": ""}],
}


def scan_row(site: str, i: int, subset: str) -> ScanRow:
    """One row of the table of scans; with age and sex but at B."""
    facts = {"kernel": "sharp"} | ({} if site == "B" else {"age": 30 + i, "sex": "FM"[i % 2]})
    label = 1 if site == "C" else i // 2 % 2
    names = {"site": site, "patient": f"p{i // 2}", "scan": f"{subset[0]}{i:02}", "content_hash": f"{site}{i}"}
    return a_scan(**names, label=label, subset=subset, facts=facts)


def identity_of(folder: Folder) -> dict[str, Any]:
    return json.loads(folder.study.read_text(encoding="utf-8"))


def study_of(folder: Folder, cells: Cells | None = None) -> Study:
    """What the page is given."""
    return assembly.study_of(folder, read_study(folder), cells)


def test_the_page_is_made_from_records_alone(made: Folder) -> None:
    report([made.root])
    page = (made.root / "report.html").read_text(encoding="utf-8")
    for section in ("calibration", "drop", "hardest", "lessons", "sheets"):
        assert f'<section id="{section}"' in page
    for section in ("diagnosis", "stress"):
        assert f'<section id="{section}"' not in page
    assert f"<code>elsewhere diagnose STUDY.toml {made.root.name}</code>" in page
    assert f"<code>elsewhere stress STUDY.toml {made.root.name}</code>" in page


def test_group_means_come_from_one_joint_bootstrap(made: Folder) -> None:
    groups = {row.group: row for row in study_of(made).groups}
    home = [float(exact_auc(*scores_of(m, m))) for m in ("A", "B")]
    away = [float(exact_auc(*scores_of(m, s))) for m, s in (("A", "B"), ("B", "A"))]  # C did not learn
    assert groups["home"].auc == pytest.approx(np.mean(home))
    assert groups["unseen"].auc == pytest.approx(np.mean(away))
    assert groups["fall"].auc == pytest.approx(np.mean(home) - np.mean(away))
    assert groups["fall"].auc_low < groups["fall"].auc < groups["fall"].auc_high
    assert {row.cells for row in groups.values()} == {2}


def test_drops_add_up_and_are_made_again_only_when_something_changed(
    made: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = study_of(made)
    moves = [(r.model, r.site) for r in first.drops]
    assert moves == [("A", "B"), ("B", "A")]  # C has one class at home, and as a new site; A+B has seen both others
    for row in first.drops:
        parts = sum(p or 0.0 for p in (row.case_mix, row.threshold, row.calibration, row.ranking))
        assert parts == pytest.approx(row.drop)
        assert row.case_mix is None  # age and sex are not known at B
    assert {r.scans for r in first.local} == {10}  # 30 of 48 would leave too few to try it on
    kept = (made.root / "decomposition.parquet").read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(drop, "decompose", refuse)
    monkeypatch.setattr(drop, "relearn", refuse)
    assert study_of(made).drops == first.drops
    assert (made.root / "decomposition.parquet").read_bytes() == kept
    rows = rows_of("A", "B")
    for at in (SCANS, -1):
        rows[at] = replace(rows[at], probability=0.123)
    write_predictions(made.predictions("A", "B"), rows)
    with pytest.raises(AssertionError, match="made again"):
        study_of(made)


def test_a_study_that_may_only_be_read_still_has_its_page(made: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object, path: Path, *__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(TableFormat, "write", refuse)
    assert len(study_of(made).drops) == 2
    assert not (made.root / "decomposition.parquet").exists()


def test_a_full_disk_is_said(made: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object, path: Path, *__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(TableFormat, "write", refuse)
    with pytest.raises(OSError, match="No space left"):
        study_of(made)


def test_networks_without_an_opinion_have_no_say_in_what_is_hard(made: Folder) -> None:
    study = study_of(made)
    assert {(r.site, r.models) for r in study.judged} == {("A", 2), ("B", 2), ("C", 3)}  # noise has none, C has
    assert {(r.site, r.models) for r in study.hardest} <= {("A", 2), ("B", 2), ("C", 3)}  # no AUC
    assert all(2 * r.wrong > r.models for r in study.hardest)
    listed = [r.scan for r in study.hardest if (r.site, r.label) == ("A", 1)]
    assert len(listed) == next(r.mostly_wrong for r in study.judged if (r.site, r.label) == ("A", 1))
    seen = {(r.site, r.scan): r.known for r in study.hardest}
    assert all(words.startswith(("age ", "kernel sharp")) for words in seen.values())
    cells = read_cells(made, read_study(made))
    alone = hardest(usable_rows(made), cells, study.models[3:], SCORES.read(made.scores), ())
    assert alone.scans == []
    assert {r.models for r in alone.judged} == {0}


def test_networks_that_did_not_learn_enter_no_contrast(made: Folder) -> None:
    study = study_of(made)
    assert [(r.contrast, r.cells) for r in study.contrasts] == [("threshold", 2)]
    # one threshold for both readings: nothing can differ
    assert [(r.estimate, r.low, r.high) for r in study.contrasts] == [(0.0, 0.0, 0.0)]


def test_a_contrast_is_the_plain_difference_of_the_shares(made: Folder) -> None:
    study = study_of(made)
    cells, scores = read_cells(made, read_study(made)), SCORES.read(made.scores)
    single = next(r for r in contrasts(cells, study.models, scores) if r.contrast == "one class")
    called = {model: float(np.mean(scores_of(model, "C")[1] >= 0.5)) for model in MODELS}
    assert single.first == pytest.approx(called["C"])
    assert single.second == pytest.approx(np.mean([called[m] for m in ("A", "B", "A+B")]))
    assert single.estimate == pytest.approx(single.first - single.second)
    assert single.low < single.estimate < single.high
    moved = [replace(r, threshold=0.3) if r.threshold_reading == "site" else r for r in scores]
    gain = contrasts(cells, study.models, moved)[0]
    right = [
        [np.mean((probabilities >= point) == labels) for point in (0.3, 0.5)]
        for labels, probabilities in (scores_of(m, s) for m, s in (("A", "B"), ("B", "A"), ("C", "A"), ("C", "B")))
    ]
    assert (gain.first, gain.second) == pytest.approx(tuple(np.mean(right, axis=0)))
    assert gain.estimate == pytest.approx(gain.first - gain.second)


def test_what_the_forensics_say_of_a_hard_scan_stands_beside_it(made: Folder) -> None:
    labels, _ = scores_of("A", "A")
    for model in MODELS:
        rows = [replace(r, probability=1.0 - labels[0]) if r.scan == "t00" else r for r in rows_of(model, "A")]
        write_predictions(made.predictions(model, "A"), rows)
    study = study_of(made)
    known = {(r.site, r.scan): r.known for r in study.hardest}
    assert known["A", "t00"] == "age 30, sex F, kernel sharp, reversed"


def test_copies_and_repairs_are_counted_in_singular_and_plural(made: Folder) -> None:
    for copies, repaired, words in (
        (
            1,
            [{"site": "A", "scan": "x", "note": "x"}],
            ("“study”: 1 copy of a scan under the same patient was left out.", "“study”: 1 remark on scans that"),
        ),
        (
            2,
            [{"site": "A", "scan": "x", "note": "x"}] * 2,
            ("“study”: 2 copies of a scan under the same patient were", "“study”: 2 remarks on scans that"),
        ),
    ):
        made.audit.write_text(json.dumps(AUDIT | {"copies_left_out": copies, "repaired": repaired}), encoding="utf-8")
        *notes, truth = study_of(made).left_out
        assert "is not beside these simulated sites any more" in truth
        assert [note.startswith(start) for note, start in zip(notes, words, strict=True)] == [True, True]


def test_how_the_weights_were_chosen_is_read_from_the_checkpoints_that_say_so(made: Folder) -> None:
    assert study_of(made).selections == []
    check = {"iteration": 5, "training_loss": 0.7, "accuracy": 0.8, "log_loss": 0.4, "auc": None}
    said = {"select": "auc", "criterion": "log_loss", "checks": 2, "tied": 1, "kept": check, "last": check}
    said |= {"majority_share": 0.5, "balanced": True, "warnings": ["the weights were chosen by log loss"]}
    record = {"format": 1, "iteration": 5, "sha256": "c0ffee", "selection": said}
    (made.model("A") / "checkpoint.json").write_text(json.dumps(record))
    (row,) = study_of(made).selections
    assert (row.model, row.criterion, row.kept_iteration, row.kept_auc) == ("A", "log_loss", 5, None)
    report([made.root])
    assert "A: the weights were chosen by log loss." in (made.root / "report.html").read_text(encoding="utf-8")


def test_a_study_of_an_older_version_still_makes_a_page(made: Folder) -> None:
    identity = identity_of(made)
    del identity["settings"]["training"]["threads"]
    made.study.write_text(json.dumps(identity), encoding="utf-8")
    report([made.root])
    assert (made.root / "report.html").is_file()


def test_the_simulator_s_dials_are_read_beside_the_site(made: Folder) -> None:
    identity = identity_of(made)
    root = Path(identity["settings"]["sites"][0]["root"])
    root.with_name("A.truth.json").write_text(json.dumps({"dials": {"field_of_view": 0.5}}), encoding="utf-8")
    study = study_of(made)
    assert study.ties == [TieRow("A", "field of view", 0.5)]
    ways = {"field_of_view": {"positives": "narrow", "negatives": "wide"}}
    truth = {"dials": {"field_of_view": 0.5, "age": 0.0}, "directions": ways}
    root.with_name("A.truth.json").write_text(json.dumps(truth), encoding="utf-8")
    assert study_of(made).ties == [
        TieRow("A", "field of view", 0.5, "narrow", "wide"),
        TieRow("A", "age", 0.0),
    ]
    identity["settings"]["origin"] = "real"
    made.study.write_text(json.dumps(identity), encoding="utf-8")
    assert study_of(made).ties == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"dials": {"age": "much"}}',
        b'{"dials": {"age": 1}, "directions": {"age": {"up": 1}}}',
        b"\xff",
    ],
)
def test_a_damaged_truth_file_is_named_with_what_to_do(made: Folder, content: bytes) -> None:
    sidecar = Path(identity_of(made)["settings"]["sites"][0]["root"]).with_name("A.truth.json")
    sidecar.write_bytes(content)
    with pytest.raises(BadStudy, match=r"A\.truth\.json: is damaged .* Remove it, and simulate the site again"):
        _ = list(study_of(made).ties)


def test_patients_are_counted_once_and_only_by_month(made: Folder) -> None:
    rows = SCAN_TABLE.read(made.scans)
    dated = [replace(row, facts={**row.facts, "date": "2020-04-1" + row.scan[-1]}) for row in rows]
    SCAN_TABLE.write(made.scans, dated)
    found = {(r.site, r.label): r for r in characteristics(usable_rows(made))}
    positives = found["A", 1]
    assert (positives.patients, positives.age_known, positives.sex_known) == (12, 12, 12)
    assert positives.age == 30 + np.median(range(2, 48, 4))  # each patient's first scan
    assert positives.women == 1.0
    assert (positives.first_month, positives.last_month) == ("2020-04", "2020-04")
    assert (found["B", 0].age, found["B", 0].women) == (None, None)


def test_records_of_diagnosis_and_stress_are_read_where_they_lie(made: Folder) -> None:
    pair = {"home": "A", "site": "B", "view": "facts", "model": "", "auc": 0.9, "low": 0.8, "high": 1.0, "p": 0.01}
    pair |= {"power": 0.8, "patients_home": 20, "patients_site": 20}  # as earlier versions kept it
    write_table(made.root / "diagnosis" / "separation.parquet", [pair])
    study = study_of(made)
    assert list(study.diagnosis.separation) == [SeparationRow(**pair)]
    assert "shift diagnosis: what tells the sites apart" not in study.absent
    assert "shortcut battery: scores with the lungs erased" in study.absent


def test_a_folder_without_a_study_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match=r"holds no study \(study\.json is missing\)"):
        report([tmp_path])


def test_a_network_that_did_not_learn_is_marked_and_left_out_of_what_is_concluded(made: Folder) -> None:
    study = study_of(made)
    failed = {model.name: model.degenerate for model in study.models if model.degenerate}
    assert list(failed) == ["C"]
    assert "both classes" in failed["C"][0]
    assert "hardly differ" in failed["C"][1]
    assert {row.model for row in study.drops} == {row.model for row in study.local} == {"A", "B"}
    report([made.root])
    page = (made.root / "report.html").read_text(encoding="utf-8")
    assert "1 of 4 networks did not learn, as far as their validation scans show, and is left out (C)." in page
    assert page.count("C (did not learn)") >= 5  # matrix, its picture, ranking, decisions, averages, figures


def test_a_kept_judgement_is_read_and_a_missing_one_is_made(made: Folder) -> None:
    models = identity_of(made)["models"]
    judged = learned_models(made, models)
    write_learned(made, {"A": replace(judged["A"], reasons=("kept as it is",))}, models)
    again = read_learned(made, models)
    assert again["A"].reasons == ("kept as it is",)
    assert (again["B"], again["C"]) == (judged["B"], judged["C"])


def test_a_judgement_of_other_predictions_is_made_again(made: Folder) -> None:
    models = identity_of(made)["models"]
    judged = learned_models(made, models)
    write_learned(made, {name: replace(one, reasons=("old",)) for name, one in judged.items()}, models)
    rows = [replace(r, probability=r.probability / 2) for r in rows_of("A", "A")]
    write_predictions(made.predictions("A", "A"), rows)
    again = read_learned(made, models)
    assert {name for name, one in again.items() if one.reasons == ("old",)} == {"B", "A+B", "C"}
    assert again["A"] == learned_models(made, {"A": models["A"]})["A"]


def test_scores_that_do_not_belong_to_the_predictions_are_noticed(made: Folder) -> None:
    identity = identity_of(made)
    keys = {name: scores_key(made, [name], identity["settings"]) for name in MODELS}
    SCORES.write(made.scores, [replace(row, made_from=keys[row.model]) for row in SCORES.read(made.scores)])
    report([made.root])
    rows = [replace(r, probability=1 - r.probability) for r in rows_of("B", "C")]
    write_predictions(made.predictions("B", "C"), rows)
    with pytest.raises(BadStudy, match=r"scores\.parquet: does not belong to the predictions of B"):
        report([made.root])


@pytest.mark.parametrize(
    ("subset", "change"),
    [("train", {"label": 0}), ("validation", {"patient": "other"}), ("train", {"subset": "unlabelled"})],
)
def test_a_model_of_other_training_scans_is_noticed(made: Folder, subset: str, change: dict[str, Any]) -> None:
    rows = SCAN_TABLE.read(made.scans) + [scan_row(site, i, "train") for site in SITES for i in range(SCANS)]
    SCAN_TABLE.write(made.scans, rows)
    for name, sites in MODELS.items():
        hashes = [hash_cases(cases(rows, sites, kind)) for kind in ("train", "validation")]
        record = {"format": 1, "iteration": 5, "sha256": "c0ffee"}
        record["scan_hashes"] = dict(zip(("training_scans", "validation_scans"), hashes, strict=True))
        (made.model(name) / "checkpoint.json").write_text(json.dumps(record))
    report([made.root])
    at = next(i for i, row in enumerate(rows) if (row.site, row.subset) == ("C", subset))
    SCAN_TABLE.write(made.scans, [*rows[:at], replace(rows[at], **change), *rows[at + 1 :]])
    with pytest.raises(BadStudy, match=r"scans\.parquet") as caught:
        report([made.root])
    if subset == "train":  # of validation scans the predictions tell already
        assert "is not what C learned from: its train scans, their labels or the split" in caught.value.what
    assert "`elsewhere study`" in caught.value.next_step


def test_networks_are_compared_pair_by_pair_and_several_sites_with_one(made: Folder) -> None:
    study = study_of(made)
    rows = [(r.family, r.relation, r.site, r.first, r.second) for r in study.comparisons]
    assert [r for r in rows if r[0] == "several"] == [
        ("several", "trained", "A", "A+B", "A"),
        ("several", "trained", "B", "A+B", "B"),
    ]  # nothing at C: one class
    assert len([r for r in rows if r[0] == "pairs"]) == 2 * 3  # A, B, A+B at A and B; C did not learn
    first = next(r for r in study.comparisons if r.first == "A+B")
    aucs = [float(exact_auc(*scores_of(m, "A"))) for m in ("A+B", "A")]
    assert (first.auc_first, first.auc_second, first.tests) == pytest.approx((*aucs, 2))
    mean = next(r for r in study.groups if r.group == "several - one, trained")
    both = [float(exact_auc(*scores_of("A+B", s))) - float(exact_auc(*scores_of(s, s))) for s in ("A", "B")]
    assert mean.auc == pytest.approx(np.mean(both))
    assert study.new_hospital == NewHospital(None, None, 2)
    assert {(r.model, r.sites) for r in study.over_sites} == {("A", 1), ("B", 1)}


def test_protocols_are_compared_on_the_scans_that_both_scored(made: Folder) -> None:
    cells = read_cells(made, read_study(made))
    one = study_of(made, cells)
    worse = {k: replace(c, probabilities=c.probabilities[::-1]) if k == ("A", "B") else c for k, c in cells.items()}
    fewer = {
        k: replace(
            c,
            **{n: getattr(c, n)[4:] for n in ("scans", "patients", "labels", "probabilities")},
            passes=c.passes[:, 4:],
        )
        for k, c in worse.items()
    }
    rows, averaged = between_protocols([(one, cells), (replace(one, name="other"), fewer)])
    tests = {(r.model, r.site): r for r in rows}
    assert set(tests) == {(m, s) for m in ("A", "B", "A+B") for s in ("A", "B")}
    assert {r.scans for r in tests.values()} == {SCANS - 4}
    assert tests["B", "A"].difference == 0
    means = {r.relation: r for r in averaged}
    assert means["unseen"].difference == pytest.approx(np.mean([tests["A", "B"].difference, 0]))
    assert (means["home"].difference, means["home"].cells) == (0, 2)


def test_further_trainings_enter_the_means_and_their_intervals(made: Folder) -> None:
    identity = identity_of(made)
    once = {r.group: r for r in study_of(made).groups}
    identity["settings"]["seeds"] = [0, 5]
    made.study.write_text(json.dumps(identity), encoding="utf-8")
    assert further_trainings(made, read_study(made)) == []  # named, but not predicted yet
    for model in MODELS:
        for site in SITES:
            rows = [replace(r, probability=1 - r.probability) for r in rows_of(model, site)]
            write_predictions(made.predictions(f"{model}~5", site), rows)
    both = {r.group: r for r in study_of(made).groups}
    assert (once["home"].trainings, both["home"].trainings) == (1, 2)
    assert both["home"].auc == pytest.approx(0.5)  # as right as the other is wrong
    assert both["home"].auc_high - both["home"].auc_low > 2 * (once["home"].auc_high - once["home"].auc_low)


def test_ages_from_90_on_are_one(made: Folder) -> None:
    rows = SCAN_TABLE.read(made.scans)
    old = [replace(r, facts={"age": 97 if r.label else 89, "sex": "F"}) if r.site == "A" else r for r in rows]
    SCAN_TABLE.write(made.scans, old)
    report([made.root])
    page = (made.root / "report.html").read_text(encoding="utf-8")
    assert "90+ (90+–90+)" in page
    assert "89 (89–89)" in page
    texts = [page, *(p.read_text(encoding="utf-8") for p in (made.root / "tables").glob("*.csv"))]
    assert not any("age 97" in text for text in texts)
    (patients,) = (made.root / "tables").glob("*-patients.csv")
    assert "97" not in patients.read_text(encoding="utf-8")
    known = known_facts(usable_rows(made), ())
    assert (known["A", "t02"], known["A", "t04"]) == ("age 90+, sex F", "age 89, sex F")


def test_of_a_site_s_folder_the_page_names_the_last_part(made: Folder) -> None:
    root = Path(identity_of(made)["settings"]["sites"][0]["root"])
    row = f'A,s,{root}/deep/s.nii.gz,"{root}/deep is damaged",Copy it again from {root}\n'
    made.bad_scans.write_text(f"site,scan,path,reason,next_step\n{row}", encoding="utf-8")
    made.audit.write_text(json.dumps(AUDIT | {"notes": [f"{root}/labels.csv: a note"]}), encoding="utf-8")
    report([made.root])
    texts = [p.read_text(encoding="utf-8") for p in (made.root / "report.html", *(made.root / "tables").glob("*.csv"))]
    assert not any(str(root) in text for text in texts)
    assert all(words in texts[0] for words in (f"{root.name}/deep/s.nii.gz", f"{root.name}/labels.csv: a note"))


def test_findings_are_read_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    assert read_findings(path) == []
    named = FindingRow("", "A", "A", "texture", "Said.", 0.8, 0.01)
    earlier = {name: value for name, value in vars(named).items() if name != "p_floor"}
    path.write_text(json.dumps([earlier]))  # as versions without checksums kept them
    assert read_findings(path) == [named]
    write_record(path, {"findings": [earlier | {"p_floor": 0.01}]})
    assert read_findings(path) == [replace(named, p_floor=0.01)]
    write_record(path, {"findings": [{"cause": "texture"}]})
    with pytest.raises(BadStudy, match=r"findings\.json: holds a finding of another form"):
        read_findings(path)
    write_record(path, {"findings": [earlier]})
    path.write_text(path.read_text().replace("texture", "Texture"))
    with pytest.raises(BadStudy, match=r"findings\.json: is damaged.*Run `elsewhere diagnose` again"):
        read_findings(path)
