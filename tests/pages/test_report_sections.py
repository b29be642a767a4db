"""Sections of the page from made-up records: what they say, what they draw, and what they leave out."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elsewhere.pages.report import (
    Diagnosis,
    Model,
    Report,
    Site,
    Stress,
    Study,
    diagnosis,
    drop,
    stress,
    write_report,
)
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.origins import holdings
from elsewhere.pages.report.sheets import CLAIM, FILLED, OPEN, PARTLY, TRIPOD_AI, fill
from elsewhere.pages.report.words import signed
from elsewhere.rows import (
    ClassSeparationRow,
    DoseRow,
    DropRow,
    ExplanationRow,
    FindingRow,
    LocalRow,
    SaliencyRow,
    SeedRow,
    SeparationRow,
    ShortcutRow,
)
from study_rows import a_score, partly

DROP = partly(
    DropRow,
    **{
        "model": "A",
        "site": "B",
        "home": "A",
        **{f"home_accuracy{end}": 0.9 for end in ("", "_low", "_high")},
        **{f"accuracy{end}": 0.7 for end in ("", "_low", "_high")},
        "drop": 0.2,
        "drop_low": 0.1,
        "drop_high": 0.3,
        "case_mix": None,
        "case_mix_low": None,
        "case_mix_high": None,
        "threshold": 0.05,
        "threshold_low": -0.01,
        "threshold_high": 0.1,
        "calibration": -0.02,
        "calibration_low": -0.1,
        "calibration_high": 0.05,
        "ranking": 0.17,
        "ranking_low": 0.05,
        "ranking_high": 0.25,
        "discriminates": True,
        "largest": "ranking",
        "note": "",
        "method": "bootstrap",
    },
)
LOCAL = partly(
    LocalRow,
    model="A",
    site="B",
    scans=10,
    draws=100,
    as_is=0.7,
    as_is_low=0.6,
    as_is_high=0.8,
    rethresholded=0.65,
    rethresholded_low=0.5,
    rethresholded_high=0.8,
    recalibrated=0.78,
    recalibrated_low=0.6,
    recalibrated_high=0.9,
)


def a_study(**parts: object) -> Study:
    """Two networks at two sites, with the parts given."""
    models = (Model("A", ("A",), weights="c0ffee" * 4), Model("A+B", ("A", "B")))
    return Study("paper", "In a sentence.", models, (Site("A"), Site("B")), **parts)


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    """A CSV's rows."""
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Where accuracy was lost ----------------------------------------------------------------------------------------


def test_the_drop_is_said_drawn_and_kept(tmp_path: Path) -> None:
    shown = drop.section(a_study(drops=[DROP], local=[LOCAL]), "paper", Folder(tmp_path))
    assert shown is not None
    assert shown.words == (
        "Of one move of a network to a site it never saw, 1 loses accuracy beyond sampling error. "
        "The largest part: ranking in 1."
    )
    assert "with 10 labelled local scans −5 by a new threshold and +8 by recalibration" in shown.local_words
    svg = (tmp_path / "figures" / "paper-drop.svg").read_text(encoding="utf-8")
    assert "+17 (+5 to +25)" in svg
    assert "case mix" not in svg
    row = rows_of(tmp_path, "paper-decomposition")[0]
    assert float(row["threshold"]) + float(row["calibration"]) + float(row["ranking"]) == pytest.approx(
        float(row["drop"])
    )
    assert "made_from" not in row
    said = " ".join([*shown.meanings.values(), shown.table.caption, shown.table.note])
    assert "home has scans of nearly all the ages and sexes found there" in said
    assert not re.search(r"mend|sick|healthy|right decision|commoner|luck", said)
    assert drop.section(a_study(), "paper", Folder(tmp_path)) is None


def test_no_clear_drop_names_no_part() -> None:
    assert drop.sentence([replace(DROP, drop_low=-0.1)]).endswith("0 lose accuracy beyond sampling error.")


