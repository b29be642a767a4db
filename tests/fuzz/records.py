"""Damaged records of a study: every file that a later command believes, whole once, then changed at random.

`inputs(seed, folder)` yields (name, callable) pairs; each callable reads one mutated record as the commands do. An
error of `elsewhere.errors` is right; reading it as if it were whole is an `AssertionError`: accepted in silence.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from elsewhere.model.network import Network, NetworkSettings, load_checkpoint, save_checkpoint
from elsewhere.model.state import State, read_state, save_state
from elsewhere.records import write_record
from elsewhere.rows import ScoreRow
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.statistics.score import score_cell
from elsewhere.studies.folder import Folder
from elsewhere.studies.predictions import PredictionRow, read_predictions, write_predictions
from elsewhere.studies.records import SCANS, SCORES, ScanRow, read_audit, read_identity, read_scans

EACH = 200
TINY = NetworkSettings(
    input=(4, 16, 16),
    filters=(2, 4),
    kernels=((3, 3, 3), (3, 3, 3)),
    pools=((2, 4, 4),),
    dense=(8,),
    groups=1,
    dense_groups=1,
)


def write_study(root: Path) -> dict[str, tuple[Path, Callable[[], Any]]]:
    """A small study's records; the name of each, its file, and what reads it."""
    folder = Folder(root)
    SCANS.write(folder.scans, [_scan(i) for i in range(8)])
    write_record(
        folder.study, {"settings": {"name": "s", "sites": []}, "models": {}, "versions": {}, "split_hash": "0"}
    )
    names = ("counts", "facts", "duplicates", "leaks", "warnings", "notes", "repaired")
    write_record(folder.audit, {name: [] for name in names} | {"site_only_auc": 0.5, "copies_left_out": 0})
    labels, probabilities = [i % 2 for i in range(8)], [i / 10 for i in range(8)]
    point = OperatingPoint(0.5, "grid", "model", 1.0, 8)
    cell = score_cell(labels, [f"p{i}" for i in range(8)], probabilities, operating_point=point, resamples=9)
    SCORES.write(folder.scores, [ScoreRow(model="A", site="A", **vars(cell))])
    predictions = folder.predictions("A", "A")
    write_predictions(predictions, [_prediction(i) for i in range(8)])
    network = Network(TINY)
    stem = folder.model("A") / "checkpoint"
    save_checkpoint(stem, network, {"model": "A"})
    state = folder.model("A") / "state" / "current.safetensors"
    save_state(state, State({"training": {"seed": 1}}, 3), network, torch.optim.Adam(network.parameters()))
    return {
        "scans.parquet": (folder.scans, lambda: read_scans(folder)),
        "study.json": (folder.study, lambda: read_identity(folder)),
        "audit.json": (folder.audit, lambda: read_audit(folder)),
        "scores.parquet": (folder.scores, lambda: SCORES.read(folder.scores)),
        "predictions": (predictions, lambda: read_predictions(predictions)),
        "checkpoint.json": (stem.with_suffix(".json"), lambda: load_checkpoint(stem)),
        "checkpoint.safetensors": (stem.with_suffix(".safetensors"), lambda: load_checkpoint(stem)),
        "training state": (state, lambda: read_state(state)),
    }


def _scan(i: int) -> ScanRow:
    return ScanRow(
        site="A",
        patient=f"p{i}",
        scan=f"s{i}",
        label=i % 2,
        stratum="positive",
        status="ok",
        file=f"../store/ab/{i}.b2nd",
        slices=9,
        minimum=0,
        maximum=9,
        content_hash=f"{i}",
        rows=16,
        columns=16,
        units="HU",
        padding_share=0.0,
        black_share=0.0,
        slice_spacing_mm=1.0,
        source_slices=9,
        notes=(),
        facts={},
        subset="test",
    )


def _prediction(i: int) -> PredictionRow:
    return PredictionRow("A", "A", "test", f"p{i}", f"s{i}", i % 2, 1, -1, i / 10)


def mutate(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """What was done to a content, and what it is now; never the same as before."""
    at = rng.randrange(len(content))
    stop = min(len(content), at + rng.choice((1, 4, 16, 64, 256)))
    kind = rng.choice(("flip", "byte", "cut", "zero", "delete", "repeat", "append", "digit"))
    changed = bytearray(content)
    if kind == "flip":
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        changed[at] = rng.randrange(256)
    elif kind == "cut":
        del changed[at:]
    elif kind == "zero":
        changed[at:stop] = bytes(stop - at)
    elif kind == "delete":
        del changed[at:stop]
    elif kind == "repeat":
        changed[at:at] = changed[at:stop]
    elif kind == "append":
        changed += rng.randbytes(stop - at)
    else:  # what somebody does by hand
        digits = [i for i, byte in enumerate(content) if byte in b"0123456789"]
        if digits:
            changed[rng.choice(digits)] = rng.choice(b"0123456789")
    return (kind, bytes(changed)) if bytes(changed) != content else mutate(content, rng)


def inputs(seed: int, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Mutate every record `EACH` times, one at a time; the study's other records are whole meanwhile."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    for name, (path, read) in write_study(folder / "study").items():
        whole = path.read_bytes()
        read()
        for number in range(EACH):
            kind, content = mutate(whole, rng)
            path.write_bytes(content)
            yield f"{name} {number} {kind}", _refused(read)
        path.write_bytes(whole)


def _refused(read: Callable[[], object]) -> Callable[[], object]:
    def check() -> None:
        read()
        raise AssertionError("a changed record was read as if it were whole")

    return check
