"""Draw what each rule of a strategy does on a few candles, as the engine simulates it, for docs/strategies.md."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import reference
from lab_pipeline.reports.canvas import PICTURE, Canvas
from lab_pipeline.reports.ticks import Tick
from lab_pipeline_tests.engine.market import T0, candles, minute

WIDTH, HEIGHT = 420, 190
PLACE = (74.0, 26.0, 332.0, 150.0)
BODY = 9
MARK = 5
"""Half the width of the triangle at a fill, in CSS pixels."""
RISING, FALLING = "#b4bcc8", "#7d8794"
"""Candles are grey, so that what the strategy does stands out."""
MIDDLE = 0.5
"""Of a candle, where fills are drawn: when inside it they happen nobody knows."""
SMALL = {"kind": "fixed", "amount": 100}


@dataclass(frozen=True)
class Picture:
    """A few candles of a minute and what a strategy does on them.

    Attributes:
        title: what is to be seen.
        rows: open, high, low and close of each candle.
        strategy: the document.
        levels: of the first trade, by label: multiples of its entry price.
        calls: minute of each call, and what it says.
        before: candles that come before minute 0.
        volume: tokens that each candle trades.
        finer: candles of 12 seconds, drawn in the place of the others.
        costs: whether a fill is drawn where it is with its slippage, and labelled with that.
    """

    title: str
    rows: list[tuple[float, float, float, float]]
    strategy: dict[str, object]
    levels: dict[str, float] = field(default_factory=dict)
    calls: list[tuple[float, dict[str, object]]] = field(default_factory=lambda: [(0, {})])
    before: int = 0
    volume: list[float] | float = 100.0
    finer: list[tuple[float, float, float, float]] = field(default_factory=list)
    costs: bool = False
    ends: bool = False
    """Whether sells at the end of the data are drawn, which are not what most rules are about."""


HOLD = {"maxHoldMinutes": 600}
RISE_AND_FALL = [(1, 1.1, 0.95, 1.05), (1.05, 1.45, 1, 1.4), (1.4, 1.75, 1.3, 1.7), (1.7, 1.72, 1.25, 1.3)]
PICTURES = {
    "entry-market": Picture(
        "market: the open of the first candle after the call, or after delayMinutes",
        [(1, 1.05, 0.95, 1.02), (1.02, 1.12, 1, 1.1), (1.1, 1.2, 1.05, 1.16), (1.16, 1.25, 1.1, 1.2)],
        {"entry": {"delayMinutes": 1}, "exit": HOLD},
        calls=[(0.4, {})],
    ),
    "entry-dip": Picture(
        "dip: a limit below the first open",
        [(1, 1.03, 0.95, 0.97), (0.97, 0.99, 0.82, 0.86), (0.86, 1, 0.84, 0.98), (0.98, 1.1, 0.95, 1.06)],
        {"entry": {"kind": "dip", "fraction": 0.1}, "exit": HOLD},
        {"10 % below": 1},
    ),
    "entry-rebound": Picture(
        "rebound: above the lowest low of the candles before",
        [(1, 1.02, 0.84, 0.88), (0.88, 0.9, 0.8, 0.82), (0.82, 0.95, 0.81, 0.93), (0.93, 1.05, 0.9, 1.02)],
        {"entry": {"kind": "rebound", "fraction": 0.1}, "exit": HOLD},
        {"10 % above": 1, "low": 1 / 1.1},
    ),
    "entry-signal": Picture(
        "signal: the price that the caller names is a limit",
        [(1, 1.06, 0.97, 1.03), (1.03, 1.05, 0.92, 0.95), (0.95, 1.08, 0.93, 1.06), (1.06, 1.15, 1.02, 1.12)],
        {"entry": {"kind": "signal"}, "exit": HOLD},
        {"entry_price": 1},
        calls=[(0, {"entry_price": 0.94})],
    ),
    "entry-when": Picture(
        "when: a close above the highest high of three candles acts at the next open",
        [
            (1, 1.04, 0.97, 1),
            (1, 1.05, 0.96, 1.02),
            (1.02, 1.04, 0.98, 0.99),
            (0.99, 1.02, 0.97, 1.01),
            (1.01, 1.13, 1, 1.11),
            (1.12, 1.2, 1.08, 1.18),
            (1.18, 1.26, 1.14, 1.22),
        ],
        {"entry": {"when": {"all": [{"kind": "breakout", "n": 3}]}}, "exit": HOLD},
        before=3,
    ),
    "filters": Picture(
        "filters: only the first call on a token",
        [(1, 1.05, 0.95, 1.02), (1.02, 1.15, 1, 1.1), (1.1, 1.2, 1.05, 1.16), (1.16, 1.25, 1.1, 1.2)],
        {"filters": [{"field": "call_number_on_token", "max": 1}], "exit": HOLD},
        calls=[(0, {}), (2, {})],
    ),
    "targets": Picture(
        "targets: parts are sold at multiples of the entry price; a gap up fills at the open",
        [(1, 1.1, 0.95, 1.05), (1.05, 1.6, 1, 1.5), (2.1, 2.3, 1.9, 2.2), (2.2, 2.25, 1.7, 1.8)],
        {
            "exit": {
                "targets": [
                    {"multiple": 1.5, "fraction": 0.4},
                    {"multiple": 2.0, "fraction": 0.4},
                    {"multiple": 2.5, "fraction": 0.2},
                ]
            }
        },
        {"1.5x": 1.5, "2x": 2, "2.5x": 2.5},
        ends=True,
    ),
    "stop": Picture(
        "stopLoss and stopFill: half way from the level to the low",
        [(1, 1.08, 0.95, 1.02), (1.02, 1.04, 0.9, 0.95), (0.95, 0.97, 0.4, 0.5), (0.5, 0.6, 0.45, 0.55)],
        {"exit": {"stopLoss": 0.2}},
        {"stop": 0.8},
    ),
    "stop-gap": Picture(
        "stopLoss: an open below the stop is the price",
        [(1, 1.08, 0.95, 1.02), (1.02, 1.04, 0.9, 0.95), (0.6, 0.7, 0.5, 0.62), (0.62, 0.66, 0.55, 0.6)],
        {"exit": {"stopLoss": 0.2}},
        {"stop": 0.8},
    ),
    "stop-atr": Picture(
        "stopLoss by true range: twice the mean swing of the three candles before the entry",
        [
            (1, 1.05, 0.97, 1.02),
            (1.02, 1.08, 1, 1.03),
            (1.03, 1.06, 0.98, 1),
            (1, 1.04, 0.97, 1.01),
            (1.01, 1.06, 0.96, 0.98),
            (0.98, 1, 0.9, 0.94),
            (0.94, 0.96, 0.8, 0.82),
        ],
        {"exit": {"stopLoss": {"atr": {"n": 3, "k": 2}}, "stopFill": {"through": 0}}},
        before=4,
    ),
    "trailing": Picture(
        "trailing: armed at 1.3x, then 20 % below the highest high so far",
        [*RISE_AND_FALL, (1.3, 1.35, 1.2, 1.25)],
        {"exit": {"trailing": {"activation": 1.3, "distance": 0.2}, "stopFill": {"through": 0}}},
        {"armed at": 1.3},
    ),
    "break-even": Picture(
        "breakEvenAfter: after the first target the stop is the entry price",
        [(1, 1.1, 0.95, 1.05), (1.05, 1.6, 1.02, 1.4), (1.4, 1.42, 0.97, 1.0), (1.0, 1.05, 0.7, 0.75)],
        {
            "exit": {
                "targets": [{"multiple": 1.5, "fraction": 0.5}],
                "stopLoss": 0.2,
                "breakEvenAfter": 1,
                "stopFill": {"through": 0},
            }
        },
        {"1.5x": 1.5, "entry": 1, "stop": 0.8},
    ),
    "max-hold": Picture(
        "maxHoldMinutes: the first open that long after the entry",
        [(1, 1.1, 0.95, 1.05), (1.05, 1.15, 1, 1.1), (1.1, 1.18, 1.02, 1.08), (1.08, 1.16, 1.04, 1.12)],
        {"exit": {"maxHoldMinutes": 3}},
    ),
    "exit-when": Picture(
        "when: a close below the lowest low of two candles sells at the next open",
        [
            (1, 1.1, 0.96, 1.08),
            (1.08, 1.2, 1.04, 1.18),
            (1.18, 1.22, 1.1, 1.12),
            (1.12, 1.14, 0.98, 1),
            (0.99, 1.03, 0.9, 0.93),
        ],
        {"exit": {"when": {"any": [{"kind": "breakout", "n": 2, "direction": "down"}]}}},
    ),
    "plan": Picture(
        "use signal: the caller's targets and stop; a target below the entry price is dropped",
        [(1, 1.1, 0.95, 1.05), (1.05, 1.36, 1, 1.3), (1.3, 1.4, 1.1, 1.15), (1.15, 1.2, 0.84, 0.9)],
        {"exit": {"use": "signal", "stopFill": {"through": 0}}},
        {"target 1": 1.3, "target 2": 1.6, "stop_price": 0.85},
        calls=[(0, {"targets": [0.9, 1.3, 1.6], "stop_price": 0.85})],
    ),
    "reentry": Picture(
        "reentry: a limit 20 % below the last fill, one more trade",
        [(1, 1.1, 0.95, 1.05), (1.05, 1.6, 1, 1.5), (1.5, 1.52, 1.15, 1.25), (1.25, 1.7, 1.2, 1.65)],
        {
            "exit": {"targets": [{"multiple": 1.5, "fraction": 1}], "stopLoss": 0.3},
            "reentry": {"retrace": 0.2, "maxCount": 1},
        },
        {"1.5x": 1.5, "20 % below": 1.2},
    ),
    "intrabar": Picture(
        "intrabar stop_first: a candle that reaches both is taken to reach the stop first",
        [(1, 1.1, 0.95, 1.02), (1.02, 1.65, 0.75, 1.3), (1.3, 1.4, 1.2, 1.3)],
        {"exit": {"targets": [{"multiple": 1.5, "fraction": 1}], "stopLoss": 0.2, "stopFill": {"through": 0}}},
        {"1.5x": 1.5, "stop": 0.8},
    ),
    "finer": Picture(
        "intrabar finer: the same candle's shorter ones show that the target came first",
        [(1, 1.65, 0.75, 1.3)],
        {
            "exit": {"targets": [{"multiple": 1.5, "fraction": 1}], "stopLoss": 0.2, "stopFill": {"through": 0}},
            "intrabar": "finer",
            "finerTimeframe": "12s",
        },
        {"1.5x": 1.5, "stop": 0.8},
        finer=[
            (1, 1.2, 0.95, 1.15),
            (1.15, 1.65, 1.1, 1.4),
            (1.4, 1.45, 0.9, 0.95),
            (0.95, 1, 0.75, 0.9),
            (0.9, 1.35, 0.88, 1.3),
        ],
    ),
    "end-of-data": Picture(
        "endOfData: candles that end early leave half of the last close",
        [(1, 1.1, 0.95, 1.05), (1.05, 1.2, 1, 1.15), (1.15, 1.18, 1, 1.1)],
        {"exit": {"stopLoss": 0.6}, "endOfData": {"haircut": 0.5}},
        ends=True,
    ),
    "volume-share": Picture(
        "impact volume_share: a stake of 100 in candles that trade 1,000, and then 100",
        [(1, 1, 1, 1), (1, 1.2, 1, 1.15), (1.15, 1.55, 1.1, 1.5), (1.5, 1.55, 1.4, 1.45)],
        {
            "exit": {"targets": [{"multiple": 1.5, "fraction": 1}]},
            "costs": {"impact": {"model": "volume_share"}},
            "portfolio": {"sizing": SMALL},
        },
        {"1.5x": 1.5, "entry": 1},
        volume=[1000, 1000, 75, 1000],
        costs=True,
    ),
    "amm": Picture(
        "impact amm: a stake of 100 in a pool of 2,000",
        [(1, 1.05, 0.95, 1), (1, 1.2, 1, 1.15), (1.15, 1.55, 1.1, 1.5), (1.5, 1.55, 1.4, 1.45)],
        {
            "exit": {"targets": [{"multiple": 1.5, "fraction": 1}]},
            "costs": {"impact": {"model": "amm", "liquidity": 2000}},
            "portfolio": {"sizing": SMALL},
        },
        {"1.5x": 1.5, "entry": 1},
        costs=True,
    ),
    "cooldown": Picture(
        "cooldownMinutes: a token is not bought again so soon after an exit",
        [
            (1, 1.1, 0.95, 1.05),
            (1.05, 1.25, 1, 1.2),
            (1.2, 1.26, 1.1, 1.15),
            (1.15, 1.2, 1.05, 1.1),
            (1.1, 1.2, 1.05, 1.15),
            (1.15, 1.2, 1.1, 1.18),
        ],
        {"exit": {"targets": [{"multiple": 1.2, "fraction": 1}]}, "portfolio": {"cooldownMinutes": 3}},
        {"1.2x": 1.2},
        calls=[(0, {}), (2, {}), (5, {})],
    ),
}


def draw(name):
    """Return the picture of that name as SVG."""
    picture = PICTURES[name]
    simulation = _simulated(picture)
    step = 0.2 if picture.finer else 1.0
    shown = picture.finer or picture.rows
    begins = (np.arange(len(shown)) - picture.before) * step
    prices = np.array(shown)
    bought = simulation.trades["entry_price"][0]
    levels = {label: multiple * bought for label, multiple in picture.levels.items()}
    every = [*prices.ravel().tolist(), *levels.values(), *simulation.fills["price"]]
    room = 0.12 * (max(every) - min(every))
    low, high = min(every) - room, max(every) + room
    canvas = Canvas(name, WIDTH, HEIGHT, PICTURE)
    panel = canvas.panel(PLACE, (begins[0], begins[-1] + step), (low, high))
    panel.label_rows([Tick(level, label) for label, level in levels.items()])
    for level in levels.values():
        panel.level(level, PICTURE.grid, dashes="4 3")
    for (opened, highest, lowest, closed), begin in zip(prices, begins, strict=True):
        colour = RISING if closed >= opened else FALLING
        at = np.full(2, begin + MIDDLE * step)
        panel.whiskers(at[:1], np.array([lowest]), np.array([highest]), colour)
        thin = max(0.0, 0.006 * (high - low) - abs(closed - opened)) / 2
        ends = np.array([min(opened, closed) - thin, max(opened, closed) + thin])
        panel.line(at, ends, colour, width=BODY)
    _write_calls(canvas, panel, simulation, picture)
    _write_fills(canvas, panel, simulation, picture, step)
    return canvas.to_document(picture.title) + "\n"


def _simulated(picture):
    begins = np.arange(len(picture.rows)) - picture.before
    market = candles(picture.rows, minutes=begins.tolist()).with_columns(
        volume=pl.Series(np.broadcast_to(np.array(picture.volume, float), len(picture.rows)))
    )
    said = pl.DataFrame(
        [
            (f"call {number}", "caller", "m", minute(at), *(options.get(name) for name in frames.CALL_OPTIONS))
            for number, (at, options) in enumerate(picture.calls, start=1)
        ],
        schema={**frames.CALLS, **frames.CALL_OPTIONS},
        orient="row",
    )
    finer = candles(picture.finer, minutes=[0.2 * number for number in range(len(picture.finer))])
    config = StrategyConfig.parse(picture.strategy)
    return reference.simulate(market, said, config, timeframe="1m", finer=finer if picture.finer else None)


def _write_calls(canvas, panel, simulation, picture):
    """Draw an upright line at each call, and what became of it if it was not entered."""
    for (at, _), outcome in zip(picture.calls, simulation.outcomes["outcome"], strict=True):
        panel.upright(at, PICTURE.accent, dashes="2 3")
        said = "call" if outcome == "entered" else f"call: {outcome}"
        canvas.text(_across(panel, at) + 3, PLACE[1] - 6, said, colour=PICTURE.accent)


def _write_fills(canvas, panel, simulation, picture, step):
    """Draw a triangle at each fill: up for a buy, down for a sell, hollow where the account did not take the trade."""
    keys = ["call_id", "trade_no"]
    fills = simulation.fills.join(simulation.trades.select(*keys, "taken", "skip_reason", "entry_price"), on=keys)
    for fill in fills.iter_rows(named=True):
        buys = fill["side"] == "buy"
        hidden = not fill["taken"] or (fill["reason"] == "end_of_data" and not picture.ends)
        if hidden and not buys:
            continue
        price = fill["price"]
        if picture.costs:
            price *= 1 + fill["slippage"] if buys else 1 - fill["slippage"]
        x = _across(panel, _moment(fill, picture) + MIDDLE * step)
        y = PLACE[1] + PLACE[3] * (panel.y[1] - price) / (panel.y[1] - panel.y[0])
        tip = MARK * 1.6 if buys else -MARK * 1.6
        n = canvas.n
        colour = PICTURE.accent if buys else PICTURE.up if price > fill["entry_price"] else PICTURE.down
        shape = f"M{n(x)} {n(y)}L{n(x - MARK)} {n(y + tip)}h{n(2 * MARK)}z"
        canvas.path(shape, fill=colour if fill["taken"] else "none", stroke=colour, stroke_width=n(1))
        late = x > PLACE[0] + 0.66 * PLACE[2]
        label = _label(fill, price, picture)
        beside = x - MARK - 6 if late else x + MARK + 6
        canvas.text(beside, y + tip / 2 + 4, label, anchor="end" if late else "start", colour=colour)


def _moment(fill, picture):
    """Return the minute at which the candle of a fill begins: of finer ones, the first that has the price."""
    for number, (_, high, low, _) in enumerate(picture.finer):
        if low <= fill["price"] <= high:
            return number * 0.2
    return (fill["timestamp"] - T0).total_seconds() / 60


def _label(fill, price, picture):
    if not fill["taken"]:
        return f"skipped: {fill['skip_reason']}"
    if fill["side"] == "buy":
        return f"{'pays' if picture.costs else 'buy'} {price:.3g}"
    part = "" if fill["fraction"] > 1 - 1e-9 else f"{fill['fraction']:.0%} "
    return f"{part}{fill['reason'].replace('_', ' ')} {'brings ' if picture.costs else ''}{price:.3g}"


def _across(panel, at):
    return PLACE[0] + PLACE[2] * (at - panel.x[0]) / (panel.x[1] - panel.x[0])
