"""Separations, label causes, batteries and saliency of a study in; what they mean, as plain sentences, out.

The rule, the same for all families of tests (causes x sites, models x sites x parts, pairs of sites x views): a finding
has p <= 0.05 after Holm's adjustment within its family and an AUC of at least 0.60; a cause needs p <= 0.02. The cause
of a shortcut at a site is the strongest such view there; weaker ones are named after it. A model is said to use it
where the model's own AUC without lungs is a finding at a site that it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from elsewhere.evidence.comparison import holm

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
    "facts": "knowing nothing but header-like facts",
}
"""What can give a label away without a lung, in words; the keys are the views that are tried against the label."""

GLOBAL_PARTS, LOCAL_PARTS = ("background", "texture"), ("objects", "body")
"""What is everywhere in a picture, and what is somewhere: the latter is tried `beyond` the former (separation)."""

IN_THE_PICTURE = tuple(view for view in CAUSES if view != "facts")
"""Causes that a model can see; of the facts it sees only what they do to the picture."""

VIEWS = {
    "features": "the model's own features",
    "lungs_erased": "the picture with the lungs erased",
    "border": "border, air and table alone",
    "facts": "header-like facts alone",
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
    """The rows with `p_holm`, adjusted within all of them."""
    adjusted = holm([row["p"] for row in rows])
    return [{**row, "p_holm": float(p)} for row, p in zip(rows, adjusted, strict=True)]


def find(
    causes: Rows, separations: Rows, shortcuts: Rows, saliency: Rows, homes: Mapping[str, Sequence[str]]
) -> list[Row]:
    """Everything that can be said, shortcuts first.

    Args:
        causes: rows of `site`, `view`, `auc`, `low`, `high`, `p`, `power`, and `fact` where a fact stands out.
        separations: rows of `home`, `site`, `view`, `model`, `auc`, `low`, `high`, `p`.
        shortcuts: rows of `model`, `site`, `view`, `auc`, `low`, `high`, `p`.
        saliency: rows of `model`, `site`, `patient`, `inside`, `expected`.
        homes: training sites of each model.

    Returns:
        findings with `model`, `home`, `site`, `cause`, `sentence`, `strength` (an AUC; for saliency the share inside
        over the share expected) and `p` (after Holm).
    """
    tested = adjust(causes)
    named = list(name_causes(tested))
    used = list(_used(adjust([r for r in shortcuts if r["view"] in WITHOUT_LUNGS]), shortcuts, tested, homes))
    return [*named, *used, *_looked(saliency, homes), *_apart(adjust(separations))]


def is_finding(row: Mapping[str, Any]) -> bool:
    """Whether a tested row is a finding."""
    return bool(row["p_holm"] <= SURE and row["auc"] >= NOTABLE)


def is_cause(row: Mapping[str, Any]) -> bool:
    """Whether a tested cause is named."""
    return bool(is_finding(row) and row["p_holm"] <= SURE_CAUSE)


def name_causes(tested: Rows) -> Iterator[Row]:
    """What tells positive from negative at each site without any lung, strongest first."""
    for site in dict.fromkeys(row["site"] for row in tested):
        found = sorted((r for r in tested if r["site"] == site and is_cause(r)), key=lambda r: (-r["auc"], r["p"]))
        for place, row in enumerate(found):
            first = f"{_capital(CAUSES[row['view']])} {'also ' * (place > 0)}tells positive from negative at {site} "
            fact = f", most of it {row['fact']}" if row.get("fact") else ""
            sentence = f"{first}without any lung{fact}: {_numbers(row)}{_elsewhere(row, tested)}."
            yield _finding("", site, site, row, sentence)


def _elsewhere(row: Mapping[str, Any], tested: Rows) -> str:
    """Whether the same view tells the classes apart at the other sites."""
    others = [r for r in tested if r["view"] == row["view"] and r["site"] != row["site"]]
    words = []
    for other in others:
        if is_cause(other):
            words.append(f"so it does at {other['site']} (AUC {other['auc']:.2f})")
        else:
            power = f", power {other['power']:.0%} for an AUC of 0.70"
            words.append(
                f"at {other['site']} that was not shown (AUC {other['auc']:.2f}, {_p(other['p_holm'])}{power})"
            )
    return "; " + "; ".join(words) if words else ""


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
        cause = best["view"] if best and at_home else row["view"]
        if row["auc"] < 0.5:
            tail = "what it learnt outside the lungs points the other way there"
        elif at_home and best:
            tail = f"it can use {CAUSES[best['view']]}, which alone reaches {best['auc']:.2f} there"
        else:
            tail = "it does not need the lungs for that"
        where = "its own site" if at_home else "a site it has not seen"
        sentence = f"Model {row['model']} at {row['site']}, {where}, {part}: {_numbers(row)}{compare}: {tail}."
        yield _finding(row["model"], "+".join(homes[row["model"]]), row["site"], {**row, "view": cause}, sentence)


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
            f"saliency lies in the lungs, which take {row['expected']:.0%} of the picture: {side} than by chance "
            f"({_p(row['p_holm'])}, {row['patients']} patients)."
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
    }


def _numbers(row: Mapping[str, Any]) -> str:
    return f"AUC {row['auc']:.2f} (95 % {row['low']:.2f} to {row['high']:.2f}), {_p(row['p_holm'])}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
