"""Made-up inputs in; time, memory and gradient error of a training step beside the plain module's out, as Markdown.

    python benchmarks/train.py [--rounds 5] [--full-rounds 1] [--threads 2] [--skip-full] [--errors quarter]

Plain is what a user would write: the layers in order under autograd, DropBlock as a Bernoulli map grown by max
pooling, torch's Adam as it comes. At full size plain is the product's own network under autograd, whose DropBlock is
drawn as corners: the usual one would need several GB more. A full-size plain step takes 9 GB.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import torch
from measure import (
    BRIEF,
    FIGURE_HEAD,
    HEAD,
    Figure,
    Part,
    Row,
    Times,
    in_subprocess,
    interleave,
    machine,
    peak_above,
    table,
)
from predict import UsualDropBlock
from torch import Tensor, nn
from torch.nn import functional as F

from elsewhere.model import fast_training
from elsewhere.model.fast_training import Trained
from elsewhere.model.network import Network, NetworkSettings

FULL = NetworkSettings()
DEMO = NetworkSettings(
    input=(24, 32, 32),
    filters=(8, 16, 32, 64),
    kernels=((3, 3, 3),) * 4,
    pools=((2, 2, 2),) * 3,
    dense=(128,),
    dense_groups=16,
    dropblock=0.0,
    dropout=0.05,
)
REDUCED = NetworkSettings(input=(32, 64, 64), filters=(8, 16, 32), kernels=((3, 3, 3), (5, 5, 5), (3, 5, 5)),
                          pools=((4, 4, 4), (2, 4, 4)), dense=(128,), dense_groups=16)  # fmt: skip
SIZES = {"quarter": NetworkSettings(input=(32, 128, 128)), "half": NetworkSettings(input=(64, 256, 256)), "full": FULL}
EXTRA_MB = 1000  # issue 3


class PlainLevel(nn.Module):
    """Twice [convolution → ReLU → GroupNorm → DropBlock], in torch's modules."""

    def __init__(self, channels: int, filters: int, kernel: tuple[int, int, int], settings: NetworkSettings) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv3d(n, filters, kernel, padding="same") for n in (channels, filters))
        self.norms = nn.ModuleList(nn.GroupNorm(settings.groups, filters) for _ in range(2))
        self.drop = UsualDropBlock() if settings.dropblock else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            maps = self.drop(norm(F.relu(conv(maps))))
        return maps


class PlainNetwork(nn.Module):
    """The network as a user would write it; takes the product's weights by name."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        channels, widths = (1, *settings.filters), (settings.flat, *settings.dense)
        self.levels = nn.ModuleList(
            PlainLevel(channels[i], channels[i + 1], kernel, settings) for i, kernel in enumerate(settings.kernels)
        )
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, settings.dense, strict=False))
        self.dense_norms = nn.ModuleList(nn.GroupNorm(settings.dense_groups, width) for width in settings.dense)
        self.last = nn.Linear(settings.dense[-1], settings.classes)
        self.settings = settings

    def forward(self, maps: Tensor) -> Tensor:
        for index, one in enumerate(self.levels):
            maps = one(maps)
            if index < len(self.settings.pools):
                maps = F.max_pool3d(maps, self.settings.pools[index])
        features = maps.flatten(1)
        for layer, norm in zip(self.dense, self.dense_norms, strict=True):
            features = F.dropout(norm(F.relu(layer(features))), self.settings.dropout)
        return self.last(features)


def make_step(module: nn.Module, batch: int, *, fused: bool) -> Callable[[], float]:
    """One training step on made-up inputs: its loss."""
    settings = module.network.settings if isinstance(module, Trained) else module.settings
    inputs = torch.rand(batch, 1, *settings.input, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(batch) % settings.classes
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-5, fused=fused)

    def step() -> float:
        loss = F.cross_entropy(module(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def make_network(settings: NetworkSettings) -> Network:
    torch.manual_seed(0)
    return Network(settings).train()


def small_ways(settings: NetworkSettings, batch: int) -> dict[str, Callable[[], float]]:
    network, plain = make_network(settings), PlainNetwork(settings)
    plain.load_state_dict(network.state_dict())
    return {"ours": make_step(Trained(network), batch, fused=True), "plain": make_step(plain, batch, fused=False)}


def full_module(name: str) -> nn.Module:
    network = make_network(FULL)
    return Trained(network) if name == "ours" else network


def time_full(rounds: int) -> dict[str, Times]:
    """Without a call to warm up: a plain step takes a minute, and the first one is like the others."""
    ways = {name: make_step(full_module(name), 1, fused=True) for name in ("ours", "plain")}
    return interleave(ways, rounds, warm=False)


def rows(rounds: int, full_rounds: int = 1) -> list[Row]:
    """Training steps against the plain module's; at full size `full_rounds` of them (0: left out)."""
    rounds = max(rounds, BRIEF)
    demo, reduced = (interleave(small_ways(settings, batch), rounds) for settings, batch in ((DEMO, 8), (REDUCED, 4)))
    note = f"{rounds} rounds"
    found = [
        Row("train: the demo's network, batch 8", "the plain module", demo["ours"], demo["plain"], 0.6, note),
        Row(
            "train: 64×64×32, DropBlock on, batch 4", "the plain module", reduced["ours"], reduced["plain"], None, note
        ),
    ]
    if full_rounds:
        full = time_full(full_rounds)
        note = f"{full_rounds} round{'s' * (full_rounds > 1)}"
        name = "train: 512×512×128, DropBlock on, batch 1"
        found.append(Row(name, "our network under autograd", full["ours"], full["plain"], 1.0, note))
    return found


