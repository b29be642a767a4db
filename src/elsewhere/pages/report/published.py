"""The paper's published results, as its text keeps them, beside those of studies on the same real data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elsewhere.pages.report.content import Report, Study
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.learned import MARK
from elsewhere.pages.report.origins import beside_the_paper, published_beside
from elsewhere.pages.report.records import cell, groups, index, number, value_in
from elsewhere.pages.report.table import Column, Table, plain
from elsewhere.pages.report.words import NOT_MEASURED, estimate, figure, spread

SOURCE = "Nguyen et al. 2021, Front. Artif. Intell. 4:694875"
LINK = "https://doi.org/10.3389/frai.2021.694875"


@dataclass(frozen=True)
class Published:
    """One published cell.

    Attributes:
        trained_on: the paper's sites.
        site: tested at.
        accuracy: None where the text does not say.
        auc: None where the text does not say.
        dropout_sd: the paper's ±, a spread over dropout passes, not a sampling error.
        note: what the text adds.
    """

    trained_on: tuple[str, ...]
    site: str
    accuracy: float | None = None
    auc: float | None = None
    dropout_sd: float | None = None
    note: str = ""


UTSW, CC_CCII, COVID_CTSET = "UTSW", "CC-CCII", "COVID-CTset"

RESULTS = (
    Published((UTSW,), UTSW, 0.87, 0.826, 0.024),
    Published((CC_CCII,), CC_CCII, 0.97, 0.988, 0.002),
    Published((COVID_CTSET,), UTSW, 0.38, note="the worst accuracy"),
    Published((COVID_CTSET,), COVID_CTSET, 0.86, 0.873, 0.012),
    Published((UTSW, CC_CCII), UTSW, 0.93, note="best accuracy on UTSW"),
    Published((UTSW, CC_CCII), CC_CCII, 0.96),
    Published((UTSW, COVID_CTSET), UTSW, 0.90, 0.937, 0.018, "best AUC on UTSW"),
    Published((UTSW, COVID_CTSET), CC_CCII, 0.53),
    Published((UTSW, COVID_CTSET), COVID_CTSET, 0.94, 0.926, 0.010, "best on COVID-CTset"),
    Published((UTSW, CC_CCII, COVID_CTSET), UTSW, None, 0.920, None, "probably this model"),
    Published((UTSW, CC_CCII, COVID_CTSET), CC_CCII, None, 0.989, 0.002, "best on CC-CCII"),
)
"""Section "Results" of the paper."""

CROSS_SITE_AUC = {"one site": (0.405, 0.570), "several sites": (0.380, 0.540)}
"""Range of the AUC at unseen sites, models of one site and of several (paper, section "Results")."""


@dataclass(frozen=True)
class PublishedPart:
    """The paper's cells, what may be compared with them, and the studies whose own stand beside them."""

    table: Table
    lead: str
    beside: Sequence[Study]


def section(report: Report, out: Folder) -> PublishedPart | None:
    """The paper's numbers; ours stand beside them on real data only. None where no study repeats the paper's."""
    if not any(study.published for study in report.studies):
        return None
    beside = beside_the_paper(report)
    table = out.add_table(published_table(beside, "published"))
    return PublishedPart(table, published_beside(report), beside)


def published_table(studies: Sequence[Study], name: str) -> Table:
    """The paper's cells, with a column for each study; give no study when its numbers must not stand beside them."""
    rows = []
    for result in RESULTS:
        row = {
            "trained_on": " + ".join(result.trained_on),
            "site": result.site,
            "published_accuracy": result.accuracy,
            "published_auc": result.auc,
            "published_dropout_sd": result.dropout_sd,
            "note": result.note,
        }
        for place, study in enumerate(studies):
            row |= {f"{key}_{place}": value for key, value in vars(_ours(study, result)).items()}
        rows.append(row)
    return Table(name, f"Published results ({SOURCE}).", _columns(studies), rows, _ranges(studies))


def _columns(studies: Sequence[Study]) -> list[Column]:
    columns = [
        Column("trained_on", "Trained on"),
        Column("site", "Tested at"),
        Column("published_accuracy", "Published accuracy", lambda v, _: figure(v), numeric=True),
        Column("published_auc", "Published AUC ± dropout SD", _published_auc, numeric=True),
    ]
    for place, study in enumerate(studies):
        columns += [
            Column(f"accuracy_{place}", f"{study.name}: accuracy (b)", lambda v, _: figure(v), numeric=True),
            Column(f"dropout_{place}", f"{study.name}: grid AUC ± dropout SD", lambda v, _: v or "–", numeric=True),
            Column(f"auc_{place}", f"{study.name}: exact AUC (95 %)", lambda v, _: v or "–", numeric=True),
        ]
    return [*columns, Column("note", "Note", lambda v, _: plain(v))]


def _published_auc(value: Any, row: object) -> str:
    deviation = value_in(row, "published_dropout_sd")
    return spread(value, deviation) if number(deviation) else figure(value, 3)


@dataclass(frozen=True)
class Ours:
    """A study's own cell beside a published one: accuracy under reading (b), and AUCs in words."""

    accuracy: float | None
    dropout: str = NOT_MEASURED
    auc: str = NOT_MEASURED


def _ours(study: Study, result: Published) -> Ours:
    model = next((m for m in study.models if set(m.trained_on) == set(result.trained_on)), None)
    row = cell(index(study.scores), model.name, result.site, "site") if model else None
    if model is None or row is None:
        return Ours(None)
    ends = row.auc_sampling_low, row.auc_sampling_high
    return Ours(
        number(row.accuracy),
        spread(row.auc_grid_dropout_mean, row.auc_grid_dropout_sd),
        estimate(row.auc, *ends, 3) + (f", {MARK}" if model.degenerate else ""),
    )


def _ranges(studies: Sequence[Study]) -> str:
    words = [f"models of {kind}: {low:.3f} to {high:.3f}" for kind, (low, high) in CROSS_SITE_AUC.items()]
    note = f"Published AUC at sites never seen in training: {', '.join(words)}."
    for study in studies:
        unseen = next((g for g in groups(study) if g.kin == "unseen"), None)
        if unseen:
            which = "all its models" if len(study.able) == len(study.models) else "its models that learned"
            note += f" Study {study.name}, {which}: {min(unseen.aucs):.3f} to {max(unseen.aucs):.3f}."
    return note
