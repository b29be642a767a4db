"""The scans of a study in; who the patients of each site, class and subset are, as far as their scans tell, out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from elsewhere.pages import report as page
from elsewhere.scans.scan import Fact
from elsewhere.statistics.strata import OLDEST
from elsewhere.studies.records import ScanRow

FEMALE = "F"  # as DICOM writes it (0010,0040)


def characteristics(scans: Sequence[ScanRow]) -> list[page.PatientsRow]:
    """One row per site, class and subset: patients, age (median, quartiles), share of women, first and last month.

    Each patient counts once, by the first of his scans that tells a fact; what no scan tells is None.
    """
    groups: dict[tuple[str, int | None, str], list[ScanRow]] = defaultdict(list)
    for row in scans:
        groups[row.site, row.label, row.subset].append(row)
    return [_of(head, rows) for head, rows in groups.items()]


def _of(head: tuple[str, int | None, str], rows: Sequence[ScanRow]) -> page.PatientsRow:
    ages, sexes = _told("age", rows), _told("sex", rows)
    months = [str(date)[:7] for row in rows if (date := row.facts.get("date"))]
    known = [min(float(age), OLDEST) for age in ages if isinstance(age, int | float)]
    told = [str(sex) for sex in sexes if sex]
    low, middle, high = _quartiles(known)
    return page.PatientsRow(
        *head,
        patients=len({row.patient for row in rows}),
        age_known=len(known),
        age=middle,
        age_low=low,
        age_high=high,
        sex_known=len(told),
        women=sum(sex == FEMALE for sex in told) / len(told) if told else None,
        first_month=min(months, default=None),
        last_month=max(months, default=None),
    )


def _told(fact: str, rows: Sequence[ScanRow]) -> list[Fact]:
    """A fact of each patient, by the first of his scans that tells it."""
    told = {row.patient: value for row in reversed(rows) if (value := row.facts.get(fact)) is not None}
    return list(told.values())


def _quartiles(values: Iterable[float]) -> tuple[float | None, float | None, float | None]:
    found = list(values)
    if not found:
        return None, None, None
    low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)
