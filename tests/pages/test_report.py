"""Reports of made-up studies in: what must stand on the page, beside it, and never on it."""

from __future__ import annotations

import csv
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from elsewhere.audit_rows import RuleRow
from elsewhere.pages.figures import Canvas
from elsewhere.pages.report import (
    Audit,
    BadScanRow,
    CurveRow,
    ExampleSlice,
    GroupRow,
    Model,
    Report,
    RocBand,
    Site,
    Study,
    write_report,
)
from elsewhere.pages.report import folder as places
from elsewhere.pages.report.departures import protocol_table
from elsewhere.pages.report.page import whole
from elsewhere.pages.report.published import published_table
from elsewhere.pages.report.records import averages, groups
from elsewhere.rows import ScoreRow
from elsewhere.statistics.audit import CountRow, FactsRow, Leak, ScanName
from elsewhere.statistics.decision import choose_threshold
from elsewhere.statistics.roc import grid_roc, roc_band
from elsewhere.statistics.score import score_cell
from study_rows import a_score

NAMES = ("UTSW", "CC-CCII", "COVID-CTset", "MosMedData")
COMBINATIONS = (
    ("UTSW",),
    ("CC-CCII",),
    ("COVID-CTset",),
    ("UTSW", "CC-CCII"),
    ("UTSW", "COVID-CTset"),
    ("CC-CCII", "COVID-CTset"),
    ("UTSW", "CC-CCII", "COVID-CTset"),
    ("CC-CCII", "COVID-CTset", "MosMedData"),
    NAMES,
)
SITES = (
    Site("UTSW", "USA", "DICOM, HU"),
    Site("CC-CCII", "China", "PNG, JPG and BMP slices, 0–255"),
    Site("COVID-CTset", "Iran", "16-bit TIFF, HU + 1024"),
    Site("MosMedData", "Russia", "NIfTI, HU", "Positives only: no ROC and no AUC can be had here."),
)
POSITIVE_SHARE = {"UTSW": 0.30, "CC-CCII": 0.34, "COVID-CTset": 0.25, "MosMedData": 1.0}
HOSTILE = "<script>alert('x')</script>"


def made_up_study(
    name: str = "paper", elsewhere: float = 0.0, scans: int = 60, combinations: tuple = COMBINATIONS, passes: int = 5
) -> Study:
    """A study whose networks rank well at home and by `elsewhere` (d′) at sites they never saw."""
    rng = np.random.default_rng([7, len(name), scans])
    models = tuple(Model("+".join(c), c, 350, "9f2c" * 4) for c in combinations)
    scores, rocs = [], []
    for model, site in itertools.product(models, SITES):
        records, band = _cell(rng, model, site, 1.8 if site.name in model.trained_on else elsewhere, scans, passes)
        scores += records
        rocs += band
    return Study(
        name=name,
        protocol=f"The {name} protocol, in a sentence.",
        models=models,
        sites=SITES,
        counts=_counts(scans),
        scores=scores,
        rocs=rocs,
        curves=[row for model in models for row in _curve(rng, model.name)],
        bad_scans=[
            BadScanRow("CC-CCII", "1164", "NCP/16/1164/0031.png", "is cut short (1024 bytes)", "Fetch it again")
        ],
        audit=_audit(),
        examples=_examples(rng),
        departures={} if name == "paper" else {"encoding": "back to HU", "crop": "to the lungs' box"},
        settings={"seed": 0, "network": {"input": [24, 32, 32], "filters": [8, 16, 32]}, "allow_leak": False},
        versions={"elsewhere": "0.1.0", "numpy": "2.4.6"},
        seeds={"study": 0},
        split_hash="0123456789abcdef",
    )


