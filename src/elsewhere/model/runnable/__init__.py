"""What a study file says of a model that was not trained here in; the model, ready to be asked, out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from elsewhere.model.declared import (
    CommandModel,
    Declared,
    MonaiBundle,
    NetworkFile,
    OwnNetwork,
    UserNetwork,
)
from elsewhere.model.network_settings import NetworkSettings
from elsewhere.model.own_code import content_of, module_of
from elsewhere.model.runnable.command import Program
from elsewhere.model.runnable.network_file import open_network_file, open_user_network
from elsewhere.model.runnable.own_network import LoadedOwnNetwork, hash_of_checkpoint, own_threshold
from elsewhere.model.runnable.protocol import RunnableModel
from elsewhere.scans.score_values import on_scale

NOT_ITS_ANSWERS = ("name", "threshold", "allow_code", "timeout", "batch")
"""What is said of a model that changes none of its scores."""


def open_model(declared: Declared, device: str = "cpu", trusted: NetworkSettings | None = None) -> RunnableModel:
    """The model, ready to be asked.

    Args:
        declared: what the study file says of it.
        device: "cpu" or "cuda"; programs and ONNX graphs take no notice.
        trusted: of a network of the study at hand, that study's: see `load_checkpoint`.

    Raises:
        BadCheckpoint: its file is missing or damaged.
        BadStudy: it is not what the study file says.
        BadInstallation: an extra is missing that it needs.
    """
    if isinstance(declared, OwnNetwork):
        return LoadedOwnNetwork(declared, device, trusted)
    if isinstance(declared, CommandModel):
        return Program(declared)
    if isinstance(declared, NetworkFile):
        return open_network_file(declared, device)
    if isinstance(declared, UserNetwork):
        return open_user_network(declared, device)
    if isinstance(declared, MonaiBundle):
        from elsewhere.model.runnable.monai_bundle import Bundle  # noqa: PLC0415 - MONAI is an extra

        return Bundle(declared, device)
    raise NotImplementedError(type(declared).__name__)


def threshold_of(declared: Declared) -> float | None:
    """Probability from which a model calls a scan positive; None where it has no decision of its own.

    Raises:
        BadCheckpoint: the record of a checkpoint is missing or damaged.
    """
    if isinstance(declared, OwnNetwork) and declared.threshold is None:
        return own_threshold(declared.checkpoint)
    if isinstance(declared, CommandModel) and declared.threshold is not None:
        return float(on_scale(np.array([declared.threshold]), declared.scale)[0])
    return declared.threshold


def hash_of(declared: Declared) -> str:
    """Hash of all that decides a model's scores: what is said of it, and the content of its files.

    Raises:
        BadCheckpoint: a file that is named is missing.
    """
    said = {name: value for name, value in asdict(declared).items() if name not in NOT_ITS_ANSWERS}
    paths = [name for name, value in vars(declared).items() if isinstance(value, Path)]
    digest = hashlib.sha256()
    if isinstance(declared, OwnNetwork):
        digest.update(hash_of_checkpoint(declared.checkpoint).encode())
    else:
        for file in files_of(declared):
            digest.update(content_of(file).encode())
    known = {name: value for name, value in said.items() if name not in (*paths, "files")}
    digest.update(json.dumps(known, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def files_of(declared: Declared) -> list[Path]:
    """Files and folders whose content decides a model's scores."""
    if isinstance(declared, CommandModel):
        named = (declared.folder / word for word in declared.words if "{" not in word)
        return [*(file for file in named if file.is_file()), *declared.files]
    if isinstance(declared, NetworkFile):
        return [declared.file]
    if isinstance(declared, MonaiBundle):
        return [declared.bundle]
    if isinstance(declared, UserNetwork):
        return [declared.weights, *_module_files(declared)]
    return []


def _module_files(declared: UserNetwork) -> Iterable[Path]:
    """The module's own file, or its whole package; none of one that is installed."""
    return () if declared.folder is None else (module_of(declared.network, declared.folder),)
