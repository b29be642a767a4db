"""Single slices of simulated and real scans in; which copies and neighbours are found, and who is taken for another.

    python benchmarks/single_pictures.py

A section of docs/forensics-tables.md, which `python benchmarks/forensics.py --out …` writes whole.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from elsewhere.scans.pictures import decode_picture
from elsewhere.scans.quality.fingerprint import Fingerprint, take_fingerprint
from elsewhere.scans.quality.matching import MatchSettings, find_matches
from elsewhere.scans.quality.shrunk import shrink
from elsewhere.statistics.intervals import wilson_ends

Voxels = np.ndarray
LEVELS = (0.2, 0.85)
"""Of the scan's height: the slices that show lung in most scans."""

DISTANCES = ((0, 2.5), (2.5, 4.5), (4.5, 6.5), (6.5, 8.5), (8.5, 12.5))
"""mm between slices of one body."""


def window(picture: Voxels, low: float = -1000, high: float = 400) -> Voxels:
    return np.clip(np.rint((picture.astype(np.float32) - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def as_jpeg(picture: Voxels, quality: int) -> Voxels:
    kept = io.BytesIO()
    Image.fromarray(window(picture)).save(kept, "JPEG", quality=quality)
    return np.asarray(Image.open(kept))


def resized(picture: Voxels, rows: float, columns: float) -> Voxels:
    size = round(picture.shape[1] * columns), round(picture.shape[0] * rows)
    return np.asarray(Image.fromarray(window(picture)).resize(size, Image.Resampling.BILINEAR))


def cropped(picture: Voxels) -> Voxels:
    rows, columns = (n // 14 for n in picture.shape)
    return window(picture)[rows:-rows, columns:-columns]


ALTERATIONS: dict[str, Callable[[Voxels], Voxels]] = {
    "8 bits, window −1000..400": window,
    "8 bits, lung window −1350..150": lambda p: window(p, -1350, 150),
    "8 bits, soft-tissue window −160..240": lambda p: window(p, -160, 240),
    "JPEG, quality 75": lambda p: as_jpeg(p, 75),
    "JPEG, quality 30": lambda p: as_jpeg(p, 30),
    "half the matrix": lambda p: resized(p, 0.5, 0.5),
    "stretched (0.6 by 0.8)": lambda p: resized(p, 0.6, 0.8),
    "a seventh of the field of view cut off": cropped,
    "left and right exchanged": lambda p: window(p)[:, ::-1],
    "upside down": lambda p: window(p)[::-1],
    "noise of 60 HU added": lambda p: np.rint(p + np.random.default_rng(0).normal(0, 60, p.shape)).astype(np.int16),
}


def fingerprint(picture: Voxels) -> Fingerprint:
    return take_fingerprint(shrink(np.ascontiguousarray(picture)[None]))


def middle(hu: Voxels) -> Voxels:
    return hu[len(hu) // 2]


def found_again(scans: list[Voxels], alter: Callable[[Voxels], Voxels]) -> tuple[int, int]:
    """(altered middle slices found, taken for another patient's)."""
    n = len(scans)
    matches = find_matches([fingerprint(middle(s)) for s in scans] + [fingerprint(alter(middle(s))) for s in scans])
    across = [(m.first, m.second - n) for m in matches if m.first < n <= m.second]
    return sum(i == j for i, j in across), sum(i != j for i, j in across)


def slices_of(cases: list[Any]) -> tuple[list[Fingerprint], list[tuple[str, int, float]]]:
    """Fingerprints of single slices, and of each (patient, scan, place in mm)."""
    prints, places = [], []
    for number, case in enumerate(cases):
        n, spacing = len(case.hu), case.as_stored.spacing
        for k in range(round(LEVELS[0] * n), round(LEVELS[1] * n)):
            prints.append(fingerprint(case.hu[k]))
            places.append((case.patient, number, k * spacing[0] if spacing else np.nan))
    return prints, places


def pairs_table(cases: list[Any], name: str) -> Iterator[str]:
    prints, places = slices_of(cases)
    matched = {(m.first, m.second) for m in find_matches(prints)}
    wrong = sum(places[i][0] != places[j][0] for i, j in matched)
    counts = np.unique([p[0] for p in places], return_counts=True)[1]
    apart = (len(places) ** 2 - int((counts**2).sum())) // 2
    yield f"| {name} ({len(places)} slices of {len(counts)} patients) | different patients | {interval(wrong, apart)} |"
    steps: dict[tuple[float, float], list[bool]] = {d: [] for d in DISTANCES}
    for i, j in combinations(range(len(places)), 2):
        if places[i][1] == places[j][1]:
            far = abs(places[i][2] - places[j][2])
            for low, high in DISTANCES:
                if low < far <= high:
                    steps[low, high].append((i, j) in matched)
    for (low, high), hits in steps.items():
        if hits:
            yield f"| {name} | one body, {low:g} to {high:g} mm apart | {interval(sum(hits), len(hits))} |"


def interval(hits: int, of: int) -> str:
    low, high = wilson_ends(hits / of, of)
    return f"{hits}/{of} | {low:.2g}–{high:.2g}"


def collection_rows() -> Iterator[str]:
    """The published 8-bit slices of COVID-CTset as a collection of single pictures; not used for choosing limits."""
    root = Path(os.environ.get("ELSEWHERE_REAL_DATA", "../shared/data/real")) / "covid-ctset" / "png-slices-from-CovCT"
    files = sorted(root.glob("*.png"))
    if not files:
        return
    patients = [f"{'covid' in f.name}/{next(part for part in f.name.split('_') if 'patient' in part)}" for f in files]
    matches = find_matches([fingerprint(decode_picture(f).pixels) for f in files])
    same = {(i, j) for i, j in combinations(range(len(files)), 2) if patients[i] == patients[j]}
    wrong = sum((m.first, m.second) not in same for m in matches)
    apart = len(files) * (len(files) - 1) // 2 - len(same)
    name = f"COVID-CTset as pictures ({len(files)} of {len(set(patients))} patients)"
    yield f"| {name} | different patients | {interval(wrong, apart)} |"
    yield f"| {name} | one patient: other slices and kernels | {interval(len(matches) - wrong, len(same))} |"


def picture_tables(planted: list[Any], real: list[Any]) -> Iterator[str]:
    settings = MatchSettings()
    yield "\n## Single pictures\n"
    yield (
        "Scans of one or two slices are compared picture by picture: a match is a copy or a neighbouring slice. It "
        f"needs {settings.picture} in the whole picture and {settings.vessels} in the vessels of the lungs "
        f"({settings.picture_alone} in the picture alone where no lung shows). Equal voxels are found in any case, by "
        "their hashes. The middle slice of each patient, altered:\n"
    )
    yield "| alteration | simulated | real |\n|---|---|---|"
    groups = [[c.hu for c in group] for group in (planted, list({c.patient: c for c in real}.values()))]
    wrong = [0, 0]
    for name, alter in ALTERATIONS.items():
        counts = [found_again(group, alter) for group in groups]
        wrong = [w + c[1] for w, c in zip(wrong, counts, strict=True)]
        shown = (f"{c[0]}/{len(g)}" if g else "–" for c, g in zip(counts, groups, strict=True))
        yield f"| {name} | {' | '.join(shown)} |"
    tried = [len(ALTERATIONS) * len(g) * (len(g) - 1) for g in groups]
    shown = (f"{w}/{t}" if t else "–" for w, t in zip(wrong, tried, strict=True))
    yield f"| *taken for another patient's, all alterations* | {' | '.join(shown)} |"
    yield (
        "\nAll pairs of single slices from a fifth to 85 % of the height, as stored; the pairs of one patient are not "
        "independent, so the intervals are too narrow. Simulated chests share one plan and are more alike than people. "
        "The limits were chosen on seed 0 and with these real scans in view; this page's seed and COVID-CTset's "
        "pictures were not used.\n"
    )
    yield "| slices | pairs of | matched | 95 % |\n|---|---|---|---|"
    for name, cases in (("simulated", planted), ("real", real)):
        if cases:
            yield from pairs_table(cases, name)
    yield from collection_rows()


def main() -> None:
    from forensics import PATIENTS, PLANTED_IN, SEED, one_each, real_cases, simulated  # noqa: PLC0415 - it imports us

    whole = [c for c in one_each(simulated(SEED, PATIENTS)) if c.as_stored.units != "relative"]
    for line in picture_tables(whole[:: max(1, len(whole) // PLANTED_IN)][:PLANTED_IN], real_cases()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
