"""Nothing in; four simulated sites, nine models by both protocols, and the page out. Read this file first."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from elsewhere import engine
from elsewhere.commands import Workers
from elsewhere.commands.adapt import adapt
from elsewhere.commands.diagnose import diagnose_study
from elsewhere.commands.evaluate import evaluate
from elsewhere.commands.report import report
from elsewhere.commands.stress import run_stress
from elsewhere.commands.study import run_studies
from elsewhere.commands.view import view
from elsewhere.files import write_whole
from elsewhere.scans.phantom.planting import PLANTED, Simulation, write_sites
from elsewhere.scans.phantom.product import write_product
from elsewhere.scans.phantom.sites import default_sites, in_words
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.learned import say_unlearned
from elsewhere.studies.results import StudyResult

PATIENTS = {"UTSW": 260, "CC-CCII": 200, "COVID-CTset": 150, "MosMedData": 60}
LAYOUTS = {"UTSW": "dicom", "CC-CCII": "cc_ccii", "COVID-CTset": "covid_ctset", "MosMedData": "mosmeddata"}
COUNTRIES = {"UTSW": "USA", "CC-CCII": "China", "COVID-CTset": "Iran", "MosMedData": "Russia"}
MATRIX, FINEST = 96, 6.0  # pixels a side; the finest slice distance in mm
STRESSED = 24  # home test scans per model in the dose-response
PRODUCT, MARGIN = "Made-up product (simulated patients)", 0.05  # the loss by its update that would be too much
ADAPTED, PLACE = "UTSW", "CC-CCII"  # the model of the paper's protocol that is adapted to a site it fails at
VIEWED = "UTSW"  # the model whose two hardest scans are drawn
SINGLE = '[["UTSW"], ["CC-CCII"], ["COVID-CTset"]]'

# Sizes and schedule are scaled down so that eighteen trainings take minutes on two cores (docs/log.md). Both halves
# train alike. The paper's half keeps nearly every scan in one window, as 128 slices do, and shrinks pictures by
# averaging: the paper's network sees every pixel.
SCALED = {
    "paper": ("smooth = true", "[48, 32, 32]", "[[4, 2, 2], [2, 2, 2], [2, 2, 2]]"),
    "harmonised": ("", "[24, 32, 32]", "[[2, 2, 2], [2, 2, 2], [2, 2, 2]]"),
}
WITHOUT_TIES = (
    "Measured once with every dial at 0 (2026-11-28, seed 21, single-site networks of the full demo's settings): mean "
    "AUC at home 0.66 under “paper”, where no network learned, and 0.82 under “harmonised”. In that run what “paper” "
    "reached with ties was mostly the ties, not the disease; of the run on this page it is no measurement."
)
STUDY = """\
# Written by `elsewhere demo`. Change it and run: elsewhere study {name}.toml {name}
name = "{name}"
title = "Simulated sites: the paper's protocol and the harmonised one"
origin = "simulated"
planted = {planted}
protocol = "{name}"
seed = {seed}{seeds}
store = "store"
combinations = {combinations}

[split]
train = 0.45
test = 0.3

[preparation]
{smooth}

