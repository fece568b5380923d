"""The charts of a sweep, as SVG."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.reports.canvas import HALF_A_CAPITAL, LABEL_GAP, PAGE, Canvas, Interval, Panel
from lab_pipeline.reports.dimensions import Dimension, HeatMap
from lab_pipeline.reports.downsample import every_kth
from lab_pipeline.reports.formats import number, percent, signed_percent
from lab_pipeline.reports.ticks import Tick, count_ticks, number_ticks, percent_ticks, round_step, span, time_ticks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WIDE, HALF, THIRD = 1120, 540, 352
"""Widths on the page, in CSS pixels."""
HALF_HEIGHT, THIRD_HEIGHT, WALK_HEIGHT, LINES_HEIGHT = 270, 220, 300, 400
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 26, 28
"""Margins around the axes, in CSS pixels."""
NAMES = 170
"""Left margin where the names of paths are written."""
STRIP = 24
"""Height of a row of the chosen parameters."""
BARS = 40
BAR_WIDTH = 0.84
OUTER = 0.005
"""Quantile beyond which values are drawn at the edge."""
POINTS = 3_000
"""Splits in the scatter; more of them only darken the same spots."""
BAND = 0.7
"""Of the room of a level on a parallel axis, over which its sets are spread."""
SHADES = 5
"""Colours of the lines of sets: fifths of the sets by their objective."""
LONGEST_TICK = 14
CELL, CELL_HEIGHT, HEAT_TOP, LINE = 64, 26, 44, 16
"""Of a heat map: least width and height of a cell, room above them, and between lines of text, in CSS pixels."""
FAINT, STRONG = 0.12, 0.62
"""Opacity of the colour of a cell next to nothing, and of the furthest from it."""
LETTER = 6.2
"""Width of a letter of a label, in CSS pixels, about."""
DASHES = "4.4 1.9"


class Unit:
    """How values of the objective are written: a mean net return in percent, a Sharpe ratio as a number."""

    def __init__(self, objective: str) -> None:
        self.is_return = objective != "sharpe"

    def show(self, value: float | None) -> str:
        """Write a value."""
        if value is None or not np.isfinite(value):
            return signed_percent(None)
        return signed_percent(value) if self.is_return else number(value)

    def ticks(self, low: float, high: float, at_most: int) -> list[Tick]:
        """Put ticks on an axis."""
        return percent_ticks(low, high, at_most) if self.is_return else number_ticks(low, high, at_most)

    @property
    def units(self) -> int:
        """How many of the last digit that is shown make one."""
        return 1000 if self.is_return else 100


def objective_chart(values: Floats, unit: Unit, *, winner: float, placebos: Floats) -> str:
    """Draw how the objective is spread over the sets that may win, beside what the best of placebos reach.

    Args:
        values: of the sets that may win, one at least.
        unit: of the objective.
        winner: the best of them.
        placebos: best objective of each placebo that had one; may be empty.
    """
    marks = [0.0, winner, *([float(np.quantile(placebos, 0.95))] if len(placebos) else [])]
    canvas, panel, highest = _histogram("objective", values, marks, unit.ticks)
    panel.upright(0, PAGE.ink)
    note = f"solid: the winner, {unit.show(winner)}"
    if len(placebos):
        panel.upright(marks[-1], PAGE.ink, width=1.2, dashes=DASHES)
        note += f"; dashed: 95% of the placebos' winners are below {unit.show(marks[-1])}"
    panel.upright(winner, PAGE.accent, width=2)
    panel.note(note)
    said = f"{len(values):,} sets that may win, at most {highest:,} in a bar; {note}."
    return canvas.to_svg("Distribution of the objective over the sets", said)


def sharpe_chart(values: Floats, *, winner: float, luck: float) -> str:
    """Draw the Sharpe ratios a day of the sets that may win, and what luck alone gives the best of so many."""
    canvas, panel, _ = _histogram("sharpe", values, [0.0, winner, luck], number_ticks)
    panel.upright(0, PAGE.ink)
    panel.upright(luck, PAGE.down, width=1.6, dashes=DASHES)
    panel.upright(winner, PAGE.accent, width=2)
    note = f"solid: the winner, {number(winner)}; dashed: luck alone, {number(luck)}"
    panel.note(note)
    return canvas.to_svg("Distribution of the Sharpe ratio of a day", f"{len(values):,} sets that may win; {note}.")


def placebo_chart(placebos: Floats, unit: Unit, *, observed: float) -> str:
    """Draw the best objective of each placebo and that of the real calls."""
    canvas, panel, _ = _histogram("placebos", placebos, [0.0, observed], unit.ticks)
    panel.upright(0, PAGE.ink)
    panel.upright(observed, PAGE.accent, width=2)
    note = f"solid: the real calls, {unit.show(observed)}"
    panel.note(note)
    return canvas.to_svg("Best objective of every placebo", f"{len(placebos):,} placebos; {note}.")


def logits_chart(logits: Floats) -> str:
    """Draw the logits of the ranks that winners have in the other half; red where they are at most zero."""
    edge = max(1.0, float(np.ceil(np.abs(logits).max() * 2) / 2))
    width = edge / (BARS // 2)
    edges = np.arange(-BARS // 2, BARS // 2 + 1) * width
    # a logit of zero is a loss of rank: it belongs to the bar below zero
    counts = np.histogram(-logits, edges)[0][::-1].astype(np.float64)
    highest = float(counts.max()) * 1.04
    canvas, panel = _half("logits", (-edge, edge), (0, highest))
    rows = count_ticks(highest, 5)
    panel.grid(rows)
    middle = (edges[:-1] + edges[1:]) / 2
    for colour, chosen in ((PAGE.down, middle < 0), (PAGE.accent, middle > 0)):
        panel.bars(middle[chosen], counts[chosen], colour, wide=BAR_WIDTH * panel.width / BARS)
    panel.upright(0, PAGE.ink)
    panel.label_rows(rows)
    panel.label_columns(number_ticks(-edge, edge, 8))
    below = float((logits <= 0).mean())
    note = f"red: {percent(below)} of {len(logits):,} splits"
    panel.note(note)
    return canvas.to_svg("Rank of the winner of one half in the other half", f"Logit at most zero, {note}.")


def halves_chart(inside: Floats, outside: Floats, unit: Unit) -> str:
    """Draw the objective of each split's winner in the half that chose it and in the other."""
    sample = every_kth(len(inside), POINTS)
    x, y = inside[sample], outside[sample]
    across, up = _limits([*np.quantile(x, [OUTER, 1 - OUTER])]), _limits([0.0, *np.quantile(y, [OUTER, 1 - OUTER])])
    canvas, panel = _half("halves", across, up)
    rows, columns = unit.ticks(*up, 5), unit.ticks(*across, 6)
    panel.grid(rows, columns)
    size = {
        "diameter": float(np.clip(90 / np.sqrt(len(x)), 3.0, 6.0)),
        "opacity": float(np.clip(12 / np.sqrt(len(x)), 0.15, 0.75)),
    }
    for colour, chosen in ((PAGE.down, y <= 0), (PAGE.up, y > 0)):
        panel.dots(np.clip(x[chosen], *across), np.clip(y[chosen], *up), colour, **size)
    panel.level(0, PAGE.ink)
    panel.diagonal(PAGE.muted, dashes="3.7 1.6")
    panel.title("In the other half")
    panel.label_rows(rows)
    panel.label_columns(columns)
    lost = float((outside <= 0).mean())
    said = f"{len(inside):,} splits; the objective is at most zero in the other half in {percent(lost)} of them."
    return canvas.to_svg("Objective of winners in sample and out of sample", said)


