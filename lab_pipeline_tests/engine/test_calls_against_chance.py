"""Callers who know something are told from callers who do not, and nothing is said where nothing can be."""

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import Exit, StrategyConfig
from lab_pipeline.engine import simulate
from lab_pipeline.engine.chance import find_moments, sums_of_moments, sums_of_shuffles

from .market import T0, calls, candles, flat, strategy

HOUR_MS, DAY_HOURS = 3_600_000, 24
HOURS = 20 * DAY_HOURS
HOLD = StrategyConfig(exit=Exit(max_hold_minutes=120.0), horizon_minutes=360.0)
NAMES = ("ann", "bob", "cid", "dan")


def hourly(returns):
    """Lay out hourly candles of tokens whose closes follow these log returns, by token and hour."""
    rows = []
    for token, moves in enumerate(returns):
        closes = np.exp(np.cumsum(moves))
        opens = np.concatenate([[1.0], closes[:-1]])
        rows.append(
            pl.DataFrame(
                {
                    "mint": [f"m{token:02d}"] * len(moves),
                    "timestamp": int(T0.timestamp() * 1000) + np.arange(len(moves)) * HOUR_MS,
                    "open": opens,
                    "high": np.maximum(opens, closes),
                    "low": np.minimum(opens, closes),
                    "close": closes,
                    "volume": np.ones(len(moves)),
                }
            )
        )
    return pl.concat(rows).cast(frames.CANDLES)


def made(generator, when):
    """Lay out calls, five a caller and token; `when` gives their hours by caller, token and generator."""
    rows = [
        (f"{name}-{token}-{number}", name, f"m{token:02d}", int(T0.timestamp() * 1000) + int(hour) * HOUR_MS)
        for name in NAMES
        for token in range(6)
        for number, hour in enumerate(when(name, token, generator))
    ]
    return pl.DataFrame(rows, frames.CALLS.names(), orient="row").cast(frames.CALLS)


def nulls(prices, frame, config=HOLD, **options):
    table = simulate(prices, frame, config, timeframe="1h", doubted=True, **options).nulls
    return {row["caller"]: row for row in table.to_dicts()}


def market(seed):
    return np.random.default_rng(seed).normal(0, 0.03, (6, HOURS))


def anywhen(_name, _token, generator):
    return generator.integers(0, HOURS - 10, 5)


def test_callers_at_random_moments_have_chances_as_random():
    """Their p-values are uniform, which is all that a p-value promises; and corrected, nobody beats chance."""
    found, least = [], []
    for seed in range(40):
        table = nulls(hourly(market(seed)), made(np.random.default_rng(1_000 + seed), anywhen), seed=seed)
        found += [table[name]["p_random"] for name in NAMES]
        least.append(min(table[name]["q_random"] for name in NAMES))
    ordered = np.sort(found)
    distance = np.abs(ordered - (np.arange(len(ordered)) + 0.5) / len(ordered)).max()
    assert distance < 1.63 / np.sqrt(len(ordered)), "Kolmogorov and Smirnov's, at 1 %"
    assert sum(one <= 0.05 for one in least) <= 5


def test_a_caller_who_knows_the_next_hour_is_found():
    moves = market(1)

    def when(name, token, generator):
        hours = anywhen(name, token, generator)
        return np.argsort(moves[token, :-10])[-5:] if name == "bob" else hours

    table = nulls(hourly(moves), made(np.random.default_rng(2), when))
    assert table["bob"]["p_random"] < 0.001
    assert table["bob"]["q_random"] < 0.02
    assert table["bob"]["p_shuffled"] < 0.02
    assert table["bob"]["moved_expectancy"] > table["bob"]["random_high"] > table["bob"]["random_expectancy"]
    assert min(table[name]["q_random"] for name in NAMES if name != "bob") > 0.05
    assert table[None]["q_random"] is None, "what is one test needs no correction"


def test_the_seed_decides_the_draws_and_threads_do_not():
    prices, frame = hourly(market(3)), made(np.random.default_rng(3), anywhen)
    one, same, other = (
        nulls(prices, frame, seed=seed, threads=threads)["ann"]["random_expectancy"]
        for seed, threads in ((1, 1), (1, 2), (2, 1))
    )
    assert one == same != other


def test_candles_that_no_window_can_reach_change_nothing():
    prices, frame = hourly(market(3)), made(np.random.default_rng(3), anywhen)
    last = frame["called_at"].max()
    known = prices.filter(pl.col("timestamp") < last + pl.duration(minutes=360))
    assert nulls(known, frame) == nulls(prices, frame)


