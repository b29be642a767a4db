"""Separations, label causes, batteries and saliency of a study in; what they mean, as plain sentences, out.

The rule, the same for all families of tests (causes x sites, models x sites x parts, pairs of sites x views): a finding
has p <= 0.05 after Holm's adjustment within its family and an AUC of at least 0.60; a cause needs p <= 0.02. The cause
of a shortcut at a site is the strongest such view there; weaker ones are named after it. Where a model's own AUC
without lungs is a finding at a site that it was trained on, that cause is named as one that it may use. Of a model that
did not learn (`degenerate`) nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.stats import wilcoxon

from elsewhere.statistics.diagnosis.tested import (
    Adjusted,
    ClassSeparation,
    PartRanking,
    SaliencyShare,
    SiteSeparation,
    Tested,
    adjust,
)
from elsewhere.statistics.permutation import p_words

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


@dataclass(frozen=True)
class Finding:
    """One cause that is named, or one model of which nothing is said.

    Attributes:
        model: the model that it is about; "" for a site or a pair of sites.
        home: a training site, or those of the model joined by "+".
        site: where it was found; for a pair the other site.
        cause: the view that shows it, "saliency" or "degenerate".
        sentence: what was found, in words.
        strength: an AUC; for saliency the share inside the lungs over the share expected.
        p: after Holm's adjustment.
        p_floor: the smallest that the permutations could give where `p` is that, 0 otherwise.
    """

    model: str
    home: str
    site: str
    cause: str
    sentence: str
    strength: float | None
    p: float | None
    p_floor: float


@dataclass(frozen=True)
class _Mass:
    """Saliency of one model at its own sites.

    Attributes:
        model: its name.
        inside: mean share of the mass inside the lungs.
        expected: mean share of the picture that the lungs take.
        patients: with a map.
        p: that the two are one (Wilcoxon).
        permutations: none.
    """

    model: str
    inside: float
    expected: float
    patients: int
    p: float
    permutations: int = 0

    @property
    def ratio(self) -> float:
        """How much of it is inside, over what is expected."""
        return self.inside / max(self.expected, 1e-9)


def find(
    causes: Sequence[ClassSeparation],
    separations: Sequence[SiteSeparation],
    shortcuts: Sequence[PartRanking],
    saliency: Sequence[SaliencyShare],
    homes: Mapping[str, Sequence[str]],
    *,
    degenerate: Mapping[str, str] = MappingProxyType({}),
) -> list[Finding]:
    """Everything that can be said, shortcuts first; then which models nothing is said of.

    Args:
        causes: what tells the classes apart at each site, by the views of `CAUSES`.
        separations: what tells two sites apart.
        shortcuts: models on parts of the scans.
        saliency: where models look.
        homes: training sites of each model; none where they are not known.
        degenerate: model -> why, for those that did not learn: nothing is said of what they use.

    >>> texture = ClassSeparation("A", "texture", 40, 0.9, 0.8, 0.95, 0.001, 0.9, 40, 1999, "")
    >>> [(found.cause, found.strength, found.p) for found in find([texture], [], [], [], {})]
    [('texture', 0.9, 0.001)]
    """
    tested = adjust(causes)
    named = list(name_causes(tested))
    learned = {model: sites for model, sites in homes.items() if model not in degenerate}
    ours = [r for r in shortcuts if r.model in learned]
    used = list(_used(adjust([r for r in ours if r.view in WITHOUT_LUNGS]), ours, tested, learned))
    apart = [r for r in separations if not r.model or r.model in learned]
    silent = [_silent(model, homes[model], why) for model, why in degenerate.items() if model in homes]
    return [*named, *used, *_looked(saliency, learned), *_apart(adjust(apart)), *silent]


def _silent(model: str, sites: Sequence[str], why: str) -> Finding:
    home = "+".join(sites)
    sentence = f"Model {model} is degenerate: {why}. What it uses is not asked."
    return Finding(model, home, home, "degenerate", sentence, None, None, 0.0)


def is_finding(auc: float, p_holm: float) -> bool:
    """Whether a test is a finding, by its AUC and its p after Holm's adjustment.

    >>> is_finding(0.7, p_holm=0.04), is_finding(0.55, p_holm=0.04)
    (True, False)
    """
    return p_holm <= SURE and auc >= NOTABLE


def is_cause(auc: float, p_holm: float) -> bool:
    """Whether a cause that was tested is named.

    >>> is_cause(0.7, p_holm=0.01), is_cause(0.7, p_holm=0.04)
    (True, False)
    """
    return is_finding(auc, p_holm) and p_holm <= SURE_CAUSE


def name_causes(tested: Sequence[Adjusted[ClassSeparation]]) -> Iterator[Finding]:
    """What tells positive from negative at each site without any lung, strongest first.

    >>> texture = ClassSeparation("A", "texture", 40, 0.7, 0.6, 0.8, 0.001, 0.9, 40, 1999, "")
    >>> background = ClassSeparation("A", "background", 40, 0.9, 0.8, 0.95, 0.001, 0.9, 40, 1999, "")
    >>> [found.cause for found in name_causes(adjust([texture, background]))]
    ['background', 'texture']
    """
    for site in dict.fromkeys(row.test.site for row in tested):
        found = [r for r in tested if r.test.site == site and _is_cause(r)]
        for place, row in enumerate(sorted(found, key=lambda r: (-r.test.auc, r.test.p))):
            cause = row.test
            first = f"{_capital(CAUSES[cause.view])} {'also ' * (place > 0)}tells positive from negative at {site} "
            fact = f", most of it {cause.fact}" if cause.fact else ""
            sentence = f"{first}without any lung{fact}: {_numbers(row)}{_elsewhere(row, tested)}{_honest(cause.view)}."
            yield Finding("", site, site, cause.view, sentence, round(cause.auc, 4), row.p_holm, row.p_floor)


def _is_cause(row: Adjusted[ClassSeparation]) -> bool:
    return is_cause(row.test.auc, row.p_holm)


def _honest(view: str) -> str:
    """What limits the accusation: what a network does not see, and what patients bring with them."""
    return REMARKS.get(view, "")


def _elsewhere(row: Adjusted[ClassSeparation], tested: Sequence[Adjusted[ClassSeparation]]) -> str:
    """Whether the same view tells the classes apart at the other sites."""
    others = [r for r in tested if r.test.view == row.test.view and r.test.site != row.test.site]
    words = []
    for other in others:
        site, auc = other.test.site, other.test.auc
        if _is_cause(other):
            words.append(f"so it does at {site} (AUC {auc:.2f})")
        else:
            power = f", power {other.test.power:.0%} for an AUC of 0.70"
            words.append(f"at {site} that was not shown (AUC {auc:.2f}, {_p(other)}{_limits(other)}{power})")
    return "; " + "; ".join(words) if words else ""


def _limits(row: Adjusted[ClassSeparation]) -> str:
    """What a cause with a small p lacks: the reader would take p = 0.040 for shown."""
    if row.p_holm > SURE:
        return ""
    lacking = [f"an AUC of {NOTABLE:.2f} or more"] if row.test.auc < NOTABLE else []
    lacking += [f"p of {SURE_CAUSE} or less"] if row.p_holm > SURE_CAUSE else []
    return f" where a cause takes {' and '.join(lacking)}"


def _used(
    battery: Sequence[Adjusted[PartRanking]],
    shortcuts: Sequence[PartRanking],
    causes: Sequence[Adjusted[ClassSeparation]],
    homes: Mapping[str, Sequence[str]],
) -> Iterator[Finding]:
    for row in battery:
        seen = row.test
        if row.p_holm > SURE or 1 - NOTABLE < seen.auc < NOTABLE:
            continue
        sites = homes[seen.model]
        at_home = seen.site in sites
        whole = next((r for r in shortcuts if _same(r, seen) and r.view == "whole"), None)
        compare = f" (whole scans {whole.auc:.2f})" if whole else ""
        part = PARTS[seen.view] if seen.view == "lungs_erased" else f"on {PARTS[seen.view]}"
        best = _strongest(causes, seen.site)
        cause = best.view if best and at_home and seen.auc > 0.5 else seen.view
        elsewhere = "a site it has not seen" if sites else "which it may or may not have seen"
        where = "its own site" if at_home else elsewhere
        tail = _tail(seen.auc, best, at_home=at_home)
        sentence = f"Model {seen.model} at {seen.site}, {where}, {part}: {_numbers(row)}{compare}: {tail}."
        home, strength = "+".join(sites), round(seen.auc, 4)
        yield Finding(seen.model, home, seen.site, cause, sentence, strength, row.p_holm, row.p_floor)


def _strongest(causes: Sequence[Adjusted[ClassSeparation]], site: str) -> ClassSeparation | None:
    """The strongest cause at a site that a model can see."""
    known = [r.test for r in causes if r.test.site == site and r.test.view in IN_THE_PICTURE and _is_cause(r)]
    return max(known, key=lambda cause: cause.auc, default=None)


def _tail(auc: float, best: ClassSeparation | None, *, at_home: bool) -> str:
    """What an AUC without lungs means, at a model's own site or another."""
    if auc < 0.5 and at_home:
        return "its scores are reversed on pictures unlike any that it was trained on; no cause follows"
    if auc < 0.5:
        return (
            "what lies outside the lungs may point the other way there than in training, or the scores are reversed "
            "because it was trained on no such pictures; no cause follows"
        )
    if not at_home:
        return "some of its discrimination there does not come from the lungs"
    if best is None:
        return "some of its discrimination does not come from the lungs; from what was not found"
    return (
        f"some of its discrimination does not come from the lungs; it may use {CAUSES[best.view]}, which alone "
        f"reaches {best.auc:.2f} there{_honest(best.view)}"
    )


