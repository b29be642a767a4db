"""`elsewhere gather`: the study's page with a hospital's cells is that of a study that had its scans; refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands.gather import gather
from elsewhere.commands.report import report
from elsewhere.commands.report.assembly import study_of
from elsewhere.commands.report.cells import group_means, new_hospital, over_unseen_sites, read_cells
from elsewhere.commands.report.comparisons import comparisons
from elsewhere.commands.report.kept_study import read_study
from elsewhere.commands.visit import visit
from elsewhere.errors import BadStudy
from elsewhere.pages.report.content import Study
from elsewhere.records import read_record, write_record
from elsewhere.studies.folder import Folder, put_aside
from elsewhere.studies.kit import make_kit
from elsewhere.studies.returned import Return, read_return, read_returns, write_return
from new_sites import write_new_site


@pytest.fixture(scope="module")
def before(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, which never saw the hospital's scans, with a kit; not to be changed."""
    root = tmp_path_factory.mktemp("gather")
    copied(finished_study, root)
    make_kit(Folder(root / "out"), [], "", root / "kit.zip")
    return root / "out"


def copied(study: Path, root: Path) -> Path:
    """The study and its store, for a test to change."""
    for name in (study.name, "store"):
        shutil.copytree(study.parent / name, root / name)
    return root / study.name


def at(before: Path, scans: Path, out: Path, hospital: str) -> Path:
    kit, work = before.parent / "kit.zip", before.parent / "work"
    visit(kit, scans, kind="volumes", hospital=hospital, out=out, work=work, yes=True, workers=1)
    return out


@pytest.fixture(scope="module")
def returned(before: Path, hospital_scans: Path) -> Path:
    return at(before, hospital_scans, before.parent / "return.json", "Mercy")


@pytest.fixture(scope="module")
def small(before: Path) -> Path:
    """Of a hospital with too few patients for more than counts."""
    return at(before, write_new_site(before.parent / "small", scans=12), before.parent / "small.json", "Small")


@pytest.fixture
def study(before: Path, tmp_path: Path) -> Path:
    return copied(before, tmp_path)


def shown(folder: Path) -> Study:
    return study_of(Folder(folder), read_study(Folder(folder)))


def test_the_page_is_that_of_a_study_that_had_the_scans(study: Path, central_study: Path, returned: Path) -> None:
    result = CliRunner().invoke(app, ["gather", str(study), str(returned)])
    assert result.exit_code == 0, result.output
    ours, theirs = shown(study), shown(central_study)
    assert [model.weights for model in ours.models] == [model.weights for model in theirs.models]
    assert [site.name for site in ours.sites] == [site.name for site in theirs.sites]
    mine, other = pooled(study), pooled(central_study)
    for name, rows in mine.items():
        assert len(rows) > 0, name
        assert_close(rows, other[name], name)
    assert {row.site for row in mine["comparisons"]} >= {"Mercy", "CC-CCII"}
    assert max(row.sites for row in mine["over_sites"]) == 3  # of four sites and Mercy two are its own or one class
    cells = {(r.model, r.site): r for r in ours.scores if r.threshold_reading == "model"}
    for row in theirs.scores:
        if row.threshold_reading == "model":
            own = cells[row.model, row.site]
            assert_close(asdict(replace(own, made_from=None)), asdict(replace(row, made_from=None)), row.site)


def pooled(root: Path) -> dict[str, list[Any]]:
    """What is computed over cells, of all networks: those of this tiny study did not learn, so its page has none."""
    folder = Folder(root)
    study = read_study(folder)
    cells, sent = read_cells(folder, study), read_returns(folder)
    models = [replace(model, degenerate=()) for model in shown(root).models]
    return {
        "groups": group_means(cells, models, study.site_names, None, sent),
        "new_hospital": [new_hospital(cells, models, sent)],
        "comparisons": comparisons(cells, models, sent),
        "over_sites": over_unseen_sites(cells, models, sent),
    }


def assert_close(ours: Any, theirs: Any, where: str) -> None:
    if is_dataclass(ours):
        ours, theirs = asdict(ours), asdict(theirs)
    if isinstance(ours, dict):
        assert set(ours) == set(theirs), where
        for name, value in ours.items():
            assert_close(value, theirs[name], f"{where}.{name}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert_close(a, b, f"{where}[{i}]")
    elif isinstance(ours, float) and isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-12, nan_ok=True), where
    else:
        assert ours == theirs, where


def test_the_page_says_where_the_cells_were_computed_and_what_is_missing(
    study: Path, returned: Path, small: Path
) -> None:
    gather(study, [returned, small])
    page = " ".join((study / "report.html").read_text(encoding="utf-8").split())
    day = read_return(returned).date
    assert page.count(f"<small>computed at the hospital on {day}</small>") == 2
    assert page.count(f"Computed at the hospital on {day}; no scan left it.") == 2 * 2  # models by hospitals
    assert page.count(">counts only<") == 2
    assert "Small has too few patients of a class for more than counts." in page
    assert "leaves them out: threshold reading (b)," in page
    assert "where accuracy was lost, hardest scans, diagnosis, and dose–response." in page
    table = (study / "tables").glob("*-visits.csv")
    lines = next(table).read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["hospital", "Mercy", "Small"]
    without = shown(study)
    assert {row.site for row in without.drops} <= {"UTSW", "CC-CCII", "COVID-CTset", "MosMedData"}
    assert "Mercy" not in {c.site for c in without.calibrations}


def test_a_study_without_returns_has_no_such_section(before: Path, tmp_path: Path) -> None:
    page = report([before], tmp_path / "page").read_text(encoding="utf-8")
    assert "Computed at hospitals" not in page
    assert "computed at the hospital" not in page


