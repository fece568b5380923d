"""Columns and types of every frame that crosses a border, cheap to import; `schemas` has their rules."""

from datetime import UTC, datetime

import polars as pl

TIMESTAMP = pl.Datetime("ms", "UTC")
EARLIEST, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Instants that rows may have, the first inclusive, the last exclusive: with any horizon added, every store holds them.
"""

CANDLES = pl.Schema(
    {
        "mint": pl.String(),
        "timestamp": TIMESTAMP,
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
    }
)
CALLS = pl.Schema({"call_id": pl.String(), "caller": pl.String(), "mint": pl.String(), "called_at": TIMESTAMP})
CANDLE_OPTIONS = pl.Schema({"liquidity": pl.Float64()})
"""What candles may have, too, null where it is not known: the value of both sides of the pool at the close, in quote
currency."""
CALL_OPTIONS = pl.Schema(
    {
        "direction": pl.String(),
        "entry_price": pl.Float64(),
        "targets": pl.List(pl.Float64()),
        "stop_price": pl.Float64(),
        "price_at_call": pl.Float64(),
        "market_cap_at_call": pl.Float64(),
        "liquidity_at_call": pl.Float64(),
        "chain": pl.String(),
        "source_url": pl.String(),
        "message_id": pl.String(),
        "edited_at": TIMESTAMP,
    }
)
"""What calls may have, too, null where the caller did not say it; prices, caps and pools in quote currency. Of the
message that made the call: which it is, and when its text was last changed."""

FILLS = pl.Schema(
    {
        "call_id": pl.String(),
        "mint": pl.String(),
        "trade_no": pl.Int32(),
        "fill_no": pl.Int32(),
        "timestamp": TIMESTAMP,
        "side": pl.String(),
        "price": pl.Float64(),
        "fraction": pl.Float64(),
        "quantity": pl.Float64(),
        "fee": pl.Float64(),
        "reason": pl.String(),
        "slippage": pl.Float64(),
        "filled": pl.Float64(),
    }
)
TRADES = pl.Schema(
    {
        "call_id": pl.String(),
        "caller": pl.String(),
        "mint": pl.String(),
        "trade_no": pl.Int32(),
        "called_at": TIMESTAMP,
        "entry_time": TIMESTAMP,
        "entry_price": pl.Float64(),
        "exit_time": TIMESTAMP,
        "exit_price": pl.Float64(),
        "exit_reason": pl.String(),
        "gross_return": pl.Float64(),
        "net_return": pl.Float64(),
        "mfe": pl.Float64(),
        "mae": pl.Float64(),
        "hold_minutes": pl.Float64(),
        "quantity": pl.Float64(),
        "invested": pl.Float64(),
        "pnl": pl.Float64(),
        "taken": pl.Boolean(),
        "skip_reason": pl.String(),
    }
)
PATHS = pl.Schema(
    {
        "call_id": pl.String(),
        "caller": pl.String(),
        "mint": pl.String(),
        "ath_multiple": pl.Float64(),
        "time_to_ath_minutes": pl.Float64(),
        "time_to_2x_minutes": pl.Float64(),
        "time_to_3x_minutes": pl.Float64(),
        "time_to_5x_minutes": pl.Float64(),
        "time_to_10x_minutes": pl.Float64(),
        "min_multiple_before_2x": pl.Float64(),
        "final_multiple": pl.Float64(),
        "pre_return_1h": pl.Float64(),
        "pre_volatility_1h": pl.Float64(),
        "pre_volume_1h": pl.Float64(),
        "hour_of_day": pl.Int32(),
    }
)
OUTCOMES = pl.Schema(
    {
        "call_id": pl.String(),
        "caller": pl.String(),
        "mint": pl.String(),
        "called_at": TIMESTAMP,
        "outcome": pl.String(),
        "trades": pl.Int32(),
        "ambiguous_candles": pl.Int32(),
        "ambiguous_resolved": pl.Int32(),
    }
)
EQUITY = pl.Schema(
    {
        "timestamp": TIMESTAMP,
        "equity": pl.Float64(),
        "cash": pl.Float64(),
        "exposure": pl.Float64(),
        "drawdown": pl.Float64(),
        "open_positions": pl.Int32(),
    }
)
FILL_CERTAINTY = pl.Schema(
    {
        "kind": pl.String(),
        "lane": pl.String(),
        "through": pl.Float64(),
        "haircut": pl.Float64(),
        "stake": pl.Float64(),
        "delay_candles": pl.Int32(),
        "fee_bps": pl.Float64(),
        "slippage_bps": pl.Float64(),
        "trades": pl.Int32(),
        "expectancy": pl.Float64(),
        "expectancy_low": pl.Float64(),
        "expectancy_high": pl.Float64(),
        "total_return": pl.Float64(),
        "thin_share": pl.Float64(),
    }
)
"""What a run would have returned had its fills been others, one row a lane: `stake` is a multiple of the run's."""
NULLS = pl.Schema(
    {
        "caller": pl.String(),
        "calls": pl.Int32(),
        "trades": pl.Int32(),
        "expectancy": pl.Float64(),
        "expectancy_low": pl.Float64(),
        "expectancy_high": pl.Float64(),
        "hold_expectancy": pl.Float64(),
        "over_hold_low": pl.Float64(),
        "over_hold_high": pl.Float64(),
        "moved_calls": pl.Int32(),
        "moved_trades": pl.Int32(),
        "moved_expectancy": pl.Float64(),
        "random_expectancy": pl.Float64(),
        "random_low": pl.Float64(),
        "random_high": pl.Float64(),
        "p_random": pl.Float64(),
        "q_random": pl.Float64(),
        "shuffled_expectancy": pl.Float64(),
        "p_shuffled": pl.Float64(),
        "q_shuffled": pl.Float64(),
    }
)
"""What chance would have made of the calls: a row for the run, whose caller is null, and one a caller."""
