"""A model adapted to a new place: every fit as a task, the curves, the choice, what is forgotten, and the new model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elsewhere.adapting_rows import Adaptation, AdaptRow, CurvePoint, Forgotten
from elsewhere.errors import BadOption
from elsewhere.model.adapting import IN_WORDS, WAYS, AdaptingSettings, Way, ways_of, without_meaning
from elsewhere.model.network import copy_checkpoint, load_networks, read_checkpoint_record
from elsewhere.model.network_settings import PAPER
from elsewhere.statistics.adaptation import (
    LEAST_PATIENTS,
    Choice,
    choose_way,
    clustered_mean,
    deal_folds,
    draw_scans,
    ladder,
    losses,
    mean_auc,
    mean_difference,
)
from elsewhere.statistics.decision import choose_threshold, fit_recalibration, recalibrate
from elsewhere.statistics.intervals import Interval, auc_interval, proportion_interval
from elsewhere.statistics.learning_curve import LearningCurve, fit_curve, how_many
from elsewhere.statistics.local_threshold import choose_local_threshold
from elsewhere.statistics.requirements import LEAST_SHARE
from elsewhere.studies.adapting_fits import (
    ALL,
    NO_FOLD,
    Bench,
    Fit,
    as_it_is,
    bench_of,
    carry_out,
    checkpoint_of,
    keep_features,
)
from elsewhere.studies.adapting_scans import AdaptingScan, AdaptingScans, Columns, Said
from elsewhere.studies.known_model import METADATA, Adapted, Adjustment, KnownModel, KnownScore
from elsewhere.studies.records import ADAPT_ROWS, ADAPTATION
from elsewhere.wording import numbered

UNADAPTED = ("as it is", "threshold", "recalibration")
AIMS = tuple(round(0.70 + 0.05 * step, 2) for step in range(6))
"""AUCs that the record says of how many patients they take, besides the one wanted."""


@dataclass(frozen=True)
class AdaptPlan:
    """What is tried.

    Attributes:
        ways: of adapting.
        sizes: patients of each class on the ladder; none for 4, 8, 16, … as far as the classes go.
        draws: of patients at each.
        aim: the AUC wanted; None for that of home.
        settings: of the fits.
    """

    ways: tuple[Way, ...] = WAYS
    sizes: tuple[int, ...] = ()
    draws: int = 3
    aim: float | None = None
    settings: AdaptingSettings = field(default=AdaptingSettings())


def adapt_model(
    model: KnownModel, scans: AdaptingScans, plan: AdaptPlan, target: Path, workers: int | None = None
) -> tuple[Adaptation, KnownModel | None]:
    """Try every way on growing numbers of patients, choose one by leaving patients out, fit it on all, score it.

    Every fit is kept; a run that was killed goes on where it stopped. Writes curve.parquet into `target`.

    Args:
        model: as it is.
        scans: of the new place, of home and of old sites.
        plan: what is tried.
        target: folder for fits and records.
        workers: processes; None means one per core.

    Returns:
        What it came to, and the model to write: the adapted one, one with a recalibration, or None.

    Raises:
        BadCheckpoint: the weights are missing or damaged.
        BadStudy: too few patients of a class.
    """
    begun = time.monotonic()
    fit, score = Columns.of(scans.part("fit")), Columns.of(scans.part("score"))
    sizes = plan.sizes or ladder(fit.labels, fit.people)
    if sizes and max(sizes) > min(fit.patients):
        what = (
            f"has {max(sizes)}, but {fit.patients[0]} positive and {fit.patients[1]} negative patients may be fitted on"
        )
        raise BadOption("--sizes", what, "Give numbers up to the smaller of the two")
    bench = bench_of(model, scans, plan.settings, target)
    ways = tuple(way for way in _with_meaning(plan, bench) if way != "all+replay" or bench.home)
    predicted = scans.part("fit", "score", "choose", "old")
    features = keep_features(bench, predicted, workers)
    before = as_it_is(bench, predicted, features)
    fits = curve_fits(scans, fit, ways, sizes, plan)
    run = partial(carry_out, bench, features=features, workers=workers)
    said = run(fits, describe="Learning curves")
    choice, left_out, folds = _choose(scans, fit, ways, before, plan.settings.seed, run)
    rows = unadapted_rows(model, scans, fit, sizes, plan, before)
    rows += [row for one, of in zip(fits, said, strict=True) for row in _rows(model, scans, one, of, before)]
    curve = curve_points(model, scans, fits, said, before)
    way = choice.way or _best(choice) or (ways[-1] if ways else "")
    fitted = _fitted(
        score, [f for f in fits if f.way == way], [s for f, s in zip(fits, said, strict=True) if f.way == way], sizes
    )
    home = _home_auc(model, scans, before)
    aim = plan.aim if plan.aim is not None else round(home.estimate if home else 0.8, 2)
    found = Adaptation(
        model=model.name,
        site=scans.place,
        checkpoint=model.checkpoint,
        decision=choice.decision,
        way=choice.way,
        choice=choice,
        trainable=True,
        fitted=fit.patients,
        scored=score.patients,
        before=auc_interval(score.labels, score.people, score.said(before)),
        curve=tuple(curve),
        curve_way=way,
        how_many=how_many(fitted, aim),
        table=tuple(how_many(fitted, one) for one in AIMS),
        fits=len(fits) + len(folds),
        notes=(*scans.notes, *_notes(plan, bench, scans)),
    )
    new: KnownModel | None = None
    if choice.decision == "adapt":
        final = Fit(_way(choice.way), ALL, 0, NO_FOLD, fit.scans, tuple(scans.part("score", "choose", "old")))
        (after,) = run([final], describe="The chosen way")
        rows += _rows(model, scans, final, after, before)
        found, new = _adapted(model, scans, bench, final, after, before, left_out[choice.way], found)
    elif choice.decision == "recalibrate":
        change = _adjustment(
            model, fit, fit.said(before), f"{numbered(fit.labels.size, 'labelled scan')} of {scans.place}"
        )
        found = replace(found, threshold=change.threshold, slope=change.slope, intercept=change.intercept)
        new = replace(model, adjustment=change)
    ADAPT_ROWS.write(target / "curve.parquet", rows)
    return replace(found, seconds=time.monotonic() - begun), new


def keep_adaptation(found: Adaptation, target: Path) -> None:
    """Write adaptation.json."""
    ADAPTATION.write(target / "adaptation.json", found.to_record())


def _kind(bench: Bench) -> str:
    return str(read_checkpoint_record(bench.stem)["network"].get("kind", PAPER))


def _with_meaning(plan: AdaptPlan, bench: Bench) -> tuple[Way, ...]:
    """The ways of a plan that have a meaning for the network; a plan that names others by themselves is refused."""
    known = ways_of(kind := _kind(bench))
    wrong = next((way for way in plan.ways if way not in known), None)
    if wrong is not None and plan.ways != WAYS:
        raise BadOption(
            "--ways", f"has {wrong!r}, which {without_meaning(kind, wrong)}", f"Choose from {', '.join(known)}"
        )
    return tuple(way for way in plan.ways if way in known)


def _notes(plan: AdaptPlan, bench: Bench, scans: AdaptingScans) -> list[str]:
    notes = []
    if "all+replay" in plan.ways and not bench.home:
        notes.append(
            "Scans of home are not at hand (an exported model): no replay, and what is forgotten is not known."
        )
    notes += [f"Not tried: {w}, which {why}." for w in plan.ways if (why := without_meaning(_kind(bench), w))]
    gone = [s for s in dict.fromkeys(o.case.site for o in scans.part("old")) if s not in scans.old_sites]
    if gone:
        notes.append(f"Forgetting is not measured at {', '.join(gone)}: test scans of one class only.")
    return notes


# The fits ----------------------------------------------------------------------------------------------------------


def curve_fits(
    scans: AdaptingScans, fit: Columns, ways: Sequence[Way], sizes: Sequence[int], plan: AdaptPlan
) -> list[Fit]:
    """One fit for each way, number of patients and draw; all ways on the same patients."""
    asked = tuple(scans.part("score", "old"))
    found = []
    for size in sizes:
        for draw in range(plan.draws):
            chosen = draw_scans(fit.labels, fit.people, size, draw, plan.settings.seed)
            drawn = tuple(fit.scans[i] for i in chosen)
            found += [Fit(way, size, draw, NO_FOLD, drawn, asked) for way in ways]
    return found


def _choose(  # noqa: PLR0917 - what the fits need, then how they are made
    scans: AdaptingScans,
    fit: Columns,
    ways: Sequence[Way],
    before: Said,
    seed: int,
    run: Callable[..., list[dict[tuple[str, str], float]]],
) -> tuple[Choice, dict[str, NDArray[np.float64]], list[Fit]]:
    """The choice by leaving folds of patients out, what each way said of those left out, and the fits behind it."""
    folds = deal_folds(fit.labels, fit.people, seed)
    tried = ways if min(fit.patients) >= LEAST_PATIENTS else ()
    home = tuple(scans.part("choose"))
    fits = []
    for way in tried:
        for fold in np.unique(folds).tolist():
            kept, out = (
                [s for s, f in zip(fit.scans, folds, strict=True) if (f == fold) == left] for left in (False, True)
            )
            fits.append(Fit(way, ALL, 0, fold, tuple(kept), (*out, *home)))
    said = run(fits, describe="Choosing")
    left_out: dict[str, NDArray[np.float64]] = {}
    kept_home: dict[str, float] = {}
    for way in tried:
        own = [of for one, of in zip(fits, said, strict=True) if one.way == way]
        left_out[way] = np.array([own[f][s.case.site, s.case.scan] for s, f in zip(fit.scans, folds, strict=True)])
        change = _change_at(Columns.of(home), own, before)
        if change is not None:
            kept_home[way] = change.estimate
    choice = choose_way(fit.labels, fit.people, folds, fit.said(before), left_out, kept_home)
    return choice, left_out, fits


def _best(choice: Choice) -> str:
    """The way that saves most, sure or not; "" where none was tried."""
    ways = [c for c in choice.candidates if c.name in WAYS]
    return max(ways, key=lambda c: c.saved.estimate).name if ways else ""


def _way(name: str) -> Way:
    return next(way for way in WAYS if way == name)


# What they say -----------------------------------------------------------------------------------------------------


def curve_points(
    model: KnownModel, scans: AdaptingScans, fits: Sequence[Fit], said: Sequence[Said], before: Said
) -> list[CurvePoint]:
    """Each way at each number of patients, over all draws."""
    score = Columns.of(scans.part("score"))
    home = Columns.of([s for s in scans.part("old") if s.case.site in model.trained_on])
    found = []
    for way, size in dict.fromkeys((f.way, f.size) for f in fits):
        own = [of for one, of in zip(fits, said, strict=True) if (one.way, one.size) == (way, size)]
        auc = mean_auc(score.labels, score.people, np.stack([score.said(one) for one in own]))
        found.append(CurvePoint(way, size, len(own), auc, _change_at(home, own, before)))
    return found


def _change_at(old: Columns, said: Sequence[Said], before: Said) -> Interval | None:
    """AUC of some fits less that of the model as it is, a mean over old sites; None where none has both classes.

    Scans of different sites are never compared; sites are independent, so their half-widths are squared and added.
    """
    parts = [Columns.of([s for s in old.scans if s.case.site == site]) for site in _sites(old.scans)]
    found = [
        mean_difference(p.labels, p.people, np.stack([p.said(one) for one in said]), p.said(before))
        for p in parts
        if len(set(p.labels.tolist())) == 2
    ]
    if not found:
        return None
    middle = float(np.mean([one.estimate for one in found]))
    down, up = (
        float(np.sqrt(np.sum([(getattr(one, end) - one.estimate) ** 2 for one in found]))) / len(found)
        for end in ("low", "high")
    )
    return Interval(middle, max(middle - down, -1.0), min(middle + up, 1.0), found[0].method)


def _sites(scans: Sequence[AdaptingScan]) -> list[str]:
    return list(dict.fromkeys(s.case.site for s in scans))


def _fitted(score: Columns, fits: Sequence[Fit], said: Sequence[Said], sizes: Sequence[int]) -> LearningCurve | None:
    if not fits:
        return None
    table = [[score.said(of) for one, of in zip(fits, said, strict=True) if one.size == size] for size in sizes]
    return fit_curve(score.labels, score.people, np.array(table), sizes)


def _home_auc(model: KnownModel, scans: AdaptingScans, before: Said) -> Interval | None:
    """AUC at home as it is, from the scans at hand or from the scores that the model carries."""
    home = Columns.of([s for s in scans.part("old") if s.case.site in model.trained_on[:1]])
    if home.scans and len(set(home.labels.tolist())) == 2:
        return auc_interval(home.labels, home.people, home.said(before))
    kept = [s for s in model.at_home("test") if s.site == model.trained_on[0]]
    if len({s.label for s in kept}) < 2:
        return None
    return auc_interval([s.label for s in kept], [s.person for s in kept], [s.probability for s in kept])


def _relation(model: KnownModel, scans: AdaptingScans, site: str) -> str:
    return "here" if site == scans.place else "home" if site in model.trained_on else "other"


def _rows(model: KnownModel, scans: AdaptingScans, fit: Fit, said: Said, before: Said) -> list[AdaptRow]:
    parts = [
        scans.part("score"),
        *([s for s in scans.part("old") if s.case.site == site] for site in _sites(scans.part("old"))),
    ]
    return [
        _row(
            _relation(model, scans, part[0].case.site),
            fit.way,
            (fit.size, fit.draw, len(fit.fitted)),
            Columns.of(part),
            said,
            before,
            0.5,
        )
        for part in parts
    ]


def _row(  # noqa: PLR0917 - the keys of a row, then its columns
    relation: str,
    way: str,
    of: tuple[int, int, int],
    columns: Columns,
    said: Said,
    before: Said,
    threshold: float,
) -> AdaptRow:
    values = columns.said(said)
    right = (values >= threshold) == (columns.labels == 1)
    accuracy = proportion_interval(right.astype(np.int64), columns.people)
    loss = clustered_mean(losses(columns.labels, values), columns.people)
    auc = change = None
    if len(set(columns.labels.tolist())) == 2:
        auc = auc_interval(columns.labels, columns.people, values)
        change = mean_difference(columns.labels, columns.people, values, columns.said(before))
    return AdaptRow(
        way=way,
        size=of[0],
        draw=of[1],
        site=columns.scans[0].case.site,
        relation=relation,
        scans=columns.labels.size,
        positives=int(columns.labels.sum()),
        fitted=of[2],
        auc=None if auc is None else auc.estimate,
        auc_low=None if auc is None else auc.low,
        auc_high=None if auc is None else auc.high,
        accuracy=accuracy.estimate,
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        log_loss=loss.estimate,
        log_loss_low=loss.low,
        log_loss_high=loss.high,
        change=None if change is None else change.estimate,
        change_low=None if change is None else change.low,
        change_high=None if change is None else change.high,
    )


def unadapted_rows(  # noqa: PLR0917 - as `curve_fits`
    model: KnownModel, scans: AdaptingScans, fit: Columns, sizes: Sequence[int], plan: AdaptPlan, before: Said
) -> list[AdaptRow]:
    """The model as it is at every site; and here with a threshold, and a recalibration, of the drawn patients."""
    score, point = Columns.of(scans.part("score")), model.point
    adjusted = {place: model.adjusted(p) for place, p in before.items()}
    parts = [
        score,
        *(Columns.of([s for s in scans.part("old") if s.case.site == site]) for site in _sites(scans.part("old"))),
    ]
    rows = [
        _row(
            _relation(model, scans, p.scans[0].case.site), UNADAPTED[0], (0, 0, 0), p, adjusted, before, point.threshold
        )
        for p in parts
    ]
    for size in sizes:
        for draw in range(plan.draws):
            chosen = draw_scans(fit.labels, fit.people, size, draw, plan.settings.seed)
            labels, values = fit.labels[chosen], fit.said(before)[chosen]
            local = choose_threshold(labels, values)
            of = size, draw, chosen.size
            rows.append(_row("here", UNADAPTED[1], of, score, before, before, local.threshold))
            line = fit_recalibration(labels, values) if np.ptp(values) > 0 else None
            if line is not None and line.slope > 0:
                moved = {place: float(recalibrate(p, line)) for place, p in before.items()}
                rows.append(_row("here", UNADAPTED[2], of, score, moved, before, 0.5))
    return rows


# The new model -----------------------------------------------------------------------------------------------------


def _adjustment(model: KnownModel, columns: Columns, values: NDArray[np.float64], source: str) -> Adjustment:
    """Platt's map and a local threshold from held-back or unadapted probabilities; no map where it would turn round."""
    line = fit_recalibration(columns.labels, values)
    threshold = choose_local_threshold(columns.labels, values, (LEAST_SHARE, LEAST_SHARE))
    known = tuple(sorted({model.salted(s.hashes[0]) for s in columns.scans}))
    inside = partial(np.clip, a_min=1e-6, a_max=1 - 1e-6)
    words = f"chosen on {source}"
    if line.slope <= 0:
        return Adjustment(float(inside(threshold)), source=words, scans=columns.labels.size, chosen_on=known)
    moved = float(inside(recalibrate(threshold, line)))
    return Adjustment(moved, line.intercept, line.slope, words, columns.labels.size, known)