def along_chart(
    name: str, dimension: Dimension, worth: HeatMap, unit: Unit, *, winner: tuple[int, float], ring: int | None
) -> str:
    """Draw the best and the median set of each level of a dimension.

    Args:
        name: unique on the page.
        dimension: which.
        worth: of its levels.
        unit: of the objective.
        winner: level and objective of the set with the best objective.
        ring: level of the set with the best neighbourhood, if there is one.
    """
    told = np.isfinite(worth.best)
    limits = _limits([0.0, *worth.best[told], *worth.median[told]])
    count = len(dimension.labels)
    canvas = Canvas(name, THIRD, THIRD_HEIGHT, PAGE)
    place = (LEFT, TOP, THIRD - LEFT - RIGHT, THIRD_HEIGHT - TOP - BOTTOM)
    panel = canvas.panel(place, (-0.4, count - 0.6), limits)
    rows = unit.ticks(*limits, 4)
    panel.grid(rows)
    at = np.flatnonzero(told).astype(np.float64)
    panel.level(0, PAGE.ink)
    panel.line(at, worth.median[told], PAGE.muted)
    panel.line(at, worth.best[told], PAGE.accent, width=2)
    panel.dots(at, worth.median[told], PAGE.muted, diameter=5, opacity=1)
    panel.dots(at, worth.best[told], PAGE.accent, diameter=6, opacity=1)
    if ring is not None:
        panel.dots(np.array([float(ring)]), worth.best[[ring]], PAGE.ink, diameter=16, opacity=0.22)
    panel.dots(np.array([float(winner[0])]), np.array([winner[1]]), PAGE.ink, diameter=7, opacity=1)
    panel.title(dimension.path)
    panel.label_rows(rows)
    panel.label_columns(_level_ticks(dimension.labels, panel.width))
    best = int(np.nanargmax(worth.best))
    said = f"Best at {dimension.labels[best]} with {unit.show(float(worth.best[best]))}, of {count} values."
    return canvas.to_svg(f"Objective along {dimension.path}", said)


