"""`elsewhere verdict`: whether a study's model works on the scans of a new site, as three lines, a page and JSON."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import TypeAdapter

from elsewhere import engine
from elsewhere.commands import LeastAuc, LeastSensitivity, LeastSpecificity, NetBenefitAt, Workers
from elsewhere.errors import BadScan, BadSite, BadStudy
from elsewhere.files import csv_text, last_parts, write_whole
from elsewhere.model.cuda import device_of
from elsewhere.model.network import Network, load_checkpoint, read_checkpoint_record
from elsewhere.model.prediction import PredictionSettings, measure_fast_error
from elsewhere.model.prediction import predict as predict_scan
from elsewhere.model.runnable import threshold_of
from elsewhere.model.runnable.declared import Declared
from elsewhere.model.sample import Case, Read, SampleSettings
from elsewhere.pages.verdict import Occasion, render
from elsewhere.scans.quality.examination import examine
from elsewhere.scans.scan import Fact, Found, Scan
from elsewhere.scans.score_table import read_score_table
from elsewhere.scans.sites import KINDS
from elsewhere.scans.store import Stored
from elsewhere.scans.volume import Preparation
from elsewhere.statistics.decision import OperatingPoint, choose_threshold
from elsewhere.statistics.estimate import KnownSite
from elsewhere.statistics.requirements import Requirements
from elsewhere.statistics.strata import age_and_sex
from elsewhere.statistics.verdict import Scans, Verdict, judge, judge_unlabelled
from elsewhere.studies.asking import ask_about_new, product_of
from elsewhere.studies.evaluation import Evaluation, evaluate_table
from elsewhere.studies.file import Site
from elsewhere.studies.folder import Folder
from elsewhere.studies.ingest import take_in_all
from elsewhere.studies.learned import learned_models
from elsewhere.studies.new_site import find_scans, new_site, read_options
from elsewhere.studies.predictions import Predictions, fitting_predictions, join_predictions
from elsewhere.studies.records import VERDICT, read_identity, usable_rows
from elsewhere.wording import numbered, verb

Bad = tuple[str, str, str]

METADATA = ("units", "slice_spacing_mm", "source_slices", "padding_share", "black_share")
"""Metadata of the known scans that a new site is compared with; the network sees each of them in some way."""


@dataclass(frozen=True)
class Model:
    """One trained model of a study and what the study knows of it.

    Attributes:
        folder: the study's folder.
        name: of the model.
        trained_on: its training sites.
        settings: the study's settings, as study.json has them.
    """

    folder: Folder
    name: str
    trained_on: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class NewScan:
    """One scan of the new site, predicted.

    Attributes:
        patient: patient id.
        scan: scan id.
        label: 1, 0, or None where nobody labelled it.
        probability: the model's.
        stratum: for case mix; None where age or sex is not known.
        metadata: `METADATA` of it.
    """

    patient: str
    scan: str
    label: int | None
    probability: float
    stratum: str | None
    metadata: Mapping[str, Fact]


def verdict(
    study: Annotated[Path, typer.Argument(help="Folder of the study that trained the model.")],
    model: Annotated[str, typer.Argument(help="Name of the model: its training sites joined by '+'.")],
    scans: Annotated[Path, typer.Argument(help="Folder of the new site's scans, or a study file that has the site.")],
    *,
    kind: Annotated[str | None, typer.Option(help=f"File format of the scans: {', '.join(KINDS)} [dicom].")] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels table [the one in the folder; none: estimate].")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Site option KEY=VALUE, as units=HU; repeatable.")] = None,
    site: Annotated[str | None, typer.Option(help="Site of the study file [the only one in it].")] = None,
    least_auc: LeastAuc = None,
    least_sensitivity: LeastSensitivity = None,
    least_specificity: LeastSpecificity = None,
    net_benefit_at: NetBenefitAt = None,
    margin: Annotated[
        float | None, typer.Option(help="Largest loss of AUC, sensitivity, specificity against home [0.10].")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Prevalence for predictive values, beside that of the labelled scans.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the verdict [STUDY/verdicts/MODEL/SITE].")] = None,
    workers: Workers = None,
) -> None:
    """Will this model work on these scans? One page in plain words, and an exit code. Research use only.

    It works where the whole 95 % interval meets every requirement; those in brackets stand in for what is not stated
    (a stated AUC, sensitivity or specificity also replaces its default margin to home).

    Exit codes: 0 works, 10 re-threshold or recalibrate, 11 adapt, 12 do not use, 20 cannot tell, 21 estimate only
    (no labels), 30 no discrimination at home, 1 error.
    """
    try:
        stated = Requirements(least_auc, least_sensitivity, least_specificity, net_benefit_at, margin)
    except ValueError as error:
        raise typer.BadParameter(f"--{str(error).replace('_', '-')}") from error
    if prevalence is not None and not 0 < prevalence < 1:
        raise typer.BadParameter(f"--prevalence must be above 0 and below 1, is {prevalence:g}")
    new = new_site(scans, kind, labels, read_options(option or ()), site)
    if (product := product_of(Folder(study), model)) is not None:
        done = judge_product(
            Folder(study), product, new, stated=stated, prevalence=prevalence, out=out, workers=workers
        )
        raise typer.Exit(done.exit_code)
    answer = judge_site(study, model, new, stated=stated, prevalence=prevalence, out=out, workers=workers)
    if answer.exit_code:
        raise typer.Exit(answer.exit_code)


def judge_site(
    study: Path,
    model: str,
    site: Site,
    *,
    stated: Requirements = Requirements(),  # noqa: B008 - frozen
    prevalence: float | None = None,
    out: Path | None = None,
    workers: int | None = None,
) -> Verdict:
    """Prepare and predict a new site's scans, judge, write verdict.json, verdict.html and scans.csv, print 3 lines.

    With labels for some scans the verdict rests on those; without any it is an estimate. Scans that cannot be used
    are listed, and so are copies of scans that the model was trained or chosen on.

    Raises:
        BadStudy: no such study or model, or the model was not tried at its own sites.
        BadSite: the folder holds no readable scan, or its labels table is wrong.
        BadCheckpoint: the model's weights are missing or damaged.
    """
    known = _model(study, model)
    target = out or known.folder.verdict(model, site.name)
    found = find_scans(site)
    rows, bad = _predict(known, site, found, (out or known.folder.verdicts) / "store", workers)
    if not rows:
        raise BadSite(site.root, f"no scan can be used; the first: {_first(bad)}", _first_next_step(bad))
    answer = _judge(known, rows, stated, prevalence)
    answer = replace(answer, notes=(*answer.notes, *(last_parts(note, [site.root]) for note in found.notes)))
    unused = [(last_parts(scan, [site.root]), last_parts(why, [site.root]), then) for scan, why, then in bad]
    occasion = _occasion(known, site, unused)
    write_whole(target / "scans.csv", _table(rows, unused))
    record = answer.to_record() | {"model": model, "site": occasion.site, "trained_on": list(known.trained_on)}
    record |= {"checkpoint": occasion.checkpoint, "origin": occasion.origin}
    record["bad_scans"] = [dict(zip(("scan", "reason", "next_step"), b, strict=True)) for b in unused]
    VERDICT.write(target / "verdict.json", record)
    write_whole(target / "verdict.html", render(answer, occasion))
    _print(answer, bad, target)
    return answer


def judge_product(
    folder: Folder,
    product: Declared,
    site: Site,
    *,
    stated: Requirements = Requirements(),  # noqa: B008 - frozen
    prevalence: float | None = None,
    out: Path | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Run a model that was not trained here on a new site's labelled scans, and evaluate its scores, which are kept.

    It has no home here: what it was trained on is not known. So the verdict is that of `elsewhere evaluate`.

    Raises:
        BadStudy: a margin to home is required, or no scan has a label.
        BadSite: the folder holds no scan, or its labels table is wrong.
        BadTable: too little is known of the scans to evaluate anything, such as one class.
        BadCheckpoint: a file of the model is missing or damaged.
    """
    name = product.name
    if stated.margin is not None:
        what = f"compares with home, and what {name} was trained on is not known"
        raise BadStudy("--margin", what, "State --least-auc, --least-sensitivity or --least-specificity instead")
    found = find_scans(site)
    if not found.scans:
        raise BadSite(site.root, "no scan can be used", "Give the folder that holds the scans")
    if all(scan.label is None for scan in found.scans):
        what = f"has no label, and without labels {name} cannot be estimated: where it is at home is not known"
        raise BadStudy(site.root, what, "Give --labels, at least for some scans")
    answers = ask_about_new(site, found.scans, product, folder, workers)
    target = out or folder.verdict(name, site.name)
    rows = [(s, answers[s.scan]) for s in sorted(found.scans, key=lambda s: s.scan)]
    cells = [
        (s.scan, s.patient, s.label, a.probability, a.reason, *(s.facts.get(n) for n in ("age", "sex")))
        for s, a in rows
    ]
    names = ("scan", "patient", "label", "score", "refused", "age", "sex")
    write_whole(target / "scores.csv", csv_text(names, cells, plain=True))
    for error in found.bad:
        engine.say(error, "Left out:", "yellow")
    table = read_score_table(
        target / "scores.csv", {"score": "score"}, scale="probability", threshold=threshold_of(product)
    )
    remarks = (*table.remarks, *found.notes, *dict.fromkeys(r for _, a in rows for r in a.remarks))
    if product.runs_code:
        remarks = (*remarks, f"Foreign code was run: {name} {product.runs_code}.")
    table = replace(table, remarks=remarks)
    return evaluate_table(table, stated, prevalence=prevalence, name=name, out=target)


