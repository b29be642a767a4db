"""One study's decompositions in; where accuracy was lost, and what local scans would bring, on the page out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elsewhere.pages.figures import Canvas, ForestPanel, ForestRow, ForestScale, forest
from elsewhere.pages.report.content import Study
from elsewhere.pages.report.folder import Folder, Picture
from elsewhere.pages.report.records import number, value_in
from elsewhere.pages.report.table import Column, Table
from elsewhere.pages.report.words import count, estimate, listed, signed, spaced
from elsewhere.rows import DropRow
from elsewhere.wording import verb

PARTS = {
    "drop": "together",
    "case_mix": "case mix",
    "threshold": "threshold (prevalence)",
    "calibration": "calibration",
    "ranking": "ranking",
}
MEANINGS = {
    "case_mix": "other ages and sexes than at home",
    "threshold": "another share of positives than the threshold was chosen for",
    "calibration": "the scores have moved; a new threshold or recalibration corrects it where a network discriminates",
    "ranking": "discrimination is lower; no threshold can restore it",
}
UNDIVIDED = "not divided"
"""Stands for the parts where a network is not shown to discriminate at the new site."""

WIDEST = 60  # percentage points of accuracy, either way, that the figure's scale reaches to


@dataclass(frozen=True)
class Drop:
    """What the section shows of one study: sentences, a figure and tables; `meanings`: part -> what it means."""

    words: str
    local_words: str
    meanings: Mapping[str, str]
    picture: Picture
    table: Table
    local: Table | None


def section(study: Study, slug: str, out: Folder) -> Drop | None:
    """What the section shows of one study; None where no drop was measured."""
    if not study.drops:
        return None
    single = {model.name for model in study.models if len(model.trained_on) == 1}
    shown = [r for r in study.drops if r.model in single] or list(study.drops)
    local = out.add_table(local_table(study, f"{slug}-local-scans")) if study.local else None
    return Drop(
        words=sentence(study.drops),
        local_words=local_sentence(study),
        meanings={PARTS[key]: words for key, words in MEANINGS.items()},
        picture=out.add_picture(_picture(study, f"{slug}-drop", shown)),
        table=out.add_table(drop_table(study, f"{slug}-decomposition")),
        local=local,
    )


def sentence(drops: Sequence[DropRow]) -> str:
    """How many moves lose accuracy beyond sampling error, and which part is surely the largest; none among ties.

    Of moves to a site where the network does not discriminate no part is named.
    """
    clear = [r for r in drops if (number(r.drop_low) or 0) > 0]
    said = (
        f"Of {count(len(drops), 'move')} of a network to a site it never saw, {len(clear)} "
        f"{verb(len(clear), 'loses', 'lose')} accuracy beyond sampling error"
    )
    if not clear:
        return f"{said}."
    largest = Counter(r.largest or "" for r in clear if r.discriminates)
    lost = len(clear) - largest.total()
    named = [f"{PARTS[part]} in {times}" for part, times in largest.most_common() if part]
    if lost:
        said += f"; {lost} of these {verb(lost, 'is', 'are')} not divided: the AUC there is not above chance with its "
        said += "whole 95 % interval, or no threshold is more accurate than the majority class, so that "
        said += "nothing but calling all scans the majority class is shown to restore accuracy"
    said += "."
    if named:
        said += f" The largest part{' in the others' if lost else ''}: {listed(named)}."
    if largest[""]:
        said += f" In {largest['']} no part is surely larger than the others."
    return said


def local_sentence(study: Study) -> str:
    """What a new threshold, or a recalibration, from local scans would bring, where networks discriminate."""
    lost = {(r.model, r.site) for r in study.drops if not r.discriminates}
    kept, said = [r for r in study.local if (r.model, r.site) not in lost], []
    moves = len({(r.model, r.site) for r in kept})
    for scans in sorted({r.scans for r in kept}):
        rows = [(r.as_is, r.rethresholded, r.recalibrated) for r in kept if r.scans == scans]
        plain, again, calibrated = (sum(values) / len(rows) for values in zip(*rows, strict=True))
        some = f" ({len(rows)} of {moves} moves have as many)" if len(rows) < moves else ""
        said.append(
            f"with {scans} labelled local scans{some} {signed(100 * (again - plain), 0)} by a new threshold and "
            f"{signed(100 * (calibrated - plain), 0)} by recalibration"
        )
    left = len({(r.model, r.site) for r in study.local} & lost)
    words = ""
    if said:
        over = "the moves to a site where the network discriminates" if left else "all moves"
        words = f"Accuracy gained (percentage points), mean over {over}, without an interval: {'; '.join(said)}."
    if left:
        words += f" {count(left, 'move').capitalize()} {verb(left, 'is', 'are')} left out, as discrimination is not "
        words += "shown there: a new threshold or a recalibration may gain accuracy by calling all scans the majority "
        words += "class."
    return words.strip()


def drop_table(study: Study, name: str) -> Table:
    """Every model at every unseen site: accuracy here and there, and the parts that add up to the difference."""
    columns = [
        Column("model", "Trained on", lambda v, _: spaced(v)),
        Column("site", "Tested at"),
        Column("home_accuracy", "Accuracy at home", _share("home_accuracy"), numeric=True),
        Column("accuracy", "Accuracy there", _share("accuracy"), numeric=True),
        *(
            Column(key, "Accuracy lost" if key == "drop" else words.capitalize(), _lost(key), numeric=True)
            for key, words in PARTS.items()
        ),
    ]
    note = (
        "Accuracy lost (percentage points) from home to the new site, at the threshold chosen at home; below 0 "
        "accuracy is higher there. The parts add up; “not divided”: the AUC there does not lie above 0.5 with its "
        "whole interval, or no threshold is more accurate than the majority class, so the parts, in the CSV alone, "
        "cannot be told apart. In brackets 95 %, by patient, the share of positives sampled as patients come; "
        "threshold_held in the CSV is for numbers of positives and negatives that were fixed. "
        "Case mix stands only where age and sex are known on both sides and home has scans of nearly all the ages and "
        "sexes found there; elsewhere it is inside the other parts."
    )
    return Table(name, "Where accuracy was lost.", columns, study.drops, note)


def local_table(study: Study, name: str) -> Table:
    """What n labelled local scans would give."""
    columns = [
        Column("model", "Trained on", lambda v, _: spaced(v)),
        Column("site", "New site"),
        Column("scans", "Labelled scans", None, numeric=True),
        Column("as_is", "As it is", _share("as_is"), numeric=True),
        Column("rethresholded", "New threshold", _share("rethresholded"), numeric=True),
        Column("recalibrated", "Recalibrated", _share("recalibrated"), numeric=True),
    ]
    note = (
        "Accuracy on the patients that were not drawn; in brackets the middle 95 % of the draws. That is the chance of "
        "which patients get labelled, not how far another hospital may differ. A network that ranks no better than "
        "chance can gain here only by calling everyone the majority class."
    )
    caption = "Accuracy after a new threshold or a recalibration from n labelled local scans."
    return Table(name, caption, columns, study.local, note)


def _share(name: str) -> Callable[[Any, object], str]:
    return lambda value, row: estimate(value, value_in(row, f"{name}_low"), value_in(row, f"{name}_high"))


def _lost(name: str) -> Callable[[Any, DropRow], str]:
    def words(value: Any, row: DropRow) -> str:
        if name != "drop" and not row.discriminates:
            return UNDIVIDED if name == "ranking" else "–"
        return lost_words(value, value_in(row, f"{name}_low"), value_in(row, f"{name}_high"))

    return words


def lost_words(value: Any, low: Any, high: Any) -> str:
    """Accuracy lost in percentage points with the interval: "+12 (+3 to +21)"."""
    if number(value) is None:
        return "–"
    ends = [signed(100 * end, 0) for end in (number(low), number(high)) if end is not None]
    return signed(100 * float(value), 0) + (f" ({ends[0]} to {ends[1]})" if len(ends) == 2 else "")


def _picture(study: Study, name: str, drops: Sequence[DropRow]) -> Canvas:
    panels = [
        ForestPanel(
            f"{spaced(r.model)} → {r.site}" + ("" if r.discriminates else f": {UNDIVIDED}"),
            tuple(_row(r, key) for key in PARTS if getattr(r, key) is not None and (key == "drop" or r.discriminates)),
        )
        for r in drops
    ]
    alt = f"Accuracy lost (percentage points) from home to new sites in study {study.name}: "
    alt += "; ".join(f"{spaced(r.model)} to {r.site} {lost_words(r.drop, None, None)}" for r in drops) + "."
    return forest(
        name, alt, panels, ForestScale(-WIDEST, WIDEST, 0.0, "gained | lost", digits=0, higher_is_better=False)
    )


def _row(row: DropRow, key: str) -> ForestRow:
    found = [number(getattr(row, name)) for name in (key, f"{key}_low", f"{key}_high")]
    value, low, high = (None if share is None else 100 * share for share in found)
    sure = low is not None and high is not None and (low > 0 or high < 0)
    return ForestRow(PARTS[key], value, low, high, sure, lost_words(*found))
