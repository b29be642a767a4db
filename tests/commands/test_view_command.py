"""`elsewhere view` on tiny sites: what it draws, where the overlay and the marks lie, and what it refuses."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from elsewhere.cli import app
from elsewhere.commands import view as command
from elsewhere.commands.prepare import prepare_study
from elsewhere.commands.study import run_study
from elsewhere.commands.train import train_model
from elsewhere.errors import BadScan, BadStudy
from elsewhere.scans.dicom.series import find_series
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Volume
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder, read_table
from elsewhere.studies.records import ScanRow, usable_rows

MODEL = "UTSW"


@pytest.fixture(scope="module")
def made(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study's folder."""
    out = tmp_path_factory.mktemp("view") / "out"
    run_study(tiny_study_file, Folder(out), workers=1)
    return out


def _view(study: Path, out: Path, page: Path, **options: Any) -> str:
    """The page's text."""
    command.view(study, out, page=page, **options)
    return page.read_text(encoding="utf-8")


def _inside(text: str) -> dict[str, Any]:
    """Images of a page by the id of their element, in canonical axes."""
    found = re.findall(r'<script type="text/plain" id="([\w-]+)">([^<]*)</script>', text)
    return {name: nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(part))) for name, part in found}


def _voxels(image: Any) -> np.ndarray:
    return np.asarray(image.dataobj).transpose(2, 1, 0)


def _settings(text: str) -> list[dict[str, Any]]:
    (found,) = re.findall(r'<script type="application/json" id="cases">(.*?)</script>', text)
    cases: list[dict[str, Any]] = json.loads(found)
    return cases


def _first(made: Path, site: str, subset: str = "test") -> ScanRow:
    return next(r for r in usable_rows(Folder(made)) if (r.site, r.subset) == (site, subset))


def test_the_command_line_writes_the_page(tiny_study_file: Path, made: Path) -> None:
    name = _first(made, "UTSW").scan
    arguments = ["view", str(tiny_study_file), str(made), "--scan", f"UTSW/{name}"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    text = (made / "views" / f"UTSW-{name}.html").read_text(encoding="utf-8")
    assert "Research use only. Not a medical device." in text
    assert "This page holds patient data." in text
    assert set(_inside(text)) == {"scan-0"}


def test_the_original_is_drawn_voxel_by_voxel(
    tiny_study_file: Path, tiny_sites: Path, made: Path, tmp_path: Path
) -> None:
    row = _first(made, "MosMedData")
    text = _view(tiny_study_file, made, tmp_path / "p.html", scan=[f"MosMedData/{row.scan}"], grid="original", bits=16)
    module = reader("mosmeddata")
    scans = module.find(tiny_sites / "MosMedData", "MosMedData").scans
    wanted = module.read(next(s for s in scans if s.scan == row.scan))
    image = _inside(text)["scan-0"]
    np.testing.assert_array_equal(_voxels(image), wanted.voxels)
    assert image.header.get_zooms()[::-1] == pytest.approx(wanted.spacing)
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "I")


@pytest.mark.parametrize("site", ["CC-CCII", "COVID-CTset"])
def test_units_of_every_kind_are_named(tiny_study_file: Path, made: Path, tmp_path: Path, site: str) -> None:
    row = _first(made, site)
    text = _view(tiny_study_file, made, tmp_path / "p.html", scan=[f"{site}/{row.scan}"])
    (case,) = _settings(text)
    values = _voxels(_inside(text)["scan-0"])
    if site == "CC-CCII":
        assert case["units"] == "grey value"
        assert case["presets"][0]["name"] == "as published"
    else:
        assert case["units"] == "HU"
        assert [p["name"] for p in case["presets"]] == ["lung", "mediastinum"]
        assert -900 < np.median(values) < -700


def test_the_models_windows_are_those_of_predict(tiny_study_file: Path, made: Path, tmp_path: Path) -> None:
    row = _first(made, "UTSW")
    text = _view(tiny_study_file, made, tmp_path / "p.html", scan=[f"UTSW/{row.scan}"], model=MODEL)
    (case,) = _settings(text)
    known = read_table(Folder(made).predictions(MODEL, "UTSW"))
    said = next(r["probability"] for r in known if (r["scan"], r["pass"]) == (row.scan, -1))
    assert max(w["probability"] for w in case["windows"]) == said
    assert [(w["start"], w["stop"]) for w in case["windows"]] == [(0, 4), (2, 6)]
    image = _inside(text)["overlay-0"]
    assert _voxels(image).shape == (6, 16, 16)
    assert 0 <= _voxels(image).min() <= _voxels(image).max() <= 1 + 1e-6
    threshold = next(r["threshold"] for r in read_table(Folder(made).scores) if r["model"] == MODEL)
    assert f"positive from {threshold:.2f} on" in text


