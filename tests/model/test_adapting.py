"""Adapting: what is frozen stays, an easy task is learned, the same seed gives the same bytes, kills lose nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import CASES, NETWORK, SAMPLE, SETTINGS, Killed, kill_at
from test_training import read as read_home

from elsewhere.errors import BadStudy
from elsewhere.model.adapting import (
    WAYS,
    AdaptingSettings,
    Way,
    adapt_network,
    hold_back,
    needs_trunk,
    start_of,
    trainable_of,
)
from elsewhere.model.features import Features, compute_features
from elsewhere.model.job import Job
from elsewhere.model.network import Network, load_checkpoint
from elsewhere.model.prediction import predict, trunk_features
from elsewhere.model.sample import Case, seed_of
from elsewhere.model.training import train, train_job

SETTINGS_HERE = AdaptingSettings(iterations=30, batch=4, learning_rate=1e-3, checks=3, accelerator="cpu")
NEW = [Case("new", f"n{i}", f"n{i}", i % 2, 5 + i % 3, 0, 200) for i in range(24)]


def read(case: Case, start: int, stop: int):
    """Home as in test_training; at the new place positives are darker where home's are brighter."""
    if case.site != "new":
        return read_home(case, start, stop)
    voxels = np.random.default_rng(seed_of(case.scan)).integers(60, 160, (case.slices, 8, 8)).astype(np.int16)
    voxels[:, 2:6, 2:6] -= 60 * case.label
    return voxels[start:stop]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Network:
    settings = replace(SETTINGS, iterations=60, validate_every=20, tensorboard=False)
    folder = tmp_path_factory.mktemp("home")
    stem = train(NETWORK, SAMPLE, settings, CASES[:8], CASES[8:], read, folder, {})
    return load_checkpoint(stem)[0]


def adapt(network: Network, folder: Path, way: Way, settings: AdaptingSettings = SETTINGS_HERE, **changed) -> Path:
    return adapt_network(network, SAMPLE, way, NEW[:12], read, folder, {}, settings=settings, home=CASES[:8], **changed)


def right(network: Network, cases: list[Case]) -> int:
    return sum(int((predict(network, case, read, SAMPLE).max() > 0.5) == case.label) for case in cases)


def test_the_ways_are_nested_as_they_are_named() -> None:
    network = Network(NETWORK)
    names = {way: set(trainable_of(network, way)) for way in WAYS}
    every = {name for name, _ in network.named_parameters()}
    assert names["last"] == {"last.weight", "last.bias"}
    assert names["last"] < names["dense"] < names["all"] == names["all+replay"] == names["all+anchor"] == every
    assert {name.partition(".")[0] for name in names["dense"]} == {"dense", "dense_norms", "last"}
    assert names["norm"] == {name for name in every if "norms" in name}
    assert [way for way in WAYS if not needs_trunk(way)] == ["last", "dense"]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_way_does_not_change_stays_to_the_last_bit(tmp_path: Path, home: Network, way: Way) -> None:
    before = {name: value.clone() for name, value in home.state_dict().items()}
    after = load_checkpoint(adapt(home, tmp_path, way))[0].state_dict()
    trainable = trainable_of(home, way)
    for name, value in after.items():
        assert torch.equal(value, before[name]) == (name not in trainable), name
        assert torch.equal(home.state_dict()[name], before[name])


@pytest.mark.parametrize("way", ["all", "all+replay", "all+anchor"])
def test_an_easy_task_is_learned(tmp_path: Path, home: Network, way: Way) -> None:
    """12 scans fitted, 12 others asked; the network as it is fails on them."""
    assert right(home, NEW[12:]) <= 8
    network = load_checkpoint(adapt(home, tmp_path, way, replace(SETTINGS_HERE, iterations=80)))[0]
    assert right(network, NEW[12:]) >= 11


def test_replay_keeps_home(tmp_path: Path, home: Network) -> None:
    """The same steps with and without scans of home among the new ones: with them home is not forgotten more."""
    settings = replace(SETTINGS_HERE, iterations=80, replay=0.5)
    plain, replayed = (load_checkpoint(adapt(home, tmp_path / way, way, settings))[0] for way in ("all", "all+replay"))
    assert right(replayed, CASES) >= right(plain, CASES)
    assert right(replayed, CASES) >= 11


