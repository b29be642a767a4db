"""A study's folder in; everything that the page shows of it out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from elsewhere.audit_rows import AuditRecord, TieRow
from elsewhere.commands.report.cells import (
    Cells,
    calibrations,
    further_trainings,
    group_means,
    new_hospital,
    over_unseen_sites,
    read_cells,
    rocs,
)
from elsewhere.commands.report.comparisons import comparisons
from elsewhere.commands.report.contrasts import contrasts
from elsewhere.commands.report.details import details
from elsewhere.commands.report.drop import losses
from elsewhere.commands.report.examples import examples
from elsewhere.commands.report.folds import ensembles, ensembles_elsewhere
from elsewhere.commands.report.hardest import hardest
from elsewhere.commands.report.kept_study import KeptSite, KeptStudy
from elsewhere.commands.report.patients import characteristics
from elsewhere.commands.report.products import product_tests, ran_models, unanswered
from elsewhere.commands.report.protocol import departures, protocol_words
from elsewhere.errors import BadSite, BadStudy
from elsewhere.files import last_parts, shown_path
from elsewhere.model.declared import bare_command
from elsewhere.model.network import read_checkpoint_record
from elsewhere.model.network_settings import ENCODERS, PAPER
from elsewhere.pages import report as page
from elsewhere.pages.report.selection import selection_row
from elsewhere.pages.report.words import ODD_SCANS
from elsewhere.scans.sites import kind_of
from elsewhere.scans.tables import read_rows
from elsewhere.statistics.learned import Learned
from elsewhere.studies.arm_results import read_arms
from elsewhere.studies.auditing import warn_of_facts
from elsewhere.studies.ensembles import read_cross_validation
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.learned import read_learned
from elsewhere.studies.models import PATHS
from elsewhere.studies.products import read_local_readings, read_product_scores
from elsewhere.studies.records import (
    CLASS_SEPARATIONS,
    DOSES,
    EXPLANATIONS,
    SALIENCY,
    SEPARATIONS,
    SHORTCUTS,
    read_audit,
    read_findings,
    read_scores,
    read_seed_scores,
    usable_rows,
)
from elsewhere.studies.returned import Return, read_returns
from elsewhere.studies.trainings import check_trained_scans
from elsewhere.table_format import TableFormat
from elsewhere.wording import numbered, verb

RowT = TypeVar("RowT")

FORMS = {
    "dicom": "DICOM, HU",
    "cc_ccii": "PNG, JPEG or BMP slices, 0–255",
    "covid_ctset": "16-bit TIFF, HU + 1024",
    "mosmeddata": "NIfTI, HU",
    "volumes": "NIfTI, MHA or NRRD",
    "images": "image slices",
}
PAPER_SITES = ("UTSW", "CC-CCII", "COVID-CTset", "MosMedData")
AUDIT, DIAGNOSE, STRESS = (f"elsewhere {verb} STUDY.toml {{study}}" for verb in ("audit", "diagnose", "stress"))


def study_of(folder: Folder, kept: KeptStudy, cells: Cells | None = None) -> page.Study:
    """One study as its records tell it; what is missing is named, not guessed.

    Args:
        folder: the study's folder.
        kept: its study.json.
        cells: its test scans where they were read already.

    Raises:
        BadStudy: scores or predictions are missing or damaged.
    """
    settings, findings = kept.settings, read_audit(folder)
    scores, cells = read_scores(folder, kept.record), cells or read_cells(folder, kept)
    learned = read_learned(folder, kept.models)
    checkpoints = {name: read_checkpoint_record(folder.checkpoint(name)) for name in kept.models}
    rows = usable_rows(folder)
    for name, sites in kept.models.items():
        check_trained_scans(folder, name, sites, checkpoints[name], rows)
    models = [_model(checkpoints[name], name, sites, learned[name]) for name, sites in kept.models.items()]
    whole = [name for name, record in checkpoints.items() if "preparation" in record]
    validated = read_cross_validation(folder)
    able = [model for model in models if not model.degenerate]
    returned = read_returns(folder)
    scores = [*scores, *(row for one in returned for row in one.scores)]
    diagnosis, stress, shown = _diagnosis(folder), _stress(folder), _shortener(folder, kept.sites)
    hard = hardest(rows, cells, able, scores, findings.forensics or ())
    drops, local = losses(folder, rows, cells, able, scores)
    arms, trials = read_arms(load_study(folder.root), folder) if "comparison" in kept.all_settings else ([], [])
    return page.Study(
        name=settings.name,
        protocol=protocol_words(kept),
        models=models,
        sites=[page.Site(s.name, s.country, FORMS[kind_of(s.kind) or s.kind], _use(s)) for s in kept.sites]
        + [page.Site(one.hospital, form="computed at the hospital", visited=one.date) for one in returned],
        counts=findings.counts,
        patients=characteristics(rows),
        scores=scores,
        groups=group_means(
            cells, able, kept.site_names, read_cells(folder, kept, further_trainings(folder, kept)), returned
        ),
        new_hospital=new_hospital(cells, able, returned),
        rocs=list(rocs(cells, returned)),
        calibrations=list(calibrations(cells)),
        drops=drops,
        local=local,
        selections=[selection_row(name, r["selection"]) for name, r in checkpoints.items() if r.get("selection")],
        comparisons=comparisons(cells, able, returned),
        products=[product["name"] for product in kept.all_settings.get("products", ())],
        ran=ran_models(folder),
        unanswered=unanswered(folder),
        product_scores=read_product_scores(folder, kept.all_settings),
        product_local=read_local_readings(folder, kept.all_settings),
        product_tests=product_tests(folder, cells, able),
        over_sites=over_unseen_sites(cells, able, returned),
        visits=list(map(_visit, returned)),
        hardest=hard.scans,
        judged=hard.judged,
        contrasts=contrasts(cells, able, scores),
        diagnosis=diagnosis,
        stress=stress,
        trainings=read_seed_scores(folder, kept.record),
        arms=arms,
        arm_trials=trials,
        learned=[_learned(name, found) for name, found in learned.items()],
        cross_validation=validated,
        ensembles=ensembles(folder, kept, validated),
        ensembles_elsewhere=list(ensembles_elsewhere(folder, kept, cells)),
        details=details(folder, rows, cells, scores, kept.reading, whole),
        ties=list(_ties(folder, kept)),
        absent=_absent(folder, diagnosis, stress, audited=findings.audited is not None),
        curves=list(_curves(folder, kept.models)),
        bad_scans=_bad_scans(folder, shown),
        audit=_audit(findings, shown),
        examples=list(examples(folder, rows, kept)),
        reading=kept.reading,
        departures=departures(kept),
        settings=_last_parts(kept),
        versions=kept.versions,
        seeds={"study": settings.seed},
        split_hash=kept.split_hash,
        notes=[
            *([f"Positive scans show {settings.finding}."] if settings.finding else []),
            *_backbone_note(kept.network),
            *settings.notes,
        ],
        left_out=[*_repaired(findings, settings.name), *_truth_gone(folder, kept)],
        origin=settings.origin,
        planted=settings.planted,
        published=set(PAPER_SITES) <= set(kept.site_names),
    )


def _shortener(folder: Folder, sites: Iterable[KeptSite]) -> Callable[[str], str]:
    """Of a text, with the last part of each site's folder instead of all of it: the page goes to others."""
    roots = [folder.place(site.root) for site in sites]
    return lambda text: last_parts(text, roots)


