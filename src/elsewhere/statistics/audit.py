"""Rows of a site table in, counts, duplicates, leaks and warnings out: what to know before any training.

Two scans of one patient, equal once they are prepared, on two sides of the split:

>>> from types import SimpleNamespace
>>> one = {"site": "A", "patient": "p1", "prepared_hash": "x", "minimum": -1000, "maximum": 400}
>>> scans = [SimpleNamespace(**one, scan=s, content_hash=s, subset=s) for s in ("train", "test")]
>>> equal_voxels(scans), [scan.subset for scan in duplicates(scans)[0]]
([[0, 1]], ['train', 'test'])
>>> leaks(scans)[0]
Leak(kind='patient', what='A/p1', subsets=('test', 'train'))
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol, TypeVar

from elsewhere.statistics.confounding import site_only_auc
from elsewhere.wording import numbered, verb

Value = TypeVar("Value", bound=Hashable)
MOSTLY_BLACK = 0.5

FLAT_SLICES = 2
"""A scan of so few slices is a single picture, or nearly: nothing in it tells which others are of its patient."""

ONE_PICTURE_SHARE = 0.95
"""From this share of a site's patients on, those with one such scan and no other, the site's patients are unknown."""

LEFT_OUT_SURE, LEFT_OUT_NOTABLE = 0.05, 0.05
"""What is left out differs between the classes: p at most the first (Fisher), shares at least the second apart."""


@dataclass(frozen=True)
class ScanName:
    """One scan of an audit.

    Attributes:
        site: its site.
        patient: patient id within the site.
        scan: scan id within the site.
        subset: "train", "validation", "test" or "unlabelled".
    """

    site: str
    patient: str
    scan: str
    subset: str


class AuditedScan(Protocol):
    """What the audit asks of one usable scan."""

    @property
    def site(self) -> str:
        """Name of its site."""

    @property
    def patient(self) -> str:
        """Patient id within the site."""

    @property
    def scan(self) -> str:
        """Scan id within the site."""

    @property
    def label(self) -> int | None:
        """1, 0 or None (unlabelled)."""

    @property
    def subset(self) -> str:
        """As in `ScanName`."""

    @property
    def content_hash(self) -> str:
        """Of the voxels as read."""

    @property
    def prepared_hash(self) -> str:
        """Of the voxels as prepared."""

    @property
    def minimum(self) -> int:
        """Lowest prepared value."""

    @property
    def maximum(self) -> int:
        """Highest prepared value."""

    @property
    def source_slices(self) -> int:
        """Slices as read."""

    @property
    def rows(self) -> int:
        """Of the matrix as read."""

    @property
    def columns(self) -> int:
        """Of the matrix as read."""

    @property
    def units(self) -> str:
        """Of the voxels as read."""

    @property
    def padding_share(self) -> float:
        """Share of padding, 0..1."""

    @property
    def black_share(self) -> float:
        """Share of black voxels, 0..1."""

    @property
    def slice_spacing_mm(self) -> float | None:
        """Distance of slices in mm; None where it is not told."""


@dataclass(frozen=True)
class CountRow:
    """Patients, scans and slices of one site, class and subset (paper, Table 1).

    Attributes:
        site: its name.
        label: 1, 0 or None (unlabelled).
        subset: as in `ScanName`.
        patients: number of them.
        scans: number of them.
        slices: of these scans, as read.
    """

    site: str
    label: int | None
    subset: str
    patients: int
    scans: int
    slices: int


@dataclass(frozen=True)
class FactsRow:
    """What no disease explains, of the scans of one site and class.

    Attributes:
        site: its name.
        label: 1, 0 or None (unlabelled).
        scans: number of them.
        median_slices: of a scan, as read.
        units: most frequent.
        matrix: most frequent, "rows x columns".
        slice_spacing_mm: most frequent; None where it is not told.
        padding_share: mean, 0..1.
        black_share: mean, 0..1.
        lung_segmented_share: share of the scans that are mostly black, 0..1.
    """

    site: str
    label: int | None
    scans: int
    median_slices: int
    units: str
    matrix: str
    slice_spacing_mm: float | None
    padding_share: float
    black_share: float
    lung_segmented_share: float


@dataclass(frozen=True)
class Leak:
    """A patient, or voxels, on two sides of the split.

    Attributes:
        kind: "patient" or "content".
        what: SITE/PATIENT, or every SITE/SCAN with these voxels, joined by " = ".
        subsets: where it stands, sorted.
    """

    kind: str
    what: str
    subsets: tuple[str, ...]


@dataclass(frozen=True)
class LeftOutRow:
    """Scans of one site and class that could and could not be used.

    Attributes:
        site: its name.
        label: 1 or 0.
        used: number of scans used.
        left_out: number of scans that could not be used.
    """

    site: str
    label: int
    used: int
    left_out: int


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that the audit of a table of scans says.

    Attributes:
        counts: by site, class and subset.
        facts: by site and class.
        duplicates: groups of scans with equal voxels.
        leaks: what stands on two sides of the split.
        site_only_auc: AUC of a rule that knows only the site; None with one class.
        left_out: by site and class.
        warnings: plain sentences.
    """

    counts: tuple[CountRow, ...]
    facts: tuple[FactsRow, ...]
    duplicates: tuple[tuple[ScanName, ...], ...]
    leaks: tuple[Leak, ...]
    site_only_auc: float | None
    left_out: tuple[LeftOutRow, ...] = ()
    warnings: tuple[str, ...]


