"""One call on its candles: as a picture, and as a page that loads nothing."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
from markupsafe import Markup

from lab_pipeline.domain.backtest import ResolvedSpec
from lab_pipeline.domain.enums import FillReason
from lab_pipeline.domain.frames import CALL_OPTIONS
from lab_pipeline.domain.text import visible
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.reports.canvas import FONT, PAGE, PICTURE, Canvas, Palette, Panel
from lab_pipeline.reports.formats import moment, percent, shortened, words
from lab_pipeline.reports.pages import template
from lab_pipeline.reports.ticks import Tick, log_ticks, number_ticks, span, time_ticks

Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT = 1120, 440
LEFT, RIGHT, TOP, BOTTOM = 74, 18, 40, 28
"""Margins around the axes, in CSS pixels."""
PIXELS_A_CANDLE = 3
"""Room of a candle, at least: of more candles, several are drawn as one."""
BODY = 0.7
"""Of that room, what its body takes."""
WIDEST_BODY = 11
DECADE = 10.0
"""Prices that span more are drawn on a logarithmic axis."""
MARGIN = 0.06
DASHES: dict[str, str] = {FillReason.STOP_LOSS: "6 3", FillReason.BREAK_EVEN: "2 3"}
"""Of the line of a stop, by its rule; a trail has a full one."""
NEAR = 96
"""Labels that begin within so many pixels of one another lie one above the other."""
LINE = FONT + 2
LETTER = 0.6 * FONT
"""Width of a letter, about."""


class OnCandles(Protocol):
    """What there is to see of a call: `lab_pipeline.runs.call_view.CallView` says what each of it is."""

    @property
    def call(self) -> Mapping[str, Any]: ...  # noqa: D102 - said above, as of the others
    @property
    def trades(self) -> pl.DataFrame: ...  # noqa: D102
    @property
    def fills(self) -> pl.DataFrame: ...  # noqa: D102
    @property
    def candles(self) -> pl.DataFrame: ...  # noqa: D102
    @property
    def levels(self) -> pl.DataFrame: ...  # noqa: D102
    @property
    def policies(self) -> Mapping[str, list[float]]: ...  # noqa: D102
    @property
    def ambiguous(self) -> Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]: ...  # noqa: D102
    @property
    def doubt(self) -> str | None: ...  # noqa: D102


def render_call(view: OnCandles, spec: ResolvedSpec, *, fingerprint: str, run_id: str, numbers: bytes) -> str:
    """Render a call as a whole HTML document that loads nothing and holds no script.

    Args:
        view: what there is to see.
        spec: of its run.
        fingerprint: of its run.
        run_id: of its run.
        numbers: candles and levels as CSV, for whoever wants the numbers of the picture.
    """
    drawn = None if view.candles.is_empty() else _draw(view, spec, PAGE)
    return template("call.html").render(
        spec=spec,
        run_id=run_id,
        fingerprint=fingerprint,
        call=view.call,
        said={name: view.call[name] for name in CALL_OPTIONS if view.call.get(name) is not None},
        trades=view.trades.to_dicts(),
        fills=view.fills.to_dicts(),
        policies=view.policies,
        own_policy=str(spec.strategy.intrabar),
        ambiguous=view.ambiguous,
        doubt=view.doubt,
        # what the canvas wrote is markup; the text in it is escaped
        chart=drawn and Markup(drawn.to_svg(_title(view, spec), _said(view))),  # noqa: S704
        numbers=b64encode(numbers).decode(),
    )


def call_picture(view: OnCandles, spec: ResolvedSpec) -> str:
    """Draw a call that has candles as an SVG document, byte-identical for equal input."""
    return _draw(view, spec, PICTURE).to_document(_title(view, spec))


def _draw(view: OnCandles, spec: ResolvedSpec, palette: Palette) -> Canvas:
    canvas = Canvas("call", WIDTH, HEIGHT, palette)
    room = WIDTH - LEFT - RIGHT
    length = timeframe_ms(spec.timeframe)
    candles, together = _gathered(view.candles, room // PIXELS_A_CANDLE)
    when = candles["timestamp"].dt.epoch("ms").cast(pl.Float64).to_numpy()
    wide = length * together
    called_at: datetime = view.call["called_at"]
    last = max(candles["timestamp"][-1] + timedelta(milliseconds=wide), called_at)
    first, last = span(min(candles["timestamp"][0], called_at), last)
    prices = [candles["low"], candles["high"], view.levels["stop"], view.levels["target"], view.fills["price"]]
    values = pl.concat([one.cast(pl.Float64).drop_nulls().alias("price") for one in prices]).to_numpy()
    is_log = bool(values.min() > 0 and values.max() / values.min() > DECADE)
    scale = np.log10 if is_log else np.asarray
    limits = _limits(scale(values))
    place = (LEFT, TOP, room, HEIGHT - TOP - BOTTOM)
    panel = canvas.panel(place, (_ms(first), _ms(last)), limits)
    ticks = log_ticks(*limits, 6) if is_log else number_ticks(*limits, 6)
    rows = [Tick(tick.at, f"{10**tick.at if is_log else tick.at:.4g}") for tick in ticks]
    panel.grid(rows)
    body = min(WIDEST_BODY, max(1.0, BODY * room * wide / (_ms(last) - _ms(first))))
    middle = when + wide / 2
    rose = (candles["close"] >= candles["open"]).to_numpy()
    for chosen, colour in ((rose, palette.up), (~rose, palette.down)):
        low, high, opened, closed = (
            scale(candles[name].to_numpy()[chosen]) for name in ("low", "high", "open", "close")
        )
        panel.whiskers(middle[chosen], low, high, colour)
        panel.bodies(middle[chosen], np.minimum(opened, closed), np.maximum(opened, closed), colour, wide=body)
    for row, _ in view.ambiguous:
        panel.upright(_ms(row["timestamp"]) + length / 2, palette.muted, width=body)
    for across, level, reason in _steps(view.levels, "stop", length):
        panel.line(across, scale(level), palette.down, width=1.6, dashes=DASHES.get(reason))
    for across, level, _ in _steps(view.levels, "target", length):
        panel.line(across, scale(level), palette.up, width=1.6)
    panel.upright(_ms(called_at), palette.accent, dashes="5 4", width=1.4)
    _mark(panel, view.fills, scale)
    panel.label_rows(rows)
    panel.label_columns(time_ticks(first, last))
    canvas.text(LEFT, LINE, _title(view, spec), colour=palette.ink)
    drawn = f"{together:,} candles of {spec.timeframe} drawn as one" if together > 1 else ""
    notes = [drawn, "logarithmic axis" if is_log else ""]
    canvas.text(WIDTH - RIGHT, LINE, ", ".join(note for note in notes if note), anchor="end")
    return canvas


def _gathered(candles: pl.DataFrame, most: int) -> tuple[pl.DataFrame, int]:
    """Return candles, put together where they are more than can be drawn, and how many each of them holds."""
    together = -(-candles.height // most)
    if together == 1:
        return candles, 1
    group = pl.int_range(pl.len()) // together
    aggregated = (
        pl.col("timestamp", "open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
    )
    return candles.group_by(group.alias("group"), maintain_order=True).agg(*aggregated), together


def _steps(levels: pl.DataFrame, name: str, length: int) -> Iterator[tuple[Floats, Floats, str]]:
    """Yield each stretch of a level as the corners of its line, in milliseconds and prices, and the rule it is of."""
    of = "reason" if name == "stop" else pl.lit("")
    for _, trade in levels.group_by("trade_no", maintain_order=True):
        stretches = trade.with_columns(of=of).with_columns(stretch=pl.struct(pl.col(name).is_null(), "of").rle_id())
        for _, rows in stretches.drop_nulls(name).group_by("stretch", maintain_order=True):
            begins, prices = rows["timestamp"].dt.epoch("ms").cast(pl.Float64).to_numpy(), rows[name].to_numpy()
            ends = np.append(begins[1:], begins[-1] + length)
            yield np.column_stack([begins, ends]).ravel(), np.repeat(prices, 2), rows["of"][0]


def _mark(panel: Panel, fills: pl.DataFrame, scale: Any) -> None:  # noqa: ANN401 - a function of numpy's, or none
    """Draw a dot at each fill, and beside it what it was: what was bought below the prices, what was sold above."""
    palette = panel.canvas.palette
    written: list[tuple[float, float]] = []
    for side, colour, direction in (("buy", palette.up, 1), ("sell", palette.down, -1)):
        rows = fills.filter(pl.col("side") == side).sort("timestamp")
        if rows.is_empty():
            continue
        across = rows["timestamp"].dt.epoch("ms").cast(pl.Float64).to_numpy()
        panel.dots(across, scale(rows["price"].to_numpy()), colour, diameter=9, opacity=1)
        for row, at in zip(rows.iter_rows(named=True), across, strict=True):
            x, y = panel.at(at, float(scale(row["price"])))
            share = f" {percent(row['fraction'], 0)}" if row["fraction"] < 1 else ""
            text = f"{words(row['reason'])}{share}"
            at_end = x > WIDTH - RIGHT - NEAR
            left = x - 7 - len(text) * LETTER if at_end else x + 7
            baseline = y + direction * LINE + (FONT / 2 if direction > 0 else 0)
            while any(abs(baseline - other) < LINE and abs(left - beside) < NEAR for beside, other in written):
                baseline += direction
            written.append((left, baseline))
            panel.canvas.text(x + (-7 if at_end else 7), min(max(baseline, TOP - 2), HEIGHT - BOTTOM - 4), text,
                              anchor="end" if at_end else "start", colour=colour)  # fmt: skip


def _limits(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = MARGIN * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin


def _title(view: OnCandles, spec: ResolvedSpec) -> str:
    call = view.call
    called = f"{call['caller']} called {shortened(call['mint'])}, {moment(call['called_at'])} UTC"
    return f"{visible(called)}; {spec.strategy_id} v{spec.strategy_version}, {spec.timeframe} candles"


def _said(view: OnCandles) -> str:
    fills = (
        f"{words(row['reason'])} at {row['price']:.6g}, {moment(row['timestamp'])}"
        for row in view.fills.iter_rows(named=True)
    )
    return f"{view.candles.height:,} candles. {'; '.join(fills) or 'Nothing was bought'}."


def _ms(at: datetime) -> float:
    return at.timestamp() * 1000
