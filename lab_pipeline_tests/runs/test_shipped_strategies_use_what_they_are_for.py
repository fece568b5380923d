"""The strategies that ship with the lab trade on the demo's market, by the rules that each of them shows."""

import polars as pl
import pytest

from lab_pipeline.domain.backtest import override
from lab_pipeline.engine import simulate
from lab_pipeline.lake import Lake, generate_market
from lab_pipeline.runs import backtest as steps
from lab_pipeline.runs.backtest import full_range
from lab_pipeline.runs.strategies import StrategyStore, example_strategies
from lab_pipeline_tests.lake.samples import calls, candles

EXAMPLES = {strategy.id: strategy for strategy in example_strategies()}


@pytest.fixture(scope="module")
def market():
    return generate_market()


@pytest.fixture(scope="module")
def simulated(market):
    """Simulate an example, with overrides, on the demo's market."""

    def run(name, **params):
        config = override(EXAMPLES[name].config, {path.replace("__", "."): value for path, value in params.items()})
        return simulate(market.candles, market.calls, config, timeframe="5m")

    return run


def with_plans(simulation, market):
    return simulation.trades.join(market.calls.drop("caller", "mint", "called_at"), on="call_id", suffix="_named")


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_trades_on_the_demo(simulated, name):
    assert simulated(name).summary.taken_trades > 200


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_runs_on_a_lake_in_which_nobody_tells_plans_or_pools(tmp_path, name):
    lake = Lake(tmp_path / "lake")
    lake.write_candles(candles(["AAA"], 30), "1m")
    lake.write_calls(calls(1))
    strategies = StrategyStore(tmp_path / "catalog.duckdb", examples=True)
    asked = steps.BacktestSpec(strategy_id=name, timeframe="1m", range=full_range(lake))
    assert steps.find_problems(asked, strategies, lake) == []


def test_the_demos_own_strategy_skips_few_trades(simulated):
    summary = simulated("ladder").summary
    assert summary.taken_trades > 0.98 * summary.trades


def test_the_callers_plan_decides_where_its_trades_end(simulated, market):
    simulation = simulated("caller-plan")
    outcomes = dict(simulation.outcomes["outcome"].value_counts().rows())
    assert outcomes["not_long"] == market.calls.filter(direction="short").height
    sold = simulation.fills.filter(reason="target").join(market.calls, on="call_id")
    posted = sold.filter(pl.col("targets").is_not_null())
    assert posted.height > 100
    level = pl.col("targets").list.min() * (1 - 1e-12)  # a multiple of the entry price, which rounds
    assert posted.select((pl.col("price") >= level).all()).item()
    assert "Rico Vance" not in set(sold["caller"])
    assert "Tom Okafor" in set(sold["caller"])  # who posts nothing, so that the strategy's own target holds


def test_who_names_the_price_from_before_the_pump_is_followed_in_every_other_call(simulated, market):
    simulation = simulated("caller-plan")
    entered = pl.col("outcome") == "entered"
    share = dict(simulation.outcomes.group_by("caller").agg(entered.mean()).rows())
    assert share["Chloe Martin"] < 0.6
    assert share["Marta Lindqvist"] > 0.9
    hers = with_plans(simulation, market).filter(caller="Chloe Martin")
    assert hers.select((pl.col("entry_price") <= pl.col("entry_price_named")).all()).item()
    followed = dict(simulation.trades.group_by("caller").agg(pl.col("net_return").mean()).rows())
    assert followed["Rico Vance"] < -0.5 < 0 < followed["Marta Lindqvist"]


def test_the_pool_makes_a_larger_stake_cost_more(simulated):
    small, usual, large = (simulated("pump-pool", portfolio__sizing__amount=amount) for amount in (20, 100, 1000))
    assert small.fills["slippage"].mean() < usual.fills["slippage"].mean() < large.fills["slippage"].mean()
    assert usual.summary.expectancy > large.summary.expectancy + 0.05
    free = simulated("pump-pool", costs__impact={"model": "none"})
    assert free.summary.expectancy > usual.summary.expectancy + 0.01


def test_the_pool_strategy_pays_its_fixed_fee_and_rests_between_trades_on_a_token(simulated, market):
    simulation = simulated("pump-pool")
    taken = simulation.fills.join(
        simulation.trades.filter("taken").select("call_id", "trade_no"), on=["call_id", "trade_no"]
    )
    assert taken["fee"].min() >= 0.2
    assert {"max_per_token", "cooldown"} <= set(simulation.trades["skip_reason"])
    assert "filtered" in set(simulation.outcomes["outcome"])
    per_token = simulation.outcomes.filter(outcome="entered").group_by("mint").len()
    assert per_token["len"].max() <= 5 < market.calls.group_by("mint").len()["len"].max()


def test_the_breakout_waits_for_its_signal_and_sells_at_one(simulated, market):
    simulation = simulated("breakout-atr")
    assert {"signal", "trailing_stop", "stop_loss"} <= set(simulation.trades["exit_reason"])
    outcomes = dict(simulation.outcomes["outcome"].value_counts().rows())
    assert outcomes["no_entry"] > 100
    opens = market.candles.select("mint", entry_time="timestamp", open="open")
    trades = simulation.trades.join(opens, on=["mint", "entry_time"])
    assert trades.select((pl.col("entry_price") == pl.col("open")).all()).item()
    waited = trades.select(((pl.col("entry_time") - pl.col("called_at")) > pl.duration(minutes=5)).mean()).item()
    assert waited > 0.8


def test_the_stop_of_the_breakout_is_as_far_as_the_price_swung(simulated):
    at_level = simulated("breakout-atr", exit__stopFill__through=0)
    stopped = at_level.trades.filter(exit_reason="stop_loss")
    distance = 1 - stopped["exit_price"] / stopped["entry_price"]
    assert distance.quantile(0.9) > 2 * distance.quantile(0.1)
