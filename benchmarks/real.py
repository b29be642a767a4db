"""Real CT for tests in; re-packed sites, a tiny study over them, and one full-size pass with its cost out.

    python benchmarks/real.py [runs/real] [--data FOLDER] [--workers N] [--no-full-size]

Its networks see twenty batches and are not meant to learn: it shows the path on real pixels and measures nothing.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
import torch
from torch.nn import functional as F

from elsewhere import engine
from elsewhere.commands.report import report
from elsewhere.commands.study import run_study
from elsewhere.commands.view import view
from elsewhere.errors import BadSite, ElsewhereError
from elsewhere.files import write_whole
from elsewhere.model.fast_training import Trained
from elsewhere.model.network import Network
from elsewhere.model.prediction import predict
from elsewhere.model.sample import Case, Samples, SampleSettings
from elsewhere.scans.labels import LabelRow, write_labels
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Preparation, Volume, prepare, to_hu
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.learned import unlearned
from elsewhere.wording import numbered

SUBJECTS = {
    "COVID-19 subjects/P001": 1,
    "COVID-19 subjects/P002": 1,
    "Cap subjects/cap001": 0,
    "Cap subjects/cap002": 0,
    "Normal subjects/normal001": 0,
    "Normal subjects/normal002": 0,
}
PARTS = 4  # every fourth slice: enough pseudo-patients for three subsets
LUNG_WINDOW = (-1350, 150)
REPACKED = {"UTSW": "dicom", "CC-CCII": "cc_ccii", "COVID-CTset": "covid_ctset", "MosMedData": "mosmeddata"}
TEST_ONLY = {"NLST": "nlst", "ACRIN": "acrin-nsclc-fdg-pet", "Lung-PET-CT-Dx": "lung-pet-ct-dx"}
MARKED = "P001-0"  # the re-packed scan that is shown beside the radiologists' slice labels
VIEWED = (
    f"UTSW/{MARKED}",
    "Lung-PET-CT-Dx/Lung_Dx-A0002_B40f_8mm",  # one patient, two kernels
    "Lung-PET-CT-Dx/Lung_Dx-A0002_B70f_8mm",
)

STUDY = '''\
# Written by benchmarks/real.py: plumbing on real pixels, not evidence.
name = "real"
title = "Real CT, re-packed into the four published layouts"
origin = "repacked"
protocol = "paper"
seed = 0
allow_leak = true    # the sites hold the same patients; the audit lists them
notes = [
    """The four sites hold the same six patients of COVID-CT-MD, re-packed into each published layout; \\
    none is the data set whose name it bears.""",
    """Two positive and four negative patients cannot fill three subsets: each scan is divided into every \\
    fourth slice, and the four parts stand as separate patients. The same anatomy stands in training and test, \\
    and no score below means anything: this page shows that the path runs on real pixels.""",
]
combinations = "paper"

[split]
train = 0.5
test = 0.25

[network]
input = [8, 64, 64]
filters = [8, 16, 32]
kernels = [[3, 3, 3], [3, 5, 5], [3, 3, 3]]
pools = [[2, 4, 4], [2, 4, 4]]
dense = [64]

[training]
iterations = 20
validate_every = 10
threads = 1

[prediction]
passes = 3
stride = 4
'''


def real(out: Path, source: Path, workers: int | None = None, *, full_size: bool = True) -> None:
    """Every study command on re-packed sites under `out`; `source` holds the real CT."""
    if not (source / "covid-ct-md").is_dir():
        raise BadSite(source, "holds no real CT data", "Set ELSEWHERE_REAL_DATA to the folder with covid-ct-md")
    sites = out / "sites"
    blocks = [_repack(source, sites, name) for name in REPACKED]
    blocks += [_take(source, sites, name, folder) for name, folder in TEST_ONLY.items()]
    study = out / "study.toml"
    write_whole(study, STUDY + "".join(blocks))
    run_study(study, Folder(out / "study"), workers)
    marks = _write_marks(source, out / "marks.csv")
    view(study, out / "study", scan=list(VIEWED), model="UTSW", marks=marks, page=out / "study" / "viewer.html")
    report([out / "study"])
    plan = load_study(study)
    if named := unlearned([(plan, Folder(out / "study"))]):
        engine.say(
            f"{len(named)} of {numbered(len(plan.models), 'network')} did not learn, as is to be expected of so short "
            "a training: this run shows that the path runs on real pixels (exit code 0)."
        )
    if full_size:
        _full_size(source)


def _write_marks(source: Path, path: Path) -> Path:
    """The radiologists' slice labels of one re-packed patient, as the viewer takes them: scan, slice, mark."""
    subject = MARKED.rpartition("-")[0]
    with (source / "covid-ct-md" / "kept-slices.csv").open(encoding="utf-8", newline="") as file:
        labels = sorted(
            (int(r["label_index"]), r["slice_label"]) for r in csv.DictReader(file) if r["subject"] == subject
        )
    part = labels[int(MARKED.rpartition("-")[2]) :: PARTS]
    rows = [f"{MARKED},{number},{label}" for number, (_, label) in enumerate(part, start=1)]
    write_whole(path, "\n".join(["scan,slice,mark", *rows]) + "\n")
    return path


