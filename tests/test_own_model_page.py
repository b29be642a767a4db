"""docs/how-to/own-model.md in; its programs run, and its table says of every kind whether it runs foreign code."""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from elsewhere.errors import BadStudy
from elsewhere.model.declared import RUNNABLE, CommandModel, InputSettings, NetworkFile
from elsewhere.model.runnable import open_model
from elsewhere.model.runnable.protocol import GivenScan, Refused
from elsewhere.scans.volume import Volume
from elsewhere.studies.file import load_study

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "own-model.md").read_text(encoding="utf-8")
PROGRAM, EXPORT = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SCAN = GivenScan("A", "p", "s", Volume(np.full((6, 8, 8), -400, np.int16), "HU", (5.0, 1.0, 1.0), 0.0))


class Mean(torch.nn.Module):
    """Two logits of a scan's mean."""

    def forward(self, scan: torch.Tensor) -> torch.Tensor:
        mean = scan.mean((2, 3, 4))
        return torch.cat([-mean, mean], 1)


def test_the_program_of_the_page_scores_and_refuses(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(PROGRAM)
    run = re.search(r"`run = \"(python score\.py .*?)\"`", PAGE)
    assert run is not None
    command = run[1].replace("python", f"'{sys.executable}'", 1)
    model = open_model(CommandModel(name="V", run=command, allow_code=True, folder=tmp_path))
    assert model.score(SCAN) == [1.0]
    with pytest.raises(Refused, match="slices farther apart than 10 mm"):
        model.score(replace(SCAN, volume=replace(SCAN.volume, spacing=(12.0, 1.0, 1.0))))


def test_the_export_of_the_page_gives_files_that_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(EXPORT, {"network": Mean()})
    for kind, file in (("exported", "mine.pt2"), ("torchscript", "mine.ts")):
        declared = NetworkFile(
            name="V",
            kind=kind,  # type: ignore[arg-type]
            allow_code=True,
            file=tmp_path / file,
            input=InputSettings((64, 128, 128)),
        )
        expected = 1 / (1 + np.exp(-2 * 600 / 1400))
        assert open_model(declared).score(SCAN) == pytest.approx([expected], abs=1e-6)


def test_the_table_says_of_every_kind_whether_it_runs_foreign_code(tmp_path: Path) -> None:
    rows = dict(re.findall(r"^\| .*? \| \[`(\w+)`\]\(.*?\) \| (yes|no)", PAGE, re.MULTILINE))
    assert set(rows) == {"scores", *RUNNABLE}
    keys = {
        "scores": 'table = "x.csv"',
        "elsewhere": 'checkpoint = "x"',
        "command": 'run = "x {in} {out}"',
        "monai": 'bundle = "x"',
        "torch": 'network = "m:C"\nweights = "w"\ninput = { size = [1, 1, 1] }',
    }
    for kind, said in rows.items():
        file = tmp_path / "study.toml"
        own = keys.get(kind, 'file = "f"\ninput = { size = [1, 1, 1] }')
        site = '[sites.A]\nkind = "volumes"\nroot = "a"\nuse = "test"\n'
        file.write_text(f'{site}[models.V]\nkind = "{kind}"\n{own}\n')
        if said == "no":
            assert load_study(file).products, kind
            continue
        with pytest.raises(BadStudy, match="allow_code"):
            load_study(file)
