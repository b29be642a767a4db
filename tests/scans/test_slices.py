"""Image slices: decoding, order, damage."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from elsewhere.errors import BadScan, BadSite
from elsewhere.scans.pictures import decode_picture
from elsewhere.scans.slices import encode_slice, natural_key, read_slices, walk


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (33, 47), dtype=np.uint8)


@pytest.fixture
def smooth() -> np.ndarray:
    return np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)


@pytest.mark.parametrize("extension", [".png", ".bmp", ".BMP", ".tif", ".tiff"])
def test_lossless_formats_give_the_same_pixels(tmp_path: Path, pixels: np.ndarray, extension: str) -> None:
    encode_slice(tmp_path / f"a{extension}", pixels)
    assert np.array_equal(decode_picture(tmp_path / f"a{extension}").pixels, pixels)


@pytest.mark.parametrize("extension", [".jpg", ".JPG", ".jpeg"])
def test_jpeg_stays_near(tmp_path: Path, smooth: np.ndarray, extension: str) -> None:
    encode_slice(tmp_path / f"a{extension}", smooth)
    decoded = decode_picture(tmp_path / f"a{extension}").pixels
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - smooth).max() <= 4


@pytest.mark.parametrize(("extension", "dtype"), [(".png", np.uint16), (".tif", np.uint16), (".tif", np.int16)])
def test_sixteen_bits_are_kept(tmp_path: Path, extension: str, dtype: type) -> None:
    deep = np.array([[0, 1, 4095], [256, 255, 30000]], dtype=dtype)
    encode_slice(tmp_path / f"a{extension}", deep)
    decoded = decode_picture(tmp_path / f"a{extension}").pixels
    assert decoded.dtype == dtype
    assert np.array_equal(decoded, deep)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_several_channels_becomes_one(tmp_path: Path, pixels: np.ndarray, mode: str) -> None:
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(decode_picture(tmp_path / "a.png").pixels, pixels)


def test_three_channel_tiff_of_grey(tmp_path: Path, pixels: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([pixels] * 3, axis=2), photometric="rgb")
    assert np.array_equal(decode_picture(tmp_path / "a.tif").pixels, pixels)


def test_colour_is_refused_with_its_size(tmp_path: Path, pixels: np.ndarray) -> None:
    coloured = np.stack([pixels, pixels, 255 - pixels], axis=2)
    Image.fromarray(coloured).save(tmp_path / "a.png")
    with pytest.raises(BadScan, match=r"a\.png: is a colour image \(channels differ by up to 255, grey allows 8\)"):
        decode_picture(tmp_path / "a.png")


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path: Path, pixels: np.ndarray, extension: str, share: float) -> None:
    path = tmp_path / f"a{extension}"
    encode_slice(path, pixels)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadScan, match=rf"a{extension}: (cannot be decoded|is cut short)"):
        decode_picture(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadScan, match=r"gone\.png: cannot be read .*No such file"):
        decode_picture(tmp_path / "gone.png")


def test_bilevel_white_is_zero_and_pages_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels > 9).save(tmp_path / "mask.png")
    tifffile.imwrite(tmp_path / "white.tif", pixels, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([pixels] * 3), photometric="minisblack")
    with pytest.raises(BadScan, match="1-bit image"):
        decode_picture(tmp_path / "mask.png")
    with pytest.raises(BadScan, match="stores white as 0"):
        decode_picture(tmp_path / "white.tif")
    with pytest.raises(BadScan, match="holds 3 pages, expected one slice a file"):
        decode_picture(tmp_path / "pages.tif")


def test_colour_modes_that_would_lose_grey_values_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    deep = np.stack([pixels.astype(np.uint16) * 257] * 3, axis=2)
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "print.jpg")
    with pytest.raises(BadScan, match=r"deep\.png: stores 16 bits in several channels \(RGB\)"):
        decode_picture(tmp_path / "deep.png")
    with pytest.raises(BadScan, match=r"print\.jpg: has the colour mode CMYK, expected grey"):
        decode_picture(tmp_path / "print.jpg")


def _scan(folder: Path, pixels: np.ndarray, count: int) -> list[Path]:
    files = [folder / f"{number:04d}.png" for number in range(count)]
    for path in files:
        encode_slice(path, pixels)
    return files


def test_one_damaged_slice_in_ten_is_left_out_and_told(tmp_path: Path, pixels: np.ndarray) -> None:
    files = _scan(tmp_path, pixels, 10)
    files[3].write_bytes(files[3].read_bytes()[:50])
    voxels, notes = read_slices(files, "scan")
    assert voxels.shape == (9, *pixels.shape)
    (note,) = notes
    assert note.startswith(
        "1 of 10 slices cannot be used and are left out: 0003.png (cannot be decoded (it ends within"
    )


def test_two_damaged_slices_in_ten_are_too_many(tmp_path: Path, pixels: np.ndarray) -> None:
    files = _scan(tmp_path, pixels, 10)
    for path in files[3:5]:
        path.write_bytes(b"")
    with pytest.raises(
        BadScan, match=r"scan: 2 of 10 slices cannot be used \(at most 10% may be left out\), first 0003\.png"
    ):
        read_slices(files, "scan")


def test_no_slices(tmp_path: Path) -> None:
    with pytest.raises(BadScan, match="scan: holds no slices"):
        read_slices([], "scan")


def test_mixed_sizes_and_depths_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    files = _scan(tmp_path, pixels, 3)
    encode_slice(files[1], pixels[:20])
    with pytest.raises(BadScan, match=r"differ in size: 0000\.png is 33 × 47, 0001\.png is 20 × 47"):
        read_slices(files, "scan")
    encode_slice(files[1], pixels.astype(np.uint16))
    with pytest.raises(BadScan, match=r"differ in depth: 0000\.png is uint8, 0001\.png is uint16"):
        read_slices(files, "scan")


def test_numbers_sort_as_numbers() -> None:
    names = ["IM10.png", "IM9.png", "IM00011.png", "a", "IM2.png"]
    assert sorted(names, key=natural_key) == ["IM2.png", "IM9.png", "IM10.png", "IM00011.png", "a"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_a_row(tmp_path: Path) -> None:
    for name in ("a", "shut", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    (tmp_path / "shut").chmod(0)
    unread: list[BadScan] = []
    try:
        walked = [folder.name for folder, names in walk(tmp_path, unread) if names]
    finally:
        (tmp_path / "shut").chmod(0o700)
    assert walked == ["a", "z"]
    assert [(Path(bad.where).name, bad.what) for bad in unread] == [("shut", "cannot be listed (Permission denied)")]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_listed_is_a_row_and_the_root_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for name in ("a", "shut"):
        (tmp_path / name).mkdir()
    listed, shut = os.scandir, [tmp_path / "shut"]

    def scandir(path: Path) -> Any:
        if path in shut:
            raise OSError(code, os.strerror(code), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    unread: list[BadScan] = []
    assert [folder.name for folder, _ in walk(tmp_path, unread)] == [tmp_path.name, "a"]
    assert [bad.what for bad in unread] == [f"cannot be listed ({os.strerror(code)})"]
    shut.append(tmp_path)
    with pytest.raises(BadSite, match="cannot be listed"):
        list(walk(tmp_path, unread))


def test_walk_follows_links_once_and_hides_hidden(tmp_path: Path) -> None:
    (tmp_path / "p10").mkdir()
    (tmp_path / "p9").mkdir()
    (tmp_path / "p9" / "b.png").touch()
    (tmp_path / "p9" / ".DS_Store").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / "p10" / "loop").symlink_to(tmp_path)
    walked = [(folder.relative_to(tmp_path).as_posix(), names) for folder, names in walk(tmp_path, [])]
    assert walked == [(".", []), ("p9", ["b.png"]), ("p10", [])]
