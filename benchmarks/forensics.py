"""Planted faults in simulated and real scans in; what forensics finds, misses and invents out, as Markdown.

    python benchmarks/forensics.py [--out docs/forensics-tables.md] [--chest]

Real scans come from ELSEWHERE_REAL_DATA (or ../shared/data/real); without them their columns stay empty.
`--chest` prints instead the mean simulated chest that `src/elsewhere/scans/quality/chest.py` holds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from single_pictures import picture_tables

from elsewhere.scans.intake import take_in
from elsewhere.scans.phantom.exam import Plan, make
from elsewhere.scans.phantom.sites import default_sites, plan_site
from elsewhere.scans.quality.appearance import find_encoding, find_padding
from elsewhere.scans.quality.examination import examine
from elsewhere.scans.quality.fingerprint import Fingerprint, take_fingerprint
from elsewhere.scans.quality.matching import MatchSettings, find_matches
from elsewhere.scans.quality.order import find_order_faults
from elsewhere.scans.quality.orientation import find_orientation, write_chest
from elsewhere.scans.quality.shrunk import shrink
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import reader
from elsewhere.scans.volume import Preparation, Volume, lung_mask, to_hu
from elsewhere.statistics.intervals import wilson_ends

PATIENTS, MATRIX, FINEST, SEED = 40, 96, 4.0, 2027  # not the seed that the limits were chosen on (0)
CHEST_SEED, CHEST_PATIENTS = 0, 15
PLANTED_IN = 24
COVID_CT_MD = ("COVID-19 subjects/P001", "COVID-19 subjects/P002", "Cap subjects/cap001", "Cap subjects/cap002",
               "Normal subjects/normal001", "Normal subjects/normal002")  # fmt: skip
Voxels = np.ndarray


@dataclass(frozen=True)
class Case:
    patient: str
    origin: str
    hu: Voxels
    segmented: bool
    as_stored: Volume


def simulated(seed: int, patients: int) -> list[Case]:
    plans = [p for site in default_sites() for p in plan_site(replace(site, patients=patients), seed, FINEST)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(simulate, plans, chunksize=4))


def simulate(plan: Plan) -> Case:
    volume = make(plan, MATRIX).volume
    hu = np.ascontiguousarray(to_hu(volume).voxels)
    return Case(f"{plan.site}/{plan.patient_id}", "simulated", hu, plan.protocol.segmented, volume)


def real_cases() -> list[Case]:
    root = Path(os.environ.get("ELSEWHERE_REAL_DATA", "../shared/data/real"))
    if not (root / "covid-ct-md").is_dir():
        return []
    with tempfile.TemporaryDirectory() as scratch:
        return [real_case(patient, files) for patient, files in real_files(root, Path(scratch))]


def real_files(root: Path, scratch: Path) -> Iterator[tuple[str, list[Path]]]:
    for subject in COVID_CT_MD:
        yield subject, list((root / "covid-ct-md" / subject).iterdir())
    for folder in ("nlst", "acrin-nsclc-fdg-pet"):
        yield folder, list((root / folder).glob("*.dcm"))
    yield "chest-imaging-platform", list((root / "chest-imaging-platform" / "ct-64Dicom").iterdir())
    for archive in sorted((root / "lung-pet-ct-dx").glob("*.zip")):
        with zipfile.ZipFile(archive) as content:
            content.extractall(scratch / archive.stem)
        files = [f for f in (scratch / archive.stem).rglob("*") if f.is_file()]
        yield archive.stem.split("_kernel")[0].split("_B")[0], files


def real_case(patient: str, files: list[Path]) -> Case:
    volume = reader("utsw").read(Scan("real", patient, patient, 0, tuple(sorted(files))))
    return Case(patient, "real", volume.voxels, False, volume)


# Alterations that leave the anatomy ---------------------------------------------------------------------------------


def window(hu: Voxels, low: float, high: float) -> Voxels:
    return np.clip(np.rint((hu.astype(np.float32) - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def noisy(hu: Voxels) -> Voxels:
    return np.rint(hu + np.random.default_rng(0).normal(0, 60, hu.shape)).astype(np.int16)


def averaged(hu: Voxels) -> Voxels:
    even = hu[: len(hu) // 2 * 2].astype(np.float32)
    return np.rint((even[::2] + even[1::2]) / 2).astype(np.int16)


def cropped(hu: Voxels) -> Voxels:
    rows, columns = (n // 14 for n in hu.shape[1:])
    return hu[:, rows:-rows, columns:-columns]


ALTERATIONS: dict[str, Callable[[Voxels], Voxels]] = {
    "8 bits, lung window −1350..150": lambda hu: window(hu, -1350, 150),
    "8 bits, window −1000..400": lambda hu: window(hu, -1000, 400),
    "8 bits, soft-tissue window −160..240": lambda hu: window(hu, -160, 240),
    "HU + 1024, negative values cut": lambda hu: np.maximum(hu, -1024) + np.int16(1024),
    "slices reversed": lambda hu: hu[::-1],
    "left and right exchanged": lambda hu: hu[:, :, ::-1],
    "upside down": lambda hu: hu[:, ::-1],
    "every second slice": lambda hu: hu[::2],
    "every third slice": lambda hu: hu[1::3],
    "pairs of slices averaged": averaged,
    "half the matrix": lambda hu: hu[:, ::2, ::2],
    "field of view cut by a seventh": cropped,
    "upper tenth missing": lambda hu: hu[round(len(hu) / 10) :],
    "lower tenth missing": lambda hu: hu[: -round(len(hu) / 10)],
    "upper quarter missing": lambda hu: hu[round(len(hu) / 4) :],
    "noise of 60 HU added": noisy,
    "lung window, every second slice, reversed, mirrored": lambda hu: window(hu, -1350, 150)[::2][::-1, :, ::-1],
}


def fingerprint(voxels: Voxels) -> Fingerprint:
    return take_fingerprint(shrink(np.ascontiguousarray(voxels)))


def found_again(cases: list[Case], originals: list[Fingerprint], alter: Callable[[Voxels], Voxels]) -> tuple[int, int]:
    """(altered copies found, altered copies taken for another patient's)."""
    n = len(cases)
    matches = find_matches([*originals, *(fingerprint(alter(c.hu)) for c in cases)])
    across = [(m.first, m.second - n) for m in matches if m.first < n <= m.second]
    return sum(i == j for i, j in across), sum(i != j for i, j in across)


def share(hits: int, of: int) -> str:
    return f"{hits}/{of}" if of else "–"


def strangers(cases: list[Case]) -> tuple[int, int, dict[str, tuple[int, int]]]:
    """False matches, pairs of different patients, and of each kind of pair of one patient (found, all)."""
    prints = [fingerprint(c.as_stored.voxels) for c in cases]
    matched = {(m.first, m.second) for m in find_matches(prints)}
    same: dict[str, list[tuple[int, int]]] = {}
    for i, j in combinations(range(len(cases)), 2):
        if cases[i].patient == cases[j].patient:
            same.setdefault(SECOND_SCANS[cases[i].patient.split("/")[0]], []).append((i, j))
    apart = len(cases) * (len(cases) - 1) // 2 - sum(map(len, same.values()))
    wrong = len(matched) - sum(pair in matched for pairs in same.values() for pair in pairs)
    return wrong, apart, {kind: (sum(p in matched for p in pairs), len(pairs)) for kind, pairs in same.items()}


SECOND_SCANS = {
    "COVID-CTset": "another kernel or thickness of one examination",
    "CC-CCII": "another examination days later, the disease changed",
    "Lung_Dx-A0002": "another kernel of one examination (B70f, B40f)",
}


def fingerprint_tables(everything: list[Case], planted: list[Case], real: list[Case]) -> Iterator[str]:
    yield "## The same anatomy, found again\n"
    yield "Altered copies of one scan of each patient, searched for among the scans as they were.\n"
    yield "| alteration | simulated | real |\n|---|---|---|"
    groups = [(g, [fingerprint(c.hu) for c in g]) for g in (planted, one_each(real))]
    wrong = [0, 0]
    for name, alter in ALTERATIONS.items():
        counts = [found_again(g, prints, alter) for g, prints in groups]
        wrong = [w + c[1] for w, c in zip(wrong, counts, strict=True)]
        yield f"| {name} | " + " | ".join(share(c[0], len(g)) for c, (g, _) in zip(counts, groups, strict=True)) + " |"
    tried = [len(ALTERATIONS) * len(g) * (len(g) - 1) for g, _ in groups]
    shares = " | ".join(share(w, t) for w, t in zip(wrong, tried, strict=True))
    yield f"| *taken for another patient's, all alterations* | {shares} |"
    yield "\n## Matches between scans as they are\n"
    yield "| scans | pairs of | matched | 95 % |\n|---|---|---|---|"
    for name, cases in (("simulated", everything), ("real", real)):
        if cases:
            wrong_here, apart, found = strangers(cases)
            yield f"| {name} ({len(cases)}) | different patients (false matches) | {interval(wrong_here, apart)} |"
            for kind, (hits, pairs) in found.items():
                yield f"| {name} | one patient: {kind} | {interval(hits, pairs)} |"
    settings = MatchSettings()
    yield (
        f"\nA match needs {settings.shape} in shape and {settings.slices} in slices. A soft-tissue window makes the "
        "lungs black: their vessels, and with them the match, are lost."
    )


def interval(hits: int, of: int) -> str:
    low, high = wilson_ends(hits / of, of)
    return f"{hits}/{of} | {low:.2g}–{high:.2g}"


def one_each(cases: list[Case]) -> list[Case]:
    return list({case.patient: case for case in cases}.values())


# Slice order --------------------------------------------------------------------------------------------------------


def gap(slices: int) -> Callable[[int, np.random.Generator], np.ndarray]:
    def order(n: int, random: np.random.Generator) -> np.ndarray:
        start = int(random.integers(n // 4, 3 * n // 4 - slices))
        return np.delete(np.arange(n), np.arange(start, start + slices))

    return order


def exchanged(n: int, random: np.random.Generator) -> np.ndarray:
    order, first = np.arange(n), int(random.integers(n // 5, 2 * n // 5))
    second = first + int(random.integers(4, n // 3))
    order[[first, second]] = order[[second, first]]
    return order


def repeated(n: int, random: np.random.Generator) -> np.ndarray:
    place = int(random.integers(n // 4, 3 * n // 4))
    return np.insert(np.arange(n), place, [place])


def wrapped(n: int, random: np.random.Generator) -> np.ndarray:
    return np.roll(np.arange(n), int(random.integers(n // 4, 3 * n // 4)))


def backward_block(n: int, random: np.random.Generator) -> np.ndarray:
    order, start = np.arange(n), int(random.integers(n // 5, n // 2))
    order[start : start + n // 4] = order[start : start + n // 4][::-1]
    return order


ORDERS: dict[str, tuple[str, Callable[[int, np.random.Generator], np.ndarray]]] = {
    "first and last part exchanged (`15-20+0-14`)": ("permuted", wrapped),
    "a quarter backwards": ("permuted", backward_block),
    "two slices exchanged": ("permuted", exchanged),
    "all shuffled": ("permuted", lambda n, random: random.permutation(n)),
    "one slice twice": ("repeated", repeated),
    "1 slice missing": ("missing", gap(1)),
    "2 slices missing": ("missing", gap(2)),
    "3 slices missing": ("missing", gap(3)),
    "5 slices missing": ("missing", gap(5)),
    "8 slices missing": ("missing", gap(8)),
}


def order_tables(everything: list[Case], planted: list[Case], real: list[Case]) -> Iterator[str]:
    yield "\n## Slice order\n"
    yield "Found: the planted kind of fault is named. Slices as published: 4 to 10 mm apart.\n"
    yield "| planted | named as | simulated | real |\n|---|---|---|---|"
    for name, (kind, order) in ORDERS.items():
        counts = [share(sum(names_fault(c, kind, order, i) for i, c in enumerate(g)), len(g)) for g in (planted, real)]
        yield f"| {name} | {kind} | {counts[0]} | {counts[1]} |"
    turned = [share(sum(looks_reversed(c.hu[::-1]) for c in g), len(g)) for g in (planted, real)]
    yield f"| all slices reversed | reversed | {turned[0]} | {turned[1]} |"
    alarms = [share(sum(bool(faults(c.as_stored.voxels)) for c in g), len(g)) for g in (everything, real)]
    yield f"| nothing | false alarm, order | {alarms[0]} | {alarms[1]} |"
    alarms = [share(sum(looks_reversed(c.as_stored.voxels) for c in g), len(g)) for g in (everything, real)]
    yield f"| nothing | false alarm, reversed | {alarms[0]} | {alarms[1]} |"


def faults(voxels: Voxels) -> set[str]:
    return {fault.kind for fault in find_order_faults(shrink(np.ascontiguousarray(voxels)))}


def names_fault(case: Case, kind: str, order: Callable[[int, np.random.Generator], np.ndarray], seed: int) -> bool:
    return kind in faults(case.hu[order(len(case.hu), np.random.default_rng(seed))])


def looks_reversed(voxels: Voxels) -> bool:
    return find_orientation(fingerprint(voxels)).is_reversed


# Encoding, blackening, padding --------------------------------------------------------------------------------------


def scaled(hu: Voxels) -> Voxels:
    shifted = np.maximum(hu, -1024).astype(np.float32) + 1024
    return np.rint(shifted / shifted.max() * 255).astype(np.uint8)


ENCODINGS: dict[str, tuple[str, Callable[[Voxels], Voxels]]] = {
    "HU": ("HU", lambda hu: hu),
    "HU, cut at −1000 and 400": ("HU", lambda hu: np.clip(hu, -1000, 400)),
    "HU + 1024": ("HU with an offset", lambda hu: np.maximum(hu, -1024) + np.int16(1024)),
    "lung window −1350..150, 8 bits": ("window", lambda hu: window(hu, -1350, 150)),
    "window −1000..400, 8 bits": ("window", lambda hu: window(hu, -1000, 400)),
    "soft-tissue window −160..240, 8 bits": ("soft-tissue window", lambda hu: window(hu, -160, 240)),
    "divided by its maximum, 8 bits": ("scaled to its maximum", scaled),
}


def segmented(hu: Voxels, low: float, high: float) -> Voxels:
    return np.where(lung_mask(hu), window(hu, low, high), 0).astype(np.uint8)


def outside(shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = (np.linspace(-1, 1, n) for n in shape[1:])
    return np.hypot(rows[:, None], columns[None, :]) > 1


def with_circle(hu: Voxels, value: int) -> Voxels:
    return np.where(outside(hu.shape), np.int16(value), np.maximum(hu, -1000))


def with_bars(hu: Voxels) -> Voxels:
    return np.pad(np.maximum(hu, -1000), ((0, 0), (hu.shape[1] // 10,) * 2, (0, 0)), constant_values=-2000)


LOOKS: dict[str, tuple[str, Callable[[Voxels], Voxels]]] = {
    "lung-segmented, window −1350..150": ("lung-segmented", lambda hu: segmented(hu, -1350, 150)),
    "lung-segmented, window −1000..400": ("lung-segmented", lambda hu: segmented(hu, -1000, 400)),
    "circle of −2000": ("circle", lambda hu: with_circle(hu, -2000)),
    "circle of −3024": ("circle", lambda hu: with_circle(hu, -3024)),
    "bars of −2000 above and below": ("border", with_bars),
}


def look_tables(planted: list[Case], real: list[Case]) -> Iterator[str]:
    yield "\n## Encoding, blackening, padding\n"
    yield "| planted | named as | simulated | real |\n|---|---|---|---|"
    for name, (kind, encode) in ENCODINGS.items():
        counts = [share(sum(encoding_of(encode(c.hu)) == kind for c in g), len(g)) for g in (planted, real)]
        yield f"| {name} | {kind} | {counts[0]} | {counts[1]} |"
    for name, (kind, plant) in LOOKS.items():
        counts = [share(sum(kind in looks_of(plant(c.hu)) for c in g), len(g)) for g in (planted, real)]
        yield f"| {name} | {kind} | {counts[0]} | {counts[1]} |"


def simulated_segmented(everything: list[Case]) -> str:
    flags = [(shrink(c.as_stored.voxels).blackened, c.segmented) for c in everything]
    right, planted = sum(a and b for a, b in flags), sum(b for _, b in flags)
    wrong = sum(a and not b for a, b in flags)
    return (
        f"\nLung-segmented scans among the simulated sites as stored: {right}/{planted} found, "
        f"{wrong}/{len(flags) - planted} others flagged."
    )


def encoding_of(voxels: Voxels) -> str:
    return find_encoding(shrink(voxels)).kind


def window_error(cases: list[Case], low: int, high: int) -> str:
    found = [find_encoding(shrink(window(c.hu, low, high))) for c in cases]
    wrong = [(e.low - low, e.high - high) for e in found if e.low is not None and e.high is not None]
    if not wrong:
        return "–"
    return ", ".join(f"{np.median(np.abs(w)):.0f} (at most {max(map(abs, w))})" for w in zip(*wrong, strict=True))


def looks_of(voxels: Voxels) -> set[str]:
    small = shrink(voxels)
    return {find_padding(small).kind} | ({"lung-segmented"} if small.blackened else set())


def window_table(planted: list[Case], real: list[Case]) -> Iterator[str]:
    yield "\nThe window that 8-bit values were cut with, error of its lower and upper end in HU, median (largest):\n"
    yield "| planted window | simulated | real |\n|---|---|---|"
    for low, high in ((-1350, 150), (-1000, 400), (-1250, 250)):
        yield f"| {low}..{high} | {window_error(planted, low, high)} | {window_error(real, low, high)} |"


# Cost ---------------------------------------------------------------------------------------------------------------


def cost_table(cases: list[Case]) -> Iterator[str]:
    base = max((c.hu for c in cases), key=lambda hu: hu[0].size)
    voxels = np.ascontiguousarray(np.resize(base, (100, 512, 512)))
    seconds = best_time(lambda: examine(voxels))
    yield "\n## Cost\n\nSeconds of CPU for one scan of 512 × 512 × 100, best of 5, one core.\n"
    yield "| kept as | protocol | read, measure, prepare, store | examine | share |\n|---|---|---|---|---|"
    harmonised = Preparation((128, 256, 256), "fixed", "hu", maximum=100.0, crop="lungs")
    for kind, volume in (
        ("utsw", Volume(voxels, "HU", (1.0, 0.7, 0.7), 0)),
        ("covid_ctset", Volume(np.clip(voxels + 1024, 0, 4095).astype(np.int16), "ct_number", None, 1024)),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            scan = kept(kind, volume, Path(scratch) / "site")
            for name, preparation in (("paper", Preparation()), ("harmonised", harmonised)):
                tasks = iter(range(9))
                task = (kind, scan, Path(scratch) / "site")
                spent = best_time(partial(take_one, task, Path(scratch), preparation, tasks))
                yield f"| {kind} | {name} | {spent:.3f} | {seconds:.3f} | {seconds / spent:.0%} |"


def kept(kind: str, volume: Volume, root: Path) -> Scan:
    layout = reader(kind)
    scan = Scan(kind, "patient1", "patient1/SR_2" if kind == "covid_ctset" else "patient1", 1)
    layout.write(root, scan, volume)
    layout.write_tables(root, [scan])
    return layout.find(root, kind).scans[0]


def take_one(task: tuple[str, Scan, Path], scratch: Path, preparation: Preparation, numbers: Iterator[int]) -> None:
    stored = take_in(*task, scratch / f"store{next(numbers)}", preparation, lambda _: {})
    assert not isinstance(stored, Exception), stored


def best_time(step: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return min(times)


def tables() -> Iterator[str]:
    everything, real = simulated(SEED, PATIENTS), real_cases()
    whole = [c for c in one_each(everything) if c.as_stored.units != "relative"]
    planted = whole[:: max(1, len(whole) // PLANTED_IN)][:PLANTED_IN]
    yield "# Forensics: what it finds, misses and invents\n"
    yield f"Made by `python benchmarks/forensics.py --out docs/forensics-tables.md` on {datetime.now(UTC).date()}.\n"
    yield (
        f"Simulated: {len(everything)} scans of {len(one_each(everything))} patients at {MATRIX}², seed {SEED}; faults "
        f"planted in {len(planted)} of them. Real: {len(real)} scans of {len(one_each(real))} patients "
        "(COVID-CT-MD, NLST, ACRIN, Lung-PET-CT-Dx, Chest Imaging Platform).\n"
    )
    yield from fingerprint_tables(everything, planted, real)
    yield from picture_tables(planted, real)
    yield from order_tables(everything, planted, real)
    yield from look_tables(planted, real)
    yield simulated_segmented(everything)
    yield from window_table(planted, real)
    yield from cost_table([*planted, *real])


def chest() -> str:
    cases = [c for c in simulated(CHEST_SEED, CHEST_PATIENTS) if not c.segmented]
    return write_chest(np.array([fingerprint(c.as_stored.voxels).shape for c in cases]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="also write the tables here")
    parser.add_argument("--chest", action="store_true", help="print the mean chest")
    given = parser.parse_args()
    if given.chest:
        print(chest())
        return
    start, lines = time.perf_counter(), []
    for line in tables():
        print(line, flush=True)
        lines.append(line)
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\n({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
