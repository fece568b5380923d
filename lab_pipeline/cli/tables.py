"""Tables of a terminal: no word is broken, and what matters least gives way where there is no room."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from lab_pipeline.domain.text import visible

if TYPE_CHECKING:
    from rich.align import AlignMethod

HEADING = "bold"
GAP = 2
"""Blanks between columns."""
LEAST = 4
"""Width below which no column is cut to."""


class TextTable:
    """A table in which every cell is text, whatever is in it.

    Columns are as wide as what is in them. Where that is too wide, headings and prose are broken between words; then
    columns go, the least important first, and a line below says which; at last the widest ones are cut.
    """

    def __init__(
        self, names: Sequence[str], *, right: Sequence[str] = (), prose: Sequence[str] = (), drop: Sequence[str] = ()
    ) -> None:
        """Start a table.

        Args:
            names: headings of the columns.
            right: columns of numbers, which are set to the right.
            prose: columns whose cells may take several lines.
            drop: columns that can do without, the least important first.
        """
        self.show_header = True
        self._names = [visible(name) for name in names]
        self._right, self._prose = set(right), set(prose)
        self._drop = [names.index(name) for name in drop if name in names]
        self._rows: list[list[str]] = []

    def add_row(self, *cells: str) -> None:
        """Add a row, with a cell for each column."""
        if len(cells) != len(self._names):
            raise ValueError(f"{len(cells)} cells in a table of {len(self._names)} columns")
        self._rows.append([visible(cell) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the table out in the width that there is."""
        shown, gone, widths = self._fitted(options.max_width)
        if self.show_header:
            yield from self._lines(console, self._names, shown, widths, HEADING)
        for row in self._rows:
            yield from self._lines(console, row, shown, widths)
        if gone:
            yield Text(f"no room here for: {', '.join(self._names[column] for column in gone)}", style="dim")

    def _fitted(self, room: int) -> tuple[list[int], list[int], list[int]]:
        """Return which columns are shown, which are not, and how wide those are that are."""
        shown = list(range(len(self._names)))
        least, most = [self._least(column) for column in shown], [self._most(column) for column in shown]
        gone: list[int] = []
        for column in self._drop:
            if _width([least[one] for one in shown]) <= room:
                break
            shown.remove(column)
            gone.append(column)
        widths = [least[column] for column in shown]
        while _width(widths) > room and max(widths) > LEAST:  # nothing more can go: cut the widest
            widths[widths.index(max(widths))] -= 1
        growing = [number for number, column in enumerate(shown) if widths[number] < most[column]]
        while growing and _width(widths) < room:  # one after the other, so that long texts share what there is
            number = min(growing, key=lambda one: widths[one])
            widths[number] += 1
            growing = [one for one in growing if widths[one] < most[shown[one]]]
        return shown, sorted(gone), widths

    def _most(self, column: int) -> int:
        """Return the width in which nothing of a column is broken."""
        heading = [self._names[column]] if self.show_header else []
        return max((cell_len(cell) for cell in (*heading, *(row[column] for row in self._rows))), default=0)

    def _least(self, column: int) -> int:
        """Return the width in which no word of a column is broken."""
        words = self._names[column].split() if self.show_header else []
        for row in self._rows:
            words += row[column].split() if self._names[column] in self._prose else [row[column]]
        return max((cell_len(word) for word in words), default=0)

    def _lines(
        self,
        console: Console,
        cells: Sequence[str],
        shown: Sequence[int],
        widths: Sequence[int],
        style: str = "",
    ) -> Iterator[Text]:
        wrapped = [
            list(Text(cells[column], style).wrap(console, width, overflow="ellipsis")) if cells[column] else []
            for column, width in zip(shown, widths, strict=True)
        ]
        if style == HEADING:  # on the line above the numbers
            deepest = max(map(len, wrapped), default=0)
            wrapped = [[Text()] * (deepest - len(lines)) + lines for lines in wrapped]
        for parts in zip_longest(*wrapped) if any(wrapped) else [(None,) * len(shown)]:
            line = Text()
            for column, width, part in zip(shown, widths, parts, strict=True):
                side: AlignMethod = "right" if self._names[column] in self._right else "left"
                placed = part.copy() if part else Text()
                placed.rstrip()
                placed.align(side, width)
                line.append_text(placed)
                line.append(" " * GAP)
            line.rstrip()
            yield line


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * max(0, len(widths) - 1)
