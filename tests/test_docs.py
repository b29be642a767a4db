"""README and docs/ in; every command, study file, option and link in them holds."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import typer

from elsewhere import COMMANDS
from elsewhere.cli import app, hoist
from elsewhere.model.declared import RUNNABLE
from elsewhere.scans.labels import COLUMNS, read_labels
from elsewhere.scans.values import LABELS
from elsewhere.studies import file as plan

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SITES = "\n[sites]\n" + "".join(
    f'{name} = {{ kind = "volumes", root = "x" }}\n' for name in ("UTSW", "CC-CCII", "COVID-CTset", "MosMedData")
)
MADE = {
    "cli",
    "study-keys",
    "site-options",
    "kinds",
    "models",
    "modules",
    "sequence-keys",
}  # marks that docs/hooks.py fills in
FRAGMENT = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def fences(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page in some languages."""
    return [body for _, language, body in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages]


def quoted_commands(page: Path) -> Iterator[list[str]]:
    """Every `elsewhere …` of a page as words: lines of code blocks, and inline code."""
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    for line in [*"\n".join(fences(page, "bash", "text")).splitlines(), *inline]:
        words = re.split(r" [>|] ", line.partition(" #")[0])[0]
        found = re.match(r"\s*(?:\w+=\S+ )?(?:\S+/bin/)?elsewhere ([a-z-].*)", words)
        if found and "…" not in line:
            yield hoist(shlex.split(found[1]))[1]


@cache
def command(name: str) -> Any:
    group: Any = typer.main.get_command(app)
    return group.get_command(None, name)


def spellings(name: str) -> set[str]:
    return {"-h", "--help", *(o for p in command(name).params for o in (*p.opts, *p.secondary_opts))}


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_quoted_commands_exist_with_their_options(page: Path) -> None:
    for name, *words in quoted_commands(page):
        if name.startswith("-"):
            assert name in {"--help", "--version", "-h", "--install-completion"}, f"{page}: elsewhere {name}"
            continue
        assert name in COMMANDS, f"{page}: elsewhere {name}"
        for word in words:
            assert word[0] != "-" or word in spellings(name), f"{page}: elsewhere {name} {word}"
        if words and "--help" not in words:  # a command that is only mentioned has no arguments
            with command(name).make_context(name, words) as context:
                assert context.params


def test_commands_are_found_in_the_pages() -> None:
    named = {words[0] for page in PAGES for words in quoted_commands(page)}
    assert {"study", "prepare", "report", "simulate", "demo"} <= named


def test_a_wrong_command_would_be_noticed() -> None:
    assert "--commands" in spellings("study")
    assert "--comands" not in spellings("study")
    with pytest.raises(Exception, match="model"):
        command("train").make_context("train", ["study.toml"])


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/get-started.md"], ids=["README", "get-started"])
def test_five_line_study_loads(page: Path, tmp_path: Path) -> None:
    (text,) = fences(page, "toml")
    file = tmp_path / "study.toml"
    file.write_text(text, encoding="utf-8")
    study = plan.load_study(file)
    assert len(text.splitlines()) == 5
    assert study.protocol == "harmonised"
    assert list(study.models) == ["Here"]
    assert [(site.kind, site.use, site.root) for site in study.sites] == [
        ("volumes", "split", tmp_path / "ct/here"),
        ("volumes", "test", tmp_path / "ct/there"),
    ]


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_toml_blocks_load(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    for text in fences(page, "toml"):
        sites = tomllib.loads(text).get("sites", {}).values()
        fragment = all(site.get("use") == "test" for site in sites)  # a part to add to a study file
        file = tmp_path / "study.toml"
        file.write_text(text + SITES * fragment, encoding="utf-8")
        assert plan.load_study(file).sites


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_label_tables_are_accepted(page: Path, tmp_path: Path) -> None:
    for text in fences(page, "csv"):
        table = tmp_path / "labels.csv"
        table.write_text(text, encoding="utf-8")
        assert {row.label for row in read_labels(table, "docs")} == {0, 1}


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_internal_links_resolve(page: Path) -> None:
    for _, target in FRAGMENT.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.relative_to(ROOT)} links to {target}"
        if anchor and not anchor.startswith("elsewhere."):  # those are made by mkdocstrings, and checked by it
            assert anchor in anchors(file), f"{page.relative_to(ROOT)} links to {target}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", h.lower())).strip("-") for h in headings}


def test_departures_are_those_of_the_code() -> None:
    text = (ROOT / "docs/concepts/protocols.md").read_text(encoding="utf-8").partition("## The departures")[2]
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| (.*?) \| (.*?) \|", text.partition("Three more")[0], re.MULTILINE)
    told = {(section, key): (paper.strip("`"), ours.strip("`")) for section, key, paper, ours in rows}
    known = {
        (section, key): (spelled(asdict(plan.SECTIONS[section]())[key]), spelled(value))
        for section, values in plan.HARMONISED.items()
        for key, value in values.items()
    }
    assert told == known


def test_named_options_exist() -> None:
    """`section.key` wherever a page quotes it."""
    for page in PAGES:
        for section, key in re.findall(r"`(\w+)\.(\w+)`", page.read_text(encoding="utf-8")):
            if section in plan.SECTIONS:
                assert key in asdict(plan.SECTIONS[section]()), f"{page.relative_to(ROOT)}: {section}.{key}"


def test_labels_page_names_every_column_and_label() -> None:
    text = (ROOT / "docs/reference/labels-table.md").read_text(encoding="utf-8")
    assert set(COLUMNS) <= set(re.findall(r"`(\w+)`", text))
    words = {word for words in re.findall(r"`([^`]+)`", text) for word in words.split()}
    assert set(LABELS) <= words


def test_tables_made_from_the_code_are_whole() -> None:
    specification = spec_from_file_location("docs_hooks", ROOT / "docs/hooks.py")
    assert specification
    assert specification.loader
    hooks = module_from_spec(specification)
    specification.loader.exec_module(hooks)
    assert set(hooks.MARKS) == MADE
    commands = hooks.cli_page()
    assert [name for name in COMMANDS if f"## {name}\n" not in commands] == []
    assert "| `--commands` | true or false | `false` |" in commands
    keys = hooks.study_keys()
    assert [name for name in plan.SECTIONS if f"## [{name}]\n" not in keys] == []
    assert "| `intensity` | [low, high] | `[0.0, 1.0]` | `[0.8, 1.2]` |" in keys
    assert "| `mosmeddata` | `ct0` |" in hooks.site_options()
    models = hooks.model_keys()
    assert [kind for kind in RUNNABLE if f'`kind = "{kind}"`' not in models] == []
    assert '| `axes` | `"IPL"` |' in models
    assert "| `orders` | required |" in hooks.sequence_keys()
    assert "| `run` | required |" in models
    assert "::: elsewhere.statistics.score" in hooks.modules("elsewhere.statistics")


def test_marks_are_known() -> None:
    marks = {mark for page in PAGES for mark in re.findall(r"<!-- ([\w-]+)(?:: \S+)? -->", page.read_text("utf-8"))}
    assert marks == MADE


def spelled(value: object) -> str:
    """A value as the study file writes it."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else f'"{value}"' if isinstance(value, str) else str(value)


def test_nothing_is_left_to_fill_in() -> None:
    assert "TIME_" not in (ROOT / "README.md").read_text(encoding="utf-8")
