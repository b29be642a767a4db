"""Study, verdict, evaluations, history, viewer, … in a browser: quiet, offline, by keyboard, on paper, in the dark."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

EVALUATIONS = ("evaluation_file", "versus_file", "next_file", "history_file")
PAGES = ("study_page", "verdict_file", *EVALUATIONS, "adaptation_file", "viewer_page")

# Shown elements of which a screen reader would say nothing
NAMELESS = """(selector) => {
  const words = (e) => (e ? e.textContent.trim() : "");
  const byId = (ids) => (ids || "").split(" ").map((id) => words(document.getElementById(id))).join(" ").trim();
  const called = (e) => e.getAttribute("aria-label") || e.getAttribute("alt") || byId(e.getAttribute("aria-labelledby"))
    || (e.tagName === "svg" ? words(e.querySelector("title")) : "")
    || (e.labels && e.labels.length ? words(e.labels[0]) : "") || (/^(A|BUTTON)$/.test(e.tagName) ? words(e) : "");
  const seen = (e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest("[aria-hidden=true]");
  const found = [...document.querySelectorAll(selector)].filter((e) => seen(e) && !called(e));
  return found.map((e) => e.outerHTML.slice(0, 120));
}"""
# Ids that other elements point to
POINTERS = """() =>
  [...document.querySelectorAll("[aria-labelledby], [aria-describedby], [for], a[href^='#']")].flatMap(
  (e) => [e.getAttribute("aria-labelledby"), e.getAttribute("aria-describedby"), e.getAttribute("for"),
          (e.getAttribute("href") || "").slice(1)].filter(Boolean).flatMap((ids) => ids.split(" ")))"""
# Words that cannot be read well: less contrast than WCAG 2.2 AA asks for (4.5, large 3), by what the browser computed
FAINT = """() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = color; paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    const base = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
    return layers.reverse().reduce((under, layer) => over(layer, under), base);
  };
  const found = [];
  let looked = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, words = walker.currentNode.data.trim();
    if (!words || element.closest("svg, script, style, option, noscript") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), under = ground(element), size = parseFloat(style.fontSize);
    const [a, b] = [light(over(rgba(style.color), under)), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    looked += 1;
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)}: ${words.slice(0, 40)}`);
  }
  return [looked, found];
}"""
# Elements whose own words are smaller than 11 px
SMALL = """() =>
  [...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && !e.closest("svg, sup, sub")
  && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && parseFloat(getComputedStyle(e).fontSize) < 11)
  .map((e) => e.textContent.trim().slice(0, 40))"""
# Boxes that scroll sideways, and that a keyboard could not scroll
STUCK = """() =>
  [...document.querySelectorAll("body *")].filter((e) => /auto|scroll/.test(getComputedStyle(e).overflowX)
  && e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0).map((e) => e.outerHTML.slice(0, 80))"""
FOCUS = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  return [e.tagName, e.id || e.className || e.textContent.trim().slice(0, 30),
          style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0, !!e.closest("table.matrix td")];
}"""


@pytest.fixture(params=PAGES)
def made(request: pytest.FixtureRequest) -> Path:
    """Each of the pages."""
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture(scope="module")
def looked_at(long_tabs: Any) -> Callable[..., Any]:
    """Opens a page once for all tests that only look at it, everything that folds unfolded."""
    opened: dict[tuple[Path, str], Any] = {}

    def look(path: Path, scheme: str = "light") -> Any:
        if (path, scheme) not in opened:
            opened[path, scheme] = long_tabs.open(path, width=1000, height=600, color_scheme=scheme).page
            _open_all(opened[path, scheme])
        return opened[path, scheme]

    return look


def _open_all(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")


def test_quiet_and_offline(made: Path, tabs: Any) -> None:
    tab = tabs.open(made)
    _open_all(tab.page)
    tab.page.mouse.wheel(0, 4000)
    for key in ("Tab", "Tab", "End", "Home", "PageDown"):
        tab.page.keyboard.press(key)
    tab.page.pdf()
    tab.page.wait_for_timeout(200)
    assert tab.heard == []
    assert tab.asked == [made.as_uri()]  # the file itself, and nothing else, not even an icon


def test_the_studys_page_has_all_its_sections(study_page: Path, looked_at: Any) -> None:
    """So that what is asked of the page is asked of diagnosis, stress and sheets too."""
    sections = looked_at(study_page).locator("main section").evaluate_all("found => found.map((e) => e.id)")
    assert {"matrix", "audit", "calibration", "diagnosis", "stress", "hardest", "sheets"} <= set(sections)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "versus_file",
            ("Against the version before", "positive now missed", "found without labels and not yet checked"),
        ),
        ("next_file", ("Stop rule:", "those of a single look")),
        ("history_file", ("4.1", "4.2", "2026-03-10")),
    ],
)
def test_an_evaluation_s_page_has_the_part_that_is_looked_at(
    request: pytest.FixtureRequest, looked_at: Any, name: str, words: tuple[str, ...]
) -> None:
    page = looked_at(request.getfixturevalue(name))
    assert [text for text in words if text not in page.inner_text("body")] == []
    assert page.locator("svg[role=img]").count() >= 1


def test_a_request_and_an_error_would_be_noticed(tabs: Any, tmp_path: Path) -> None:
    page = tmp_path / "loud.html"
    page.write_text("<img src='https://nowhere.invalid/x.png'><script>oops()</script>")
    tab = tabs.open(page)
    assert "https://nowhere.invalid/x.png" in tab.asked
    assert any("oops is not defined" in words for words in tab.heard)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_has_contrast(made: Path, looked_at: Any, scheme: str) -> None:
    looked, faint = looked_at(made, scheme).evaluate(FAINT)
    assert looked > 30
    assert faint == []


def test_faint_words_would_be_noticed(tabs: Any, tmp_path: Path) -> None:
    page = tmp_path / "faint.html"
    page.write_text("<body style='background:#fff'><p style='color:#999'>faint</p><p style='color:#666'>clear</p>")
    assert tabs.open(page).page.evaluate(FAINT) == [2, ["2.85: faint"]]


def test_dark_is_dark_and_light_is_light(made: Path, looked_at: Any) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        found = looked_at(made, scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(int(n) for n in re.findall(r"\d+", found)[:3]))
    assert grounds[0] > 3 * 200
    assert grounds[1] < 3 * 60


def test_every_picture_and_control_has_a_name(made: Path, looked_at: Any) -> None:
    page = looked_at(made)
    assert page.evaluate(NAMELESS, "img, svg, canvas, [role=img]") == []
    assert page.locator("svg:not([role=img])").count() == 0
    controls = "a[href], button, input, select, [role=group], [role=region], [role=application]"
    assert page.evaluate(NAMELESS, controls) == []


def test_a_picture_without_a_name_would_be_noticed(tabs: Any, tmp_path: Path) -> None:
    page = tmp_path / "nameless.html"
    page.write_text("<svg role='img' width='9' height='9'></svg><svg role='img' aria-label='x'></svg><button></button>")
    found = tabs.open(page).page.evaluate(NAMELESS, "svg, button")
    assert [text.split()[0] for text in found] == ["<svg", "<button></button>"]


def test_a_screen_reader_finds_its_way(made: Path, looked_at: Any) -> None:
    page = looked_at(made)
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title()
    assert page.locator("main").count() == 1
    headings = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map((e) => [e.tagName, e.textContent])")
    assert [level for level, _ in headings].count("H1") == 1
    assert headings[0][0] == "H1"
    assert [after for before, after in pairwise(headings) if int(after[0][1]) - int(before[0][1]) > 1] == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert set(page.evaluate(POINTERS)) <= set(ids)
    assert page.locator("th:not([scope])").count() == 0


def test_the_keyboard_reaches_everything_and_sees_where_it_is(made: Path, tabs: Any) -> None:
    page = tabs.open(made, width=900, height=600).page
    stops = []
    for _ in range(600):
        page.keyboard.press("Tab")
        tag, name, ringed, in_matrix = page.evaluate(FOCUS)
        if tag == "BODY":
            break
        stops.append((tag, name, ringed, in_matrix))
    assert stops[0][:2] == ("A", "skip")
    assert [stop for stop in stops if not stop[2]] == []
    reachable = "a[href], button, select, summary, input:not([type=radio]), [tabindex='0']"
    shown = "(selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility()).length"
    named = [stop for stop in stops if stop[1]]  # all but radio buttons, of which a group has one stop
    assert len(named) >= page.evaluate(shown, reachable)
    if page.locator("table.matrix .details").count():  # what a cell says when it is reached
        assert any(stop[3] for stop in stops)


def test_the_skip_link_skips(made: Path, tabs: Any) -> None:
    page = tabs.open(made).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    header = "document.activeElement.compareDocumentPosition(document.querySelector('header'))"
    assert page.evaluate(f"{header} & Node.DOCUMENT_POSITION_PRECEDING")


def test_readable_on_a_telephone(made: Path, tabs: Any) -> None:
    page = tabs.open(made, width=380, height=700).page
    _open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 380
    assert page.evaluate(SMALL) == []
    assert page.evaluate(STUCK) == []


def test_on_paper(made: Path, tabs: Any) -> None:
    page = tabs.open(made, width=703, height=1000).page  # A4 less the margins of 12 mm
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 703
    assert "Research use only. Not a medical device." in page.inner_text("body")
    assert page.evaluate("document.querySelector('.skip').checkVisibility()") is False
    assert len(page.pdf(format="A4")) > 20_000