def _cell(
    rng: np.random.Generator, model: Model, site: Site, distance: float, scans: int, passes: int
) -> tuple[list[ScoreRow], list[RocBand]]:
    labels = (np.arange(scans) < round(POSITIVE_SHARE[site.name] * scans)).astype(int)
    logits = rng.normal(size=scans) + distance * (labels - 0.5)
    dropout = 1 / (1 + np.exp(-logits - 0.3 * rng.normal(size=(passes, scans))))
    probabilities = 1 / (1 + np.exp(-logits))
    patients = np.array([f"p{i // 2}" for i in range(scans)])
    records = []
    for reading in ("model", "site"):
        point = choose_threshold(labels, np.clip(probabilities + (0.1 if reading == "site" else 0), 0, 1), reading)
        score = score_cell(labels, patients, probabilities, dropout, operating_point=point, resamples=50)
        records.append(ScoreRow(model=model.name, site=site.name, **vars(score)))
    if len(set(labels)) == 1:
        return records, []
    roc, band = grid_roc(labels, probabilities), roc_band(labels, dropout)
    curve = (roc.false_positive_rate, roc.true_positive_rate)
    return records, [RocBand(model.name, site.name, *curve, band.false_positive_rate, band.low, band.high)]


def _counts(scans: int) -> list[CountRow]:
    shares = {"train": 3, "validation": 1, "test": 1}
    return [
        CountRow(s, label, subset, n // 2, n, 40 * n)
        for s, label, (subset, share) in itertools.product(NAMES, (0, 1), shares.items())
        if (n := share * round(scans * (POSITIVE_SHARE[s] if label else 1 - POSITIVE_SHARE[s])))
    ]


def _curve(rng: np.random.Generator, model: str) -> list[CurveRow]:
    steps = np.arange(0, 400, 10)
    loss = 0.7 * np.exp(-steps / 150) + 0.04 * rng.random(steps.size)
    rows = [CurveRow(model, {"iteration": int(i), "training_loss": float(v)}) for i, v in zip(steps, loss, strict=True)]
    return rows + [
        CurveRow(model, {"iteration": i, "validation_accuracy": 0.6 + 0.3 * i / 400}) for i in range(50, 400, 50)
    ]


def _audit() -> Audit:
    scan = ScanName("COVID-CTset", "patient7", "patient7/SR_2", "train")
    facts = {"median_slices": 40, "units": "HU", "matrix": "512 x 512", "slice_spacing_mm": None}
    facts |= {"padding_share": 0.21, "black_share": 0.0, "lung_segmented_share": 0.0}
    return Audit(
        warnings=("Site and label are confounded: a rule that knows only the site already reaches AUC 0.70.",),
        leaks=(Leak("patient", "COVID-CTset/patient7", ("test", "train")),),
        duplicates=((scan, replace(scan, scan="patient7/SR_3", subset="test")),),
        facts=(
            FactsRow(site="UTSW", label=1, scans=18, **facts),
            FactsRow(site="UTSW", label=0, scans=42, **facts),
        ),
        site_only_auc=0.70,
        confounding=(RuleRow("slice thickness and kernel", "UTSW", 0.93, 0.001),),
    )


def _examples(rng: np.random.Generator) -> list[ExampleSlice]:
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    chest = np.where(x**2 + 1.6 * y**2 < 0.8, 150, 0) - 120.0 * ((np.abs(x) - 0.4) ** 2 * 4 + 1.5 * y**2 < 0.35)
    return [
        ExampleSlice(s, label, (chest + 15 * rng.random(chest.shape)).clip(0, 255).astype(np.uint8), "slice 31 of 62")
        for s, label in itertools.product(NAMES, (1, 0))
        if label or POSITIVE_SHARE[s] < 1
    ]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine models, four sites, two protocols."""
    simulated = {
        "origin": "simulated",
        "published": True,
        "planted": ("At UTSW the positives were scanned with another kernel than the negatives.",),
    }
    both = made_up_study("paper"), made_up_study("harmonised", elsewhere=1.0)
    folder = tmp_path_factory.mktemp("full")
    write_report(Report("Four made-up sites", [replace(study, **simulated) for study in both]), folder)
    return folder


class Elements(HTMLParser):
    """Collects every tag with its attributes, and the text outside of tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, attribute: str) -> list[str]:
        """Values of one attribute, in order."""
        return [value for _, found in self.tags if (value := found.get(attribute))]


def page_of(study: Study, folder: Path) -> str:
    """The page of one study alone."""
    return write_report(Report("One study", (study,)), folder).read_text(encoding="utf-8")


