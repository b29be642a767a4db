"""Figure 1 from tiny sites: the scan as read beside what the network gets, and what is said when the source is gone."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elsewhere.commands.prepare import prepare_study
from elsewhere.commands.report import examples as module
from elsewhere.commands.report.kept_study import kept_study
from elsewhere.pages.report.content import ExampleSlice, Site, Study
from elsewhere.pages.report.pictures import examples as draw
from elsewhere.scans.sites import reader
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import usable_rows

SITES = {"UTSW": "dicom", "CC-CCII": "cc_ccii", "COVID-CTset": "covid_ctset", "MosMedData": "mosmeddata"}


@pytest.fixture(scope="module")
def once(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, dict[str, Any]]:
    """A prepared study, 8 x 8 pixels, over scans of 16 x 16."""
    root = tmp_path_factory.mktemp("examples")
    file = root / "tiny.toml"
    file.write_text(tiny_study_file.read_text().replace("[4, 16, 16]", "[4, 8, 8]"))
    study = load_study(file)
    prepare_study(study, Folder(root / "out"), workers=1)
    return Folder(root / "out"), study.settings()


@pytest.fixture
def prepared(once: tuple[Folder, dict[str, Any]], tmp_path: Path) -> tuple[Folder, dict[str, Any]]:
    """Its records in a folder of their own, and its settings, for a test to change."""
    folder = Folder(tmp_path / "out")
    folder.root.mkdir()
    (tmp_path / "store").symlink_to(once[0].root.parent / "store")  # the records keep its place beside the folder
    shutil.copy(once[0].scans, folder.scans)
    return folder, copy.deepcopy(once[1])


def drawn(folder: Folder, settings: dict[str, Any]) -> list[ExampleSlice]:
    """The examples of a study with these settings."""
    study = kept_study({"settings": settings, "models": {}, "versions": {}})
    return list(module.examples(folder, usable_rows(folder), study))


def by_stage(found: list[ExampleSlice]) -> dict[str, list[ExampleSlice]]:
    """The examples of each row."""
    return {stage: [e for e in found if e.stage == stage] for stage in dict.fromkeys(e.stage for e in found)}


def test_each_example_stands_raw_and_prepared(prepared) -> None:
    folder, settings = prepared
    found = by_stage(drawn(folder, settings))
    assert list(found) == ["as read", "as the network gets it"]
    raw, network = found.values()
    assert [(e.site, e.label) for e in raw] == [(e.site, e.label) for e in network]
    assert {e.site for e in raw} == set(SITES)
    assert {e.pixels.shape for e in network if e.pixels is not None} == {(8, 8)}
    assert {e.pixels.shape for e in raw if e.pixels is not None} == {(16, 16)}
    assert all(e.caption.startswith("16 × 16, slice 4 of 6, ") for e in raw)


def test_the_raw_slice_is_the_files_own(prepared) -> None:
    folder, settings = prepared
    found = drawn(folder, settings)
    (shown,) = [e for e in found if e.site == "MosMedData" and e.stage == "as read"]
    root = Path(next(s["root"] for s in settings["sites"] if s["name"] == "MosMedData"))
    volumes = [reader("mosmeddata").read(s).voxels[3] for s in reader("mosmeddata").find(root, "MosMedData").scans]
    assert any(
        np.array_equal(shown.pixels, np.clip((v + 1350.0) / 1500 * 255, 0, 255).astype(np.uint8)) for v in volumes
    )


@pytest.mark.parametrize(
    ("origin", "words"), [("real", "as read"), ("repacked", "as re-packed"), ("simulated", "as simulated")]
)
def test_the_raw_row_says_where_the_scans_come_from(prepared, origin, words) -> None:
    folder, settings = prepared
    found = by_stage(drawn(folder, settings | {"origin": origin}))
    assert list(found) == [words, "as the network gets it"]


def test_where_the_source_is_gone_the_picture_says_so(prepared, tmp_path) -> None:
    folder, settings = prepared
    for site in settings["sites"]:
        site["root"] = str(tmp_path / "gone")
    raw, network = by_stage(drawn(folder, settings)).values()
    assert {(e.pixels, e.caption) for e in raw} == {(None, "its files are gone")}
    assert all(e.pixels is not None for e in network)
    assert not (folder.root / "examples.parquet").exists()


def test_a_changed_source_is_not_passed_off_as_what_was_prepared(prepared, tmp_path) -> None:
    folder, settings = prepared
    site = next(s for s in settings["sites"] if s["name"] == "MosMedData")
    old, site["root"] = Path(site["root"]), str(tmp_path / "changed")
    shutil.copytree(old, site["root"])
    for scan in reader("mosmeddata").find(old, "MosMedData").scans:
        volume = reader("mosmeddata").read(scan)
        reader("mosmeddata").write(Path(site["root"]), scan, replace(volume, voxels=volume.voxels + np.int16(1)))
    changed = next(e for e in drawn(folder, settings) if e.site == "MosMedData")
    assert (changed.pixels, changed.caption) == (None, "its files have changed since")


def test_a_second_page_does_not_search_the_sites_again(prepared, monkeypatch) -> None:
    folder, settings = prepared
    first = drawn(folder, settings)

    def refuse(kind: str) -> None:
        raise AssertionError(f"searched {kind} again")

    monkeypatch.setattr(module, "reader", refuse)
    again = drawn(folder, settings)
    for one, other in zip(first, again, strict=True):
        assert one.caption == other.caption
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_large_slice_is_drawn_smaller_and_says_so() -> None:
    picture = np.zeros((512, 512), np.uint8)
    sites, example = [Site("A", "", "", "")], ExampleSlice("A", 1, picture, "512 × 512 (drawn 1:2)", stage="as read")
    gone = replace(example, pixels=None, caption="its files are gone", label=0)
    study = Study(name="s", protocol="", models=(), sites=sites, counts=(), scores=(), examples=[example, gone])
    canvas = draw(study, "figure")
    assert "Positive" in canvas.svg()
    assert "its files are gone" in canvas.svg()
    assert len(canvas.svg()) < 20_000
    assert "A, negative as read: its files are gone" in canvas.alt
