"""Scans with their examinations in; findings, one flat record each, and a summary by site and class out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elsewhere.evidence.forensics.fingerprint import Fingerprint
from elsewhere.evidence.forensics.matching import Match, MatchSettings, find_matches

Row = Mapping[str, Any]

MATCHING = MatchSettings()
DIVIDED = ("train", "validation", "test")
COMPARED = ("kernel", "thickness_mm", "slices", "rows", "units", "manufacturer", "series", "date")
"""Facts whose difference says how two scans of one anatomy came to differ."""

DECLARED = {
    "HU": ("HU",),
    "ct_number": ("HU with an offset",),
    "relative": ("window", "soft-tissue window"),
}
"""Encodings that fit the units a scan was read with."""


def find_oddities(rows: Sequence[Row], settings: MatchSettings = MATCHING) -> list[dict[str, Any]]:
    """Everything odd about a study's scans, suspected leaks first.

    Args:
        rows: one mapping per scan with `site`, `patient`, `scan`, `label`, `subset`, `content_hash`, `units`, `facts`
            (a mapping), and `forensics`, what `examine` gave.
        settings: when two scans are of one anatomy.

    Returns:
        flat records: `finding` ("copy", "same anatomy", "slice order", "reversed", "encoding", "lung-segmented"),
        `site`, `patient`, `scan`, `subset`; for pairs `other_site`, `other_patient`, `other_scan`, `other_subset`,
        `shape` and `slices` (agreement), `suspected_leak`; and `detail`, in words.
    """
    pairs = sorted(
        _pairs(rows, settings),
        key=lambda r: (not r["suspected_leak"], r["site"] == r["other_site"] and r["patient"] == r["other_patient"]),
    )
    return [*pairs, *(oddity for row in rows for oddity in _oddities(row))]


def _pairs(rows: Sequence[Row], settings: MatchSettings) -> Iterator[dict[str, Any]]:
    fingerprints = [Fingerprint.from_text(row["forensics"]["fingerprint"]) for row in rows]
    for match in find_matches(fingerprints, settings):
        yield _pair(rows[match.first], rows[match.second], match)


def _pair(first: Row, second: Row, match: Match) -> dict[str, Any]:
    copy = first["content_hash"] == second["content_hash"]
    subsets = {first["subset"], second["subset"]}
    return {
        "finding": "copy" if copy else "same anatomy",
        **_names(first),
        **{f"other_{key}": value for key, value in _names(second).items()},
        "suspected_leak": len(subsets) > 1 and subsets <= set(DIVIDED),
        "shape": match.shape,
        "slices": match.slices,
        "detail": _pair_words(first, second, match, copy),
    }


def _names(row: Row) -> dict[str, Any]:
    return {key: row[key] for key in ("site", "patient", "scan", "subset")}


def _pair_words(first: Row, second: Row, match: Match, copy: bool) -> str:
    if first["site"] != second["site"]:
        whose = "two sites"
    else:
        whose = "the same patient" if first["patient"] == second["patient"] else "two patients"
    facts = [{**row["facts"], "encoding": row["forensics"]["encoding_kind"]} for row in (first, second)]
    differing = [
        f"{name} {facts[0][name]} / {facts[1][name]}"
        for name in (*COMPARED, "encoding")
        if facts[0].get(name) is not None and facts[1].get(name) is not None and facts[0][name] != facts[1][name]
    ]
    parts = ["equal voxels"] if copy else [*differing, *([match.turned()] if match.turned() else [])]
    return "; ".join([whose, *parts])


def _oddities(row: Row) -> Iterator[dict[str, Any]]:
    seen = row["forensics"]
    for fault in seen["order"]:
        yield {"finding": "slice order", **_names(row), "detail": fault["words"]}
    if seen["reversed"]:
        yield {"finding": "reversed", **_names(row), "detail": "the first slice looks like the lowest"}
    if seen["lung_segmented"]:
        yield {"finding": "lung-segmented", **_names(row), "detail": "everything but the lungs is black"}
    elif seen["encoding_kind"] not in DECLARED[row["units"]]:
        words = f"read as {row['units']}, looks like: {seen['encoding']}"
        yield {"finding": "encoding", **_names(row), "detail": words}


def summarise(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One record per site and class: how its scans look; a share that differs between classes gives the label away."""
    groups: dict[tuple[Any, Any], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["site"], row["label"]].append(row["forensics"])
    return [
        {
            "site": site,
            "label": label,
            "scans": len(group),
            "encoding": _counted(look["encoding_kind"] for look in group),
            "lung_segmented": _share(look["lung_segmented"] for look in group),
            "circle_padding": _share(look["padding"] == "circle" for look in group),
            "border_padding": _share(look["padding"] == "border" for look in group),
            "reversed": _share(look["reversed"] for look in group),
            "slice_order": _share(bool(look["order"]) for look in group),
        }
        for (site, label), group in sorted(groups.items(), key=str)
    ]


def warn_of_oddities(oddities: Sequence[Row]) -> list[str]:
    """Plain sentences on what was found, empty for nothing."""
    counts = Counter(oddity["finding"] for oddity in oddities)
    leaks = sum(bool(oddity.get("suspected_leak")) for oddity in oddities)
    strangers = sum(_of_strangers(oddity) for oddity in oddities)
    said = []
    if leaks:
        said.append(
            f"{leaks} pairs of scans on two sides of the split look like one patient's anatomy: suspected leaks, "
            "to be looked at one by one."
        )
    if strangers > leaks:
        said.append(f"{strangers} pairs of scans look like one patient's anatomy but stand under two patients.")
    for finding, words in SENTENCES.items():
        if counts[finding]:
            said.append(f"{counts[finding]} {words}")
    return said


SENTENCES = {
    "slice order": "scans seem to have slices repeated, out of order or missing.",
    "reversed": "scans seem to begin at the lowest slice instead of the highest.",
    "encoding": "scans do not look like what they were read as (HU, CT numbers or grey values).",
}


def _of_strangers(oddity: Row) -> bool:
    if "other_patient" not in oddity:
        return False
    return (oddity["site"], oddity["patient"]) != (oddity["other_site"], oddity["other_patient"])


def _share(flags: Iterator[bool]) -> float:
    values = list(flags)
    return round(sum(values) / len(values), 4)


def _counted(values: Iterator[str]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in Counter(values).most_common())