def rows_of(path: Path) -> list[dict[str, str]]:
    """A CSV's rows."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def small() -> Study:
    """Two models at four sites."""
    return made_up_study(combinations=(("UTSW",), ("UTSW", "CC-CCII")), scans=30, passes=3)


@pytest.fixture(scope="module")
def small_page(small: Study, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of that study, its scans re-packed."""
    return page_of(replace(small, origin="repacked"), tmp_path_factory.mktemp("small"))


def test_the_page_is_small_and_loads_nothing(full: Path) -> None:
    page = (full / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 5_000_000
    elements = Elements(page)
    loading = [
        (tag, name, value)
        for tag, found in elements.tags
        for name, value in found.items()
        if name in {"src", "srcset", "data", "xlink:href", "action", "poster"} and value
    ]
    assert all(value.startswith(("data:image/png;base64,", "#")) for _, _, value in loading)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in elements.tags}
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", page)
    links = [found["href"] or "" for tag, found in elements.tags if tag == "a"]
    assert {link for link in links if "//" in link} == {"https://doi.org/10.3389/frai.2021.694875"}


def test_every_link_of_the_page_leads_somewhere(full: Path) -> None:
    elements = Elements((full / "report.html").read_text(encoding="utf-8"))
    for link in (found["href"] or "" for tag, found in elements.tags if tag == "a"):
        if link.startswith("#"):
            assert link[1:] in elements.all("id")
        elif "//" not in link:
            assert (full / link).stat().st_size > 0


def test_every_table_has_its_csv_and_every_figure_its_svg_and_png(full: Path) -> None:
    elements = Elements((full / "report.html").read_text(encoding="utf-8"))
    tables, figures = elements.all("data-table"), elements.all("data-figure")
    assert sum(tag == "table" for tag, _ in elements.tags) == len(tables) > 10
    assert sum(tag == "figure" for tag, _ in elements.tags) == len(figures) > 10
    assert {f"{name}.csv" for name in tables} <= {path.name for path in (full / "tables").iterdir()}
    drawn = {path.name for path in (full / "figures").iterdir()}
    assert {f"{name}.{kind}" for name in figures for kind in ("svg", "png")} <= drawn


def test_every_picture_has_words_for_those_who_do_not_see_it(full: Path) -> None:
    elements = Elements((full / "report.html").read_text(encoding="utf-8"))
    pictures = [found for tag, found in elements.tags if tag == "svg"]
    assert pictures
    assert all(found["role"] == "img" and len(found["aria-label"] or "") > 40 for found in pictures)


def test_ids_stand_once(full: Path) -> None:
    ids = Elements((full / "report.html").read_text(encoding="utf-8")).all("id")
    assert len(ids) == len(set(ids))


def test_simulated_is_said_and_what_was_planted(full: Path) -> None:
    page = (full / "report.html").read_text(encoding="utf-8")
    assert "no evidence about any hospital" in page
    assert "It is an assumption of the simulation" in page
    assert "At UTSW the positives were scanned with another kernel" in page
    assert page.count("Research use only. Not a medical device.") >= 5


def test_repacked_is_said(small_page: str) -> None:
    assert "Re-packed scans." in small_page
    assert "Real CT of one data set, written into the file layouts of others" in small_page


def test_a_number_on_the_page_is_the_number_of_the_records(small: Study, small_page: str) -> None:
    words = " ".join(Elements(small_page).words)
    found = next(r for r in small.scores if (r.model, r.site) == ("UTSW", "CC-CCII"))
    ends = f"{found.auc_sampling_low:.3f}–{found.auc_sampling_high:.3f}"
    assert f"{found.auc:.3f} ({ends})" in words
    assert f"{found.auc_grid_dropout_mean:.3f} ± {found.auc_grid_dropout_sd:.3f}" in words
    assert f"dropout {found.auc_grid_dropout_mean:.3f} ± {found.auc_grid_dropout_sd:.3f}" in words  # in the curve


