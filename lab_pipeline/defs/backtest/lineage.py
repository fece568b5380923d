"""Which columns of what comes in each column of a backtest's tables is made of."""

import dagster as dg

CANDLES, CALLS = dg.AssetKey(["lake", "candles"]), dg.AssetKey(["lake", "calls"])
FILLS, TRADES, EQUITY = (dg.AssetKey(["backtest", name]) for name in ("fills", "trades", "equity"))

OF_THE_CALL = {name: [(CALLS, name)] for name in ("call_id", "caller", "mint", "called_at")}
REACHED = [(CANDLES, "high"), (CANDLES, "low")]
PRICED = [(CANDLES, "open"), *REACHED, (CANDLES, "close")]
COUNTED = [(FILLS, "timestamp"), (FILLS, "quantity")]
TIME_TO = {
    f"time_to_{to}_minutes": [(CANDLES, "timestamp"), (CANDLES, "high")] for to in ("ath", "2x", "3x", "5x", "10x")
}
CLOSES = [(CANDLES, "close")]
FILLED_AT = [(FILLS, "timestamp")]
RATIO = [(FILLS, "price"), (FILLS, "fraction")]
OTHERWISE = [*RATIO, *REACHED]
RETURNED = [(TRADES, "net_return")]
SIZED = [*PRICED, (CANDLES, "volume")]
MONEY = [(FILLS, "price"), (FILLS, "quantity"), (FILLS, "fee")]
VALUED = [*CLOSES, (FILLS, "quantity"), (FILLS, "fee")]

SOURCES: dict[str, dict[str, list[tuple[dg.AssetKey, str]]]] = {
    "fills": {
        "call_id": OF_THE_CALL["call_id"],
        "mint": OF_THE_CALL["mint"],
        "timestamp": [(CALLS, "called_at"), (CANDLES, "timestamp")],
        **dict.fromkeys(("trade_no", "fill_no", "side", "fraction", "reason"), REACHED),
        **dict.fromkeys(("price", "quantity", "fee"), PRICED),
        **dict.fromkeys(("slippage", "filled"), SIZED),
    },
    "trades": {
        **OF_THE_CALL,
        "trade_no": [(FILLS, "trade_no")],
        **dict.fromkeys(("entry_time", "exit_time", "hold_minutes"), FILLED_AT),
        **dict.fromkeys(("entry_price", "exit_price", "gross_return"), RATIO),
        "exit_reason": [(FILLS, "reason")],
        "net_return": [*RATIO, (FILLS, "fee")],
        "mfe": [(FILLS, "price"), (CANDLES, "high")],
        "mae": [(FILLS, "price"), (CANDLES, "low")],
        "quantity": [(FILLS, "quantity")],
        **dict.fromkeys(("invested", "pnl"), MONEY),
        **dict.fromkeys(("taken", "skip_reason"), COUNTED),
    },
    "paths": {
        **{name: OF_THE_CALL[name] for name in ("call_id", "caller", "mint")},
        "ath_multiple": [(CANDLES, "high")],
        **TIME_TO,
        "min_multiple_before_2x": REACHED,
        **dict.fromkeys(("final_multiple", "pre_return_1h", "pre_volatility_1h"), CLOSES),
        "pre_volume_1h": [(CANDLES, "volume")],
        "hour_of_day": [(CALLS, "called_at")],
    },
    "outcomes": {
        **OF_THE_CALL,
        "outcome": [(CALLS, "called_at"), (CANDLES, "timestamp")],
        "trades": [(TRADES, "trade_no")],
        **dict.fromkeys(("ambiguous_candles", "ambiguous_resolved"), REACHED),
    },
    "equity": {
        "timestamp": [(CANDLES, "timestamp")],
        **dict.fromkeys(("equity", "exposure", "drawdown"), VALUED),
        "cash": MONEY,
        "open_positions": [(TRADES, "entry_time"), (TRADES, "exit_time"), (TRADES, "taken")],
    },
    "fill_certainty": {
        **dict.fromkeys(("trades", "expectancy", "expectancy_low", "expectancy_high"), OTHERWISE),
        "total_return": [*RATIO, (TRADES, "invested")],
        "thin_share": [(CANDLES, "volume"), (TRADES, "net_return")],
    },
    "nulls": {
        **dict.fromkeys(("caller", "calls"), OF_THE_CALL["caller"]),
        **dict.fromkeys(("trades", "expectancy", "expectancy_low", "expectancy_high"), RETURNED),
        **dict.fromkeys(("hold_expectancy", "over_hold_low", "over_hold_high"), CLOSES),
        **dict.fromkeys(("random_expectancy", "random_low", "random_high", "p_random", "q_random"), PRICED),
        **dict.fromkeys(("shuffled_expectancy", "p_shuffled", "q_shuffled"), RETURNED),
    },
}
"""By table and column: only the most decisive ones, since each event of a run carries them."""

IN_CLICKHOUSE: dict[str, dict[str, list[tuple[dg.AssetKey, str]]]] = {
    "run_fills": {name: [(FILLS, name)] for name in SOURCES["fills"]},
    "run_metrics": {
        "timestamp": [(EQUITY, "timestamp")],
        "value": [(EQUITY, name) for name in ("equity", "cash", "exposure", "drawdown", "open_positions")],
    },
}

LINEAGE = {
    table: dg.TableColumnLineage(
        {name: [dg.TableColumnDep(key, source) for key, source in made_of] for name, made_of in columns.items()}
    )
    for table, columns in {**SOURCES, **IN_CLICKHOUSE}.items()
}
"""The same in Dagster's words."""