def _last_parts(kept: KeptStudy) -> Mapping[str, Any]:
    """The settings, with the last part of each path."""
    settings, store = kept.all_settings, kept.settings.store
    sites = [
        {**given, "root": Path(site.root).name, "labels": site.labels and Path(site.labels).name}
        for given, site in zip(settings["sites"], kept.sites, strict=True)
    ]
    products = [{key: _bare(key, value) for key, value in product.items()} for product in settings.get("products", ())]
    shown = {**settings, "sites": sites, "store": store and Path(store).name}
    return shown | ({"products": products} if products else {})


def _bare(key: str, value: Any) -> Any:
    """A setting of a model, with the last part of each path."""
    if key == "files":
        return [Path(file).name for file in value]
    if key == "run":
        return bare_command(value)
    return Path(value).name if key in PATHS and value else value


def _backbone_note(kind: str) -> list[str]:
    """Which networks these are and how they were computed, where they are not the paper's."""
    if kind == PAPER:
        return []
    if kind in ENCODERS:
        return [
            f"The networks are a linear layer each, trained on features that the pretrained encoder {kind} gives of a "
            "whole scan; the encoder is not changed. Which scans it learned from is its makers' to say: some may be of "
            "these sites. What the networks look at (saliency) is not known."
        ]
    whose = "of a class of the user's own" if ":" in kind else "MONAI's"
    said = (
        f"The networks are not the paper's but {whose} {kind}, trained and asked by PyTorch's own operations: the fast "
        "kernels are for the paper's network alone. What they look at (saliency) is not known."
    )
    foreign = f"Foreign code was run: {kind} is a module of the user's own. What it does besides is not known."
    return [said, foreign] if ":" in kind else [said]


