"""The sections of the page: one line each, in their order; the page makes, lists and draws what stands here.

The first stands open and is the page's first screen; the others are folded, under the question that they answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elsewhere.pages.report import (
    arms,
    calibration,
    cards,
    comparisons,
    diagnosis,
    drop,
    folds,
    hardest,
    lessons,
    precision,
    products,
    published,
    story,
    stress,
    subgroups,
    visits,
)
from elsewhere.pages.report.content import Report, Study
from elsewhere.pages.report.folder import Folder


@dataclass(frozen=True)
class Section:
    """One section of the page; `templates/section_<id>.html.j2` draws it.

    Attributes:
        id: its anchor.
        title: its line in the contents.
        heading: its heading; the title where none is given.
        of_study: what it shows of one study, given the study, the stem of its file names and the folder; None where
            there is nothing. The template finds it as `part.made[id]`.
        of_report: the same of all studies together, as `made[id]`.
        always: whether it stands on every page; else only where something was made for it.
        question: what it helps to answer; sections of one question stand together.
    """

    id: str
    title: str
    heading: str = ""
    of_study: Callable[[Study, str, Folder], Any] | None = None
    of_report: Callable[[Report, Folder], Any] | None = None
    always: bool = False
    question: str = ""


WORKS = "Does it work elsewhere?"
WHY = "Why does it not?"
DATA = "What was it made from?"
PAPER = "Against the paper"
REPEAT = "For those who publish or repeat it"

SECTIONS = (
    Section("short", "In short", always=True),
    Section("matrix", "Means, and a new hospital", always=True, question=WORKS),
    Section("visits", "Computed at hospitals", of_study=visits.section, question=WORKS),
    Section("folds", "Cross-validation by patient", of_study=folds.section, question=WORKS),
    Section("protocols", "Protocols compared", of_report=comparisons.protocols, question=WORKS),
    Section("comparisons", "Networks compared", of_study=comparisons.section, question=WORKS),
    Section("arms", "Ways to train compared", of_study=arms.section, question=WORKS),
    Section("products", "Products beside the networks", of_study=products.section, question=WORKS),
    Section("ranking", "Ranking (Figures 5–6)", "Ranking: ROC curves", always=True, question=WORKS),
    Section("precision", "Precision and recall", of_study=precision.section, question=WORKS),
    Section("subgroups", "Age, sex, scanner, kernel", "Subgroups", of_study=subgroups.section, question=WORKS),
    Section("decisions", "Decisions (Figures 3–4)", "Decisions: confusion matrices", always=True, question=WORKS),
    Section("calibration", "Can the probabilities be believed?", of_study=calibration.section, question=WORKS),
    Section("drop", "Where accuracy was lost", of_study=drop.section, question=WHY),
    Section(
        "diagnosis",
        "Sites and shortcuts",
        "What tells the sites apart, and what the networks look at",
        of_study=diagnosis.section,
        question=WHY,
    ),
    Section(
        "stress",
        "Changes of the scan",
        "How much change of the scan do the networks bear?",
        of_study=stress.section,
        question=WHY,
    ),
    Section("hardest", "Hardest scans", of_study=hardest.section, question=WHY),
    Section("planted", "What was planted", of_study=story.section, of_report=story.planted, question=DATA),
    Section("data", "The data", always=True, question=DATA),
    Section("audit", "Before training", "Before training: what the audit found", always=True, question=DATA),
    Section("training", "Training", always=True, question=DATA),
    Section(
        "lessons",
        "What the paper got wrong",
        "What the paper got wrong, and how we know",
        of_report=lessons.section,
        question=PAPER,
    ),
    Section("published", "The published numbers", of_report=published.section, question=PAPER),
    Section("reading", "How to read this page", always=True, question=REPEAT),
    Section("sheets", "TRIPOD+AI and CLAIM", "Reporting sheets: TRIPOD+AI and CLAIM", always=True, question=REPEAT),
    Section("cards", "Model cards", of_study=cards.section, question=REPEAT),
    Section("settings", "Settings and versions", always=True, question=REPEAT),
)
"""In the order of the page."""


Made = Mapping[str, object]
"""Id of a section -> what was made for it: the dataclass that its template draws, or None."""


def make_of_study(study: Study, slug: str, out: Folder) -> Made:
    """What each section shows of one study, under the section's id; None where there is nothing."""
    return {s.id: s.of_study(study, slug, out) for s in SECTIONS if s.of_study}


def make_of_report(report: Report, out: Folder) -> Made:
    """What each section shows of all studies together, under the section's id."""
    return {s.id: s.of_report(report, out) for s in SECTIONS if s.of_report}


def shown(made: Sequence[Made]) -> list[Section]:
    """The sections that a page has, given what was made for it."""
    return [s for s in SECTIONS if s.always or any(part.get(s.id) for part in made)]