def _subjects(source: Path) -> Iterator[tuple[str, int, Volume]]:
    """COVID-CT-MD's six patients in HU, as `read` gives them."""
    dicom = reader("dicom")
    for subject, label in SUBJECTS.items():
        files = tuple(sorted((source / "covid-ct-md" / subject).iterdir()))
        yield subject.split("/")[1], label, dicom.read(Scan("COVID-CT-MD", subject, subject, label, files))


def _repack(source: Path, sites: Path, name: str) -> str:
    """Write the patients' parts in one published layout; the study file's table for that site."""
    kind, root = reader(REPACKED[name]), sites / name
    scans: list[Scan] = []
    if not (root / "done").exists():
        for subject, label, volume in _subjects(source):
            for part in range(PARTS):
                if name == "MosMedData" and not label:
                    continue
                scan = _named(name, subject, label, part, len(scans))
                kind.write(root, scan, _encoded(name, volume, part))
                scans.append(scan)
        kind.write_tables(root, scans)
        (root / "done").touch()
    return f'\n[sites.{name}]\nkind = "{REPACKED[name]}"\nroot = "sites/{name}"\n'


def _named(site: str, subject: str, label: int, part: int, number: int) -> Scan:
    """A scan id as the layout has them."""
    if site == "CC-CCII":
        facts = {"class": "NCP" if label else "CP", "extension": ".png"}
        return Scan(site, str(100 + number), str(1000 + number), label, facts=facts)
    if site == "COVID-CTset":
        folder = "covid1" if label else "normal1"
        return Scan(site, f"patient{number + 1}", f"patient{number + 1}/SR_2", label, facts={"folder": folder})
    if site == "MosMedData":
        study = f"study_{number + 255:04d}"
        return Scan(site, study, study, label, facts={"category": "CT-1"})
    return Scan(site, f"{subject}-{part}", f"{subject}-{part}", label)


def _encoded(site: str, volume: Volume, part: int) -> Volume:
    """One part of a scan in the encoding of the data set whose layout it takes."""
    hu = to_hu(volume).voxels[part::PARTS]
    assert volume.spacing is not None
    spacing = (volume.spacing[0] * PARTS, *volume.spacing[1:])
    if site == "CC-CCII":
        low, high = LUNG_WINDOW
        grey = np.clip(np.rint((hu.astype(np.float32) - low) / (high - low) * 255), 0, 255).astype(np.uint8)
        return Volume(grey, "relative")
    if site == "COVID-CTset":
        return Volume(np.clip(hu + 1024, 0, 4095).astype(np.int16), "ct_number", None, 1024)
    return Volume(hu, "HU", spacing, 0)


def _take(source: Path, sites: Path, name: str, folder: str) -> str:
    """Copy or unpack real series as they are and label them; the study file's table for that site."""
    root = sites / name
    archives = {a.stem: a for a in sorted((source / folder).glob("*.zip"))}
    for stem, archive in archives.items():
        with zipfile.ZipFile(archive) as content:
            content.extractall(root / stem)
    if not archives:
        shutil.copytree(source / folder, root / name, dirs_exist_ok=True)
    patients = {stem: stem.split("_kernel")[0].split("_B")[0] for stem in archives} or {name: name}
    rows = [LabelRow(patient, 0, path=path, scan=path) for path, patient in patients.items()]
    write_labels(root / "labels.csv", rows)
    return f'\n[sites.{name}]\nkind = "dicom"\nroot = "sites/{name}"\nuse = "test"\n'


def _full_size(source: Path) -> None:
    """One forward pass and one training step of the paper's network on a real scan, with time and peak memory."""
    subject, label, volume = next(_subjects(source))
    voxels, _ = prepare(volume, Preparation())
    case = Case("COVID-CT-MD", subject, subject, label, len(voxels), int(voxels.min()), int(voxels.max()))
    network = Network()

    def forward() -> None:
        predict(network, case, lambda _, start, stop: voxels[start:stop])

    def train() -> None:
        example, _ = Samples([case], lambda _, start, stop: voxels[start:stop], SampleSettings()).example(0)
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-5)
        loss = F.cross_entropy(Trained(network.train())(torch.from_numpy(example)[None, None]), torch.tensor([label]))
        loss.backward()
        optimiser.step()

    for words, step in (("forward pass", forward), ("training iteration", train)):
        start = time.perf_counter()
        step()
        seconds, peak = time.perf_counter() - start, getrusage(RUSAGE_SELF).ru_maxrss / 2**20
        engine.console.print(
            f"Full size (128 x 512 x 512, 12.84 M parameters), one {words}: {seconds:.1f} s, peak {peak:.1f} GiB",
            soft_wrap=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/real"), help="folder for everything made")
    parser.add_argument("--data", type=Path, help="the real CT [ELSEWHERE_REAL_DATA or ../shared/data/real]")
    parser.add_argument("--workers", type=int, help="processes [all cores]")
    parser.add_argument("--no-full-size", action="store_true", help="leave out the passes at full size")
    given = parser.parse_args()
    data = given.data or Path(os.environ.get("ELSEWHERE_REAL_DATA", "../shared/data/real"))
    try:
        real(given.out, data, given.workers, full_size=not given.no_full_size)
    except ElsewhereError as error:
        sys.exit(str(error))
