"""The charts of a run."""

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter, StrMethodFormatter

from lab_pipeline.reports.canvas import PAGE, PICTURE, POINTS_PER_INCH, Palette, house_style, new_figure, to_png
from lab_pipeline.reports.downsample import every_kth, extremes
from lab_pipeline.reports.formats import signed_percent

Floats = npt.NDArray[np.float64]

WIDE, HALF = 1120, 540
"""Widths on the page, in CSS pixels."""
LOG_FROM = 20.0
"""The equity is drawn on a logarithmic scale if its highest value is this many times its lowest."""
TAIL_LOW, TAIL_HIGH = 0.005, 0.985
"""Quantiles of the returns outside which the distribution is gathered into its outermost bars."""
BARS = 40
SETTLED = 0.2
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
COARSER = (PIXELS_A_BIN, 6, 12, 24, 48)
"""Widths of a bin to try in turn until the picture is small enough for the event log."""
PICTURE_BYTES = 60_000
HOURS = 24
LEFT, RIGHT, BOTTOM, PANEL_GAP = 58, 14, 28, 34
"""Margins around the axes, in CSS pixels: room for labels, without a layout pass."""
TITLE_AT = 1.0
"""Given explicitly, or matplotlib measures every label to find out where a title fits."""
_NORMAL_975 = 1.959964


def equity_png(equity: pl.DataFrame, *, initial_capital: float, width_px: int = 900, height_px: int = 400) -> bytes:
    """Draw equity and drawdown, one above the other, for a light or dark ground.

    Args:
        equity: columns of `frames.EQUITY`; may be empty.
        initial_capital: where the dashed line is, in quote currency.
        width_px: size of the picture.
        height_px: size of the picture.

    Returns:
        A PNG, byte-identical for equal input; under 60 kB at the default size, however rough the series is.
    """
    with house_style(PICTURE):
        for pixels_a_bin in COARSER:
            figure = equity_figure(
                equity, initial_capital, PICTURE, (width_px, height_px), with_exposure=False, pixels_a_bin=pixels_a_bin
            )
            picture = to_png(figure)
            if len(picture) < PICTURE_BYTES:
                break
        return picture


def buckets_png(
    labels: list[str], counts: list[int], *, title: str, width_px: int = 900, height_px: int = 320
) -> bytes:
    """Draw how many values lie in each bucket, one bar each, for a light or dark ground.

    Returns:
        A PNG, byte-identical for equal input.
    """
    with house_style(PICTURE):
        figure = new_figure(width_px, height_px)
        axes = _place(figure, LEFT + 24, BOTTOM, width_px - LEFT - 24 - RIGHT, height_px - BOTTOM - 26)
        places = np.arange(len(labels))
        axes.bar(places, counts, color=PICTURE.accent, width=0.8)
        axes.set_xticks(places, labels)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_title(title, y=TITLE_AT)
        return to_png(figure)


def equity_figure(
    equity: pl.DataFrame,
    initial_capital: float,
    palette: Palette,
    size: tuple[int, int],
    *,
    with_exposure: bool,
    pixels_a_bin: int = PIXELS_A_BIN,
) -> Figure:
    """Stack equity, drawdown and, if wanted, exposure over one time axis."""
    width, height = size
    bins = max(1, width // pixels_a_bin)
    figure = new_figure(width, height)
    weights = [5.0, 2.2, 1.3] if with_exposure else [5.0, 2.2]
    panels = _stack(figure, weights, width, height)
    if equity.is_empty():
        _say_nothing_to_draw(figure, panels, "No trade was taken, so there is no equity to draw")
        return figure
    when = _times(equity["timestamp"])
    panels[0].set_title(f"{_day(when[0])} to {_day(when[-1])} UTC", loc="right", y=TITLE_AT)
    _draw_equity(panels[0], when, equity["equity"].to_numpy(), initial_capital, palette=palette, bins=bins)
    _draw_drawdown(panels[1], when, equity["drawdown"].to_numpy(), palette=palette, bins=bins)
    if with_exposure:
        _draw_exposure(panels[2], when, equity["exposure"].to_numpy(), palette=palette, bins=bins)
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
        panel.spines["bottom"].set_visible(False)
    _date_axis(panels[-1], when)
    return figure


def distribution_figure(trades: pl.DataFrame) -> Figure:
    """Draw how the net returns are spread, tails gathered into the outermost bars, with median and mean."""
    returns = trades["net_return"].to_numpy()
    edges = return_bins(returns)
    counts = np.histogram(np.clip(returns, edges[0], edges[-1]), edges)[0]
    figure, axes = _single(HALF, 270, top=26)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, counts.max() * 1.04)
    _bars(axes, (edges[:-1] + edges[1:]) / 2, counts, sign=edges[1:], wide=(HALF - LEFT - RIGHT) / len(counts))
    axes.axvline(0, color=PAGE.ink, linewidth=1)
    median, mean = float(np.median(returns)), float(returns.mean())
    for value, dashes in ((median, ":"), (mean, "--")):
        axes.axvline(min(max(value, edges[0]), edges[-1]), color=PAGE.ink, linewidth=1.2, linestyle=dashes)
    key = f"dotted: median {signed_percent(median)}, dashed: mean {signed_percent(mean)}"
    axes.set_title(key, loc="right", y=TITLE_AT)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return figure


