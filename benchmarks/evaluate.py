"""What time, memory and page `elsewhere evaluate` takes, and how often it names a false claim, or a true one.

`python benchmarks/evaluate.py [repetitions]` prints tables. Time and memory are of a process of its own, from a CSV to
the page, with patients, five sites, dates, ages and four further columns. Claims are tested on binormal scores (AUC =
Φ(gap / √2)), one scan per patient, half of them positive; at the threshold 0 sensitivity and specificity are
Φ(gap / 2). The same scores serve for products that give no answer to some scans: drawn blindly, or just those that
they would decide wrongly.
"""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import norm

from elsewhere.statistics.acceptance import judge_claims, read_claims
from elsewhere.statistics.evaluation import ProductRows, evaluate_product
from elsewhere.statistics.requirements import Requirements
from elsewhere.statistics.scored import Scored, discrimination, shares

SIZES = {5_000: (5, 1e9, 2e6), 100_000: (15, 1e9, 2e6)}
"""Rows -> most seconds, bytes of memory, and bytes of the page."""
SEED = 20_261_127
COLUMNS = ("scan", "patient", "score", "label", "site", "date", "age", "sex", "thickness", "kernel", "refused")
CODE = (
    "import json, resource, sys; from elsewhere.cli import main\n"
    "try:\n    main()\nexcept SystemExit:\n    pass\n"
    "print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024), file=sys.stderr)"
)


def write_table(file: Path, rows: int) -> None:
    """A product's scores as a hospital would export them."""
    random = np.random.default_rng([SEED, rows])
    labels = random.random(rows) < 0.3
    scores = 1 / (1 + np.exp(-(random.normal(size=rows) + 1.9 * labels - 1.3)))
    patients, thickness = random.integers(0, int(0.8 * rows), rows), random.choice([0.6, 1, 1.25, 2, 3, 5], rows)
    refused = (thickness < 1) & (random.random(rows) < 0.5)
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for i in range(rows):
            score = "" if refused[i] else repr(float(scores[i]))
            day = f"2025-{1 + i % 12:02d}-{1 + i % 28:02d}"
            about = (f"H{i % 5}", day, 18 + i * 7 % 77, "MF"[i % 2], thickness[i], ("B30", "B60", "lung")[i % 3])
            row = (f"s{i}", f"p{patients[i]}", score, int(labels[i]), *about, "too thin" if refused[i] else "")
            writer.writerow(row)


def measure(rows: int) -> tuple[float, float, float, int]:
    """Seconds, seconds on the processor, bytes of memory and bytes of the page."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scores.csv"
        write_table(file, rows)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-c", CODE, "evaluate", str(file), "--threshold", "0.4"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (Path(folder) / "scores-evaluation" / "evaluation.html").stat().st_size
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return seconds, spent, float(json.loads(done.stderr.strip().splitlines()[-1])), page


def named(auc: float, claims: dict[str, object], scans: int, repetitions: int) -> float:
    """Share of tests in which one of the claims is contradicted."""
    gap, stated, count = 2**0.5 * norm.ppf(auc), read_claims(claims), 0
    for repetition in range(repetitions):
        random = np.random.default_rng([SEED, repetition, scans])
        labels = (np.arange(scans) < scans // 2).astype(np.int64)
        scores = random.normal(size=scans) + gap * (labels - 0.5)
        tested = Scored(labels, np.arange(scans), scores, scores >= 0)
        here = dict(zip(("sensitivity", "specificity"), shares(tested), strict=True))
        found = judge_claims(stated, {"discrimination (AUC)": discrimination(tested), **here})
        count += any(f.status == "contradicted" for f in found)
    return count / repetitions


def works(auc: float, silent: str, share: float, repetitions: int) -> float:
    """Share of tests of 400 scans that end with "it works here" under the default requirements.

    Args:
        auc: true AUC of the product on all scans.
        silent: which scans it gives no answer to: "any", or "wrong" ones, that it would decide wrongly.
        share: of those scans.
        repetitions: tests.
    """
    gap, scans, count = 2**0.5 * norm.ppf(auc), 400, 0
    for repetition in range(repetitions):
        random = np.random.default_rng([SEED, repetition, round(100 * share), 8])
        labels = (np.arange(scans) < scans // 2).astype(np.int64)
        scores = random.normal(size=scans) + gap * (labels - 0.5)
        able = np.ones(scans, bool) if silent == "any" else (scores >= 0) != (labels == 1)
        given = np.where(able & (random.random(scans) < share), np.nan, scores)
        rows = ProductRows(labels, np.arange(scans), given, None, [""] * scans, threshold=0.0, is_probability=False)
        count += evaluate_product(rows, Requirements()).answer.action == "nothing"
    return count / repetitions


def main(repetitions: int = 400) -> None:
    print("| rows | seconds | on the processor | memory (MB) | page (MB) | limits |\n|---|---|---|---|---|---|")
    for rows, limits in SIZES.items():
        seconds, spent, memory, page = measure(rows)
        allowed = f"{limits[0]} s, {limits[1] / 1e6:.0f} MB, {limits[2] / 1e6:.0f} MB"
        print(f"| {rows} | {seconds:.1f} | {spent:.1f} | {memory / 1e6:.0f} | {page / 1e6:.2f} | {allowed} |")
    share = float(norm.cdf(norm.ppf(0.94) / 2**0.5))
    claims: dict[str, dict[str, object]] = {
        "AUC 0.94": {"auc": 0.94},
        "AUC 0.94 (0.92 to 0.96)": {"auc": {"value": 0.94, "low": 0.92, "high": 0.96}},
        "AUC 0.94, from 500 scans": {"auc": {"value": 0.94, "n": 500}},
        f"AUC 0.94, sensitivity and specificity {share:.2f}": {
            "auc": 0.94,
            "sensitivity": share,
            "specificity": share,
        },
    }
    print("\n| claimed | true AUC | scans | named 'not as claimed' |\n|---|---|---|---|")
    for words, claim in claims.items():
        for auc, scans in ((0.76, 120), (0.94, 120), (0.94, 60), (0.94, 1000)):
            print(f"| {words} | {auc} | {scans} | {100 * named(auc, claim, scans, repetitions):.1f} % |")
    print("\n| true AUC, sensitivity, specificity | no answer to | it works here |\n|---|---|---|")
    for auc, silent, part in (
        *((0.92, "any", part) for part in (0.0, 0.02, 0.05, 0.1)),
        *((0.92, "wrong", part) for part in (0.5, 1.0)),
        *((0.76, "wrong", part) for part in (0.5, 1.0)),
    ):
        share = float(norm.cdf(norm.ppf(auc) / 2**0.5))
        words = f"{100 * part:.0f} % of {'all scans' if silent == 'any' else 'those it would decide wrongly'}"
        print(f"| {auc}, {share:.2f}, {share:.2f} | {words} | {100 * works(auc, silent, part, repetitions):.1f} % |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
