"""Planted copies, shuffled slices, encodings and padding in simulated and real chests, and nothing where none is."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elsewhere.scans.phantom.exam import make
from elsewhere.scans.phantom.sites import default_sites, plan_site
from elsewhere.scans.quality import matching
from elsewhere.scans.quality.appearance import find_encoding, find_padding
from elsewhere.scans.quality.examination import Examination, examine
from elsewhere.scans.quality.findings import find_oddities, summarise, warn_of_oddities
from elsewhere.scans.quality.fingerprint import Fingerprint, FingerprintFile, take_fingerprint
from elsewhere.scans.quality.matching import MatchSettings, find_matches
from elsewhere.scans.quality.order import find_order_faults
from elsewhere.scans.quality.orientation import find_orientation, read_chest, write_chest
from elsewhere.scans.quality.shrunk import shrink
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import content_hash, lung_mask, to_hu
from elsewhere.table_format import from_json, to_json
from study_rows import an_examined_scan


@pytest.fixture(scope="module")
def chests():
    """HU of six different patients."""
    plans = plan_site(replace(default_sites()[0], patients=6), 3, 5.0)
    return [make(plan, 96).volume.voxels for plan in plans]


@pytest.fixture(scope="module")
def prints(chests):
    return [fingerprint(hu) for hu in chests]


def fingerprint(voxels):
    return take_fingerprint(shrink(np.ascontiguousarray(voxels)))


def window(hu, low, high):
    return np.clip(np.rint((hu.astype(np.float32) - low) / (high - low) * 255), 0, 255).astype(np.uint8)


ALTERATIONS = {
    "window": lambda hu: window(hu, -1350, 150),
    "offset": lambda hu: np.maximum(hu, -1024) + np.int16(1024),
    "reversed": lambda hu: hu[::-1],
    "mirrored": lambda hu: hu[:, :, ::-1],
    "resliced": lambda hu: hu[::2],
    "smaller": lambda hu: hu[:, ::2, ::2],
    "all at once": lambda hu: window(hu, -1000, 400)[::2][::-1, ::-1],
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_copy_is_found_and_the_turn_named(chests, prints, name):
    found = find_matches([*prints, fingerprint(ALTERATIONS[name](chests[2]))])
    assert [(m.first, m.second) for m in found] == [(2, len(prints))]
    words = {
        "reversed": "slices reversed",
        "mirrored": "columns flipped",
        "all at once": "slices reversed, rows flipped",
    }
    assert found[0].turned() == words.get(name, "")


def test_two_kernels_of_one_examination_match():
    plans = plan_site(replace(default_sites()[2], patients=3), 5, 5.0)
    scans = [(plan.patient_id, plan.protocol.kernel, fingerprint(make(plan, 96).volume.voxels)) for plan in plans]
    found = find_matches([scan[2] for scan in scans])
    assert any(scans[m.first][1] != scans[m.second][1] for m in found)
    assert {(scans[m.first][0], scans[m.second][0]) for m in found} <= {(p, p) for p, _, _ in scans}


def test_the_quick_search_equals_looking_at_every_pair(chests, prints):
    more = [*prints, *(fingerprint(hu[::2, ::-1]) for hu in chests)]
    assert find_matches(more) == find_matches(more, MatchSettings(coarse=-1))
    assert find_matches([]) == []


def test_blocks_and_a_file_of_fingerprints_give_the_pairs_of_all_at_once(prints, chests, monkeypatch):
    bodies = [*prints, *(fingerprint(change(chests[1])) for change in ALTERATIONS.values())]
    pictures = [fingerprint(change(chest[len(chest) // 2][None])) for chest in chests[:4] for change in FLAT]
    together = [*bodies, *pictures, *bodies[:2]]
    at_once = find_matches(together)
    assert {m.single for m in at_once} == {True, False}
    monkeypatch.setattr(matching, "BLOCK", 5)
    held = FingerprintFile(one.to_text() for one in together)
    assert [one.to_text() for one in held] == [one.to_text() for one in together]
    assert [one.to_text() for one in held[-2:]] == [one.to_text() for one in together[-2:]]
    in_blocks = find_matches(held)
    assert sorted(map(pair_of, in_blocks)) == sorted(map(pair_of, at_once))
    assert [m.shape for m in sorted(in_blocks, key=pair_of)] == pytest.approx(
        [m.shape for m in sorted(at_once, key=pair_of)], abs=2e-4
    )


FLAT = (lambda hu: hu, lambda hu: window(hu, -1350, 150), lambda hu: hu[:, :, ::-1])


def pair_of(match):
    return match.first, match.second, match.flip


def test_a_fingerprint_survives_its_record(prints):
    again = Fingerprint.from_text(prints[0].to_text())
    assert (again.shape == prints[0].shape).all()
    assert (again.slices == prints[0].slices).all()
    with pytest.raises(ValueError, match="no fingerprint of a scan: 'nonsense'"):
        Fingerprint.from_text("nonsense")


def test_the_mean_chest_survives_its_text(prints):
    shapes = np.array([p.shape for p in prints])
    mean = read_chest(write_chest(shapes))
    assert np.linalg.norm(mean) == pytest.approx(1)
    assert mean.shape == (8, 12, 12)


def kinds(voxels):
    return {fault.kind: fault.slices for fault in find_order_faults(shrink(np.ascontiguousarray(voxels)))}


def test_slices_in_order_raise_no_alarm(chests):
    assert [kinds(hu) for hu in chests] == [{}] * len(chests)
    assert [kinds(hu[::-1]) for hu in chests] == [{}] * len(chests)


def test_a_repeated_slice_is_named(chests):
    n = len(chests[0])
    assert kinds(np.insert(chests[0], 20, chests[0][12], axis=0)) == {"repeated": (20,)}
    assert kinds(chests[0][np.r_[0:n, 5]])["repeated"] == (n,)


def test_parts_in_the_wrong_order_are_named(chests):
    n = len(chests[0])
    # the first and the last slice, which belong together
    assert kinds(np.roll(chests[0], n // 2, axis=0)) == {"permuted": (0, n - 1)}
    assert "permuted" in kinds(chests[0][np.random.default_rng(0).permutation(n)])


def test_a_gap_is_named_with_the_slice_before_it(chests):
    middle = len(chests[0]) // 2
    assert kinds(np.delete(chests[0], range(middle, middle + 6), axis=0)) == {"missing": (middle - 1,)}


def test_which_way_up(chests):
    for hu in chests:
        assert not find_orientation(fingerprint(hu)).is_reversed
        assert find_orientation(fingerprint(hu[::-1])).is_reversed


def encoding(voxels):
    return find_encoding(shrink(voxels))


def test_encodings(chests):
    for hu in chests:
        assert encoding(hu).kind == "HU"
        shifted = encoding(np.maximum(hu, -1024) + np.int16(1024))
        assert (shifted.kind, shifted.offset) == ("HU with an offset", pytest.approx(1024, abs=60))
        assert str(shifted).startswith("HU + about 10")
        cut = encoding(window(hu, -1350, 150))
        assert (cut.kind, cut.low, cut.high) == ("window", pytest.approx(-1350, abs=120), pytest.approx(150, abs=60))
        assert encoding(window(hu, -160, 240)).kind == "soft-tissue window"
        whole = np.maximum(hu, -1024).astype(np.float32) + 1024
        assert encoding(np.rint(whole / whole.max() * 255).astype(np.uint8)).kind == "scaled to its maximum"


@pytest.mark.parametrize("ends", [(-1350, 150), (-1000, 400)])
def test_lung_segmented_pictures(chests, ends):
    for hu in chests:
        grey = window(hu, *ends)
        assert shrink(np.where(lung_mask(hu), grey, 0).astype(np.uint8)).blackened
        assert not shrink(grey).blackened
        assert not shrink(window(hu, -160, 240)).blackened


def test_a_lung_segmented_copy_of_a_segmented_scan_is_found(chests):
    black = [np.where(lung_mask(hu), window(hu, -1350, 150), 0).astype(np.uint8) for hu in chests]
    found = find_matches([fingerprint(v) for v in [*black, black[1][::2, :, ::-1]]])
    assert [(m.first, m.second) for m in found] == [(1, len(black))]


def test_padding(chests):
    hu = np.maximum(chests[0], -1000)
    rows = np.linspace(-1, 1, hu.shape[1])
    round_ = np.where(np.hypot(rows[:, None], rows) > 1, np.int16(-2000), np.where(hu == -1000, np.int16(-995), hu))
    assert find_padding(shrink(round_)).kind == "circle"
    assert find_padding(shrink(round_)).share == pytest.approx(1 - np.pi / 4, abs=0.03)
    inner = round_[:, 20:-20, 20:-20]
    assert find_padding(shrink(inner)).kind == "none"
    assert find_padding(shrink(np.pad(inner, ((0, 0), (8, 8), (0, 0)), constant_values=-3024))).kind == "border"


def test_an_examination_is_json_and_small(chests):
    record = examine(chests[0])
    assert from_json(Examination, json.loads(json.dumps(to_json(record)))) == record
    assert len(record.fingerprint) < 60_000
    assert (record.encoding, record.lung_segmented, record.reversed, record.order) == ("HU", False, False, ())


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([np.int16, np.uint8]).flatmap(
        lambda t: arrays(t, st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20)))
    )
)
def test_no_volume_is_too_odd_to_examine(voxels):
    assert from_json(Examination, json.loads(json.dumps(to_json(found := examine(voxels))))) == found


@pytest.mark.parametrize("voxels", [np.zeros((2, 2)), np.zeros((2, 2, 2)), np.zeros((0, 4, 4), np.int16)])
def test_what_is_no_volume_is_refused(voxels):
    with pytest.raises(ValueError, match="expected integers on three axes"):
        examine(voxels)


def row(site, patient, scan, subset, voxels, **more):
    facts = {"kernel": more.pop("kernel", "soft")}
    return an_examined_scan(
        site=site, patient=patient, scan=scan, subset=subset, label=0,
        content_hash=(hash_of := content_hash(np.ascontiguousarray(voxels))), prepared_hash=hash_of,
        minimum=int(voxels.min()), maximum=int(voxels.max()), source_slices=len(voxels), facts=facts,
        forensics=examine(np.ascontiguousarray(voxels)), **more,
    )  # fmt: skip


def test_findings_say_whose_anatomy_and_what_may_leak(chests):
    rows = [
        row("A", "p1", "s1", "train", chests[0]),
        row("A", "p1", "s2", "train", chests[0][::2], kernel="sharp"),
        row("A", "p2", "s3", "test", chests[0]),
        row("B", "p1", "s4", "validation", window(chests[0], -1350, 150), units="relative"),
        row("B", "p9", "s5", "unlabelled", chests[1]),
    ]
    found = {(f.scan, f.other_scan): f for f in find_oddities(rows)}
    assert set(found) == {("s1", "s2"), ("s1", "s3"), ("s2", "s3"), ("s1", "s4"), ("s2", "s4"), ("s3", "s4")}
    assert {pair for pair, f in found.items() if f.suspected_leak} == set(found) - {("s1", "s2")}
    assert found["s1", "s2"].detail == "the same patient; kernel soft / sharp"
    assert (found["s1", "s3"].finding, found["s1", "s3"].detail) == ("copy", "two patients; equal voxels")
    assert found["s1", "s4"].detail == "two sites; units HU / relative; encoding HU / window" or (
        found["s1", "s4"].detail == "two sites; encoding HU / window"
    )
    assert list(found)[-1] == ("s1", "s2")
    assert warn_of_oddities(list(found.values()))[0].startswith("5 pairs of scans on two sides of the split")


def test_findings_about_single_scans(chests):
    order = np.roll(np.arange(len(chests[0])), 20)
    rows = [
        row("A", "p1", "s1", "train", chests[0][order]),
        row("A", "p2", "s2", "train", chests[1][::-1]),
        row("A", "p3", "s3", "train", chests[2] + np.int16(1024)),
        row("A", "p4", "s4", "train", chests[3]),
    ]
    found = {f.scan: (f.finding, f.detail) for f in find_oddities(rows)}
    assert set(found) == {"s1", "s2", "s3"}
    assert found["s1"][0] == "slice order"
    assert found["s2"] == ("reversed", "the first slice looks like the lowest")
    assert found["s3"][1].startswith("read as HU, looks like: HU + about 10")
    summary = summarise(rows)
    assert [(s.scans, s.reversed, s.slice_order) for s in summary] == [(4, 0.25, 0.25)]
    assert summary[0].encoding == "HU (3), HU with an offset (1)"
    assert warn_of_oddities([]) == []
    assert len(warn_of_oddities(find_oddities(rows))) == 3


@pytest.mark.real
def test_two_kernels_of_a_real_patient_and_nobody_else(real_data, tmp_path):
    volumes = {}
    for kernel in ("B40f", "B70f"):
        with zipfile.ZipFile(real_data / "lung-pet-ct-dx" / f"Lung_Dx-A0002_{kernel}_8mm.zip") as content:
            content.extractall(tmp_path / kernel)
        volumes[kernel] = [f for f in (tmp_path / kernel).rglob("*") if f.is_file()]
    for folder in ("COVID-19 subjects/P001", "Normal subjects/normal001"):
        volumes[folder] = list((real_data / "covid-ct-md" / folder).iterdir())
    read = [reader("utsw").read(Scan("x", k, k, 0, tuple(sorted(f)))) for k, f in volumes.items()]
    rows = [
        row("x", name[:1], name, "test", v.voxels, kernel=v.facts.get("kernel"))
        for name, v in zip(volumes, read, strict=True)
    ]
    found = find_oddities(rows)
    assert [(f.scan, f.other_scan, f.detail) for f in found] == [
        ("B40f", "B70f", "the same patient; kernel B40f / B70f")
    ]
    assert all(to_hu(v).voxels is v.voxels for v in read)
    assert [r.forensics.encoding_kind for r in rows] == ["HU"] * 4
    assert find_orientation(fingerprint(read[0].voxels[::-1])).is_reversed
