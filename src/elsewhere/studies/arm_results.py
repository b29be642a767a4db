"""Predictions of all arms' networks in; each trial's scores, and each arm against ERM under each rule, out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from elsewhere.arm_rows import ERM, RULES, ArmRow, Rule, TrialRow
from elsewhere.errors import BadStudy
from elsewhere.model.selection import within_site_auc
from elsewhere.statistics.arms import RecipeCell, RecipeDifference, best_trial, compare_recipes
from elsewhere.statistics.comparison import holm
from elsewhere.statistics.learned import judge_learned
from elsewhere.studies.arms import Arm, ArmNetwork, Comparison, drawn, inner_obstacle, network_name
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import key
from elsewhere.studies.learned import selection_of
from elsewhere.studies.predictions import Predictions, fitting_predictions, join_predictions
from elsewhere.studies.records import ARM_TRIALS, ARMS

Place = tuple[tuple[str, ...], str]
"""Training sites, and a site that is not among them."""


def predicted_at(study: Study, name: str) -> tuple[str, ...]:
    """The sites that a training of a study is tested at.

    All, but for a network that only chooses among an arm's trials (it lacks one more site): those that it never saw.
    """
    network = study.arm_networks.get(name)
    if network is None or network.sites in study.compared:
        return tuple(site.name for site in study.sites)
    return tuple(site.name for site in study.sites if site.name not in network.sites and site.use == "split")


def arms_key(study: Study, folder: Folder) -> str:
    """Of everything that the comparison of arms is made from."""
    files = [folder.predictions(name, site.name) for name in study.all_arm_networks for site in study.sites]
    return key("arms", study.settings()["comparison"], files)


def write_arms(study: Study, folder: Folder) -> None:
    """Score and compare the arms of a study, and keep it; tables of an earlier study file without arms are removed."""
    if study.comparison is None:
        folder.arms.unlink(missing_ok=True)
        folder.arm_trials.unlink(missing_ok=True)
        return
    found = _Arms(study, folder, study.comparison)
    made_from, trials = arms_key(study, folder), found.trials()
    ARM_TRIALS.write(folder.arm_trials, trials, made_from)
    ARMS.write(folder.arms, list(found.against_erm(trials)), made_from)


def read_arms(study: Study, folder: Folder) -> tuple[list[ArmRow], list[TrialRow]]:
    """What was kept; nothing in a study without arms.

    Raises:
        BadStudy: a table is missing, damaged or made from other predictions.
    """
    if study.comparison is None:
        return [], []
    rows, made_from = ARMS.read_made_from(folder.arms)
    if made_from != arms_key(study, folder):
        what = "does not belong to the predictions in this folder: they have changed since"
        raise BadStudy(folder.arms, what, ARMS.next_step)
    return rows, ARM_TRIALS.read(folder.arm_trials)


def in_words(arm: Arm, trial: int, seed: int) -> str:
    """What a trial changes of [training]: "objective = v_rex, penalty = 12"."""
    return ", ".join(f"{name} = {value}" for name, value in drawn(arm, trial, seed).items())


class _Arms:
    """One comparison, with the predictions that it is made from."""

    def __init__(self, study: Study, folder: Folder, comparison: Comparison) -> None:
        self._study, self._folder, self._comparison = study, folder, comparison
        self._seeds = study.seeds or (study.training.seed,)
        self._read = lru_cache(maxsize=None)(lambda name, site: fitting_predictions(folder, name, site).deterministic)
        self._learned = lru_cache(maxsize=None)(self._judge)
        self.places = [
            (sites, site.name)
            for sites in study.compared
            for site in study.sites
            if site.name not in sites and self._two_classes(self._name(ERM, 1, self._seeds[0], sites), site.name)
        ]

    def _name(self, arm: str, trial: int, seed: int, sites: tuple[str, ...]) -> str:
        return network_name(ArmNetwork(arm, trial, seed, sites), self._seeds[0], list(self._study.models))

    def _two_classes(self, name: str, site: str) -> bool:
        return len(np.unique(self._read(name, site).subset("test").labels)) == 2

    def trials(self) -> list[TrialRow]:
        """Every trial of every arm at every place."""
        return [
            self._trial(arm, trial, place)
            for arm in self._comparison.arms
            for trial in range(1, self._comparison.trials + 1)
            for place in self.places
        ]

    def _trial(self, arm: Arm, trial: int, place: Place) -> TrialRow:
        sites, unseen = place
        names = [self._name(arm.name, trial, seed, sites) for seed in self._seeds]
        tested = [self._read(name, unseen) for name in names]
        aucs = [_auc(one.subset("test")) for one in tested]
        known = [auc for auc in aucs if auc is not None]
        return TrialRow(
            arm=arm.name,
            trial=trial,
            settings=in_words(arm, trial, self._study.seed),
            trained_on="+".join(sites),
            site=unseen,
            seeds=len(self._seeds),
            validation=_mean(_auc(*(self._read(name, own).subset("validation") for own in sites)) for name in names),
            inner=self._inner(arm, trial, sites),
            oracle=_mean(_auc(one.subset("validation")) for one in tested),
            auc=float(np.mean(known)),
            auc_low=min(known),
            auc_high=max(known),
            unlearned=sum(not self._learned(name, sites) for name in names),
        )

    def _judge(self, name: str, sites: tuple[str, ...]) -> bool:
        """Whether a training learned, by the validation scans of its training sites."""
        found = join_predictions([self._read(name, own).subset("validation") for own in sites])
        columns = found.labels, found.people, found.sites, found.probabilities
        return not judge_learned(*columns, selected=selection_of(self._folder, name)).degenerate

    def _inner(self, arm: Arm, trial: int, sites: tuple[str, ...]) -> float | None:
        """Mean AUC at each training site of a network that was not trained there; sites of one class do not count."""
        if self._inner_obstacle(arm):
            return None
        found = []
        for left in sites:
            kept = tuple(site for site in sites if site != left)
            name = self._name(arm.name, trial, self._seeds[0], kept)
            found.append(_auc(self._read(name, left).subset("validation")))
        known = [auc for auc in found if auc is not None]
        return float(np.mean(known)) if known else None

    def _inner_obstacle(self, arm: Arm) -> str:
        if not self._comparison.leave_one_training_site_out:
            return "not asked for ([comparison] leave_one_training_site_out)"
        study = self._study
        return inner_obstacle(arm, self._comparison.trials, study.compared, study.training, study.seed)

    def against_erm(self, trials: Sequence[TrialRow]) -> Iterable[ArmRow]:
        """Every arm under every rule: at each unseen site, and over all."""
        table: dict[tuple[str, str, str], list[TrialRow]] = {}
        for row in trials:
            table.setdefault((row.arm, row.trained_on, row.site), []).append(row)
        for rule in RULES:
            yield from self._under(rule, table)

    def _under(self, rule: Rule, table: Mapping[tuple[str, str, str], Sequence[TrialRow]]) -> Iterable[ArmRow]:
        chosen = {arm.name: self._choose(rule, arm, table) for arm in self._comparison.arms}
        reference = chosen[ERM]
        found: list[tuple[str, str, RecipeDifference | str]] = []
        for arm in self._comparison.arms:
            taken = chosen[arm.name]
            if isinstance(taken, str) or isinstance(reference, str):
                found.append((arm.name, "", taken if isinstance(taken, str) else f"of ERM: {reference}"))
                continue
            cells = [self._cell(arm.name, place, taken[place], reference[place]) for place in self.places]
            sites = dict.fromkeys(cell.site for cell in cells)
            found += [(arm.name, own, compare_recipes([c for c in cells if c.site == own])) for own in sites]
            found.append((arm.name, "", compare_recipes(cells)))
        tested = [(name, one) for name, site, one in found if name != ERM and not site and not isinstance(one, str)]
        adjusted = dict(
            zip((name for name, _ in tested), map(float, holm([one.p_value for _, one in tested])), strict=True)
        )
        for name, site, one in found:
            taken = chosen[name]
            yield _row(rule, name, site, {} if isinstance(taken, str) else taken, one, adjusted, len(self._seeds))

    def _choose(
        self, rule: Rule, arm: Arm, table: Mapping[tuple[str, str, str], Sequence[TrialRow]]
    ) -> dict[Place, int] | str:
        """The trial that this rule chooses at each place, or why it chooses none."""
        if not self.places:
            return "no unseen site has test scans of both classes"
        if rule == "leave one training site out" and (why := self._inner_obstacle(arm)):
            return why
        found: dict[Place, int] = {}
        failed: set[str] = set()
        for place in self.places:
            rows = table[arm.name, "+".join(place[0]), place[1]]
            scores = [{RULES[0]: row.validation, RULES[1]: row.inner, RULES[2]: row.oracle}[rule] for row in rows]
            best = best_trial(scores)
            if best is None:
                where = "+".join(place[0]) if rule != "oracle" else place[1]
                return f"{where} has no validation scans of both classes"
            found[place] = rows[best].trial
            if rows[best].unlearned:
                failed.add("+".join(place[0]))
        return f"trained on {', '.join(sorted(failed))} it did not learn" if failed else found

    def _cell(self, arm: str, place: Place, trial: int, reference: int) -> RecipeCell:
        sites, unseen = place
        parts: list[list[Predictions]] = [
            [self._read(self._name(name, number, seed, sites), unseen).subset("test") for seed in self._seeds]
            for name, number in ((arm, trial), (ERM, reference))
        ]
        scores = [np.stack([one.probabilities for one in own]) for own in parts]
        first = parts[0][0]
        for one in (one for own in parts for one in own):
            assert one.scans.tolist() == first.scans.tolist()
        return RecipeCell(unseen, "+".join(sites), first.labels, first.people, scores[0], scores[1])


def _row(  # noqa: PLR0917 - one row of the table
    rule: Rule,
    arm: str,
    site: str,
    chosen: Mapping[Place, int],
    found: RecipeDifference | str,
    adjusted: Mapping[str, float],
    seeds: int,
) -> ArmRow:
    trials = {"+".join(sites): trial for (sites, unseen), trial in chosen.items() if site in ("", unseen)}
    words = ", ".join(f"{name}: {trial}" for name, trial in trials.items())
    if isinstance(found, str):
        return ArmRow(rule, arm, site, "", seeds, None, None, None, None, None, None, None, len(adjusted), found)
    mean = arm != ERM
    return ArmRow(
        rule=rule,
        arm=arm,
        site=site,
        chosen=words,
        trainings=seeds,
        auc=found.first,
        erm=found.second,
        difference=found.difference if mean else None,
        low=found.low if mean else None,
        high=found.high if mean else None,
        p_value=found.p_value if mean and not site else None,
        p_value_holm=adjusted[arm] if mean and not site else None,
        arms=len(adjusted),
        reason="",
    )


def _auc(*parts: Predictions) -> float | None:
    """AUC over pairs of scans of one site; None where no site has both classes."""
    sites = [site for part in parts for site in part.sites.tolist()]
    if not sites:
        return None
    labels = np.concatenate([part.labels for part in parts])
    return within_site_auc(sites, labels, np.concatenate([part.probabilities for part in parts]))


def _mean(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if len(known) == len(found) and known else None
