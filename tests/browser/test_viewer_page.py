"""The case viewer in a real browser: what the canvas shows, pixel by pixel, and what keys and controls change."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

SLICES = 12
CENTRE, FRONT_RIGHT, BACK_LEFT, BACK_RIGHT, AIR = (0.5, 0.5), (0.25, 0.25), (0.78, 0.78), (0.78, 0.22), (0.05, 0.95)
"""Places as (down, rightwards) shares of the picture; the patient's right is on its left."""


@pytest.fixture(scope="module")
def opened(viewer_page: Path, long_tabs: Any) -> Any:
    """The viewer in one tab for all tests, because drawing without a graphics card is slow."""
    return long_tabs.open(viewer_page, width=600, height=500).page


@pytest.fixture
def page(opened: Any) -> Any:
    """Its first scan, axial, in the lung window, with half an overlay; the picture in focus."""
    opened.emulate_media(media="screen")
    opened.select_option("#case", "0")
    opened.wait_for_selector("#stage[data-ready='0']")
    opened.focus("#stage")
    opened.keyboard.press("a")
    opened.keyboard.press("1")
    opened.evaluate("e => { e.value = 50; e.dispatchEvent(new Event('input')); }", opened.query_selector("#opacity"))
    opened.evaluate("e => { e.value = 7; e.dispatchEvent(new Event('input')); }", opened.query_selector("#slice"))
    return opened


def _pixels(page: Any) -> np.ndarray:
    """What the stage shows, [row, column, red green blue], black bars cut off."""
    shot = np.asarray(Image.open(io.BytesIO(page.locator("#picture").screenshot())).convert("RGB")).astype(int)
    lit = (shot.min(axis=2) > 20) | (shot.max(axis=2) > 90)
    rows, columns = np.flatnonzero(lit.mean(axis=1) > 0.3), np.flatnonzero(lit.mean(axis=0) > 0.3)
    return shot[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _at(pixels: np.ndarray, place: tuple[float, float]) -> np.ndarray:
    """Mean colour of a few pixels around a place."""
    row, column = (round(share * length) for share, length in zip(place, pixels.shape, strict=False))
    return pixels[row - 2 : row + 3, column - 2 : column + 3].mean(axis=(0, 1))


def _grey(hu: float, low: float = -1350, high: float = 150) -> float:
    return 255 * min(max((hu - low) / (high - low), 0), 1)


def _label(page: Any) -> str:
    label: str = page.get_attribute("#picture", "aria-label")
    return label


def test_the_canvas_shows_the_volume_the_right_way_round(page: Any) -> None:
    page.keyboard.press("o")
    pixels = _pixels(page)
    assert abs(pixels.shape[0] / pixels.shape[1] - 1) < 0.03
    for place, hu in ((CENTRE, -800 + 20 * 6), (FRONT_RIGHT, 200), (BACK_LEFT, 40), (AIR, -1000)):
        np.testing.assert_allclose(_at(pixels, place), _grey(hu), atol=6)
    assert pixels.std() > 30


def test_slices_run_from_the_top_down(page: Any) -> None:
    greys = []
    for key, number in (
        ("Home", 1),
        ("ArrowDown", 2),
        ("End", SLICES),
        ("ArrowDown", SLICES),
        ("PageUp", 2),
        ("ArrowUp", 1),
    ):
        page.keyboard.press(key)
        assert f"slice {number} of {SLICES}" in _label(page)
        assert page.input_value("#slice") == str(number)
        if key in {"Home", "End"}:
            greys.append(_at(_pixels(page), CENTRE)[0])
    np.testing.assert_allclose(greys, [_grey(-800), _grey(-800 + 20 * 11)], atol=6)


def test_the_slider_and_the_wheel_scroll(page: Any) -> None:
    page.focus("#slice")
    page.keyboard.press("Home")
    assert f"slice 1 of {SLICES}" in _label(page)
    page.keyboard.press("ArrowRight")
    assert f"slice 2 of {SLICES}" in _label(page)
    page.locator("#picture").hover()
    page.mouse.wheel(0, 100)
    page.wait_for_timeout(200)
    assert page.input_value("#slice") == "3"


def test_presets_change_the_greys(page: Any) -> None:
    page.keyboard.press("o")
    page.keyboard.press("2")
    assert "mediastinum window" in _label(page)
    assert page.is_checked("input[name=preset] >> nth=1")
    shot = np.asarray(Image.open(io.BytesIO(page.locator("#picture").screenshot())).convert("RGB")).astype(int)
    values = np.unique(np.round(shot[..., 0] / 8) * 8)
    for hu in (200, 40):
        assert np.abs(values - _grey(hu, -160, 240)).min() <= 8
    assert (shot.max(axis=2) < 10).mean() > 0.5  # lung and air are black now
    page.check("input[name=preset] >> nth=0")
    np.testing.assert_allclose(_at(_pixels(page), CENTRE), _grey(-680), atol=6)


def test_the_overlay_lies_where_it_was_planted(page: Any) -> None:
    pixels = _pixels(page)  # slice 7 of 12, inside the overlay's 5 to 8
    red, _, blue = _at(pixels, BACK_RIGHT)
    assert red > blue + 40
    for place in (CENTRE, BACK_LEFT, FRONT_RIGHT, AIR):
        assert np.ptp(_at(pixels, place)) < 4
    page.keyboard.press("o")
    assert np.ptp(_at(_pixels(page), BACK_RIGHT)) < 4
    assert "no overlay" in _label(page)
    page.keyboard.press("o")
    assert "overlay at 50 %" in _label(page)
    page.keyboard.press("Home")
    assert np.ptp(_at(_pixels(page), BACK_RIGHT)) < 4


def test_the_overlays_strength_follows_its_slider(page: Any) -> None:
    def reds() -> float:
        red, _, blue = _at(_pixels(page), BACK_RIGHT)
        return float(red - blue)

    half = reds()
    page.keyboard.press("+")
    assert page.input_value("#opacity") == "60"
    assert reds() > half + 5
    page.focus("#opacity")
    page.keyboard.press("Home")
    assert page.inner_text("#opacity-said") == "0 %"
    assert abs(reds()) < 4


def test_views(page: Any) -> None:
    page.keyboard.press("o")
    page.keyboard.press("c")
    assert "coronal view" in _label(page)
    assert page.is_checked("input[value=coronal]")
    pixels = _pixels(page)
    assert pixels.shape[0] / pixels.shape[1] == pytest.approx(SLICES * 6 / 80, abs=0.05)
    above, below = _at(pixels, (0.08, 0.6)), _at(pixels, (0.92, 0.6))
    assert below[0] > above[0] + 20  # the head is up
    for key, name in (("s", "sagittal"), ("t", "three"), ("a", "axial")):
        page.keyboard.press(key)
        assert f"{name} view" in _label(page)
        assert _pixels(page).std() > 20


def test_what_is_said_of_a_slice(page: Any) -> None:
    page.keyboard.press("Home")
    assert page.inner_text("#place").startswith("Slice 1 of 12 · probability 0.25 · value")
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    assert page.inner_text("#place").startswith("Slice 6 of 12 · marked infection · probability 0.25, 0.98 · value -")
    assert page.locator(".of-case:visible .strip.marks i").count() == 2
    assert page.locator(".of-case:visible .strip.windows").count() == 2
    assert (
        "Of the 8 slices that the overlay covers, 2 are marked (25%); 50% of the overlay lies on them."
        in page.inner_text("main")
    )


def test_the_mark_on_the_strip_stands_at_the_slice(page: Any) -> None:
    for _ in range(2):
        page.keyboard.press("ArrowUp")  # slice 5, the first that is marked
    assert "marked infection" in page.inner_text("#place")
    cursor = page.locator("#cursor").bounding_box()
    mark = page.locator(".of-case:visible .strip.marks i >> nth=0").bounding_box()
    assert cursor["x"] + 1 == pytest.approx(mark["x"] + mark["width"] / 2, abs=1.5)


def test_another_scan(page: Any) -> None:
    page.keyboard.press("n")
    page.wait_for_selector("#stage[data-ready='1']")
    assert "B/s2" in _label(page)
    assert "of 5" in _label(page)
    assert page.get_attribute("#slice", "max") == "5"
    assert page.inner_text(".facts:visible h2") == "B/s2"
    page.keyboard.press("n")  # there is no third
    page.select_option("#case", "0")
    page.wait_for_selector("#stage[data-ready='0']")
    assert "A/s1" in _label(page)


def test_keys_work_on_the_picture_alone(page: Any) -> None:
    page.focus("#case")
    before = _label(page)
    page.keyboard.press("2")
    page.keyboard.press("o")
    assert _label(page) == before
    page.locator("#picture").click(position={"x": 30, "y": 30})
    page.keyboard.press("o")
    assert "no overlay" in _label(page)


def test_dragging_with_the_right_button_makes_another_window(page: Any) -> None:
    box = page.locator("#picture").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + 260, box["y"] + 160, steps=4)
    page.mouse.up(button="right")
    assert "lung window" not in _label(page)
    assert page.locator("input[name=preset]:checked").count() == 0


