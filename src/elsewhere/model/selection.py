"""Choose which weights of a training are kept: scores of the validation scans, the best check, what to warn of."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elsewhere.model.sample import Case
from elsewhere.model.settings import Select
from elsewhere.statistics.selected import Selected, chance_of_selection

ARGMAX = 0.5  # of two classes the more probable one
EDGE = 1e-12  # probabilities are kept so far from 0 and 1, as in the statistics of recalibration
WORDS = {"accuracy": "accuracy at threshold 0.5", "log_loss": "log loss", "auc": "AUC within sites"}


class Check(NamedTuple):
    """One validation during a training.

    Attributes:
        iteration: iterations done.
        training_loss: mean since the check before.
        accuracy: share of validation scans whose more probable class is theirs.
        log_loss: mean log loss (nats) of the validation scans; where batches are class-balanced, the mean of the two
            classes' means, since that is what such a training lowers.
        auc: discrimination within each site, averaged over sites; None where no site has both classes.
    """

    iteration: int
    training_loss: float
    accuracy: float
    log_loss: float
    auc: float | None


def score_check(
    iteration: int, training_loss: float, cases: Sequence[Case], probabilities: NDArray[np.float64], *, balanced: bool
) -> Check:
    """Score the validation scans' probabilities, (scans,), by every criterion; `balanced` as in `Check.log_loss`."""
    labels = np.array([case.label for case in cases])
    right = (probabilities > ARGMAX) == (labels == 1)
    inside = probabilities.clip(EDGE, 1 - EDGE)
    losses = -np.log(np.where(labels == 1, inside, 1 - inside))
    return Check(
        iteration,
        training_loss,
        float(right.mean()),
        _mean(losses, labels, balanced=balanced),
        within_site_auc([case.site for case in cases], labels, probabilities),
    )


def _mean(losses: NDArray[np.float64], labels: NDArray[np.int64], *, balanced: bool) -> float:
    if not balanced:
        return float(losses.mean())
    return float(np.mean([losses[labels == label].mean() for label in np.unique(labels)]))