def test_an_auc_below_one_half_is_printed_as_it_is(small: Study, tmp_path: Path) -> None:
    low = {"auc": 0.231, "auc_sampling_low": 0.151, "auc_sampling_high": 0.335}
    away = ("UTSW", "COVID-CTset")
    scores = [replace(r, **low) if (r.model, r.site) == away else r for r in small.scores]
    page = page_of(replace(small, scores=scores), tmp_path)
    assert "0.231 (0.151–0.335)" in page
    assert "UTSW tested at COVID-CTset (never seen in training): AUC 0.231" in page
    assert "0.769" not in page


def test_a_one_class_cell_says_what_it_is(small_page: str) -> None:
    elements = Elements(small_page)
    details = next(words for words in elements.words if "UTSW tested at MosMedData" in words)
    assert "positives only, no AUC, sensitivity 0." in details
    assert "30 scans of 15 patients, 30 positive and 0 negative" in details
    assert "no negatives" in elements.words  # in the confusion matrix
    assert elements.words.count("no AUC") >= 2  # in the matrix and in place of the ROC curve


def test_a_missing_cell_says_so(small: Study, tmp_path: Path) -> None:
    scores = [r for r in small.scores if r.site != "CC-CCII"]
    page = page_of(replace(small, scores=scores), tmp_path)
    assert "UTSW tested at CC-CCII (never seen in training): not measured." in page
    rows = rows_of(tmp_path / "tables" / "paper-cells.csv")
    assert [r["note"] for r in rows if r["site"] == "CC-CCII"] == ["not measured"] * 2


def test_hostile_strings_do_not_become_markup(small: Study, tmp_path: Path) -> None:
    study = replace(
        small,
        protocol=HOSTILE,
        notes=(HOSTILE,),
        left_out=(HOSTILE,),
        planted=(HOSTILE,),
        bad_scans=[BadScanRow(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)],
        audit=Audit(warnings=(HOSTILE,), duplicates=((ScanName(HOSTILE, HOSTILE, HOSTILE, HOSTILE),),)),
        models=[replace(small.models[0], name=HOSTILE), small.models[1]],
        examples=[replace(small.examples[0], scan=HOSTILE, caption=HOSTILE)],
        settings={HOSTILE: HOSTILE},
    )
    page = page_of(study, tmp_path)
    assert not [tag for tag, _ in Elements(page).tags if tag == "script"]
    assert "&lt;script&gt;alert" in page
    assert all("<script" not in path.read_text(encoding="utf-8") for path in (tmp_path / "figures").glob("*.svg"))


def test_the_same_report_gives_the_same_bytes(small: Study, tmp_path: Path) -> None:
    folders = [tmp_path / "once", tmp_path / "again"]
    for folder in folders:
        page_of(small, folder)
    files = [sorted(path.relative_to(folder) for path in folder.rglob("*.*")) for folder in folders]
    assert files[0] == files[1]
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in files[0])


def test_the_headline_names_home_elsewhere_and_the_fall(full: Path) -> None:
    words = " ".join(" ".join(Elements((full / "report.html").read_text(encoding="utf-8")).words).split())
    assert "Nine networks under each of two protocols, 18 in all, were trained to classify chest CT scans" in words
    ends = r"0\.\d\d \(0\.\d\d–\d\.\d\d\)"
    assert re.search(rf"Mean discrimination \(AUC, with 95 % interval\): {ends} at home \(internal test set", words)
    assert re.search(rf"; {ends} elsewhere \(external validation, sites never seen in training\), 10 cells", words)
    assert "The difference, home less elsewhere, is +0." in words
    assert "Each network was trained once" in words


def test_protocols_are_compared_and_each_change_is_named(small: Study) -> None:
    steps = [
        replace(small, name="both", departures={"encoding": "back to HU", "crop": "to the lungs"}),
        small,
        replace(small, name="encoding", departures={"encoding": "back to HU"}),
    ]
    rows = protocol_table(steps, "protocols").rows
    assert [(r.study, r.against, r.change) for r in rows] == [
        ("paper", "", ""),
        ("encoding", "paper", "encoding: back to HU (“paper”: as in the paper)"),
        ("both", "encoding", "crop: to the lungs (“encoding”: as in the paper)"),
    ]
    assert [r.unseen_gain for r in rows] == [None, 0.0, 0.0]


