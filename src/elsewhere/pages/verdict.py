"""The verdict's page: one self-contained HTML file with the words, then the numbers, then how they were worked out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from elsewhere import __version__
from elsewhere.pages.figures.calibration import ReliabilityPanel, reliability_grid
from elsewhere.pages.figures.roc import RocPanel, closed_curve, roc_grid
from elsewhere.pages.template import style, template
from elsewhere.statistics.calibration import reliability_curve
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.roc import exact_roc
from elsewhere.statistics.verdict import DISCLAIMER, Scans, Verdict, said
from elsewhere.statistics.verdict_rule import Action
from elsewhere.wording import numbered

MARKS: dict[Action, str] = {
    "nothing": "✓",
    "re-threshold": "!",
    "recalibrate": "!",
    "adapt": "!",
    "do not use": "✗",
    "not learned": "✗",
    "cannot tell": "?",
    "estimate only": "?",
}
"""Beside the headline: works; not unchanged; no; not known."""

MOST_LINES = 300
"""Scans listed on the page, those with remarks first; `scans.csv` has all."""


@dataclass(frozen=True)
class ScanLine:
    """One scan that was predicted, as the page lists it.

    Attributes:
        scan: its name.
        label: 1, 0, or None.
        probability: the model's.
        positive: whether it was called positive.
        remarks: what its reader, its preparation and the look for a chest had to say.
    """

    scan: str
    label: int | None
    probability: float
    positive: bool
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Occasion:
    """What a verdict was asked about, for the page.

    Attributes:
        model: name of the model.
        trained_on: its training sites.
        site: the new site.
        root: the last part of its folder.
        origin: "real", "repacked" or "simulated" data of the study behind the model.
        checkpoint: hash of the weights.
        bad: scans that could not be used: (scan, what is wrong, what to do).
        command: how the page was made, with the last parts of the folders.
        hospital: the hospital's name; the site's where none was given.
        date: day on which the page was made, as 2026-11-28; "" where it is not told.
        scans: every scan that was predicted.
        here: the labelled scans; None without labels.
        home: the internal test sets, with the name of each scan's site.
        adjusted: whether the model's probabilities here were adjusted after training; those at home were not.
    """

    model: str
    trained_on: tuple[str, ...]
    site: str
    root: str
    origin: str
    checkpoint: str
    bad: tuple[tuple[str, str, str], ...]
    command: str
    hospital: str = ""
    date: str = ""
    scans: tuple[ScanLine, ...] = ()
    here: Scans | None = None
    home: Scans | None = None
    adjusted: bool = False

    @property
    def shown_scans(self) -> list[ScanLine]:
        """At most `MOST_LINES` of the scans, those with remarks first."""
        return sorted(self.scans, key=lambda line: not line.remarks)[:MOST_LINES]

    @property
    def remarked(self) -> int:
        """Scans that were scored with a remark."""
        return sum(bool(line.remarks) for line in self.scans)


def render(verdict: Verdict, occasion: Occasion) -> str:
    """The page, as HTML; it needs no network and no other file."""
    page = template(
        "verdict.html.j2", {"said": said, "ratio": _ratio, "count_of": numbered, "capitalize_first": _capital}
    )
    return page.render(
        verdict=verdict,
        occasion=occasion,
        hospital=occasion.hospital or occasion.site,
        mark=MARKS[verdict.action],
        pictures=_pictures(verdict, occasion),
        style=style(),
        disclaimer=DISCLAIMER,
        version=__version__,
    )


def _pictures(verdict: Verdict, occasion: Occasion) -> list[tuple[str, Markup]]:
    """(caption, drawing) of ROC and calibration, each home beside here; none without labels from here."""
    if occasion.here is None or occasion.home is None:
        return []
    sites = np.asarray(occasion.home.places)
    names = np.unique(sites)
    places = [(f"home: {name}", _part(occasion.home, sites == name)) for name in names]
    if len(names) == 1:
        places = [("home", occasion.home)]
    alone = verdict.home_auc if len(names) == 1 else None
    aucs = [*[alone] * len(places), verdict.auc]
    places.append(("here", occasion.here))
    titles = [name for name, _ in places]
    rocs = [_roc(scans, auc) for (_, scans), auc in zip(places, aucs, strict=True)]
    curves = [_reliability(scans) for _, scans in places]
    alt = f"ROC curves of {occasion.model} at home and here"
    roc = roc_grid("roc", alt, [occasion.model], titles, [rocs], words=("", ""))
    alt = f"Calibration of {occasion.model} at home and here"
    calibration = reliability_grid("calibration", alt, [occasion.model], titles, [curves], words=("", ""))
    caption = (
        "Calibration: share of positives against the probability said, in bins, with 95 % intervals; dashed: perfect; "
        "grey: how many scans."
    )
    if occasion.adjusted:
        caption += " Here as adjusted, at home as the network says it."
    return [
        (
            "ROC curve: sensitivity against 1 − specificity over all thresholds; dashed: chance.",
            Markup(roc.inline_svg()),
        ),
        (caption, Markup(calibration.inline_svg())),
    ]


def _part(scans: Scans, mask: np.ndarray) -> Scans:
    return Scans(*(np.asarray(column)[mask] for column in scans.columns))


def _roc(scans: Scans, auc: Interval | None) -> RocPanel:
    labels, nothing = np.asarray(scans.labels), np.empty(0)
    counts = f"{int(labels.sum())} positive, {int((labels == 0).sum())} negative scans"
    if np.unique(labels).size < 2:
        return RocPanel(nothing, nothing, nothing, nothing, nothing, ("no curve: one class only", counts))
    curve = exact_roc(labels, scans.probabilities)
    fpr, tpr = closed_curve(curve.false_positive_rate, curve.true_positive_rate)
    words: tuple[str, ...] = (counts,)
    if auc is not None:
        words = (f"AUC {auc.estimate:.3f}", f"95 % {auc.low:.3f} to {auc.high:.3f}", counts)
    return RocPanel(fpr, tpr, nothing, nothing, nothing, words)


def _reliability(scans: Scans) -> ReliabilityPanel:
    labels, patients, probabilities = scans.columns
    r = reliability_curve(labels, probabilities, patients)
    words = (f"{r.scans.sum()} scans", "")
    return ReliabilityPanel(
        r.mean_probability, r.positive_share, r.positive_share_low, r.positive_share_high, r.scans, words
    )


def _ratio(ratio: Interval | None) -> str:
    if ratio is None:
        return "not measured"
    estimate, low, high = (
        "infinite" if v == float("inf") else f"{v:.2f}" for v in (ratio.estimate, ratio.low, ratio.high)
    )
    return f"{estimate} ({low} to {high})"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
