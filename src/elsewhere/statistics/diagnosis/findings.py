"""Separations, label causes, batteries and saliency of a study in; what they mean, as plain sentences, out.

The rule, the same for all families of tests (causes x sites, models x sites x parts, pairs of sites x views): a finding
has p <= 0.05 after Holm's adjustment within its family and an AUC of at least 0.60; a cause needs p <= 0.02. The cause
of a shortcut at a site is the strongest such view there; weaker ones are named after it. Where a model's own AUC
without lungs is a finding at a site that it was trained on, that cause is named as one that it may use. Of a model that
did not learn (`degenerate`) nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from elsewhere.statistics.comparison import holm
from elsewhere.statistics.permutation import p_words

Row = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]

SURE, NOTABLE = 0.05, 0.6

SURE_CAUSE = 0.02
"""Naming a cause accuses: at 0.05 three of forty simulations without any got one (docs/diagnosis-tables.md)."""

CAUSES = {
    "background": "the background outside the body (air, padding, tint)",
    "objects": "something at a fixed place outside the body (marker, table, cable)",
    "texture": "sharpness and noise of soft tissue (kernel, dose, slice thickness)",
    "body": "the body outside the lungs (contrast agent, position, field of view)",
    "facts": "header-like metadata of the acquisition alone",
}
"""What can give a label away without a lung, in words; the keys are the views that are tried against the label."""

GLOBAL_PARTS, LOCAL_PARTS = ("background", "texture"), ("objects", "body")
"""What is everywhere in a picture, and what is somewhere: the latter is tried `beyond` the former (separation)."""

IN_THE_PICTURE = tuple(view for view in CAUSES if view != "facts")
"""Causes that a model can see; of the facts it sees only what they do to the picture."""

REMARKS = {
    "facts": "; a network sees of them only what they do to the picture",
    "body": "; size, age and sex of the patients, or what the disease does to them, show there too",
}
"""What a cause that is named does not prove."""

VIEWS = {
    "features": "the model's own features",
    "lungs_erased": "the picture with the lungs erased",
    "border": "border, air and table alone",
    "facts": "header-like metadata alone",
    "lung_histogram": "the histogram inside the lungs",
}
"""What sites are told apart by, in words."""

PARTS = {
    "whole": "whole scans",
    "lungs_erased": "with the lungs erased",
    "lungs_only": "the lungs alone",
    "border_only": "border, air and table alone",
    "label_shuffle": "with shuffled labels",
}
WITHOUT_LUNGS = ("lungs_erased", "border_only")


def adjust(rows: Rows) -> list[Row]:
    """The rows with `p_holm`, adjusted within all of them, and `p_floor`: the smallest that could have come out.

    A permutation test of B permutations gives no p below 1 / (B + 1); the adjusted p of the row that has it is as many
    times larger as Holm made it. Rows without `permutations` (other tests) have the floor 0.

    >>> found = adjust([{"p": 0.01, "permutations": 99}, {"p": 0.04, "permutations": 99}])
    >>> [(row["p_holm"], row["p_floor"]) for row in found]
    [(0.02, 0.02), (0.04, 0.0)]
    """
    adjusted = holm([row["p"] for row in rows])
    return [
        {**row, "p_holm": float(p), "p_floor": float(p) if at_floor(row) else 0.0}
        for row, p in zip(rows, adjusted, strict=True)
    ]


def at_floor(row: Mapping[str, Any]) -> bool:
    """Whether a p-value is the smallest that its permutations could give: then it is only known to be no larger.

    >>> at_floor({"p": 0.01, "permutations": 99}), at_floor({"p": 0.02, "permutations": 99}), at_floor({"p": 0.01})
    (True, False, False)
    """
    return bool(row.get("permutations") and row["p"] <= (1 + 1e-9) / (row["permutations"] + 1))


def find(
    causes: Rows,
    separations: Rows,
    shortcuts: Rows,
    saliency: Rows,
    homes: Mapping[str, Sequence[str]],
    *,
    degenerate: Mapping[str, str] = MappingProxyType({}),
) -> list[Row]:
    """Everything that can be said, shortcuts first; then which models nothing is said of.

    Args:
        causes: rows of `site`, `view`, `auc`, `low`, `high`, `p`, `power`, and `fact` where a fact stands out.
        separations: rows of `home`, `site`, `view`, `model`, `auc`, `low`, `high`, `p`.
        shortcuts: rows of `model`, `site`, `view`, `auc`, `low`, `high`, `p`.
        saliency: rows of `model`, `site`, `patient`, `inside`, `expected`.
        homes: training sites of each model; none where they are not known.
        degenerate: model -> why, for those that did not learn: nothing is said of what they use.

    Returns:
        findings with `model`, `home`, `site`, `cause`, `sentence`, `strength` (an AUC; for saliency the share inside
        over the share expected), `p` (after Holm) and `p_floor` (see `adjust`).

    >>> cause = {"site": "A", "view": "texture", "auc": 0.9, "low": 0.8, "high": 0.95, "p": 0.001, "power": 0.9}
    >>> [(row["cause"], row["strength"], row["p"]) for row in find([cause], [], [], [], {})]
    [('texture', 0.9, 0.001)]
    """
    tested = adjust(causes)
    named = list(name_causes(tested))
    learned = {model: sites for model, sites in homes.items() if model not in degenerate}
    ours = [r for r in shortcuts if r["model"] in learned]
    used = list(_used(adjust([r for r in ours if r["view"] in WITHOUT_LUNGS]), ours, tested, learned))
    apart = [r for r in separations if not r["model"] or r["model"] in learned]
    silent = [_silent(model, homes[model], why) for model, why in degenerate.items() if model in homes]
    return [*named, *used, *_looked(saliency, learned), *_apart(adjust(apart)), *silent]


def _silent(model: str, sites: Sequence[str], why: str) -> Row:
    home = "+".join(sites)
    sentence = f"Model {model} is degenerate: {why}. What it uses is not asked."
    row = {"model": model, "home": home, "site": home, "cause": "degenerate", "sentence": sentence}
    return row | {"strength": None, "p": None, "p_floor": 0.0}


def is_finding(row: Mapping[str, Any]) -> bool:
    """Whether a tested row is a finding.

    >>> is_finding({"p_holm": 0.04, "auc": 0.7}), is_finding({"p_holm": 0.04, "auc": 0.55})
    (True, False)
    """
    return bool(row["p_holm"] <= SURE and row["auc"] >= NOTABLE)


def is_cause(row: Mapping[str, Any]) -> bool:
    """Whether a tested cause is named.

    >>> is_cause({"p_holm": 0.01, "auc": 0.7}), is_cause({"p_holm": 0.04, "auc": 0.7})
    (True, False)
    """
    return bool(is_finding(row) and row["p_holm"] <= SURE_CAUSE)


def name_causes(tested: Rows) -> Iterator[Row]:
    """What tells positive from negative at each site without any lung, strongest first.

    >>> texture = {"site": "A", "view": "texture", "auc": 0.7, "low": 0.6, "high": 0.8, "p": 0.01}
    >>> texture |= {"p_holm": 0.01, "p_floor": 0.0}
    >>> [row["cause"] for row in name_causes([texture, texture | {"view": "background", "auc": 0.9}])]
    ['background', 'texture']
    """
    for site in dict.fromkeys(row["site"] for row in tested):
        found = sorted((r for r in tested if r["site"] == site and is_cause(r)), key=lambda r: (-r["auc"], r["p"]))
        for place, row in enumerate(found):
            first = f"{_capital(CAUSES[row['view']])} {'also ' * (place > 0)}tells positive from negative at {site} "
            fact = f", most of it {row['fact']}" if row.get("fact") else ""
            sentence = f"{first}without any lung{fact}: {_numbers(row)}{_elsewhere(row, tested)}{_honest(row)}."
            yield _finding("", site, site, row, sentence)


def _honest(row: Mapping[str, Any]) -> str:
    """What limits the accusation: what a network does not see, and what patients bring with them."""
    return REMARKS.get(row["view"], "")


def _elsewhere(row: Mapping[str, Any], tested: Rows) -> str:
    """Whether the same view tells the classes apart at the other sites."""
    others = [r for r in tested if r["view"] == row["view"] and r["site"] != row["site"]]
    words = []
    for other in others:
        if is_cause(other):
            words.append(f"so it does at {other['site']} (AUC {other['auc']:.2f})")
        else:
            power = f", power {other['power']:.0%} for an AUC of 0.70"
            seen = f"AUC {other['auc']:.2f}, {_p(other)}{_limits(other)}{power}"
            words.append(f"at {other['site']} that was not shown ({seen})")
    return "; " + "; ".join(words) if words else ""


def _limits(row: Mapping[str, Any]) -> str:
    """What a cause with a small p lacks: the reader would take p = 0.040 for shown."""
    if row["p_holm"] > SURE:
        return ""
    lacking = [f"an AUC of {NOTABLE:.2f} or more"] if row["auc"] < NOTABLE else []
    lacking += [f"p of {SURE_CAUSE} or less"] if row["p_holm"] > SURE_CAUSE else []
    return f" where a cause takes {' and '.join(lacking)}"


def _used(battery: Rows, shortcuts: Rows, causes: Rows, homes: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    for row in battery:
        surely = row["p_holm"] <= SURE
        if not surely or 1 - NOTABLE < row["auc"] < NOTABLE:
            continue
        at_home = row["site"] in homes[row["model"]]
        whole = next((r for r in shortcuts if _same(r, row) and r["view"] == "whole"), None)
        compare = f" (whole scans {whole['auc']:.2f})" if whole else ""
        part = PARTS[row["view"]] if row["view"] == "lungs_erased" else f"on {PARTS[row['view']]}"
        known = [r for r in causes if r["site"] == row["site"] and r["view"] in IN_THE_PICTURE and is_cause(r)]
        best = max(known, key=lambda r: r["auc"], default=None)
        cause = best["view"] if best and at_home and row["auc"] > 0.5 else row["view"]
        elsewhere = "a site it has not seen" if homes[row["model"]] else "which it may or may not have seen"
        where = "its own site" if at_home else elsewhere
        tail = _tail(row, best, at_home=at_home)
        sentence = f"Model {row['model']} at {row['site']}, {where}, {part}: {_numbers(row)}{compare}: {tail}."
        yield _finding(row["model"], "+".join(homes[row["model"]]), row["site"], {**row, "view": cause}, sentence)


def _tail(row: Mapping[str, Any], best: Mapping[str, Any] | None, *, at_home: bool) -> str:
    """What an AUC without lungs means, at a model's own site or another."""
    if row["auc"] < 0.5 and at_home:
        return "its scores are reversed on pictures unlike any that it was trained on; no cause follows"
    if row["auc"] < 0.5:
        return (
            "what lies outside the lungs may point the other way there than in training, or the scores are reversed "
            "because it was trained on no such pictures; no cause follows"
        )
    if not at_home:
        return "some of its discrimination there does not come from the lungs"
    if best is None:
        return "some of its discrimination does not come from the lungs; from what was not found"
    return (
        f"some of its discrimination does not come from the lungs; it may use {CAUSES[best['view']]}, which alone "
        f"reaches {best['auc']:.2f} there{_honest(best)}"
    )


