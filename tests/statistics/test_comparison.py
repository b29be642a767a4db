"""Paired and unpaired tests against R's pROC, Holm by hand, and type-I error by simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere.statistics.comparison import (
    adjust_family,
    compare_models,
    compare_sites,
    holm,
)

GOLDEN = Path(__file__).parents[1] / "golden"
GIVEN = json.loads((GOLDEN / "proc_input.json").read_text())["sets"]
PROC = json.loads((GOLDEN / "proc.json").read_text())


def people(name):
    return np.arange(len(GIVEN[name]["labels"]))


@pytest.mark.parametrize("name", GIVEN)
def test_paired_test_equals_r_proc(name):
    data, golden = GIVEN[name], PROC["sets"][name]["pair"]
    found = compare_models(data["labels"], people(name), data["a"], data["b"])
    assert found.p_value == pytest.approx(golden["p"], abs=1e-10)
    assert (found.low, found.high) == pytest.approx(golden["ci"], abs=1e-10)
    assert np.sign(found.difference) == np.sign(golden["z"])


def test_unpaired_test_is_near_r_proc():
    sides = [(GIVEN[n]["labels"], people(n), GIVEN[n]["a"]) for n in ("utsw_like", "tied")]
    found, golden = compare_sites(*sides), PROC["unpaired"]
    # pROC counts its degrees of freedom by scan as well, with the whole sample for each side
    assert found.p_value == pytest.approx(golden["p"], abs=2e-3)
    assert np.sign(found.difference) == np.sign(golden["t"])


def test_a_model_equals_itself():
    data = GIVEN["utsw_like"]
    found = compare_models(data["labels"], people("utsw_like"), data["a"], data["a"])
    assert (found.difference, found.p_value) == (0.0, 1.0)


def test_exchange_turns_the_sign():
    data = GIVEN["tied"]
    one = compare_models(data["labels"], people("tied"), data["a"], data["b"])
    two = compare_models(data["labels"], people("tied"), data["b"], data["a"])
    assert (two.difference, two.low, two.high) == pytest.approx((-one.difference, -one.high, -one.low))
    assert two.p_value == pytest.approx(one.p_value)


def test_opposite_perfect_rankings_of_few_patients_are_no_proof():
    found = compare_models([0, 0, 1, 1], range(4), [0.1, 0.2, 0.8, 0.9], [0.8, 0.9, 0.1, 0.2])
    assert (found.difference, found.p_value) == (1.0, 0.125)
    assert "no spread seen" in found.method


def test_single_patient_in_a_class_is_unknown():
    found = compare_models([0, 0, 1, 1], [0, 1, 2, 2], [0.1, 0.2, 0.8, 0.9], [0.8, 0.9, 0.1, 0.2])
    assert (found.low, found.high, found.p_value) == (-1.0, 1.0, 1.0)
    assert "single patient" in found.method


def test_copies_of_scans_do_not_make_a_difference_significant():
    data = GIVEN["utsw_like"]
    labels, one, two = (np.tile(data[k], 4) for k in ("labels", "a", "b"))
    once = compare_models(data["labels"], people("utsw_like"), data["a"], data["b"])
    copied = compare_models(labels, np.tile(people("utsw_like"), 4), one, two)
    assert copied.p_value == pytest.approx(once.p_value, abs=1e-9)
    assert compare_models(labels, np.arange(labels.size), one, two).p_value < once.p_value


def test_holm_by_hand():
    # Holm 1979: sorted 0.01 0.02 0.03 0.04 times 4 3 2 1, then never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.1, np.nan])


def test_a_family_is_adjusted_together():
    one = compare_models([0, 0, 1, 1], range(4), [0.1, 0.2, 0.8, 0.9], [0.8, 0.9, 0.1, 0.2])
    adjusted = adjust_family([one, replace(one, p_value=0.01)])
    assert [(c.family, c.p_value_holm) for c in adjusted] == [(2, one.p_value), (2, pytest.approx(0.02))]
    assert adjust_family([]) == []


def test_type_one_error_of_the_clustered_tests():
    """400 null comparisons with 1 to 3 scans per patient: 5 % ± 4 standard errors."""
    random = np.random.default_rng(2)
    owners = np.repeat(np.arange(80), random.integers(1, 4, 80))
    labels = (owners < 30).astype(int)

    def noise():
        return random.normal(size=80)[owners] + 0.5 * random.normal(size=owners.size)

    paired, unpaired = [], []
    for _ in range(400):
        common, one, two, away = noise() + 1.5 * labels, noise(), noise(), noise() + noise() + 1.5 * labels
        paired.append(compare_models(labels, owners, common + one, common + two).p_value < 0.05)
        unpaired.append(compare_sites((labels, owners, common + one), (labels, owners, away)).p_value < 0.05)
    assert 0.01 < np.mean(paired) < 0.095
    assert 0.01 < np.mean(unpaired) < 0.095


def test_a_difference_is_found():
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], 100)
    found = compare_models(labels, range(200), random.normal(size=200) + 2 * labels, random.normal(size=200))
    assert found.p_value < 1e-6
    assert found.low > 0.2


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="needs both classes"):
        compare_models([1, 1], [0, 1], [0.1, 0.2], [0.1, 0.2])
    with pytest.raises(ValueError, match="there are 2 labels"):
        compare_models([0, 1], [0, 1], [0.1, 0.2], [0.1])
