"""What the diagnosis kept in; what tells the sites apart, and what the networks do without lungs, on the page out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elsewhere.pages.figures import Canvas, ForestPanel, ForestRow, ForestScale, Pair, forest, pair_sheet
from elsewhere.pages.report.content import Record, Study
from elsewhere.pages.report.folder import Folder, Picture
from elsewhere.pages.report.learned import MARK
from elsewhere.pages.report.records import number, record_of
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import estimate, figure, listed, spaced
from elsewhere.rows import ClassSeparationRow, FindingRow, SaliencyRow, SeparationRow, ShortcutRow
from elsewhere.statistics.diagnosis.findings import WITHOUT_LUNGS, is_cause
from elsewhere.statistics.diagnosis.tested import adjust, at_floor
from elsewhere.statistics.permutation import p_value
from elsewhere.wording import numbered, verb

VIEWS = {
    "facts": "Header-like metadata alone",
    "border": "Border, air and table alone",
    "lungs_erased": "Picture with the lungs erased",
    "lung_histogram": "Histogram inside the lungs",
    "features": "The network's features",
}
PARTS = {
    "whole": "whole scan",
    "lungs_erased": "lungs erased",
    "lungs_only": "lungs alone",
    "border_only": "border, air, table",
    "label_shuffle": "shuffled labels",
}
CAUSES = {
    "background": "background outside the body",
    "objects": "something outside the body",
    "texture": "sharpness and noise",
    "body": "body outside the lungs",
    "facts": "header-like metadata",
    "lung_histogram": "to compare: inside the lungs",
}
SURE, CHANCE = 0.05, 0.5
PANELS = 8  # that the battery's figure holds; the table holds all
SENTENCES = 8


@dataclass(frozen=True)
class DiagnosisPart:
    """What the section shows of one study: the strongest sentences, how many more there are, figures and tables."""

    looked: bool
    sentences: Sequence[str]
    further: int
    separation: Picture | None
    labels: Picture | None
    battery: Picture | None
    battery_words: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class MeanShare:
    """Where one network looks in the scans of one class of one site, on average.

    Attributes:
        model: its name.
        site: the site's name.
        label: the class, in words.
        scans: number of scans.
        degenerate: why it did not learn, or "".
        inside: mean share of the mass inside the lungs; None where it is not known of any.
        expected: mean share of the picture that the lungs take.
    """

    model: str
    site: str
    label: str
    scans: int
    degenerate: str
    inside: float | None
    expected: float | None


def section(study: Study, slug: str, out: Folder) -> DiagnosisPart | None:
    """What the section shows of one study; None where no diagnosis was made."""
    d = study.diagnosis
    if not (d.separation or d.shortcuts or d.saliency or d.findings):
        return None
    shortcuts = [replace(r, p=None) if r.view == "label_shuffle" else r for r in d.shortcuts]  # no test belongs to it
    tables = [
        _separation_table(d.separation, f"{slug}-separation"),
        _label_table(d.labels, f"{slug}-label-causes"),
        _battery_table(shortcuts, f"{slug}-shortcuts"),
        _saliency_table(d.saliency, f"{slug}-saliency"),
        _finding_table(d.findings, f"{slug}-findings"),
    ]
    strongest = {(f.model, f.home, f.site): f.sentence for f in reversed(d.findings)}
    said = [f.sentence for f in d.findings if f.sentence in strongest.values()]
    return DiagnosisPart(
        looked=bool(d.separation or d.shortcuts),
        sentences=said[:SENTENCES],
        further=len(d.findings) - len(said[:SENTENCES]),
        separation=out.add_picture(_pairs(study, f"{slug}-separation")) if d.separation else None,
        labels=out.add_picture(_labels(study, f"{slug}-label-causes")) if d.labels else None,
        battery=out.add_picture(_battery(study, shortcuts, f"{slug}-battery")) if shortcuts else None,
        battery_words=battery_words(d.labels, shortcuts),
        tables=[out.add_table(table) for table in tables if table.rows],
    )


def _pairs(study: Study, name: str) -> Canvas:
    views: dict[str, dict[tuple[str, str], Pair]] = {}
    for view, title in VIEWS.items():
        rows = [r for r in study.diagnosis.separation if r.view == view]
        for model in dict.fromkeys(r.model for r in rows):
            if "+" in model:  # single-site networks stand for the rest; the table holds all
                continue
            heading = f"{title}: {model}" if model else title
            views[heading] = _both_ways(r for r in rows if r.model == model)
    alt = f"How well two sites of study {study.name} are told apart (AUC, 0.5 not at all), by way of looking: "
    said = [
        f"{view}: " + ", ".join(f"{a} and {b} {pair.auc:.2f}" for (a, b), pair in pairs.items() if a < b)
        for view, pairs in views.items()
    ]
    return pair_sheet(name, alt + "; ".join(said) + ".", views, [site.name for site in study.at_hand])


def _both_ways(rows: Iterable[SeparationRow]) -> dict[tuple[str, str], Pair]:
    found: dict[tuple[str, str], Pair] = {}
    for row in rows:
        auc = number(row.auc)
        if auc is not None:
            pair = Pair(auc, _sure(row.p))
            found[row.home, row.site] = pair
            found.setdefault((row.site, row.home), pair)
    return found


def _sure(p: float | None) -> bool:
    found = number(p)
    return found is not None and found <= SURE


def _battery(study: Study, shortcuts: Sequence[ShortcutRow], name: str) -> Canvas:
    groups: dict[tuple[str, str], list[ShortcutRow]] = defaultdict(list)
    trained = {model.name: model.trained_on for model in study.models}
    for row in shortcuts:
        groups[row.model, row.site].append(row)
    own = {key: rows for key, rows in groups.items() if key[1] in trained.get(key[0], ())} or dict(groups)
    first = dict(sorted(own.items(), key=lambda item: "+" in item[0][0]))
    panels = [
        ForestPanel(f"{_named(model, rows[0].degenerate)} at {site}", tuple(_battery_row(r) for r in _in_order(rows)))
        for (model, site), rows in list(first.items())[:PANELS]
    ]
    alt = f"Shortcut battery of study {study.name}, AUC of each network on scans with parts erased: "
    said = [f"{p.title}: " + ", ".join(f"{r.name} {r.words}" for r in p.rows) for p in panels]
    return forest(name, alt + "; ".join(said) + ".", panels, ForestScale(0.0, 1.0, 0.5, "0.5 = chance"))


def battery_words(labels: Sequence[ClassSeparationRow], shortcuts: Sequence[ShortcutRow]) -> str:
    """What the AUCs with the lungs erased show of networks that learned, and what was found outside the lungs."""
    said = [
        "AUC for the disease, with 95 % interval, when the network sees only a part of each scan. Squares: p of 0.05 "
        "or less, each test by itself.",
        _erased_words([r for r in shortcuts if r.view in WITHOUT_LUNGS and not r.degenerate]),
    ]
    causes = [r for r in labels if r.view in CAUSES and _is_cause(r)]
    named = list(dict.fromkeys(r.site for r in causes))
    body = [r.site for r in causes if r.view == "body"]
    if named:
        said.append(
            f"Outside the lungs, too, positive is told from negative at {listed(named)}: a network may use that there."
        )
    elif labels:
        said.append(
            "Nothing outside the lungs was found to tell positive from negative at these sites, which is no proof that "
            "nothing does (power in the table)."
        )
    alone = [site for site in body if all(r.view == "body" for r in causes if r.site == site)]
    for sites, words in ((alone, "it is"), ([site for site in body if site not in alone], "among it is")):
        if sites:
            said.append(
                f"At {listed(sites)} {words} the body itself: age, sex, size or the disease can do that, and no fault "
                "of the scans is needed."
            )
    return " ".join(part for part in said if part)


def _is_cause(row: ClassSeparationRow) -> bool:
    """Whether it is named as one; the histogram inside the lungs stands there to compare."""
    return row.view != "lung_histogram" and row.p_holm is not None and is_cause(row.auc, row.p_holm)


def _erased_words(rows: Sequence[ShortcutRow]) -> str:
    """How many tests with the lungs erased differ from chance after Holm's adjustment, as `findings`; "" without any.

    Args:
        rows: tests without lungs of networks that learned; adjusted together, those with the lungs erased are counted.
    """
    tested = adjust([r for r in rows if number(r.p) is not None])
    erased = [r for r in tested if r.test.view == "lungs_erased"]
    if not erased:
        return ""
    sure = [r for r in erased if r.p_holm <= SURE]
    above = sum(r.test.auc > CHANCE for r in sure)
    below = sum(r.test.auc < CHANCE for r in sure)
    start = f"With the lungs erased, of {numbered(len(erased), 'test')} of networks that learned,"
    end = f"after Holm's adjustment for {numbered(len(tested), 'test')} without lungs"
    if not above and not below:
        alone = sum(_sure(r.test.p) for r in erased)
        return (
            f"{start} none is distinguishable from chance (0.50) {end}; without it {alone} {verb(alone, 'is', 'are')}, "
            f"where chance alone gives about {SURE * len(erased):.1f}."
        )
    parts = []
    if above:
        lie = verb(above, "lies", "lie")
        parts.append(f"{above} {lie} above chance (0.50): there some discrimination is not from the lungs")
    if below:
        lie = verb(below, "lies", "lie")
        parts.append(
            f"{below} {lie} below chance: there scores are reversed on pictures unlike any in training, and no cause "
            "follows"
        )
    return f"{start} {'; '.join(parts)} (p of {SURE} or less {end})."


def _in_order(rows: Sequence[ShortcutRow]) -> list[ShortcutRow]:
    places = list(PARTS)
    return sorted(rows, key=lambda r: places.index(r.view) if r.view in places else len(places))


def _battery_row(row: ShortcutRow) -> ForestRow:
    auc, low, high = map(number, (row.auc, row.low, row.high))
    return ForestRow(PARTS.get(row.view, row.view), auc, low, high, _sure(row.p), estimate(auc, low, high))


def _labels(study: Study, name: str) -> Canvas:
    groups: dict[str, list[ClassSeparationRow]] = defaultdict(list)
    for row in study.diagnosis.labels:
        groups[row.site].append(row)
    panels = [ForestPanel(site, tuple(_label_row(r) for r in rows)) for site, rows in groups.items()]
    alt = f"AUC of telling positive from negative without any lung, by what is looked at, study {study.name}: "
    said = [f"{p.title}: " + ", ".join(f"{r.name} {r.words}" for r in p.rows) for p in panels]
    return forest(name, alt + "; ".join(said) + ".", panels, ForestScale(0.0, 1.0, 0.5, "0.5 = chance"))


def _label_row(row: ClassSeparationRow) -> ForestRow:
    auc, low, high = map(number, (row.auc, row.low, row.high))
    return ForestRow(CAUSES.get(row.view, row.view), auc, low, high, _is_cause(row), estimate(auc, low, high))


def _auc_column() -> Column:
    return Column("auc", "AUC (95 %)", lambda v, r: estimate(v, r.get("low"), r.get("high")), numeric=True)


def _p_column() -> Column:
    return Column("p", "p", lambda v, r: p_words(v, _floor(v, r)), numeric=True)


def _floor(value: Any, row: Record) -> float:
    """The smallest p that the test of a row could give, where it gave that."""
    if row.get("p_floor") is not None:
        return float(row["p_floor"])
    found = number(value)
    return found if found is not None and at_floor(found, row.get("permutations")) else 0.0


def p_words(value: Any, floor: float = 0.0) -> str:
    """A p-value as printed; "≤" where it is the smallest that its permutations can give."""
    found = number(value)
    return "–" if found is None else p_value(found, floor)


def _separation_table(rows: Sequence[SeparationRow], name: str) -> Table:
    columns = [
        Column("home", "Site"),
        Column("site", "Other site"),
        Column("view", "Looking at", _view_words),
        _auc_column(),
        _p_column(),
        Column("power", "Power", lambda v, _: figure(v), numeric=True),
        Column("patients_home", "Patients", None, numeric=True),
        Column("patients_site", "Other patients", None, numeric=True),
    ]
    note = "How well a rule that sees only this tells two sites apart: 0.5 not at all, 1 always. p by permutation."
    shown = [record_of(row) for row in rows]
    return Table(name, "What tells two sites apart.", columns, shown, note)


def _view_words(view: Any, row: Record) -> str:
    words = VIEWS.get(view, str(view))
    return f"{words} ({_network(row['model'], row)})" if row.get("model") else words


def _label_table(rows: Sequence[ClassSeparationRow], name: str) -> Table:
    columns = [
        Column("site", "Site"),
        Column("view", "Looking at", lambda v, _: CAUSES.get(v, str(v))),
        _auc_column(),
        _p_column(),
        Column("p_holm", "p, adjusted", lambda v, r: p_words(v, number(r.get("p_floor")) or 0.0), numeric=True),
        Column("power", "Power", lambda v, _: figure(v), numeric=True),
        Column("fact", "Fact that stands out", lambda v, _: v or "–"),
    ]
    note = (
        "Each rule sees only the named part of the scan and is judged on patients that it has not seen. The histogram "
    )
    note += "inside the lungs stands there to compare: that is where the disease may be."
    return Table(
        name, "What tells positive from negative without any lung.", columns, [record_of(row) for row in rows], note
    )


def _battery_table(rows: Sequence[ShortcutRow], name: str) -> Table:
    columns = [
        Column("model", "Network", _network),
        Column("site", "Scans of"),
        Column("view", "What it was shown", lambda v, _: PARTS.get(v, str(v))),
        _auc_column(),
        _p_column(),
        Column("scans", "Scans", None, numeric=True),
    ]
    note = (
        "The network is asked to call the disease on scans with parts erased. Above 0.5 beyond chance with the lungs "
        "erased, or on border, air and table alone, some of its discrimination does not come from the lungs. Shuffled "
        "labels: mean and middle 95 % of the AUC when labels are dealt to other patients; no test belongs to them."
    )
    return Table(
        name,
        "Shortcut battery: the same networks on scans with parts erased.",
        columns,
        [record_of(row) for row in rows],
        note,
    )


def _network(value: Any, row: Record) -> str:
    return _named(value, row.get("degenerate"))


def _named(model: str, degenerate: str | None) -> str:
    """A network's name, and whether it learned."""
    return spaced(model) + (f" ({MARK})" if degenerate else "")


