"""The rules that hold for every market and strategy about what fills cost and what a caller said."""

from dataclasses import replace

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lab_pipeline.domain.results import check
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import Simulation, simulate

from .chances import FEW
from .generated import MINUTE_MS, START_MS
from .generated_fills import RichMarket, rich_configs, rich_markets
from .market import FRAMES, assert_identical, assert_same_simulation

PRICES = ["open", "high", "low", "close"]
NEVER_HIGHER = 1e-9
"""By which a return may exceed another that it may not exceed, of the larger of them: rounding."""


def run(market: RichMarket, config: StrategyConfig) -> Simulation:
    finer = market.finer if config.finer_timeframe else None
    return simulate(pools_known(market.candles, config), market.calls, config, timeframe="1m", finer=finer)


def pools_known(candles: pl.DataFrame, config: StrategyConfig) -> pl.DataFrame:
    """Give candles without pools some, where the strategy cannot go without."""
    told = getattr(config.costs.impact, "liquidity", 1.0) is not None or "liquidity" in candles.columns
    return candles if told else candles.with_columns(liquidity=pl.col("volume"))


def changed(config: StrategyConfig, **paths: object) -> StrategyConfig:
    """Replace fields, named by path with __ for the dots."""
    document = config.to_json_dict()
    for path, value in paths.items():
        *parents, last = path.split("__")
        node = document
        for parent in parents:
            node = node[parent]
        node[last] = value
    return StrategyConfig.parse(document)


def assert_never_higher(trades: pl.DataFrame, other: pl.DataFrame) -> None:
    """Hold the second frame's net returns to those of the same trades in the first."""
    both = trades.join(other, on=["call_id", "trade_no"], validate="1:1")
    assert len(both) == len(trades) == len(other)
    excess = both["net_return_right"] - both["net_return"]
    assert (excess <= NEVER_HIGHER * (1 + both["net_return"].abs())).all()


@FEW
@given(market=rich_markets(), config=rich_configs(), factor=st.sampled_from([1.5, 4.0, 1000.0]))
def test_a_larger_stake_never_raises_a_net_return(market, config, factor):
    """But for the fixed fee, of which a larger stake pays a smaller part."""
    small = changed(config, costs__fixedFee=0.0, portfolio__sizing={"kind": "fixed", "amount": 10.0})
    large = changed(small, portfolio__sizing={"kind": "fixed", "amount": 10.0 * factor})
    assert_never_higher(run(market, small).trades, run(market, large).trades)


@FEW
@given(market=rich_markets(), config=rich_configs(impact=False), more=st.sampled_from([0.25, 0.75, 1.0]))
def test_stops_that_fall_further_never_raise_a_net_return(market, config, more):
    less = changed(config, exit__stopFill={"through": more - 0.25}, reentry=None)
    assert_never_higher(run(market, less).trades, run(market, changed(less, exit__stopFill={"through": more})).trades)


@FEW
@given(market=rich_markets(), config=rich_configs())
def test_the_bounds_of_the_expectancy_are_those_of_the_same_trades_settled_at_level_and_low(market, config):
    config = changed(config, reentry=None)
    summary = run(market, config).summary
    level, low = (run(market, changed(config, exit__stopFill={"through": one})).summary for one in (0, 1))
    assert summary.expectancy_stop_at_level == level.expectancy
    assert summary.expectancy_stop_at_low == low.expectancy
    dead = run(market, changed(config, endOfData={"haircut": 1})).summary
    assert summary.expectancy_if_dead == dead.expectancy
    assert summary.ended_trades == dead.ended_trades


@FEW
@given(market=rich_markets(), config=rich_configs())
def test_finer_candles_that_equal_the_coarse_ones_change_nothing(market, config):
    alike = replace(market, finer=market.candles.select(market.finer.columns))
    finer = changed(config, intrabar="finer", finerTimeframe="20s")
    assert_same_simulation(run(alike, finer), run(market, changed(config, intrabar="stop_first", finerTimeframe=None)))


@FEW
@given(market=rich_markets(), config=rich_configs())
def test_an_order_of_calls_or_candles_changes_nothing(market, config):
    shuffled = RichMarket(
        pools_known(market.candles, config).sample(fraction=1, shuffle=True, seed=1),
        market.calls.sample(fraction=1, shuffle=True, seed=2),
        market.finer.sample(fraction=1, shuffle=True, seed=3),
    )
    assert_same_simulation(run(market, config), run(shuffled, config))


@FEW
@given(market=rich_markets(), config=rich_configs(), cut=st.integers(-60, 200), seed=st.integers(0, 2**32))
def test_scrambling_the_future_changes_no_earlier_fill(market, config, cut, seed):
    market = replace(market, candles=pools_known(market.candles, config))
    moment = pl.lit(START_MS + cut * MINUTE_MS).cast(market.candles.schema["timestamp"])
    random = np.random.default_rng(seed)

    def scrambled(candles: pl.DataFrame) -> pl.DataFrame:
        factor = pl.Series(random.choice([0.25, 0.9, 1.0, 1.3, 8.0], len(candles)))
        other = pl.Series(random.choice([0.0, 3.0, 5e5], len(candles)))
        late = pl.col("timestamp") >= moment
        columns = [pl.when(late).then(pl.col(PRICES) * factor).otherwise(pl.col(PRICES))]
        columns += [
            pl.when(late).then(other).otherwise(pl.col(name)).alias(name)
            for name in ("volume", "liquidity")
            if name in candles.columns
        ]
        return candles.with_columns(columns)

    later = replace(market, candles=scrambled(market.candles), finer=scrambled(market.finer))
    before = run(market, config).fills.filter(pl.col("timestamp") < moment)
    assert_identical(before, run(later, config).fills.filter(pl.col("timestamp") < moment))


@FEW
@given(market=rich_markets(), config=rich_configs())
def test_every_frame_keeps_its_rules_and_the_account_its_cash(market, config):
    simulation = run(market, config)
    for name in FRAMES:
        check(name, getattr(simulation, name))
    initial = config.portfolio.initial_capital
    final = simulation.equity["equity"][-1] if len(simulation.equity) else initial
    assert abs(final - initial - simulation.trades["pnl"].sum()) <= 1e-9 * max(initial, abs(final))
