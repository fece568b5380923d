"""SVG written as text: its bytes depend on nothing but what was drawn."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import escape

from lab_pipeline.reports.ticks import Tick

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Interval = tuple[float, float]
Place = tuple[float, float, float, float]
"""Left, top, width and height in CSS pixels."""

FONT = 11
LABEL_GAP = 6
"""Between the axes and their labels or titles, in CSS pixels."""
HALF_A_CAPITAL = 4
"""From the middle of a line of text to its baseline, in CSS pixels."""


@dataclass(frozen=True)
class Palette:
    """Colours by what they mean; `up` and `down` are for signed values alone."""

    ink: str
    muted: str
    grid: str
    accent: str
    up: str
    down: str


PICTURE = Palette(ink="#7d8794", muted="#7d8794", grid="#8b95a5", accent="#5b7cfa", up="#2f9e76", down="#e0604f")
"""Mid-tones that can be read on a light and on a dark ground alike, for a picture that stands alone."""

PAGE = Palette(
    ink="var(--ink)",
    muted="var(--muted)",
    grid="var(--grid)",
    accent="var(--accent)",
    up="var(--up)",
    down="var(--down)",
)
"""Variables of the tear sheet, so that a chart follows the page's theme."""


class Canvas:
    """A picture of some size in CSS pixels, its left upper corner the origin.

    Attributes:
        name: unique on the page; begins the ids of the picture.
        fine: whole units in a CSS pixel; everything is rounded to them.
    """

    def __init__(self, name: str, width: float, height: float, palette: Palette, *, fine: int = 10) -> None:
        self.name, self.width, self.height, self.palette, self.fine = name, width, height, palette, fine
        self._parts: list[str] = []
        self._defined = 0

    def panel(self, place: Place, x: Interval, y: Interval) -> "Panel":
        """Return axes in that place, over these ranges of values."""
        return Panel(self, place, x, y)

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", colour: str | None = None) -> None:
        """Write one line; `y` is its baseline."""
        self.texts([(x, y, text)], anchor=anchor, colour=colour)

    def texts(
        self, lines: Iterable[tuple[float, float, str]], *, anchor: str = "start", colour: str | None = None
    ) -> None:
        """Write lines alike, each at its baseline."""
        written = "".join(f'<text x="{self.n(x)}" y="{self.n(y)}">{escape(text)}</text>' for x, y, text in lines)
        if written:
            self._parts.append(f'<g fill="{colour or self.palette.muted}" text-anchor="{anchor}">{written}</g>')

    def path(self, d: str, **attributes: str | float) -> None:
        """Draw a path with its attributes; an underscore in their names stands for a hyphen."""
        written = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
        self._parts.append(f'<path{written} d="{d}"/>')

    def raw(self, markup: str) -> None:
        """Add what no other method draws; whoever writes it has escaped its text."""
        self._parts.append(markup)

    def clip(self, x: float, y: float, width: float, height: float) -> str:
        """Return a reference for `clip_path` to draw within a rectangle."""
        n = self.n
        inside = f'<rect x="{n(x)}" y="{n(y)}" width="{n(width)}" height="{n(height)}"/>'
        return self._define("clipPath", inside)

    def dot(self, colour: str, diameter: float, opacity: float) -> str:
        """Return a reference for the markers of a path to draw a dot at each of its points."""
        size = self.n(diameter)
        half = f"{size / 2:g}"
        circle = f'<circle cx="{half}" cy="{half}" r="{half}" fill="{colour}" fill-opacity="{opacity:.3g}"/>'
        place: dict[str, str | float] = {
            "markerUnits": "userSpaceOnUse",
            "markerWidth": size,
            "markerHeight": size,
            "refX": half,
            "refY": half,
        }
        return self._define("marker", circle, **place)

    def _define(self, element: str, content: str, **attributes: str | float) -> str:
        self._defined += 1
        name = f"{self.name}-{self._defined}"
        written = "".join(f' {key}="{value}"' for key, value in attributes.items())
        self._parts.append(f'<defs><{element} id="{name}"{written}>{content}</{element}></defs>')
        return f"url(#{name})"

    def n(self, pixels: float) -> int:
        """Return CSS pixels in the units of the picture."""
        return round(pixels * self.fine)

    def to_svg(self, title: str, description: str) -> str:
        """Write the element to be put into HTML; title and description are what a screen reader says."""
        about = (
            f'<title id="{self.name}-title">{escape(title)}</title>'
            f'<desc id="{self.name}-desc">{escape(description)}</desc>'
        )
        names = f' aria-labelledby="{self.name}-title" aria-describedby="{self.name}-desc"'
        return f'<svg{self._root()} role="img"{names}>{about}\n' + "\n".join(self._parts) + "\n</svg>"

    def to_document(self, title: str) -> str:
        """Write a file of its own."""
        size = f' xmlns="http://www.w3.org/2000/svg" width="{self.width:g}" height="{self.height:g}"'
        font = ' font-family="system-ui,sans-serif"'
        return f"<svg{size}{self._root()}{font}><title>{escape(title)}</title>{''.join(self._parts)}</svg>"

    def _root(self) -> str:
        box = f"0 0 {self.n(self.width)} {self.n(self.height)}"
        return f' viewBox="{box}" font-size="{self.n(FONT)}" fill="none" stroke-linejoin="round"'


