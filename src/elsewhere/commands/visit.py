"""`elsewhere visit`: at a hospital whose scans may not leave, score a kit's models, and write what may leave."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands import Workers
from elsewhere.errors import BadOption
from elsewhere.scans.sites import KINDS
from elsewhere.studies.kit import Kit, check_hospital, read_kit
from elsewhere.studies.new_site import new_site, read_options
from elsewhere.studies.returned import FEWEST_PATIENTS, Return, named, rounded, text_of, write_return
from elsewhere.studies.sent import Sent, keep_sent, read_sent, too_alike
from elsewhere.studies.visiting import visit_site

NOT_NAMED, SENT_FILE = "visit", "returns_written.json"
REFUSED = 10
"""Exit code where whoever was asked said no."""

FEWEST_DIGITS = 3
NOT_PROTECTED = (
    "Not protected: who knows all of these scans but one, or gets two returns that differ in one scan, can work out "
    "that scan's share in every number; --digits 4 makes that coarse. docs/how-to/visit.md says more."
)


@dataclass(frozen=True)
class Visit:
    """What a visit gave.

    Attributes:
        returned: all that would leave.
        file: where it was written; None where the answer was no.
        sha256: of that file; "" without one.
    """

    returned: Return
    file: Path | None
    sha256: str = ""

    @property
    def exit_code(self) -> int:
        """0, or 10 where nothing was written."""
        return REFUSED if self.file is None else 0

    def to_record(self) -> dict[str, object]:
        """JSON-able."""
        return {"file": self.file and str(self.file), "sha256": self.sha256, "return": asdict(self.returned)}


def visit(
    kit: Annotated[Path, typer.Argument(help="The kit (.zip) that the study gave you.")],
    scans: Annotated[Path, typer.Argument(help="Folder of your scans.")],
    *,
    kind: Annotated[str | None, typer.Option(help=f"File format of the scans: {', '.join(KINDS)} [dicom].")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels table [the one in the folder].")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Site option KEY=VALUE, as units=HU; repeatable.")] = None,
    hospital: Annotated[str, typer.Option(help="Your hospital's name, for the study's page [made from numbers].")] = "",
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("return.json"),
    work: Annotated[Path | None, typer.Option(help="Folder for prepared scans (patient data) [runs/KIT].")] = None,
    digits: Annotated[int | None, typer.Option(help="Cut every number to so many digits, 3 or more [all].")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: write what is shown.")] = False,
    workers: Workers = None,
) -> Visit:
    """Score a kit's models on your scans, here, without network; show all that would leave, ask, write return.json.

    In it are counts, scores with intervals, a coarse ROC curve: no scan, id, path, or score of a single scan. A class
    of fewer than ten patients leaves counts alone. Research use only.

    Exit codes: 0 written, 10 you said no and nothing was written, 1 error.
    """
    _check(out, hospital, digits, yes)
    found = read_kit(kit)
    name = _name(found, hospital)
    site = replace(new_site(scans, kind, labels, read_options(option or ())), name=name or NOT_NAMED)
    place = work or Path("runs") / kit.stem
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    earlier = read_sent(place / SENT_FILE)
    visited, hashes = visit_site(kit, found, site, place, day=today, workers=workers)
    made = named(visited, name)
    if digits is not None:
        made = rounded(made, digits)
    _show(made)
    for sentence in too_alike(earlier, hashes):
        engine.say(sentence, "Warning:", "red")
    if not (yes or typer.confirm(f"Write exactly this to {out}?", err=True)):
        engine.say("Nothing was written.")
        return Visit(made, None)
    sha = write_return(out, made)
    keep_sent(place / SENT_FILE, earlier, Sent(today, sha, hashes))
    engine.say(f"{out} ({out.stat().st_size / 1000:.1f} kB, SHA-256 {sha[:16]})", "Written:")
    engine.say("Send this file, and nothing else; the study's people see the same number when they gather it.")
    return Visit(made, out, sha)


def _check(out: Path, hospital: str, digits: int | None, yes: bool) -> None:
    """Refuse, before hours of work, what would not end well."""
    check_hospital("--hospital", hospital)
    if digits is not None and digits < FEWEST_DIGITS:
        raise BadOption("--digits", f"must be {FEWEST_DIGITS} or more, is {digits}", "Fewer would move the results")
    if out.exists():
        raise BadOption(str(out), "is there already", "Give another file with --out, or move it away")
    if not yes and (engine.voice().json or not sys.stdin.isatty()):
        what = "is not given, and nobody can be asked: this is no terminal"
        raise BadOption("--yes", what, "Run it in a terminal, or with --yes, which writes what is shown unasked")


def _name(kit: Kit, hospital: str) -> str:
    if hospital and kit.hospital and hospital != kit.hospital:
        what = f"is {hospital!r}, but this kit was made for {kit.hospital!r}"
        raise BadOption("--hospital", what, "Leave it out, or ask the study for a kit of your own")
    return hospital or kit.hospital


def _show(made: Return) -> None:
    """All that would leave, as it would leave."""
    engine.tell(text_of(made))
    engine.say("above, and no more.", "All that would leave is", "bold")
    if not made.counts.enough:
        engine.say(f"{made.counts.words}: fewer than {FEWEST_PATIENTS} patients of a class, so counts alone.")
    for cell in made.cells:
        score = cell.score
        if score is not None and score.auc is not None:
            ends = f"{score.auc_sampling_low:.2f}–{score.auc_sampling_high:.2f}"
            engine.say(f"AUC {score.auc:.2f} ({ends}) on {made.counts.words}", f"{cell.model}:")
    engine.say(NOT_PROTECTED)
