"""The page of an evaluation: one self-contained HTML file, the verdict first, then each question with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from elsewhere import __version__
from elsewhere.pages.figures.calibration import BenefitPanel, ReliabilityPanel, benefit_grid, reliability_grid
from elsewhere.pages.figures.cells import shade
from elsewhere.pages.figures.roc import RocPanel, closed_curve, roc_grid
from elsewhere.pages.template import style, template
from elsewhere.statistics.acceptance import NOT_AS_CLAIMED
from elsewhere.statistics.evaluation import Section
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.over_sites import LEAST_SITES
from elsewhere.statistics.verdict import DECISIONS_HOLD, DISCLAIMER, HEADLINES, said
from elsewhere.statistics.verdict_rule import LEAST_PATIENTS
from elsewhere.statistics.versus import Versus

STRONGEST = 55  # per cent of colour in a cell of the matrix


@dataclass(frozen=True)
class EvaluationContext:
    """What was evaluated, for the page.

    Attributes:
        product: its name.
        table: name of the file of scores.
        labels: name of the file of labels; "" where they stand in the same.
        columns: role -> name of its column.
        scale: what the scores are, in words.
        remarks: what was seen in the table.
        exit_code: of the whole.
        command: how the page was made.
        versus: name of the table of the version before; "" without.
        stop: what the stop rule said; "" where labels were looked at once.
    """

    product: str
    table: str
    labels: str
    columns: Mapping[str, str]
    scale: str
    remarks: tuple[str, ...]
    exit_code: int
    command: str
    versus: str = ""
    stop: str = ""


def headline(section: Section) -> str:
    """The verdict on one finding in a few words."""
    if section.exit_code == NOT_AS_CLAIMED:
        return "Not as claimed"
    if section.answer.action == "recalibrate":
        return DECISIONS_HOLD
    return HEADLINES[section.answer.action]


def render_evaluation(sections: Sequence[Section], context: EvaluationContext, compared: Sequence[Versus] = ()) -> str:
    """The page, as HTML; it needs no network and no other file.

    Args:
        sections: one for each finding.
        context: what was evaluated.
        compared: comparison of each finding with the version before; empty without one.
    """
    return template(
        "evaluation.html.j2",
        {"said": _said, "alerts": _alerts, "count_of": _count, "headline": headline, "tint": _tint},
    ).render(
        sections=sections,
        compared=compared,
        pictures=[_pictures(section, place) for place, section in enumerate(sections)],
        context=context,
        style=style(),
        disclaimer=DISCLAIMER,
        version=__version__,
        least_patients=LEAST_PATIENTS,
        least_sites=LEAST_SITES,
    )


def _said(interval: Interval | None) -> str:
    return "not measured" if interval is None else said(interval)


def _alerts(interval: Interval) -> str:
    return f"{interval.estimate:.1f} ({interval.low:.1f} to {interval.high:.1f})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _tint(interval: Interval | None) -> str:
    if interval is None:
        return ""
    _, strength = shade(interval.estimate)
    tone = "--blue" if interval.estimate >= 0.5 else "--orange"
    return f"background: color-mix(in srgb, var({tone}) {round(STRONGEST * strength)}%, var(--card))"


def _pictures(section: Section, place: int) -> list[tuple[str, Markup]]:
    """(caption, drawing) of the ROC curve, and of calibration and net benefit where the score is a probability."""
    name, words, found = section.name or "all scans", ("", ""), []
    column = [f"{section.flow.scans:,} scans"]
    if section.roc is not None and section.auc is not None:
        fpr, tpr = closed_curve(section.roc.false_positive_rate, section.roc.true_positive_rate)
        nothing = np.empty(0)
        lines = (f"AUC {section.auc.estimate:.3f}", f"95 % {section.auc.low:.3f} to {section.auc.high:.3f}")
        panel = RocPanel(fpr, tpr, nothing, nothing, nothing, lines)
        canvas = roc_grid(f"roc-{place}", f"ROC curve, {name}: {lines[0]}", [name], column, [[panel]], words=words)
        caption = "ROC curve: sensitivity against 1 − specificity over all thresholds; dashed: chance."
        found.append((caption, Markup(canvas.inline_svg())))
    if section.reliability is not None:
        r = section.reliability
        panel_words = ("share positive", "in bins of what was said")
        shown = ReliabilityPanel(
            r.mean_probability, r.positive_share, r.positive_share_low, r.positive_share_high, r.scans, panel_words
        )
        canvas = reliability_grid(
            f"reliability-{place}", f"Calibration, {name}", [name], column, [[shown]], words=words
        )
        caption = "Calibration: share of positives against the probability said, 95 % intervals; dashed: perfect."
        found.append((caption, Markup(canvas.inline_svg())))
    if section.benefit is not None:
        b = section.benefit
        benefit = BenefitPanel(b.threshold, b.model, b.treat_all, ("net benefit per scan", ""))
        canvas = benefit_grid(f"benefit-{place}", f"Decision curve, {name}", [name], column, [[benefit]], words=words)
        caption = (
            "Decision curve: net benefit of acting on the score (blue) and of acting on every scan (green dashes)."
        )
        found.append((caption, Markup(canvas.inline_svg())))
    return found