def test_no_winner_is_named_among_ties() -> None:
    tied = replace(DROP, threshold=0.17, largest="")
    said = drop.sentence([DROP, tied, tied])
    assert said.endswith("The largest part: ranking in 1. In 2 no part is surely larger than the others.")
    assert "threshold" not in said


def test_lost_discrimination_is_not_called_a_loss_that_a_threshold_corrects(tmp_path: Path) -> None:
    """AUC 0.33 at the new site: calibration +39, ranking +5, and only calling nobody positive would help."""
    reversed_ = replace(DROP, site="C", calibration=0.39, ranking=0.05, discriminates=False, largest="")
    local = [LOCAL, replace(LOCAL, site="C", rethresholded=0.9, recalibrated=0.95)]
    shown = drop.section(a_study(drops=[DROP, reversed_], local=local), "paper", Folder(tmp_path))
    assert shown is not None
    assert "; 1 of these is not divided: the AUC there is not above chance" in shown.words
    assert shown.words.endswith("The largest part in the others: ranking in 1.")
    assert "calibration" not in shown.words
    assert "mean over the moves to a site where the network discriminates, without" in shown.local_words
    assert "−5 by a new threshold and +8 by recalibration." in shown.local_words
    assert "One move is left out, as discrimination is not shown there: a new threshold" in shown.local_words
    printed = [[column.print(row) for column in shown.table.columns] for row in shown.table.rows]
    assert printed[0][-2:] == ["−2 (−10 to +5)", "+17 (+5 to +25)"]
    assert printed[1][-3:] == ["–", "–", "not divided"]
    svg = (tmp_path / "figures" / "paper-drop.svg").read_text(encoding="utf-8")
    assert svg.count("not divided") >= 1
    assert "+39" not in svg
    assert rows_of(tmp_path, "paper-decomposition")[1]["calibration"] == "0.39"
    alone = a_study(drops=[reversed_], local=local[1:])
    assert drop.sentence(alone.drops).endswith("is shown to restore accuracy.")
    assert drop.local_sentence(alone).startswith("One move is left out")
    assert "all moves" in drop.local_sentence(a_study(drops=[DROP], local=[LOCAL]))


def test_a_gain_that_only_some_moves_can_have_says_so() -> None:
    large = replace(LOCAL, scans=100)
    other = replace(LOCAL, site="C")
    told = drop.local_sentence(a_study(local=[LOCAL, large, other]))
    assert "with 10 labelled local scans −5" in told
    assert "with 100 labelled local scans (1 of 2 moves have as many) " in told


def test_several_trainings_keep_their_three_spreads_apart(tmp_path: Path) -> None:
    spread = {"seeds": 3, "mean": 0.75, "standard_deviation": 0.04, "smallest": 0.7, "largest": 0.8}
    ends = {"first": 0.8, "sampling_low": 0.7, "sampling_high": 0.9, "dropout_sd": 0.01}
    row = SeedRow(model="A", site="B", score="auc", **spread, **ends)
    study = a_study(trainings=[row, replace(row, score="accuracy")])
    write_report(Report("Several", [study]), tmp_path)
    (kept,) = rows_of(tmp_path, "paper-seeds")
    assert (kept["first"], kept["dropout_sd"], kept["standard_deviation"]) == ("0.8", "0.01", "0.04")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "0.80 (0.70–0.90)" in html
    assert "3 trainings of each network" in html
    assert "the means over several trainings hold that spread" in html
    assert "Neither tells where another training would land" not in html
    assert "paper-seeds" not in {path.stem for path in write_tables(tmp_path / "once", a_study())}
    once = (tmp_path / "once" / "report.html").read_text(encoding="utf-8")
    assert "Neither tells where another training would land" in once
    assert "the means over several trainings" not in once


def write_tables(folder: Path, study: Study) -> list[Path]:
    write_report(Report("Once", [study]), folder)
    return list((folder / "tables").iterdir())


