"""A folder of DICOM structured reports with a product's results in; a table of its scores, one row per scan, out.

Read are reports after TID 1500 (Measurement Report; PS3.16), which IHE's AI Results profile uses: numbers (NUM) and
codes (CODE) in measurement groups, in qualitative evaluations, or below the root. The report names the scan (evidence),
the finding of a group (121071, DCM), the algorithm and its version (111001, 111003) and, where a number could not be
given, why (NumericValueQualifierCodeSequence; Summary of Analyses or Detections: failed, not attempted).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from elsewhere.errors import BadScan, BadTable
from elsewhere.files import csv_text, write_whole
from elsewhere.scans.dicom.tags import read_tags
from elsewhere.scans.slices import walk
from elsewhere.scans.tables import read_lines
from elsewhere.wording import numbered

REPORTS = "1.2.840.10008.5.1.4.1.1.88."
"""What the SOP Class UID of every structured report begins with."""
MOST_BYTES = 64_000_000
GROUP, FINDING, NAME, VERSION = "125007", "121071", "111001", "111003"
SERIES, SUMMARIES = ("121232", "112002"), ("111064", "111065")
GAVE_UP = {"111224": "failed", "111225": "not attempted"}
SCORES = {"probability", "likelihood", "score", "confidence", "certainty", "risk", "suspicion", "malignancy"}
"""A word of these in the name of a number makes it one that may be the product's score."""
POSITIVE = {"present", "positive", "yes", "detected", "abnormal", "suspicious", "finding present"}
NEGATIVE = {"absent", "negative", "no", "not detected", "normal", "not suspicious", "finding absent"}
IDS = ("series", "study", "accession")


@dataclass
class Group:
    """What one measurement group, or the report beside its groups, says.

    Attributes:
        finding: what is looked for; "" where not said.
        numbers: name -> (value, unit), of each number.
        codes: name -> value, of each coded evaluation.
        missing: name -> why there is no number of this name.
        reason: why there is no result at all; "" where nothing is said.
    """

    finding: str = ""
    numbers: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass
class Report:
    """One structured report.

    Attributes:
        file: its path, for messages.
        uid: of the report.
        replaces: reports that it takes the place of.
        ids: "series", "study" and "accession" of the scan; "" where not known.
        about: patient, date, age, sex, algorithm, version.
        groups: what it says.
    """

    file: str
    uid: str
    replaces: set[str]
    ids: dict[str, str]
    about: dict[str, str]
    groups: list[Group]


@dataclass(frozen=True)
class ResultsTable:
    """The table that was written.

    Attributes:
        path: of the CSV.
        percent: whether the reports give the score in percent.
        remarks: what was taken for what.
    """

    path: Path
    percent: bool
    remarks: tuple[str, ...]


def write_results_table(
    folder: Path, out: Path, *, labels: Path | None = None, score: str | None = None
) -> ResultsTable:
    """Read all reports below a folder, and write what they say as a table for `read_score_table`.

    Args:
        folder: of the reports; other files are passed over.
        out: the CSV to write: scan, patient, date, age, sex, finding, score, call, refused, version, and all ids.
        labels: table of labels, whose ids say whether a scan is a series, a study or an accession number.
        score: name or code of the number that is the score; None where its name tells.

    Raises:
        BadSite: the folder cannot be listed.
        BadTable: there is no report, a report is damaged, or what the score is cannot be told.
    """
    unread: list[BadScan] = []
    reports = read_reports(folder, unread)
    name, percent = _score_name(folder, reports, score)
    call, unclear = _call_name(reports)
    kind = _id_kind(folder, reports, labels)
    findings = list(dict.fromkeys(g.finding for r in reports for g in r.groups if name in g.numbers and g.finding))
    lines = [row for report in reports for row in _rows(report, name, call, kind, findings)]
    columns = ["scan", *_about(reports), "finding", "score", "call", "refused", *IDS, "report"]
    kept = [c for c in columns if any(line.get(c) for line in lines) or c in {"scan", "score"}]
    names = [{"series": "series_uid", "study": "study_uid"}.get(c, c) for c in kept]
    write_whole(out, csv_text(names, [[line.get(c, "") for c in kept] for line in lines], plain=True))
    words = f"{numbered(len(reports), 'report')} read into {out}: the score is {name!r}, a scan is a {kind}"
    passed_over = [f"{error.where}: {error.what}; what lies there was not read" for error in unread]
    remarks = (words + (f", the call is {call!r}" if call else ""), *unclear, *passed_over)
    return ResultsTable(out, percent, remarks)


