"""A study in; how well metadata alone predict its labels, and its duplicate and corrupted scans, out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from elsewhere import engine
from elsewhere.audit_rows import AuditRecord, OddityRow, RuleRow
from elsewhere.scans.quality.findings import find_oddities, summarise, warn_of_oddities
from elsewhere.scans.scan import Fact
from elsewhere.statistics.confounding import MEASURED, FactsSettings, facts_auc
from elsewhere.statistics.permutation import p_value, p_words, rounded_floor
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import key
from elsewhere.studies.prepared import PATIENTS, RULES, ExaminedScan, examined_scans, fingerprints, one_kind
from elsewhere.studies.records import AUDIT, read_audit
from elsewhere.table_format import to_json

ALL_FACTS = "all acquisition facts"
SITE_ONLY = "site only, cross-fitted"
EVERYWHERE = "all sites together"
NOTABLE, SURE = 0.6, 0.05
"""A rule is warned of from this AUC on, where chance reaches it in no more than this share of permutations."""

PERMUTATIONS, PERMUTED_SCANS, FEWEST_PERMUTATIONS = 99, 1000, 19
"""Where a rule has more scans than the second number, it gets fewer permutations: chance then varies less."""

SHOWN = 20
KNOWING = ": knowing only "


def audit_study(folder: Folder, workers: int | None = None, permutations: int = PERMUTATIONS) -> AuditRecord:
    """Add `confounding`, `forensics` and `looks` to the audit.json of a prepared study; returns all of it.

    What stands there already for the same scans and the same number of permutations is not computed again.

    Raises:
        BadStudy: the study is not prepared.
        BadScan: a prepared volume is damaged or gone.
    """
    rows = examined_scans(folder)
    findings = read_audit(folder)
    inputs = [
        [r.site, r.patient, r.scan, r.label, r.subset, r.facts, to_json(r.forensics), r.fingerprint] for r in rows
    ]
    wanted = key("audit", permutations, inputs)
    if findings.audited != wanted:
        rules = tuple(confounding(rows, workers, permutations))
        task = (rows, partial(fingerprints, [Path(row.file) for row in rows]))
        ((_, odd),) = engine.run(find_oddities, [task], workers=1, describe="Comparing scans", ticks=True)
        findings = replace(findings, confounding=rules, forensics=odd, looks=summarise(rows), audited=wanted)
    said = [*warn_of_facts(findings.confounding or ()), *warn_of_oddities(findings.forensics or (), rows)]
    # sentences of rules are made anew: an earlier version said them otherwise
    kept = [words for words in findings.warnings if KNOWING not in words and words not in said]
    findings = replace(findings, warnings=(*kept, *said))
    AUDIT.write(folder.audit, findings)
    return findings


def confounding(rows: Sequence[ExaminedScan], workers: int | None, permutations: int) -> list[RuleRow]:
    """How well each rule tells the classes apart, over all sites together and within each site of two classes."""
    labelled = [row for row in rows if row.label is not None]
    tasks = [
        (rule, sites, [_labelled(row, names) for row in group], names, permutations)
        for sites, group in _groups(labelled)
        for rule, names in _rules(group, sites)
    ]
    found: dict[int, RuleRow | None] = dict(
        engine.run(rule_score, tasks, workers=workers, describe="Rules of metadata")
    )
    return [record for i in sorted(found) if (record := found[i]) is not None]


@dataclass(frozen=True)
class Labelled:
    """What a rule knows of one scan.

    Attributes:
        label: 1 or 0.
        patient: SITE/PATIENT.
        facts: the facts that the rule knows, by name.
    """

    label: int
    patient: str
    facts: Mapping[str, Fact]


def _groups(rows: Sequence[ExaminedScan]) -> Iterator[tuple[str, list[ExaminedScan]]]:
    names = list(dict.fromkeys(row.site for row in rows))
    if len(names) > 1:
        yield EVERYWHERE, list(rows)
    for name in names:
        yield name, [row for row in rows if row.site == name]


def _rules(rows: Sequence[ExaminedScan], sites: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name and facts of the rules whose facts these scans have, and all acquisition facts at once."""
    if sites == EVERYWHERE:
        yield SITE_ONLY, ("site",)
    known = {name for row in rows for name, value in row.facts.items() if value is not None}
    given = {rule: tuple(name for name in names if name in known) for rule, names in RULES.items()}
    yield from ((rule, names) for rule, names in given.items() if names)
    together = tuple(name for rule, names in given.items() if rule not in PATIENTS for name in names)
    if together:
        yield ALL_FACTS, together


