"""A token's candles as a picture, with what looks wrong in them marked."""

import numpy as np
import polars as pl

from lab_pipeline.reports.canvas import PICTURE, Canvas
from lab_pipeline.reports.downsample import extremes
from lab_pipeline.reports.ticks import log_ticks, span, time_ticks

LEFT, RIGHT, TOP, BOTTOM = 58, 18, 26, 28
PIXELS_A_BIN = 2
MARGIN = 0.05
MARKS_SHOWN = 500


def candle_picture(
    candles: pl.DataFrame, marks: pl.DataFrame, *, title: str, width: int = 900, height: int = 320
) -> str:
    """Draw highs and lows on a logarithmic scale, and an upright line where a mark begins.

    Args:
        candles: of one token, by time: `timestamp` (UTC, milliseconds), `high`, `low`; not empty.
        marks: `first` (UTC, milliseconds), `fault`; the first 500 are drawn.
        title: what the picture shows.
        width: of the picture, CSS pixels.
        height: of the picture, CSS pixels.

    Returns:
        An SVG document, byte-identical for equal input.
    """
    canvas = Canvas("candles", width, height, PICTURE, fine=1)
    when = candles["timestamp"].dt.epoch("ms").cast(pl.Float64).to_numpy()
    high, low = np.log10(candles["high"].to_numpy()), np.log10(candles["low"].to_numpy())
    first, last = span(candles["timestamp"][0], candles["timestamp"][-1])
    margin = MARGIN * (float(high.max() - low.min()) or 1.0)
    limits = float(low.min()) - margin, float(high.max()) + margin
    place = (LEFT, TOP, width - LEFT - RIGHT, height - TOP - BOTTOM)
    panel = canvas.panel(place, (first.timestamp() * 1000, last.timestamp() * 1000), limits)
    rows = log_ticks(*limits, 6)
    panel.grid(rows)
    for moment in marks["first"].head(MARKS_SHOWN).dt.epoch("ms").cast(pl.Float64):
        panel.upright(moment, canvas.palette.down, width=1)
    bins = max(1, width // PIXELS_A_BIN)
    for values in (high, low):
        at = extremes(values, bins)
        panel.line(when[at], values[at], canvas.palette.accent, width=1)
    panel.label_rows(rows)
    panel.label_columns(time_ticks(first, last))
    panel.title(title)
    counts = marks.group_by("fault").len().sort("fault").iter_rows()
    panel.note(", ".join(f"{fault}: {count:,}" for fault, count in counts))
    return canvas.to_document(title)
