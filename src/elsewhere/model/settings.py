"""What a study file says of samples, network, training and prediction: checked settings, without torch.

They stand apart from the code that uses them so that a mistake in a study file is told before torch is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from elsewhere.errors import BadStudy
from elsewhere.model.own_code import content_of, is_name, module_of

Size = tuple[int, int, int]
Sampling = Literal["uniform", "balanced"]
Select = Literal["accuracy", "log_loss", "auc"]
Minimised = Literal["erm", "group_dro", "v_rex", "coral"]

WINDOW_SLICES = 128  # paper, section "Training and Data Augmentation"
WINDOW_STRIDE = 32  # protocol page, "Volume"

LEAST_IN_GROUP = 4
"""Values that GroupNorm needs: it makes two equal to ±1 whatever they were, and leaves three one degree of freedom."""

PAPER = "paper"
MONAI_NETWORKS = (
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "ResNet10",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "SEResNet50",
    "SEResNet101",
)
"""3D networks of MONAI that can be trained, by name."""


@dataclass(frozen=True)
class Encoder:
    """A pretrained encoder that a linear layer is trained on (extra `pretrained`).

    Attributes:
        input: the size that it takes.
        window: stored values, in HU, that it takes as 0 and 1.
        sha256: of its weights.
    """

    input: Size
    window: tuple[int, int]
    sha256: str


ENCODERS = {
    "Astra": Encoder((160, 224, 224), (-1000, 200), "d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a")
}
"""By name."""
OF_BACKBONES = ("input", "dropout", "classes", "kind")
"""Settings that networks have which are not the paper's; a class of the user's own has `OF_OWN_CLASSES` besides."""
OF_OWN_CLASSES = ("arguments", "code")
OF_THE_MACHINE = ("folder", "allow_code")
LEAST_EDGE = 32
"""MONAI's networks halve each axis up to five times."""
SHRINKS = {"ResNet": 16, "DenseNet": 32, "SEResNet": 32}
"""By how much an axis shrinks in all, by family."""

MOST_GROUPS = {"groups": 8, "dense_groups": 32}  # our reading of the paper (protocol page, "Network")


@dataclass(frozen=True)
class NetworkSettings:
    """The paper's network (section "Model Architecture"; protocol page, "Network"), or a reduced one of its kind.

    All sizes are (slices, rows, columns); the paper writes rows × columns × slices, so its (5,5,3) kernels are
    (3,5,5) here.

    Attributes:
        input: size of the input.
        filters: channels of each level.
        kernels: convolution kernel of each level, odd on every axis ("same" padding).
        pools: max pooling between the levels, one fewer than levels; an axis of size 1 is left alone.
        dense: width of each fully connected layer before the last one.
        groups: GroupNorm groups in the convolutional part; 0 chooses the most, up to the paper's 8, that divide all of
            filters and leave 4 values or more in a group (channels times voxels of the level's map).
        dense_groups: GroupNorm groups in the dense part; 0 chooses likewise, up to 32, for all of dense.
        dropblock: share of voxels that DropBlock drops in training; 0 switches it off.
        block: edge of its blocks in voxels, clipped to the map.
        dropout: share of dense features dropped in training.
        classes: number of outputs.
        kind: "paper"; a 3D network of MONAI (extra `monai`), such as "DenseNet121"; "Astra", a pretrained encoder
            (extra `pretrained`) under a linear layer; or a class of your own, "module:Class". Of all but the paper's,
            input, dropout (before the last layer) and classes are set here, and nothing else.
        folder: of a class of your own: folder that its module lies in; left out where it is installed.
        arguments: of a class of your own: a table, name and value of each argument of the class.
        allow_code: of a class of your own: allow that its module is imported and run.
        code: hash of the module's files, or of a pretrained encoder's weights; not to be set.
    """

    input: Size = (128, 512, 512)
    filters: tuple[int, ...] = (8, 16, 32, 64, 128)
    kernels: tuple[Size, ...] = ((3, 3, 3), (5, 5, 5), (3, 5, 5), (3, 5, 5), (3, 3, 3))
    pools: tuple[Size, ...] = ((4, 4, 4), (2, 4, 4), (2, 4, 4), (2, 2, 2))
    dense: tuple[int, ...] = (1024, 1024, 1024, 1024)
    groups: int = 0
    dense_groups: int = 0
    dropblock: float = 0.1
    block: int = 5
    dropout: float = 0.5
    classes: int = 2
    kind: str = PAPER
    folder: Path | None = None
    arguments: str = "{}"
    allow_code: bool = False
    code: str = ""

    def __post_init__(self) -> None:
        _check_kind(self)
        if self.kind != PAPER:
            _check_backbone(self)
            return
        for name, value in (("filters", self.filters), ("dense", self.dense), ("input", self.input)):
            _require(min(value, default=0) >= 1, name, value, "hold one number or more, all of them 1 or above")
        _require(len(self.kernels) == len(self.filters), "kernels", self.kernels, "hold one kernel for each of filters")
        _require(len(self.pools) == len(self.filters) - 1, "pools", self.pools, "hold one pool fewer than filters")
        odd = all(edge % 2 == 1 for kernel in self.kernels for edge in kernel)
        _require(odd, "kernels", self.kernels, "have odd edges, so that a map keeps its size")
        for name in ("dropblock", "dropout"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "be in [0, 1)")
        _require(self.block >= 1, "block", self.block, "be 1 or more")
        _require(self.classes >= 2, "classes", self.classes, "be 2 or more")
        _check_map_sizes(self)
        voxels = [math.prod(size) for size in self.map_sizes]
        for name, widths_name, maps in (
            ("groups", "filters", voxels),
            ("dense_groups", "dense", [1] * len(self.dense)),
        ):
            chosen = _groups(name, getattr(self, name), widths_name, getattr(self, widths_name), maps)
            object.__setattr__(self, name, chosen)  # frozen: this is still its making

    @property
    def is_own(self) -> bool:
        """Whether it is a class of the user's own."""
        return ":" in self.kind

    @property
    def is_pretrained(self) -> bool:
        """Whether it is a linear layer on a pretrained encoder."""
        return self.kind in ENCODERS

    def record(self) -> dict[str, object]:
        """As checkpoints keep it: the paper's network as before there were others, of others what is theirs.

        Folder and leave to run a class of the user's own are this machine's, and no part of it.
        """
        content = asdict(self)
        if self.kind == PAPER:
            return {name: content[name] for name in content if name not in {"kind", *OF_OWN_CLASSES, *OF_THE_MACHINE}}
        more = OF_OWN_CLASSES if self.is_own else ("code",) if self.is_pretrained else ()
        return {name: content[name] for name in (*OF_BACKBONES, *more)}

    @property
    def map_sizes(self) -> tuple[Size, ...]:
        """Size of each level's maps, (slices, rows, columns)."""
        sizes = [self.input]
        for pool in self.pools:
            sizes.append(_pooled(sizes[-1], pool))
        return tuple(sizes)

    @property
    def flat(self) -> int:
        """Number of features that leave the convolutional part."""
        return self.filters[-1] * math.prod(self.map_sizes[-1])