def figures() -> list[Figure]:
    """Memory of one full-size step, gradients and Adam's moments (154 MB) included."""
    what = "train one 512×512×128 step: memory above the interpreter with network and input loaded"
    return [
        Figure(what, float(in_subprocess(__file__, "--memory", "ours")), "MB", EXTRA_MB),
        Figure(f"{what}, plain", float(in_subprocess(__file__, "--memory", "plain")), "MB"),
    ]


def memory(name: str) -> float:
    step = make_step(full_module(name), 1, fused=True)
    small_ways(DEMO, 2)["plain"]()  # the interpreter's own first-use memory
    return peak_above(step)


def error_table(settings: NetworkSettings, *, plain: bool = True) -> str:
    """Largest relative error of the gradients against the streamed way in float64, itself tested against autograd."""
    fast_training.LARGE = 1  # streamed at any size
    network = make_network(settings)
    truth = gradients(Trained(copy.deepcopy(network).double()), settings)
    ways = {"ours": Trained(network), **({"plain": network} if plain else {})}
    lines = []
    for name, module in ways.items():
        found = gradients(module, settings)
        errors = {key: float((found[key] - truth[key]).norm() / truth[key].norm()) for key in truth}
        first = max(value for key, value in errors.items() if key.startswith("levels.0"))
        lines.append([name, f"{first:.1e}", f"{max(errors.values()):.1e}"])
    return table(["gradients", "largest relative error in level 1", "in any parameter"], lines)


def gradients(module: nn.Module, settings: NetworkSettings) -> dict[str, Tensor]:
    module.zero_grad()
    torch.manual_seed(3)
    like = next(module.parameters()).dtype
    inputs = torch.rand(1, 1, *settings.input, generator=torch.Generator().manual_seed(1)).to(like)
    F.cross_entropy(module(inputs), torch.tensor([1])).backward()
    return {name.removeprefix("network."): one.grad.double() for name, one in module.named_parameters()}


def measure(rounds: int, full_rounds: int = 1) -> Part:
    return Part(rows(rounds, full_rounds), figures() if full_rounds else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full-rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-full", action="store_true")
    parser.add_argument(
        "--errors",
        choices=SIZES,
        help="gradients against float64, at a quarter or half the size on each axis, or at full",
    )
    parser.add_argument("--memory", choices=["ours", "plain"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.memory:
        print(f"{memory(given.memory):.0f}")
        return
    part = measure(given.rounds, 0 if given.skip_full else given.full_rounds)
    texts = [f"{machine(['torch', 'numpy'])}, {given.threads} threads, medians of {given.rounds}"]
    texts.append(table(HEAD, [row.cells() for row in part.rows]))
    if part.figures:
        texts.append(table(FIGURE_HEAD, [figure.cells() for figure in part.figures]))
    if given.errors:
        texts.append(error_table(SIZES[given.errors]))
    print("\n\n".join(texts))


if __name__ == "__main__":
    main()
