"""Objectives over sites against hand arithmetic, numpy and autograd; what each needs; each resumes bit by bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_training import CASES, NETWORK, RECORD, SAMPLE, SETTINGS, Killed, kill_at, read, results, run
from torch.nn import functional as F

from elsewhere.errors import BadStudy
from elsewhere.model.job import Job, deciding
from elsewhere.model.network import Network
from elsewhere.model.objectives import Objective, coral, group_dro, site_risks, v_rex
from elsewhere.model.settings import TrainingSettings, sites_obstacle
from elsewhere.model.start import Start
from elsewhere.model.state import read_state
from elsewhere.model.training import train_job

SHORT = replace(SETTINGS, tensorboard=False, batch=4, sampling="balanced")
ARMS = {
    "site-balanced": {},
    "group_dro": {"objective": "group_dro", "group_rate": 0.5},
    "v_rex": {"objective": "v_rex", "penalty": 3.0, "penalty_from": 6},
    "coral": {"objective": "coral", "penalty": 2.0},
    "mixstyle": {"mixstyle": 0.7},
    "all": {"objective": "group_dro", "mixstyle": 0.5, "ema": 0.8, "balanced_classes": True, "weight_decay": 0.1},
}


def test_site_risks_are_means_of_each_site():
    risks = site_risks(torch.tensor([1.0, 2.0, 4.0]), ["b", "a", "b"])
    assert {site: risk.item() for site, risk in risks.items()} == {"a": 2.0, "b": 2.5}
    assert list(risks) == ["a", "b"]


def test_group_dro_by_hand():
    """Sagawa et al. 2020, algorithm 1: weights first, then the loss with the new ones."""
    risks = {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}
    loss, weights = group_dro(risks, {"a": 0.5, "b": 0.5}, 0.1)
    a, b = 0.5 * math.exp(0.1), 0.5 * math.exp(0.2)
    assert weights == pytest.approx({"a": a / (a + b), "b": b / (a + b)})
    assert loss.item() == pytest.approx((1 * a + 2 * b) / (a + b))


def test_group_dro_leaves_the_weight_of_an_absent_site_but_for_scaling():
    _, weights = group_dro({"a": torch.tensor(2.0)}, {"a": 0.2, "b": 0.6, "c": 0.2}, 0.5)
    assert weights["b"] / weights["c"] == pytest.approx(3)
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["a"] > 0.2


def test_group_dro_gradient_is_the_weighted_one_of_the_risks():
    losses = torch.tensor([0.5, 2.0, 1.0], requires_grad=True)
    loss, weights = group_dro(site_risks(losses, ["a", "b", "b"]), {"a": 0.5, "b": 0.5}, 1.0)
    loss.backward()
    assert losses.grad.tolist() == pytest.approx([weights["a"], weights["b"] / 2, weights["b"] / 2])


def test_v_rex_by_hand_and_its_gradient_by_autograd_of_the_formula():
    values = torch.tensor([0.5, 2.0, 1.1], dtype=torch.float64, requires_grad=True)
    v_rex(dict(zip("abc", values, strict=True)), 4.0).backward()
    r = values.detach().numpy()
    assert v_rex(dict(zip("abc", values, strict=True)), 4.0).item() == pytest.approx(r.mean() + 4 * r.var())
    assert values.grad.numpy() == pytest.approx(1 / 3 + 4 * 2 * (r - r.mean()) / 3)


def test_v_rex_of_equal_risks_is_their_mean():
    risks = {"a": torch.tensor(0.7), "b": torch.tensor(0.7)}
    assert v_rex(risks, 100.0).item() == pytest.approx(0.7)


def domainbed(x, y):
    """mean_diff + cova_diff of DomainBed's AbstractMMD, kernel "gaussian" off, in numpy."""
    return np.mean((x.mean(0) - y.mean(0)) ** 2) + np.mean((np.cov(x.T) - np.cov(y.T)) ** 2)


