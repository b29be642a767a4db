"""The folder of an NVFlare job, and what a client says of its own scans; without NVFlare."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from elsewhere.errors import BadOption
from elsewhere.studies.nvflare_job import read_here, write_job


def test_a_job_is_the_kit_and_no_program(tmp_path: Path) -> None:
    (tmp_path / "kit.zip").write_bytes(b"a kit")
    write_job(tmp_path / "kit.zip", tmp_path / "job")
    files = {file.relative_to(tmp_path / "job").as_posix() for file in (tmp_path / "job").rglob("*") if file.is_file()}
    configs = {f"app/config/config_fed_{side}.json" for side in ("server", "client")}
    assert files == {"meta.json", "app/config/kit.zip", *configs}
    assert (tmp_path / "job" / "app" / "config" / "kit.zip").read_bytes() == b"a kit"
    for name in configs:
        assert "elsewhere.nvflare_visit." in (tmp_path / "job" / name).read_text()
    assert json.loads((tmp_path / "job" / "meta.json").read_text())["deploy_map"] == {"app": ["@ALL"]}
    with pytest.raises(BadOption, match="is there already"):
        write_job(tmp_path / "kit.zip", tmp_path / "job")


def test_paths_are_from_the_file_and_nothing_leaves_unless_it_says_so(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere-visit.toml"
    file.write_text('scans = "ct"\nwork = "/data/work"\noption = ["units=HU"]\n')
    here = read_here(file)
    assert (here.scans, here.work, here.labels) == (tmp_path / "ct", Path("/data/work"), None)
    assert (here.option, here.agreed) == (("units=HU",), False)
    file.write_text('scans = "ct"\nwork = "w"\nlabels = "l.csv"\nagreed = true\n')
    assert (read_here(file).labels, read_here(file).agreed) == (tmp_path / "l.csv", True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('work = "w"', "scans is missing"),
        ('scans = "ct"', "work is missing"),
        ('scans = "ct"\nwork = "w"\nagree = true', "key agree is unknown"),
        ('scans = "ct"\nwork = "w"\nagreed = "no"', "agreed is 'no'"),
        ("scans = ct", "cannot be read"),
    ],
)
def test_what_a_client_says_wrongly_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "elsewhere-visit.toml").write_text(text)
    with pytest.raises(BadOption, match=words):
        read_here(tmp_path / "elsewhere-visit.toml")
    with pytest.raises(BadOption, match="cannot be read"):
        read_here(tmp_path / "none.toml")


def test_the_file_of_the_how_to_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "visit.md").read_text(encoding="utf-8")
    (tmp_path / "elsewhere-visit.toml").write_text(dedent("    " + page.split("```text\n    ")[1].split("```")[0]))
    here = read_here(tmp_path / "elsewhere-visit.toml")
    assert (here.kind, here.hospital, here.agreed, here.labels) == (
        "dicom",
        "North General",
        False,
        Path("/data/labels.csv"),
    )