def heat_chart(name: str, down: Dimension, across: Dimension, worth: Floats, unit: Unit) -> str:
    """Draw the objective by two dimensions: green above zero, red below, the stronger the further.

    Args:
        name: unique on the page.
        down: the dimension of the rows.
        across: the dimension of the columns.
        worth: (levels of `down`, levels of `across`) objective; no number where no set may win.
        unit: of the objective.
    """
    rows, columns = worth.shape
    left = min(NAMES, max(len(label) for label in down.labels) * LETTER + LABEL_GAP * 2)
    width, height = max(THIRD, left + RIGHT + columns * CELL), HEAT_TOP + BOTTOM + rows * CELL_HEIGHT
    canvas = Canvas(name, width, height, PAGE)
    n, wide = canvas.n, (width - left - RIGHT) / columns
    strongest = float(np.nanmax(np.abs(worth))) or 1.0
    texts: list[tuple[float, float, str]] = []
    for row, column in zip(*np.nonzero(np.isfinite(worth)), strict=True):
        value = float(worth[row, column])
        x, y = left + column * wide, HEAT_TOP + row * CELL_HEIGHT
        corner = f"M{n(x)} {n(y)}h{n(wide - 1)}v{n(CELL_HEIGHT - 1)}h-{n(wide - 1)}z"
        opacity = round(FAINT + (STRONG - FAINT) * abs(value) / strongest, 3)
        canvas.path(corner, fill=PAGE.up if value > 0 else PAGE.down, fill_opacity=opacity)
        texts.append((x + wide / 2, y + CELL_HEIGHT / 2 + HALF_A_CAPITAL, unit.show(value)))
    canvas.texts(texts, anchor="middle", colour=PAGE.ink)
    names = ((HEAT_TOP + (row + 0.5) * CELL_HEIGHT + HALF_A_CAPITAL, label) for row, label in enumerate(down.labels))
    canvas.texts([(left - LABEL_GAP, y, label) for y, label in names], anchor="end")
    canvas.texts(
        [(left + (at + 0.5) * wide, HEAT_TOP - LABEL_GAP, label) for at, label in enumerate(across.labels)],
        anchor="middle",
    )
    canvas.text(left, HEAT_TOP - LABEL_GAP - LINE, f"{across.path} across, {down.path} down")
    row, column = np.unravel_index(int(np.nanargmax(worth)), worth.shape)
    said = f"Best at {down.path} {down.labels[row]} and {across.path} {across.labels[column]}: "
    return canvas.to_svg(
        f"Objective by {across.path} and {down.path}", f"{said}{unit.show(float(worth[row, column]))}."
    )


