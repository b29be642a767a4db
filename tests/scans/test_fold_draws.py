"""Folds of a cross-validation: by patient, within site and stratum, the same whatever else is there."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsewhere.errors import BadStudy
from elsewhere.scans.scan import MOST_FOLDS, Fold, Scan, SplitSettings, draw_folds


def site(name: str, patients: int, label: int = 1, scans: int = 1, first: str = "p") -> list[Scan]:
    return [Scan(name, f"{first}{i}", f"{first}{i}-{k}", label) for i in range(patients) for k in range(scans)]


@given(st.integers(10, 50), st.integers(2, MOST_FOLDS), st.integers(0, 5), st.randoms(use_true_random=False))
def test_patients_stand_once_whatever_the_order(n: int, folds: int, seed: int, shuffler: random.Random) -> None:
    scans, settings = site("A", n, scans=2), SplitSettings(seed=seed, folds=folds)
    drawn = draw_folds(scans, settings)
    shuffled = [*scans, *site("A", 20, 0, first="n"), *site("B", 20)]
    shuffler.shuffle(shuffled)
    again = draw_folds(shuffled, settings)
    assert {key: again[key] for key in drawn} == drawn
    assert all(drawn["A", f"p{i}-0"] == drawn["A", f"p{i}-1"] for i in range(n))
    sizes = Counter(drawn["A", f"p{i}-0"].number for i in range(n))
    assert set(sizes) == set(range(1, folds + 1))
    assert max(sizes.values()) - min(sizes.values()) <= 1


@given(st.integers(10, 60), st.integers(2, MOST_FOLDS))
def test_each_network_has_patients_to_choose_by_and_to_learn_from(n: int, folds: int) -> None:
    drawn = list(draw_folds(site("A", n), SplitSettings(folds=folds)).values())
    for number in range(1, folds + 1):
        choosing = [fold for fold in drawn if fold.chooses == number]
        fitted = [fold for fold in drawn if number not in {fold.number, fold.chooses}]
        assert choosing
        assert fitted
        assert all(fold.number != number for fold in choosing)
        allowed = n - sum(fold.number == number for fold in drawn)
        assert len(choosing) == pytest.approx(max(0.1 * allowed, 1), abs=0.51) or len(choosing) == n // folds


def test_a_patient_of_both_classes_is_in_one_fold() -> None:
    scans = [*site("A", 9), *site("A", 9, 0, first="n"), Scan("A", "both", "b1", 1), Scan("A", "both", "b0", 0)]
    drawn = draw_folds(scans, SplitSettings(folds=3))
    assert drawn["A", "b1"] == drawn["A", "b0"]
    assert isinstance(drawn["A", "b1"], Fold)


def test_the_seed_changes_the_draw() -> None:
    first, second = (draw_folds(site("A", 30), SplitSettings(seed=seed, folds=5)) for seed in (0, 1))
    assert first != second


def test_too_few_patients_are_an_error() -> None:
    with pytest.raises(BadStudy, match=r"A: 9 patients in stratum 'positive' cannot fill 10 folds.*fewer `folds`"):
        draw_folds(site("A", 9), SplitSettings(folds=10))
    assert draw_folds(site("A", 10), SplitSettings(folds=10))


@pytest.mark.parametrize("folds", [1, -2, MOST_FOLDS + 1])
def test_numbers_of_folds_that_cannot_be(folds: int) -> None:
    with pytest.raises(BadStudy, match=rf"split\.folds: is {folds}.*2 to 10"):
        SplitSettings(folds=folds)
