"""The networks' model cards, as files beside the page."""

from __future__ import annotations

from dataclasses import dataclass

from elsewhere.files import short_name
from elsewhere.pages.report.content import Study
from elsewhere.pages.report.folder import Folder


@dataclass(frozen=True)
class Cards:
    """The section.

    Attributes:
        links: (model, path of its card beside the page).
        without: networks that have none.
    """

    links: tuple[tuple[str, str], ...]
    without: tuple[str, ...]


def section(study: Study, slug: str, out: Folder) -> Cards | None:
    """The section; None without a card."""
    cards = study.details.cards
    if not cards:
        return None
    links = tuple(
        (name, out.add_text(f"cards/{short_name(f'{slug}-{name}')}.md", text)) for name, text in cards.items()
    )
    return Cards(links, tuple(model.name for model in study.models if model.name not in cards))