LUNGS = (slice(1, 5), slice(4, 12), slice(3, 13))


def _study_of_chests(tiny_study: Path) -> None:
    """Turn the tiny study into the harmonised one of a site whose volumes have lungs in a body in air."""
    root = tiny_study.parent / "chests"
    scans = [Scan("Here", f"P{i}", f"P{i}", i % 2, facts={"extension": ".nii.gz"}) for i in range(24)]
    module = reader("volumes")
    for i, scan in enumerate(scans):
        hu = np.random.default_rng([5, i]).normal(0, 20, (6, 16, 16))
        hu[:, [0, -1]] = hu[:, :, [0, -1]] = -1000
        hu[LUNGS] -= 850
        module.write(root, scan, Volume(hu.astype(np.int16), "HU", (8.0, 0.7, 0.7), 0))
    module.write_tables(root, scans)
    settings = tiny_study.read_text(encoding="utf-8").partition("[sites.")[0]
    settings = re.sub("combinations = .*", 'combinations = [["Here"]]', settings.replace('"paper"', '"harmonised"'))
    site = f'[preparation]\nmargin = 0\n[sites.Here]\nkind = "volumes"\nroot = "{root}"\n'
    tiny_study.write_text(settings + site, encoding="utf-8")


def test_the_overlay_lies_on_the_lungs_box(tiny_study: Path, tmp_path: Path) -> None:
    """Cropped to the lungs and put on a fixed grid: drawn on the original, the overlay is where the box was."""
    _study_of_chests(tiny_study)
    out = tmp_path / "out"
    prepare_study(load_study(tiny_study), Folder(out), workers=1)
    train_model(tiny_study, out, "Here", lambda *_: None)
    name = f"Here/{_first(out, 'Here').scan}"
    page = _view(tiny_study, out, tmp_path / "p.html", scan=[name], model="Here", grid="original")
    scan, overlay = (_inside(page)[key] for key in ("scan-0", "overlay-0"))
    assert (_voxels(scan).shape, _voxels(overlay).shape) == ((6, 16, 16), (4, 16, 16))
    to_index = np.linalg.inv(scan.affine) @ overlay.affine
    edges = nibabel.affines.apply_affine(to_index, [[-0.5] * 3, np.array(overlay.shape) - 0.5])[:, ::-1] + 0.5
    np.testing.assert_allclose(edges.T, [(part.start, part.stop) for part in LUNGS], atol=1e-4)
    assert [(w["start"], w["stop"]) for w in _settings(page)[0]["windows"]] == [(1, 5)]
    prepared = _view(tiny_study, out, tmp_path / "q.html", scan=[name], model="Here")
    assert "cropped to the lungs; the size of its voxels is not known here" in prepared
    marks = _table(tmp_path / "m.csv", name.partition("/")[2], {1: "1", 2: "1"})
    with pytest.raises(BadStudy, match=r"cropped to the lungs, so its slices cannot be marked\. Use --grid original"):
        command.view(tiny_study, out, scan=[name], marks=marks)
    marked = _view(tiny_study, out, tmp_path / "r.html", scan=[name], model="Here", grid="original", marks=marks)
    assert _settings(marked)[0]["marks"] == {"0": "yes", "1": "yes"}


def test_the_hardest_scans_come_worst_first(tiny_study_file: Path, made: Path, tmp_path: Path) -> None:
    text = _view(tiny_study_file, made, tmp_path / "p.html", model=MODEL, hardest=3)
    tables = [read_table(path) for path in sorted((made / "predictions" / MODEL).glob("*.parquet"))]
    tests = [r for t in tables for r in t if (r["subset"], r["pass"]) == ("test", -1)]
    wrong = {f"{r['site']}/{r['scan']}": abs(r["label"] - r["probability"]) for r in tests}
    names = [case["name"] for case in _settings(text)]
    assert len(names) == 3
    assert sorted((wrong[n] for n in names), reverse=True) == sorted(wrong.values(), reverse=True)[:3]


