"""`[[arms]]` of a study file: other ways to train the same networks, their trials, and the trainings that they take.

An arm changes keys of [training]. Trial 1 is the arm as the file has it; in further trials the keys that have a range
are drawn from it, each draw a function of (the study's seed, the trial, the key), so that a range that arms share gives
them the same values. The study's own [training] is the arm "ERM", which all others are compared with.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

from elsewhere.arm_rows import ERM
from elsewhere.errors import BadStudy
from elsewhere.model.network_settings import NetworkSettings
from elsewhere.model.settings import SampleSettings, TrainingSettings, check_trainable, sites_obstacle
from elsewhere.studies.keys import check_keys, named, typed

ARM_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 _-]*[A-Za-z0-9_-])?")
KEYS = ("name", "training", "ranges")
NOT_IN_ARMS = (
    "seed",
    "devices",
    "accelerator",
    "threads",
    "save_every",
    "tensorboard",
    "loaders",
    "card_gib",
    "pinned_gib",
)
"""Keys of [training] that say where and how often a network is trained, not how."""

Value = str | bool | int | float


@dataclass(frozen=True)
class Range:
    """Where a number of a trial is drawn from, evenly, or evenly on a logarithmic scale."""

    low: float
    high: float
    log: bool = False

    def at(self, share: float) -> float:
        """The value at a share of the range.

        >>> Range(1e-4, 1e-2, log=True).at(0.5), Range(1, 3).at(0.5)
        (0.001, 2.0)
        """
        if self.log:
            return float(f"{math.exp(math.log(self.low) + share * math.log(self.high / self.low)):.3g}")
        return float(f"{self.low + share * (self.high - self.low):.3g}")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: its name.
        training: keys of [training] that it changes, with their values.
        ranges: keys that its trials draw.
    """

    name: str
    training: Mapping[str, Value] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """The arms of a study.

    Attributes:
        arms: ERM first.
        trials: of each arm.
        leave_one_training_site_out: whether each is also trained without each of its training sites, to choose by.
    """

    arms: tuple[Arm, ...]
    trials: int = 1
    leave_one_training_site_out: bool = False


@dataclass(frozen=True)
class ArmNetwork:
    """One training of one arm.

    Attributes:
        arm: its name.
        trial: number of the trial, from 1.
        seed: of the training.
        sites: that it is trained on.
    """

    arm: str
    trial: int
    seed: int
    sites: tuple[str, ...]


def read_arms(path: Path, arms: object, comparison: object, training: TrainingSettings) -> Comparison | None:
    """The arms of a study file, ERM first; None where it has none.

    Args:
        path: the study file.
        arms: its `arms`, a list of tables; None where it has none.
        comparison: its `[comparison]`, likewise.
        training: its [training].

    Raises:
        BadStudy: a key is unknown or has a wrong value; names clash; [training] is no ERM.
    """
    if arms is None:
        if comparison is not None:
            raise BadStudy(path, "key `comparison` is given without `arms`", "Add [[arms]] tables, or remove it")
        return None
    if not isinstance(arms, list) or not arms or not all(isinstance(one, dict) for one in arms):
        raise BadStudy(path, f"key `arms` is {arms!r}", "Write one table for each arm: [[arms]] with a name")
    if training.objective != "erm" or training.mixstyle or training.acquisition:
        what = "key `training` departs from ERM, which the arms are compared with"
        raise BadStudy(path, what, "Give objective, mixstyle and acquisition in an arm")
    given = {} if comparison is None else comparison
    if not isinstance(given, dict):
        raise BadStudy(path, f"key `comparison` is {given!r}", "Write it as a table, [comparison]")
    check_keys(path, "comparison.", given, ("trials", "leave_one_training_site_out", "ranges"), {})
    trials = typed(path, "comparison.trials", int, given.get("trials", 1))
    if trials < 1:
        raise BadStudy(path, f"key `comparison.trials` is {trials}", "Give 1 or more")
    name = "leave_one_training_site_out"
    inner = typed(path, f"comparison.{name}", bool, given.get(name, False))
    common = _ranges(path, "comparison.ranges", given.get("ranges", {}))
    found = (Arm(ERM, {}, common), *(_arm(path, one, common, training) for one in arms))
    names = [arm.name.lower() for arm in found]
    if twice := next((arm.name for arm in found[::-1] if names.count(arm.name.lower()) > 1), ""):
        then = "ERM is the study's own [training]" if twice.lower() == ERM.lower() else "Name each arm once"
        raise BadStudy(path, f"key `arms` names {twice!r} twice", then)
    for arm in found[1:]:
        same = all(getattr(training, key) == value for key, value in arm.training.items())
        if same and set(arm.ranges) <= set(common):
            what = f"key `arms.{arm.name}.training` changes nothing of [training]"
            raise BadStudy(path, what, "Give what the arm changes, or leave it out")
    return Comparison(found, trials, inner)


