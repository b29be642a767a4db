"""What was planted against what was found, and the hardest scans: records on both sides of each sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from small_study import a_study

from elsewhere.audit_rows import RuleRow, TieRow
from elsewhere.pages.report import Audit, Diagnosis, HardScanRow, JudgedRow, Study, hardest, story
from elsewhere.pages.report.folder import Folder
from elsewhere.rows import FindingRow
from elsewhere.scans.phantom.sites import default_sites
from elsewhere.scans.phantom.ties import QUARTER


def a_tie(factor: str, strength: float = 1.0, site: str = "A", **words: str) -> TieRow:
    """A row of `Study.ties`."""
    return TieRow(site, factor, strength, **words)


def a_rule(rule: str, auc: float = 0.8, p: float = 0.01, site: str = "A") -> RuleRow:
    """A row of `Audit.confounding`."""
    return RuleRow(rule, site, auc, p)


def a_cause(cause: str, site: str = "A", model: str = "", home: str = "") -> FindingRow:
    """A row of `Diagnosis.findings`."""
    return FindingRow(model, home or site, site, cause, "", 0.8, 0.01)


def told(study: Study, folder: Path) -> tuple[str, dict[str, str]]:
    """The sentence, and what each tie's row says."""
    shown = story.section(study, "paper", Folder(folder))
    assert shown is not None
    return shown.words, {row.factor: row.found for row in shown.table.rows}


def test_every_dial_of_the_simulator_has_its_traces() -> None:
    dials = {factor.replace("_", " ") for site in default_sites() for factor, _ in site.dials}
    assert dials <= set(story.TRACES)


def test_one_finding_is_counted_once_however_many_ties_it_may_show(tmp_path: Path) -> None:
    ties = [a_tie("kernel"), a_tie("spacing"), a_tie("dose")]
    study = a_study(ties=ties, diagnosis=Diagnosis(findings=[a_cause("texture")]))
    words, rows = told(study, tmp_path)
    assert words == (
        "Three ties between label and acquisition are planted. Each finding counted once, and for the strongest "
        "tie that it may show, at most 1 came to light; 2 more may be behind the same findings, which cannot tell "
        "which tie they show."
    )
    assert list(rows.values()).count(story.FOUND) == 1
    assert list(rows.values()).count(story.SHARED) == 2


def test_ties_get_findings_of_their_own_where_there_are_enough(tmp_path: Path) -> None:
    """Dose has texture alone, the kernel a rule too: both came to light, whichever is looked at first."""
    study = a_study(
        ties=[a_tie("kernel"), a_tie("dose")],
        audit=Audit(confounding=[a_rule("kernel")]),
        diagnosis=Diagnosis(findings=[a_cause("texture")]),
    )
    for ties in (study.ties, study.ties[::-1]):
        words, rows = told(replace(study, ties=ties), tmp_path / str(ties is study.ties))
        assert set(rows.values()) == {story.FOUND}
        assert "at most 2 came to light." in words


def test_a_finding_is_credited_to_the_strongest_tie_that_may_have_made_it(tmp_path: Path) -> None:
    """Slices betray coverage, tied fully, and spacing, tied by a quarter: whatever else coverage is credited with."""
    ties = [a_tie("spacing", 0.25), a_tie("coverage"), a_tie("contrast", 0.25), a_tie("devices"), a_tie("padding")]
    slices, encoding, black = (a_rule(name) for name in (story.SLICES, "encoding", story.BLACK))
    body = Diagnosis(findings=[a_cause("body")])
    for place, order in enumerate((ties, ties[::-1])):
        for diagnosis in (Diagnosis(), body):
            study = a_study(ties=order, audit=Audit(confounding=[slices, encoding, black]), diagnosis=diagnosis)
            words, rows = told(study, tmp_path / f"{place}{diagnosis is body}")
            assert {tie for tie, state in rows.items() if state == story.FOUND} == {"coverage", "devices", "padding"}
            assert rows["spacing"] == rows["contrast"] == story.SHARED
            assert "at most 3 came to light; 2 more may be behind the same findings" in words
    weak = a_study(ties=ties[:1], audit=Audit(confounding=[slices]))
    assert told(weak, tmp_path / "alone")[1] == {"spacing": story.FOUND}
    free = [ties[0], a_tie("coverage", 0.0)]  # a tie that is not there takes nothing from a weak one
    assert told(replace(weak, ties=free), tmp_path / "free")[1]["spacing"] == story.FOUND


