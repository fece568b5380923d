"""A made-up history of runs for the benchmark of the statistics: many small runs on the calls of one lake."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import AllUniverse, ResolvedSpec, TimeRange
from lab_pipeline.domain.strategy import Exit, StrategyConfig
from lab_pipeline.domain.summary import Summary
from lab_pipeline.runs.artifacts import ArtifactFile, Manifest, Provenance

START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 90
CALLS, CALLERS, MINTS = 50_000, 200, 20_000
STRATEGIES, VERSIONS = 20, 3
EQUITY_STEP = timedelta(hours=1)
EQUITY_POINTS = 240


class World:
    """Calls with what was known before and what came after; each run trades a window of them under its own strategy."""

    def __init__(self, directory: Path, trades_a_run: int, seed: int = 1) -> None:
        self.directory = directory
        self.trades_a_run = trades_a_run
        self._chance = np.random.default_rng(seed)
        self._calls = self._make_calls()

    def add_run(self) -> tuple[str, datetime]:
        """Publish one more run, without the syncs of the real publication; return its id and when it completed."""
        number = int(self._chance.integers(STRATEGIES * VERSIONS))
        first = int(self._chance.integers(CALLS - self.trades_a_run))
        calls = self._calls[first : first + self.trades_a_run]
        run_id = str(uuid.UUID(bytes=self._chance.bytes(16), version=4))
        home = self.directory / run_id
        home.mkdir(parents=True)
        tables = {"trades": self._trades(calls), "paths": calls.select(frames.PATHS.names()), "equity": self._equity()}
        files = [_write(home / f"{name}.parquet", frame) for name, frame in tables.items()]
        manifest = _manifest(run_id, number, tables["trades"], files)
        (home / "manifest.json").write_text(manifest.model_dump_json(indent=2, by_alias=True) + "\n")
        return run_id, manifest.created_at

    def _make_calls(self) -> pl.DataFrame:
        chance = self._chance
        seconds = np.sort(chance.integers(0, DAYS * 86_400, CALLS))
        ath = 1 + chance.pareto(1.2, CALLS)
        momentum = chance.normal(0, 0.3, CALLS) + 0.1 * np.log(ath)
        return pl.DataFrame(
            {
                "call_id": [f"call-{i:06}" for i in range(CALLS)],
                "caller": [f"caller {i}" for i in chance.integers(0, CALLERS, CALLS)],
                "mint": [f"mint{i:040}" for i in chance.integers(0, MINTS, CALLS)],
                "called_at": [START + timedelta(seconds=int(s)) for s in seconds],
                "ath_multiple": ath,
                "time_to_ath_minutes": chance.exponential(300, CALLS).round(),
                "time_to_2x_minutes": np.where(ath > 2, 30.0, np.nan),
                "time_to_3x_minutes": np.where(ath > 3, 60.0, np.nan),
                "time_to_5x_minutes": np.where(ath > 5, 90.0, np.nan),
                "time_to_10x_minutes": np.where(ath > 10, 120.0, np.nan),
                "min_multiple_before_2x": np.where(ath > 2, 0.9, np.nan),
                "final_multiple": ath * chance.uniform(0.1, 1, CALLS),
                "pre_return_1h": np.where(chance.random(CALLS) < 0.1, np.nan, momentum),
                "pre_volatility_1h": np.where(chance.random(CALLS) < 0.1, np.nan, chance.gamma(2, 0.02, CALLS)),
                "pre_volume_1h": chance.lognormal(9, 2, CALLS),
                "hour_of_day": (seconds % 86_400) // 3600,
            },
            schema_overrides={**dict(frames.PATHS), "called_at": frames.TIMESTAMP},
        ).with_columns(pl.col(pl.Float64).fill_nan(None))

    def _trades(self, calls: pl.DataFrame) -> pl.DataFrame:
        chance, count = self._chance, calls.height
        ath = calls["ath_multiple"].to_numpy()
        net = np.where(ath > 2, 0.9, -0.3) + chance.normal(0, 0.15, count).clip(-0.5, 2)
        hold = chance.exponential(240, count).round() + 1
        entry = pl.col("called_at").dt.offset_by("1m")
        return calls.select(
            "call_id", "caller", "mint", "called_at",
            trade_no=pl.lit(1, pl.Int32),
            entry_time=entry, entry_price=pl.lit(1.0),
            exit_time=entry + pl.duration(minutes=pl.Series(hold.astype(np.int64))),
            exit_price=pl.Series(1 + net),
            exit_reason=pl.Series(np.where(net > 0, "target", "stop_loss")),
            gross_return=pl.Series(net + 0.008), net_return=pl.Series(net),
            mfe=pl.Series(ath - 1), mae=pl.Series(-chance.uniform(0, 0.6, count)), hold_minutes=pl.Series(hold),
            quantity=pl.lit(100.0), invested=pl.lit(100.0), pnl=pl.Series(100 * net),
            taken=pl.lit(value=True), skip_reason=pl.lit(None, pl.String),
        ).select(pl.col(name).cast(kind) for name, kind in frames.TRADES.items())  # fmt: skip

    def _equity(self) -> pl.DataFrame:
        steps = np.arange(1, EQUITY_POINTS + 1)
        equity = 10_000 * np.exp(np.cumsum(self._chance.normal(0.0005, 0.01, EQUITY_POINTS)))
        peak = np.maximum(np.maximum.accumulate(equity), 10_000)
        return pl.DataFrame(
            {
                "timestamp": [START + EQUITY_STEP * int(i) for i in steps],
                "equity": equity,
                "cash": equity / 2,
                "exposure": np.full(EQUITY_POINTS, 0.5),
                "drawdown": equity / peak - 1,
                "open_positions": np.full(EQUITY_POINTS, 5),
            },
            schema=frames.EQUITY,
        )


def _write(path: Path, frame: pl.DataFrame) -> ArtifactFile:
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    schema = pa.schema(
        [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in table.schema]
    )
    pq.write_table(table.cast(schema), path, compression="zstd")
    size = path.stat().st_size
    return ArtifactFile(name=path.name, format="parquet", rows=frame.height, bytes=size, sha256="0" * 64, columns=())


def _manifest(run_id: str, number: int, trades: pl.DataFrame, files: list[ArtifactFile]) -> Manifest:
    spec = ResolvedSpec(
        strategy_id=f"strategy-{number // VERSIONS}",
        strategy_version=str(number % VERSIONS + 1),
        strategy=StrategyConfig(exit=Exit(stop_loss=0.3)),
        universe=AllUniverse(),
        timeframe="5m",
        range=TimeRange(start=START, end=START + timedelta(days=DAYS)),
        seed=0,
        params={},
    )
    net = trades["net_return"].to_numpy()
    wins = int((net > 0).sum())
    summary = Summary(
        calls=len(net), entered=len(net), trades=len(net), wins=wins, win_rate=wins / len(net),
        total_return=float(net.sum() / 100), max_drawdown=0.1, profit_factor=1.5, expectancy=float(net.mean()),
        expectancy_low=None, expectancy_high=None, sharpe=float(net.mean() * 10), sortino=None, avg_hold_minutes=240.0,
        avg_exposure=0.5, fees_paid=0.0, ambiguous_candles=0, skipped_no_cash=0, skipped_no_slot=0,
    )  # fmt: skip
    provenance = Provenance(spec, run_id, "1")
    return Manifest(
        run_id=run_id, fingerprint=provenance.fingerprint, spec=spec, snapshot=run_id, engine_version="1",
        library_versions={}, created_at=START + timedelta(days=DAYS), summary=summary, files=tuple(files),
    )  # fmt: skip