def return_bins(returns: Floats) -> Floats:
    """Choose about `BARS` equal bins of round width, one edge at zero, over what is not tail."""
    low, high = np.quantile(returns, [TAIL_LOW, TAIL_HIGH])
    raw = max(high - low, 0.01 * (1 + abs(high))) / BARS
    power = 10.0 ** np.floor(np.log10(raw))
    width = next(power * step for step in (1.0, 2.0, 2.5, 5.0, 10.0) if power * step >= raw)
    first, last = np.floor(low / width), np.ceil(high / width)
    edges: Floats = np.arange(first, max(last, first + 1) + 1) * width
    return edges


def running_mean_figure(trades: pl.DataFrame) -> Figure:
    """Draw the mean net return of all trades so far, in order of call, with its 95 % band."""
    ordered = trades.select("called_at", "call_id", "trade_no", "net_return").sort("called_at", "call_id", "trade_no")
    returns = ordered["net_return"].to_numpy()
    count = np.arange(1, len(returns) + 1)
    mean = np.cumsum(returns) / count
    variance = np.maximum(np.cumsum(returns**2) / count - mean**2, 0) * count / np.maximum(count - 1, 1)
    half = _NORMAL_975 * np.sqrt(variance / count)
    shown = slice(min(FIRST_MEAN, len(returns)) - 1, None)
    when, mean, half = _times(ordered["called_at"])[shown], mean[shown], half[shown]
    at = extremes(mean, HALF // PIXELS_A_BIN)
    figure, axes = _single(HALF, 270, top=20)
    axes.fill_between(when[at], (mean - half)[at], (mean + half)[at], color=PAGE.accent, alpha=0.16, linewidth=0)
    axes.plot(when[at], mean[at], color=PAGE.accent)
    axes.axhline(0, color=PAGE.ink, linewidth=1)
    settled = slice(int(len(mean) * SETTLED), None)
    _limit_y(axes, min(0.0, (mean - half)[settled].min()), max(0.0, (mean + half)[settled].max()))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _date_axis(axes, when)
    return figure


def hours_figure(trades: pl.DataFrame) -> Figure:
    """Draw the mean net return by the UTC hour of the call, with its 95 % interval."""
    hours = (
        trades.group_by(hour=pl.col("called_at").dt.hour())
        .agg(mean=pl.col("net_return").mean(), error=pl.col("net_return").std() / pl.len().sqrt())
        .sort("hour")
    )
    mean = hours["mean"].to_numpy()
    figure, axes = _single(HALF, 270, top=20)
    hour = hours["hour"].to_numpy()
    error = _NORMAL_975 * hours["error"].fill_null(0).to_numpy()
    _bars(axes, hour, mean, sign=mean, wide=(HALF - LEFT - RIGHT) / HOURS)
    axes.vlines(hour, mean - error, mean + error, color=PAGE.ink, linewidth=1)
    axes.axhline(0, color=PAGE.ink, linewidth=1)
    axes.set_xlim(-0.6, HOURS - 0.4)
    axes.xaxis.set_major_locator(MultipleLocator(3))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:02.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def excursions_figure(trades: pl.DataFrame) -> Figure:
    """Draw what each trade ended with against its worst and its best moment; on the diagonal it was sold there."""
    sample = trades[every_kth(len(trades), POINTS)]
    net = sample["net_return"].to_numpy()
    figure = new_figure(WIDE, 340)
    wide = (WIDE - LEFT - RIGHT - PANEL_GAP) / 2
    limits = _central(net)
    for index, (column, label) in enumerate((("mae", "Worst moment of the trade"), ("mfe", "Best moment"))):
        axes = _place(figure, LEFT + index * (wide + PANEL_GAP), 48, wide, 340 - 48 - 26)
        moment = sample[column].to_numpy()
        across = _central(moment)
        for colour, chosen in ((PICTURE.down, net <= 0), (PICTURE.up, net > 0)):
            axes.plot(
                np.clip(moment[chosen], *across),
                np.clip(net[chosen], *limits),
                "o",
                color=colour,
                markersize=float(np.clip(90 / np.sqrt(len(net)), 3.0, 6.0)),
                markeredgewidth=0,
                alpha=float(np.clip(12 / np.sqrt(len(net)), 0.15, 0.75)),
                rasterized=True,
            )
        axes.axline((0, 0), slope=1, color=PAGE.muted, linewidth=1, linestyle="--")
        _limit_x(axes, *across)
        _limit_y(axes, *limits)
        axes.set_xlabel(label)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6))
            axis.set_major_formatter(PercentFormatter(1))
        axes.grid(visible=True, axis="both")
    figure.axes[0].set_title("Net return", y=TITLE_AT)
    figure.axes[1].tick_params(labelleft=False)
    return figure