def test_held_entries_worked_out_by_hand():
    prices = candles([flat(1), flat(2), flat(0.5), flat(1), flat(3)], minutes=[0, 1, 2, 1440, 1441])
    result = simulate(prices, calls(("a", "m", 0), ("b", "m", 1440)), strategy([(2, 1)], horizon_minutes=10),
                      timeframe="1m", doubted=True)  # fmt: skip
    row = result.nulls.filter(pl.col("caller").is_null()).row(0, named=True)
    # sold at 2 and at 3, which opens above the target; held, the first ends at 0.5
    assert row["expectancy"] == pytest.approx((1 + 2) / 2)
    assert row["hold_expectancy"] == pytest.approx((-0.5 + 2) / 2)
    assert (row["over_hold_low"] + row["over_hold_high"]) / 2 == pytest.approx((1.5 + 0) / 2)


@pytest.mark.parametrize("life", [4, 6], ids=["four windows", "six windows"])
def test_chances_of_callers_at_random_moments_are_random_on_tokens_of_few_windows(life):
    """Every window is whole, and moments near to the call count: else one in six would be below 0.05."""
    horizon, found = 12, []
    config = StrategyConfig(exit=Exit(stop_loss=0.9), horizon_minutes=horizon * 60.0)
    for seed in range(60):
        random = np.random.default_rng([life, seed])
        prices = hourly(random.normal(-(0.03**2) / 2, 0.03, (12, life * horizon)))
        rows = [
            (f"{name}-{token}", name, f"m{token:02d}", int(T0.timestamp() * 1000) + int(hour) * HOUR_MS)
            for name in NAMES
            for token, hour in enumerate(random.integers(0, (life - 1) * horizon, 12))
        ]
        frame = pl.DataFrame(rows, frames.CALLS.names(), orient="row").cast(frames.CALLS)
        table = nulls(prices, frame, config, seed=seed)
        found += [table[name]["p_random"] for name in NAMES]
    ordered = np.sort(found)
    distance = np.abs(ordered - (np.arange(len(ordered)) + 0.5) / len(ordered)).max()
    assert distance < 1.63 / np.sqrt(len(ordered)), "Kolmogorov and Smirnov's, at 1 %"
    assert (ordered <= 0.05).mean() < 0.1


def test_moments_are_within_the_days_around_and_have_a_whole_window():
    times, called = np.arange(100), np.array([50, 91, 90])
    drawn = np.random.default_rng(1).integers(0, 2**32, (3, 5_000), dtype=np.uint32)
    rows, at_call = find_moments(times, called, np.zeros(3, np.int64), np.full(3, 100), 10, 1, 30, 25, 98, drawn)
    assert set(rows[0].tolist()) == {*range(25, 81)}
    assert set(rows[2].tolist()) == {*range(60, 91)}, "90 to 99 are ten candles"
    assert at_call.tolist() == [50, -1, 90]
    rows, _ = find_moments(times, called, np.zeros(3, np.int64), np.full(3, 100), 10, 1, 30, 45, 72, drawn)
    assert set(rows[0].tolist()) == {*range(45, 73)}


def test_a_call_with_few_moments_is_not_moved():
    times, drawn = np.arange(100), np.zeros((1, 3), np.uint32)
    _, at_call = find_moments(times, np.array([5]), np.array([0]), np.array([100]), 82, 1, 1_000, 0, 100, drawn)
    assert at_call.tolist() == [-1], "0 to 18"
    _, at_call = find_moments(times, np.array([5]), np.array([0]), np.array([100]), 81, 1, 1_000, 0, 100, drawn)
    assert at_call.tolist() == [5]


def test_draws_worked_out_by_hand():
    sums, counts = np.array([[1.0, 2.0], [10.0, 20.0]]), np.array([[1, 2], [1, 0]], np.int32)
    third = 2**32 // 3
    drawn = np.array([[0, third + 1], [2 * third + 2, 2 * third + 2]], np.uint32)
    own, traded, callers = np.array([5.0, 50.0]), np.array([1, 1]), np.array([0, 1])
    made, number = sums_of_moments(sums, counts, own, traded, callers, 2, drawn)
    assert made.tolist() == [[1.0, 20.0, 21.0], [5.0, 50.0, 55.0]]
    assert number.tolist() == [[1.0, 0.0, 1.0], [1.0, 1.0, 2.0]]


