"""The command line: one sub-command for each file of commands/, imported only when it is called."""

from __future__ import annotations

import difflib
import errno
import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from elsewhere import COMMANDS, __version__
from elsewhere.errors import BadOption, ElsewhereError

GO_ON = "and start again: finished work is kept"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM)
STOPPED = 130  # as the shell says it of Ctrl-C


ANYWHERE = ("--json", "--quiet", "--verbose")
WITH_VALUE = ("--log-file", "--engine")
"""Options of every command; they may stand before it or behind it."""

TAKES_A_STUDY = ("prepare", "audit", "train", "predict", "study", "diagnose", "stress", "view")
"""Commands whose first word is a study: its file is checked before anything large is imported."""


class Commands(TyperGroup):
    """Lists the sub-commands from the map of the house and imports one when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names, in the order of use."""
        return list(COMMANDS)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options of every command are taken wherever they stand."""
        front, rest = hoist(args)
        return super().parse_args(ctx, [*front, *rest])

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command; Ctrl-C says that work is kept, which typer would swallow."""
        try:
            return super().invoke(ctx)
        except BadOption as error:
            raise typer.BadParameter(str(error)) from error
        except KeyboardInterrupt:
            typer.echo("elsewhere: Stopped. Start the same command again to go on: finished work is kept", err=True)
            raise typer.Exit(STOPPED) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The sub-command that the words name; a mistake in a study file is met before torch is loaded."""
        if args and args[0] in TAKES_A_STUDY and not {"-h", "--help"} & set(args):
            _check_study(args[1:])
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The sub-command, made from the public function of its file."""
        if cmd_name not in COMMANDS:
            if ctx is not None and (close := difflib.get_close_matches(cmd_name, COMMANDS, n=1, cutoff=0.6)):
                ctx.fail(f"No such command {cmd_name!r}. Did you mean {close[0]!r}?")
            return None
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(_ending(getattr(import_module(f"elsewhere.commands.{cmd_name}"), cmd_name)))
        return typer.main.get_command(single)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Names of sub-commands for a shell's completion, without importing any of them."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        found = {name: words for name, words in COMMANDS.items() if name.startswith(incomplete)}
        return [SimpleNamespace(value=name, type="plain", help=words) for name, words in found.items()]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options, then the list of sub-commands, without importing any of them."""
        records = [record for p in self.get_params(ctx) if (record := p.get_help_record(ctx))]
        for title, rows in (("Options", records), ("Commands", list(COMMANDS.items()))):
            with formatter.section(title):
                formatter.write_dl(rows)


def hoist(words: list[str]) -> tuple[list[str], list[str]]:
    """Options of every command, and the other words; nothing is an option behind `--`."""
    front: list[str] = []
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return front, [*rest, word, *left]
        if word in WITH_VALUE:
            front += [word, *left[:1]]
            left = left[1:]
        elif word in ANYWHERE or word.startswith(tuple(f"{name}=" for name in WITH_VALUE)):
            front.append(word)
        else:
            rest.append(word)
    return front, rest


def _check_study(words: list[str]) -> None:
    """Refuse a study file with a mistake; anything else is left to the command."""
    first = next((word for word in words if not word.startswith("-")), "")
    if first.endswith(".toml"):
        from elsewhere.studies.file import load_study  # noqa: PLC0415 - not needed for a command's help

        load_study(Path(first))


def _ending(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a sub-command: what it returns says how the process ends, and is what `--json` prints."""

    @wraps(function)
    def run(*given: Any, **named: Any) -> None:
        result = function(*given, **named)
        code = getattr(result, "exit_code", 0)
        from elsewhere import engine  # noqa: PLC0415 - the command has imported it

        if engine.voice().json:
            print(json.dumps(_record(result) | {"exit_code": code}, indent=1, default=str))
        if code:
            raise typer.Exit(code)

    return run


