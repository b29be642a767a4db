"""A model and a scan in; where its evidence for positive comes from, block by block, out: no gradient is needed.

A block of the scan is taken away and the model is asked again (Zeiler and Fergus, ECCV 2014): what its log-odds lose is
that block's evidence. Taken away means that what is denser than aerated lung becomes aerated lung: disease and vessels
go, and no object is put into air.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from elsewhere.model.runnable.protocol import GivenScan, RunnableModel
from elsewhere.model.saliency import Saliency
from elsewhere.scans.volume import Volume
from elsewhere.statistics.decision import log_odds

BLOCKS = (4, 6, 6)
"""Blocks along slices, rows and columns: the model is asked at most once for each, and once for the whole scan."""
AERATED = -850
"""HU of aerated lung."""
CLOSEST_TO_CERTAIN = 1e-6
"""Probabilities nearer to 0 or 1 count as this near: log-odds would be infinite."""


def occlusion_map(model: RunnableModel, given: GivenScan, blocks: tuple[int, int, int] = BLOCKS) -> Saliency:
    """Evidence for positive of each block of a scan, on the scan's own grid; what speaks against is left out.

    Args:
        model: it must take scans whose voxels are changed (`Declared.only_as_scanned`).
        given: the scan.
        blocks: along slices, rows and columns; fewer where the scan has fewer voxels.

    Raises:
        Refused, BadScan: the model gives no answer for the scan, or for one with a block taken away.
    """
    whole = given.in_hu()
    shape = whole.voxels.shape
    counts = [min(count, n) for count, n in zip(blocks, shape, strict=True)]
    cuts = [np.linspace(0, n, count + 1).round().astype(int) for count, n in zip(counts, shape, strict=True)]
    probability = _ask(model, given, whole)
    cells = np.zeros(counts, np.float32)
    for cell in itertools.product(*map(range, counts)):
        block = tuple(slice(cut[i], cut[i + 1]) for cut, i in zip(cuts, cell, strict=True))
        if whole.voxels[block].max() <= AERATED:
            continue
        changed = whole.voxels.copy()
        np.minimum(changed[block], AERATED, out=changed[block])
        without = _ask(model, given, replace(whole, voxels=changed))
        cells[cell] = max(0.0, _log_odds(probability) - _log_odds(without))
    features: NDArray[np.float32] = np.zeros(0, np.float32)
    return Saliency(probability, features, cells, 0, shape[0], 0, shape[0], method="occlusion")


def _ask(model: RunnableModel, given: GivenScan, volume: Volume) -> float:
    return float(model.score(replace(given, volume=volume, dicom=())).max())


def _log_odds(probability: float) -> float:
    return float(log_odds(np.clip(probability, CLOSEST_TO_CERTAIN, 1 - CLOSEST_TO_CERTAIN)))
