"""`[sequence]` of a study file: sites that a network learns one after another, in which orders and ways."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from elsewhere.errors import BadStudy
from elsewhere.studies.keys import check_keys, typed

Way = Literal["naive", "replay", "anchored", "distilled", "joint"]
WAYS: tuple[Way, ...] = get_args(Way)
IN_WORDS: Mapping[str, str] = {
    "naive": "goes on with the new site alone",
    "replay": "goes on with scans of the earlier sites among the new ones",
    "anchored": "goes on, held to the weights it had (L2-SP)",
    "distilled": "goes on, held to what it said of the new scans (distillation)",
    "joint": "trained anew on all sites so far: the ceiling",
}


@dataclass(frozen=True)
class SequenceSettings:
    """How sites are learned one after another; the first as the study trains it, the later ones from there.

    Attributes:
        orders: of sites, two or more in each.
        ways: how later sites are learned.
        iterations: for each later site; 0 for as many as `training.iterations`.
        learning_rate: for later sites; 0 for `training.learning_rate`.
        replay: share of the scans that are of earlier sites, for "replay".
        anchor: strength of the penalty, for "anchored".
        distil: weight of the distance to what it said before, for "distilled".
        temperature: that softens both answers there.

    Raises:
        BadStudy: a number out of its range, no order, one site alone.
    """

    orders: tuple[tuple[str, ...], ...]
    ways: tuple[Way, ...] = WAYS
    iterations: int = 0
    learning_rate: float = 0.0
    replay: float = 0.25
    anchor: float = 0.01
    distil: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not self.orders or any(len(order) < 2 or len(set(order)) < len(order) for order in self.orders):
            what = f"has {[list(order) for order in self.orders]}"
            raise BadStudy("sequence.orders", what, "Give lists of two or more sites, each site once in a list")
        if not self.ways or len(set(self.ways)) < len(self.ways):
            raise BadStudy("sequence.ways", f"is {list(self.ways)}", f"Give some of {', '.join(WAYS)}, each once")
        if self.iterations < 0:
            raise BadStudy("sequence.iterations", f"is {self.iterations}", "Give 1 or more, or 0 for the study's")
        if not 0 < self.replay < 1:
            raise BadStudy("sequence.replay", f"must be in (0, 1), is {self.replay:g}", "Give a share such as 0.25")
        for name in ("learning_rate", "anchor", "distil"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise BadStudy(f"sequence.{name}", f"must be 0 or more, is {getattr(self, name):g}", "Give a number")
        if not 0 < self.temperature < float("inf"):
            raise BadStudy("sequence.temperature", f"must be above 0, is {self.temperature:g}", "Give 2")


@dataclass(frozen=True)
class Step:
    """One training: a way, the sites learned so far, the last of them now, and the seed."""

    way: Way
    sites: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{'-then-'.join(self.sites)} {self.way}~{self.seed}"

    @property
    def before(self) -> Step:
        """The step before."""
        return Step(self.way, self.sites[:-1], self.seed)


def later_steps(settings: SequenceSettings, seeds: Sequence[int], depth: int) -> list[Step]:
    """The trainings that learn site number `depth` of an order, from 2; orders that begin alike share them.

    >>> plan = SequenceSettings((("A", "B"), ("A", "C")), ("naive",))
    >>> print(*(step.name for step in later_steps(plan, [1], 2)), sep=", ")
    A-then-B naive~1, A-then-C naive~1
    """
    prefixes = dict.fromkeys(order[:depth] for order in settings.orders if len(order) >= depth)
    ways = [way for way in settings.ways if way != "joint"]
    return [Step(way, prefix, seed) for prefix in prefixes for way in ways for seed in seeds]


def read_sequence(
    file: Path, given: object, split_sites: Collection[str], combinations: Sequence[tuple[str, ...]]
) -> SequenceSettings | None:
    """`[sequence]` of a study file; None without one.

    Args:
        file: the study file, for the message.
        given: its `[sequence]`, as read.
        split_sites: sites that can be trained on.
        combinations: training sets of the study's own networks: each order begins with one, and the ceiling is others.

    Raises:
        BadStudy: a wrong key or value, an unknown site, or a network that is missing.
    """
    if given is None:
        return None
    if not isinstance(given, dict) or "orders" not in given:
        raise BadStudy(file, "key `sequence` has no `orders`", 'Write [sequence] with orders = [["A", "B"]]')
    check_keys(file, "sequence.", given, [f.name for f in fields(SequenceSettings)], {})
    settings: SequenceSettings = typed(file, "sequence", SequenceSettings, given)
    sets = [frozenset(one) for one in combinations]
    for order in settings.orders:
        if (unknown := next((site for site in order if site not in split_sites), None)) is not None:
            then = f"Sites to train on: {', '.join(split_sites)}"
            raise BadStudy(file, f"key `sequence.orders` names {unknown!r}", then)
        depths = range(1, len(order) + 1 if "joint" in settings.ways else 2)
        if missing := [list(order[:depth]) for depth in depths if frozenset(order[:depth]) not in sets]:
            what = f"key `sequence.orders` has {list(order)}, and `combinations` has no {missing[0]}"
            also = ' Or leave "joint" out of `sequence.ways`.' if len(missing[0]) > 1 else ""
            raise BadStudy(file, what, f"Add to `combinations`: {', '.join(map(str, missing))}.{also}")
    return settings
