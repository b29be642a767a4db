"""Further inputs of the kinds that public bug reports named: tables, volumes and pictures, on both sides."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans import tables
from elsewhere.scans.intake import take_in
from elsewhere.scans.labels import read_labels
from elsewhere.scans.metaimage import read_metaimage, write_metaimage
from elsewhere.scans.nifti import read_nifti, write_nifti
from elsewhere.scans.nrrd import read_nrrd, write_nrrd
from elsewhere.scans.pictures import decode_picture
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import images, volumes
from elsewhere.scans.slices import encode_slice
from elsewhere.scans.store import Stored, key
from elsewhere.scans.units import with_units
from elsewhere.scans.volume import Preparation, Volume


def chest() -> np.ndarray:
    """HU: air, tissue, lung."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, -950, (6, 20, 24))
    voxels[:, 4:16, 4:20] = rng.integers(0, 80, (6, 12, 16))
    voxels[:, 6:12, 6:12] = rng.integers(-900, -800, (6, 6, 6))
    return voxels.astype(np.int16)


def volume(voxels: np.ndarray | None = None) -> Volume:
    return Volume(chest() if voxels is None else voxels, "HU", (2.0, 0.7, 0.9), 0)


def text(path: Path, old: str, new: str) -> Path:
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


def examine(_: object) -> dict[str, bool]:
    return {}


# Header words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: np.where(np.arange(24) < 6, -2000, v + 1024), "no air .but for padding of -2000"),
        (lambda v: np.where(np.arange(24) < 6, -1024, v + 1024), "no air .but for padding of -1024"),
        (lambda v: np.where(v > 0, v + 400, v - 1024), "below -1200, and no padding: an offset was taken off twice"),
        (lambda v: np.where(v > -300, v + 900, v), "tissue around 9.. HU"),
    ],
    ids=["raw with padding", "raw with padding at -1024", "rescaled twice", "bright"],
)
def test_values_that_are_no_patients_hu_are_refused_unless_the_site_vouches(change: object, reason: str) -> None:
    wrong = np.asarray(change(chest().astype(int)), np.int16)  # type: ignore[operator]
    with pytest.raises(BadScan, match=reason):
        with_units(wrong.copy(), {"declared_units": "auto"}, Path("a.nii"), None, ())
    vouched = with_units(wrong.copy(), {"declared_units": "HU", "declared_offset": 0}, Path("a.nii"), None, ())
    assert np.array_equal(vouched.voxels, wrong)
    assert vouched.notes[0].endswith("taken as HU all the same")


@pytest.mark.parametrize("padding", [None, -2000, -3024, -1024], ids=str)
def test_a_patients_hu_pass_with_padding_and_without(padding: int | None) -> None:
    voxels = chest()
    if padding is not None:
        voxels[:, :, :6] = padding
    assert with_units(voxels, {"declared_units": "auto"}, Path("a.nii"), None, ()).notes == ()


def test_a_matrix_of_metaimage_that_holds_the_spacing_too(tmp_path: Path) -> None:
    write_metaimage(tmp_path / "a.mha", volume())
    assert read_metaimage(tmp_path / "a.mha").spacing == (2.0, 0.7, 0.9)
    path = text(tmp_path / "a.mha", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "TransformMatrix = 0.9 0 0 0 0.7 0 0 0 2")
    with pytest.raises(BadScan, match=r"directions are of length 0\.9 × 0\.7 × 2, not 1"):
        read_metaimage(path)


