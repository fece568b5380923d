"""The charts of a run and of the statistics, as SVG."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain.enums import LaneKind
from lab_pipeline.domain.t_quantile import student_t_975
from lab_pipeline.reports.canvas import LABEL_GAP, PAGE, PICTURE, Canvas, Interval, Panel, Place
from lab_pipeline.reports.downsample import every_kth, extremes
from lab_pipeline.reports.formats import number, shortened, signed_percent
from lab_pipeline.reports.ticks import Tick, count_ticks, log_ticks, number_ticks, percent_ticks, span, time_ticks

Floats = npt.NDArray[np.float64]

WIDE, HALF = 1120, 540
"""Widths on the page, in CSS pixels."""
EQUITY_HEIGHT, HALF_HEIGHT, EXCURSIONS_HEIGHT, DAYS_HEIGHT = 430, 270, 340, 200
LOG_FROM = 20.0
"""The equity is drawn on a logarithmic scale if its highest value is this many times its lowest."""
TAIL_LOW, TAIL_HIGH = 0.005, 0.985
"""Quantiles of the returns outside which the distribution is gathered into its outermost bars."""
BARS = 40
BAR_WIDTH = 0.84
"""Of the room that there is for a bar."""
BURN_IN = 0.2
"""The part of the running mean that may be off its chart: the first few trades swing without meaning."""
FIRST_MEAN = 10
POINTS = 4_000
"""Trades in the scatter; more of them only darken the same spots."""
SIGN_TOLERANCE = 1e-12
"""A bar's edge this near to zero is at zero."""
OUTER = 0.995
"""Quantile beyond which points of the scatter are drawn at its edge."""
PIXELS_A_BIN = 3
"""A bin of a long series gives two points, its lowest and its highest."""
PICTURE_PIXELS_A_BIN = 8
"""The same of a picture for the event log, which holds it several times."""
COVERAGE_ROW, COVERAGE_NAMES = 14, 40
"""Height of a token's row, and room for its name, in CSS pixels."""
COVERAGE_STEPS = (0.0, 0.25, 0.5, 0.75, 0.999, 1.0)
"""Shares of a day's candles that are drawn alike, up to each."""
HOURS = 24
CURVES = 8
"""Colours of what is drawn over one another."""
LEFT, RIGHT, BOTTOM, PANEL_GAP = 58, 18, 28, 34
"""Margins around the axes, in CSS pixels."""
TITLE = 26
"""Room above a panel, in CSS pixels."""
LITTLE_TITLE = 20
PANELS = {"Equity": 5.0, "Drawdown": 2.2, "Exposure": 1.3}
"""The panels of an account and how high they are, in proportion."""
CERTAINTY_HEIGHT = 260
LANES = (
    ((LaneKind.STOPS, LaneKind.ENDED), "Stops, ended tokens", ("level", "half", "low", "ended"), 4.5),
    ((LaneKind.STAKE,), "Times the stake", ("0.5", "1", "2", "5"), 3.5),
    ((LaneKind.DELAY,), "Candles later", tuple(str(candles) for candles in range(11)), 8),
    (
        (LaneKind.STRESS,),
        "Stress: fee/slippage in bp, candles later",
        ("50/100", "75/150", "50/200", "150/100", "50/500", "+1", "+2", "all"),
        11,
    ),
)
"""The panels of the certainty: kinds of lanes, what they are called, the label of each lane, in their order, and how
wide the panel is, in proportion."""
NOTHING = "No trade was taken, so there is no equity to draw"


def equity_picture(equity: pl.DataFrame, *, initial_capital: float, width: int = 900, height: int = 400) -> str:
    """Draw equity and drawdown, one above the other, for a light or dark ground.

    Args:
        equity: columns of `frames.EQUITY`; may be empty.
        initial_capital: where the dashed line is, in quote currency.
        width: of the picture, CSS pixels.
        height: of the picture, CSS pixels.

    Returns:
        An SVG document, byte-identical for equal input; under 8 kB at the default size, however rough the series is.
    """
    canvas = Canvas("equity", width, height, PICTURE, fine=1)
    _draw_account(canvas, equity, initial_capital, ["Equity", "Drawdown"], pixels_a_bin=PICTURE_PIXELS_A_BIN)
    return canvas.to_document("Equity and drawdown")