def read_reports(folder: Path, unread: list[BadScan]) -> list[Report]:
    """All structured reports below a folder but those that another one replaces, in the order of their paths.

    Args:
        folder: of the reports.
        unread: takes what below could not be listed, as `walk` tells it.

    Raises:
        BadSite: the folder cannot be listed.
        BadTable: it is no folder, there is no report, or one is damaged.
    """
    if not folder.is_dir():
        raise BadTable(folder, "is no folder", "Give the folder that the DICOM structured reports lie in")
    found, others = [], 0
    for place, names in walk(folder, unread):
        for name in names:
            report = _read(place / name)
            others += report is None
            found += [] if report is None else [report]
    if not found:
        what = f"holds no DICOM structured report ({others} other files)"
        raise BadTable(folder, what, "Export the product's reports (modality SR) into it")
    replaced = {uid for report in found for uid in report.replaces}
    return [report for report in found if report.uid not in replaced]


def _read(path: Path) -> Report | None:
    """One report; None for a file that is no structured report."""
    then = "Export it again, or move it away"
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        tags = read_tags(path)  # refuses a file that is cut short, of which pydicom says nothing
        if tags is None or not tags.values.get("SOPClassUID", "").startswith(REPORTS):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are not as the standard has them; those used are checked
            return _report(path, dcmread(path, force=True))
    except BadScan as error:
        raise BadTable(path, error.what, then) from error
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file makes of the parser
        raise BadTable(path, f"is no readable DICOM file ({error})", then) from error


def _report(path: Path, data: Dataset) -> Report:
    groups = [Group()]
    about = {"version": "", "algorithm": ""}
    _collect(data, groups[0], groups, about)
    series, studies = _evidence(data)
    if len(series) != 1:
        series = sorted({str(i.get("UID", "")) for i in _all_items(data) if _code(i) in SERIES} - {""})
    study = next(iter(studies)) if len(studies) == 1 else _text(data, "StudyInstanceUID")
    requested = [
        r for item in (data, *data.get("ReferencedRequestSequence", ())) if (r := _text(item, "AccessionNumber"))
    ]
    software = data.get("SoftwareVersions", "")
    parts = [software] if isinstance(software, str) else list(software)
    about["version"] = about["version"] or " ".join(map(str, parts))
    return Report(
        file=path.name,
        uid=_text(data, "SOPInstanceUID"),
        replaces=set(_predecessors(data)),
        ids={"series": series[0] if len(series) == 1 else "", "study": study, "accession": next(iter(requested), "")},
        about={
            "patient": _text(data, "PatientID"),
            "date": _text(data, "StudyDate"),
            "age": _text(data, "PatientAge"),
            "sex": _text(data, "PatientSex"),
            **about,
        },
        groups=[g for g in groups if g.numbers or g.codes or g.reason],
    )


def _collect(item: Dataset, group: Group, groups: list[Group], about: dict[str, str]) -> None:
    """Go down the content tree; each measurement group opens a group of its own."""
    for child in item.get("ContentSequence", ()):
        code, kind = _code(child), _text(child, "ValueType")
        inside = group
        if kind == "CONTAINER" and code == GROUP:
            inside = Group()
            groups.append(inside)
        elif kind == "NUM":
            _number(child, inside)
        elif kind == "CODE":
            _coded(child, inside, code)
        elif kind == "TEXT" and code in {NAME, VERSION}:
            key = "algorithm" if code == NAME else "version"
            about[key] = about[key] or _text(child, "TextValue")
        _collect(child, inside, groups, about)


def _number(item: Dataset, group: Group) -> None:
    name = _meaning(item, "ConceptNameCodeSequence")
    values = item.get("MeasuredValueSequence", ())
    if values and _text(values[0], "NumericValue"):
        unit = next(iter(values[0].get("MeasurementUnitsCodeSequence", ())), Dataset())
        group.numbers.setdefault(name, []).append((_text(values[0], "NumericValue"), _text(unit, "CodeValue")))
    else:
        group.numbers.setdefault(name, [])
        group.missing.setdefault(name, _meaning(item, "NumericValueQualifierCodeSequence") or "no value")


def _coded(item: Dataset, group: Group, code: str) -> None:
    value = next(iter(item.get("ConceptCodeSequence", ())), Dataset())
    if code == FINDING:
        group.finding = group.finding or _text(value, "CodeMeaning")
    elif code in SUMMARIES:
        if (gave_up := GAVE_UP.get(_text(value, "CodeValue"))) is not None:
            group.reason = group.reason or gave_up
    else:
        group.codes.setdefault(_meaning(item, "ConceptNameCodeSequence"), _text(value, "CodeMeaning"))


def _evidence(data: Dataset) -> tuple[list[str], set[str]]:
    """Series and studies that the report is about."""
    series, studies = dict[str, None](), set()
    for study in data.get("CurrentRequestedProcedureEvidenceSequence", ()):
        studies.add(_text(study, "StudyInstanceUID"))
        for one in study.get("ReferencedSeriesSequence", ()):
            series[_text(one, "SeriesInstanceUID")] = None
    return [s for s in series if s], studies - {""}


def _predecessors(data: Dataset) -> Iterator[str]:
    for study in data.get("PredecessorDocumentsSequence", ()):
        for series in study.get("ReferencedSeriesSequence", ()):
            for one in series.get("ReferencedSOPSequence", ()):
                yield _text(one, "ReferencedSOPInstanceUID")


