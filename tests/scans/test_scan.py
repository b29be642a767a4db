"""The split: by patient, the paper's counts, stable when sites come, go or move."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsewhere.errors import BadStudy
from elsewhere.scans.scan import Scan, SplitSettings, split, split_counts, split_hash

# Patients per class and site, and the paper's train/validation/test counts (section "Data").
PAPER_COUNTS = {
    "UTSW positive": (101, (73, 8, 20)),
    "UTSW one control group": (118, (85, 9, 24)),
    "CC-CCII positive": (929, (669, 74, 186)),
    "CC-CCII negative": (1813, (1305, 145, 363)),
    "COVID-CTset positive": (95, (68, 8, 19)),
    "COVID-CTset negative": (360, (259, 29, 72)),
    "MosMedData positive": (856, (616, 69, 171)),
}


def site(name: str, patients: int, label: int = 1, scans: int = 1, stratum: str = "") -> list[Scan]:
    return [Scan(name, f"p{i}", f"p{i}-{k}", label, stratum=stratum) for i in range(patients) for k in range(scans)]


@pytest.mark.parametrize("name", PAPER_COUNTS)
def test_split_counts_are_the_papers(name: str) -> None:
    patients, counts = PAPER_COUNTS[name]
    assert split_counts(patients, SplitSettings()) == counts


def test_utsw_control_groups_are_split_on_their_own() -> None:
    scans = site("UTSW", 118, 0, stratum="infection")
    scans += [Scan("UTSW", f"q{i}", f"q{i}", 0, stratum="other") for i in range(118)]
    subsets = list(split(scans).values())
    assert [subsets.count(s) for s in ("train", "validation", "test")] == [170, 18, 48]


@given(st.integers(9, 60), st.integers(1, 4), st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_patient_stands_on_one_side_whatever_the_order(n: int, k: int, seed: int, shuffler: random.Random) -> None:
    scans = site("A", n, scans=k)
    expected = split(scans, SplitSettings(seed=seed))
    shuffled = [*scans, *site("B", 20)]
    shuffler.shuffle(shuffled)
    again = split(shuffled, SplitSettings(seed=seed))
    assert {key: again[key] for key in expected} == expected
    for i in range(n):
        assert len({expected["A", f"p{i}-{j}"] for j in range(k)}) == 1


def test_the_seed_changes_who_goes_where_and_the_hash() -> None:
    scans = site("A", 50)
    first, second = split(scans), split(scans, SplitSettings(seed=1))
    assert first != second
    assert split_hash(first) != split_hash(second)
    assert split_hash(first) == split_hash(dict(reversed(first.items())))


def test_too_few_patients_is_an_error() -> None:
    with pytest.raises(BadStudy, match=r"A: 2 patients in stratum 'positive' cannot fill train, validation and test"):
        split(site("A", 2))