def _diagnosis(folder: Folder) -> page.Diagnosis:
    return page.Diagnosis(
        separation=_diagnosed(folder.diagnosis_table("separation"), SEPARATIONS),
        shortcuts=_diagnosed(folder.diagnosis_table("shortcuts"), SHORTCUTS),
        saliency=_diagnosed(folder.diagnosis_table("saliency"), SALIENCY),
        labels=_diagnosed(folder.diagnosis_table("labels"), CLASS_SEPARATIONS),
        findings=read_findings(folder.findings),
    )


def _stress(folder: Folder) -> page.Stress:
    curves, explanations = folder.stress_curves, folder.stress_explanations
    return page.Stress(
        DOSES.read(curves) if curves.is_file() else (),
        EXPLANATIONS.read(explanations) if explanations.is_file() else (),
    )


def _diagnosed(path: Path, form: TableFormat[RowT]) -> list[RowT]:
    """The rows of one table of the diagnosis; none where it was not made."""
    return form.read(path) if path.is_file() else []


def _absent(folder: Folder, diagnosis: page.Diagnosis, stress: page.Stress, *, audited: bool) -> dict[str, str]:
    parts = {
        ODD_SCANS: (audited, AUDIT),
        "shift diagnosis: what tells the sites apart": (bool(diagnosis.separation), DIAGNOSE),
        "shortcut battery: scores with the lungs erased": (bool(diagnosis.shortcuts), DIAGNOSE),
        "where the networks look": (bool(diagnosis.saliency), DIAGNOSE),
        "dose–response curves": (bool(stress.curves), STRESS),
        "which shift explains a new site": (bool(stress.explanations), STRESS),
    }
    return {
        words: command.format(study=shown_path(folder.root)) for words, (there, command) in parts.items() if not there
    }


def _ties(folder: Folder, kept: KeptStudy) -> Iterable[TieRow]:
    """The dials of simulated sites, and which way each tie points, from the sidecar that the simulator leaves."""
    for site in kept.sites if kept.settings.origin == "simulated" else ():
        sidecar = Path(f"{folder.place(site.root)}.truth.json")
        if sidecar.is_file():
            try:
                yield from _ties_of(site.name, json.loads(sidecar.read_text(encoding="utf-8")))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadStudy(sidecar, f"is damaged ({error!r})", "Remove it, and simulate the site again") from error


