"""What a study file says of the network: checked settings, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from elsewhere.errors import BadStudy
from elsewhere.model.own_code import content_of, is_name, module_of

Size = tuple[int, int, int]


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


def _require(holds: bool, name: str, value: object, must: str) -> None:
    if not holds:
        raise BadStudy(f"network.{name}", f"must {must}, is {value}", "Correct it under [network] in the study file")
