"""`elsewhere sequence`: sites of a study learned one after another, and what is kept of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands import Workers
from elsewhere.files import write_whole
from elsewhere.pages.sequence import render, sentences
from elsewhere.sequence_rows import SequenceResult
from elsewhere.studies.folder import open_study
from elsewhere.studies.sequence_plan import IN_WORDS
from elsewhere.studies.sequences import Sequences, run_sequences
from elsewhere.studies.trainings import check_device


def sequence(
    study: Annotated[Path, typer.Argument(help="Study file (TOML) with [sequence], or the folder of such a study.")],
    out: Annotated[Path | None, typer.Argument(help="The study's folder [runs/NAME].")] = None,
    *,
    workers: Workers = None,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went, stage by stage.")] = False,
) -> SequenceResult:
    """Let networks of a study learn its sites one after another, and measure what they keep. Research use only.

    Orders and ways stand in [sequence] of the study file. The first site's network and the ceiling are the study's
    own. Writes sequence/transfer.parquet and sequence/sequence.html into its folder. A run that was stopped goes on
    where it stopped.
    """
    plan, folder = open_study(study, out)
    check_device(plan)
    with engine.profiled(profile):
        found = run_sequences(Sequences(study, plan, folder), workers)
    page = folder.sequence / "sequence.html"
    write_whole(page, render(found, IN_WORDS))
    for order in dict.fromkeys(one.order for one in found.outcomes):
        engine.tell(f"{', then '.join(order)}:")
        for words in sentences(found, order):
            engine.tell(f"  {words}")
    engine.say(page, "The page:")
    return replace(found, page=page)