def test_coral_is_that_of_domainbed():
    rng = np.random.default_rng(1)
    x, y, z = rng.normal(size=(5, 3)), rng.normal(1, 2, size=(4, 3)), rng.normal(size=(3, 3))
    features, sites = torch.from_numpy(np.concatenate([x, y, z])), [*"aaaaa", *"bbbb", *"ccc"]
    expected = np.mean([domainbed(x, y), domainbed(x, z), domainbed(y, z)])
    assert coral(features, sites).item() == pytest.approx(expected)
    order = rng.permutation(12)
    assert coral(features[order], [sites[i] for i in order]).item() == pytest.approx(expected)


def test_coral_of_equal_means_is_four_times_that_of_sun_and_saenko():
    rng = np.random.default_rng(2)
    x, y = (v - v.mean(0) for v in (rng.normal(size=(6, 4)), rng.normal(0, 3, size=(6, 4))))
    published = np.linalg.norm(np.cov(x.T) - np.cov(y.T), "fro") ** 2 / (4 * 4**2)
    found = coral(torch.from_numpy(np.concatenate([x, y])), ["a"] * 6 + ["b"] * 6)
    assert found.item() == pytest.approx(4 * published)


def test_coral_without_a_pair_of_sites_is_nothing_and_has_a_gradient():
    features = torch.randn(3, 2, requires_grad=True)
    assert coral(features, ["a", "a", "b"]).item() == 0
    assert coral(features, ["a", "a", "a"]).item() == 0


def test_the_loss_of_erm_is_the_plain_cross_entropy_to_the_last_bit():
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    objective = Objective(SHORT, {}, ["a", "b"], Network(NETWORK))
    assert torch.equal(objective(logits, labels, CASES[:4], 0), F.cross_entropy(logits, labels))


