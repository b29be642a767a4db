"""A model in; its card in plain words (Markdown): what it is, how good it was and where, what it must not be used for.

The headings are those of Mitchell et al. 2019 ("Model cards for model reporting").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from elsewhere import __version__
from elsewhere.scans.scan import Fact
from elsewhere.statistics.decision import OperatingPoint, decide
from elsewhere.statistics.intervals import Interval, auc_interval
from elsewhere.statistics.requirements import class_shares
from elsewhere.statistics.verdict import DISCLAIMER, Scans, said
from elsewhere.studies.known_model import KnownModel, scored
from elsewhere.wording import numbered

WORDS = {
    "units": "units of the voxels",
    "slice_spacing_mm": "slice spacing (mm)",
    "source_slices": "slices",
    "padding_share": "share of padding",
    "black_share": "share of black voxels",
}


def model_card(model: KnownModel) -> str:
    """The card of a model, as Markdown."""
    return "\n".join([*_head(model), *_use(model), *_scores(model), *_metadata(model), *_limits(model)]) + "\n"


def _head(model: KnownModel) -> Iterator[str]:
    size = " x ".join(map(str, model.settings.preparation.size))
    yield f"# {model.name}"
    yield f"\n**{DISCLAIMER}**\n"
    yield f"A 3D network that reads a chest CT and gives the probability of {model.finding or 'the positive class'}."
    if model.members > 1:
        yield f"It is the mean probability of {model.members} networks, each trained without one fold of the patients."
    yield f"Written by elsewhere {__version__}.\n"
    study = f"study {model.study}, protocol {model.protocol}, {model.origin} data"
    yield f"* Trained on: {', '.join(model.trained_on)} ({study})"
    yield f"* Input: {size} voxels (slices, rows, columns), grid {model.settings.preparation.grid}"
    yield f"* Weights (SHA-256): {model.checkpoint}"
    if (made := model.adapted) is not None:
        people = f"{numbered(made.positives, 'positive patient')} and {numbered(made.negatives, 'negative one')}"
        yield f"* Adapted ({made.way}) with {numbered(made.scans, 'scan')} of {people} of {made.site}"
        yield f"* Adapted from weights (SHA-256): {made.parent}"


def _use(model: KnownModel) -> Iterator[str]:
    point = model.point
    yield "\n## How its output is read\n"
    above = "above" if point.rule == "argmax" else "from"
    if model.adjustment is None:
        yield f"Positive {above} {point.threshold:.4g}, chosen on {numbered(point.scans, 'validation scan')} at home."
        return
    change = model.adjustment
    yield f"Adjusted for the place where it is used ({change.source}); the weights are as they were trained."
    if change.moves:
        yield f"Probability: expit({change.intercept:.4g} + {change.slope:.4g} x log-odds of the network's)."
    yield f"Positive from {change.threshold:.4g} on. At home it was {model.home_point.threshold:.4g}."


def _scores(model: KnownModel) -> Iterator[str]:
    yield "\n## How good it was\n"
    yield "Test scans without any adjustment; 95 % intervals, patients as the unit. Home: the training sites.\n"
    if model.members > 1:
        yield "At home each scan was scored by the one network that never saw its patient, not by the mean.\n"
    yield "| site | | scans | patients | positive | discrimination (AUC) | sensitivity | specificity |"
    yield "|---|---|---|---|---|---|---|---|"
    for site in dict.fromkeys(s.site for s in model.scores):
        test = scored([s for s in model.scores if (s.site, s.subset) == (site, "test")])
        where = "home" if site in model.trained_on else "elsewhere"
        counts = f"{np.size(test.labels)} | {np.unique(test.patients).size} | {np.sum(test.labels)}"
        yield f"| {site} | {where} | {counts} | {' | '.join(_measures(test, model.home_point))} |"


def _measures(test: Scans, point: OperatingPoint) -> Iterator[str]:
    classes = np.unique(test.labels).size
    yield _words(auc_interval(*test.columns) if classes == 2 else None)
    shares = class_shares(test.labels, test.patients, decide(test.probabilities, point)) if classes else (None, None)
    yield from map(_words, shares)


def _words(interval: Interval | None) -> str:
    return "not measured" if interval is None else said(interval)


def _metadata(model: KnownModel) -> Iterator[str]:
    yield "\n## Scans that it has seen\n"
    yield "| | known scans |"
    yield "|---|---|"
    for name, values in model.metadata.items():
        yield f"| {WORDS[name]} | {_range(values)} |"
    yield "\nA site whose scans lie outside has to be tested before anything is said of it."


def _range(values: Sequence[Fact]) -> str:
    if not values:
        return "not known"
    if any(isinstance(v, str) for v in values):
        return ", ".join(map(str, values))
    return " to ".join(f"{v:g}" for v in dict.fromkeys(values) if isinstance(v, int | float))


def _limits(model: KnownModel) -> Iterator[str]:
    yield "\n## Limits\n"
    yield "* Adult chest CT, axial; two classes; labels of the training sites taken as given."
    yield "* Intervals say how far a score moves with other patients of the same hospital."
    yield "* They say nothing of hospitals that were not tested."
    if model.origin != "real":
        yield f"* Trained on {model.origin} data: no clinical meaning."
    yield "\nAsk on your own scans: `elsewhere verdict THIS.zip FOLDER`."
    yield "The file of this model holds no patient id, no path and no UID."
