"""Logits, labels and sites of one batch in; the loss that a training goes down by out: the mean, or one over sites.

Risks are each site's mean cross-entropy among its scans in the batch. Of the four, all but "erm" need several sites.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elsewhere.model.network import Network
from elsewhere.model.sample import Case
from elsewhere.model.settings import TrainingSettings


def site_risks(losses: Tensor, sites: Sequence[str]) -> dict[str, Tensor]:
    """Mean loss of each site that is in the batch, sites in order.

    Args:
        losses: of each scan (batch,).
        sites: site of each scan.
    """
    places = {site: [i for i, own in enumerate(sites) if own == site] for site in sorted(set(sites))}
    return {site: losses[own].mean() for site, own in places.items()}


def group_dro(
    risks: Mapping[str, Tensor], weights: Mapping[str, float], rate: float
) -> tuple[Tensor, dict[str, float]]:
    """GroupDRO (Sagawa et al., ICLR 2020, algorithm 1): sites weigh the more, the higher their risk has been.

    Each weight q of a site in the batch becomes q · exp(rate · risk), all are scaled to sum 1, and the loss is
    Σ q · risk; no gradient passes through q.

    Args:
        risks: of the sites in the batch.
        weights: of all training sites, summing to 1.
        rate: η, the step of the weights.

    Returns:
        The loss and the new weights.
    """
    raised = {q: w * math.exp(rate * risks[q].item()) if q in risks else w for q, w in weights.items()}
    total = sum(raised.values())
    new = {site: weight / total for site, weight in raised.items()}
    return torch.stack([new[site] * risk for site, risk in risks.items()]).sum(), new


def v_rex(risks: Mapping[str, Tensor], penalty: float) -> Tensor:
    """V-REx (Krueger et al., ICML 2021, equation 8): mean of the risks + penalty · their variance over the sites.

    The mean in place of the paper's sum, and the variance over all sites (not over one fewer), as in DomainBed.
    """
    each = torch.stack(list(risks.values()))
    return each.mean() + penalty * (each - each.mean()).square().mean()


def coral(features: Tensor, sites: Sequence[str]) -> Tensor:
    """How far the sites' features are apart in mean and covariance, averaged over pairs of sites; 0 without a pair.

    As DomainBed computes it: of each pair, the mean squared difference of the features' means and that of their
    covariances (over n - 1). The second is 4 times the loss of Sun and Saenko (ECCV 2016, equation 1), who leave the
    means out. Sites with fewer than two scans in the batch have no covariance and are left out.

    Args:
        features: (batch, features).
        sites: site of each scan.
    """
    groups = [features[[i for i, own in enumerate(sites) if own == site]] for site in sorted(set(sites))]
    groups = [group for group in groups if len(group) > 1]
    pairs = list(combinations(groups, 2))
    if not pairs:
        return features.new_zeros(())
    parts = [
        (a.mean(0) - b.mean(0)).square().mean() + (_covariance(a) - _covariance(b)).square().mean() for a, b in pairs
    ]
    return torch.stack(parts).mean()


def _covariance(features: Tensor) -> Tensor:
    centred = features - features.mean(0)
    return centred.T @ centred / (len(features) - 1)


class Objective:
    """The loss of a training, batch by batch.

    Args:
        settings: of the training.
        weights: site -> weight of GroupDRO, of all training sites: it is brought up to date at every call. Empty at
            the beginning of a training.
        sites: the training sites.
        network: whose last layer's input are the features of CORAL.
    """

    def __init__(
        self, settings: TrainingSettings, weights: dict[str, float], sites: Sequence[str], network: Network
    ) -> None:
        self._settings, self._weights = settings, weights
        self._features: Tensor | None = None
        if settings.objective == "group_dro" and not weights:
            weights.update({site: 1 / len(set(sites)) for site in sorted(set(sites))})
        if settings.objective == "coral":
            network.last.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, given: tuple[Any, ...]) -> None:
        self._features = given[0]

    def __call__(self, logits: Tensor, labels: Tensor, cases: Sequence[Case], iteration: int) -> Tensor:
        """The loss of a batch.

        Args:
            logits: (batch, classes), just made by the network.
            labels: (batch,).
            cases: the scans.
            iteration: iterations done.
        """
        settings = self._settings
        if settings.objective == "erm":
            return F.cross_entropy(logits, labels)
        sites = [case.site for case in cases]
        risks = site_risks(F.cross_entropy(logits, labels, reduction="none"), sites)
        if settings.objective == "group_dro":
            loss, new = group_dro(risks, self._weights, settings.group_rate)
            self._weights.update(new)
            return loss
        if settings.objective == "v_rex":
            early = iteration < settings.penalty_from
            return v_rex(risks, min(1.0, settings.penalty) if early else settings.penalty)
        assert self._features is not None
        features, self._features = self._features, None
        return torch.stack(list(risks.values())).mean() + settings.penalty * coral(features.float(), sites)
