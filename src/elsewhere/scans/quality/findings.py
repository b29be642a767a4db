"""Scans with their examinations in; findings, one row each, and a summary by site and class out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Protocol

from elsewhere.audit_rows import LookRow, OddityRow
from elsewhere.scans.quality.examination import Examination
from elsewhere.scans.quality.fingerprint import FEWEST_SLICES, FingerprintFile
from elsewhere.scans.quality.matching import Match, find_matches
from elsewhere.scans.scan import Fact
from elsewhere.statistics.audit import AuditedScan, equal_voxels
from elsewhere.wording import numbered, verb

DIVIDED = ("train", "validation", "test")
COMPARED = ("kernel", "thickness_mm", "slices", "rows", "units", "manufacturer", "series", "date")
"""Facts whose difference says how two scans of one anatomy came to differ."""

DECLARED = {
    "HU": ("HU",),
    "ct_number": ("HU with an offset",),
    "relative": ("window", "soft-tissue window"),
}
"""Encodings that fit the units a scan was read with."""


WINDOW_ERROR, FEWEST_WINDOWS = 200, 5
"""HU, of the median over a site's scans (one errs by up to 220: docs, forensics tables); and at least so many scans."""


class SeenScan(AuditedScan, Protocol):
    """A scan of an audit, with its metadata and what its voxels say of themselves."""

    @property
    def facts(self) -> Mapping[str, Fact]:
        """Metadata of its tables and headers, and what was measured."""

    @property
    def forensics(self) -> Examination:
        """What `examine` gave; its fingerprint may be left out."""


def find_oddities(
    rows: Sequence[SeenScan],
    texts: Callable[[], Iterable[str]] | None = None,
    tick: Callable[[float, str], None] = lambda *_: None,
) -> tuple[OddityRow, ...]:
    """Everything odd about a study's scans, suspected leaks first and pairs of one patient last.

    Args:
        rows: the scans.
        texts: gives the fingerprints of the scans, as texts; None where `forensics` has them.
        tick: called now and then with the share of the pairs that are compared, and no text.
    """
    pairs = sorted(
        _pairs(rows, texts or (lambda: (row.forensics.fingerprint for row in rows)), tick),
        key=lambda r: (not r.suspected_leak, r.of_one_patient),
    )
    return (*pairs, *(oddity for row in rows for oddity in _oddities(row)))


def _pairs(
    rows: Sequence[SeenScan], texts: Callable[[], Iterable[str]], tick: Callable[[float, str], None]
) -> Iterator[OddityRow]:
    """Copies by their voxels, whatever they show; then what looks alike.

    Of copies, and of single pictures that look alike, not every pair is told: in a collection of neighbouring slices
    there are thousands. A scan is told with the first of its copies, and with its nearest twin on its own side of the
    split and on another.
    """
    copies = list(_copies(rows))
    for first, second in copies:
        yield _pair(rows[first], rows[second], None)
    together = _groups_of(copies)
    matches = [
        m
        for m in find_matches(FingerprintFile(texts()), tick=lambda share: tick(share, ""))
        if together.get(m.first, -1) != together.get(m.second)
    ]
    nearest: dict[tuple[int, bool], Match] = {}
    for match in sorted(matches, key=lambda m: -m.shape):
        if match.single:
            across = _is_leak(rows[match.first], rows[match.second])
            nearest.setdefault((match.first, across), match)
            nearest.setdefault((match.second, across), match)
    for match in [*(m for m in matches if not m.single), *dict.fromkeys(nearest.values())]:
        yield _pair(rows[match.first], rows[match.second], match)


def _copies(rows: Sequence[SeenScan]) -> Iterator[tuple[int, int]]:
    """(first, further) of each group of scans whose voxels are equal as read or as prepared."""
    for group in equal_voxels(rows):
        yield from ((group[0], other) for other in group[1:])


