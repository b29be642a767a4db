"""Coverage of calibration, new hospitals and parts of a drop, and the bias of the grid AUC, on studies of known truth.

Each `…_rows` gives the rows of one table of `benchmarks/evidence.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtri
from scipy.stats import norm, t

from elsewhere.statistics.calibration import calibration_line
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.decomposition import decompose
from elsewhere.statistics.over_sites import auc_over_sites
from elsewhere.statistics.pooled import SiteScores, mean_aucs
from elsewhere.statistics.roc import exact_auc, grid_auc

WITHIN_PATIENT = 0.7
POPULATION = 200_000


@dataclass(frozen=True)
class Patients:
    """How many patients a study draws, the share of them that is positive, and scans of each."""

    name: str
    patients: int
    positive: float
    scans: int


UTSW, COVID, CC = (
    Patients("68 patients, 29 % positive, 1 scan each", 68, 0.294, 1),
    Patients("91 patients, 21 % positive, 3 scans each", 91, 0.209, 3),
    Patients("549 patients, 34 % positive, 1 scan each", 549, 0.339, 1),
)


def drawn(site: Patients, gap: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, patients and scores (scans,): normal, `gap` apart, 70 % of the variance between patients."""
    people = np.repeat(np.arange(site.patients), site.scans)
    labels = (random.random(site.patients) < site.positive).astype(int)[people]
    between, within = random.normal(size=site.patients)[people], random.normal(size=people.size)
    return labels, people, gap * labels + WITHIN_PATIENT**0.5 * between + (1 - WITHIN_PATIENT) ** 0.5 * within