def _saliency_table(rows: Sequence[SaliencyRow], name: str) -> Table:
    groups: dict[tuple[str, str, int], list[SaliencyRow]] = defaultdict(list)
    for row in rows:
        groups[row.model, row.site, row.label].append(row)
    means = [record_of(_mean_share(key, group)) for key, group in groups.items()]
    columns = [
        Column("model", "Network", _network),
        Column("site", "Scans of"),
        Column("label", "Class"),
        Column("scans", "Scans", None, numeric=True),
        Column("inside", "Mass inside the lungs", lambda v, _: figure(v), numeric=True),
        Column("expected", "Lungs' share of the picture", lambda v, _: figure(v), numeric=True),
    ]
    note = (
        "Share of the saliency map (HiResCAM) that lies inside the lungs, against the share that a map without any "
        "preference would have. Such maps are coarse, and none proves what a network uses."
    )
    return Table(name, "Where the networks look.", columns, means, note)


def _mean_share(key: tuple[str, str, int], group: Sequence[SaliencyRow]) -> MeanShare:
    model, site, label = key
    words = {1: "positive", 0: "negative"}.get(label, str(label))
    inside, expected = _mean(r.inside for r in group), _mean(r.expected for r in group)
    return MeanShare(model, site, words, len(group), group[0].degenerate, inside, expected)


def _mean(values: Iterable[Any]) -> float | None:
    known = [v for value in values if (v := number(value)) is not None]
    return sum(known) / len(known) if known else None


def _finding_table(rows: Sequence[FindingRow], name: str) -> Table:
    columns = [
        Column("sentence", "Finding"),
        Column("cause", "Cause"),
        Column("strength", "Strength", lambda v, _: figure(v), numeric=True),
        _p_column(),
    ]
    note = "Strength is an AUC; for maps of attention the mass inside the lungs over what chance gives. p is adjusted."
    return Table(
        name, "Everything the diagnosis found, in its own words.", columns, [record_of(row) for row in rows], note
    )
