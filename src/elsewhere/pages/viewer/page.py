"""Cases ready to be drawn in; one self-contained HTML out, which shows them by NiiVue and asks no network."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from elsewhere import __version__
from elsewhere.pages.template import template

DISCLAIMER = "Research use only. Not a medical device."
LARGEST_PAGE = 256_000_000  # bytes; browsers hold a page of this size, and hardly larger ones
CLASSES = {1: "positive", 0: "negative", None: "unlabelled"}
INSIDE = {
    "style": "templates/style.css",
    "viewer_style": "viewer/viewer.css",
    "niivue": "viewer/niivue/niivue.js",
    "licenses": "viewer/niivue/LICENSES.txt",
    "script": "viewer/viewer.js",
}
OVERLAY_FLOOR = 0.15
"""Share of the overlay's maximum below which nothing is drawn."""


@dataclass(frozen=True)
class Preset:
    """A grey window: values from `low` (black) to `high` (white)."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Window:
    """One window that the network saw.

    Attributes:
        start: first displayed slice, from 0.
        stop: one past the last; fractions where the network's grid is another.
        probability: of COVID in it.
    """

    start: float
    stop: float
    probability: float


@dataclass(frozen=True)
class Overlay:
    """What the network looked at.

    Attributes:
        nifti: the map, 0..1 of its maximum, as bytes of a .nii.gz.
        profile: its sum in each displayed slice as a share of the whole, (slices,).
        words: what it is, in a sentence.
        start: first displayed slice that it covers, from 0; others were not asked about.
        stop: one past the last.
    """

    nifti: bytes
    profile: NDArray[np.float64]
    words: str
    start: int
    stop: int


@dataclass(frozen=True)
class Shown:
    """One scan on the page.

    Attributes:
        site, patient, scan: its ids.
        label: 1, 0 or None.
        subset: "train", "validation", "test" or "unlabelled".
        nifti: the scan as bytes of a .nii.gz.
        slices: number of displayed slices.
        units: of the displayed values, "HU" or "grey value".
        drawn: what is drawn, in sentences.
        presets: grey windows; the first is shown.
        windows: the network's probability for each window; empty without a model.
        overlay: what the network looked at; None without a model.
        marks: word for each marked slice (from 0), given by people; None where nobody marked slices.
    """

    site: str
    patient: str
    scan: str
    label: int | None
    subset: str
    nifti: bytes
    slices: int
    units: str
    drawn: str
    presets: tuple[Preset, ...]
    windows: tuple[Window, ...] = ()
    overlay: Overlay | None = None
    marks: Mapping[int, str] | None = None

    @property
    def name(self) -> str:
        """Site and scan id, as the command takes them."""
        return f"{self.site}/{self.scan}"

    @property
    def answer(self) -> str:
        """The label in words."""
        return CLASSES[self.label]

    @property
    def probability(self) -> float | None:
        """The scan's probability, the highest of its windows."""
        return max((w.probability for w in self.windows), default=None)


@dataclass(frozen=True)
class Occasion:
    """What the page is about.

    Attributes:
        study: name of the study.
        origin: "real", "repacked" or "simulated" data.
        model: name of the model; "" without one.
        trained_on: its training sites; none of a model that was not trained here.
        threshold: from this probability on it says positive; None where unknown.
        checkpoint: hash of its weights, or of the files and declaration of a model that was not trained here.
        command: how the page was made.
    """

    study: str
    origin: str
    model: str = ""
    trained_on: tuple[str, ...] = ()
    threshold: float | None = None
    checkpoint: str = ""
    command: str = ""