def _truth_gone(folder: Folder, kept: KeptStudy) -> list[str]:
    """A sentence where the planted truth of simulated sites is no longer there."""
    gone = [site.name for site in kept.sites if not Path(f"{folder.place(site.root)}.truth.json").is_file()]
    if kept.settings.origin != "simulated" or not gone:
        return []
    return [
        f"The planted truth of {', '.join(gone)} is not beside these simulated sites any more: what is planted, "
        "and whether an advantage of one protocol is built in by them, cannot be shown."
    ]


def _ties_of(site: str, truth: dict[str, Any]) -> Iterable[TieRow]:
    for factor, strength in truth["dials"].items():
        directions = truth.get("directions", {}).get(factor, {})  # older simulations name none
        yield TieRow(site, factor.replace("_", " "), float(strength), **directions)


def _visit(found: Return) -> page.VisitRow:
    counts = {f.name: getattr(found.counts, f.name) for f in fields(page.VisitRow) if hasattr(found.counts, f.name)}
    return page.VisitRow(
        hospital=found.hospital,
        date=found.date,
        kit=found.kit,
        models=tuple(cell.model for cell in found.cells),
        counts_only=not found.counts.enough,
        warnings=tuple(warn_of_facts(found.rules)),
        outside=", ".join(found.outside),
        **counts,
    )


def _use(site: KeptSite) -> str:
    return "external validation only" if site.use == "test" else ""


def _model(record: dict[str, Any], name: str, sites: Sequence[str], learned: Learned) -> page.Model:
    return page.Model(name, tuple(sites), record.get("iteration"), record.get("sha256", ""), learned.reasons)


def _learned(name: str, found: Learned) -> page.JudgementRow:
    words = {"reasons": "; ".join(found.reasons), "remarks": "; ".join(found.remarks)}
    return page.JudgementRow(name, **vars(found) | words)


def _curves(folder: Folder, models: Iterable[str]) -> Iterable[page.CurveRow]:
    for name in models:
        path = folder.curves(name)
        then = f"Restore it, or remove {folder.model(name)} and run `elsewhere study` to train it anew"
        for row in _csv_rows(path, ("iteration",), then):
            try:
                yield page.CurveRow(name, {key: float(value) if value else None for key, value in row.items()})
            except ValueError as error:
                raise BadStudy(path, f"is damaged ({error})", then) from error


def _bad_scans(folder: Folder, shown: Callable[[str], str]) -> list[page.BadScanRow]:
    names = [f.name for f in fields(page.BadScanRow)]
    rows = _csv_rows(folder.bad_scans, names, "Run `elsewhere prepare` again: scans in the store are not read again")
    return [page.BadScanRow(**{name: shown(row[name]) for name in names}) for row in rows]


def _csv_rows(path: Path, names: Sequence[str], next_step: str) -> list[dict[str, str]]:
    """Rows of a CSV that a command wrote; whatever program has saved it since."""
    try:
        return read_rows(path, names)
    except BadSite as error:
        raise BadStudy(path, error.what, next_step) from error


def _audit(findings: AuditRecord, shown: Callable[[str], str]) -> page.Audit:
    return page.Audit(
        warnings=[shown(words) for words in (*findings.warnings, *findings.notes)],
        leaks=findings.leaks,
        duplicates=findings.duplicates,
        facts=findings.facts,
        site_only_auc=findings.site_only_auc,
        confounding=findings.confounding or (),
        forensics=findings.forensics or (),
        looks=findings.looks or (),
    )


def _repaired(findings: AuditRecord, name: str) -> list[str]:
    """What was left out or repaired, each sentence with the study's name: it stands beside those of other studies."""
    notes = []
    if copies := findings.copies_left_out:
        was = verb(copies, "was", "were")
        notes.append(f"“{name}”: {numbered(copies, 'copy', 'copies')} of a scan under the same patient {was} left out.")
    if remarks := len(findings.repaired):
        verb_ = verb(remarks, "is", "are")
        words = f"{numbered(remarks, 'remark')} on scans that were read or prepared with repairs {verb_} kept in its"
        notes.append(f"“{name}”: {words} audit.json.")
    return notes
