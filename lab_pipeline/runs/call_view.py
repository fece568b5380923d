"""One call of a run on its candles: what was bought and sold, at which levels, and what else could have been."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from lab_pipeline.domain.enums import Outcome
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.frames import TIMESTAMP
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine.fitting import reads_liquidity
from lab_pipeline.engine.history import look_back_ms
from lab_pipeline.engine.reference_records import CallResult, Trade
from lab_pipeline.engine.tracing import can_trace, trace_call
from lab_pipeline.lake import Lake
from lab_pipeline.runs.published import PublishedRun

CANDLES_BEFORE = 60
"""Shown before the call."""
MOST_CANDLES = 50_000
"""Shown at most, from the first on: more than a screen has pixels for."""


NEAR_LOOKED_AT = 2_000
"""Calls among which those are looked for that may have been meant."""


class UnknownCallError(LabError):
    """The run has no call of that id."""


@dataclass(frozen=True)
class CallView:
    """What there is to see of a call.

    Attributes:
        call: its row of the run's outcomes, by column.
        trades: rows of the run's trades, by trade_no.
        fills: rows of the run's fills, by trade_no and fill_no.
        candles: columns of `frames.CANDLES`, from a while before the call to its horizon; as the lake has them now.
        finer: the same of a finer timeframe, within candles that were ambiguous; empty where the run asked for none.
        levels: `timestamp`, `trade_no`, `stop`, `reason` (the rule of the stop), `target`, `ambiguous`, a row for
            each candle of an open trade; null where there is no such level.
        policies: intrabar policy -> net return of each trade under it, the run's own first; empty where it was not
            followed.
        doubt: why what is drawn may not be what the run saw; null if it is the same to the last bit.
        length: of a candle.
    """

    call: Mapping[str, Any]
    trades: pl.DataFrame
    fills: pl.DataFrame
    candles: pl.DataFrame
    finer: pl.DataFrame
    levels: pl.DataFrame
    policies: Mapping[str, list[float]]
    doubt: str | None
    length: timedelta

    @property
    def on_candles(self) -> pl.DataFrame:
        """The candles, each with the levels that it was tested against, for each trade that was open."""
        return self.candles.join(self.levels, on="timestamp", how="left", maintain_order="left")

    @property
    def ambiguous(self) -> Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
        """The candles that reached stop and target alike, with their levels, each with the finer ones within it."""
        rows = self.on_candles.filter("ambiguous").to_dicts()
        within = [
            self.finer.filter(pl.col("timestamp").is_between(row["timestamp"], row["timestamp"] + self.length, "left"))
            for row in rows
        ]
        return [(row, finer.to_dicts()) for row, finer in zip(rows, within, strict=True)]


LEVELS = pl.Schema(
    {
        "timestamp": TIMESTAMP,
        "trade_no": pl.Int32(),
        "stop": pl.Float64(),
        "reason": pl.String(),
        "target": pl.Float64(),
        "ambiguous": pl.Boolean(),
    }
)


def view_call(run: PublishedRun, call_id: str, lake: Lake) -> CallView:
    """Put together what there is to see of a call.

    Raises:
        UnknownCallError: if the run has no such call.
    """
    calls = run.frame("outcomes").filter(pl.col("call_id") == call_id)
    if calls.is_empty():
        raise UnknownCallError(f"run {run.manifest.run_id} has no call '{call_id}'")
    spec = run.manifest.spec
    call = calls.row(0, named=True)
    trades = run.frame("trades").filter(pl.col("call_id") == call_id).sort("trade_no")
    fills = run.frame("fills").filter(pl.col("call_id") == call_id).sort("trade_no", "fill_no")
    length = timeframe_ms(spec.timeframe)
    before = max(look_back_ms(spec.strategy, length), CANDLES_BEFORE * length)
    called_at: datetime = call["called_at"]
    start, end = (
        called_at - timedelta(milliseconds=before),
        called_at + timedelta(minutes=spec.strategy.horizon_minutes),
    )
    candles = lake.candles(spec.timeframe, call["mint"], start, end, liquidity=reads_liquidity(spec.strategy))
    finer = pl.DataFrame(schema=candles.schema)
    if spec.strategy.finer_timeframe is not None:
        finer = lake.candles(spec.strategy.finer_timeframe, call["mint"], called_at, end)
    results: Mapping[Any, CallResult] = {}
    doubt = None
    if not can_trace(spec.strategy):
        doubt = "its levels are not drawn: it asks a signal of the lab's own, which may be another by now"
    elif call["outcome"] == Outcome.ENTERED:
        physical = {**call, "called_at": calls["called_at"].to_physical()[0]}
        results = trace_call(physical, candles, spec.strategy, timeframe=spec.timeframe, finer=finer)
        own = next(iter(results.values()))
        if not _same(own, fills):
            doubt = "candles or engine are others than those of this run: the fills are the run's, the levels of today"
    levels = _levels(next(iter(results.values())).trades if results else [])
    return CallView(
        call=call,
        trades=trades,
        fills=fills,
        candles=candles.head(MOST_CANDLES),
        finer=_within(finer, levels, length),
        levels=levels,
        policies={str(policy): [trade.net_return for trade in result.trades] for policy, result in results.items()},
        doubt=doubt,
        length=timedelta(milliseconds=length),
    )


def find_call(run: PublishedRun, start: str) -> str:
    """Return the id of the call of a run that is, or starts with, `start`.

    Raises:
        UnknownCallError: if there is none, or more than one.
    """
    calls = run.frame("outcomes")["call_id"]
    found = calls.filter(calls.str.starts_with(start)).to_list()
    if start in found or len(found) == 1:
        return start if start in found else found[0]
    if found:
        raise UnknownCallError(f"'{start}' is the start of {len(found):,} call ids: write more of it")
    near = difflib.get_close_matches(start, calls.head(NEAR_LOOKED_AT).to_list(), n=3, cutoff=0.0)
    some = f"such as {', '.join(near)}" if near else "and it has none"
    raise UnknownCallError(f"run {run.manifest.run_id} has no call '{start}' ({calls.len():,} calls, {some})")


def _same(traced: CallResult, fills: pl.DataFrame) -> bool:
    seen = [(fill.timestamp, fill.price, fill.fraction) for trade in traced.trades for fill in trade.fills]
    published = fills.select(pl.col("timestamp").to_physical(), "price", "fraction").rows()
    return seen == published


def _levels(trades: list[Trade]) -> pl.DataFrame:
    rows = [
        (one.timestamp, trade.trade_no, _finite(one.stop), str(one.reason), _finite(one.target), one.ambiguous)
        for trade in trades
        for one in trade.tested
    ]
    return pl.DataFrame(rows, LEVELS, orient="row")


def _within(finer: pl.DataFrame, levels: pl.DataFrame, length: int) -> pl.DataFrame:
    """Return the finer candles that lie in ambiguous ones of `length` milliseconds."""
    slot = pl.col("timestamp").dt.epoch("ms") // length
    return finer.filter(slot.is_in(levels.filter("ambiguous").select(slot).to_series().implode()))


def _finite(level: float) -> float | None:
    return level if math.isfinite(level) else None