# Diagnosis and stress ---------------------------------------------------------------------------------------------


def a_diagnosis() -> Diagnosis:
    """One pair of sites, one network without and with lungs, one finding, three maps."""
    pair = {"home": "A", "site": "B", "auc": 0.81, "low": 0.7, "high": 0.9, "p": 0.001, "power": 0.9}
    cell = {"model": "A", "site": "A", "low": 0.5, "high": 0.9, "patients": 20, "scans": 20}
    maps = [{"model": "A", "site": "A", "label": 1, "inside": v, "expected": 0.3} for v in (0.1, 0.2, 0.6)]
    return Diagnosis(
        separation=[
            partly(SeparationRow, **pair | {"view": "border", "model": ""}),
            partly(SeparationRow, **pair | {"view": "features", "model": "A+B", "auc": 0.9}),
        ],
        shortcuts=[
            partly(ShortcutRow, **cell, view="lungs_erased", auc=0.74, p=0.01),
            partly(ShortcutRow, **cell, view="label_shuffle", auc=0.51),
        ],
        saliency=[partly(SaliencyRow, **row) for row in maps],
        labels=[partly(ClassSeparationRow, site="A", view="objects", auc=0.72, low=0.6, high=0.8, p=0.01, p_holm=0.2)],
        findings=[FindingRow("", "A", "A", "texture", "So it is.", 0.8, 0.01)],
    )


def test_the_diagnosis_is_said_drawn_and_kept(tmp_path: Path) -> None:
    shown = diagnosis.section(a_study(diagnosis=a_diagnosis()), "paper", Folder(tmp_path))
    assert shown is not None
    assert shown.sentences == ["So it is."]
    pairs = (tmp_path / "figures" / "paper-separation.svg").read_text(encoding="utf-8")
    assert pairs.count(">0.81<") == 2  # both ways round
    assert ">0.90<" not in pairs  # features of a network of several sites stand in the table alone
    battery = (tmp_path / "figures" / "paper-battery.svg").read_text(encoding="utf-8")
    assert "lungs erased" in battery
    assert battery.count('width="7" height="7"') == 1  # shuffled labels are never a find
    assert "something outside the body" in (tmp_path / "figures" / "paper-label-causes.svg").read_text(encoding="utf-8")
    assert float(rows_of(tmp_path, "paper-saliency")[0]["inside"]) == pytest.approx(0.3)
    assert len(rows_of(tmp_path, "paper-separation")) == 2
    assert diagnosis.section(a_study(), "paper", Folder(tmp_path)) is None


def test_one_sentence_for_each_site_network_and_pair(tmp_path: Path) -> None:
    first = a_diagnosis().findings[0]
    weaker = replace(first, sentence="So it is, too.", strength=0.7)
    other = replace(first, site="B", home="B", sentence="And there.")
    shown = diagnosis.section(a_study(diagnosis=Diagnosis(findings=[first, weaker, other])), "paper", Folder(tmp_path))
    assert shown is not None
    assert (shown.sentences, shown.further) == (["So it is.", "And there."], 1)


def a_dose(auc: float, p: float | None, dose: float = 4.0, **more: Any) -> DoseRow:
    """A row of a dose-response curve of a network whose AUC is 0.90 on the scans as they are."""
    row = DoseRow("A", "A", "blur", dose, "mm", "blurred", 40, auc, 0.5, 0.95, p_value=p, positive_share=0.3)
    if dose:
        row = replace(row, difference=auc - 0.9, difference_low=auc - 1.0, difference_high=auc - 0.8)
    return replace(row, **more)


