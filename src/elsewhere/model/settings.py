"""What a study file says of samples, network, training and prediction: checked settings, without torch.

They stand apart from the code that uses them so that a mistake in a study file is told before torch is loaded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from elsewhere.errors import BadStudy
from elsewhere.model.network_settings import ENCODERS, PAPER, SHRINKS, NetworkSettings, check_batch

Sampling = Literal["uniform", "balanced"]
Select = Literal["accuracy", "log_loss", "auc"]
Minimised = Literal["erm", "group_dro", "v_rex", "coral"]

WINDOW_SLICES = 128  # paper, section "Training and Data Augmentation"
WINDOW_STRIDE = 32  # protocol page, "Volume"


def check_trainable(network: NetworkSettings, training: TrainingSettings, sample: SampleSettings) -> None:
    """Refuse what a network cannot be trained with.

    Raises:
        BadStudy: a class of the user's own without leave to run it; BatchNorm over too few values; other values than a
            pretrained encoder was trained with; styles mixed in a network without levels.
    """
    if training.mixstyle and network.kind != PAPER:
        what = f"is {training.mixstyle:g}: it mixes what leaves the first level, and {network.kind} has no levels"
        raise BadStudy("training.mixstyle", what, "Set it to 0, or use the paper's network")
    if network.is_pretrained:
        window = ENCODERS[network.kind].window
        if (sample.normalisation, sample.window) != ("window", window):
            what = (
                f"is {list(sample.window)} ({sample.normalisation}), and {network.kind} was trained with {list(window)}"
            )
            raise BadStudy("sample.window", what, "Leave normalisation and window out under [sample]")
    if network.is_own and not network.allow_code:
        what = f"is not set, and network.kind = {network.kind!r} imports and runs a module of yours"
        raise BadStudy("network.allow_code", what, "Set allow_code = true if you trust it")
    family = network.kind.rstrip("0123456789")
    if family in SHRINKS:
        left = math.prod(math.ceil(edge / SHRINKS[family]) for edge in network.input)
        check_batch(network.kind, training.batch, left)


@dataclass(frozen=True)
class SampleSettings:
    """How stored voxels become a network input; the values given here are the paper's protocol.

    Attributes:
        normalisation: "paper" shifts the minimum to 0 and divides by the maximum or (training only, one time in
            two) by the next power of two (protocol page, "Normalisation"). "window" is the harmonised departure: a
            fixed window of stored values goes to 0..1 and is clipped, the same at every site.
        window: lower and upper stored value of that window; in HU where the store holds HU.
        padding: what fills a scan of too few slices. "minimum" is air, the volume's lowest value (protocol page,
            "Volume", our reading). "literal_zero" puts stored zeros in before anything is shifted (in HU that is
            water, and a site signature); minimum and maximum are then those of the padded volume.
        extrema: minimum and maximum of the whole "volume" (protocol page, "Normalisation", our reading) or of the
            slices taken, "window".
        intensity: range of the factor by which training intensities are scaled, one time in two: (0, 1) in the
            paper; (0.8, 1.2) is the harmonised departure.
        augment: False trains without flips, turns and scaling (padding, taken slices and the choice of
            normalisation stay random).
        turn: False leaves out transposition and quarter turns, which need as many rows as columns.
    """

    normalisation: Literal["paper", "window"] = "paper"
    window: tuple[int, int] = (-1000, 100)
    padding: Literal["minimum", "literal_zero"] = "minimum"
    extrema: Literal["volume", "window"] = "volume"
    intensity: tuple[float, float] = (0.0, 1.0)
    augment: bool = True
    turn: bool = True

    def __post_init__(self) -> None:
        for name in ("window", "intensity"):
            low, high = getattr(self, name)
            if not low < high:
                raise BadStudy(f"sample.{name}", f"({low}, {high}) is not a range", "Give the lower value first")


@dataclass(frozen=True)
class PredictionSettings:
    """How scans are predicted (protocol page, "Volume" and "Evaluation").

    Attributes:
        passes: passes with dropout, for its spread; unstated in the paper, 50 is our reading; 0 for none.
        stride: slices from one window of a long scan to the next.
        fast: multiply in bfloat16 where the paper's network runs on a processor that can (AVX-512 BF16); the change
            of the logits, about 1e-2, is measured and printed. Elsewhere nothing changes.
    """

    passes: int = 50
    stride: int = WINDOW_STRIDE
    fast: bool = False

    def __post_init__(self) -> None:
        for name, least in (("passes", 0), ("stride", 1)):
            if getattr(self, name) < least:
                raise BadStudy(f"prediction.{name}", f"is {getattr(self, name)}", f"Give {least} or more")


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained; the values given here are the paper's (section "Training and Data Augmentation").

    Attributes:
        iterations: training steps.
        batch: examples per step and device.
        learning_rate: of Adam.
        validate_every: iterations between validations (and one after the last iteration).
        save_every: iterations between saved states, besides one at each validation; a killed training repeats at
            most so many.
        seed: of initial weights, order, augmentation and dropout.
        sampling: "uniform" over the pooled training scans (protocol page, "Nine models", our reading), or "balanced",
            sites in turn.
        balanced_classes: draw the classes in turn, each through its own epochs; under sampling "balanced" every class
            of every site in turn, so that the site says nothing of the label where it has both.
        select: which validated weights are kept: the first of the highest "accuracy" at threshold 0.5 (the paper's),
            the last of the lowest "log_loss", or the last of the highest "auc" within sites (by log loss where no site
            has both classes among its validation scans).
        warm_up: iterations in which the learning rate rises linearly to its value; 0 for none.
        schedule: of the learning rate after them: "constant", or "cosine", half a cosine down to 0 at the end.
        weight_decay: of AdamW (decoupled; Loshchilov and Hutter, ICLR 2019), on the weights of convolutions and dense
            layers; 0 is Adam.
        clip: largest norm of the gradient of all parameters together; longer ones are shortened to it; 0 for no limit.
        ema: decay of an exponential moving average of the weights over iterations, in [0, 1), which is then what is
            validated and kept; 0 for none.
        patience: validations in a row without a better one (by `select`) after which a training ends; 0 for never.
        objective: what is minimised: "erm", the mean cross-entropy; "group_dro", the training sites' risks weighted by
            how high they have been (Sagawa et al., ICLR 2020); "v_rex", their mean and variance (Krueger et al., ICML
            2021); "coral", their mean and how far their penultimate features are apart (Sun and Saenko, ECCV 2016, as
            DomainBed computes it).
        group_rate: step of GroupDRO's weights.
        penalty: weight of V-REx's variance, or of CORAL's distance.
        penalty_from: iterations in which V-REx's penalty weighs 1 at most.
        mixstyle: probability with which the statistics of a batch's maps after the first level are mixed between its
            scans (MixStyle: Zhou et al., ICLR 2021); 0 for never.
        mixstyle_alpha: of the Beta distribution of its shares.
        acquisition: share of the training inputs that are changed as another kernel, dose, slice thickness, window or
            field of view would change them, by the shifts of `elsewhere stress` on prepared volumes; 0 for none.
        acquisition_strength: factor on their doses, which lie between the lowest and the highest of `elsewhere stress`.
        precision: "32-true", or "bf16-mixed" for devices that have it.
        accelerator: "cpu", "cuda", or "auto" for CUDA where there is a device.
        devices: number of devices; each takes its own share of every step (distributed data parallel).
        loaders: threads that read ahead for a graphics card.
        card_gib: GiB of prepared volumes that may be kept on each graphics card, so that they are read once.
        pinned_gib: GiB of them that may be kept in the machine's memory, pinned, by each card's process.
        threads: processor threads of torch; 0 leaves torch's own choice. Results are the same to the last bit only
            for the same number.
        tensorboard: write TensorBoard events beside curves.csv.
    """

    iterations: int = 250_000
    batch: int = 1
    learning_rate: float = 1e-5
    validate_every: int = 500
    save_every: int = 500
    seed: int = 0
    sampling: Sampling = "uniform"
    balanced_classes: bool = False
    select: Select = "accuracy"
    warm_up: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    patience: int = 0
    objective: Minimised = "erm"
    group_rate: float = 0.01
    penalty: float = 1.0
    penalty_from: int = 0
    mixstyle: float = 0.0
    mixstyle_alpha: float = 0.1
    acquisition: float = 0.0
    acquisition_strength: float = 1.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    loaders: int = 4
    card_gib: float = 0.0
    pinned_gib: float = 0.0
    threads: int = 0
    tensorboard: bool = True

    def __post_init__(self) -> None:
        least = {
            "iterations": 1,
            "batch": 1,
            "validate_every": 1,
            "save_every": 1,
            "seed": 0,
            "warm_up": 0,
            "weight_decay": 0,
            "clip": 0,
            "patience": 0,
            "penalty": 0,
            "penalty_from": 0,
            "devices": 1,
            "loaders": 1,
            "card_gib": 0,
            "pinned_gib": 0,
            "threads": 0,
        }
        for name, low in least.items():
            if not low <= getattr(self, name) < math.inf:
                raise BadStudy(f"training.{name}", f"is {getattr(self, name)}", f"Give {low} or more")
        for name in ("learning_rate", "group_rate", "mixstyle_alpha", "acquisition_strength"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadStudy(f"training.{name}", f"is {getattr(self, name)}", "Give a number above 0")
        for name in ("mixstyle", "acquisition"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadStudy(f"training.{name}", f"must be in [0, 1], is {getattr(self, name)}", "Give a share")
        if not 0 <= self.ema < 1:
            raise BadStudy("training.ema", f"must be in [0, 1), is {self.ema}", "Give a decay such as 0.99; 0 for none")
        if self.warm_up >= self.iterations:
            raise BadStudy(
                "training.warm_up",
                f"is {self.warm_up}, but there are {self.iterations} iterations",
                "Give fewer than iterations, such as a twentieth of them",
            )


NAMES = {"erm": "ERM", "group_dro": "GroupDRO", "v_rex": "V-REx", "coral": "CORAL"}


def sites_obstacle(training: TrainingSettings, sites: int) -> tuple[str, str, str] | None:
    """Why a training over so many sites cannot be made in this way; None where it can.

    Args:
        training: its settings.
        sites: number of training sites.

    Returns:
        The key under [training], what is wrong with it, and what to do.
    """
    objective, batch, key = training.objective, training.batch, "objective"
    if training.mixstyle and batch < 2:
        return "mixstyle", "mixes statistics between the scans of a batch, and batch is 1", "Set batch = 2 or more"
    if objective == "erm":
        return None
    said = f"is {objective!r}: {NAMES[objective]} "
    if sites < 2:
        what = f"{said}compares training sites, and there is one"
        return key, what, 'Train on two sites or more, or use "erm"'
    if training.devices > 1:
        what = f"{said}needs the sites of a whole batch on one device, and devices is {training.devices}"
        return key, what, "Set devices = 1"
    if training.sampling != "balanced":
        what = f"{said}takes the sites in turn, and sampling is {training.sampling!r}"
        return key, what, 'Set sampling = "balanced"'
    least = {"group_dro": 1, "v_rex": sites * (2 if training.balanced_classes else 1), "coral": 2 * sites}[objective]
    needed = "every site in each batch" if objective == "v_rex" else "two scans of every site in each batch"
    what = f"{said}needs {needed} of {sites} sites, and batch is {batch}"
    return (key, what, f"Set batch = {least} or more") if batch < least else None
