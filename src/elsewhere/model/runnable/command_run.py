"""A program is run on a folder without a shell, and is ended with all that it started; or why it failed."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elsewhere.errors import BadScan
from elsewhere.model.declared import CommandModel
from elsewhere.model.runnable.protocol import GivenScan, Refused
from elsewhere.scans.nifti import write_nifti

NIFTI = "scan.nii.gz"
QUOTED = "; the end of what it wrote: "
"""Between an error and a program's own text, which may name files and people: pages leave it out."""
LAST_BYTES, LAST_WORDS = 4000, 300
"""What is read of the end of stderr, and the characters of it that an error quotes."""
GRACE = 5.0
"""Seconds that a program has to end after it was asked to."""


class NotStarted(BadScan):
    """The program cannot be started at all, whatever the scan."""


def run_program(declared: CommandModel, name: str, folder: Path, seconds: float) -> None:
    """Run the program on what lies in `folder`/in; its answer is left in `folder`/out.

    Args:
        declared: what the study file says of it.
        name: of the scan or scans, for messages.
        folder: with the folders `in` and `out`; the program's own words are kept in it.
        seconds: that it may take.

    Raises:
        NotStarted: it cannot be started.
        BadScan: it took too long, or ended with an exit code other than 0.
    """
    into = folder / "in"
    words = [word.format(**{"in": into, "out": folder / "out", "file": into / NIFTI}) for word in declared.words]
    with (folder / "stderr").open("w+b") as said:
        try:
            with _started(words, declared.folder, said.fileno()) as process:
                code = process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            what = f"{declared.name} gave no answer within {seconds:g} s and was ended{_last_words(said)}"
            raise BadScan(name, what, "Give it more time with `timeout`, or a faster machine") from error
        except (OSError, ValueError) as error:
            what = f"{declared.name} cannot be started ({words[0]}: {error})"
            raise NotStarted(name, what, f"Correct `models.{declared.name}.run`, or install the program") from error
        if code:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            what = f"{declared.name} {how}{_last_words(said)}"
            raise BadScan(name, what, "Run its command by hand on this scan, and see what it says")


@contextmanager
def _started(words: list[str], folder: Path, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """The program in a group of its own, which ends with all that it started, however this is left."""
    process = subprocess.Popen(
        words, cwd=folder, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True
    )
    try:
        yield process
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, how)
                process.wait(GRACE)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait()


def _last_words(said: io.BufferedRandom) -> str:
    """The end of what the program wrote to stderr and stdout, to put behind a sentence; "" for none."""
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - LAST_BYTES))
    text = " ".join(said.read().decode("utf-8", errors="replace").split())
    text = "".join(c if c.isprintable() else "?" for c in text)
    return f"{QUOTED}{text[-LAST_WORDS:]!r}" if text else ""


def hand_over(given: GivenScan, place: Path, declared: CommandModel) -> None:
    """Write a scan as the program takes it: a NIfTI in HU, or the scan's own DICOM files under numbered names.

    Args:
        given: the scan.
        place: the NIfTI file, or the folder of the DICOM files; that folder must exist.
        declared: what the study file says of the program.

    Raises:
        Refused: the program takes DICOM, and the scan is none.
        BadScan: the scan cannot be written as NIfTI, or a file of it cannot be read.
        OSError: there is no room for it.
    """
    if declared.give == "nifti":
        write_nifti(place, given.in_hu())
        return
    if not given.dicom:
        what = f"is no DICOM as it stands, and {declared.name} takes DICOM"
        raise Refused(given.name, what, 'Say give = "nifti", if the program takes NIfTI')
    for number, file in enumerate(given.dicom, start=1):
        try:
            shutil.copyfile(file, place / f"IM{number:05d}.dcm")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise BadScan(given.name, f"{file} cannot be read ({error.strerror})", "Restore the file") from error
