"""Network inputs in, two logits per input out: the paper's 3D network, and its checkpoint on disk."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from elsewhere.checksum import PLACE, is_sealed, write_sealed
from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.files import write_whole
from elsewhere.memory import LARGEST_SMALL, keep_freed_memory
from elsewhere.model.dropblock import DropBlock
from elsewhere.model.network_settings import NetworkSettings, Size, network_settings

MEMBERS = "members"
"""What a checkpoint of several networks says of their number, and what the names of their weights begin with."""

CHECKPOINT_FORMAT = 2
READ_FORMATS = (1, CHECKPOINT_FORMAT)
"""1, of elsewhere 0.1.0: the same weights, a record without a checksum of its own and without `selection`."""


class Level(nn.Module):
    """One resolution level: twice [convolution → ReLU → GroupNorm → DropBlock], the size unchanged."""

    def __init__(self, channels: int, filters: int, kernel: Size, settings: NetworkSettings) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv3d(n, filters, kernel, padding="same") for n in (channels, filters))
        self.norms = nn.ModuleList(nn.GroupNorm(settings.groups, filters) for _ in range(2))
        self.drop = DropBlock(settings.dropblock, settings.block)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, slices, rows, columns) → (batch, filters, slices, rows, columns)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            maps = self.drop(norm(convolve(conv, maps).relu_()))
        return maps


class Network(nn.Module):
    """The paper's classifier of a 3D input; 12,839,658 parameters at full size.

    The parts are callable one by one: `head(rest(level1(x)))` is `forward(x)`, and so is `head(trunk(x))`.
    """

    def __init__(self, settings: NetworkSettings = NetworkSettings()) -> None:
        super().__init__()
        if math.prod(settings.input) <= LARGEST_SMALL:
            keep_freed_memory()
        self.settings = settings
        channels = (1, *settings.filters)
        self.levels = nn.ModuleList(
            Level(channels[i], channels[i + 1], kernel, settings) for i, kernel in enumerate(settings.kernels)
        )
        widths = (settings.flat, *settings.dense)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, settings.dense, strict=False))
        self.dense_norms = nn.ModuleList(nn.GroupNorm(settings.dense_groups, width) for width in settings.dense)
        self.dropout = nn.Dropout(settings.dropout)
        self.last = nn.Linear(settings.dense[-1], settings.classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes) of inputs (batch, 1, slices, rows, columns)."""
        return self.head(self.trunk(inputs))

    def trunk(self, inputs: Tensor) -> Tensor:
        """The convolutional part: features (batch, flat)."""
        return self.rest(self.level1(inputs))

    def level1(self, inputs: Tensor) -> Tensor:
        """The first level and the pooling after it: 70 % of the arithmetic, nearly all of the memory."""
        self.check_size(inputs)
        return self._pool(self.levels[0](inputs), 0)

    def check_size(self, inputs: Tensor) -> None:
        """Refuse inputs (batch, 1, slices, rows, columns) of another size than the network's. Raises BadCheckpoint."""
        expected = (1, *self.settings.input)
        if tuple(inputs.shape[1:]) != expected:
            what = f"this network takes (channel, slices, rows, columns) = {expected}, not {tuple(inputs.shape[1:])}"
            raise BadCheckpoint("network.input", what, "Prepare the scans at the network's size")

    def rest(self, pooled: Tensor) -> Tensor:
        """All levels after the first: features (batch, flat) from the first level's pooled maps."""
        for index in range(1, len(self.levels)):
            pooled = self._pool(self.levels[index](pooled), index)
        return pooled.flatten(1)

    def penultimate(self, features: Tensor) -> Tensor:
        """What the last layer sees, (batch, last dense width), from the trunk's features."""
        for layer, norm in zip(self.dense, self.dense_norms, strict=True):
            features = self.dropout(norm(layer(features).relu_()))
        return features

    def head(self, features: Tensor) -> Tensor:
        """The dense part: logits (batch, classes) from the trunk's features."""
        return self.last(self.penultimate(features))

    def _pool(self, maps: Tensor, level: int) -> Tensor:
        return maps if level == len(self.settings.pools) else max_pool(maps, self.settings.pools[level])


