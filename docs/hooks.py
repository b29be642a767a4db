"""Markdown with marks like `<!-- cli -->` in; the same with tables made from the code, so that they cannot grow old."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import typer

from elsewhere import COMMANDS
from elsewhere.cli import app
from elsewhere.model.declared import RUNNABLE, CommandModel, InputSettings, OutputSettings
from elsewhere.scans.sites import KINDS, reader
from elsewhere.studies import file as plan
from elsewhere.studies.sequence_plan import SequenceSettings

MEASURED = (
    "evidence-tables.md",
    "dose-tables.md",
    "forensics-tables.md",
    "diagnosis-tables.md",
    "verdict-tables.md",
    "arms-tables.md",
    "adapt-tables.md",
    "cross-validation-tables.md",
    "selection-tables.md",
    "performance.md",
    "log.md",
)
SOURCES = Path(__file__).parents[1] / "src"
TYPES = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "float | None": "number",
    "Path": "path",
    "Size": "[slices, rows, columns]",
    "tuple[Size, ...]": "list of [slices, rows, columns]",
    "tuple[int, ...]": "list of whole numbers",
    "tuple[int, int, int]": "[slices, rows, columns]",
    "tuple[int, int]": "[low, high]",
    "tuple[float, float]": "[low, high]",
    "Sampling": '"uniform" or "balanced"',
    "Minimised": '"erm", "group_dro", "v_rex" or "coral"',
    "Select": '"accuracy", "log_loss" or "auc"',
}


def on_config(config: Any) -> Any:
    """Add the pages of measurements that exist to the navigation."""
    found = [name for name in MEASURED if (Path(config.docs_dir) / name).is_file()]
    config.nav = [*config.nav, {"Measured": found}] if found else config.nav
    return config


def on_page_markdown(markdown: str, **_: object) -> str:
    """What mkdocs calls for each page."""
    for mark, make in MARKS.items():
        markdown = re.sub(
            rf"<!-- {mark}(?:: (\S+))? -->", lambda m, make=make: make(*filter(None, m.groups())), markdown
        )
    return markdown


def cli_page() -> str:
    """Every sub-command with its arguments and options, from the command line itself."""
    return "\n\n".join(_command(name) for name in COMMANDS)


def _command(name: str) -> str:
    group: Any = typer.main.get_command(app)
    command = group.get_command(None, name)
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    options = [p for p in command.params if p.opts[0].startswith("-")]
    usage = " ".join(["elsewhere", name, *map(_metavar, arguments), *(["[OPTIONS]"] if options else [])])
    parts = [f"## {name}", inspect.cleandoc(command.help), f"```text\n{usage}\n```"]
    parts += [_parameters("Argument", arguments), _parameters("Option", options)]
    return "\n\n".join(part for part in parts if part)


def _metavar(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _parameters(kind: str, parameters: list[Any]) -> str:
    if not parameters:
        return ""
    rows = [(_spelled(p), _type(p), _default(p), p.help or "") for p in parameters]
    return _table((kind, "Type", "Default", "What it does"), rows)


def _spelled(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    return ", ".join(f"`{n}`" if n.startswith("-") else f"`{n.upper()}`" for n in names)


def _type(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    (kind,) = [one for one in get_args(kind) if one is not NoneType] if NoneType in get_args(kind) else [kind]
    inner, *_ = get_args(kind) or (kind,)
    several = ", may be repeated" if parameter.multiple else ", one or more" if parameter.nargs == -1 else ""
    return TYPES.get(inner.__name__, inner.__name__.lower()) + several


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return "" if parameter.default is None else f"`{_toml(parameter.default)}`"


def model_keys() -> str:
    """Every kind of model that can be run, its input and its output: key, type, value, meaning."""
    kinds: dict[type, list[str]] = {}
    for kind, form in RUNNABLE.items():
        kinds.setdefault(form, []).append(f'`kind = "{kind}"`')
    titles = [(" or ".join(names), form) for form, names in kinds.items()]
    titles += [("`input` of a network", InputSettings), ("`output` of a network", OutputSettings)]
    return "\n\n".join(f"**{title}**\n\n{_model_table(form)}" for title, form in titles)


def _model_table(form: type) -> str:
    says = {key: text for parent in reversed(form.__mro__[:-1]) for key, text in attributes(parent).items()}
    rows = []
    for field in fields(form):
        if field.name in {"name", "kind"} or (form is CommandModel and field.name == "folder"):
            continue
        default = "required" if field.default is MISSING else f"`{_toml(field.default)}`"
        if isinstance(field.default, OutputSettings):
            default = ""
        rows.append((f"`{field.name}`", default, says[field.name]))
    return _table(("Key", "Value", "What it does"), rows)


def sequence_keys() -> str:
    """The keys of `[sequence]`: key, value, meaning."""
    return _model_table(SequenceSettings)


def study_keys() -> str:
    """Every section of the study file: key, type, value under either protocol, meaning."""
    return "\n\n".join(_section(name, kind) for name, kind in plan.SECTIONS.items())


def _section(name: str, kind: type) -> str:
    says = attributes(kind)
    rows = []
    for field in fields(kind):
        if (name, field.name) in plan.MADE_HERE:
            continue
        paper = field.default
        harmonised = plan.HARMONISED.get(name, {}).get(field.name, paper)
        same = "the same" if harmonised == paper else f"`{_toml(harmonised)}`"
        rows.append((f"`{field.name}`", _annotation(str(field.type)), f"`{_toml(paper)}`", same, says[field.name]))
    summary = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return f"## [{name}]\n\n{summary}\n\n" + _table(("Key", "Type", "`paper`", "`harmonised`", "Meaning"), rows)


def attributes(kind: type) -> dict[str, str]:
    """Name → text of a class docstring's `Attributes:` section."""
    section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for names, text in found for name in names.split(", ")}


def _annotation(text: str) -> str:
    if text.startswith("Literal["):
        return " or ".join(text[len("Literal[") : -1].replace("'", '"').split(", "))
    return TYPES.get(text, text)


def _toml(value: object) -> str:
    """A value as the study file writes it; TOML has no word for nothing."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return "none" if value is None else str(value)


def site_options() -> str:
    """The options of each kind of site, from the docstring of its `find`."""
    rows = [row for kind in KINDS for row in _options(kind)]
    return _table(("Kind", "Option", "Default", "Meaning"), rows)


def _options(kind: str) -> Iterator[tuple[str, ...]]:
    find = reader(kind).find
    says = _arguments(inspect.getdoc(find) or "")
    for name, parameter in inspect.signature(find).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            yield f"`{kind}`", f"`{name}`", f"`{_toml(parameter.default)}`", says[name]


def kinds() -> str:
    """The kinds of site."""
    return _table(("Kind", "What it reads"), [(f"`{kind}`", words) for kind, words in KINDS.items()])


def _arguments(docstring: str) -> dict[str, str]:
    section = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


def modules(package: str) -> str:
    """A mkdocstrings directive for every module of a package (or for the module itself)."""
    return "\n\n".join(f"::: {name}" for name in _modules(package))


def _modules(package: str) -> Iterator[str]:
    root = SOURCES / Path(*package.split("."))
    if root.with_suffix(".py").is_file():
        yield package
    for path in sorted(root.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        yield name.removesuffix(".__init__")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


MARKS = {
    "cli": cli_page,
    "study-keys": study_keys,
    "site-options": site_options,
    "kinds": kinds,
    "models": model_keys,
    "sequence-keys": sequence_keys,
    "modules": modules,
}
"""Mark → what stands in its place; `<!-- modules: elsewhere.scans -->` passes an argument."""