def test_the_overlay_is_saved_as_it_is_inside(page: Any, tmp_path: Path) -> None:
    inside = base64.b64decode(page.locator("#overlay-0").text_content().strip())
    with page.expect_download() as waiting:
        page.locator(".save-overlay:visible").first.click()
    assert waiting.value.suggested_filename.endswith("-overlay.nii.gz")
    waiting.value.save_as(tmp_path / "overlay.nii.gz")
    assert (tmp_path / "overlay.nii.gz").read_bytes() == inside


def test_paper_shows_the_slice_that_was_on_the_screen(page: Any) -> None:
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    still = page.locator("#still")
    assert still.is_visible()
    assert still.get_attribute("alt") == _label(page)
    content = base64.b64decode(still.get_attribute("src").removeprefix("data:image/png;base64,"))
    assert np.asarray(Image.open(io.BytesIO(content)).convert("L")).std() > 30
    assert not page.locator("#opacity").is_visible()


def test_without_webgl_it_says_so(viewer_page: Path, tabs: Any, tmp_path: Path) -> None:
    """A browser whose canvas gives no WebGL 2 context."""
    text = viewer_page.read_text(encoding="utf-8")
    broken = "<script>HTMLCanvasElement.prototype.getContext = () => null;</script>"
    file = tmp_path / "broken.html"
    file.write_text(text.replace("<body>", f"<body>{broken}", 1), encoding="utf-8")
    context = tabs.browser.new_context()
    tabs.contexts.append(context)
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("#failure:visible")
    assert "needs WebGL 2" in page.inner_text("#failure")