def max_pool(maps: Tensor, pool: Size) -> Tensor:
    """Max pooling of (batch, channel, slices, rows, columns), stride as wide as the pool; an axis of 1 stays."""
    slices, rows, columns = (1 if edge == 1 else by for edge, by in zip(maps.shape[2:], pool, strict=True))
    if maps.device.type != "cpu" or (maps.requires_grad and torch.is_grad_enabled()):
        return nn.functional.max_pool3d(maps, (slices, rows, columns))
    for axis, by in zip((2, 3, 4), (slices, rows, columns), strict=True):  # the same maxima, several times quicker
        parts = (maps[(slice(None),) * axis + (slice(first, None, by),)] for first in range(by))
        maps = reduce(torch.maximum, parts)
    return maps


def convolve(conv: nn.Module, maps: Tensor) -> Tensor:
    """A convolution; on the processor with the channels innermost inside, where it trains about twice as quickly.

    Only the convolution: GroupNorm sums less exactly on that layout (tests/model/test_network.py).
    """
    if maps.device.type != "cpu":
        result: Tensor = conv(maps)
    else:
        result = conv(maps.contiguous(memory_format=torch.channels_last_3d)).contiguous()
    return result


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the processor and the device in use.

    `torch.manual_seed` also queues a call, with its traceback, for CUDA devices that are not in use yet: in a loop
    that is slow and never freed.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def save_checkpoint(stem: Path, network: Network, record: Mapping[str, Any]) -> None:
    """Write `<stem>.safetensors` (weights) and `<stem>.json` (everything that made them).

    The JSON is the record, with the network's settings, the SHA-256 of the weights file, a checksum of the JSON itself
    and, where the record has none, the versions added.

    Args:
        stem: path without suffix, such as `models/utsw/checkpoint`; its folder is made.
        network: the trained network.
        record: JSON-able: sample settings, preparation, training sites, split hash, thresholds, …
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()})
    made_by = {
        "format": CHECKPOINT_FORMAT,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "network": network.settings.record(),
    }
    write_whole(_weights_path(stem), weights)
    _write_json(_json_path(stem), {"versions": versions(), **record, **made_by})


def amend_checkpoint(stem: Path, **added: Any) -> None:
    """Add to a checkpoint's record what became known after training, such as its thresholds."""
    _write_json(_json_path(stem), {**read_checkpoint_record(stem), **added})


def copy_checkpoint(source: Path, stem: Path, keys: Sequence[str]) -> None:
    """Copy a checkpoint: the same weights, and of its record these keys and what any checkpoint has.

    Raises:
        BadCheckpoint: it is missing or damaged, or of a class of the user's own.
    """
    record, weights = read_checkpoint_record(source), _checked_weights(source)
    if ":" in (kind := str(record["network"].get("kind", ""))):
        what = f"is of the class {kind}, whose code it does not hold: it is not exported, adapted or sent"
        raise BadCheckpoint(source, what, f"Use it in its own study, or pass {kind.partition(':')[0]} and weights on")
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_whole(_weights_path(stem), weights)
    kept = {name: record[name] for name in (*keys, "sha256", "network", MEMBERS) if name in record}
    _write_json(_json_path(stem), {**kept, "format": CHECKPOINT_FORMAT})


def load_checkpoint(stem: Path, trusted: NetworkSettings | None = None) -> tuple[Network, dict[str, Any]]:
    """The network, in evaluation mode on the processor, and its record.

    Args:
        stem: path without suffix.
        trusted: the network of the study file at hand; a class of the user's own is made only where that names it and
            allows it: what a checkpoint says of itself is no leave.

    Raises:
        BadCheckpoint: a file is missing, damaged, of another version, does not belong to the other one, or holds the
            networks of an ensemble; or it is of a class that is not allowed here, or of other code than that has now.
        BadInstallation: an extra is missing that it needs.
    """
    networks, record = load_networks(stem, trusted)
    if len(networks) > 1:
        what = f"is the mean of {len(networks)} networks (folds of a cross-validation), and one is needed here"
        raise BadCheckpoint(
            stem, what, "Name the model without ~folds; `predict`, `verdict` and `export` take the mean"
        )
    return networks[0], record


