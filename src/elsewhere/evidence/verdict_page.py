"""A verdict in; one self-contained HTML page out: plain words, then numbers, then how they were worked out."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from elsewhere import __version__
from elsewhere.evidence.verdict import DISCLAIMER, Verdict, said


@dataclass(frozen=True)
class Occasion:
    """What a verdict was asked about, for the page.

    Attributes:
        model: name of the model.
        trained_on: its training sites.
        site: the new site.
        root: its folder.
        origin: "real", "repacked" or "simulated" data of the study behind the model.
        checkpoint: hash of the weights.
        bad: scans that could not be used: (scan, what is wrong, what to do).
        command: how the page was made.
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
    environment = Environment(
        loader=PackageLoader("elsewhere.evidence", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["said"] = said
    template = environment.get_template("verdict.html.j2")
    style = environment.loader.get_source(environment, "style.css")[0] if environment.loader else ""
    return template.render(
        verdict=verdict, occasion=occasion, style=Markup(style), disclaimer=DISCLAIMER, version=__version__
    )
