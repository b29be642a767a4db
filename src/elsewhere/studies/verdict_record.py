"""What verdict.json says: the verdict's numbers and what it was asked about; read back as far as it advises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elsewhere.errors import BadOption, BadStudy
from elsewhere.statistics.verdict import Verdict
from elsewhere.studies.known_model import Adjustment
from elsewhere.table_format import RecordFormat, from_json, to_json

VERDICT = RecordFormat("verdict", 1, (), "Run `elsewhere verdict` again")


@dataclass(frozen=True)
class UnusedScan:
    """A scan that could not be used.

    Attributes:
        scan: its file or id.
        reason: what is wrong with it.
        next_step: what to do about it.
    """

    scan: str
    reason: str
    next_step: str


@dataclass(frozen=True, kw_only=True)
class VerdictRecord:
    """What verdict.json says of its occasion, and what the verdict advises; fields with a default may be lacking.

    Attributes:
        action: as in `Verdict`, and so the next five.
        next_step: in one or two plain sentences.
        scans: that were scored.
        local_threshold: that it advises.
        local_intercept: that it advises.
        local_slope: that it advises.
        model: name of the model.
        site: name of the new site.
        trained_on: the model's training sites.
        checkpoint: hash of its weights.
        origin: "real", "repacked" or "simulated" data of the study behind the model.
        hospital: the hospital's name.
        date: day of the verdict (ISO).
        adjustment: of the model when it was asked; None for none.
        voxels: salted hashes of the labelled scans, sorted.
        bad_scans: that could not be used.
    """

    action: str = ""
    next_step: str = ""
    scans: int
    local_threshold: float | None = None
    local_intercept: float | None = None
    local_slope: float | None = None
    model: str = ""
    site: str = ""
    trained_on: tuple[str, ...] = ()
    checkpoint: str = ""
    origin: str = ""
    hospital: str = ""
    date: str = ""
    adjustment: Adjustment | None = None
    voxels: tuple[str, ...] = ()
    bad_scans: tuple[UnusedScan, ...] = ()


def write_verdict(path: Path, verdict: Verdict, record: VerdictRecord) -> None:
    """Keep a verdict with its occasion as verdict.json; the file appears whole or not at all."""
    found = verdict.to_record()
    VERDICT.write(path, found | {name: value for name, value in to_json(record).items() if name not in found})


def read_verdict(path: Path) -> VerdictRecord:
    """What a verdict.json says of its occasion, and what it advises.

    Raises:
        BadStudy: it is missing, damaged, of another format, or a field has another type or an impossible value.
    """
    content = VERDICT.read(path)
    try:
        return from_json(VerdictRecord, content)
    except (TypeError, BadOption) as error:
        raise BadStudy(path, f"is not a verdict of this form: {error}", VERDICT.next_step) from error
