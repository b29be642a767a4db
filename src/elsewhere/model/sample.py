"""A scan's stored voxels in, one network input out: taken slices, padding, normalisation, flips, turns, scale."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from elsewhere.errors import BadStudy
from elsewhere.model.kernels.sample import fill
from elsewhere.model.settings import WINDOW_SLICES, WINDOW_STRIDE, SampleSettings, Sampling

PIECE = 8  # slices read at once: a chunk of the store, which stays in the processor's cache
CACHE = 16 << 20  # bytes; larger inputs are not looked for in a cache
PLAN, ORDER = 1, 2  # what a random number is for: one stream each (never 0, which numpy drops from the end)


@dataclass(frozen=True)
class Case:
    """One scan that is trained on or predicted, without its voxels.

    Attributes:
        site: name of the site.
        patient: patient id within the site.
        scan: scan id within the site.
        label: 1 COVID-positive, 0 COVID-negative.
        slices: number of stored slices.
        minimum: lowest stored value of the whole volume.
        maximum: highest stored value of the whole volume.
    """

    site: str
    patient: str
    scan: str
    label: int
    slices: int
    minimum: int
    maximum: int


def hash_cases(cases: Sequence[Case]) -> str:
    """Hash of scans in their order: ids, patients, labels, and the length and ends of their volumes."""
    return hashlib.sha256(json.dumps([asdict(case) for case in cases]).encode()).hexdigest()[:16]


Read = Callable[[Case, int, int], NDArray[Any]]
"""Stored voxels of slices start:stop of a case, int16 or uint8 [slice, row, column]."""


Acquired = Callable[[int, Case, NDArray[Any]], tuple[NDArray[Any], tuple[int, int]]]
"""Draw, scan and its stored slices -> slices of another acquisition, and the volume's minimum and maximum then."""


@dataclass(frozen=True)
class Plan:
    """Every choice made for one input, drawn before any voxel is touched; `dataclasses.asdict` gives its JSON.

    Attributes:
        start: first slice taken.
        count: number of slices taken.
        top: padding slices above (superior to) them.
        power_of_two: divide by the next power of two instead of by the maximum.
        flip: reverse the (slice, row, column) axis.
        transpose: swap rows and columns, after the flips.
        turns: quarter turns in-plane, from the row axis towards the column axis, after the transposition.
        scale: factor on the normalised intensities.
    """

    start: int
    count: int
    top: int
    power_of_two: bool = False
    flip: tuple[bool, bool, bool] = (False, False, False)
    transpose: bool = False
    turns: int = 0
    scale: float = 1.0


def draw_plan(
    rng: np.random.Generator, case: Case, settings: SampleSettings = SampleSettings(), slices: int = WINDOW_SLICES
) -> Plan:
    """Draw a training input's choices (paper, section "Training and Data Augmentation").

    Every number is drawn whatever the settings, so that switching one option off leaves all other choices as they
    were.
    """
    count = min(case.slices, slices)
    start, top = int(rng.integers(case.slices - count + 1)), int(rng.integers(slices - count + 1))
    power, augment, *coins = (bool(coin) for coin in rng.random(7) < 0.5)
    turns, scale = int(rng.integers(4)), float(rng.uniform(*settings.intensity))
    if not (augment and settings.augment):
        return Plan(start, count, top, power)
    flip = (coins[0], coins[1], coins[2])
    return Plan(
        start, count, top, power, flip, coins[3] and settings.turn, turns * settings.turn, scale if coins[4] else 1.0
    )