def test_dose_response_names_the_costliest_and_the_harmless(tmp_path: Path) -> None:
    rows = [
        a_dose(auc, p, dose, words=f"blurred by {dose:g} mm")
        for dose, auc, p in ((0.0, 0.9, None), (1.0, 0.88, 0.4), (4.0, 0.6, 0.001))
    ]
    rows += [a_dose(0.9, p, d, shift="noise", words=f"noise {d:g}") for d, p in ((0.0, None), (25.0, 1.0))]
    best = {"model": "A", "home": "A", "site": "B", "shift": "blur", "words": "Blur comes nearest.", "best": True}
    kept = Stress(rows, [partly(ExplanationRow, **best, distance=0.2, distance_unshifted=0.5)])
    shown = stress.section(a_study(stress=kept), "paper", Folder(tmp_path))
    assert shown is not None
    assert shown.words.startswith(
        "The costliest: blurred by 4 mm, which takes 0.30 (95\u00a0%: +0.20 to +0.40) of AUC from A; of 3 tests "
        "(networks × shifts × doses), 1 lowers the AUC significantly"
    )
    assert shown.words.endswith("could be tried: noise (1 of 1); the intervals in the table may hold larger ones.")
    assert shown.silent == []
    assert shown.best == ["Blur comes nearest."]
    svg = (tmp_path / "figures" / "paper-dose-response-a1.svg").read_text(encoding="utf-8")
    assert "0.90 → 0.60" in svg
    assert len(rows_of(tmp_path, "paper-dose-response")) == 5
    printed = [[column.print(row) for column in shown.curves.columns] for row in shown.curves.rows]
    assert "−0.30 (−0.40 to −0.20)" in printed[2]
    assert printed[2][-1] == "40"
    assert stress.section(a_study(), "paper", Folder(tmp_path)) is None


def an_explanation(home: str, site: str, outcome: str = "too few") -> ExplanationRow:
    words = f"scores of {home} and {site} lie apart: 24 and 9 scans are too few to name a shift (at least 100 of each)."
    said = words if outcome == "too few" else f"blur brings {home} nearest to {site}."
    place = {"model": home, "home": home, "site": site, "shift": "none", "dose": 0.0}
    return partly(ExplanationRow, **place, best=True, outcome=outcome, words=said)


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (("too few", "too few", "too few"), ["No shift can be named for any new site, as home, site or both have fewer "
         "than 100 scans of the classes compared."]),
        (("named", "too few", "too few"), ["blur brings A nearest to B.", "No shift can be named for 2 pairs of a "
         "network's home and a new site, as home, site or both have fewer than 100 scans of the classes compared: A "
         "and C, and B and C."]),
        (("named", "pictures", "too few"), ["blur brings A nearest to B.", "blur brings A nearest to C.",
         "scores of B and C lie apart: 24 and 9 scans are too few to name a shift (at least 100 of each)."]),
    ],
)  # fmt: skip
def test_sites_with_too_few_scans_are_one_line(outcomes: tuple[str, ...], said: list[str], tmp_path: Path) -> None:
    pairs = (("A", "B"), ("A", "C"), ("B", "C"))
    rows = [an_explanation(*pair, outcome) for pair, outcome in zip(pairs, outcomes, strict=True)]
    shown = stress.section(a_study(stress=Stress([], rows)), "paper", Folder(tmp_path))
    assert shown is not None
    assert shown.best == said


def test_no_shift_is_the_costliest_where_no_fall_is_significant() -> None:
    plain = a_dose(0.9, None, dose=0.0)
    assert stress.sentence([plain, a_dose(0.6, 0.01)]).startswith("The costliest: blurred, which takes 0.30")
    assert stress.sentence([plain, a_dose(0.6, 0.06)]) == (
        "No fall of the AUC is significant after adjustment (Holm) for 1 test (networks × shifts × doses). The largest "
        "is 0.30 (95\u00a0%: +0.20 to +0.40): blurred, A. Without adjustment 0 are, where chance alone gives about 0.0."
    )
    others = [a_dose(0.9, 1.0, shift=f"s{i}") for i in range(9)]
    told = stress.sentence([plain, a_dose(0.6, 0.01), *others])  # one of ten was tried
    assert "significant after adjustment (Holm) for 10 tests" in told
    assert "Without adjustment 1 is, where chance alone gives about 0.2." in told
    assert stress.sentence([plain, a_dose(0.93, 0.001)]).startswith("In none of 1 test (networks × shifts × doses) is")


