"""The scans of a study in; who the patients of each site, class and subset are, as far as their scans tell, out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from elsewhere.statistics.strata import OLDEST
from elsewhere.studies.records import ScanRow

FEMALE = "F"  # as DICOM writes it (0010,0040)


def characteristics(scans: Sequence[ScanRow]) -> list[dict[str, Any]]:
    """One record per site, class and subset: patients, age (median, quartiles), share of women, first and last month.

    Each patient counts once, by the first of his scans that tells a fact; what no scan tells is None.
    """
    groups: dict[tuple[str, int | None, str], list[ScanRow]] = defaultdict(list)
    for row in scans:
        groups[row.site, row.label, row.subset].append(row)
    return [{"site": s, "label": label, "subset": subset, **_of(rows)} for (s, label, subset), rows in groups.items()]


def _of(rows: Sequence[ScanRow]) -> dict[str, Any]:
    facts: dict[str, dict[str, Any]] = defaultdict(dict)
    months = []
    for row in rows:
        told = {name: value for name, value in row.facts.items() if value is not None}
        facts[row.patient] = {**told, **facts[row.patient]}
        months += [str(told["date"])[:7]] if told.get("date") else []
    ages = [min(float(f["age"]), OLDEST) for f in facts.values() if isinstance(f.get("age"), int | float)]
    sexes = [str(f["sex"]) for f in facts.values() if f.get("sex")]
    low, middle, high = _quartiles(ages)
    return {
        "patients": len(facts),
        "age_known": len(ages),
        "age": middle,
        "age_low": low,
        "age_high": high,
        "sex_known": len(sexes),
        "women": sum(sex == FEMALE for sex in sexes) / len(sexes) if sexes else None,
        "first_month": min(months, default=None),
        "last_month": max(months, default=None),
    }


def _quartiles(values: Iterable[float]) -> tuple[float | None, float | None, float | None]:
    found = list(values)
    if not found:
        return None, None, None
    low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)
