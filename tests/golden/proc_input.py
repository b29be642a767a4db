"""Nothing in, proc_input.json out: small sets of labels and scores of two correlated models, with ties and without."""

import json
from pathlib import Path

import numpy as np

random = np.random.default_rng(20211)


def one_set(positives: int, negatives: int, digits: int, gains: tuple[float, float]) -> dict[str, list]:
    labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    shared = random.normal(size=labels.size)
    scores = [0.6 * shared + 0.8 * random.normal(size=labels.size) + gain * labels for gain in gains]
    a, b = (np.round(1 / (1 + np.exp(-s)), digits).tolist() for s in scores)
    return {"labels": labels.tolist(), "a": a, "b": b}


sets = {
    "utsw_like": one_set(20, 48, 6, (1.3, 0.8)),
    "tied": one_set(57, 90, 1, (1.2, 1.0)),
    "below_half": one_set(15, 25, 3, (-0.6, 0.4)),
}
Path(__file__).with_suffix(".json").write_text(json.dumps({"sets": sets}, indent=1))
