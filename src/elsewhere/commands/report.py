"""The records of one or several studies in; one page, its figures and its tables out."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.errors import BadStudy
from elsewhere.evidence import report as page
from elsewhere.evidence.roc import grid_roc, roc_band
from elsewhere.model.prediction import read_predictions
from elsewhere.plan import SECTIONS, Folder, read_table
from elsewhere.scans.store import Shelf

PAPER_SITES = ("UTSW", "CC-CCII", "COVID-CTset", "MosMedData")
FORMS = {
    "utsw": "DICOM, HU",
    "cc_ccii": "PNG, JPEG or BMP slices, 0–255",
    "covid_ctset": "16-bit TIFF, HU + 1024",
    "mosmeddata": "NIfTI, HU",
    "volumes": "NIfTI, MHA or NRRD",
    "images": "image slices",
}
PROTOCOL_WORDS = {
    "paper": "The paper's protocol to the letter: intensities as published, whole slices, the paper's thresholds.",
    "harmonised": "Known encodings back to HU, a lung window, the lungs' bounding box on one fixed grid, mild "
    "intensity augmentation, and one threshold per model from its own training sites.",
}
LUNG_WINDOW = (-1350, 150)  # HU
DEPARTING = ("split", "preparation", "network", "sample", "training", "prediction", "evaluation")
UNSAID = {("preparation", "size"), ("split", "seed"), ("training", "seed")}  # said elsewhere on the page
EXAMPLE_PIXELS = 256


def report(
    studies: Annotated[list[Path], typer.Argument(help="Folders of studies, to be shown side by side.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the page [the first study's].")] = None,
) -> None:
    """Write `report.html`, every figure as SVG and PNG, and every table as CSV. Research use only."""
    folders = [Folder(path) for path in studies]
    identities = [_identity(folder) for folder in folders]
    settings = [identity["settings"] for identity in identities]
    content = page.Report(
        title=settings[0]["title"],
        studies=[_study(f, i) for f, i in zip(folders, identities, strict=True)],
        origin=settings[0]["origin"],
        published=all(site in _names(settings[0]) for site in PAPER_SITES),
        planted=settings[0]["planted"],
        notes=settings[0]["notes"],
        command=shlex.join(["elsewhere", "report", *map(str, studies), *(["--out", str(out)] if out else [])]),
    )
    target = out or folders[0].root
    page.write_report(content, target)
    engine.console.print(f"The page: [bold]{target / 'report.html'}[/]", soft_wrap=True)


def _identity(folder: Folder) -> dict[str, Any]:
    if not folder.study.is_file():
        raise BadStudy(folder.root, "holds no study (study.json is missing)", "Run `elsewhere study` into it first")
    return json.loads(folder.study.read_text(encoding="utf-8"))


def _names(settings: dict[str, Any]) -> list[str]:
    return [site["name"] for site in settings["sites"]]


def _study(folder: Folder, identity: dict[str, Any]) -> page.Study:
    settings, findings = identity["settings"], json.loads(folder.audit.read_text(encoding="utf-8"))
    return page.Study(
        name=settings["name"],
        protocol=_protocol_words(settings),
        models=[_model(folder, name, sites) for name, sites in identity["models"].items()],
        sites=[page.Site(s["name"], s["country"], FORMS[s["kind"]], _use(s)) for s in settings["sites"]],
        counts=findings["counts"],
        scores=read_table(folder.scores),
        rocs=list(_rocs(folder, identity)),
        curves=list(_curves(folder, identity["models"])),
        bad_scans=[page.BadScanRow(**row) for row in _csv_rows(folder.bad_scans)],
        audit=_audit(findings),
        examples=list(_examples(folder, settings)),
        reading=settings["evaluation"]["threshold"],
        departures=_departures(settings),
        settings=settings,
        versions=identity["versions"],
        seeds={"study": settings["seed"]},
        split_hash=identity["split_hash"],
        notes=_repaired(findings),
    )


def _protocol_words(settings: dict[str, Any]) -> str:
    """What the study's protocol is, and which of the paper's choices this study changed."""
    words = PROTOCOL_WORDS[settings["protocol"]]
    if settings["protocol"] == "paper" and (changed := _departures(settings)):
        sections = ", ".join(dict.fromkeys(name.partition(".")[0] for name in changed))
        return f"The paper's protocol, with other values in: {sections} (all of them below, under Settings)."
    return words


def _use(site: dict[str, Any]) -> str:
    return "external validation only" if site["use"] == "test" else ""


def _model(folder: Folder, name: str, sites: Sequence[str]) -> page.Model:
    record = json.loads((folder.model(name) / "checkpoint.json").read_text(encoding="utf-8"))
    return page.Model(name, tuple(sites), record.get("iteration"), record.get("sha256", ""))


def _rocs(folder: Folder, identity: dict[str, Any]) -> Iterable[page.RocBand]:
    for model in identity["models"]:
        for site in _names(identity["settings"]):
            test = [r for r in read_predictions(folder.predictions(model, site)) if r["subset"] == "test"]
            single = [r for r in test if r["pass"] < 0]
            labels = [r["label"] for r in single]
            if len(set(labels)) == 2:
                yield _roc(model, site, labels, [r["probability"] for r in single], [r for r in test if r["pass"] >= 0])


def _roc(model: str, site: str, labels: list[int], scores: list[float], dropout: list[dict[str, Any]]) -> page.RocBand:
    curve = grid_roc(labels, scores)
    if not dropout:
        return page.RocBand(model, site, curve.false_positive_rate, curve.true_positive_rate)
    passes = max(row["pass"] for row in dropout) + 1
    table = np.array([row["probability"] for row in sorted(dropout, key=lambda row: row["pass"])]).reshape(passes, -1)
    of_table = [row["label"] for row in dropout if row["pass"] == 0]
    band = roc_band(of_table, table)
    rates = (curve.false_positive_rate, curve.true_positive_rate)
    return page.RocBand(model, site, *rates, band.false_positive_rate, band.low, band.high)


def _curves(folder: Folder, models: Iterable[str]) -> Iterable[dict[str, Any]]:
    for name in models:
        for row in _csv_rows(folder.model(name) / "curves.csv"):
            yield {"model": name, **{key: float(value) if value else None for key, value in row.items()}}


def _csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _audit(findings: dict[str, Any]) -> page.Audit:
    return page.Audit(
        warnings=[*findings["warnings"], *findings["notes"]],
        leaks=[{**leak, "subsets": " and ".join(leak["subsets"])} for leak in findings["leaks"]],
        duplicates=findings["duplicates"],
        facts=findings["facts"],
        site_only_auc=findings["site_only_auc"],
        confounding=findings.get("confounding", ()),
        forensics=findings.get("forensics", ()),
        looks=findings.get("looks", ()),
    )


def _repaired(findings: dict[str, Any]) -> list[str]:
    notes = []
    if findings["copies_left_out"]:
        notes.append(f"{findings['copies_left_out']} copies of a scan under the same patient were left out.")
    if findings["repaired"]:
        notes.append(
            f"{len(findings['repaired'])} remarks on scans that were read with repairs are kept in audit.json."
        )
    return notes


def _departures(settings: dict[str, Any]) -> dict[str, str]:
    """Options that differ from the paper's values, in words."""
    words = {}
    for section in DEPARTING:
        paper = json.loads(json.dumps(asdict(SECTIONS[section]())))
        for field in fields(SECTIONS[section]):
            if (section, field.name) in UNSAID:
                continue
            given = settings[section][field.name]
            if given != paper[field.name]:
                words[f"{section}.{field.name}"] = f"{given} (paper: {paper[field.name]})"
    return words


