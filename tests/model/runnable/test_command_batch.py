"""Programs that take several scans at once: rows and scans, one bad scan among good ones, calls that fail."""

from __future__ import annotations

import re
import shutil
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from given_scans import a_scan, a_volume

from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.declared import CommandModel
from elsewhere.model.runnable import hash_of
from elsewhere.model.runnable.command import Program, Several
from elsewhere.model.runnable.protocol import GivenScan, Refused
from elsewhere.scans.dicom import write_series

HEAD = """
import gzip, json, os, sys, time
from pathlib import Path
given, out = Path(sys.argv[1]), Path(sys.argv[2])
scans = sorted(given.iterdir())

def value(scan):
    return int.from_bytes(gzip.decompress(scan.read_bytes())[352:354], 'little') / 100  # the first voxel

scores = {scan.name.partition('.')[0]: value(scan) for scan in scans if scan.is_file()}

def write(*lines):
    (out / 'scores.csv').write_text('\\n'.join(lines) + '\\n')
"""
GOOD = "write('scan,score', *(f'{n},{s}' for n, s in scores.items()))"
FOUR = (10, 20, 30, 40)


def program(folder: Path, text: str, **said: Any) -> Program:
    """A model that is this Python program."""
    (folder / "score.py").write_text(HEAD + text)
    run = f"'{sys.executable}' score.py {{in}} {{out}}"
    given = {"name": "Vendor", "run": run, "allow_code": True, "folder": folder, "batch": "all"}
    return Program(CommandModel(**(given | said)))


def scan_of(score: int) -> GivenScan:
    """A small scan whose voxels tell the score that the programs of these tests give, in hundredths."""
    volume = replace(a_volume(slices=3), voxels=np.full((3, 8, 8), score, np.int16))
    return replace(a_scan(), patient="Mustermann", scan=f"s{score}", volume=volume)


def readers(*scores: int) -> list[Callable[[], GivenScan]]:
    return [lambda score=score: scan_of(score) for score in scores]  # type: ignore[misc]


def seen(said: Several) -> list[float | str]:
    """The scores, and the reasons of those without."""
    return [one.what if isinstance(one, BadScan) else round(one, 6) for one in said.outcomes]


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "write('scan,x;y,AI score', *(f'{n}.nii.gz,1,{s}' for n, s in reversed(scores.items())))",
        "write('file,score', *(f'{given}/{n}.nii,{s}' for n, s in sorted(scores.items(), key=lambda p: -p[1])))",
        "(out / 'result.json').write_text(json.dumps(scores))",
        "(out / 'result.json').write_text(json.dumps({f'{n}.nii.gz': {'score': s} for n, s in scores.items()}))",
        "(out / 'result.json').write_text(json.dumps([{'score': s, 'scan': n} for n, s in reversed(scores.items())]))",
    ],
)
def test_each_scan_gets_its_own_row_whatever_their_order(tmp_path: Path, text: str) -> None:
    said = program(tmp_path, text).score_several(readers(30, 10, 40, 20))
    assert (seen(said), said.failed) == ([0.3, 0.1, 0.4, 0.2], "")
    assert seen(program(tmp_path, text).score_several(readers(30))) == [0.3]


