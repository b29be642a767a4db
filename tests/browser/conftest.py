"""Pages made from tiny records, and a headless Chromium that notes each console message and each request."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from typer.testing import CliRunner

from elsewhere.adapting_rows import Adaptation, CurvePoint, Forgotten
from elsewhere.cli import app
from elsewhere.commands.report import report
from elsewhere.commands.study import run_study
from elsewhere.files import write_whole
from elsewhere.pages import adaptation as adaptation_page
from elsewhere.pages import verdict as verdict_page
from elsewhere.pages.evaluation import EvaluationContext, render_evaluation
from elsewhere.pages.viewer.page import Occasion, Overlay, Preset, Shown, Window, render
from elsewhere.rows import DoseRow, ExplanationRow, SaliencyRow, SeparationRow, ShortcutRow
from elsewhere.scans.display import draw_overlay, draw_scan, whole_frame
from elsewhere.statistics.acceptance import read_claims
from elsewhere.statistics.adaptation import Candidate, Choice
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.evaluation import ProductRows, evaluate_product
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.learning_curve import HowMany
from elsewhere.statistics.requirements import Requirements
from elsewhere.statistics.verdict import Scans, judge
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import DOSES, EXPLANATIONS, SALIENCY, SEPARATIONS, SHORTCUTS
from study_rows import partly

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# WebGL 2 without a graphics card, and nothing that Chromium itself would ask a network for
FLAGS = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--no-first-run",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SHAPE = (12, 40, 40)
SPACING = (6.0, 2.0, 2.0)


@dataclass
class Tab:
    """A page open in the browser, with what it said and asked for.

    Attributes:
        page: Playwright's page.
        heard: console messages and uncaught errors.
        asked: addresses of its requests.
    """

    page: Any
    heard: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class Tabs:
    """Opens files in fresh contexts of one browser."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.contexts: list[Any] = []

    def open(self, path: Path, width: int = 1100, height: int = 800, **options: Any) -> Tab:
        """Open a file; waits for the viewer's first scan where there is one."""
        still = {"reduced_motion": "reduce", **options}  # no scrolling on the way when a place is looked for
        context = self.browser.new_context(viewport={"width": width, "height": height}, **still)
        self.contexts.append(context)
        tab = Tab(context.new_page())
        tab.page.set_default_timeout(20_000)
        tab.page.on("console", lambda message: tab.heard.append(f"{message.type}: {message.text}"))
        tab.page.on("pageerror", lambda error: tab.heard.append(f"error: {error}"))
        tab.page.on("request", lambda request: tab.asked.append(request.url))
        tab.page.goto(path.as_uri())
        if tab.page.locator("#stage").count():
            tab.page.wait_for_selector("#stage[data-ready]")
        return tab

    def close(self) -> None:
        """Close all that was opened."""
        for context in self.contexts:
            context.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """An installed Chromium or Chrome; skips where there is none."""
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next(filter(None, map(shutil.which, NAMES)), own if os.path.exists(own) else None)
        if found is None:
            pytest.skip(f"no browser: none of {', '.join(NAMES)}, and `playwright install chromium` was not run")
        launched = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def long_tabs(browser: Any) -> Iterator[Tabs]:
    """Opens files that stay open for all tests of a file."""
    opened = Tabs(browser)
    yield opened
    opened.close()


