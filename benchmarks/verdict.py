"""How often the verdict is right on simulated sites, how far its parts are off, how often its estimate's range holds.

Scores are binormal: log-odds c · (noise + gap · (label - 1/2)); home has gap 2 (AUC 0.92) and c = 2, so that it is
calibrated at half positives. One scan per patient. `python benchmarks/verdict.py [repetitions]` prints three tables
(docs/how-to/verdict.md has those of 100 repetitions; a minute or two on one core).
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from elsewhere.evidence import verdict
from elsewhere.evidence.decision import OperatingPoint, choose_threshold
from elsewhere.evidence.decomposition import decompose
from elsewhere.evidence.estimate import KnownSite, estimate_auc
from elsewhere.evidence.roc import exact_auc
from elsewhere.evidence.verdict import HEADLINES, Scans, judge

HOME_SCANS, VALIDATION_SCANS, CONFIDENCE = 200, 100, 2.0
HALF = OperatingPoint(0.5, "grid", "model", 0.9, 100)


@dataclass(frozen=True)
class Planted:
    """A site: how well its scores tell the classes apart, how far they are moved, and its share of positives."""

    name: str
    gap: float = 2.0
    shift: float = 0.0
    positives: float = 0.5


PLANTED = (
    Planted("as at home (AUC 0.92)"),
    Planted("log-odds shifted by 2", shift=2),
    Planted("15 % positive instead of 50 %", positives=0.15),
    Planted("ranks worse (AUC 0.76)", gap=1),
    Planted("ranks badly (AUC 0.64)", gap=0.5),
    Planted("noise (AUC 0.50)", gap=0),
)


def site(scans: int, planted: Planted, random: np.random.Generator) -> Scans:
    labels = (random.random(scans) < planted.positives).astype(int)
    odds = CONFIDENCE * (random.normal(0, 1, scans) + planted.gap * (labels - 0.5)) + planted.shift
    return Scans(labels, np.arange(scans), expit(odds))


def verdicts(repetitions: int) -> None:
    """Share of verdicts by planted truth; what costs time and decides nothing is left out."""
    verdict.SIZES, verdict.decompose = (), lambda *_, **__: None  # type: ignore[assignment]
    print(f"| scans | planted | {' | '.join(HEADLINES)} |\n|---|---|{'---|' * len(HEADLINES)}")
    for scans in (60, 120, 300):
        for number, planted in enumerate(PLANTED):
            said: Counter[str] = Counter()
            for seed in range(repetitions):
                random = np.random.default_rng([seed, scans, number, 1])
                home, validation = site(HOME_SCANS, PLANTED[0], random), site(VALIDATION_SCANS, PLANTED[0], random)
                point = choose_threshold(validation.labels, validation.probabilities)
                said[judge(site(scans, planted, random), home, point).action] += 1
            print(f"| {scans} | {planted.name} | {' | '.join(f'{said[a] / repetitions:.0%}' for a in HEADLINES)} |")


def parts(repetitions: int) -> None:
    """Mean error of ranking and calibration (right decisions per 100) and coverage of their 95 % intervals."""
    print("\n| scans here | planted | part | truth | mean error | coverage |\n|---|---|---|---|---|---|")
    for number in (0, 1, 3):
        random = np.random.default_rng([number, 2])
        big = [site(200_000, p, random).columns for p in (PLANTED[0], PLANTED[number])]
        truth = decompose(*big, HALF, resamples=2)
        for scans in (60, 120, 300):
            found = []
            for seed in range(repetitions):
                random = np.random.default_rng([seed, scans, number, 3])
                pair = [site(n, p, random).columns for n, p in ((HOME_SCANS, PLANTED[0]), (scans, PLANTED[number]))]
                found.append(decompose(*pair, HALF, resamples=400, seed=seed))
            for name in ("calibration", "ranking", "drop"):
                true = getattr(truth, name).estimate
                seen = [getattr(f, name) for f in found]
                error, held = (
                    np.mean([s.estimate - true for s in seen]),
                    np.mean([s.low <= true <= s.high for s in seen]),
                )
                row = (PLANTED[number].name, name, f"{100 * true:.1f}", f"{100 * error:+.1f}", f"{held:.0%}")
                print(f"| {scans} | {' | '.join(row)} |")


def ranges(repetitions: int) -> None:
    """How often the estimate's range holds the true AUC, sites drawn alike (gap 0.5 to 2.5, a share of pure noise)."""
    print("\n| known unseen sites | range holds | at best | mean width |\n|---|---|---|---|")
    for sites in (2, 3, 5, 8):
        held, widths = 0, []
        for seed in range(repetitions):
            random = np.random.default_rng([seed, sites, 4])
            home = site(HOME_SCANS, PLANTED[0], random)
            drawn = [_odd_site(random) for _ in range(sites + 1)]
            known = [KnownSite(str(i), s.labels, s.probabilities, False) for i, s in enumerate(drawn[:-1])]
            found = estimate_auc((home.labels, home.probabilities), known, drawn[-1].probabilities)
            true = float(exact_auc(drawn[-1].labels, drawn[-1].probabilities))
            held += found.low <= true <= found.high
            widths.append(found.high - found.low)
        print(f"| {sites} | {held / repetitions:.0%} | {sites / (sites + 1):.0%} | {np.mean(widths):.2f} |")


def _odd_site(random: np.random.Generator) -> Scans:
    made = site(150, Planted("", gap=random.uniform(0.5, 2.5)), random)
    scores = np.asarray(made.probabilities)
    noisy = random.random(scores.size) < random.uniform(0, 0.6)
    return Scans(made.labels, made.patients, np.where(noisy, random.permutation(scores), scores))


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for table in (verdicts, parts, ranges):
        table(asked)