def _draw_equity(
    axes: Axes,
    when: npt.NDArray[np.datetime64],
    equity: Floats,
    initial_capital: float,
    *,
    palette: Palette,
    bins: int,
) -> None:
    at = extremes(equity, bins)
    lowest, highest = min(equity.min(), initial_capital), max(equity.max(), initial_capital)
    if lowest > 0 and highest > LOG_FROM * lowest:
        axes.set_yscale("log")
    else:
        axes.fill_between(when[at], equity[at], initial_capital, color=palette.accent, alpha=0.10, linewidth=0)
        _limit_y(axes, lowest, highest)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.plot(when[at], equity[at], color=palette.accent)
    axes.axhline(initial_capital, color=palette.ink, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    axes.set_title("Equity", y=TITLE_AT)


def _draw_drawdown(
    axes: Axes, when: npt.NDArray[np.datetime64], drawdown: Floats, *, palette: Palette, bins: int
) -> None:
    at = extremes(drawdown, bins)
    axes.fill_between(when[at], drawdown[at], 0, color=palette.down, alpha=0.22, linewidth=0)
    axes.plot(when[at], drawdown[at], color=palette.down, linewidth=1)
    axes.set_ylim(min(float(drawdown.min()) * 1.08, -0.001), 0)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("Drawdown", y=TITLE_AT)


def _draw_exposure(
    axes: Axes, when: npt.NDArray[np.datetime64], exposure: Floats, *, palette: Palette, bins: int
) -> None:
    at = extremes(exposure, bins)
    axes.fill_between(when[at], exposure[at], 0, color=palette.muted, alpha=0.45, linewidth=0)
    axes.set_ylim(0, max(float(exposure.max()) * 1.08, 0.01))
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("Exposure", y=TITLE_AT)


def _bars(axes: Axes, at: Floats, heights: Floats, *, sign: Floats, wide: float) -> None:
    colours = [PAGE.up if value > SIGN_TOLERANCE else PAGE.down for value in sign]
    # one collection of broad lines: ten times as fast as a rectangle a bar
    axes.vlines(at, 0, heights, colors=colours, linewidth=0.84 * wide, alpha=0.8)


def _stack(figure: Figure, weights: list[float], width: float, height: float) -> list[Axes]:
    title = 26
    room = height - BOTTOM - title * len(weights)
    panels = []
    top = height
    for weight in weights:
        tall = room * weight / sum(weights)
        top -= title + tall
        panels.append(_place(figure, LEFT, top, width - LEFT - RIGHT, tall))
    for panel in panels[1:]:
        panel.sharex(panels[0])
    return panels


def _single(width: float, height: float, *, top: float) -> tuple[Figure, Axes]:
    figure = new_figure(width, height)
    return figure, _place(figure, LEFT, BOTTOM, width - LEFT - RIGHT, height - BOTTOM - top)


def _place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    whole_width, whole_height = figure.get_size_inches() * POINTS_PER_INCH
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


def _date_axis(axes: Axes, when: npt.NDArray[np.datetime64]) -> None:
    first, last = when[0], when[-1]
    if first == last:
        first, last = first - np.timedelta64(1, "h"), last + np.timedelta64(1, "h")
    axes.set_xlim(first, last)
    locator = AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call] # theirs
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call] # theirs
    axes.xaxis.set_major_formatter(formatter)


def _say_nothing_to_draw(figure: Figure, panels: list[Axes], text: str) -> None:
    for panel in panels:
        panel.remove()
    figure.text(0.5, 0.5, text, ha="center", va="center")


def _times(moments: pl.Series) -> npt.NDArray[np.datetime64]:
    times: npt.NDArray[np.datetime64] = moments.dt.replace_time_zone(None).to_numpy()
    return times


def _day(moment: np.datetime64) -> str:
    return str(np.datetime_as_string(moment, unit="D"))


def _central(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [1 - OUTER, OUTER])
    return float(low), float(max(high, low + 1e-6))


def _limit_y(axes: Axes, low: float, high: float) -> None:
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    axes.set_ylim(low - margin, high + margin)


def _limit_x(axes: Axes, low: float, high: float) -> None:
    margin = 0.03 * (high - low)
    axes.set_xlim(low - margin, high + margin)
