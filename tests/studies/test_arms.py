"""`[[arms]]` of a study file: what is read, what is refused and why, what is drawn, which trainings follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere.arm_rows import ERM
from elsewhere.errors import BadStudy
from elsewhere.model.settings import TrainingSettings
from elsewhere.studies.arms import Arm, Range, drawn, inner_sets
from elsewhere.studies.file import Study, load_study

SITES = "".join(f'[sites.{name}]\nkind = "volumes"\nroot = "{name}"\n' for name in "ABCD")
HEAD = 'combinations = "leave-one-site-out"\nseeds = [1, 2]\n'
TRAINING = '[training]\niterations = 10\nbatch = 6\nsampling = "balanced"\nbalanced_classes = true\n'
DRO = '[[arms]]\nname = "GroupDRO"\ntraining = { objective = "group_dro" }\n'
DRO += 'ranges = { group_rate = [1e-3, 1e-1, "log"] }\n'
REX = '[[arms]]\nname = "V-REx"\ntraining = { objective = "v_rex", penalty = 5.0 }\nranges = { batch = [6, 9] }\n'
COMMON = '[comparison]\ntrials = 3\nranges = { learning_rate = [1e-4, 1e-2, "log"] }\n'


def load(folder: Path, text: str) -> Study:
    (folder / "study.toml").write_text(text)
    return load_study(folder / "study.toml")


def test_a_study_without_arms_is_as_it_was(tmp_path: Path) -> None:
    study = load(tmp_path, HEAD + TRAINING + SITES)
    assert study.comparison is None
    assert "comparison" not in study.settings()
    assert study.trainings == (*study.models, *study.repeats)


def test_each_site_is_left_out_in_turn(tmp_path: Path) -> None:
    assert list(load(tmp_path, HEAD + TRAINING + SITES).models) == ["A+B+C", "A+B+D", "A+C+D", "B+C+D"]


def test_arms_are_read_with_erm_before_them(tmp_path: Path) -> None:
    comparison = load(tmp_path, HEAD + TRAINING + COMMON + DRO + REX + SITES).comparison
    assert comparison is not None
    assert [arm.name for arm in comparison.arms] == [ERM, "GroupDRO", "V-REx"]
    assert comparison.trials == 3
    assert comparison.arms[1].ranges == {"learning_rate": Range(1e-4, 1e-2, True), "group_rate": Range(1e-3, 0.1, True)}
    assert comparison.arms[0].ranges == {"learning_rate": Range(1e-4, 1e-2, True)}


def test_every_arm_has_the_same_trainings_and_those_of_the_study_are_not_doubled(tmp_path: Path) -> None:
    study = load(tmp_path, HEAD + TRAINING + COMMON + DRO + REX + SITES)
    assert len(study.all_arm_networks) == 3 * 3 * 2 * 4
    own = {*study.models, *study.repeats}
    assert own < set(study.all_arm_networks)
    assert len(study.trainings) == len(set(study.trainings)) == 72
    assert "A+B+C@GroupDRO.1" in study.trainings
    assert "A+B+C@GroupDRO.3~2" in study.trainings
    assert study.trained_on("A+B+C@GroupDRO.3~2") == ("A", "B", "C")


def test_how_an_arm_trains_and_that_the_first_trial_is_as_written(tmp_path: Path) -> None:
    study = load(tmp_path, HEAD + TRAINING + COMMON + DRO + REX + SITES)
    plain = study.training_of("A+B+C~2")
    first = study.training_of("A+B+C@V-REx.1~2")
    assert first == replace(plain, objective="v_rex", penalty=5.0)
    second = study.training_of("A+B+C@V-REx.2")
    assert (second.objective, second.penalty, second.seed) == ("v_rex", 5.0, 1)
    assert second.learning_rate == study.training_of("A+B+C@ERM.2").learning_rate
    assert second.learning_rate == study.training_of("A+B+D@GroupDRO.2~2").learning_rate
    rates = {study.training_of(f"A+B+C@GroupDRO.{trial}").learning_rate for trial in (2, 3)}
    assert len(rates) == 2
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert isinstance(second.batch, int)
    assert 6 <= second.batch <= 9


def test_leaving_a_training_site_out_adds_networks_of_the_first_seed(tmp_path: Path) -> None:
    inner = COMMON.replace("trials = 3", "trials = 1\nleave_one_training_site_out = true")
    study = load(tmp_path, HEAD + TRAINING + inner + DRO + SITES)
    assert len(inner_sets(study.combinations)) == 6
    assert len(study.all_arm_networks) == 2 * (2 * 4 + 6)
    assert study.training_of("A+B@GroupDRO.1").seed == 1
    assert "A+B@ERM.1" in study.trainings


def test_an_arm_that_needs_two_sites_is_not_trained_on_one(tmp_path: Path) -> None:
    inner = COMMON.replace("trials = 3", "trials = 1\nleave_one_training_site_out = true")
    three = SITES[: SITES.index("[sites.D]")]
    study = load(tmp_path, HEAD + TRAINING + inner + DRO + three)
    assert "A@ERM.1" in study.trainings
    assert "A@GroupDRO.1" not in study.trainings


def test_draws_are_those_of_seed_trial_and_key_alone() -> None:
    ranges = {"learning_rate": Range(1e-4, 1e-2, log=True), "penalty": Range(0.0, 10.0)}
    one, other = Arm("a", {}, ranges), Arm("b", {"ema": 0.9}, {"penalty": Range(0.0, 10.0)})
    assert drawn(one, 1, 0) == {}
    assert drawn(one, 2, 0)["penalty"] == drawn(other, 2, 0)["penalty"]
    assert drawn(one, 2, 0) != drawn(one, 3, 0) != drawn(one, 3, 1)
    many = np.log10([drawn(one, trial, 0)["learning_rate"] for trial in range(2, 500)])
    assert many.mean() == pytest.approx(-3, abs=0.08)
    assert (many.min(), many.max()) == pytest.approx((-4, -2), abs=0.05)


REFUSED = [
    (COMMON + SITES, r"key `comparison` is given without `arms`"),
    ("arms = 3\n" + SITES, r"key `arms` is 3\. Write one table for each arm"),
    ("[[arms]]\n" + SITES, r"key `arms\.name` is ''"),
    ('[[arms]]\nname = "a/b"\n' + SITES, r"key `arms\.name` is 'a/b'\. Use letters"),
    ('[[arms]]\nname = "ERM"\n' + SITES, r"names 'ERM' twice\. ERM is the study's own \[training\]"),
    (DRO + DRO + SITES, r"names 'GroupDRO' twice\. Name each arm once"),
    ('[[arms]]\nname = "a"\nobjective = "v_rex"\n' + SITES, r"key `arms\.objective` is unknown\. It belongs under"),
    (
        '[[arms]]\nname = "a"\ntraining = { objectiv = "v_rex" }\n' + SITES,
        r"Did you mean `arms\.a\.training\.objective`",
    ),
    ('[[arms]]\nname = "a"\ntraining = { objective = "irm" }\n' + SITES, r"objective.* is 'irm'"),
    ('[[arms]]\nname = "a"\ntraining = { seed = 3 }\n' + SITES, r"`arms\.a\.training\.seed` is not the arm's"),
    ('[[arms]]\nname = "a"\nranges = { select = [0, 1] }\n' + SITES, r"is no number, and has no range"),
    ('[[arms]]\nname = "a"\nranges = { ema = [0.9] }\n' + SITES, r"is \[0\.9\]\. Write \[low, high\]"),
    ('[[arms]]\nname = "a"\nranges = { ema = [0.9, 0.5] }\n' + SITES, r"is \[0\.9, 0\.5\]\. Write \[low, high\]"),
    ('[[arms]]\nname = "a"\nranges = { ema = [0, 0.5, "log"] }\n' + SITES, r"for numbers above 0"),
    (COMMON.replace("3", "0") + DRO + SITES, r"key `comparison\.trials` is 0"),
    (COMMON.replace("trials", "trails") + DRO + SITES, r"Did you mean `comparison\.trials`"),
    (
        COMMON + '[[arms]]\nname = "a"\nranges = { ema = [1.0, 2.0] }\n' + SITES,
        r"trial 2 of arm 'a' draws a value that cannot be: training\.ema must be in \[0, 1\)",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_is_wrong_with_arms_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadStudy, match=message):
        load(tmp_path, (HEAD + text if text.startswith("arms") else HEAD + TRAINING + text))


def test_what_an_arm_needs_and_cannot_get_is_said_when_the_file_is_read(tmp_path: Path) -> None:
    alone = HEAD.replace('"leave-one-site-out"', '[["A"], ["A", "B"]]')
    with pytest.raises(BadStudy, match=r"arm 'GroupDRO' on A: `training\.objective` .*there is one\. Train on two"):
        load(tmp_path, alone + TRAINING + DRO + SITES)
    small = TRAINING.replace("batch = 6", "batch = 1")
    mix = '[[arms]]\nname = "MixStyle"\ntraining = { mixstyle = 0.5 }\n'
    with pytest.raises(BadStudy, match=r"arm 'MixStyle' on A\+B\+C: `training\.mixstyle` .* batch is 1"):
        load(tmp_path, HEAD + small + mix + SITES)
    coral = '[[arms]]\nname = "CORAL"\ntraining = { objective = "coral", batch = 5 }\n'
    with pytest.raises(BadStudy, match=r"CORAL needs two scans of every site in each batch of 3 sites, and batch is 5"):
        load(tmp_path, HEAD + TRAINING + coral + SITES)
    assert load(tmp_path, HEAD + TRAINING + coral.replace("5", "6") + SITES).comparison is not None


def test_without_arms_an_objective_of_several_sites_is_refused_on_one(tmp_path: Path) -> None:
    text = '[training]\nobjective = "v_rex"\nbatch = 4\nsampling = "balanced"\nbalanced_classes = true\n'
    with pytest.raises(BadStudy, match=r"key `training\.objective` is 'v_rex': .*there is one \(A\)"):
        load(tmp_path, text + SITES)
    assert load(tmp_path, 'combinations = [["A", "B"]]\n' + text + SITES).training.objective == "v_rex"


def test_arms_need_a_site_that_no_network_saw_and_plain_erm(tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match=r'every training set holds all sites\. Set combinations = "leave-one-site-out"'):
        load(tmp_path, 'combinations = [["A", "B", "C", "D"]]\n' + TRAINING + DRO + SITES)
    with pytest.raises(BadStudy, match=r"departs from ERM"):
        load(tmp_path, HEAD + TRAINING + "mixstyle = 0.5\n" + DRO + SITES)


def test_defaults_of_training_are_those_before_there_were_arms() -> None:
    plain = TrainingSettings()
    assert (plain.objective, plain.mixstyle, plain.acquisition) == ("erm", 0.0, 0.0)


def test_styles_are_mixed_only_where_there_are_levels(tmp_path: Path) -> None:
    mixed = '[[arms]]\nname = "MixStyle"\ntraining = { mixstyle = 0.5 }\n'
    other = '[network]\nkind = "DenseNet121"\ninput = [64, 64, 64]\n'
    assert load(tmp_path, HEAD + TRAINING + mixed + SITES).comparison is not None
    with pytest.raises(BadStudy, match=r"`training.mixstyle` is 0.5: .* DenseNet121 has no levels"):
        load(tmp_path, HEAD + TRAINING + mixed + other + SITES)
    alone = HEAD + TRAINING.replace('sampling = "balanced"', "mixstyle = 0.5") + other + SITES
    with pytest.raises(BadStudy, match=r"DenseNet121 has no levels"):
        load(tmp_path, alone)
