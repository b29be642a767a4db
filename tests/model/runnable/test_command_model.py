"""Programs as models: good, slow, crashing, printing rubbish, refusing, outside 0 to 1, odd paths, no shell."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from given_scans import a_checkpoint, a_scan, a_volume

from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.declared import CommandModel
from elsewhere.model.runnable import hash_of, open_model, threshold_of
from elsewhere.model.runnable.protocol import GivenScan, Refused
from elsewhere.scans.dicom import write_series
from elsewhere.scans.nifti import read_nifti

HEAD = """
import json, os, sys, time
from pathlib import Path
given, out = Path(sys.argv[1]), Path(sys.argv[2])
"""
GOOD = "(out / 'scores.csv').write_text('scan,score\\ns,0.25\\n')"


def program(folder: Path, text: str, more: str = "", **said: Any) -> CommandModel:
    """A model that is this Python program."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "score it.py").write_text(HEAD + text)
    run = f"'{sys.executable}' 'score it.py' {{in}} {{out}} {more}"
    return CommandModel(name="Vendor", run=run, allow_code=True, folder=folder, **said)


def ask(model: CommandModel, given: GivenScan | None = None) -> float:
    (found,) = open_model(model).score(given or a_scan())
    return float(found)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (GOOD, 0.25),
        ("(out / 'scores.csv').write_bytes('\\ufeffscan;x,AI score\\r\\ns,0.5\\r\\n'.encode())", 0.5),
        ("(out / 'result.json').write_text(json.dumps({'score': 0.125, 'boxes': [[1, 2]], 'refused': None}))", 0.125),
        ("(out / 'result.json').write_text('{\"probability\": 1}')", 1.0),
    ],
)
def test_an_answer_in_either_form(tmp_path: Path, answer: str, expected: float) -> None:
    assert ask(program(tmp_path, answer)) == expected


def test_it_is_given_the_scan_in_hu_with_its_spacing(tmp_path: Path) -> None:
    text = "import nibabel, numpy\nimage = nibabel.load(given / 'scan.nii.gz')\n"
    text += "seen = {'sum': int(numpy.asarray(image.dataobj).sum())}\n"
    text += f"Path({str(tmp_path / 'seen.json')!r}).write_text(json.dumps(seen))\n{GOOD}"
    relative = replace(
        a_scan(), volume=replace(a_volume(), voxels=np.full((7, 20, 24), 255, np.uint8), units="relative", offset=None)
    )
    ask(program(tmp_path, text), relative)
    assert '"sum": 504000' in (tmp_path / "seen.json").read_text()  # 150 HU at the usual lung window's upper end
    file = tmp_path / "again"
    text = f"import shutil\nshutil.copytree(given, {str(file)!r})\n{GOOD}"
    ask(program(tmp_path, text))
    grid = read_nifti(file / "scan.nii.gz")
    assert np.array_equal(grid.voxels, a_volume().voxels)
    assert grid.spacing == pytest.approx((5.0, 0.8, 0.7), rel=1e-6)


