"""Sites, labels and facts known before any pixel is looked at in; how well they alone tell the label out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from elsewhere.statistics.columns import Floats, Ints, check_both_classes, check_groups, check_labels
from elsewhere.statistics.logistic import fit_logistic
from elsewhere.statistics.roc import exact_auc

RARE = 2
"""A category seen in fewer scans than this says nothing that could hold elsewhere, and gets no column."""


MEASURED = ("minimum", "maximum", "encoding_kind", "padding_share", "black_share", "padding", "lung_segmented")
"""Facts that are measured in the voxels: no header has them, and a rule that knows one sees more than metadata."""


def site_only_auc(sites: ArrayLike, labels: ArrayLike) -> float:
    """AUC of the rule that knows only the site, and scores each scan by its site's share of positives.

    From the same counts that it is scored on: the rule has one number per site, so this is what any model could
    reach by recognising the hospital. 0.5 where all sites have the same share.

    Raises:
        ValueError: one class only, labels other than 0 and 1, lengths that differ.

    >>> round(site_only_auc(["A", "A", "A", "B", "B", "B"], [1, 1, 0, 0, 0, 1]), 3)
    0.667
    """
    truth = check_labels(labels)
    groups = check_groups(sites, truth.size, "sites")
    return float(exact_auc(truth, _group_shares(groups, truth)))


def _group_shares(groups: Ints, labels: Ints) -> Floats:
    return (np.bincount(groups, labels) / np.bincount(groups))[groups]


@dataclass(frozen=True)
class FactsScore:
    """How well facts alone tell the classes apart, by patients the rule has not seen.

    Attributes:
        auc: AUC of the cross-fitted rule; each scan is compared with scans of its own fold only.
        p_value: share of label permutations (between patients) that reach this AUC, the data counted as one of them.
        permutations: number of permutations.
        folds: number of folds, patients kept whole.
        columns: names of the columns used, "kernel=B70s" for a category, "age" for a number, "age missing".
    """

    auc: float
    p_value: float
    permutations: int
    folds: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class FactsSettings:
    """How facts are turned into a rule.

    Attributes:
        folds: cross-fitting folds; fewer where a class has fewer patients.
        ridge: penalty on standardised columns; small, so that one strong fact is used in full.
        permutations: label permutations for the p-value.
        seed: of folds and permutations.
    """

    folds: int = 5
    ridge: float = 1.0
    permutations: int = 200
    seed: int = 0


def facts_auc(
    facts: Mapping[str, ArrayLike], labels: ArrayLike, patients: ArrayLike, settings: FactsSettings = FactsSettings()
) -> FactsScore:
    """AUC of a ridge logistic regression on facts, cross-fitted by patient, with a permutation p-value.

    Args:
        facts: name -> one value per scan; numbers are used as numbers (NaN or None: missing, a column of its own),
            anything else as categories.
        labels: 1 or 0 (scans,).
        patients: patient of each scan (scans,); a patient is never on both sides of a fold.
        settings: folds, ridge, permutations, seed.

    Raises:
        ValueError: one class only, a class with fewer than 2 patients, no facts, lengths that differ.

    >>> found = facts_auc({"kernel": ["B70", "B30"] * 10}, [1, 0] * 10, range(20), FactsSettings(permutations=99))
    >>> found.auc, found.p_value, found.columns
    (1.0, 0.01, ('kernel=B30', 'kernel=B70'))
    """
    truth = check_labels(labels)
    check_both_classes(truth)
    groups = check_groups(patients, truth.size)
    names, table = tabulate_facts(facts, truth.size)
    folds = _draw_folds(truth, groups, settings)
    found = _cross_fitted_auc(table, truth, folds[groups], settings.ridge)
    random = np.random.default_rng([settings.seed, 1])
    permuted = np.array(
        [
            _cross_fitted_auc(table, _permute(truth, groups, folds, random), folds[groups], settings.ridge)
            for _ in range(settings.permutations)
        ]
    )
    reached = (1 + int((permuted >= found - 1e-12).sum())) / (1 + settings.permutations)
    return FactsScore(found, reached, settings.permutations, int(folds.max()) + 1, names)


def tabulate_facts(facts: Mapping[str, ArrayLike], scans: int) -> tuple[tuple[str, ...], Floats]:
    """Facts as standardised columns: (names, table of shape (scans, columns)).

    Raises:
        ValueError: no facts, or not one value per scan.

    >>> names, table = tabulate_facts({"age": [40, 60], "matrix": [512, 512]}, 2)  # what is constant has no column
    >>> names, table.tolist()
    (('age',), [[-1.0], [1.0]])
    """
    columns: dict[str, Floats] = {}
    for name, given in facts.items():
        values = np.asarray(given)
        if values.shape != (scans,):
            raise ValueError(f"fact '{name}' has shape {values.shape}, but there are {scans} labels")
        columns |= _fact_columns(name, values)
    if not columns:
        raise ValueError("no fact differs between scans; there is nothing to fit")
    table = np.column_stack(list(columns.values()))
    return tuple(columns), (table - table.mean(axis=0)) / table.std(axis=0)


def _fact_columns(name: str, values: NDArray) -> dict[str, Floats]:
    numbers = _as_numbers(values)
    if numbers is None:
        texts = np.array(["missing" if v is None or v == "" else str(v) for v in values])
        found = {f"{name}={t}": (texts == t).astype(np.float64) for t in np.unique(texts)}
        columns = {key: column for key, column in found.items() if column.sum() >= RARE}
    else:
        gone = np.isnan(numbers)
        filled = np.where(gone, np.mean(numbers[~gone]) if (~gone).any() else 0.0, numbers)
        columns = {name: filled, f"{name} missing": gone.astype(np.float64)}
    return {key: column for key, column in columns.items() if np.ptp(column) > 0}


def _as_numbers(values: NDArray) -> Floats | None:
    """The values as floats, None where any is text; a missing value among numbers becomes NaN."""
    if any(isinstance(v, str) for v in values):
        return None
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _draw_folds(labels: Ints, groups: Ints, settings: FactsSettings) -> Ints:
    """Fold of each patient (patients,), classes spread evenly."""
    kind = (np.bincount(groups, labels) > 0).astype(np.int64)
    few = int(np.bincount(kind, minlength=2).min())
    if few < 2:
        raise ValueError(f"a class has {few} patient(s); cross-fitting by patient needs at least 2 in each")
    random = np.random.default_rng([settings.seed, 0])
    count, folds = min(settings.folds, few), np.empty(kind.size, np.int64)
    for c in (0, 1):
        members = random.permutation(np.flatnonzero(kind == c))
        folds[members] = np.arange(members.size) % count
    return folds


def _permute(labels: Ints, groups: Ints, folds: Ints, random: np.random.Generator) -> Ints:
    """Labels handed to other patients of the same fold, whole patients at a time."""
    own = (np.bincount(groups, labels) / np.bincount(groups)).round().astype(np.int64)
    shuffled = np.empty_like(own)
    for fold in np.unique(folds):
        members = np.flatnonzero(folds == fold)
        shuffled[members] = own[random.permutation(members)]
    return shuffled[groups]


def _cross_fitted_auc(table: Floats, labels: Ints, folds: Ints, ridge: float) -> float:
    """Comparisons won over comparisons made, within folds: scores of different fits are never compared."""
    won, made = 0.0, 0
    for fold in np.unique(folds):
        out = folds == fold
        if labels[out].min() == labels[out].max():
            continue
        beta = fit_logistic(table[~out], labels[~out].astype(np.float64), ridge)
        scores = expit(beta[0] + table[out] @ beta[1:])
        pairs = int(labels[out].sum()) * int((1 - labels[out]).sum())
        won, made = won + pairs * float(exact_auc(labels[out], scores.round(12))), made + pairs
    return won / made if made else 0.5
