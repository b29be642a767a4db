"""Several studies in; what each departs in, and what that buys against the study nearest to it, as a table out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elsewhere.pages.report.content import Study
from elsewhere.pages.report.records import groups
from elsewhere.pages.report.table import Column, Table, plain
from elsewhere.pages.report.words import estimate, figure, signed


@dataclass(frozen=True)
class DepartureRow:
    """One study's mean AUC at home and elsewhere with 95 % intervals, and its gains over the study nearest to it."""

    study: str
    against: str
    home: float | None
    home_low: float | None
    home_high: float | None
    home_gain: float | None
    unseen: float | None
    unseen_low: float | None
    unseen_high: float | None
    unseen_gain: float | None
    fall: float | None
    change: str


def protocol_table(studies: Sequence[Study], name: str) -> Table:
    """One row a study: its departures and what they buy against the study nearest to it."""
    ordered = sorted(studies, key=lambda s: len(s.departures))
    rows = []
    for place, study in enumerate(ordered):
        nearest = min(ordered[:place], key=lambda s: len(_changed(study, s)), default=None)
        rows.append(_departure_row(study, nearest))
    columns = [
        Column("study", "Protocol"),
        Column("home", "At home", lambda v, r: estimate(v, r.home_low, r.home_high), numeric=True),
        Column("unseen", "Elsewhere", lambda v, r: estimate(v, r.unseen_low, r.unseen_high), numeric=True),
        Column("fall", "Fall", lambda v, _: figure(v), numeric=True),
        Column("against", "Against", lambda v, _: v or "–"),
        Column("change", "What was changed", lambda v, _: v or "–"),
        Column("home_gain", "Gain at home", lambda v, _: signed(v), numeric=True),
        Column("unseen_gain", "Gain elsewhere", lambda v, _: signed(v), numeric=True),
    ]
    note = "Fall: the difference of the two means, whatever networks stand behind each."
    return Table(name, "Mean AUC per protocol, and what each change buys.", columns, rows, note)


def _departure_row(study: Study, nearest: Study | None) -> DepartureRow:
    means, theirs = ({g.kin: g for g in groups(s)} if s else {} for s in (study, nearest))
    row: dict[str, float | None] = {}
    for kin in ("home", "unseen"):
        found, other = means.get(kin), theirs.get(kin)
        row |= {kin: found.mean if found else None}
        row |= {f"{kin}_low": found.low if found else None, f"{kin}_high": found.high if found else None}
        row[f"{kin}_gain"] = found.mean - other.mean if found and other else None
    home, unseen = means.get("home"), means.get("unseen")
    fall = home.mean - unseen.mean if home and unseen else None
    changed = _changed(study, nearest) if nearest else []
    change = "; ".join(_change_words(key, study, nearest) for key in changed if nearest)
    return DepartureRow(study.name, nearest.name if nearest else "", **row, fall=fall, change=change)


def _change_words(key: str, study: Study, nearest: Study) -> str:
    """ "preparation.grid: fixed (“paper”: in_plane)": what each of the two studies has, not what the paper had."""
    return f"{key}: {_own_value(key, study)} (“{nearest.name}”: {_own_value(key, nearest)})"


def _own_value(key: str, study: Study) -> str:
    """A study's value of an option by its settings; where they do not hold it, what its departures say."""
    section, _, field = key.partition(".")
    part = study.settings.get(section)
    if isinstance(part, Mapping) and field in part:
        value = part[field]
        return "none" if value is None else json.dumps(value) if isinstance(value, (list, tuple)) else plain(value)
    return study.departures.get(key, "as in the paper")


def _changed(study: Study, other: Study) -> list[str]:
    options = dict.fromkeys([*study.departures, *other.departures])
    return [key for key in options if study.departures.get(key) != other.departures.get(key)]
