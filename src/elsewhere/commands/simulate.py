"""Names, sizes and dials of sites in; simulated sites in their published layouts out, the planted truth beside them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from elsewhere import engine
from elsewhere.commands import Workers, split_names
from elsewhere.errors import BadStudy
from elsewhere.scans.phantom.planting import PLANTED, Simulation, truth_files, write_sites
from elsewhere.scans.phantom.sites import default_sites, turn
from elsewhere.scans.phantom.ties import SiteSettings


def simulate(  # noqa: PLR0917 - one option each
    out: Annotated[Path, typer.Argument(help="Folder for the sites.")],
    site: Annotated[
        list[str] | None,
        typer.Option(help="UTSW, CC-CCII, COVID-CTset, MosMedData, with commas between or repeated [all]."),
    ] = None,
    patients: Annotated[int | None, typer.Option(min=1, help="Patients of each site [300, 240, 180, 120].")] = None,
    matrix: Annotated[int, typer.Option(min=32, max=1024, help="Rows and columns.")] = 96,
    finest: Annotated[float, typer.Option(min=0.5, help="Finest slice distance in mm.")] = 4.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other patients.")] = 0,
    ties: Annotated[float, typer.Option(min=0, max=1, help="All ties to the label, times their usual strength.")] = 1.0,
    dial: Annotated[list[str] | None, typer.Option(help="One tie: UTSW.kernel=0.5, CC-CCII.all=0 …")] = None,
    workers: Workers = None,
) -> list[Path]:
    """Make simulated sites in their published layouts, with the planted truth beside each; finished ones are kept.

    Research use only. Not a medical device.
    """
    sites = set_dials(choose_sites(split_names(site), patients, ties), split_names(dial))
    simulation = Simulation(seed, matrix, finest, sites)
    folders = write_sites(simulation, out, partial(engine.run, workers=workers))
    for folder in folders:
        engine.tell(f"{folder}  (truth: {truth_files(out, folder.name)[0]})")
    engine.tell(PLANTED)
    return folders


def choose_sites(names: list[str], patients: int | None, ties: float = 1.0) -> tuple[SiteSettings, ...]:
    """The default sites of these names (all where none is named), with so many patients and all ties so strong.

    Raises:
        BadStudy: no such site.
    """
    known = {site.name: site for site in default_sites(ties)}
    for name in names:
        if name not in known:
            raise BadStudy(f"--site {name}", "is no simulated site", f"Choose from {', '.join(known)}")
    chosen = [known[name] for name in dict.fromkeys(names)] or list(known.values())
    return tuple(replace(s, patients=patients) if patients else s for s in chosen)


def set_dials(sites: tuple[SiteSettings, ...], dials: list[str]) -> tuple[SiteSettings, ...]:
    """The sites with dials such as `UTSW.kernel=0.5` turned; `all` turns every dial of a site.

    Raises:
        BadStudy: a dial that cannot be read, or that the site does not have.
    """
    turned = {site.name: site for site in sites}
    for text in dials:
        target, _, strength = text.partition("=")
        name, _, factor = target.rpartition(".")
        if name not in turned:
            raise BadStudy(
                f"--dial {text}", f"names the site '{name}', not one of {', '.join(turned)}", "Write SITE.FACTOR=0.5"
            )
        try:
            turned[name] = turn(turned[name], **{factor: float(strength)})
        except ValueError as error:
            raise BadStudy(f"--dial {text}", str(error), "Write SITE.FACTOR=STRENGTH, as in UTSW.kernel=0.5") from error
    return tuple(turned.values())
