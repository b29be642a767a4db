"""Scans of one or two slices: copies and neighbouring slices are found, other people are not, and the notes say so."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elsewhere.scans.phantom.exam import make
from elsewhere.scans.phantom.sites import default_sites, plan_site
from elsewhere.scans.quality.examination import Examination, examine
from elsewhere.scans.quality.findings import find_oddities, warn_of_oddities
from elsewhere.scans.quality.fingerprint import Fingerprint, take_fingerprint
from elsewhere.scans.quality.matching import find_matches
from elsewhere.scans.quality.shrunk import shrink
from elsewhere.scans.volume import content_hash
from elsewhere.studies.prepared import ExaminedScan
from elsewhere.table_format import from_json, to_json
from study_rows import an_examined_scan


@pytest.fixture(scope="module")
def chests() -> list[np.ndarray]:
    """HU of six different patients, slices 2 mm apart."""
    plans = plan_site(replace(default_sites()[0], patients=6), 3, 2.0)
    return [make(plan, 128).volume.voxels for plan in plans]


def level(chest: np.ndarray, at: float = 0.5) -> int:
    return round(len(chest) * at)


def window(picture: np.ndarray, low: int = -1000, high: int = 400) -> np.ndarray:
    return np.clip(np.rint((picture.astype(np.float32) - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def as_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    kept = io.BytesIO()
    Image.fromarray(picture).save(kept, "JPEG", quality=quality)
    return np.asarray(Image.open(kept))


def resized(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR))


ALTERED = {
    "8 bits": window,
    "another window": lambda p: window(p, -1350, 150),
    "JPEG": lambda p: as_jpeg(window(p), 60),
    "larger": lambda p: resized(window(p), 200, 200),
    "stretched": lambda p: resized(window(p), 110, 140),
    "mirrored": lambda p: window(p)[:, ::-1],
    "upside down": lambda p: window(p)[::-1],
    "HU + 1024": lambda p: p + np.int16(1024),
}


def fingerprint(*pictures: np.ndarray) -> Fingerprint:
    return take_fingerprint(shrink(np.stack(pictures)))


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_picture_is_found_and_nobody_else(chests: list[np.ndarray], name: str) -> None:
    own = [fingerprint(chest[level(chest)]) for chest in chests]
    copy = fingerprint(ALTERED[name](chests[2][level(chests[2])]))
    (match,) = find_matches([*own, copy])
    assert (match.first, match.second, match.single) == (2, len(own), True)
    words = {"mirrored": "columns flipped", "upside down": "rows flipped"}
    assert match.turned() == words.get(name, "")


def test_two_slices_and_one_are_compared_and_a_volume_is_not(chests: list[np.ndarray]) -> None:
    chest, at = chests[0], level(chests[0])
    two, one = fingerprint(chest[at], chest[at + 1]), fingerprint(window(chest[at + 1]))
    assert [(m.first, m.second) for m in find_matches([two, one])] == [(0, 1)]
    assert find_matches([take_fingerprint(shrink(chest)), one]) == []
    assert len(two.pictures) == 2
    assert len(take_fingerprint(shrink(chest)).pictures) == 0


def test_the_fingerprint_survives_its_record(chests: list[np.ndarray]) -> None:
    own = fingerprint(*chests[0][40:42])
    again = Fingerprint.from_text(own.to_text())
    for name in ("shape", "slices", "pictures"):
        assert np.array_equal(getattr(again, name), getattr(own, name))


def test_pictures_that_show_nothing_match_nothing() -> None:
    flat = [fingerprint(np.full((64, 64), value, np.uint8)) for value in (0, 9)]
    noise = [fingerprint(np.random.default_rng(i).integers(0, 255, (64, 64)).astype(np.uint8)) for i in range(4)]
    assert find_matches([*flat, *noise]) == []


def row(patient: str, subset: str, *pictures: np.ndarray, **more: Any) -> ExaminedScan:
    voxels = np.stack(pictures)
    given = {
        "units": "relative",
        "content_hash": content_hash(voxels),
        "prepared_hash": content_hash(voxels),
        "minimum": int(voxels.min()),
        "maximum": int(voxels.max()),
        "source_slices": len(voxels),
        "forensics": from_json(Examination, json.loads(json.dumps(to_json(examine(voxels))))),
    }
    return an_examined_scan(site="A", patient=patient, scan=patient, label=0, subset=subset, **given | more)


def pairs(rows: list[ExaminedScan]) -> dict[tuple[str, str | None], str]:
    return {(f.scan, f.other_scan): f.finding for f in find_oddities(rows) if f.is_pair}


def test_near_twins_across_the_split_are_named_with_their_share(chests: list[np.ndarray]) -> None:
    at = [level(chest) for chest in chests]
    rows = [
        row("a", "train", window(chests[0][at[0]])),
        row("b", "test", as_jpeg(window(chests[0][at[0]]), 80)),
        row("c", "test", window(chests[1][at[1]])),
        row("d", "train", window(chests[2][at[2]])),
        row("e", "test", window(chests[2][at[2]])),
    ]
    assert pairs(rows) == {("d", "e"): "copy", ("a", "b"): "near-duplicate"}
    said = warn_of_oddities(find_oddities(rows), rows)
    assert said[0].startswith("A: 2 of 3 test scans (67%) of one or two slices have a copy or a neighbouring slice")
    alone = rows[2:4]
    assert warn_of_oddities(find_oddities(alone), alone) == []
    same_side = [replace(r, subset="test") for r in rows]
    assert not any("training side" in words for words in warn_of_oddities(find_oddities(same_side), same_side))


def test_copies_are_found_by_their_voxels_whatever_they_show() -> None:
    """No lung, no anatomy, one slice: equal voxels are equal voxels."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
    rows = [row("a", "train", noise), row("b", "test", noise), row("c", "test", noise.T)]
    (found,) = [f for f in find_oddities(rows) if f.is_pair]
    assert (found.finding, found.suspected_leak, found.detail) == ("copy", True, "two patients; equal voxels")
    resaved = [rows[0], replace(rows[2], prepared_hash=rows[0].prepared_hash)]
    (found,) = [f for f in find_oddities(resaved) if f.is_pair]
    assert found.detail == "two patients; equal voxels once prepared"