def _check_kind(settings: NetworkSettings) -> None:
    """Raise BadStudy for a kind that does not exist, or for keys that are for a class of the user's own alone."""
    known = [PAPER, *MONAI_NETWORKS, *ENCODERS]
    meant = next((name for name in known if name.casefold() == settings.kind.casefold()), "")
    then = f"Did you mean {meant!r}?" if meant else f"Use one of {', '.join(known)}, or a class of yours: module:Class"
    if settings.kind not in known and not is_name(settings.kind):
        raise BadStudy("network.kind", f"is {settings.kind!r}", then)
    if settings.is_pretrained:
        _check_encoder(settings, ENCODERS[settings.kind])
        object.__setattr__(settings, "code", ENCODERS[settings.kind].sha256)  # frozen: this is still its making
    own = (*OF_THE_MACHINE, *(name for name in OF_OWN_CLASSES if name != "code" or not settings.is_pretrained))
    for name in () if settings.is_own else own:
        given, without = getattr(settings, name), getattr(NetworkSettings, name)
        _require(given == without, name, given, 'be left out: it is for a class of your own, "module:Class"')


def _check_encoder(settings: NetworkSettings, encoder: Encoder) -> None:
    """Raise BadStudy for another input than it takes, or for a record of other weights."""
    _require(settings.input == encoder.input, "input", settings.input, f"be {list(encoder.input)} for {settings.kind}")
    if settings.code not in {"", encoder.sha256}:
        what = f"is {settings.kind!r}, and its weights were others ({settings.code[:12]}…) than those known now"
        raise BadStudy("network.kind", what, "Use the version of elsewhere that trained it, or train again")


