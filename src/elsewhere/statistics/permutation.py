"""A p-value by permutation in, as it is written out: what no permutation reached is "at most", never "equal"."""

from __future__ import annotations

import math


def p_words(p: float, floor: float = 0.0) -> str:
    """A p-value in words.

    With B permutations no p-value can be below 1 / (B + 1), and below so much times m after Holm's adjustment: one that
    stands there is only known to be no larger.

    Args:
        p: the p-value.
        floor: the smallest that the test can give (after adjustment, where `p` is adjusted).

    >>> p_words(0.2), p_words(0.0005, 0.0005), p_words(0.00004)
    ('p = 0.200', 'p ≤ 0.0005', 'p < 0.001')
    """
    return f"p {p_value(p, floor)}" if p_value(p, floor)[0] in "<≤" else f"p = {p_value(p, floor)}"


def p_value(p: float, floor: float = 0.0) -> str:
    """The same as a table prints it: "0.200", "≤ 0.0005", "< 0.001"; a bound is rounded up.

    >>> p_value(0.2), p_value(0.0005, 0.0005), p_value(0.002, 0.0005), p_value(0.00625, 0.00625)
    ('0.200', '≤ 0.0005', '0.002', '≤ 0.007')
    """
    if floor and p <= floor * (1 + 1e-9):
        digit = min(10.0 ** math.floor(math.log10(p)), 0.001)
        up = math.ceil(p / digit - 1e-6) * digit
        return f"≤ {up:.1g}" if up < 0.001 else f"≤ {up:.3f}"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def rounded_floor(permutations: float | None) -> float:
    """The smallest p of so many permutations, rounded to four digits as the audit's records are; 0 for none.

    >>> rounded_floor(99), rounded_floor(None)
    (0.01, 0.0)
    """
    return round(1 / (permutations + 1), 4) if permutations else 0.0