def apply_plan(
    voxels: NDArray[Any],
    plan: Plan,
    settings: SampleSettings,
    extrema: tuple[int, int],
    slices: int = WINDOW_SLICES,
    *,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Carry a plan out: a pure function of its arguments.

    Args:
        voxels: the plan's slices, int16 or uint8 [slice, row, column].
        plan: the choices; see `draw_plan` and `evaluation_plan`.
        settings: normalisation and padding.
        extrema: minimum and maximum of the whole stored volume; not read where `settings.extrema` is "window".
        slices: slices of the network's input.
        out: float32 [slices, rows, columns] to write into, for callers that reuse a buffer.

    Returns:
        float32 [slices, row, column]; `out` if it was given.
    """
    assert len(voxels) == plan.count, (voxels.shape, plan)
    if settings.extrema == "window":
        extrema = int(voxels.min()), int(voxels.max())
    given, edges = (lambda first, last: voxels[first:last]), [0, plan.count]
    return _assemble(given, edges, plan, settings, extrema, slices=slices, out=out)


def _assemble(
    read: Callable[[int, int], NDArray[Any]],
    edges: Sequence[int],
    plan: Plan,
    settings: SampleSettings,
    extrema: tuple[int, int],
    *,
    slices: int,
    out: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """`apply_plan` of slices that `read` gives, counted from the plan's first one, piece by piece from edge to edge.

    A large input is carried out in torch's number of threads: each reads pieces, or all share the only one.
    """
    pieces = list(pairwise(edges))
    begin = read(*pieces[0])
    whole = _buffer(out, slices, *_orient(begin[0], plan).shape)
    grey = choose_grey(plan, settings, extrema, padded=plan.count < slices)
    top = slices - plan.count - plan.top if plan.flip[0] else plan.top
    whole[:top] = whole[top + plan.count :] = padding_value(settings, grey)
    aside = whole.nbytes > CACHE
    threads = torch.get_num_threads() if aside else 1

    def carry_out(first: int, voxels: NDArray[Any]) -> None:
        at = top + (plan.count - first - len(voxels) if plan.flip[0] else first)
        alone = threads if len(pieces) == 1 else 1
        _fill(whole[at : at + len(voxels)], voxels, plan, grey, aside=aside, threads=alone)

    carry_out(0, begin)
    _in_threads(lambda piece: carry_out(piece[0], read(*piece)), pieces[1:], threads)
    return whole


def _in_threads(work: Callable[[tuple[int, int]], None], pieces: Sequence[tuple[int, int]], threads: int) -> None:
    if min(threads, len(pieces)) < 2:
        for piece in pieces:
            work(piece)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, pieces))  # raises what a piece raised


def _buffer(out: NDArray[np.float32] | None, slices: int, rows: int, columns: int) -> NDArray[np.float32]:
    if out is None:
        return np.empty((slices, rows, columns), np.float32)
    if out.shape != (slices, rows, columns):
        raise BadStudy(
            "network.input",
            f"the network takes {out.shape[1]} rows and {out.shape[2]} columns, the scans have {rows} and {columns}",
            "Prepare the scans at the network's size",
        )
    return out


@dataclass(frozen=True)
class Grey:
    """Stored value → intensity: clip to lower..upper (where `clip`), subtract lower, multiply by factor."""

    lower: int
    upper: int
    factor: float
    clip: bool

    def value(self, stored: int) -> float:
        """The intensity of one stored value."""
        return (min(max(stored, self.lower), self.upper) - self.lower) * self.factor


def choose_grey(plan: Plan, settings: SampleSettings, extrema: tuple[int, int], *, padded: bool) -> Grey:
    """How a plan's stored values become intensities, given the volume's (or the window's) minimum and maximum."""
    if settings.normalisation == "window":
        lower, upper = settings.window
        return Grey(lower, upper, plan.scale / (upper - lower), clip=True)
    lower, upper = extrema
    if padded and settings.padding == "literal_zero":
        lower, upper = min(lower, 0), max(upper, 0)
    span = upper - lower
    divisor = 1 << span.bit_length() if plan.power_of_two else span
    return Grey(lower, upper, plan.scale / divisor if span else 0.0, clip=False)


def padding_value(settings: SampleSettings, grey: Grey) -> float:
    """The intensity of a padding slice."""
    return grey.value(0) if settings.padding == "literal_zero" else 0.0


def _fill(out: NDArray[np.float32], voxels: NDArray[Any], plan: Plan, grey: Grey, *, aside: bool, threads: int) -> None:
    """Normalise and orient, through the compiled kernel where there is one; the same bytes without."""
    swapped = (plan.transpose + plan.turns) % 2 == 1
    steps = _orient(voxels[0], plan).strides
    filled = fill(
        out,
        voxels,
        backwards=(plan.flip[0], steps[0] < 0, steps[1] < 0),
        swapped=swapped,
        lower=grey.lower,
        upper=grey.upper if grey.clip else None,
        factor=grey.factor,
        aside=aside,
        threads=threads,
    )
    if not filled:
        fill_plainly(out, voxels, plan, grey)


def fill_plainly(out: NDArray[np.float32], voxels: NDArray[Any], plan: Plan, grey: Grey) -> None:
    """Normalise and orient slice by slice, so that each slice stays in the cache between its few passes."""
    shifted = np.empty(voxels.shape[1:], np.uint16)
    signed = shifted.view(np.int16)
    oriented = _orient(shifted, plan)
    lower = np.array(grey.lower).astype(np.int16).view(np.uint16)  # unsigned subtraction wraps to the right answer
    order = range(len(voxels) - 1, -1, -1) if plan.flip[0] else range(len(voxels))
    staged = grey.clip or voxels.dtype == np.uint8
    for target, source in zip(out, order, strict=True):
        plane = signed if staged else voxels[source]
        if staged:
            np.copyto(signed, voxels[source])
        if grey.clip:
            np.clip(signed, grey.lower, grey.upper, out=signed)
        np.subtract(plane.view(np.uint16), lower, out=shifted)
        np.copyto(target, oriented)
        np.multiply(target, np.float32(grey.factor), out=target)


def _orient(plane: NDArray[Any], plan: Plan) -> NDArray[Any]:
    """A view of [row, column] after the plan's in-plane flips, transposition and quarter turns."""
    plane = plane[:: -1 if plan.flip[1] else 1, :: -1 if plan.flip[2] else 1]
    return np.rot90(plane.T if plan.transpose else plane, plan.turns)


def evaluation_windows(slices: int, size: int = WINDOW_SLICES, stride: int = WINDOW_STRIDE) -> tuple[int, ...]:
    """First slices of the windows that cover a scan (protocol page, "Volume").

    A scan of at most `size` slices has one window, starting at 0 (it is padded). A longer one has a window every
    `stride` slices, and a last one that ends with the scan where the stride misses it.
    """
    last = max(slices - size, 0)
    starts = tuple(range(0, last + 1, stride))
    return starts if starts[-1] == last else (*starts, last)


def evaluation_plan(case: Case, start: int, slices: int = WINDOW_SLICES) -> Plan:
    """The plan of one evaluation window: nothing random, a short scan in the middle of its padding."""
    count = min(case.slices, slices)
    return Plan(start, count, (slices - count) // 2)


def make_input(
    read: Read,
    case: Case,
    plan: Plan,
    settings: SampleSettings = SampleSettings(),
    slices: int = WINDOW_SLICES,
    *,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """A plan's slices of a scan, read and at once carried out piece by piece: float32 [slice, row, column].

    The same as `apply_plan` of `read_planned`, without holding the stored window.
    """
    extrema = case.minimum, case.maximum
    if settings.extrema == "window":
        return apply_plan(read_planned(read, case, plan), plan, settings, extrema, slices, out=out)
    from_chunk = plan.start % PIECE  # so that no piece lies across the store's chunks
    edges = [0, *range(PIECE - from_chunk, plan.count, PIECE), plan.count]

    def planned(first: int, last: int) -> NDArray[Any]:
        return read(case, plan.start + first, plan.start + last)

    return _assemble(planned, edges, plan, settings, extrema, slices=slices, out=out)


def evaluation_input(
    case: Case, read: Read, start: int, settings: SampleSettings = SampleSettings(), slices: int = WINDOW_SLICES
) -> NDArray[np.float32]:
    """One evaluation window of a scan, float32 [slice, row, column]; only its own slices are read."""
    plan = evaluation_plan(case, start, slices)
    return apply_plan(read_planned(read, case, plan), plan, settings, (case.minimum, case.maximum), slices)


def read_planned(read: Read, case: Case, plan: Plan) -> NDArray[Any]:
    """The stored slices that a plan takes."""
    return read(case, plan.start, plan.start + plan.count)


def seed_of(*purpose: int | str) -> int:
    """A 63-bit seed for torch, the same for the same purpose whatever ran before."""
    return int.from_bytes(hashlib.sha256(repr(purpose).encode()).digest()[:8], "big") >> 1


class Examples(Protocol):
    """The examples of a training, by their running number."""

    def case(self, draw: int) -> Case:
        """The scan of one draw."""

    def plan(self, draw: int) -> Plan:
        """The choices of one draw."""

    def example(self, draw: int, out: NDArray[np.float32] | None = None) -> tuple[NDArray[np.float32], Case]:
        """The network input of one draw, float32 [slices, row, column] (in `out` if given), and its scan."""

    @property
    def acquire(self) -> Acquired | None:
        """What changes the stored slices of a draw before its plan is carried out."""


class Samples:
    """The training examples of a run, each a function of (seed, draw) alone: no example depends on those before it.

    A draw is the running number of an example: iteration × batch size + position in the batch.

    Args:
        cases: the pooled training scans of all sites.
        read: gives a case's stored slices.
        settings: how they become inputs.
        slices: slices of the network's input.
        seed: changes order and augmentation.
        sampling: "uniform" goes through all pooled scans in a new order each epoch (protocol page, "Nine models",
            our reading); "balanced" takes the sites in turn, each through its own epochs.
        balanced_classes: take the classes in turn, each through its own epochs; under "balanced" every class of every
            site in turn (a site of one class then gives half as many examples as one of two).
        acquire: changes stored slices as another acquisition would.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        read: Read,
        settings: SampleSettings = SampleSettings(),
        slices: int = WINDOW_SLICES,
        *,
        seed: int = 0,
        sampling: Sampling = "uniform",
        balanced_classes: bool = False,
        acquire: Acquired | None = None,
    ) -> None:
        assert cases
        self.acquire = acquire
        pools: dict[tuple[str, int], list[Case]] = defaultdict(list)
        for case in cases:
            pools[case.site if sampling == "balanced" else "", case.label if balanced_classes else 0].append(case)
        self._pools = [pools[name] for name in sorted(pools)]
        self._read, self._settings, self._slices, self._seed = read, settings, slices, seed
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def case(self, draw: int) -> Case:
        """The scan of one draw."""
        turn, pool = divmod(draw, len(self._pools))
        epoch, place = divmod(turn, len(self._pools[pool]))
        return self._pools[pool][self._order(pool, epoch)[place]]

    def plan(self, draw: int) -> Plan:
        """The choices of one draw."""
        rng = np.random.default_rng([self._seed, draw, PLAN])
        return draw_plan(rng, self.case(draw), self._settings, self._slices)

    def example(self, draw: int, out: NDArray[np.float32] | None = None) -> tuple[NDArray[np.float32], Case]:
        """The network input of one draw, float32 [slices, row, column] (in `out` if given), and its scan."""
        case, plan = self.case(draw), self.plan(draw)
        if self.acquire is None:
            return make_input(self._read, case, plan, self._settings, self._slices, out=out), case
        voxels, extrema = self.acquire(draw, case, read_planned(self._read, case, plan))
        return apply_plan(voxels, plan, self._settings, extrema, self._slices, out=out), case

    def _order(self, pool: int, epoch: int) -> NDArray[np.int64]:
        kept = self._orders.get(pool)
        if kept is None or kept[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch, pool, ORDER])
            kept = self._orders[pool] = epoch, rng.permutation(len(self._pools[pool]))
        return kept[1]


class Replayed:
    """Examples of a new place with examples of home among them, evenly spread.

    Of the first n draws, the whole part of n · share are from home, and each of the two goes on by its own count.

    Args:
        own: examples of the new place.
        home: examples of home.
        share: of draws from home, in [0, 1).
    """

    def __init__(self, own: Samples, home: Samples, share: float) -> None:
        self._own, self._home, self._share = own, home, Fraction(str(share))
        self.acquire = own.acquire and self._acquired

    def _acquired(self, draw: int, case: Case, voxels: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int]]:
        samples, number = self._of(draw)
        assert samples.acquire is not None
        return samples.acquire(number, case, voxels)

    def _of(self, draw: int) -> tuple[Samples, int]:
        before, after = int(draw * self._share), int((draw + 1) * self._share)
        return (self._home, before) if after > before else (self._own, draw - before)

    def case(self, draw: int) -> Case:
        """The scan of one draw."""
        samples, number = self._of(draw)
        return samples.case(number)

    def plan(self, draw: int) -> Plan:
        """The choices of one draw."""
        samples, number = self._of(draw)
        return samples.plan(number)

    def example(self, draw: int, out: NDArray[np.float32] | None = None) -> tuple[NDArray[np.float32], Case]:
        """The network input of one draw, float32 [slices, row, column] (in `out` if given), and its scan."""
        samples, number = self._of(draw)
        return samples.example(number, out)
