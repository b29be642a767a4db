"""The second part of docs/adapt-tables.md, from what adapt_networks.py found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from elsewhere.statistics.labelling import CHOOSING

PAGE = Path(__file__).parents[1] / "docs" / "adapt-tables.md"
NETWORKS = "## With networks"
SIZES, GROUP, DRAWS, REPEATS = (4, 8, 16, 32, 64), 32, 5, 200
COUNTS = (8, 16, 24, 32, 48, 64)
Record = dict[str, Any]
Found = list[tuple[int, str, Record]]


def of_kind(found: Found, kind: str) -> list[tuple[str, Record]]:
    """(seed and names, what was found) of the steps of one kind."""
    return [
        (f"{seed} | {name.removeprefix(kind).strip().replace(' ', ' to ', 1)}", record)
        for seed, name, record in found
        if name.startswith(kind)
    ]


def gap_lines(found: Found) -> list[str]:
    """How much of the gap is regained by all weights with 32 patients of each class."""
    lines = ["| seed | pair | as it is | trained there | all weights, 32 + 32: mean (draws) | gap regained | 80 % in |"]
    lines.append("|---|---|---|---|---|---|---|")
    everything: list[float] = []
    for name, one in of_kind(found, "pair"):
        aucs, gap = np.array(one["all"]), one["there"] - one["before"]
        regained = (aucs - one["before"]) / gap
        everything += regained.tolist()
        draws = f"{aucs.mean():.3f} ({aucs.min():.3f} to {aucs.max():.3f})"
        cells = (
            f"{one['before']:.3f} | {one['there']:.3f} | {draws} | {regained.mean():.0%} | {(regained >= 0.8).sum()}"
        )
        lines.append(f"| {name} | {cells} of {aucs.size} |")
    values = np.array(everything)
    closing = (
        f"Regained over all {values.size} fits: mean {values.mean():.0%}; 80 % or more in {(values >= 0.8).mean():.0%}."
    )
    return [*lines, "", closing]


def choice_lines(found: Found) -> list[str]:
    """What was chosen, what it reached and what it forgot."""
    lines = ["| seed | pair | patients to choose by | decision | way | AUC after | at home | interval held |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, one in of_kind(found, "pair"):
        after = "–" if one["after"] is None else f"{one['after']:.3f}"
        lost = ", ".join(f"{v:+.3f}" for v in one["forgotten"]) or "–"
        held = "–" if one["covered"] is None else f"{one['covered']:.1%} of {REPEATS}"
        people = f"{one['fitted'][0]} + {one['fitted'][1]}"
        lines.append(f"| {name} | {people} | {one['decision']} | {one['way'] or '–'} | {after} | {lost} | {held} |")
    lines += ["", "Each way at 32 + 32, mean of five draws: AUC here (change at home).", ""]
    pairs = of_kind(found, "pair")
    ways = [way for way, _, _ in pairs[0][1]["ways"]]
    lines += [f"| seed | pair | {' | '.join(ways)} |", "|---|---|" + "---|" * len(ways)]
    for name, one in pairs:
        cells = [f"{auc:.3f} ({'–' if home is None else f'{home:+.3f}'})" for _, auc, home in one["ways"]]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def need_lines(found: Found) -> list[str]:
    """How well three numbers tell of further ones, and how far the verdict's rule of thumb is off."""
    said = [q for _, one in of_kind(found, "pair") for q in one["need"]["said"]]
    given = [q for q in said if q["said"] is not None]
    near = sum(q["truth"] / 2 <= q["said"] <= 2 * q["truth"] for q in given)
    inside = sum(
        (q["low"] is None or q["low"] <= q["truth"]) and (q["high"] is None or q["truth"] <= q["high"]) for q in given
    )
    lines = [
        f"{len(said)} questions (pairs, ways, 32 and 64 patients of each class), asked of the first three numbers: "
        f"{len(given)} were answered with a number, {near} within a factor of 2, and {inside} intervals held it.",
        "",
        "The verdict's rule of thumb: half of its scans are to adapt with. The AUC that is to come back is that of "
        "home; what it takes is told by the curve of each way.",
        "",
        "| seed | pair | AUC at home | rule: patients of each class to adapt with | measured |",
        "|---|---|---|---|---|",
    ]
    for name, one in of_kind(found, "pair"):
        measured = "; ".join(f"{way}: {many or 'cannot tell'}" for way, many in one["need"]["home"].items())
        lines.append(f"| {name} | {one['home']:.3f} | {one['rule'] // 2} | {measured} |")
    return lines