def test_what_was_changed_is_between_the_two_studies_and_not_against_the_publication(small: Study) -> None:
    """The other study may depart from the publication as well: its own value is what was changed."""
    one = replace(
        small,
        name="paper",
        departures={
            "network.input": "[48, 32, 32] (paper: [128, 512, 512])",
            "preparation.smooth": "True (paper: False)",
        },
        settings={"network": {"input": [48, 32, 32]}, "preparation": {"smooth": True, "maximum": None}},
    )
    two = replace(
        small,
        name="b",
        departures={
            "network.input": "[24, 32, 32] (paper: [128, 512, 512])",
            "preparation.maximum": "100.0 (paper: None)",
            "a": "x",
        },
        settings={"network": {"input": [24, 32, 32]}, "preparation": {"smooth": False, "maximum": 100.0}},
    )
    assert protocol_table([two, one], "protocols").rows[1].change == (
        "network.input: [24, 32, 32] (“paper”: [48, 32, 32]); preparation.maximum: 100 (“paper”: none); "
        "a: x (“paper”: as in the paper); preparation.smooth: no (“paper”: yes)"
    )


def test_means_over_cells_are_plain_means_and_keep_to_their_kin(small: Study) -> None:
    known = [r for r in small.scores if r.threshold_reading == "model" and r.auc is not None]
    single, several = ([r for r in known if (r.model == "UTSW") == alone] for alone in (True, False))
    away = [r.auc for r in single if r.site != "UTSW"] + [r.auc for r in several if r.site == "COVID-CTset"]
    found = {group.kin: group for group in groups(small)}
    assert found["home"].aucs == tuple(r.auc for r in single if r.site == "UTSW")
    assert len(found["seen"].aucs) == 2
    assert found["unseen"].mean == pytest.approx(np.mean(away))
    assert found["unseen"].low < found["unseen"].mean < found["unseen"].high


def test_given_group_means_are_taken_as_they_are(small: Study) -> None:
    given = GroupRow("unseen", 0.5, 0.45, 0.55, cells=3, method="joint bootstrap")
    found = {group.kin: group for group in groups(replace(small, groups=(given,)))}
    assert (found["unseen"].mean, found["unseen"].low, found["unseen"].method) == (0.5, 0.45, "joint bootstrap")


def test_average_leaves_a_class_out_where_a_site_has_none(small: Study) -> None:
    counts = (("UTSW", 8, 2, 1, 9), ("CC-CCII", 2, 8, 4, 6), ("MosMedData", 3, 7, 0, 0))
    names = ("site", "true_positive", "false_negative", "false_positive", "true_negative")
    cells = [a_score(model="UTSW", **dict(zip(names, row, strict=True))) for row in counts]
    cells[2] = replace(cells[2], positives=10, negatives=0)
    average, without, combined = averages(replace(small, scores=cells), "UTSW", "model")
    assert (average.sensitivity, average.specificity) == (pytest.approx(13 / 30), pytest.approx(0.75))
    assert average.accuracy == pytest.approx((0.85 + 0.4 + 0.3) / 3)
    assert (without.name, without.sensitivity) == ("Average without MosMedData", pytest.approx(0.5))
    assert combined.accuracy == pytest.approx(28 / 50)
    assert (combined.sensitivity, combined.specificity) == (pytest.approx(13 / 30), pytest.approx(0.75))


def test_published_numbers_stand_beside_ours_on_real_data_only(small: Study, full: Path) -> None:
    ours = published_table([small], "published").rows[0]
    found = next(r for r in small.scores if (r.model, r.site, r.threshold_reading) == ("UTSW", "UTSW", "site"))
    assert ours["accuracy_0"] == found.accuracy
    assert (ours["published_accuracy"], ours["published_auc"]) == (0.87, 0.826)
    simulated = rows_of(full / "tables" / "published.csv")[0]
    assert simulated["published_auc"] == "0.826"
    assert "accuracy_0" not in simulated
    assert "ours do not stand beside them and must not be compared" in (full / "report.html").read_text(
        encoding="utf-8"
    )


