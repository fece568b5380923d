"""A lab to look at: runs in every state, and names that would be markup, scripts or other names if they could."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import polars as pl

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.lake import Lake, generate_market
from lab_pipeline.operations.notes import LABELS_TAG, NAME_TAG, NOTES_TAG, PINNED_TAG
from lab_pipeline.operations.runs import ERROR_TAG
from lab_pipeline.runs.artifacts import ArtifactStore, Provenance
from lab_pipeline.runs.backtest import full_range, plan, publish, resolve, simulate
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.runs.tags import run_config
from lab_pipeline.sweeps.running import run_sweep
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.support.sweeps import sweeps_of

MARKUP = '"><img src=x onerror="window.hit=1"><b>caller</b>'
QUOTES = """';window.hit=1//`${window.hit=1}`{{7*7}}&lt;i&gt;\\"""
LONG = "W" * 256
ARABIC = "محمد الطويل 🚀"
BIDI = "evil\u202egnp.exe\u2066"
CONTROLS = "red\x1b[31m\x07\r\n\u2028"
ENDLESS = "<u>" + "M" * 490
ADMITTED = (MARKUP, QUOTES, LONG, ARABIC)
"""Names that the lake takes."""
REFUSED = (BIDI, CONTROLS, ENDLESS)
"""Names that it does not: only an artifact of other hands has them."""
TIMEFRAME = "5m"
SWEEP = SweepSpec.parse(
    {
        "strategy": "ladder",
        "timeframe": TIMEFRAME,
        "space": {"reentry": [None], "exit.stopLoss": [0.1, 0.2, 0.3], "exit.maxHoldMinutes": [60, 240, None]},
        "objective": {"min_trades": 5, "min_days": 2, "min_callers": 1},
        "validation": {"placebo": 3, "walk_forward": {"train_days": 3, "test_days": 1, "step_days": 1}},
    }
)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shown:
    """What there is to be seen.

    Attributes:
        run: id of a run that is published.
        other: another of other rules on the same calls.
        foreign: a third, whose names no ingest would have let in.
        failed: id of a run that failed.
        queued: id of a run that waits.
        call: id of a call of `run` that made a trade; its names are hostile.
        mint: its token.
        foreign_call: id of a call of `foreign`.
        sweep: id of a sweep of the same calls.
    """

    run: str
    other: str
    foreign: str
    failed: str
    queued: str
    call: str
    mint: str
    foreign_call: str
    sweep: str


def stock(settings):
    """Fill an empty home and say what is in it."""
    market = generate_market(seed=7, tokens=16, calls=160, days=8, timeframe=TIMEFRAME)
    candles, calls = with_hostile_names(market.candles, market.calls)
    lake = Lake(settings.lake_dir)
    lake.write_candles(candles, TIMEFRAME)
    lake.write_calls(calls)
    artifacts, strategies = ArtifactStore.of(settings), StrategyStore.of(settings)
    run, other, foreign, failed, queued = (str(uuid.UUID(int=number)) for number in range(1, 6))
    for run_id, strategy in ((run, "ladder"), (other, "trend-rider")):
        backtest = resolve(
            BacktestSpec(strategy_id=strategy, timeframe=TIMEFRAME, range=full_range(lake)), strategies, lake
        )
        publish(run_id, simulate(backtest, plan(backtest, lake)), artifacts)
    publish_foreign(artifacts, run, foreign)
    swept, _ = run_sweep(SWEEP, lake=lake, strategies=strategies, store=sweeps_of(settings.home))
    said = {NAME_TAG: MARKUP, LABELS_TAG: f"good, {QUOTES}", NOTES_TAG: f"{MARKUP}\n{BIDI}", PINNED_TAG: "yes"}
    success, failure, waits = (dg.DagsterRunStatus[name] for name in ("SUCCESS", "FAILURE", "NOT_STARTED"))
    records = (
        (run, "ladder", success, said),
        (other, "trend-rider", success, {}),
        (foreign, ENDLESS, success, {NAME_TAG: ENDLESS[:200], LABELS_TAG: BIDI}),
        (failed, "ladder", failure, {ERROR_TAG: f"{MARKUP} {ENDLESS} {CONTROLS}"}),
        (queued, "dip-scalper", waits, {}),
    )
    with open_instance(settings) as instance:
        for number, (run_id, strategy, status, more) in enumerate(records):
            tags = {"lab/strategy": strategy, "lab/strategy_version": "1", "lab/timeframe": TIMEFRAME, **more}
            config = run_config({"strategy": strategy, "timeframe": TIMEFRAME})
            record = dg.DagsterRun("backtest", run_id=run_id, run_config=config, tags=tags, status=status)
            instance.run_storage.add_historical_run(record, BEGIN + timedelta(minutes=number))
    traded = pl.read_parquet(settings.artifacts_dir / run / "trades.parquet")
    strange = pl.col("caller").is_in(ADMITTED) & pl.col("mint").is_in(ADMITTED)
    hostile = traded.filter(strange & pl.col("call_id").str.contains("<img", literal=True)).row(0, named=True)
    foreign_call = pl.read_parquet(settings.artifacts_dir / foreign / "trades.parquet")["call_id"][0]
    return Shown(run, other, foreign, failed, queued, hostile["call_id"], hostile["mint"], foreign_call, swept.sweep_id)


