"""Each network's AUC over the sites that it never saw in; a table of what to expect at one more site out."""

from __future__ import annotations

from typing import Any

from elsewhere.pages.report.content import Study
from elsewhere.pages.report.learned import marked_names
from elsewhere.pages.report.records import number
from elsewhere.pages.report.shown_rows import OverSitesRow
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import COUNTS, estimate, figure, interval


def over_sites_table(study: Study, name: str) -> Table:
    """Random-effects mean of every network over unseen sites, and its prediction interval for a new hospital."""
    columns = [
        Column("model", "Trained on", marked_names(study)),
        Column("sites", "Unseen sites", None, numeric=True),
        Column("mean", "Mean AUC over hospitals (95 %)", _mean, numeric=True),
        Column("between", "SD between sites (log-odds)", lambda v, _: figure(v), numeric=True),
        Column("new_low", "AUC at a new hospital (95 %)", _new, numeric=True),
    ]
    note = (
        "The unseen sites as a sample of hospitals: random effects on the log-odds of the AUC (REML, Hartung–Knapp), "
        "and a prediction interval for one more. Networks that were tested on the same patients are no further "
        "hospitals, so each stands on its own. With one site the mean is its AUC; with more, an AUC within half a scan "
        "of 0 or 1 counts as half a scan away, so that it has log-odds."
    )
    return Table(name, "What to expect at a hospital that is not among the sites.", columns, study.over_sites, note)


def _mean(value: Any, row: OverSitesRow) -> str:
    return estimate(value, row.low, row.high)


def _new(value: Any, row: OverSitesRow) -> str:
    sites = row.sites
    if number(value) is None:
        return f"{COUNTS[sites] if sites < len(COUNTS) else sites} site{'' if sites == 1 else 's'} cannot tell"
    return interval(value, row.new_high)