def lines_chart(dimensions: Sequence[Dimension], worth: Floats, unit: Unit, shown: Ints) -> str:
    """Draw sets as lines through parallel axes, one a dimension and last the objective; the best lie on top.

    Each line is a path of its own, `M` and pairs of whole numbers, in the order of `shown`: a script finds the place of
    a set on every axis there.

    Args:
        dimensions: in the order of their axes.
        worth: (S,) objective.
        unit: of the objective.
        shown: sets to draw, the worst first.
    """
    values = worth[shown]
    limits = _limits([float(values.min()), float(values.max())])
    canvas = Canvas("lines", WIDE, LINES_HEIGHT, PAGE)
    n, top, bottom = canvas.n, 44.0, LINES_HEIGHT - 34.0
    xs = np.linspace(70, WIDE - 70, len(dimensions) + 1).tolist()
    rank = np.arange(len(shown)) / max(1, len(shown) - 1)
    places = [_band(one, shown, rank) for one in dimensions] + [(values - limits[0]) / (limits[1] - limits[0])]
    rows = [np.rint((bottom - place * (bottom - top)) * canvas.fine).astype(np.int64).tolist() for place in places]
    shade = np.arange(len(shown)) * SHADES // max(1, len(shown))
    lines = [
        f'<path class="s{shade[place]}" d="M{" ".join(f"{n(x)} {y}" for x, y in zip(xs, ys, strict=True))}"/>'
        for place, ys in enumerate(zip(*rows, strict=True))
    ]
    opacity = float(np.clip(12 / np.sqrt(len(shown)), 0.15, 0.75))
    canvas.raw(f'<g class="sets" stroke-width="{n(1.2)}" stroke-opacity="{opacity:.2g}">{"".join(lines)}</g>')
    for x in xs:
        canvas.path(f"M{n(x)} {n(top)}V{n(bottom)}", stroke=PAGE.ink, stroke_width=n(1))
    canvas.raw('<g class="halo">')
    for x, one in zip(xs, dimensions, strict=False):
        canvas.text(x, 14, one.path, anchor="middle", colour=PAGE.ink)
        count = len(one.labels)
        if one.shared:
            canvas.text(x, top - 8, one.ends[1], anchor="middle")
            canvas.text(x, bottom + 16, one.ends[0], anchor="middle")
        else:
            high = (bottom - top) / count
            middles = [bottom - (level + 0.5) * high + 4 for level in range(count)]
            canvas.texts([(x + 6, y, _cut(label, 20)) for y, label in zip(middles, one.labels, strict=True)])
    canvas.text(xs[-1], 14, "objective", anchor="middle", colour=PAGE.ink)
    for tick in unit.ticks(*limits, 6):
        y = bottom - (tick.at - limits[0]) / (limits[1] - limits[0]) * (bottom - top)
        canvas.text(xs[-1] + 8, y + 4, tick.label)
    canvas.raw("</g>")
    said = f"{len(shown):,} sets from {unit.show(float(values.min()))} to {unit.show(float(values.max()))}."
    return canvas.to_svg("Sets as lines through what they set", said)


def _band(dimension: Dimension, shown: Ints, rank: Floats) -> Floats:
    """Return the place of each set on an axis, from 0 to 1: in the band of its level, the better the higher."""
    if dimension.shared:
        return dimension.fine[shown]
    places: Floats = (dimension.levels[shown] + 0.5 + BAND * (rank - 0.5)) / len(dimension.labels)
    return places


