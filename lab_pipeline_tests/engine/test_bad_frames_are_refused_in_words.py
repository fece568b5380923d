"""What the engine refuses, and how it says so."""

import polars as pl
import pytest

from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.errors import LabError
from lab_pipeline.engine import Simulator, simulate

from .market import calls, candles, flat, strategy

CONFIG = strategy([(2, 1)])
GOOD = candles([flat(1), flat(2)])


def changed(column: str, value: object) -> pl.DataFrame:
    """Return the good candles with one value of the second row replaced."""
    return GOOD.with_columns(
        pl.when(pl.int_range(pl.len()) == 1)
        .then(pl.lit(value, GOOD.schema[column]))
        .otherwise(pl.col(column))
        .alias(column)
    )


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (GOOD.drop("close"), "candles: column close is missing"),
        (GOOD.cast({"volume": pl.Int64}), "candles: column volume is Int64, cast it to Float64"),
        (GOOD.with_columns(pl.col("timestamp").dt.cast_time_unit("us")), "candles: column timestamp is Datetime"),
        (changed("low", None), "candles: column low is null in row 1"),
        (changed("high", float("nan")), "candle of m at 2024-01-01T00:01:00Z .*high nan.*: prices must be numbers"),
        (changed("open", float("inf")), "2024-01-01T00:01:00Z .*: prices must be numbers"),
        (changed("low", 0.0), "2024-01-01T00:01:00Z .*: prices must be numbers"),
        (changed("low", -1.0), "2024-01-01T00:01:00Z .*: prices must be numbers"),
        (changed("low", 2.5), "2024-01-01T00:01:00Z .*: low must be <= open and close, high >= open and close"),
        (changed("high", 1.5), "2024-01-01T00:01:00Z .*: low must be <= open and close, high >= open and close"),
        (changed("close", 3.0), "2024-01-01T00:01:00Z .*: low must be <= open and close, high >= open and close"),
        (changed("volume", -1.0), "2024-01-01T00:01:00Z .*: volume must be a number from 0"),
        (changed("volume", float("nan")), "2024-01-01T00:01:00Z .*: volume must be a number from 0"),
        (pl.concat([GOOD, GOOD[:1]]), "2024-01-01T00:00:00Z .*: it opens before the candle before it closes"),
        (
            candles([flat(1), flat(2)], minutes=[0, 0.5]),
            "2024-01-01T00:00:30Z .*: it opens before .* a timeframe apart",
        ),
    ],
)
def test_candles(frame, words):
    with pytest.raises(LabError, match=words):
        simulate(frame, calls(), CONFIG, timeframe="1m")


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (calls().drop("mint"), "calls: column mint is missing"),
        (
            calls().with_columns(called_at=pl.lit("2024-01-01")),
            "calls: column called_at is String, cast it to Datetime",
        ),
        (calls().with_columns(caller=pl.lit(None, pl.String)), "calls: column caller is null in row 0"),
        (calls(("a", "m", 0), ("b", "m", 0), ("a", "m", 5)), "calls: call_id a occurs more than once"),
    ],
)
def test_calls(frame, words):
    with pytest.raises(LabError, match=words):
        simulate(GOOD, frame, CONFIG, timeframe="1m")


def test_the_candle_is_named_by_its_own_mint():
    frame = pl.concat([candles([flat(1)], mint=mint) for mint in "abc"]).with_columns(
        low=pl.when(pl.col("mint") == "b").then(9.0).otherwise("low")
    )
    with pytest.raises(LabError, match="candle of b at"):
        simulate(frame, calls(), CONFIG, timeframe="1m")


def test_a_mint_in_two_shards():
    simulator = Simulator(calls(), CONFIG, timeframe="1m")
    assert simulator.add(CandleColumns.from_frame(GOOD[:1])) == 1
    with pytest.raises(LabError, match="mint m: its candles come in more than one piece"):
        simulator.add(CandleColumns.from_frame(GOOD[1:]))


def test_a_mint_in_two_pieces_of_one_shard():
    other = candles([flat(1)], mint="n")
    columns = CandleColumns.from_frame(pl.concat([GOOD[:1], other, GOOD[1:]]))
    with pytest.raises(LabError, match="mint m: its candles come in more than one piece"):
        Simulator(calls(), CONFIG, timeframe="1m").add(columns)


def test_a_timeframe_that_is_none():
    with pytest.raises(ValueError, match="not a timeframe"):
        simulate(GOOD, calls(), CONFIG, timeframe="7 minutes")


def test_a_bad_candle_outside_every_window_is_refused_too():
    far = pl.concat([GOOD, candles([(1, 0.5, 1, 1)], minutes=[100_000])])
    with pytest.raises(LabError, match="low must be <= open"):
        simulate(far, calls(), CONFIG, timeframe="1m")


def test_a_finished_simulator_takes_nothing_more():
    simulator = Simulator(calls(), CONFIG, timeframe="1m")
    simulator.finish()
    with pytest.raises(RuntimeError, match="make a new Simulator"):
        simulator.add(CandleColumns.from_frame(GOOD))
    with pytest.raises(RuntimeError, match="make a new Simulator"):
        simulator.finish()