def test_what_is_kept_is_what_came(study: Path, returned: Path) -> None:
    gather(study, [returned])
    gather(study, [returned])  # the same again changes nothing
    (kept,) = (study / "returns").iterdir()
    assert kept.read_bytes() == returned.read_bytes()
    assert read_returns(Folder(study)) == [read_return(returned)]


def changed(path: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A return with something changed by a hand that knows the checksum."""
    record = read_record(path, "")
    change(record)
    write_record(target, record)
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(kit="0" * 64), "which this study did not write"),
        (lambda r: r["cells"][0].update(checkpoint="0" * 64), "holds other models than its kit"),
        (lambda r: r["cells"].pop(), "holds other models|not as many|AUC"),
        (lambda r: r["cells"][0]["score"].update(auc=0.99), "stands there twice, and differs"),
        (lambda r: r["cells"][0]["score"].update(true_positive=1), "are not those of"),
        (lambda r: r["cells"][0].update(score=None), "holds scores that"),
        (lambda r: r["cells"][0]["score"].update(threshold=0.123), "not as its kit"),
        (lambda r: r["counts"].update(positive_patients=3), "holds scores that"),
        (lambda r: r.update(hospital="../UTSW"), "cannot name a hospital"),
        (lambda r: r.update(hospital="UTSW"), "is a site of the study already"),
        (lambda r: r.update(counts="many"), "holds other values"),
        (lambda r: r.update(format="return 2"), "this version of elsewhere reads 'return 1'"),
        (lambda r: r.pop("cells"), "has no 'cells'"),
    ],
)
def test_a_return_that_was_changed_is_refused(
    study: Path, returned: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    file = changed(returned, tmp_path / "changed.json", change)
    with pytest.raises(BadStudy, match=message):
        gather(study, [file])
    assert not (study / "returns").exists()


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95])
def test_one_bit_changed_is_refused(study: Path, returned: Path, tmp_path: Path, share: float) -> None:
    content = bytearray(returned.read_bytes())
    content[int(share * len(content))] ^= 1
    (tmp_path / "bit.json").write_bytes(bytes(content))
    with pytest.raises(BadStudy, match=r"bit\.json"):
        gather(study, [tmp_path / "bit.json"])


def test_it_is_all_or_none(study: Path, returned: Path, small: Path, tmp_path: Path) -> None:
    bad = changed(returned, tmp_path / "bad.json", lambda r: r.update(kit="0" * 64))
    with pytest.raises(BadStudy):
        gather(study, [small, bad])
    assert not (study / "returns").exists()


def test_another_study_refuses_it(finished_study: Path, returned: Path, tmp_path: Path) -> None:
    other = copied(finished_study, tmp_path / "other")
    with pytest.raises(BadStudy, match="which this study did not write"):
        gather(other, [returned])


def test_a_model_that_was_trained_anew_is_refused_and_restart_puts_returns_aside(study: Path, returned: Path) -> None:
    gather(study, [returned])
    folder = Folder(study)
    ours, theirs = folder.model("UTSW"), folder.model("COVID-CTset+MosMedData")
    for name in ("checkpoint.json", "checkpoint.safetensors"):
        shutil.copy(theirs / name, ours / name)
    with pytest.raises(BadStudy, match="it was trained anew"):
        read_returns(folder)
    aside = put_aside(folder)
    assert aside is not None
    assert [file.name for file in (aside / "returns").iterdir()] == ["Mercy.json"]
    assert read_returns(folder) == []


def test_a_kit_record_that_was_changed_is_refused(study: Path, returned: Path) -> None:
    file = Folder(study).kit(read_return(returned).kit)
    file.write_bytes(file.read_bytes().replace(b'"threshold"', b'"Threshold"', 1))
    result = CliRunner().invoke(app, ["gather", str(study), str(returned)])
    assert "kit.json is damaged" in str(result.exception)


def test_a_second_return_of_a_hospital_needs_a_word(study: Path, before: Path, returned: Path, tmp_path: Path) -> None:
    """One scan more is another return: it is not taken silently, nor beside the first one."""
    later = at(before, write_new_site(tmp_path / "later", scans=50), tmp_path / "later.json", "Mercy")
    with pytest.raises(BadStudy, match=r"so is .*return\.json, with other numbers"):
        gather(study, [returned, later])
    gather(study, [returned])
    with pytest.raises(BadStudy, match="is a second return of 'Mercy'"):
        gather(study, [later])
    gather(study, [later], replace=True)
    assert [one.counts.scans for one in read_returns(Folder(study))] == [50]


def test_the_same_scans_under_two_names_are_refused(study: Path, returned: Path, tmp_path: Path) -> None:
    found: Return = replace(read_return(returned), hospital="Mercy Hospital", date="2030-01-01")
    write_return(tmp_path / "twin.json", found)
    with pytest.raises(BadStudy, match="the same scans under two names"):
        gather(study, [returned, tmp_path / "twin.json"])
    gather(study, [returned])
    with pytest.raises(BadStudy, match="to the last digit"):
        gather(study, [tmp_path / "twin.json"])


def test_two_hospitals_of_counts_alone_may_have_equal_counts(study: Path, small: Path, tmp_path: Path) -> None:
    write_return(tmp_path / "twin.json", replace(read_return(small), hospital="Tiny"))
    gather(study, [small, tmp_path / "twin.json"])
    assert [one.hospital for one in read_returns(Folder(study))] == ["Small", "Tiny"]


def test_the_file_is_small_and_plain(returned: Path) -> None:
    content = json.loads(returned.read_text())
    assert len(returned.read_bytes()) <= 10_000 * len(content["cells"])
    assert set(content) - {"checksum", "format", "record"} == {
        *("hospital", "date", "study", "kit", "counts", "cells", "versions", "aucs", "rules", "outside"),
    }
