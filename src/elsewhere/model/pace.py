"""How long a training takes on this machine: the time of an iteration, measured on random volumes."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from torch.nn import functional as F

from elsewhere.model.backbone import make_network
from elsewhere.model.cuda import device_of, fuse
from elsewhere.model.fast_training import Trained
from elsewhere.model.features import Head
from elsewhere.model.network import NetworkSettings
from elsewhere.model.recipe import TrainingSettings, make_optimizer
from elsewhere.wording import numbered

WARM_UP = 1
"""Iterations before the measured ones: the first pays for memory and the choice of kernels."""


def seconds_per_iteration(network: NetworkSettings, training: TrainingSettings, steps: int = 3) -> float:
    """Median time in seconds of an iteration: a batch forward, backward, the optimizer; neither reading nor encoding.

    Args:
        network: its sizes.
        training: its batch, optimizer and device.
        steps: measured iterations.
    """
    device = torch.device(device_of(training.accelerator))
    cuda = device.type == "cuda"
    model = make_network(network, training.batch).to(device)
    if cuda:
        fuse(model)
    stays = network.is_pretrained
    trained, optimizer = (Head if stays else Trained)(model).train(), make_optimizer(model, training)
    shape = (training.batch, model.last.in_features) if stays else (training.batch, 1, *network.input)
    inputs = torch.from_numpy(np.random.default_rng(0).random(shape, dtype=np.float32)).to(device)
    labels = torch.arange(training.batch, device=device) % 2
    spent = []
    for _ in range(WARM_UP + steps):
        began = time.perf_counter()
        loss = F.cross_entropy(trained(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if cuda:
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[WARM_UP:])


def in_words(seconds: float) -> str:
    """A time as people say it.

    >>> in_words(40), in_words(1500), in_words(25_000), in_words(400_000)
    ('less than a minute', 'about 25 minutes', 'about 7 hours', 'about 5 days')
    """
    for length, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= (1.5 if name != "minute" else 1) * length:
            number = round(seconds / length)
            return f"about {numbered(number, name)}"
    return "less than a minute"
