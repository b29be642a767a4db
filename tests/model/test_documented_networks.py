"""Every network that the documents, the studies and the demo print learns an easy task (validation AUC 0.95)."""

from __future__ import annotations

import csv
import re
from contextlib import suppress
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest

from elsewhere.commands.demo import study_text
from elsewhere.model.sample import Case, seed_of
from elsewhere.model.training import train
from elsewhere.studies.file import SHIPPED, Study, load_study

ROOT = Path(__file__).parents[2]
SITE = '\n[sites.Here]\nkind = "volumes"\nroot = "here"\n'
LARGEST = 1 << 18  # voxels of an input that is trained here; the full-size ones take days
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = {
    f"{page.relative_to(ROOT)}:{number}": block
    for page in PAGES
    for number, block in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    if "[network]" in block
}
TEXTS = {name: block if "[sites" in block else SITE + block for name, block in BLOCKS.items()}
TEXTS |= {f"demo, {protocol}": study_text(protocol, 0, quick=True) for protocol in ("paper", "harmonised")}
TEXTS |= {path.name: path.read_text(encoding="utf-8") for path in SHIPPED.glob("*.toml")}


class Reached(BaseException):
    """The network can learn."""


def easy(case: Case, start: int, stop: int, study: Study):
    """Stored voxels in HU: noise, and a dense block somewhere in positives."""
    slices, rows, columns = study.network.input
    rng = np.random.default_rng(seed_of(case.scan))
    voxels = rng.normal(-800, 60, (slices, rows, columns))
    corner = [int(rng.integers(edge // 2 + 1)) for edge in (slices, rows, columns)]
    if case.label:
        z, y, x = (slice(first, first + edge // 2) for first, edge in zip(corner, (slices, rows, columns), strict=True))
        voxels[z, y, x] += 600
    return voxels.astype(np.int16)[start:stop]


def load(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("DATA", str(tmp_path))
    (tmp_path / "study.toml").write_text(TEXTS[name], encoding="utf-8")
    return load_study(tmp_path / "study.toml")


def test_the_volumes_page_prints_a_network():
    assert any(name.startswith("docs/how-to/volumes.md") for name in TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_it_learns(name, tmp_path, monkeypatch):
    study = load(name, tmp_path, monkeypatch)
    if prod(study.network.input) > LARGEST:
        pytest.skip(f"an input of {study.network.input} is not trained in a test")
    cases = [Case("Here", f"p{i}", f"s{i}", i % 2, study.network.input[0], -1100, 100) for i in range(72)]
    settings = replace(study.training, threads=1, accelerator="cpu", tensorboard=False)
    aucs: list[float] = []

    def progress(done: int, total: int, text: str) -> None:
        with (tmp_path / "model" / "curves.csv").open(encoding="utf-8") as file:
            aucs[:] = [float(row["validation_auc"]) for row in csv.DictReader(file)]
        if aucs and aucs[-1] >= 0.95:
            raise Reached

    with suppress(Reached):
        train(
            study.network, study.sample, settings, cases[:48], cases[48:],
            lambda case, start, stop: easy(case, start, stop, study), tmp_path / "model", {}, progress,
        )  # fmt: skip
    assert max(aucs) >= 0.95, aucs
