"""Raw scans of a study's sites in; prepared volumes, the list of scans, the bad scans and the audit out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from rich.table import Table

from elsewhere import engine
from elsewhere.audit_rows import AuditRecord, RepairRow
from elsewhere.errors import BadScan, BadSite, BadStudy, ElsewhereError
from elsewhere.files import csv_text, write_whole
from elsewhere.scans.quality.examination import examine
from elsewhere.scans.scan import CLASSES, SUBSETS, Fold, Found, Scan, draw_folds, split, split_hash
from elsewhere.scans.sites import list_site
from elsewhere.scans.store import Stored
from elsewhere.stages import stage
from elsewhere.statistics.audit import CountRow, FactsRow, Leak, ScanName, audit
from elsewhere.studies.expected import expected_words
from elsewhere.studies.file import Site, Study
from elsewhere.studies.folder import Folder, forget
from elsewhere.studies.folds import check_fold_subsets
from elsewhere.studies.ingest import announce_store, take_in_all
from elsewhere.studies.needs import study_needs, study_store
from elsewhere.studies.records import AUDIT, COPY, OK, SCANS, ScanRow, read_audit
from elsewhere.studies.trainings import check_trainings
from elsewhere.table_format import RecordFormat
from elsewhere.wording import numbered, verb

AUDIT_FACTS = ("content_hash", "rows", "columns", "units", "padding_share", "black_share", "slice_spacing_mm")


def prepare_study(study: Study, folder: Folder, workers: int | None = None, *, whole: bool = False) -> None:
    """Prepare every site of a study into `folder`; scans already in the store are not read again.

    A run that is refused leaves the folder's records as they were; what it found goes into `refused/`, below.

    Args:
        study: what to prepare.
        folder: the study's.
        workers: processes; None means one per core.
        whole: refuse also settings that begun or finished trainings do not go on with.

    Raises:
        BadSite: a site has no readable scan.
        BadStudy: a subset would stay empty, something leaks between subsets and `allow_leak` is not set, or trainings
            of this folder were made of other scans, labels or another split.
        BadCheckpoint: a training's state is damaged.
    """
    with stage("find scans"):
        found = {site.name: _find(site) for site in study.sites}
    scans = [scan for site in found.values() for scan in site.scans]
    subsets = _subsets(study, scans)
    rows, bad = _take_in_all(study, folder, scans, subsets, workers)
    rows = _in_folds(rows, _folds(study, scans))
    rows = _mark_copies(rows, keep={s.name for s in study.sites if s.options.get("copies") == "keep"})
    labels = {(s.site, s.scan): s.label for s in scans}
    left_out = [(site, labels[site, scan]) for site, scan, _ in bad]
    left_out += [(name, label) for name, one in found.items() for label in one.missing]
    bad += ((name, "", error) for name, one in found.items() for error in one.bad)
    findings: AuditRecord | None = None
    with stage("list of scans"):
        try:
            _check_readable(study, rows, bad)
            _check_subsets(study, rows)
            findings = _audit(folder, rows, found, left_out)
            _print_audit(findings, bad)
            _print_expected(study, rows)
            _check_leaks(study, findings)
            _check_folds(study, rows, findings.duplicates)
            check_trainings(study, folder, [r for r in rows if r.usable], whole=whole)
        except ElsewhereError as error:
            raise _refuse(error, folder, rows, bad, findings) from error
        _write(folder, folder, rows, bad, findings)
        forget(folder.refused)


def _find(site: Site) -> Found:
    return list_site(site.kind, site.root, site.name, site.labels, site.options)


def _subsets(study: Study, scans: Sequence[Scan]) -> dict[tuple[str, str], str]:
    """Subset of every scan: by the split, "test" at sites for external validation, "unlabelled" without a label."""
    subsets = {(s.site, s.scan): "test" for s in scans}
    divided = [s for s in scans if s.label is not None and study.site(s.site).use == "split"]
    unlabelled = {(s.site, s.scan): "unlabelled" for s in scans if s.label is None}
    return subsets | split(divided, study.split) | unlabelled


def _folds(study: Study, scans: Sequence[Scan]) -> dict[tuple[str, str], Fold]:
    """Fold of every labelled scan of the training sites; nothing without a cross-validation."""
    trained_on = {site for sites in study.models.values() for site in sites}
    drawn = [s for s in scans if s.label is not None and s.site in trained_on] if study.split.folds else []
    return draw_folds(drawn, study.split)


def _in_folds(rows: Sequence[ScanRow], folds: Mapping[tuple[str, str], Fold]) -> list[ScanRow]:
    drawn = [folds.get((row.site, row.scan), Fold(0, 0)) for row in rows]
    return [replace(row, fold=one.number, chooses=one.chooses) for row, one in zip(rows, drawn, strict=True)]


def _take_in_all(
    study: Study, folder: Folder, scans: Sequence[Scan], subsets: Mapping[tuple[str, str], str], workers: int | None
) -> tuple[list[ScanRow], list[tuple[str, str, BadScan]]]:
    tasks = []
    announce_store(study_store(study, folder))
    for scan in scans:
        site = study.site(scan.site)
        tasks.append((site.kind, scan, site.root, study_store(study, folder), study.preparation, examine))
    rows: dict[int, ScanRow] = {}
    bad: dict[int, tuple[str, str, BadScan]] = {}
    for index, result in take_in_all(tasks, workers, study_needs(study, folder)):
        scan = scans[index]
        if isinstance(result, BadScan):
            bad[index] = (scan.site, scan.scan, result)
        else:
            rows[index] = _row(scan, result, folder, subsets[scan.site, scan.scan])
    return [rows[i] for i in sorted(rows)], [bad[i] for i in sorted(bad)]


def _row(scan: Scan, stored: Stored, folder: Folder, subset: str) -> ScanRow:
    facts = stored.record["facts"]
    return ScanRow(
        site=scan.site,
        patient=scan.patient,
        scan=scan.scan,
        label=scan.label,
        stratum=scan.group,
        status=OK,
        file=folder.keep(stored.path),
        slices=stored.slices,
        minimum=stored.minimum,
        maximum=stored.maximum,
        prepared_hash=stored.record["checksum"],
        **{name: facts[name] for name in AUDIT_FACTS},
        source_slices=facts["slices"],
        notes=tuple(stored.record["notes"]),
        facts={**scan.facts, **facts},
        subset=subset,
    )


def _mark_copies(rows: Sequence[ScanRow], keep: set[str]) -> list[ScanRow]:
    """A patient's second volume with the same voxels is no second scan (protocol page, known fault 1)."""
    seen: set[tuple[str, str, str]] = set()
    marked = []
    for row in rows:
        name = (row.site, row.patient, row.prepared_hash)
        marked.append(replace(row, status=COPY) if name in seen and row.site not in keep else row)
        seen.add(name)
    return marked


