"""The command line: one sub-command for each file of commands/, imported only when it is called."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from elsewhere import COMMANDS, __version__
from elsewhere.errors import ElsewhereError

GO_ON = "and start again: finished work is kept"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM)
STOPPED = 130  # as the shell says it of Ctrl-C


class Commands(TyperGroup):
    """Lists the sub-commands from the map of the house and imports one when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names, in the order of use."""
        return list(COMMANDS)

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command; Ctrl-C says that work is kept, which typer would swallow."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("elsewhere: Stopped. Start the same command again to go on: finished work is kept", err=True)
            raise typer.Exit(STOPPED) from None

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The sub-command, made from the public function of its file."""
        if cmd_name not in COMMANDS:
            if ctx is not None and (close := difflib.get_close_matches(cmd_name, COMMANDS, n=1, cutoff=0.6)):
                ctx.fail(f"No such command {cmd_name!r}. Did you mean {close[0]!r}?")
            return None
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(getattr(import_module(f"elsewhere.commands.{cmd_name}"), cmd_name))
        return typer.main.get_command(single)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options, then the list of sub-commands, without importing any of them."""
        records = [record for p in self.get_params(ctx) if (record := p.get_help_record(ctx))]
        for title, rows in (("Options", records), ("Commands", list(COMMANDS.items()))):
            with formatter.section(title):
                formatter.write_dl(rows)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
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
) -> None:
    """Will your CT classifier work elsewhere? External validation of chest-CT classifiers across hospitals.

    Research use only. Not a medical device.
    """


def main() -> None:
    """Run the command line; errors that a user can act on are printed in one paragraph, without a traceback."""
    try:
        app()
    except ElsewhereError as error:
        _stop(str(error))
    except OSError as error:
        _stop(_explain(error))
    except UnicodeEncodeError as error:
        what = f"{error.object[:200]!r} holds a character that cannot be written as {error.encoding}"
        _stop(f"{what}. Rename that file or folder, {GO_ON}")
    except MemoryError:
        _stop(f"the memory of this machine is used up. Give fewer --workers, or take a larger machine, {GO_ON}")


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


def _stop(message: str) -> None:
    typer.echo(f"elsewhere: {message}", err=True)
    sys.exit(1)
