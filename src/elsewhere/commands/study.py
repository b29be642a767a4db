"""A study file in; every combination trained, tested at every site, scored, and shown on one page."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from elsewhere import engine
from elsewhere.commands import Workers
from elsewhere.commands.predict import predict_site
from elsewhere.commands.report import report
from elsewhere.commands.train import print_warnings, train_model, training_needs
from elsewhere.model.cuda import device_of
from elsewhere.model.declared import Declared
from elsewhere.model.network import amend_checkpoint, checkpoint_is_whole, versions
from elsewhere.model.pace import in_words, seconds_per_iteration
from elsewhere.model.runnable import hash_of
from elsewhere.rows import ScoreRow, SeedRow
from elsewhere.scans.scan import split_hash
from elsewhere.scans.sites import list_site
from elsewhere.stages import stage
from elsewhere.statistics.decision import OperatingPoint, Reading, Ties, choose_thresholds
from elsewhere.statistics.score import score_cell, spread_over_seeds
from elsewhere.studies.arm_results import predicted_at, write_arms
from elsewhere.studies.auditing import audit_study
from elsewhere.studies.ensembles import write_cross_validation, write_ensembles
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder, open_study, put_aside
from elsewhere.studies.learned import learned_models, say_unlearned, write_learned
from elsewhere.studies.needs import workers_on
from elsewhere.studies.predictions import Predictions, fitting_predictions, join_predictions
from elsewhere.studies.preparing import prepare_study
from elsewhere.studies.products import score_products
from elsewhere.studies.records import IDENTITY, SCORES, SEEDS, scores_key, usable_rows
from elsewhere.studies.results import StudyResult
from elsewhere.studies.scan_features import keep_scan_features
from elsewhere.studies.trainings import check_device
from elsewhere.wording import numbered

Points = dict[tuple[Reading, str], OperatingPoint]


def study(
    study: Annotated[Path, typer.Argument(help="Study file (TOML), or the folder of a study that was run.")],
    out: Annotated[Path | None, typer.Argument(help="Folder for the results [runs/NAME].")] = None,
    *,
    workers: Workers = None,
    commands: Annotated[bool, typer.Option("--commands", help="Print the commands for a cluster instead.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what it takes, and run nothing.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Put what was trained aside, and train anew; scans stay prepared.")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went, stage by stage.")] = False,
) -> StudyResult:
    """Prepare, train every combination, test at every site, score, and write the page. Resumable at any point.

    Exit codes: 0 done, 30 done, but a model learned nothing (it is named here and on the page), 1 error.
    """
    plan, folder = open_study(study, out)
    if commands:
        lines = tuple(cluster_commands(study, folder, plan))
        engine.tell("\n".join(lines))
        return StudyResult((folder.root,), None, commands=lines)
    check_device(plan)
    if plan_only:
        print_plan(plan, folder)
        return StudyResult((folder.root,), None)
    if out is None:
        engine.say(folder.root, "Results go to")
    if restart and (aside := put_aside(folder)) is not None:
        engine.say(aside, "Put aside:")
    without = engine.is_here() and plan.training.accelerator == "auto" and device_of("auto") == "cpu"
    if without and _untrained(plan, folder):
        engine.say(
            f'{_pace(plan)}; `[network] preset = "small"` takes minutes and shows the whole path', "No GPU found:"
        )
    if _untrained(plan, folder):
        _say_how_to_follow(plan, folder)
    with engine.profiled(profile):
        run_study(study, folder, workers)
        with stage("page"):
            page = report([folder.root])
    return StudyResult((folder.root,), page, say_unlearned([(plan, folder)]))


def print_plan(plan: Study, folder: Folder) -> None:
    """Print what a study takes: scans, the size of their files, trainings and their time."""
    for site in plan.sites:
        found = list_site(site.kind, site.root, site.name, site.labels, site.options)
        size = sum(file.stat().st_size for scan in found.scans for file in scan.files)
        words = (
            f"{numbered(len(found.scans), 'scan')}, {size / 1e9:.1f} GB to read; {numbered(len(found.bad), 'problem')}"
        )
        engine.say(words, f"{site.name}:", "bold")
        for note in found.notes:
            engine.say(note, "Note:", "yellow")
    untrained = _untrained(plan, folder)
    engine.say(f"{numbered(len(untrained), 'network')} to train of {len(plan.trainings)}", "Trainings:")
    if plan.folds:
        words = f"each patient of a training site is scored by a network of {plan.split.folds} that never saw him; "
        engine.say(f"{words}{numbered(len(plan.folds), 'network')} of those to train", "Cross-validation:")
    if plan.comparison is not None:
        engine.say(f"{_arms_words(plan)}", "Arms:")
    if untrained:
        engine.say(_pace(plan), "Time:")
        _say_how_to_follow(plan, folder)
    engine.say("reading, predicting and the page take their own time, which is not estimated. Nothing was run")


def _say_how_to_follow(plan: Study, folder: Folder) -> None:
    """The command that shows the curves of the trainings while they run, where they are written for it."""
    if plan.training.tensorboard:
        engine.say(shlex.join(["tensorboard", "--logdir", str(folder.root / "models")]), "To follow the trainings:")


def _untrained(plan: Study, folder: Folder) -> list[str]:
    """The networks that have no finished checkpoint yet."""
    return [name for name in plan.trainings if not checkpoint_is_whole(folder.checkpoint(name))]


def _arms_words(plan: Study) -> str:
    """How many trainings the comparison of arms takes, and where its rules of selection fall short."""
    assert plan.comparison is not None
    found, compared = plan.all_arm_networks.values(), set(plan.compared)
    inner = sum(one.sites not in compared for one in found)
    words = (
        f"{len(plan.comparison.arms)}, ERM among them, {numbered(plan.comparison.trials, 'trial')} each, "
        f"{numbered(len(plan.seeds) or 1, 'seed')}, {numbered(len(compared), 'training set')}: {len(found) - inner} "
        f"trainings, and {inner} without one of the training sites"
    )
    return words + ("" if len(plan.seeds) > 1 else "; with one seed no arm can be called better (`seeds = [1, 2, 3]`)")


def _pace(plan: Study) -> str:
    seconds = seconds_per_iteration(plan.network, plan.training)
    whole = in_words(seconds * plan.training.iterations)
    return f"a training takes {whole} ({seconds:.2g} s an iteration, {plan.training.iterations:,} of them)"


def run_study(file: Path, folder: Folder, workers: int | None = None) -> None:
    """Everything but the page of one study, as `run_studies`."""
    run_studies([(file, folder)], workers)


@engine.kept()
def run_studies(studies: Sequence[tuple[Path, Folder]], workers: int | None = None) -> None:
    """Everything but the page; names the models that learned nothing. What is finished already is not done again.

    The networks of all studies share the workers, so that none waits for the last training of one study.

    Args:
        studies: the file of each and the folder for its results.
        workers: processes; None means one per core.

    Raises:
        ElsewhereError: as `prepare`, `train` and `predict`.
    """
    plans = [load_study(file) for file, _ in studies]
    for plan, (_, folder) in zip(plans, studies, strict=True):
        _begin(plan, folder, workers)
    for plan in plans:
        workers = workers_on(workers, plan.training.accelerator)
    needs = training_needs([(plan, *places) for plan, places in zip(plans, studies, strict=True)])
    of = ", ".join(plan.name for plan in plans)
    named = [
        (plan, file, folder, name)
        for plan, (file, folder) in zip(plans, studies, strict=True)
        for name in plan.trainings
    ]
    jobs = [(file, folder.root, name) for _, file, folder, name in named]
    training = engine.run(train_model, jobs, workers=workers, describe=f"Training ({of})", ticks=True, needs=needs)
    for index, warnings in training:
        plan, _, _, name = named[index]
        print_warnings(name if len(plans) == 1 else f"{name} ({plan.name})", warnings)
    cells = [(file, folder.root, name, site) for plan, file, folder, name in named for site in predicted_at(plan, name)]
    needs = replace(needs, devices=1)
    for _ in engine.run(predict_site, cells, workers=workers, describe=f"Predicting ({of})", ticks=True, needs=needs):
        pass
    for plan, (_, folder) in zip(plans, studies, strict=True):
        _finish(plan, folder)


def _begin(plan: Study, folder: Folder, workers: int | None) -> None:
    """All that comes before the first training."""
    prepare_study(plan, folder, workers, whole=True)
    audit_study(folder, workers)
    keep_scan_features(plan, folder, workers)
    with stage("products"):
        score_products(plan, folder, workers)  # before hours of training: a table may have to be mended
    IDENTITY.write(folder.study, _identity(plan, folder))


def _finish(plan: Study, folder: Folder) -> None:
    """Scores and judgements from the predictions."""
    with stage("statistics"):
        write_ensembles(plan, folder)
        found = scores(plan, folder)
        if found:
            SCORES.write(folder.scores, found)
        _keep_seed_scores(plan, folder, found)
        write_cross_validation(plan, folder, found)
        homes = {name: plan.trained_on(name) for name in [*plan.models, *plan.repeats]}
        judged = learned_models(folder, homes)
        if judged:
            write_learned(folder, judged, homes)
        write_arms(plan, folder)
    for name, learned in judged.items():
        for reason in learned.reasons:
            engine.say(reason, f"{name} did not learn:", "bold")


def cluster_commands(file: Path, folder: Folder, plan: Study) -> Iterable[str]:
    """One idempotent command per unit of work, in an order that a cluster must keep between the three groups."""
    words = [["prepare", file, folder.root]]
    names = plan.trainings
    words += [["train", file, name, folder.root] for name in names]
    words += [["predict", file, name, site, folder.root] for name in names for site in predicted_at(plan, name)]
    words += [["study", file, folder.root]]
    return [shlex.join(["elsewhere", *map(str, line)]) for line in words]


def _identity(plan: Study, folder: Folder) -> dict[str, Any]:
    rows = usable_rows(folder)
    return {
        "settings": _settings(plan, folder),
        "models": {name: list(sites) for name, sites in plan.models.items()},
        **({"ensembles": {n: list(plan.trained_on(n)) for n in plan.ensembles}} if plan.ensembles else {}),
        "versions": versions(),
        "split_hash": split_hash({(r.site, r.scan): r.subset for r in rows}),
    }


def _settings(plan: Study, folder: Folder) -> dict[str, Any]:
    """The settings, with paths as records keep them."""
    settings = plan.settings()
    settings["store"] = folder.keep(plan.store) if plan.store else None
    if plan.network.folder is not None:
        settings["network"]["folder"] = folder.keep(plan.network.folder)
    for site, given in zip(settings["sites"], plan.sites, strict=True):
        site["root"] = folder.keep(given.root)
        site["labels"] = folder.keep(given.labels) if given.labels else None
    for product, own in zip(settings.get("products", ()), plan.products, strict=True):
        product.update({name: folder.keep(value) for name, value in vars(own).items() if isinstance(value, Path)})
        product.update({"sha256": hash_of(own)} if isinstance(own, Declared) else {})
    return settings


def scores(plan: Study, folder: Folder) -> list[ScoreRow]:
    """One row per model, site and threshold reading (protocol page, "Evaluation")."""
    return [row for name in (*plan.models, *plan.ensembles) for row in _model_scores(plan, folder, name)]


SEED_SCORES = ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity")


def _keep_seed_scores(plan: Study, folder: Folder, found: Sequence[ScoreRow]) -> None:
    """seeds.parquet where the study trains with several seeds; none that an earlier study file left behind."""
    if plan.repeats:
        SEEDS.write(folder.seeds, seed_scores(plan, folder, found))
    else:
        folder.seeds.unlink(missing_ok=True)


def seed_scores(plan: Study, folder: Folder, found: Sequence[ScoreRow]) -> list[SeedRow]:
    """One row per model, site and score, with its three spreads apart: over seeds, over patients, over dropout passes.

    The spread over seeds is that of trainings which differ in nothing else; sampling and dropout are those of the
    first training, whose scores `found` holds. Thresholds are each training's own (reading "model").
    """
    cells = {(r.model, r.site): r for r in found if r.threshold_reading == "model"}
    for name in plan.repeats:
        rows = [r for r in _model_scores(plan, folder, name) if r.threshold_reading == "model"]
        cells |= {(name, r.site): r for r in rows}
    trainings = {name: [name, *(n for n, (m, _) in plan.repeats.items() if m == name)] for name in plan.models}
    made_from = {name: scores_key(folder, own, plan.settings()) for name, own in trainings.items()}
    return [
        _seed_score([cells[n, site.name] for n in trainings[name]], score, made_from[name])
        for name in plan.models
        for site in plan.sites
        for score in SEED_SCORES
        if getattr(cells[name, site.name], score) is not None
    ]


def _seed_score(trainings: Sequence[ScoreRow], score: str, made_from: str) -> SeedRow:
    first = trainings[0]
    return SeedRow(
        model=first.model,
        site=first.site,
        score=score,
        first=getattr(first, score),
        sampling_low=getattr(first, f"{score}_sampling_low"),
        sampling_high=getattr(first, f"{score}_sampling_high"),
        dropout_sd=first.auc_dropout_sd if score == "auc" else None,
        **vars(spread_over_seeds([getattr(t, score) for t in trainings])),
        made_from=made_from,
    )


def _model_scores(plan: Study, folder: Folder, name: str) -> Iterable[ScoreRow]:
    tables = {site.name: fitting_predictions(folder, name, site.name) for site in plan.sites}
    made_from = scores_key(folder, [name], plan.settings())
    points = _operating_points(tables, plan.trained_on(name), plan.evaluation.ties)
    thresholds: dict[str, dict[str, Any]] = {"model": {}, "site": {}}
    for (reading, site), point in points.items():
        thresholds[reading][site] = asdict(point)
    amend_checkpoint(folder.checkpoint(name), thresholds=thresholds)
    for (_, site), point in sorted(points.items()):
        test = tables[site].subset("test")
        single, passes = test.deterministic, test.dropout_table
        cell = score_cell(
            single.labels,
            single.patients,
            single.probabilities,
            passes if len(passes) else None,
            operating_point=point,
            resamples=plan.evaluation.resamples,
            seed=plan.seed,
        )
        yield ScoreRow(model=name, site=site, **vars(cell), made_from=made_from)


def _operating_points(tables: Mapping[str, Predictions], trained_on: Sequence[str], ties: Ties) -> Points:
    found = join_predictions(list(tables.values())).subset("validation").deterministic
    known = set(found.sites.tolist())
    divided = [site for site in tables if site in known]
    points = choose_thresholds(found.sites, found.labels, found.probabilities, trained_on, divided, ties=ties)
    own = points["model", trained_on[0]]
    everywhere: Points = {("model", site): own for site in tables}
    return points | everywhere
