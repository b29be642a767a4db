"""The audit's record and its rows, and of what a simulation planted, that commands keep as JSON and pages show."""

from __future__ import annotations

from dataclasses import dataclass, field

from elsewhere.statistics.audit import Audit
from elsewhere.table_format import MAY_LACK


@dataclass(frozen=True)
class RuleRow:
    """How well a rule of metadata and simple measures tells the classes apart (`confounding` in audit.json).

    Attributes:
        rule: what it knows, in words: "age and sex", "kernel".
        sites: whose scans: "all sites together" or a site's name.
        auc: by patients that the rule has not seen.
        p_value: by permutation of labels; None in records of early versions.
        permutations: number of them.
        n: number of scans.
        patients: number of patients.
        facts: names of the metadata that it knows, joined by ", ".
    """

    rule: str
    sites: str
    auc: float
    p_value: float | None = None
    permutations: int | None = None
    n: int | None = None
    patients: int | None = None
    facts: str = ""


@dataclass(frozen=True)
class TieRow:
    """What a simulation tied to the label at one site (`SITE.truth.json`).

    Attributes:
        site: the site's name.
        factor: of the acquisition or the patient.
        strength: 0 none .. 1 full.
        positives: how positives are scanned at strength 1; "" where no direction was kept.
        negatives: the same of negatives.
    """

    site: str
    factor: str
    strength: float
    positives: str = ""
    negatives: str = ""


@dataclass(frozen=True, kw_only=True)
class OddityRow:
    """Something odd about one scan, or about two (`forensics` in audit.json).

    Attributes:
        finding: "copy", "same anatomy", "near-duplicate", "slice order", "reversed", "encoding" or "lung-segmented".
        site: of the scan.
        patient: of the scan; None in records of early versions.
        scan: its id.
        subset: where it stands; None in records of early versions.
        other_site: of a pair's other scan; None, as all below but `detail`, for a single scan.
        other_patient: its patient.
        other_scan: its id.
        other_subset: where it stands.
        suspected_leak: whether a pair stands on two sides of the split.
        shape: agreement of two scans in shape, 0..1.
        slices: agreement in slices, 0..1.
        detail: what was seen, in words.
    """

    finding: str
    site: str
    patient: str | None = field(default=None, metadata=MAY_LACK)
    scan: str
    subset: str | None = field(default=None, metadata=MAY_LACK)
    other_site: str | None = field(default=None, metadata=MAY_LACK)
    other_patient: str | None = field(default=None, metadata=MAY_LACK)
    other_scan: str | None = field(default=None, metadata=MAY_LACK)
    other_subset: str | None = field(default=None, metadata=MAY_LACK)
    suspected_leak: bool | None = field(default=None, metadata=MAY_LACK)
    shape: float | None = field(default=None, metadata=MAY_LACK)
    slices: float | None = field(default=None, metadata=MAY_LACK)
    detail: str

    @property
    def is_pair(self) -> bool:
        """Whether it is about two scans."""
        return self.other_scan is not None

    @property
    def of_one_patient(self) -> bool:
        """Whether a pair's scans are of one patient."""
        return self.is_pair and (self.site, self.patient) == (self.other_site, self.other_patient)


@dataclass(frozen=True)
class LookRow:
    """How the scans of one site and class look (`looks` in audit.json); shares are 0..1 of the scans.

    Attributes:
        site: its name.
        label: 1, 0 or None (unlabelled).
        scans: number of them.
        encoding: kinds with their numbers, in words.
        lung_segmented: share in which everything but the lungs is black.
        circle_padding: share padded around a circle.
        border_padding: share padded at the border.
        reversed: share whose first slice looks like the lowest.
        slice_order: share with a fault of the slice order.
    """

    site: str
    label: int | None
    scans: int
    encoding: str
    lung_segmented: float
    circle_padding: float
    border_padding: float
    reversed: float
    slice_order: float


@dataclass(frozen=True)
class RepairRow:
    """A remark on a scan that was read or prepared with repairs.

    Attributes:
        site: its site.
        scan: its id.
        note: the remark.
    """

    site: str
    scan: str
    note: str


@dataclass(frozen=True, kw_only=True)
class AuditRecord(Audit):
    """What audit.json holds: the audit of the table of scans, and what `elsewhere audit` adds.

    Attributes:
        notes: remarks of the sites' readers.
        copies_left_out: number of copies of a scan under the same patient.
        repaired: remarks on scans.
        split_hash: of the split; "" in records of early versions.
        confounding: how well rules of metadata tell the classes apart; None, as all below, before `elsewhere audit`.
        forensics: what is odd about scans and pairs of scans, suspected leaks first.
        looks: how scans look, by site and class.
        audited: the key of what the last three were made from.
    """

    notes: tuple[str, ...]
    copies_left_out: int
    repaired: tuple[RepairRow, ...]
    split_hash: str = ""
    confounding: tuple[RuleRow, ...] | None = field(default=None, metadata=MAY_LACK)
    forensics: tuple[OddityRow, ...] | None = field(default=None, metadata=MAY_LACK)
    looks: tuple[LookRow, ...] | None = field(default=None, metadata=MAY_LACK)
    audited: str | None = field(default=None, metadata=MAY_LACK)
