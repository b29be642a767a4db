"""Drawings, tables and a page in; their files in one folder, each written whole or not at all, out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from elsewhere.evidence.figures import Canvas
from elsewhere.evidence.report.table import Table
from elsewhere.files import write_whole

LARGEST_PAGE = 5_000_000  # bytes, so that the page travels by mail


@dataclass(frozen=True)
class Picture:
    """A drawing ready to stand on the page.

    Attributes:
        name: stem of its SVG and PNG.
        svg: inline SVG.
    """

    name: str
    svg: Markup


@dataclass
class Folder:
    """Where the page, its figures and its tables go; each file is written whole or not at all."""

    root: Path
    written: set[str] = field(default_factory=set)

    def add_picture(self, canvas: Canvas) -> Picture:
        """Write a drawing as SVG and PNG, and make it ready for the page."""
        self._write(f"figures/{canvas.name}.svg", canvas.svg().encode())
        self._write(f"figures/{canvas.name}.png", canvas.png())
        return Picture(canvas.name, Markup(canvas.inline_svg()))

    def add_table(self, table: Table) -> Table:
        """Write a table as CSV."""
        self._write(f"tables/{table.name}.csv", table.to_csv().encode())
        return table

    def add_page(self, page: str) -> Path:
        """Write the page.

        Raises:
            ValueError: it is larger than `LARGEST_PAGE`.
        """
        content = page.encode()
        if len(content) > LARGEST_PAGE:
            words_ = f"report.html would take {len(content):,} bytes, more than {LARGEST_PAGE:,}"
            raise ValueError(f"{words_}; give it fewer studies or smaller example slices")
        return self._write("report.html", content)

    def _write(self, name: str, content: bytes) -> Path:
        assert name not in self.written, f"{name} is written twice"
        self.written.add(name)
        path = self.root / name
        write_whole(path, content, forced=False)  # there are hundreds, and any can be made again
        return path
