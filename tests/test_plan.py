"""Study files: what is read, what is refused, and that every message names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from elsewhere.errors import BadStudy
from elsewhere.plan import Folder, load_study, read_table, write_table

SITES = '[sites.A]\nkind = "utsw"\nroot = "a"\n[sites.B]\nkind = "mosmeddata"\nroot = "b"\nct0 = "negative"\n'


def test_defaults_are_the_harmonised_protocol(tmp_path: Path) -> None:
    study = load_study(_file(tmp_path, SITES))
    assert study.protocol == "harmonised"
    assert study.preparation.crop == "lungs"
    assert study.preparation.size == study.network.input == (128, 256, 256)
    assert study.sample.intensity == (0.8, 1.2)
    assert study.evaluation.threshold == "model"
    assert study.models == {"A": ("A",), "B": ("B",)}
    assert study.site("A").root == tmp_path.resolve() / "a"
    assert study.site("B").options == {"ct0": "negative"}


def test_paper_protocol_and_single_departures(tmp_path: Path) -> None:
    text = 'protocol = "paper"\nseed = 7\n' + SITES + '[preparation]\nencoding = "hu"\n'
    study = load_study(_file(tmp_path, text))
    assert study.network.input == (128, 512, 512)
    assert study.preparation.encoding == "hu"
    assert study.preparation.crop == "none"
    assert study.training.iterations == 250_000
    assert study.split.seed == study.training.seed == 7
    assert study.evaluation.threshold == "site"


@pytest.mark.parametrize("name", ["paper", "harmonised"])
def test_the_shipped_studies_are_the_papers_nine_by_four(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    study = load_study(Path(__file__).parents[1] / "studies" / f"{name}.toml")
    assert study.protocol == name
    assert len(study.models) == 9
    assert [s.name for s in study.sites] == ["UTSW", "CC-CCII", "COVID-CTset", "MosMedData"]
    assert study.site("CC-CCII").root == Path("/data/CC-CCII")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sites = 3", r"names no site\. Add one table for each site"),
        ("x = [", r"study\.toml: is not valid TOML"),
        ("sede = 1\n" + SITES, r"key `sede` is unknown\. Did you mean `seed`\?"),
        ('seed = "x"\n' + SITES, r"key `seed` is 'x'\. Input should be a valid integer"),
        ('protocol = "own"\n' + SITES, r"key `protocol` is 'own'\. Use one of paper, harmonised"),
        (SITES + "[training]\niteration = 5\n", r"key `training\.iteration` is unknown\. Did you mean `training\.iter"),
        (SITES + '[training]\niterations = "many"\n', r"key `training\.iterations` is 'many'"),
        (SITES + "[preparation]\nsize = [1, 2, 3]\n", r"key `preparation\.size` is unknown"),
        ('combinations = [["C"]]\n' + SITES, r"key `combinations` names 'C'\. Sites to train on: A, B"),
        ('combinations = [["A"], ["A"]]\n' + SITES, r"key `combinations` has \('A',\) twice or empty"),
        ('[sites.A]\nkind = "ct"\nroot = "a"\n', r"key `sites\.A\.kind` is 'ct'\. Use one of utsw, cc_ccii"),
        ('[sites.A]\nkind = "utsw"\n', r"key `sites\.A\.root` is missing"),
        ('[sites."A/B"]\nkind = "utsw"\nroot = "a"\n', r"key `sites\.A/B` is no usable name"),
        ('[sites.A]\nkind = "utsw"\nroot = "a"\nct0 = "omit"\n', r"key `sites\.A\.ct0` is unknown"),
        ('combinations = [["A"]]\n[sites.A]\nkind = "utsw"\nroot = "a"\nuse = "test"\n', r"names 'A'\. Sites to train"),
        (SITES + "[network]\npools = [[3, 3, 3]]\n", r"network\.pools"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadStudy, match=message):
        load_study(_file(tmp_path, text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match=r"none\.toml: cannot be read \(No such file or directory\)"):
        load_study(tmp_path / "none.toml")


def test_tables_keep_their_rows(tmp_path: Path) -> None:
    rows = [{"site": "A", "label": 1, "x": None}, {"site": "B", "label": None, "x": 0.5}]
    write_table(Folder(tmp_path).scans, rows)
    assert read_table(Folder(tmp_path).scans) == rows
    with pytest.raises(BadStudy, match=r"scores\.parquet: does not exist\. Run `elsewhere study`"):
        read_table(Folder(tmp_path).scores)


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "study.toml"
    file.write_text(text)
    return file
