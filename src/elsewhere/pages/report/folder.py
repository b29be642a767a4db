"""Drawings, tables and a page in; their files in one folder, each written whole or not at all, out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from elsewhere.files import write_whole
from elsewhere.pages.figures import Canvas
from elsewhere.pages.report.table import Table

PAGE, PER_CELL = 2_500_000, 4_000
"""Bytes that a page may take: so many, and so many more for each model at each site. Beyond, pictures lie beside it."""
TALLEST = 12_000
"""Points that a picture on the page may be tall: some fifteen screens. A taller one lies beside the page as well."""
LINKED = Markup(
    '<p class="small muted">Too large to stand on this page; it lies beside it: '
    '<a href="figures/{0}.svg">figures/{0}.svg</a>.</p>'
)


@dataclass
class Picture:
    """A drawing ready to stand on the page.

    Attributes:
        name: stem of its SVG and PNG.
        svg: inline SVG, or a line with a link to it where the page would grow too large.
        first: whether it stands on the page when others no longer do.
        height: in points.
    """

    name: str
    svg: Markup
    first: bool = False
    height: float = 0.0


@dataclass
class Folder:
    """Where the page, its figures and its tables go; each file is written whole or not at all."""

    root: Path
    written: set[str] = field(default_factory=set)
    pictures: list[Picture] = field(default_factory=list)

    def add_picture(self, canvas: Canvas, *, first: bool = False) -> Picture:
        """Write a drawing as SVG and PNG, and make it ready for the page; `first`: linked to after all others."""
        self._write(f"figures/{canvas.name}.svg", canvas.svg().encode())
        self._write(f"figures/{canvas.name}.png", canvas.png())
        self.pictures.append(Picture(canvas.name, Markup(canvas.inline_svg()), first, canvas.height))
        return self.pictures[-1]

    def add_table(self, table: Table) -> Table:
        """Write a table as CSV."""
        self._write(f"tables/{table.name}.csv", table.to_csv().encode())
        return table

    def add_text(self, name: str, text: str) -> str:
        """Write a text beside the page, and return its path from there."""
        self._write(name, text.encode())
        return name

    def add_page(self, render: Callable[[], str], cells: int) -> Path:
        """Write the page; pictures above `TALLEST`, and the largest beyond `PAGE` and `PER_CELL`, are linked to.

        Args:
            render: gives the page with the pictures as they are now.
            cells: models times sites, summed over the studies.
        """
        for picture in self.pictures:
            if picture.height > TALLEST:
                picture.svg = LINKED.format(picture.name)
        page = render()
        excess = len(page.encode()) - PAGE - PER_CELL * cells
        for picture in sorted(self.pictures, key=lambda p: (p.first, -len(p.svg))):
            if excess > 0 and picture.svg in page:
                excess -= len(picture.svg)
                picture.svg = LINKED.format(picture.name)
        return self._write("report.html", render().encode())

    def _write(self, name: str, content: bytes) -> Path:
        assert name not in self.written, f"{name} is written twice"
        self.written.add(name)
        path = self.root / name
        write_whole(path, content, forced=False)  # there are hundreds, and any can be made again
        return path
