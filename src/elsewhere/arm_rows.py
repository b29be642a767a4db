"""What a study with `[[arms]]` writes of them and its page shows: each trial, and each arm against ERM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rule = Literal["training domains", "leave one training site out", "oracle"]

RULES: tuple[Rule, ...] = ("training domains", "leave one training site out", "oracle")
"""How one of an arm's trials is chosen; the oracle looks at the site that is tested, as nobody can before using it."""

ERM = "ERM"
"""The arm that all others are compared with: the study's own [training]."""


@dataclass(frozen=True)
class TrialRow:
    """One trial of one arm, trained on some sites and tested at another (arm_trials.parquet).

    Attributes:
        arm: its name.
        trial: its number; 1 is the arm as the study file has it, the others are drawn.
        settings: what departs from [training], in words.
        trained_on: its training sites, joined by "+".
        site: an unseen site.
        seeds: trainings.
        validation: AUC within sites on the validation scans of the training sites, mean over trainings; None where
            none of them has both classes.
        inner: mean AUC at each training site in turn of a network that was not trained there (the first seed, its
            validation scans); None where there is none.
        oracle: AUC on the unseen site's validation scans, mean over trainings; None where they lack a class.
        auc: on its test scans, mean over trainings.
        auc_low: of the trainings' AUCs the lowest.
        auc_high: the highest.
        unlearned: trainings that did not learn, by the validation scans of their training sites (`judge_learned`).
    """

    arm: str
    trial: int
    settings: str
    trained_on: str
    site: str
    seeds: int
    validation: float | None
    inner: float | None
    oracle: float | None
    auc: float
    auc_low: float
    auc_high: float
    unlearned: int = 0


@dataclass(frozen=True)
class ArmRow:
    """One arm under one rule of selection, at one unseen site or over all of them (arms.parquet).

    Attributes:
        rule: how its trials, and those of ERM, were chosen.
        arm: its name.
        site: the unseen site; "" for the mean over all.
        chosen: number of the chosen trial of each set of training sites, in words.
        trainings: of each network.
        auc: mean AUC of the test scans; None where the arm cannot be chosen by this rule.
        erm: the same of ERM, chosen by the same rule.
        difference: auc - erm.
        low: lower end of its 95 % interval over patients and trainings.
        high: upper end.
        p_value: of the mean over sites, of no difference; None at single sites and for ERM.
        p_value_holm: the same, by Holm over the arms of this rule.
        arms: compared with ERM by this rule.
        reason: why there are no numbers, "" where there are.
    """

    rule: str
    arm: str
    site: str
    chosen: str
    trainings: int
    auc: float | None
    erm: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_value_holm: float | None
    arms: int
    reason: str
