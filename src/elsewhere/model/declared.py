"""What a study file says of models that are not trained here and can be run: one frozen dataclass for each kind."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import ClassVar, Literal

from elsewhere.errors import BadStudy
from elsewhere.model.own_code import is_name
from elsewhere.model.settings import WINDOW_STRIDE
from elsewhere.scans.score_columns import ENDS

Edges = tuple[int, int, int]
Lengths = tuple[float, float, float]

WAYS = {"R": "L", "A": "P", "S": "I"}
"""Where an axis may point, and its opposite: the patient's right, front and head."""
CANONICAL_AXES = "IPL"
"""Axes of the product's volumes: slices towards the feet, rows towards the back, columns towards the left."""
PLACES = ("in", "out", "file")
"""What stands in braces in `run`: folder with the scan, folder for the answer, the NIfTI file itself."""
LONGEST_RUN = 600.0


@dataclass(frozen=True)
class InputSettings:
    """How a scan becomes the input of a network that was not trained here.

    Attributes:
        size: voxels of the input along its three axes, in the order of `axes`.
        axes: where each axis of the input points, as nibabel names axes: "IPL" is slices from head to feet, rows from
            front to back, columns from the patient's right to the left; many programs take "RAS".
        spacing: distance of voxels in mm along those axes: the scan is resampled to it, then cut or padded around its
            middle to `size`. Left out, the whole scan is stretched to `size`.
        crop: "lungs" takes the bounding box of the lungs first.
        margin: share of that box's length added on each side of each axis.
        stride: with it the slices are not cut or stretched: there is a window of `size` slices every so many slices
            (without `spacing`: of the slices as scanned). Left out, there is one input.
        smooth: average where voxels get larger; false interpolates linearly, as most training pipelines do.
        window: HU that become the ends of `scale`; what lies beyond is clipped.
        scale: values of the input at the ends of `window`.
        channel: axis of the channel: "first" (batch, channel, three axes), "last", or "none".
        channels: how often the same values stand along it.
    """

    size: Edges
    axes: str = CANONICAL_AXES
    spacing: Lengths | None = None
    crop: Literal["none", "lungs"] = "none"
    margin: float = 0.03
    stride: int | None = None
    smooth: bool = True
    window: tuple[int, int] = (-1000, 400)
    scale: tuple[float, float] = (0.0, 1.0)
    channel: Literal["first", "last", "none"] = "first"
    channels: int = 1

    def __post_init__(self) -> None:
        _require(min(self.size) >= 1, "input.size", list(self.size), "Give three numbers of 1 or more")
        ways = [next((pair for pair in WAYS.items() if letter in pair), None) for letter in self.axes]
        whole = None not in ways and len(ways) == len(set(ways)) == 3
        _require(whole, "input.axes", self.axes, 'Give three letters of R or L, A or P, S or I, such as "RAS"')
        lengths = (1.0,) if self.spacing is None else self.spacing
        _require(
            all(0 < step < math.inf for step in lengths), "input.spacing", self.spacing, "Give three lengths in mm"
        )
        _require(0 <= self.margin < math.inf, "input.margin", self.margin, "Give a share of 0 or more")
        _require(
            self.stride is None or self.stride >= 1, "input.stride", self.stride, "Give 1 or more, or leave it out"
        )
        low, high = self.window
        _require(-32768 <= low < high <= 32767, "input.window", [low, high], "Give two HU values, the lower first")
        ends = all(map(math.isfinite, self.scale)) and self.scale[0] != self.scale[1]
        _require(ends, "input.scale", list(self.scale), "Give two different numbers")
        _require(self.channels >= 1, "input.channels", self.channels, "Give 1 or more")
        _require(self.channel != "none" or self.channels == 1, "input.channels", self.channels, "Give input.channel")


@dataclass(frozen=True)
class OutputSettings:
    """What the numbers are that a network gives, and which of them stand for positive.

    Attributes:
        gives: "logits" of classes that exclude each other (softmax is taken here), "logit" of one finding or of
            several (sigmoid is taken here), "probabilities" of classes that exclude each other, or "probability" of a
            finding.
        positive: places of the positive classes, from 0; of classes that exclude each other several may be given: their
            probabilities are summed. Left out, 1 for classes and 0 for findings.
        windows: what the scan's probability is, of those of its windows.
    """

    gives: Literal["logits", "logit", "probabilities", "probability"] = "logits"
    positive: tuple[int, ...] = ()
    windows: Literal["max", "mean"] = "max"

    def __post_init__(self) -> None:
        object.__setattr__(self, "positive", self.positive or ((1,) if self.exclusive else (0,)))
        whole = min(self.positive) >= 0 and len(set(self.positive)) == len(self.positive)
        _require(whole, "output.positive", list(self.positive), "Give the places of classes, from 0, each once")
        _require(
            self.exclusive or len(self.positive) == 1,
            "output.positive",
            list(self.positive),
            f'Give one place: findings of output.gives = "{self.gives}" do not exclude each other, so none are summed',
        )

    @property
    def exclusive(self) -> bool:
        """Whether the classes exclude each other."""
        return self.gives in {"logits", "probabilities"}


