"""A finished study in; scores of its home scans under graded CT shifts, and which shift could explain each site, out.

How one scan is shifted, measured and kept stands in `shifting`. Models that did not learn (`learned_models`) are named
as degenerate and not stressed: nothing that moves their scores is a cause of anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.commands import Workers, split_names
from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.cuda import device_of
from elsewhere.model.declared import Declared
from elsewhere.model.runnable import threshold_of
from elsewhere.rows import UNLEARNED, DoseRow, ExplanationRow
from elsewhere.scans.intake import ended
from elsewhere.scans.marks import ALL, INSTEAD, MARKS
from elsewhere.scans.shifts import LADDERS, Shift, plan_shift, plan_shifts
from elsewhere.statistics.decision import OperatingPoint, choose_threshold
from elsewhere.statistics.dose import Dosed, dose_curve, significant_falls
from elsewhere.statistics.explanation import FEWEST, NOTHING, Explanation, Key, explain, say, shown, with_midpoints
from elsewhere.statistics.learned import Learned, judge_learned
from elsewhere.studies.asking import can_be_run, model_to_run
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder, open_study
from elsewhere.studies.kept import kept_record
from elsewhere.studies.learned import learned_models
from elsewhere.studies.needs import study_needs, workers_on
from elsewhere.studies.predictions import fitting_predictions, validation_at_home
from elsewhere.studies.products import read_products
from elsewhere.studies.records import DOSES, EXPLANATIONS, ProductRow, ScanRow, usable_rows
from elsewhere.studies.shifting import (
    AS_IS,
    Found,
    Look,
    Task,
    asked_of,
    entry_of,
    looks_of,
    marks_of,
    measure_scan,
    missing,
    stress_scan,
    tasks_of,
)
from elsewhere.wording import decimals, numbered

Bad = list[tuple[str, str, BadScan]]
Columns = Mapping[str, NDArray[np.float64]]

SCANS = FEWEST
"""Test scans per home and site unless told otherwise: half of each class, where there are enough."""


@dataclass(frozen=True)
class Home:
    """One model and one of its training sites, whose test scans are shifted.

    Attributes:
        model: its name.
        site: the training site; of a model that was not trained here, the site that stands in for it.
        rows: the test scans chosen.
        positives: share of positives among all of the site's test scans.
    """

    model: str
    site: str
    rows: tuple[ScanRow, ...]
    positives: float


def stress(
    study: Annotated[Path, typer.Argument(help="Study file (TOML), or the folder of a study that was run.")],
    out: Annotated[Path | None, typer.Argument(help="The study's folder [runs/NAME].")] = None,
    *,
    models: Annotated[
        list[str] | None, typer.Option(help="Model names, comma-separated or repeated [single-site models].")
    ] = None,
    home: Annotated[
        str | None,
        typer.Option(help="Home of models not trained here [the first site with both classes]."),
    ] = None,
    shifts: Annotated[list[str] | None, typer.Option(help=f"Shifts, likewise [all]: {', '.join(LADDERS)}.")] = None,
    doses: Annotated[list[str] | None, typer.Option(help="Doses of one shift, likewise [its usual ones].")] = None,
    scans: Annotated[
        int,
        typer.Option(min=2, help=f"Test scans per site, half of each class; a shift is named from {FEWEST} on."),
    ] = SCANS,
    workers: Workers = None,
) -> Path:
    """Shift home scans step by step (kernel, noise, …), predict, and find which shift could explain another site."""
    plan, folder = open_study(study, out)
    chosen = _shifts(split_names(shifts), split_names(doses))
    run_stress(plan, folder, split_names(models), chosen, stands_in=home, scans=scans, workers=workers)
    return folder.stress_curves


@engine.kept()
def run_stress(
    plan: Study,
    folder: Folder,
    models: Sequence[str] = (),
    shifts: Sequence[Shift] = (),
    *,
    stands_in: str | None = None,
    scans: int = SCANS,
    workers: int | None = None,
) -> None:
    """Write stress/curves.parquet and stress/explanations.parquet into the study's folder, and print what they say.

    Of a model that was not trained here it is not known where it is at home: scans of the site `stands_in` are shifted.

    Raises:
        BadStudy: there is no such model, or it has not been predicted.
        BadCheckpoint: a model's weights are missing or damaged.
    """
    shifts = tuple(shifts) or plan_shifts()
    names = _models(plan, models)
    rows = usable_rows(folder)
    foreign = {name: _at(plan, folder, name, stands_in) for name in names if name not in plan.models}
    judged = learned_models(folder, {name: plan.models[name] for name in names if name in plan.models})
    judged |= {name: _discriminates(answered) for name, answered in foreign.items()}
    sites = {name: plan.models[name] if name in plan.models else (foreign[name][0].site,) for name in names}
    usable = {name: _answering(rows, foreign.get(name)) for name in names}
    homes = [_home(usable[n], n, site, scans) for n in names if not judged[n].degenerate for site in sites[n]]
    wanted: dict[str, dict[str, list[str]]] = {}
    for home in homes:
        for row in home.rows:
            wanted.setdefault(home.site, {}).setdefault(row.scan, []).append(home.model)
    tasks, bad = tasks_of(plan, folder, wanted, shifts)
    others = dict.fromkeys(s for home in homes for s in _others(plan, folder, home))
    looks, gone = looks_of(plan, folder, {s: [r.scan for r in _chosen(rows, s, scans)] for s in others})
    bad += gone
    device = device_of(plan.training.accelerator)  # which the tasks name
    workers, needs = workers_on(workers, device), study_needs(plan, folder, accelerator=device)
    bad += _carried_out(stress_scan, [t for t in tasks if missing(t)], workers, f"Shifting ({plan.name})", needs)
    unseen = [look for look in looks if not kept_record(look.place)]
    bad += _carried_out(measure_scan, unseen, workers, f"Measuring ({plan.name})", replace(needs, accelerator="cpu"))
    seen = {s: _columns([kept_record(look.place) for look in looks if look.scan.site == s], ALL) for s in others}
    curves: list[DoseRow] = []
    explanations: list[ExplanationRow] = []
    for name in (name for name in names if judged[name].degenerate):
        curves += [_degenerate(name, site, judged[name].reasons) for site in sites[name]]
    for home in homes:
        given = _answered(plan, folder, home, tasks)
        if not given:
            raise BadStudy(
                plan.name,
                f"no test scan of {home.site} could be shifted; the first: {bad[0][2]}",
                "Repair that scan, or remove it from the labels table",
            )
        curves += _curves(plan, folder, home, shifts, given)
        explanations += _explanations(plan, folder, home, shifts, given, seen=seen)
    DOSES.write(folder.stress_curves, curves)
    if explanations:
        EXPLANATIONS.write(folder.stress_explanations, explanations)
    else:
        folder.stress_explanations.unlink(missing_ok=True)  # of an earlier run
    _print(curves, explanations, bad)


def _carried_out(
    function: Any, tasks: Sequence[Task] | Sequence[Look], workers: int | None, words: str, needs: engine.Needs
) -> Bad:
    """What could not be read; a scan that ends its process costs itself and no other."""

    def died(index: int, how: engine.Ended) -> BadScan:
        return ended(tasks[index].scan, str(how))

    bad: Bad = []
    one_by_one = [(task,) for task in tasks]
    for index, result in engine.run(function, one_by_one, workers=workers, describe=words, died=died, needs=needs):
        if isinstance(result, BadScan):
            scan = tasks[index].scan
            bad.append((scan.site, scan.scan, result))
    return bad


# What is asked ----------------------------------------------------------------------------------------------------


def _shifts(names: Sequence[str], doses: Sequence[str]) -> tuple[Shift, ...]:
    if doses and len(names) != 1:
        raise BadStudy("--doses", f"is given for {len(names) or 'all'} shifts", "Name the one shift with --shifts")
    try:
        numbers = [float(dose) for dose in doses]
    except ValueError as error:
        raise BadStudy("--doses", f"is {','.join(doses)!r}", "Give comma-separated numbers") from error
    return plan_shifts(names, numbers)


def _models(plan: Study, names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if name not in plan.models and model_to_run(plan, name, "--models") is None:
            known = ", ".join([*plan.models, *can_be_run(plan)])
            raise BadStudy("--models", f"names {name!r}", f"Choose from the study's models: {known}")
    chosen = tuple(dict.fromkeys(names)) or tuple(name for name, sites in plan.models.items() if len(sites) == 1)
    chosen = chosen or tuple([] if plan.models else can_be_run(plan))
    if not chosen and not plan.models:
        what = "has no model that can be shown changed scans: none was trained, and none can be run on them"
        raise BadStudy(plan.name, what, "Train one, or give the model itself in [models.NAME], not its scores")
    if not chosen:
        raise BadStudy(plan.name, "has no model of a single site", f"Give --models: {', '.join(plan.models)}")
    return chosen


def _at(plan: Study, folder: Folder, name: str, home: str | None) -> list[ProductRow]:
    """What a model that was not trained here said of the test scans of the site that stands in for its home.

    Raises:
        BadStudy: the model was not run there, or not on both classes.
    """
    if home is not None:
        plan.site(home)
    answered = [r for r in read_products(folder) if r.model == name and r.probability is not None]
    for site in [home] if home is not None else [s.name for s in plan.sites]:
        own = [r for r in answered if r.site == site]
        if {r.label for r in own} == {0, 1}:
            engine.say(f"{site} stands in for it.", f"Where {name} is at home is not known:")
            return own
    what = f"has no answers of {name} to positive and negative test scans of {home or 'any one site'}"
    raise BadStudy(folder.products, what, "Run `elsewhere study` first, or give another --home")


def _discriminates(rows: Sequence[ProductRow]) -> Learned:
    """Whether a model that was not trained here tells the classes apart where its scans are to be shifted."""
    values = [float(r.probability or 0) for r in rows]
    columns = [r.label for r in rows], [r.patient for r in rows], [r.site for r in rows]
    return judge_learned(*columns, values, scans="test scans")


def _answering(rows: Sequence[ScanRow], answered: Sequence[ProductRow] | None) -> Sequence[ScanRow]:
    """The scans that a model answered; all of them where that is no question."""
    if answered is None:
        return rows
    known = {(r.site, r.scan) for r in answered}
    return [r for r in rows if (r.site, r.scan) in known]


def _chosen(rows: Sequence[ScanRow], site: str, scans: int) -> list[ScanRow]:
    """Test scans of a site: half of each class, in an order that the ids alone decide."""
    test = [r for r in rows if r.site == site and r.subset == "test"]
    order = sorted(test, key=lambda r: hashlib.sha256(f"{site}\x1f{r.scan}".encode()).hexdigest())
    classes = [[r for r in order if r.label == c] for c in (1, 0)]
    half = [min(len(classes[0]), scans // 2), min(len(classes[1]), scans - scans // 2)]
    counts = [min(len(own), scans - half[1 - i]) for i, own in enumerate(classes)]
    return [r for own, count in zip(classes, counts, strict=True) for r in own[:count]]


def _home(rows: Sequence[ScanRow], model: str, site: str, scans: int) -> Home:
    labels = [r.label for r in rows if r.site == site and r.subset == "test"]
    return Home(model, site, tuple(_chosen(rows, site, scans)), labels.count(1) / len(labels))


def _others(plan: Study, folder: Folder, home: Home) -> list[str]:
    """Sites that the model was not trained on and has been predicted at."""
    if home.model not in plan.models:
        answered = {r.site for r in read_products(folder) if r.model == home.model and r.probability is not None}
        return [site.name for site in plan.sites if site.name in answered - {home.site}]
    names = [site.name for site in plan.sites if site.name not in plan.models[home.model]]
    return [name for name in names if folder.predictions(home.model, name).is_file()]


# Records ----------------------------------------------------------------------------------------------------------


def _degenerate(model: str, site: str, reasons: Sequence[str]) -> DoseRow:
    return DoseRow(model, site, UNLEARNED, 0.0, "", f"degenerate: {'; '.join(reasons)}")


def _answered(plan: Study, folder: Folder, home: Home, tasks: Sequence[Task]) -> dict[str, Found]:
    """Scan -> what the model says of it under each shift; scans that failed are absent."""
    asked, wanted = asked_of(plan, folder, home.model), {r.scan for r in home.rows}
    found = {}
    for task in tasks:
        if task.scan.site == home.site and task.scan.scan in wanted:
            place = next((p for m, _, p in task.models if m == asked), None)
            if place is not None and (answers := kept_record(place)):
                found[task.scan.scan] = answers
    return found


def _curves(
    plan: Study, folder: Folder, home: Home, shifts: Sequence[Shift], given: Mapping[str, Found]
) -> list[DoseRow]:
    """A row per dose of each shift, dose 0 first; where a shift could not be applied to any scan, why."""
    point, rows = _point(plan, folder, home.model), list[DoseRow]()
    for name in dict.fromkeys(s.name for s in shifts):
        ladder = [s for s in shifts if s.name == name]
        usable = [r for r in home.rows if _told(given.get(r.scan, {}), [AS_IS, *map(entry_of, ladder)])]
        if not usable:
            rows += [_refused(home, s, given) for s in ladder]
            continue
        steps = {s.dose: s for s in (plan_shift(name, 0), *ladder)}
        scores = {dose: [given[r.scan][entry_of(s)] for r in usable] for dose, s in steps.items()}
        labels, patients = [r.known_label for r in usable], [r.patient for r in usable]
        curve = dose_curve(labels, patients, scores, point, home.positives)
        rows += [_row(home, steps[step.dose], step) for step in curve]
    declared = asked_of(plan, folder, home.model)
    if isinstance(declared, Declared) and threshold_of(declared) is None:
        return [replace(row, positive_share=None) for row in rows]  # it calls nothing positive
    return rows


def _told(found: Found, entries: Iterable[str]) -> bool:
    return all(isinstance(found.get(entry), float) for entry in entries)


def _row(home: Home, shift: Shift, scores: Dosed) -> DoseRow:
    return DoseRow(
        model=home.model, home=home.site, shift=shift.name, unit=shift.unit, words=shift.words, **vars(scores)
    )


def _refused(home: Home, shift: Shift, given: Mapping[str, Found]) -> DoseRow:
    """A row without scores that says why: the commonest reason."""
    reasons = [found[entry_of(shift)] for found in given.values() if isinstance(found.get(entry_of(shift)), str)]
    words = max(reasons, key=reasons.count) if reasons else "no scan could be shifted"
    return DoseRow(home.model, home.site, shift.name, shift.dose, shift.unit, f"not done: {words}")


def _point(plan: Study, folder: Folder, model: str) -> OperatingPoint:
    """The model's own threshold: from the validation scans of its training sites, or as its declaration has it."""
    declared = asked_of(plan, folder, model)
    if isinstance(declared, Declared):
        threshold = threshold_of(declared)
        return OperatingPoint(0.5 if threshold is None else threshold, "grid", "model", float("nan"), 0)
    found = validation_at_home(folder, model, plan.models[model])
    return choose_threshold(found.labels, found.probabilities, ties=plan.evaluation.ties)


