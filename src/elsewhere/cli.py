"""The command line: one sub-command for each file of commands/, imported only when it is called."""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from elsewhere import COMMANDS, __version__
from elsewhere.errors import ElsewhereError

TELLING = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM)


class Commands(TyperGroup):
    """Lists the sub-commands from the map of the house and imports one when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The sub-command, made from the public function of its file."""
        if cmd_name not in COMMANDS:
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
        if error.errno not in TELLING:
            raise
        _stop(
            f"{error.filename or 'disk'}: {error.strerror}. Free space or choose a folder you may write to, "
            "and start again: finished work is kept"
        )
    except KeyboardInterrupt:
        _stop("Stopped. Start the same command again to go on: finished work is kept")


def _stop(message: str) -> None:
    typer.echo(f"elsewhere: {message}", err=True)
    sys.exit(1)
