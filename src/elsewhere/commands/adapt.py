"""`elsewhere adapt`: a model fitted to a new place with few labelled scans, where that is surely worth it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.adapting_rows import Adaptation
from elsewhere.commands import Workers, split_names
from elsewhere.errors import BadOption, BadSite, BadStudy
from elsewhere.files import short_name, write_whole
from elsewhere.model.adapting import WAYS, AdaptingSettings, Way
from elsewhere.pages.adaptation import AdaptationContext, render
from elsewhere.scans.sites import KINDS
from elsewhere.statistics.labelling import CHOOSING, Choosing
from elsewhere.studies.adaptations import AdaptPlan, adapt_model, keep_adaptation
from elsewhere.studies.adapting_scans import is_site, scans_of_folder, scans_of_study
from elsewhere.studies.adapting_scores import adapt_scores, is_product, product_scores
from elsewhere.studies.asking import ask_about_new, product_of
from elsewhere.studies.exported import is_exported, write_model
from elsewhere.studies.folder import Folder, folder_of
from elsewhere.studies.known_model import KnownModel
from elsewhere.studies.new_site import find_scans, new_site, read_options
from elsewhere.studies.next_to_label import (
    NextToLabel,
    Waiting,
    choose_next,
    chosen_note,
    waiting_in_folder,
    waiting_in_study,
)
from elsewhere.studies.which_model import named_model
from elsewhere.wording import numbered

NEXT_OF_SCORES = "Give its scores to `elsewhere evaluate` with --next: it says which scans to read to judge it"


def adapt(
    study: Annotated[Path, typer.Argument(help="Study (folder or file) of the model; or a model alone: a .zip.")],
    model: Annotated[str, typer.Argument(help="Name of the model in the study. With a .zip: the scans.")],
    scans: Annotated[
        str | None, typer.Argument(help="Site of the study, folder of labelled scans, or a study file that has them.")
    ] = None,
    *,
    kind: Annotated[str | None, typer.Option(help=f"File format of the scans: {', '.join(KINDS)} [dicom].")] = None,
    labels: Annotated[Path | None, typer.Option(help="Their labels table [the one in the folder].")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Site option KEY=VALUE, as units=HU; repeatable.")] = None,
    site: Annotated[str | None, typer.Option(help="Site of the study file [the only one in it].")] = None,
    ways: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(WAYS)} [all].")] = None,
    sizes: Annotated[list[str] | None, typer.Option(help="Patients of each class, as 4,8,16 [as many as go].")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of patients at each size.")] = 3,
    replay: Annotated[float, typer.Option(help="Share of home scans in the way all+replay.")] = 0.25,
    aim: Annotated[float | None, typer.Option(help="AUC wanted, for how many more scans [that of home].")] = None,
    iterations: Annotated[int, typer.Option(min=1, help="Steps of each fit.")] = 120,
    out: Annotated[Path | None, typer.Option(help="Folder for it all [STUDY/adaptations/MODEL/SITE].")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of draws, order and augmentation.")] = 0,
    next_patients: Annotated[
        int | None, typer.Option("--next", min=1, help="Adapt nothing: say which N patients to label next.")
    ] = None,
    choose: Annotated[str, typer.Option(help=f"With --next, how they are chosen: {', '.join(CHOOSING)}.")] = "random",
    workers: Workers = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went, stage by stage.")] = False,
) -> Adaptation | NextToLabel:
    """Fit a model to a new place with few labelled scans, if that is surely worth it. Research use only.

    Every way is tried on growing numbers of patients and scored on others. The way is chosen by leaving out patients
    of those that are fitted on; where none surely beats a recalibration, it says "do not adapt". The model is written
    as a .zip that every command takes. A run that was stopped goes on where it stopped. With --next nothing is fitted:
    it writes next.csv, the patients without a label to read next.

    Exit codes: 0 adapted and surely better, 10 do not adapt: recalibrate, 15 do not adapt: leave it as it is,
    20 cannot tell, 1 error.
    """
    plan = _plan(ways, sizes, draws, aim, AdaptingSettings(iterations=iterations, replay=_share(replay), seed=seed))
    wanted = None if next_patients is None else (next_patients, _how(choose))
    with engine.profiled(profile):
        if not is_exported(study) and scans is not None and is_product(folder_of(study), model):
            if wanted is not None:
                raise BadOption("--next", f"needs a model that was trained here; {model} was not", NEXT_OF_SCORES)
            new = None if is_site(folder_of(study), scans) else (kind, labels, read_options(option or ()), site)
            return _adapt_product(folder_of(study), model, scans, new, plan, out, workers)
        known, rest = named_model([study, model, scans], "the site is")
        home = None if is_exported(known.where) else Folder(known.where)
        if home is not None and is_site(home, rest[0]):
            target = out or known.folder.adaptation(known.name, rest[0])
            if wanted is not None:
                return _next(known, waiting_in_study(known, rest[0]), *wanted, target, seed, workers)
            found = scans_of_study(known, rest[0])
        else:
            place = new_site(Path(rest[0]), kind, labels, read_options(option or ()), site)
            target = out or known.folder.adaptation(known.name, place.name)
            if wanted is not None:
                waiting = waiting_in_folder(known, place, target, workers)
                return _next(known, waiting, *wanted, target, seed, workers)
            found = scans_of_folder(known, place, home, target, workers)
        result, adapted = adapt_model(known, found, plan, target, workers)
        note = chosen_note(target, found.part("fit", "score"))
        result = replace(result, notes=(*result.notes, *([note] if note else [])))
        return _leave(result, adapted, known, target)


def _plan(
    ways: Sequence[str] | None, sizes: Sequence[str] | None, draws: int, aim: float | None, settings: AdaptingSettings
) -> AdaptPlan:
    wanted = split_names(ways) or list(WAYS)
    unknown = [name for name in wanted if name not in WAYS]
    if unknown:
        raise BadOption("--ways", f"has {unknown[0]!r}", f"Choose from {', '.join(WAYS)}")
    known: tuple[Way, ...] = tuple(way for way in WAYS if way in wanted)
    numbers = split_names(sizes)
    if any(not number.isdecimal() or int(number) < 2 for number in numbers):
        raise BadOption("--sizes", f"is {','.join(numbers)}", "Give whole numbers of patients, 2 or more, as 4,8,16")
    if aim is not None and not 0.5 < aim < 1:
        raise BadOption("--aim", f"must be above 0.5 and below 1, is {aim:g}", "Give an AUC such as 0.85")
    return AdaptPlan(known, tuple(sorted({int(number) for number in numbers})), draws, aim, settings)


def _how(choose: str) -> Choosing:
    how = next((one for one in CHOOSING if one == choose), None)
    if how is None:
        raise BadOption("--choose", f"is {choose!r}", f"Choose from {', '.join(CHOOSING)}")
    return how


def _next(  # noqa: PLR0917 - as `choose_next`
    model: KnownModel, waiting: Waiting, count: int, how: Choosing, target: Path, seed: int, workers: int | None
) -> NextToLabel:
    """Choose, and say how to go on."""
    chosen = choose_next(model, waiting, count, how, target, seed, workers)
    engine.tell(f"{numbered(chosen.patients, 'patient')} of {chosen.unlabelled} without a label chosen ({how}).")
    if how == "stratified":
        engine.tell("Each stands for `weight` patients: only sums with these weights are unbiased for all of them.")
    if how == "k-centre":
        engine.tell("They are not drawn: nothing that is measured on them holds for the place.")
    engine.say(chosen.file, "Label these scans:")
    engine.say("put their labels into the labels table, then the same command without --next", "Next:")
    return chosen


def _share(replay: float) -> float:
    if not 0 < replay < 1:
        raise BadOption("--replay", f"must be above 0 and below 1, is {replay:g}", "Give a share such as 0.25")
    return replay


def _adapt_product(  # noqa: PLR0917 - as they were given
    folder: Folder,
    name: str,
    scans: str,
    new: tuple[str | None, Path | None, dict[str, object], str | None] | None,
    plan: AdaptPlan,
    out: Path | None,
    workers: int | None,
) -> Adaptation:
    """A model that was not trained here: a threshold and a recalibration, and no more."""
    if new is None:
        place, columns = scans, product_scores(folder, name, scans)
    else:
        declared = product_of(folder, name)
        if declared is None:
            what = f"has only scores of {name}: it cannot be asked about other scans"
            raise BadStudy(folder.root, what, "Give a site of the study, or its scores to `elsewhere evaluate`")
        there = new_site(Path(scans), *new)
        labelled = [s for s in find_scans(there).scans if s.label is not None]
        if not labelled:
            raise BadSite(there.root, "has no labelled scan", "Give --labels")
        said = ask_about_new(there, labelled, declared, folder, workers)
        answered = [(s.label or 0, s.patient, p) for s in labelled if (p := said[s.scan].probability) is not None]
        place = there.name
        columns = ([a for a, _, _ in answered], [b for _, b, _ in answered], [c for _, _, c in answered])
    result = adapt_scores(name, place, *columns, seed=plan.settings.seed)
    return _leave(result, None, None, out or folder.adaptation(name, place))


def _leave(result: Adaptation, adapted: KnownModel | None, before: KnownModel | None, target: Path) -> Adaptation:
    """Write the model, the page and the record, and print them."""
    file = None
    if adapted is not None and before is not None:
        end = "adapted" if result.decision == "adapt" else "recalibrated"
        file = target / f"{short_name(before.name)}-{end}.zip"
        write_model(file, adapted)
    result = replace(result, file=file, page=target / "adaptation.html")
    origin = "" if before is None else before.origin
    trained_on = () if before is None else before.trained_on
    write_whole(target / "adaptation.html", render(result, AdaptationContext(origin, trained_on)))
    keep_adaptation(result, target)
    _print(result, target)
    return result


def _print(result: Adaptation, target: Path) -> None:
    engine.tell(f"{result.headline}.")
    engine.tell(result.choice.reason)
    now = result.before
    engine.tell(f"AUC as it is {now.estimate:.2f} ({now.low:.2f} to {now.high:.2f}) on patients never fitted on.")
    if result.after is not None and result.change is not None:
        after, change = result.after, result.change
        engine.tell(
            f"AUC adapted {after.estimate:.2f} ({after.low:.2f} to {after.high:.2f}), {change.estimate:+.2f} "
            f"({change.low:+.2f} to {change.high:+.2f})."
        )
    for one in result.forgotten:
        c = one.change
        engine.tell(f"At {one.site} ({one.relation}): AUC {c.estimate:+.3f} ({c.low:+.3f} to {c.high:+.3f}).")
    if result.curve:
        engine.tell(_table(result))
    if result.how_many is not None:
        engine.tell(result.how_many.words)
    for note in result.notes:
        engine.say(note, "Note:", "yellow")
    if result.file is not None:
        engine.say(f"{result.file} (positive from {result.threshold:.3g})", "The model:")
        engine.say(f"elsewhere verdict {result.file} FOLDER, on scans that were not among these", "Next:")
    engine.say(f"{result.fits} fits, {result.seconds:.0f} s in this run (kept fits are not made again)", "Cost:")
    engine.say(target / "adaptation.html", "The page:")


def _table(result: Adaptation) -> str:
    """AUC of each way (rows) at each number of patients of each class (columns)."""
    sizes = sorted({p.size for p in result.curve})
    lines = ["AUC here".ljust(12) + "".join(f"{size:>20}" for size in sizes) + "  patients of each class"]
    for way in dict.fromkeys(p.way for p in result.curve):
        cells = {p.size: p.auc for p in result.curve if p.way == way}
        words = (f"{c.estimate:.2f} ({c.low:.2f} to {c.high:.2f})" for c in (cells[size] for size in sizes))
        lines.append(way.ljust(12) + "".join(f"{one:>20}" for one in words))
    return "\n".join(lines)
