"""One study's scores in; the sentences at the head of the page, each a function of its numbers, out."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from elsewhere.pages.report.content import Report, Study
from elsewhere.pages.report.records import KINS, Group, cell, fall, groups, index, kin_of, number
from elsewhere.pages.report.shown_rows import NewHospital, ProtocolMean
from elsewhere.pages.report.words import count, estimate, interval, listed, signed, signed_ends, spaced
from elsewhere.rows import ScoreRow
from elsewhere.wording import decimals, numbered, verb

NOTABLE_DROP = 0.05
"""A smaller difference of two mean AUCs is called small (the mark of Yu et al. 2022, external validation of 86
algorithms)."""

FEWEST_SITES = 4
"""With fewer unseen sites nothing is said of a new hospital: a spread over two or three sites is hardly known."""

CHANCE = 0.5


def headline(study: Study) -> str:
    """What the scores of the networks that learned say, and what was held fixed in saying it."""
    return " ".join(part for part in (result(study), limits(study)) if part)


def result(study: Study) -> str:
    """The networks left out, the means, their difference, and where the AUC elsewhere lies against chance."""
    left = left_out_words(study)
    if not study.able:
        return left
    said = [left, means(groups(study)), difference_of(study), same_networks(study)]
    said.append(against_chance(study))
    return " ".join(words for words in said if words)


def limits(study: Study) -> str:
    """What the intervals leave out: other trainings, and hospitals that were not tested; "" without a score."""
    if not study.able or not groups(study):
        return ""
    return " ".join(words for words in (held_fixed(study), new_hospital(_new_hospital(study))) if words)


def left_out_words(study: Study) -> str:
    """How many networks did not learn, and which; "" where all did."""
    failed = [spaced(model.name) for model in study.models if model.degenerate]
    total = len(study.models)
    if not failed:
        return ""
    if len(failed) == total:
        who = "The network did not learn" if total == 1 else f"None of the {total} networks learned"
        return (
            f"{who} to tell the classes apart, as far as the validation scans of its training sites show, so nothing "
            "is concluded from the scores."
        )
    return (
        f"{len(failed)} of {total} networks did not learn, as far as their validation scans show, and "
        f"{verb(len(failed), 'is', 'are')} left out ({listed(failed)})."
    )


def means(found: Sequence[Group]) -> str:
    """Mean discrimination at home and elsewhere with their intervals."""
    home, away = home_and_away(found)
    if home is None and away is None:
        return "No AUC was measured: no cell with both classes is in the records."
    parts = []
    if home:
        where = (
            "at home (internal test set of the only training site)"
            if home.kin == "home"
            else "at training sites (internal test sets)"
        )
        parts.append(f"{estimate(home.mean, home.low, home.high)} {where}, {_cells(home)}")
    if away:
        where = "elsewhere (external validation, sites never seen in training)"
        parts.append(f"{estimate(away.mean, away.low, away.high)} {where}, {_cells(away)}")
    said = f"Mean discrimination (AUC, with 95 % interval): {'; '.join(parts)}."
    if away is None:
        said += " No network was tested at a site it had never seen, so nothing is known about elsewhere."
    return said


def difference_of(study: Study) -> str:
    """`difference` of a study's own means."""
    return difference(groups(study), fall(study), _trainings(study))


def difference(found: Sequence[Group], fell: Group | None, trainings: int) -> str:
    """The difference of both means, judged by its own interval; "" where one of them is missing."""
    home, away = home_and_away(found)
    if home is None or away is None:
        return ""
    if fell is None:
        return (
            f"The difference, {_name(home)} less elsewhere, is {signed(home.mean - away.mean)}; it has no interval of "
            "its own here, so it cannot be set against sampling error."
        )
    once = trainings == 1
    held = "With one training of each network" if once else f"Over {count(trainings, 'training')} of each network"
    error = "sampling error of the patients" if once else "sampling error of the patients and the spread over trainings"
    ends = f"{signed(fell.mean)} (95\u00a0%: {signed_ends(fell.low, fell.high)})"
    if fell.low <= 0 <= fell.high:
        return f"{held} the difference, {_name(home)} less elsewhere, is {ends}: within {error}."
    size = ", a small difference" if abs(fell.mean) < NOTABLE_DROP else ""
    side = "lower" if fell.mean > 0 else "higher"
    much = f"{abs(fell.mean):.{decimals(fell.mean)}f}"
    return (
        f"{held} discrimination is {much} {side} elsewhere than at {_name(home)}{size}; {_name(home)} less elsewhere "
        f"{ends}, beyond {error}."
    )


def _name(home: Group) -> str:
    """What the training side is called: home only where a network was trained on that site alone."""
    return "home" if home.kin == "home" else "training sites"


def same_networks(study: Study) -> str:
    """The difference of those networks alone that were tested on both sides; "" where no others enter the means."""
    fell = fall(study, "fall, same networks")
    if fell is None:
        return ""
    side = "within" if fell.low <= 0 <= fell.high else "beyond"
    return (
        "Not all networks that were tested elsewhere have a cell at home; of those that have both, each against "
        f"itself, the difference is {signed(fell.mean)} (95\u00a0%: {signed_ends(fell.low, fell.high)}), {side} "
        "sampling error."
    )


