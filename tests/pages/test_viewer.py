"""Made-up cases in: what must stand on the viewer's page, what never, and whether its bundle is the one from npm."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from elsewhere.pages.viewer import page
from elsewhere.pages.viewer.page import Occasion, Overlay, Preset, Shown, Window, agreement, render

NIIVUE = files("elsewhere.pages") / "viewer" / "niivue"
BUILD = Path(__file__).parents[2] / "src" / "elsewhere" / "pages" / "viewer" / "niivue"  # not in the wheel
HOSTILE = "</script><img src=x onerror=alert(1)>"
OCCASION = Occasion("study", "real", "A+B", ("A", "B"), 0.4, "9f2c" * 16, "elsewhere view study.toml")


def shown(**changes: object) -> Shown:
    overlay = Overlay(gzip.compress(b"overlay"), np.array([0.0, 0.3, 0.3, 0.4]), "What it is.", 1, 4)
    case = Shown(
        "A", "p1", "s1", 1, "test", gzip.compress(b"scan"), 4, "HU", "8 bit.",
        (Preset("lung", -1350, 150), Preset("mediastinum", -160, 240)),
        (Window(0, 3, 0.25), Window(1, 4, 0.75)), overlay, {1: "", 2: "infection", 3: "infection"},
    )  # fmt: skip
    return replace(case, **changes)


def test_the_page_says_what_it_holds_and_what_it_is_not() -> None:
    text = render([shown()], OCCASION)
    assert text.count("Research use only. Not a medical device.") == 2
    assert "This page holds patient data." in text
    assert "probability <strong>0.750</strong>, the highest of 2 windows; it says positive, which is right" in text
    assert "Nothing here shows how" not in text
    assert "Simulated data." in render([shown()], replace(OCCASION, origin="simulated"))


def test_scan_and_overlay_are_inside() -> None:
    text = render([shown(), shown(scan="s2", overlay=None)], OCCASION)
    inside = dict(re.findall(r'<script type="text/plain" id="([\w-]+)">([^<]*)</script>', text))
    assert set(inside) == {"scan-0", "overlay-0", "scan-1"}
    assert gzip.decompress(base64.b64decode(inside["overlay-0"])) == b"overlay"
    (settings,) = re.findall(r'<script type="application/json" id="cases">(.*?)</script>', text)
    assert [case["name"] for case in json.loads(settings)] == ["A/s1", "A/s2"]
    assert [case["overlay"] for case in json.loads(settings)] == [True, False]


def test_a_page_without_a_model_promises_none() -> None:
    text = render([shown(windows=(), overlay=None, marks=None)], Occasion("study", "real"))
    assert 'id="opacity"' not in text
    assert "what the model said" not in text
    assert "<dt>Model</dt>" not in text


def test_nothing_on_the_page_can_load_anything() -> None:
    text = render([shown()], OCCASION)
    own = text.replace(NIIVUE.joinpath("niivue.js").read_text(encoding="utf-8"), "")
    assert "default-src 'none'" in own
    assert not re.search(r"(?:src|href)=\"(?!#)[^\"]", own)
    assert "url(" not in own


@pytest.mark.parametrize("field", ["site", "patient", "scan", "drawn"])
def test_hostile_names_stay_words(field: str) -> None:
    text = render([shown(**{field: HOSTILE})], replace(OCCASION, study=HOSTILE, command=HOSTILE))
    assert "<img src=x" not in text
    hostile_mark = render([shown(marks={0: HOSTILE})], OCCASION)
    assert "<img src=x" not in hostile_mark


def test_overlay_and_marks_are_compared() -> None:
    words = "Of the 3 slices that the overlay covers, 2 are marked (67%); 70% of the overlay lies on them."
    assert agreement(shown()) == words
    assert agreement(shown(marks={0: "outside", 2: "infection"})).startswith(
        "Of the 3 slices that the overlay covers, 1"
    )
    assert agreement(shown(marks=None)) == ""
    assert agreement(shown(overlay=None)) == ""
    assert agreement(shown(marks={0: ""})) == ""


def test_a_page_without_a_case_or_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least one case"):
        render([], OCCASION)
    with pytest.raises(ValueError, match="at least one case"):
        render([shown(slices=0)], OCCASION)
    monkeypatch.setattr(page, "LARGEST_PAGE", 1000)
    with pytest.raises(ValueError, match=r"would take [\d,]+ bytes, more than 1,000; show fewer scans"):
        render([shown()], OCCASION)


def test_the_bundle_is_the_one_that_was_made_from_npm() -> None:
    listed = [line.split() for line in BUILD.joinpath("niivue.sha256").read_text().splitlines()]
    assert [name for _, name in listed] == ["niivue.js", "LICENSES.txt"]
    for sum_, name in listed:
        assert hashlib.sha256(NIIVUE.joinpath(name).read_bytes()).hexdigest() == sum_


def test_the_bundle_is_pinned_and_its_licences_are_on_the_page() -> None:
    wanted = json.loads(BUILD.joinpath("package.json").read_text())
    locked = json.loads(BUILD.joinpath("package-lock.json").read_text())["packages"]
    for name, version in {**wanted["dependencies"], **wanted["devDependencies"]}.items():
        assert locked[f"node_modules/{name}"]["version"] == version
    assert all("integrity" in part for path, part in locked.items() if path)
    assert not any("resolved" in part for part in locked.values())  # no registry is named
    text = render([shown()], OCCASION)
    assert "@niivue/niivue 0.69.0 (BSD-2-Clause)" in text
    assert "Redistributions in binary form must reproduce" in text


def test_the_bundle_needs_no_worker_and_no_webassembly() -> None:
    bundle = NIIVUE.joinpath("niivue.js").read_text(encoding="utf-8")
    assert not re.search(r"WebAssembly|new Worker|\beval\(|</script|<!--", bundle)
    assert len(bundle) < 1_000_000


@pytest.mark.parametrize(("profile", "first"), [([0, 0, 0, 0.2, 0.7, 0.1], 4), ([0.9, 0.1, 0, 0, 0, 0], 0)])
def test_it_opens_where_most_of_the_overlay_lies(profile: list[float], first: int) -> None:
    case = shown(slices=6, marks=None)
    assert case.overlay is not None
    page = render([replace(case, overlay=replace(case.overlay, profile=np.array(profile)))], OCCASION)
    assert f'"first": {first}' in page.replace('"first":', '"first": ').replace("  ", " ")


def test_without_an_overlay_it_opens_in_the_middle_and_offers_nothing_to_save() -> None:
    page = render([shown(slices=6, windows=(), overlay=None, marks=None)], Occasion("study", "real"))
    assert '"first": 3' in page.replace('"first":', '"first": ').replace("  ", " ")
    assert 'class="save-overlay"' not in page


def test_the_overlay_can_be_saved_under_a_name_that_a_disk_takes() -> None:
    page = render([shown(site="CC/7: <x>")], OCCASION)
    found = re.search(r'data-name="([^"]+)">Save the overlay', page)
    assert found is not None
    assert re.fullmatch(r"CC_7_x[\w.+-]*-overlay\.nii\.gz", found[1])
