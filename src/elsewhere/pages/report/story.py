"""What a simulation tied to the label, and what audit and diagnosis found, in; the two side by side out.

A finding (one rule at one site, or one cause that the diagnosis names there) may be the trace of several ties. It is
counted once, and for the strongest of them: at most as many ties came to light as can be given a finding of their own
that no stronger tie would show as well (a maximum matching). Which tie made a finding is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elsewhere.audit_rows import RuleRow, TieRow
from elsewhere.pages.report.content import Report, Study
from elsewhere.pages.report.diagnosis import p_words
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.origins import planted_in, shared
from elsewhere.pages.report.records import number
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import count, figure, listed
from elsewhere.rows import FindingRow

NOTABLE, SURE = 0.6, 0.05
"""A rule or a view counts as a find from this AUC on, at this p or below (as the audit warns)."""

SLICES, FIELD, BLACK = "slice thickness, spacing and number", "matrix and field of view", "padding and black share"

TRACES = {
    "kernel": (("kernel",), ("texture",)),
    "spacing": ((SLICES,), ("texture",)),
    "coverage": ((SLICES,), ("body",)),
    "field of view": ((FIELD,), ("body", "background", "texture")),
    "dose": ((), ("texture",)),
    "padding": ((BLACK, "encoding"), ("background",)),
    "contrast": (("scanner and protocol", "encoding"), ("body",)),
    "devices": (("encoding",), ("objects",)),
    "positioning": ((), ("body", "objects")),
    "hospital": (("encoding", BLACK, FIELD, SLICES), ("background", "texture", "body")),
    "follow up": ((FIELD,), ("texture", "body")),
    "segmented": ((BLACK, "encoding"), ("background", "body", "objects", "texture")),
    "age": (("age and sex",), ()),
    "date": (("month of the scan",), ()),
}
"""What a simulation can tie to the label: rules of the audit, and causes of the diagnosis, that would show it. The rule
"encoding" knows the smallest and the largest value: padding, contrast agent and metal move them."""

CROPPED = ("field of view", "coverage", "positioning", "padding")
"""Ties of how a scan is framed and placed, which a crop to the lungs takes away."""

LEFT = ("kernel", "spacing", "dose", "contrast", "follow up", "segmented")
"""Ties of grey values and texture in the lungs, which such a crop leaves. The others are between the two (devices,
hospital), or not in the picture (age, date)."""

FOUND, SHARED, MISSED, UNSEEN = (
    "found",
    "only a finding that another tie may have made",
    "not found",
    "nothing looked for it",
)

Finding = tuple[str, str, str]
"""(site, "rule" or "cause", name)."""


@dataclass(frozen=True)
class Story:
    """The planted ties of one study against what was found; `built_in`: what they favour."""

    words: str
    built_in: str
    table: Table


@dataclass(frozen=True, kw_only=True)
class FoundTie(TieRow):
    """A planted tie against what was found of it.

    Attributes:
        rule: the rule of the audit that shows it; None for none.
        rule_auc: its AUC.
        rule_p: its p.
        cause: what the diagnosis names; None for nothing.
        cause_auc: AUC of that.
        found: whether it came to light, in words.
    """

    rule: str | None
    rule_auc: float | None
    rule_p: float | None
    cause: str | None
    cause_auc: float | None
    found: str


@dataclass(frozen=True)
class Planted:
    """What was planted: whose scans, sentences that hold for all of them, and those of single studies, by name."""

    whose: str
    shared: Sequence[str]
    own: Mapping[str, Sequence[str]]


def planted(report: Report, _: Folder) -> Planted | None:
    """The sentences on what was planted; None where nothing was."""
    simulated = [study for study in report.studies if study.planted]
    if not simulated:
        return None
    common = shared(simulated, "planted")
    own = {study.name: [words for words in study.planted if words not in common] for study in simulated}
    return Planted(planted_in(report), common, {name: words for name, words in own.items() if words})


def section(study: Study, slug: str, out: Folder) -> Story | None:
    """The planted story against what was found; None where nothing is known to be planted."""
    if not study.ties:
        return None
    rows = compare(study)
    table = out.add_table(_table(rows, f"{slug}-planted"))
    return Story(sentence(rows, _unplanted(study, rows)), crop_words(study.ties), table)


def compare(study: Study) -> list[FoundTie]:
    """One row a tie: what was planted, which findings would show it, and whether one is left for it alone."""
    traces = [_traces(study, tie) for tie in study.ties]
    strengths = [tie.strength for tie in study.ties]
    given = match({i: found for i, (_, found) in enumerate(traces)}, strengths)
    rows = []
    for place, (tie, (looked, found)) in enumerate(zip(study.ties, traces, strict=True)):
        own = given.get(place)
        state = FOUND if own else SHARED if found else MISSED if looked else UNSEEN
        shown = {kind: name for _, kind, name in reversed([*([own] if own else []), *found])}
        rule, cause = _shown(study, tie.site, shown)
        rows.append(
            FoundTie(
                **vars(tie),
                rule=rule.rule if rule else None,
                rule_auc=rule.auc if rule else None,
                rule_p=rule.p_value if rule else None,
                cause=cause.cause if cause else None,
                cause_auc=cause.strength if cause else None,
                found=state if tie.strength > 0 else "nothing was planted",
            )
        )
    return rows


def match(traces: Mapping[int, Sequence[Finding]], strengths: Sequence[float]) -> dict[int, Finding]:
    """A maximum matching of ties to findings (Kuhn 1955, augmenting paths): each finding serves one tie at most.

    A finding serves none but the strongest of the ties that would show so; ties of strength 0 get none.
    """
    strongest: dict[Finding, float] = {}
    for tie, found in traces.items():
        for finding in found:
            strongest[finding] = max(strongest.get(finding, 0.0), strengths[tie])
    owner: dict[Finding, int] = {}

    def place(tie: int, tried: set[Finding]) -> bool:
        for finding in traces[tie]:
            if finding not in tried and 0 < strengths[tie] >= strongest[finding]:
                tried.add(finding)
                if finding not in owner or place(owner[finding], tried):
                    owner[finding] = tie
                    return True
        return False

    for tie in traces:
        place(tie, set())
    return {tie: finding for finding, tie in owner.items()}


def crop_words(ties: Sequence[TieRow]) -> str:
    """How strong the planted ties are that a crop to the lungs takes away, and those that it leaves.

    "" where no tie of either kind is planted.
    """
    parts = [[t.strength for t in ties if t.factor in names] for names in (CROPPED, LEFT)]
    gone, left = (sum(part) / len(part) if part else 0.0 for part in parts)
    if not gone and not left:
        return ""
    if not gone:
        return (
            f"The planted ties are those of grey values and texture (mean strength {left:.2f}), which a crop to the "
            "lungs leaves: no advantage of such a crop is built in."
        )
    return (
        "A crop to the lungs takes away the ties of how a scan is framed and placed (mean strength "
        f"{gone:.2f}) and leaves those of grey values and texture ({left:.2f}): that networks with such a crop "
        "discriminate better elsewhere is built in."
    )


def sentence(rows: Sequence[FoundTie], unplanted: Sequence[str]) -> str:
    """How much of what was planted came to light, each finding counted once, and what was found besides."""
    planted = [r for r in rows if r.strength > 0]
    if not planted:
        said = "No tie between label and acquisition is planted (all dials at 0)."
    else:
        states = [r.found for r in planted]
        found, shared, missed, unseen = (states.count(state) for state in (FOUND, SHARED, MISSED, UNSEEN))
        said = f"{count(len(planted), 'tie').capitalize()} between label and acquisition "
        said += f"{'is' if len(planted) == 1 else 'are'} planted. Each finding counted once, and for the "
        said += f"strongest tie that it may show, at most {found} came to light"
        parts = [
            f"{shared} more may be behind the same findings, which cannot tell which tie they show" if shared else "",
            f"{missed} {'was' if missed == 1 else 'were'} looked for and not found" if missed else "",
            f"for {unseen} no test was run in this study" if unseen else "",
        ]
        said += "".join(f"; {part}" for part in parts if part) + "."
    if unplanted:
        said += f" Found where no planted tie would show so: {listed(unplanted)}. Of tests without any cause about one "
        said += f"in {1 / SURE:.0f} finds something by chance."
    return said


def _traces(study: Study, tie: TieRow) -> tuple[bool, list[Finding]]:
    """Whether anything looked for a tie, and the findings that would show it, the strongest rule first."""
    site, (rules, causes) = tie.site, TRACES.get(tie.factor, ((), ()))
    told = [r for r in study.audit.confounding if r.sites == site and r.rule in rules]
    told.sort(key=lambda r: -r.auc)
    named = [f for f in study.diagnosis.findings if _of_site(f, site) and f.cause in causes]
    named.sort(key=lambda f: -(f.strength or 0.0))
    looked = bool(told) or bool(causes and (study.diagnosis.findings or study.diagnosis.separation))
    found = [(site, "rule", r.rule) for r in told if _tells(r)]
    return looked, found + [(site, "cause", f.cause) for f in named]


def _shown(study: Study, site: str, shown: Mapping[str, str]) -> tuple[RuleRow | None, FindingRow | None]:
    """The rule and the cause of these names at one site."""
    rule = next((r for r in study.audit.confounding if r.sites == site and r.rule == shown.get("rule")), None)
    named = [f for f in study.diagnosis.findings if _of_site(f, site) and f.cause == shown.get("cause")]
    return rule, max(named, key=lambda f: f.strength or 0.0, default=None)


def _unplanted(study: Study, rows: Sequence[FoundTie]) -> list[str]:
    """Findings at the sites of the ties that no tie with a dial above 0 would show, in words."""
    sites = {r.site for r in rows}
    planted: dict[str, set[tuple[str, str]]] = {site: set() for site in sites}
    for row in rows:
        if row.strength > 0:
            rules, causes = TRACES.get(row.factor, ((), ()))
            planted[row.site] |= {("rule", r) for r in rules} | {("cause", c) for c in causes}
    known = {rule for rules, _ in TRACES.values() for rule in rules}
    found = [("rule", r.rule, r.sites) for r in study.audit.confounding if _tells(r)]
    found = [f for f in found if f[1] in known]
    causes_ = {cause for _, causes in TRACES.values() for cause in causes}
    found += [
        ("cause", f.cause, f.site) for f in study.diagnosis.findings if _of_site(f, f.site) and f.cause in causes_
    ]
    return [f"{name} at {site}" for kind, name, site in found if site in sites and (kind, name) not in planted[site]]


def _of_site(finding: FindingRow, site: str) -> bool:
    """A finding about the site's label, not about a network or a pair of sites."""
    return finding.site == finding.home == site and not finding.model


