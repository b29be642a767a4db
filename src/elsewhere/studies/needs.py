"""What a study's tasks need of another machine: its folders there, and a GPU where one is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elsewhere.engine import Needs, is_here
from elsewhere.model.cuda import device_of
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder


def study_store(study: Study, folder: Folder) -> Path:
    """Folder of the prepared volumes of a study."""
    return study.store or folder.store


def study_needs(
    study: Study, folder: Folder, *, accelerator: str = "cpu", devices: int = 1, also: Sequence[Path] = ()
) -> Needs:
    """Folders and tables of the sites, and of a network of the user's own, to read; study and store to write; a device.

    Args:
        study: the study.
        folder: its folder.
        accelerator: "cpu", "cuda" or "auto".
        devices: GPUs of one task.
        also: other files to read, as the study file.
    """
    tables = tuple(site.labels for site in study.sites if site.labels is not None)
    code = () if study.network.folder is None else (study.network.folder,)
    reads = (*also, *(site.root for site in study.sites), *tables, *code)
    return Needs(reads, (folder.root, study_store(study, folder)), accelerator, devices)


def workers_on(workers: int | None, accelerator: str) -> int | None:
    """Workers of a run on a device: one where nobody said how many and a card of this machine does the work.

    Tasks side by side on one card only slow each other down; other engines give each task a card of its own.
    """
    return workers or 1 if is_here() and device_of(accelerator) == "cuda" else workers