def _explanations(
    plan: Study,
    folder: Folder,
    home: Home,
    shifts: Sequence[Shift],
    given: Mapping[str, Found],
    *,
    seen: Mapping[str, Columns],
) -> list[ExplanationRow]:
    """For each other site, a row per shift and dose, and one that says which could explain it, if any."""
    ready = [s for s in shifts if any(_told(f, [AS_IS, entry_of(s)]) for f in given.values())]
    usable = [r for r in home.rows if _told(given.get(r.scan, {}), [AS_IS, *map(entry_of, ready)])]
    if not ready or not usable:
        return []
    answers = [given[r.scan] for r in usable]
    ours = ([r.known_label for r in usable], [r.patient for r in usable], [a[AS_IS] for a in answers])
    shifted = with_midpoints(ours[2], {(s.name, s.dose): [a[entry_of(s)] for a in answers] for s in ready})
    columns = {(s.name, s.dose): _columns([a[marks_of(s)] for a in answers], _own(s.name)) for s in ready}
    as_is = _columns([a[f"marks {AS_IS}"] for a in answers], ALL)
    tried = len({s.name for s in ready}), len({s.name for s in shifts})
    rows: list[ExplanationRow] = []
    for site in _others(plan, folder, home):
        theirs = _elsewhere(plan, folder, home.model, site)
        try:
            said = explain(ours, shifted, theirs, shown(as_is, columns, seen[site]), seed=plan.seed)
        except ValueError as error:  # no class with enough scans at both sites: nothing to compare
            rows.append(_incomparable(home, site, str(error), tried))
            continue
        rows += _explained(said, home, site, tried)
    return rows


