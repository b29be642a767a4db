"""One study's records in; the page's drawings out, each with the words for those who do not see it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from elsewhere.audit_rows import RuleRow
from elsewhere.pages.figures import (
    Canvas,
    ConfusionPanel,
    ForestPanel,
    ForestRow,
    ForestScale,
    MatrixCell,
    RocPanel,
    StripRow,
    TrainingPanel,
    auc_matrix,
    auc_strip,
    closed_curve,
    confusion_grid,
    forest,
    roc_grid,
    slice_sheet,
    training_sheet,
)
from elsewhere.pages.report.content import ExampleSlice, Model, RocBand, Study
from elsewhere.pages.report.learned import marked_name
from elsewhere.pages.report.records import (
    KINS,
    Averaged,
    averages,
    cell,
    confusion_of,
    groups,
    index,
    kin_of,
    number,
    one_class,
)
from elsewhere.pages.report.shown_rows import CurveRow
from elsewhere.pages.report.words import (
    NOT_MEASURED,
    estimate,
    figure,
    interval,
    one_class_words,
    rule_p,
    rule_sees,
    spaced,
    spread,
    threshold_words,
)
from elsewhere.rows import ScoreRow
from elsewhere.wording import numbered

SURE = 0.05  # p at or below which a rule is drawn full
LARGEST_SLICE = 256  # pixels a side on the page; larger pictures are averaged down
EMPTY: NDArray[np.float64] = np.empty(0)
FAMILIES = {"single": "trained on one site", "several": "trained on several sites"}


def family(study: Study, name: str) -> list[Model]:
    """Models trained on one site ("single") or on several."""
    return [model for model in study.models if (len(model.trained_on) == 1) == (name == "single")]


def strip(study: Study, name: str) -> Canvas:
    """Every AUC of one study on one scale."""
    rows = [StripRow(KINS[g.kin], g.kin, g.aucs, (g.mean, g.low, g.high)) for g in groups(study)]
    words = [
        f"{row.name}: mean {estimate(*row.mean)} over {numbered(len(row.aucs), 'cell')}" for row in rows if row.mean
    ]
    return auc_strip(name, f"AUC of every model at every site of study {study.name}. {'; '.join(words)}.", rows)


def matrix(study: Study, name: str) -> Canvas:
    """The cross-site matrix of one study."""
    cells = index(study.scores)
    rows = [
        [_matrix_cell(m, s.name, cell(cells, m.name, s.name, first=study.reading)) for s in study.sites]
        for m in study.scored
    ]
    alt = f"Cross-site matrix of study {study.name}: AUC of {numbered(len(study.scored), 'model')} (rows) at "
    alt += f"{numbered(len(study.sites), 'site')} (columns); the table of all cells holds the same numbers."
    names = [marked_name(model) for model in study.scored]
    return auc_matrix(name, alt, names, [site.name for site in study.sites], rows)


def _matrix_cell(model: Model, site: str, row: ScoreRow | None) -> MatrixCell:
    kin = kin_of(model, site)
    if row is None:
        return MatrixCell(None, kin, NOT_MEASURED)
    if one_class(row):
        kind, _, rate = one_class_words(row)
        return MatrixCell(None, kin, f"{kind}: {rate.split(' (')[0]}")
    ends = interval(row.auc_sampling_low, row.auc_sampling_high)
    auc = number(row.auc)
    return MatrixCell(auc, kin, NOT_MEASURED if auc is None else ends)


def confusions(study: Study, name: str, models: Sequence[Model], reading: str) -> Canvas:
    """The paper's Figure 3 or 4 under one threshold reading."""
    cells = index(study.scores)
    means = {model.name: averages(study, model.name, reading) for model in models}
    extra = max((([a.name for a in found]) for found in means.values()), key=len, default=[])
    rows: list[list[ConfusionPanel | None]] = []
    for model in models:
        panels = [_confusion_panel(cell(cells, model.name, site.name, reading)) for site in study.sites]
        by_name = {a.name: _averaged_panel(a) for a in means[model.name]}
        rows.append([*panels, *(by_name.get(column) for column in extra)])
    alt = f"Confusion matrices of study {study.name}: {numbered(len(models), 'model')} (rows) at each site, averaged "
    alt += "and combined (columns); each matrix has the true class down and the called class across, normalised per "
    alt += "true class."
    columns = [site.name for site in study.sites] + extra
    return confusion_grid(name, alt, [marked_name(model) for model in models], columns, rows)


def _confusion_panel(row: ScoreRow | None) -> ConfusionPanel | None:
    counted = confusion_of(row)
    if row is None or counted is None:
        return None
    counts = (counted.true_positive, counted.false_negative, counted.false_positive, counted.true_negative)
    foot = f"{threshold_words(row)} · acc {figure(counted.accuracy)}"
    return ConfusionPanel(number(counted.sensitivity), number(counted.specificity), counts, foot)


def _averaged_panel(averaged: Averaged) -> ConfusionPanel:
    c = averaged.confusion
    counts = (c.true_positive, c.false_negative, c.false_positive, c.true_negative) if c else None
    return ConfusionPanel(averaged.sensitivity, averaged.specificity, counts, f"acc {figure(averaged.accuracy)}")