def walk_chart(
    oos: pl.DataFrame, inside: Floats, folds: pl.DataFrame, strips: Sequence[tuple[str, Sequence[tuple[str, float]]]]
) -> str:
    """Draw what was earned out of sample, day by day, the winner in sample beside it, and what was chosen when.

    Args:
        oos: rows of `oos.parquet`.
        inside: (days,) what the winner of all days earned on the same days.
        folds: rows of `folds.parquet`.
        strips: path, and for each fold what was chosen there, written and as a place from 0 to 1.
    """
    days = oos["day"].cast(pl.Datetime("ms", "UTC"))
    when = days.dt.epoch("ms").cast(pl.Float64).to_numpy()
    outside, own = oos["net_sum"].to_numpy().cumsum(), inside.cumsum()
    height = WALK_HEIGHT + STRIP * len(strips)
    canvas = Canvas("walk", WIDE, height, PAGE)
    limits = _limits([0.0, *outside, *own])
    day = 86_400_000.0
    across = (float(when[0]) - day / 2, float(when[-1]) + day / 2)
    panel = canvas.panel((NAMES, TOP, WIDE - NAMES - RIGHT, WALK_HEIGHT - TOP - BOTTOM - 8), across, limits)
    rows = number_ticks(*limits, 5)
    panel.grid(rows)
    for start in folds["test_start"].dt.epoch("ms").to_list():
        if across[0] < start - day / 2:
            panel.upright(start - day / 2, PAGE.grid, width=0.8, dashes="2 3")
    panel.level(0, PAGE.ink)
    panel.line(when, own, PAGE.muted, width=1.1)
    panel.line(when, outside, PAGE.accent, width=2.6)
    if len(when) == 1:
        panel.dots(when, outside, PAGE.accent, diameter=6, opacity=1)
    panel.title("Sum of net returns, a stake of one a trade")
    panel.note("bold: out of sample; thin: the winner of all days, in sample")
    panel.label_rows(rows)
    panel.label_columns(_day_ticks(days))
    _draw_strips(canvas, panel, folds, strips)
    said = (
        f"{days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}: {number(float(outside[-1]))} out of sample, "
        f"{number(float(own[-1]))} of the winner in sample on the same days."
    )
    return canvas.to_svg("Walk forward: earned out of sample", said)


def _draw_strips(
    canvas: Canvas, panel: Panel, folds: pl.DataFrame, strips: Sequence[tuple[str, Sequence[tuple[str, float]]]]
) -> None:
    """Draw a row a path below the panel: what each fold has chosen, the larger the darker."""
    day, n = 86_400_000.0, canvas.n
    ends = zip(folds["test_start"].dt.epoch("ms"), folds["test_end"].dt.epoch("ms"), strict=True)
    low, high = panel.x
    scale = panel.width / (high - low)
    spans = [
        (panel.left + (max(low, a - day / 2) - low) * scale, panel.left + (min(high, b - day / 2) - low) * scale)
        for a, b in ends
    ]
    top = float(WALK_HEIGHT)
    for path, chosen in strips:
        canvas.text(NAMES - 8, top + STRIP / 2 + 2, path, anchor="end")
        for (left, right), (label, place) in zip(spans, chosen, strict=True):
            if not label or right - left < 2:  # noqa: PLR2004 - pixels, too few to be seen
                continue
            box = f"M{n(left + 1)} {n(top)}H{n(right - 1)}V{n(top + STRIP - 4)}H{n(left + 1)}z"
            canvas.path(box, fill=PAGE.accent, fill_opacity=round(0.1 + 0.4 * place, 2))
            if len(label) * LETTER < right - left - 4:
                canvas.text((left + right) / 2, top + STRIP / 2 + 2, label, anchor="middle", colour=PAGE.ink)
        top += STRIP


def paths_chart(days: pl.Series, nets: Sequence[Floats]) -> str:
    """Draw what was earned along each combinatorial path.

    Args:
        days: dates, ascending, two at least.
        nets: for each path, what it earned on each of them.
    """
    moments = days.cast(pl.Datetime("ms", "UTC"))
    when = moments.dt.epoch("ms").cast(pl.Float64).to_numpy()
    earned = [net.cumsum() for net in nets]
    limits = _limits([0.0, *np.concatenate(earned)])
    canvas, panel = _half("paths", (float(when[0]), float(when[-1])), limits)
    rows = number_ticks(*limits, 5)
    panel.grid(rows)
    panel.level(0, PAGE.ink)
    for one in earned:
        panel.line(when, one, PAGE.up if one[-1] > 0 else PAGE.down, width=1.4)
    panel.title("Sum of net returns")
    panel.label_rows(rows)
    panel.label_columns(_day_ticks(moments))
    ends = [float(one[-1]) for one in earned]
    said = f"{len(nets)} paths end between {number(min(ends))} and {number(max(ends))}."
    return canvas.to_svg("Earned along the combinatorial paths", said)