def _table(path: Path, scan: str, marks: dict[int, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["scan", "slice", "mark"])
        table.writerows([scan, number, word] for number, word in marks.items())
    return path


def test_marks_lie_on_their_slices(tiny_study_file: Path, made: Path, tmp_path: Path) -> None:
    row = _first(made, "UTSW")
    marks = _table(tmp_path / "m.csv", row.scan, {1: "0", 2: "1", 3: "infection", 6: ""})
    page = tmp_path / "p.html"
    text = _view(tiny_study_file, made, page, scan=[f"UTSW/{row.scan}"], model=MODEL, marks=marks)
    assert _settings(text)[0]["marks"] == {"1": "yes", "2": "infection"}
    assert re.search(r"Of the 4 slices that the overlay covers, [12] are marked|there is nothing to draw", text)


def test_marks_move_with_a_fixed_grid(tiny_study: Path, tmp_path: Path) -> None:
    text = tiny_study.read_text(encoding="utf-8")
    tiny_study.write_text(text + '[preparation]\ngrid = "fixed"\n', encoding="utf-8")
    out = Folder(tmp_path / "out")
    prepare_study(load_study(tiny_study), out, workers=1)
    row = _first(out.root, "UTSW")
    marks = _table(tmp_path / "m.csv", row.scan, {6: "last"})
    text = _view(tiny_study, out.root, tmp_path / "p.html", scan=[f"UTSW/{row.scan}"], marks=marks)
    assert _settings(text)[0]["marks"] == {"3": "last"}  # six slices on a grid of four


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--scan: names no scan. Give --scan SITE/SCAN"),
        ({"scan": ["UTSW/P999"]}, r"has no usable scan 'UTSW/P999'. Its first is UTSW/P0"),
        ({"scan": ["P0"]}, r"has no usable scan 'P0'. Sites: UTSW, CC-CCII, COVID-CTset, MosMedData; write it"),
        ({"scan": ["UTSW/P0"], "grid": "fine"}, "--grid: is 'fine'. Use one of prepared, original"),
        ({"scan": ["UTSW/P0"], "bits": 12}, "--bits: is 12. Use 8 or 16"),
        ({"hardest": 2}, "--hardest: is given without --model"),
        (
            {"scan": ["UTSW/P0"], "model": "None"},
            r"has no model 'None'\. Choose one of its models: UTSW,",
        ),
        ({"model": "None", "hardest": 1}, "has no predictions of 'None'. Run `elsewhere study` first"),
        ({"scan": ["UTSW/P0"], "marks": Path("nowhere.csv")}, "nowhere.csv: cannot be read"),
    ],
)
def test_what_cannot_be_shown_says_why(tiny_study_file: Path, made: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadStudy, match=words):
        command.view(tiny_study_file, made, **options)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no row. Give a CSV with the columns scan, slice, mark"),
        ("scan,slide\nP0,1\n", "has scan, slide. Give a CSV"),
        ("scan,slice,mark\nP999,1,1\n", "marks none of the scans P0"),
        ("scan,slice,mark\nP0,7,1\n", "line 2 has slice '7'. Count from 1 at the top; the scan has 6"),
        ("scan,slice,mark\nP0,0,1\n", "line 2 has slice '0'"),
    ],
)
def test_faulty_marks_say_where(tiny_study_file: Path, made: Path, tmp_path: Path, content: str, words: str) -> None:
    table = tmp_path / "m.csv"
    table.write_text(content, encoding="utf-8")
    with pytest.raises(BadStudy, match=words):
        command.view(tiny_study_file, made, scan=["UTSW/P0"], marks=table)