def _check_backbone(settings: NetworkSettings) -> None:
    """Raise BadStudy for keys that are the paper's network's alone, and for a module that is not there."""
    least = 1 if settings.is_own else LEAST_EDGE
    _require(min(settings.input) >= least, "input", settings.input, f"be {least} or more along each axis")
    _require(0 <= settings.dropout < 1, "dropout", settings.dropout, "be in [0, 1)")
    _require(settings.classes >= 2, "classes", settings.classes, "be 2 or more")
    for field in fields(settings):
        mine = field.name in {*OF_BACKBONES, *OF_OWN_CLASSES, *OF_THE_MACHINE}
        without = field.name == "dropblock" and settings.dropblock == 0
        if not mine and not without and getattr(settings, field.name) != field.default:
            what = f"is set, and {settings.kind} has its own"
            raise BadStudy(f"network.{field.name}", what, 'Leave it out, or set network.kind = "paper"')
    object.__setattr__(settings, "dropblock", 0.0)  # frozen: this is still its making
    if settings.folder is not None:
        file = module_of(settings.kind, settings.folder)
        if not file.exists():
            what = f"is {settings.folder}, which holds no {file.name} and no folder {file.stem}"
            raise BadStudy("network.folder", what, f"Name the folder that holds the module of {settings.kind}")
        object.__setattr__(settings, "code", content_of(file))


def check_trainable(network: NetworkSettings, training: TrainingSettings, sample: SampleSettings) -> None:
    """Refuse what a network cannot be trained with.

    Raises:
        BadStudy: a class of the user's own without leave to run it; BatchNorm over too few values; other values than a
            pretrained encoder was trained with.
    """
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


def check_batch(kind: str, batch: int, voxels: int) -> None:
    """Refuse batches that BatchNorm makes nothing of.

    Args:
        kind: of the network, which has BatchNorm.
        batch: scans in a batch of one device.
        voxels: of its smallest maps; 0 where they are not known.

    Raises:
        BadStudy: a batch of one, whose statistics are not those of other scans; or fewer than `LEAST_IN_GROUP` values.
    """
    if batch > 1 and (not voxels or batch * voxels >= LEAST_IN_GROUP):
        return
    why = "it would be trained on each scan's own mean and spread, and asked with those of all scans"
    if batch > 1:
        why = f"its smallest maps leave {batch * voxels} values to a channel, of which it keeps next to nothing"
    what = f"is {batch}, and {kind} has BatchNorm: {why}"
    raise BadStudy("training.batch", what, "Give 4 or more, or a larger network.input")


def _require(holds: bool, name: str, value: object, must: str) -> None:
    if not holds:
        raise BadStudy(f"network.{name}", f"must {must}, is {value}", "Correct it under [network] in the study file")


def _groups(name: str, given: int, widths_name: str, widths: tuple[int, ...], voxels: Sequence[int]) -> int:
    """The number of groups: as given, or chosen where that is 0; `voxels` of each width's map."""
    if given == 0:
        shared = [n for n in range(MOST_GROUPS[name], 0, -1) if not any(width % n for width in widths)]
        given = next((n for n in shared if _smallest(n, widths, voxels) >= LEAST_IN_GROUP), 1)
    for width in widths:
        if given < 1 or width % given:
            raise BadStudy(
                f"network.{name}",
                f"{given} groups do not divide {width} of {widths_name}",
                "Change one of the two, or leave the groups out: their number is then chosen",
            )
    smallest = _smallest(given, widths, voxels)
    if smallest < LEAST_IN_GROUP:
        raise BadStudy(
            f"network.{name}",
            f"is {given}, which leaves {smallest} in the smallest group of {widths_name} = {list(widths)}; of fewer "
            f"than {LEAST_IN_GROUP} values GroupNorm keeps next to nothing, and the network cannot learn",
            f"Widen {widths_name} or pool less" if given == 1 else "Use fewer groups, or leave the key out",
        )
    return given


def _smallest(groups: int, widths: tuple[int, ...], voxels: Sequence[int]) -> int:
    """Values in the smallest group."""
    return min(width // groups * edge for width, edge in zip(widths, voxels, strict=True))


def _check_map_sizes(settings: NetworkSettings) -> None:
    least = min((by for pool in settings.pools for by in pool), default=1)
    _require(least >= 1, "pools", settings.pools, "hold numbers of 1 or more")
    for level, (size, pool) in enumerate(zip(settings.map_sizes, settings.pools, strict=False)):
        for axis, edge, by in zip(("slices", "rows", "columns"), size, pool, strict=True):
            if edge > 1 and edge % by:
                raise BadStudy(
                    "network.pools",
                    f"pool {level + 1} divides {axis} by {by}, but there are {edge} of them",
                    "Change the input size or the pool so that it divides (an axis of size 1 is left alone)",
                )


def _pooled(size: Size, pool: Size) -> Size:
    slices, rows, columns = (edge if edge == 1 else edge // by for edge, by in zip(size, pool, strict=True))
    return slices, rows, columns


def network_settings(fields: Mapping[str, Any]) -> NetworkSettings:
    """Network settings as read from JSON, lists turned back into tuples."""

    def as_tuple(value: Any) -> Any:
        return tuple(as_tuple(one) for one in value) if isinstance(value, list | tuple) else value

    return NetworkSettings(**{name: as_tuple(value) for name, value in fields.items()})


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
