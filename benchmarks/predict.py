"""The full network and made-up chests in; time, memory and error of every way to predict out, as Markdown.

    python benchmarks/predict.py [--rounds 5] [--slow-rounds 2] [--threads 2] [--passes 5] [--skip-error]

The plain way is the PyTorch module in inference mode. Seven windows of the plain way are seven times its one.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from measure import HEAD, Row, in_subprocess, interleave, machine, peak_above, table

from elsewhere.model import fast_prediction, level1_prediction, level1_streamed
from elsewhere.model.level1_prediction import Window
from elsewhere.model.network import Network

LOW, HIGH = -1000, 1500
STARTS = (0, 32, 64, 96, 128, 160, 172)  # 300 slices: stride 32, and a last window that ends at the last slice
LENGTH = 128


def make_scan(slices: int) -> Window:
    """A body with two lungs and scanner noise, HU as int16 [slice, row, column], normalised to 0..1."""
    rng = np.random.default_rng(1)
    row, column = np.mgrid[-1:1:512j, -1:1:512j]
    slice_ = np.full((512, 512), LOW, np.int16)
    slice_[(row / 0.6) ** 2 + (column / 0.8) ** 2 < 1] = 40
    slice_[(row / 0.4) ** 2 + ((np.abs(column) - 0.35) / 0.25) ** 2 < 1] = -850
    noise = rng.integers(-60, 60, (slices, 512, 512), dtype=np.int16)
    voxels = np.clip(slice_ + noise, LOW, HIGH)
    voxels[:, 0, 0] = HIGH
    return Window(voxels, 0, LENGTH, LOW, 1 / (HIGH - LOW))


def make_network() -> Network:
    torch.manual_seed(0)
    return Network().eval()


def plain(network: Network, window: Window) -> torch.Tensor:
    with torch.inference_mode():
        return network(window.normalise(0, window.length)[None, None])


def without_kernel(network: Network, window: Window) -> torch.Tensor:
    with torch.inference_mode():
        return network.head(network.rest(level1_streamed.level1(fast_prediction.read_level1(network), window)[None]))


def windows(network: Network, scan: Window) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [network.head(features) for features in fast_prediction.predict_windows(network, scan, STARTS, LENGTH)]


WAYS: dict[str, Callable[[Network, Window], object]] = {
    "plain": plain,
    "fused": fast_prediction.predict_logits,
    "fast": lambda network, window: fast_prediction.predict_logits(network, window, fast=True),
    "without compiler": without_kernel,
}


SLOW_ROUNDS = 2  # of a pass that takes a minute: more do not fit into `make bench`


def time_rows(network: Network, rounds: int, passes: int, slow_rounds: int = SLOW_ROUNDS) -> list[Row]:
    scan = make_scan(300)
    window = replace(scan, voxels=scan.voxels[:LENGTH])
    ways = {name: lambda way=way: way(network, window) for name, way in WAYS.items()}
    slow = interleave({"without compiler": ways.pop("without compiler")}, 1, warm=False)  # no target
    times = interleave(ways | {"windows": lambda: windows(network, scan)}, rounds) | slow
    one = "1 plain prediction"
    rows = [
        Row("predict one 512×512×128 volume, fp32", one, times["fused"], times["plain"], 0.22),
        Row("the same, fast mode (bf16 products)", one, times["fast"], times["plain"], 0.125),
        Row("the same, without a compiler", one, times["without compiler"], times["plain"], None, "1 round"),
        Row("300 slices, 7 windows", "7 × plain", times["windows"], times["plain"].scaled(7), 0.085),
        Row("300 slices, 7 windows", "7 × ours", times["windows"], times["fused"].scaled(7), None),
    ]
    return [*rows, *pass_rows(network, window, slow_rounds, passes)]


class UsualDropBlock(torch.nn.Module):
    """DropBlock as libraries write it: a Bernoulli map of block centres, grown by max pooling, times the maps."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        edges = maps.shape[2:]
        block = [min(5, edge) for edge in edges]
        grid = [edge - b + 1 for edge, b in zip(edges, block, strict=True)]
        gamma = 0.1 * math.prod(edges) / (math.prod(block) * math.prod(grid))
        seeds = torch.bernoulli(torch.full((*maps.shape[:2], *grid), gamma))
        around = [side for b in reversed(block) for side in (b // 2, (b - 1) // 2)]
        padding = [b // 2 for b in block]
        kept = 1 - torch.nn.functional.max_pool3d(torch.nn.functional.pad(seeds, around), block, 1, padding)
        return maps * kept[..., : edges[0], : edges[1], : edges[2]] * (kept.numel() / kept.sum())


def pass_rows(network: Network, window: Window, rounds: int, passes: int) -> list[Row]:
    network.train()
    usual = copy.deepcopy(network)
    for level in usual.levels:
        level.drop = UsualDropBlock()
    inputs = window.normalise(0, LENGTH)[None, None]

    @torch.inference_mode()
    def ours() -> None:
        fused = fast_prediction.TrunkPasses(network, window)  # once per window, its share of the work is counted
        for _ in range(passes):
            network.head(fused())

    with torch.inference_mode():
        times = interleave({"ours": ours, "usual": lambda: usual(inputs)}, rounds, warm=False)
        own = interleave({"plain": lambda: network(inputs)}, 1, warm=False)["plain"]
    network.eval()
    stage = f"dropout, {passes} passes, DropBlock on"
    usually, plainly = (f"{passes} × a pass, {how}" for how in ("DropBlock by max pooling", "our own DropBlock"))
    return [
        Row(stage, usually, times["ours"], times["usual"].scaled(passes), 0.05, f"{rounds} rounds"),
        Row(stage, plainly, times["ours"], own.scaled(passes), None, "theirs: 1 round"),
    ]


def memory_table() -> str:
    rows = [[name, in_subprocess(__file__, "--memory", name)] for name in [*WAYS, "7 windows"]]
    return table(["way", "MB above the interpreter with network and voxels loaded"], rows)


def memory(name: str) -> float:
    network, scan = make_network(), make_scan(300 if name == "7 windows" else LENGTH)
    with torch.inference_mode():
        network.head(torch.zeros(1, network.settings.flat))  # the interpreter's own first-use memory
        torch.nn.functional.conv3d(torch.zeros(1, 1, 8, 8, 8), torch.zeros(1, 1, 3, 3, 3))
    way = windows if name == "7 windows" else WAYS[name]
    return peak_above(lambda: way(network, scan))


def error_table(network: Network) -> str:
    """Largest logit error against float64, whose level 1 is the streamed one (tested against the plain one)."""
    scan = make_scan(300)
    exact = copy.deepcopy(network).double()

    def truth(window: Window) -> torch.Tensor:
        maps = level1_streamed.level1(fast_prediction.read_level1(network), window, torch.float64)
        with torch.inference_mode():
            return exact.head(exact.rest(maps[None]))

    window = replace(scan, voxels=scan.voxels[:LENGTH])
    expected = truth(window)
    found = {name: way(network, window) for name, way in WAYS.items()}
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found[f"fused, {threads} threads"] = fast_prediction.predict_logits(network, window)
    rows = [[name, f"{float((logits - expected).abs().max()):.1e}"] for name, logits in found.items()]
    shared = windows(network, scan)[-1] - fast_prediction.predict_logits(network, replace(scan, start=STARTS[-1]))
    return table(
        ["way", "largest logit error against float64"],
        [*rows, ["the last of 7 windows, against itself alone", f"{float(shared.abs().max()):.1e}"]],
    )


def report(rounds: int, threads: int, passes: int, slow_rounds: int, *, errors: bool) -> str:
    torch.set_num_threads(threads)
    network = make_network()
    vectors = f"vectors of {level1_prediction.lanes()} floats"
    where = f"{machine(['torch', 'numpy'])}, {threads} threads, {vectors}, medians of {rounds}"
    rows = [row.cells() for row in time_rows(network, rounds, passes, slow_rounds)]
    parts = [where, table(HEAD, rows), memory_table(), *([error_table(network)] if errors else [])]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=SLOW_ROUNDS, help="of the usual DropBlock, a minute each")
    parser.add_argument("--skip-error", action="store_true")
    parser.add_argument("--memory", choices=[*WAYS, "7 windows"])
    given = parser.parse_args()
    if given.memory:
        print(f"{memory(given.memory):.0f}")
    else:
        print(report(given.rounds, given.threads, given.passes, given.slow_rounds, errors=not given.skip_error))


if __name__ == "__main__":
    main()
