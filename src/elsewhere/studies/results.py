"""What `study` and `demo` give to who calls them: where the results lie, the scores, which networks did not learn."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from elsewhere.rows import ScoreRow
from elsewhere.studies.folder import Folder
from elsewhere.studies.learned import DEGENERATE
from elsewhere.studies.records import read_identity, read_scores
from elsewhere.table_format import in_pandas


@dataclass(frozen=True)
class StudyResult:
    """A study, or several side by side, that has run.

    Attributes:
        folders: of each study.
        page: the page over all of them; None where it was not made.
        unlearned: names of the networks that did not learn.
        commands: of a cluster, where only these were asked for.
    """

    folders: tuple[Path, ...]
    page: Path | None
    unlearned: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """30 where a network did not learn, else 0."""
        return DEGENERATE if self.unlearned else 0

    def scores(self) -> list[ScoreRow]:
        """One row per model, site and reading of the threshold.

        Raises:
            BadStudy: a table is missing or damaged.
        """
        folders = [Folder(path) for path in self.folders]
        return [row for folder in folders for row in read_scores(folder, read_identity(folder))]

    def table(self) -> Any:
        """The scores as a pandas DataFrame.

        Raises:
            BadInstallation: pandas is not installed.
        """
        names = [field.name for field in fields(ScoreRow)]
        return in_pandas([[getattr(row, name) for name in names] for row in self.scores()], names, "scores()")

    def to_record(self) -> dict[str, object]:
        """JSON-able."""
        return {
            "folders": [str(path) for path in self.folders],
            "page": None if self.page is None else str(self.page),
            "unlearned": list(self.unlearned),
            "commands": list(self.commands),
            "scores": [] if self.page is None else [asdict(row) for row in self.scores()],
        }
