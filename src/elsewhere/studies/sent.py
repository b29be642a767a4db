"""What a hospital wrote returns of, kept there and never sent: so that two that differ in a few scans are noticed.

Who holds two returns of scans that differ in one can work out that scan's score: the difference of two sums.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from elsewhere.errors import BadStudy
from elsewhere.table_format import RecordFormat
from elsewhere.wording import numbered, verb

TOO_FEW = 5
"""Two returns should differ in no scan, or in this many or more."""

AGAIN = "Remove it, and take care not to send two returns that differ in a few scans"
SENT = RecordFormat("sent returns", 1, ("returns",), AGAIN)


@dataclass(frozen=True)
class Sent:
    """One return that was written.

    Attributes:
        date: day on which it was computed (ISO).
        sha256: of the file.
        scans: hashes of the voxels of the scans that it is of, as read.
    """

    date: str
    sha256: str
    scans: tuple[str, ...]


def read_sent(file: Path) -> tuple[Sent, ...]:
    """The returns that were written from a folder of prepared scans, the oldest first; none where there is no record.

    Raises:
        BadStudy: the record is damaged.
    """
    if not file.is_file():
        return ()
    try:
        return TypeAdapter(tuple[Sent, ...]).validate_python(SENT.read(file)["returns"])
    except ValidationError as error:
        raise BadStudy(file, "holds other values", AGAIN) from error


def keep_sent(file: Path, earlier: Sequence[Sent], new: Sent) -> None:
    """Add a return to the record."""
    SENT.write(file, {"returns": [asdict(one) for one in (*earlier, new)]})


def too_alike(earlier: Sequence[Sent], scans: Collection[str]) -> list[str]:
    """A sentence for each earlier return that differs from these scans in a few of them alone."""
    said = []
    for one in earlier:
        changed = len(set(one.scans) ^ set(scans))
        if 0 < changed < TOO_FEW:
            said.append(
                f"The return of {one.date} (SHA-256 {one.sha256[:16]}) is of scans that differ from these in "
                f"{numbered(changed, 'scan')}: whoever holds both can work out the {verb(changed, 'score', 'scores')} "
                f"of {verb(changed, 'that scan', 'those scans')}. Send only one of them."
            )
    return said
