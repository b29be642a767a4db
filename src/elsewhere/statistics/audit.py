"""Rows of a site table in, counts, duplicates, leaks and warnings out: what to know before any training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from elsewhere.statistics.confounding import site_only_auc
from elsewhere.wording import numbered, verb

Row = Mapping[str, Any]
SHARES = ("padding_share", "black_share")
MOSTLY_BLACK = 0.5

FLAT_SLICES = 2
"""A scan of so few slices is a single picture, or nearly: nothing in it tells which others are of its patient."""

ONE_PICTURE_SHARE = 0.95
"""From this share of a site's patients on, those with one such scan and no other, the site's patients are unknown."""

LEFT_OUT_SURE, LEFT_OUT_NOTABLE = 0.05, 0.05
"""What is left out differs between the classes: p at most the first (Fisher), shares at least the second apart."""


def audit(rows: Sequence[Row], left_out: Sequence[Row] = ()) -> dict[str, Any]:
    """Everything the audit says, JSON-able.

    Args:
        rows: one mapping per usable scan with `site`, `patient`, `scan`, `label` (1, 0), `subset`, `content_hash` (of
            the voxels as read), `prepared_hash` (as prepared), `minimum`, `maximum`, `source_slices`, `slices`,
            `rows`, `columns`, `units`, `padding_share`, `black_share`, `slice_spacing_mm`.
        left_out: `site` and `label` of each listed scan that could not be used.

    Returns:
        `counts` (rows of site, class, subset, patients, scans, slices as read), `facts` (rows by site and class),
        `duplicates` and `leaks` (lists of scans with equal content), `left_out` (rows of site and class),
        `site_only_auc`, `warnings` (sentences).

    >>> numbers = ("minimum", "maximum", "source_slices", "rows", "columns", "padding_share", "black_share")
    >>> names = {"site": "A", "patient": "p1", "scan": "s1", "subset": "train", "content_hash": "a", "units": "HU"}
    >>> audit([dict.fromkeys(numbers, 0) | names | {"label": 1}])["warnings"][0][:25]
    'A has only positive scans'
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
        "left_out": left_out_by_class(rows, left_out),
        "warnings": [*warnings(labelled, copies), *warn_of_left_out(left_out_by_class(rows, left_out))],
    }


def counts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Patients, scans and slices per site, class and subset (paper, Table 1).

    >>> row = {"site": "A", "label": 1, "subset": "train", "patient": "p1", "source_slices": 40}
    >>> counts([row, row | {"source_slices": 60}])
    [{'site': 'A', 'label': 1, 'subset': 'train', 'patients': 1, 'scans': 2, 'slices': 100}]
    """
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
            "slices": sum(r["source_slices"] for r in group),
        }
        for (site, label, subset), group in _in_order(rows, groups)
    ]


def facts_by_class(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """How the classes of each site differ in what no disease explains: encoding, matrix, spacing, padding, black.

    >>> row = {"site": "A", "label": 1, "source_slices": 40, "units": "HU", "rows": 512, "columns": 512}
    >>> found = facts_by_class([row | {"padding_share": 0.2, "black_share": share} for share in (0.1, 0.9)])[0]
    >>> found["matrix"], found["black_share"], found["lung_segmented_share"]
    ('512 x 512', 0.5, 0.5)
    """
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["site"], row["label"]].append(row)
    return [
        {
            "site": site,
            "label": label,
            "scans": len(group),
            "median_slices": sorted(r["source_slices"] for r in group)[len(group) // 2],
            "units": _commonest(r["units"] for r in group),
            "matrix": _commonest(f"{r['rows']} x {r['columns']}" for r in group),
            "slice_spacing_mm": _commonest(r.get("slice_spacing_mm") for r in group),
            **{share: round(fmean(r[share] for r in group), 4) for share in SHARES},
            "lung_segmented_share": round(fmean(r["black_share"] > MOSTLY_BLACK for r in group), 4),
        }
        for (site, label), group in _in_order(rows, groups)
    ]


def duplicates(rows: Sequence[Row]) -> list[list[dict[str, Any]]]:
    """Groups of scans whose voxels are equal, as read or as prepared, each scan as {site, patient, scan, subset}.

    >>> one = {"site": "A", "patient": "p1", "scan": "s1", "subset": "train", "content_hash": "a"}
    >>> one |= {"minimum": -1000, "maximum": 400, "prepared_hash": "x"}
    >>> [scan["patient"] for scan in duplicates([one, one | {"patient": "p2", "content_hash": "b"}])[0]]
    ['p1', 'p2']
    """
    return [[{k: rows[i][k] for k in ("site", "patient", "scan", "subset")} for i in g] for g in equal_voxels(rows)]


def equal_voxels(rows: Sequence[Row]) -> list[list[int]]:
    """Groups of row numbers whose voxels are equal, whatever the number of slices.

    Two files may differ (grey saved as colour, another matrix, values below the clip) and be one to the network: equal
    as read or equal as prepared is enough. Prepared volumes of one value only are no copies of each other: they show
    nothing.

    >>> row = {"content_hash": "a", "prepared_hash": "x", "minimum": -1000, "maximum": 400}
    >>> equal_voxels([row, row | {"content_hash": "b", "prepared_hash": "y"}, row | {"content_hash": "c"}])
    [[0, 2]]
    """
    group: list[int] = list(range(len(rows)))
    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        names = [("read", row["content_hash"])]
        if row["minimum"] < row["maximum"]:
            names.append(("prepared", row["prepared_hash"]))
        for name in names:
            _join(group, first.setdefault(name, i), i)
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(len(rows)):
        groups[_root(group, i)].append(i)
    return [members for members in groups.values() if len(members) > 1]


def _root(group: list[int], i: int) -> int:
    while group[i] != i:
        group[i] = group[group[i]]
        i = group[i]
    return i


def _join(group: list[int], first: int, second: int) -> None:
    low, high = sorted((_root(group, first), _root(group, second)))
    group[high] = low


def leaks(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Patients, and equal volumes, that stand on two sides of the split.

    >>> one = {"site": "A", "patient": "p1", "scan": "s1", "subset": "train", "content_hash": "a"}
    >>> one |= {"minimum": 0, "maximum": 0}
    >>> leaks([one, one | {"scan": "s2", "subset": "test", "content_hash": "b"}])
    [{'kind': 'patient', 'what': 'A/p1', 'subsets': ['test', 'train']}]
    """
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
    """Plain sentences about sites and labels that a reader must know before believing a score.

    >>> warnings([], [[{"site": "A", "patient": "p1"}, {"site": "B", "patient": "p9"}]])
    ['1 volume stands under more than one patient.']
    """
    return [*_one_class(rows), *_confounding(rows), *_black(rows), *_copies(copies), *_one_picture(rows)]