[network]
input = {input}
filters = [8, 16, 32, 64]
kernels = [[3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
pools = {pools}
dense = [128]
groups = 8
dense_groups = 16
dropblock = 0.0
dropout = 0.05

[training]
iterations = 320
batch = 4
learning_rate = 5e-4
balanced_classes = true
schedule = "cosine"
weight_decay = 1e-4
select = "log_loss"
validate_every = 40
save_every = 120
threads = 1

[prediction]
passes = 20
stride = 24
"""


@dataclass(frozen=True)
class Steps:
    """The commands on the demo's path; a test puts others in their place."""

    simulate: Callable[..., Any] = write_sites
    study: Callable[..., Any] = run_studies
    diagnose: Callable[..., Any] = diagnose_study
    stress: Callable[..., Any] = run_stress
    view: Callable[..., Any] = view
    product: Callable[..., Any] = write_product
    evaluate: Callable[..., Any] = evaluate
    adapt: Callable[..., Any] = adapt
    report: Callable[..., Any] = report


def demo(
    out: Annotated[Path | None, typer.Argument(help="Folder for it all [runs/demo, runs/demo-quick].")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="The three single-site models only, no shifts, nothing adapted.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Another seed: other patients, other trainings.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each network, for the spread between them.")] = 1,
    workers: Workers = None,
) -> StudyResult:
    """Simulate four sites and run the whole path on them, by the paper's protocol and by the harmonised one.

    The same commands as a user would type: simulate, study (prepare, audit, train, predict), diagnose, stress, view,
    evaluate (of a made-up vendor's product and its update), adapt (one network, dense part), report. Started again it
    goes on where it was stopped. Research use only. Not a medical device.

    Exit codes: 0 done, 30 done, but a network did not learn (it is named here and on the page), 1 error.
    """
    return run_demo(
        out or Path("runs/demo-quick" if quick else "runs/demo"), quick=quick, seed=seed, seeds=seeds, workers=workers
    )


@engine.kept()
def run_demo(
    out: Path, *, quick: bool = False, seed: int = 1, seeds: int = 1, workers: int | None = None, steps: Steps = Steps()
) -> StudyResult:
    """The demo in a folder, step by step.

    Raises:
        ElsewhereError: as the steps.
    """
    sites = tuple(replace(site, patients=PATIENTS[site.name]) for site in default_sites())
    steps.simulate(Simulation(seed, MATRIX, FINEST, sites), out / "sites", partial(engine.run, workers=workers))
    files = {protocol: out / f"{protocol}.toml" for protocol in ("paper", "harmonised")}
    for protocol, file in files.items():
        write_whole(file, study_text(protocol, seed, quick, seeds))
    folders = {protocol: Folder(out / protocol) for protocol in files}
    steps.study([(file, folders[protocol]) for protocol, file in files.items()], workers)
    studies = []
    for protocol, file in files.items():
        plan, folder = load_study(file), folders[protocol]
        steps.diagnose(file, folder, workers=workers)
        if not quick:
            steps.stress(plan, folder, scans=STRESSED, workers=workers)
        studies.append((plan, folder))
    steps.view(file, folder.root, model=VIEWED, hardest=2, grid="original", page=out / "hardest.html")
    before, after = steps.product(out / "sites", list(LAYOUTS), out / "product", seed)
    steps.evaluate(
        after, versus=before, margin=MARGIN, threshold=0.5, scale="probability", name=PRODUCT, out=out / "product"
    )
    page = None if quick else _adapted(steps, folders["paper"], seed, workers)
    steps.report([folder.root for _, folder in studies], out)
    if page:
        engine.say(page, f"{ADAPTED} (paper) adapted to {PLACE}:")
    engine.console.print(
        "The sites are simulated: the page shows how the product works, not how the paper's models do."
    )
    return StudyResult(tuple(folder.root for _, folder in studies), out / "report.html", say_unlearned(studies))


def _adapted(steps: Steps, folder: Folder, seed: int, workers: int | None) -> Path:
    """One network's dense part adapted to a site where it fails: seconds, on features that are computed once."""
    steps.adapt(folder.root, ADAPTED, PLACE, ways=["dense"], draws=2, seed=seed, workers=workers)
    return folder.adaptation(ADAPTED, PLACE) / "adaptation.html"


def study_text(protocol: str, seed: int, quick: bool, seeds: int = 1) -> str:
    """The study file of one protocol over the simulated sites; each network is trained with `seeds` seeds."""
    smooth, size, pools = SCALED[protocol]
    text = STUDY.format(
        name=protocol,
        smooth=smooth,
        input=size,
        pools=pools,
        seed=seed,
        seeds=f"\nseeds = {list(range(seed, seed + seeds))}  # of the trainings" if seeds > 1 else "",
        planted=json.dumps([PLANTED, *map(in_words, default_sites()), WITHOUT_TIES], ensure_ascii=False),
        combinations=SINGLE if quick else '"paper"',
    )
    sites = [
        f'\n[sites.{n}]\nkind = "{k}"\nroot = "sites/{n}"\ncountry = "{COUNTRIES[n]}"\n' for n, k in LAYOUTS.items()
    ]
    return text + "".join(sites)
