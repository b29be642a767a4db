"""Simulated scores of known truth in; coverage, type-I error and time of elsewhere.statistics out, as Markdown.

    python benchmarks/evidence.py [--repeats 1000] [--seed 20261127] [--out docs/evidence-tables.md]

The seed is that of the report and was used for nothing else: no rule of the product was chosen on it.

Scores are normal, one unit apart per class as the true AUC asks; scans of one patient share 70 % of their variance.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from evidence_studies import (
    POPULATION,
    SIZES,
    WITHIN_PATIENT,
    calibration_rows,
    clustered_normals,
    drop_rows,
    grid_rows,
    mean_rows,
    new_site_rows,
)
from scipy.special import ndtri
from sklearn.metrics import roc_auc_score

from elsewhere.statistics.bootstrap import resampled_aucs
from elsewhere.statistics.comparison import compare_models, compare_sites
from elsewhere.statistics.intervals import (
    DEFAULT_AUC_METHOD,
    AucMethod,
    auc_interval,
    proportion_interval,
    wilson_ends,
)

AUCS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)
CLOSED: tuple[AucMethod, ...] = ("score", "logit", "wald")
DRAWN: tuple[AucMethod, ...] = ("percentile", "bca")
DRAWN_SHARE, RESAMPLES = 5, 500
WORKERS = 2


@dataclass(frozen=True)
class Site:
    """A test set's sizes: scans and patients of each class, and the most scans that one patient has."""

    name: str
    positive: tuple[int, int]
    negative: tuple[int, int]
    most: int


SITES = (
    Site("UTSW 20/48", (20, 20), (48, 48), 1),
    Site("COVID-CTset 57/214 (19/72 patients)", (57, 19), (214, 72), 3),
    Site("COVID-CTset 57/214 (28/107 patients, 1–3 scans)", (57, 28), (214, 107), 3),
    Site("CC-CCII 312/540 (186/363 patients)", (312, 186), (540, 363), 5),
)


def scans_of(site: Site) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2021)
    sizes = [share_out(scans, patients, site.most, random) for scans, patients in (site.positive, site.negative)]
    patients = np.repeat(np.arange(sum(map(len, sizes))), np.concatenate(sizes))
    return np.repeat([1, 0], [site.positive[0], site.negative[0]]), patients


def share_out(scans: int, patients: int, most: int, random: np.random.Generator) -> np.ndarray:
    sizes = np.ones(patients, np.int64)
    while sizes.sum() < scans:
        sizes[random.choice(np.flatnonzero(sizes < most))] += 1
    return sizes


def equal_normals(labels: np.ndarray, noise: np.ndarray, auc: float) -> np.ndarray:
    return 2**0.5 * ndtri(auc) * labels + noise


def wide_positives(labels: np.ndarray, noise: np.ndarray, auc: float) -> np.ndarray:
    return np.where(labels == 1, 10**0.5 * ndtri(auc) + 3 * noise, noise)


def wide_negatives(labels: np.ndarray, noise: np.ndarray, auc: float) -> np.ndarray:
    return np.where(labels == 0, 3 * noise, 10**0.5 * ndtri(auc) + noise)


Law = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def auc_coverage(task: tuple[Site, float, tuple[AucMethod, ...], Law, int, int]) -> list[tuple[float, float]]:
    """(share of intervals that hold the true AUC, mean width) of each method."""
    site, auc, methods, law, repeats, seed = task
    labels, patients = scans_of(site)
    random, rows = np.random.default_rng([seed, int(1000 * auc), labels.size]), []
    for repeat in range(repeats):
        scores = law(labels, clustered_normals(patients, random), auc)
        found = [auc_interval(labels, patients, scores, m, resamples=RESAMPLES, seed=repeat) for m in methods]
        rows.append([(i.low - 1e-9 <= auc <= i.high + 1e-9, i.high - i.low) for i in found])
    return [tuple(pair) for pair in np.mean(rows, axis=0).tolist()]


def share_coverage(task: tuple[Site, float, int, int]) -> tuple[float, float, float]:
    """Coverage of the clustered interval, its width, and coverage of the plain Wilson interval, on positives."""
    site, share, repeats, seed = task
    labels, patients = scans_of(site)
    patients = patients[labels == 1]
    random, rows = np.random.default_rng([seed, int(1000 * share), patients.size]), []
    for _ in range(repeats):
        right = (clustered_normals(patients, random) < ndtri(share)).astype(int)
        found, plain = proportion_interval(right, patients), wilson_ends(right.mean(), right.size)
        rows.append((found.low <= share <= found.high, found.high - found.low, plain[0] <= share <= plain[1]))
    return tuple(np.mean(rows, axis=0).tolist())


