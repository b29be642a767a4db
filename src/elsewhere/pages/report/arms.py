"""Ways to train compared with ERM at sites that no network saw: under each rule of selection, and trial by trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elsewhere.arm_rows import ERM, RULES, ArmRow, Rule
from elsewhere.pages.report import words
from elsewhere.pages.report.content import Study
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.table import Column, Table
from elsewhere.wording import numbered, verb

SURE = 0.05
"""An arm is better or worse at a p of Holm below this."""

CHOSEN_BY: dict[Rule, str] = {
    "training domains": "Chosen by validation scans of the training sites",
    "leave one training site out": "Chosen by leaving each training site out",
    "oracle": "Chosen by the oracle, which looks at validation scans of the very site that is tested, as nobody can "
    "beforehand",
}


@dataclass(frozen=True)
class ArmsSection:
    """The section.

    Attributes:
        words: what was compared.
        sentences: what each rule shows, the honest rules first.
        kernels: which arms do without the fast kernels.
        tables: a table for each rule.
        trials: every trial.
    """

    words: str
    sentences: tuple[str, ...]
    kernels: str
    tables: tuple[Table, ...]
    trials: Table


def section(study: Study, slug: str, out: Folder) -> ArmsSection | None:
    """The section on arms; None in a study without."""
    if not study.arms:
        return None
    tables = tuple(out.add_table(_table(study, rule, f"{slug}-arms-{n}")) for n, rule in enumerate(RULES, 1))
    sentences = tuple(sentence_of(rule, study.arms) for rule in RULES)
    return ArmsSection(
        _words(study), sentences, _kernels(study), tables, out.add_table(_trials(study, f"{slug}-arm-trials"))
    )


def sentence_of(rule: Rule, rows: Sequence[ArmRow]) -> str:
    """What one rule shows of all arms, by their numbers."""
    own = [row for row in rows if row.rule == rule and row.arm != ERM and not row.site]
    tested = [row for row in own if row.p_value_holm is not None]
    head = f"{CHOSEN_BY[rule]}: "
    if not tested:
        return f"{head}no arm could be compared ({'; '.join(dict.fromkeys(row.reason for row in own))})."
    if tested[0].trainings < 2:
        said = (
            f"nothing can be said of {numbered(len(tested), 'arm')}: each network was trained once, and two trainings "
            "of one recipe differ too. Give `seeds = [1, 2, 3]`"
        )
    else:
        said = _compared(tested)
    left = [row for row in own if row.p_value_holm is None]
    lacking = "".join(f" {row.arm} has no trial by this rule: {row.reason}." for row in left)
    return f"{head}{said}.{lacking}"


def _compared(tested: Sequence[ArmRow]) -> str:
    sure = [row for row in tested if (row.p_value_holm or 0.0) < SURE]
    better, worse = ([row for row in sure if (row.difference or 0.0) * side > 0] for side in (1, -1))
    parts = [_named(better, "better"), _named(worse, "worse")]
    found = "; ".join(part for part in parts if part)
    gaps = [row.difference or 0.0 for row in tested]
    family = f"Holm over {numbered(len(tested), 'arm')}"
    if better:
        return f"{found} ({family})"
    spread = f"differences of the mean AUC lie between {words.signed(min(gaps), 3)} and {words.signed(max(gaps), 3)}"
    return f"no arm is surely better than ERM at unseen sites ({family}; {spread}){f'; {found}' if found else ''}"


def _named(rows: Sequence[ArmRow], side: str) -> str:
    if not rows:
        return ""
    said = [f"{row.arm} ({words.signed(row.difference, 3)}, {words.signed_ends(row.low, row.high)})" for row in rows]
    return f"{words.listed(said)} {verb(len(rows), 'is', 'are')} surely {side} than ERM in mean AUC at unseen sites"


def _words(study: Study) -> str:
    if not study.arm_trials:
        return "Ways to train were to be compared at sites that their networks never saw."
    arms = list(dict.fromkeys(row.arm for row in study.arm_trials))
    trials = max(row.trial for row in study.arm_trials)
    seeds = max(row.seeds for row in study.arm_trials)
    sites = list(dict.fromkeys(row.site for row in study.arm_trials))
    return (
        f"{numbered(len(arms), 'way')} to train ({', '.join(arms)}) on the same scans, each with "
        f"{numbered(trials, 'trial')} (draws of its settings) and {numbered(seeds, 'seed')}, tested at "
        f"{numbered(len(sites), 'site')} that the network never saw ({', '.join(sites)}). Intervals hold patients and, "
        "with several seeds, trainings; they say nothing of hospitals that are not here."
    )


def _kernels(study: Study) -> str:
    slow = {row.arm for row in study.arm_trials if "precision = bf16-mixed" in row.settings}
    if not slow:
        kept = "none changes the network's levels (MixStyle mixes what leaves the first)"
        return f"Every arm keeps the fast kernels: {kept}."
    return f"Without the fast kernels on a processor, for its precision: {words.listed(sorted(slow))}."


def _table(study: Study, rule: Rule, name: str) -> Table:
    rows = [row for row in study.arms if row.rule == rule]
    sites = list(dict.fromkeys(row.site for row in rows if row.site))
    records = [_record([row for row in rows if row.arm == arm]) for arm in dict.fromkeys(row.arm for row in rows)]
    columns = [
        Column("arm", "Arm"),
        *(Column(f"auc {site}", f"AUC at {site}", lambda v, _: words.figure(v, 3), numeric=True) for site in sites),
        Column("worst", "Worst site", lambda v, _: words.figure(v, 3), numeric=True),
        Column("auc", "Mean", lambda v, _: words.figure(v, 3), numeric=True),
        Column(
            "difference",
            "Less ERM (95 %)",
            lambda v, r: "–" if v is None else words.difference_words(v, r),
            numeric=True,
        ),
        Column("p_value_holm", "p (Holm)", lambda v, _: words.figure(v, 3), numeric=True),
        Column("chosen", "Trial chosen"),
    ]
    note = (
        "Paired with ERM chosen by the same rule, on the same patients: variance of DeLong, clustered by patient, with "
        "that between trainings; the mean over sites is tested, Holm over arms. “–” where the rule has no trial of the "
        "arm."
    )
    return Table(name, f"{CHOSEN_BY[rule]}.", columns, records, note)


def _record(rows: Sequence[ArmRow]) -> dict[str, object]:
    """One arm's line: the mean over sites, each site, and the worst of them."""
    (mean,) = (row for row in rows if not row.site)
    at = {row.site: row.auc for row in rows if row.site and row.auc is not None}
    return {
        **vars(mean),
        **{f"auc {site}": auc for site, auc in at.items()},
        "worst": min(at.values(), default=None),
        "worst_site": min(at, key=lambda site: at[site], default=""),
    }


def _trials(study: Study, name: str) -> Table:
    columns = [
        Column("arm", "Arm"),
        Column("trial", "Trial", None, numeric=True),
        Column("settings", "Changes of [training]"),
        Column("trained_on", "Trained on", lambda v, _: words.spaced(str(v))),
        Column("site", "Unseen site"),
        Column("validation", "Training sites", lambda v, _: words.figure(v, 3), numeric=True),
        Column("inner", "Left out in turn", lambda v, _: words.figure(v, 3), numeric=True),
        Column("oracle", "Unseen site (oracle)", lambda v, _: words.figure(v, 3), numeric=True),
        Column(
            "auc",
            "AUC of its test scans (range over seeds)",
            lambda v, r: f"{words.figure(v, 3)} ({words.interval(r.auc_low, r.auc_high, 3)})",
            numeric=True,
        ),
        Column("unlearned", "Did not learn", lambda v, r: f"{v} of {r.seeds}" if v else "–", numeric=True),
    ]
    note = (
        "The three columns before the AUC are what a trial is chosen by, all on validation scans. An arm of which a "
        "chosen training did not learn (the last column) is compared with nothing."
    )
    return Table(name, "Every trial of every arm.", columns, study.arm_trials, note)
