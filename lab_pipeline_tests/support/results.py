"""A small result to publish, made without the engine."""

from datetime import UTC, datetime

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import AllUniverse, ResolvedSpec, TimeRange
from lab_pipeline.domain.strategy import Exit, StrategyConfig
from lab_pipeline.domain.summary import Summary
from lab_pipeline.runs.artifacts import Provenance

NOW = datetime(2018, 1, 10, tzinfo=UTC)
PROVENANCE = Provenance(
    spec=ResolvedSpec(
        strategy_id="plain",
        strategy_version="1",
        strategy=StrategyConfig(exit=Exit(stop_loss=0.2)),
        universe=AllUniverse(),
        timeframe="5m",
        range=TimeRange(start=NOW, end=datetime(2018, 2, 1, tzinfo=UTC)),
        seed=0,
        params={},
    ),
    snapshot="ab" * 32,
    engine_version="1",
)
SUMMARY = Summary(
    calls=1, entered=1, trades=1, wins=1, win_rate=1.0, total_return=0.01, max_drawdown=0.0, profit_factor=None,
    expectancy=1.0, expectancy_low=None, expectancy_high=None, sharpe=None, sortino=None, avg_hold_minutes=2.0,
    avg_exposure=0.01, fees_paid=0.0, ambiguous_candles=0, skipped_no_cash=0, skipped_no_slot=0,
)  # fmt: skip


def result_frames(rows=3):
    calls = pl.DataFrame(
        {
            "call_id": [f"c{i}" for i in range(rows)],
            "caller": ["ann"] * rows,
            "mint": ["AAA"] * rows,
            "called_at": [NOW] * rows,
            "outcome": ["no_candles"] * rows,
            "trades": [0] * rows,
            "ambiguous_candles": [0] * rows,
            "ambiguous_resolved": [0] * rows,
        },
        schema=frames.OUTCOMES,
    )
    empty = {
        name: pl.DataFrame(schema=getattr(frames, name.upper())) for name in ("fills", "trades", "paths", "equity")
    }
    return {**empty, "outcomes": calls}