def test_names_tell_nothing_and_one_call_is_made(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    text = f"Path({str(log)!r}).open('a').write(' '.join(s.name for s in scans) + '\\n')\n{GOOD}"
    program(tmp_path, text).score_several(readers(*FOUR))
    assert log.read_text() == "0001.nii.gz 0002.nii.gz 0003.nii.gz 0004.nii.gz\n"


def test_what_is_wrong_with_one_scan_costs_no_other(tmp_path: Path) -> None:
    rows = "'0001,0.1,', '0002,,slices too thick', '0003,1.5,', '0004,maybe,', '0006,0.6,'"
    said = program(tmp_path, f"write('scan,score,refused', {rows})").score_several(readers(*FOUR, 50, 60))
    assert said.failed == ""
    assert (said.outcomes[0], said.outcomes[-1]) == (0.1, 0.6)
    assert [isinstance(one, Refused) for one in said.outcomes] == [False, True, False, False, False, False]
    reasons = seen(said)
    assert reasons[1] == "slices too thick"
    assert reasons[2] == "Vendor gives score = 1.5, outside 0 to 1 (probability)"
    assert "'maybe', not a number" in str(reasons[3])
    assert reasons[4] == "Vendor left no answer to this scan"


def test_a_scan_that_cannot_be_read_is_not_handed_over(tmp_path: Path) -> None:
    def broken() -> GivenScan:
        raise BadScan("There: s", "is damaged", "Restore it")

    given = readers(10, 20, 30)
    given[1] = broken
    assert seen(program(tmp_path, GOOD).score_several(given)) == [0.1, "is damaged", 0.3]
    assert seen(program(tmp_path, GOOD).score_several([broken, broken])) == ["is damaged"] * 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sys.exit(3)", r"Vendor ended with exit code 3$"),
        ("print('hello')", r"left no readable answer: neither scores\.csv nor result\.json.* holds nothing"),
        ("write('scan,score', '0001,0.1', '0002,0.2', '0001,0.3')", r"scores\.csv has 2 answers to 0001"),
        ("write('scan,score', '0001.nii.gz,0.1', '0001,0.1')", r"has 2 answers to 0001"),
        (
            "write('scan,score', '0001,0.1', 'Mustermann,0.2')",
            r"names a scan that was not given \(given: 0001 to 0004\)$",
        ),
        ("write('scan,score', '1,0.1')", r"names a scan that was not given \(given: 0001 to 0004\)$"),
        ("write('scan,score', '0009,0.1')", r"names a scan that was not given"),
        ("write('scan,score', ',0.1')", r"names a scan that was not given"),
        (
            "write('score', '0.1', '0.2', '0.3', '0.4')",
            r"no column `scan`, which says the scan of each row, has 5 line",
        ),
        ("write('scan,score', '0001,0.1,5')", r"has 2 columns, and 3 cells in row 1"),
        ("write('')", r"has no column `scan`.*has 0 line"),
        ("(out / 'scores.csv').write_text('x' * 5_000_000)", r"has 5,000,000 bytes, where 4 scores were asked for"),
        ("(out / 'result.json').write_text('{\"0001\": 0.1, \"0001\": 0.9}')", r"has a key twice$"),
        ("(out / 'result.json').write_text('{\"score\": 0.1}')", r"names a scan that was not given"),
        ("(out / 'result.json').write_text('[{\"score\": 0.1}]')", r"an object without `scan`"),
        ("(out / 'result.json').write_text('0.5')", r"is '0\.5', expected an object such as \{\"0001\""),
    ],
)
def test_a_call_that_fails_as_a_whole_is_made_again_for_each_scan(tmp_path: Path, text: str, why: str) -> None:
    model = program(tmp_path, f"if len(scores) > 1:\n    {text}\nelse:\n    {GOOD}")
    said = model.score_several(readers(*FOUR))
    assert seen(said) == [0.1, 0.2, 0.3, 0.4]
    assert re.search(why, said.failed)


def test_a_program_that_crashes_on_one_scan_answers_the_others(tmp_path: Path) -> None:
    text = f"print('patient Mustermann', file=sys.stderr)\n0.3 in scores.values() and os.kill(os.getpid(), 11)\n{GOOD}"
    said = program(tmp_path, text).score_several(readers(*FOUR))
    assert said.failed == "Vendor was ended by signal 11"  # without the program's own words: pages show this
    assert [seen(said)[i] for i in (0, 1, 3)] == [0.1, 0.2, 0.4]
    assert "was ended by signal 11; the end of what it wrote: 'patient Mustermann'" in str(seen(said)[2])


def test_it_has_its_time_for_each_scan(tmp_path: Path) -> None:
    text = f"0.3 in scores.values() and time.sleep(60)\n{GOOD}"
    said = program(tmp_path, text, timeout=2.5).score_several(readers(30, 10))
    assert said.failed == "Vendor gave no answer within 5 s and was ended"
    assert "gave no answer within 2.5 s" in str(seen(said)[0])
    assert seen(said)[1] == 0.1


def test_a_program_that_is_not_there_is_not_asked_scan_by_scan(tmp_path: Path) -> None:
    read: list[int] = []

    def reader(score: int) -> Callable[[], GivenScan]:
        return lambda: read.append(score) or scan_of(score)  # type: ignore[func-returns-value]

    model = program(tmp_path, GOOD, run="./gone.sh {in} {out}")
    said = model.score_several([reader(10), reader(20)])
    assert all("cannot be started (./gone.sh" in str(one) for one in seen(said))
    assert read == [10, 20]


def test_one_volume_is_held_at_a_time(tmp_path: Path) -> None:
    held: list[weakref.ref[GivenScan]] = []

    def reader(score: int) -> Callable[[], GivenScan]:
        def read() -> GivenScan:
            assert not [one for one in held if one() is not None]
            given = scan_of(score)
            held.append(weakref.ref(given))
            return given

        return read

    assert seen(program(tmp_path, GOOD).score_several([reader(10), reader(20), reader(30)])) == [0.1, 0.2, 0.3]
    assert len(held) == 3


def test_a_full_disk_is_a_call_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elsewhere.model.runnable import command  # noqa: PLC0415

    write = command.hand_over

    def full(given: GivenScan, place: Path, declared: CommandModel) -> None:
        if place.name.startswith("0002"):
            raise OSError(28, "No space left on device")
        write(given, place, declared)

    monkeypatch.setattr(command, "hand_over", full)
    said = program(tmp_path, GOOD).score_several(readers(10, 20))
    assert seen(said) == [0.1, 0.2]
    assert said.failed == "2 scans cannot be written for it (No space left on device)"