def test_long_tables_are_cut_on_the_page_and_whole_in_the_csv(small: Study, tmp_path: Path) -> None:
    bad = [BadScanRow("UTSW", f"scan{i}", f"{i}.dcm", "is empty", "Fetch it again") for i in range(250)]
    page = page_of(replace(small, bad_scans=bad, models=(), scores=(), rocs=(), examples=()), tmp_path)
    assert "The first 100 of 250 rows; the CSV holds all." in page
    assert "scan249" not in page
    assert len(rows_of(tmp_path / "tables" / "paper-bad-scans.csv")) == 250


def test_a_page_that_grew_too_large_is_written_with_its_largest_pictures_beside_it(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = page_of(small, tmp_path / "plain")
    cells, whole_page, kept = len(small.models) * len(small.sites), len(plain.encode()), plain.count("<svg")
    for limit, fewer in ((whole_page, 0), (whole_page - 1, 1), (0, kept)):
        monkeypatch.setattr(places, "PAGE", limit - 10 * cells)
        monkeypatch.setattr(places, "PER_CELL", 10)
        page = page_of(small, tmp_path / str(limit))
        assert kept - page.count("<svg") == page.count("Too large to stand on this page") == fewer
        assert fewer == kept or len(page.encode()) <= limit
        for name in re.findall(r'href="(figures/[^"]+)"', page):
            assert (tmp_path / str(limit) / name).is_file()


def test_a_picture_of_many_screens_lies_beside_the_page(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = page_of(small, tmp_path / "plain").count("<svg")
    monkeypatch.setattr(places, "TALLEST", 0)
    page = page_of(small, tmp_path / "tall")
    assert (page.count("<svg"), page.count("Too large to stand on this page")) == (0, plain)


def test_a_study_without_records_still_makes_a_page(tmp_path: Path) -> None:
    study = Study("empty", "Nothing was run.", [Model("A", ("A",))], [Site("A"), Site("B")])
    page = page_of(study, tmp_path)
    assert "A tested at B (never seen in training): not measured." in page
    assert "No AUC was measured: no cell with both classes is in the records." in page


@pytest.mark.parametrize("names", [("paper", "Paper"), ("paper", "…")])
def test_studies_need_names_of_their_own(small: Study, tmp_path: Path, names: tuple[str, str]) -> None:
    studies = [replace(small, name=name) for name in names]
    with pytest.raises(ValueError, match="is empty or stands twice in the report"):
        write_report(Report("Two", studies), tmp_path)


def test_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one study"):
        write_report(Report("None", ()), tmp_path)


def test_a_band_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match="lower edge above its upper one"):
        RocBand("UTSW", "CC-CCII", [0, 1], [0, 1], [0, 1], [0.6, 0.9], [0.1, 0.1])


def test_names_and_sizes_are_kept_whole_and_escaped() -> None:
    assert whole("COVID-CTset at 512 x 512") == (
        '<span class="whole">COVID-CTset</span> at <span class="whole">512 x 512</span>'
    )
    assert whole("<b>x-y</b>") == '&lt;b&gt;<span class="whole">x-y</span>&lt;/b&gt;'
    assert whole("/data/a-b/c-d.dcm") == "/data/a-b/c-d.dcm"


def test_a_picture_that_the_page_needs_stays_longest_however_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = places.Folder(tmp_path)
    needed, other = Canvas("needed", "Scans.", 100, 100), Canvas("other", "A plot.", 100, 100)
    for _ in range(10):
        needed.line([0, 100], [0, 100])
    out.add_picture(needed, first=True)
    out.add_picture(other)
    monkeypatch.setattr(places, "PAGE", sum(len(p.svg) for p in out.pictures) - 1)
    page = out.add_page(lambda: "".join(str(p.svg) for p in out.pictures), cells=0).read_text()
    assert "figures/other.svg" in page
    assert "figures/needed.svg" not in page
    monkeypatch.setattr(places, "PAGE", 0)
    assert "figures/needed.svg" in _again(out)


def _again(out: places.Folder) -> str:
    out.written.discard("report.html")
    return out.add_page(lambda: "".join(str(p.svg) for p in out.pictures), cells=0).read_text()