def false_alarms(task: tuple[Site, float, int, int]) -> tuple[float, float, float]:
    """Share of p < 0.05 between equal models: paired DeLong; paired bootstrap; unpaired DeLong between two sites."""
    site, auc, repeats, seed = task
    labels, patients = scans_of(site)
    random, rows, drawn = np.random.default_rng([seed, int(1000 * auc), labels.size, 7]), [], []
    for repeat in range(repeats):
        common, *own = (clustered_normals(patients, random) for _ in range(4))
        a, b, other = (equal_normals(labels, 0.5**0.5 * (common + o), auc) for o in own)
        away = (labels, patients, equal_normals(labels, own[2], auc))
        rows.append(
            (compare_models(labels, patients, a, b).p_value, compare_sites((labels, patients, a), away).p_value)
        )
        if repeat % DRAWN_SHARE == 0:
            drawn.append(bootstrap_p_value(labels, patients, a, other, repeat))
    paired, unpaired = np.mean(np.array(rows) < 0.05, axis=0).tolist()
    return paired, float(np.mean(np.array(drawn) < 0.05)), unpaired


def bootstrap_p_value(
    labels: np.ndarray, patients: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int
) -> float:
    """Of no difference in AUC: twice the smaller share of paired resamples of patients on either side (ties half)."""
    ours, theirs = resampled_aucs(labels, patients, np.stack([first, second]), RESAMPLES, seed)
    below = float((ours < theirs).sum() + (ours == theirs).sum() / 2)
    return min(1.0, 2 * (min(below, RESAMPLES - below) + 1) / (RESAMPLES + 1))


