"""Which columns of what comes in each column of a backtest's tables is made of."""

import dagster as dg

CANDLES, CALLS = dg.AssetKey(["lake", "candles"]), dg.AssetKey(["lake", "calls"])
FILLS, TRADES, EQUITY = (dg.AssetKey(["backtest", name]) for name in ("fills", "trades", "equity"))

OF_THE_CALL = {name: [(CALLS, name)] for name in ("call_id", "caller", "mint", "called_at")}
PRICES = [(CANDLES, name) for name in ("timestamp", "open", "high", "low", "close")]
FILLED = [(FILLS, name) for name in ("price", "fraction", "quantity", "fee")]
SEEN = [(CANDLES, "high"), (CANDLES, "low"), (FILLS, "price")]
TAKEN = [(TRADES, "entry_time"), (TRADES, "exit_time")]
FROM_THE_ENTRY = [(CALLS, "called_at"), *PRICES]

SOURCES: dict[str, dict[str, list[tuple[dg.AssetKey, str]]]] = {
    "fills": {
        "call_id": OF_THE_CALL["call_id"],
        "mint": OF_THE_CALL["mint"],
        "timestamp": [(CALLS, "called_at"), (CANDLES, "timestamp")],
        **dict.fromkeys(("trade_no", "fill_no", "side", "price", "fraction", "quantity", "fee", "reason"), PRICES),
    },
    "trades": {
        **OF_THE_CALL,
        "trade_no": [(FILLS, "trade_no")],
        **{name: [(FILLS, "timestamp")] for name in ("entry_time", "exit_time", "hold_minutes")},
        **{name: [(FILLS, "price"), (FILLS, "fraction")] for name in ("entry_price", "exit_price", "gross_return")},
        "exit_reason": [(FILLS, "reason")],
        "net_return": FILLED,
        "mfe": SEEN,
        "mae": SEEN,
        **dict.fromkeys(("quantity", "invested", "pnl"), FILLED),
        **{name: [(FILLS, "timestamp"), *FILLED] for name in ("taken", "skip_reason")},
    },
    "paths": {
        **{name: OF_THE_CALL[name] for name in ("call_id", "caller", "mint")},
        **dict.fromkeys(
            (
                "ath_multiple",
                "time_to_ath_minutes",
                "time_to_2x_minutes",
                "time_to_3x_minutes",
                "time_to_5x_minutes",
                "time_to_10x_minutes",
                "min_multiple_before_2x",
                "final_multiple",
                "pre_return_1h",
                "pre_volatility_1h",
            ),
            FROM_THE_ENTRY,
        ),
        "pre_volume_1h": [(CALLS, "called_at"), (CANDLES, "timestamp"), (CANDLES, "volume")],
        "hour_of_day": [(CALLS, "called_at")],
    },
    "outcomes": {
        **OF_THE_CALL,
        "outcome": FROM_THE_ENTRY,
        "trades": [(TRADES, "trade_no")],
        "ambiguous_candles": PRICES,
    },
    "equity": {
        "timestamp": [(CANDLES, "timestamp"), (FILLS, "timestamp")],
        **{name: [(CANDLES, "close"), *FILLED, (TRADES, "taken")] for name in ("equity", "exposure", "drawdown")},
        "cash": [*FILLED, (TRADES, "taken")],
        "open_positions": [*TAKEN, (TRADES, "taken")],
    },
}
"""By table and column."""

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
