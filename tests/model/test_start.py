"""Where a training starts: the pull back is the gradient of its penalty, replay is the stated share."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_training import CASES, NETWORK, SAMPLE, read

from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.model.adapting import AdaptingSettings, start_of
from elsewhere.model.network import Network, NetworkSettings
from elsewhere.model.sample import Replayed, Samples
from elsewhere.model.start import Start, hash_weights, pull_back


def network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(NETWORK)


@pytest.mark.parametrize("trainable", [["last.weight", "last.bias"], ["dense.0.weight"], None])
def test_the_pull_back_is_the_gradient_of_the_penalty(trainable: list[str] | None) -> None:
    """Against autograd of a / 2 · Σ (w - w0)² in float64; parameters that stay, or have no gradient, get none."""
    own, other = network(1).double(), network(2)
    names = trainable or [name for name, _ in own.named_parameters()]
    weights = {name: value.double() for name, value in other.state_dict().items()}
    for parameter in own.parameters():
        parameter.grad = torch.full_like(parameter, 0.25)
    own.last.bias.grad = None
    pull_back(own, weights, names, 0.3)
    moved = {name: value.detach().clone().requires_grad_() for name, value in own.named_parameters()}
    penalty = 0.3 / 2 * sum(((moved[name] - weights[name]) ** 2).sum() for name in names)
    penalty.backward()
    for name, parameter in own.named_parameters():
        if name == "last.bias":
            assert parameter.grad is None
            continue
        expected = moved[name].grad if name in names else torch.zeros_like(parameter)
        torch.testing.assert_close(parameter.grad, 0.25 + expected, rtol=1e-12, atol=1e-15)


def test_an_anchor_that_pulls_by_nothing_changes_nothing() -> None:
    own = network(1)
    for parameter in own.parameters():
        parameter.grad = torch.ones_like(parameter)
    Start(network(2).state_dict(), ["last.bias"]).pull(own)
    assert all(bool((parameter.grad == 1).all()) for parameter in own.parameters())


@pytest.mark.parametrize("share", [0.25, 0.3, 0.5, 0.9])
def test_replay_is_the_stated_share_evenly_spread(share: float) -> None:
    """In every stretch, not only on the whole: a count of draws from home is never off by one or more."""
    own = Samples([c for c in CASES if c.site == "a"], read, SAMPLE, 6, seed=1, balanced_classes=True)
    home = Samples([c for c in CASES if c.site == "b"], read, SAMPLE, 6, seed=2, balanced_classes=True)
    mixed = Replayed(own, home, share)
    sites = [mixed.case(draw).site for draw in range(400)]
    counts = np.cumsum([site == "b" for site in sites])
    np.testing.assert_array_less(np.abs(counts - share * np.arange(1, 401)), 1)
    picked = Counter(mixed.case(draw).label for draw in range(400) if sites[draw] == "a")
    assert abs(picked[0] - picked[1]) <= 1
    draw = next(d for d in range(10, 400) if sites[d] == "b")
    before = sum(site == "b" for site in sites[:draw])
    assert mixed.plan(draw) == home.plan(before)
    np.testing.assert_array_equal(mixed.example(draw)[0], home.example(before)[0])


def test_what_a_start_refuses() -> None:
    weights = network().state_dict()
    with pytest.raises(BadStudy, match="has no parameter heads"):
        Start(weights, ["heads"])
    with pytest.raises(BadStudy, match="is to change no parameter"):
        Start(weights, [])
    with pytest.raises(BadStudy, match=r"there are no scans of home"):
        start_of(network(), "all+replay", AdaptingSettings())
    with pytest.raises(BadStudy, match=r"replay: must be in \[0, 1\)"):
        Start(weights, ["last.bias"], replay=1.0, home=CASES)
    with pytest.raises(BadStudy, match="anchor"):
        Start(weights, ["last.bias"], anchor=float("nan"))
    wider = Network(replace(NETWORK, dense=(64,)))
    with pytest.raises(BadCheckpoint, match="is of another network"):
        Start(weights, ["last.bias"]).begin(wider)


def test_what_decides_the_result_decides_the_identity() -> None:
    """Another weight in its last bit, another share, other scans of home; not scans of home that are never drawn."""
    weights = network().state_dict()
    plain = Start(weights, ["last.bias"])
    other = {name: value.clone() for name, value in weights.items()}
    other["last.bias"][0] = torch.nextafter(other["last.bias"][0], torch.tensor(9.0))
    assert hash_weights(other) != hash_weights(weights)
    assert Start(other, ["last.bias"]).identity() != plain.identity()
    assert replace(plain, anchor=0.1).identity() != plain.identity()
    assert replace(plain, home=CASES).identity() == plain.identity()
    replayed = replace(plain, home=CASES, replay=0.25)
    assert replayed.identity() != replace(replayed, home=CASES[1:]).identity()
    assert replace(plain, views=3).identity() != plain.identity()
    whole = Start(weights, list(weights))
    assert replace(whole, views=3).identity() == whole.identity()


def test_networks_of_another_size_hash_apart() -> None:
    flat = NetworkSettings(input=(2, 4, 4), filters=(2,), kernels=((3, 3, 3),), pools=(), dense=(4,), groups=1)
    assert hash_weights(Network(flat).state_dict()) != hash_weights(network().state_dict())
