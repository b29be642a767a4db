"""`elsewhere simulate`: names, sizes and dials from the command line."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from elsewhere.commands.simulate import choose_sites, set_dials, simulate
from elsewhere.errors import BadStudy
from elsewhere.scans.phantom.planting import truth_files
from elsewhere.scans.phantom.sites import default_sites, in_words, turn


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(simulate)
    return app


def test_simulate_writes_the_sites_it_is_asked_for(app, tmp_path):
    options = ["--site", "MosMedData", "--patients", "2", "--matrix", "32", "--seed", "4", "--workers", "1"]
    result = CliRunner().invoke(app, [str(tmp_path), *options], catch_exceptions=False)
    assert result.exit_code == 0
    assert "assumption" in result.output
    assert len(list((tmp_path / "MosMedData").rglob("study_*.nii.gz"))) == 2
    what = json.loads(truth_files(tmp_path, "MosMedData")[1].read_text())
    assert (what["seed"], what["matrix"], what["scans"]) == (4, 32, 2)


def test_dials_from_text():
    sites = set_dials(choose_sites(["UTSW", "CC-CCII"], 5), ["UTSW.all=0", "UTSW.kernel=0.5", "CC-CCII.hospital=0.25"])
    utsw, ccii = sites
    assert (utsw.patients, utsw.dial("kernel"), utsw.dial("dose")) == (5, 0.5, 0.0)
    assert (ccii.dial("hospital"), ccii.dial("segmented")) == (0.25, 0.25)


def test_all_sites_where_none_is_named():
    assert choose_sites([], None) == default_sites()


@pytest.mark.parametrize(
    ("dial", "message"),
    [
        ("Boston.kernel=1", "names the site 'Boston'"),
        ("UTSW.colour=1", "no dial 'colour'; it has kernel"),
        ("UTSW.kernel=2", "outside 0..1"),
        ("UTSW.kernel", "SITE.FACTOR=STRENGTH"),
        ("MosMedData.kernel=1", "it has none"),
    ],
)
def test_bad_dials_say_what_and_what_next(dial, message):
    with pytest.raises(BadStudy, match=message):
        set_dials(default_sites(), [dial])


def test_an_unknown_site_is_named():
    with pytest.raises(BadStudy, match=r"Boston.*Choose from UTSW"):
        choose_sites(["Boston"], None)


def test_one_number_turns_every_tie():
    assert {strength for s in choose_sites([], None, ties=0.0) for _, strength in s.dials} == {0.0}
    usual, half = ([s for site in choose_sites([], None, ties=t) for _, s in site.dials] for t in (1.0, 0.5))
    assert set(usual) == {0.25, 1.0}
    assert half == [strength / 2 for strength in usual]
    one = set_dials(choose_sites(["UTSW"], None, ties=0.0), ["UTSW.kernel=1"])[0]
    assert (one.dial("kernel"), one.dial("spacing")) == (1.0, 0.0)


def test_what_is_planted_in_words():
    utsw, *_, mosmed = default_sites()
    assert "kernel 0.25 (positives: sharp or lung; negatives: standard or soft)" in in_words(utsw)
    assert "independent of it: kernel" in in_words(turn(utsw, kernel=0.0))
    assert "sharp" not in in_words(turn(utsw, kernel=0.0))
    assert "nothing is tied" in in_words(turn(utsw, all=0.0))
    assert "positives only" in in_words(mosmed)