def _elsewhere(
    plan: Study, folder: Folder, model: str, site: str
) -> tuple[Sequence[int], Sequence[str], Sequence[float]]:
    """Labels, patients and probabilities of a site's test scans."""
    if model in plan.models:
        there = fitting_predictions(folder, model, site).subset("test").deterministic
        return there.labels.tolist(), there.patients.tolist(), there.probabilities.tolist()
    rows = [r for r in read_products(folder) if (r.model, r.site) == (model, site)]
    told = [(r.label, r.patient, r.probability) for r in rows if r.probability is not None]
    return [r[0] for r in told], [r[1] for r in told], [r[2] for r in told]


def _own(shift: str) -> list[str]:
    return [*MARKS[shift], *(INSTEAD[mark] for mark in MARKS[shift] if mark in INSTEAD)]


def _columns(rows: Sequence[Mapping[str, float]], names: Iterable[str]) -> Columns:
    return {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in names}


def _incomparable(home: Home, site: str, why: str, tried: tuple[int, int]) -> ExplanationRow:
    """The one row of a site whose scores cannot be compared with home's."""
    return ExplanationRow(
        model=home.model,
        home=home.site,
        site=site,
        shift=NOTHING,
        dose=0.0,
        distance=None,
        words=f"{why}: too few to name a shift",
        best=True,
        shown=None,
        p_left=None,
        fits=None,
        sureness=None,
        outcome="too few",
        distance_unshifted=None,
        p=None,
        p_difference=None,
        tried=tried[0],
        of=tried[1],
    )


