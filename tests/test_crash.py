"""A file that ends the process that reads it costs its own scan and no other."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from elsewhere.commands.prepare import prepare_study
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder, read_table

Inject = Callable[[dict[str, str]], None]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "ct").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        image = nib.Nifti1Image(rng.integers(-1000, 400, (16, 16, 6)).astype(np.int16), np.diag([-1.0, 1.0, 2.0, 1.0]))
        nib.save(image, tmp_path / "ct" / f"p{i:02d}.nii")
    rows = "".join(f"p{i:02d},p{i:02d}.nii,{i % 2}\n" for i in range(6))
    (tmp_path / "ct" / "labels.csv").write_text(f"patient_id,path,label\n{rows}")
    (tmp_path / "tried.toml").write_text(
        'protocol = "paper"\n[network]\ninput = [4, 16, 16]\nfilters = [2]\nkernels = [[3, 3, 3]]\npools = []\n'
        "dense = [8]\ngroups = 1\ndense_groups = 1\n"
        '[sites.Base]\nkind = "volumes"\nroot = "ct"\n[split]\ntrain = 0.34\ntest = 0.33\n'
    )
    return tmp_path


def reasons(folder: Folder) -> list[str]:
    with folder.bad_scans.open() as file:
        return [row["reason"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_site_goes_on_and_the_scan_is_not_tried_again(site: Path, workers: int, inject: Inject) -> None:
    study, folder = load_study(site / "tried.toml"), Folder(site / "out")
    inject({"p03.nii": "SIGSEGV"})
    prepare_study(study, folder, workers)
    assert [row["patient"] for row in read_table(folder.scans)] == ["p00", "p01", "p02", "p04", "p05"]
    assert len(reasons(folder)) == 1
    assert "was ended by signal 11 (SIGSEGV)" in reasons(folder)[0]
    inject({})
    prepare_study(study, folder, workers)
    assert "was ended by signal 11 (SIGSEGV)" in reasons(folder)[0]
    os.utime(site / "ct" / "p03.nii", (1, 1))
    prepare_study(study, folder, workers)
    assert reasons(folder) == []


def test_a_scan_that_the_system_killed_is_tried_again_at_the_next_start(site: Path, inject: Inject) -> None:
    study, folder = load_study(site / "tried.toml"), Folder(site / "out")
    inject({"p03.nii": "SIGKILL"})
    prepare_study(study, folder, 2)
    assert "was ended by signal 9 (SIGKILL)" in reasons(folder)[0]
    inject({})
    prepare_study(study, folder, 2)
    assert reasons(folder) == []
