"""Mutated DICOM series in every transfer syntax, each with the call that must survive it.

    python tests/fuzz/dicom.py --seed 1 --count 300

`inputs` is what a fuzz target of the Makefile draws from: writing is done here, and each call reads what was written as
`prepare` does. Allowed is a volume or an error of the family; anything else (another exception, the end of the process,
a hang, more than 2 GB) is a fault.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from elsewhere.errors import ElsewhereError
from elsewhere.scans.dicom import find_series, read_volume
from elsewhere.scans.volume import Volume

SLICES, SIDE = 4, 32
JPEG = "1.2.840.10008.1.2.4."
SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big endian": "1.2.840.10008.1.2.2",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG baseline": JPEG + "50",
    "JPEG lossless": JPEG + "70",
    "JPEG-LS": JPEG + "80",
    "JPEG 2000": JPEG + "90",
}
TAGS = [0x00080060, 0x00200013, 0x00200032, 0x00200037, 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011]
TAGS += [0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00281052, 0x00281053, 0x00020010]


def inputs(seed: int, folder: Path) -> Iterator[Callable[[], object]]:
    """Endless: write a mutated series into `folder` (emptied each time), yield the call that reads it."""
    rng = random.Random(seed)
    series = {name: _files(name) for name in SYNTAXES}
    while True:
        name = rng.choice(list(series))
        files = [bytearray(content) for content in series[name]]
        mutate = rng.choice((_flip_header, _flip_pixels, _flip_anywhere, _cut, _swap_elements, _change_value, _promise))
        for file in files if rng.random() < 0.5 else [rng.choice(files)]:
            mutate(rng, file)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for i, content in enumerate(files):
            (folder / f"IM{i}.dcm").write_bytes(content)
        yield lambda: _read(folder)


def _read(folder: Path) -> list[Volume]:
    """Every series of the folder, those that are refused by their headers too."""
    volumes = []
    for series in find_series(folder)[0]:
        try:
            volumes.append(read_volume(series.files, series.uid))
        except ElsewhereError:
            continue
    return volumes


# The files that are mutated -----------------------------------------------------------------------------------------


def _files(name: str) -> list[bytes]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = np.where((rows / 0.8) ** 2 + (columns / 0.9) ** 2 < 1, 1064, 24)
    lungs = (rows / 0.5) ** 2 + ((abs(columns) - 0.45) / 0.3) ** 2 < 1
    pixels = np.where(lungs, 174, body) + rng.integers(0, 20, (SLICES, SIDE, SIDE))
    with tempfile.TemporaryDirectory() as folder:
        return [_file(name, picture.astype(np.uint16), z, Path(folder) / "a.dcm") for z, picture in enumerate(pixels)]


def _file(name: str, pixels: NDArray[np.uint16], z: int, path: Path) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{z + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.PatientID, dataset.Modality = "1.2", "1.2.3", "p", "CT"
    dataset.ImageType, dataset.InstanceNumber, dataset.SliceThickness = ["ORIGINAL", "PRIMARY", "AXIAL"], z + 1, "2"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, -2 * z], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = [0.7, 0.7], 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.PixelPaddingValue = "-1024", "1", 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = SYNTAXES["explicit"]
    dataset.add_new("PixelData", "OW", pixels.tobytes())
    _encode(dataset, name, pixels)
    dcmwrite(path, dataset, enforce_file_format=True)
    return path.read_bytes()


def _encode(dataset: Dataset, name: str, pixels: NDArray[np.uint16]) -> None:
    if name == "RLE":
        dataset.compress(SYNTAXES[name], generate_instance_uid=False)
        return
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[name]
    if name == "big endian":
        dataset.PixelData = pixels.astype(">u2").tobytes()
    encoders: dict[str, Callable[[], bytes]] = {
        "JPEG baseline": lambda: imagecodecs.jpeg8_encode((pixels >> 4).astype(np.uint8)),
        "JPEG lossless": lambda: imagecodecs.ljpeg_encode(pixels, bitspersample=12),
        "JPEG-LS": lambda: imagecodecs.jpegls_encode(pixels),
        "JPEG 2000": lambda: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0),
    }
    if name in encoders:
        dataset.PixelData = encapsulate([bytes(encoders[name]())])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    if name == "JPEG baseline":
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.RescaleSlope = 8, 8, 7, "16"


# Mutations ----------------------------------------------------------------------------------------------------------


def _pixels_at(file: bytearray) -> int:
    at = max(file.rfind(b"\xe0\x7f\x10\x00"), file.rfind(b"\x7f\xe0\x00\x10"))
    return at + 8 if at > 0 else len(file) // 2


def _flip(rng: random.Random, file: bytearray, start: int, stop: int) -> None:
    for _ in range(rng.choice((1, 1, 1, 4, 16))):
        file[rng.randrange(start, max(start + 1, min(stop, len(file))))] ^= 1 << rng.randrange(8)


def _flip_header(rng: random.Random, file: bytearray) -> None:
    _flip(rng, file, 132, _pixels_at(file))


def _flip_pixels(rng: random.Random, file: bytearray) -> None:
    start = min(_pixels_at(file), len(file) - 1)
    _flip(rng, file, start, start + rng.choice((40, 120, 100_000)))


def _flip_anywhere(rng: random.Random, file: bytearray) -> None:
    _flip(rng, file, 0, len(file))


def _cut(rng: random.Random, file: bytearray) -> None:
    del file[rng.randrange(len(file)) :]


def _places(file: bytearray) -> list[tuple[int, int]]:
    """Where the known tags stand in the file, and how long their values are, as explicit little endian has it."""
    found = []
    for tag in TAGS:
        at = file.find(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 132)
        if at > 0:
            found.append((at, struct.unpack_from("<H", file.ljust(at + 8, b"\0"), at + 6)[0]))
    return found


def _swap_elements(rng: random.Random, file: bytearray) -> None:
    places = _places(file)
    if len(places) < 2:
        return _flip_header(rng, file)
    (one, _), (other, _) = rng.sample(places, 2)
    file[one : one + 4], file[other : other + 4] = file[other : other + 4], file[one : one + 4]
    return None


def _change_value(rng: random.Random, file: bytearray) -> None:
    places = [place for place in _places(file) if place[1]]
    if not places:
        return _flip_header(rng, file)
    at, length = rng.choice(places)
    fills = (b"0", b"9", b"-", b",", b"\\", b"e", b"\xff", b"\0", b" ", b"n/a", b"1e9", b"nan", b"inf")
    fill = rng.choice(fills) * length
    file[at + 8 : at + 8 + length] = fill[:length]
    return None


def _promise(rng: random.Random, file: bytearray) -> None:
    """Rows, Columns or frames that the file cannot hold; or a length that it does not have."""
    rows, columns = (file.find(tag, 132) for tag in (b"\x28\0\x10\0", b"\x28\0\x11\0"))
    kind = rng.randrange(3)
    if kind == 0 and rows > 0 and columns > 0:
        file[rows + 8 : rows + 10] = file[columns + 8 : columns + 10] = struct.pack("<H", rng.choice((65535, 30000, 0)))
    elif kind == 1 and rows > 0:
        frames = rng.choice((b"2000000000", b"99999", b"-5", b"0 "))
        value = frames + b" " * (len(frames) % 2)
        file[rows:rows] = b"\x28\0\x08\0IS" + struct.pack("<H", len(value)) + value
    else:
        at = min(_pixels_at(file), len(file) - 4)
        file[at : at + 4] = struct.pack("<I", rng.choice((0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0, 3)))


# Alone, without the Makefile ----------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number, call in enumerate(inputs(options.seed, Path(folder) / "series")):
            if number == options.count:
                break
            began = time.process_time()
            try:
                counts["read" if call() else "refused"] += 1
            except ElsewhereError:
                counts["refused"] += 1
            except Exception:
                counts["foreign exception"] += 1
                print(f"seed {options.seed}, input {number}:\n{traceback.format_exc()}", file=sys.stderr)
            slowest = max(slowest, time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"seed {options.seed}: {dict(counts)}, slowest {slowest:.1f} s, peak {peak:.2f} GB")
    return int(counts["foreign exception"] > 0)


if __name__ == "__main__":
    sys.exit(main())
