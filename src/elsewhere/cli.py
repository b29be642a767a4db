"""The command line: one sub-command for each file of commands/, imported only when it is called."""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Any

import click

from elsewhere import COMMANDS, __version__
from elsewhere.errors import ElsewhereError


class Commands(click.Group):
    """Lists the sub-commands from the map of the house and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The sub-command, made from the public function of its file."""
        if cmd_name not in COMMANDS:
            return None
        import typer  # noqa: PLC0415 - `elsewhere --help` must not wait for it

        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(cmd_name)(getattr(import_module(f"elsewhere.commands.{cmd_name}"), cmd_name))
        command: Any = typer.main.get_command(app)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of sub-commands, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def app() -> None:
    """Will your CT classifier work elsewhere? External validation of chest-CT classifiers across hospitals.

    Research use only. Not a medical device.
    """


def main() -> None:
    """Run the command line; errors that a user can act on are printed in one paragraph, without a traceback."""
    try:
        app(standalone_mode=True)
    except ElsewhereError as error:
        _stop(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        _stop(
            f"{error.filename or 'disk'}: {error.strerror}. Free space or choose a folder you may write to, "
            "and start again: finished work is kept"
        )
    except KeyboardInterrupt:
        _stop("Stopped. Start the same command again to go on: finished work is kept")


def _stop(message: str) -> None:
    click.echo(f"elsewhere: {message}", err=True)
    sys.exit(1)