def _groups_of(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Scan -> the first of its copies, for the scans that have one."""
    return {scan: first for first, other in pairs for scan in (first, other)}


def _is_leak(first: SeenScan, second: SeenScan) -> bool:
    subsets = {first.subset, second.subset}
    return len(subsets) > 1 and subsets <= set(DIVIDED)


def _pair(first: SeenScan, second: SeenScan, match: Match | None) -> OddityRow:
    kind = "copy" if match is None else "near-duplicate" if match.single else "same anatomy"
    return OddityRow(
        finding=kind,
        site=first.site,
        patient=first.patient,
        scan=first.scan,
        subset=first.subset,
        other_site=second.site,
        other_patient=second.patient,
        other_scan=second.scan,
        other_subset=second.subset,
        suspected_leak=_is_leak(first, second),
        shape=1.0 if match is None else match.shape,
        slices=1.0 if match is None else match.slices,
        detail=_pair_words(first, second, match),
    )


def _pair_words(first: SeenScan, second: SeenScan, match: Match | None) -> str:
    if first.site != second.site:
        whose = "two sites"
    else:
        whose = "the same patient" if first.patient == second.patient else "two patients"
    facts = [{**row.facts, "encoding": row.forensics.encoding_kind} for row in (first, second)]
    differing = [
        f"{name} {facts[0][name]} / {facts[1][name]}"
        for name in (*COMPARED, "encoding")
        if facts[0].get(name) is not None and facts[1].get(name) is not None and facts[0][name] != facts[1][name]
    ]
    if match is None:
        same = first.content_hash == second.content_hash
        return f"{whose}; equal voxels{'' if same else ' once prepared'}"
    turned = [match.turned()] if match.turned() else []
    level = ["one level of one body: copies or neighbouring slices"] if match.single else []
    return "; ".join([whose, *level, *differing, *turned])


def _oddities(row: SeenScan) -> Iterator[OddityRow]:
    seen = row.forensics
    for fault in seen.order:
        yield _single("slice order", row, fault.words)
    if seen.reversed:
        yield _single("reversed", row, "the first slice looks like the lowest")
    if seen.lung_segmented:
        yield _single("lung-segmented", row, "everything but the lungs is black")
    elif seen.encoding_kind not in DECLARED[row.units]:
        yield _single("encoding", row, f"read as {row.units}, looks like: {seen.encoding}")


def _single(finding: str, row: SeenScan, detail: str) -> OddityRow:
    return OddityRow(
        finding=finding, site=row.site, patient=row.patient, scan=row.scan, subset=row.subset, detail=detail
    )


def summarise(rows: Sequence[SeenScan]) -> tuple[LookRow, ...]:
    """One row per site and class: how its scans look; a share that differs between classes tells the label."""
    groups: dict[tuple[str, int | None], list[Examination]] = defaultdict(list)
    for row in rows:
        groups[row.site, row.label].append(row.forensics)
    return tuple(
        LookRow(
            site=site,
            label=label,
            scans=len(group),
            encoding=_counted(look.encoding_kind for look in group),
            lung_segmented=_share(look.lung_segmented for look in group),
            circle_padding=_share(look.padding == "circle" for look in group),
            border_padding=_share(look.padding == "border" for look in group),
            reversed=_share(look.reversed for look in group),
            slice_order=_share(bool(look.order) for look in group),
        )
        for (site, label), group in sorted(groups.items(), key=lambda item: str(item[0]))
    )


def warn_of_oddities(oddities: Sequence[OddityRow], rows: Sequence[SeenScan] = ()) -> list[str]:
    """Plain sentences on what was found, empty for nothing.

    Args:
        oddities: from `find_oddities`.
        rows: the scans that they were found among, for shares and for the windows of grey values.
    """
    counts = Counter(oddity.finding for oddity in oddities)
    leaks = sum(bool(oddity.suspected_leak) for oddity in oddities)
    strangers = sum(oddity.is_pair and not oddity.of_one_patient for oddity in oddities)
    said = list(_twins(oddities, rows))
    if leaks:
        said.append(
            f"{numbered(leaks, 'pair')} of scans on two sides of the split {verb(leaks, 'looks', 'look')} like one "
            "patient's anatomy: suspected leaks, to be looked at one by one."
        )
    if strangers > leaks:
        said.append(
            f"{numbered(strangers, 'pair')} of scans {verb(strangers, 'looks', 'look')} like one patient's anatomy but "
            f"{verb(strangers, 'stands', 'stand')} under two patients."
        )
    for finding, (one, many) in SENTENCES.items():
        if counts[finding]:
            said.append(f"1 {one}" if counts[finding] == 1 else f"{counts[finding]} {many}")
    return [*said, *_windows(rows)]


def _twins(oddities: Sequence[OddityRow], rows: Sequence[SeenScan]) -> Iterator[str]:
    """How much of each site's single-picture test scans has a twin on the side that a network learns from."""
    tested: dict[str, int] = Counter(row.site for row in rows if row.subset == "test" and _is_single(row))
    twins: dict[str | None, set[str | None]] = defaultdict(set)
    for oddity in oddities:
        if oddity.finding in ("copy", "near-duplicate") and oddity.suspected_leak:
            if oddity.subset == "test":
                twins[oddity.site].add(oddity.scan)
            if oddity.other_subset == "test":
                twins[oddity.other_site].add(oddity.other_scan)
    for site, count in tested.items():
        if twins[site]:
            found = len(twins[site])
            yield (
                f"{site}: {found} of {count} test scans ({found / count:.0%}) of one or two slices have a copy or a "
                "neighbouring slice on the training side. Discrimination (AUC) and accuracy there can be too high, and "
                "are not those on new patients: give all pictures of a patient one patient id (site options `patient` "
                "and `consecutive`)."
            )


def _is_single(row: SeenScan) -> bool:
    return row.source_slices < FEWEST_SLICES


def _windows(rows: Sequence[SeenScan]) -> Iterator[str]:
    """Sites whose grey values look cut with another window than the one they were turned into HU with."""
    sites: dict[str, list[tuple[tuple[float, float], tuple[float, float]]]] = defaultdict(list)
    for row in rows:
        low, high = row.facts.get("window_low"), row.facts.get("window_high")
        if row.forensics.window and low is not None and high is not None:
            sites[row.site].append((row.forensics.window, (float(low), float(high))))
    for site, group in sites.items():
        seen = [median(window[end] for window, _ in group) for end in (0, 1)]
        taken = [median(window[end] for _, window in group) for end in (0, 1)]
        if len(group) >= FEWEST_WINDOWS and max(abs(seen[0] - taken[0]), abs(seen[1] - taken[1])) > WINDOW_ERROR:
            yield (
                f"{site}: its grey values look cut with a window of about {seen[0]:.0f} to {seen[1]:.0f} HU (median of "
                f"{len(group)} scans), but were turned into HU with {taken[0]:.0f} to {taken[1]:.0f}. If the site's "
                f"window is known, set the site option `window = [low, high]`."
            )


SENTENCES = {
    "slice order": (
        "scan seems to have slices repeated, out of order or missing.",
        "scans seem to have slices repeated, out of order or missing.",
    ),
    "reversed": (
        "scan seems to begin at the lowest slice instead of the highest.",
        "scans seem to begin at the lowest slice instead of the highest.",
    ),
    "encoding": (
        "scan does not look like what it was read as (HU, CT numbers or grey values).",
        "scans do not look like what they were read as (HU, CT numbers or grey values).",
    ),
}


def _share(flags: Iterator[bool]) -> float:
    values = list(flags)
    return round(sum(values) / len(values), 4)


def _counted(values: Iterator[str]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in Counter(values).most_common())