def audit(rows: Sequence[AuditedScan], left_out: Sequence[tuple[str, int | None]] = ()) -> Audit:
    """Everything the audit says.

    Args:
        rows: the usable scans.
        left_out: (site, label) of each listed scan that could not be used.

    >>> from types import SimpleNamespace
    >>> numbers = ("minimum", "maximum", "source_slices", "rows", "columns", "padding_share", "black_share")
    >>> names = {"site": "A", "patient": "p1", "scan": "s1", "subset": "train", "content_hash": "a", "units": "HU"}
    >>> scan = SimpleNamespace(**dict.fromkeys(numbers, 0), **names, label=1, slice_spacing_mm=None)
    >>> audit([scan]).warnings[0][:25]
    'A has only positive scans'
    """
    labelled = [(row, row.label) for row in rows if row.label is not None]
    copies, lost = duplicates(rows), left_out_by_class(rows, left_out)
    return Audit(
        counts=counts(rows),
        facts=facts_by_class(rows),
        duplicates=copies,
        leaks=leaks(rows),
        site_only_auc=site_only_auc([row.site for row, _ in labelled], [label for _, label in labelled])
        if len({label for _, label in labelled}) == 2
        else None,
        left_out=lost,
        warnings=(*warnings([row for row, _ in labelled], copies), *warn_of_left_out(lost)),
    )


def counts(rows: Sequence[AuditedScan]) -> tuple[CountRow, ...]:
    """Patients, scans and slices per site, class and subset (paper, Table 1): positives first, in the order of use.

    >>> from types import SimpleNamespace
    >>> scan = SimpleNamespace(site="A", label=1, subset="train", patient="p1", source_slices=40)
    >>> counts([scan, scan])
    (CountRow(site='A', label=1, subset='train', patients=1, scans=2, slices=80),)
    """
    groups: dict[tuple[str, int | None, str], list[AuditedScan]] = defaultdict(list)
    for row in rows:
        groups[row.site, row.label, row.subset].append(row)
    sites, subsets = _sites(rows), ("train", "validation", "test", "unlabelled")
    return tuple(
        CountRow(
            *key,
            patients=len({r.patient for r in groups[key]}),
            scans=len(groups[key]),
            slices=sum(r.source_slices for r in groups[key]),
        )
        for key in sorted(groups, key=lambda k: (sites.index(k[0]), _rank(k[1]), subsets.index(k[2])))
    )