def _arm(path: Path, given: Mapping[str, object], common: Mapping[str, Range], training: TrainingSettings) -> Arm:
    check_keys(path, "arms.", given, KEYS, {"training": [one.name for one in fields(TrainingSettings)]})
    name = typed(path, "arms.name", str, given.get("name", ""))
    if not ARM_NAME.fullmatch(name):
        raise BadStudy(path, f"key `arms.name` is {name!r}", "Use letters, digits, space, '_' and '-'")
    key, changed = f"arms.{name}.training", given.get("training", {})
    if not isinstance(changed, dict):
        raise BadStudy(path, f"key `{key}` is {changed!r}", "Write { key = value }, with keys of [training]")
    _check_training_keys(path, key, changed)
    typed(path, key, TrainingSettings, asdict(training) | changed)
    own = _ranges(path, f"arms.{name}.ranges", given.get("ranges", {}))
    return Arm(name, dict(changed), {**common, **own})


def _check_training_keys(path: Path, key: str, given: Mapping[str, object]) -> None:
    check_keys(path, f"{key}.", given, [one.name for one in fields(TrainingSettings)], {})
    if wrong := next((one for one in given if one in NOT_IN_ARMS), ""):
        raise BadStudy(path, f"key `{key}.{wrong}` is not the arm's", "Give it under [training] (seeds: on top)")


def _ranges(path: Path, key: str, given: object) -> dict[str, Range]:
    if not isinstance(given, dict):
        raise BadStudy(path, f"key `{key}` is {given!r}", "Write { key = [low, high] }, with keys of [training]")
    _check_training_keys(path, key, given)
    return {name: _range(path, f"{key}.{name}", name, value) for name, value in given.items()}


def _range(path: Path, key: str, name: str, given: object) -> Range:
    then = 'Write [low, high], or [low, high, "log"] for numbers above 0'
    usual = getattr(TrainingSettings(), name)
    if isinstance(usual, bool | str):
        raise BadStudy(path, f"key `{key}` is no number, and has no range", f"Give an arm for each value of {name}")
    log = isinstance(given, list) and len(given) == 3 and given[2] == "log"
    ends = given[:2] if isinstance(given, list) and len(given) == 2 + log else []
    numbers = [float(one) for one in ends if isinstance(one, int | float) and not isinstance(one, bool)]
    finite = all(map(math.isfinite, numbers))
    if len(numbers) != 2 or not finite or not numbers[0] < numbers[1] or (log and numbers[0] <= 0):
        raise BadStudy(path, f"key `{key}` is {given!r}", then)
    return Range(numbers[0], numbers[1], log)


def drawn(arm: Arm, trial: int, seed: int) -> dict[str, Value]:
    """What a trial of an arm changes of [training]; of trial 1, what the arm does.

    Args:
        arm: the arm.
        trial: its number, from 1.
        seed: the study's.
    """
    if trial == 1:
        return dict(arm.training)
    values: dict[str, Value] = {}
    for key, where in arm.ranges.items():
        digest = hashlib.sha256(repr((seed, trial, key)).encode()).digest()
        value = where.at(int.from_bytes(digest[:7], "big") / 256**7)
        values[key] = round(value) if isinstance(getattr(TrainingSettings(), key), int) else value
    return {**arm.training, **values}


def settings_of(arm: Arm, trial: int, seed: int, training: TrainingSettings) -> TrainingSettings:
    """How a trial of an arm trains; `seed` is the study's.

    Raises:
        BadStudy: a drawn value is out of range.
    """
    changed = drawn(arm, trial, seed)
    return replace(training, **changed)  # type: ignore[arg-type]


def inner_obstacle(
    arm: Arm, trials: int, combinations: Sequence[Sequence[str]], training: TrainingSettings, seed: int
) -> str:
    """Why an arm cannot be trained without one of its training sites; "" where it can. `seed` is the study's."""
    for sites in combinations:
        if len(sites) < 2:
            return f"{'+'.join(sites)} is one training site: without it there is none"
        for trial in range(1, trials + 1):
            if (wrong := sites_obstacle(settings_of(arm, trial, seed, training), len(sites) - 1)) is not None:
                return f"without one of {'+'.join(sites)}: {wrong[1]}"
    return ""


