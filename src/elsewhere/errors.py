"""What went wrong, where, and what to do next: the one family of errors that users see."""

from __future__ import annotations

from pathlib import Path


class ElsewhereError(Exception):
    """An error that a user can act on; the command line prints it without a traceback.

    Args:
        where: the file, folder, table or settings key at fault, as the user knows it.
        what: what is wrong, with the value found.
        next_step: what to do about it.
    """

    def __init__(self, where: str | Path, what: str, next_step: str) -> None:
        super().__init__(str(where), what, next_step)
        self.where, self.what, self.next_step = str(where), what, next_step

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.next_step}"


class BadScan(ElsewhereError):
    """One scan cannot be used; it is listed with its reason and the site goes on."""


class BadSite(ElsewhereError):
    """A site's folder or labels table cannot be used as a whole."""


class BadTable(ElsewhereError):
    """A table of scores, of labels for them, or a claim about them, cannot be used."""


class BadStudy(ElsewhereError):
    """A study file, or what it asks for, cannot be carried out."""


class BadOption(ElsewhereError):
    """An option or argument of a command, or of its function, is outside its range."""

    def __str__(self) -> str:
        return f"{self.where} {self.what}. {self.next_step}"

    @classmethod
    def of_value(cls, error: ValueError) -> BadOption:
        """From a message that begins with the name of a parameter, as `least_auc must be …`."""
        name, _, what = str(error).partition(" ")
        return cls(f"--{name.replace('_', '-')}", what, "Give another value")


class BadCheckpoint(ElsewhereError):
    """A checkpoint is damaged or does not fit what it is used for."""


class BadInstallation(ElsewhereError):
    """Parts of the installed program do not belong together."""


class BadKernelCall(ElsewhereError):
    """Memory that a compiled kernel would misread was about to be handed to it: a fault of the program."""