def test_three_equal_planes_of_tiff_are_grey(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
    for planes, name in (([grey] * 3, "grey"), ([grey, grey, grey // 2], "colour")):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.stack(planes), photometric="rgb", planarconfig="separate")
    assert np.array_equal(decode_picture(tmp_path / "grey.tif").pixels, grey)
    with pytest.raises(BadScan, match="is a colour image"):
        decode_picture(tmp_path / "colour.tif")


@pytest.mark.parametrize("code", ["ljpeg", "jpegls", "12 bits"])
def test_a_jpeg_that_is_not_read_is_not_called_damaged(tmp_path: Path, code: str) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint16)
    content = {
        "ljpeg": lambda: imagecodecs.ljpeg_encode(grey, bitspersample=16),
        "jpegls": lambda: imagecodecs.jpegls_encode(grey),
        "12 bits": lambda: imagecodecs.jpeg8_encode(grey, bitspersample=12),
    }[code]()
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BadScan, match=r"is a JPEG of a kind that is not read .*\. Export it as PNG or TIFF"):
        decode_picture(tmp_path / "a.jpg")


# The store's key ----------------------------------------------------------------------------------------------------


def test_the_stores_key_holds_the_data_file_of_an_mha_too(tmp_path: Path) -> None:
    write_metaimage(tmp_path / "s.mhd", volume())
    path = (tmp_path / "s.mhd").rename(tmp_path / "s.mha")
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np1,1,s.mha\n")

    def name() -> str:
        (scan,) = volumes.find(tmp_path, "here").scans
        assert scan.files == (path, tmp_path / "s.raw")
        return key(scan, tmp_path, ("volumes", 1), Preparation())

    before = name()
    (tmp_path / "s.raw").write_bytes((chest()[::-1] + 1).tobytes())
    assert name() != before


@pytest.mark.parametrize("name", ["LIST", "s%02d.raw 1 6 1"])
@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_several_data_files_are_told_and_not_called_missing(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / f"s.{kind}"
    if kind == "mhd":
        write_metaimage(path, volume())
        text(path, "ElementDataFile = s.raw", f"ElementDataFile = {name}")
    else:
        write_nrrd(path, volume())
        path.write_bytes(path.read_bytes().partition(b"\n\n")[0] + f"\ndata file: {name}\n\n".encode())
    (tmp_path / "labels.csv").write_text(f"patient_id,label,path\np1,1,{path.name}\n")
    (scan,) = volumes.find(tmp_path, "here").scans
    bad = take_in("volumes", scan, tmp_path, tmp_path / "store", Preparation(), examine)
    assert isinstance(bad, BadScan)
    assert "spreads its data over several files" in bad.what


# Ids ----------------------------------------------------------------------------------------------------------------


def ids(folder: Path, *patients: str) -> list[str]:
    rows = "".join(f"{patient},s{i},{i % 2}\n" for i, patient in enumerate(patients))
    (folder / "labels.csv").write_text(f"patient_id,path,label\n{rows}")
    return [row.patient for row in read_labels(folder / "labels.csv", "here")]


def test_long_ids_that_excel_cut_off_and_saved_are_refused(tmp_path: Path) -> None:
    """Excel saves 12345678901234567890 and its neighbour as one number with zeros at its end."""
    for cut in (["12345678901234500000"] * 2, ["1234567890123450", "1234567890123460", "9876543210987650"]):
        with pytest.raises(BadSite, match=r"of which a spreadsheet has kept 15 digits.*Format the column as text"):
            ids(tmp_path, *cut)
    for whole in (
        ["12345678901234567890", "12345678901234567800"],  # one of them is no round number
        ["20200407123456000", "20200408091500000"],  # a time to the millisecond
        ["1234567890123450"],  # one number, one zero: as likely as not
        ["P1234567890123450000"],
    ):
        assert ids(tmp_path, *whole) == whole


# Names of slices ----------------------------------------------------------------------------------------------------


def pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        encode_slice(folder / name, np.full((5, 7), number, np.uint8))


@pytest.mark.parametrize(
    "names",
    [
        ["z_-12.5.png", "z_-7.5.png", "z_-2.5.png", "z_2.5.png", "z_7.5.png"],
        ["z_-10.png", "z_-5.png", "z_0.png", "z_5.png"],
        ["1.5.png", "1.25.png", "2.5.png"],
        ["slice +5.png", "slice -5.png", "slice 0.png"],
    ],
    ids=["signed broken", "signed", "broken", "plus and minus"],
)
def test_slices_named_by_their_places_are_not_shuffled_in_silence(tmp_path: Path, names: list[str]) -> None:
    pictures(tmp_path / "s", *names)
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np,1,s\n")
    with pytest.raises(BadSite, match="signed or broken numbers"):
        images.find(tmp_path, "here")


@pytest.mark.parametrize(
    "names",
    [
        ["IM-0001.png", "IM-0002.png", "IM-0010.png"],
        ["0.5.png", "1.0.png", "1.5.png", "2.0.png"],
        ["1.2.840.9.png", "1.2.840.10.png"],
        ["s01.0001.png", "s01.0002.png", "s02.0001.png"],
    ],
    ids=["hyphens", "in order", "UIDs", "series and slice"],
)
def test_names_with_hyphens_and_points_that_count_are_slices(tmp_path: Path, names: list[str]) -> None:
    pictures(tmp_path / "s", *names)
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np,1,s\n")
    (scan,) = images.find(tmp_path, "here").scans
    assert [path.name for path in scan.files] == names


def test_pictures_that_are_taken_one_by_one_are_told(tmp_path: Path) -> None:
    pictures(tmp_path / "one", "1.png", "2.png", "3.png")
    pictures(tmp_path / "twice", "1.png", "01.png", "2.png")
    pictures(tmp_path / "words", "apex.png", "base.png")
    found = images.find_unlabelled(tmp_path, "here")
    assert len(found.scans) == 1 + 3 + 2
    (note,) = found.notes
    assert note.startswith("the images of 2 folders are taken as single pictures; first 'twice': holds one slice twice")
    assert images.find_unlabelled(tmp_path / "one", "here").notes == ()


def test_masks_that_are_left_out_without_a_table_are_told(tmp_path: Path) -> None:
    for name in ("a", "a_mask", "b"):
        write_nifti(tmp_path / f"{name}.nii.gz", volume())
    found = volumes.find_unlabelled(tmp_path, "here")
    assert sorted(scan.scan for scan in found.scans) == ["a.nii.gz", "b.nii.gz"]
    assert found.notes == ("1 masks beside their volumes, by their names, are not read, first a_mask.nii.gz",)
    (tmp_path / "a_mask.nii.gz").unlink()
    assert volumes.find_unlabelled(tmp_path, "here").notes == ()


# Small files that eat everything ------------------------------------------------------------------------------------


def parquet(path: Path, rows: int, **options: object) -> Path:
    given = pa.table({"patient_id": ["p"] * rows, "path": [f"{i}" for i in range(rows)], "label": ["1"] * rows})
    pq.write_table(given, path, **options)
    return path


def test_a_table_of_a_billion_rows_in_a_few_bytes_is_not_unpacked(tmp_path: Path) -> None:
    one = pa.DictionaryArray.from_arrays(np.zeros(tables.MOST_ROWS + 1, np.int8), ["p"])
    pq.write_table(pa.table({"patient_id": one}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(BadSite, match=f"has {tables.MOST_ROWS + 1} rows and 1 columns"):
        tables.read_lines(tmp_path / "a.parquet", "a")
    assert len(tables.read_lines(parquet(tmp_path / "b.parquet", 3000), "b")) == 3001


def test_long_texts_that_a_table_repeats_are_not_unpacked(tmp_path: Path) -> None:
    long = pa.DictionaryArray.from_arrays(np.zeros(20_000, np.int16), ["x" * 50_000])
    pq.write_table(pa.table({"patient_id": long}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    with pytest.raises(BadSite, match="unpacks to more than 256 MB"):
        tables.read_lines(tmp_path / "a.parquet", "a")


def test_a_picture_file_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    encode_slice(tmp_path / "a.png", np.zeros((9, 9), np.uint8))
    with (tmp_path / "a.png").open("r+b") as file:
        file.truncate(3_000_000_000)  # no byte of it on the disk
    with pytest.raises(BadScan, match="holds 3,000,000,000 bytes, more than any picture of a slice"):
        decode_picture(tmp_path / "a.png")
    with (tmp_path / "a.png").open("r+b") as file:
        file.truncate(100_000)
    assert decode_picture(tmp_path / "a.png").pixels.shape == (9, 9)


# Checksums ----------------------------------------------------------------------------------------------------------


def test_the_checksums_of_parquet_pages_are_compared(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", 50, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    assert len(tables.read_lines(path, "a")) == 51
    at = content.index(b"\x01\x00\x00\x007") + 4  # the path "7" becomes "6", and two rows one scan
    content[at] = ord("6")
    path.write_bytes(content)
    with pytest.raises(BadSite, match="not a readable Parquet file"):
        tables.read_lines(path, "a")


def png(rows: int, promised: int, damage: int = 0) -> bytes:
    packed = bytearray(zlib.compress(b"".join(b"\0" + bytes([200] * 50) for _ in range(rows))))
    packed[-1] ^= damage
    head = struct.pack(">IIBBBBB", 50, promised, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", bytes(packed)), (b"IEND", b""))
    chunks = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_png_that_lacks_rows_or_fails_its_own_checksum_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(40, 40))
    assert (decode_picture(tmp_path / "a.png").pixels == 200).all()
    (tmp_path / "a.png").write_bytes(png(20, 40))  # every chunk's checksum is right
    with pytest.raises(BadScan, match="it holds 1,020 of 2,040 bytes of its rows"):
        decode_picture(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png(40, 40, damage=1))
    with pytest.raises(BadScan, match="incorrect data check"):
        decode_picture(tmp_path / "a.png")


def _reason(picture: Path) -> str:
    """Why a picture is refused; "" where it is read."""
    try:
        decode_picture(picture)
    except BadScan as error:
        return error.what
    return ""


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_whole_pngs_of_every_kind_hold_their_rows(tmp_path: Path, mode: str) -> None:
    for size in ((1, 1), (3, 5), (17, 9)):
        kept = io.BytesIO()
        Image.new(mode, size, 0).save(kept, "PNG")
        (tmp_path / "a.png").write_bytes(kept.getvalue())
        assert "bytes of its rows" not in _reason(tmp_path / "a.png")  # where it is refused, for what it is


@pytest.mark.parametrize("kind", ["nii", "nrrd"])
def test_bytes_behind_a_gzip_stream_are_no_damage_and_are_told(tmp_path: Path, kind: str) -> None:
    """As gzip itself has it: "decompression OK, trailing garbage ignored"."""
    path, read = (tmp_path / "a.nii.gz", read_nifti) if kind == "nii" else (tmp_path / "a.nrrd", read_nrrd)
    if kind == "nii":
        write_nifti(path, volume())
    else:
        write_nrrd(path, volume())
        head, _, content = path.read_bytes().partition(b"\n\n")
        path.write_bytes(head.replace(b"encoding: raw", b"encoding: gzip") + b"\n\n" + gzip.compress(content))
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 5000)  # a block filled up
    assert read(path).notes == ()
    path.write_bytes(whole + b"garbage")
    assert np.array_equal(read(path).voxels, chest())
    assert read(path).notes == ("7 bytes behind its compressed data are no part of them and are not read",)
    path.write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:] + b"garbage")
    with pytest.raises(BadScan, match="incorrect data check"):
        read(path)


def test_a_damaged_bzip2_stream_is_refused(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "a.nrrd", volume())
    head, _, content = (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")
    head = head.replace(b"encoding: raw", b"encoding: bzip2") + b"\n\n"
    packed = bytearray(bz2.compress(content))
    (tmp_path / "a.nrrd").write_bytes(head + packed)
    assert np.array_equal(read_nrrd(tmp_path / "a.nrrd").voxels, chest())
    packed[-5] ^= 4  # its checksum
    (tmp_path / "a.nrrd").write_bytes(head + packed)
    with pytest.raises(BadScan, match="cannot be read"):
        read_nrrd(tmp_path / "a.nrrd")


@pytest.mark.parametrize(("said", "read"), [("0", True), ("exact", True), ("less", False)])
def test_the_size_that_metaimage_tells_of_its_compressed_data(tmp_path: Path, said: str, read: bool) -> None:
    write_metaimage(tmp_path / "a.mha", volume())
    head, mark, content = (tmp_path / "a.mha").read_bytes().partition(b"LOCAL\n")
    packed = zlib.compress(content)
    size = {"0": 0, "exact": len(packed), "less": len(packed) - 9}[said]
    told = f"CompressedData = True\nCompressedDataSize = {size}".encode()
    (tmp_path / "a.mha").write_bytes(head.replace(b"CompressedData = False", told) + mark + packed)
    if read:
        assert np.array_equal(read_metaimage(tmp_path / "a.mha").voxels, chest())
        return
    with pytest.raises(BadScan, match="compressed data end early"):
        read_metaimage(tmp_path / "a.mha")


# Outside the root ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/etc/hostname", "sub/./../../s.raw", "\\\\server\\share\\s.raw", "file:///s.raw"])
def test_an_mha_reads_nothing_outside_its_folder_either(tmp_path: Path, name: str) -> None:
    write_metaimage(tmp_path / "s.mhd", volume())
    path = (tmp_path / "s.mhd").rename(tmp_path / "s.mha")
    scan = Scan("here", "p", "s", None, (path,), facts={"declared_units": "auto"})
    assert np.array_equal(volumes.read(scan).voxels, chest())
    text(path, "ElementDataFile = s.raw", f"ElementDataFile = {name}")
    with pytest.raises(BadScan, match="which is not beside it or below"):
        volumes.read(scan)


@pytest.mark.parametrize(
    "start", [b"\xc5\xd0\xd3\xc6 EPS with a preview", b"%PDF-1.7", b"<svg xmlns=", b"\0\0\1\0icon", b"#!/bin/sh\n"]
)
@pytest.mark.parametrize("end", [".png", ".tif", ".jpg"])
def test_what_is_no_picture_is_given_to_no_program(tmp_path: Path, start: bytes, end: str) -> None:
    (tmp_path / f"a{end}").write_bytes(start + bytes(200))
    with pytest.raises(BadScan, match="no PNG, JPEG, BMP or TIFF"):
        decode_picture(tmp_path / f"a{end}")


# Copies of pictures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["BMP", "three channels", "two slices, other names"])
def test_copies_of_pictures_in_other_files_are_equal_once_prepared(tmp_path: Path, way: str) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (2, 16, 16)).astype(np.uint8)
    for name, end in (("a", ".png"), ("b", ".bmp" if way == "BMP" else ".tif" if way == "three channels" else ".png")):
        (tmp_path / name).mkdir()
        for z in range(2 if "two" in way else 1):
            path = tmp_path / name / f"{'IM' * (name == 'b')}{z + 1:03d}{end}"
            encode_slice(path, np.dstack([grey[z]] * 3) if end == ".tif" else grey[z])
    (tmp_path / "labels.csv").write_text("patient_id,label,path\np,1,a\nq,0,b\n")
    kept = [
        take_in("images", scan, tmp_path, tmp_path / "store", Preparation(size=(1, 8, 8)), examine)
        for scan in images.find(tmp_path, "here").scans
    ]
    hashes = {one.record["checksum"] for one in kept if isinstance(one, Stored)}
    assert (len(kept), len(hashes)) == (2, 1)