def _require(holds: bool, key: str, value: object, next_step: str) -> None:
    if not holds:
        raise BadStudy(key, f"is {value!r}", next_step)


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What every kind has.

    Attributes:
        name: the model's name in all results.
        threshold: probability from which it calls a scan positive; None where it has no decision.
        allow_code: the user allows that foreign code is run.
    """

    RUNS_CODE: ClassVar[str] = ""
    """Why asking this kind runs foreign code, continuing "it …"; "" where it does not."""

    name: str
    threshold: float | None = None
    allow_code: bool = False

    def __post_init__(self) -> None:
        low, high = self.scale_ends
        inside = self.threshold is None or low <= self.threshold <= high
        _require(inside, "threshold", self.threshold, f"Give a number from {low:g} to {high:g}")
        if (why := self.runs_code) and not self.allow_code:
            raise BadStudy(
                "allow_code", f"is not set, and this kind of model {why}", "Set allow_code = true if you trust it"
            )

    @property
    def runs_code(self) -> str:
        """Why asking it runs foreign code, continuing "it …"; "" where it does not."""
        return self.RUNS_CODE

    @property
    def only_as_scanned(self) -> str:
        """Why it cannot be shown a scan whose voxels were changed, continuing "NAME …"; "" where it can."""
        return ""

    @property
    def scans_at_once(self) -> int | None:
        """How many scans of a site it is given at once; None for all of them."""
        return 1

    @property
    def scale_ends(self) -> tuple[float, float]:
        """Lowest and highest threshold."""
        return 0.0, 1.0


@dataclass(frozen=True, kw_only=True)
class OwnNetwork(Declared):
    """`kind = "elsewhere"`: a network that another study trained.

    Attributes:
        checkpoint: its path without suffix, such as `runs/other/models/A/checkpoint`.
        stride: slices from one window of a long scan to the next.
    """

    kind: Literal["elsewhere"] = "elsewhere"
    checkpoint: Path
    stride: int = WINDOW_STRIDE

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.stride >= 1, "stride", self.stride, "Give 1 or more")


def bare_command(run: str) -> str:
    """A command with the last part alone of each absolute path in it: for pages, which go to others.

    >>> bare_command("'/home/me/my vendor/score.sh' --fast {in} {out}")
    'score.sh --fast {in} {out}'
    """
    return " ".join(Path(word).name if Path(word).is_absolute() else word for word in shlex.split(run))


@dataclass(frozen=True, kw_only=True)
class CommandModel(Declared):
    """`kind = "command"`: any program or container.

    Attributes:
        run: the command line; in braces `{in}` (folder with one scan), `{out}` (empty folder for its answer) and
            `{file}` (the NIfTI file itself). It is cut into words as a shell would, and no shell is asked.
        give: scans as "nifti" (in HU), or as "dicom".
        batch: scans that it is given at once; "all": those of a site. With more than one they are numbered, its answer
            names them, and `timeout` counts for each.
        timeout: seconds that one scan may take.
        scale: of its scores.
        score: name of the score in its answer; "" where its name tells.
        files: files and folders that decide its answers, besides those that `run` names: their content is part of the
            identity of its predictions.
        version: of the program or container, likewise.
        folder: where it runs: the study file's.
    """

    RUNS_CODE: ClassVar[str] = "is a program of its own"

    kind: Literal["command"] = "command"
    run: str
    give: Literal["nifti", "dicom"] = "nifti"
    batch: int | Literal["all"] = 1
    timeout: float = LONGEST_RUN
    scale: Literal["probability", "percent", "logit"] = "probability"
    score: str = ""
    files: tuple[Path, ...] = ()
    version: str = ""
    folder: Path = Path()

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 < self.timeout < math.inf, "timeout", self.timeout, "Give a number of seconds above 0")
        try:
            named = {name for word in self.words for _, name, _, _ in Formatter().parse(word) if name is not None}
        except ValueError as error:
            raise BadStudy("run", f"is {self.run!r} ({error})", "Close its quotes and braces") from error
        _require(bool(self.words), "run", self.run, 'Give a command, such as "./score.sh {in} {out}"')
        strange = sorted(named - set(PLACES))
        _require(not strange, "run", self.run, f"In braces stand {', '.join(PLACES)}; write {{{{ for a brace")
        _require("out" in named, "run", self.run, "Say with {out} where its answer goes")
        _require(bool(named & {"in", "file"}), "run", self.run, "Say with {in} where the scan lies")
        _require(self.give == "nifti" or "file" not in named, "run", self.run, "DICOM is a folder: use {in}")
        whole = self.batch == "all" or self.batch >= 1
        _require(whole, "batch", self.batch, 'Give 1 or more, or "all" for all scans of a site')
        several = self.batch != 1 and "file" in named
        _require(not several, "run", self.run, "{file} is one scan, and with batch there are several: use {in}")

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command, braces and all.

        Raises:
            ValueError: a quote is not closed.
        """
        return tuple(shlex.split(self.run))

    @property
    def only_as_scanned(self) -> str:
        """A program that takes DICOM: changed voxels are in no DICOM file."""
        takes = "takes DICOM files, and a scan whose voxels are changed is handed over as NIfTI alone"
        return takes if self.give == "dicom" else ""

    @property
    def scans_at_once(self) -> int | None:
        """Its batch."""
        return None if self.batch == "all" else self.batch

    @property
    def scale_ends(self) -> tuple[float, float]:
        """Of its scores."""
        return ENDS.get(self.scale, (-math.inf, math.inf))