def test_the_headline_hides_no_fall_of_another_network() -> None:
    """One fall is significant; those of two others to chance are not, among so many tests, and are told too."""
    fallen = a_dose(0.5, 0.0001)
    others = [a_dose(auc, 0.02, model=name, home=name, words="cut") for auc, name in ((0.53, "B"), (0.55, "C"))]
    told = stress.sentence([fallen, *others])
    assert "The costliest: blurred, which takes 0.40" in told
    assert (
        "Largest fall of each network, unadjusted: A 0.90 → 0.50, blurred; B 0.90 → 0.53, cut; C 0.90 → 0.55, cut."
        in told
    )
    assert "Largest fall of each" not in stress.sentence([fallen])  # the headline has said it
    risen = a_dose(0.95, 0.5, model="D", home="D")
    assert "; D " not in stress.sentence([fallen, others[0], risen])


def test_curves_on_some_of_the_scans_say_why_their_auc_is_not_that_of_the_matrix(tmp_path: Path) -> None:
    plain, cut = a_dose(0.9, None, dose=0.0, words="as it is"), a_dose(0.6, 0.01)
    some = a_study(scores=[a_score(model="A", site="A", auc=0.84, scans=120)], stress=Stress([plain, cut], []))
    assert "A 0.90 on 40, 0.84 on all 120. With so few" in stress.sample_sentence(some)
    shown = stress.section(some, "paper", Folder(tmp_path))
    assert shown is not None
    assert shown.sample == stress.sample_sentence(some)
    whole = a_study(scores=[a_score(model="A", site="A", auc=0.9, scans=40)], stress=Stress([plain, cut], []))
    assert stress.sample_sentence(whole) == ""
    assert stress.sample_sentence(a_study(stress=Stress([plain, cut], []))) == ""


def test_a_shift_that_could_not_be_tried_is_no_test_and_no_proof_of_harmlessness() -> None:
    """Noise cannot be put on the pictures of B: a p of 0.01 stands for itself, not for the tests that were not run."""
    refused = [
        replace(a_dose(0.9, None, model="B", home="B", shift=f"s{i}", words="not done"), auc=None, difference=None)
        for i in range(30)
    ]
    rows = [a_dose(0.6, 0.01), a_dose(0.89, 0.5, shift="noise"), a_dose(0.88, 0.4, model="B", home="B")]
    told = stress.sentence([*rows, *refused])
    assert "of 3 tests (networks × shifts × doses), 1 lowers" in told
    assert "on the networks where the shift could be tried: noise (1 of 2); the intervals" in told
    both = stress.sentence([*rows, a_dose(0.9, 0.9, shift="noise", model="B", home="B")])
    assert "noise (2 of 2)" in both


def test_a_network_that_did_not_learn_is_named_and_not_drawn(tmp_path: Path) -> None:
    kept = Stress([DoseRow("A", "A", "degenerate", 0.0, "", "degenerate: its scores hardly differ")], [])
    shown = stress.section(a_study(stress=kept), "paper", Folder(tmp_path))
    assert shown is not None
    assert shown.silent == ["A: degenerate: its scores hardly differ."]
    assert (shown.words, shown.pictures, shown.best) == ("", [], [])