def within_site_auc(
    sites: Sequence[str], labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> float | None:
    """AUC over pairs of a positive and a negative scan of the same site; None where no site has such a pair.

    Each site's Mann-Whitney AUC is weighted by n+ n- / (n+ + n-), near its inverse variance (van Elteren 1960), as in
    `elsewhere.statistics.learned`. Recognising the site brings nothing: scans of different sites are never compared,
    and a site of one class does not count.

    Args:
        sites: site of each scan.
        labels: (scans,) 1 positive, 0 negative.
        probabilities: (scans,).

    Examples:
        >>> within_site_auc(["A", "A", "B"], np.array([0, 1, 1]), np.array([0.2, 0.7, 0.1]))
        1.0
    """
    from elsewhere.statistics.roc import exact_auc  # noqa: PLC0415 - scipy.stats takes half a second to import

    places: dict[str, list[int]] = defaultdict(list)
    for place, site in enumerate(sites):
        places[site].append(place)
    total, weights = 0.0, 0.0
    for own in places.values():
        positives = int(labels[own].sum())
        weight = positives * (len(own) - positives) / len(own)
        if weight:
            total += weight * float(exact_auc(labels[own], probabilities[own]))
            weights += weight
    return total / weights if weights else None


def best_check(checks: Sequence[Check], select: Select) -> Check:
    """The check whose weights are kept.

    "accuracy" keeps the first of the highest (protocol page, "Training", our reading); "log_loss" the last of the
    lowest, "auc" the last of the highest. Where the AUC is undefined (no site has both classes among its validation
    scans), "auc" keeps by log loss.
    """
    scores = [_goodness(check, criterion(checks, select)) for check in checks]
    first = scores.index(max(scores))
    last = len(scores) - 1 - scores[::-1].index(max(scores))
    return checks[first if select == "accuracy" else last]


def is_enough(checks: Sequence[Check], select: Select, patience: int) -> bool:
    """Whether the last `patience` checks brought none that is better than all before; never where it is 0."""
    if not patience or len(checks) <= patience:
        return False
    by = criterion(checks, select)
    scores = [_goodness(check, by) for check in checks]
    return max(scores[-patience:]) <= max(scores[:-patience])


def criterion(checks: Sequence[Check], select: Select) -> Select:
    """What `select` comes to for these validation scans: "log_loss" in place of an AUC that is undefined."""
    return "log_loss" if select == "auc" and checks[-1].auc is None else select


def _goodness(check: Check, by: Select) -> float:
    """Higher is better."""
    value = getattr(check, by)
    return -value if by == "log_loss" else float(value)


def describe_selection(
    checks: Sequence[Check], select: Select, cases: Sequence[Case], *, balanced: bool
) -> dict[str, Any]:
    """What a checkpoint says of how its weights were chosen, JSON-able.

    Args:
        checks: all validations so far.
        select: the option.
        cases: the validation scans.
        balanced: whether batches are class-balanced.

    Returns:
        `select`; `criterion`, what it came to; `checks`, their number; `tied`, how many are as good as the best;
        `kept` and `last`, the scores of the kept and of the last weights; `majority_share` of the validation scans;
        `balanced`, whether the log loss weighs the classes alike; `warnings`, sentences.
    """
    by, kept = criterion(checks, select), best_check(checks, select)
    positives = sum(case.label for case in cases)
    majority = max(positives, len(cases) - positives) / len(cases)
    found = {
        "select": select,
        "criterion": by,
        "checks": len(checks),
        "tied": sum(_goodness(check, by) == _goodness(kept, by) for check in checks),
        "kept": kept._asdict(),
        "last": checks[-1]._asdict(),
        "majority_share": majority,
        "balanced": balanced,
    }
    return found | {"warnings": _warnings(found, kept, checks[-1], cases, balanced=balanced)}


def by_chance(
    checks: Sequence[Check],
    select: Select,
    cases: Sequence[Case],
    probabilities: Sequence[NDArray[np.float64]],
    *,
    balanced: bool,
) -> Selected:
    """How often the best of these checks has the kept one's AUC by chance (`chance_of_selection`).

    Args:
        checks: all validations.
        select: the option.
        cases: the validation scans.
        probabilities: of the validation scans at every check, (scans,) each; fewer than checks where an earlier
            version began the training: then it cannot be said.
        balanced: whether batches are class-balanced.
    """
    if len(probabilities) != len(checks):
        return Selected(len(checks), None)
    return chance_of_selection(
        [case.label for case in cases],
        [case.patient for case in cases],
        [case.site for case in cases],
        np.stack(probabilities),
        checks.index(best_check(checks, select)),
        criterion(checks, select),
        balanced=balanced,
    )


def chosen_among(record: Mapping[str, object]) -> Selected | None:
    """The choice of weights that a checkpoint's record tells of; None where it tells nothing."""
    chance, selection = record.get("by_chance"), record.get("selection")
    if isinstance(chance, dict):
        return Selected(int(chance["checks"]), None if chance["p"] is None else float(chance["p"]))
    return Selected(int(selection["checks"]), None) if isinstance(selection, dict) else None


def _warnings(
    found: Mapping[str, Any], kept: Check, last: Check, cases: Sequence[Case], *, balanced: bool
) -> list[str]:
    labels = {case.label for case in cases}
    if len(labels) == 1:
        return [
            f"all {len(cases)} validation scans have label {labels.pop()}: no criterion can tell whether the kept "
            f"weights (iteration {kept.iteration}) learned anything. Add scans of the other class"
        ]
    sentences = []
    by = found["criterion"]
    if kept.auc is None:
        sentences.append(
            f"no site has both classes among its validation scans: the weights were chosen by {WORDS[by]}, which a "
            "network improves by recognising the site. Enlarge the validation share of the split, or add scans"
        )
    constant = _constant(by, found["majority_share"], balanced=balanced)
    if _goodness(kept, by) <= constant:
        sentences.append(_no_better(found, kept, last, abs(constant)))
    elif kept.accuracy < found["majority_share"] or math.isclose(kept.accuracy, found["majority_share"]):
        auc = "" if kept.auc is None else f"; their AUC within sites is {kept.auc:.2f}"
        sentences.append(
            f"at threshold 0.5 the kept weights (iteration {kept.iteration}) have an accuracy of {kept.accuracy:.2f}, "
            f"no better than always answering the majority class ({found['majority_share']:.2f}){auc}. Judge them by "
            "discrimination (AUC) and at a chosen threshold"
        )
    return sentences


def _constant(by: Select, majority: float, *, balanced: bool) -> float:
    """The goodness of the best answer that is the same for every scan."""
    share = 0.5 if balanced else majority
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    return {"accuracy": majority, "log_loss": -entropy, "auc": 0.5}[by]


def _no_better(found: Mapping[str, Any], kept: Check, last: Check, constant: float) -> str:
    by, tied = found["criterion"], found["tied"]
    name = "class-balanced log loss" if by == "log_loss" and found["balanced"] else WORDS[by]
    what = "always answering the majority class" if by == "accuracy" else "the same answer for every scan"
    ties = f", reached by {tied} of {found['checks']} checks" if tied > 1 else ""
    auc = "" if kept.auc is None or last.auc is None else f"; AUC within sites {kept.auc:.2f} kept, {last.auc:.2f} last"
    step = 'Set training.select = "log_loss", or train' if by == "accuracy" else "Train"
    return (
        f"the kept weights (iteration {kept.iteration}) have a validation {name} of {getattr(kept, by):.2f}{ties}"
        f", no better than {what} ({constant:.2f}){auc}. {step} longer, with more scans or other settings"
    )
