"""Small drawings in; that SVG and PNG are sound, safe, deterministic, and show the numbers that they were given."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import matplotlib.image
import numpy as np
import pytest

from elsewhere.pages.figures import (
    BenefitPanel,
    Canvas,
    ConfusionPanel,
    DosePanel,
    ForestPanel,
    ForestRow,
    ForestScale,
    MatrixCell,
    Pair,
    ReliabilityPanel,
    RocPanel,
    StripRow,
    TrainingPanel,
    auc_matrix,
    auc_strip,
    benefit_grid,
    closed_curve,
    confusion_grid,
    dose_grid,
    forest,
    pair_sheet,
    reliability_grid,
    roc_grid,
    slice_sheet,
    training_sheet,
)
from elsewhere.pages.figures.canvas import BLUE, CARD, GREEN, ORANGE, VARIABLES
from elsewhere.pages.figures.cells import shade
from elsewhere.pages.figures.pen import Pen, WordStyle
from elsewhere.pages.figures.png import encode

SVG = "{http://www.w3.org/2000/svg}"
NONE = np.empty(0)


def words_of(canvas: Canvas) -> list[str]:
    """All words of a drawing, read from its SVG."""
    return ["".join(text.itertext()) for text in ET.fromstring(canvas.svg()).iter(f"{SVG}text")]


def pixels_of(canvas: Canvas) -> np.ndarray:
    """The PNG as [row, column, colour], 0 to 1."""
    return matplotlib.image.imread(io.BytesIO(canvas.png()))


def test_svg_is_xml_with_alt_text_whatever_the_words() -> None:
    canvas = Canvas("name", 'a < b & "c" \x00\x0b', 100, 50)
    canvas.text(0, 10, "<script>&\x01\ud800</script>")
    root = ET.fromstring(canvas.svg())
    assert root.find(f"{SVG}desc").text == 'a < b & "c" '
    assert words_of(canvas) == ["<script>&</script>"]
    assert ET.fromstring(canvas.inline_svg()).get("aria-label") == 'a < b & "c" '


def test_png_has_two_pixels_a_point_and_its_colours_in_place() -> None:
    canvas = Canvas("name", "alt", 60, 40)
    canvas.rect(10, 20, 30, 10, BLUE)
    pixels = pixels_of(canvas)
    assert pixels.shape[:2] == (80, 120)
    blue = np.array([int(BLUE[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    assert np.allclose(pixels[50, 50, :3], blue, atol=1e-3)
    assert np.allclose(pixels[10, 50, :3], 1)
    assert np.allclose(pixels[50, 100, :3], 1)


def test_inline_svg_takes_the_colours_of_the_page() -> None:
    canvas = Canvas("name", "alt", 60, 40)
    canvas.line([0, 1], [0, 1], ORANGE)
    assert "var(--orange)" in canvas.inline_svg()
    assert not [color for color in VARIABLES if color in canvas.inline_svg()]
    assert ORANGE in canvas.svg()


def test_words_that_look_like_numbers_or_colours_are_left_alone() -> None:
    canvas = Canvas("name", "alt", 60, 40)
    canvas.text(0, 10, f"0.826 ± 0.0241 {CARD} $x$")
    assert f"0.826 ± 0.0241 {CARD} $x$" in canvas.inline_svg()


def test_the_same_drawing_gives_the_same_bytes() -> None:
    drawings = [auc_strip("s", "alt", [StripRow("home", "home", (0.9, 0.8), (0.85, 0.7, 0.95))]) for _ in range(2)]
    assert drawings[0].svg() == drawings[1].svg()
    assert drawings[0].png() == drawings[1].png()


def test_grey_png_gives_the_pixels_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 11), dtype=np.uint8)
    read = matplotlib.image.imread(io.BytesIO(encode(pixels)))
    assert np.array_equal((read * 255).round().astype(np.uint8), pixels)


def test_an_image_keeps_its_shape_and_its_way_up() -> None:
    pixels = np.zeros((20, 10), dtype=np.uint8)
    pixels[:5, :3] = 255
    canvas = Canvas("name", "alt", 40, 40)
    canvas.image(0, 0, 40, pixels)
    drawn = pixels_of(canvas)[..., 0]
    assert drawn[4, 24] == 1  # top left of the picture, which stands in the middle of its square
    assert drawn[70, 24] == 0
    assert drawn[4, 50] == 0
    assert drawn[4, 4] == 0
    image = next(ET.fromstring(canvas.svg()).iter(f"{SVG}image"))
    assert [float(image.get(k)) for k in ("x", "y", "width", "height")] == [10, 0, 20, 40]


@pytest.mark.parametrize(
    ("auc", "color", "strength"), [(1, BLUE, 1), (0.75, BLUE, 0.5), (0.5, BLUE, 0), (0.25, ORANGE, 0.5), (0, ORANGE, 1)]
)
def test_an_auc_is_blue_above_one_half_and_orange_below(auc: float, color: str, strength: float) -> None:
    assert shade(auc) == (color, pytest.approx(strength))


def test_a_roc_curve_is_sorted_and_closed() -> None:
    fpr, tpr = closed_curve([0.5, 0.2, 0.2], [0.9, 0.6, 0.4])
    assert fpr.tolist() == [0, 0.2, 0.2, 0.5, 1]
    assert tpr.tolist() == [0, 0.4, 0.6, 0.9, 1]


def test_confusion_panels_show_shares_counts_and_what_is_missing() -> None:
    both = ConfusionPanel(0.75, 0.9, (30, 10, 5, 45), "t = 0.47 · acc 0.83")
    positives = ConfusionPanel(0.6, None, (6, 4, 0, 0), "argmax · acc 0.60")
    canvas = confusion_grid("c", "alt", ["UTSW"], ["UTSW", "MosMedData", "X"], [[both, positives, None]])
    words = words_of(canvas)
    assert {"0.75", "0.25", "0.10", "0.90", "30", "10", "5", "45", "t = 0.47 · acc 0.83"} <= set(words)
    assert "no negatives" in words
    assert "not measured" in words


def test_a_full_confusion_cell_is_the_strongest() -> None:
    panel = ConfusionPanel(1.0, 0.5, (10, 0, 5, 5), "")
    drawn = confusion_grid("c", "alt", ["A"], ["A"], [[panel]])
    alphas = [
        float(r.get("fill-opacity")) for r in ET.fromstring(drawn.svg()).iter(f"{SVG}rect") if r.get("fill-opacity")
    ]
    assert sorted(alphas) == [0, 0.31, 0.31, 0.62]


def test_roc_grid_draws_curve_band_and_diagonal_or_says_why_not() -> None:
    grid = np.linspace(0, 1, 5)
    curve = RocPanel(*closed_curve([0.1, 0.4], [0.5, 0.9]), grid, grid * 0.9, np.minimum(grid + 0.1, 1), ("AUC 0.80",))
    none = RocPanel(NONE, NONE, NONE, NONE, NONE, ("positives only", "no AUC"))
    canvas = roc_grid("r", "alt", ["UTSW"], ["UTSW", "MosMedData"], [[curve, none]])
    paths = list(ET.fromstring(canvas.svg()).iter(f"{SVG}path"))
    assert [path.get("stroke-dasharray") for path in paths].count("3 2") == 1
    assert [path.get("fill-opacity") for path in paths].count("0.22") == 1
    assert {"AUC 0.80", "positives only", "no AUC"} <= set(words_of(canvas))


def test_matrix_marks_home_seen_and_unseen() -> None:
    cells = [
        MatrixCell(0.91, "home", "0.85–0.95"),
        MatrixCell(0.23, "unseen", "0.15–0.33"),
        MatrixCell(None, "seen", "x"),
    ]
    words = words_of(auc_matrix("m", "alt", ["UTSW"], ["A", "B", "C"], [cells]))
    assert {"●", "○", "◐", "0.91", "0.23", "0.15–0.33", "x"} <= set(words)


def test_strip_puts_each_auc_on_the_scale() -> None:
    canvas = auc_strip("s", "alt", [StripRow("home", "home", (0.0, 0.5, 1.0), None)])
    rings = [float(c.get("cx")) for c in ET.fromstring(canvas.svg()).iter(f"{SVG}circle")]
    assert rings == [12, 180, 348]


def test_slices_must_be_uint8_pictures() -> None:
    with pytest.raises(ValueError, match=r"float64 with shape \(4, 4\); expected uint8"):
        slice_sheet("e", "alt", ["A"], ["Positive"], [[(np.zeros((4, 4)), "caption")]])


def test_slice_sheet_says_where_there_is_no_scan() -> None:
    picture = (np.zeros((4, 4), np.uint8), "slice 1 of 2")
    assert {"slice 1 of 2", "no such scan"} <= set(
        words_of(slice_sheet("e", "alt", ["A", "B"], ["Positive"], [[picture, "no such scan"]]))
    )


def test_training_sheet_marks_the_kept_iteration_and_what_was_not_logged() -> None:
    loss = (np.array([0.0, 100.0]), np.array([0.7, 0.2]))
    words = words_of(training_sheet("t", "alt", [TrainingPanel("A", loss, (NONE, NONE), 50)]))
    assert {"A", "training loss", "validation accuracy: not logged", "kept: 50", "100 iterations"} <= set(words)


def test_words_stand_where_they_are_anchored_and_are_cut_at_the_edge() -> None:
    canvas = Canvas("name", "alt", 100, 60)
    for y, anchor in ((15, "left"), (35, "center"), (55, "right")):
        canvas.text(50, y, "HHHH", anchor=anchor)
    canvas.text(-5, 8, "out", size=9)
    dark = pixels_of(canvas)[:, :, 0] < 0.5
    spans = [np.flatnonzero(dark[row - 14 : row].any(axis=0)) for row in (30, 70, 110)]
    assert spans[0].min() >= 98
    assert spans[2].max() <= 102
    assert abs((spans[1].min() + spans[1].max()) / 2 - 100) < 3


def test_turned_words_read_upwards_from_their_middle() -> None:
    canvas = Canvas("name", "alt", 40, 120)
    canvas.text(20, 60, "HHHHHHHH", anchor="center", turned=True)
    rows, columns = np.nonzero(pixels_of(canvas)[:, :, 0] < 0.5)
    assert abs((rows.min() + rows.max()) / 2 - 120) < 3
    assert columns.max() <= 41
    assert np.ptp(rows) > 3 * np.ptp(columns)


def test_reliability_shows_points_intervals_and_why_there_are_none() -> None:
    said, happened = np.array([0.1, 0.8]), np.array([0.2, 0.5])
    panel = ReliabilityPanel(said, happened, happened - 0.1, happened + 0.1, np.array([30, 10]), ("error 0.20",))
    canvas = reliability_grid("r", "alt", ["A"], ["B", "C"], [[panel, ("positives only", "nothing")]])
    root = ET.fromstring(canvas.svg())
    assert {"Trained on A", "tested at B", "error 0.20", "positives only"} <= set(words_of(canvas))
    rings = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]
    assert rings[1][0] - rings[0][0] == pytest.approx(0.7 * 150)
    assert rings[0][1] - rings[1][1] == pytest.approx(0.3 * 150)


def test_decision_curves_are_cut_far_below_zero() -> None:
    threshold = np.array([0.1, 0.5, 0.9])
    panel = BenefitPanel(threshold, np.array([0.3, 0.2, 0.1]), np.array([0.3, 0.0, -4.0]), ("useful from 0.5 to 0.9",))
    canvas = benefit_grid("b", "alt", ["A"], ["B"], [[panel]])
    dashed = [p for p in ET.fromstring(canvas.svg()).iter(f"{SVG}path") if p.get("stroke-dasharray") == "3 2"]
    assert [path.get("d").count("L") for path in dashed] == [1]  # the third point is left out
    assert {"0.30", "−0.07", "useful from 0.5 to 0.9"} <= set(words_of(canvas))


@pytest.mark.parametrize(("higher", "colors"), [(True, [BLUE, ORANGE]), (False, [ORANGE, BLUE])])
def test_a_forest_paints_what_is_sure_and_leaves_the_rest_hollow(higher: bool, colors: list[str]) -> None:
    rows = (
        ForestRow("up", 0.8, 0.7, 0.9, True, "0.80"),
        ForestRow("down", 0.2, 0.1, 0.3, True, "0.20"),
        ForestRow("unsure", 0.6, 0.4, 0.8, False, "0.60"),
        ForestRow("none", None, None, None, False, "–"),
    )
    scale = ForestScale(0.0, 1.0, 0.5, "guessing", higher_is_better=higher)
    root = ET.fromstring(forest("f", "alt", [ForestPanel("A at B", rows)], scale).svg())
    squares = [r.get("fill") for r in root.iter(f"{SVG}rect") if r.get("width") == "7"]
    assert squares == colors
    assert len(list(root.iter(f"{SVG}circle"))) == 1


def test_pairs_are_drawn_dark_where_sites_differ_and_in_brackets_by_chance() -> None:
    views = {"Border": {("A", "B"): Pair(0.9, True), ("B", "A"): Pair(0.55, False)}}
    canvas = pair_sheet("p", "alt", views, ["A", "B"])
    assert {"Border", "0.90", "(0.55)"} <= set(words_of(canvas))
    alphas = [r.get("fill-opacity") for r in ET.fromstring(canvas.svg()).iter(f"{SVG}rect") if r.get("fill-opacity")]
    assert alphas == ["0.5", "0"]


def test_dose_panels_mark_the_scans_as_they_are() -> None:
    auc = np.array([0.9, 0.7, 0.5])
    panel = DosePanel(("0", "1", "4"), auc, auc - 0.1, auc + 0.1, 0, ("0.90 → 0.50",))
    canvas = dose_grid("d", "alt", ["A"], ["blur (mm)", "noise (HU)"], [[panel, ("not tried",)]])
    root = ET.fromstring(canvas.svg())
    assert [c.get("stroke") for c in root.iter(f"{SVG}circle")] == [GREEN, BLUE, BLUE]
    assert {"blur (mm)", "0.90 → 0.50", "not tried", "4"} <= set(words_of(canvas))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "place", [(-300, 5), (300, 5), (5, -300), (5, 300), (5, 21), (-2, 5), (39, 5), (5, 19)], ids=str
)
def test_words_that_leave_the_sheet_are_cut_off(place: tuple[float, float], turned: bool) -> None:
    pen = Pen(40, 20)
    pen.words(place, "A very long name of a hospital", 8, "#000000", WordStyle(turned=turned))
    shown = matplotlib.image.imread(io.BytesIO(pen.png()))
    outside = max(abs(place[0]), abs(place[1])) >= 300
    blank = matplotlib.image.imread(io.BytesIO(Pen(40, 20).png()))
    assert shown.shape == blank.shape
    if outside:
        assert np.array_equal(shown, blank)


def test_a_long_name_of_a_forest_goes_on_in_the_next_line() -> None:
    name = "slice thickness, spacing and number of slices"
    row = ForestRow(name, 0.7, None, None, sure=True, words="0.70")
    drawn = ET.fromstring(
        forest("f", "alt", [ForestPanel("A at B", (row,))], ForestScale(0.0, 1.0, 0.5, "chance")).svg()
    )
    said = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert name in " ".join(words for words in said if words)


def test_a_title_that_does_not_fit_says_so() -> None:
    long = "University Hospital of a Town with a Very Long Name, Department of Radiology"
    rows = (ForestRow("up", 0.8, 0.7, 0.9, sure=True, words="0.80"),)
    drawn = words_of(forest("f", "alt", [ForestPanel(long, rows)], ForestScale(0.0, 1.0, 0.5, "chance")))
    assert next(words for words in drawn if words.startswith("University")).endswith("…")
    whole = words_of(forest("f", "alt", [ForestPanel("A at B", rows)], ForestScale(0.0, 1.0, 0.5, "chance")))
    assert "A at B" in whole