def left_out_by_class(rows: Sequence[Row], left_out: Sequence[Row]) -> list[dict[str, Any]]:
    """Of each site and class with a label: scans used, and scans listed that could not be used.

    >>> left_out_by_class([{"site": "A", "label": 1}] * 9, [{"site": "A", "label": 1}])
    [{'site': 'A', 'label': 1, 'used': 9, 'left_out': 1}]
    """
    used, lost = (Counter((r["site"], r["label"]) for r in group) for group in (rows, left_out))
    classes = sorted({*used, *lost}, key=str)
    return [
        {"site": site, "label": label, "used": used[site, label], "left_out": lost[site, label]}
        for site, label in classes
        if label is not None
    ]


def warn_of_left_out(records: Sequence[Row]) -> list[str]:
    """One sentence for each site whose classes lost scans in shares that differ (Fisher's exact test, two-sided).

    >>> lost, kept = {"label": 1, "used": 10, "left_out": 10}, {"label": 0, "used": 20, "left_out": 0}
    >>> warn_of_left_out([lost | {"site": "A"}, kept | {"site": "A"}])[0][:96]
    'A: 10 of 20 positive scans (50%) and 0 of 20 negative scans (0%) could not be used (p = 0.00044)'
    """
    from scipy.stats import fisher_exact  # noqa: PLC0415  (late: slow to import, and rarely needed)

    sentences = []
    for site in dict.fromkeys(r["site"] for r in records):
        by_label = {r["label"]: (r["left_out"], r["used"]) for r in records if r["site"] == site}
        if set(by_label) != {0, 1} or not any(lost for lost, _ in by_label.values()):
            continue
        p = float(fisher_exact([by_label[1], by_label[0]]).pvalue)
        shares = [lost / (lost + used) for lost, used in (by_label[1], by_label[0])]
        if p <= LEFT_OUT_SURE and abs(shares[0] - shares[1]) >= LEFT_OUT_NOTABLE:
            parts = [
                f"{by_label[label][0]} of {sum(by_label[label])} {name} scans ({share:.0%})"
                for label, name, share in ((1, "positive", shares[0]), (0, "negative", shares[1]))
            ]
            sentences.append(
                f"{site}: {' and '.join(parts)} could not be used (p = {p:.2g}): what is left out differs between the "
                "classes, so the scans that remain are a selection, and scores on them do not hold for the whole site. "
                "See bad_scans.csv for the reasons."
            )
    return sentences


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
                "(everything but the lungs is black); where the share differs between classes, the background tells "
                "the label."
            )
    return sentences


def _copies(copies: Sequence[Sequence[Row]]) -> list[str]:
    across = sum(len({(s["site"], s["patient"]) for s in group}) > 1 for group in copies)
    stand = verb(across, "stands", "stand")
    return [f"{numbered(across, 'volume')} {stand} under more than one patient."] if across else []


def _one_picture(rows: Sequence[Row]) -> list[str]:
    """Sites whose table gives nearly every picture a patient of its own."""
    sentences = []
    for site in dict.fromkeys(row["site"] for row in rows):
        scans: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            if row["site"] == site:
                scans[row["patient"]].append(row["source_slices"])
        alone = sum(len(slices) == 1 and slices[0] <= FLAT_SLICES for slices in scans.values())
        if len(scans) > 1 and alone >= ONE_PICTURE_SHARE * len(scans):
            sentences.append(
                f"{site}: {alone} of {len(scans)} patients have one scan of one or two slices. If pictures of one "
                "patient stand under several ids, as in many two-dimensional collections, training and test share "
                "patients, and every interval is too narrow. Give all pictures of a patient one patient_id, or set the "
                "site option `patient` or `consecutive` (kind images)."
            )
    return sentences


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
