"""The Jinja templates of the pages, and the style that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup


def template(name: str, filters: Mapping[str, Callable[..., Any]] | None = None, folder: str = "templates") -> Template:
    """A template of a folder of pages/: text is escaped, and a name that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("elsewhere.pages", folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters or {}
    return environment.get_template(name)


def style() -> Markup:
    """The style sheet of every page."""
    return Markup(files("elsewhere.pages").joinpath("templates", "style.css").read_text(encoding="utf-8"))
