"""The page of sites learned one after another: what was forgotten, the matrix of AUCs, transfer, and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from elsewhere import __version__
from elsewhere.pages.figures.dose import DosePanel, dose_grid
from elsewhere.pages.interval_words import moved, said
from elsewhere.pages.report.words import listed
from elsewhere.pages.template import style, template
from elsewhere.sequence_rows import JOINT, NAIVE, SequenceOutcome, SequenceResult, SequenceRow
from elsewhere.statistics.acceptance import at_level
from elsewhere.statistics.intervals import LEVEL, Interval
from elsewhere.statistics.verdict import DISCLAIMER
from elsewhere.wording import numbered

SMALL = 0.02
"""Loss of AUC that is called small where the whole interval is below it."""


def render(result: SequenceResult, ways: Mapping[str, str]) -> str:
    """The page, as HTML; it needs no network and no other file.

    Args:
        result: what came of the sequences.
        ways: name of each way -> what it does, in words.
    """
    orders = list(dict.fromkeys(one.order for one in result.outcomes))
    return template("sequence.html.j2", {"count_of": numbered}).render(
        result=result,
        orders=[(order, outcomes_of(result, order), _matrices(result, order)) for order in orders],
        pictures={order: _picture(result, order, place) for place, order in enumerate(orders)},
        sentences={order: sentences(result, order) for order in orders},
        ways=ways,
        looks=looks(result),
        style=style(),
        disclaimer=DISCLAIMER,
        version=__version__,
    )


def outcomes_of(result: SequenceResult, order: tuple[str, ...]) -> list[SequenceOutcome]:
    """Every way along an order."""
    return [one for one in result.outcomes if one.order == order]


def looks(result: SequenceResult) -> int:
    """How many comparisons with the naive way are made."""
    return sum(one.over_naive is not None for one in result.outcomes)


def sentences(result: SequenceResult, order: tuple[str, ...]) -> list[str]:
    """What the numbers of one order say: of forgetting, of the ways against each other, of the ceiling."""
    outcomes = {one.way: one for one in outcomes_of(result, order)}
    if gone := [name for name in result.unlearned if name.split("~")[0] == order[0]]:
        return [f"Cannot tell: {listed(gone)} learned nothing at {order[0]}, so that nothing can be forgotten or kept."]
    found = [_forgotten(order, outcomes[NAIVE])] if NAIVE in outcomes else []
    compared = {way: one.over_naive for way, one in outcomes.items() if one.over_naive is not None and way != JOINT}
    level = 1 - (1 - LEVEL) / max(looks(result), 1)
    wide = {way: at_level(one, level, bounds=(-1.0, 1.0)) for way, one in compared.items()}
    better, worse = (
        [way for way, one in wide.items() if (one.low > 0 if up else one.high < 0)] for up in (True, False)
    )
    for chosen, words in ((better, "above"), (worse, "below")):
        if chosen:
            told = listed([f"{way} ({moved(compared[way])})" for way in chosen])
            found.append(f"At the end the mean AUC is surely {words} that of the naive way: {told}.")
    if compared and not better and not worse:
        found.append(f"At the end no way is surely better or worse than the naive one ({listed(list(compared))}).")
    if (ceiling := outcomes.get(JOINT)) is not None and ceiling.transfer.final is not None:
        found.append(_ceiling(outcomes, ceiling.transfer.final))
    return found


def _forgotten(order: tuple[str, ...], naive: SequenceOutcome) -> str:
    lost, start = (
        naive.transfer.forgetting,
        f"Going on to {listed(list(order[1:]))} after {order[0]}, with no care taken",
    )
    if lost is None:
        return f"{start}: no site but the last was surely learned, so that nothing can be forgotten."
    number = f"{lost.estimate:+.3f} ({lost.low:+.3f} to {lost.high:+.3f})"
    if lost.low > 0:
        return f"{start}, earlier sites are forgotten: their AUC falls by {lost.estimate:.3f} from its best ({number})."
    if lost.high < SMALL:
        return f"{start}, hardly anything is forgotten: the fall in AUC from its best is below {SMALL} ({number})."
    return f"{start}: whether earlier sites are forgotten cannot be told (fall in AUC from its best {number})."


def _ceiling(outcomes: Mapping[str, SequenceOutcome], final: Interval) -> str:
    short = [way for way, one in outcomes.items() if one.to_joint is not None and one.to_joint.high < 0]
    start = f"One network trained on all of these sites together has {said(final)}"
    if not short:
        return f"{start}; no way of learning them one after another is surely below it."
    return f"{start}; surely below it: {listed(short)}."


def _matrices(result: SequenceResult, order: tuple[str, ...]) -> list[tuple[str, list[str], list[list[SequenceRow]]]]:
    """(way, sites, rows by step) of one order."""
    own = [row for row in result.rows if row.order == " > ".join(order)]
    sites = list(dict.fromkeys(row.site for row in own))
    return [
        (
            way,
            sites,
            [[row for row in own if row.way == way and row.step == step] for step in range(1, len(order) + 1)],
        )
        for way in dict.fromkeys(row.way for row in own)
    ]


def _picture(result: SequenceResult, order: tuple[str, ...], place: int) -> Markup:
    """AUC at each site (columns) after each step, one row of panels for each way."""
    matrices = _matrices(result, order)
    sites = matrices[0][1]
    panels = [[_panel([step[column] for step in steps]) for column in range(len(sites))] for _, _, steps in matrices]
    words = "; ".join(
        f"{way}: " + ", ".join(f"{row.site} {row.auc:.2f}" for row in steps[-1] if row.auc is not None)
        for way, _, steps in matrices
    )
    alt = f"AUC at each site after learning {' then '.join(order)}. At the end: {words}"
    ways = [way for way, _, _ in matrices]
    return Markup(dose_grid(f"sequence-{place}", alt, ways, sites, panels, row_words="").inline_svg())


def _panel(rows: Sequence[SequenceRow]) -> DosePanel | tuple[str, ...]:
    ends = [(row.auc, row.auc_low, row.auc_high) for row in rows]
    known = [[value for value in end if value is not None] for end in ends]
    if any(len(values) < 3 for values in known):
        return ("one class",)
    auc, low, high = np.array(known).T
    learned = next((place for place, row in enumerate(rows) if row.learned == rows[0].site), -1)
    return DosePanel(tuple(f"{row.step}" for row in rows), auc, low, high, learned, ("sites learned",))