def _tells(rule: RuleRow) -> bool:
    auc, p = number(rule.auc), number(rule.p_value)
    return auc is not None and auc >= NOTABLE and p is not None and p <= SURE


def _table(rows: Sequence[FoundTie], name: str) -> Table:
    columns = [
        Column("site", "Site"),
        Column("factor", "Tied to the label"),
        Column("strength", "How strongly (0–1)", lambda v, _: figure(v), numeric=True),
        Column("rule", "Rule that sees metadata alone", lambda v, _: v or "–"),
        Column("rule_auc", "Its AUC", lambda v, _: figure(v), numeric=True),
        Column("rule_p", "p", lambda v, _: p_words(v), numeric=True),
        Column("cause", "Diagnosis names", _cause_words),
        Column("found", "Came to light"),
    ]
    if any(row.positives or row.negatives for row in rows):
        columns[2:2] = [
            Column("positives", "Positives (at strength 1)", lambda v, _: v or "–"),
            Column("negatives", "Negatives (at strength 1)", lambda v, _: v or "–"),
        ]
    note = (
        f"Found: a rule that sees metadata alone reaches AUC {NOTABLE} with p of {SURE} or less at that site, or the "
        "diagnosis names a fitting cause, and that finding is not counted for another tie. Which tie made a finding is "
        "not known: it is counted for the strongest that it may show."
    )
    return Table(name, "The ties that the simulation planted, and what was found of them.", columns, rows, note)


def _cause_words(value: str | None, row: FoundTie) -> str:
    return f"{value} ({figure(row.cause_auc)})" if value else "–"
