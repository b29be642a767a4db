"""Recipe options: the learning rate, decay, clipping and average by hand; each resumes bit by bit; damaged states."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_network import mutate
from test_training import CASES, NETWORK, RECORD, SAMPLE, SETTINGS, Killed, kill_at, read, results, run

from elsewhere.errors import BadCheckpoint, BadStudy
from elsewhere.model.cuda_loader import DeviceBatches, Volumes
from elsewhere.model.network import Network, read_checkpoint_record
from elsewhere.model.recipe import Average, TrainingSettings, make_optimizer, rate_at
from elsewhere.model.sample import Case, Samples
from elsewhere.model.selection import Check
from elsewhere.model.training import Batches, Job

SHORT = replace(SETTINGS, tensorboard=False)
OPTIONS = {
    "log_loss": {"select": "log_loss"},
    "auc": {"select": "auc"},
    "classes": {"balanced_classes": True},
    "classes of sites": {"balanced_classes": True, "sampling": "balanced"},
    "schedule": {"warm_up": 3, "schedule": "cosine"},
    "decay": {"weight_decay": 0.1},
    "clip": {"clip": 0.1},
    "ema": {"ema": 0.8},
    "all": {
        "select": "log_loss", "balanced_classes": True, "warm_up": 2, "schedule": "cosine", "weight_decay": 0.1,
        "clip": 0.5, "ema": 0.8,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_resumes_bit_by_bit(tmp_path, name):
    settings = replace(SHORT, **OPTIONS[name])
    run(tmp_path / "whole", settings)
    for iteration in (4, 11):
        with pytest.raises(Killed):
            run(tmp_path / "killed", settings, progress=kill_at(iteration))
    run(tmp_path / "killed", settings)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.parametrize("name", ["classes", "schedule", "decay", "clip", "ema"])
def test_every_option_does_something(tmp_path, name):
    weights = [
        (run(tmp_path / place, settings).with_suffix(".safetensors")).read_bytes()
        for place, settings in (("plain", SHORT), ("changed", replace(SHORT, **OPTIONS[name])))
    ]
    assert weights[0] != weights[1]


def test_the_record_says_how_the_weights_were_chosen(tmp_path):
    record = read_checkpoint_record(run(tmp_path, replace(SHORT, select="log_loss", iterations=15)))
    selection = record["selection"]
    rows = [line.split(",") for line in (tmp_path / "curves.csv").read_text().splitlines()[1:]]
    losses = [float(row[3]) for row in rows]
    assert selection["checks"] == len(rows) == 3
    assert selection["kept"]["log_loss"] == min(losses)
    assert selection["kept"]["iteration"] == record["iteration"]
    assert selection["last"] == Check(15, *map(float, rows[-1][1:]))._asdict()
    assert selection["majority_share"] == 0.5


def test_the_last_weights_are_recorded_where_earlier_ones_are_kept(tmp_path, monkeypatch):
    """Only the first check is kept; the record that was written then is brought up to date at the end."""
    from elsewhere.model import training  # noqa: PLC0415

    answers = iter([np.array([0.1, 0.2, 0.9, 0.9]), np.full(4, 0.6), np.full(4, 0.7)])
    monkeypatch.setattr(training, "validation_probabilities", lambda *_: next(answers))
    selection = read_checkpoint_record(run(tmp_path, replace(SHORT, select="log_loss")))["selection"]
    assert [selection[name]["iteration"] for name in ("kept", "last")] == [5, 12]
    assert selection["last"]["auc"] == 0.5


# ---- by hand ----


def test_learning_rate_over_warm_up_and_cosine():
    settings = TrainingSettings(iterations=100, learning_rate=0.2, warm_up=10, schedule="cosine")
    rates = [rate_at(i, settings) for i in range(100)]
    assert rates[:10] == pytest.approx([0.02 * i for i in range(1, 11)])
    assert rates[10] == 0.2
    assert rates[55] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.1 * (1 + math.cos(math.pi * 89 / 90)))
    assert {rate_at(i, TrainingSettings(learning_rate=0.2)) for i in (0, 7, 249_999)} == {0.2}


def test_the_paper_is_plain_adam_over_all_parameters():
    network = Network(NETWORK)
    optimizer = make_optimizer(network, TrainingSettings())
    assert type(optimizer) is torch.optim.Adam
    assert [len(group["params"]) for group in optimizer.param_groups] == [len(list(network.parameters()))]


def test_weight_decay_is_decoupled_and_spares_biases_and_norms():
    """Without a gradient AdamW only shrinks: by learning rate times decay, not through Adam's moments."""
    network = Network(NETWORK)
    before = {name: value.clone() for name, value in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(network, TrainingSettings(learning_rate=0.1, weight_decay=0.5)).step()
    for name, value in network.named_parameters():
        factor = 0.95 if value.ndim > 1 else 1.0
        torch.testing.assert_close(value.detach(), before[name] * factor, rtol=1e-6, atol=0)


def test_average_is_its_closed_form():
    network, decay = Network(NETWORK), 0.7
    average, history = Average(network, decay), []
    for n in range(1, 6):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_(generator=torch.Generator().manual_seed(n))
        average.update(network, n)
        history.append(torch.cat([p.detach().double().flatten() for p in network.parameters()]))
    weights = [decay ** (5 - k) * (1 - decay) / (1 - decay**5) for k in range(1, 6)]
    expected = sum(w * values for w, values in zip(weights, history, strict=True))
    found = torch.cat([p.double().flatten() for p in average.network.parameters()])
    assert sum(weights) == pytest.approx(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_averaged_weights_are_what_is_kept(tmp_path):
    """One iteration: the average of one is the weights themselves; two: it is not."""
    for iterations, same in ((1, True), (2, False)):
        folder = tmp_path / str(iterations)
        kept = load_file(run(folder, replace(SHORT, iterations=iterations, ema=0.5)).with_suffix(".safetensors"))
        state = load_file(folder / "state" / "current.safetensors")
        assert all(torch.equal(state[f"average.{name}"], kept[name]) for name in kept)
        assert all(torch.equal(state[f"network.{name}"], kept[name]) for name in kept) == same


def test_gradients_are_clipped(tmp_path, monkeypatch):
    norms, real = [], torch.nn.utils.clip_grad_norm_

    def spied(parameters, limit):
        parameters = list(parameters)
        real(parameters, limit)
        norms.append(torch.cat([p.grad.flatten() for p in parameters]).norm().item())

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spied)
    run(tmp_path, replace(SHORT, clip=0.01))
    assert norms == pytest.approx([0.01] * 12, rel=1e-3)


# ---- class-balanced batches ----


SKEWED = [Case("ab"[i % 4 == 0], f"p{i}", f"s{i}", int(i % 10 == 0), 5, 0, 200) for i in range(40)]
ONE_CLASS = [Case("m", f"m{i}", f"m{i}", 1, 5, 0, 200) for i in range(10)]


def drawn(cases, count, **options) -> list[Case]:
    samples = Samples(cases, read, SAMPLE, 6, seed=1, **options)
    return [samples.case(draw) for draw in range(count)]


def test_classes_come_in_turn():
    cases = drawn(SKEWED, 40, balanced_classes=True)
    assert [case.label for case in cases] == [0, 1] * 20
    assert len({case.scan for case in cases if case.label == 0}) == 20  # an epoch repeats none
    assert set(Counter(case.scan for case in cases if case.label == 1).values()) == {5}  # each as often


def test_every_class_of_every_site_comes_in_turn():
    cases = [Case("ab"[i % 2], f"p{i}", f"s{i}", int(i % 5 == 0), 5, 0, 200) for i in range(40)]
    pairs = Counter(
        (case.site, case.label) for case in drawn(cases + ONE_CLASS, 50, balanced_classes=True, sampling="balanced")
    )
    assert pairs == {("a", 0): 10, ("a", 1): 10, ("b", 0): 10, ("b", 1): 10, ("m", 1): 10}


def test_a_draw_is_a_function_of_seed_and_number_alone():
    forward = drawn(SKEWED, 60, balanced_classes=True)
    samples = Samples(SKEWED, read, SAMPLE, 6, seed=1, balanced_classes=True)
    assert [samples.case(draw) for draw in reversed(range(60))] == forward[::-1]


def test_the_cards_loader_draws_the_same():
    settings = replace(SHORT, batch=3, balanced_classes=True)
    job = Job(NETWORK, SAMPLE, settings, CASES[:7], CASES[8:], read, Path(), RECORD, None)
    samples = Samples(CASES[:7], read, SAMPLE, 6, balanced_classes=True)
    device = torch.device("cpu")
    volumes = Volumes(read, device, 0, 0)
    make = lambda iteration: range(3 * iteration, 3 * iteration + 3)  # noqa: E731
    with (
        Batches(job, 0, 1) as plain,
        DeviceBatches(samples, SAMPLE, volumes, slices=6, draws=make, device=device, threads=2) as ahead,
    ):
        for iteration in range(4):
            expected, found = plain.take(iteration), ahead.take(iteration)
            assert expected[2] == found[2]
            assert torch.equal(expected[1], found[1])
            assert torch.equal(expected[0], found[0])


# ---- settings ----


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ema": 1.0}, r"training\.ema: must be in \[0, 1\), is 1\.0"),
        ({"ema": -0.1}, r"training\.ema: must be in \[0, 1\), is -0\.1"),
        ({"clip": -1.0}, r"training\.clip: is -1\.0\. Give 0 or more"),
        ({"weight_decay": math.nan}, r"training\.weight_decay: is nan"),
        ({"warm_up": 12}, r"training\.warm_up: is 12, but there are 12 iterations"),
    ],
)
def test_options_are_checked(changed, message):
    with pytest.raises(BadStudy, match=message):
        replace(SETTINGS, **changed)