def test_a_strong_anchor_keeps_the_weights(tmp_path: Path, home: Network) -> None:
    def distance(anchor: float) -> float:
        stem = adapt(home, tmp_path / str(anchor), "all+anchor", replace(SETTINGS_HERE, anchor=anchor))
        after = load_checkpoint(stem)[0].state_dict()
        return float(sum(((after[n] - v) ** 2).sum() for n, v in home.state_dict().items()))

    assert distance(10.0) < 0.5 * distance(0.0)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path, home: Network, way: Way) -> None:
    torch.manual_seed(1)
    first = adapt(home, tmp_path / "a", way)
    torch.manual_seed(2)
    second = adapt(home, tmp_path / "b", way)
    other = adapt(home, tmp_path / "c", way, replace(SETTINGS_HERE, seed=1))
    one, two, three = (stem.with_suffix(".safetensors").read_bytes() for stem in (first, second, other))
    assert one == two
    assert one != three


@pytest.mark.parametrize("way", ["dense", "all+replay"])
def test_killed_and_started_again_it_ends_with_the_same_bytes(tmp_path: Path, home: Network, way: Way) -> None:
    start = start_of(home, way, SETTINGS_HERE, CASES[:8])
    settings = replace(SETTINGS_HERE.training(way), save_every=4)

    def job(name: str, progress=None) -> Job:
        return Job(NETWORK, SAMPLE, settings, NEW[:12], NEW[:12], read, tmp_path / name, {}, progress, start=start)

    whole = train_job(job("whole"))
    with pytest.raises(Killed):
        train_job(job("killed", kill_at(9)))
    again = train_job(job("killed"))
    for end in (".safetensors", ".json"):
        assert again.with_suffix(end).read_bytes() == whole.with_suffix(end).read_bytes()


def test_a_folder_of_another_start_is_refused(tmp_path: Path, home: Network) -> None:
    adapt(home, tmp_path, "last")
    with pytest.raises(BadStudy, match="this training was started with start"):
        adapt(home, tmp_path, "last", replace(SETTINGS_HERE, views=3))


def test_features_that_are_at_hand_give_the_same_weights_and_no_scan_is_read_again(
    tmp_path: Path, home: Network
) -> None:
    features = compute_features(home, read, SAMPLE, 32, trained=NEW, predicted=NEW, views=8, seed=0)
    path = tmp_path / "features.safetensors"
    features.save(path)
    kept = Features.load(path)
    first = adapt(home, tmp_path / "a", "dense")

    def gone(*_):
        raise AssertionError("read")

    second = adapt_network(
        home, SAMPLE, "dense", NEW[:12], gone, tmp_path / "b", {}, settings=SETTINGS_HERE, features=kept
    )
    one, two = (stem.with_suffix(".safetensors").read_bytes() for stem in (first, second))
    assert one == two
    network = load_checkpoint(second)[0]
    for case in NEW[12:16]:
        assert kept.probability(network, case) == pytest.approx(predict(network, case, read, SAMPLE).max(), abs=1e-6)


def test_features_are_those_of_the_trunk(home: Network) -> None:
    features = compute_features(home, read, SAMPLE, 32, trained=NEW[:2], predicted=NEW[:3], views=5, seed=4)
    assert {key: tuple(value.shape) for key, value in features.views.items()} == {
        ("new", name): (5, NETWORK.flat) for name in ("n0", "n1")
    }
    assert not torch.equal(features.views["new", "n0"][0], features.views["new", "n0"][1])
    again = compute_features(home, read, SAMPLE, 32, trained=NEW[1::-1], predicted=[], views=3, seed=4)
    torch.testing.assert_close(again.views["new", "n0"], features.views["new", "n0"][:3])
    torch.testing.assert_close(features.windows["new", "n2"], trunk_features(home, NEW[2], read, SAMPLE, 32))


def test_held_back_patients_are_of_both_classes_and_whole() -> None:
    cases = [Case("new", f"p{i // 2}", f"s{i}", i // 2 % 2, 5, 0, 200) for i in range(32)]  # two scans a patient
    fitted, held = hold_back(cases, 0.25, seed=3)
    assert len(held) == 8
    assert not {c.patient for c in fitted} & {c.patient for c in held}
    assert sum(c.label for c in held) == 4
    assert hold_back(cases[::-1], 0.25, seed=3)[1] == held[::-1]
    assert hold_back(cases, 0.25, seed=4)[1] != held
    assert hold_back(cases, 0.0, seed=3) == (cases, [])
    few = cases[:4]  # one patient of each class: none can be held back
    assert hold_back(few, 0.5, seed=3) == (few, [])


def test_held_back_scans_choose_and_are_not_fitted(tmp_path: Path, home: Network) -> None:
    stem = adapt(home, tmp_path, "all", replace(SETTINGS_HERE, held=0.25))
    record = load_checkpoint(stem)[1]
    assert (record["training_scans"], record["validation_scans"]) == (8, 4)
    assert record["selection"]["checks"] == 3
    assert record["start"]["trainable"] == sorted(trainable_of(home, "all"))