def lanes_chart(
    name: str,
    title: str,
    lanes: Sequence[tuple[str, float | None]],
    ticks: Callable[[float, float, int], list[Tick]],
) -> str:
    """Draw a value a lane, as bars; none for a lane without trades."""
    values = np.array([np.nan if value is None else value for _, value in lanes])
    told = np.isfinite(values)
    limits = _limits([0.0, *values[told]])
    canvas, panel = _half(name, (-0.6, len(lanes) - 0.4), limits)
    rows = ticks(*limits, 5)
    panel.grid(rows)
    at = np.arange(len(lanes), dtype=np.float64)
    wide = min(46.0, BAR_WIDTH * panel.width / len(lanes))
    for colour, chosen in ((PAGE.down, told & (values <= 0)), (PAGE.up, told & (values > 0))):
        panel.bars(at[chosen], values[chosen], colour, wide=wide)
    panel.level(0, PAGE.ink)
    panel.label_rows(rows)
    panel.label_columns([Tick(place, label) for place, (label, _) in enumerate(lanes)])
    said = "; ".join(f"{label}: {signed_percent(value)}" for label, value in lanes)
    return canvas.to_svg(title, f"{said}.")


def _histogram(
    name: str, values: Floats, marks: Sequence[float], ticks: Callable[[float, float, int], list[Tick]]
) -> tuple[Canvas, Panel, int]:
    """Draw how values are spread, tails gathered into the outermost bars, over a range that holds the marks, too."""
    low, high = min(float(np.quantile(values, OUTER)), *marks), max(float(values.max()), *marks)
    raw = max(high - low, 0.002 * (1 + abs(high))) / BARS
    width = round_step(raw)
    edges = np.arange(np.floor(low / width), np.ceil(high / width) + 1.5) * width
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(np.float64)
    highest = float(counts.max()) * 1.04
    limits = _limits([float(edges[0]), float(edges[-1])], share=0.02)
    canvas, panel = _half(name, limits, (0, highest))
    rows = count_ticks(highest, 5)
    panel.grid(rows)
    wide = max(1.0, BAR_WIDTH * panel.width * width / (limits[1] - limits[0]))
    panel.bars((edges[:-1] + edges[1:]) / 2, counts, PAGE.accent, wide=wide)
    panel.label_rows(rows)
    panel.label_columns(ticks(*limits, 7))
    return canvas, panel, int(counts.max())


def _day_ticks(days: pl.Series) -> list[Tick]:
    """Put ticks at days, never within one."""
    return [tick for tick in time_ticks(*span(days[0], days[-1])) if ":" not in tick.label]


def _level_ticks(labels: Sequence[str], width: float) -> list[Tick]:
    """Label as many levels as fit beside one another; one of many values by the first of them."""
    labels = [label.partition(" to ")[0] for label in labels]
    longest = min(max(map(len, labels)), LONGEST_TICK)
    fitting = max(1, int(width / (longest * LETTER + 8)))
    every = -(-len(labels) // fitting)
    return [Tick(place, _cut(label, LONGEST_TICK)) for place, label in enumerate(labels) if place % every == 0]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _half(name: str, x: Interval, y: Interval) -> tuple[Canvas, Panel]:
    canvas = Canvas(name, HALF, HALF_HEIGHT, PAGE)
    return canvas, canvas.panel((LEFT, TOP, HALF - LEFT - RIGHT, HALF_HEIGHT - BOTTOM - TOP), x, y)


def _limits(values: Sequence[float], *, share: float = 0.06) -> Interval:
    """Return a range that holds values, and a little more."""
    low, high = min(values), max(values)
    margin = share * ((high - low) or abs(high) or 1.0)
    return float(low - margin), float(high + margin)