def facts_by_class(rows: Sequence[AuditedScan]) -> tuple[FactsRow, ...]:
    """How the classes of each site differ in what no disease explains: encoding, matrix, spacing, padding, black.

    >>> from types import SimpleNamespace
    >>> told = {"site": "A", "label": 1, "source_slices": 40, "units": "HU", "rows": 512, "columns": 512}
    >>> told |= {"slice_spacing_mm": 5.0, "padding_share": 0.2}
    >>> (found,) = facts_by_class([SimpleNamespace(**told, black_share=share) for share in (0.1, 0.9)])
    >>> found.matrix, found.black_share, found.lung_segmented_share
    ('512 x 512', 0.5, 0.5)
    """
    groups: dict[tuple[str, int | None], list[AuditedScan]] = defaultdict(list)
    for row in rows:
        groups[row.site, row.label].append(row)
    sites = _sites(rows)
    return tuple(_facts(*key, groups[key]) for key in sorted(groups, key=lambda k: (sites.index(k[0]), _rank(k[1]))))


def _facts(site: str, label: int | None, group: Sequence[AuditedScan]) -> FactsRow:
    return FactsRow(
        site=site,
        label=label,
        scans=len(group),
        median_slices=sorted(r.source_slices for r in group)[len(group) // 2],
        units=_commonest(r.units for r in group),
        matrix=_commonest(f"{r.rows} x {r.columns}" for r in group),
        slice_spacing_mm=_commonest(r.slice_spacing_mm for r in group),
        padding_share=round(fmean(r.padding_share for r in group), 4),
        black_share=round(fmean(r.black_share for r in group), 4),
        lung_segmented_share=round(fmean(r.black_share > MOSTLY_BLACK for r in group), 4),
    )


def duplicates(rows: Sequence[AuditedScan]) -> tuple[tuple[ScanName, ...], ...]:
    """Groups of scans whose voxels are equal, as read or as prepared."""
    return tuple(tuple(_name(rows[i]) for i in group) for group in equal_voxels(rows))


def _name(row: AuditedScan) -> ScanName:
    return ScanName(row.site, row.patient, row.scan, row.subset)


def equal_voxels(rows: Sequence[AuditedScan]) -> list[list[int]]:
    """Groups of row numbers whose voxels are equal, whatever the number of slices.

    Two files may differ (grey saved as colour, another matrix, values below the clip) and be one to the network: equal
    as read or equal as prepared is enough. Prepared volumes of one value only are no copies of each other: they show
    nothing.
    """
    group: list[int] = list(range(len(rows)))
    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        names = [("read", row.content_hash)]
        if row.minimum < row.maximum:
            names.append(("prepared", row.prepared_hash))
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


def leaks(rows: Sequence[AuditedScan]) -> tuple[Leak, ...]:
    """Patients, and equal volumes, that stand on two sides of the split."""
    subsets: dict[tuple[str, str], set[str]] = defaultdict(set)
    rows = [row for row in rows if row.subset != "unlabelled"]  # learned from by nobody, and judged by nothing
    for row in rows:
        subsets[row.site, row.patient].add(row.subset)
    by_patient = [
        Leak("patient", f"{site}/{patient}", tuple(sorted(found)))
        for (site, patient), found in sorted(subsets.items())
        if len(found) > 1
    ]
    by_content = [
        Leak("content", " = ".join(f"{s.site}/{s.scan}" for s in group), tuple(sorted(found)))
        for group in duplicates(rows)
        if len(found := {s.subset for s in group}) > 1
    ]
    return (*by_patient, *by_content)


def warnings(rows: Sequence[AuditedScan], copies: Sequence[Sequence[ScanName]]) -> list[str]:
    """Plain sentences about sites and labels that a reader must know before believing a score.

    >>> warnings([], [[ScanName("A", "p1", "s1", "train"), ScanName("B", "p9", "s1", "test")]])
    ['1 volume stands under more than one patient.']
    """
    return [*_one_class(rows), *_confounding(rows), *_black(rows), *_copies(copies), *_one_picture(rows)]


def left_out_by_class(
    rows: Sequence[AuditedScan], left_out: Sequence[tuple[str, int | None]]
) -> tuple[LeftOutRow, ...]:
    """Of each site and class with a label: scans used, and scans listed that could not be used.

    >>> from types import SimpleNamespace
    >>> left_out_by_class([SimpleNamespace(site="A", label=1)] * 9, [("A", 1)])
    (LeftOutRow(site='A', label=1, used=9, left_out=1),)
    """
    used, lost = Counter((r.site, r.label) for r in rows), Counter(left_out)
    classes = sorted({*used, *lost}, key=str)
    return tuple(
        LeftOutRow(site, label, used[site, label], lost[site, label]) for site, label in classes if label is not None
    )


def warn_of_left_out(records: Sequence[LeftOutRow]) -> list[str]:
    """One sentence for each site whose classes lost scans in shares that differ (Fisher's exact test, two-sided).

    >>> warn_of_left_out([LeftOutRow("A", 1, 10, 10), LeftOutRow("A", 0, 20, 0)])[0][:96]
    'A: 10 of 20 positive scans (50%) and 0 of 20 negative scans (0%) could not be used (p = 0.00044)'
    """
    from scipy.stats import fisher_exact  # noqa: PLC0415  (late: slow to import, and rarely needed)

    sentences = []
    for site in dict.fromkeys(r.site for r in records):
        by_label = {r.label: (r.left_out, r.used) for r in records if r.site == site}
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


def _one_class(rows: Sequence[AuditedScan]) -> list[str]:
    labels: dict[str, set[int | None]] = defaultdict(set)
    for row in rows:
        labels[row.site].add(row.label)
    return [
        f"{site} has only {_class(*found)} scans: no ROC or AUC is possible there, and a model that "
        "trains on it can learn the site instead of the disease."
        for site, found in sorted(labels.items())
        if len(found) == 1
    ]


def _class(label: int | None) -> str:
    return "positive" if label else "negative"


def _confounding(rows: Sequence[AuditedScan]) -> list[str]:
    if len({r.label for r in rows}) < 2 or len({r.site for r in rows}) < 2:
        return []
    auc = site_only_auc([r.site for r in rows], [r.label for r in rows if r.label is not None])
    if auc < 0.6:
        return []
    return [f"Site and label are confounded: a rule that knows only the site already reaches AUC {auc:.2f}."]


def _black(rows: Sequence[AuditedScan]) -> list[str]:
    return [
        f"{fact.site}: {fact.lung_segmented_share:.0%} of the {_class(fact.label)} scans look lung-segmented "
        "(everything but the lungs is black); where the share differs between classes, the background tells "
        "the label."
        for fact in facts_by_class(rows)
        if fact.lung_segmented_share >= 0.02
    ]


def _copies(copies: Sequence[Sequence[ScanName]]) -> list[str]:
    across = sum(len({(s.site, s.patient) for s in group}) > 1 for group in copies)
    stand = verb(across, "stands", "stand")
    return [f"{numbered(across, 'volume')} {stand} under more than one patient."] if across else []


def _one_picture(rows: Sequence[AuditedScan]) -> list[str]:
    """Sites whose table gives nearly every picture a patient of its own."""
    sentences = []
    for site in _sites(rows):
        scans: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            if row.site == site:
                scans[row.patient].append(row.source_slices)
        alone = sum(len(slices) == 1 and slices[0] <= FLAT_SLICES for slices in scans.values())
        if len(scans) > 1 and alone >= ONE_PICTURE_SHARE * len(scans):
            sentences.append(
                f"{site}: {alone} of {len(scans)} patients have one scan of one or two slices. If pictures of one "
                "patient stand under several ids, as in many two-dimensional collections, training and test share "
                "patients, and every interval is too narrow. Give all pictures of a patient one patient_id, or set the "
                "site option `patient` or `consecutive` (kind images)."
            )
    return sentences


def _sites(rows: Sequence[AuditedScan]) -> list[str]:
    """As the rows come."""
    return list(dict.fromkeys(row.site for row in rows))


def _rank(label: int | None) -> int:
    """Unlabelled and positive scans before negative ones."""
    return -1 if label is None else -label


def _commonest(values: Iterable[Value]) -> Value:
    return Counter(values).most_common(1)[0][0]