def _same(first: PartRanking, second: PartRanking) -> bool:
    return (first.model, first.site) == (second.model, second.site)


def _looked(saliency: Sequence[SaliencyShare], homes: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Whether a model's saliency at its own sites lies in the lungs: patients' means, Wilcoxon's signed ranks."""
    for row in adjust([mass for model in homes if (mass := _mass(model, saliency, homes[model]))]):
        if row.p_holm > SURE:
            continue
        mass, sites = row.test, homes[row.test.model]
        side = "more" if mass.ratio > 1 else "less"
        sentence = (
            f"Model {mass.model} at its own site{'s' * (len(sites) > 1)}: {mass.inside:.0%} of its "
            f"saliency lies in the lungs, which take {mass.expected:.0%} of the picture: {side} than if it were "
            f"spread evenly ({_p(row)}, {mass.patients} patients)."
        )
        home = "+".join(sites)
        yield Finding(mass.model, home, home, "saliency", sentence, round(mass.ratio, 4), row.p_holm, row.p_floor)


def _mass(model: str, saliency: Sequence[SaliencyShare], sites: Sequence[str]) -> _Mass | None:
    own = [
        ((r.site, r.patient), (r.inside, r.expected))
        for r in saliency
        if r.model == model and r.site in sites and r.inside is not None and r.expected is not None
    ]
    people = sorted({person for person, _ in own})
    if len(people) < 6:
        return None
    shares = np.array([np.mean([share for who, share in own if who == person], axis=0) for person in people])
    if (shares[:, 0] == shares[:, 1]).all():
        return None
    inside, expected = (float(v) for v in shares.mean(axis=0))
    return _Mass(model, inside, expected, len(people), float(wilcoxon(shares[:, 0], shares[:, 1]).pvalue))


def _apart(separations: Sequence[Adjusted[SiteSeparation]]) -> Iterator[Finding]:
    """One sentence for each pair of sites that are told apart: the views that do it, features of models last."""
    pairs = dict.fromkeys((r.test.home, r.test.site) for r in separations)
    for home, site in pairs:
        here = [r for r in separations if (r.test.home, r.test.site) == (home, site)]
        found = [r for r in here if is_finding(r.test.auc, r.p_holm)]
        if not found:
            continue
        ordered = sorted(found, key=lambda r: (bool(r.test.model), -r.test.auc))
        words = ", ".join(f"{_view(r.test)} {r.test.auc:.2f}" for r in ordered)
        sentence = f"{home} and {site} are told apart by (AUC): {words}."
        best, strongest = ordered[0], ordered[0].test
        strength = round(strongest.auc, 4)
        yield Finding(strongest.model, home, site, strongest.view, sentence, strength, best.p_holm, best.p_floor)


def _view(row: SiteSeparation) -> str:
    return f"features of model {row.model}" if row.model else VIEWS[row.view]


def _numbers(row: Adjusted[ClassSeparation] | Adjusted[PartRanking]) -> str:
    return f"AUC {row.test.auc:.2f} (95 % {row.test.low:.2f} to {row.test.high:.2f}), {_p(row)}"


def _p(row: Adjusted[Tested]) -> str:
    return p_words(row.p_holm, row.p_floor)


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
