"""Models that can be run, and scans, in; what each looked at, by gradients or block by block, out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from elsewhere import engine
from elsewhere.errors import BadScan
from elsewhere.model.cuda import device_of
from elsewhere.model.declared import Declared
from elsewhere.model.network_settings import NetworkSettings
from elsewhere.model.runnable import hash_of
from elsewhere.model.runnable.occlusion import BLOCKS, occlusion_map
from elsewhere.model.saliency import Saliency
from elsewhere.scans.intake import ended
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import Scan
from elsewhere.scans.volume import prepare
from elsewhere.studies.asking import opened, read_given
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import keep_record, kept_record, key
from elsewhere.studies.records import ScanRow


@dataclass(frozen=True, eq=False)
class Looked:
    """What a model looked at in a scan.

    Attributes:
        saliency: the map.
        preparation: of the grid that it lies on; None for the scan's own grid.
        slices: of that grid.
    """

    saliency: Saliency
    preparation: Preparation | None
    slices: int


@dataclass(frozen=True)
class Look:
    """One scan to be looked at with one model.

    Attributes:
        kind: of its site.
        scan: the scan.
        content: hash of its voxels as they were prepared.
        declared: what the study file says of the model.
        sha: its hash.
        device: to run networks on.
        place: file that keeps a map made block by block.
        trusted: network of the study.
    """

    kind: str
    scan: Scan
    content: str
    declared: Declared
    sha: str
    device: str
    place: Path
    trusted: NetworkSettings | None = None


def look_of(study: Study, folder: Folder, row: ScanRow, source: Scan, declared: Declared) -> Look:
    """One scan of a study to be looked at, in its site's folder as it is now."""
    sha, device = hash_of(declared), device_of(study.training.accelerator)
    place = folder.answer(key("occlusion", sha, BLOCKS, row.site, row.scan, Path(row.file).name, row.content_hash))
    return Look(study.site(row.site).kind, source, row.content_hash, declared, sha, device, place, study.network)


def look_at_all(looks: list[Look]) -> list[Looked]:
    """What the model looked at in each scan, in a process of its own, which a stranger's fault may end.

    Raises:
        BadScan: a scan cannot be read, or the model gives no answer for it.
    """

    def died(index: int, how: engine.Ended) -> Looked | BadScan:
        return ended(looks[index].scan, str(how))

    tasks = [(look,) for look in looks]
    found = dict(engine.run(look_at, tasks, workers=1, describe="Asking block by block", died=died))
    for one in found.values():
        if isinstance(one, BadScan):
            raise one
    return [one for _, one in sorted(found.items()) if isinstance(one, Looked)]


def look_at(look: Look) -> Looked | BadScan:
    """What a model looked at in one scan; a map made block by block is kept. A scan that fails is told, not raised.

    Raises:
        BadCheckpoint, BadStudy, BadInstallation: the model cannot be opened, or is not what is said of it.
    """
    try:
        given = read_given(look.kind, look.scan, look.content)
        model = opened(look.declared, look.sha, look.device, look.trusted)
        if "gradients" in model.abilities and model.preparation is not None:
            slices = len(prepare(given.volume, model.preparation)[0])
            return Looked(model.saliency(given), model.preparation, slices)
        if record := kept_record(look.place):
            cells, features = np.array(record["cells"], np.float32), np.zeros(0, np.float32)
            return _looked(Saliency(**{**record, "cells": cells, "features": features}))
        saliency = occlusion_map(model, given)
    except BadScan as error:
        return error
    keep_record(look.place, {**asdict(saliency), "cells": saliency.cells.tolist(), "features": []})
    return _looked(saliency)


def _looked(saliency: Saliency) -> Looked:
    return Looked(saliency, None, saliency.length)