@dataclass(frozen=True, kw_only=True)
class NetworkFile(Declared):
    """`kind = "exported"` (torch.export), `"torchscript"` or `"onnx"`: a network in one file.

    Attributes:
        file: the network.
        input: what it takes.
        output: what it gives.
    """

    kind: Literal["exported", "torchscript", "onnx"]
    file: Path
    input: InputSettings
    output: OutputSettings = OutputSettings()

    @property
    def runs_code(self) -> str:
        """Of torch's formats: pickles and expressions of a .pt2 are carried out, TorchScript may write files."""
        reasons = {
            "exported": "may carry pickled objects and expressions, which torch carries out when it opens the file",
            "torchscript": "is a program, which may read and write files",
        }
        return reasons.get(self.kind, "")


@dataclass(frozen=True, kw_only=True)
class UserNetwork(Declared):
    """`kind = "torch"`: a class of the user's own package, with weights.

    Attributes:
        network: "module:Class"; called without arguments, or with `arguments`, it gives a torch.nn.Module.
        weights: a .safetensors file, or a state dict that torch.load reads with weights_only.
        folder: folder that the module lies in; None where it is installed.
        arguments: name and value of each argument of the class, as JSON.
        input: what it takes.
        output: what it gives.
    """

    RUNS_CODE: ClassVar[str] = "imports a module of yours"

    kind: Literal["torch"] = "torch"
    network: str
    weights: Path
    folder: Path | None = None
    arguments: str = "{}"
    input: InputSettings
    output: OutputSettings = OutputSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(is_name(self.network), "network", self.network, 'Write it as "package.module:Class"')


@dataclass(frozen=True, kw_only=True)
class MonaiBundle(Declared):
    """`kind = "monai"`: a MONAI bundle, with its own preprocessing.

    Attributes:
        bundle: its folder.
        config: its inference configuration, in that folder.
        weights: its state dict, in that folder; read as weights alone.
        network: name of the network in the configuration.
        preprocessing: name of the transforms; they are given a dictionary with the path of a NIfTI in HU.
        image: key of the image in that dictionary.
        output: what the network gives.
    """

    RUNS_CODE: ClassVar[str] = "is a bundle, whose configuration names classes and expressions that are carried out"

    kind: Literal["monai"] = "monai"
    bundle: Path
    config: str = "configs/inference.json"
    weights: str = "models/model.pt"
    network: str = "network_def"
    preprocessing: str = "preprocessing"
    image: str = "image"
    output: OutputSettings = OutputSettings()

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("config", "weights"):
            part = Path(getattr(self, key))
            inside = not part.is_absolute() and ".." not in part.parts
            _require(inside, key, getattr(self, key), "Name a file inside the bundle's folder")


RUNNABLE: dict[str, type[Declared]] = {
    "elsewhere": OwnNetwork,
    "command": CommandModel,
    "exported": NetworkFile,
    "torchscript": NetworkFile,
    "onnx": NetworkFile,
    "torch": UserNetwork,
    "monai": MonaiBundle,
}
"""Kind -> what its table in a study file says."""
