"""Rows of the audit, and of what a simulation planted, that commands keep as JSON and pages show."""

from __future__ import annotations

from dataclasses import dataclass


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