def _labelled(row: ExaminedScan, names: Sequence[str]) -> Labelled:
    known: Mapping[str, Fact] = {**row.facts, "site": row.site}
    return Labelled(int(row.label or 0), f"{row.site}/{row.patient}", {name: known.get(name) for name in names})


def rule_score(
    rule: str, sites: str, rows: Sequence[Labelled], names: Sequence[str], permutations: int
) -> RuleRow | None:
    """One row of `confounding`; None where the classes or facts are too few to say anything."""
    labels, patients = [row.label for row in rows], [row.patient for row in rows]
    facts = {name: one_kind([row.facts[name] for row in rows]) for name in names}
    affordable = max(FEWEST_PERMUTATIONS, min(permutations, permutations * PERMUTED_SCANS // len(rows)))
    try:
        found = facts_auc(facts, labels, patients, FactsSettings(permutations=affordable))
    except ValueError:  # one class, one patient in a class, or facts that never differ: nothing to tell
        return None
    return RuleRow(
        rule=rule,
        sites=sites,
        auc=round(found.auc, 4),
        p_value=round(found.p_value, 4),
        permutations=found.permutations,
        n=len(rows),
        patients=len(set(patients)),
        facts=", ".join(dict.fromkeys(column.partition("=")[0].removesuffix(" missing") for column in found.columns)),
    )


def warn_of_facts(records: Sequence[RuleRow]) -> list[str]:
    """Sentences for each group of scans whose label is given away: the strongest rule of the acquisition or picture.

    The strongest of age and sex or month has a sentence of its own, as no network sees them and what goes with them in
    the picture is not tested here.
    """
    said = []
    for sites in dict.fromkeys(record.sites for record in records):
        here = [r for r in records if r.sites == sites and r.rule != SITE_ONLY]
        telling = [r for r in here if r.auc >= NOTABLE and r.p_value is not None and r.p_value <= SURE]
        for hidden, ending in (
            (False, "What goes with that in the picture, a network can learn instead of the disease."),
            (True, "No network sees that itself; whether anything in the picture goes with it was not tested."),
        ):
            rules = [r for r in telling if (r.rule in PATIENTS) == hidden]
            if rules:
                best = max(rules, key=lambda r: r.auc)
                known = f"{KNOWING}{best.rule}{_measured(best)}"
                said.append(
                    f"{sites[0].upper()}{sites[1:]}{known} gives AUC {best.auc:.2f} ({_p(best)}, {best.n} "
                    f"scans). {ending}"
                )
    return said


def _measured(record: RuleRow) -> str:
    """Whether what a rule knows is told by a header or measured in the voxels."""
    facts = set(record.facts.split(", "))
    if not facts & set(MEASURED):
        return ""
    return " (measured in the picture)" if facts <= set(MEASURED) else " (partly measured in the picture)"


def _p(record: RuleRow, say: Callable[[float, float], str] = p_words) -> str:
    return "" if record.p_value is None else say(record.p_value, rounded_floor(record.permutations))


def print_audit(findings: AuditRecord, folder: Folder) -> None:
    """Print the rules, how the scans look, the first odd scans, and the warnings."""
    title = "Label information in metadata and simple measures of the picture"
    table = engine.sheet(title, "a rule that knows only", "sites", "AUC", "p", "scans")
    for rule in findings.confounding or ():
        table.add_row(rule.rule, rule.sites, f"{rule.auc:.2f}", _p(rule, p_value), str(rule.n))
    engine.console.print(table)
    heads = ("site", "class", "scans", "encoding", "lung-segmented", "circle", "border")
    looks = engine.sheet("How the scans look", *heads)
    for r in findings.looks or ():
        shares = [f"{share:.0%}" for share in (r.lung_segmented, r.circle_padding, r.border_padding)]
        looks.add_row(r.site, str(r.label), str(r.scans), r.encoding, *shares)
    engine.console.print(looks)
    odd = findings.forensics or ()
    for oddity in odd[:SHOWN]:
        engine.say(*_oddity_words(oddity))
    if len(odd) > SHOWN:
        engine.say(f"… and {len(odd) - SHOWN} more, see {folder.audit}")
    for sentence in findings.warnings:
        engine.say(sentence, "Note:", "yellow")


def _oddity_words(oddity: OddityRow) -> tuple[str, str, str]:
    """Words, mark and style."""
    name = f"{oddity.site}/{oddity.scan} ({oddity.subset})"
    if oddity.is_pair:
        name += f" and {oddity.other_site}/{oddity.other_scan} ({oddity.other_subset})"
    words = f"{oddity.finding}: {name}: {oddity.detail}"
    return words, "Suspected leak:" if oddity.suspected_leak else "", "red"
