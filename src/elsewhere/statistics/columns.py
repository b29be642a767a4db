"""Labels, patients and probabilities in; the same columns out, checked: no statistic meets a NaN or a wrong length."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def check_labels(labels: ArrayLike) -> Ints:
    """Labels as integers (scans,), 1 positive and 0 negative.

    Raises:
        ValueError: no scan, more than one dimension, NaN, or anything but 0 and 1.

    >>> check_labels([True, False, 1.0]).tolist()
    [1, 0, 1]
    """
    found = np.asarray(labels)
    if found.ndim != 1 or found.size == 0:
        raise ValueError(f"labels have shape {found.shape}; expected one label per scan, at least one")
    values = found.astype(np.float64)
    wrong = values[(values != 0) & (values != 1)]
    if wrong.size:
        raise ValueError(f"labels hold {wrong[0]:g}; expected 1 (positive) or 0 (negative) only")
    return values.astype(np.int64)


def check_probabilities(probabilities: ArrayLike, scans: int) -> Floats:
    """Probabilities of being positive (..., scans) as float64.

    Raises:
        ValueError: wrong number of scans, NaN, or values outside 0 to 1.

    >>> check_probabilities([20, 70], 2)
    Traceback (most recent call last):
        ...
    ValueError: probabilities reach from 20 to 70; expected 0 to 1
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] != scans or values.size == 0:
        raise ValueError(f"probabilities have shape {values.shape}, but there are {scans} labels")
    if np.isnan(values).any():
        raise ValueError(f"probabilities hold {int(np.isnan(values).sum())} NaN; find the scans that gave them")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"probabilities reach from {values.min():g} to {values.max():g}; expected 0 to 1")
    return values


def check_scores(scores: ArrayLike, scans: int) -> Floats:
    """Scores (..., scans) on any scale, larger meaning more positive, as float64.

    Raises:
        ValueError: wrong number of scans, or values that are not finite.

    >>> check_scores([-3, 12], 2).tolist()
    [-3.0, 12.0]
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] != scans or values.size == 0:
        raise ValueError(f"scores have shape {values.shape}, but there are {scans} labels")
    if not np.isfinite(values).all():
        raise ValueError(f"scores hold {int((~np.isfinite(values)).sum())} values that are NaN or infinite")
    return values


def check_groups(groups: ArrayLike, scans: int, name: str = "patients") -> Ints:
    """Patient (or site) of each scan as integers 0..groups-1, numbered in sorted order.

    Raises:
        ValueError: not one group per scan.

    >>> check_groups(["P7", "P2", "P7"], 3).tolist()
    [1, 0, 1]
    """
    found = np.asarray(groups)
    if found.shape != (scans,):
        raise ValueError(f"{name} have shape {found.shape}, but there are {scans} labels")
    if scans and found.dtype.kind in "iu" and found.min() >= 0 and found.max() <= 4 * scans:  # without a sort
        seen = np.bincount(found) > 0
        return (np.cumsum(seen) - 1)[found]
    if found.dtype.kind == "U":  # a dictionary is quicker than a sort of fixed-width text
        names = found.tolist()
        places = {group: i for i, group in enumerate(sorted(set(names)))}
        return np.array([places[group] for group in names], dtype=np.int64)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def count_groups(groups: Ints) -> int:
    """Number of different groups among those of some scans (scans,), integers from 0.

    >>> count_groups(np.array([0, 4, 4]))
    2
    """
    return int(np.count_nonzero(np.bincount(groups))) if groups.size else 0


def check_both_classes(labels: Ints) -> None:
    """Refuse a statistic of ranking where only one class is present.

    Raises:
        ValueError: every label is the same.

    >>> check_both_classes(np.array([1, 1]))
    Traceback (most recent call last):
        ...
    ValueError: all 2 scans are positive; a ROC curve or an AUC needs both classes
    """
    if labels.min() == labels.max():
        name = "positive" if labels[0] else "negative"
        raise ValueError(f"all {labels.size} scans are {name}; a ROC curve or an AUC needs both classes")