def test_what_a_crop_to_the_lungs_takes_away_is_said_of_the_dials_as_they_stand(tmp_path: Path) -> None:
    framed, texture = a_tie("field of view"), a_tie("kernel", 0.25)
    built = story.crop_words([framed, texture, a_tie("age")])
    assert "framed and placed (mean strength 1.00) and leaves those of grey values and texture (0.25)" in built
    assert built.endswith("that networks with such a crop discriminate better elsewhere is built in.")
    assert "no advantage of such a crop is built in" in story.crop_words([a_tie("field of view", 0.0), texture])
    assert story.crop_words([a_tie("field of view", 0.0), a_tie("age")]) == story.crop_words([]) == ""
    shown = story.section(a_study(ties=[framed, texture]), "paper", Folder(tmp_path))
    assert shown is not None
    assert shown.built_in.startswith("A crop to the lungs takes away")


def test_the_factors_of_the_crop_are_dials_of_the_simulator() -> None:
    dials = {factor.replace("_", " ") for site in default_sites() for factor, _ in site.dials}
    assert {*story.CROPPED, *story.LEFT} <= dials
    assert not set(story.CROPPED) & {factor.replace("_", " ") for factor in QUARTER}
    assert set(story.LEFT) <= {factor.replace("_", " ") for factor in QUARTER}


def test_what_was_missed_and_what_nobody_looked_for_are_told_apart(tmp_path: Path) -> None:
    study = a_study(
        ties=[a_tie("kernel"), a_tie("age"), a_tie("devices"), a_tie("padding", 0.0)],
        audit=Audit(confounding=[a_rule("kernel"), a_rule("age and sex", 0.7, 0.2)]),
    )
    words, rows = told(study, tmp_path)
    assert rows == {
        "kernel": story.FOUND, "age": story.MISSED, "devices": story.UNSEEN, "padding": "nothing was planted",
    }  # fmt: skip
    assert "Three ties" in words
    assert "; 1 was looked for and not found; for 1 no test was run in this study." in words
    assert "no planted tie would show so" not in words


def test_findings_without_a_planted_cause_are_named_and_those_of_another_tie_are_not(tmp_path: Path) -> None:
    alone = a_study(ties=[a_tie("padding", 0.0)], audit=Audit(confounding=[a_rule("padding and black share")]))
    words, _ = told(alone, tmp_path / "alone")
    assert words.startswith(
        "No tie between label and acquisition is planted (all dials at 0). Found where no planted tie"
    )
    assert "padding and black share at A" in words
    hospital = replace(alone, ties=[a_tie("padding", 0.0), a_tie("hospital")])
    words, _ = told(hospital, tmp_path / "hospital")
    assert "no planted tie would show so" not in words


def test_a_finding_about_a_network_or_a_pair_of_sites_tells_nothing_of_a_tie(tmp_path: Path) -> None:
    findings = [a_cause("texture", "B", home="A"), a_cause("texture", model="A")]
    _, rows = told(a_study(ties=[a_tie("dose")], diagnosis=Diagnosis(findings=findings)), tmp_path)
    assert rows == {"dose": story.MISSED}


def test_directions_stand_in_the_table_where_the_simulator_gives_them(tmp_path: Path) -> None:
    ties = [a_tie("kernel", positives="sharp", negatives="soft")]
    shown = story.section(a_study(ties=ties), "with", Folder(tmp_path))
    assert shown is not None
    assert [c.heading for c in shown.table.columns][2:4] == [
        "Positives (at strength 1)",
        "Negatives (at strength 1)",
    ]
    assert (shown.table.rows[0].positives, shown.table.rows[0].negatives) == ("sharp", "soft")
    without = story.section(a_study(ties=[a_tie("kernel")]), "without", Folder(tmp_path))
    assert without is not None
    assert not any(c.heading.startswith("Positives") for c in without.table.columns)