def percent(share: float, low: float = 0.93, high: float = 0.97) -> str:
    return f"{100 * share:.1f}" if low <= round(share, 3) <= high else f"**{100 * share:.1f}**"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def coverage_part(pool: ProcessPoolExecutor, repeats: int, seed: int) -> str:
    grid = [(s, a) for s in SITES for a in AUCS]
    closed = pool.map(auc_coverage, [(s, a, CLOSED, equal_normals, repeats, seed) for s, a in grid])
    drawn = pool.map(auc_coverage, [(s, a, DRAWN, equal_normals, repeats // DRAWN_SHARE, seed) for s, a in grid])
    rows = [
        [s.name, f"{a}", *(f"{percent(c)} ({w:.3f})" for c, w in [*one, *two])]
        for (s, a), one, two in zip(grid, closed, drawn, strict=True)
    ]
    return table(["site", "AUC", *CLOSED, *DRAWN], rows)


def robustness_part(pool: ProcessPoolExecutor, repeats: int, seed: int) -> str:
    laws = {"positives 3 × as wide": wide_positives, "negatives 3 × as wide": wide_negatives}
    grid = [(n, s, a) for n in laws for s in (SITES[0], SITES[2], SITES[3]) for a in (0.7, 0.9, 0.99)]
    found = pool.map(auc_coverage, [(s, a, CLOSED, laws[n], repeats // 2, seed) for n, s, a in grid])
    rows = [
        [n, s.name, f"{a}", *(f"{percent(c)} ({w:.3f})" for c, w in f)]
        for (n, s, a), f in zip(grid, found, strict=True)
    ]
    return table(["scores", "site", "AUC", *CLOSED], rows)


def share_part(pool: ProcessPoolExecutor, repeats: int, seed: int) -> str:
    grid = [(s, p) for s in SITES for p in SHARES]
    found = pool.map(share_coverage, [(s, p, repeats, seed) for s, p in grid])
    rows = [
        [f"{s.name}, {s.positive[0]} positives", f"{p}", f"{percent(c)} ({w:.3f})", percent(plain)]
        for (s, p), (c, w, plain) in zip(grid, found, strict=True)
    ]
    return table(["site", "sensitivity", "Wilson, effective sample size", "plain Wilson"], rows)


def alarm_part(pool: ProcessPoolExecutor, repeats: int, seed: int) -> str:
    grid = [(s, a) for s in SITES for a in AUCS]
    found = pool.map(false_alarms, [(s, a, repeats, seed) for s, a in grid])
    rows = [[s.name, f"{a}", *(percent(x, 0.03, 0.07) for x in f)] for (s, a), f in zip(grid, found, strict=True)]
    return table(["site", "AUC", "paired DeLong", "paired bootstrap", "two sites, DeLong"], rows)


def calibration_part(pool: ProcessPoolExecutor, repeats: int, seed: int) -> str:
    rows = [
        [*head, *map(percent, held), f"{100 * none:.1f}"]
        for *head, (*held, none) in calibration_rows(pool, repeats, seed)
    ]
    head = [
        "patients",
        "true slope",
        "its intercept",
        "AUC",
        "slope",
        "intercept in the large",
        "O:E",
        "no slope given",
    ]
    return table(head, rows)


def new_site_part(pool: ProcessPoolExecutor, repeats: int, seed: int) -> str:
    rows = [
        [*head, percent(mean), f"{percent(new)} ({width:.2f})", percent(plain)]
        for *head, (mean, new, plain, width) in new_site_rows(pool, repeats, seed)
    ]
    return table(["sites", "AUC", "SD between (log-odds)", "mean", "new hospital (width)", "t with k − 2"], rows)


def mean_part(pool: ProcessPoolExecutor, repeats: int, seed: int) -> str:
    rows = [[name, *map(percent, held)] for name, held in mean_rows(pool, repeats, seed)]
    return table(
        ["networks and sites", "mean at home", "mean elsewhere", "home less elsewhere", "paired protocols"], rows
    )


def drop_part(pool: ProcessPoolExecutor, repeats: int, seed: int) -> str:
    rows = [[*head, *map(percent, held)] for *head, held in drop_rows(pool, repeats, seed)]
    head = ["move", "patients at each site", "drop", "threshold", "threshold, numbers fixed", "calibration", "ranking"]
    return table(head, rows)


def grid_part(pool: ProcessPoolExecutor, repeats: int, seed: int) -> str:
    rows = [
        [*head, f"{outer:.0%}", f"{mean:+.3f}", f"{absolute:.3f}", f"{largest:.3f}"]
        for *head, (outer, mean, absolute, largest) in grid_rows(pool, repeats, seed)
    ]
    head = ["patients", "AUC", "sharpness", "scans in the outer steps", "mean", "mean absolute", "largest"]
    return table(head, rows)


def speed_part(resamples: int = 2000, loop_resamples: int = 10) -> str:
    """36 cells: nine models at three two-class sites and MosMedData's size as a fourth, with made-up negatives."""
    sites = [SITES[0], SITES[3], SITES[1], Site("MosMedData 171/171", (171, 171), (171, 171), 1)]
    random, cells = np.random.default_rng(0), []
    for site in sites:
        labels, patients = scans_of(site)
        cells.append(
            (
                labels,
                patients,
                np.stack([equal_normals(labels, clustered_normals(patients, random), 0.8) for _ in range(9)]),
            )
        )
    fast = min(clock(lambda: [resampled_aucs(y, p, s, resamples) for y, p, s in cells]) for _ in range(5))

    def loop() -> None:
        for labels, patients, scores in cells:
            members = [np.flatnonzero(patients == p) for p in range(patients.max() + 1)]
            for row in scores:
                for _ in range(loop_resamples):
                    drawn = np.concatenate([members[i] for i in random.integers(len(members), size=len(members))])
                    if 0 < labels[drawn].mean() < 1:
                        roc_auc_score(labels[drawn], row[drawn])

    slow = clock(loop) * resamples / loop_resamples
    return table(
        ["36 cells × 2000 patient-clustered resamples", "seconds"],
        [
            ["elsewhere.statistics (best of 5)", f"{fast:.2f}"],
            [f"scikit-learn loop (from {loop_resamples} resamples of each cell)", f"{slow:.0f}"],
            ["ratio", f"{slow / fast:.0f} ×"],
        ],
    )


def clock(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


PAGE = """# Evidence: measured operating characteristics

Made by `python benchmarks/evidence.py --repeats {repeats} --seed {seed}` on {today}.
Simulated scores; no scan was read. Scores are normal with the stated AUC; scans of one patient share {within:.0%} of
their variance.
In brackets the mean width. A number in bold lies outside the aim.
With {repeats} repetitions a coverage of 95 % is known to ± {noise:.1f} points (2 SE);
the bootstraps have {drawn} repetitions of {resamples} resamples, ± {drawn_noise:.1f} points.

## Coverage of nominal 95 % intervals of the AUC (aim: 93 to 97 %)
The product's default is **{default}**: every AUC within 1.96 of its own standard errors of the one seen, the variance
being that of two normal distributions, scaled to the patient-clustered DeLong variance. `logit` and `wald` use that
DeLong variance alone; `percentile` and `bca` resample patients.

{coverage}
## The same where the two classes differ in spread
The default's model of the variance is wrong here; the observed variance corrects it where enough scans are misplaced.

{robustness}
## Coverage of nominal 95 % intervals of sensitivity (aim: 93 to 97 %)
Specificity is the same with the classes exchanged. With few scans a share near 1 takes few values, so no interval
covers exactly 95 % (Brown, Cai & DasGupta 2001).

{share}
## Type-I error of the tests at p < 0.05, in per cent (aim: 3 to 7 %)
Two models of equal AUC, half of their variance in common; or one model at two sites of this size.
Below 3 % a test is safe but misses differences; above 7 % it finds some that are not there.
Near an AUC of 1 in a small site hardly any scan is misplaced, and no test has anything to go by.
The product's default is DeLong; the bootstrap is there to check it, and is too eager in small clustered sites.

{alarms}
## Coverage of nominal 95 % intervals of calibration (aim: 93 to 97 %)
Patients are sampled, and with them the share of positives; slope 1 and intercept 0 are calibrated.

{calibration}
## Coverage of nominal 95 % intervals of mean AUCs and their differences (aim: 93 to 97 %)
Three networks at three sites of the demo's size, half of the variance of a scan's scores common to all networks; home
is each network's own site. `paired protocols`: the mean elsewhere against that of other networks on the same scans.
Differences of means near 1 may hold more than 95 %: the ends of lopsided intervals do not cancel.

{means}
## Coverage of the mean over hospitals and of a new one (aim: 93 to 97 %)
Each hospital's AUC is drawn around the stated one in log-odds; each has {sizes} scans (positives/negatives).
`t with k − 2` is the interval of Higgins, Thompson & Spiegelhalter 2009 beside the product's. Below four sites the
product gives no prediction interval.

{new_site}
## Coverage of nominal 95 % intervals of the parts of a drop (aim: 93 to 97 %)
{fifth} repetitions of 400 resamples. The truth is that of {population} patients. `threshold, numbers fixed` is measured
on studies with fixed numbers of positives and negatives, all others on studies that sample patients as they come.
Calibration and ranking rest on thresholds that are best for the scans at hand, which flatters small sites: too little
is put down to ranking, too much to calibration.

{drop}
## The AUC on a grid of thresholds against the exact one
Grid less exact. Probabilities are expit(sharpness × centred score): the sharper, the more scans lie in the first or
last step of 0.01, where the grid sees ties.

{grid}
## Time
Both in one run, one process each, one after the other; on a busy machine both are slower and the ratio is what counts.

{speed}"""


PARTS = {
    "coverage": coverage_part,
    "robustness": robustness_part,
    "share": share_part,
    "alarms": alarm_part,
    "calibration": calibration_part,
    "means": mean_part,
    "new_site": new_site_part,
    "drop": drop_part,
    "grid": grid_part,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20261127)
    parser.add_argument("--out", type=Path, default=Path("docs/evidence-tables.md"))
    given = parser.parse_args()
    drawn = given.repeats // DRAWN_SHARE
    with ProcessPoolExecutor(WORKERS) as pool:
        parts = {name: part(pool, given.repeats, given.seed) for name, part in PARTS.items()}
    speed = speed_part()
    page = PAGE.format(
        repeats=given.repeats,
        within=WITHIN_PATIENT,
        noise=200 * (0.95 * 0.05 / given.repeats) ** 0.5,
        drawn=drawn,
        resamples=RESAMPLES,
        drawn_noise=200 * (0.95 * 0.05 / drawn) ** 0.5,
        default=DEFAULT_AUC_METHOD,
        seed=given.seed,
        today=datetime.now(UTC).date(),
        fifth=given.repeats // 5,
        population=f"{POPULATION:,}",
        sizes=" or ".join(f"{p}/{n}" for p, n in SIZES),
        **parts,
        speed=speed,
    )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
