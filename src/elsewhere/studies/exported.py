"""A model as one file that may leave the house: weights, settings, home scores without ids, metadata ranges, a card.

The zip holds no patient id, no path and no UID: scores carry a running number for the patient, hashes of scans are
salted with the weights, and what the card says are counts, intervals and ranges.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter, ValidationError

from elsewhere import engine
from elsewhere.errors import BadCheckpoint, BadOption, ElsewhereError
from elsewhere.files import write_whole
from elsewhere.model.network import MEMBERS, Network, copy_checkpoint, load_networks, read_checkpoint_record
from elsewhere.model.selection import chosen_among
from elsewhere.scans.scan import Fact
from elsewhere.studies.known_model import Adapted, Adjustment, KnownModel, KnownScore, ModelSettings
from elsewhere.studies.model_card import model_card
from elsewhere.table_format import RecordFormat, TableFormat

RECORD, SCORES, CARD = "model.json", "scores.parquet", "MODEL_CARD.md"
CHECKPOINT = ("checkpoint.json", "checkpoint.safetensors")
NAMES = (CARD, RECORD, SCORES, *CHECKPOINT)
MOST_BYTES = {CHECKPOINT[1]: 1 << 34}
"""A file of a zip that says it is larger is refused before it is unpacked; others may have 64 MiB."""
OTHERS = 1 << 26
WHEN = (1980, 1, 1, 0, 0, 0)
"""Time of every file in the zip: the same model is the same bytes."""
PUBLIC = (
    "model",
    "protocol",
    "training_sites",
    "preparation",
    "sample",
    "versions",
    "iteration",
    "thresholds",
    "finding",
    "by_chance",
)
"""What a checkpoint's record keeps when it leaves the house; it also says which scans it is of."""

AGAIN = "Copy it again, or export the model again with `elsewhere export`"
EXPORTED = RecordFormat(
    "exported model",
    1,
    ("name", "trained_on", "study", "origin", "protocol", "settings", "metadata", "learned_from", "adjustment"),
    AGAIN,
)
KNOWN_SCORES = TableFormat("known scores", 1, KnownScore, AGAIN)


def is_exported(path: Path) -> bool:
    """Whether a path names an exported model: by its name, so that a missing one is called missing."""
    return path.suffix.lower() == ".zip"


def save_model(model: KnownModel, target: Path) -> None:
    """Export a model to a file that is not there yet, and say so.

    Raises:
        BadOption: the file is there, or is not called .zip.
        BadCheckpoint: the weights are missing or damaged.
    """
    if not is_exported(target):
        raise BadOption("the file", f"is {target}", "Give a file that ends in .zip")
    if target.exists():
        raise BadOption(str(target), "is there already", "Give another file, or move it away")
    write_model(target, model)
    size = f"{target.stat().st_size / 1e6:.1f} MB"
    engine.say(f"{target} ({size}); no patient id, path or UID is inside", f"{model.name}:")


def write_model(path: Path, model: KnownModel) -> None:
    """Export a model; the file appears whole or not at all.

    Args:
        path: the zip.
        model: from a study, or read from another zip, perhaps with another adjustment.

    Raises:
        BadCheckpoint: the weights are missing or damaged.
    """
    bare = anonymous(model)
    with TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "checkpoint", PUBLIC)
        KNOWN_SCORES.write(folder / SCORES, bare.scores)
        EXPORTED.write(folder / RECORD, _record(bare))
        (folder / CARD).write_text(model_card(bare), encoding="utf-8")
        write_whole(path, partial(_pack, folder))