def buckets_picture(labels: list[str], counts: list[int], *, title: str, width: int = 900, height: int = 320) -> str:
    """Draw how many values lie in each bucket, one bar each, for a light or dark ground.

    Returns:
        An SVG document, byte-identical for equal input.
    """
    canvas = Canvas("buckets", width, height, PICTURE, fine=1)
    left, highest = LEFT + 24, max(counts) * 1.04
    wide = width - left - RIGHT
    panel = canvas.panel((left, TITLE, wide, height - BOTTOM - TITLE), (-0.6, len(labels) - 0.4), (0, highest))
    rows = count_ticks(highest, 5)
    panel.grid(rows)
    panel.bars(np.arange(len(labels), dtype=np.float64), np.array(counts, np.float64), PICTURE.accent,
               wide=0.8 * wide / len(labels))  # fmt: skip
    panel.label_rows(rows)
    panel.label_columns([Tick(place, label) for place, label in enumerate(labels)])
    panel.title(title)
    return canvas.to_document(title)


def equity_chart(equity: pl.DataFrame, *, initial_capital: float) -> str:
    """Stack equity, drawdown and exposure over one time axis; the frame has rows."""
    canvas = Canvas("equity", WIDE, EQUITY_HEIGHT, PAGE)
    _draw_account(canvas, equity, initial_capital, list(PANELS), pixels_a_bin=PIXELS_A_BIN)
    values = equity["equity"]
    lowest, highest = cast("float", values.min()), cast("float", values.max())
    said = (
        f"{_days(equity['timestamp'])}: equity from {number(initial_capital)} to {number(values[-1])}, between "
        f"{number(lowest)} and {number(highest)}; deepest drawdown "
        f"{signed_percent(cast('float', equity['drawdown'].min()))}; exposure at most "
        f"{signed_percent(cast('float', equity['exposure'].max())).lstrip('+')}."
    )
    return canvas.to_svg("Equity, drawdown and exposure over time", said)


def days_chart(days: pl.DataFrame) -> str:
    """Draw the return of each day as a bar; the frame has rows and columns of `periods.DAY`."""
    told = days.drop_nulls("return")
    returns = told["return"].to_numpy()
    limits = _with_margin(min(0.0, returns.min(initial=0.0)), max(0.0, returns.max(initial=0.0)))
    first, last = days["day"][0], days["day"][-1]
    start, end = (datetime.combine(one, time(), UTC) for one in (first, last + timedelta(days=1)))
    canvas = Canvas("days", WIDE, DAYS_HEIGHT, PAGE)
    place = (LEFT, LITTLE_TITLE, WIDE - LEFT - RIGHT, DAYS_HEIGHT - BOTTOM - LITTLE_TITLE)
    panel, rows = canvas.panel(place, _in_ms(start, end), limits), percent_ticks(*limits, 4)
    panel.grid(rows)
    noon = told["day"].cast(pl.Datetime("ms", "UTC")).dt.offset_by("12h")
    _signed_bars(panel, _ms(noon), returns, sign=returns, places=days.height)
    panel.level(0, PAGE.ink)
    panel.label_rows(rows)
    panel.label_columns(time_ticks(start, end))
    said = (
        f"{days.height} days from {first} to {last}: {(returns > 0).sum()} up, {(returns < 0).sum()} down, between "
        f"{signed_percent(float(returns.min(initial=0.0)))} and {signed_percent(float(returns.max(initial=0.0)))}."
    )
    return canvas.to_svg("Return of each day", said)


