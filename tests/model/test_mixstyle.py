"""MixStyle: the statistics that come out, no gradient through them, where it is used, and the published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from elsewhere.model.fast_training import Trained, takes
from elsewhere.model.mixstyle import EPSILON, Mix, draw_mix, mix_styles
from elsewhere.model.network import Network, NetworkSettings
from elsewhere.model.training_kernel import library

SMALL = NetworkSettings(
    input=(4, 16, 16), filters=(8, 8), kernels=((3, 3, 3),) * 2, pools=((2, 2, 2),), dense=(16,), dropblock=0.0,
    dropout=0.0,
)  # fmt: skip


def test_mixed_maps_have_the_mixed_statistics():
    maps = (
        torch.randn(3, 2, 4, 5, 6, dtype=torch.float64) * torch.tensor([1.0, 5.0, 2.0])[:, None, None, None, None] + 3
    )
    found = mix_styles(maps, Mix((1, 2, 0), (0.3, 1.0, 0.0)))
    mean, deviation = maps.mean((2, 3, 4)), maps.std((2, 3, 4))
    for i, (other, share) in enumerate(((1, 0.3), (2, 1.0), (0, 0.0))):
        assert torch.allclose(found[i].mean((1, 2, 3)), share * mean[i] + (1 - share) * mean[other])
        spread = share * deviation[i] + (1 - share) * deviation[other]
        assert torch.allclose(found[i].std((1, 2, 3)), spread, rtol=1e-5)
    assert torch.allclose(found[1], maps[1], atol=1e-6)


def test_it_is_the_authors_formula_in_numpy():
    rng = np.random.default_rng(4)
    x, share, order = rng.normal(size=(2, 1, 2, 3, 4)), np.array([0.6, 0.2]), [1, 0]
    mu = x.mean((2, 3, 4), keepdims=True)
    sig = np.sqrt(x.var((2, 3, 4), keepdims=True, ddof=1) + EPSILON)
    lam = share[:, None, None, None, None]
    expected = (x - mu) / sig * (lam * sig + (1 - lam) * sig[order]) + lam * mu + (1 - lam) * mu[order]
    found = mix_styles(torch.from_numpy(x), Mix((1, 0), (0.6, 0.2)))
    assert found.numpy() == pytest.approx(expected)


def test_no_gradient_passes_through_the_statistics():
    maps = torch.randn(2, 1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    mix_styles(maps, Mix((1, 0), (0.25, 0.25)))[0].sum().backward()
    deviation = (maps.detach().var((2, 3, 4)) + EPSILON).sqrt().flatten()
    factor = (0.25 * deviation[0] + 0.75 * deviation[1]) / deviation[0]
    assert torch.allclose(maps.grad[0], factor.expand_as(maps.grad[0]))
    assert not maps.grad[1].any()


def test_draws_follow_the_probability_and_the_beta_distribution():
    draws = [draw_mix(np.random.default_rng([i]), 4, 0.5, 0.1) for i in range(2000)]
    mixes = [one for one in draws if one is not None]
    assert 900 < len(mixes) < 1100
    shares = np.array([one.shares for one in mixes]).ravel()
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(0.25 / 1.2, abs=0.01)  # of Beta(0.1, 0.1)
    assert all(sorted(one.order) == [0, 1, 2, 3] for one in mixes)
    assert len({one.order for one in mixes}) == 24
    assert draw_mix(np.random.default_rng(0), 4, 0.0, 0.1) is None


def test_it_stands_after_the_first_level_by_either_way(monkeypatch):
    """The kernels compute the level itself; with and without them the network gives the same."""
    torch.manual_seed(0)
    network, inputs, mix = Network(SMALL), torch.rand(2, 1, 4, 16, 16), Mix((1, 0), (0.3, 0.6))
    assert takes(network, 0, inputs) == (library() is not None)
    expected = network.head(network.rest(mix_styles(network.level1(inputs), mix)))
    trained = Trained(network)
    plain = trained(inputs)
    trained.mix = mix
    mixed = trained(inputs)
    assert torch.allclose(mixed, expected, atol=1e-4)
    assert not torch.allclose(mixed, plain, atol=1e-4)
    monkeypatch.setattr("elsewhere.model.fast_training.takes", lambda *_: False)
    assert torch.allclose(trained(inputs), mixed, atol=1e-4)