def a_scan(site: str = "A", label: int = 1, **values: Any) -> HardScanRow:
    """A row of `Study.hardest`."""
    return replace(HardScanRow(site, "s", "p", label, 3, 3, 2, 2, 0.2, 0.8), **values)


def a_judge(
    site: str = "A", label: int = 1, scans: int = 20, wrong: int = 1, models: int = 3, patients: int = 0
) -> JudgedRow:
    """A row of `Study.judged`."""
    return JudgedRow(site, label, scans, models, wrong, patients or wrong)


def test_scans_called_wrongly_are_counted_before_the_list_is_cut(tmp_path: Path) -> None:
    """25 + 22 scans are wrong, 12 of each class are listed: 24 is the length of the lists and no result."""
    judges = [a_judge(scans=60, wrong=20, patients=15), a_judge("B", scans=60, wrong=5)]
    judges += [a_judge(label=0, scans=90, wrong=22, patients=19), a_judge("C", wrong=3, models=1)]
    scans = [a_scan(scan=f"p{i}") for i in range(12)] + [a_scan(scan=f"n{i}", label=0) for i in range(12)]
    study = a_study(hardest=scans, judged=judges)
    assert hardest.sentence(study).startswith(
        "Called wrongly by more than half of the networks: 25 positives of 20 patients and 22 negatives of 19 "
        "patients; listed are the 12 hardest positives and the 12 hardest negatives. All listed scans are of a class"
    )
    shown = hardest.section(study, "paper", Folder(tmp_path))
    assert shown is not None
    assert [table.caption.rpartition(", the ")[2] for table in shown.tables] == [
        "12 hardest of 25.",
        "12 hardest of 22.",
    ]
    few = a_study(hardest=scans[:2], judged=[a_judge(wrong=2, patients=1), a_judge(label=0, wrong=0)])
    assert hardest.sentence(few).startswith(
        "Called wrongly by more than half of the networks: 2 positives of 1 patient. All listed scans are of a class"
    )


def test_scans_of_a_class_that_the_networks_mostly_miss_are_not_called_hard() -> None:
    said = hardest.sentence(a_study(hardest=[a_scan()] * 12, judged=[a_judge(wrong=15), a_judge(label=0, wrong=0)]))
    assert "Most networks get most of a whole class wrong, 15 of 20 positives of A: there the networks fail" in said
    assert "label" not in said


def test_a_scan_that_stands_out_in_its_class_is_to_be_looked_at() -> None:
    scans = [a_scan(), a_scan(scan="t", trained_here_wrong=0)]
    said = hardest.sentence(a_study(hardest=scans, judged=[a_judge(wrong=2)]))
    assert (
        "All listed scans are of a class that the networks mostly get right at that site; 1 of these is called wrongly"
        in said
    )
    assert "odd scan, hardly visible disease or wrong label; the records cannot tell which" in said
    assert "whole class" not in said
    mixed = hardest.sentence(a_study(hardest=[*scans, a_scan("B")], judged=[a_judge(wrong=2), a_judge("B", wrong=19)]))
    assert "2 of the listed scans are of a class" in mixed
    assert "19 of 20 positives of B" in mixed


def test_nothing_listed_is_not_nothing_judged() -> None:
    none = a_study(judged=[a_judge(models=1, wrong=0)])
    assert hardest.sentence(none) == (
        "No scan is listed: no site has two networks that discriminate there. Not judged, for want of two networks "
        "that discriminate there: A."
    )
    fine = a_study(judged=[a_judge(wrong=0), a_judge("B", models=0)])
    assert hardest.sentence(fine).startswith("No scan of A is called wrongly by more than half of the networks.")
    assert hardest.sentence(fine).endswith("discriminate there: B.")


def test_hard_cases_are_listed_by_class_with_what_is_known(tmp_path: Path) -> None:
    cases = [a_scan(scan="missed", known="age 70"), a_scan(scan="called", label=0, trained_here=0)]
    judges = [a_judge(), a_judge(label=0)]
    shown = hardest.section(a_study(hardest=cases, judged=judges), "paper", Folder(tmp_path))
    assert shown is not None
    assert [[row.scan for row in table.rows] for table in shown.tables] == [["missed"], ["called"]]
