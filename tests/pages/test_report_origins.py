"""Pages whose studies are of one origin and of several: each sentence on where scans come from, in both orders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_study import a_cell, a_study

from elsewhere.pages.report import Audit, ExampleSlice, Report, Study, comparisons, headline, origins, write_report
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.sections import SECTIONS
from elsewhere.pages.report.sheets import CLAIM, TRIPOD_AI, fill
from elsewhere.pages.report.words import networks_trained
from elsewhere.statistics.audit import Leak

CELLS = (a_cell("A", "A", 0.9, 0.05), a_cell("A", "B", 0.6, 0.05))
SLICE = ExampleSlice("A", 1, np.zeros((8, 8), np.uint8), "slice 1 of 2")
LEAK = Leak("patient", "A/Jane Roe", ("test", "train"))


def made(**more: object) -> Study:
    """A study of simulated scans."""
    return a_study(
        *CELLS, name="made", origin="simulated", planted=("Kernels are planted.",), examples=(SLICE,), **more
    )


def clinic(**more: object) -> Study:
    """A study of a hospital's scans, with a patient's id on the page."""
    return a_study(
        *CELLS, name="clinic", notes=("Scans of 2020.",), audit=Audit(leaks=(LEAK,)), examples=(SLICE,), **more
    )


ORDERS = [(made(), clinic()), (clinic(), made())]


@pytest.mark.parametrize("studies", ORDERS, ids=["simulated first", "real first"])
def test_a_page_of_two_origins_says_for_each_study_what_it_is(studies: Sequence[Study], tmp_path: Path) -> None:
    page = write_report(Report("Both", studies), tmp_path).read_text(encoding="utf-8")
    assert "<strong>Simulated scans in “made”.</strong> Every patient and every scanner of “made” was made" in page
    assert "<strong>Real scans in “clinic”.</strong> Nothing that this page says of simulated" in page
    assert "Every patient of “made” is simulated, those of the other studies are not. Look it over" in page
    assert "Where an id of a data set is or holds a name, so does this page." in page
    assert "2 example slices" in page
    assert "The scans of “made” come from a simulator." in page
    for wrong in ("Every patient is simulated", "on this page was made", "These scans come from a simulator"):
        assert wrong not in page
    cards = dict(zip((study.name for study in studies), page.split("<article")[1:], strict=True))
    assert ("Simulated scans." in cards["made"], "Simulated scans." in cards["clinic"]) == (True, False)
    means = page[page.index('<section id="matrix"') :]
    own = dict(zip((study.name for study in studies), means.split("<h3>")[1:], strict=False))
    assert ("Scans of 2020." in own["made"], "Scans of 2020." in own["clinic"]) == (False, True)
    assert page.count("Scans of 2020.") == 1


@pytest.mark.parametrize("studies", ORDERS, ids=["simulated first", "real first"])
def test_what_is_compared_across_origins_says_so(studies: Sequence[Study], tmp_path: Path) -> None:
    report = Report("Both", studies)
    shown = comparisons.protocols(report, Folder(tmp_path))
    assert shown is not None
    assert shown.lead.startswith("2 studies whose scans are not of one origin: differences are also those of scans")
    assert "(scans of different origin, so other patients)" in headline.comparison(report)
    assert networks_trained(studies).startswith("6 networks (3 under “")
    sheets = {row.item: row.answer for row in fill(TRIPOD_AI, report).rows}
    for item in ("5a", "6a"):
        assert re.search(r"“made”: .*These are simulated scans, a test of the software", sheets[item])
        assert re.search(r"“clinic”: .*These are real scans\.", sheets[item])
    assert "“made”: The scans are simulated scans" in sheets["26"]
    assert "“clinic”: The scans" not in sheets["26"]
    designs = [row.answer for row in fill(CLAIM, report).rows if "Retrospective" in row.answer]
    assert designs
    assert all("“clinic”: Retrospective: existing, labelled real scans." in answer for answer in designs)


@pytest.mark.parametrize("studies", ORDERS, ids=["simulated first", "real first"])
def test_only_real_scans_of_the_papers_sites_stand_beside_the_papers_numbers(studies: Sequence[Study]) -> None:
    both = Report("Both", [replace(study, published=True) for study in studies])
    assert [study.name for study in origins.beside_the_paper(both)] == ["clinic"]
    said = origins.published_beside(both)
    assert said.startswith("Those of “clinic” stand beside them; compare")
    assert "The scans of “made” are not real: their numbers do not stand there" in said
    assert origins.paper_beside(both) == (
        "Those are real patients; those of “made” are not, and must not be compared with them."
    )
    without = Report("Both", [replace(study, published=study.name == "made") for study in studies])
    assert origins.beside_the_paper(without) == []
    assert not origins.published_beside(without).startswith("Those of")


def test_studies_of_one_origin_share_one_sentence() -> None:
    both = Report("Both", (made(), replace(made(), name="too")))
    assert [lead for lead, _ in origins.banners(both)] == ["Simulated scans"]
    assert origins.holdings(both).endswith("Every patient is simulated.")
    assert origins.tag(both, both.studies[0]) == ""
    real = Report("One", (clinic(),))
    assert origins.banners(real) == []
    assert origins.holdings(real).endswith("so does this page. Look it over before you hand it on.")
    assert origins.paper_beside(real) == origins.mechanism(clinic()) == ""
    three = Report("Three", (made(), clinic(), replace(made(), name="packed", origin="repacked")))
    assert [lead for lead, _ in origins.banners(three)] == [
        "Simulated scans in “made”",
        "Real scans in “clinic”",
        "Re-packed scans in “packed”",
    ]


def test_ids_of_simulated_patients_hold_no_name() -> None:
    """A mixed page whose only ids are those of the simulated study."""
    studies = (made(audit=Audit(leaks=(LEAK,))), replace(clinic(), audit=Audit()))
    said = origins.holdings(Report("Both", studies))
    assert "scan and patient ids" in said
    assert "is or holds a name" not in said


def test_notes_and_planted_sentences_that_all_share_stand_once(tmp_path: Path) -> None:
    ours = made(notes=("Shared.", "Mine."))
    theirs = replace(made(), name="too", notes=("Shared.", "Theirs."), planted=("Kernels are planted.", "Dose, too."))
    page = write_report(Report("Both", (ours, theirs)), tmp_path).read_text(encoding="utf-8")
    assert [page.count(words) for words in ("Shared.", "Mine.", "Theirs.", "Kernels are planted.", "Dose, too.")] == [
        1
    ] * 5
    assert page.index("Shared.") < page.index("<h2") < page.index("Mine.") < page.index("Theirs.")
    assert re.search(r"Only in too:</p>\s*<ul><li>Dose, too\.</li></ul>", page)


def test_the_contents_are_the_sections_of_the_page(tmp_path: Path) -> None:
    page = write_report(Report("Both", ORDERS[0]), tmp_path).read_text(encoding="utf-8")
    links = re.findall(r'<li><a href="#(\w+)">', page)
    assert links == re.findall(r'<h2 id="(\w+)-title">', page) == re.findall(r'<section id="(\w+)" aria-lab', page)
    assert links == [section.id for section in SECTIONS if section.id in links]
    assert {"planted", "protocols"} <= set(links)
    assert not {"drop", "stress", "products", "published"} & set(links)
