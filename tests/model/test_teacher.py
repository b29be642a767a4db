"""Distillation: the distance against plain numpy, its gradient against autograd, a killed training goes on alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from test_training import CASES, NETWORK, SAMPLE, Killed, kill_at, read

from elsewhere.errors import BadStudy
from elsewhere.model.adapting import trainable_of
from elsewhere.model.batch import predict_many
from elsewhere.model.job import Job
from elsewhere.model.network import Network, load_checkpoint
from elsewhere.model.settings import TrainingSettings
from elsewhere.model.start import Start
from elsewhere.model.teacher import Teacher, distance
from elsewhere.model.training import train_job

SETTINGS = TrainingSettings(
    iterations=6, batch=2, learning_rate=1e-3, validate_every=3, save_every=2, threads=1, tensorboard=False
)


def test_the_distance_against_plain_numpy() -> None:
    random = np.random.default_rng(1)
    logits, said = random.normal(size=(2, 5, 2))
    for temperature in (1.0, 2.0, 5.0):
        p, log_q = softmax(said / temperature, axis=1), log_softmax(logits / temperature, axis=1)
        expected = temperature**2 * np.mean(np.sum(p * (np.log(p) - log_q), axis=1))
        found = distance(torch.tensor(logits).float(), torch.tensor(said).float(), temperature)
        assert float(found) == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_the_difference_of_the_softened_answers() -> None:
    """d/dlogits of T² KL is T (q - p) / batch: what it pulls towards, and how hard."""
    random = np.random.default_rng(2)
    logits, said = (torch.tensor(one, dtype=torch.float32) for one in random.normal(size=(2, 4, 2)))
    logits.requires_grad_()
    distance(logits, said, 2.0).backward()
    p, q = softmax(said.numpy() / 2, axis=1), softmax(logits.detach().numpy() / 2, axis=1)
    np.testing.assert_allclose(logits.grad.numpy(), 2 * (q - p) / 4, rtol=1e-5, atol=1e-7)


def begun(seed: int = 3) -> Network:
    torch.manual_seed(seed)
    return Network(NETWORK)


def job(folder: Path, distil: float, **changed: object) -> Job:
    network = begun()
    start = Start(network.state_dict(), trainable_of(network, "all"), distil=distil)
    settings = replace(SETTINGS, **changed)
    return Job(NETWORK, SAMPLE, settings, CASES, CASES, read, folder, {"model": "a"}, None, start=start)


def test_a_teacher_says_what_the_network_said_and_does_not_change() -> None:
    network = begun()
    start = Start(network.state_dict(), trainable_of(network, "all"), distil=0.5)
    teacher, inputs = Teacher(begun(9), start), torch.randn(2, 1, *NETWORK.input)
    with torch.no_grad():
        logits = network.eval()(inputs)
    assert float(teacher.loss(logits, inputs)) == pytest.approx(0, abs=1e-6)
    assert float(teacher.loss(logits + torch.tensor([0.0, 1.0]), inputs)) > 0.01
    assert float(teacher.loss(logits + 3.0, inputs)) == pytest.approx(0, abs=1e-6)


def test_distillation_holds_the_answers_and_none_changes_nothing(tmp_path: Path) -> None:
    """A strong hold leaves what is said of the trained scans nearer to what was said before."""
    before = begun().eval()

    def said(network: Network) -> np.ndarray:
        found = predict_many(network, [(case, read) for case in CASES], SAMPLE, 2)
        return np.log([p.max() / (1 - p.max()) for p in found])

    moved = []
    for place, distil in enumerate((0.0, 50.0)):
        stem = train_job(job(tmp_path / str(place), distil, iterations=60, validate_every=60, select="log_loss"))
        moved.append(float(np.abs(said(load_checkpoint(stem)[0]) - said(before)).mean()))
    assert moved[1] < 0.5 * moved[0], moved
    start = Start(before.state_dict(), trainable_of(before, "all"))
    assert "distil" not in start.identity()  # trainings begun before there was distillation go on
    assert replace(start, distil=1.0).identity() != replace(start, distil=1.0, temperature=3.0).identity()


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = train_job(job(tmp_path / "whole", 1.0))
    with pytest.raises(Killed):
        train_job(replace(job(tmp_path / "cut", 1.0), progress=kill_at(4)))
    cut = train_job(job(tmp_path / "cut", 1.0))
    assert cut.with_suffix(".safetensors").read_bytes() == whole.with_suffix(".safetensors").read_bytes()


def test_numbers_that_make_no_sense_are_refused() -> None:
    weights = begun().state_dict()
    with pytest.raises(BadStudy, match="distil"):
        Start(weights, ["last.bias"], distil=-1.0)
    with pytest.raises(BadStudy, match="temperature"):
        Start(weights, ["last.bias"], distil=1.0, temperature=0.0)