def _model(study: Path, name: str) -> Model:
    folder = Folder(study)
    identity = read_identity(folder)
    if name in {product["name"] for product in identity["settings"].get("products", ())}:
        what = f"judges {name} from its scores alone: it cannot be run on other scans"
        raise BadStudy(folder.root, what, "Give its scores of them to `elsewhere evaluate`")
    if name not in identity["models"]:
        raise BadStudy(study, f"has no model {name!r}", f"Choose one of its models: {', '.join(identity['models'])}")
    return Model(folder, name, tuple(identity["models"][name]), identity["settings"])


def _first(bad: Sequence[Bad]) -> str:
    return ": ".join(bad[0][:2]) if bad else "none was found"


def _first_next_step(bad: Sequence[Bad]) -> str:
    return _with_option_hint(bad[0][2]) if bad else "Give the folder that holds the scans"


def _with_option_hint(next_step: str) -> str:
    """Advice on a site's options names how this command takes them."""
    return f"{next_step} (here: --option KEY=VALUE)" if "site's options" in next_step else next_step


# The new site's scans ---------------------------------------------------------------------------------------------


def _predict(
    model: Model, site: Site, found: Found, store: Path, workers: int | None
) -> tuple[list[NewScan], list[Bad]]:
    network, record = load_checkpoint(model.folder.checkpoint(model.name))
    stored, bad = _take_in(store, record, site, found, workers)
    learned = _learned(model)
    fresh = []
    for scan, kept in stored:
        hashes = (str(kept.record["facts"]["content_hash"]), str(kept.record["checksum"]))
        known = next((learned[name] for name in hashes if name in learned), None)
        if known is None:
            fresh.append((scan, kept))
        else:
            words = f"is a copy of {known}, on which this model was trained or chosen"
            bad.append((scan.scan, words, "Nothing: it is left out, because it would flatter the model"))
    sample = TypeAdapter(SampleSettings).validate_python(record["sample"])
    prediction = TypeAdapter(PredictionSettings).validate_python(model.settings["prediction"])
    network.to(device_of(str(model.settings["training"]["accelerator"])))
    tasks = [(network, scan, kept, sample, prediction) for scan, kept in fresh]
    if prediction.fast and fresh:
        error = measure_fast_error(network, *_case(*fresh[0]), sample)
        engine.say(f"Fast mode: logits change by {error:.1e}")
    rows = []
    for index, result in engine.run(_probability, tasks, workers=1, describe="Predicting"):
        scan, kept = fresh[index]
        if isinstance(result, BadScan):
            bad.append((scan.scan, result.what, result.next_step))
        else:
            rows.append(_row(scan, kept, result))
    return rows, bad