def _record(result: Any) -> dict[str, object]:
    """A command's result, JSON-able."""
    if hasattr(result, "to_record"):
        record: dict[str, object] = result.to_record()
        return record
    if isinstance(result, list | tuple):
        return {"results": [_record(one) for one in result]}
    if is_dataclass(result) and not isinstance(result, type):
        return asdict(result)
    return {} if result is None else {"file": str(result)}


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"elsewhere {__version__}")
        raise typer.Exit


@app.callback()
def elsewhere(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result, or the error, as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but results and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say where the time went, and where errors are.")] = False,
    log_file: Annotated[Path | None, typer.Option("--log-file", help="Add all that is said to this file.")] = None,
    *,
    engine_name: Annotated[
        str | None, typer.Option("--engine", help="Where work is done: cores, ray, ray:HOST:PORT or slurm [cores].")
    ] = None,
) -> None:
    """Will your CT classifier work elsewhere? External validation of chest-CT classifiers across hospitals.

    Options stand before a command or behind it.

    Research use only. Not a medical device.
    """
    if not (as_json or quiet or verbose or log_file or engine_name):
        if "elsewhere.engine" in sys.modules:  # another command ran in this process
            from elsewhere import engine  # noqa: PLC0415

            engine.speak(engine.Voice())
            engine.choose(None)
        return
    from elsewhere import engine  # noqa: PLC0415 - its console takes its time to import

    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose say the opposite: give one of them")
    engine.choose(engine_name)
    engine.speak(engine.Voice(quiet=quiet, json=as_json, verbose=verbose, log=log_file))
    engine.log(f"elsewhere {__version__}: {shlex.join(sys.argv[1:])}", soft_wrap=True)


def main() -> None:
    """Run the command line; errors that a user can act on are printed in one paragraph, without a traceback."""
    try:
        app()
    except ElsewhereError as error:
        _stop(str(error), error)
    except OSError as error:
        _stop(_explain(error), error)
    except UnicodeEncodeError as error:
        what = f"{error.object[:200]!r} holds a character that cannot be written as {error.encoding}"
        _stop(f"{what}. Rename that file or folder, {GO_ON}", error)
    except MemoryError as error:
        _stop(f"the memory of this machine is used up. Give fewer --workers, or take a larger machine, {GO_ON}", error)


def _explain(error: OSError) -> str:
    """What the system refused, where, and what to do: a full disk, a forbidden folder and an unreadable file apart."""
    where, what = error.filename or "disk", error.strerror or str(error)
    if error.errno in FULL:
        return f"{where}: cannot be written ({what}). Free space or choose another folder, {GO_ON}"
    if error.errno == errno.EROFS:
        return f"{where}: cannot be written ({what}). Choose a folder that you may write to, {GO_ON}"
    if error.errno in FORBIDDEN:
        if error.filename and os.path.exists(error.filename) and not os.access(error.filename, os.R_OK):
            return f"{where}: cannot be read ({what}). Give yourself the permission to read it, {GO_ON}"
        return f"{where}: cannot be written ({what}). Choose a folder that you may write to, {GO_ON}"
    if error.errno == errno.ENAMETOOLONG:
        return f"{where}: is too long a name for this file system. Use shorter names of studies, sites or folders"
    return f"{where}: cannot be read or written ({what}). Look at that file or folder, {GO_ON}"


def _stop(message: str, error: BaseException) -> None:
    """Print an error in one paragraph, as JSON and with its traceback where that is wanted; end with code 1."""
    if "elsewhere.engine" in sys.modules:
        from elsewhere import engine  # noqa: PLC0415

        voice = engine.voice()
        if voice.verbose:
            traceback.print_exception(error)
        if voice.json:
            parts = {name: getattr(error, name, None) for name in ("where", "what", "next_step")}
            print(json.dumps({"error": {"message": message, **parts}, "exit_code": 1}, indent=1))
        engine.log(f"elsewhere: {message}", soft_wrap=True)
    typer.echo(f"elsewhere: {message}", err=True)
    sys.exit(1)
