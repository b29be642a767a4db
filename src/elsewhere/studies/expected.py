"""How sure a study's AUC will be, from numbers of patients alone, before anything is trained."""

from __future__ import annotations

from elsewhere.statistics.cross_validated import DEPENDENCE
from elsewhere.statistics.sample_size import expected_auc_ends

SUPPOSED = 0.85
"""The AUC for which it is said."""
WIDE = 0.2
"""An interval longer than this is worth a hint."""
USUAL = 5


def expected_words(test: tuple[int, int], whole: tuple[int, int], folds: int) -> str:
    """What interval an AUC of 0.85 will have at a training site; "" where a class has no test patient.

    Args:
        test: positive and negative test patients.
        whole: all positive and negative patients.
        folds: of the study; 0 for none.

    >>> expected_words((20, 48), (101, 236), 5)
    'an AUC of 0.85 would have an interval of 0.72 to 0.92; within 5 folds, on all patients, 0.77 to 0.90'
    """
    if not min(test):
        return ""
    low, high = expected_auc_ends(SUPPOSED, *test)
    said = f"an AUC of {SUPPOSED} would have an interval of {low:.2f} to {high:.2f}"
    inside = "{:.2f} to {:.2f}".format(*expected_auc_ends(SUPPOSED, *whole, DEPENDENCE))
    if folds:
        return f"{said}; within {folds} folds, on all patients, {inside}"
    return f"{said}; with `folds = {USUAL}` under [split], on all patients, {inside}" if high - low > WIDE else said
