"""`elsewhere audit` on tiny sites, on planted facts, and on the published tables of COVID-CTset."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elsewhere.audit_rows import RuleRow
from elsewhere.commands import audit as command
from elsewhere.commands.audit import audit
from elsewhere.errors import BadScan
from elsewhere.pages.report.content import Audit
from elsewhere.pages.report.tables import audit_tables
from elsewhere.records import write_record
from elsewhere.scans.quality.fingerprint import Fingerprint
from elsewhere.studies.auditing import Labelled, confounding, rule_score, warn_of_facts
from elsewhere.studies.folder import Folder
from elsewhere.studies.prepared import ExaminedScan, examined_scans, fingerprints
from elsewhere.studies.records import read_audit, read_scans
from study_rows import an_examined_scan, an_oddity


@pytest.fixture(scope="module")
def audited(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    out = tmp_path_factory.mktemp("audit") / "out"
    audit(tiny_study_file, out, workers=1, permutations=19)
    return Folder(out)


def test_it_prepares_and_keeps_what_it_found(audited: Folder) -> None:
    found = json.loads(audited.audit.read_text())
    assert {"counts", "confounding", "forensics", "looks", "warnings"} <= set(found)
    rules = {(r["rule"], r["sites"]) for r in found["confounding"]}
    assert {("site only, cross-fitted", "all sites together"), ("encoding", "all sites together")} <= rules
    assert not any(r["sites"] == "MosMedData" for r in found["confounding"])  # one class
    site = next(r for r in found["confounding"] if r["rule"] == "site only, cross-fitted")
    assert (site["auc"] > 0.5, site["n"], site["facts"]) == (True, 96, "site")
    assert {(r["site"], r["scans"]) for r in found["looks"]} == {
        ("UTSW", 12), ("CC-CCII", 12), ("COVID-CTset", 12), ("MosMedData", 24)
    }  # fmt: skip
    assert any("confounded" in words for words in found["warnings"])


def test_again_it_reads_no_scan_and_says_the_same(
    audited: Folder, tiny_study_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = audited.audit.read_text()
    monkeypatch.setattr(command, "prepare_study", lambda *_: pytest.fail("prepared again"))
    audit(tiny_study_file, audited.root, workers=1, permutations=19)
    assert audited.audit.read_text() == before
    assert "Label information in metadata" in capsys.readouterr().err
    found = json.loads(before)
    del found["checksum"], found["record"]
    older = {
        **found,
        "warnings": [*found["warnings"], "UTSW: knowing only month of the scan gives AUC 1.00, as it was."],
    }
    write_record(audited.audit, older)
    audit(tiny_study_file, audited.root, workers=1, permutations=19)
    assert audited.audit.read_text() == before  # what another version said of the rules gives way


def test_a_prepared_volume_that_has_gone_is_named(audited: Folder, tmp_path: Path) -> None:
    rows = examined_scans(audited)
    (text,) = fingerprints([Path(rows[0].file)])
    assert rows[0].forensics.fingerprint == ""
    assert Fingerprint.from_text(text).to_text() == text
    assert len({row.fingerprint for row in rows}) > 1
    path = Path(read_scans(audited)[0].file)
    kept = path.read_bytes()
    path.write_bytes(kept[:100])
    with pytest.raises(BadScan, match=r"the prepared volume is damaged\. Delete this file and run `elsewhere prepare`"):
        examined_scans(audited)
    path.write_bytes(kept)


def test_the_page_shows_it_in_tables(audited: Folder) -> None:
    found = read_audit(audited)
    pair = an_oddity(finding="copy", other_scan="2", suspected_leak=True, detail="two sites")
    given = Audit(confounding=found.confounding or (), looks=found.looks or (), forensics=[pair, an_oddity(scan="3")])
    shown = audit_tables(given, "x")
    tables = {table.name: table for table in shown}
    assert set(tables) == {"x-confounding", "x-looks", "x-forensics"}
    assert tables["x-forensics"].caption.endswith("(0 within a patient); 1 suspected leak.")
    assert "copy,yes,two sites" in tables["x-forensics"].to_csv()
    assert "site only, cross-fitted" in tables["x-confounding"].to_csv()
    assert len(tables["x-looks"].rows) == len(given.looks)


def planted(n: int = 120) -> list[ExaminedScan]:
    random = np.random.default_rng(0)
    return [
        an_examined_scan(
            site="A" if i % 2 else "B",
            patient=f"p{i}",
            label=(label := int(random.random() < 0.4)),
            facts={"kernel": "sharp" if label else "soft", "age": 60.0 if i % 7 else None, "class": str(label)},
        )
        for i in range(n)
    ]


def test_a_kernel_tied_to_the_label_is_named_in_one_sentence() -> None:
    records = confounding(planted(), 1, 19)
    found = {(r.rule, r.sites): r for r in records}
    assert found["kernel", "A"].auc == 1.0
    assert found["kernel", "A"].p_value == 0.05
    assert found["kernel", "all sites together"].n == 120
    assert found["site only, cross-fitted", "all sites together"].auc == pytest.approx(0.5, abs=0.15)
    assert not any("class" in r.facts for r in records)  # what the label is made from is no fact
    said = [words for words in warn_of_facts(records) if "knowing only kernel" in words]
    assert [words.split(":")[0] for words in said] == ["All sites together", "B", "A"]
    assert "knowing only kernel gives AUC 1.00 (p ≤ 0.050, 60 scans). What goes with that in the picture" in said[2]


def test_of_age_and_month_nothing_is_said_of_the_picture() -> None:
    """A month that gives the label away hides no rule of the acquisition, and accuses no picture."""
    month = RuleRow("month of the scan", "A", 1.0, 0.01, 99, 60, 60, "month")
    encoding = replace(month, rule="encoding", auc=0.91, facts="minimum, maximum")
    assert warn_of_facts([month, encoding]) == [
        "A: knowing only encoding (measured in the picture) gives AUC 0.91 (p ≤ 0.010, 60 scans). What goes with that "
        "in the picture, a network can learn instead of the disease.",
        "A: knowing only month of the scan gives AUC 1.00 (p ≤ 0.010, 60 scans). No network sees that itself; "
        "whether anything in the picture goes with it was not tested.",
    ]
    assert len(warn_of_facts([month])) == 1
    assert (
        "encoding (partly measured in the picture) gives"
        in warn_of_facts([replace(encoding, facts="units, minimum")])[0]
    )
    assert "encoding gives" in warn_of_facts([replace(encoding, facts="units, dtype")])[0]
    assert "can learn" not in warn_of_facts([replace(month, p_value=0.02)])[0]
    assert "p = 0.020" in warn_of_facts([replace(month, p_value=0.02)])[0]
    assert warn_of_facts([replace(month, auc=0.55)]) == []


def test_nothing_is_said_of_facts_that_mean_nothing() -> None:
    random = np.random.default_rng(1)
    rows = [replace(row, facts={"kernel": str(random.integers(3))}) for row in planted()]
    assert warn_of_facts(confounding(rows, 1, 99)) == []


def test_facts_that_never_differ_give_no_record() -> None:
    rows = [Labelled(i % 2, str(i), {"kernel": "B30"}) for i in range(20)]
    assert rule_score("kernel", "A", rows, ("kernel",), 19) is None
    assert rule_score("kernel", "A", [replace(r, label=1) for r in rows], ("kernel",), 19) is None


@pytest.mark.real
def test_covid_ctset_is_given_away_by_age_and_month(real_data: Path) -> None:
    with (real_data / "covid-ctset" / "Patient_details.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    rows = [
        an_examined_scan(
            site="COVID-CTset",
            patient=r["Patient ID"],
            label=int(r["COVID-19 Infection"] == "Positive"),
            facts={
                "age": float(r["AGE"][:3]) if r["AGE"][:3].isdigit() else None,
                "month": r["Date"][:6] if r["Date"].isdigit() else None,
            },
        )
        for r in table
    ]
    found = {r.rule: r for r in confounding(rows, 1, 99)}
    assert found["age and sex"].auc == pytest.approx(0.73, abs=0.02)
    assert found["month of the scan"].auc > 0.6
    assert [r.p_value for r in found.values()] == [0.01, 0.01]
