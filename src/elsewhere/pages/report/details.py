"""What the page shows of single cells beside their scores: subgroups, and precision against recall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from elsewhere.statistics.precision_recall import PrecisionRecall
from elsewhere.statistics.subgroups import Subgroup


@dataclass(frozen=True)
class CellDetails:
    """Of the cells with test scans at hand, under (model, site).

    Attributes:
        subgroups: every subgroup of the metadata that are known.
        curves: precision against recall, of cells with two classes.
        cards: model -> its card, as Markdown.
    """

    subgroups: Mapping[tuple[str, str], tuple[Subgroup, ...]] = field(default_factory=dict)
    curves: Mapping[tuple[str, str], PrecisionRecall] = field(default_factory=dict)
    cards: Mapping[str, str] = field(default_factory=dict)
