"""The verdict's page: one self-contained HTML file with the words, then the numbers, then how they were worked out."""

from __future__ import annotations

from dataclasses import dataclass

from elsewhere import __version__
from elsewhere.pages.template import style, template
from elsewhere.statistics.intervals import Interval
from elsewhere.statistics.verdict import DISCLAIMER, Verdict, said
from elsewhere.wording import numbered


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
    """

    model: str
    trained_on: tuple[str, ...]
    site: str
    root: str
    origin: str
    checkpoint: str
    bad: tuple[tuple[str, str, str], ...]
    command: str


def render(verdict: Verdict, occasion: Occasion) -> str:
    """The page, as HTML; it needs no network and no other file."""
    page = template(
        "verdict.html.j2", {"said": said, "ratio": _ratio, "count_of": numbered, "capitalize_first": _capital}
    )
    return page.render(verdict=verdict, occasion=occasion, style=style(), disclaimer=DISCLAIMER, version=__version__)


def _ratio(ratio: Interval | None) -> str:
    if ratio is None:
        return "not measured"
    estimate, low, high = (
        "infinite" if v == float("inf") else f"{v:.2f}" for v in (ratio.estimate, ratio.low, ratio.high)
    )
    return f"{estimate} ({low} to {high})"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
