"""The full network converted for OpenVINO in; our time and logits beside its, in fp32 and bf16, out.

python benchmarks/peers.py [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import FIGURE_HEAD, HEAD, Figure, Missing, Part, Row, interleave, table
from numpy.typing import NDArray
from predict import LENGTH, make_network, make_scan

from elsewhere.model import fast_prediction
from elsewhere.model.network import Network

STAGES = {"f32": "predict one 512×512×128 volume, fp32", "bf16": "the same, fast mode (bf16 products)"}
TARGETS = {"f32": None, "bf16": 0.6}
NEAR = "from ours in fp32 (its own error against float64: see Prediction)"


def convert(network: Network, file: Path) -> None:
    """Write the network as OpenVINO's own format, traced with the usual max pooling."""
    import openvino  # noqa: PLC0415 - a peer, in the [bench] extra only

    usual, pools = copy.deepcopy(network), network.settings.pools
    usual._pool = lambda maps, level: (
        maps if level == len(pools) else torch.nn.functional.max_pool3d(maps, pools[level])
    )
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's remarks on our shape checks
        inputs = torch.zeros(1, 1, *network.settings.input)
        model = openvino.convert_model(torch.jit.trace(usual, inputs, check_trace=False))
    model.reshape([1, 1, *network.settings.input])
    openvino.save_model(model, file, compress_to_fp16=False)


def load(file: Path, precision: str, threads: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """The network compiled by OpenVINO: inputs -> logits."""
    import openvino  # noqa: PLC0415

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(file, "CPU", settings)
    return lambda inputs: compiled(inputs)[0]


def measure(rounds: int, threads: int) -> Part:
    torch.set_num_threads(threads)
    network, window = make_network(), make_scan(LENGTH)
    inputs = window.normalise(0, LENGTH)[None, None].numpy()
    ours = np.asarray(fast_prediction.predict_logits(network, window))
    rows: list[Row | Missing] = []
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.xml")
        try:
            convert(network, file)
        except ImportError as error:
            return Part([Missing(stage, f"OpenVINO {name}", str(error)) for name, stage in STAGES.items()])
        for name, stage in STAGES.items():  # one after the other: each holds gigabytes
            theirs, fast = load(file, name, threads), name == "bf16"
            ways: dict[str, Callable[[], Any]] = {
                "ours": lambda fast=fast: fast_prediction.predict_logits(network, window, fast=fast),
                "OpenVINO": lambda theirs=theirs: theirs(inputs),
            }
            times = interleave(ways, rounds if TARGETS[name] else 1)
            rows.append(Row(stage, f"OpenVINO {name}", times["ours"], times["OpenVINO"], TARGETS[name]))
            for side, way in ways.items():
                error = float(np.abs(np.asarray(way()) - ours).max())
                figures.append(Figure(f"largest difference of a logit: {side} {name}", error, "", note=NEAR))
    return Part(rows, figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    found = measure(given.rounds, given.threads)
    print(table(HEAD, [row.cells() for row in found.rows]))
    print(table(FIGURE_HEAD, [figure.cells() for figure in found.figures]))


if __name__ == "__main__":
    main()
