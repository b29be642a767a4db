"""audit.json and verdict.json: what is written is read, older files are, and what is no such record is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elsewhere.audit_rows import AuditRecord, RepairRow
from elsewhere.errors import BadStudy
from elsewhere.records import read_record, write_record
from elsewhere.statistics.audit import audit
from elsewhere.statistics.verdict import Verdict
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import Adjustment
from elsewhere.studies.records import AUDIT, read_audit
from elsewhere.studies.verdict_record import UnusedScan, VerdictRecord, read_verdict, write_verdict
from study_rows import a_scan, an_oddity

ROWS = [
    a_scan(site=site, patient=f"{site}{i}", scan=f"{i}", label=label, subset=subset, content_hash=voxels)
    for i, (site, label, subset, voxels) in enumerate(
        [("A", 1, "train", "x"), ("A", 0, "test", "x"), ("B", 0, "train", "y"), ("B", None, "unlabelled", "z")]
    )
]
RECORD = AuditRecord(
    **vars(audit(ROWS, [("A", 1), ("B", None)])),
    notes=("A note.",),
    copies_left_out=1,
    repaired=(RepairRow("A", "0", "Mended."),),
    split_hash="ab",
    forensics=(an_oddity(), an_oddity(finding="copy", other_scan="2", suspected_leak=True)),
)
ADVICE = Verdict("recalibrate", "Why.", "What.", False, 9, 9, 4, 0.5, "grid", 0.5, local_threshold=0.4, local_slope=2.0)


def test_an_audit_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    AUDIT.write(folder.audit, RECORD)
    assert RECORD.duplicates
    assert RECORD.leaks
    assert read_audit(folder) == RECORD
    single, pair = read_record(folder.audit, "")["forensics"]
    assert not [name for name in single if name.startswith("other_")]  # what is not there is not in the file
    assert pair["other_scan"] == "2"
    assert "audited" not in read_record(folder.audit, "")


def test_an_audit_without_a_format_and_without_what_came_later_is_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    names = ("counts", "facts", "duplicates", "leaks", "warnings", "notes", "repaired")
    write_record(folder.audit, {n: [] for n in names} | {"site_only_auc": 1, "copies_left_out": 0, "gone": [1]})
    found = read_audit(folder)
    assert (found.site_only_auc, found.left_out, found.split_hash, found.audited) == (1, (), "", None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "audit 2"}, "holds 'audit 2'.*reads 'audit 1'"),
        ({"counts": [{"site": "A"}]}, "counts has no 'label'"),
        ({"copies_left_out": True}, "copies_left_out is True"),
        ({"leaks": "none"}, "leaks is 'none'"),
        ({"facts": [3]}, "facts is 3"),
        ({"site_only_auc": "0.5"}, "site_only_auc is '0.5'"),
    ],
)
def test_an_audit_of_another_form_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    folder = Folder(tmp_path)
    AUDIT.write(folder.audit, RECORD)
    write_record(folder.audit, read_record(folder.audit, "") | change)
    with pytest.raises(BadStudy, match=rf"audit\.json: .*{words}.*Run `elsewhere prepare` again"):
        read_audit(folder)


def test_a_verdict_is_read_as_far_as_it_advises(tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    given = VerdictRecord(
        action="recalibrate",
        next_step="What.",
        scans=9,
        local_threshold=0.4,
        local_slope=2.0,
        model="A",
        site="B",
        trained_on=("A",),
        checkpoint="c0ffee",
        adjustment=Adjustment(0.3, 0.1, 2.0, chosen_on=("a",)),
        bad_scans=(UnusedScan("s", "is torn", "Mend it"),),
    )
    write_verdict(path, ADVICE, given)
    assert read_verdict(path) == given
    assert json.loads(path.read_text())["headline"] == ADVICE.headline
    content = read_record(path, "")
    write_record(path, {name: content[name] for name in ("scans", "local_threshold")})
    assert read_verdict(path) == VerdictRecord(scans=9, local_threshold=0.4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "verdict 2"}, "holds 'verdict 2'"),
        ({"local_threshold": "0.4"}, "local_threshold is '0.4'"),
        ({"adjustment": {"threshold": 7.0}}, "must be above 0 and below 1"),
        ({"bad_scans": [{"scan": "s"}]}, "bad_scans has no 'reason'"),
    ],
)
def test_a_verdict_of_another_form_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "verdict.json"
    write_verdict(path, ADVICE, VerdictRecord(scans=9))
    write_record(path, read_record(path, "") | change)
    with pytest.raises(BadStudy, match=rf"verdict\.json: .*{words}.*Run `elsewhere verdict` again"):
        read_verdict(path)