def test_a_slow_program_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    text = "import subprocess\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    text += f"Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
    text += "print('still at it', file=sys.stderr, flush=True)\ntime.sleep(60)"
    began = time.monotonic()
    with pytest.raises(
        BadScan, match=r"There: s0: Vendor gave no answer within 2 s and was ended; the end.*'still at it'"
    ):
        ask(program(tmp_path, text, timeout=2.0))
    assert time.monotonic() - began < 30
    child = int((tmp_path / "pid").read_text())
    for _ in range(200):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            break
        if state in "ZX":
            break
        os.sched_yield()
    else:
        pytest.fail("its child still runs")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise SystemExit(3)", r"Vendor ended with exit code 3\. Run its command by hand"),
        ("1 / 0", r"ended with exit code 1; the end of what it wrote: .*ZeroDivisionError: division by zero'"),
        ("os.kill(os.getpid(), 9)", r"was ended by signal 9"),
        (f"{GOOD}\nraise SystemExit('no licence')", r"exit code 1; the end of what it wrote: 'no licence'"),
        ("print('x' * 3_000_000); sys.exit(1)", r"exit code 1; the end of what it wrote: 'x{300}'"),
        ("sys.stderr.buffer.write(b'\\xff\\x1b[31m'); sys.exit(1)", r"wrote: '\ufffd\?\[31m'"),
        ("print('hello')", r"left no readable answer: neither scores\.csv nor result\.json.*\{out\} holds nothing"),
        ("(out / 'notes.txt').write_text('x')", r"\{out\} holds notes\.txt"),
        ("(out / 'scores.csv').write_text('')", r"must have the names of its columns and one row, has 0 line"),
        ("(out / 'scores.csv').write_text('score\\n0.1\\n0.2\\n')", r"one row, has 3 line"),
        ("(out / 'scores.csv').write_bytes(bytes(range(256)))", r"no readable answer: "),
        ("(out / 'scores.csv').write_text('score\\n' + '1' * 2_000_000)", r"has 2,000,006 bytes, where one score"),
        ("(out / 'scores.csv').write_text('score\\nmaybe\\n')", r"score is 'maybe', not a number"),
        ("(out / 'scores.csv').write_text('score\\n\\n\\n')", r"has 1 line"),
        ("(out / 'scores.csv').write_text('score,scan\\n,s\\n')", r"column 'score' holds no score"),
        ("(out / 'scores.csv').write_text('score\\n1e999\\n')", r"is '1e999', not a finite number"),
        ("(out / 'scores.csv').write_text('scan,volume\\ns,3\\n')", r"gives no score \(it gives scan, volume\)"),
        ("(out / 'scores.csv').write_text('score,probability\\n0.1,0.2\\n')", r"2 columns may be the score"),
        ("(out / 'scores.csv').write_text('score\\n1.2\\n')", r"gives score = 1\.2, outside 0 to 1 \(probability\)"),
        ("(out / 'scores.csv').write_text('score\\n-0.1\\n')", r"gives score = -0\.1, outside 0 to 1"),
        ("(out / 'result.json').write_text('[0.5]')", r"result\.json is '\[0\.5\]', expected an object"),
        ("(out / 'result.json').write_text('{')", r"result\.json is no JSON"),
        ("(out / 'result.json').write_text('[' * 100_000)", r"result\.json is no JSON"),
        ("(out / 'result.json').write_text('{\"score\": NaN}')", r"score is 'nan'|holds no score"),
    ],
)
def test_whatever_a_program_does_wrong_is_one_scan_s_reason(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadScan, match=says) as failed:
        ask(program(tmp_path, text))
    assert not isinstance(failed.value, Refused)  # another try may go well


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("(out / 'scores.csv').write_text('scan,score,refused\\ns,,slices too thick\\n')", "slices too thick"),
        ("(out / 'scores.csv').write_text('score,refused\\n0.3,yes\\n')", "no reason given"),
        ("(out / 'result.json').write_text(json.dumps({'refused': 'no lung', 'score': None}))", "no lung"),
        ("(out / 'result.json').write_text('{\"refused\": true}')", "no reason given"),
        ("(out / 'result.json').write_text('{\"rejected\": \"no lung\"}')", "no lung"),
    ],
)
def test_a_refusal_is_told_from_a_failure(tmp_path: Path, answer: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        ask(program(tmp_path, answer))


@pytest.mark.parametrize(
    "answer", ["score,refused\\n0.25,no\\n", "score,refused\\n0.25,\\n", "score,refused\\n0.25,0\\n"]
)
def test_what_only_looks_like_a_refusal_is_an_answer(tmp_path: Path, answer: str) -> None:
    assert ask(program(tmp_path, f"(out / 'scores.csv').write_text('{answer}')")) == 0.25


def test_no_shell_sees_the_command_and_paths_may_hold_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a b;touch $HOME & 'c' \"d\" *"
    temporary = tmp_path / "t m;p $(touch x) 'y'"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    text = f"Path({str(tmp_path / 'argv.json')!r}).write_text(json.dumps(sys.argv[1:]))\n{GOOD}"
    more = "'$HOME' '; touch {out}/hacked' '*' '{{x}}' '$(id)' > nowhere | cat && true"
    assert ask(program(odd, text, more)) == 0.25
    given, out, *rest = json.loads((tmp_path / "argv.json").read_text())
    assert given.startswith(str(temporary))
    assert given.endswith("/in")
    expected = ["$HOME", f"; touch {out}/hacked", "*", "{x}", "$(id)", ">", "nowhere", "|", "cat", "&&", "true"]
    assert rest == expected
    assert sorted(p.name for p in odd.iterdir()) == ["score it.py"]
    assert list(temporary.iterdir()) == []  # nothing of a scan is left behind


def test_a_program_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    model = CommandModel(name="Vendor", run="./gone.sh {in} {out}", allow_code=True, folder=tmp_path)
    with pytest.raises(BadScan, match=r"Vendor cannot be started \(\./gone\.sh: .*No such file"):
        ask(model)


def test_dicom_is_handed_over_where_the_scan_is_dicom(tmp_path: Path) -> None:
    write_series(tmp_path / "series", a_volume(), patient="p", study_uid="1.2", series_uid="1.3", facts={})
    files = tuple(sorted((tmp_path / "series").iterdir()))
    text = "(out / 'result.json').write_text(json.dumps({'score': len(list(given.iterdir())) / 10}))"
    model = program(tmp_path, text, give="dicom")
    assert ask(model, replace(a_scan(), dicom=files)) == 0.7
    with pytest.raises(Refused, match=r'is no DICOM as it stands, and Vendor takes DICOM\. Say give = "nifti"'):
        ask(model)
    with pytest.raises(BadScan, match=r"gone\.dcm cannot be read \(No such file"):
        ask(model, replace(a_scan(), dicom=(tmp_path / "gone.dcm",)))


def test_a_structured_report_is_an_answer(tmp_path: Path) -> None:
    helper = Path(__file__).parents[2] / "scans"
    text = f"sys.path.insert(0, {str(helper)!r})\nfrom reports import *\n"
    text += "write_report(out / 'sr.dcm', [group(number(PROBABILITY, 0.375))], series=['1.3'], study='1.2')"
    assert ask(program(tmp_path, text)) == 0.375
    assert ask(program(tmp_path, text, score="Probability of cancer")) == 0.375
    with pytest.raises(BadScan, match="no report holds a number 'Size'"):
        ask(program(tmp_path, text, score="Size"))


def test_scores_on_another_scale_and_under_another_name(tmp_path: Path) -> None:
    percent = program(tmp_path, "(out / 'scores.csv').write_text('score\\n0.7\\n')", scale="percent", threshold=40.0)
    assert ask(percent) == pytest.approx(0.007)
    assert threshold_of(percent) == 0.4
    logit = program(tmp_path, "(out / 'scores.csv').write_text('score\\n-2\\n')", scale="logit", threshold=0.0)
    assert ask(logit) == pytest.approx(1 / (1 + np.exp(2)))
    assert threshold_of(logit) == 0.5
    named = program(tmp_path, "(out / 'scores.csv').write_text('score,AI\\n0.1,0.9\\n')", score="AI")
    assert ask(named) == 0.9
    with pytest.raises(BadScan, match="has no column 'AI'"):
        ask(program(tmp_path, GOOD, score="AI"))


def test_a_scan_without_voxel_size_cannot_be_written_as_nifti(tmp_path: Path) -> None:
    with pytest.raises(BadScan, match="has no spacing, which NIfTI must tell"):
        ask(program(tmp_path, GOOD), replace(a_scan(), volume=a_volume(spacing=None)))


def test_the_product_itself_in_another_process(tmp_path: Path) -> None:
    own = a_checkpoint(tmp_path)
    text = f"""
from elsewhere.model.runnable import open_model
from elsewhere.model.declared import OwnNetwork
from elsewhere.model.runnable.protocol import GivenScan
from elsewhere.scans.nifti import read_nifti
from elsewhere.scans.volume import Volume
grid = read_nifti(given / "scan.nii.gz")
scan = GivenScan("A", "p", "s", Volume(grid.voxels, "HU", grid.spacing, 0.0))
model = open_model(OwnNetwork(name="Own", checkpoint=Path({str(own.checkpoint)!r}), stride=2))
(out / "result.json").write_text(json.dumps({{"score": float(model.score(scan).max())}}))
"""
    expected = open_model(own).score(a_scan()).max()
    assert ask(program(tmp_path, text)) == pytest.approx(expected, abs=1e-12)


def test_the_identity_of_its_scores_follows_program_files_and_version(tmp_path: Path) -> None:
    model = program(tmp_path, GOOD)
    first = hash_of(model)
    assert hash_of(replace(model, name="Other", threshold=0.3, timeout=5.0)) == first
    assert hash_of(replace(model, version="2.1")) != first
    assert hash_of(replace(model, run=f"{model.run} --fast")) != first
    (tmp_path / "score it.py").write_text(HEAD + GOOD + "\n")
    assert hash_of(model) != first
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"1")
    listed = replace(model, files=(tmp_path / "weights",))
    before = hash_of(listed)
    (tmp_path / "weights" / "w.bin").write_bytes(b"2")
    assert hash_of(listed) != before


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"run": "x {in} {out}", "allow_code": False}, r"allow_code: is not set, and this kind of model is a program"),
        ({"run": "x {in}"}, r"run: is 'x \{in\}'\. Say with \{out\}"),
        ({"run": "x {out}"}, r"Say with \{in\} where the scan lies"),
        ({"run": "x {in} {out} {it}"}, r"In braces stand in, out, file; write \{\{ for a brace"),
        ({"run": "x {in.parent} {out}"}, r"In braces stand in, out, file"),
        ({"run": "x {} {in} {out}"}, r"In braces stand in, out, file"),
        ({"run": "x 'y {in} {out}"}, r"No closing quotation"),
        ({"run": "x {in} {out} {"}, r"Close its quotes and braces"),
        ({"run": "x {file} {out}", "give": "dicom"}, r"DICOM is a folder: use \{in\}"),
        ({"run": "x {in} {out}", "timeout": 0.0}, r"timeout: is 0\.0"),
        ({"run": "x {in} {out}", "threshold": 1.5}, r"threshold: is 1\.5\. Give a number from 0 to 1"),
        ({"run": "x {in} {out}", "threshold": 150.0, "scale": "percent"}, r"threshold: is 150\.0\. .*from 0 to 100"),
    ],
)
def test_what_cannot_be_is_named(said: dict[str, Any], says: str) -> None:
    with pytest.raises(BadStudy, match=says):
        CommandModel(**({"name": "V", "allow_code": True} | said))