# ---- states that are damaged, or of the former release ----


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Killed):
        run(folder, replace(SHORT, ema=0.5), progress=kill_at(6))
    return folder


def test_any_mutation_of_a_state_is_told(stopped):
    """Single bytes changed, cut out or put in, 200 times: none is resumed, none ends in another error."""
    path, rng = stopped / "state" / "current.safetensors", np.random.default_rng(12)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little") + 8
    for number in range(200):
        some = (
            mutate(rng, whole[:header]) + whole[header:] if number % 2 else whole[:header] + mutate(rng, whole[header:])
        )
        path.write_bytes(some)
        with pytest.raises(
            BadCheckpoint, match=r"current\.safetensors: the training's state .* [Rr]emove the file"
        ) as raised:
            run(stopped, replace(SHORT, ema=0.5))
        assert raised.value.next_step
    path.write_bytes(whole)
    run(stopped, replace(SHORT, ema=0.5), progress=kill_at(99))


def test_a_state_of_the_former_release_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, SHORT, progress=kill_at(3))
    path = tmp_path / "state" / "current.safetensors"
    with safe_open(path, framework="pt") as file:
        fields = json.loads(file.metadata()["state"])
    del fields["checksum"]
    save_file(load_file(path), path, metadata={"state": json.dumps(fields | {"best_accuracy": -1.0})})
    with pytest.raises(
        BadCheckpoint, match=r"has no checksum: an earlier version.*Finish the training with that version"
    ):
        run(tmp_path, SHORT)


def test_a_damaged_record_is_told_at_once_not_at_the_end(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, SHORT, progress=kill_at(6))
    path = tmp_path / "checkpoint.json"
    path.write_text(path.read_text().replace("0123", "0124"))
    with pytest.raises(BadCheckpoint, match=r"checkpoint\.json: its content does not fit its checksum"):
        run(tmp_path, SHORT)