def _explained(said: Explanation, home: Home, site: str, tried: tuple[int, int]) -> Iterable[ExplanationRow]:
    """A row for each candidate, and one for no shift; exactly one of them is the best."""
    words = {(c.shift, c.dose): plan_shift(c.shift, c.dose).words for c in said.candidates}
    sentence = say(said, words, home.site, site, tried)
    for candidate in (None, *said.candidates):
        best = candidate == said.best
        key: Key = (candidate.shift, candidate.dose) if candidate else (NOTHING, 0.0)
        distance = candidate.distance if candidate else said.distance_unshifted
        plain = f"{words.get(key, AS_IS)}: {distance:.2f} log-odds from {site}"
        yield ExplanationRow(
            model=home.model,
            home=home.site,
            site=site,
            shift=key[0],
            dose=key[1],
            distance=distance,
            words=sentence if best else plain,
            best=best,
            shown=candidate.shown if candidate else None,
            p_left=candidate.p_left if candidate else None,
            fits=candidate.fits if candidate else None,
            sureness=said.sureness if best else None,
            outcome=said.outcome,
            distance_unshifted=said.distance_unshifted,
            p=said.p_value,
            p_difference=said.p_difference,
            tried=tried[0],
            of=tried[1],
        )


def _print(curves: Sequence[DoseRow], explanations: Sequence[ExplanationRow], bad: Bad) -> None:
    for row in curves:
        if row.shift == UNLEARNED:
            engine.say(f"{row.words}. It is not stressed.", f"{row.model} at {row.home}:", "yellow")
    for home, words in falls(curves).items():
        engine.say(f"{home[0]} at {home[1]}: {words}")
    for explanation in explanations:
        if explanation.best:
            engine.say(f"{explanation.model}: {explanation.words}")
    for site, scan, error in bad[:5]:
        engine.say(error, f"{site}, {scan}:", "red")
    if len(bad) > 5:
        engine.say(f"… and {len(bad) - 5} more scans could not be used.")