def load_networks(stem: Path, trusted: NetworkSettings | None = None) -> tuple[list[Network], dict[str, Any]]:
    """The networks of an ensemble (`model.ensemble`), or the one of any other checkpoint; else as `load_checkpoint`."""
    record, weights = read_checkpoint_record(stem), _checked_weights(stem)
    from elsewhere.model.backbone import make_network  # noqa: PLC0415 - it is built on this file

    try:
        tensors, members = load(weights), int(record.get(MEMBERS, 1))
        settings = network_settings(record["network"])
        if settings.is_own:
            settings = _trusted(stem, settings, trusted)
        networks = [make_network(settings) for _ in range(members)]
        for place, network in enumerate(networks):
            start = f"{MEMBERS}.{place}." if members > 1 else ""
            network.load_state_dict({n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)})
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError, BadStudy) as error:
        raise BadCheckpoint(stem, f"weights and settings do not fit ({error})", "Train the model again") from error
    return [network.eval() for network in networks], record


def _trusted(stem: Path, recorded: NetworkSettings, trusted: NetworkSettings | None) -> NetworkSettings:
    """The settings of a class of the user's own as the study file at hand allows it."""
    if trusted is None or trusted.kind != recorded.kind or not trusted.allow_code:
        what = f"is of the class {recorded.kind}, which is not in it, and whose code is run in its own study alone"
        then = 'Ask it there; elsewhere, test the class as a model with kind = "torch", or wrap it in kind = "command"'
        raise BadCheckpoint(stem, what, then)
    if trusted.record() != recorded.record():
        what = f"was trained with other code or settings of {recorded.kind} than there are now"
        raise BadCheckpoint(stem, what, "Restore them, or remove the model's folder and train it again")
    return trusted


def _checked_weights(stem: Path) -> bytes:
    path, recorded = _weights_path(stem), str(read_checkpoint_record(stem).get("sha256"))
    weights = _read_bytes(path)
    found = hashlib.sha256(weights).hexdigest()
    if found != recorded:
        raise BadCheckpoint(
            path,
            f"its SHA-256 is {found[:12]}…, the record says {recorded[:12]}…",
            "The file is damaged, or a training was stopped while writing it: copy it again, or resume the training",
        )
    return weights


def checkpoint_is_whole(stem: Path) -> bool:
    """Whether both files are there and belong together."""
    try:
        record = read_checkpoint_record(stem)
        return hashlib.sha256(_read_bytes(_weights_path(stem))).hexdigest() == record.get("sha256")
    except BadCheckpoint:
        return False


def read_checkpoint_record(stem: Path) -> dict[str, Any]:
    """A checkpoint's JSON, without its weights.

    Raises:
        BadCheckpoint: the file is missing, damaged, changed since it was written, or of another version.
    """
    path = _json_path(stem)
    content = _read_bytes(path)
    try:
        record = json.loads(content)
    except ValueError as error:
        raise BadCheckpoint(path, f"it is not JSON ({error})", "Copy it again, or train the model again") from error
    version = record.get("format") if isinstance(record, dict) else None
    if version not in READ_FORMATS:
        readable = " and ".join(map(str, READ_FORMATS))
        raise BadCheckpoint(
            path,
            f"it has checkpoint format {version}, this version of elsewhere reads {readable}",
            "Use the version that wrote it, or train the model again",
        )
    if (version > 1 or "checksum" in record) and not is_sealed(content, record.get("checksum")):
        raise BadCheckpoint(
            path,
            "its content does not fit its checksum: it is damaged, or was changed by hand",
            "Copy it again, or train the model again",
        )
    return record


def versions() -> dict[str, str]:
    """Versions of what made a result; torch's names its build ("2.13.0+cu130"), which its package may not."""
    packages = ("elsewhere", "lightning", "numpy", "scipy", "pydicom", "blosc2")
    of_packages = {name: version(name) for name in packages}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **of_packages}


def _weights_path(stem: Path) -> Path:
    return stem.with_name(stem.name + ".safetensors")


def _json_path(stem: Path) -> Path:
    return stem.with_name(stem.name + ".json")


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps({**record, "checksum": PLACE}, indent=2, sort_keys=True) + "\n"
    write_whole(path, partial(write_sealed, content=text.encode()))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadCheckpoint(
            path,
            f"it cannot be read ({error.strerror})",
            "Give the path of a trained model's checkpoint, without suffix",
        ) from error