def test_coral_sees_what_the_last_layer_sees():
    network, cases = Network(NETWORK).eval(), CASES[:4]
    objective = Objective(replace(SHORT, objective="coral", penalty=2.0), {}, ["a", "b"], network)
    inputs, labels = torch.rand(4, 1, 6, 8, 8), torch.tensor([case.label for case in cases])
    features = network.penultimate(network.trunk(inputs))
    sites = [case.site for case in cases]
    logits = network(inputs)
    risks = site_risks(F.cross_entropy(logits, labels, reduction="none"), sites)
    expected = (risks["a"] + risks["b"]) / 2 + 2 * coral(features, sites)
    assert objective(logits, labels, cases, 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_v_rex_weighs_little_until_it_is_to():
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    objective = Objective(
        replace(SHORT, objective="v_rex", penalty=50.0, penalty_from=3), {}, ["a", "b"], Network(NETWORK)
    )
    risks = site_risks(F.cross_entropy(logits, labels, reduction="none"), [case.site for case in CASES[:4]])
    found = [objective(logits, labels, CASES[:4], iteration).item() for iteration in (2, 3)]
    assert found == pytest.approx([v_rex(risks, 1.0).item(), v_rex(risks, 50.0).item()])


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_resumes_bit_by_bit(tmp_path, name):
    settings = replace(SHORT, **ARMS[name])
    run(tmp_path / "whole", settings)
    for iteration in (4, 11):
        with pytest.raises(Killed):
            run(tmp_path / "killed", settings, progress=kill_at(iteration))
    run(tmp_path / "killed", settings)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def weights(folder, settings):
    return run(folder, settings).with_suffix(".safetensors").read_bytes()


@pytest.mark.parametrize("name", [name for name in ARMS if name != "site-balanced"])
def test_every_arm_does_something(tmp_path, name):
    assert weights(tmp_path / "plain", SHORT) != weights(tmp_path / "arm", replace(SHORT, **ARMS[name]))


def test_weights_of_group_dro_are_kept(tmp_path):
    run(tmp_path, replace(SHORT, **ARMS["group_dro"]))
    kept = read_state(tmp_path / "state" / "current.safetensors").site_weights
    assert set(kept) == {"a", "b"}
    assert sum(kept.values()) == pytest.approx(1)
    assert kept["a"] != 0.5


def test_options_that_are_not_used_leave_a_training_as_it_was_known(tmp_path):
    plain = vars(TrainingSettings())
    assert not {"objective", "penalty", "mixstyle", "acquisition"} & deciding(plain).keys()
    assert deciding(plain | {"objective": "coral", "penalty": 2.0})["penalty"] == 2.0
    run(tmp_path, SHORT)
    assert b"site_weights" not in (tmp_path / "state" / "current.safetensors").read_bytes()


def test_a_begun_training_does_not_go_on_with_another_objective(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, SHORT, progress=kill_at(4))
    with pytest.raises(BadStudy, match=r"training\.objective = None, now it is v_rex"):
        run(tmp_path, replace(SHORT, objective="v_rex"))


REFUSED = {
    "MixStyle in a batch of one": ({"mixstyle": 0.5, "batch": 1}, 2, "mixstyle", "batch is 1"),
    "GroupDRO of one site": ({"objective": "group_dro"}, 1, "objective", "compares training sites, and there is one"),
    "V-REx of one site": ({"objective": "v_rex"}, 1, "objective", "there is one"),
    "CORAL of one site": ({"objective": "coral"}, 1, "objective", "there is one"),
    "sites not in turn": ({"objective": "group_dro", "sampling": "uniform"}, 2, "objective", "sampling is 'uniform'"),
    "V-REx without every site": ({"objective": "v_rex", "batch": 2}, 3, "objective", "every site in each batch of 3"),
    "the same by class": ({"objective": "v_rex", "batch": 5, "balanced_classes": True}, 3, "objective", "batch is 5"),
    "CORAL of single scans": ({"objective": "coral", "batch": 5}, 3, "objective", "two scans of every site"),
    "several devices": ({"objective": "coral", "devices": 2}, 2, "objective", "on one device, and devices is 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_arm_cannot_have_is_named(name):
    changed, sites, key, words = REFUSED[name]
    found = sites_obstacle(replace(SHORT, **changed), sites)
    assert found is not None
    assert found[0] == key
    assert words in found[1]


@pytest.mark.parametrize(
    ("changed", "sites"),
    [
        ({"objective": "group_dro", "batch": 1}, 2),
        ({"objective": "v_rex", "batch": 3}, 3),
        ({"objective": "v_rex", "batch": 6, "balanced_classes": True}, 3),
        ({"objective": "coral", "batch": 6}, 3),
        ({"mixstyle": 0.5, "batch": 2}, 1),
        ({"objective": "erm", "batch": 1, "sampling": "uniform", "devices": 4}, 1),
    ],
)
def test_what_an_arm_can_have_is_not_refused(changed, sites):
    assert sites_obstacle(replace(SHORT, **changed), sites) is None


def test_a_training_of_one_site_refuses_what_needs_several(tmp_path):
    alone = [replace(case, site="a") for case in CASES[:8]]
    with pytest.raises(BadStudy, match=r"training\.objective: is 'v_rex': V-REx compares training sites"):
        run(tmp_path, replace(SHORT, objective="v_rex"), training=alone)


@pytest.mark.parametrize("changed", [{"mixstyle": 0.5}, {"acquisition": 0.5}])
def test_features_that_are_kept_cannot_be_mixed_or_changed(tmp_path, changed):
    start = Start(Network(NETWORK).state_dict(), ("last.weight", "last.bias"))
    settings = replace(SHORT, **changed)
    job = Job(NETWORK, SAMPLE, settings, CASES[:8], CASES[8:], read, tmp_path, RECORD, None, start=start)
    with pytest.raises(BadStudy, match=r"training\.mixstyle: \(or training\.acquisition\) changes what enters"):
        train_job(job)


@pytest.mark.parametrize(
    ("name", "value"),
    [("group_rate", 0), ("mixstyle", 1.5), ("mixstyle_alpha", 0), ("penalty", -1), ("acquisition", -0.1)],
)
def test_numbers_of_the_arms_are_checked(name, value):
    with pytest.raises(BadStudy, match=rf"training\.{name}: "):
        replace(SETTINGS, **{name: value})
