"""What the reporting sheets answer: records on both sides of each answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from small_study import a_cell, a_study, marked

from elsewhere.pages.report import Audit, Diagnosis, Model, Report, Study
from elsewhere.pages.report.sheets import CLAIM, TRIPOD_AI, fill
from elsewhere.pages.report.words import ODD_SCANS
from elsewhere.rows import LocalRow, SaliencyRow
from elsewhere.statistics.audit import CountRow, Leak
from study_rows import partly

HOME, AWAY = a_cell("A", "A", 0.9, 0.05), a_cell("A", "B", 0.6, 0.05)


def answers(study: Study, sheet: Any = TRIPOD_AI, *others: Study, **report: Any) -> dict[str, str]:
    """Item -> what the run answers."""
    return {row.item: row.answer for row in fill(sheet, Report("T", (study, *others), **report)).rows}


def test_item_12f_says_that_nothing_was_updated_and_24_what_it_would_bring() -> None:
    local = partly(LocalRow, model="A", site="B", scans=10, as_is=0.7, rethresholded=0.65, recalibrated=0.78)
    found = answers(a_study(HOME, AWAY, local=[local]))
    assert found["12f"].startswith(
        "The records hold no update after the evaluation: weights and thresholds were chosen"
    )
    assert found["12f"].endswith("anew after an earlier look at these test scans no record can tell.")
    assert found["24"].startswith(found["12f"])
    assert "Tried on the test scans alone" in found["24"]
    assert answers(a_study())["12f"] == ""
    assert answers(a_study(HOME))["24"] == found["12f"]


def test_a_leak_is_not_answered_with_disjoint_patients() -> None:
    clean = answers(a_study(absent={ODD_SCANS: "x"}), CLAIM)["20"]
    assert clean.startswith("Patients: no patient id and no equal volume stands on two sides of the split.")
    assert clean.endswith("were not searched for.")
    leaky = answers(a_study(audit=Audit(leaks=[Leak("patient", "A/p", ("test", "train"))] * 2)), CLAIM)["20"]
    assert leaky.startswith(
        "Patients were to stay on one side of the split, but two leaks by patient id or equal voxels stand"
    )
    assert "No pairs on two sides look like one patient." in leaky


def test_training_selection_and_imbalance_follow_each_study_s_settings() -> None:
    plain = {"learning_rate": 1e-5, "batch": 1, "iterations": 9, "sampling": "uniform", "precision": "32-true"}
    own = plain | {"weight_decay": 0.01, "balanced_classes": True, "select": "log_loss", "schedule": "cosine"}
    one, two = (a_study(settings={"training": t | {"validate_every": 3}}) for t in (plain, own))
    apart = answers(one, CLAIM), answers(two, CLAIM)
    assert apart[0]["25"].startswith("Adam, learning rate 1e-05, batch 1, 9 iterations, drawing all scans alike")
    assert apart[1]["25"].startswith("AdamW, weight decay 0.01, learning rate 1e-05, cosine schedule, batch 1")
    assert apart[0]["26"].startswith("Highest accuracy (at threshold 0.5, the first maximum kept)")
    assert apart[1]["26"].startswith("Lowest class-balanced log loss (the last minimum kept)")
    assert answers(one)["13"].startswith("No resampling of the classes; no class weights.")
    assert answers(two)["13"].startswith("The classes were drawn in turn; no class weights.")
    both = answers(one, CLAIM, replace(two, name="harmonised"))["26"]
    assert "“paper”: Highest accuracy" in both
    assert "“harmonised”: Lowest class-balanced log loss" in both


@pytest.mark.parametrize(
    ("sampling", "classes", "said"),
    [
        ("uniform", False, "all scans alike"),
        ("uniform", True, "the classes in turn, the scans of each over all training sites alike"),
        ("balanced", False, "the sites in turn"),
        ("balanced", True, "every class of every site in turn"),
    ],
)
def test_how_scans_were_drawn_is_said_once_and_alike(sampling: str, classes: bool, said: str) -> None:
    """Classes in turn and all scans alike cannot both be true of one training."""
    study = a_study(HOME, settings={"training": {"sampling": sampling, "balanced_classes": classes}})
    found = answers(study)
    assert found["12d"].endswith(f"trained on the pooled scans, drawing {said}.")
    assert f"drawing {said}, " in found["12c"]
    assert ("The classes were drawn in turn" in found["13"]) == classes
    single = replace(study, models=study.models[:1])
    assert answers(single)["12d"].endswith("the same weight.")


def test_each_study_answers_for_itself_where_they_differ() -> None:
    def one(name: str, size: int, **parts: Any) -> Study:
        settings = {
            "network": {"input": [size, 32, 32]},
            "training": {"seed": size},
            "split": {"train": 0.5, "test": 0.2},
        }
        return replace(a_study(HOME, AWAY, settings=settings, split_hash=f"s{size}", **parts), name=name)

    models = tuple(Model(name, (name,), 9, name * 12) for name in "AB")
    first, second = one("paper", 48, models=models), one("harmonised", 24, models=models)
    tripod, claim = answers(first, TRIPOD_AI, second), answers(first, CLAIM, second)
    for item in ("9a", "9b", "12c", "18c"):
        assert "“paper”: " in tripod[item], item
        assert "“harmonised”: " in tripod[item], item
    trained = {"batch": 4, "iterations": 9, "sampling": "uniform"}
    both = [replace(s, settings=s.settings | {"training": trained}) for s in (first, second)]
    built = answers(both[0], TRIPOD_AI, both[1])["12c"]
    assert built.count("9 iterations, drawing all scans alike") == 2  # or it would read as that of the last alone
    assert "“paper”: The CT volume alone of 48 × 32 × 32 voxels" in tripod["9a"]
    assert "“harmonised”: The CT volume alone of 24 × 32 × 32 voxels" in tripod["9a"]
    assert "“harmonised”: Split s24; protocol: " in tripod["18c"]
    assert "(4 with checksum" in tripod["12g"]
    assert tripod["22"].endswith("by checksum. A (AAAAAAAAAAAA); B (BBBBBBBBBBBB).")  # the same in both
    assert tripod["4"].startswith(
        "Two networks under each of two protocols, 4 in all, trained on combinations of sites"
    )
    assert claim["27"] == "None: each of four networks is judged alone."
    assert "“harmonised”: 3D convolutional network: input [24, 32, 32]" in claim["22"]
    rows = [partly(SaliencyRow, model="A", site="A", inside=0.6, expected=0.3)]
    looked = replace(second, diagnosis=Diagnosis(saliency=rows))
    assert answers(first, CLAIM, looked)["31"].startswith("“harmonised”: Saliency (HiResCAM) in one map")
    alone = answers(first, TRIPOD_AI)
    assert alone["9a"].startswith("The CT volume alone of 48 × 32 × 32 voxels")
    assert alone["4"].startswith("Two networks trained on combinations of sites")


def test_no_warning_of_an_audit_is_dropped_from_the_limitations() -> None:
    shared = tuple(f"Warning {i} of all." for i in range(5))
    one = a_study(HOME, audit=Audit(warnings=shared))
    two = replace(one, name="b", audit=Audit(warnings=(*shared[:2], "Only here.", *shared[2:])))
    said = answers(one, TRIPOD_AI, two)["26"]
    assert [said.count(words) for words in shared] == [1] * 5
    once = "One training of each network, so the spread over seeds is not known."
    assert said.endswith(f"“paper”: {once} “b”: Only here. {once}")
    assert answers(one, TRIPOD_AI, replace(one, name="b"))["26"].endswith(f"Warning 4 of all. {once}")


def test_external_validation_is_claimed_only_where_there_was_one() -> None:
    assert "development and external validation" in answers(a_study(HOME, AWAY))["1"]
    assert "development and internal validation" in answers(a_study(HOME))["1"]
    assert "no other site was tested" in answers(a_study(HOME))["4"]


def test_sheets_say_what_was_left_out_and_what_was_not_done() -> None:
    study = a_study(HOME, AWAY, a_cell("B", "A", 0.1))
    assert "left out" not in answers(study)["23a"]
    assert answers(marked(study, "B"))["23a"].startswith("1 of 3 networks did not learn, as far as")
    assert answers(marked(study, "A", "B", "A+D"))["25"].startswith("None of the 3 networks learned")
    rows = [partly(SaliencyRow, model=m, site="A", inside=v, expected=0.3) for m, v in (("A", 0.6), ("B", 0.0))]
    looked = replace(study, diagnosis=Diagnosis(saliency=rows))
    assert "in two maps: 30% of their mass" in answers(looked, CLAIM)["31"]
    assert "in one map: 60% of their mass" in answers(marked(looked, "B"), CLAIM)["31"]
    assert "shortcut battery" not in answers(looked, CLAIM)["31"]
    assert "None" not in answers(study, CLAIM)["29"]


def test_side_by_side_is_called_the_same_sites_only_where_it_is_so() -> None:
    study = a_study(HOME, AWAY)
    sheet = {r.item: r.answer for r in fill(CLAIM, Report("T", (study, replace(study, name="b")))).rows}
    assert any("The same sites under 2 settings side by side." in said for said in sheet.values())
    other = replace(study, name="b", sites=study.sites[:2])
    sheet = {r.item: r.answer for r in fill(CLAIM, Report("T", (study, other))).rows}
    assert any("Sites that differ under 2 settings side by side." in said for said in sheet.values())
    assert not any("The same sites" in said for said in sheet.values())


def test_patients_and_scans_agree_with_their_number() -> None:
    counts = [CountRow("A", 1, "test", 1, 1, 9), CountRow("A", 0, "test", 2, 3, 27)]
    said = " ".join(answers(a_study(counts=counts)).values())
    assert "1 positive patient (1 scan); test: 2 negative patients (3 scans)" in said


def test_a_difference_between_sites_is_not_claimed_without_records() -> None:
    assert answers(a_study())["16"] == ""
    assert answers(a_study(audit=Audit(site_only_auc=0.7)))["16"] == (
        "A rule that knows only the site reaches AUC 0.70 over all sites."
    )
