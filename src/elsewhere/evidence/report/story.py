"""What a simulation tied to the label, and what audit and diagnosis found, in; the two side by side out."""

from __future__ import annotations

from typing import Any

from elsewhere.evidence.report.content import Record, Study
from elsewhere.evidence.report.diagnosis import p_words
from elsewhere.evidence.report.folder import Folder
from elsewhere.evidence.report.records import number
from elsewhere.evidence.report.table import Column, Table
from elsewhere.evidence.report.words import figure, listed

NOTABLE, SURE = 0.6, 0.05
"""A rule or a view counts as a find from this AUC on, at this p or below (as the audit warns)."""

TRACES = {
    "kernel": (("kernel",), ("texture",)),
    "spacing": (("slice thickness, spacing and number",), ("texture",)),
    "field of view": (("matrix and field of view",), ("body",)),
    "dose": ((), ("texture",)),
    "padding": (("padding and black share",), ("background",)),
    "contrast": (("scanner and protocol",), ("body",)),
    "devices": ((), ("objects",)),
    "positioning": ((), ("body",)),
    "hospital": (("encoding", "padding and black share"), ("background", "texture")),
    "segmented": (("padding and black share",), ("background",)),
    "age": (("age and sex",), ()),
}
"""What a simulation can tie to the label: rules of the audit, and causes of the diagnosis, that would show it."""

FOUND, MISSED, UNSEEN = "found", "not found", "nothing looked for it"


def section(study: Study, slug: str, out: Folder) -> dict[str, Any] | None:
    """The planted story against what was found; None where nothing is known to be planted."""
    if not study.ties:
        return None
    rows = [_row(study, tie) for tie in study.ties]
    table = out.add_table(_table(rows, f"{slug}-planted"))
    return {"words": sentence(rows), "table": table}


def sentence(rows: list[dict[str, Any]]) -> str:
    """How much of what was planted came to light, and what was found where nothing was planted."""
    planted = [r for r in rows if r["strength"] > 0]
    found = sum(r["found"] == FOUND for r in planted)
    unseen = sum(r["found"] == UNSEEN for r in planted)
    said = f"Of {len(planted)} planted ties between label and scanner, {found} came to light"
    said += f"; for {unseen} no test was run in this study." if unseen else "."
    false = [f"{r['factor']} at {r['site']}" for r in rows if r["strength"] == 0 and r["found"] == FOUND]
    return f"{said} Found though its dial stood at 0: {listed(false)}." if false else said


def _row(study: Study, tie: Record) -> dict[str, Any]:
    rules, causes = TRACES.get(str(tie["factor"]), ((), ()))
    told = [r for r in study.audit.confounding if r["sites"] == tie["site"] and r["rule"] in rules]
    best = max(told, key=lambda r: number(r["auc"]) or 0.0, default=None)
    named = [f for f in study.diagnosis.findings if _of_site(f, str(tie["site"])) and f["cause"] in causes]
    strongest = max(named, key=lambda f: float(f["strength"]), default=None)
    looked = best is not None or (causes and (study.diagnosis.findings or study.diagnosis.separation))
    hit = strongest is not None or (best is not None and _tells(best))
    return {
        "site": tie["site"],
        "factor": tie["factor"],
        "strength": float(tie["strength"]),
        "rule": best["rule"] if best else None,
        "rule_auc": best["auc"] if best else None,
        "rule_p": best.get("p_value") if best else None,
        "cause": strongest["cause"] if strongest else None,
        "cause_auc": strongest["strength"] if strongest else None,
        "found": FOUND if hit else MISSED if looked else UNSEEN,
    }


def _of_site(finding: Record, site: str) -> bool:
    """A finding about the site's label, not about a network or a pair of sites."""
    return bool(finding["site"] == site and finding["home"] == site and not finding["model"])


def _tells(rule: Record) -> bool:
    auc, p = number(rule["auc"]), number(rule.get("p_value"))
    return auc is not None and auc >= NOTABLE and p is not None and p <= SURE


def _table(rows: list[dict[str, Any]], name: str) -> Table:
    columns = [
        Column("site", "Site"),
        Column("factor", "Tied to the label"),
        Column("strength", "How strongly (0–1)", lambda v, _: figure(v), numeric=True),
        Column("rule", "Rule that sees no lung", lambda v, _: v or "–"),
        Column("rule_auc", "Its AUC", lambda v, _: figure(v), numeric=True),
        Column("rule_p", "p", lambda v, _: p_words(v), numeric=True),
        Column("cause", "Diagnosis names", _cause_words),
        Column("found", "Came to light"),
    ]
    note = (
        f"Found: a rule that sees no lung reaches AUC {NOTABLE} with p of {SURE} or less at that site, or the "
        "diagnosis names a fitting cause. One rule can show several ties at once: they were planted together, so it "
        "cannot tell which."
    )
    return Table(name, "The story that the simulation planted, and what was found of it.", columns, rows, note)


def _cause_words(value: Any, row: Record) -> str:
    return f"{value} ({figure(row['cause_auc'])})" if value else "–"
