"""What graded CT shifts did to the scores in; dose–response curves and what could explain each new site, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elsewhere.pages.figures import Canvas, DosePanel, dose_grid
from elsewhere.pages.report.content import Study
from elsewhere.pages.report.folder import Folder, Picture
from elsewhere.pages.report.records import number
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import estimate, figure, signed, signed_ends, spaced
from elsewhere.rows import UNLEARNED, DoseRow, ExplanationRow
from elsewhere.statistics.dose import SURE, significant_falls
from elsewhere.statistics.explanation import FEWEST
from elsewhere.wording import numbered, verb

NOTABLE = 0.05
"""A fall of the AUC by this much counts (as elsewhere on the page)."""

ACROSS = 5  # shifts side by side in one figure, so that it can be read in print


@dataclass(frozen=True)
class StressPart:
    """What the section shows of one study.

    `sample`: on which scans; `silent`: networks not tried; `pictures`: of several sites?, figure.
    """

    words: str
    sample: str
    silent: Sequence[str]
    best: Sequence[str]
    pictures: Sequence[tuple[bool, Picture]]
    curves: Table | None
    explanations: Table | None


def section(study: Study, slug: str, out: Folder) -> StressPart | None:
    """What the section shows of one study; None where nothing was stressed."""
    s = study.stress
    if not s.curves and not s.explanations:
        return None
    best = _best_words([r for r in s.explanations if r.best])
    silent = [f"{spaced(r.model)}: {r.words}." for r in s.curves if r.shift == UNLEARNED]
    return StressPart(
        words=sentence(s.curves),
        sample=" ".join(filter(None, (stand_in_sentence(study), sample_sentence(study)))),
        silent=list(dict.fromkeys(silent)),
        best=best,
        pictures=[(several, out.add_picture(canvas)) for several, canvas in _pictures(study, slug)],
        curves=out.add_table(_curve_table(s.curves, f"{slug}-dose-response")) if s.curves else None,
        explanations=out.add_table(_explanation_table(s.explanations, f"{slug}-explanations"))
        if s.explanations
        else None,
    )


def _best_words(rows: Sequence[ExplanationRow]) -> list[str]:
    """The sentence of each home and new site; those with too few scans in one sentence, where there are several."""
    lacking = [r for r in rows if r.outcome == "too few"]
    pairs = list(dict.fromkeys(f"{r.home} and {r.site}" for r in lacking))
    if len(pairs) < 2:
        return list(dict.fromkeys(r.words for r in rows))
    others = dict.fromkeys(r.words for r in rows if r.outcome != "too few")
    where = f"for {numbered(len(pairs), 'pair')} of a network's home and a new site" if others else "for any new site"
    named = f": {', '.join(pairs[:-1])}, and {pairs[-1]}" if others else ""
    few = f"fewer than {FEWEST} scans of the classes compared"
    return [*others, f"No shift can be named {where}, as home, site or both have {few}{named}."]


def sentence(curves: Sequence[DoseRow]) -> str:
    """Which shift costs most, over all networks, if one significantly costs anything; and which cost little."""
    tested = [
        (-difference, p, r)
        for r in curves
        if (difference := number(r.difference)) is not None and (p := number(r.p_value)) is not None
    ]
    if not tested:
        return ""
    significant = significant_falls([-fall for fall, _, _ in tested], [p for _, p, _ in tested])
    sure = [found for found, one in zip(tested, significant, strict=True) if one]
    fall, _, row = max(sure or tested, key=lambda found: found[0])
    tests, what = numbered(len(tested), "test"), f"{row.words}, {spaced(row.model)}"
    if sure:
        words = f"The costliest: {row.words}, which takes {_fall_words(fall, row)} of AUC from {spaced(row.model)}; "
        words += f"of {tests} (networks × shifts × doses), {len(sure)} {verb(len(sure), 'lowers', 'lower')} the AUC "
        words += "significantly after adjustment (Holm)."
    elif fall > 0:
        alone = sum(loss > 0 and p <= SURE for loss, p, _ in tested)
        words = f"No fall of the AUC is significant after adjustment (Holm) for {tests} (networks × shifts × doses). "
        words += f"The largest is {_fall_words(fall, row)}: {what}. Without adjustment {alone} "
        words += f"{verb(alone, 'is', 'are')}, where chance alone gives about {SURE / 2 * len(tested):.1f}."
    else:
        words = f"In none of {tests} (networks × shifts × doses) is the AUC lower than that of the scans as they are."
    return words + (_largest_words(tested) + _harmless_words(tested) if fall > 0 else "")


def _largest_words(tested: Sequence[tuple[float, float, DoseRow]]) -> str:
    """The largest fall of every network, where there are several: one headline would hide the others.

    Args:
        tested: fall, p and row of each dose that was tried.
    """
    largest: dict[tuple[str, str], tuple[float, float, DoseRow]] = {}
    for found in tested:
        home = found[2].model, found[2].home
        if found[0] > 0 and (home not in largest or found[0] > largest[home][0]):
            largest[home] = found
    if len({(row.model, row.home) for _, _, row in tested}) < 2:
        return ""
    told = [
        f"{spaced(row.model)}{f' on scans of {row.home}' if row.home != row.model else ''} {_step_words(fall, row)}"
        for fall, _, row in sorted(largest.values(), key=lambda found: -found[0])
    ]
    return f" Largest fall of each network, unadjusted: {'; '.join(told)}."


def _step_words(fall: float, row: DoseRow) -> str:
    """From which AUC to which, and by what."""
    after = number(row.auc)
    return f"{'' if after is None else f'{figure(after + fall)} → {figure(after)}, '}{row.words}"


def stand_in_sentence(study: Study) -> str:
    """Which site stands in for the home of models that were not trained here; "" where none was stressed."""
    pairs = dict.fromkeys((r.model, r.home) for r in study.stress.curves if r.model in study.products)
    told = "; ".join(f"{home} stands in for the home of {spaced(model)}" for model, home in pairs)
    return f"What was not trained here has no home that is known: {told}." if told else ""


def sample_sentence(study: Study) -> str:
    """On how many of the home's test scans the curves stand, and why their AUC is not that of the matrix.

    "" where every test scan was taken, or the matrix is not there.
    """
    cells = {(r.model, r.site): r for r in study.scores if r.threshold_reading == "model"}
    told = []
    for model, home in dict.fromkeys((r.model, r.home) for r in study.stress.curves if r.dose == 0):
        own = next(r for r in study.stress.curves if (r.model, r.home, r.dose) == (model, home, 0))
        cell = cells.get((model, home))
        if cell is None or not own.scans or own.scans >= cell.scans or number(own.auc) is None:
            continue
        where = spaced(model) + (f" on scans of {home}" if home != model else "")
        told.append(f"{where} {figure(own.auc)} on {own.scans}, {figure(cell.auc)} on all {cell.scans}")
    if not told:
        return ""
    return (
        "Only some test scans of each home were changed, half of each class where there are enough, so that their AUC "
        f"as they are is not that of the matrix: {'; '.join(told)}. With so few scans only large falls show."
    )


def _fall_words(fall: float, row: DoseRow) -> str:
    """A fall of the AUC with its interval, both in the direction of a fall."""
    low, high = number(row.difference_high), number(row.difference_low)
    ends = "" if low is None or high is None else f" (95\u00a0%: {signed_ends(-low, -high)})"
    return f"{figure(fall)}{ends}"


def _harmless_words(tested: Sequence[tuple[float, float, DoseRow]]) -> str:
    """Shifts whose measured falls are all small, each with the number of networks that it could be tried on.

    Args:
        tested: fall, p and row of each dose that was tried.
    """
    networks = {(row.model, row.home) for _, _, row in tested}
    shifts: dict[str, list[tuple[float, DoseRow]]] = {}
    for fall, _, row in tested:
        shifts.setdefault(row.shift, []).append((fall, row))
    harmless = [
        f"{shift} ({len({(r.model, r.home) for _, r in found})} of {len(networks)})"
        for shift, found in shifts.items()
        if max(fall for fall, _ in found) < NOTABLE
    ]
    if not harmless:
        return ""
    return (
        f" Measured falls of less than {NOTABLE:.2f} at every dose, on the networks where the shift could be tried: "
        f"{', '.join(harmless)}; the intervals in the table may hold larger ones."
    )


def _pictures(study: Study, slug: str) -> list[tuple[bool, Canvas]]:
    """(of several sites, sheet) with a few shifts each, networks of one site first."""
    shifts = list(dict.fromkeys(r.shift for r in study.stress.curves if r.dose != 0))
    blocks = [shifts[i : i + ACROSS] for i in range(0, len(shifts), ACROSS)]
    canvases = []
    for letter, several in (("a", False), ("b", True)):
        rows = [r for r in study.stress.curves if ("+" in r.model) == several and r.shift != UNLEARNED]
        for place, block in enumerate(blocks if rows else ()):
            name = f"{slug}-dose-response-{letter}{place + 1}"
            canvases.append((several, _picture(study, name, rows, block)))
    return canvases


def _picture(study: Study, name: str, curves: Sequence[DoseRow], shifts: Sequence[str]) -> Canvas:
    homes = list(dict.fromkeys((r.model, r.home) for r in curves))
    rows = [[_panel(curves, home, shift) for shift in shifts] for home in homes]
    alt = f"AUC of networks of study {study.name} on home scans under graded shifts of the scan, at the largest dose: "
    said = [
        f"{spaced(model)} under {shift} {figure(panel.auc[-1])}"
        for (model, _), line in zip(homes, rows, strict=True)
        for shift, panel in zip(shifts, line, strict=True)
        if isinstance(panel, DosePanel)
    ]
    names = [spaced(model) + (f", scans of {home}" if home != model else "") for model, home in homes]
    return dose_grid(name, alt + "; ".join(said) + ".", names, [_heading(curves, s) for s in shifts], rows)


def _heading(curves: Sequence[DoseRow], shift: str) -> str:
    unit = next((r.unit for r in curves if r.shift == shift and r.dose != 0), "")
    return f"{shift} ({unit})" if unit else shift


def _panel(curves: Sequence[DoseRow], home: tuple[str, str], shift: str) -> DosePanel | tuple[str, ...]:
    own = [r for r in curves if (r.model, r.home) == home and number(r.auc) is not None]
    rows = [r for r in own if r.shift == shift]
    if not any(r.dose == 0 for r in rows):
        rows += [r for r in own if r.dose == 0][:1]  # the scans as they are may stand once for all shifts
    rows.sort(key=lambda r: r.dose)
    if len(rows) < 2:
        return ("not tried", "on these scans")
    doses = tuple(f"{r.dose:g}" for r in rows)
    auc = np.array([number(r.auc) for r in rows], dtype=np.float64)
    low, high = (np.array(ends, dtype=np.float64) for ends in ([r.low for r in rows], [r.high for r in rows]))
    low, high = np.where(np.isnan(low), auc, low), np.where(np.isnan(high), auc, high)
    plain = doses.index("0") if "0" in doses else -1
    words = f"{auc[plain]:.2f} → {auc[-1]:.2f}" if plain >= 0 else f"{auc[-1]:.2f}"
    return DosePanel(doses, auc, low, high, plain, (words,))


def _curve_table(rows: Sequence[DoseRow], name: str) -> Table:
    columns = [
        Column("model", "Network", lambda v, _: spaced(v)),
        Column("home", "Scans of"),
        Column("words", "What was done to the scans"),
        Column("auc", "AUC (95 %)", lambda v, r: estimate(v, r.low, r.high), numeric=True),
        Column("difference", "AUC less that as it is (95 %)", _difference_words, numeric=True),
        Column("positive_share", "Called positive", lambda v, _: figure(v), numeric=True),
        Column("scans", "Scans", None, numeric=True),
    ]
    note = (
        "The difference is paired, on the same scans, with its interval by patient; each stands by itself, unadjusted."
    )
    return Table(name, "Every dose of every shift.", columns, rows, note)


def _difference_words(value: Any, row: DoseRow) -> str:
    low, high = number(row.difference_low), number(row.difference_high)
    if number(value) is None or low is None or high is None:
        return signed(value)
    return f"{signed(value)} ({signed_ends(low, high)})"


def _explanation_table(rows: Sequence[ExplanationRow], name: str) -> Table:
    columns = [
        Column("model", "Network", lambda v, _: spaced(v)),
        Column("home", "Home"),
        Column("site", "New site"),
        Column("words", "Which shift could explain the scores there"),
        Column("distance_unshifted", "Distance unshifted", lambda v, _: figure(v, 3), numeric=True),
        Column("distance", "Distance shifted", lambda v, _: figure(v, 3), numeric=True),
    ]
    best = [row for row in rows if row.best] or rows
    note = (
        "Mean log-odds by which the scores of home must be moved to lie as those of the new site, within each class: 0 "
        "is equal. A shift is named only where the scans of the new site show it and it leaves no more than chance; "
        "what else moves the scores alike is not excluded."
    )
    return Table(name, "Which shift makes home scans score like those of the new site.", columns, best, note)
