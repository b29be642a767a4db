"""A DICOM site in, JPEG lossless and uncompressed; time to find, read and prepare it, and a loop's, out.

    python benchmarks/prepare.py [--rounds 5]

The rivals are a pydicom `pixel_array` loop and SimpleITK's series reader, which find and read and do no more. The site
is real chest CT where ELSEWHERE_REAL_DATA has it (its own JPEG-lossless files), else a made-up chest.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its usual name
from measure import FIGURE_HEAD, HEAD, Figure, Part, Row, in_subprocess, interleave, peak_above, real_data, table
from numpy.typing import NDArray
from predict import make_scan
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

from elsewhere.scans.intake import take_in
from elsewhere.scans.quality.examination import examine
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import dicom
from elsewhere.scans.volume import Preparation, Volume

CHESTS = "covid-ct-md/*/*"
MADE_UP, SLICES = 3, 64
SPACING = (2.0, 0.7, 0.7)


def write_sites(root: Path) -> tuple[dict[str, Path], str]:
    """The same scans in both encodings: name of the encoding -> folder; and where the pixels come from."""
    sites = {"JPEG lossless": root / "jpeg", "uncompressed": root / "raw"}
    real = real_data()
    folders = sorted(f for f in real.glob(CHESTS) if f.is_dir())[::2] if real else []
    if folders:
        volumes = {f.name: dicom.read_volume(tuple(sorted(f.glob("*.dcm"))), f.name) for f in folders}
    else:
        voxels = make_scan(SLICES).voxels
        volumes = {f"P{i}": Volume(np.roll(voxels, i, axis=0), "HU", SPACING, 0.0) for i in range(MADE_UP)}
    scans = [Scan("site", name, name, i % 2, ()) for i, name in enumerate(volumes)]
    for folder in sites.values():
        for scan in scans:
            dicom.write(folder, scan, volumes[scan.scan])
        dicom.write_tables(folder, scans)
    for file in sorted(sites["JPEG lossless"].rglob("*.dcm")):
        compress(file)
    return sites, f"{len(scans)} scans of {'real chests (COVID-CT-MD)' if folders else 'a made-up chest'}"


def compress(file: Path) -> None:
    """Encode an uncompressed slice as JPEG lossless, in place."""
    slice_ = pydicom.dcmread(file)
    pixels = np.frombuffer(slice_.PixelData, np.uint16).reshape(slice_.Rows, slice_.Columns)
    slice_.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    slice_.PixelData = encapsulate([imagecodecs.ljpeg_encode(pixels, bitspersample=16)])
    slice_["PixelData"].VR, slice_["PixelData"].is_undefined_length = "OB", True
    slice_.save_as(file, enforce_file_format=True)


def ours(root: Path) -> list[NDArray[Any]]:
    return [dicom.read(scan).voxels for scan in dicom.find(root, "site").scans]


def pydicom_loop(root: Path) -> list[NDArray[Any]]:
    """As tutorials write it: every file, sorted along the body, scaled to HU."""
    volumes = []
    for folder in series_folders(root):
        slices = sorted(map(pydicom.dcmread, folder.glob("*.dcm")), key=lambda s: -float(s.ImagePositionPatient[2]))
        hu = [s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices]
        volumes.append(np.stack(hu).astype(np.int16))
    return volumes


def simple_itk(root: Path) -> list[NDArray[Any]]:
    volumes = []
    for folder in series_folders(root):
        reader = sitk.ImageSeriesReader()
        (series,) = reader.GetGDCMSeriesIDs(str(folder))
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
        volumes.append(sitk.GetArrayFromImage(reader.Execute())[::-1].astype(np.int16))
    return volumes


def keep_as_nifti(volumes: list[NDArray[Any]], file: Path) -> None:
    """What a site is commonly turned into before training; nothing is checked or resized."""
    for voxels in volumes:
        nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), file)


def series_folders(root: Path) -> list[Path]:
    return sorted({file.parent for file in root.rglob("*.dcm")})


def prepare_whole(root: Path) -> None:
    """All that `elsewhere prepare` does with a scan: read, check, measure, examine, prepare, store."""
    store = root.parent / "store"
    for scan in dicom.find(root, "site").scans:
        take_in("dicom", scan, root, store, Preparation(), examine)
    shutil.rmtree(store)


def check(root: Path) -> None:
    """The three readers must give the same voxels, in whatever order they take the scans."""
    seen = [sorted(hash(v.tobytes()) for v in read(root)) for read in (ours, pydicom_loop, simple_itk)]
    assert seen[0] == seen[1] == seen[2], f"the readers of {root.name} differ"


def measure(rounds: int) -> Part:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sites, source = write_sites(Path(folder))
        for encoding, root in sites.items():
            check(root)
            volumes = ours(root)
            ways = {"ours": ours, "whole": prepare_whole, "pydicom": pydicom_loop, "sitk": simple_itk}
            calls = {name: lambda way=way, root=root: way(root) for name, way in ways.items()}
            keep = {"keep": lambda volumes=volumes, root=root: keep_as_nifti(volumes, root.parent / "kept.nii.gz")}
            times = interleave(calls | keep, rounds)
            find, whole = (
                f"find and read a DICOM site, {encoding}",
                f"the same, checked, examined and stored, {encoding}",
            )
            rows += [
                Row(find, "pydicom `pixel_array` loop", times["ours"], times["pydicom"], 0.5, source),
                Row(find, "SimpleITK's series reader", times["ours"], times["sitk"], 0.9, source),
                Row(whole, "the loop, kept as .nii.gz", times["whole"], times["pydicom"] + times["keep"], 0.5, source),
                Row(whole, "SimpleITK, kept as .nii.gz", times["whole"], times["sitk"] + times["keep"], 0.9, source),
                Row(whole, "the loop, nothing kept", times["whole"], times["pydicom"], None, source),
                Row(whole, "SimpleITK, nothing kept", times["whole"], times["sitk"], None, source),
            ]
    return Part(rows, list(memory_figures()))


def memory_figures() -> list[Figure]:
    """MB that preparing one scan needs above the loaded interpreter, and above the scan itself."""
    figures = []
    for slices in (100, 300):
        scan = slices * 512 * 512 * 2 / 1e6
        needed = float(in_subprocess(__file__, "--memory", str(slices)))
        figures.append(Figure(f"prepare one scan of {slices} slices ({scan:.0f} MB): extra memory", needed, "MB"))
    return figures


def memory(slices: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "raw")
        scan = Scan("site", "P", "P", 1, ())
        volume = Volume(make_scan(slices).voxels, "HU", SPACING, 0.0)
        dicom.write(root, scan, volume)
        dicom.write_tables(root, [scan])
        return peak_above(lambda: prepare_whole(root))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=int, help="slices: print the MB that preparing one such scan needs")
    given = parser.parse_args()
    if given.memory:
        print(f"{memory(given.memory):.0f}")
        return
    found = measure(given.rounds)
    print(table(HEAD, [row.cells() for row in found.rows]))
    print(table(FIGURE_HEAD, [figure.cells() for figure in found.figures]))


if __name__ == "__main__":
    main()
