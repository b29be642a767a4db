"""Mistakes that newcomers made in study files: each message says what was likely meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from elsewhere.errors import BadStudy
from elsewhere.studies.file import load_study

ONE = '[sites.A]\nkind = "volumes"\nroot = "a"\n'
TWO = ONE + '[sites.B]\nkind = "volumes"\nroot = "b"\n'
MISTAKES = [
    (ONE.replace('"a"', "ct/here"), r'Text stands in quotes: "ct/here":\n  3 \| root = ct/here\n {13}\^'),
    ('[sites]\nA = { kind = volumes, root = "x" }\n', r'Text stands in quotes: "volumes"'),
    (ONE.replace('"a"', '"C:\\Users\\me"'), r"backslash in double quotes is an escape: write '/'"),
    ('[sites]\nSt Mary = { kind = "volumes" }\n', r'name with a space stands in quotes: "St Mary"'),
    ('[sites.St Mary]\nkind = "volumes"\n', r'name with a space stands in quotes: "St Mary"'),
    ("title: x\nsites:\n  A:\n    kind: volumes\n", r"This looks like YAML; a study file is TOML"),
    ("allow_leak = True\n" + ONE, r"Write true:"),
    ('title = "x\n' + ONE, r'Close the quotation mark:\n  1 \| title = "x'),
    ('combinations = ["A"]\n' + ONE, r'Write \[\["A"\]\]: a list for each network'),
    ('combinations = "each"\n' + ONE, r'Use a list of lists, or "paper", "all"'),
    (ONE.replace("root", "path"), r"`path` is no key of a site; did you mean `root`\?"),
    (ONE.replace("kind", "format"), r"`format` is no key of a site; did you mean `kind`\?"),
    ('[sites.A]\nkind = "volumes"\n', r"`sites\.A\.root` is missing\. Give the folder of its scans"),
    (ONE + 'use = "external"\n', r"`sites\.A\.use` is 'external'\. Did you mean \"test\"\?"),
    ('[sites]\nA = { kind = "volumes", root = "x" }\ntitle = "x"\n', r"`title` stands under \[sites\]\. Move it"),
    ('[sites]\nA = "ct/here"\n', r"key `sites\.A` is 'ct/here'\. Write A = \{ kind"),
    ("learning_rate = 1e-3\n" + ONE, r"key `learning_rate` is unknown\. It belongs under \[training\]"),
    (ONE + "[training]\nepochs = 3\n", r"`training\.epochs` is unknown\. Give `iterations`"),
    (ONE + "[training]\nlr = 3\n", r"Did you mean `training\.learning_rate`\?"),
    (ONE + "[network]\ninput = [32, 32]\n", r"is \[32, 32\]\. Give three numbers: slices, rows, columns"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_says_what_was_meant(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(BadStudy, match=message):
        load_study(tmp_path / "study.toml")


def test_the_mistakes_without_them_load(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(TWO)
    assert list(load_study(tmp_path / "study.toml").models) == ["A", "B"]


def test_a_folder_or_another_name_in_place_of_the_study_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(ONE)
    with pytest.raises(BadStudy, match=r"is a folder, .* Give a study file; those in it: mine\.toml"):
        load_study(tmp_path)
    with pytest.raises(BadStudy, match=r"cannot be read .*in that folder: mine\.toml"):
        load_study(tmp_path / "study.toml")


def test_words_of_other_tools_are_taken(tmp_path: Path) -> None:
    text = 'combinations = "all"\n' + TWO + '[training]\naccelerator = "gpu"\nprecision = "bf16"\n'
    study = load_study(_file(tmp_path, text))
    assert (study.training.accelerator, study.training.precision) == ("cuda", "bf16-mixed")
    assert list(study.models) == ["A", "B", "A+B"]
    text = text.replace('"all"', '"leave-one-out"')
    assert list(load_study(_file(tmp_path, text)).models) == ["A", "B"]


def _file(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path
