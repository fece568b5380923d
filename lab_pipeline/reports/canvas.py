"""From a matplotlib figure to bytes that depend on nothing but what was drawn."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

POINTS_PER_INCH = 72
RASTER_DPI = 96  # a third more than the size on the page: sharp enough for dots, and small


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
"""Mid-tones that can be read on a light and on a dark ground alike."""

PAGE = Palette(ink="#01fe01", muted="#01fe02", grid="#01fe03", accent="#01fe04", up="#01fe05", down="#01fe06")
"""Stand-ins that `to_svg` replaces by the page's CSS variables, so that a chart follows the page's theme."""

# matplotlib keeps its style in one dictionary a process; its own values are restored when a drawing is done.
_STYLE_IS_SHARED = Lock()
_NOT_STYLE = ("backend", "interactive", "toolbar")
_DEFAULTS: dict[Any, Any] = {
    name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith(_NOT_STYLE)
}
_HOUSE: dict[Any, Any] = {  # matplotlib types its keys as one Literal of all their names
    "font.family": "DejaVu Sans",  # ships with matplotlib: layout is the same on every machine
    "font.size": 11,
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "grid.linewidth": 0.8,
    "grid.alpha": 0.35,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
}
_AFTER_PROLOGUE = re.compile(r"</style>\s*</defs>\s*")
_AUTOMATIC_ID = re.compile(r' id="[A-Za-z0-9.]+_\d+"')
_EXCESS_DECIMALS = re.compile(r'(\.\d\d)\d+(?=[ \n"])')


@contextmanager
def house_style(palette: Palette) -> Iterator[None]:
    """Draw in this project's style, whatever the machine's matplotlibrc says; one thread draws at a time."""
    colours: dict[Any, Any] = {
        "text.color": palette.ink,
        "axes.labelcolor": palette.muted,
        "axes.titlecolor": palette.muted,
        "axes.edgecolor": palette.grid,
        "xtick.color": palette.muted,
        "ytick.color": palette.muted,
        "grid.color": palette.grid,
    }
    with _STYLE_IS_SHARED, mpl.rc_context({**_DEFAULTS, **_HOUSE, **colours}):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Make a transparent figure of that many points, which are CSS pixels on the page."""
    return Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), facecolor="none")


def to_png(figure: Figure) -> bytes:
    """Rasterise at one pixel a point, without a date or a version in the file."""
    buffer = io.BytesIO()
    figure.dpi = POINTS_PER_INCH
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call] # theirs
    return buffer.getvalue()


def to_svg(figure: Figure, *, name: str, label: str) -> str:
    """Write an `<svg>` element to be put into HTML.

    Args:
        figure: drawn with the colours of `PAGE`.
        name: unique on the page; keeps the ids of its clip paths and markers apart from other charts'.
        label: what a screen reader says in place of the picture. Must hold no markup.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.dpi = RASTER_DPI
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call] # theirs
    text = _AFTER_PROLOGUE.split(buffer.getvalue(), maxsplit=1)[1]  # XML and RDF that HTML has no use for
    text = _EXCESS_DECIMALS.sub(r"\1", _AUTOMATIC_ID.sub("", text))
    for role, stand_in in asdict(PAGE).items():
        text = text.replace(stand_in, f"var(--{role})")
    width, height = (round(side * POINTS_PER_INCH) for side in figure.get_size_inches())
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">\n{text}'