def test_calls_are_shuffled_within_their_days_each_order_as_often():
    own, traded = np.array([1.0, 2.0, 4.0, 100.0]), np.ones(4, np.int64)
    days, callers = np.array([0, 0, 0, 1]), np.array([0, 1, 2, 0])
    drawn = np.random.default_rng(1).integers(0, 2**32, (6_000, 4), dtype=np.uint32)
    made, _ = sums_of_shuffles(own, traded, days, callers, 3, drawn)
    orders, times = np.unique(made[:, :3], axis=0, return_counts=True)
    assert len(orders) == 6
    assert (made[:, 3] == 107).all()
    assert set(made[:, 0]) == {101.0, 102.0, 104.0}, "what is alone in its day stays where it is"
    assert times == pytest.approx([1_000] * 6, abs=120)


def test_prices_that_the_caller_posted_move_with_the_price():
    """A plan is one of multiples: on a token that doubles every day its target is reached as soon as ever."""
    growth = np.full((6, HOURS), np.log(2) / DAY_HOURS)
    growth[:, ::2] *= -0.9
    frame = made(np.random.default_rng(5), anywhen)
    prices = hourly(growth * 20)
    at_call = frame.join(
        prices.select("mint", called_at="timestamp", price="open"), on=["mint", "called_at"], how="left"
    )["price"]
    planned = frame.with_columns(targets=pl.concat_list((at_call * 1.01).alias("target")), stop_price=at_call * 0.2)
    config = StrategyConfig.parse({"exit": {"use": "signal", "stopFill": {"through": 0}}, "horizonMinutes": 360})
    row = nulls(prices, planned, config)[None]
    assert row["random_expectancy"] == pytest.approx(row["moved_expectancy"], abs=0.15)
    assert row["random_expectancy"] > 0


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (calls(), {"trades": 1, "expectancy_low": None, "p_random": None, "p_shuffled": None, "over_hold_low": None}),
        (calls(("a", "gone", 0)), {"trades": 0, "expectancy": None, "hold_expectancy": None, "p_random": None}),
        (calls().clear(), {"calls": 0, "trades": 0, "expectancy": None, "p_random": None, "p_shuffled": None}),
    ],
    ids=["one call", "no candles", "no calls"],
)
def test_nothing_is_said_of_too_little(frame, said):
    row = simulate(candles([flat(1), flat(2)]), frame, strategy([(2, 1)]), timeframe="1m", doubted=True).nulls.row(
        0, named=True
    )
    assert {name: row[name] for name in said} == said
    assert not any(isinstance(value, float) and np.isnan(value) for value in row.values())


def test_one_caller_cannot_be_shuffled_but_can_be_moved():
    frame = made(np.random.default_rng(4), anywhen).with_columns(caller=pl.lit("ann"))
    row = nulls(hourly(market(4)), frame)["ann"]
    assert (row["p_shuffled"], row["q_shuffled"]) == (None, None)
    assert row["p_random"] == row["q_random"] > 0
    assert row["expectancy_low"] is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"entry": {"when": {"all": [{"kind": "breakout", "n": 5, "direction": "up"}]}}},
        {"exit": {"stopLoss": 0.05, "when": {"any": [{"kind": "rsi", "n": 5, "above": 70}]}}},
        {"filters": [{"field": "pre_return_1h", "max": 0.0}]},
        {"costs": {"fixedFee": 1, "impact": {"model": "amm", "liquidity": 5_000}}},
        {"exit": {"stopLoss": {"atr": {"n": 5, "k": 2}}}},
    ],
    ids=["entry signal", "exit signal", "filter", "pool", "true range"],
)
def test_moved_calls_follow_every_rule_of_the_strategy(changes):
    """Callers who know nothing make at random moments what they make at their own."""
    config = StrategyConfig.parse({"exit": {"stopLoss": 0.05}, "horizonMinutes": 360, **changes})
    rows = [nulls(hourly(market(seed)), made(np.random.default_rng(seed), anywhen), config)[None] for seed in range(6)]
    trades = sum(row["moved_trades"] for row in rows)
    own = sum(row["moved_expectancy"] * row["moved_trades"] for row in rows) / trades
    moved = sum(row["random_expectancy"] for row in rows) / 6
    assert own == pytest.approx(moved, abs=0.015)
    assert min(row["p_random"] for row in rows) > 0.001
