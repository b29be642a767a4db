"""The page of an adaptation: outcome, learning curves, what is forgotten, how many more, and a change-control plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from elsewhere import __version__
from elsewhere.adapting_rows import Adaptation, CurvePoint
from elsewhere.pages.figures.dose import DosePanel, dose_grid
from elsewhere.pages.interval_words import moved, said
from elsewhere.pages.template import style, template
from elsewhere.statistics.adaptation import LEAST_PATIENTS
from elsewhere.statistics.learning_curve import FURTHEST
from elsewhere.statistics.verdict import DISCLAIMER
from elsewhere.wording import numbered

FORGOTTEN_LIMIT = 0.02
"""AUC that may be lost at an old site (issue 15); the plan on the page tests against it."""


@dataclass(frozen=True)
class AdaptationContext:
    """What an adaptation was of, for the page.

    Attributes:
        origin: "real", "repacked" or "simulated" data of the study behind the model; "" where it is not known.
        trained_on: training sites of the model.
    """

    origin: str
    trained_on: tuple[str, ...]


def render(result: Adaptation, context: AdaptationContext) -> str:
    """The page, as HTML; it needs no network and no other file."""
    return template(
        "adaptation.html.j2", {"said": said, "moved": moved, "count_of": numbered, "people": _people}
    ).render(
        result=result,
        context=context,
        pictures=_pictures(result.curve),
        sizes=sorted({p.size for p in result.curve}),
        ways=list(dict.fromkeys(p.way for p in result.curve)),
        points={(p.way, p.size): p for p in result.curve},
        lost=[f for f in result.forgotten if f.change.low < -FORGOTTEN_LIMIT],
        limit=FORGOTTEN_LIMIT,
        least=LEAST_PATIENTS,
        furthest=FURTHEST,
        style=style(),
        disclaimer=DISCLAIMER,
        version=__version__,
    )


def _people(counts: tuple[int, int]) -> str:
    return f"{numbered(counts[0], 'positive patient')} and {counts[1]:,} negative"


def _pictures(curve: tuple[CurvePoint, ...]) -> list[tuple[str, Markup]]:
    """(way, drawing) of each learning curve."""
    found = []
    for place, way in enumerate(dict.fromkeys(p.way for p in curve)):
        own = sorted((p for p in curve if p.way == way), key=lambda p: p.size)
        sizes = tuple(str(p.size) for p in own)
        ends = [np.array([getattr(p.auc, side) for p in own]) for side in ("estimate", "low", "high")]
        words = ", ".join(f"{p.size}: {p.auc.estimate:.2f}" for p in own)
        panel = DosePanel(sizes, ends[0], ends[1], ends[2], -1, ("patients of each class",))
        canvas = dose_grid(f"curve-{place}", f"AUC here after {way}: {words}", [way], [""], [[panel]], row_words="")
        found.append((way, Markup(canvas.inline_svg())))
    return found