def _pack(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in NAMES:
            kind = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
            file.writestr(zipfile.ZipInfo(name, WHEN), (folder / name).read_bytes(), kind)


def anonymous(model: KnownModel) -> KnownModel:
    """The model as it may leave the house: patients numbered in an order that says nothing, ranges for metadata."""
    order = sorted(model.scores, key=lambda s: (s.site, s.subset, s.label, s.probability, s.stratum or ""))
    numbers = {person: str(i) for i, person in enumerate(dict.fromkeys(s.person for s in order))}
    return replace(
        model,
        scores=tuple(replace(s, person=numbers[s.person]) for s in order),
        metadata={name: _ends(values) for name, values in model.metadata.items()},
        learned_from={name: _place(where) for name, where in model.learned_from.items()},
    )


def _place(where: str) -> str:
    """Where a scan is from, without its name."""
    site, colon, _ = where.partition(":")
    return f"a scan of {site}" if colon else where


def _ends(values: Sequence[Fact]) -> tuple[Fact, ...]:
    known = [v for v in values if v is not None and v == v]  # noqa: PLR0124 - NaN
    if any(isinstance(v, str) for v in known):
        return tuple(sorted({str(v) for v in known}))
    numbers = [v for v in known if not isinstance(v, str)]
    return (min(numbers), max(numbers)) if numbers else ()


def _record(model: KnownModel) -> dict[str, object]:
    return {
        "name": model.name,
        "trained_on": list(model.trained_on),
        "study": model.study,
        "origin": model.origin,
        "protocol": model.protocol,
        "settings": asdict(model.settings),
        "metadata": {name: list(ends) for name, ends in model.metadata.items()},
        "learned_from": dict(sorted(model.learned_from.items())),
        "adjustment": None if model.adjustment is None else asdict(model.adjustment),
        "finding": model.finding,
        **({} if not model.salt else {"salt": model.salt}),
        **({} if model.adapted is None else {"adapted": asdict(model.adapted)}),
    }


def read_model(path: Path) -> KnownModel:
    """An exported model.

    Args:
        path: the zip.

    Raises:
        BadCheckpoint: the file is missing, damaged, or no exported model.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        _unpack(path, folder, (RECORD, SCORES, CHECKPOINT[0]))
        try:
            return _model(path, folder)
        except ElsewhereError as error:
            raise BadCheckpoint(path, f"{Path(error.where).name} {error.what}", AGAIN) from error
        except (ValidationError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise BadCheckpoint(path, f"{RECORD} holds other values ({_one_line(error)})", AGAIN) from error


def _model(path: Path, folder: Path) -> KnownModel:
    """The model whose files were unpacked into a folder."""
    record = EXPORTED.read(folder / RECORD)
    scores = KNOWN_SCORES.read(folder / SCORES)
    checkpoint = read_checkpoint_record(folder / "checkpoint")
    given = record["adjustment"]
    return KnownModel(
        name=str(record["name"]),
        trained_on=tuple(map(str, record["trained_on"])),
        study=str(record["study"]),
        origin=str(record["origin"]),
        protocol=str(record["protocol"]),
        where=path,
        home=Path("runs") / path.stem,
        checkpoint=str(checkpoint["sha256"]),
        settings=TypeAdapter(ModelSettings).validate_python(record["settings"]),
        scores=tuple(scores),
        metadata={str(name): tuple(ends) for name, ends in record["metadata"].items()},
        learned_from={str(name): str(where) for name, where in record["learned_from"].items()},
        load=partial(_load, path),
        save=partial(_save, path),
        adjustment=None if given is None else TypeAdapter(Adjustment).validate_python(given),
        finding=str(record.get("finding", "")),
        salt=str(record.get("salt", "")),
        adapted=None if (made := record.get("adapted")) is None else TypeAdapter(Adapted).validate_python(made),
        selected=chosen_among(checkpoint),
        members=int(checkpoint.get(MEMBERS, 1)),
    )


def _load(path: Path) -> list[Network]:
    with TemporaryDirectory() as name:
        _unpack(path, Path(name), CHECKPOINT)
        return load_networks(Path(name) / "checkpoint")[0]


def _save(path: Path, stem: Path, keys: Sequence[str]) -> None:
    with TemporaryDirectory() as name:
        _unpack(path, Path(name), CHECKPOINT)
        copy_checkpoint(Path(name) / "checkpoint", stem, keys)


def _unpack(path: Path, folder: Path, names: Sequence[str]) -> None:
    try:
        with zipfile.ZipFile(path) as file:
            there = {one.filename: one.file_size for one in file.infolist()}
            missing = [name for name in names if name not in there]
            if missing:
                held = ", ".join(sorted(there)[:5]) or "nothing"
                raise BadCheckpoint(path, f"is no exported model: it has no {missing[0]} (it holds {held})", AGAIN)
            for name in names:
                if there[name] > MOST_BYTES.get(name, OTHERS):
                    raise BadCheckpoint(path, f"says that its {name} has {there[name]:,} bytes", AGAIN)
                (folder / name).write_bytes(file.read(name))
    except FileNotFoundError as error:
        raise BadCheckpoint(path, "no such file", "Give a model written by `elsewhere export`") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, io.UnsupportedOperation, EOFError, RuntimeError) as error:
        raise BadCheckpoint(path, f"is damaged or no zip ({_one_line(error)})", AGAIN) from error
    except (NotImplementedError, ValueError) as error:
        raise BadCheckpoint(path, f"is damaged ({_one_line(error)})", AGAIN) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
