"""A report in; the warnings that weigh most, and what to do next, out: what is read before anything is unfolded."""

from __future__ import annotations

from dataclasses import dataclass

from elsewhere.pages.report.content import Report, Study
from elsewhere.pages.report.headline import (
    CHANCE,
    NOTABLE_DROP,
    against,
    against_chance,
    difference_of,
    elsewhere,
    fall,
    home_and_away,
    left_out_words,
    means,
)
from elsewhere.pages.report.records import Group, groups
from elsewhere.wording import numbered, verb

MOST = 3
"""Warnings on the first screen; a list that nobody reads to its end warns of nothing."""

LITTLE = 0.25
"""Of what lies above chance at home: where less is left, and that is not shown to be any, all is lost."""
MUCH = 0.5
"""Of what lies above chance: where surely more is lost, most of it is."""


@dataclass(frozen=True)
class Warnings:
    """What to know before the numbers are believed.

    Attributes:
        shown: the gravest, in sentences.
        more: how many further ones the audit has.
    """

    shown: tuple[str, ...]
    more: int


def answer(study: Study) -> str:
    """Whether the networks work elsewhere, in a sentence with its numbers; how much is lost, judged by its interval."""
    (home, away), fell = home_and_away(groups(study)), fall(study)
    if not study.able:
        return left_out_words(study)
    if home is None or away is None or fell is None:
        return means(groups(study))
    where = "at home" if home.kin == "home" else "at their training sites"
    numbers = f"mean AUC {home.mean:.2f} {where}, {away.mean:.2f} elsewhere; chance is {CHANCE:.2f}"
    if home.low <= CHANCE:
        return f"The networks are not shown to discriminate even {where} ({numbers})."
    return f"Networks that discriminate {where} {_elsewhere_words(study, (home, away), fell)} ({numbers})."


def _elsewhere_words(study: Study, means_: tuple[Group, Group], fell: Group) -> str:
    """What becomes elsewhere of what lies above chance, as far as the intervals show: the first rule that holds."""
    home, away = means_
    above, around, below = (len(part) for part in against(elsewhere(study)))
    kept = f"{above} of {numbered(above + around + below, 'cell')}"
    cells = f", and are above chance in {kept}" if above else ""
    gone = away.mean - CHANCE < min(NOTABLE_DROP, LITTLE * (home.mean - CHANCE))
    rules = (
        (fell.high < 0, "discriminate better elsewhere"),
        (fell.low <= 0 and away.low <= CHANCE, "are not shown to discriminate elsewhere"),
        (fell.low <= 0, "are not shown to lose any of it elsewhere"),
        (away.high < CHANCE, f"rank the wrong way elsewhere on average{cells}"),
        (away.low <= CHANCE and above > 0, f"lose it elsewhere but for {kept}"),
        (away.low <= CHANCE and gone, "lose all of it elsewhere"),
        (away.low <= CHANCE, "lose some, and perhaps all, of it elsewhere"),
        (fell.mean < NOTABLE_DROP, "lose little of it elsewhere"),
        (fell.low > MUCH * (home.mean - CHANCE), "lose most of it elsewhere"),
        (True, "lose some of it elsewhere"),
    )
    return next(words for holds, words in rules if holds)


def brief(study: Study) -> str:
    """What stands behind the answer: the fall with its interval, and the cells elsewhere against chance."""
    if not study.able or not groups(study):
        return ""
    return " ".join(words for words in (difference_of(study), against_chance(study)) if words)


def warnings(report: Report) -> Warnings:
    """Networks that did not learn first, then what the audit found, its worst first."""
    found = [_unlearned(study, len(report.studies) > 1) for study in report.studies]
    found += [words for study in report.studies for words in study.audit.warnings]
    told = [words for words in dict.fromkeys(found) if words]
    return Warnings(tuple(told[:MOST]), len(told[MOST:]))


def _unlearned(study: Study, several: bool) -> str:
    lost = len(study.models) - len(study.able)
    if not lost:
        return ""
    where = f" under “{study.name}”" if several else ""
    its, it = verb(lost, "its", "their"), verb(lost, "it", "them")
    return (
        f"{lost} of {numbered(len(study.models), 'network')}{where} did not learn, by {its} own validation scans: "
        f"nothing follows from {its} scores, and means and sentences leave {it} out."
    )


def next_steps(report: Report) -> list[str]:
    """What follows from the cells elsewhere; nothing where no network that learned was tested elsewhere."""
    above, around, below = (len(part) for part in against([r for study in report.studies for r in elsewhere(study)]))
    lost, total = around + below, above + around + below
    if not total:
        return []
    steps = []
    if lost:
        wrong = f"; in {below} it is below: the scores point the wrong way" if below else ""
        steps.append(
            f"In {lost} of {numbered(total, 'cell')} elsewhere the AUC is not shown to be above chance{wrong}. A new "
            "threshold or a recalibration does not mend a ranking: train or adapt with scans of that site (elsewhere "
            "adapt), or do not use it there."
        )
    if above:
        steps.append(
            f"In {above} of {numbered(total, 'cell')} it is: whether it is good enough there depends on what you "
            "require, and thresholds may have to be chosen anew (“Where accuracy was lost” says what local scans gain)."
        )
    steps.append(
        "For a hospital that is not among these sites no number of this page is an answer: judge the network on "
        "labelled scans from there with elsewhere verdict STUDY MODEL FOLDER, which says whether they are enough."
    )
    return steps