def render(cases: Sequence[Shown], occasion: Occasion) -> str:
    """The page as HTML, with NiiVue, the scans and the overlays inside.

    Raises:
        ValueError: no case, a case without a slice, or a page over `LARGEST_PAGE`.
    """
    if not cases or any(case.slices < 1 or not case.presets for case in cases):
        raise ValueError("a viewer needs at least one case, and each case a slice and a grey window")
    parts = [{"scan": _base64(c.nifti), "overlay": _base64(c.overlay.nifti) if c.overlay else ""} for c in cases]
    context: dict[str, Any] = {
        "cases": cases,
        "occasion": occasion,
        "parts": parts,
        "settings": _script_json([_settings(case) for case in cases]),
        "strips": [_strip(case) for case in cases],
        "agreements": [agreement(case) for case in cases],
        "floor": OVERLAY_FLOOR,
        "disclaimer": DISCLAIMER,
        "version": __version__,
        **_files(),
    }
    context["megabytes"] = sum(len(text) for part in parts for text in part.values()) / 1e6
    context["bundle_megabytes"] = len(context["niivue"]) / 1e6
    page = template("viewer.html.j2", {"file_stem": _file_stem}, folder="viewer").render(context)
    if len(page) > LARGEST_PAGE:
        size = f"the page would take {len(page):,} bytes, more than {LARGEST_PAGE:,}"
        raise ValueError(f"{size}; show fewer scans, the prepared grid or 8 bits")
    return page


def agreement(case: Shown) -> str:
    """How overlay and marked slices go together, in a sentence; "" where one of them is missing."""
    looked = case.overlay
    if case.marks is None or looked is None or not any(case.marks.values()):
        return ""
    covered = range(looked.start, looked.stop)
    marked = [slice_ for slice_, word in case.marks.items() if word and slice_ in covered]
    share = float(looked.profile[marked].sum())
    return (
        f"Of the {len(covered)} slices that the overlay covers, {len(marked)} are marked "
        f"({len(marked) / len(covered):.0%}); {share:.0%} of the overlay lies on them."
    )


def _files() -> dict[str, str]:
    """Style, scripts and licences; all but the licences go into the page as they are."""
    root = files("elsewhere.pages")
    found = {name: root.joinpath(path).read_text(encoding="utf-8") for name, path in INSIDE.items()}
    return {name: text if name == "licenses" else Markup(text) for name, text in found.items()}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _script_json(content: Any) -> Markup:
    """JSON that can stand inside a script element: nothing in it can end the element."""
    return Markup(json.dumps(content).replace("<", "\\u003c"))


def _settings(case: Shown) -> dict[str, Any]:
    """What the page's script needs of a case."""
    return {
        "name": case.name,
        "slices": case.slices,
        "units": case.units,
        "presets": [asdict(preset) for preset in case.presets],
        "overlay": case.overlay is not None,
        "first": _first(case),
        "floor": OVERLAY_FLOOR,
        "marks": {str(slice_): word for slice_, word in (case.marks or {}).items() if word},
        "windows": [asdict(window) for window in case.windows],
    }


def _file_stem(name: str) -> str:
    """A scan's name as one part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "scan"


def _first(case: Shown) -> int:
    """The slice that is shown first: where most of the overlay lies; the middle one without an overlay."""
    if case.overlay is None or not np.any(case.overlay.profile > 0):
        return case.slices // 2
    return int(np.argmax(case.overlay.profile))


def _strip(case: Shown) -> dict[str, list[tuple[float, float, float, str]]]:
    """The bars beside the slice slider: (left, width, strength, words), lengths in per cent of the scan."""
    width = 100 / case.slices
    marks = [(slice_ * width, width, 1.0, word) for slice_, word in (case.marks or {}).items() if word]
    profile = case.overlay.profile if case.overlay else np.zeros(0)
    highest = float(profile.max(initial=0.0)) or 1.0
    looked = [(i * width, width, float(share) / highest, "") for i, share in enumerate(profile) if share > 0]
    windows = [
        (w.start * width, (w.stop - w.start) * width, w.probability, f"{w.probability:.2f}") for w in case.windows
    ]
    return {"marks": marks, "overlay": looked, "windows": windows}