def with_hostile_names(candles, calls):
    """Name the callers and tokens with most calls, and half of the calls, as nobody should be named."""
    callers = dict(zip(most(calls, "caller"), ADMITTED, strict=False))
    mints = dict(zip(most(calls, "mint"), ADMITTED, strict=False))
    endings = pl.Series([*ADMITTED[:2], "", ""])
    ending = endings.gather(pl.Series(np.arange(calls.height) % len(endings)))
    calls = calls.with_columns(
        pl.col("caller").replace(callers), pl.col("mint").replace(mints), call_id=pl.col("call_id") + ending
    )
    return candles.with_columns(pl.col("mint").replace(mints)), calls


def most(calls, column):
    return calls.group_by(column).len().sort("len", column, descending=[True, False])[column].to_list()


def publish_foreign(artifacts, run, foreign):
    """Publish what another run did, under a strategy and for callers, tokens and calls that no door would let in."""
    manifest = artifacts.manifest(run)
    spec = manifest.spec.model_copy(update={"strategy_id": ENDLESS, "strategy_version": MARKUP, "seed": 1})
    tables = {
        file.name.removesuffix(".parquet"): pl.read_parquet(artifacts.storage.directory / run / file.name)
        for file in manifest.files
        if file.format == "parquet"
    }
    for column in ("caller", "mint"):
        found = tables["outcomes"][column].unique(maintain_order=True).to_list()
        names = {name: f"{REFUSED[number % len(REFUSED)]}{number}" for number, name in enumerate(found)}
        for name, table in tables.items():
            if column in table.columns:
                tables[name] = table.with_columns(pl.col(column).replace(names))
    for name, table in tables.items():
        if "call_id" in table.columns:
            tables[name] = table.with_columns(pl.col("call_id") + BIDI)
    artifacts.publish(foreign, Provenance(spec, manifest.snapshot, "1"), tables, manifest.summary, "<p>")


def publish_many(artifacts, like, run_id, trades):
    """Publish a run of one trade a call under the rules of another; the n-th made n / `trades` - 0.5."""
    manifest = artifacts.manifest(like)
    number = pl.int_range(trades, eager=True)
    called = (pl.lit(BEGIN) + pl.duration(minutes=number)).cast(frames.TIMESTAMP)
    of_the_call = {
        "call_id": pl.format("call-{}", number),
        "caller": pl.format("caller {}", number % 50),
        "mint": pl.format("mint{}{}", number % 1_000, pl.lit("x" * 36)),
        "called_at": called,
    }
    made = number.cast(pl.Float64) / trades - 0.5
    constant = {"entry_price": 1.0, "exit_price": 1.0, "mfe": 0.5, "mae": -0.5, "quantity": 1.0, "invested": 100.0}
    table = pl.select(
        **of_the_call, **{name: pl.lit(value) for name, value in constant.items()}, trade_no=pl.lit(1, pl.Int32),
        entry_time=called, exit_time=called + pl.duration(hours=1), exit_reason=pl.lit("time"), gross_return=made,
        net_return=made, hold_minutes=pl.lit(60.0), pnl=100 * made, taken=pl.lit(value=True),
        skip_reason=pl.lit(None, pl.String),
    ).select(pl.col(name).cast(kind) for name, kind in frames.TRADES.items())  # fmt: skip
    calls = table.select(
        "call_id", "caller", "mint", "called_at", pl.lit("entered").alias("outcome"),
        *(pl.lit(count, pl.Int32).alias(name) for name, count in
          (("trades", 1), ("ambiguous_candles", 0), ("ambiguous_resolved", 0))),
    )  # fmt: skip
    spec = manifest.spec.model_copy(update={"seed": 2})
    tables = {"trades": table, "outcomes": calls.cast(dict(frames.OUTCOMES))}
    artifacts.publish(run_id, Provenance(spec, manifest.snapshot, "1"), tables, manifest.summary, "<p>")