def _probability(
    network: Network, scan: Scan, kept: Stored, sample: SampleSettings, prediction: PredictionSettings
) -> float | BadScan:
    case, read = _case(scan, kept)
    try:
        return float(predict_scan(network, case, read, sample, prediction.stride, fast=prediction.fast).max())
    except BadScan as error:
        return error


def _case(scan: Scan, kept: Stored) -> tuple[Case, Read]:
    def read(_: Case, start: int, stop: int) -> NDArray[Any]:
        return kept.read(start, stop)

    case = Case(scan.site, scan.patient, scan.scan, scan.label or 0, kept.slices, kept.minimum, kept.maximum)
    return case, read


def _take_in(
    store: Path, record: Mapping[str, Any], site: Site, found: Found, workers: int | None
) -> tuple[list[tuple[Scan, Stored]], list[Bad]]:
    """The scans, prepared as the checkpoint says into `store`, in the order of their ids."""
    preparation = TypeAdapter(Preparation).validate_python(record["preparation"])
    tasks = [(site.kind, scan, site.root, store, preparation, examine) for scan in found.scans]
    stored: list[tuple[Scan, Stored]] = []
    bad: list[Bad] = [(error.where, error.what, error.next_step) for error in found.bad]
    for index, result in take_in_all(tasks, workers):
        scan = found.scans[index]
        if isinstance(result, BadScan):
            bad.append((scan.scan, f"{result.where}: {result.what}", _with_option_hint(result.next_step)))
        else:
            stored.append((scan, result))
    return sorted(stored, key=lambda pair: pair[0].scan), sorted(bad)