def test_one_scan_alone_is_a_batch_of_one(tmp_path: Path) -> None:
    model = program(tmp_path, f"assert scans[0].name == '0001.nii.gz'\n{GOOD}", batch=8)
    assert model.score(scan_of(70)) == [0.7]
    assert program(tmp_path, "write('score', '0.5')").score(scan_of(70)) == [0.5]
    with pytest.raises(Refused, match="too thick"):
        program(tmp_path, "write('scan,refused', '0001,too thick')").score(scan_of(70))
    with pytest.raises(BadScan, match="that was not given \\(given: 0001\\); the end of what it wrote: '0002'"):
        program(tmp_path, "write('scan,score', '0002,0.5')").score(scan_of(70))


def a_series(folder: Path, uid: str, slices: int) -> GivenScan:
    write_series(folder, a_volume(slices=slices), patient="p", study_uid="1.2", series_uid=uid, facts={})
    return replace(a_scan(), dicom=tuple(sorted(folder.iterdir())))


def test_dicom_lies_in_numbered_folders_and_what_was_half_written_is_gone(tmp_path: Path) -> None:
    one, two, three = (a_series(tmp_path / f"{n}", f"1.3.{n}", n) for n in (3, 4, 5))
    two = replace(two, dicom=(*two.dicom, tmp_path / "gone.dcm"))
    text = "write('scan,score', *(f'{s.name},0.{len(list(s.glob(chr(73) + \"M*.dcm\")))}' for s in scans))"
    said = program(tmp_path, text, give="dicom").score_several([lambda: one, lambda: two, lambda: three, a_scan])
    assert said.failed == ""
    assert [seen(said)[i] for i in (0, 2)] == [0.3, 0.5]
    assert "gone.dcm cannot be read" in str(seen(said)[1])
    assert isinstance(said.outcomes[3], Refused)


def test_a_full_disk_is_no_damaged_dicom_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copyfile

    def full(file: Path, place: Path) -> None:
        if place.parent.name == "0002":
            raise OSError(28, "No space left on device")
        copy(file, place)

    one, two = (a_series(tmp_path / f"{n}", f"1.3.{n}", n) for n in (3, 4))
    text = "write('scan,score', *(f'{s.name},0.{len(list(s.iterdir()))}' for s in scans))"
    monkeypatch.setattr("shutil.copyfile", full)
    said = program(tmp_path, text, give="dicom").score_several([lambda: one, lambda: two])
    assert seen(said) == [0.3, 0.4]
    assert "No space left on device" in said.failed


REPORTS = """
sys.path.insert(0, HELPER)
from reports import *
for i, (uid, score) in enumerate(SAID.items()):
    write_report(out / f"{i}.dcm", [group(number(PROBABILITY, score))], series=[uid], study='1.2')
"""


def test_reports_say_by_the_series_which_scan_they_are_about(tmp_path: Path) -> None:
    helper = str(Path(__file__).parents[2] / "scans")
    one, two = (a_series(tmp_path / f"{n}", f"1.3.{n}", n) for n in (3, 4))
    given = [lambda: one, lambda: two]
    text = REPORTS.replace("HELPER", repr(helper))
    both = text.replace("SAID", "{'1.3.4': 0.5, '1.3.3': 0.25}")
    said = program(tmp_path, both, give="dicom").score_several(given)
    assert (seen(said), said.failed) == ([0.25, 0.5], "")
    other = text.replace("SAID", "{'1.3.4': 0.5, '1.3.9': 0.25}")
    assert "names a scan that was not given" in program(tmp_path, other, give="dicom").score_several(given).failed
    twin = replace(two, dicom=one.dicom)
    same = program(tmp_path, both, give="dicom").score_several([lambda: one, lambda: twin])
    assert "scans of one series were given" in same.failed


def test_the_size_of_a_batch_is_not_part_of_what_its_answers_are(tmp_path: Path) -> None:
    model = CommandModel(name="V", run="x {in} {out}", allow_code=True, folder=tmp_path)
    assert hash_of(model) == hash_of(replace(model, batch=8)) == hash_of(replace(model, batch="all"))
    assert [replace(model, batch=batch).scans_at_once for batch in (1, 8, "all")] == [1, 8, None]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"batch": 0}, r'batch: is 0\. Give 1 or more, or "all"'),
        ({"batch": -3}, r"batch: is -3"),
        ({"batch": 4, "run": "x {file} {out}"}, r"\{file\} is one scan, and with batch there are several"),
    ],
)
def test_what_cannot_be_is_named(said: dict[str, Any], says: str) -> None:
    with pytest.raises(BadStudy, match=says):
        CommandModel(**({"name": "V", "run": "x {in} {out}", "allow_code": True} | said))