def test_a_scan_that_is_gone_or_changed_is_not_drawn_as_the_original(
    tiny_study: Path, tiny_sites: Path, made: Path, tmp_path: Path
) -> None:
    row = _first(made, "MosMedData")
    name, sites = f"MosMedData/{row.scan}", tmp_path / "sites"
    shutil.copytree(tiny_sites / "MosMedData", sites / "MosMedData")
    text = tiny_study.read_text()
    tiny_study.write_text(text.replace(str(tiny_sites / "MosMedData"), str(sites / "MosMedData")))
    (file,) = (sites / "MosMedData").rglob(f"{row.scan}.nii*")
    other = next(path for path in file.parent.iterdir() if path != file)
    shutil.copyfile(other, file)
    with pytest.raises(BadScan, match=r"is not what was prepared\. Run `elsewhere prepare` again"):
        command.view(tiny_study, made, scan=[name], grid="original", page=tmp_path / "p.html")
    file.unlink()
    with pytest.raises(BadScan, match=f"no longer holds scan '{row.scan}'. Restore it, or show --grid prepared"):
        command.view(tiny_study, made, scan=[name], grid="original", page=tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()


def test_a_file_that_ends_its_reader_is_named_and_ends_no_command(
    tiny_study_file: Path, made: Path, tmp_path: Path, inject: Callable[[dict[str, str]], None]
) -> None:
    row = _first(made, "MosMedData")
    inject({f"{row.scan}.nii": "SIGSEGV"})
    shown = ["--scan", f"MosMedData/{row.scan}", "--grid", "original", "--page", str(tmp_path / "p.html")]
    result = CliRunner().invoke(app, ["view", str(tiny_study_file), str(made), *shown])
    assert isinstance(result.exception, BadScan)
    assert "was ended by signal 11 (SIGSEGV)" in str(result.exception)
    assert row.scan in result.exception.where
    command.view(tiny_study_file, made, scan=[f"MosMedData/{row.scan}"], page=tmp_path / "q.html")  # as prepared
    assert (tmp_path / "q.html").is_file()


def test_too_large_a_page_says_what_to_leave_out(
    tiny_study_file: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elsewhere.pages.viewer.page.LARGEST_PAGE", 10)
    with pytest.raises(BadStudy, match="Give fewer --scan, --grid prepared or --bits 8"):
        command.view(tiny_study_file, made, scan=["UTSW/P0"], page=tmp_path / "p.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.real
def test_radiologists_slice_labels_stand_beside_a_real_scan(real_data: Path, tiny_study: Path, tmp_path: Path) -> None:
    """COVID-CT-MD's first patient as it was read, with every slice that its radiologists marked."""
    source = real_data / "covid-ct-md"
    root = source / "COVID-19 subjects" / "P001"
    (series,) = find_series(root)[0]
    labels = tmp_path / "labels.csv"
    labels.write_text(f"patient_id,scan_id,series_uid,label\nP001,P001,{series.uid},1\n")
    site = f'[sites.MD]\nkind = "dicom"\nroot = "{root}"\nlabels = "{labels}"\nuse = "test"\n'
    tiny_study.write_text(tiny_study.read_text(encoding="utf-8") + site, encoding="utf-8")
    out = tmp_path / "out"
    prepare_study(load_study(tiny_study), Folder(out), workers=1)
    with (source / "kept-slices.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted((int(r["label_index"]), r["slice_label"]) for r in csv.DictReader(file) if r["subject"] == "P001")
    marks = _table(tmp_path / "m.csv", "P001", {i: word for i, (_, word) in enumerate(rows, start=1)})
    text = _view(tiny_study, out, tmp_path / "p.html", scan=["MD/P001"], marks=marks, grid="original")
    (case,) = _settings(text)
    assert case["slices"] == len(rows) == 37
    assert sorted(map(int, case["marks"])) == [i for i, (_, word) in enumerate(rows) if word == "1"]
    air, body = (np.quantile(_voxels(_inside(text)["scan-0"]), share) for share in (0.1, 0.9))
    assert air < -900
    assert -150 < body < 150


def test_overlays_are_saved_as_dicom_segmentations_of_their_series(
    tiny_study_file: Path, made: Path, tmp_path: Path
) -> None:
    seg = pytest.importorskip("highdicom.seg", reason="pip install 'elsewhere[seg]'")
    row = _first(made, "UTSW")
    name = f"UTSW/{row.scan}"
    text = _view(tiny_study_file, made, tmp_path / "v.html", scan=[name], model=MODEL, seg=tmp_path / "seg")
    (file,) = (tmp_path / "seg").iterdir()
    found, overlay = seg.segread(file), _voxels(_inside(text)["overlay-0"])
    assert found.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == MODEL
    brightest = int(found.pixel_array.reshape(found.NumberOfFrames, -1).sum(axis=1).argmax())
    place = found.PerFrameFunctionalGroupsSequence[brightest].PlanePositionSequence[0].ImagePositionPatient[2]
    tops = sorted((float(f.PlanePositionSequence[0].ImagePositionPatient[2]) for f in _frames(found)), reverse=True)
    assert overlay.sum(axis=(1, 2)).argmax() == pytest.approx(
        tops.index(float(place)) * len(overlay) / len(tops), abs=1
    )


def _frames(segmentation: Any) -> list[Any]:
    return list(segmentation.PerFrameFunctionalGroupsSequence)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"site": "UTSW"}, "without --model"),
        ({"site": "MosMedData", "model": MODEL}, "MosMedData has none .kind = 'mosmeddata'"),
    ],
)
def test_a_segmentation_that_cannot_be_is_refused(
    tiny_study_file: Path, made: Path, tmp_path: Path, options: dict[str, str], why: str
) -> None:
    row = _first(made, options["site"])
    with pytest.raises(BadStudy, match=why):
        command.view(
            tiny_study_file,
            made,
            scan=[f"{row.site}/{row.scan}"],
            model=options.get("model"),
            page=tmp_path / "v.html",
            seg=tmp_path / "seg",
        )
    assert not (tmp_path / "v.html").exists()
