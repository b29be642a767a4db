"""`elsewhere study --plan` says what a study takes and runs nothing; a missing card is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from elsewhere import cli
from elsewhere.commands.study import check_device
from elsewhere.errors import BadStudy
from elsewhere.studies.file import load_study


def test_the_plan_runs_nothing(tiny_study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(cli.app, ["study", str(tiny_study), str(tmp_path / "run"), "--plan"])
    assert result.exit_code == 0, result.exception
    words = result.output + capfd.readouterr().err
    assert "24 scans" in words
    assert "2 networks to train of 2" in words
    assert "s an iteration, 6 of them" in words
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("written", [True, False])
def test_how_to_follow_the_trainings_is_said_where_there_is_something_to_see(
    tiny_study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], *, written: bool
) -> None:
    file = tmp_path / "followed.toml"
    file.write_text(tiny_study.read_text().replace("tensorboard = false", f"tensorboard = {str(written).lower()}"))
    result = CliRunner().invoke(cli.app, ["study", str(file), str(tmp_path / "run"), "--plan"])
    words = "".join((result.output + capfd.readouterr().err).split())
    assert (f"tensorboard--logdir{tmp_path / 'run' / 'models'}" in words) == written


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    text = '[sites.A]\nkind = "volumes"\nroot = "a"\n[training]\naccelerator = "{}"\n'
    for accelerator in ("auto", "cpu", "gpu"):
        (tmp_path / "study.toml").write_text(text.format(accelerator))
        study = load_study(tmp_path / "study.toml")
        if accelerator != "gpu":
            check_device(study)
            continue
        with pytest.raises(BadStudy, match=r'training\.accelerator: is .cuda., but .*no CUDA device.*Use "auto"'):
            check_device(study)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
@pytest.mark.parametrize("words", [["train", "A"], ["predict", "A", "A"], ["study"]])
def test_a_card_that_is_not_there_is_said_before_anything_is_read(tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[sites.A]\nkind = "volumes"\nroot = "absent"\n[training]\naccelerator = "cuda"\n')
    result = CliRunner().invoke(cli.app, [words[0], str(file), *words[1:]])
    assert isinstance(result.exception, BadStudy), result.exception
    assert "no CUDA device" in str(result.exception)