def same_lines(found: Found) -> list[str]:
    """Decisions where nothing is lost."""
    steps = of_kind(found, "same")
    wrong = [one for _, one in steps if one["decision"] == "adapt"]
    lines = [
        "| seed | network, group | decision | way | as it is | after it, or the best other |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in steps:
        cells = (
            f"{one['decision']} | {one['way'] or '– (' + one['best'] + ')'} | {one['before']:.3f} | {one['after']:.3f}"
        )
        lines.append(f"| {name.replace(' to ', ', ')} | {cells} |")
    return [
        *lines,
        "",
        f"“Adapt” in {len(wrong)} of {len(steps)}. AUCs on the patients of the site that are in no group.",
    ]


def label_lines(found: Found) -> list[str]:
    """Labels needed for the same AUC, and what the labels say of the AUC as it is."""
    steps = [one for _, one in of_kind(found, "labels")]
    aucs = {how: np.array([one["auc"][how] for one in steps]) for how in CHOOSING}  # (pairs, draws, counts)
    aims = aucs["random"].mean(axis=(0, 1))
    lines = [f"| chosen | {' | '.join(f'{c} labels' for c in COUNTS)} | labels for what 32 at random reach |"]
    lines.append("|---|" + "---|" * (len(COUNTS) + 1))
    for how, table in aucs.items():
        mean = np.maximum.accumulate(table.mean(axis=(0, 1)))
        aim = float(aims[COUNTS.index(32)])
        need = np.interp(aim, mean, COUNTS) if mean[-1] >= aim > mean[0] else None
        words = (
            f"{need:.0f}" if need is not None else f"{COUNTS[0]} or fewer" if mean[0] >= aim else f"over {COUNTS[-1]}"
        )
        lines.append(f"| {how} | {' | '.join(f'{v:.3f}' for v in table.mean(axis=(0, 1)))} | {words} |")
    lines += [
        "",
        f"Mean AUC over {aucs['random'].shape[0]} pairs and {DRAWS} draws, of the dense part fitted on so many of "
        "90 patients, 18 of them positive; where they are all of one class, the AUC as it is.",
        "",
        "| chosen | positive of 32 | AUC as it is, from them | with weights |",
        "|---|---|---|---|",
    ]
    pools = np.array([one["pool"] for one in steps]).ravel()
    for how in CHOOSING:
        rows = np.array([row for one in steps for row in one["estimate"][how]], dtype=np.float64)
        errors = [rows[:, i] - pools for i in (0, 1)]
        words = [f"{np.nanmean(e):+.3f} (SD {np.nanstd(e):.3f})" for e in errors]
        words[1] = "–" if how == "k-centre" else words[1]
        lines.append(f"| {how} | {rows[:, 2].mean():.1f} | {words[0]} | {words[1]} |")
    return [*lines, "", "Less the AUC of all 90, mean over pairs and draws."]


def page(found: Found, command: str) -> str:
    """The second part of the page."""
    spent = sum(one["processor"] for _, _, one in found)
    parts = [
        NETWORKS,
        f"Made by `{command}` ({datetime.now(UTC):%Y-%m-%d}; {spent / 60:.0f} minutes of processor time after the "
        "networks, beside other work). Its first lines say what is simulated.",
        "### The gap that is regained",
        *gap_lines(found),
        "### The chosen way, forgetting, and its interval",
        *choice_lines(found),
        "### How many more",
        *need_lines(found),
        "### Nothing lost",
        *same_lines(found),
        "### Which scans to label",
        *label_lines(found),
    ]
    text = ""
    for part in parts:
        row = part.startswith("|") and text.endswith("|\n")
        text += part + "\n" if row or not text else ("\n" + part + "\n" if part else "")
    return text
