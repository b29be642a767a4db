"""A site's options on its labels table reach its reader, and what the table holds besides becomes a note."""

from __future__ import annotations

from inspect import Parameter, signature
from pathlib import Path

import numpy as np
import pytest

from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import KINDS, option_names, reader
from elsewhere.scans.volume import Volume
from elsewhere.studies.file import load_study


@pytest.mark.parametrize("kind", ["dicom", "volumes", "images"])
def test_own_columns_labels_and_folders_in_front(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "here"
    paths = []
    for i in range(2):
        voxels = np.random.default_rng(i).integers(-1000, 300, (3, 8, 8)).astype(np.int16)
        reader(kind).write(root, Scan("x", f"P{i}", f"s{i}", i), Volume(voxels, "HU", (8.0, 0.7, 0.7), 0))
        paths.append({"dicom": f"P{i}/s{i}", "volumes": f"s{i}.nii.gz", "images": f"s{i}"}[kind])
    (root / "labels.csv").write_text(f"ID,file,COVID,room\nP0,here/{paths[0]},N,3\nP1,{root}/{paths[1]},Y,3\n")
    text = f'[sites.Here]\nkind = "{kind}"\nroot = "here"\npositive = ["Y"]\n'
    text += 'columns = { patient_id = "ID", path = "file", label = "COVID" }\n'
    (tmp_path / "study.toml").write_text(text)
    (site,) = load_study(tmp_path / "study.toml").sites
    found = reader(kind).find(site.root, site.name, site.labels, **site.options)
    assert [(scan.patient, scan.label) for scan in found.scans] == [("P0", 0), ("P1", 1)]
    assert found.bad == ()
    assert "labels.csv: columns not used: room" in found.notes


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_options_are_those_of_the_reader(kind: str) -> None:
    options = [p.name for p in signature(reader(kind).find).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    assert option_names(kind) == tuple(options)
