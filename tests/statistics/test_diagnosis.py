"""Planted differences in; told apart, ranked and named in plain sentences, and nothing found where nothing is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from elsewhere.statistics.diagnosis import findings
from elsewhere.statistics.diagnosis.battery import permuted_aucs, rank
from elsewhere.statistics.diagnosis.findings import CAUSES, VIEWS, find, name_causes
from elsewhere.statistics.diagnosis.separation import (
    SeparationSettings,
    beyond,
    hanley_mcneil_error,
    separate,
)
from elsewhere.statistics.diagnosis.tested import (
    ClassSeparation,
    PartRanking,
    SaliencyShare,
    SiteSeparation,
    adjust,
)

QUICK = SeparationSettings(permutations=99)


def columns(n: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def test_groups_that_differ_are_told_apart() -> None:
    groups = np.arange(60) % 3 == 0
    view = columns(60, 5, 0)
    view[:, 2] += 6 * groups
    found = separate(view, groups, np.arange(60), QUICK)
    assert (found.auc, found.p_value, found.patients, found.permutations) == (1.0, 0.01, (20, 40), 99)
    assert found.low < 1 == found.high
    assert found.low > 0.85


@pytest.mark.parametrize("width", [2, 40, 150])
def test_nothing_is_found_in_noise(width: int) -> None:
    """Of 40 views of noise 5 % at p <= 0.05 are expected; seven or more come in 1 of 100 such tests."""
    groups, hits = np.arange(40) % 2, 0
    for seed in range(40):
        settings = SeparationSettings(permutations=99, seed=seed)
        hits += separate(columns(40, width, seed), groups, np.arange(40), settings).p_value <= 0.05
    assert hits <= 6


def test_one_telling_column_among_many_is_enough() -> None:
    view = columns(80, 200, 1)
    view[:, 150] += 2.0 * (np.arange(80) % 2)
    assert separate(view, np.arange(80) % 2, np.arange(80), QUICK).p_value == 0.01


def test_scans_of_a_patient_are_never_on_both_sides() -> None:
    """Views that name the patient and nothing else tell labels apart only where a patient is in both folds."""
    patients = np.repeat(np.arange(24), 5)
    view = np.eye(24)[patients] * 10 + columns(120, 24, 2) * 0.01
    labels = (np.random.default_rng(3).permutation(24) % 2)[patients]
    assert abs(separate(view, labels, patients, QUICK).auc - 0.5) < 0.35
    assert separate(view, labels, np.arange(120), QUICK).auc > 0.85


def test_a_patient_of_both_groups_counts_with_the_commoner() -> None:
    view = columns(40, 2, 4)
    groups = (np.arange(40) % 2).astype(int)
    view[:, 0] += 9 * groups
    people = np.concatenate([[0, 0, 0], np.arange(3, 40)])
    mixed = groups.copy()
    mixed[:3] = [1, 0, 1]
    view[:3, 0] += 9
    assert separate(view, mixed, people, QUICK).patients == (20, 18)


def test_folds_and_permutations_depend_on_the_seed_alone() -> None:
    view, groups = columns(30, 3, 5), np.arange(30) % 2
    first, again, other = (
        separate(view, groups, np.arange(30), SeparationSettings(permutations=49, seed=s)) for s in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_columns_that_never_differ_are_chance() -> None:
    found = separate(np.ones((20, 3)), np.arange(20) % 2, np.arange(20), QUICK)
    assert (found.auc, found.p_value) == (0.5, 1.0)


def test_power_grows_with_patients() -> None:
    powers = [separate(columns(n, 3, 6), np.arange(n) % 2, np.arange(n), QUICK).power for n in (16, 60, 240)]
    assert powers[0] < 0.6 < powers[1] < powers[2]
    assert powers[2] > 0.95


def test_power_is_the_share_that_is_found() -> None:
    """One normal column whose AUC is 0.70: power as stated and share of p <= 0.05 among 60 draws agree."""
    gap, found = 0.7416, []
    for seed in range(60):
        groups = np.arange(60) % 2
        view = columns(60, 1, 100 + seed) + gap * groups[:, None]
        found.append(separate(view, groups, np.arange(60), SeparationSettings(permutations=99, seed=seed)))
    stated, seen = np.mean([f.power for f in found]), np.mean([f.p_value <= 0.05 for f in found])
    assert stated == pytest.approx(seen, abs=0.15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": np.zeros(20)}, "both classes"),
        ({"groups": np.arange(20) < 3}, "a group has 3 patients; telling groups apart needs at least 4"),
        ({"view": np.full((20, 2), np.nan)}, "40 values that are NaN"),
        ({"view": np.zeros((19, 2))}, r"shape \(19, 2\); expected one row for each of 20"),
        ({"view": np.zeros((20, 0))}, "and columns"),
        ({"patients": np.arange(19)}, "patients have shape"),
    ],
)
def test_wrong_columns_are_refused(change: dict[str, Any], message: str) -> None:
    given = {"view": columns(20, 2, 0), "groups": np.arange(20) % 2, "patients": np.arange(20)}
    with pytest.raises(ValueError, match=message):
        separate(**given | change, settings=QUICK)


def test_hanley_and_mcneils_formula_by_hand() -> None:
    """AUC 0.75 of 50 and 50: Q1 = 0.6, Q2 = 0.642857; (0.1875 + 49 * 0.0375 + 49 * 0.080357) / 2500 = 0.048836 ** 2."""
    assert hanley_mcneil_error(0.75, 50, 50) == pytest.approx(0.048836, abs=1e-5)


def test_beyond_leaves_what_is_new() -> None:
    known, new = columns(200, 3, 7), columns(200, 1, 8)
    left = beyond(known @ np.ones((3, 1)) + new, known)
    assert abs(np.corrcoef(left[:, 0], new[:, 0])[0, 1]) > 0.99
    assert np.abs(beyond(known * 5 + 2, known)).max() < 0.3
    constant = np.ones((200, 1))
    np.testing.assert_allclose(beyond(new, constant), new - new.mean())


# The battery -------------------------------------------------------------------------------------------------------


def test_rank_is_scikit_learns_auc_and_its_direction_is_kept() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(50) % 2
    scores = random.normal(size=50) - 1.2 * labels
    found, null = rank(labels, np.arange(50), scores, 499)
    assert found.auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found.auc < 0.3
    assert found.p_value < 0.02
    assert (found.patients, found.scans) == (50, 50)
    assert null.auc == pytest.approx(0.5, abs=0.02)
    assert null.low < 0.4 < 0.6 < null.high
    assert null.p_value is None  # what the permutations give is not itself tested


def test_shuffled_labels_move_whole_patients() -> None:
    """Three scans of each patient with one score: as uncertain as one scan each."""
    random = np.random.default_rng(1)
    scores, labels = random.normal(size=30), np.arange(30) % 2
    once = permuted_aucs(labels, np.arange(30), scores, 400, 0)
    thrice = permuted_aucs(np.repeat(labels, 3), np.repeat(np.arange(30), 3), np.repeat(scores, 3), 400, 0)
    np.testing.assert_allclose(once, thrice)


def test_a_battery_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes"):
        rank(np.ones(5), np.arange(5), np.arange(5))


# Findings ----------------------------------------------------------------------------------------------------------


def cause(site: str, view: str, auc: float, p: float, **more: Any) -> ClassSeparation:
    ends = {"low": auc - 0.1, "high": min(auc + 0.1, 1), "power": 0.9}
    sizes = {"scans": 40, "patients": 40, "permutations": 0, "fact": ""}
    return ClassSeparation(site=site, view=view, auc=auc, p=p, **ends | sizes | more)


def apart(home: str, site: str, view: str, auc: float, p: float = 0.001, model: str = "") -> SiteSeparation:
    return SiteSeparation(home, site, view, model, auc, auc - 0.1, min(auc + 0.1, 1), p, 0.9, 20, 20, 0)


def test_the_strongest_cause_comes_first_and_the_other_site_is_told() -> None:
    rows = [
        cause("A", "background", 0.95, 0.0005),
        cause("A", "texture", 0.75, 0.001),
        cause("B", "background", 0.52, 0.4),
        cause("B", "texture", 0.5, 0.5),
    ]
    said = list(name_causes(adjust(rows)))
    assert [(f.site, f.cause, f.strength, f.p) for f in said] == [
        ("A", "background", 0.95, 0.002), ("A", "texture", 0.75, 0.003)
    ]  # fmt: skip
    assert said[0].sentence == (
        "The background outside the body (air, padding, tint) tells positive from negative at A without any lung: "
        "AUC 0.95 (95 % 0.85 to 1.00), p = 0.002; "
        "at B that was not shown (AUC 0.52, p = 0.800, power 90% for an AUC of 0.70)."
    )
    assert " also tells positive" in said[1].sentence


@pytest.mark.parametrize(
    ("auc", "p", "words"),
    [
        (0.61, 0.04, "at B that was not shown (AUC 0.61, p = 0.040 where a cause takes p of 0.02 or less, power 90%"),
        (0.58, 0.015, "(AUC 0.58, p = 0.015 where a cause takes an AUC of 0.60 or more, power 90%"),
        (0.58, 0.04, "p = 0.040 where a cause takes an AUC of 0.60 or more and p of 0.02 or less, power 90%"),
        (0.61, 0.30, "at B that was not shown (AUC 0.61, p = 0.300, power 90%"),
    ],
)
def test_a_small_p_that_names_no_cause_stands_beside_the_limit_it_misses(auc: float, p: float, words: str) -> None:
    named = next(name_causes(adjust([cause("A", "body", 0.9, 0.001), cause("B", "body", auc, p)])))
    assert words in named.sentence


def test_a_finding_needs_both_a_p_and_an_auc() -> None:
    rows = [cause("A", "body", 0.58, 0.0001), cause("A", "objects", 0.8, 0.015), cause("B", "body", 0.8, 0.021)]
    assert list(name_causes(adjust(rows))) == []
    assert len(list(name_causes(adjust(rows[1:2])))) == 1
    assert list(name_causes(adjust(rows[2:]))) == []


def test_the_same_cause_elsewhere_and_the_telling_fact_are_named() -> None:
    rows = [cause("A", "facts", 0.9, 0.001, fact="kernel"), cause("B", "facts", 0.8, 0.001, fact="")]
    first, second = (f.sentence for f in name_causes(adjust(rows)))
    assert "without any lung, most of it kernel: AUC 0.90" in first
    assert "; so it does at B (AUC 0.80); a network sees" in first
    assert "most of it" not in second


def shown(model: str, site: str, view: str, auc: float, p: float) -> PartRanking:
    return PartRanking(model, site, view, auc, auc - 0.1, auc + 0.1, p, 40, 40, 0)


def test_a_model_is_tied_to_the_cause_at_its_own_site() -> None:
    battery = [
        shown("A", "A", "whole", 0.9, 0.001), shown("A", "A", "label_shuffle", 0.5, 0.001),
        shown("A", "A", "lungs_erased", 0.85, 0.001), shown("A", "A", "border_only", 0.55, 0.6),
        shown("A", "B", "lungs_erased", 0.2, 0.001),
    ]  # fmt: skip
    causes = [cause("A", "facts", 0.99, 0.001), cause("A", "background", 0.8, 0.001)]
    said = [f for f in find(causes, [], battery, [], {"A": ("A",)}) if f.model]
    assert [(f.home, f.site, f.cause) for f in said] == [("A", "A", "background"), ("A", "B", "lungs_erased")]
    assert "its own site, with the lungs erased: AUC 0.85" in said[0].sentence
    assert (
        "(whole scans 0.90): some of its discrimination does not come from the lungs; it may use the background outside"
        in said[0].sentence
    )
    assert said[0].sentence.endswith("which alone reaches 0.80 there.")
    assert "may point the other way there than in training, or the scores are reversed" in said[1].sentence
    assert said[1].sentence.endswith("it was trained on no such pictures; no cause follows.")


@pytest.mark.parametrize("view", ["border_only", "lungs_erased"])
def test_reversed_scores_at_a_model_s_own_site_name_no_cause(view: str) -> None:
    """What it learned there cannot point the other way there: it is shown pictures that it never saw."""
    causes = [cause("A", "background", 0.8, 0.001)]
    (said,) = (f for f in find(causes, [], [shown("A", "A", view, 0.16, 0.001)], [], {"A": ("A",)}) if f.model)
    assert said.sentence.endswith("reversed on pictures unlike any that it was trained on; no cause follows.")
    assert said.cause == view
    (said,) = (f for f in find(causes, [], [shown("A", "A", view, 0.84, 0.001)], [], {"A": ("A",)}) if f.model)
    assert "reversed" not in said.sentence
    assert said.cause == "background"


def test_without_a_cause_that_was_found_none_is_named() -> None:
    battery = [shown("A", "A", "lungs_erased", 0.85, 0.001), shown("A", "B", "lungs_erased", 0.8, 0.001)]
    causes = [cause("A", "background", 0.55, 0.3)]
    own, other = (f.sentence for f in find(causes, [], battery, [], {"A": ("A",)}))
    assert own.endswith("some of its discrimination does not come from the lungs; from what was not found.")
    assert other.endswith(
        "a site it has not seen, with the lungs erased: AUC 0.80 (95 % 0.70 to 0.90), p = 0.002: "
        "some of its discrimination there does not come from the lungs."
    )
    weak = [shown("A", "A", "lungs_erased", 0.55, 0.001), shown("A", "B", "lungs_erased", 0.8, 0.2)]
    assert find(causes, [], weak, [], {"A": ("A",)}) == []


def test_a_body_that_tells_the_classes_apart_accuses_no_scanner() -> None:
    (body,) = name_causes(adjust([cause("A", "body", 0.9, 0.001)]))
    (facts,) = name_causes(adjust([cause("A", "facts", 0.9, 0.001)]))
    (air,) = name_causes(adjust([cause("A", "background", 0.9, 0.001)]))
    assert body.sentence.endswith(
        "size, age and sex of the patients, or what the disease does to them, show there too."
    )
    assert facts.sentence.endswith("a network sees of them only what they do to the picture.")
    assert air.sentence.endswith("p = 0.001.")
    battery = [shown("A", "A", "lungs_erased", 0.85, 0.001)]
    used = find([cause("A", "body", 0.9, 0.001)], [], battery, [], {"A": ("A",)})[1]
    assert "it may use the body outside the lungs (contrast agent, position, field of view)" in used.sentence
    assert "size, age and sex of the patients" in used.sentence


def test_a_p_at_the_floor_of_its_permutations_is_at_most_that() -> None:
    at, above = (cause("A", "body", 0.9, p, permutations=1999) for p in (1 / 2000, 2 / 2000))
    assert "p ≤ 0.0005" in next(name_causes(adjust([at]))).sentence
    assert "p = 0.001" in next(name_causes(adjust([above]))).sentence
    three = adjust([at, above, replace(above, p=0.5)])
    assert [r.p_holm for r in three] == pytest.approx([0.0015, 0.002, 0.5])
    assert [r.p_floor for r in three] == pytest.approx([0.0015, 0, 0])
    assert "p ≤ 0.002" in next(name_causes(three)).sentence


def test_a_test_without_a_p_belongs_to_no_family() -> None:
    with pytest.raises(ValueError, match="p-values must lie between 0 and 1"):
        adjust([replace(shown("A", "A", "label_shuffle", 0.5, 0.5), p=None)])


def test_nothing_is_said_of_what_a_degenerate_model_uses() -> None:
    battery = [shown("A", "A", "lungs_erased", 0.85, 0.001)]
    told = [apart("A", "B", "features", 0.95, model="A")]
    given = [], told, battery, looked(20, 0.1)
    assert {f.cause for f in find(*given, {"A": ("A",)})} == {"lungs_erased", "saliency", "features"}
    (said,) = find(*given, {"A": ("A",)}, degenerate={"A": "its scores hardly differ"})
    assert said.sentence == "Model A is degenerate: its scores hardly differ. What it uses is not asked."
    assert (said.model, said.site, said.cause, said.p) == ("A", "A", "degenerate", None)


def test_sites_told_apart_are_one_sentence_a_pair() -> None:
    rows = [
        apart("A", "B", "border", 0.9),
        apart("A", "B", "features", 0.95, model="A+B"),
        apart("A", "B", "facts", 0.5, 0.7),
    ]
    (said,) = find([], rows, [], [], {"A+B": ("A", "B")})
    assert (
        said.sentence
        == "A and B are told apart by (AUC): border, air and table alone 0.90, features of model A+B 0.95."
    )
    assert (said.home, said.site, said.cause, said.model) == ("A", "B", "border", "")


def looked(patients: int, inside: float) -> list[SaliencyShare]:
    random = np.random.default_rng(0)
    return [
        SaliencyShare("A", str(i), str(i), 1, "A", 0.5, inside + random.normal(0, 0.02), 0.2) for i in range(patients)
    ]


def test_saliency_outside_the_lungs_is_said() -> None:
    (said,) = find([], [], [], looked(20, 0.1), {"A": ("A",)})
    assert said.cause == "saliency"
    assert said.strength == pytest.approx(0.5, abs=0.05)
    assert (
        "10% of its saliency lies in the lungs, which take 20% of the picture: less than if it were spread evenly"
        in said.sentence
    )
    assert find([], [], [], looked(20, 0.2), {"A": ("A",)}) == []
    assert find([], [], [], looked(3, 0.1), {"A": ("A",)}) == []
    nothing = [replace(row, inside=None) for row in looked(20, 0.1)]
    assert find([], [], [], nothing, {"A": ("A",)}) == []


def test_every_view_has_words() -> None:
    assert set(findings.GLOBAL_PARTS + findings.LOCAL_PARTS) == set(CAUSES) - {"facts"}
    assert set(VIEWS) == {"features", "lungs_erased", "border", "facts", "lung_histogram"}
    assert adjust([]) == []
