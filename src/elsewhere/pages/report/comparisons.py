"""Paired tests of networks and of protocols in; what they show, in words and as tables, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elsewhere.pages.report.content import Report, Study
from elsewhere.pages.report.departures import protocol_table
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.published import RESULTS, UTSW
from elsewhere.pages.report.records import number
from elsewhere.pages.report.shown_rows import ComparisonRow, ProtocolMean, ProtocolRow
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import count, difference_words, figure, listed, signed, signed_ends, spaced, spread
from elsewhere.wording import decimals, verb

SURE = 0.05
PLACES = {
    "trained": "at the site of that one (internal test sets)",
    "unseen": "at sites that neither saw (external validation)",
}
RELATIONS = {
    "home": "at home (internal test sets)",
    "seen": "at one of several training sites (internal test sets)",
    "unseen": "at sites never seen in training (external validation)",
}


@dataclass(frozen=True)
class Comparisons:
    """What the section shows of one study: networks of several sites against those of one, and every pair."""

    several_words: str
    pairs_words: str
    several: Table | None
    pairs: Table | None


@dataclass(frozen=True)
class Protocols:
    """The studies side by side: what each departs in, and the paired tests where networks were scored under two."""

    lead: str
    table: Table
    words: str
    tests: Table | None


def section(study: Study, slug: str, out: Folder) -> Comparisons | None:
    """What the section shows of one study; None where no two networks that learned were tested at one site."""
    if not study.comparisons:
        return None
    several, pairs = ([r for r in study.comparisons if r.family == family] for family in ("several", "pairs"))
    table = several_table(several, f"{slug}-several-against-one")
    return Comparisons(
        several_words=several_sentence(study),
        pairs_words=pairs_sentence(pairs),
        several=out.add_table(table) if several else None,
        pairs=out.add_table(pairs_table(pairs, f"{slug}-network-against-network")) if pairs else None,
    )


def protocols(report: Report, out: Folder) -> Protocols | None:
    """What the section shows of the studies side by side; None with a single one."""
    if len(report.studies) < 2:
        return None
    lead, table = _side_by_side(report), out.add_table(protocol_table(report.studies, "protocols"))
    if not report.protocols:
        return Protocols(lead, table, "", None)
    tests = out.add_table(protocols_table(report.protocols, "protocol-against-protocol"))
    return Protocols(lead, table, protocol_sentence(report.protocols, report.protocol_means), tests)


def _side_by_side(report: Report) -> str:
    """In what the studies differ besides their protocols."""
    first, second, times = report.studies[0], report.studies[1], len(report.studies)
    if report.origin == "mixed":
        return f"{times} studies whose scans are not of one origin: differences are also those of scans and patients."
    if times > 2:
        return (
            "Which departure from the paper buys what: each study is set against the one it differs from in the fewest "
            "options."
        )
    if second.split_hash and second.split_hash == first.split_hash:
        return f"The same sites and the same split under {times} protocols."
    return f"{times} protocols, each with its own split: differences are also those of patients."


def several_sentence(study: Study) -> str:
    """Whether networks of several sites discriminate better or worse, at training sites and elsewhere.

    That training on several sites helped or hurt is said only over several trainings of each network: one training of
    each tells of these networks alone.
    """
    means = {r.group: _Mean(r.auc, r.auc_low, r.auc_high, r.trainings) for r in study.groups}
    said = []
    for relation, place in PLACES.items():
        rows = [r for r in study.comparisons if r.family == "several" and r.relation == relation]
        mean = means.get(f"several - one, {relation}")
        if not rows or mean is None:
            continue
        said.append(
            f"{place[0].upper()}{place[1:]} "
            f"{_mean_words(mean, 'networks of several sites', 'the network of one of them')}, over "
            f"{count(len(rows), 'comparison')}: {_verdict(mean)}. {_counted(rows)}"
        )
    trainings = [means[name].trainings for r in PLACES if (name := f"several - one, {r}") in means]
    return " ".join([*said, _held(trainings[0])]).strip() if said else ""


def pairs_sentence(rows: Sequence[ComparisonRow]) -> str:
    """How many pairs of networks differ; "" without any pair."""
    return f"Every pair of networks at every site with two classes: {_counted(rows)}" if rows else ""


def protocol_sentence(rows: Sequence[ProtocolRow], means: Sequence[ProtocolMean]) -> str:
    """Which protocol discriminates better, at home and elsewhere, as far as the intervals show it."""
    said = []
    for found in means:
        first, second = f"“{found.first}”", f"“{found.second}”"
        same = [r for r in rows if _head(r) == _head(found)]
        place, mean = RELATIONS[found.relation], _Mean(found.difference, found.low, found.high)
        said.append(
            f"{place[0].upper()}{place[1:]} {_mean_words(mean, first, second)}, over "
            f"{count(len(same), 'pair of network and site', 'pairs of network and site')}: "
            f"{_better(mean, first, second)}. {_counted(same)}"
        )
    return " ".join([*said, _held()]) if said else ""


def paper_words() -> str:
    """What the paper reports of training on several sites, and what it does not."""
    one = next(r for r in RESULTS if r.trained_on == (UTSW,) and r.site == UTSW)
    several = max((r for r in RESULTS if len(r.trained_on) > 1 and r.site == UTSW), key=lambda r: r.auc or 0.0)
    return (
        f"The paper's text: at {UTSW} AUC {spread(one.auc, one.dropout_sd)} for the network of {UTSW}, "
        f"{spread(several.auc, several.dropout_sd)} for that of {spaced('+'.join(several.trained_on))}, "
        "the best of the combinations on these test scans (± over dropout passes). It gives no interval and no test of "
        "the difference."
    )


@dataclass(frozen=True)
class _Mean:
    """A difference of two mean AUCs with its interval, and how many trainings of each network are in it."""

    value: float
    low: float
    high: float
    trainings: int = 1

    @property
    def side(self) -> int:
        """1 where the whole interval lies above 0, -1 where below, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def _mean_words(mean: _Mean, first: str, second: str) -> str:
    """ "the mean AUC of A is 0.09 lower (95 %: 0.03 to 0.14) than that of B"; with its sign where the side is open."""
    if not mean.side:
        ends_ = signed_ends(mean.low, mean.high)
        return f"the mean AUC of {first} less that of {second} is {signed(mean.value)} (95\u00a0%: {ends_})"
    ends = sorted((abs(mean.low), abs(mean.high)))
    digits = decimals(*ends)
    word = "higher" if mean.side > 0 else "lower"
    size = f"{figure(abs(mean.value))} {word} (95\u00a0%: {ends[0]:.{digits}f} to {ends[1]:.{digits}f})"
    return f"the mean AUC of {first} is {size} than that of {second}"


