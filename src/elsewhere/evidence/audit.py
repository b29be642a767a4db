"""Rows of a site table in, counts, duplicates, leaks and warnings out: what to know before any training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from elsewhere.evidence.confounding import site_only_auc

Row = Mapping[str, Any]
SHARES = ("padding_share", "black_share")
MOSTLY_BLACK = 0.5


def audit(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything the audit says, JSON-able.

    Args:
        rows: one mapping per usable scan with `site`, `patient`, `scan`, `label` (1, 0), `subset`, `content_hash`,
            `slices`, `rows`, `columns`, `units`, `padding_share`, `black_share`, `slice_spacing_mm`.

    Returns:
        `counts` (rows of site, class, subset, patients, scans, slices), `facts` (rows by site and class),
        `duplicates` and `leaks` (lists of scans with equal content), `site_only_auc`, `warnings` (sentences).
    """
    labelled = [row for row in rows if row["label"] is not None]
    copies = duplicates(rows)
    return {
        "counts": counts(rows),
        "facts": facts_by_class(rows),
        "duplicates": copies,
        "leaks": leaks(rows),
        "site_only_auc": site_only_auc([r["site"] for r in labelled], [r["label"] for r in labelled])
        if len({r["label"] for r in labelled}) == 2
        else None,
        "warnings": warnings(labelled, copies),
    }


def counts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Patients, scans and slices per site, class and subset (paper, Table 1)."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["site"], row["label"], row["subset"]].append(row)
    return [
        {
            "site": site,
            "label": label,
            "subset": subset,
            "patients": len({r["patient"] for r in group}),
            "scans": len(group),
            "slices": sum(r["slices"] for r in group),
        }
        for (site, label, subset), group in _in_order(rows, groups)
    ]


def facts_by_class(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How the classes of each site differ in what no disease explains: encoding, matrix, spacing, padding, black."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["site"], row["label"]].append(row)
    return [
        {
            "site": site,
            "label": label,
            "scans": len(group),
            "median_slices": sorted(r["slices"] for r in group)[len(group) // 2],
            "units": _commonest(r["units"] for r in group),
            "matrix": _commonest(f"{r['rows']} x {r['columns']}" for r in group),
            "slice_spacing_mm": _commonest(r.get("slice_spacing_mm") for r in group),
            **{share: round(fmean(r[share] for r in group), 4) for share in SHARES},
            "lung_segmented_share": round(fmean(r["black_share"] > MOSTLY_BLACK for r in group), 4),
        }
        for (site, label), group in _in_order(rows, groups)
    ]


def duplicates(rows: Iterable[Row]) -> list[list[dict[str, Any]]]:
    """Groups of scans whose voxels are equal, each scan as {site, patient, scan, subset}."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["content_hash"]].append({k: row[k] for k in ("site", "patient", "scan", "subset")})
    return [group for group in groups.values() if len(group) > 1]


def leaks(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Patients, and equal volumes, that stand on two sides of the split."""
    subsets: dict[tuple[str, str], set[str]] = defaultdict(set)
    rows = [row for row in rows if row["subset"] != "unlabelled"]  # learned from by nobody, and judged by nothing
    for row in rows:
        subsets[row["site"], row["patient"]].add(row["subset"])
    by_patient = [
        {"kind": "patient", "what": f"{site}/{patient}", "subsets": sorted(found)}
        for (site, patient), found in sorted(subsets.items())
        if len(found) > 1
    ]
    by_content = [
        {"kind": "content", "what": " = ".join(f"{s['site']}/{s['scan']}" for s in group), "subsets": sorted(found)}
        for group in duplicates(rows)
        if len(found := {s["subset"] for s in group}) > 1
    ]
    return by_patient + by_content


def warnings(rows: Sequence[Row], copies: Sequence[Sequence[Row]]) -> list[str]:
    """Plain sentences about sites and labels that a reader must know before believing a score."""
    return [*_one_class(rows), *_confounding(rows), *_black(rows), *_copies(copies)]


def _one_class(rows: Sequence[Row]) -> list[str]:
    labels: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        labels[row["site"]].add(row["label"])
    names = {1: "positive", 0: "negative"}
    return [
        f"{site} has only {names[next(iter(found))]} scans: no ROC or AUC is possible there, and a model that "
        "trains on it can learn the site instead of the disease."
        for site, found in sorted(labels.items())
        if len(found) == 1
    ]


def _confounding(rows: Sequence[Row]) -> list[str]:
    if len({r["label"] for r in rows}) < 2 or len({r["site"] for r in rows}) < 2:
        return []
    auc = site_only_auc([r["site"] for r in rows], [r["label"] for r in rows])
    if auc < 0.6:
        return []
    return [f"Site and label are confounded: a rule that knows only the site already reaches AUC {auc:.2f}."]


def _black(rows: Sequence[Row]) -> list[str]:
    sentences = []
    for fact in facts_by_class(rows):
        if fact["lung_segmented_share"] >= 0.02:
            label = "positive" if fact["label"] else "negative"
            sentences.append(
                f"{fact['site']}: {fact['lung_segmented_share']:.0%} of the {label} scans look lung-segmented "
                "(everything but the lungs is black); where the share differs between classes, the background "
                "gives the label away."
            )
    return sentences


def _copies(copies: Sequence[Sequence[Row]]) -> list[str]:
    across = sum(len({(s["site"], s["patient"]) for s in group}) > 1 for group in copies)
    return [f"{across} volumes stand under more than one patient."] if across else []


def _in_order(rows: Sequence[Row], groups: Mapping[tuple[Any, ...], list[Row]]) -> list[tuple[Any, list[Row]]]:
    """Groups by site as the rows come, positives first, then by subset in the order of use."""
    sites = list(dict.fromkeys(row["site"] for row in rows))
    subsets = ("train", "validation", "test", "unlabelled")

    def place(key: tuple[Any, ...]) -> tuple[Any, ...]:
        site, label, *subset = key
        return sites.index(site), -1 if label is None else -label, [subsets.index(s) for s in subset]

    return sorted(groups.items(), key=lambda item: place(item[0]))


def _commonest(values: Iterable[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]