def _learned(model: Model) -> dict[str, str]:
    """Hashes, as read and as prepared, of what the model learned from or was chosen on -> where that is from."""
    rows = [r for r in usable_rows(model.folder) if r.site in model.trained_on]
    own = [r for r in rows if r.subset in {"train", "validation"}]
    return {key: f"{r.site}: {r.scan}" for r in own for key in (r.prepared_hash, r.content_hash) if key}


def _row(scan: Scan, kept: Stored, probability: float) -> NewScan:
    facts = kept.record["facts"]
    metadata = {name: facts["slices" if name == "source_slices" else name] for name in METADATA}
    return NewScan(
        scan.patient, scan.scan, scan.label, probability, age_and_sex({**facts, **scan.facts}), metadata=metadata
    )


# What the study knows, and the judgement --------------------------------------------------------------------------


def _judge(model: Model, rows: Sequence[NewScan], stated: Requirements, prevalence: float | None) -> Verdict:
    tables = {s: fitting_predictions(model.folder, model.name, s).deterministic for s in _predicted(model)}
    validation = join_predictions([tables[site] for site in model.trained_on]).subset("validation")
    if not len(validation):
        raise BadStudy(model.folder.root, f"{model.name} has no validation predictions", "Run `elsewhere study` again")
    ties = model.settings["evaluation"].get("ties", "middle")
    point = choose_threshold(validation.labels, validation.probabilities, ties=ties)
    labelled = [r for r in rows if r.label is not None]
    if not labelled:
        return _estimate(model, rows, tables, _known_scans(model, validation), point=point, stated=stated)
    home_sites = _home_sites(model, tables)
    home = join_predictions([tables[site] for site in home_sites]).subset("test")
    answer = judge(
        scored_scans(labelled),
        _known_scans(model, home),
        point,
        stated=stated,
        prevalence=prevalence,
        validation=learned_models(model.folder, {model.name: model.trained_on})[model.name],
        resamples=int(model.settings["evaluation"]["resamples"]),
        seed=int(model.settings["seed"]),
    )
    notes = []
    if len(labelled) < len(rows):
        spare = len(rows) - len(labelled)
        was = verb(spare, "was", "were")
        notes.append(f"{numbered(spare, 'scan')} without a label {was} predicted, and did not count.")
    if len(home_sites) > 1:
        notes.append(
            f"Home is the internal test sets of {' and '.join(home_sites)}; its AUC compares scans of one site."
        )
    return replace(answer, notes=tuple(notes))


