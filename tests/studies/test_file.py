"""Study files: what is read, what is refused, and that every message names the key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elsewhere.errors import BadStudy
from elsewhere.model.network import NetworkSettings
from elsewhere.model.recipe import TrainingSettings
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder, read_table, write_table

SITES = '[sites.A]\nkind = "dicom"\nroot = "a"\n[sites.B]\nkind = "mosmeddata"\nroot = "b"\nct0 = "negative"\n'


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
    assert study.training == TrainingSettings(seed=7)
    assert (study.network.groups, study.network.dense_groups) == (8, 32)


def test_the_harmonised_training(tmp_path: Path) -> None:
    training = load_study(_file(tmp_path, SITES)).training
    assert (training.select, training.schedule) == ("log_loss", "cosine")
    assert (training.balanced_classes, training.weight_decay) == (True, 1e-4)


def test_several_seeds_repeat_the_trainings_and_nothing_else(tmp_path: Path) -> None:
    one, several = (
        load_study(_file(tmp_path, head + SITES)) for head in ("seed = 7\n", "seed = 7\nseeds = [7, 8, 9]\n")
    )
    assert one.models == several.models
    assert one.repeats == {}
    first = next(iter(one.models))
    assert set(several.repeats) == {f"{name}~{seed}" for name in one.models for seed in (8, 9)}
    assert several.trained_on(f"{first}~8") == several.trained_on(first) == one.models[first]
    assert several.training_of(first) == one.training
    assert several.training_of(f"{first}~9") == replace(one.training, seed=9)
    assert (several.seed, several.split) == (one.seed, one.split)
    assert "seeds" not in one.settings()  # the record of a study with one seed is as it always was
    assert several.settings()["seeds"] == [7, 8, 9]


@pytest.mark.parametrize("name", ["paper", "harmonised"])
def test_the_shipped_studies_are_the_papers_nine_by_four(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    study = load_study(Path(name))
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
        ("seeds = []\n" + SITES, r"key `seeds` is \[\]\. Give whole numbers of 0 or more, each once"),
        ("seeds = [1, 1]\n" + SITES, r"key `seeds` is \[1, 1\]\. Give whole numbers"),
        ("seeds = [0, -1]\n" + SITES, r"key `seeds` is \[0, -1\]"),
        ("seeds = 3\n" + SITES, r"key `seeds` is 3\. Input should be a valid tuple"),
        ("seeds = [1]\n" + SITES + "[training]\nseed = 2\n", r"key `training\.seed` is given beside `seeds`"),
        ('protocol = "own"\n' + SITES, r"key `protocol` is 'own'\. Use one of paper, harmonised"),
        (SITES + "[training]\niteration = 5\n", r"key `training\.iteration` is unknown\. Did you mean `training\.iter"),
        (SITES + '[training]\niterations = "many"\n', r"key `training\.iterations` is 'many'"),
        (SITES + "[preparation]\nsize = [1, 2, 3]\n", r"key `preparation\.size` is unknown"),
        ('combinations = [["C"]]\n' + SITES, r"key `combinations` names 'C'\. Sites to train on: A, B"),
        ('combinations = [["A"], ["A"]]\n' + SITES, r"key `combinations` has \('A',\) twice or empty"),
        ('[sites.A]\nkind = "ct"\nroot = "a"\n', r"key `sites\.A\.kind` is 'ct'\. Use one of dicom, cc_ccii"),
        ('[sites.A]\nkind = "dicom"\n', r"key `sites\.A\.root` is missing"),
        ('[sites."A/B"]\nkind = "dicom"\nroot = "a"\n', r"`A/B` is not a valid site name"),
        ('[sites.A]\nkind = "dicom"\nroot = "a"\nct0 = "omit"\n', r"key `sites\.A\.ct0` is unknown"),
        (
            'combinations = [["A"]]\n[sites.A]\nkind = "dicom"\nroot = "a"\nuse = "test"\n',
            r'has no site to train on.*use = "split"',
        ),
        ("combinations = []\n" + SITES, r'key `combinations` is empty\. Add a training set, such as \[\["A"\]\]'),
        ('combinations = [["A", "B"], ["B", "A"]]\n' + SITES, r"\('A', 'B'\) twice or empty.*order of its sites"),
        ('protocol = ["paper"]\n' + SITES, r"key `protocol` is \['paper'\]\. Input should be a valid string"),
        ('name = "../x"\n' + SITES, r"study\.toml: key `name` is '\.\./x' and cannot name a folder"),
        ('name = ".."\n' + SITES, r"key `name` is '\.\.' and cannot name a folder"),
        ("store = 5\n" + SITES, r"key `store` is 5\. Input should be a valid string"),
        ('[sites.A]\nkind = "dicom"\nroot = 5\n', r"key `sites\.A\.root` is 5\. Input should be a valid string"),
        ('[sites.A]\nkind = ["volumes"]\nroot = "a"\n', r"key `sites\.A\.kind` is \['volumes'\]\. Input should be"),
        ('[sites.A]\nkind = "dicom"\nroot = "a"\nlabels = 1\n', r"key `sites\.A\.labels` is 1\. Input should be"),
        (
            '[sites.A]\nkind = "dicom"\nroot = "$NOT_SET/a"\n',
            r"`sites\.A\.root` names \$NOT_SET, which is not set\. Set it: NOT",
        ),
        ('[sites.A]\nkind = "dicom"\nroot = "${NOT_SET}"\n', r"names \$NOT_SET, which is not set"),
        ('[sites.A]\nkind = "cc_ccii"\nroot = "a"\nlists = "x"\n', r"key `sites\.A\.lists` is 'x'"),
        ('[sites.A]\nkind = "cc_ccii"\nroot = "a"\nlisted_only = "maybe"\n', r"`sites\.A\.listed_only` is 'maybe'"),
        ('[sites.A]\nkind = "volumes"\nroot = "a"\noffset = "x"\n', r"key `sites\.A\.offset` is 'x'"),
        ('[sites.A]\nkind = "images"\nroot = "a"\nunits = "hu"\n', r"key `sites\.A\.units` is 'hu'"),
        ("[evaluation]\nresamples = 0\n" + SITES, r"study\.toml: key `evaluation\.resamples` is 0\. Give 1 or more"),
        ("[split]\ntrain = 1.5\n" + SITES, r"study\.toml: key `split\.train` is 1\.5\. Give a share between 0 and 1"),
        ("[split]\ntest = 0\n" + SITES, r"key `split\.test` is 0\.0"),
        ("[split]\ntrain = 0.8\n" + SITES, r"key `split\.train` and `split\.test` are 0\.8 and 0\.2"),
        (
            "[preparation]\nminimum = 200\n" + SITES,
            r"`preparation\.minimum` and `preparation\.maximum` are 200\.0 and 100",
        ),
        ("[preparation]\nminimum = nan\n" + SITES, r"`preparation\.minimum` and .* are nan and"),
        ("[preparation]\nmargin = -0.1\n" + SITES, r"study\.toml: key `preparation\.margin` is -0\.1\. Give a share"),
        ("[preparation]\nrelative_window = [1, 0]\n" + SITES, r"key `preparation\.relative_window` is \(1\.0, 0\.0\)"),
        ("[sample]\nwindow = [1, 0]\n" + SITES, r"study\.toml: key `sample\.window` \(1, 0\) is not a range"),
        (SITES + "[network]\npools = [[3, 3, 3]]\n", r"network\.pools"),
        (
            SITES + "[network]\ndense = [64]\ndense_groups = 32\n",
            r"`network\.dense_groups` is 32, which leaves 2 in",
        ),
        (
            SITES + '[training]\nselect = "loss"\n',
            r"key `training\.select` is 'loss'\. Input should be 'accuracy', 'log",
        ),
        (SITES + "[training]\nema = 1\n", r"key `training\.ema` must be in \[0, 1\), is 1\.0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadStudy, match=message):
        load_study(_file(tmp_path, text))


@pytest.mark.parametrize(
    ("written", "kind"), [("dicom", "dicom"), ("utsw", "dicom"), ("DICOM", "dicom"), ("nifti", "volumes")]
)
def test_a_kind_has_its_formats_name_and_earlier_ones(tmp_path: Path, written: str, kind: str) -> None:
    (site,) = load_study(_file(tmp_path, f'[sites.A]\nkind = "{written}"\nroot = "a"\n')).sites
    assert site.kind == kind


def test_site_options_take_their_readers_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEWHERE", str(tmp_path / "ct"))
    text = '[sites.A]\nkind = "volumes"\nroot = "${SOMEWHERE}/a"\noffset = "1024"\nlabels = "a.csv"\n'
    text += '[sites.B]\nkind = "cc_ccii"\nroot = "b$"\nlisted_only = "no"\nlists = ["x.csv"]\n'
    study = load_study(_file(tmp_path, text))
    assert study.site("A").options == {"offset": 1024.0}
    assert study.site("A").root == tmp_path.resolve() / "ct" / "a"
    assert study.site("A").labels == tmp_path.resolve() / "a.csv"
    assert study.site("B").options == {"lists": ["x.csv"], "listed_only": False}
    assert study.site("B").root == tmp_path.resolve() / "b$"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_study_file_as_any_editor_saves_it(tmp_path: Path, encoding: str, ends: str) -> None:
    text = 'title = "Köln"\n[sites.A]\nkind = "volumes"\nroot = "a"\n'.replace("\n", ends)
    file = tmp_path / "s.toml"
    file.write_bytes(text.encode(encoding))
    assert (load_study(file).title, [s.name for s in load_study(file).sites]) == ("Köln", ["A"])
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadStudy, match="is not valid TOML"):
        load_study(file)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadStudy, match=r"none\.toml: cannot be read \(No such file or directory\)"):
        load_study(tmp_path / "none.toml")


def test_tables_keep_their_rows(tmp_path: Path) -> None:
    rows = [{"site": "A", "label": 1, "x": None}, {"site": "B", "label": None, "x": 0.5}]
    write_table(Folder(tmp_path).scans, rows)
    assert read_table(Folder(tmp_path).scans) == rows
    with pytest.raises(BadStudy, match=r"scores\.parquet: does not exist\. Do this"):
        read_table(Folder(tmp_path).scores, "Do this")


def _file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "study.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("preset", "size", "filters"),
    [("small", (24, 32, 32), 3), ("medium", (64, 128, 128), 5), ("paper", (128, 512, 512), 5)],
)
def test_a_network_by_name(tmp_path: Path, preset: str, size: tuple[int, int, int], filters: int) -> None:
    study = load_study(_file(tmp_path, SITES + f'[network]\npreset = "{preset}"\ndropout = 0.25\n'))
    assert study.network.input == study.preparation.size == size
    assert (len(study.network.filters), study.network.dropout) == (filters, 0.25)
    with pytest.raises(BadStudy, match=r"key `network\.preset` is 'big'\. Use one of small, medium, paper"):
        load_study(_file(tmp_path, SITES + '[network]\npreset = "big"\n'))


def test_pools_fit_where_only_the_input_is_given(tmp_path: Path) -> None:
    network = load_study(_file(tmp_path, SITES + "[network]\ninput = [24, 32, 32]\n")).network
    assert network.pools == ((4, 4, 4), (2, 4, 4), (1, 2, 2), (1, 2, 2))
    assert network.map_sizes[-1] == (3, 1, 1)
    assert load_study(_file(tmp_path, SITES)).network.pools == NetworkSettings.pools
    with pytest.raises(BadStudy, match=r"network\.pools"):  # what is given is never changed
        load_study(_file(tmp_path, SITES + f"[network]\ninput = [24, 32, 32]\npools = {[[5, 5, 5]] * 4}\n"))