class Panel:
    """Axes on a canvas: a place for values."""

    def __init__(self, canvas: Canvas, place: Place, x: Interval, y: Interval) -> None:
        self.canvas, self.x, self.y = canvas, x, y
        self.left, self.top, self.width, self.height = place
        self._clip: str | None = None

    def grid(self, rows: Sequence[Tick], columns: Sequence[Tick] = ()) -> None:
        """Draw a faint line at every tick; call it first, for what follows lies above it."""
        n = self.canvas.n
        path = "".join(f"M{n(self.left)} {self._row(tick.at)}h{n(self.width)}" for tick in rows)
        path += "".join(f"M{self._column(tick.at)} {n(self.top)}v{n(self.height)}" for tick in columns)
        if path:
            self.canvas.path(path, stroke=self.canvas.palette.grid, stroke_opacity=0.35, stroke_width=n(0.8))

    def label_rows(self, ticks: Sequence[Tick]) -> None:
        """Write the labels of the y axis."""
        fine = self.canvas.fine
        lines = [(self.left - LABEL_GAP, self._row(tick.at) / fine + HALF_A_CAPITAL, tick.label) for tick in ticks]
        self.canvas.texts(lines, anchor="end")

    def label_columns(self, ticks: Sequence[Tick]) -> None:
        """Draw the x axis and write its labels."""
        n, base = self.canvas.n, self.top + self.height
        line = f"M{n(self.left)} {n(base)}h{n(self.width)}"
        self.canvas.path(line, stroke=self.canvas.palette.grid, stroke_width=n(0.8))
        below = base + LABEL_GAP + FONT
        self.canvas.texts(
            [(self._column(tick.at) / self.canvas.fine, below, tick.label) for tick in ticks], anchor="middle"
        )

    def title(self, text: str) -> None:
        """Write what the panel shows, at its left."""
        self.canvas.text(self.left, self.top - LABEL_GAP, text)

    def note(self, text: str) -> None:
        """Write what belongs to the title, at the right."""
        self.canvas.text(self.left + self.width, self.top - LABEL_GAP, text, anchor="end")

    def name_columns(self, text: str) -> None:
        """Write what the x axis shows, below its labels."""
        below = self.top + self.height + 2 * LABEL_GAP + 2 * FONT + 4
        self.canvas.text(self.left + self.width / 2, below, text, anchor="middle")

    def line(
        self, x: Floats, y: Floats, colour: str, *, width: float = 1.6, clipped: bool = False, dashes: str | None = None
    ) -> None:
        """Draw a line through points."""
        path = polyline(self._columns(x), self._rows(y))
        self._rule(path, colour, width, dashes, clipped=clipped)

    def area(self, x: Floats, low: Floats | float, high: Floats, colour: str, *, opacity: float) -> None:
        """Fill what lies between two lines, or between a value and a line."""
        across, upper = self._columns(x), self._rows(high)
        if isinstance(low, np.ndarray):
            path = polyline(np.concatenate([across, across[::-1]]), np.concatenate([upper, self._rows(low)[::-1]]))
            self._add(f"{path}z", fill=colour, fill_opacity=opacity, clipped=True)
        else:
            path = f"{polyline(across, upper)}V{self._row(low)}H{across[0]}z"
            self._add(path, fill=colour, fill_opacity=opacity, clipped=False)

    def bars(self, x: Floats, heights: Floats, colour: str, *, wide: float) -> None:
        """Draw bars from zero, all of one colour and that many CSS pixels wide."""
        zero, wide = self._row(0), self.canvas.n(wide)
        rows = self._rows(heights).tolist()
        path = "".join(
            f"M{column - wide // 2} {zero}V{row}h{wide}V{zero}z"
            for column, row in zip(self._columns(x).tolist(), rows, strict=True)
            if row != zero
        )
        if path:
            self._add(path, fill=colour, fill_opacity=0.8, clipped=False)

    def bodies(self, x: Floats, low: Floats, high: Floats, colour: str, *, wide: float) -> None:
        """Draw an upright bar between two values at each place, a hairline where they are equal."""
        wide = self.canvas.n(wide)
        ends = zip(self._columns(x).tolist(), self._rows(low).tolist(), self._rows(high).tolist(), strict=True)
        path = "".join(
            f"M{column - wide // 2} {top}h{wide}v{max(bottom - top, 1)}h-{wide}z" for column, bottom, top in ends
        )
        if path:
            self._add(path, fill=colour, clipped=False)

    def whiskers(self, x: Floats, low: Floats, high: Floats, colour: str) -> None:
        """Draw an upright line between two values at each place."""
        ends = zip(self._columns(x).tolist(), self._rows(low).tolist(), self._rows(high).tolist(), strict=True)
        path = "".join(f"M{column} {start}V{end}" for column, start, end in ends if start != end)
        if path:
            self._add(path, stroke=colour, stroke_width=self.canvas.n(1), clipped=False)

    def level(self, y: float, colour: str, *, width: float = 1, dashes: str | None = None) -> None:
        """Draw a line across the panel at a value."""
        path = f"M{self.canvas.n(self.left)} {self._row(y)}h{self.canvas.n(self.width)}"
        self._rule(path, colour, width, dashes)

    def upright(self, x: float, colour: str, *, width: float = 1, dashes: str | None = None) -> None:
        """Draw a line from the bottom of the panel to its top."""
        path = f"M{self._column(x)} {self.canvas.n(self.top)}v{self.canvas.n(self.height)}"
        self._rule(path, colour, width, dashes)

    def diagonal(self, colour: str, *, dashes: str) -> None:
        """Draw the line on which both values are equal."""
        low, high = max(self.x[0], self.y[0]), min(self.x[1], self.y[1])
        if low < high:
            path = f"M{self._column(low)} {self._row(low)}L{self._column(high)} {self._row(high)}"
            self._rule(path, colour, 1, dashes)

    def dots(self, x: Floats, y: Floats, colour: str, *, diameter: float, opacity: float) -> None:
        """Draw a dot at each point; where several lie on one another, they are darker."""
        if not len(x):
            return
        across, up = self._columns(x), self._rows(y)
        order = np.lexsort((up, across))  # neighbours follow one another, so the steps between them are short to write
        dot = self.canvas.dot(colour, diameter, opacity)
        path = polyline(across[order], up[order], every=True)
        self.canvas.path(path, marker_start=dot, marker_mid=dot, marker_end=dot)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where on the canvas a point lies, in CSS pixels."""
        return self._column(x) / self.canvas.fine, self._row(y) / self.canvas.fine

    def _rule(self, path: str, colour: str, width: float, dashes: str | None, *, clipped: bool = False) -> None:
        n = self.canvas.n
        pattern = {} if dashes is None else {"stroke_dasharray": " ".join(str(n(float(one))) for one in dashes.split())}
        self._add(path, stroke=colour, stroke_width=n(width), clipped=clipped, **pattern)

    def _add(self, path: str, *, clipped: bool, **attributes: str | float) -> None:
        if clipped and self._clip is None:
            self._clip = self.canvas.clip(self.left, self.top, self.width, self.height)
        clip = {"clip_path": self._clip} if clipped and self._clip else {}
        self.canvas.path(path, **clip, **attributes)

    def _columns(self, x: Floats) -> Ints:
        return _scaled(x, self.x, self.left * self.canvas.fine, self.width * self.canvas.fine)

    def _rows(self, y: Floats) -> Ints:
        bottom = (self.top + self.height) * self.canvas.fine
        return _scaled(y, self.y, bottom, -self.height * self.canvas.fine)

    def _column(self, x: float) -> int:
        return int(self._columns(np.array([x]))[0])

    def _row(self, y: float) -> int:
        return int(self._rows(np.array([y]))[0])


def standing_alone(svg: str) -> str:
    """Make a file of its own of what `Canvas.to_svg` has written in the colours of `PAGE`: for any ground."""
    for name, colour in asdict(PICTURE).items():
        svg = svg.replace(getattr(PAGE, name), colour)
    width, height, font = map(int, _SIZES.findall(svg)[0])
    fine = font / FONT
    size = f' xmlns="http://www.w3.org/2000/svg" width="{width / fine:g}" height="{height / fine:g}"'
    return svg.replace("<svg", f'<svg{size} font-family="system-ui,sans-serif"', 1)


_SIZES = re.compile(r'viewBox="0 0 (\d+) (\d+)" font-size="(\d+)"')


def polyline(x: Ints, y: Ints, *, every: bool = False) -> str:
    """Write a path through points as steps from one to the next.

    Args:
        x: whole numbers.
        y: as many.
        every: whether to keep points that change nothing about the line.
    """
    if not every:
        kept = _corners(x, y)
        x, y = x[kept], y[kept]
    steps = zip(np.diff(x).tolist(), np.diff(y).tolist(), strict=True)
    # a minus separates numbers as well as a blank does
    written = " ".join(f"{right}{down}" if down < 0 else f"{right} {down}" for right, down in steps)
    return f"M{x[0]} {y[0]}l{written}".replace(" -", "-") if written else f"M{x[0]} {y[0]}h0"


def _corners(x: Ints, y: Ints) -> npt.NDArray[np.bool_]:
    """Tell which points a line needs: neither those that repeat the one before nor those on a straight stretch."""
    moved = np.ones(len(x), np.bool_)
    moved[1:] = (np.diff(x) != 0) | (np.diff(y) != 0)
    at = np.flatnonzero(moved)
    right, down = np.diff(x[at]), np.diff(y[at])
    turns = right[:-1] * down[1:] != right[1:] * down[:-1]
    back = right[:-1] * right[1:] + down[:-1] * down[1:] < 0
    kept = np.zeros(len(x), np.bool_)
    kept[at[[0, -1]]] = True
    kept[at[1:-1]] = turns | back
    return kept


def _scaled(values: Floats, interval: Interval, start: float, length: float) -> Ints:
    low, high = interval
    scaled: Ints = np.rint(start + (values - low) * (length / (high - low))).astype(np.int64)
    return scaled