@pytest.fixture
def tabs(browser: Any) -> Iterator[Tabs]:
    """Opens files; all is closed at the end of a test."""
    opened = Tabs(browser)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def study_page(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a tiny study that was trained, diagnosed and stressed (the last two in made-up records)."""
    out = tmp_path_factory.mktemp("browser") / "study"
    run_study(tiny_study_file, Folder(out), workers=1)
    _write_diagnosis(Folder(out))
    _write_stress(Folder(out))
    finding = {"model": "UTSW", "home": "UTSW", "site": "UTSW", "cause": "facts", "strength": 0.9, "p": 0.01}
    write_whole(out / "diagnosis" / "findings.json", json.dumps([{**finding, "sentence": "Facts tell it."}]))
    report([out])
    return out / "report.html"


def _write_stress(folder: Folder) -> None:
    """Records of `elsewhere stress`."""
    doses = [
        DoseRow("UTSW", "UTSW", "noise", dose, "HU", "noise added", 5, auc, auc - 0.2, auc + 0.1, positive_share=0.5)
        for dose, auc in ((0.0, 0.9), (20.0, 0.8), (40.0, 0.6))
    ]
    DOSES.write(folder.stress_curves, doses)
    place = {"model": "UTSW", "home": "UTSW", "site": "CC-CCII", "shift": "noise", "dose": 20.0}
    said = {"words": "Noise of 20 HU explains part of it.", "best": True, "outcome": "named", "tried": 1, "of": 1}
    best = partly(ExplanationRow, **place, **said, distance=0.1, distance_unshifted=0.3)
    EXPLANATIONS.write(folder.stress_explanations, [best])


def _write_diagnosis(folder: Folder) -> None:
    """Tables of `elsewhere diagnose`."""
    told = {"auc": 0.8, "low": 0.7, "high": 0.9, "p": 0.01}
    sides = {"home": "UTSW", "site": "CC-CCII", "power": 0.9, "patients_home": 9, "patients_site": 9, **told}
    scan = {"site": "UTSW", "patient": "P0", "scan": "P0", "label": 0, "probability": 0.4, "expected": 0.3}
    apart = [SeparationRow(**sides, view=view, model="") for view in ("border", "facts")]
    battery = [ShortcutRow("UTSW", "UTSW", view, patients=9, scans=9, **told) for view in ("whole", "lungs_erased")]
    SEPARATIONS.write(folder.diagnosis_table("separation"), apart)
    SHORTCUTS.write(folder.diagnosis_table("shortcuts"), battery)
    SALIENCY.write(folder.diagnosis_table("saliency"), [SaliencyRow(**scan, model="UTSW", inside=0.5)])


@pytest.fixture(scope="session")
def verdict_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verdict's page with every part: decomposition, local scans, a scan that could not be used."""
    random = np.random.default_rng(3)
    labels = np.arange(200) % 2
    scores = [expit(6 * (labels - 0.5) + random.normal(0, 2, 200) + shift) for shift in (0.0, 3.0)]
    home, here = (Scans(labels, np.array([f"{i}" for i in range(200)]), s) for s in scores)
    said = judge(here, home, OperatingPoint(0.5, "grid", "model", 0.9, 100), resamples=50)
    bad = (("s1", "is empty", "Copy it again"),)
    occasion = verdict_page.Occasion("A", ("A",), "New", "/scans/new", "real", "abc", bad, "elsewhere verdict")
    path = tmp_path_factory.mktemp("browser") / "verdict.html"
    path.write_text(verdict_page.render(said, occasion), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def evaluation_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation's page with every part: refusals, sites, subgroups, claims, and a finding without probabilities."""
    random = np.random.default_rng(4)
    labels = np.arange(400) % 2
    scores = expit(3 * (labels - 0.5) + random.normal(0, 1, 400))
    scores[:20] = np.nan
    refused = ["too thin"] * 20 + [""] * 380
    metadata = {"sex": ["F", "M"] * 200, "kernel": ["B"] * 395 + ["S"] * 5}
    sites = [f"H{i // 2 % 5}" for i in range(400)]
    rows = ProductRows(labels, np.arange(400), scores, None, refused, sites, metadata, threshold=0.5)
    claims = read_claims({"auc": 0.99, "sensitivity": 0.5})
    whole = evaluate_product(rows, Requirements(), name="nodule", claims=claims, prevalence=0.1)
    plain = evaluate_product(replace(rows, is_probability=False, sites=None), Requirements(), name="effusion")
    columns = {"score": "AI score", "label": "truth"}
    context = EvaluationContext("Product", "scores.csv", "", columns, "probabilities", ("A remark.",), 13, "elsewhere")
    path = tmp_path_factory.mktemp("browser") / "evaluation.html"
    path.write_text(render_evaluation([whole, plain], context), encoding="utf-8")
    return path


def _table(path: Path, seed: int, gap: float = 2.6, first: int = 0, known: int = 200, shift: float = 0.0) -> Path:
    """A product's scores of 200 scans from s`first`, of which the first `known` have their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(200) % 2
    scores = expit(random.normal(0, 1, 200) + gap * (labels - 0.5) + shift)
    lines = ["scan,patient,kernel,score,label"]
    for i in range(200):
        kernel, truth = "sharp" if i // 2 % 2 else "soft", labels[i] if i < known else ""
        lines.append(f"s{first + i},p{first + i},{kernel},{scores[i]},{truth}")
    path.write_text("\n".join(lines))
    return path


def _evaluated(*words: object) -> None:
    """`elsewhere evaluate`, which has to write its page, whatever it answers."""
    result = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert result.exit_code != 1, result.output


@pytest.fixture(scope="session")
def versus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an update that flips decisions, is worse, and gets another threshold proposed."""
    folder = tmp_path_factory.mktemp("versus")
    old, new = _table(folder / "old.csv", 5), _table(folder / "new.csv", 5, gap=2.0, shift=-1.2)
    _evaluated(new, "--versus", old, "--threshold", 0.5, "--margin", 0.05, "--out", folder / "out")
    return folder / "out" / "evaluation.html"


@pytest.fixture(scope="session")
def next_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a labelling that its stop rule ended, on labels that were asked for one batch at a time."""
    folder = tmp_path_factory.mktemp("next")
    table = _table(folder / "scores.csv", 7, gap=4.0, known=0)
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    out = folder / "out"
    for _ in range(12):
        _evaluated(table, "--threshold", 0.5, "--next", 20, "--out", out)
        if (out / "evaluation.html").is_file():
            return out / "evaluation.html"
        asked = {line.split(",")[0] for line in (out / "next.csv").read_text().splitlines()[1:]}
        rows = [[*row[:4], str(int(row[0][1:]) % 2) if row[0] in asked else row[4]] for row in rows]
        table.write_text("\n".join(["scan,patient,kernel,score,label", *map(",".join, rows)]))
    raise AssertionError("labelling did not end")


@pytest.fixture(scope="session")
def history_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of a product: accepted, updated for the worse on the same scans, then asked about new ones."""
    folder = tmp_path_factory.mktemp("history")
    looks = (("4.1", 1, 2.6, 0), ("4.2", 2, 1.0, 0), ("4.2", 3, 2.6, 1000))
    for month, (release, seed, gap, first) in enumerate(looks, start=1):
        table = _table(folder / f"{month}.csv", seed, gap, first)
        told = ("--threshold", 0.5, "--name", "Lung") if month == 1 else ()
        _evaluated(table, "--keep", folder / "product", "--release", release, "--date", f"2026-0{month}-10", *told)
    result = CliRunner().invoke(app, ["history", str(folder / "product")])
    assert result.exit_code != 1, result.output
    return folder / "product" / "history.html"


@pytest.fixture(scope="session")
def adaptation_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adaptation's page with every part: six curves of five sizes, forgetting, notes."""
    ways = ("last", "dense", "norm", "all", "all+replay", "all+anchor")
    lost = Interval(-0.03, -0.06, 0.0, "")
    curve = [
        CurvePoint(way, 4 * 2**i, 5, Interval(0.6 + 0.06 * i, 0.5 + 0.06 * i, 0.7 + 0.06 * i, ""), lost)
        for way in ways
        for i in range(5)
    ]
    tried = [Candidate(way, 0.4, 0.8, Interval(0.1, 0.02, 0.2, ""), -0.01, sure=True) for way in ways]
    found = Adaptation(
        model="UTSW+COVID-CTset",
        site="St Mary",
        checkpoint="0123456789abcdef" * 4,
        decision="adapt",
        way="all",
        choice=Choice("adapt", "all", "all surely saves log loss.", tuple(tried), (73, 70), 0.6),
        trainable=True,
        fitted=(73, 70),
        scored=(30, 31),
        before=Interval(0.7, 0.6, 0.8, ""),
        after=Interval(0.9, 0.8, 0.95, ""),
        change=Interval(0.2, 0.1, 0.3, ""),
        curve=tuple(curve),
        curve_way="all",
        how_many=HowMany(0.85, 30, 20, None, "An AUC of 0.85 takes about 30 patients of each class."),
        table=tuple(HowMany(0.8 + 0.05 * i, None, 10, 60, "") for i in range(3)),
        forgotten=(Forgotten("UTSW", "home", 80, Interval(0.9, 0.8, 0.95, ""), Interval(0.87, 0.8, 0.9, ""), lost),),
        threshold=0.4,
        notes=("A remark.",),
        fits=180,
    )
    path = tmp_path_factory.mktemp("browser") / "adaptation.html"
    path.write_text(adaptation_page.render(found, adaptation_page.AdaptationContext("simulated", ("UTSW",))))
    return path


def planted() -> np.ndarray:
    """Air with a body in it, and one bright block per direction: each slice is a little brighter than the one above.

    The block in front, at the patient's right, is bone; a smaller one at the back, left, is soft tissue.
    """
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 4:36, 4:36] = -800 + 20 * np.arange(SHAPE[0])[:, None, None]
    hu[:, 6:14, 6:14] = 200
    hu[:, 28:34, 28:34] = 40
    return hu


@pytest.fixture(scope="session")
def viewer_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The viewer with two scans; the first has an overlay, windows and marks, its overlay at the back, right."""
    frame = whole_frame(SHAPE, SPACING)
    looked = np.zeros(SHAPE, np.float32)
    looked[4:8, 26:36, 4:14] = 1
    overlay = Overlay(draw_overlay(looked, frame), looked.sum(axis=(1, 2)) / looked.sum(), "A planted block.", 0, 8)
    presets = (Preset("lung", -1350, 150), Preset("mediastinum", -160, 240))
    picture = draw_scan(planted(), "HU", 0.0, frame)
    first = Shown(
        "A", "p1", "s1", 1, "test", picture.nifti, SHAPE[0], "HU", "8 bit.", presets,
        (Window(0, 8, 0.25), Window(4, 12, 0.98)), overlay, {4: "infection", 5: "infection", 9: ""},
    )  # fmt: skip
    short = draw_scan(planted()[:5], "HU", 0.0, whole_frame((5, 40, 40), SPACING))
    second = Shown("B", "p2", "s2", 0, "test", short.nifti, 5, "HU", "8 bit.", presets, (Window(0, 5, 0.5),), overlay)
    path = tmp_path_factory.mktemp("browser") / "viewer.html"
    occasion = Occasion("tiny", "simulated", "A", ("A",), 0.5, "9f2c" * 16, "elsewhere view")
    path.write_text(render([first, second], occasion), encoding="utf-8")
    return path
