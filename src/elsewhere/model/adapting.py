"""A trained network fitted to a new place with few labelled scans, in several ways: from the last layer to all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from torch import nn

from elsewhere.errors import BadStudy
from elsewhere.model.features import Features
from elsewhere.model.job import Job
from elsewhere.model.network import Network
from elsewhere.model.network_settings import ENCODERS, PAPER
from elsewhere.model.sample import WINDOW_STRIDE, Case, Read, SampleSettings, seed_of
from elsewhere.model.settings import TrainingSettings
from elsewhere.model.start import TRUNK, Start
from elsewhere.model.training import train_job

Way = Literal["last", "dense", "norm", "all", "all+replay", "all+anchor"]
WAYS: tuple[Way, ...] = get_args(Way)
IN_WORDS: Mapping[Way, str] = {
    "last": "last layer",
    "dense": "dense part",
    "norm": "GroupNorm's scale and shift",
    "all": "all weights",
    "all+replay": "all weights, with scans of home among the new ones",
    "all+anchor": "all weights, held to where they started (L2-SP)",
}


@dataclass(frozen=True)
class AdaptingSettings:
    """How a network is adapted; the numbers are first guesses that worked, not the outcome of a search (docs/log.md).

    Attributes:
        iterations: steps of Adam.
        batch: scans a step, classes in turn.
        learning_rate: at its height; it rises over a tenth of the iterations and falls as half a cosine to 0.
        dense_rate: factor on it where only the dense part, the last layer or GroupNorm changes.
        replay: share of the scans that are from home, for "all+replay".
        anchor: strength of the penalty of "all+anchor".
        views: training inputs of each scan whose features are kept, where the convolutional part stays.
        held: share of the patients of each class that are not fitted but choose, by log loss, which weights are kept;
            0 fits all and keeps the last.
        checks: how often they are asked.
        seed: of order, augmentation and dropout.
        threads: processor threads of torch; 0 leaves torch's own choice.
        accelerator: as in training.
    """

    iterations: int = 120
    batch: int = 8
    learning_rate: float = 5e-4
    dense_rate: float = 4.0
    replay: float = 0.25
    anchor: float = 0.01
    views: int = 8
    held: float = 0.0
    checks: int = 6
    seed: int = 0
    threads: int = 1
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name, least in (("iterations", 1), ("batch", 1), ("views", 1), ("checks", 1), ("seed", 0), ("threads", 0)):
            if getattr(self, name) < least:
                raise BadStudy(f"adapting.{name}", f"is {getattr(self, name)}", f"Give {least} or more")
        for name in ("replay", "held"):
            if not 0 <= getattr(self, name) < 1:
                raise BadStudy(f"adapting.{name}", f"must be in [0, 1), is {getattr(self, name):g}", "Give a share")

    def training(self, way: Way) -> TrainingSettings:
        """As settings of a training."""
        whole = way.startswith("all")
        return TrainingSettings(
            iterations=self.iterations,
            batch=self.batch,
            learning_rate=self.learning_rate * (1 if whole else self.dense_rate),
            validate_every=max(1, self.iterations // self.checks) if self.held else self.iterations,
            save_every=self.iterations,
            seed=self.seed,
            balanced_classes=True,
            select="log_loss",
            warm_up=self.iterations // 10,
            schedule="cosine",
            accelerator=self.accelerator,
            threads=self.threads,
            tensorboard=False,
        )


def ways_of(kind: str) -> tuple[Way, ...]:
    """The ways that have a meaning for a network of this kind."""
    return tuple(way for way in WAYS if without_meaning(kind, way) is None)


def without_meaning(kind: str, way: Way) -> str | None:
    """Why a way has no meaning for a network of this kind, continuing "it …"; None where it has one.

    >>> without_meaning("DenseNet121", "last") is without_meaning("paper", "norm") is None
    True
    """
    if kind in ENCODERS and way != "last":
        return f"changes what {kind} has not, or leaves as it is: its one trained layer is the last"
    if kind == PAPER or way not in {"dense", "norm"}:
        return None
    if way == "dense":
        return f"is `last` for {kind}, which has one dense layer"
    return (
        f"fits GroupNorm, and {kind} has BatchNorm, whose statistics of home would stay beside the new scale and shift"
    )


def trainable_of(network: Network, way: Way) -> tuple[str, ...]:
    """Names of the parameters that a way changes.

    Raises:
        BadStudy: the way changes a part that only the paper's network has.

    >>> from elsewhere.model.network_settings import NetworkSettings
    >>> tiny = NetworkSettings(input=(2, 4, 4), filters=(2,), kernels=((3, 3, 3),), pools=(), dense=(4,), groups=1)
    >>> trainable_of(Network(tiny), "last")
    ('last.weight', 'last.bias')
    """
    if (why := without_meaning(network.settings.kind, way)) is not None:
        raise BadStudy(f"the way {way!r}", why, f"Choose from {', '.join(ways_of(network.settings.kind))}")
    names = [name for name, _ in network.named_parameters()]
    if way == "last":
        return tuple(name for name in names if name.startswith("last."))
    if way == "dense":
        return tuple(name for name in names if not name.startswith(TRUNK))
    if way == "norm":
        norms = {module for module, part in network.named_modules() if isinstance(part, nn.GroupNorm)}
        return tuple(name for name in names if name.rpartition(".")[0] in norms)
    return tuple(names)


def needs_trunk(way: Way) -> bool:
    """Whether a way changes the convolutional part."""
    return way not in {"last", "dense"}


def start_of(
    network: Network, way: Way, settings: AdaptingSettings, home: Sequence[Case] = (), features: Features | None = None
) -> Start:
    """Where a training in this way starts.

    Args:
        network: as it is to be adapted.
        way: one of `WAYS`.
        settings: of the adaptation.
        home: scans of home; needed by "all+replay" alone.
        features: of the convolutional part, where it stays and they are at hand.

    Raises:
        BadStudy: a replay without scans of home.
    """
    replay = way == "all+replay"
    return Start(
        network.state_dict(),
        trainable_of(network, way),
        anchor=settings.anchor if way == "all+anchor" else 0.0,
        replay=settings.replay if replay else 0.0,
        home=home if replay else (),
        views=settings.views,
        features=None if needs_trunk(way) else features,
    )


def adapt_network(  # noqa: PLR0917 - as `train`
    network: Network,
    sample: SampleSettings,
    way: Way,
    scans: Sequence[Case],
    read: Read,
    folder: Path,
    record: Mapping[str, object],
    *,
    settings: AdaptingSettings = AdaptingSettings(),
    home: Sequence[Case] = (),
    features: Features | None = None,
    stride: int = WINDOW_STRIDE,
) -> Path:
    """Adapt a network to the place of these scans, by the training of `train` from its weights; killed, it goes on.

    Args:
        network: as it is; it is not changed.
        sample: how scans become its inputs.
        way: what of it changes, and what holds it.
        scans: labelled scans of the new place; no other scan chooses what is kept.
        read: gives stored slices of these, and of home's.
        folder: for the checkpoint and the state of the training.
        record: what the checkpoint says of itself.
        settings: steps, rates, shares.
        home: scans that it was trained on, for "all+replay".
        features: of the convolutional part.
        stride: slices from one window of a scan to the next.

    Returns:
        The checkpoint's path without suffix, for `load_checkpoint`.

    Raises:
        BadStudy: one class only; a replay without scans of home; a folder in use or of another adaptation.
        BadScan: the loss is not a number.
    """
    fitted, held = hold_back(scans, settings.held, settings.seed)
    start = start_of(network, way, settings, home, features)
    fitting = settings.training(way) if held else replace(settings, held=0.0).training(way)
    job = Job(
        network.settings,
        sample,
        fitting,
        fitted,
        held or fitted,
        read,
        folder,
        record,
        None,
        stride=stride,
        start=start,
    )
    return train_job(job)


def hold_back(scans: Sequence[Case], share: float, seed: int) -> tuple[list[Case], list[Case]]:
    """Scans to fit, and scans of other patients to choose by: this share of each class's patients, drawn by the seed.

    None are held back where that would leave either part without a class.
    """
    out: set[tuple[str, str]] = set()
    people = {(c.site, c.patient): 0 for c in scans}
    for c in scans:
        people[c.site, c.patient] = max(people[c.site, c.patient], c.label)
    for label in (0, 1):
        own = sorted(person for person, worst in people.items() if worst == label)
        order = np.random.default_rng([seed_of(seed, "hold back"), label]).permutation(len(own))
        out |= {own[i] for i in order[: round(share * len(own))]}
    held = [c for c in scans if (c.site, c.patient) in out]
    fitted = [c for c in scans if (c.site, c.patient) not in out]
    classes = [{c.label for c in part} for part in (fitted, held)]
    return (fitted, held) if classes == [{0, 1}, {0, 1}] else (list(scans), [])