def _check_readable(study: Study, rows: Sequence[ScanRow], bad: Sequence[tuple[str, str, BadScan]]) -> None:
    for site in study.sites:
        if not any(row.site == site.name for row in rows):
            first = next((error for name, _, error in bad if name == site.name), None)
            if first is None:
                raise BadSite(site.root, f"site {site.name} has no scan", "Look at its folder and its labels table")
            what = f"site {site.name} has no readable scan; the first, {first.where}: {first.what}"
            raise BadSite(site.root, what, first.next_step)


def _check_subsets(study: Study, rows: Sequence[ScanRow]) -> None:
    """Every subset that the study needs must have kept a readable scan."""
    for site in study.sites:
        for subset in SUBSETS if site.use == "split" else ("test",):
            if not any((r.site, r.subset) == (site.name, subset) and r.usable for r in rows):
                raise BadStudy(
                    site.root,
                    f"site {site.name} has no usable labelled scan left in its {subset} subset",
                    "Look at bad_scans.csv or at the labels, and add or repair scans",
                )


def _audit(
    folder: Folder,
    rows: Sequence[ScanRow],
    found: Mapping[str, Found],
    left_out: Sequence[tuple[str, int | None]],
) -> AuditRecord:
    usable = [row for row in rows if row.usable]
    findings = AuditRecord(
        **vars(audit(usable, left_out)),
        notes=tuple(note for site in found.values() for note in site.notes),
        copies_left_out=len(rows) - len(usable),
        repaired=tuple(RepairRow(row.site, row.scan, note) for row in usable for note in row.notes),
        split_hash=split_hash({(r.site, r.scan): r.subset for r in usable}),
    )
    return _carried_over(folder, findings)


def _check_leaks(study: Study, findings: AuditRecord) -> None:
    if findings.leaks and not study.allow_leak:
        raise BadStudy(
            study.name,
            f"{numbered(len(findings.leaks), 'leak')} between subsets, the first: {_leak(findings.leaks[0])}",
            "Correct the site's data, or set `allow_leak = true` in the study file to go on and have it reported",
        )


def _check_folds(study: Study, rows: Sequence[ScanRow], duplicates: Sequence[Sequence[ScanName]]) -> None:
    """No volume may stand in two folds, under whatever patient, and each fold must have kept what its network needs."""
    if not study.split.folds:
        return
    folds = {(row.site, row.scan): row.fold for row in rows}
    for group in () if study.allow_leak else duplicates:
        inside = [scan for scan in group if folds[scan.site, scan.scan]]
        for one, other in pairwise(inside):
            if folds[one.site, one.scan] != folds[other.site, other.scan]:
                what = f"scans {one.scan} and {other.scan} of {one.site} and {other.site} have equal voxels"
                raise BadStudy(
                    study.name,
                    f"{what} and stand in two folds of the cross-validation",
                    "Correct the site's data, or set `allow_leak = true` in the study file to go on",
                )
    check_fold_subsets(study, [row for row in rows if row.usable])