def _all_items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _all_items(child)


def _text(item: Any, name: str) -> str:
    value = item.get(name, "")
    return "" if value is None else str(value).strip()


def _code(item: Dataset) -> str:
    name = next(iter(item.get("ConceptNameCodeSequence", ())), Dataset())
    return _text(name, "CodeValue")


def _meaning(item: Dataset, sequence: str) -> str:
    name = next(iter(item.get(sequence, ())), Dataset())
    return _text(name, "CodeMeaning") or _text(name, "CodeValue")


# What is the score, the call, the scan -------------------------------------------------------------------------------


def _score_name(folder: Path, reports: Sequence[Report], score: str | None) -> tuple[str, bool]:
    """Name of the number that is the score, and whether it is in percent."""
    units: dict[str, Counter[str]] = {}
    for group in (g for r in reports for g in r.groups):
        for name, values in group.numbers.items():
            units.setdefault(name, Counter()).update(unit for _, unit in values)
    if not units:
        raise BadTable(
            folder, f"none of its {len(reports)} reports holds a number", "Ask the vendor for scores in them"
        )
    listed = ", ".join(repr(name) for name in units)
    if score is not None:
        names = [name for name in units if name.casefold() == score.strip().casefold()]
        if not names:
            raise BadTable(folder, f"no report holds a number {score!r} (numbers: {listed})", "Correct --score")
    else:
        names = [name for name in units if SCORES & set(name.casefold().replace("-", " ").split())]
        names = names or (list(units) if len(units) == 1 else [])
        if len(names) != 1:
            what = f"{len(names) or len(units)} numbers may be the score: {listed}"
            raise BadTable(folder, what, "Say which with --score NAME")
    seen = {"%" if unit == "%" else "1" for unit in units[names[0]]}
    if len(seen) > 1:
        raise BadTable(folder, f"{names[0]!r} is in percent in some reports, not in others", "Export them alike")
    return names[0], seen == {"%"}


def _call_name(reports: Sequence[Report]) -> tuple[str, tuple[str, ...]]:
    """Name of the one evaluation that says present or absent, "" where there is none or several; and a remark then."""
    seen = [(n, v.casefold()) for r in reports for g in r.groups for n, v in g.codes.items()]
    names = {name for name, value in seen if value in POSITIVE | NEGATIVE}
    whole = [n for n in names if all(value in POSITIVE | NEGATIVE for name, value in seen if name == n)]
    if len(whole) > 1:
        listed = ", ".join(repr(n) for n in sorted(whole))
        return "", (f"Several calls ({listed}): which is the product's decision is not told; give its --threshold",)
    return (whole[0] if whole else ""), ()


def _id_kind(folder: Path, reports: Sequence[Report], labels: Path | None) -> str:
    """What names a scan: the kind of id that the table of labels has, else the first that every report has."""
    whole = [kind for kind in IDS if all(r.ids[kind] for r in reports)]
    if not whole:
        lost = next(r for r in reports if not any(r.ids.values()))
        raise BadTable(folder / lost.file, "names neither series nor study nor accession number", "Export it again")
    if labels is None or not labels.is_file():
        return whole[0]
    cells = {cell.strip() for _, line in read_lines(labels, str(labels)) for cell in line}
    return max(whole, key=lambda kind: len({r.ids[kind] for r in reports} & cells))


def _about(reports: Sequence[Report]) -> list[str]:
    return list(dict.fromkeys(name for r in reports for name in r.about))


def _rows(report: Report, name: str, call: str, kind: str, findings: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """One row for each group with the score or a reason why there is none; without a group one for each finding."""
    shared = {"scan": report.ids[kind], **report.about, **report.ids, "report": report.file}
    groups = [g for g in report.groups if name in g.numbers]
    beside = next((g.codes[call] for g in report.groups if call in g.codes), "") if len(groups) == 1 else ""
    for group in groups:
        values = group.numbers[name]
        if len({value for value, _ in values}) > 1:
            what = f"holds {len(values)} values of {name!r}{f' for {group.finding!r}' if group.finding else ''}"
            raise BadTable(report.file, what, "Give reports with one score for each scan and finding")
        said = (group.codes.get(call, "") or beside).casefold()
        yield {
            **shared,
            "finding": group.finding or (findings[0] if len(findings) == 1 else ""),
            "score": values[0][0] if values else "",
            "call": "" if not values else "1" if said in POSITIVE else "0" if said in NEGATIVE else "",
            "refused": "" if values else group.missing.get(name, "no value"),
        }
    if not groups:
        reason = next((g.reason for g in report.groups if g.reason), "no score in its report")
        own = [g.finding for g in report.groups if g.finding]
        for finding in own or findings or [""]:
            yield {**shared, "finding": finding, "score": "", "call": "", "refused": reason}
