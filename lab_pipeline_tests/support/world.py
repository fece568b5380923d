"""Runs made without the engine, of which every number is known."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import AllUniverse, ResolvedSpec, TimeRange
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.runs.artifacts import ArtifactStore, Provenance
from lab_pipeline.statistics import RunRecord, Statistics
from lab_pipeline.statistics.catalog import Catalog
from lab_pipeline.statistics.segments import SegmentFiles
from lab_pipeline_tests.support.results import SUMMARY

START = datetime(2025, 1, 1, tzinfo=UTC)
DONE = datetime(2025, 6, 1, tzinfo=UTC)
CAPITAL = 10_000.0


@dataclass(frozen=True)
class Call:
    call_id: str
    caller: str
    mint: str
    returns: tuple[float, ...]
    called_at: datetime = START
    hold: float = 60.0
    ath: float = 2.0
    features: tuple[float | None, float | None, float | None, int] = (0.1, 0.02, 1000.0, 12)


@dataclass
class World:
    """A home with published runs, and what a record would say of them."""

    home: Path
    runs: list[RunRecord] = field(default_factory=list)

    @property
    def artifacts(self):
        return ArtifactStore(self.home / "artifacts")

    @property
    def statistics(self):
        catalog = Catalog(self.home / "catalog.duckdb")
        return Statistics(catalog, SegmentFiles(self.home / "statistics"), self.artifacts, threads=2)

    def add(
        self,
        calls,
        *,
        strategy="plain",
        version="1",
        timeframe="5m",
        closes=(),
        completed_at=DONE,
        run_id=None,
        config=None,
        **summary,
    ):
        """Publish a run; `closes` is the equity at the end of each day, `config` the strategy's JSON."""
        run_id = run_id or str(uuid.uuid4())
        spec = ResolvedSpec(
            strategy_id=strategy,
            strategy_version=version,
            strategy=StrategyConfig.parse(config or {"exit": {"stopLoss": 0.2}}),
            universe=AllUniverse(),
            timeframe=timeframe,
            range=TimeRange(start=START, end=START + timedelta(days=365)),
            seed=0,
            params={},
        )
        tables = frames_of(calls, closes)
        numbers = {"trades": tables["trades"].height, "calls": len(calls), "entered": tables["paths"].height, **summary}
        self.artifacts.publish(run_id, Provenance(spec, run_id, "1"), tables, SUMMARY.model_copy(update=numbers), "<p>")
        self.runs.append(RunRecord(run_id, "completed", strategy, completed_at))
        return run_id

    def record(self, status, strategy="plain"):
        """Put a run on record that published nothing."""
        self.runs.append(RunRecord(str(uuid.uuid4()), status, strategy))

    def forget(self, run_id):
        """Delete a run as its record and artifacts."""
        self.runs = [run for run in self.runs if run.run_id != run_id]
        home = self.home / "artifacts" / run_id
        for path in home.iterdir():
            path.unlink()
        home.rmdir()


def frames_of(calls, closes=()):
    trades, paths = [], []
    for call in calls:
        entry = call.called_at + timedelta(minutes=1)
        for number, net in enumerate(call.returns, start=1):
            trades.append(
                {
                    "call_id": call.call_id, "caller": call.caller, "mint": call.mint, "trade_no": number,
                    "called_at": call.called_at, "entry_time": entry, "entry_price": 1.0,
                    "exit_time": entry + timedelta(minutes=call.hold), "exit_price": 1.0, "exit_reason": "time",
                    "gross_return": net, "net_return": net, "mfe": call.ath - 1, "mae": -0.1,
                    "hold_minutes": call.hold, "quantity": 1.0, "invested": 100.0, "pnl": 100 * net, "taken": True,
                    "skip_reason": None,
                }
            )  # fmt: skip
        if call.returns:
            volumes = dict(zip(("pre_return_1h", "pre_volatility_1h", "pre_volume_1h", "hour_of_day"), call.features,
                               strict=True))  # fmt: skip
            paths.append(
                {
                    "call_id": call.call_id, "caller": call.caller, "mint": call.mint, "ath_multiple": call.ath,
                    "time_to_ath_minutes": 1.0, "time_to_2x_minutes": None, "time_to_3x_minutes": None,
                    "time_to_5x_minutes": None, "time_to_10x_minutes": None, "min_multiple_before_2x": None,
                    "final_multiple": 1.0, **volumes,
                }
            )  # fmt: skip
    equity = [
        {
            "timestamp": START + timedelta(days=day, hours=hour), "equity": float(close) if hour == 24 else 1.0,
            "cash": 1.0, "exposure": 0.0, "drawdown": 0.0, "open_positions": 0,
        }
        for day, close in enumerate(closes)
        for hour in (12, 24)
    ]  # fmt: skip
    return {
        "trades": pl.DataFrame(trades, schema=frames.TRADES, orient="row"),
        "paths": pl.DataFrame(paths, schema=frames.PATHS, orient="row"),
        "equity": pl.DataFrame(equity, schema=frames.EQUITY, orient="row"),
    }


def rows_of(statistics):
    """Return every published table, without the numbers by which runs are known inside and the time."""
    hidden = {"run_no", "computed_at", "signature", "directory"}
    tables = {}
    with statistics.catalog.reading() as (connection, state):
        for table in (
            "statistics_runs", "statistics_overview", "statistics_pnl", "statistics_distribution",
            "statistics_correlation", "leaderboard_runs", "leaderboard_strategies", "leaderboard_callers",
        ):  # fmt: skip
            found = connection.raw.execute(f"FROM {table}")
            names = [column[0] for column in found.description]
            kept = [index for index, name in enumerate(names) if name not in hidden]
            rows = [tuple(row[index] for index in kept) for row in found.fetchall()]
            tables[table] = sorted(rows, key=repr)
        return state.source_hash, tables
