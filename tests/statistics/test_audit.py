"""The audit on small tables worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elsewhere.statistics.audit import (
    Leak,
    LeftOutRow,
    audit,
    counts,
    duplicates,
    facts_by_class,
    leaks,
    warn_of_left_out,
)
from elsewhere.studies.records import ScanRow
from study_rows import a_scan


def row(site: str, patient: str, scan: str, label: int | None, subset: str = "train", **facts: Any) -> ScanRow:
    given = {
        "rows": 512,
        "columns": 512,
        "slice_spacing_mm": 8.0,
        "padding_share": 0.1,
        "black_share": 0.1,
        "content_hash": f"{site}/{scan}",
        "prepared_hash": f"prepared {site}/{scan}",
        "maximum": 100,
        "source_slices": 10,
    }
    return a_scan(site=site, patient=patient, scan=scan, label=label, subset=subset, **given | facts)


ROWS = [
    row("A", "p1", "s1", 1),
    row("A", "p1", "s2", 1),
    row("A", "p2", "s3", 0, black_share=0.9),
    row("A", "p3", "s4", 0, "test"),
    row("B", "q1", "s1", 1, "test"),
]


def test_counts_are_patients_scans_and_slices() -> None:
    table = {(r.site, r.label, r.subset): (r.patients, r.scans, r.slices) for r in counts(ROWS)}
    assert table == {
        ("A", 0, "test"): (1, 1, 10),
        ("A", 0, "train"): (1, 1, 10),
        ("A", 1, "train"): (1, 2, 20),
        ("B", 1, "test"): (1, 1, 10),
    }


def test_facts_by_class_tell_lung_segmented_scans() -> None:
    facts = {(r.site, r.label): r for r in facts_by_class(ROWS)}
    assert facts["A", 0].lung_segmented_share == 0.5
    assert facts["A", 0].black_share == 0.5
    assert facts["A", 1].lung_segmented_share == 0.0
    assert facts["A", 1].matrix == "512 x 512"


def test_slices_are_those_of_the_scan_and_not_of_the_grid_it_was_resampled_to() -> None:
    rows = [row("A", f"p{i}", f"s{i}", 1, slices=24, source_slices=n) for i, n in enumerate((31, 47, 60))]
    assert facts_by_class(rows)[0].median_slices == 47
    assert counts(rows)[0].slices == 31 + 47 + 60


def test_warnings_name_one_class_sites_confounding_and_black_images() -> None:
    found = audit([*ROWS, *(row("B", f"q{i}", f"t{i}", 1) for i in range(9))])
    text = " ".join(found.warnings)
    assert "B has only positive scans" in text
    assert "a rule that knows only the site already reaches AUC" in text
    assert "50% of the negative scans look lung-segmented" in text
    # site A scores 2/4, site B 1: ten positives of B beat both negatives, two of A tie with them
    assert found.site_only_auc == pytest.approx((10 * 2 + 2 * 2 * 0.5) / (12 * 2))


def test_copies_and_leaks() -> None:
    rows = [*ROWS, row("A", "p4", "s5", 0, "test", content_hash="A/s1")]
    assert [[s.scan for s in group] for group in duplicates(rows)] == [["s1", "s5"]]
    assert leaks(rows) == (Leak("content", "A/s1 = A/s5", ("test", "train")),)
    moved = [*ROWS, row("A", "p1", "s9", 1, "test")]
    assert leaks(moved) == (Leak("patient", "A/p1", ("test", "train")),)
    assert leaks(ROWS) == ()
    assert "1 volume stands under more than one patient." in audit(rows).warnings
    two = [*rows, row("B", "q8", "s8", 0, content_hash="x"), row("B", "q9", "s9", 0, content_hash="x")]
    assert "2 volumes stand under more than one patient." in audit(two).warnings
    assert not any("more than one patient" in words for words in audit(ROWS).warnings)


def test_one_class_everywhere_has_no_site_only_auc() -> None:
    assert audit(ROWS[:2]).site_only_auc is None


def test_equal_prepared_voxels_are_copies_whatever_the_files_hold() -> None:
    """Grey saved as colour, or at another matrix: two files, and one picture to the network."""
    rows = [row("A", "p1", "s1", 1, prepared_hash="same"), row("A", "p2", "s2", 0, "test", prepared_hash="same")]
    assert leaks(rows) == (Leak("content", "A/s1 = A/s2", ("test", "train")),)
    chain = [*rows, row("B", "q1", "s3", 0, "test", content_hash="A/s2")]
    assert [[s.scan for s in group] for group in duplicates(chain)] == [["s1", "s2", "s3"]]
    flat = [replace(r, minimum=-1000, maximum=-1000) for r in rows]  # shows nothing: no copy of another empty one
    assert duplicates(flat) == ()
    assert duplicates([row("A", "p1", "s1", 1), row("A", "p2", "s2", 0)]) == ()


def said_of(rows: list[ScanRow], word: str) -> list[str]:
    return [sentence for sentence in audit(rows).warnings if word in sentence]


def test_a_table_with_a_patient_for_every_picture_is_named() -> None:
    alone = [row("A", f"p{i}", f"s{i}", i % 2, source_slices=1 + i % 2) for i in range(20)]
    assert said_of(alone, "every interval is too narrow")[0].startswith("A: 20 of 20 patients have one scan of one or")
    nearly = [*alone, row("A", "p0", "again", 0, source_slices=1)]
    assert said_of(nearly, "too narrow")[0].startswith("A: 19 of 20 patients")
    several = [row("A", f"p{i // 3}", f"s{i}", i % 2, source_slices=1) for i in range(21)]
    assert said_of(several, "too narrow") == []
    volumes = [row("A", f"p{i}", f"s{i}", i % 2, source_slices=3) for i in range(20)]
    assert said_of(volumes, "too narrow") == []
    assert said_of([*volumes, *(replace(r, site="B") for r in alone)], "too narrow")[0].startswith("B: ")


def test_what_is_left_out_is_compared_between_the_classes() -> None:
    """The shares of a real collection: colour pictures, 81 of 349 positives and 25 of 397 negatives."""
    used = [row("A", f"p{i}", f"p{i}", 1) for i in range(268)] + [row("A", f"n{i}", f"n{i}", 0) for i in range(372)]
    lost = [("A", 1)] * 81 + [("A", 0)] * 25
    found = audit(used, lost)
    assert found.left_out == (LeftOutRow("A", 0, 372, 25), LeftOutRow("A", 1, 268, 81))
    (said,) = [w for w in found.warnings if "could not be used" in w]
    assert said.startswith(
        "A: 81 of 349 positive scans (23%) and 25 of 397 negative scans (6%) could not be used (p = "
    )
    even = [("A", 1)] * 25 + [("A", 0)] * 30
    assert not any("could not be used" in w for w in audit(used, even).warnings)
    assert not any("could not be used" in w for w in audit(used, [("A", None)] * 90).warnings)
    assert warn_of_left_out([LeftOutRow("A", 1, 9, 9)]) == []  # one class: no comparison
    reversed_ = [(site, 1 - label) for site, label in lost]
    assert any("negative scans" in w and "could not" in w for w in audit(used, reversed_).warnings)


def test_what_nobody_learns_from_is_no_side_of_the_split() -> None:
    """A copy of an unlabelled scan, and a patient with one unlabelled scan beside two sides."""
    copy = [*ROWS, row("A", "p9", "s9", None, "unlabelled", content_hash="A/s1", prepared_hash="prepared A/s4")]
    assert leaks(copy) == ()  # the same voxels as a scan for training and as one for testing, through which they meet
    assert [[s.scan for s in group] for group in duplicates(copy)] == [["s1", "s4", "s9"]]
    three = [*ROWS, row("A", "p1", "s8", None, "unlabelled"), row("A", "p1", "s9", 1, "validation")]
    assert leaks(three) == (Leak("patient", "A/p1", ("train", "validation")),)
    assert leaks(three[:-1]) == ()


def test_a_site_of_unlabelled_scans_beside_labelled_ones_is_counted_and_not_warned_of() -> None:
    whole = audit([*ROWS, *(row("C", f"u{i}", f"u{i}", None, "unlabelled", black_share=0.9) for i in range(3))])
    assert {(r.site, r.label, r.scans) for r in whole.counts if r.site == "C"} == {("C", None, 3)}
    assert not any(words.startswith("C") for words in whole.warnings)
    assert whole.site_only_auc == audit(ROWS).site_only_auc