def _write(
    folder: Folder,
    into: Folder,
    rows: Sequence[ScanRow],
    bad: Sequence[tuple[str, str, BadScan]],
    findings: AuditRecord | None,
) -> None:
    SCANS.write(into.scans, [replace(row, file=into.keep(folder.place(row.file))) for row in rows])
    write_whole(into.bad_scans, _bad_table(bad))
    if findings is None:  # refused before the audit: a file that says no more than what it is
        RecordFormat(AUDIT.name, AUDIT.version, (), AUDIT.next_step).write(into.audit, {})
    else:
        AUDIT.write(into.audit, findings)


def _refuse(
    error: ElsewhereError,
    folder: Folder,
    rows: Sequence[ScanRow],
    bad: Sequence[tuple[str, str, BadScan]],
    findings: AuditRecord | None,
) -> ElsewhereError:
    """The error, with where the records of this run are: beside those of the finished one, which stay as they are."""
    _write(folder, Folder(folder.refused), rows, bad, findings)
    stays = "; the folder's records stay as they were" if folder.scans.is_file() else ""
    then = f"{error.next_step}. What this run found is in {folder.refused}{stays}"
    return type(error)(error.where, error.what, then)


def _carried_over(folder: Folder, findings: AuditRecord) -> AuditRecord:
    """With what `elsewhere audit` added for the same split; it checks for itself whether that still holds."""
    try:
        earlier = read_audit(folder)
    except BadStudy:  # none yet, or damaged: it is made anew
        return findings
    if earlier.split_hash != findings.split_hash:
        return findings
    return replace(
        findings,
        confounding=earlier.confounding,
        forensics=earlier.forensics,
        looks=earlier.looks,
        audited=earlier.audited,
    )


def _leak(leak: Leak) -> str:
    return f"{leak.kind} {leak.what} stands in {' and '.join(leak.subsets)}"


def _bad_table(bad: Sequence[tuple[str, str, BadScan]]) -> str:
    rows = [(site, scan, error.where, error.what, error.next_step) for site, scan, error in bad]
    return csv_text(("site", "scan", "path", "reason", "next_step"), rows)


def _class(label: int | None) -> str:
    return "unlabelled" if label is None else CLASSES[label]


def _facts_table(facts: Sequence[FactsRow]) -> Table:
    names = ("units", "matrix", "slice_spacing_mm", "median_slices", "padding_share", "black_share")
    table = engine.sheet("How the scans were acquired", "site", "class", *(name.replace("_", " ") for name in names))
    for fact in facts:
        shown = ("–" if (value := getattr(fact, name)) is None else str(value) for name in names)
        table.add_row(fact.site, _class(fact.label), *shown)
    return table


def _print_expected(study: Study, rows: Sequence[ScanRow]) -> None:
    """How sure an AUC on the test patients of each training site will be."""
    for site in dict.fromkeys(name for sites in study.models.values() for name in sites):
        own = [row for row in rows if row.site == site and row.usable]
        test, whole = (
            tuple(len({r.patient for r in own if r.label == label and r.subset in subsets}) for label in (1, 0))
            for subsets in (("test",), SUBSETS)
        )
        if words := expected_words((test[0], test[1]), (whole[0], whole[1]), study.split.folds):
            patients = f"{numbered(test[0], 'positive test patient')} and {test[1]} negative"
            engine.say(f"{patients}: {words}", f"{site}:", "bold")


def _counts_table(counts: Sequence[CountRow]) -> Table:
    table = engine.sheet("Audit", "site", "class", "subset", "patients", "scans", "slices")
    for row in counts:
        table.add_row(row.site, _class(row.label), row.subset, str(row.patients), str(row.scans), str(row.slices))
    return table


def _print_audit(findings: AuditRecord, bad: Sequence[tuple[str, str, BadScan]]) -> None:
    engine.console.print(_counts_table(findings.counts))
    engine.console.print(_facts_table(findings.facts))
    if groups := len(findings.duplicates):
        engine.say(f"{numbered(groups, 'group')} of scans {verb(groups, 'has', 'have')} equal voxels, see audit.json.")
    if findings.site_only_auc is not None:
        engine.say(f"A rule that knows only the site reaches AUC {findings.site_only_auc:.2f}.")
    for sentence in [*findings.warnings, *findings.notes]:
        engine.say(sentence, "Note:", "yellow")
    if copies := findings.copies_left_out:
        was = verb(copies, "was", "were")
        engine.say(f"{numbered(copies, 'copy', 'copies')} of a scan under the same patient {was} left out.")
    for leak in findings.leaks[:5]:
        engine.say(_leak(leak), "Leak:", "red")
    if len(findings.leaks) > 5:
        engine.say(f"… and {numbered(len(findings.leaks) - 5, 'more leak')}, see audit.json")
    if bad:
        engine.say(
            f"see bad_scans.csv; the first: {bad[0][2]}", f"{numbered(len(bad), 'scan')} could not be used,", "red"
        )
