"""Conditions over closed candles, as expressions of polars: its averages and extremes are the indicators.

A condition is judged on the candles of one call: from `history.signal_reach` before it to the end of its window. It is
false where it cannot be known yet. Signals of others are functions that are given the frame of those candles
(timestamp, open, high, low, close, volume) and the arguments of the strategy, and return a boolean expression; they
are tried on a made-up market first, and refused if what they say of a candle depends on later ones.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache, reduce
from importlib.metadata import EntryPoint, entry_points
from operator import and_, or_
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.conditions import (
    Breakout,
    Condition,
    EmaCross,
    IchimokuCross,
    Registered,
    Rsi,
    SmaCross,
    VolumeSpike,
    When,
)
from lab_pipeline.domain.enums import CrossDirection
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.model import canonical_json

ENTRY_POINTS = "lab_pipeline.signals"
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
PROBE_ROWS = 1_200
PROBE_CUTS = (40, 300, 700, 1_100)
PROBE_FACTORS = (1e-6, 1.0, 1e6)
"""Of prices and volumes after a cut: what is held against a fixed level shows, too, on which side the future is."""
TRIED_AT_MOST = 1_000
"""Signals, with their arguments, of which a process remembers that they do not look ahead."""
MINUTE_MS = 60_000

Signal = Callable[..., pl.Expr]
NONE: Mapping[str, Signal] = MappingProxyType({})


def holds(when: When, candles: pl.DataFrame, own: Mapping[str, Signal] = NONE) -> npt.NDArray[np.bool_]:
    """Tell at the close of each candle whether the conditions hold.

    Args:
        when: the conditions.
        candles: of one token, ascending: `COLUMNS`, timestamps in the type of `frames.CANDLES`.
        own: registered signals by name, which are asked before those of installed packages.

    Raises:
        LabError: if a registered signal is not there, fails, or looks ahead.
    """
    said = [_said(condition, candles, own) for condition in when.conditions]
    join = and_ if when.all_ is not None else or_
    joined: npt.NDArray[np.bool_] = reduce(join, said).to_numpy()
    return joined


def require_signals(*whens: When | None, own: Mapping[str, Signal] = NONE) -> None:
    """Look up every registered signal and try it for looking ahead; `own` as of `holds`.

    Raises:
        LabError: if one is not there, fails, or looks ahead.
    """
    for when in whens:
        for condition in when.conditions if when else ():
            if isinstance(condition, Registered):
                find_signal(condition, own)


def installed(name: str) -> EntryPoint | None:
    """Return the entry point of an installed package that registers a signal, or null."""
    return next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)


def find_signal(condition: Registered, own: Mapping[str, Signal] = NONE) -> Signal:
    """Return the function of a registered signal that does not look ahead; `own` as of `holds`.

    Raises:
        LabError: if it is not there, fails, or looks ahead.
    """
    signal = own.get(condition.name) or _registered(condition.name)
    _require_causal(signal, condition.name, canonical_json(condition.arguments))
    return signal


def _said(condition: Condition, candles: pl.DataFrame, own: Mapping[str, Signal]) -> pl.Series:
    if not isinstance(condition, Registered):
        expression = _expression(condition)
        return candles.select(holds=expression.fill_null(value=False))["holds"]
    return _ask(find_signal(condition, own), condition.name, condition.arguments, candles)


def _expression(condition: Condition) -> pl.Expr:
    close, high, low, volume = (pl.col(name) for name in ("close", "high", "low", "volume"))
    match condition:
        case EmaCross(fast=fast, slow=slow):
            return _crosses(_ema(close, fast), _ema(close, slow), condition.direction)
        case SmaCross(fast=fast, slow=slow):
            return _crosses(_sma(close, fast), _sma(close, slow), condition.direction)
        case Rsi(n=n):
            change = close.diff()
            gain, loss = (
                part.ewm_mean(alpha=1 / n, adjust=False, min_samples=n)
                for part in (change.clip(0), -change.clip(None, 0))
            )
            index = (100 * gain / (gain + loss)).fill_nan(None)  # a price that never moved has none
            return index >= condition.above if condition.above is not None else index <= condition.below
        case Breakout(n=n, direction=CrossDirection.UP):
            return close > high.shift(1).rolling_max(n, min_samples=n)
        case Breakout(n=n):
            return close < low.shift(1).rolling_min(n, min_samples=n)
        case VolumeSpike(n=n):
            before = volume.shift(1)
            traded = before.rolling_max(n, min_samples=n) > 0
            return traded & (volume >= condition.multiple * before.rolling_mean(n, min_samples=n))
        case IchimokuCross():
            return _crosses(_middle(condition.tenkan), _middle(condition.kijun), condition.direction)
        case Registered():
            raise AssertionError(condition)


def _ema(values: pl.Expr, n: int) -> pl.Expr:
    return values.ewm_mean(span=n, adjust=False, min_samples=n)


def _sma(values: pl.Expr, n: int) -> pl.Expr:
    return values.rolling_mean(n, min_samples=n)


def _middle(n: int) -> pl.Expr:
    return (pl.col("high").rolling_max(n, min_samples=n) + pl.col("low").rolling_min(n, min_samples=n)) / 2


def _crosses(fast: pl.Expr, slow: pl.Expr, direction: CrossDirection) -> pl.Expr:
    if direction is CrossDirection.DOWN:
        fast, slow = slow, fast
    return (fast > slow) & (fast.shift(1) <= slow.shift(1))


@cache
def _registered(name: str) -> Signal:
    found = installed(name)
    if found is None:
        known = ", ".join(sorted(entry_points(group=ENTRY_POINTS).names)) or "none"
        raise LabError(f"signal {name!r} is not registered in the entry point group {ENTRY_POINTS}: there is {known}")
    try:
        signal: Signal = found.load()
    except (Exception, SystemExit) as error:
        raise LabError(f"signal {name!r} failed: {type(error).__name__}: {error}") from error
    return signal


def _ask(signal: Signal, name: str, arguments: dict[str, Any], candles: pl.DataFrame) -> pl.Series:
    """Return what a registered signal says of each candle; false where it says nothing."""
    try:
        said = candles.select(holds=signal(candles, **arguments))["holds"]
    except LabError:
        raise
    except (Exception, SystemExit) as error:
        raise LabError(f"signal {name!r} failed: {type(error).__name__}: {error}") from error
    if said.dtype != pl.Boolean or len(said) != len(candles):
        raise LabError(f"signal {name!r} must say true or false of each of {len(candles)} candles, not {said.dtype}")
    return said.fill_null(value=False)


@lru_cache(TRIED_AT_MOST)
def _require_causal(signal: Signal, name: str, arguments: bytes) -> None:
    """Scramble the future of a made-up market and require that nothing changes before."""
    known = json.loads(arguments)
    market = _made_up(0)
    said = _ask(signal, name, known, market)
    for cut in PROBE_CUTS:
        later = _made_up(cut)[cut:]
        futures = [later.with_columns(pl.col(COLUMNS[1:]) * factor) for factor in PROBE_FACTORS]
        for part in (market[:cut], *(pl.concat([market[:cut], future]) for future in futures)):
            if not _ask(signal, name, known, part)[:cut].equals(said[:cut]):
                raise LabError(f"signal {name!r} looks ahead: what it says of a candle depends on later candles")


def _made_up(seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    close = np.exp(np.cumsum(random.normal(0, 0.03, PROBE_ROWS)))
    opened = np.concatenate([[1.0], close[:-1]])
    spread = np.exp(np.abs(random.normal(0, 0.01, (2, PROBE_ROWS))))
    return pl.DataFrame(
        {
            "timestamp": pl.Series(np.arange(PROBE_ROWS) * MINUTE_MS).cast(frames.TIMESTAMP),
            "open": opened,
            "high": np.maximum(opened, close) * spread[0],
            "low": np.minimum(opened, close) / spread[1],
            "close": close,
            "volume": random.exponential(100.0, PROBE_ROWS),
        }
    )