def _examples(folder: Folder, settings: dict[str, Any]) -> Iterable[page.ExampleSlice]:
    """One slice of one scan per site and class: the first test scan, a little below the middle."""
    rows = [row for row in read_table(folder.scans) if row["status"] == "ok" and row["subset"] == "test"]
    for site in _names(settings):
        for label in (1, 0):
            found = sorted((r for r in rows if r["site"] == site and r["label"] == label), key=lambda r: r["scan"])
            if found:
                yield _example(found[0], settings["preparation"])


def _example(row: dict[str, Any], preparation: dict[str, Any]) -> page.ExampleSlice:
    number = int(0.55 * row["slices"])
    shelf = Shelf({(row["site"], row["scan"]): Path(row["file"])})
    picture = shelf.read(row["site"], row["scan"], number, number + 1)[0].astype(np.float32)
    units = "HU" if preparation["encoding"] == "hu" else row["units"]
    pixels, words = _windowed(picture, units)
    if units == "HU" and row["units"] == "relative":
        words = "grey values taken back through an assumed window"
    step = max(1, -(-max(pixels.shape) // EXAMPLE_PIXELS))
    caption = f"slice {number + 1} of {row['slices']}, {words}"
    return page.ExampleSlice(row["site"], row["label"], pixels[::step, ::step], caption)


def _windowed(picture: NDArray[np.float32], units: str) -> tuple[NDArray[np.uint8], str]:
    if units == "HU":
        low, high, words = *LUNG_WINDOW, f"window {LUNG_WINDOW[0]}..{LUNG_WINDOW[1]} HU"
    elif units == "ct_number":
        low, high, words = LUNG_WINDOW[0] + 1024, LUNG_WINDOW[1] + 1024, "CT numbers in the same window"
    else:
        low, high, words = 0, 255, "grey values as published"
    return np.clip((picture - low) / (high - low) * 255, 0, 255).astype(np.uint8), words
