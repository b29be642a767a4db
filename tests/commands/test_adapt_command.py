"""`elsewhere adapt`: sites and folders, what it prints and leaves, models that cannot be trained, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elsewhere.adapting_rows import Adaptation
from elsewhere.cli import app
from elsewhere.commands.adapt import adapt
from elsewhere.commands.verdict import verdict
from elsewhere.errors import BadOption, BadStudy
from elsewhere.pages.adaptation import AdaptationContext, render
from elsewhere.statistics.adaptation import Choice
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.verdict import Verdict
from elsewhere.statistics.verdict_rule import RULE_ERROR
from elsewhere.studies.adapting_scores import adapt_scores
from elsewhere.studies.adjusting import MeasuredNeed, measured_need, rest_on_measured
from elsewhere.studies.exported import read_model, write_model
from elsewhere.studies.known_model import trained_model
from elsewhere.studies.records import ADAPTATION
from new_sites import write_new_site

QUICK = ["--ways", "dense", "--iterations", "40", "--draws", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def ran(learnable_study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str, int]:
    """Folder of a run on a new folder, the folder of the scans, what was printed, the exit code."""
    folder = tmp_path_factory.mktemp("run")
    root = write_new_site(folder / "St Mary", scans=64)
    out = folder / "out"
    words = ["adapt", str(learnable_study), "UTSW", str(root), "--kind", "volumes", "--aim", "0.8", "--out", str(out)]
    result = CliRunner().invoke(app, [*words, *QUICK])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return out, root, result.output, result.exit_code


def test_a_new_folder(ran: tuple[Path, Path, str, int]) -> None:
    out, _, said, code = ran
    record = ADAPTATION.read(out / "adaptation.json")
    assert code == record["exit_code"]
    assert f"{record['headline']}." in said
    assert str(record["choice"]["reason"]) in said
    assert "AUC here" in said
    assert record["how_many"]["words"] in said
    assert [p["size"] for p in record["curve"]] == [4, 8, 16]
    page = (out / "adaptation.html").read_text()
    for words in ("Research use only. Not a medical device.", "Learning curves", "How many more", "What was forgotten",
                  "What changes", "How it is tested, with which limits", "What may go wrong"):  # fmt: skip
        assert words in page
    assert page.count("<svg") == 1
    assert "Trained on" not in page  # each curve is of a way, not of a model
    assert "None" not in page
    assert "nan" not in page


def test_a_verdict_leaves_out_what_it_was_adapted_with(ran: tuple[Path, Path, str, int], tmp_path: Path) -> None:
    out, root, _, code = ran
    if code not in {0, 20} or not (file := out / "UTSW-adapted.zip").is_file():
        pytest.skip("this run did not adapt")
    assert read_model(file).adapted is not None
    found = verdict(file, str(root), kind="volumes", out=tmp_path, workers=1)
    record = json.loads((tmp_path / "verdict.json").read_text())
    assert found.scans == 32
    assert len(record["bad_scans"]) == 32
    assert all("on which this model was trained or chosen" in b["reason"] for b in record["bad_scans"])


def test_a_site_of_the_study_with_too_few_patients_cannot_tell(learnable_study: Path, tmp_path: Path) -> None:
    words = ["adapt", str(learnable_study), "UTSW", "CC-CCII", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*words, "--sizes", "4", *QUICK, "--json"])
    assert result.exit_code == 20, result.output
    record = json.loads(result.stdout)
    assert record["decision"] == "cannot tell"
    assert record["file"] is None
    assert "a curve needs 3 numbers of patients" in record["how_many"]["words"]
    assert (tmp_path / "adaptation.html").is_file()
    assert not list(tmp_path.glob("*.zip"))


def test_an_exported_model(learnable_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "m.zip", trained_model(learnable_study, "UTSW"))
    root = write_new_site(tmp_path / "new", scans=24)
    found = adapt(
        tmp_path / "m.zip", str(root), kind="volumes", ways=["last"], sizes=["4"], draws=1, iterations=3, workers=1
    )
    assert isinstance(found, Adaptation)
    assert found.page == Path("runs/m/adaptations/UTSW/new/adaptation.html")
    assert "Not measured" in found.page.read_text() or found.decision != "adapt"


def test_which_to_label_next(learnable_study: Path, tmp_path: Path) -> None:
    """Nothing is fitted; a later adaptation knows the scans by their voxels, and tells of the choice."""
    root = write_new_site(tmp_path / "St Mary", labelled=False, scans=24)
    out = tmp_path / "out"
    words = ["adapt", str(learnable_study), "UTSW", str(root), "--kind", "volumes", "--out", str(out), "--workers", "1"]
    result = CliRunner().invoke(app, [*words, "--next", "16", "--choose", "k-centre"])
    assert result.exit_code == 0, result.output
    assert "16 patients of 24 without a label chosen (k-centre)" in result.output
    assert "nothing that is measured on them holds for the place" in result.output
    assert not (out / "adaptation.json").exists()
    assert len((out / "next.csv").read_text().splitlines()) == 17
    labelled = write_new_site(tmp_path / "labelled" / "St Mary", scans=24)
    found = adapt(learnable_study, "UTSW", str(labelled), kind="volumes", ways=["last"], sizes=["4"], draws=1,
                  iterations=3, out=out, workers=1)  # fmt: skip
    assert isinstance(found, Adaptation)
    assert any("16 labelled scans of 24 were chosen by --next (k-centre)" in note for note in found.notes)
    with pytest.raises(BadOption, match="--choose is 'best'"):
        adapt(learnable_study, "UTSW", "CC-CCII", next_patients=2, choose="best")


def test_options_that_make_no_sense(learnable_study: Path) -> None:
    with pytest.raises(BadOption, match="--ways has 'first'"):
        adapt(learnable_study, "UTSW", "CC-CCII", ways=["first"])
    for sizes in (["4,x"], ["1"], ["-4"]):
        with pytest.raises(BadOption, match="--sizes"):
            adapt(learnable_study, "UTSW", "CC-CCII", sizes=sizes)
    for aim in (0.4, 1.0, float("nan")):
        with pytest.raises(BadOption, match="--aim"):
            adapt(learnable_study, "UTSW", "CC-CCII", aim=aim)
    for replay in (0.0, 1.0):
        with pytest.raises(BadOption, match="--replay"):
            adapt(learnable_study, "UTSW", "CC-CCII", replay=replay)
    with pytest.raises(BadOption, match="--sizes"):
        adapt(learnable_study, "UTSW", "CC-CCII", sizes=["64"], ways=["last"], workers=1)
    with pytest.raises(BadStudy, match="the site is not given"):
        adapt(learnable_study, "UTSW")


def test_a_verdict_finds_what_was_measured_of_these_weights_at_this_site(
    ran: tuple[Path, Path, str, int], learnable_study: Path, tmp_path: Path
) -> None:
    """Not of other weights, nor of another site, nor from a damaged record."""
    model = replace(trained_model(learnable_study, "UTSW"), home=tmp_path)
    assert measured_need(model, "St Mary") is None
    record = ADAPTATION.read(ran[0] / "adaptation.json")
    place = model.folder.adaptation("UTSW", "St Mary") / "adaptation.json"
    ADAPTATION.write(place, record)
    need = measured_need(model, "St Mary")
    assert need is not None
    assert record["how_many"]["words"] in need.words
    assert need.patients == record["how_many"]["patients"]
    assert measured_need(model, "Mercy") is None
    assert measured_need(replace(model, checkpoint="0" * 64), "St Mary") is None
    place.write_bytes(place.read_bytes().replace(b"way", b"Way"))
    assert measured_need(model, "St Mary") is None


def test_the_advice_to_adapt_rests_on_what_was_measured_or_says_how_far_the_rule_is_off() -> None:
    """200 scans, 40 of them positive: 30 patients of each class are in 150 scans; 120 more prove the AUC."""
    asked = Verdict(
        "adapt", "lost", "Adapt it with about 240 labelled scans.", False, 200, 200, 40, 0.5, "", 0.2, scans_needed=240
    )
    rested = rest_on_measured(asked, MeasuredNeed("Measured here.", 0.9, 30, 20, 55))
    assert "about 30 patients of each class" in rested.next_step
    assert "95 % interval 20 to 55" in rested.next_step
    assert "about 120 other scans" in rested.next_step
    assert rested.scans_needed == 150 + 120
    assert rested.notes == ("Measured here.",)
    open_end = rest_on_measured(asked, MeasuredNeed("Measured here.", 0.9, 30, 20, None))
    assert "95 % interval 20 or more" in open_end.next_step
    unknown = rest_on_measured(asked, MeasuredNeed("Cannot tell.", 0.9, None, None, None))
    assert (unknown.next_step, unknown.scans_needed) == (asked.next_step, 240)
    assert unknown.notes == (f"Cannot tell. {RULE_ERROR}",)
    bare = rest_on_measured(asked, None)
    assert bare.next_step == asked.next_step
    assert RULE_ERROR in bare.notes[0]
    assert rest_on_measured(replace(asked, action="cannot tell"), None).notes == ()


# Models that cannot be trained ------------------------------------------------------------------------------------


def scores(scans: int, slope: float, shift: float, seed: int = 0) -> tuple[list[int], list[str], list[float]]:
    import numpy as np  # noqa: PLC0415

    random = np.random.default_rng(seed)
    labels = (np.arange(scans) % 2).tolist()
    odds = random.normal(2.5 * (np.array(labels) - 0.5), 1.0)
    return labels, [f"p{i}" for i in range(scans)], (1 / (1 + np.exp(-(slope * odds + shift)))).tolist()


def test_a_product_is_recalibrated_and_nothing_else() -> None:
    off = adapt_scores("vendor", "here", *scores(160, 2.5, 4.0))
    assert (off.decision, off.exit_code, off.trainable) == ("recalibrate", 10, False)
    assert off.slope == pytest.approx(1.0, abs=0.4)
    assert off.intercept < -2
    assert any("cannot be trained here" in note for note in off.notes)
    assert "cannot be trained here" in render(off, AdaptationContext("", ()))
    right = adapt_scores("vendor", "here", *scores(160, 2.5, 0.0))
    assert (right.decision, right.exit_code) == ("nothing", 15)
    few = adapt_scores("vendor", "here", *scores(20, 2.5, 4.0))
    assert (few.decision, few.exit_code) == ("cannot tell", 20)
    with pytest.raises(BadStudy, match="four of each are the least"):
        adapt_scores("vendor", "here", *scores(6, 2.5, 4.0))


# Outcomes ---------------------------------------------------------------------------------------------------------


def outcome(low: float, high: float) -> Adaptation:
    middle = Interval(0.8, 0.7, 0.9, "")
    return Adaptation(
        model="m",
        site="s",
        checkpoint="0" * 64,
        decision="adapt",
        way="all",
        choice=Choice("adapt", "all", "why", (), (20, 20), 0.7),
        trainable=True,
        fitted=(20, 20),
        scored=(20, 20),
        before=middle,
        after=middle,
        change=Interval((low + high) / 2, low, high, ""),
        threshold=0.5,
    )


def test_chosen_and_not_surely_better_is_no_success() -> None:
    """The choice says adapt, the scored patients do not show it: a script must not go on as if they did."""
    assert (outcome(0.01, 0.2).exit_code, outcome(-0.01, 0.2).exit_code, outcome(-0.3, -0.1).exit_code) == (0, 20, 20)
    assert "but not surely better" in outcome(-0.01, 0.2).headline
    assert "not met" in render(outcome(-0.01, 0.2), AdaptationContext("simulated", ("A",)))
    page = render(replace(outcome(0.01, 0.2), site="<b>&"), AdaptationContext("simulated", ("A",)))
    assert "&lt;b&gt;&amp;" in page
    assert "used simulated data" in page
