"""Generated markets and strategies.

Prices lie on a coarse binary grid and most strategy parameters are binary fractions, so that levels are met exactly,
several at a time: equality is where two implementations part.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from hypothesis import strategies as st

from lab_pipeline.domain import frames
from lab_pipeline.domain.enums import EntryKind, IntrabarPolicy, SizingKind
from lab_pipeline.domain.strategy import (
    Costs,
    Entry,
    Exit,
    FixedSizing,
    FractionSizing,
    Portfolio,
    Reentry,
    RiskSizing,
    StrategyConfig,
    Target,
    TrailingStop,
)

from .market import T0

START_MS = int(T0.timestamp() * 1000)
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Market:
    candles: pl.DataFrame
    calls: pl.DataFrame


def distances() -> st.SearchStrategy[float]:
    return st.one_of(st.sampled_from([0.0625, 0.125, 0.25, 0.5, 0.75]), st.floats(0.001, 0.95))


def multiples() -> st.SearchStrategy[float]:
    return st.one_of(st.sampled_from([1.125, 1.25, 1.5, 2.0, 3.0, 4.0]), st.floats(1.0001, 6.0))


def spans() -> st.SearchStrategy[float]:
    return st.one_of(st.sampled_from([1.0, 5.0, 30.0, 60.0, 200.0]), st.floats(0.01, 100.0))


@st.composite
def ladders(draw) -> tuple[Target, ...]:
    levels = sorted(set(draw(st.lists(multiples(), max_size=4))))
    if not levels:
        return ()
    equal = draw(st.booleans())
    shares = [1.0] * len(levels) if equal else draw(st.lists(st.floats(0.05, 1), min_size=len(levels), max_size=4))
    whole = 1.0 if draw(st.booleans()) else draw(st.floats(0.1, 1.0))
    total = sum(shares[: len(levels)])
    return tuple(
        Target(multiple=level, fraction=min(1.0, whole * share / total))
        for level, share in zip(levels, shares, strict=False)
    )


@st.composite
def exits(draw) -> Exit:
    trailing = st.builds(
        TrailingStop, activation=st.one_of(st.sampled_from([0.5, 1.0, 1.25, 2.0]), multiples()), distance=distances()
    )
    parts = {
        "targets": draw(ladders()),
        "stop_loss": draw(st.none() | distances()),
        "trailing": draw(st.none() | trailing),
        "max_hold_minutes": draw(st.none() | spans()),
    }
    if parts["stop_loss"] and draw(st.integers(0, 3)) == 0:  # stop and trail at one level
        parts["trailing"] = TrailingStop(activation=1.0, distance=parts["stop_loss"])
    if not any(parts.values()):
        parts["stop_loss"] = 0.5
    return Exit(**parts, break_even_after=draw(st.none() | st.integers(1, 3)))


@st.composite
def portfolios(draw, stop_loss: float | None) -> Portfolio:
    kinds = [SizingKind.FIXED, SizingKind.FRACTION] + ([SizingKind.RISK] if stop_loss else [])
    match draw(st.sampled_from(kinds)):
        case SizingKind.FIXED:
            sizing = FixedSizing(amount=draw(st.sampled_from([1.0, 100.0, 3_000.0, 10_000 / 3, 10_000 / 7])))
        case SizingKind.FRACTION:
            sizing = FractionSizing(kind=SizingKind.FRACTION, fraction=draw(st.sampled_from([0.01, 0.3, 1 / 7, 1.0])))
        case SizingKind.RISK:
            sizing = RiskSizing(
                kind=SizingKind.RISK,
                fraction=draw(st.sampled_from([0.01, 0.2])),
                max_fraction=draw(st.sampled_from([0.1, 1.0])),
            )
    return Portfolio(sizing=sizing, max_open_positions=draw(st.none() | st.integers(1, 8)))


@st.composite
def configs(draw) -> StrategyConfig:
    kind = draw(st.sampled_from([EntryKind.MARKET, EntryKind.MARKET, EntryKind.DIP, EntryKind.REBOUND]))
    delay = draw(st.sampled_from([0.0, 0.0, 1.0, 2.5]))
    leave = draw(exits())
    return StrategyConfig(
        entry=Entry(
            kind=kind,
            fraction=None if kind is EntryKind.MARKET else draw(distances()),
            delay_minutes=delay,
            max_wait_minutes=draw(st.sampled_from([60.0, 200.0, 5.0, 0.5])),
        ),
        exit=leave,
        reentry=draw(st.none() | st.builds(Reentry, retrace=distances(), max_count=st.integers(0, 4))),
        costs=draw(st.builds(Costs, fee_bps=st.sampled_from([0.0, 30.0]), slippage_bps=st.sampled_from([0.0, 12.5]))),
        intrabar=draw(st.sampled_from([policy for policy in IntrabarPolicy if policy is not IntrabarPolicy.FINER])),
        horizon_minutes=delay + draw(st.sampled_from([10.0, 90.0, 400.0, 1.0])),
        portfolio=draw(portfolios(leave.stop_loss)),
    )


@st.composite
def markets(draw, mints: int = 20) -> Market:
    """Draw a market of several tokens, three calls each; the numbers come from a drawn seed."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    tokens = {f"m{index:02d}": _token(random, f"m{index:02d}") for index in range(mints)}
    called = []
    for mint, candles in tokens.items():
        times = candles["timestamp"].to_physical().to_numpy()
        nearby = random.choice(times[: len(times) // 2 + 1], 3) + random.integers(-3, 2, 3) * MINUTE_MS
        called += [(mint, int(time)) for time in nearby + random.choice([0, 0, 1, 30_000], 3)]
    called.append(("unknown", START_MS))
    calls = pl.DataFrame(
        [
            (f"c{index:03d}", f"caller{index % 3}", *call)
            for index, call in zip(random.permutation(len(called)), called, strict=True)
        ],
        schema=["call_id", "caller", "mint", "called_at"],
        orient="row",
    ).cast(frames.CALLS)
    return Market(pl.concat(tokens.values()), calls)


def _token(random: np.random.Generator, mint: str) -> pl.DataFrame:
    """Make a token's candles; a `step` of zero makes prices that lie on no grid."""
    rows = int(random.integers(1, random.choice([2, 10, 80, 300])))
    step = random.choice([0.0, 1 / 64, 1 / 8])
    wildness = random.choice([0.0, 0.5, 1.0, 3.0])
    skipped = (random.random(rows) < random.choice([0.0, 0.1, 0.7])) * random.integers(1, 9, rows)
    minutes = random.integers(-90, 30) + np.arange(rows) + np.cumsum(skipped)
    grain = step or 1 / 16
    moves = random.normal(0, wildness, (2, rows)) * grain
    shadows = np.abs(random.normal(0, wildness, (2, rows))) * grain
    close = 1.0 + np.cumsum(moves[0])
    opened = np.roll(close, 1) + moves[1] * (random.random(rows) < 0.3)
    high, low = np.maximum(opened, close) + shadows[0], np.minimum(opened, close) - shadows[1]
    prices = [opened, high, low, close]
    if step:
        prices = [np.round(values / step) * step for values in prices]
    lowest = min(values.min() for values in prices)
    scale = random.choice([1.0, 1e-9, 3e4])
    prices = [(values + max(0.0, 1 / 16 - lowest)) * scale for values in prices]
    return pl.DataFrame(
        {
            "mint": [mint] * rows,
            "timestamp": START_MS + minutes * MINUTE_MS,
            **dict(zip(("open", "high", "low", "close"), prices, strict=True)),
            "volume": random.choice([0.0, 1.5, 1e6], rows),
        },
        schema_overrides={"timestamp": pl.Int64},
    ).cast(frames.CANDLES)


@st.composite
def small_candles(draw) -> pl.DataFrame:
    """Draw a few candles number by number, so that a failure shrinks to the candle that matters."""
    prices = st.integers(1, 24).map(lambda count: count / 8)
    rows, time = [], draw(st.integers(-3, 3))
    for opened, close, up, down, gap in draw(
        st.lists(
            st.tuples(prices, prices, st.integers(0, 6), st.integers(0, 6), st.sampled_from([1, 1, 1, 2, 9])),
            min_size=1,
            max_size=12,
        )
    ):
        high, low = max(opened, close) + up / 8, max(1 / 8, min(opened, close) - down / 8)
        rows.append(("m", START_MS + time * MINUTE_MS, opened, high, low, close, 1.0))
        time += gap
    physical = {name: pl.Int64() if dtype == frames.TIMESTAMP else dtype for name, dtype in frames.CANDLES.items()}
    return pl.DataFrame(rows, schema=physical, orient="row").cast(frames.CANDLES)
