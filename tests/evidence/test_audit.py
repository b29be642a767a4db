"""The audit on small tables worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from elsewhere.evidence.audit import audit, counts, duplicates, facts_by_class, leaks


def row(site: str, patient: str, scan: str, label: int | None, subset: str = "train", **facts: Any) -> dict[str, Any]:
    return {
        "site": site,
        "patient": patient,
        "scan": scan,
        "label": label,
        "subset": subset,
        "slices": 10,
        "rows": 512,
        "columns": 512,
        "units": "HU",
        "slice_spacing_mm": 8.0,
        "padding_share": 0.1,
        "black_share": 0.1,
        "content_hash": f"{site}/{scan}",
        **facts,
    }


ROWS = [
    row("A", "p1", "s1", 1),
    row("A", "p1", "s2", 1),
    row("A", "p2", "s3", 0, black_share=0.9),
    row("A", "p3", "s4", 0, "test"),
    row("B", "q1", "s1", 1, "test"),
]


def test_counts_are_patients_scans_and_slices() -> None:
    table = {(r["site"], r["label"], r["subset"]): (r["patients"], r["scans"], r["slices"]) for r in counts(ROWS)}
    assert table == {
        ("A", 0, "test"): (1, 1, 10),
        ("A", 0, "train"): (1, 1, 10),
        ("A", 1, "train"): (1, 2, 20),
        ("B", 1, "test"): (1, 1, 10),
    }


def test_facts_by_class_tell_lung_segmented_scans() -> None:
    facts = {(r["site"], r["label"]): r for r in facts_by_class(ROWS)}
    assert facts["A", 0]["lung_segmented_share"] == 0.5
    assert facts["A", 0]["black_share"] == 0.5
    assert facts["A", 1]["lung_segmented_share"] == 0.0
    assert facts["A", 1]["matrix"] == "512 x 512"


def test_warnings_name_one_class_sites_confounding_and_black_images() -> None:
    found = audit([*ROWS, *(row("B", f"q{i}", f"t{i}", 1) for i in range(9))])
    text = " ".join(found["warnings"])
    assert "B has only positive scans" in text
    assert "a rule that knows only the site already reaches AUC" in text
    assert "50% of the negative scans look lung-segmented" in text
    # site A scores 2/4, site B 1: ten positives of B beat both negatives, two of A tie with them
    assert found["site_only_auc"] == pytest.approx((10 * 2 + 2 * 2 * 0.5) / (12 * 2))


def test_copies_and_leaks() -> None:
    rows = [*ROWS, row("A", "p4", "s5", 0, "test", content_hash="A/s1")]
    assert [[s["scan"] for s in group] for group in duplicates(rows)] == [["s1", "s5"]]
    assert leaks(rows) == [{"kind": "content", "what": "A/s1 = A/s5", "subsets": ["test", "train"]}]
    moved = [*ROWS, row("A", "p1", "s9", 1, "test")]
    assert leaks(moved) == [{"kind": "patient", "what": "A/p1", "subsets": ["test", "train"]}]
    assert leaks(ROWS) == []


def test_one_class_everywhere_has_no_site_only_auc() -> None:
    assert audit(ROWS[:2])["site_only_auc"] is None
