"""One picture file: what its header changes is applied, noted or refused, and damage that a checksum tells is told."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from elsewhere.errors import BadScan
from elsewhere.scans.pictures import decode_picture, picture_size, turned
from elsewhere.scans.slices import read_slices


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (33, 47), dtype=np.uint8)


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[274] = orientation
    return data


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_that_of_viewers(tmp_path: Path, pixels: np.ndarray, orientation: int) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif(orientation))
    with Image.open(path) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turned(pixels, orientation), shown)
    picture = decode_picture(path)
    assert np.array_equal(picture.pixels, shown)
    noted = () if orientation == 1 else (f"turned as its EXIF data asks (orientation {orientation})",)
    assert picture.notes == noted
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata=None, extratags=tag)
    picture = decode_picture(tmp_path / "a.tif")
    assert np.array_equal(picture.pixels, shown)
    assert bool(picture.notes) == (orientation != 1)


def test_jpeg_is_turned_and_an_unknown_orientation_is_noted(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(40), 3 * np.arange(64)).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=95, exif=exif(6))
    assert decode_picture(tmp_path / "a.jpg").pixels.shape == (64, 40)
    assert np.abs(decode_picture(tmp_path / "a.jpg").pixels.astype(int) - np.rot90(ramp, -1)).max() <= 4
    Image.fromarray(ramp).save(tmp_path / "b.png", exif=exif(9))
    assert decode_picture(tmp_path / "b.png").notes == ("orientation 9 in its EXIF data is none; taken as stored",)


def test_slices_of_several_orientations_are_each_turned_and_counted(tmp_path: Path, pixels: np.ndarray) -> None:
    files = [tmp_path / f"{k}.png" for k in range(4)]
    for k, path in enumerate(files):
        stored = np.ascontiguousarray(np.rot90(pixels, 2)) if k < 3 else pixels
        Image.fromarray(stored).save(path, exif=exif(3 if k < 3 else 1))
    voxels, notes = read_slices(files, "scan")
    assert all(np.array_equal(picture, pixels) for picture in voxels)
    assert notes == ("3 of 4 slices: turned as its EXIF data asks (orientation 3)",)


def test_palettes_of_tiff_are_applied_or_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    grey = np.tile((255 - np.arange(256)).astype(np.uint16) * 257, (3, 1))  # index 0 is white
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="palette", colormap=grey, metadata=None)
    picture = decode_picture(tmp_path / "a.tif")
    assert np.array_equal(picture.pixels, 255 - pixels)
    assert picture.notes == ("its palette was applied",)
    hot = grey.copy()
    hot[2] = 0
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="palette", colormap=hot, metadata=None)
    with pytest.raises(BadScan, match="is a colour image"):
        decode_picture(tmp_path / "b.tif")


def test_transparency_is_refused_where_it_hides_something(tmp_path: Path, pixels: np.ndarray) -> None:
    alpha = np.full(pixels.shape, 255, np.uint8)
    Image.fromarray(np.dstack([pixels] * 3 + [alpha])).save(tmp_path / "opaque.png")
    assert decode_picture(tmp_path / "opaque.png").notes == ()
    alpha[:5] = 0
    Image.fromarray(np.dstack([pixels] * 3 + [alpha])).save(tmp_path / "hides.png")
    with pytest.raises(BadScan, match=r"15\.2% of its pixels are transparent: viewers do not show the values beneath"):
        decode_picture(tmp_path / "hides.png")
    empty = pixels.copy()
    empty[:5] = 7
    Image.fromarray(np.dstack([empty, alpha])).save(tmp_path / "cut.png")
    picture = decode_picture(tmp_path / "cut.png")
    assert np.array_equal(picture.pixels, empty)
    assert picture.notes == ("15.2% of its pixels are transparent, all of the value 7, which was taken",)
    Image.fromarray(pixels).save(tmp_path / "key.png", transparency=int(pixels[0, 0]))
    assert "are transparent, all of the value" in decode_picture(tmp_path / "key.png").notes[0]
    tifffile.imwrite(
        tmp_path / "a.tif", np.dstack([pixels, alpha]), photometric="minisblack", extrasamples=["unassalpha"]
    )
    with pytest.raises(BadScan, match="viewers do not show"):
        decode_picture(tmp_path / "a.tif")


def test_several_pictures_in_one_file_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    frames = [Image.fromarray(np.roll(pixels, k)) for k in range(3)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].convert("RGB").save(tmp_path / "many.jpg", "MPO", save_all=True, append_images=frames[1:])
    for name, noun in (("moving.png", "pictures"), ("pages.tif", "pages"), ("many.jpg", "pictures")):
        with pytest.raises(BadScan, match=rf"{name}: holds 3 {noun}, expected one slice a file"):
            decode_picture(tmp_path / name)


def test_the_format_is_what_the_bytes_say_and_only_four_are_tried(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "really.png", "BMP")
    assert np.array_equal(decode_picture(tmp_path / "really.png").pixels, pixels)
    tifffile.imwrite(tmp_path / "tiff.png", pixels, photometric="minisblack")
    assert np.array_equal(decode_picture(tmp_path / "tiff.png").pixels, pixels)
    (tmp_path / "ps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(BadScan, match=r"begins with b'%!PS-Ado': no PNG, JPEG, BMP or TIFF"):
        decode_picture(tmp_path / "ps.png")
    Image.fromarray(pixels).save(tmp_path / "gif.png", "GIF")
    with pytest.raises(BadScan, match="no PNG, JPEG, BMP or TIFF"):
        decode_picture(tmp_path / "gif.png")


@pytest.mark.parametrize("name", ["a.png", "deflate.tif", "lzma.tif"])
def test_damage_that_a_checksum_tells_is_refused(tmp_path: Path, name: str) -> None:
    deep = np.random.default_rng(0).integers(0, 4096, (64, 64), dtype=np.uint16)
    path = tmp_path / name
    if name == "a.png":
        path.write_bytes(imagecodecs.png_encode(deep))
    else:
        kind = {"deflate": "zlib"}.get(path.stem, path.stem)
        tifffile.imwrite(path, deep, compression=kind, metadata=None)
    whole, refused = path.read_bytes(), 0
    places = np.random.default_rng(1).integers(len(whole) // 4, 3 * len(whole) // 4, 40)
    for at in places:
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(bytes(damaged))
        try:
            decode_picture(path)
        except BadScan:
            refused += 1
    assert refused == len(places)


def test_a_pngs_last_chunk_and_significant_bits_are_looked_at(tmp_path: Path, pixels: np.ndarray) -> None:
    whole = imagecodecs.png_encode(pixels.astype(np.uint16) * 257)
    (tmp_path / "a.png").write_bytes(whole[:-12])
    with pytest.raises(BadScan, match="it ends without its last chunk, IEND"):
        decode_picture(tmp_path / "a.png")
    body = b"sBIT" + bytes([12])
    chunk = struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "b.png").write_bytes(whole[:33] + chunk + whole[33:])
    assert decode_picture(tmp_path / "b.png").notes == (
        "only 12 of its 16 bits are significant (sBIT): values may be scaled up",
    )


def test_imagej_calibration_is_applied_or_refused(tmp_path: Path) -> None:
    hu = np.arange(-1000, -1000 + 33 * 47, dtype=np.int16).reshape(33, 47)
    stored = (hu.astype(np.int32) + 32768).astype(np.uint16)
    words = "ImageJ=1.53\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=gray value\n"
    tifffile.imwrite(tmp_path / "a.tif", stored, description=words, metadata=None)
    picture = decode_picture(tmp_path / "a.tif")
    assert np.array_equal(picture.pixels, hu)
    assert picture.notes == ("ImageJ's calibration was applied (stored value -32768)",)
    tifffile.imwrite(tmp_path / "b.tif", stored, description=words.replace("c1=1.0", "c1=0.5"), metadata=None)
    with pytest.raises(BadScan, match="is calibrated in ImageJ"):
        decode_picture(tmp_path / "b.tif")


def test_promises_beyond_the_ceiling_are_refused_before_memory_is_taken(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bytearray(imagecodecs.png_encode(pixels))
    struct.pack_into(">II", whole, 16, 60000, 60000)
    struct.pack_into(">I", whole, 29, zlib.crc32(whole[12:29]))
    (tmp_path / "a.png").write_bytes(bytes(whole))
    with pytest.raises(BadScan, match=r"a\.png: cannot be decoded"):
        decode_picture(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3000, 3000), np.uint16), compression="zlib")
    monkeypatch.setenv("ELSEWHERE_LARGEST_SCAN_GB", "0.01")
    with pytest.raises(BadScan, match=r"promises 0\.0 GB of voxels, more than the 0\.0 GB that are read"):
        decode_picture(tmp_path / "a.tif")
    monkeypatch.setenv("ELSEWHERE_LARGEST_SCAN_GB", "0.1")
    assert decode_picture(tmp_path / "a.tif").pixels.shape == (3000, 3000)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(BadScan, match="is no regular file"):
        decode_picture(tmp_path / "a.png")


def test_sizes_are_read_from_headers(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    (tmp_path / "b.png").write_bytes(b"none")
    assert [picture_size(tmp_path / name) for name in ("a.png", "a.tif", "b.png")] == [(47, 33), (47, 33), None]