def _adapted(  # noqa: PLR0917 - the model, its fit, and what was said before and after
    model: KnownModel,
    scans: AdaptingScans,
    bench: Bench,
    final: Fit,
    after: Said,
    before: Said,
    left_out: NDArray[np.float64],
    found: Adaptation,
) -> tuple[Adaptation, KnownModel]:
    fit, score = Columns.of(final.fitted), Columns.of(scans.part("score"))
    stem = checkpoint_of(bench, final)
    source = f"{numbered(fit.labels.size, 'scan')} of {scans.place}, each left out of the fit that scored it"
    change = _adjustment(model, fit, left_out, source)
    values = score.said(after)
    found = replace(
        found,
        after=auc_interval(score.labels, score.people, values),
        change=mean_difference(score.labels, score.people, values, score.said(before)),
        forgotten=tuple(_forgotten(model, scans, site, after, before) for site in scans.old_sites),
        threshold=change.threshold,
        slope=change.slope,
        intercept=change.intercept,
    )
    salted = {model.salted(one): f"{scans.place}: {s.case.scan}" for s in final.fitted for one in s.hashes}
    held = {(s.case.site, s.case.scan): p for s, p in zip(fit.scans, left_out.tolist(), strict=True)}
    known = [
        *((s, "validation", held[s.case.site, s.case.scan]) for s in fit.scans),
        *((s, "test", after[s.case.site, s.case.scan]) for s in scans.part("score", "old")),
        *((s, "validation", after[s.case.site, s.case.scan]) for s in scans.part("choose")),
    ]
    scores = tuple(KnownScore(s.case.site, subset, s.person, s.case.label, p, s.stratum) for s, subset, p in known)
    sites = {score.site for score in scores}
    new = replace(
        model,
        name=f"{model.name} at {scans.place}",
        trained_on=(*(site for site in model.trained_on if site in sites), scans.place),
        checkpoint=str(read_checkpoint_record(stem)["sha256"]),
        scores=scores,
        metadata={n: (*model.metadata.get(n, ()), *(s.metadata[n] for s in final.fitted)) for n in METADATA},
        learned_from={**model.learned_from, **salted},
        load=lambda: load_networks(stem)[0],
        save=partial(copy_checkpoint, stem),
        adjustment=change,
        selected=None,
        salt=model.salt or model.checkpoint,
        adapted=Adapted(model.checkpoint, IN_WORDS[final.way], scans.place, *fit.patients, fit.labels.size),
    )
    return found, new


def _forgotten(model: KnownModel, scans: AdaptingScans, site: str, after: Said, before: Said) -> Forgotten:
    old = Columns.of([s for s in scans.part("old") if s.case.site == site])
    one, two = (auc_interval(old.labels, old.people, old.said(said)) for said in (before, after))
    change = mean_difference(old.labels, old.people, old.said(after), old.said(before))
    return Forgotten(site, _relation(model, scans, site), old.labels.size, one, two, change)
