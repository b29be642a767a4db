"""`[models.NAME]` of a study file in; what it says of a model that is not trained here, out."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from elsewhere.errors import BadStudy
from elsewhere.model.declared import RUNNABLE, Declared, InputSettings, OutputSettings
from elsewhere.studies.keys import check_keys, path_of, typed

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")

OTHER_KINDS = {
    "pt2": "exported",
    "export": "exported",
    "torch.export": "exported",
    "jit": "torchscript",
    "torch.jit": "torchscript",
    "pytorch": "torch",
    "table": "scores",
    "csv": "scores",
    "docker": "command",
    "bundle": "monai",
    "container": "command",
    "program": "command",
    "checkpoint": "elsewhere",
    "network": "elsewhere",
}
OTHER_GIVES = {
    "softmax": "logits (softmax is taken here) or probabilities (the network took it)",
    "sigmoid": "logit (sigmoid is taken here) or probability (the network took it)",
}
PATHS = ("table", "checkpoint", "file", "weights", "folder", "bundle")
"""Keys that are paths."""
INSIDE_A_BUNDLE = ("weights",)
"""Those of them that are names inside its folder where `kind = "monai"`."""
NOT_KEYS = {"command": ("name", "folder")}
"""Fields that a table does not set, by kind."""
MODEL_SECTIONS = {"input": InputSettings, "output": OutputSettings}


@dataclass(frozen=True)
class Product:
    """`kind = "scores"`: a vendor's product, or any other model, of which a table of scores is known.

    Attributes:
        name: its name in all results.
        kind: "scores".
        table: its scores of the sites' scans, one row per scan (CSV, XLSX, Parquet).
        scale: of the scores in the table; they must be probabilities, in whatever unit.
        threshold: from which it calls a scan positive, on the scale of the table; None where the table has its calls.
        score: column of the scores; "" where its name tells.
    """

    name: str
    kind: Literal["scores"]
    table: Path
    scale: Literal["probability", "percent", "logit"] | None = None
    threshold: float | None = None
    score: str = ""


StudyModel = Product | Declared
KINDS: dict[str, type[Product] | type[Declared]] = {"scores": Product, **RUNNABLE}


def read_models(path: Path, content: Any) -> tuple[StudyModel, ...]:
    """The models of a study file that are not trained here.

    Args:
        path: the file.
        content: what stands under [models].

    Raises:
        BadStudy: a key is unknown, missing, or has a wrong value; the message names file and key.
    """
    if not isinstance(content, dict):
        raise BadStudy(path, f"key `models` is {content!r}", 'Write tables: [models.NAME] with kind = "scores"')
    return tuple(_model(path, name, given) for name, given in content.items())


def kept_model(file: Path, record: Mapping[str, Any], place: Callable[[str], Path | None]) -> StudyModel:
    """A model as study.json keeps it.

    Args:
        file: that file, for messages.
        record: what it says of the model.
        place: gives the path that a kept one stands for.

    Raises:
        BadStudy: a value is not what this version writes.
    """
    form = _form(file, f"products.{record['name']}", record["kind"])
    values = {f.name: record[f.name] for f in fields(form) if f.name in record}
    values |= {k: place(values[k]) for k in paths_of(record["kind"]) if values.get(k) is not None}
    found: StudyModel = typed(file, f"products.{record['name']}", form, values)
    return found


def paths_of(kind: str) -> tuple[str, ...]:
    """Keys of a kind that are paths."""
    return tuple(key for key in PATHS if kind != "monai" or key not in INSIDE_A_BUNDLE)


def _model(path: Path, name: str, given: Any) -> StudyModel:
    key = f"models.{name}"
    if not MODEL_NAME.fullmatch(name):
        raise BadStudy(path, f"`{name}` is not a valid model name", "Use letters, digits, space, '.', '_' and '-'")
    if not isinstance(given, dict):
        raise BadStudy(path, f"key `{key}` is {given!r}", f"Write it as a table, [{key}]")
    if "kind" not in given:
        raise BadStudy(
            path, f"key `{key}.kind` is missing", f'Give kind = "scores" and table = "scores.csv", or {_kinds()}'
        )
    form = _form(path, key, given["kind"])
    hidden = NOT_KEYS.get(given["kind"], ("name",))
    allowed = [f.name for f in fields(form) if f.name not in hidden]
    check_keys(path, f"{key}.", given, allowed, {})
    for field in fields(form):
        if field.name in allowed and field.default is MISSING and field.name not in given:
            then = f'Give kind = "{given["kind"]}" and {field.name} = {_example(field.name)}'
            raise BadStudy(path, f"key `{key}.{field.name}` is missing", then)
    values: dict[str, Any] = {"name": name, **given}
    values |= {k: path_of(path, f"{key}.{k}", given[k]) for k in paths_of(given["kind"]) if k in given}
    if given["kind"] == "command":
        values["folder"] = path.parent.resolve()
        values["files"] = tuple(
            path_of(path, f"{key}.files", one) for one in _listed(path, f"{key}.files", given.get("files", ()))
        )
    if "arguments" in given:
        values["arguments"] = _arguments(path, f"{key}.arguments", given["arguments"])
    values |= {k: _section(path, key, k, given[k]) for k in MODEL_SECTIONS if k in given}
    found: StudyModel = typed(path, key, form, values, f"{key}.")
    return found


def _kinds() -> str:
    return f"another of the kinds {', '.join(RUNNABLE)}"


def _form(path: Path, key: str, kind: Any) -> type[Product] | type[Declared]:
    if not isinstance(kind, str) or kind not in KINDS:
        meant = OTHER_KINDS.get(str(kind).lower()) or next(iter(difflib.get_close_matches(str(kind), KINDS, n=1)), "")
        then = f'Did you mean "{meant}"?' if meant else f"Use one of {', '.join(KINDS)}"
        raise BadStudy(path, f"key `{key}.kind` is {kind!r}", then)
    return KINDS[kind]


def _example(name: str) -> str:
    examples = {
        "table": '"scores.csv"',
        "run": '"./score.sh {in} {out}"',
        "checkpoint": '"runs/other/models/A/checkpoint"',
        "file": '"network.onnx"',
        "network": '"package.module:Class"',
        "weights": '"weights.safetensors"',
        "bundle": '"bundles/lung"',
        "input": "{ size = [64, 128, 128] }",
    }
    return examples.get(name, "…")


def _listed(path: Path, key: str, given: Any) -> tuple[str, ...]:
    found: tuple[str, ...] = typed(path, key, tuple[str, ...], given)
    return found


def _arguments(path: Path, key: str, given: Any) -> str:
    if not isinstance(given, dict):
        raise BadStudy(path, f"key `{key}` is {given!r}", "Write a table: arguments = { classes = 2 }")
    try:
        return json.dumps(given, sort_keys=True)
    except TypeError as error:
        raise BadStudy(path, f"key `{key}` is {given!r}", "Give texts, numbers, true, false, lists") from error


def backbone_keys(path: Path, given: Mapping[str, object]) -> Mapping[str, object]:
    """The keys of `[network]` that is not the paper's: paths and arguments as the settings hold them.

    Raises:
        BadStudy: a preset besides, which is of the paper's network; or a wrong value.
    """
    if "preset" in given:
        what = f"key `network.preset` is given beside kind = {given['kind']!r}, and presets are of the paper's network"
        raise BadStudy(path, what, "Leave it out, and give input")
    found = dict(given)
    if "folder" in given:
        found["folder"] = path_of(path, "network.folder", given["folder"])
    if "arguments" in given:
        found["arguments"] = _arguments(path, "network.arguments", given["arguments"])
    return found


def _section(path: Path, key: str, name: str, given: Any) -> InputSettings | OutputSettings:
    form = MODEL_SECTIONS[name]
    if not isinstance(given, dict):
        raise BadStudy(path, f"key `{key}.{name}` is {given!r}", f"Write it as a table, [{key}.{name}]")
    check_keys(path, f"{key}.{name}.", given, [f.name for f in fields(form)], {})
    if name == "input" and "size" not in given:
        raise BadStudy(path, f"key `{key}.input.size` is missing", "Give size = [64, 128, 128], in the order of axes")
    if name == "output" and (meant := OTHER_GIVES.get(str(given.get("gives")))) is not None:
        raise BadStudy(path, f"key `{key}.output.gives` is {given['gives']!r}", f"Use {meant}")
    found: InputSettings | OutputSettings = typed(path, f"{key}.{name}", form, given, f"{key}.")
    return found
