"""The picture of a call: what is where."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.reports.call_sheet import call_picture, render_call
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.reports.synthetic import SPEC

CALLED = datetime(2025, 3, 1, 12, tzinfo=UTC)
HOSTILE = "<img src=x>\x1b[2J"


@dataclass
class Seen:
    """A call on made-up candles."""

    call: dict[str, Any]
    candles: pl.DataFrame
    fills: pl.DataFrame
    levels: pl.DataFrame
    trades: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=frames.TRADES))
    policies: dict[str, list[float]] = field(default_factory=dict)
    ambiguous: list[Any] = field(default_factory=list)
    doubt: str | None = None


def seen(closes, *, caller="ann", sold=1.5):
    """Buy at the call and sell at the end; the stop moves up halfway, the target is gone then."""
    count = len(closes)
    minutes = [CALLED + timedelta(minutes=number) for number in range(count)]
    opens = [closes[0], *closes[:-1]]
    candles = pl.DataFrame(
        {
            "mint": ["M" * 44] * count, "timestamp": minutes, "open": opens,
            "high": [max(pair) * 1.01 for pair in zip(opens, closes, strict=True)],
            "low": [min(pair) * 0.99 for pair in zip(opens, closes, strict=True)],
            "close": closes, "volume": [1.0] * count,
        },
        schema_overrides={"timestamp": frames.TIMESTAMP},
    )  # fmt: skip
    half = count // 2
    levels = pl.DataFrame(
        {
            "timestamp": minutes,
            "trade_no": [1] * count,
            "stop": [closes[0] * 0.8] * half + [closes[0]] * (count - half),
            "reason": ["stop_loss"] * half + ["break_even"] * (count - half),
            "target": [closes[0] * 1.3] * half + [None] * (count - half),
            "ambiguous": [False] * count,
        },
        schema_overrides={"target": pl.Float64, "timestamp": frames.TIMESTAMP},
    )
    fills = pl.DataFrame(
        [(1, minutes[0], "buy", "entry", closes[0], 1.0, 0.0), (1, minutes[-1], "sell", "target", sold, 0.5, 0.0)],
        schema=["trade_no", "timestamp", "side", "reason", "price", "fraction", "fee"],
        orient="row",
    ).with_columns(pl.col("timestamp").cast(frames.TIMESTAMP))
    call = {"call_id": "c1", "caller": caller, "mint": "M" * 44, "called_at": CALLED, "outcome": "entered"}
    return Seen(call, candles, fills, levels)


def texts(svg):
    return [one.text for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - our own


def test_equal_calls_are_drawn_with_equal_bytes():
    assert call_picture(seen([1.0, 1.1, 1.5]), SPEC) == call_picture(seen([1.0, 1.1, 1.5]), SPEC)


def test_fills_are_named_with_their_share_and_the_stop_is_a_line_that_moves():
    svg = call_picture(seen([1.0, 1.2, 1.1, 1.5]), SPEC)
    said = texts(svg)
    assert "entry" in said
    assert "target 50%" in said
    assert not any("logarithmic" in (line or "") for line in said)
    assert re.findall(r'stroke="#e0604f" stroke-width="16" stroke-dasharray="([^"]+)"', svg) == ["60 30", "20 30"]
    targets = [path for path in re.findall(r'stroke="#2f9e76" stroke-width="16" d="([^"]+)"', svg) if "l" in path]
    assert len(targets) == 1


def test_prices_over_more_than_a_decade_have_a_logarithmic_axis():
    said = texts(call_picture(seen([0.00001, 0.0001, 0.001], sold=0.001), SPEC))
    assert "logarithmic axis" in said
    assert {"1e-05", "0.0001", "0.001"} <= set(said)


def test_more_candles_than_there_is_room_for_are_drawn_together():
    svg = call_picture(seen([1 + number / 1000 for number in range(1000)]), SPEC)
    assert any("3 candles of" in (line or "") for line in texts(svg))
    bodies = re.findall(r'fill="#2f9e76" d="([^"]+)"', svg)
    assert sum(path.count("z") for path in bodies) == 334


@pytest.mark.parametrize("closes", [[1.0, 1.2, 1.5], [1.0]])
def test_a_page_of_a_hostile_caller_stays_text(closes):
    html = render_call(seen(closes, caller=HOSTILE), SPEC, fingerprint="f00d", run_id="run1", numbers=b"a,b\n")
    page = Page(html)
    assert page.problems == []
    assert "<img" not in html
    assert "\x1b" not in html
    assert "f00d" in html


def test_a_call_without_candles_says_so():
    bare = seen([1.0])
    bare.candles, bare.levels, bare.fills = bare.candles.clear(), bare.levels.clear(), bare.fills.clear()
    html = render_call(bare, SPEC, fingerprint="f00d", run_id="run1", numbers=b"")
    assert "The lake has no candles of this token" in html
    assert "<svg" not in html
