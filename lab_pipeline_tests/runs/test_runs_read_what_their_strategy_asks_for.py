"""Plans, pools and finer candles come from the lake, and only where a strategy asks for them."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import AllUniverse, BacktestSpec, TimeRange
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake, layout
from lab_pipeline.runs import backtest as steps
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.call_view import view_call
from lab_pipeline.runs.strategies import StrategyStore

START = datetime(2025, 3, 1, tzinfo=UTC)
MINTS = [f"mint-{number}" for number in range(12)]
STOP_AND_TARGET = {"targets": [{"multiple": 2.0, "fraction": 1.0}], "stopLoss": 0.3, "stopFill": {"through": 0}}


def candle(mint, minute, *prices, volume=100.0):
    return (mint, START + timedelta(minutes=minute), *map(float, prices), volume)


def table(rows):
    return pl.DataFrame(rows, schema=frames.CANDLES, orient="row")


@pytest.fixture
def lake(tmp_path):
    """One long candle a token that reaches target and stop, and minutes that show that the target came first."""
    lake = Lake(tmp_path / "lake")
    lake.write_candles(table([candle(mint, minute, 1, 2.2, 0.6, 1) for mint in MINTS for minute in (0, 5)][::2]), "5m")
    minutes = [(1, 2.2, 0.9, 1), (1, 1, 0.6, 1), (1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)]
    lake.write_candles(
        table([candle(mint, minute, *prices) for mint in MINTS for minute, prices in enumerate(minutes)]), "1m"
    )
    calls = [(f"call-{number}", "ann", mint, START) for number, mint in enumerate(MINTS)]
    lake.write_calls(pl.DataFrame(calls, schema=frames.CALLS, orient="row"))
    return lake


@pytest.fixture
def strategies(tmp_path):
    return StrategyStore(tmp_path / "catalog.duckdb")


def spec(strategies, params=None, **blocks):
    stored = strategies.add(Strategy.parse({"id": "mine", "exit": STOP_AND_TARGET, **blocks}))
    whole = TimeRange(start=START, end=START + timedelta(days=1))
    return BacktestSpec(
        strategy_id="mine",
        strategy_version=stored.version,
        timeframe="5m",
        range=whole,
        universe=AllUniverse(),
        params=params or {},
    )


def simulated(lake, strategies, **blocks):
    backtest = steps.resolve(spec(strategies, **blocks), strategies, lake)
    return steps.simulate(backtest, steps.plan(backtest, lake))


FINER = {"intrabar": "finer", "finerTimeframe": "1m"}


def test_finer_candles_of_the_lake_decide_what_came_first(lake, strategies):
    assert set(simulated(lake, strategies).simulation.trades["exit_reason"]) == {"stop_loss"}
    result = simulated(lake, strategies, **FINER)
    assert set(result.simulation.trades["exit_reason"]) == {"target"}
    assert result.simulation.summary.ambiguous_resolved == len(MINTS)
    assert result.finer_bytes > 0


def test_finer_candles_are_read_only_where_a_candle_is_ambiguous(lake, strategies):
    wide = {"exit": {**STOP_AND_TARGET, "stopLoss": 0.9}}
    result = simulated(lake, strategies, **FINER, **wide)
    assert (result.simulation.summary.ambiguous_candles, result.finer_bytes) == (0, 0)
    assert result.provenance.snapshot == simulated(lake, strategies, **wide).provenance.snapshot


def test_the_snapshot_covers_the_finer_candles_that_were_looked_into(lake, strategies):
    coarse, before = simulated(lake, strategies), simulated(lake, strategies, **FINER)
    lake.write_candles(table([candle("mint-3", 1, 1, 1.5, 0.6, 1)]), "1m")
    after = simulated(lake, strategies, **FINER)
    assert after.provenance.snapshot != before.provenance.snapshot
    assert simulated(lake, strategies).provenance.snapshot == coarse.provenance.snapshot
    lake.write_candles(table([candle("mint-3", 700, 1, 1, 1, 1), candle("other", 0, 1, 1, 1, 1)]), "1m")
    assert simulated(lake, strategies, **FINER).provenance.snapshot == after.provenance.snapshot


def test_parts_read_elsewhere_give_the_whole_with_its_fingerprint(lake, strategies):
    whole = simulated(lake, strategies, **FINER)
    backtest = steps.resolve(spec(strategies, **FINER), strategies, lake)
    with steps.plan(backtest, lake) as candles:
        pieces = candles.pieces(1)
    assert len(pieces) > 1
    lake.write_candles(table([candle("mint-3", 1, 1, 1.5, 0.6, 1)]), "1m")  # the pieces keep what was there
    merged = steps.merge(backtest, [steps.simulate_part(backtest, piece) for piece in reversed(pieces)])
    assert merged.provenance.fingerprint == whole.provenance.fingerprint
    assert merged.finer_bytes == whole.finer_bytes
    assert merged.simulation.fills.equals(whole.simulation.fills)


@pytest.mark.parametrize(
    ("blocks", "params", "path", "says"),
    [
        ({"intrabar": "finer", "finerTimeframe": "15m"}, {}, "strategy.finerTimeframe", "choose shorter ones"),
        ({"intrabar": "finer", "finerTimeframe": "30s"}, {}, "strategy.finerTimeframe", "no candles of 30s"),
        (FINER, {"finerTimeframe": "5m"}, "params.finerTimeframe", "choose shorter ones"),
        ({"filters": [{"field": "chain", "in": ["solana"]}]}, {}, "strategy.filters[0].field", "no column chain"),
        ({}, {"costs.impact": {"model": "amm"}}, "params.costs.impact.liquidity", "what the pool holds"),
    ],
)
def test_what_the_lake_cannot_serve_is_named_by_path(lake, strategies, blocks, params, path, says):  # noqa: PLR0917
    request = spec(strategies, params, **blocks)
    (found,) = steps.find_problems(request, strategies, lake)
    assert found.path == path
    assert says in found.message
    with pytest.raises(InvalidConfigError) as caught:
        steps.resolve(request, strategies, lake)
    assert caught.value.errors[0].path == path.partition(".")[2]


def test_a_callers_plan_is_followed_and_covered_by_the_snapshot(lake, strategies):
    plan = {"exit": {"use": "signal"}, "entry": {"kind": "signal"}}
    assert set(simulated(lake, strategies, **plan).simulation.outcomes["outcome"]) == {"invalid_plan"}
    plain = simulated(lake, strategies).provenance.snapshot
    calls = lake.calls()
    lake.write_calls(calls.with_columns(targets=pl.lit([1.5]), stop_price=pl.lit(0.7), entry_price=pl.lit(1.0)))
    result = simulated(lake, strategies, **plan)
    assert set(result.simulation.outcomes["outcome"]) == {"entered"}
    lake.write_calls(calls.with_columns(targets=pl.lit([1.6])))
    assert simulated(lake, strategies, **plan).provenance.snapshot != result.provenance.snapshot
    assert simulated(lake, strategies).provenance.snapshot == plain  # which reads no plan


def test_the_artifacts_tell_what_was_read_of_the_calls(lake, strategies, tmp_path):
    calls = lake.calls()
    plan = {"targets": pl.lit([1.5, 2.0]), "stop_price": pl.lit(0.7), "chain": pl.lit("solana")}
    lake.write_calls(calls.with_columns(**plan).head(5))
    store, plain = ArtifactStore(tmp_path / "artifacts"), [*frames.OUTCOMES]
    for run_id, blocks in (("follower", {"exit": {**STOP_AND_TARGET, "use": "signal"}}), ("own rules", {})):
        steps.publish(run_id.replace(" ", "-"), simulated(lake, strategies, **blocks), store)
    followed, own = (pl.read_parquet(store.path(name, "outcomes")) for name in ("follower", "own-rules"))
    assert own.columns == plain
    assert followed.columns == [*plain, "targets", "stop_price"]  # of the chain it read nothing
    said = {row["call_id"]: row["targets"] for row in lake.calls().to_dicts()}
    assert {row["call_id"]: row["targets"] for row in followed.to_dicts()} == said
    assert followed["targets"].null_count() == len(MINTS) - 5
    assert followed.select(plain).height == len(MINTS)


def test_a_pool_is_read_from_candles_or_calls(lake, strategies):
    pool = {"costs": {"impact": {"model": "amm"}}, "portfolio": {"sizing": {"kind": "fixed", "amount": 50}}}
    plain = simulated(lake, strategies).provenance.snapshot
    lake.write_calls(lake.calls().with_columns(liquidity_at_call=pl.lit(1000.0)))
    by_calls = simulated(lake, strategies, **pool)
    assert by_calls.simulation.fills["slippage"].min() > 0
    earlier = table([candle(mint, -5, 1, 1, 1, 1) for mint in MINTS[:6]])
    lake.write_candles(earlier.with_columns(liquidity=pl.lit(100_000.0)), "5m")
    by_candles = simulated(lake, strategies, **pool)
    bought = by_candles.simulation.fills.filter(side="buy").sort("mint")
    deep = pl.col("mint").is_in(MINTS[:6])
    assert bought.filter(deep)["slippage"].max() < bought.filter(~deep)["slippage"].min()
    assert by_candles.provenance.snapshot != by_calls.provenance.snapshot
    assert len({plain, by_calls.provenance.snapshot, by_candles.provenance.snapshot}) == 3


def test_of_finer_candles_few_bytes_are_read(tmp_path, strategies, monkeypatch):
    monkeypatch.setattr(layout, "ROW_GROUP_ROWS", 100)
    lake = Lake(tmp_path / "lake")
    lake.write_candles(table([candle("AAA", 5 * n, 1, 2.2, 0.6, 1) for n in range(800)]), "5m")
    lake.write_candles(table([candle("AAA", n, 1, 2.2 if n % 5 == 0 else 1, 0.9, 1) for n in range(4_000)]), "1m")
    calls = [("late", "ann", "AAA", START + timedelta(minutes=2_000))]
    lake.write_calls(pl.DataFrame(calls, schema=frames.CALLS, orient="row"))
    asked = spec(strategies, **FINER)
    asked = asked.model_copy(update={"range": TimeRange(start=START, end=START + timedelta(days=3))})
    backtest = steps.resolve(asked, strategies, lake)
    result = steps.simulate(backtest, steps.plan(backtest, lake))
    assert result.simulation.summary.ambiguous_candles == 1
    (file,) = (tmp_path / "lake").glob("candles/timeframe=1m/*/part-*.parquet")
    assert 0 < result.finer_bytes < file.stat().st_size / 30


@pytest.mark.parametrize(("blocks", "within"), [(FINER, 5), ({}, 0)])
def test_a_call_that_is_looked_at_shows_the_ambiguous_candle_and_what_decided_it(lake, strategies, blocks, within):
    backtest = steps.resolve(spec(strategies, **blocks), strategies, lake)
    result = steps.simulate(backtest, steps.plan(backtest, lake))
    run = SimpleNamespace(
        frame=lambda name: getattr(result.simulation, name), manifest=SimpleNamespace(run_id="r", spec=backtest.spec)
    )
    view = view_call(run, "call-3", lake)
    assert view.doubt is None
    ((row, finer),) = view.ambiguous
    assert (row["timestamp"], row["stop"], row["target"]) == (START, 0.7, 2.0)
    assert len(finer) == within
    assert {one["timestamp"] for one in finer} == {START + timedelta(minutes=minute) for minute in range(within)}
