"""The rules that hold for every market and strategy."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.results import check
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import Simulation, Simulator, simulate

from .chances import FEW
from .generated import MINUTE_MS, START_MS, Market, configs, markets
from .market import FRAMES, assert_identical, assert_same_simulation

PRICES = ["open", "high", "low", "close"]
RETURNS = ["gross_return", "net_return", "mfe", "mae"]


def run(market: Market, config: StrategyConfig, **options: int) -> Simulation:
    return simulate(market.candles, market.calls, config, timeframe="1m", **options)


@FEW
@given(market=markets(), config=configs(), cut=st.integers(-60, 200), seed=st.integers(0, 2**32))
def test_no_look_ahead(market, config, cut, seed):
    moment = pl.lit(START_MS + cut * MINUTE_MS).cast(market.candles.schema["timestamp"])
    random = np.random.default_rng(seed)
    factor = pl.Series(random.choice([0.25, 0.9, 1.0, 1.3, 8.0], len(market.candles)))
    later = market.candles.with_columns(
        pl.when(pl.col("timestamp") >= moment).then(pl.col(PRICES) * factor).otherwise(pl.col(PRICES))
    )
    before = run(market, config).fills.filter(pl.col("timestamp") < moment)
    after = run(Market(later, market.calls), config).fills.filter(pl.col("timestamp") < moment)
    assert_identical(before, after)


@FEW
@given(market=markets(), config=configs(), exponents=st.lists(st.integers(-30, 30), min_size=20, max_size=20))
def test_scaling_by_powers_of_two_changes_no_bit_of_a_return(market, config, exponents):
    factors = {f"m{index:02d}": 2.0**exponent for index, exponent in enumerate(exponents)}
    factor = pl.col("mint").replace_strict(factors, return_dtype=pl.Float64)
    scaled = market.candles.with_columns(pl.col(PRICES) * factor)
    plain, other = run(market, config), run(Market(scaled, market.calls), config)
    assert_identical(plain.trades.select("pnl", "invested", *RETURNS), other.trades.select("pnl", "invested", *RETURNS))
    assert_identical(plain.paths, other.paths)
    assert_identical(plain.equity, other.equity)
    assert plain.summary == other.summary


@pytest.mark.parametrize("factor", [3.0, 1e-7, 12_345.678])
def test_scaling_by_any_factor_changes_no_return_beyond_rounding(factor):
    market, config = fixed_market()
    scaled = market.candles.with_columns(pl.col(PRICES) * factor)
    plain, other = run(market, config).trades, run(Market(scaled, market.calls), config).trades
    assert len(plain) > 50
    assert plain["exit_reason"].to_list() == other["exit_reason"].to_list()
    for name in RETURNS:
        assert other[name].to_list() == pytest.approx(plain[name].to_list(), rel=1e-9, abs=1e-12)


@FEW
@given(market=markets(), config=configs(), shift=st.integers(-(10**12), 10**12))
def test_shifting_time_changes_timestamps_alone(market, config, shift):
    later = Market(shifted(market.candles, shift), shifted(market.calls, shift))
    plain, other = run(market, config), run(later, config)
    for name in FRAMES:
        hour = ["hour_of_day"] if name == "paths" else []
        assert_identical(shifted(getattr(plain, name), shift).drop(hour), getattr(other, name).drop(hour))


def shifted(frame: pl.DataFrame, milliseconds: int) -> pl.DataFrame:
    return frame.with_columns(pl.selectors.datetime() + pl.duration(milliseconds=milliseconds))


@FEW
@given(market=markets(), config=configs(), seed=st.integers(0, 2**32))
def test_the_order_of_calls_and_candles_changes_nothing(market, config, seed):
    shuffled = Market(
        market.candles.sample(fraction=1, shuffle=True, seed=seed),
        market.calls.sample(fraction=1, shuffle=True, seed=seed),
    )
    assert_same_simulation(run(market, config), run(shuffled, config))


@FEW
@given(
    market=markets(),
    config=configs(),
    shards=st.lists(st.integers(0, 4), min_size=20, max_size=20),
    order=st.permutations(range(5)),
)
def test_sharding_and_the_order_of_shards_change_nothing(market, config, shards, order):
    assert_same_simulation(run(market, config), simulate_shards(market, config, shards, order))


def simulate_shards(
    market: Market, config: StrategyConfig, shard_of_mint: Sequence[int], order: Sequence[int]
) -> Simulation:
    simulator = Simulator(market.calls, config, timeframe="1m")
    added = 0
    for shard in order:
        mints = [f"m{index:02d}" for index, home in enumerate(shard_of_mint) if home == shard]
        rows = market.candles.filter(pl.col("mint").is_in(mints))
        added += simulator.add(CandleColumns.from_frame(rows))
    assert added == len(market.calls) - 1  # one call is on a token without candles
    return simulator.finish()


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_number_of_threads_changes_nothing(threads):
    market, config = fixed_market(calls=1_000)
    assert_same_simulation(run(market, config, threads=1), run(market, config, threads=threads))


@FEW
@given(market=markets(), config=configs())
def test_cash_is_conserved(market, config):
    simulation = run(market, config)
    initial = config.portfolio.initial_capital
    final = simulation.equity["equity"][-1] if len(simulation.equity) else initial
    assert final == pytest.approx(initial + simulation.trades["pnl"].sum(), rel=1e-9)
    if len(simulation.equity):
        assert simulation.equity["cash"][-1] == final
        assert simulation.equity["open_positions"][-1] == 0


@FEW
@given(market=markets(), config=configs())
def test_cash_is_never_below_zero_but_for_rounding(market, config):
    equity = run(market, config).equity
    assert (equity["cash"] >= -1e-9 * config.portfolio.initial_capital).all()


@FEW
@given(market=markets(), config=configs())
def test_nothing_fills_before_the_delay_is_over_or_after_the_horizon(market, config):
    fills = run(market, config).fills.join(market.calls.select("call_id", "called_at"), on="call_id")
    after = (fills["timestamp"].to_physical() - fills["called_at"].to_physical()).to_numpy()
    assert (after >= round(config.entry.delay_minutes * MINUTE_MS)).all()
    assert (after < round(config.horizon_minutes * MINUTE_MS)).all()


@FEW
@given(market=markets(), config=configs())
def test_every_frame_keeps_its_rules(market, config):
    simulation = run(market, config)
    for name in FRAMES:
        check(name, getattr(simulation, name))


@FEW
@given(market=markets(), config=configs())
def test_every_trade_sells_what_it_bought(market, config):
    simulation = run(market, config)
    sold = (
        simulation.fills.filter(pl.col("side") == "sell").group_by("call_id", "trade_no").agg(pl.col("fraction").sum())
    )
    assert len(sold) == len(simulation.trades)
    assert sold["fraction"].to_list() == pytest.approx([1.0] * len(sold), abs=1e-9)


def fixed_market(calls: int = 100) -> tuple[Market, StrategyConfig]:
    """Make a market whose prices meet no level exactly, with a ladder, a stop and a trail on it."""
    random = np.random.default_rng(7)
    rows = 240
    close = np.exp(np.cumsum(random.normal(0, 0.03, (20, rows)), axis=1))
    opened = np.roll(close, 1, axis=1)
    spread = np.abs(random.normal(0, 0.01, (2, 20, rows)))
    minutes = np.tile(np.arange(rows), 20)
    candles = pl.DataFrame(
        {
            "mint": np.repeat([f"m{index:02d}" for index in range(20)], rows),
            "timestamp": START_MS + minutes * MINUTE_MS,
            "open": opened.ravel(),
            "high": (np.maximum(opened, close) * (1 + spread[0])).ravel(),
            "low": (np.minimum(opened, close) * (1 - spread[1])).ravel(),
            "close": close.ravel(),
            "volume": np.ones(20 * rows),
        }
    ).cast(frames.CANDLES)
    frame = pl.DataFrame(
        {
            "call_id": [f"c{index:05d}" for index in range(calls)],
            "caller": ["caller"] * calls,
            "mint": random.choice([f"m{index:02d}" for index in range(20)], calls),
            "called_at": START_MS + random.integers(0, 200, calls) * MINUTE_MS,
        }
    ).cast(frames.CALLS)
    config = StrategyConfig.parse(
        {
            "exit": {
                "targets": [{"multiple": 1.3, "fraction": 0.4}, {"multiple": 2.1, "fraction": 0.4}],
                "stopLoss": 0.21,
                "trailing": {"activation": 1.4, "distance": 0.17},
            },
            "reentry": {"retrace": 0.11, "maxCount": 2},
            "costs": {"feeBps": 30, "slippageBps": 10},
            "horizonMinutes": 120,
        }
    )
    return Market(candles, frame), config