def falls(curves: Sequence[DoseRow]) -> dict[tuple[str, str], str]:
    """(model, home) -> the dose at which most discrimination is lost, or that no loss is significant.

    Significant among all doses, shifts and networks of the study together, as on its page (`significant_falls`).
    """
    tested = [r for r in curves if r.difference is not None and r.p_value is not None and r.auc is not None]
    sure = significant_falls([r.difference or 0.0 for r in tested], [r.p_value or 0.0 for r in tested])
    found = {}
    for home in dict.fromkeys((r.model, r.home) for r in tested):
        own = [(r, one) for r, one in zip(tested, sure, strict=True) if (r.model, r.home) == home]
        lost = [r for r, one in own if one]
        found[home] = _worst(lost or [r for r, _ in own], bool(lost), len(tested))
    return found


def _worst(rows: Sequence[DoseRow], sure: bool, tests: int) -> str:
    lowest = min(rows, key=lambda r: r.difference or 0.0)
    fall, auc = lowest.difference or 0.0, lowest.auc or 0.0
    low, high = lowest.difference_low or 0.0, lowest.difference_high or 0.0
    digits = decimals(low, high)
    ends = f"difference {fall:.2f}, 95 % {low:.{digits}f} to {high:.{digits}f}"
    before, at = f"AUC {auc - fall:.2f} on {numbered(lowest.scans, 'scan')}", f"'{lowest.words}': {auc:.2f} ({ends})"
    if sure:
        return f"{before}; most is lost with {at}"
    return f"{before}; no fall is significant among the study's {numbered(tests, 'test')} (Holm); lowest with {at}"
