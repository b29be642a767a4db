"""Features of a study's scans by a pretrained encoder: computed once, and kept beside each prepared volume."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elsewhere import engine
from elsewhere.errors import BadCheckpoint
from elsewhere.model.backbone import make_network
from elsewhere.model.cuda import device_of
from elsewhere.model.features import Features
from elsewhere.model.network import Network
from elsewhere.model.network_settings import NetworkSettings
from elsewhere.model.prediction import predict_from, trunk_features
from elsewhere.model.sample import Case, Read, SampleSettings
from elsewhere.model.settings import PredictionSettings
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import CLOSED, key
from elsewhere.studies.needs import study_needs, workers_on
from elsewhere.studies.prepared import case_of, shelf_reader
from elsewhere.studies.records import ScanRow, usable_rows

ONE = ("", "")
"""Under which site and scan a file has its only features: a volume may be of several studies."""


@dataclass(frozen=True)
class Encoding:
    """One scan to be encoded.

    Attributes:
        network: with the encoder.
        sample: how stored voxels become inputs.
        stride: slices from one window of a long scan to the next.
        row: the scan.
        place: file that keeps its features.
        device: to run on.
    """

    network: NetworkSettings
    sample: SampleSettings
    stride: int
    row: ScanRow
    place: Path
    device: str


def encoding_of(study: Study, row: ScanRow) -> Encoding:
    """What is needed to encode a scan; all that its features depend on is in the name of the file."""
    volume = Path(row.file)
    made_from = key("scan features", study.network.record(), asdict(study.sample), study.prediction.stride, volume.name)
    place = volume.with_name(f"{volume.stem}.{made_from[:16]}.features")
    device = device_of(study.training.accelerator)
    return Encoding(study.network, study.sample, study.prediction.stride, row, place, device)


def keep_scan_features(study: Study, folder: Folder, workers: int | None = None) -> None:
    """Encode the usable scans that have no features yet, side by side; nothing without a pretrained encoder.

    Raises:
        BadInstallation: the package with the encoder's weights is not installed.
        BadScan: a prepared volume is damaged or gone.
    """
    if not study.network.is_pretrained:
        return
    found = [encoding_of(study, row) for row in usable_rows(folder)]
    tasks = [(one,) for one in found if not one.place.is_file()]
    accelerator = study.training.accelerator
    needs = study_needs(study, folder, accelerator=accelerator)
    words = f"Encoding scans ({study.network.kind})"
    for _ in engine.run(encode_scan, tasks, workers=workers_on(workers, accelerator), describe=words, needs=needs):
        pass


def encode_scan(one: Encoding) -> None:
    """Keep the features of one scan, as `encode`."""
    encode(one)


def scan_features(study: Study, rows: Collection[ScanRow]) -> Features:
    """Features of these scans, kept ones where there are any; those of training are those of the windows."""
    windows = {(row.site, row.scan): _kept_or_made(encoding_of(study, row)) for row in rows}
    return Features(windows, windows)


def _kept_or_made(one: Encoding) -> Tensor:
    with suppress(BadCheckpoint):
        if one.place.is_file():
            return Features.load(one.place).windows[ONE]
    return encode(one)


def encode(one: Encoding) -> Tensor:
    """Features (windows, width) of one scan, which are kept; a store that may only be read still gives them.

    Raises:
        BadInstallation: the package with the encoder's weights is not installed.
        BadScan: the prepared volume is damaged or gone.
    """
    network = make_network(one.network).to(one.device)
    found = trunk_features(network, case_of(one.row), shelf_reader([one.row]), one.sample, one.stride).cpu()
    found = torch.tensor(found.numpy())  # no tensor of the inference mode, which nothing can be trained on
    try:
        Features({}, {ONE: found}).save(one.place)
    except OSError as error:
        if error.errno not in CLOSED:
            raise
    return found


def predict_kept(
    network: Network,
    features: Features,
    scans: Sequence[tuple[Case, Read]],
    prediction: PredictionSettings,
    seed: int,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """What `predict_spread` gives for each scan, from features of all of them."""
    device = network.last.weight.device
    kept = [(case, features.windows[case.site, case.scan].to(device).split(1)) for case, _ in scans]
    return [predict_from(network, case, windows, prediction, seed=seed) for case, windows in kept]