def comparison_chart(curves: Sequence[tuple[str, pl.DataFrame, float]]) -> str:
    """Draw the accounts of several runs over one another: their growth, and below it their drawdowns.

    Args:
        curves: of each run its name, its equity (columns of `frames.EQUITY`, with rows) and its initial capital. The
            n-th is drawn in the page's colour `--curve-n`, of which there are `CURVES`; from there on they are dashed.
    """
    canvas = Canvas("comparison", WIDE, EQUITY_HEIGHT, PAGE)
    times = [one["timestamp"] for _, one, _ in curves]
    first, last = span(min(one[0] for one in times), max(one[-1] for one in times))
    growth = [(one["equity"] / capital - 1.0).to_numpy() for _, one, capital in curves]
    falls = [one["drawdown"].to_numpy() for _, one, _ in curves]
    room, top = (EQUITY_HEIGHT - BOTTOM - 2 * TITLE) / 3, 0.0
    for title, series, share in (("Total return", growth, 2.0), ("Drawdown", falls, 1.0)):
        limits = _with_margin(min(0.0, *(one.min() for one in series)), max(0.0, *(one.max() for one in series)))
        place = (LEFT, top + TITLE, WIDE - LEFT - RIGHT, room * share)
        panel, rows = canvas.panel(place, _in_ms(first, last), limits), percent_ticks(*limits, 5)
        panel.grid(rows)
        panel.level(0, PAGE.ink)
        for place_in_list, (moments, values) in enumerate(zip(times, series, strict=True)):
            at = extremes(values, WIDE // PIXELS_A_BIN)
            colour = f"var(--curve-{place_in_list % CURVES + 1})"
            dashes = "4 2" if place_in_list >= CURVES else None
            panel.line(_ms(moments)[at], values[at], colour, width=1.4, dashes=dashes)
        panel.label_rows(rows)
        panel.title(title)
        top += TITLE + room * share
    panel.label_columns(time_ticks(first, last))
    said = "; ".join(
        f"{name}: {signed_percent(float(made[-1]))}" for (name, _, _), made in zip(curves, growth, strict=True)
    )
    return canvas.to_svg("Total return and drawdown over time", said)


def coverage_chart(days: pl.DataFrame, mints: Sequence[str]) -> str:
    """Draw how complete the candles of each token are on each day, a row a token, the darker the more there is.

    Args:
        days: `mint`, `day` and `share`; has rows.
        mints: tokens in the order of their rows.
    """
    first, last = cast("date", days["day"].min()), cast("date", days["day"].max())
    columns = (last - first).days + 1
    height = COVERAGE_ROW * len(mints) + TITLE + BOTTOM
    canvas = Canvas("coverage", WIDE, height, PAGE)
    left = LEFT + COVERAGE_NAMES
    wide = WIDE - left - RIGHT
    place = (left, TITLE, wide, COVERAGE_ROW * len(mints))
    panel = canvas.panel(place, (0, columns), (len(mints), 0))
    rows = {mint: row for row, mint in enumerate(mints)}
    cell = wide / columns
    n = canvas.n
    for low, high in pairwise(COVERAGE_STEPS):
        some = days.filter((pl.col("share") > low) & (pl.col("share") <= high))
        path = "".join(
            f"M{n(left + (day - first).days * cell)} {n(TITLE + rows[mint] * COVERAGE_ROW + 1)}"
            f"h{n(max(cell, 1))}v{n(COVERAGE_ROW - 2)}h{-n(max(cell, 1))}z"
            for mint, day, _ in some.iter_rows()
        )
        if path:
            canvas.path(path, fill=PAGE.accent, fill_opacity=high)
    names = [(left - LABEL_GAP, TITLE + (row + 0.5) * COVERAGE_ROW + 4, shortened(mint)) for mint, row in rows.items()]
    canvas.texts(names, anchor="end")
    dates = {at: first + timedelta(days=at) for at in range(0, columns, max(1, columns // 8))}
    panel.label_columns([Tick(at + 0.5, f"{one:%b} {one.day}") for at, one in dates.items()])
    mean = float(days["share"].to_numpy().mean())
    said = f"{len(mints)} tokens over {columns} days from {first}; mean share of a day's candles {mean:.0%}."
    return canvas.to_svg("Candles by token and day", said)


def distribution_chart(trades: pl.DataFrame) -> str:
    """Draw how the net returns are spread, tails gathered into the outermost bars, with median and mean."""
    returns = trades["net_return"].to_numpy()
    edges = return_bins(returns)
    counts = np.histogram(np.clip(returns, edges[0], edges[-1]), edges)[0].astype(np.float64)
    highest = float(counts.max()) * 1.04
    canvas, panel = _half("distribution", TITLE, x=(float(edges[0]), float(edges[-1])), y=(0, highest))
    rows = count_ticks(highest, 5)
    panel.grid(rows)
    _signed_bars(panel, (edges[:-1] + edges[1:]) / 2, counts, sign=edges[1:], places=len(counts))
    panel.upright(0, PAGE.ink)
    median, mean = float(np.median(returns)), float(returns.mean())
    for value, dashes in ((median, "1.2 2"), (mean, "4.4 1.9")):
        panel.upright(min(max(value, edges[0]), edges[-1]), PAGE.ink, width=1.2, dashes=dashes)
    panel.note(f"dotted: median {signed_percent(median)}, dashed: mean {signed_percent(mean)}")
    panel.label_rows(rows)
    panel.label_columns(percent_ticks(*panel.x, 8))
    said = (
        f"{len(returns):,} trades, {int((returns > 0).sum()):,} of them above zero; "
        f"median {signed_percent(median)}, mean {signed_percent(mean)}."
    )
    return canvas.to_svg("Distribution of net returns", said)


def return_bins(returns: Floats) -> Floats:
    """Choose about `BARS` equal bins of round width, one edge at zero, over what is not tail."""
    low, high = np.quantile(returns, [TAIL_LOW, TAIL_HIGH])
    raw = max(high - low, 0.01 * (1 + abs(high))) / BARS
    power = 10.0 ** np.floor(np.log10(raw))
    width = next(power * step for step in (1.0, 2.0, 2.5, 5.0, 10.0) if power * step >= raw)
    first, last = np.floor(low / width), np.ceil(high / width)
    edges: Floats = np.arange(first, max(last, first + 1) + 1) * width
    return edges


def running_mean_chart(trades: pl.DataFrame) -> str:
    """Draw the mean net return of all trades so far, in order of call, with its 95 % band by days.

    With trades of one day there is no band yet.
    """
    ordered = trades.select("called_at", "call_id", "trade_no", "net_return").sort("called_at", "call_id", "trade_no")
    returns = ordered["net_return"].to_numpy()
    count = np.arange(1, len(returns) + 1)
    mean = np.cumsum(returns) / count
    half = _half_widths(returns, mean, ordered["called_at"].dt.date().to_physical().to_numpy())
    shown = slice(min(FIRST_MEAN, len(returns)) - 1, None)
    moments, mean, half = ordered["called_at"][shown], mean[shown], half[shown]
    at = extremes(mean, HALF // PIXELS_A_BIN)
    shown = slice(int(len(mean) * BURN_IN), None)
    limits = _with_margin(min(0.0, (mean - half)[shown].min()), max(0.0, (mean + half)[shown].max()))
    first, last = span(moments[0], moments[-1])
    canvas, panel = _half("running-mean", LITTLE_TITLE, x=_in_ms(first, last), y=limits)
    rows = percent_ticks(*limits, 5)
    panel.grid(rows)
    when = _ms(moments)[at]
    panel.area(when, (mean - half)[at], (mean + half)[at], PAGE.accent, opacity=0.16)
    panel.line(when, mean[at], PAGE.accent, clipped=True)
    panel.level(0, PAGE.ink)
    panel.label_rows(rows)
    panel.label_columns(time_ticks(first, last))
    said = (
        f"{_days(moments)}: after all {len(returns):,} trades the mean is {signed_percent(mean[-1])}, "
        f"its 95% band from {signed_percent(mean[-1] - half[-1])} to {signed_percent(mean[-1] + half[-1])}."
    )
    return canvas.to_svg("Running mean of the net return by date", said)


def hours_chart(trades: pl.DataFrame) -> str:
    """Draw the mean net return by the UTC hour of the call, with its 95 % interval by days; none for one day."""
    hours = (
        trades.select("net_return", hour=pl.col("called_at").dt.hour(), day=pl.col("called_at").dt.date())
        .with_columns(apart=pl.col("net_return") - pl.col("net_return").mean().over("hour"))
        .group_by("hour", "day")
        .agg(pl.col("net_return", "apart").sum(), trades=pl.len())
        .group_by("hour")
        .agg(mean=pl.col("net_return").sum() / pl.col("trades").sum(), days=pl.len(),
             error=(pl.col("apart") ** 2).sum().sqrt() / pl.col("trades").sum())
        .sort("hour")
    )  # fmt: skip
    hour, mean = hours["hour"].to_numpy().astype(np.float64), hours["mean"].to_numpy()
    error = _quantiles(hours["days"].to_numpy().astype(np.float64)) * hours["error"].to_numpy()
    low, high = min(0.0, float((mean - error).min())), max(0.0, float((mean + error).max()))
    limits = _with_margin(low, high)
    canvas, panel = _half("hours", LITTLE_TITLE, x=(-0.6, HOURS - 0.4), y=limits)
    rows = percent_ticks(*limits, 5)
    panel.grid(rows)
    _signed_bars(panel, hour, mean, sign=mean, places=HOURS)
    panel.whiskers(hour, mean - error, mean + error, PAGE.ink)
    panel.level(0, PAGE.ink)
    panel.label_rows(rows)
    panel.label_columns([Tick(one, f"{one:02}") for one in range(0, HOURS, 3)])
    best, worst = int(mean.argmax()), int(mean.argmin())
    said = (
        f"Highest on calls of the hour {hour[best]:02.0f} with {signed_percent(mean[best])}, "
        f"lowest on those of {hour[worst]:02.0f} with {signed_percent(mean[worst])}."
    )
    return canvas.to_svg("Mean net return by hour of the call, UTC", said)


def certainty_chart(certainty: pl.DataFrame) -> str:
    """Draw the mean net return of every lane with its 95 % interval, in a panel for each kind of assumption.

    Args:
        certainty: columns of `frames.FILL_CERTAINTY`, with trades as run. Intervals that would leave others no room end
            at the edge.
    """
    known = certainty.drop_nulls("expectancy")
    mean = known["expectancy"]
    lowest = min(0.0, cast("float", mean.min()), cast("float", known["expectancy_low"].median() or 0.0))
    highest = max(0.0, cast("float", mean.max()), cast("float", known["expectancy_high"].median() or 0.0))
    limits = _with_margin(lowest, highest)
    canvas, rows = Canvas("certainty", WIDE, CERTAINTY_HEIGHT, PAGE), percent_ticks(*limits, 6)
    room = (WIDE - LEFT - RIGHT - PANEL_GAP * (len(LANES) - 1)) / sum(wide for *_, wide in LANES)
    left, as_run = float(LEFT), certainty.filter(pl.col("kind") == LaneKind.RUN)["expectancy"][0]
    for kinds, title, labels, wide in LANES:
        place = (left, float(TITLE), room * wide, float(CERTAINTY_HEIGHT - BOTTOM - TITLE))
        panel = canvas.panel(place, (-0.5, len(labels) - 0.5), limits)
        panel.grid(rows)
        lanes = certainty.filter(pl.col("kind").is_in(kinds)).with_row_index("at").drop_nulls("expectancy")
        at, values = lanes["at"].cast(pl.Float64).to_numpy(), lanes["expectancy"].to_numpy()
        low, high = (lanes[f"expectancy_{end}"].fill_null(lanes["expectancy"]).to_numpy() for end in ("low", "high"))
        panel.whiskers(at, np.clip(low, *limits), np.clip(high, *limits), PAGE.muted)
        panel.level(0, PAGE.ink)
        panel.level(as_run, PAGE.accent, width=0.9, dashes="3.6 2.7")
        for colour, chosen in ((PAGE.down, values <= 0), (PAGE.up, values > 0)):
            panel.dots(at[chosen], values[chosen], colour, diameter=7, opacity=1)
        panel.title(title)
        panel.label_columns([Tick(number, label) for number, label in enumerate(labels)])
        if left == LEFT:
            panel.label_rows(rows)
        left += place[2] + PANEL_GAP
    said = (
        f"Mean net return as run {signed_percent(as_run)}; over all assumptions from "
        f"{signed_percent(cast('float', mean.min()))} to {signed_percent(cast('float', mean.max()))}."
    )
    return canvas.to_svg("Mean net return under other assumptions about the fills", said)


def _half_widths(returns: Floats, mean: Floats, days: npt.NDArray[np.int32]) -> Floats:
    """Return half of the interval by days of the mean of each trade and those before it; the days ascend."""
    fresh = np.append(True, days[1:] != days[:-1])
    number = np.cumsum(fresh)
    starts = np.flatnonzero(fresh)[number - 1]
    count = np.arange(1.0, len(returns) + 1)
    made, trades = mean * count, count - starts
    made = made - np.append(0.0, made)[starts]
    # of the days' summed deviations the squares, which grow by what the last day's have grown
    squares, products, counts = (
        np.cumsum(one - np.where(fresh, 0.0, np.append(0.0, one[:-1]))) for one in (made**2, made * trades, trades**2)
    )
    variance = np.maximum(squares - 2 * mean * products + mean**2 * counts, 0.0)
    half: Floats = _quantiles(number.astype(np.float64)) * np.sqrt(variance) / count
    return half


def _quantiles(days: Floats) -> Floats:
    """Return what to multiply the root of the days' squares with; 0 for one day, of which nothing can be said."""
    widened: Floats = np.where(days > 1, student_t_975(days - 1) * np.sqrt(days / np.maximum(days - 1, 1)), 0.0)
    return widened


def excursions_chart(trades: pl.DataFrame) -> str:
    """Draw what each trade ended with against its worst and its best moment; on the diagonal it was sold there."""
    sample = trades[every_kth(len(trades), POINTS)]
    net = sample["net_return"].to_numpy()
    canvas = Canvas("excursions", WIDE, EXCURSIONS_HEIGHT, PAGE, fine=2)
    wide, below = (WIDE - LEFT - RIGHT - PANEL_GAP) / 2, 48
    limits = _central(net)
    y = _with_margin(*limits)
    rows = percent_ticks(*y, 6)
    size = {
        "diameter": float(np.clip(90 / np.sqrt(len(net)), 3.0, 6.0)),
        "opacity": float(np.clip(12 / np.sqrt(len(net)), 0.15, 0.75)),
    }
    for index, (column, label) in enumerate((("mae", "Worst moment of the trade"), ("mfe", "Best moment"))):
        moment = sample[column].to_numpy()
        across = _central(moment)
        left, high = LEFT + index * (wide + PANEL_GAP), EXCURSIONS_HEIGHT - below - TITLE
        panel = canvas.panel((left, TITLE, wide, high), _with_margin(*across, share=0.03), y)
        columns = percent_ticks(*panel.x, 6)
        panel.grid(rows, columns)
        for colour, chosen in ((PAGE.down, net <= 0), (PAGE.up, net > 0)):
            panel.dots(np.clip(moment[chosen], *across), np.clip(net[chosen], *limits), colour, **size)
        panel.diagonal(PAGE.muted, dashes="3.7 1.6")
        panel.label_columns(columns)
        panel.name_columns(label)
        if index == 0:
            panel.title("Net return")
            panel.label_rows(rows)
    best, worst = sample["mfe"].median(), sample["mae"].median()
    said = (
        f"{len(net):,} of {len(trades):,} trades; half of them fell to {signed_percent(cast('float', worst))} or lower "
        f"while open, half rose to {signed_percent(cast('float', best))} or higher."
    )
    return canvas.to_svg("Net return against worst and best moment", said)


def _draw_account(
    canvas: Canvas, equity: pl.DataFrame, initial_capital: float, names: Sequence[str], *, pixels_a_bin: int
) -> None:
    """Draw the named panels one above the other."""
    if equity.is_empty():
        canvas.text(canvas.width / 2, canvas.height / 2, NOTHING, anchor="middle")
        return
    first, last = span(equity["timestamp"][0], equity["timestamp"][-1])
    bins, when, x = max(1, int(canvas.width) // pixels_a_bin), _ms(equity["timestamp"]), _in_ms(first, last)
    room = canvas.height - BOTTOM - TITLE * len(names)
    unit = room / sum(PANELS[name] for name in names)
    top = 0.0
    for name in names:
        values = equity[name.lower()].to_numpy()
        at = extremes(values, bins)
        place = (LEFT, top + TITLE, canvas.width - LEFT - RIGHT, unit * PANELS[name])
        match name:
            case "Equity":
                panel = _equity_panel(canvas, place, x, when[at], values[at], initial_capital=initial_capital)
                panel.note(f"{_days(equity['timestamp'])} UTC")
            case "Drawdown":
                panel = _drawdown_panel(canvas, place, x, when[at], values[at])
            case _:
                panel = _exposure_panel(canvas, place, x, when[at], values[at])
        panel.title(name)
        top += TITLE + unit * PANELS[name]
    panel.label_columns(time_ticks(first, last))


def _equity_panel(
    canvas: Canvas, place: Place, x: Interval, when: Floats, equity: Floats, *, initial_capital: float
) -> Panel:
    lowest, highest = min(float(equity.min()), initial_capital), max(float(equity.max()), initial_capital)
    palette = canvas.palette
    if lowest > 0 and highest > LOG_FROM * lowest:
        limits = _with_margin(np.log10(lowest), np.log10(highest), share=0.05)
        panel, rows = canvas.panel(place, x, limits), log_ticks(*limits, 6)
        equity, level = np.log10(equity), float(np.log10(initial_capital))
        panel.grid(rows)
    else:
        limits = _with_margin(lowest, highest)
        panel, rows, level = canvas.panel(place, x, limits), number_ticks(*limits, 5), initial_capital
        panel.grid(rows)
        panel.area(when, level, equity, palette.accent, opacity=0.1)
    panel.line(when, equity, palette.accent)
    panel.level(level, palette.ink, width=0.9, dashes="3.6 2.7")
    panel.label_rows(rows)
    return panel


def _drawdown_panel(canvas: Canvas, place: Place, x: Interval, when: Floats, drawdown: Floats) -> Panel:
    panel = canvas.panel(place, x, (min(float(drawdown.min()) * 1.08, -0.001), 0))
    rows = percent_ticks(*panel.y, 3)
    panel.grid(rows)
    panel.area(when, 0, drawdown, canvas.palette.down, opacity=0.22)
    panel.line(when, drawdown, canvas.palette.down, width=1)
    panel.label_rows(rows)
    return panel


def _exposure_panel(canvas: Canvas, place: Place, x: Interval, when: Floats, exposure: Floats) -> Panel:
    panel = canvas.panel(place, x, (0, max(float(exposure.max()) * 1.08, 0.01)))
    rows = percent_ticks(*panel.y, 2)
    panel.grid(rows)
    panel.area(when, 0, exposure, canvas.palette.muted, opacity=0.45)
    panel.label_rows(rows)
    return panel


def _signed_bars(panel: Panel, at: Floats, heights: Floats, *, sign: Floats, places: int) -> None:
    above = sign > SIGN_TOLERANCE
    for colour, chosen in ((PAGE.down, ~above), (PAGE.up, above)):
        panel.bars(at[chosen], heights[chosen], colour, wide=BAR_WIDTH * panel.width / places)


def _half(name: str, top: float, *, x: Interval, y: Interval) -> tuple[Canvas, Panel]:
    canvas = Canvas(name, HALF, HALF_HEIGHT, PAGE)
    return canvas, canvas.panel((LEFT, top, HALF - LEFT - RIGHT, HALF_HEIGHT - BOTTOM - top), x, y)


def _ms(moments: pl.Series) -> Floats:
    return moments.dt.epoch("ms").cast(pl.Float64).to_numpy()


def _in_ms(first: datetime, last: datetime) -> Interval:
    return first.timestamp() * 1000, last.timestamp() * 1000


def _days(moments: pl.Series) -> str:
    return f"{moments[0]:%Y-%m-%d} to {moments[-1]:%Y-%m-%d}"


def _central(values: Floats) -> Interval:
    low, high = np.quantile(values, [1 - OUTER, OUTER])
    return float(low), float(max(high, low + 1e-6))


def _with_margin(low: float, high: float, *, share: float = 0.06) -> Interval:
    margin = share * ((high - low) or abs(high) or 1.0)
    return float(low - margin), float(high + margin)
