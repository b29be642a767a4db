"""Damaged volumes, pictures and layouts of slices: small good files, mutated at random.

    python tests/fuzz/volumes.py --seed 1 --count 300

`inputs(seed, folder)` yields (name, callable) pairs; each callable reads one mutated input as a site's reader would and
ends quietly or with an error of `elsewhere.errors`. Anything else (a foreign exception, a dead process, minutes,
gigabytes) is a fault of the readers.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import re
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
import tifffile
from PIL import Image

from elsewhere.errors import ElsewhereError
from elsewhere.scans.metaimage import write_metaimage
from elsewhere.scans.nifti import write_nifti
from elsewhere.scans.nrrd import write_nrrd
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Volume

Random = np.random.Generator
EXTREMES = (b"0", b"-1", b"1", b"65500", b"2147483647", b"99999999999999999999", b"nan", b"1e308", b"../../x", b"")


def _chest() -> Volume:
    rows, columns = np.mgrid[-1:1:24j, -1:1:24j]
    hu = np.full((12, 24, 24), -1000, np.int16)
    hu[:, (rows / 0.8) ** 2 + (columns / 0.95) ** 2 < 1] = 40
    hu[:, (rows / 0.5) ** 2 + ((columns - 0.4) / 0.3) ** 2 < 1] = -800
    hu += np.random.default_rng(0).integers(-20, 20, hu.shape).astype(np.int16)
    return Volume(hu, "HU", (2.0, 0.7, 0.7), 0)


def _packed_metaimage(path: Path, volume: Volume) -> None:
    write_metaimage(path, volume)
    data = path.with_suffix(".raw") if path.suffix == ".mhd" else path
    header, _, content = path.read_bytes().partition(b"LOCAL\n") if path == data else (b"", b"", data.read_bytes())
    packed = imagecodecs.zlib_encode(content, level=6)
    lines = (header + b"LOCAL\n" if header else path.read_bytes()).replace(
        b"CompressedData = False", b"CompressedData = True"
    )
    if header:
        path.write_bytes(lines + packed)
    else:
        data.write_bytes(packed)
        path.write_bytes(lines)


def _packed_nrrd(encoding: str, pack: Callable[[bytes], bytes]) -> Callable[[Path, Volume], None]:
    def write(path: Path, volume: Volume) -> None:
        write_nrrd(path, volume)
        header, _, content = path.read_bytes().partition(b"\n\n")
        path.write_bytes(header.replace(b"raw", encoding.encode()) + b"\n\n" + pack(content))

    return write


def _detached_nrrd(path: Path, volume: Volume) -> None:
    write_nrrd(path, volume)
    header, _, content = path.read_bytes().partition(b"\n\n")
    path.with_suffix(".raw").write_bytes(content)
    path.write_bytes(header + b"\ndata file: " + path.with_suffix(".raw").name.encode() + b"\n")


VOLUMES: dict[str, tuple[str, Callable[[Path, Volume], None]]] = {
    "nii": (".nii", write_nifti),
    "nii.gz": (".nii.gz", write_nifti),
    "mha": (".mha", write_metaimage),
    "mha zlib": (".mha", _packed_metaimage),
    "mhd": (".mhd", write_metaimage),
    "mhd zlib": (".mhd", _packed_metaimage),
    "nrrd": (".nrrd", write_nrrd),
    "nrrd gzip": (".nrrd", _packed_nrrd("gzip", imagecodecs.gzip_encode)),
    "nrrd bzip2": (".nrrd", _packed_nrrd("bzip2", imagecodecs.bz2_encode)),
    "nhdr": (".nhdr", _detached_nrrd),
}


def _pillow(kind: str, **options: object) -> Callable[[np.ndarray], bytes]:
    def encode(pixels: np.ndarray) -> bytes:
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, kind, **options)
        return content.getvalue()

    return encode


def _tiff(**options: object) -> Callable[[np.ndarray], bytes]:
    def encode(pixels: np.ndarray) -> bytes:
        content = io.BytesIO()
        tifffile.imwrite(content, pixels, photometric="minisblack", metadata=None, **options)
        return content.getvalue()

    return encode


def _deep(encode: Callable[[np.ndarray], bytes]) -> Callable[[np.ndarray], bytes]:
    return lambda pixels: encode(pixels.astype(np.uint16) * 16)


PICTURES: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "png": (".png", _pillow("PNG")),
    "png 16 bits": (".png", _deep(imagecodecs.png_encode)),
    "png palette": (".png", lambda pixels: _pillow("PNG")(np.asarray(Image.fromarray(pixels).convert("RGB")))),
    "jpeg": (".jpg", _pillow("JPEG", quality=90)),
    "bmp": (".bmp", _pillow("BMP")),
    "tiff": (".tif", _deep(_tiff())),
    "tiff lzw": (".tif", _deep(_tiff(compression="lzw"))),
    "tiff deflate": (".tif", _deep(_tiff(compression="zlib", predictor=True))),
    "tiff packbits": (".tif", _tiff(compression="packbits")),
    "tiff zstd": (".tif", _deep(_tiff(compression="zstd"))),
    "tiff tiles": (".tif", _deep(_tiff(compression="zlib", tile=(16, 16)))),
    "tiff jpeg": (".tif", _tiff(compression="jpeg")),
}


# Mutations ----------------------------------------------------------------------------------------------------------


def _flip(content: bytearray, random: Random) -> None:
    for at in random.integers(0, len(content), int(random.integers(1, 9))):
        content[at] ^= 1 << int(random.integers(8))


def _flip_early(content: bytearray, random: Random) -> None:
    for at in random.integers(0, min(len(content), 400), int(random.integers(1, 4))):
        content[at] ^= 1 << int(random.integers(8))


def _truncate(content: bytearray, random: Random) -> None:
    del content[int(random.integers(0, len(content))) :]


def _lengthen(content: bytearray, random: Random) -> None:
    content += random.bytes(int(random.integers(1, 5000)))


def _zero(content: bytearray, random: Random) -> None:
    at = int(random.integers(0, len(content)))
    content[at : at + 64] = bytes(len(content[at : at + 64]))


def _repeat(content: bytearray, random: Random) -> None:
    at = int(random.integers(0, len(content)))
    content[at:at] = content[at : at + int(random.integers(1, 200))]


def _drop(content: bytearray, random: Random) -> None:
    at = int(random.integers(0, len(content)))
    del content[at : at + int(random.integers(1, 60))]


def _extreme_integer(content: bytearray, random: Random) -> None:
    at = int(random.integers(0, max(1, min(len(content), 400) - 4)))
    value = int(random.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65500, 0x7FC00000, 0x7F800000]))
    content[at : at + 4] = struct.pack(str(random.choice(["<I", ">I"])), value)


def _extreme_word(content: bytearray, random: Random) -> None:
    """A number of a text header becomes another; or a line of it goes."""
    end = min(len(content), 2000)
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(content[:end])))
    if numbers and random.random() < 0.7:
        first, last = numbers[int(random.integers(len(numbers)))].span()
        content[first:last] = EXTREMES[int(random.integers(len(EXTREMES)))]
    else:
        lines = bytes(content).split(b"\n")
        del lines[int(random.integers(min(len(lines), 20)))]
        content[:] = b"\n".join(lines)


MUTATIONS = (*(_flip, _flip_early, _truncate, _lengthen, _zero, _repeat, _drop, _extreme_integer, _extreme_word),)


def _mutate(path: Path, mutation: Callable[[bytearray, Random], None], random: Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        mutation(content, random)
    path.write_bytes(bytes(content))


# Inputs -------------------------------------------------------------------------------------------------------------


def inputs(seed: int, folder: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """Mutated inputs, some 250 for one seed; each is written when its turn comes, and the one before it is gone.

    Args:
        seed: the same seed gives the same inputs.
        folder: an empty folder to write them into.
    """
    volume, number = _chest(), 0
    for name, make in [*_volume_sites(volume), *_picture_sites(volume), *_layouts(volume)]:
        for mutation in MUTATIONS:
            number += 1
            random = np.random.default_rng([seed, number])
            root = folder / f"{number}"
            root.mkdir(parents=True)
            kind, files = make(root)
            _mutate(files[int(random.integers(len(files)))], mutation, random)
            yield f"{name}, {mutation.__name__.strip('_')}, seed {seed}", lambda kind=kind, root=root: _read(kind, root)
            shutil.rmtree(root)


def _read(kind: str, root: Path) -> int:
    """List the site and read its scans, how many could be; errors that a user is told are what is wanted."""
    module, count = reader(kind), 0
    try:
        found = module.find(root, "Fuzz")
    except ElsewhereError:
        return 0
    for scan in found.scans:
        try:
            module.read(scan)
            count += 1
        except ElsewhereError:
            continue
    return count


Make = Callable[[Path], tuple[str, list[Path]]]


def _volume_sites(volume: Volume) -> Iterator[tuple[str, Make]]:
    for name, (end, write) in VOLUMES.items():

        def make(root: Path, end: str = end, write: Callable[[Path, Volume], None] = write) -> tuple[str, list[Path]]:
            write(root / f"s{end}", volume)
            files = [path for path in root.iterdir() if path.is_file()]
            (root / "labels.csv").write_text(f"patient_id,path,label\np1,s{end},1\n")
            return "volumes", sorted(files)

        yield name, make


def _picture_sites(volume: Volume) -> Iterator[tuple[str, Make]]:
    grey = ((volume.voxels.astype(int) + 1000) // 8).clip(0, 255).astype(np.uint8)
    for name, (end, encode) in PICTURES.items():

        def make(root: Path, end: str = end, encode: Callable[[np.ndarray], bytes] = encode) -> tuple[str, list[Path]]:
            files = [root / f"s/{k:02d}{end}" for k in range(2)]
            (root / "s").mkdir()
            for path, picture in zip(files, grey, strict=False):
                path.write_bytes(encode(picture))
            (root / "labels.csv").write_text(f"patient_id,path,label\np1,s/00{end},1\np2,s/01{end},0\n")
            return "images", files

        yield name, make


def _layouts(volume: Volume) -> Iterator[tuple[str, Make]]:
    """The published layouts; of each a slice or volume, and each of its tables, is mutated."""
    ct = Volume((volume.voxels + np.int16(1024)), "ct_number", None, 1024)
    grey = Volume(((volume.voxels.astype(int) + 1000) // 8).clip(0, 255).astype(np.uint8), "relative")
    given = {
        "cc_ccii": [(Scan("Fuzz", str(i), str(100 + i), i % 2), grey) for i in range(3)],
        "covid_ctset": [(Scan("Fuzz", f"patient{i}", f"patient{i}/SR_2", i % 2), ct) for i in range(1, 4)],
        "mosmeddata": [(Scan("Fuzz", f"study_{i:04d}", f"study_{i:04d}", 1), volume) for i in range(255, 258)],
    }
    for kind, scans in given.items():
        for part in ("data", "tables"):

            def make(
                root: Path, kind: str = kind, scans: list[tuple[Scan, Volume]] = scans, part: str = part
            ) -> tuple[str, list[Path]]:
                module = reader(kind)
                for scan, content in scans:
                    module.write(root, scan, content)
                module.write_tables(root, [scan for scan, _ in scans])
                if kind == "cc_ccii":
                    _cleaned_release(root)
                files = sorted(path for path in root.rglob("*") if path.is_file())
                tables = [path for path in files if path.suffix in (".csv", ".json")]
                return kind, tables if part == "tables" else [path for path in files if path not in tables]

            yield f"{kind} {part}", make


def _cleaned_release(root: Path) -> None:
    names = {"NCP": {"1": {"101": [f"NCP/1/101/{k:04d}.png" for k in range(12)]}}}
    (root / "ct_train.json").write_text(json.dumps(names))
    with (root / "CT_cleaned_v2.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["scan_id", "is_seg", "repeat_ids", "re_order"])
        table.writerows([["100", "0", "1;3-5", "6-11+0-5"], ["102", "1", "", "reverse"]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300)
    options = parser.parse_args()
    logging.disable()  # tifffile's remarks on every broken tag
    counts: Counter[str] = Counter()
    slowest, seed = 0.0, options.seed
    while counts.total() < options.count:
        with tempfile.TemporaryDirectory() as folder:
            for name, call in inputs(seed, Path(folder)):
                if counts.total() == options.count:
                    break
                began = time.process_time()
                try:
                    counts["read" if call() else "refused"] += 1
                except Exception:
                    counts["foreign exception"] += 1
                    print(f"{name}:\n{traceback.format_exc()}", file=sys.stderr)
                slowest = max(slowest, time.process_time() - began)
        seed += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"seeds {options.seed} to {seed - 1}: {dict(counts)}, slowest {slowest:.1f} s, peak {peak:.2f} GB")
    return int(counts["foreign exception"] > 0)


if __name__ == "__main__":
    sys.exit(main())
