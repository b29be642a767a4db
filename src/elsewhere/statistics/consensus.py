"""Several models' probabilities for the same scans in; how many are wrong about each scan, and how badly, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elsewhere.statistics.columns import Floats, Ints, check_labels, check_probabilities
from elsewhere.statistics.decision import OperatingPoint, decide


@dataclass(frozen=True)
class Consensus:
    """What several models say of each scan of one site.

    Attributes:
        wrong: whether each model decides wrongly (models, scans).
        wrong_share: share of the models that are wrong (scans,).
        distance: mean distance of the probability from the label over the models (scans,), 0..1.
    """

    wrong: NDArray[np.bool_]
    wrong_share: Floats
    distance: Floats

    def hardest_first(self) -> Ints:
        """Places of the scans, those that most models get wrong first; among equals the largest distance first.

        >>> found = Consensus(np.zeros((2, 3), bool), np.array([0.0, 0.5, 0.5]), np.array([0.1, 0.4, 0.6]))
        >>> found.hardest_first().tolist()
        [2, 1, 0]
        """
        return np.lexsort((-self.distance, -self.wrong_share)).astype(np.int64)


def consensus(labels: ArrayLike, probabilities: ArrayLike, points: Sequence[OperatingPoint]) -> Consensus:
    """How the models agree about each scan.

    Args:
        labels: 1 or 0 (scans,).
        probabilities: (models, scans).
        points: where each model says positive (models,).

    Raises:
        ValueError: no scan, NaN, probabilities outside 0 to 1, lengths that differ.

    >>> point = OperatingPoint(0.5, "grid", "model", 1.0, 2)
    >>> found = consensus([1, 0], [[0.9, 0.2], [0.3, 0.4]], [point, point])
    >>> found.wrong_share.tolist(), found.distance.round(2).tolist()
    ([0.5, 0.0], [0.4, 0.3])
    """
    truth = check_labels(labels)
    values = check_probabilities(probabilities, truth.size)
    if values.shape != (len(points), truth.size):
        raise ValueError(f"probabilities have shape {values.shape}, but there are {len(points)} operating points")
    called = np.stack([decide(row, point) for row, point in zip(values, points, strict=True)])
    wrong = called != (truth == 1)
    return Consensus(wrong, wrong.mean(axis=0), np.abs(values - truth).mean(axis=0))
