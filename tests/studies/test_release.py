"""A study folder as release 0.1.0 left it, before tables said their format and results the version of their maker.

It is the tiny study of `tiny_sites.py` with one model, two sites and two seeds, without its scans and its store.
"""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pytest

from elsewhere.commands.predict import predict_site
from elsewhere.commands.report import report
from elsewhere.commands.report.assembly import study_of
from elsewhere.commands.report.kept_study import kept_study
from elsewhere.errors import BadScan, BadStudy
from elsewhere.records import write_columns
from elsewhere.rows import DropRow
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import VERSIONS
from elsewhere.studies.predictions import PREDICTIONS, fitting_predictions
from elsewhere.studies.records import (
    DROPS,
    read_identity,
    read_scores,
    read_seed_scores,
    usable_rows,
)


@pytest.fixture
def released(tmp_path: Path) -> Folder:
    """A copy of the folder; its study file lies beside it."""
    shutil.copytree(Path(__file__).parent / "release_0_1_0", tmp_path / "release")
    return Folder(tmp_path / "release" / "out")


def test_its_tables_are_read_and_its_page_is_made(released: Folder) -> None:
    identity = read_identity(released)
    assert {(r.site, r.subset) for r in usable_rows(released)} >= {("UTSW", "test"), ("MosMedData", "train")}
    assert {(r.model, r.site) for r in read_scores(released, identity)} == {("UTSW", "UTSW"), ("UTSW", "MosMedData")}
    assert {r.seeds for r in read_seed_scores(released, identity)} == {2}
    assert len(fitting_predictions(released, "UTSW~5", "UTSW").deterministic) > 0
    shown = study_of(released, kept_study(identity)).examples
    assert all(e.pixels is not None for e in shown if e.stage == "as read")  # kept, though the scans are not here
    report([released.root])
    assert "UTSW tested at MosMedData" in (released.root / "report.html").read_text(encoding="utf-8")


def test_its_predictions_are_not_made_again_until_their_maker_changes(
    released: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, path = released.root.parent / "tiny.toml", released.predictions("UTSW", "UTSW")
    before = path.read_bytes()
    predict_site(file, released.root, "UTSW", "UTSW", lambda *_: None)
    assert path.read_bytes() == before
    monkeypatch.setitem(VERSIONS, "predictions", VERSIONS["predictions"] + 1)
    with pytest.raises(BadScan, match="prepared volume"):
        predict_site(file, released.root, "UTSW", "UTSW", lambda *_: None)


def test_its_scores_are_refused_with_other_predictions_and_by_another_maker(
    released: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, path = read_identity(released), released.predictions("UTSW", "MosMedData")
    whole, rows = path.read_bytes(), PREDICTIONS.read(path)
    PREDICTIONS.write(path, [replace(row, probability=row.probability / 2) for row in rows])
    with pytest.raises(BadStudy, match=r"scores\.parquet: does not belong to .*`elsewhere study` again"):
        read_scores(released, identity)
    path.write_bytes(whole)
    read_scores(released, identity)
    monkeypatch.setitem(VERSIONS, "scores", VERSIONS["scores"] + 1)
    with pytest.raises(BadStudy, match=r"scores\.parquet: does not belong to .*`elsewhere study` again"):
        read_scores(released, identity)


def test_a_drop_that_was_kept_before_discrimination_was_asked_for_is_divided_as_it_was(tmp_path: Path) -> None:
    numbers = {f.name: 0.25 for f in fields(DropRow)}
    words = {"model": "A", "site": "B", "home": "A", "largest": "ranking", "note": "", "method": "bootstrap"}
    row = DropRow(**numbers | words | {"discriminates": False})
    old = {name: value for name, value in vars(row).items() if name != "discriminates"}
    write_columns(tmp_path / "old", pa.Table.from_pylist([old]))
    DROPS.write(tmp_path / "new", [row])
    assert DROPS.read(tmp_path / "old") == [replace(row, discriminates=True)]
    assert DROPS.read(tmp_path / "new") == [row]