def test_many_twins_are_told_by_each_ones_nearest_twin(chests: list[np.ndarray]) -> None:
    """Of each scan the nearest twin on its own side and on the other: at most two pairs a scan, not all of them."""
    picture = window(chests[3][level(chests[3])])
    rows = [row(f"s{i:02d}", ("train", "test")[i % 2], as_jpeg(picture, 40 + 5 * i)) for i in range(12)]
    matches = find_matches([Fingerprint.from_text(r.forensics.fingerprint) for r in rows])
    found = [f for f in find_oddities(rows) if f.finding == "near-duplicate"]
    assert 0 < len(found) < len(matches)
    named = {f.scan for f in found} | {f.other_scan for f in found}
    assert named == {rows[i].scan for m in matches for i in (m.first, m.second)}
    assert any(f.suspected_leak for f in found)


def test_a_window_that_is_not_the_one_assumed_is_told(chests: list[np.ndarray]) -> None:
    taken = {"window_low": -1350.0, "window_high": 150.0}

    def said(low: int, high: int, scans: int = 6) -> list[str]:
        chosen = list(chests[:scans])
        rows = [row(f"p{i}", "test", *window(chest, low, high), facts=taken) for i, chest in enumerate(chosen)]
        return [words for words in warn_of_oddities([], rows) if "window" in words]

    (sentence,) = said(-1000, 400)
    assert sentence.startswith("A: its grey values look cut with a window of about -")
    assert "were turned into HU with -1350 to 150" in sentence
    assert said(-1350, 150) == []
    assert said(-1000, 400, scans=4) == []  # too few to say
    rows = [row(f"p{i}", "test", *window(chest), facts={}) for i, chest in enumerate(chests)]
    assert warn_of_oddities([], rows) == []  # kept as published: no window is assumed