def test_the_battery_s_words_follow_what_was_found_outside_the_lungs() -> None:
    named = partly(ClassSeparationRow, site="A", view="body", auc=0.8, p_holm=0.001)
    unknown = replace(named, p_holm=None)  # as tables of early versions
    clean = diagnosis.battery_words([replace(named, p_holm=0.5), replace(named, view="lung_histogram"), unknown], [])
    assert "Nothing outside the lungs was found" in clean
    assert "is no proof" in clean
    body = diagnosis.battery_words([named], [])
    assert "Outside the lungs, too, positive is told from negative at A: " in body
    assert "At A it is the body itself: age, sex, size or the disease can do that" in body
    stronger = replace(named, view="facts", auc=0.9)
    among = diagnosis.battery_words([named, stronger, replace(named, site="B")], [])
    assert "At B it is the body itself" in among
    assert "At A among it is the body itself: age, sex" in among
    air = diagnosis.battery_words([replace(named, view="background")], [])
    assert "a network may use that there" in air
    assert "age, sex, size" not in air
    for words in (clean, body, air, diagnosis.battery_words([], [])):
        assert "With the lungs erased" not in words  # nobody looked
        assert "stands at 0.5" not in words


def an_erased(auc: float, p: float = 0.001, **more: object) -> ShortcutRow:
    row = {"model": "A", "site": "A", "view": "lungs_erased", "low": auc - 0.1, "high": auc + 0.1, "auc": auc, "p": p}
    return partly(ShortcutRow, **row | more)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([an_erased(0.55, 0.3), an_erased(0.45, 0.3)], "of 2 tests of networks that learned, none is distinguishable"),
        ([an_erased(0.7)], "of 1 test of networks that learned, 1 lies above chance (0.50): there some discrimination"),
        ([an_erased(0.7), an_erased(0.8), an_erased(0.3)], "2 lie above chance (0.50): there some discrimination is"),
        ([an_erased(0.3), an_erased(0.5, 1.0)], "1 lies below chance: there scores are reversed on pictures"),
        ([an_erased(0.7, degenerate="it did not learn"), an_erased(0.5, 1.0)], "of 1 test of networks that learned,"),
        ([an_erased(0.7, view="whole"), an_erased(0.5, 1.0)], "of 1 test of networks that learned, none"),
        ([an_erased(0.7, view="border_only"), an_erased(0.5, 1.0)], "none is distinguishable from chance (0.50) after "
         "Holm's adjustment for 2 tests without lungs; without it 0 are, where chance alone gives about 0.1."),
        ([an_erased(0.7, 0.04), *[an_erased(0.5, 0.9)] * 19], "of 20 tests of networks that learned, none is "
         "distinguishable from chance (0.50) after Holm's adjustment for 20 tests without lungs; without it 1 is, "
         "where chance alone gives about 1.0."),
        ([an_erased(0.7, 0.001), *[an_erased(0.5, 0.9)] * 19], "of 20 tests of networks that learned, 1 lies above"),
    ],
)  # fmt: skip
def test_an_auc_with_the_lungs_erased_is_judged_after_adjustment(rows: list[ShortcutRow], words: str) -> None:
    assert words in diagnosis.battery_words([], rows)


def test_no_p_stands_beside_shuffled_labels_even_where_an_older_record_holds_one(tmp_path: Path) -> None:
    """The p of the row above was once kept for it: neither the table nor the square may show that."""
    rows = [an_erased(0.74, p=0.01, scans=20), an_erased(0.51, view="label_shuffle", p=0.01, scans=20)]
    shown = diagnosis.section(a_study(diagnosis=Diagnosis(shortcuts=rows)), "paper", Folder(tmp_path))
    assert shown is not None
    (table,) = shown.tables
    printed = [[column.print(row) for column in table.columns] for row in table.rows]
    assert ["0.010" in printed[0], "–" in printed[1]] == [True, True]
    battery = (tmp_path / "figures" / "paper-battery.svg").read_text(encoding="utf-8")
    assert battery.count('width="7" height="7"') == 1