def against_chance(study: Study) -> str:
    """In how many external cells the whole interval lies above, around or below an AUC of 0.5."""
    above, around, below = (len(part) for part in against(elsewhere(study)))
    total = above + around + below
    if not total:
        return ""
    parts = [
        f"{words} in {times}"
        for words, times in (
            ("above chance (0.50) with its whole 95 % interval", above),
            ("not distinguishable from chance", around),
            ("below chance with its whole interval", below),
        )
        if times
    ]
    cells_ = "the one cell elsewhere that has" if total == 1 else f"the {total} cells elsewhere that have"
    return f"Of {cells_} an interval, the AUC is {listed(parts)}."


def elsewhere(study: Study) -> list[ScoreRow]:
    """Cells of networks that learned at sites that they never saw."""
    cells = index(study.scores)
    return [
        record
        for model in study.able
        for site in study.sites
        if kin_of(model, site.name) == "unseen" and (record := cell(cells, model.name, site.name))
    ]


def against(rows: Sequence[ScoreRow]) -> tuple[list[ScoreRow], list[ScoreRow], list[ScoreRow]]:
    """Cells whose whole AUC interval lies above 0.5, holds it, or lies below it; those without one are left out."""
    parts: tuple[list[ScoreRow], list[ScoreRow], list[ScoreRow]] = ([], [], [])
    for row in rows:
        low, high = number(row.auc_sampling_low), number(row.auc_sampling_high)
        if low is not None and high is not None:
            parts[0 if low > CHANCE else 2 if high < CHANCE else 1].append(row)
    return parts


def held_fixed(study: Study) -> str:
    """What the intervals do not hold: other sites, and other trainings where each network was trained once."""
    said = "These intervals say how far the numbers move with other patients of the same sites"
    times = _trainings(study)
    if times == 1:
        said += "; sites and trained networks are held fixed. Each network was trained once, so the spread over "
        return f"{said}trainings (seeds) is not known."
    said += f" and other trainings ({count(times, 'seed')} of each network); the sites are held fixed."
    rows = [r for r in study.trainings if r.score == "auc"]
    spreads = [sd for r in rows if (sd := number(r.standard_deviation)) is not None]
    if spreads:
        said += f" Between trainings the AUC of a cell has a standard deviation of {median(spreads):.2f} in the middle "
        said += f"cell and {max(spreads):.2f} at most."
    return said


def new_hospital(new: NewHospital | None) -> str:
    """What follows for a hospital that is not among the sites; "" where nothing was tested elsewhere."""
    if new is None or not new.sites:
        return ""
    if new.sites < FEWEST_SITES:
        sites = count(new.sites, "unseen site").capitalize()
        return f"{sites} cannot tell how far the AUC would lie from these means at a new hospital."
    if new.low is None or new.high is None:
        return ""
    return (
        f"At a new hospital an AUC of {interval(new.low, new.high)} is to be expected (95 % prediction interval, "
        f"random effects over {new.sites} unseen sites)."
    )


def comparison(report: Report) -> str:
    """The elsewhere means of several studies side by side, and the paired difference where there is one."""
    away = {s.name: g for s in report.studies for g in groups(s) if g.kin == "unseen"}
    if len(away) < 2:
        return ""
    named = listed([f"{g.mean:.2f} (“{name}”)" for name, g in away.items()])
    said = f"Side by side, the mean AUC at sites never seen in training is {named}"
    said += " (scans of different origin, so other patients)" * (report.origin == "mixed")
    networks = {tuple(m.name for m in s.able) for s in report.studies if s.name in away}
    said += "; means over different networks, as those that did not learn are left out of each." * (len(networks) > 1)
    said += "." * (len(networks) == 1)
    for paired in (mean for mean in report.protocol_means if mean.relation == "unseen"):
        said += f" On the same scans, over {numbered(paired.cells, 'cell')} of networks that learned under both, "
        said += f"“{paired.first}” less “{paired.second}” is {paired_words(paired)}."
    return said


def paired_words(paired: ProtocolMean) -> str:
    """A paired difference with its interval, and whether that leaves out 0."""
    side = "within" if paired.low <= 0 <= paired.high else "beyond"
    ends = signed_ends(paired.low, paired.high)
    return f"{signed(paired.difference)} (95\u00a0%: {ends}), {side} sampling error of the patients"


def _trainings(study: Study) -> int:
    """Trainings of each network whose spread the intervals of the means hold; 1 where they are held fixed."""
    return min((row.trainings for row in study.groups if row.group in KINS), default=1)


def home_and_away(found: Sequence[Group]) -> tuple[Group | None, Group | None]:
    """The mean at home (or at training sites, where no network has a home of its own), and that elsewhere."""
    by_kin = {group.kin: group for group in found}
    return by_kin.get("home") or by_kin.get("seen"), by_kin.get("unseen")


def _cells(group: Group) -> str:
    return numbered(len(group.aucs), "cell")


def _new_hospital(study: Study) -> NewHospital | None:
    """The prediction interval where it was made; the number of unseen sites alone where it was not."""
    if study.new_hospital:
        return study.new_hospital
    cells = index(study.scores)
    unseen = {
        site.name
        for model in study.able
        for site in study.sites
        if kin_of(model, site.name) == "unseen"
        and (found := cell(cells, model.name, site.name))
        and number(found.auc) is not None
    }
    return NewHospital(None, None, len(unseen)) if unseen else None