def inner_sets(combinations: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Each training set without one of its sites, each once.

    >>> inner_sets([("A", "B"), ("A", "C")])
    [('B',), ('A',), ('C',)]
    """
    sets: dict[tuple[str, ...], None] = {}
    for sites in combinations:
        for left in sites:
            if kept := tuple(site for site in sites if site != left):
                sets[kept] = None
    return list(sets)


def network_name(network: ArmNetwork, first_seed: int, models: Sequence[str]) -> str:
    """Name of a training; that of the study's own model, or of its further training, where it is the same one."""
    base, tail = "+".join(network.sites), "" if network.seed == first_seed else f"~{network.seed}"
    own = network.arm == ERM and network.trial == 1 and base in models
    return f"{base}{tail}" if own else f"{base}@{network.arm}.{network.trial}{tail}"


def networks(
    comparison: Comparison,
    combinations: Sequence[tuple[str, ...]],
    seeds: Sequence[int],
    training: TrainingSettings,
    seed: int,
) -> Iterator[ArmNetwork]:
    """All trainings that a comparison takes, the study's own among them.

    Each arm, trial and seed on each training set; and, where they are wanted and can be had, each arm and trial with
    the first seed on each training set without one of its sites. `seed` is the study's.
    """
    for arm in comparison.arms:
        for trial in range(1, comparison.trials + 1):
            for sites in combinations:
                yield from (ArmNetwork(arm.name, trial, seed, sites) for seed in seeds)
            if not comparison.leave_one_training_site_out:
                continue
            if not inner_obstacle(arm, comparison.trials, combinations, training, seed):
                yield from (ArmNetwork(arm.name, trial, seeds[0], sites) for sites in inner_sets(combinations))


class HasArms:
    """What a study knows of its arms, from these of its fields.

    Attributes:
        seed: of the split, and of the trials' draws.
        seeds: of the trainings; without, that of `training`.
        sites: all sites.
        combinations: training sets.
        training: how ERM trains.
        network: that is trained.
        sample: how scans become its inputs.
        comparison: the arms; None where there are none.
    """

    seed: int
    seeds: tuple[int, ...]
    sites: Sequence[object]
    combinations: tuple[tuple[str, ...], ...]
    training: TrainingSettings
    network: NetworkSettings
    sample: SampleSettings
    comparison: Comparison | None

    @cached_property
    def compared(self) -> tuple[tuple[str, ...], ...]:
        """The training sets that leave out a site: arms are compared there."""
        return tuple(own for own in self.combinations if len(own) < len(self.sites))

    @cached_property
    def all_arm_networks(self) -> dict[str, ArmNetwork]:
        """Name of each training that the comparison of arms takes, the study's own among them."""
        if self.comparison is None:
            return {}
        seeds, models = self.seeds or (self.training.seed,), ["+".join(own) for own in self.combinations]
        found = networks(self.comparison, self.compared, seeds, self.training, self.seed)
        return {network_name(one, seeds[0], models): one for one in found}

    @cached_property
    def arm_networks(self) -> dict[str, ArmNetwork]:
        """The same without the study's own."""
        return {name: network for name, network in self.all_arm_networks.items() if "@" in name}

    def training_of_arm(self, name: str) -> TrainingSettings:
        """How one of `arm_networks` is trained."""
        assert self.comparison is not None
        network = self.arm_networks[name]
        arm = next(one for one in self.comparison.arms if one.name == network.arm)
        return replace(settings_of(arm, network.trial, self.seed, self.training), seed=network.seed)


def check_arms(path: Path, study: HasArms) -> None:
    """Refuse a training or an arm that lacks what it needs, before anything is read.

    Raises:
        BadStudy: names the arm, the training set and the reason.
    """
    for own in study.combinations:
        if (wrong := sites_obstacle(study.training, len(own))) is not None:
            raise BadStudy(path, f"key `training.{wrong[0]}` {wrong[1]} ({'+'.join(own)})", wrong[2])
    if study.comparison is None:
        return
    if not study.compared:
        what = "key `arms` compares networks at sites that they never saw, and every training set holds all sites"
        raise BadStudy(path, what, 'Set combinations = "leave-one-site-out"')
    for arm in study.comparison.arms:
        for trial in range(1, study.comparison.trials + 1):
            _check_trial(path, study, arm, trial)


def _check_trial(path: Path, study: HasArms, arm: Arm, trial: int) -> None:
    try:
        settings = settings_of(arm, trial, study.seed, study.training)
    except BadStudy as error:
        what = f"trial {trial} of arm {arm.name!r} draws a value that cannot be: {error.where} {error.what}"
        raise BadStudy(path, what, "Narrow its range") from error
    named(path, lambda: check_trainable(study.network, settings, study.sample))
    for sites in study.compared:
        if (wrong := sites_obstacle(settings, len(sites))) is not None:
            key, what, then = wrong
            raise BadStudy(path, f"arm {arm.name!r} on {'+'.join(sites)}: `training.{key}` {what}", then)
