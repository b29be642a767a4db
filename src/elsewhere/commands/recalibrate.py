"""`elsewhere recalibrate`: a model with the threshold, or the recalibration, for the place where it is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands import LeastSensitivity, LeastSpecificity, Workers
from elsewhere.errors import BadOption
from elsewhere.files import short_name
from elsewhere.scans.sites import KINDS
from elsewhere.statistics.requirements import Requirements
from elsewhere.studies.adjusting import Tried, advised, from_scans, from_table
from elsewhere.studies.exported import is_exported, save_model
from elsewhere.studies.known_model import Adjustment, KnownModel
from elsewhere.studies.new_scans import predict_site
from elsewhere.studies.new_site import find_scans, new_site, read_options
from elsewhere.studies.which_model import named_model
from elsewhere.wording import numbered

SOURCES = "--threshold, --verdict, --scans, --table"


def recalibrate(
    study: Annotated[Path, typer.Argument(help="Study (folder or file) of the model; or a model alone: a .zip.")],
    model: Annotated[str | None, typer.Argument(help="Name of the model in the study.")] = None,
    *,
    threshold: Annotated[float | None, typer.Option(help="Call positive from this probability on.")] = None,
    slope: Annotated[float | None, typer.Option(help="With --threshold: factor on the log-odds.")] = None,
    intercept: Annotated[float | None, typer.Option(help="With --threshold: log-odds added after it.")] = None,
    verdict: Annotated[Path | None, typer.Option(help="verdict.json: apply what it advises.")] = None,
    scans: Annotated[Path | None, typer.Option(help="Folder of labelled scans to choose on.")] = None,
    kind: Annotated[str | None, typer.Option(help=f"Their file format: {', '.join(KINDS)} [dicom].")] = None,
    labels: Annotated[Path | None, typer.Option(help="Their labels table [the one in the folder].")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Site option KEY=VALUE, as units=HU; repeatable.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Table of this model's probabilities with labels, as scans.csv of a verdict.")
    ] = None,
    only_threshold: Annotated[
        bool, typer.Option("--only-threshold", help="With --scans or --table: leave the probabilities as they are.")
    ] = False,
    least_sensitivity: LeastSensitivity = None,
    least_specificity: LeastSpecificity = None,
    out: Annotated[Path | None, typer.Option(help="File to write [MODEL-recalibrated.zip].")] = None,
    workers: Workers = None,
) -> Path:
    """Write a model anew with the threshold or recalibration for one place, as a verdict advises. Research use only.

    The weights stay as they are, and so does the model that is given. `predict` and `verdict` use what was chosen;
    a verdict leaves the scans out that it was chosen on.
    """
    given = [name for name in (threshold, verdict, scans, table) if name is not None]
    if len(given) != 1:
        raise BadOption("recalibrate", f"takes one of {SOURCES}", "Say what the threshold comes from")
    if threshold is None and (slope is not None or intercept is not None):
        raise BadOption("--slope", "and --intercept need --threshold", "Give the threshold on the recalibrated scale")
    try:
        stated = Requirements(least_sensitivity=least_sensitivity, least_specificity=least_specificity)
    except ValueError as error:
        raise BadOption.of_value(error) from error
    known, _ = named_model([study, model])
    if threshold is not None:
        one, zero = 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
        change = Adjustment(threshold, zero, one, source=f"given: positive from {threshold:g}")
    elif verdict is not None:
        change = advised(known, verdict)
    elif table is not None:
        change = _told(from_table(known, table, stated, only_threshold=only_threshold))
    else:
        assert scans is not None
        bare = replace(known, adjustment=None)
        site = new_site(scans, kind, labels, read_options(option or ()))
        rows, bad = predict_site(bare, site, find_scans(site), known.folder.verdicts / "store", workers)
        if bad:
            engine.say(f"{numbered(len(bad), 'scan')} left out; the first: {': '.join(bad[0][:2])}", "Note:", "yellow")
        change = _told(from_scans(bare, rows, site.name, stated, only_threshold=only_threshold))
    target = out or _default(known)
    save_model(replace(known, adjustment=change), target)
    how = f", probabilities log-odds × {change.slope:.2f} {change.intercept:+.2f}" if change.moves else ""
    engine.say(
        f"positive from {change.threshold:.4g} (at home {known.home_point.threshold:.4g}){how}; {change.source}",
        "Adjusted:",
    )
    engine.say("ask on scans that were not among these: elsewhere verdict " + str(target) + " FOLDER", "Next:")
    return target


def _told(tried: Tried) -> Adjustment:
    for requirement in tried.requirements:
        engine.say(requirement.finding, "On patients left out of its choice:")
    return tried.adjustment


def _default(model: KnownModel) -> Path:
    if is_exported(model.where):
        return model.where.with_name(f"{model.where.stem}-recalibrated.zip")
    return Path(f"{short_name(model.name)}-recalibrated.zip")