def clustered_normals(patients: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Standard normal scores (scans,) of patients numbered from 0, `WITHIN_PATIENT` of the variance between them."""
    shared = random.normal(size=patients.max() + 1)[patients]
    return WITHIN_PATIENT**0.5 * shared + (1 - WITHIN_PATIENT) ** 0.5 * random.normal(size=patients.size)


def said(scores: np.ndarray, site: Patients, gap: float, slope: float, shift: float) -> np.ndarray:
    """Probabilities whose calibration has this slope and this intercept beside it; 1 and 0 are calibrated."""
    true = gap * scores - gap**2 / 2 + logit(site.positive)
    return expit((true - shift) / slope)


CALIBRATION = ((1.0, 0.0, 1.2), (0.4, 0.0, 1.2), (2.0, 0.5, 1.2), (1.0, 0.0, 0.3), (1.0, 0.0, 2.5))
"""(slope, intercept beside it, gap of the classes)."""


def calibration_coverage(
    task: tuple[Patients, tuple[float, float, float], int, int],
) -> tuple[float, float, float, float]:
    """Shares of intervals that hold the true slope, intercept and O:E, and of data sets without a slope."""
    site, (slope, shift, gap), repeats, seed = task
    random = np.random.default_rng([seed, site.patients, int(10 * slope), int(10 * gap), 1])
    many = Patients("", POPULATION, site.positive, 1)
    truth, _, scores = drawn(many, gap, random)
    values = said(scores, site, gap, slope, shift)
    level = brentq(lambda a: float(expit(a + logit(values)).mean() - truth.mean()), -20, 20)
    ratio, rows = truth.sum() / values.sum(), []
    for _ in range(repeats):
        labels, people, scores = drawn(site, gap, random)
        line = calibration_line(labels, said(scores, site, gap, slope, shift), people)
        ends = (line.slope_ends, line.intercept_ends, line.observed_expected_ends)
        held = [
            np.nan if low is None or high is None else float(low <= true <= high)
            for (low, high), true in zip(ends, (slope, level, ratio), strict=True)
        ]
        rows.append([*held, float(line.slope is None)])
    return tuple(np.nanmean(rows, axis=0).tolist())


def calibration_rows(pool: ProcessPoolExecutor, repeats: int, seed: int) -> list[tuple[str, ...]]:
    grid = [(s, c) for s in (UTSW, COVID, CC) for c in CALIBRATION]
    found = pool.map(calibration_coverage, [(s, c, repeats, seed) for s, c in grid])
    return [
        (s.name, f"{slope:g}", f"{shift:g}", f"{norm.cdf(gap / 2**0.5):.2f}", f)
        for (s, (slope, shift, gap)), f in zip(grid, found, strict=True)
    ]


SPREADS = ((0.75, 0.0), (0.75, 0.3), (0.75, 0.8), (0.9, 0.5))
"""(AUC in the middle of the population of hospitals, standard deviation between them in log-odds)."""
SITES = (4, 5, 8, 15)
SIZES = ((20, 48), (30, 60), (60, 200))


def new_site_coverage(task: tuple[int, tuple[float, float], int, int]) -> tuple[float, float, float, float]:
    """Coverage of the mean; of a new hospital, and by the t interval with k - 2; mean width of the second."""
    sites, (middle, spread), repeats, seed = task
    random, rows = np.random.default_rng([seed, sites, int(100 * spread), int(100 * middle), 2]), []
    for _ in range(repeats):
        tests = []
        for auc in expit(random.normal(logit(middle), spread, sites)):
            positives, negatives = SIZES[random.integers(len(SIZES))]
            labels = np.repeat([1, 0], [positives, negatives])
            tests.append(
                (labels, np.arange(labels.size), 2**0.5 * ndtri(auc) * labels + random.normal(size=labels.size))
            )
        found = auc_over_sites(tests)
        rows.append((found.low <= middle <= found.high, *_new(found, middle, spread)))
    return tuple(np.mean(rows, axis=0).tolist())


def _new(found, middle: float, spread: float) -> tuple[float, float, float]:
    """How often a new hospital lies in the interval, and in that of Higgins, Thompson & Spiegelhalter; its width."""
    half = logit(found.high) - logit(found.mean)
    error = half / t.ppf(0.975, found.sites - 1)
    reach = t.ppf(0.975, found.sites - 2) * (found.between**2 + error**2) ** 0.5
    plain = (logit(found.mean) - reach, logit(found.mean) + reach)
    shares = []
    for low, high in ((logit(found.new_low), logit(found.new_high)), plain):
        if spread == 0:
            shares.append(float(low <= logit(middle) <= high))
        else:
            shares.append(norm.cdf((high - logit(middle)) / spread) - norm.cdf((low - logit(middle)) / spread))
    return shares[0], shares[1], found.new_high - found.new_low


def new_site_rows(pool: ProcessPoolExecutor, repeats: int, seed: int) -> list[tuple[str, ...]]:
    grid = [(k, s) for k in SITES for s in SPREADS]
    found = pool.map(new_site_coverage, [(k, s, repeats, seed) for k, s in grid])
    return [(f"{k}", f"{middle}", f"{spread}", f) for (k, (middle, spread)), f in zip(grid, found, strict=True)]


MOVES = {
    "prevalence 30 % to 40 %, cautious threshold": ((0.3, 2.0, 0.0), (0.4, 2.0, 0.0), 0.8),
    "scores moved up": ((0.3, 2.0, 0.0), (0.3, 2.0, 1.5), 0.5),
    "ranking lost": ((0.3, 2.0, 0.0), (0.3, 0.5, 0.0), 0.5),
    "all three": ((0.3, 2.0, 0.0), (0.6, 1.0, 1.0), 0.6),
}
"""Name -> (share of positives, gap, shift) at home and elsewhere, and the threshold."""
PARTS = ("drop", "threshold", "threshold_held", "calibration", "ranking")


def a_side(patients: int, site: tuple[float, float, float], random: np.random.Generator, held: bool):
    share, gap, shift = site
    count = round(share * patients)
    labels = (np.arange(patients) < count).astype(int) if held else (random.random(patients) < share).astype(int)
    return labels, np.arange(patients), expit(random.normal(size=patients) + gap * (labels - 0.5) + shift)


def drop_coverage(task: tuple[str, int, int, int]) -> list[float]:
    """Coverage of each of `PARTS`: `threshold_held` where class numbers are fixed, the others where sampled."""
    name, patients, repeats, seed = task
    home, there, threshold = MOVES[name]
    point = OperatingPoint(threshold, "grid", "model", 0.9, 100)
    random, rows = np.random.default_rng([seed, patients, len(name), 3]), []
    truth = decompose(*(a_side(POPULATION, s, random, True) for s in (home, there)), point, resamples=2)
    for repeat in range(repeats):
        sampled, fixed = (
            decompose(*(a_side(patients, s, random, held) for s in (home, there)), point, resamples=400, seed=repeat)
            for held in (False, True)
        )
        found = [getattr(fixed if part == "threshold_held" else sampled, part) for part in PARTS]
        wanted = [getattr(truth, part).estimate for part in PARTS]
        rows.append([i.low <= w <= i.high for i, w in zip(found, wanted, strict=True)])
    return np.mean(rows, axis=0).tolist()


def drop_rows(pool: ProcessPoolExecutor, repeats: int, seed: int) -> list[tuple[str, ...]]:
    grid = [(name, patients) for name in MOVES for patients in (100, 400)]
    found = pool.map(drop_coverage, [(name, patients, repeats // 5, seed) for name, patients in grid])
    return [(name, f"{patients}", f) for (name, patients), f in zip(grid, found, strict=True)]


def grid_bias(task: tuple[Patients, float, float, int, int]) -> tuple[float, float, float, float]:
    """Share of scans in the outer steps; mean, mean absolute and largest absolute difference, grid less exact."""
    site, auc, sharpness, repeats, seed = task
    random, rows = np.random.default_rng([seed, site.patients, int(100 * auc), int(sharpness), 4]), []
    gap = 2**0.5 * ndtri(auc)
    while len(rows) < repeats:
        labels, _, scores = drawn(site, gap, random)
        if 0 < labels.mean() < 1:
            values = expit(sharpness * (scores - gap / 2))
            outer = np.mean((values < 0.01) | (values >= 0.99))
            rows.append((outer, float(grid_auc(labels, values)) - float(exact_auc(labels, values))))
    outer, gaps = np.array(rows).T
    return float(outer.mean()), float(gaps.mean()), float(np.abs(gaps).mean()), float(np.abs(gaps).max())


def grid_rows(pool: ProcessPoolExecutor, repeats: int, seed: int) -> list[tuple[str, ...]]:
    grid = [(s, a, k) for s in (UTSW, CC) for a in (0.7, 0.9) for k in (1.0, 3.0, 10.0, 30.0)]
    found = pool.map(grid_bias, [(s, a, k, repeats, seed) for s, a, k in grid])
    return [(s.name, f"{a}", f"{k:g}", f) for (s, a, k), f in zip(grid, found, strict=True)]


MEAN_SITES = {"A": (23, 55, 1.0), "B": (30, 59, 1.5), "C": (22, 69, 2.0)}
"""Test scans of the demo's sites: positives, negatives, scans of one patient."""

MEAN_TRUTHS = {
    "high at home, high elsewhere": ((0.98, 0.93, 0.90), (0.98, 0.98, 0.80), (0.92, 0.66, 0.85)),
    "high at home, low elsewhere": ((0.90, 0.37, 0.33), (0.70, 0.90, 0.47), (0.27, 0.21, 0.80)),
    "the same everywhere": ((0.85, 0.85, 0.85),) * 3,
}
"""Three networks (rows) at three sites (columns): true AUCs; a network's home is the site of its own place."""


def mean_rows(pool: ProcessPoolExecutor, repeats: int, seed: int) -> Iterator[tuple[str, tuple[float, ...]]]:
    """(truth, coverage of the intervals of the mean at home, elsewhere, their difference, a paired difference)."""
    yield from zip(MEAN_TRUTHS, pool.map(_means, [(name, repeats, seed) for name in MEAN_TRUTHS]), strict=True)


def _means(task: tuple[str, int, int]) -> tuple[float, ...]:
    name, repeats, seed = task
    truth, random = np.array(MEAN_TRUTHS[name]), np.random.default_rng([seed, 8, list(MEAN_TRUTHS).index(name)])
    homes = [(str(m), site) for m, site in enumerate(MEAN_SITES)]
    away = [(str(m), site) for m in range(3) for s, site in enumerate(MEAN_SITES) if s != m]
    twins = [(f"{m}'", site) for m, site in away]  # under another protocol: a tenth nearer to 1
    groups = {"home": homes, "away": away, "twins": twins}
    means = {"home": truth.diagonal().mean(), "away": (truth.sum() - truth.trace()) / 6}
    means["home - away"] = means["home"] - means["away"]
    means["away - twins"] = -0.1 * (1 - means["away"])
    held = []
    for _ in range(repeats):
        sites = {}
        for s, (site, (positives, negatives, times)) in enumerate(MEAN_SITES.items()):
            labels = np.repeat([1, 0], [positives, negatives])
            sick, well = (max(2, round(scans / times)) for scans in (positives, negatives))
            patients = np.concatenate([np.arange(positives) % sick, sick + np.arange(negatives) % well])
            common, *own = (clustered_normals(patients, random) for _ in range(7))
            aucs = [*truth[:, s], *(truth[:, s] + 0.1 * (1 - truth[:, s]))]
            names = [*"012", *(f"{m}'" for m in range(3))]
            scores = {
                n: 2**0.5 * ndtri(auc) * labels + 0.5**0.5 * (common + noise)
                for n, auc, noise in zip(names, aucs, own, strict=True)
            }
            sites[site] = SiteScores(labels, patients, scores)
        found = mean_aucs(sites, groups, [("home", "away"), ("away", "twins")])
        held.append([found[key].low <= mean <= found[key].high for key, mean in means.items()])
    return tuple(np.mean(held, axis=0).tolist())