def _same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return bool(first["model"] == second["model"] and first["site"] == second["site"])


def _looked(saliency: Rows, homes: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Whether a model's saliency at its own sites lies in the lungs: patients' means, Wilcoxon's signed ranks."""
    tested = adjust([row for model in homes if (row := _mass(model, saliency, homes[model]))])
    for row in tested:
        if row["p_holm"] > SURE:
            continue
        side = "more" if row["auc"] > 1 else "less"
        sentence = (
            f"Model {row['model']} at its own site{'s' * (len(homes[row['model']]) > 1)}: {row['inside']:.0%} of its "
            f"saliency lies in the lungs, which take {row['expected']:.0%} of the picture: {side} than if it were "
            f"spread evenly ({_p(row)}, {row['patients']} patients)."
        )
        home = "+".join(homes[row["model"]])
        yield _finding(row["model"], home, home, {**row, "view": "saliency"}, sentence)


def _mass(model: str, saliency: Rows, sites: Sequence[str]) -> Row | None:
    own = [r for r in saliency if r["model"] == model and r["site"] in sites and r["inside"] is not None]
    people = sorted({(r["site"], r["patient"]) for r in own})
    if len(people) < 6:
        return None
    shares = np.array(
        [
            np.mean([(r["inside"], r["expected"]) for r in own if (r["site"], r["patient"]) == person], axis=0)
            for person in people
        ]
    )
    if (shares[:, 0] == shares[:, 1]).all():
        return None
    inside, expected = (float(v) for v in shares.mean(axis=0))
    p = float(wilcoxon(shares[:, 0], shares[:, 1]).pvalue)
    size = {"inside": inside, "expected": expected, "patients": len(people)}
    return {"model": model, "auc": inside / max(expected, 1e-9), "p": p, **size}


def _apart(separations: Rows) -> Iterator[Row]:
    """One sentence for each pair of sites that are told apart: the views that do it, features of models last."""
    pairs = dict.fromkeys((r["home"], r["site"]) for r in separations)
    for home, site in pairs:
        found = [r for r in separations if (r["home"], r["site"]) == (home, site) and is_finding(r)]
        if not found:
            continue
        images = sorted((r for r in found if not r["model"]), key=lambda r: -r["auc"])
        ordered = [*images, *sorted((r for r in found if r["model"]), key=lambda r: -r["auc"])]
        words = ", ".join(f"{_view(r)} {r['auc']:.2f}" for r in ordered)
        sentence = f"{home} and {site} are told apart by (AUC): {words}."
        yield _finding(ordered[0]["model"], home, site, ordered[0], sentence)


def _view(row: Mapping[str, Any]) -> str:
    return f"features of model {row['model']}" if row["model"] else VIEWS[row["view"]]


def _finding(model: str, home: str, site: str, row: Mapping[str, Any], sentence: str) -> Row:
    return {
        "model": model,
        "home": home,
        "site": site,
        "cause": row["view"],
        "sentence": sentence,
        "strength": round(float(row["auc"]), 4),
        "p": float(row["p_holm"]),
        "p_floor": float(row["p_floor"]),
    }


def _numbers(row: Mapping[str, Any]) -> str:
    return f"AUC {row['auc']:.2f} (95 % {row['low']:.2f} to {row['high']:.2f}), {_p(row)}"


def _p(row: Mapping[str, Any]) -> str:
    return p_words(row["p_holm"], row["p_floor"])


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