def _predicted(model: Model) -> list[str]:
    """The study's sites where the model was tried; its own training sites must be among them."""
    names = [site["name"] for site in model.settings["sites"]]
    return [n for n in names if n in model.trained_on or model.folder.predictions(model.name, n).is_file()]


def _home_sites(model: Model, tables: Mapping[str, Predictions]) -> list[str]:
    """Training sites with both classes in their test scans; all of them where none has."""
    both = [s for s in model.trained_on if len(set(tables[s].subset("test").labels.tolist())) == 2]
    return both or list(model.trained_on)


def _known_scans(model: Model, found: Predictions) -> Scans:
    """Predicted scans of the study with each one's stratum; patients of two sites are never the same."""
    known = {(r.site, r.scan): age_and_sex(r.facts) for r in usable_rows(model.folder)}
    strata = [known.get(key) for key in zip(found.sites.tolist(), found.scans.tolist(), strict=True)]
    kinds = None if None in strata else np.array(strata)
    return Scans(found.labels, found.people, found.probabilities, kinds, found.sites)


def scored_scans(rows: Sequence[NewScan]) -> Scans:
    """Labelled scans of the new site as columns; strata only where every scan has one."""
    strata = [r.stratum for r in rows]
    return Scans(
        np.array([r.label for r in rows]),
        np.array([r.patient for r in rows]),
        np.array([r.probability for r in rows]),
        None if None in strata else np.array(strata),
    )


def _estimate(
    model: Model,
    rows: Sequence[NewScan],
    tables: Mapping[str, Predictions],
    home: Scans,
    *,
    point: OperatingPoint,
    stated: Requirements,
) -> Verdict:
    known = [
        KnownSite(site, t.labels, t.probabilities, site in model.trained_on, t.people)
        for site, t in tables.items()
        if len(t)
    ]
    seen = usable_rows(model.folder)
    return judge_unlabelled(
        [r.probability for r in rows],
        [r.patient for r in rows],
        known,
        home,
        point,
        stated=stated,
        metadata={name: [r.metadata[name] for r in rows] for name in METADATA},
        known_metadata={name: [getattr(r, name) for r in seen] for name in METADATA},
    )


# What is left behind ----------------------------------------------------------------------------------------------


def _occasion(model: Model, site: Site, bad: Sequence[Bad]) -> Occasion:
    record = read_checkpoint_record(model.folder.checkpoint(model.name))
    return Occasion(
        model=model.name,
        trained_on=model.trained_on,
        site=site.name,
        root=site.root.resolve().name,
        origin=model.settings["origin"],
        checkpoint=record["sha256"],
        bad=tuple(bad),
        command=shlex.join(
            [
                *("elsewhere", "verdict", model.folder.root.resolve().name, model.name, site.root.resolve().name),
                *("--kind", site.kind, *(["--labels", site.labels.name] if site.labels else [])),
                *(word for key, value in site.options.items() for word in ("--option", f"{key}={value}")),
            ]
        ),
    )


def _table(rows: Sequence[NewScan], bad: Sequence[Bad]) -> str:
    used = [(r.patient, r.scan, r.label, repr(r.probability), "") for r in rows]
    unused = [("", scan, None, None, reason) for scan, reason, _ in bad]
    return csv_text(("patient", "scan", "label", "probability", "reason_not_used"), [*used, *unused])


def _print(answer: Verdict, bad: Sequence[Bad], target: Path) -> None:
    for words in answer.lines:
        typer.echo(words)
    if bad:
        engine.say(f"{numbered(len(bad), 'scan')} could not be used; the first: {_first(bad)}")
    engine.say(target / "verdict.html", "The page:")
