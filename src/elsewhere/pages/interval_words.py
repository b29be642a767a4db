"""An interval in three digits, as pages that compare small differences show it."""

from __future__ import annotations

from elsewhere.statistics.intervals import Interval


def said(interval: Interval | None) -> str:
    """A value with its interval.

    >>> said(Interval(0.8, 0.7, 0.9, "")), said(None)
    ('0.800 (0.700 to 0.900)', 'not measured')
    """
    if interval is None:
        return "not measured"
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def moved(interval: Interval | None) -> str:
    """A change with its interval and its sign.

    >>> moved(Interval(0.1, -0.1, 0.3, ""))
    '+0.100 (-0.100 to +0.300)'
    """
    if interval is None:
        return "not measured"
    return f"{interval.estimate:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