def rocs(study: Study, name: str, models: Sequence[Model]) -> Canvas:
    """The paper's Figure 5 or 6."""
    cells, bands = index(study.scores), {(band.model, band.site): band for band in study.rocs}
    rows = [[_roc_panel(cell(cells, m.name, s.name), bands.get((m.name, s.name))) for s in study.sites] for m in models]
    words = [
        f"{spaced(m.name)} at {s.name} {figure(found.auc)}"
        for m in models
        for s in study.sites
        if (found := cell(cells, m.name, s.name)) and number(found.auc) is not None
    ]
    alt = f"ROC curves of study {study.name} with dropout bands. AUC: {'; '.join(words) or NOT_MEASURED}."
    columns = [site.name for site in study.sites]
    return roc_grid(name, alt, [marked_name(model) for model in models], columns, rows)


def _roc_panel(row: ScoreRow | None, band: RocBand | None) -> RocPanel:
    if row is not None and one_class(row):
        return _no_curve(*one_class_words(row))
    if row is None:
        return _no_curve(NOT_MEASURED)
    words = [f"AUC {estimate(row.auc, row.auc_sampling_low, row.auc_sampling_high)}"]
    if number(row.auc_grid_dropout_mean) is not None:
        words.append(f"dropout {spread(row.auc_grid_dropout_mean, row.auc_grid_dropout_sd)}")
    words.append(f"on the grid {figure(row.auc_grid, 3)}")
    if band is None:
        return _no_curve("no curve kept", *words)
    low, high = np.asarray(band.band_low, dtype=float), np.asarray(band.band_high, dtype=float)
    return RocPanel(*closed_curve(band.fpr, band.tpr), np.asarray(band.band_fpr, dtype=float), low, high, tuple(words))


def _no_curve(*words: str) -> RocPanel:
    return RocPanel(EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, words)


def examples(study: Study, name: str) -> Canvas:
    """The paper's Figure 1: slices of each site, positives above negatives, each raw above what the network gets."""
    found: dict[tuple[int, str, str], list[ExampleSlice]] = defaultdict(list)
    for example in study.examples:
        found[example.label, example.stage, example.site].append(example)
    rows, titles = [], []
    for label, title in ((1, "Positive"), (0, "Negative")):
        for stage in dict.fromkeys(e.stage for e in study.examples if e.label == label):
            depth = max(len(v) for (kind, step, _), v in found.items() if (kind, step) == (label, stage))
            for i in range(depth):
                titles.append(f"{title} {stage}".strip() if i == 0 else "")
                rows.append([_picture(found[label, stage, site.name], i) for site in study.at_hand])
    alt = f"Example CT slices of study {study.name}, one column per site: "
    words = [f"{e.site}, {'positive' if e.label else 'negative'} {e.stage}".strip() for e in study.examples]
    alt += "; ".join(f"{said}: {e.caption}" for said, e in zip(words, study.examples, strict=True)) + "."
    return slice_sheet(name, alt, [site.name for site in study.at_hand], titles, rows)


def _picture(examples: Sequence[ExampleSlice], place: int) -> tuple[NDArray[np.uint8], str] | str:
    if place >= len(examples):
        return "no such scan" if not examples else "no further example"
    example = examples[place]
    if example.pixels is None:
        return example.caption
    words = " · ".join(part for part in (example.scan, example.caption) if part)
    return shrink(example.pixels), words


def shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A slice averaged down by a whole factor to at most `LARGEST_SLICE` pixels a side; smaller ones as they are."""
    factor = -(-max(pixels.shape) // LARGEST_SLICE)
    if factor == 1:
        return pixels
    rows, columns = (size // factor for size in pixels.shape)
    blocks = pixels[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(blocks.mean(axis=(1, 3)).round(), dtype=np.uint8)


def training(study: Study, name: str) -> Canvas:
    """Loss and validation accuracy of every model."""
    panels = [
        TrainingPanel(
            marked_name(model),
            _series(study.curves, model.name, "training_loss"),
            _series(study.curves, model.name, "validation_accuracy"),
            model.best_iteration,
        )
        for model in study.models
    ]
    kept = [f"{p.model} kept at iteration {p.best}" for p in panels if p.best is not None]
    alt = f"Training loss and validation accuracy of every model of study {study.name} over the iterations. "
    return training_sheet(name, alt + "; ".join(kept) + ("." if kept else ""), panels)


def rules(study: Study, name: str) -> Canvas | None:
    """The audit's rules of metadata and simple measures, one panel for each group of sites; None without any."""
    found: dict[str, list[RuleRow]] = defaultdict(list)
    for rule in study.audit.confounding:
        if number(rule.auc) is not None:
            found[rule.sites].append(rule)
    if not found:
        return None
    panels = [ForestPanel(_capital(sites), tuple(_rule_row(r) for r in rows)) for sites, rows in found.items()]
    said = [f"{p.title}: " + ", ".join(f"{r.name} {r.words}" for r in p.rows) for p in panels]
    alt = f"AUC of rules that see only {rule_sees(study.audit.confounding)}, study {study.name}: {'; '.join(said)}."
    return forest(name, alt, panels, ForestScale(0.0, 1.0, 0.5, "0.5 = chance"))


def _rule_row(rule: RuleRow) -> ForestRow:
    p = number(rule.p_value)
    sure = p is not None and p <= SURE
    words = figure(rule.auc) + (f" (p {rule_p(p, rule.permutations)})" if p is not None else "")
    return ForestRow(rule.rule, rule.auc, None, None, sure, words)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _series(curves: Iterable[CurveRow], model: str, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = sorted(
        (r.iteration, value) for r in curves if r.model == model and (value := number(r.logged.get(column))) is not None
    )
    return np.array([p[0] for p in points]), np.array([p[1] for p in points])