def _verdict(mean: _Mean) -> str:
    if mean.trainings > 1:
        words = {1: "helped", -1: "hurt", 0: "is not shown to help or to hurt"}
        return f"training on several sites {words[mean.side]}"
    words = {1: "discriminate better", -1: "discriminate worse", 0: "are not shown to discriminate better or worse"}
    return f"these networks of several sites {words[mean.side]}"


def _better(mean: _Mean, first: str, second: str) -> str:
    words = {
        1: f"these networks discriminate better under {first}",
        -1: f"these networks discriminate better under {second}",
    }
    return words.get(mean.side, "under neither are they shown to discriminate better")


def _counted(rows: Sequence[ComparisonRow]) -> str:
    """How many differences are significant after Holm's adjustment, by sign."""
    sure = [r for r in rows if (p := number(r.p_value_holm)) is not None and p <= SURE]
    higher = sum(r.difference > 0 for r in sure)
    parts = [f"{times} {word}" for times, word in ((higher, "higher"), (len(sure) - higher, "lower")) if times]
    tests = {r.tests for r in rows}
    after = f"after Holm's adjustment for {listed([str(n) for n in sorted(tests)])} {verb(max(tests), 'test', 'tests')}"
    if not parts:
        return f"No single difference is significant {after} (p ≤ {SURE})."
    return f"Significant {after}: {listed(parts)} of {len(rows)} (first less second)."


def _held(trainings: int = 1) -> str:
    if trainings > 1:
        return "Intervals hold the spread over patients and trainings (seeds); p-values are of the first training."
    return "Patients vary in these intervals and tests; each network is one training (seed), which is held fixed."


def _head(row: ProtocolRow | ProtocolMean) -> tuple[str, str, str]:
    return row.relation, row.first, row.second


def several_table(rows: Sequence[ComparisonRow], name: str) -> Table:
    """Networks of several sites against networks of one of them."""
    where = {"trained": "its training site", "unseen": "seen by neither"}
    columns = [
        Column("site", "Tested at", lambda v, r: f"{v} ({where.get(r.relation, '')})"),
        Column("first", "Several sites", lambda v, _: spaced(v)),
        Column("second", "One site", lambda v, _: spaced(v)),
        *_tests(),
    ]
    return Table(name, "Training on several sites against training on one of them.", columns, rows, NOTE)


def pairs_table(rows: Sequence[ComparisonRow], name: str) -> Table:
    """Every pair of networks at each site, the smallest p first."""
    columns = [
        Column("site", "Tested at"),
        Column("first", "First", lambda v, _: spaced(v)),
        Column("second", "Second", lambda v, _: spaced(v)),
        *_tests(),
    ]
    ordered = sorted(rows, key=lambda r: r.p_value)
    return Table(name, "Network against network, the smallest p first.", columns, ordered, NOTE, most=20)


def protocols_table(rows: Sequence[ProtocolRow], name: str) -> Table:
    """The same network under two protocols at the same site."""
    columns = [
        Column("model", "Trained on", lambda v, _: spaced(v)),
        Column("site", "Tested at", lambda v, r: f"{v} ({r.relation})"),
        Column("first", "First"),
        Column("second", "Second"),
        *_tests(),
    ]
    return Table(name, "Protocol against protocol on the same test scans.", columns, rows, NOTE)


NOTE = (
    "Discrimination (AUC), first less second, on the same test scans: DeLong's paired test, clustered by patient. p is "
    "of one test alone; p (Holm) is adjusted for all tests of this table. Networks that did not learn are left out."
)


def _tests() -> list[Column]:
    return [
        Column("auc_first", "AUC first", lambda v, _: figure(v), numeric=True),
        Column("auc_second", "AUC second", lambda v, _: figure(v), numeric=True),
        Column("difference", "Difference (95 %)", difference_words, numeric=True),
        Column("p_value", "p", lambda v, _: _p(v), numeric=True),
        Column("p_value_holm", "p (Holm)", lambda v, _: _p(v), numeric=True),
    ]


def _p(value: Any) -> str:
    found = number(value)
    return "–" if found is None else "< 0.001" if found < 0.001 else f"{found:.3f}"