def test_p_values_at_their_floor_and_networks_that_did_not_learn_are_marked(tmp_path: Path) -> None:
    cell = {"model": "A", "site": "A", "low": 0.5, "high": 0.9, "patients": 20, "scans": 20, "permutations": 1999}
    rows = [
        partly(ShortcutRow, **cell, view="lungs_erased", auc=0.74, p=1 / 2000, degenerate="it did not learn"),
        partly(ShortcutRow, **cell, view="label_shuffle", auc=0.51, degenerate="it did not learn"),
    ]
    out = Folder(tmp_path)
    shown = diagnosis.section(a_study(diagnosis=Diagnosis(shortcuts=rows)), "paper", out)
    assert shown is not None
    (table,) = shown.tables
    printed = [[column.print(row) for column in table.columns] for row in table.rows]
    assert printed[0][0] == "A (did not learn)"
    assert "≤ 0.0005" in printed[0]
    assert "–" in printed[1]


# Sheets -----------------------------------------------------------------------------------------------------------


def test_the_sheets_have_the_checklists_items() -> None:
    assert [item.number for item in CLAIM.items] == [str(n) for n in range(1, 45)]
    numbers = [item.number for item in TRIPOD_AI.items]
    assert len(numbers) == len(set(numbers)) == 52
    assert sorted({int(n.rstrip("abcdefg")) for n in numbers}) == list(range(1, 28))
    letters = {n: [x[-1] for x in numbers if x[:-1] == str(n)] for n in (3, 5, 6, 8, 9, 12, 18, 20, 23, 27)}
    assert ["".join(found) for found in letters.values()] == [
        "abc",
        "ab",
        "abc",
        "abc",
        "abc",
        "abcdefg",
        "abcdef",
        "abc",
        "ab",
        "abc",
    ]


def test_a_sheet_marks_what_the_run_cannot_know() -> None:
    report = Report("T", (a_study(settings={"split": {"train": 0.7, "test": 0.2}, "seed": 3}, split_hash="5417"),))
    rows = {row.item: row for row in fill(CLAIM, report).rows}
    assert rows["19"].answer == (
        "Per site and class, patients were drawn at random (seed 3): 70% train, 20% test, the rest validation; "
        "split 5417."
    )
    assert (rows["19"].state, rows["14"].state, rows["39"].state) == (FILLED, OPEN, OPEN)
    assert rows["14"].answer == ""
    assert rows["14"].you_must_write
    assert rows["24"].you_must_write == "The run has no record of this."
    assert {row.state for row in rows.values()} == {FILLED, PARTLY, OPEN}


def test_no_sheet_names_a_folder_of_this_machine() -> None:
    report = Report("T", (a_study(),), command="elsewhere report /home/me/secret")
    assert "/home/me" not in "".join(fill(sheet, report).to_csv() for sheet in (CLAIM, TRIPOD_AI))


# Words and the whole page -----------------------------------------------------------------------------------------


def test_signed_numbers_have_a_true_minus() -> None:
    assert [signed(0.5), signed(-0.5), signed(-0.004), signed(None)] == ["+0.50", "−0.50", "0.00", "–"]


def test_the_page_says_what_it_holds_and_what_was_not_made(tmp_path: Path) -> None:
    study = a_study(absent={"dose–response curves": "elsewhere stress STUDY.toml runs/x"})
    page = write_report(Report("T", (study,)), tmp_path).read_text(encoding="utf-8")
    assert "dose–response curves: run <code>elsewhere stress STUDY.toml runs/x</code>" in page
    assert 'id="stress"' not in page
    assert 'href="#stress"' not in page
    assert "0 example slices" not in holdings(Report("T", (study,)))
    assert "no volume. Look it over before you hand it on." in page


def test_cells_of_the_matrix_can_be_stepped_on_and_tell_everything(tmp_path: Path) -> None:
    ends = {"auc_sampling_low": 0.3, "auc_sampling_high": 0.48}
    study = a_study(scores=[a_score(site="B", accuracy=0.8, auc=0.4, positives=10, negatives=10, **ends)])
    page = write_report(Report("T", (study,)), tmp_path).read_text(encoding="utf-8")
    assert page.count('tabindex="0" aria-describedby="paper-cell-') == 4
    assert 'id="paper-cell-1-2">A tested at B (never seen in training): AUC 0.400, 95 % interval 0.300–0.480.' in page
