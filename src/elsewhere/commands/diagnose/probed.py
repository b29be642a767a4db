"""A scan in numbers, and what each model made of its parts: in the study's folder from one run to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from elsewhere.rows import LookedAtRow
from elsewhere.scans.regions import VIEWS
from elsewhere.scans.scan import Fact
from elsewhere.studies.folder import read_table, write_table

LOOK_AGAIN = "Remove it and run `elsewhere diagnose` again"


@dataclass(frozen=True)
class SeenBy:
    """What one model made of one scan.

    Attributes:
        model: its name.
        features: of the whole scan; none where they are not known.
        probability: of the whole scan.
        parts: probability of each part (`VIEWS`); None where it was not shown.
        inside: share of its saliency inside the lungs; None where that is not known.
        expected: share of the picture that the lungs take; None likewise.
    """

    model: str
    features: Sequence[float]
    probability: float | None
    parts: Mapping[str, float | None]
    inside: float | None = None
    expected: float | None = None

    @property
    def probabilities(self) -> dict[str, float | None]:
        """Probability of the whole scan ("whole") and of each part."""
        return {"whole": self.probability, **self.parts}


@dataclass(frozen=True)
class ProbedScan(LookedAtRow):
    """One scan that was looked at.

    Attributes:
        numbers: each part of `describe`.
        models: what models made of it; none for scans without lungs, or not for testing.
        facts: its metadata, which are kept with the scans of the study.
    """

    numbers: Mapping[str, Sequence[float]]
    models: tuple[SeenBy, ...]
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def seen_by(self, model: str) -> SeenBy | None:
        """What one model made of it; None where it was not shown."""
        return next((seen for seen in self.models if seen.model == model), None)


OWN = tuple(f.name for f in fields(LookedAtRow))


def write_probed(path: Path, scans: Sequence[ProbedScan]) -> None:
    """Keep scans without their facts."""
    write_table(
        path,
        [
            {name: getattr(scan, name) for name in OWN}
            | {**scan.numbers, "models": [_kept(seen) for seen in scan.models]}
            for scan in scans
        ],
    )


def _kept(seen: SeenBy) -> dict[str, object]:
    whole = {"model": seen.model, "features": seen.features, "probability": seen.probability}
    return {**whole, **seen.parts, "inside": seen.inside, "expected": seen.expected}


def read_probed(path: Path) -> list[ProbedScan]:
    """Scans that were kept.

    Raises:
        BadStudy: the file is damaged or gone.
    """
    found = []
    for row in read_table(path, LOOK_AGAIN):
        models = [SeenBy(parts={part: seen.pop(part) for part in VIEWS}, **seen) for seen in row.pop("models")]
        own = {name: row.pop(name) for name in OWN}
        found.append(ProbedScan(**own, numbers=row, models=tuple(models)))
    return found
