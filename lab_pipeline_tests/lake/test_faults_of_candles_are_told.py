"""Candles that no market makes are found and told; what a market does make is left alone."""

import re
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest

from lab_pipeline.lake import Lake, tables
from lab_pipeline.lake.faults import RUN, Fault, by_mint, find_faults

MINUTE, START = 60_000, 1_735_689_600_000


def walk(rows=400, seed=1, mint="AAA"):
    """Return lively candles of a minute, of which nothing is wrong."""
    random = np.random.default_rng(seed)
    close = np.exp(np.cumsum(random.normal(0, 0.1, rows)))
    opened = np.concatenate([[1.0], close[:-1]])
    wick = 1 + random.uniform(0, 0.1, (2, rows))
    return pl.DataFrame(
        {
            "mint": [mint] * rows,
            "timestamp": pl.Series(START + MINUTE * np.arange(rows)).cast(pl.Datetime("ms", "UTC")),
            "open": opened,
            "high": np.maximum(opened, close) * wick[0],
            "low": np.minimum(opened, close) / wick[1],
            "close": close,
            "volume": random.uniform(1, 10, rows),
        }
    )


def found(tmp_path, *candles, mints=None):
    lake = Lake(tmp_path / "lake")
    lake.write_candles(pl.concat(candles), "1m")
    return find_faults(lake, "1m", mints)


def times(frame, rows, name, factor):
    """Multiply values of some rows."""
    number = pl.int_range(pl.len())
    return frame.with_columns(pl.when(number.is_in(rows)).then(pl.col(name) * factor).otherwise(name).alias(name))


def at(frame, row):
    return frame["timestamp"][row]


def test_a_lively_market_has_none(tmp_path):
    assert found(tmp_path, *(walk(seed=seed, mint=f"T{seed}") for seed in range(8))).is_empty()


def test_an_empty_lake_has_none(tmp_path):
    assert find_faults(Lake(tmp_path / "lake"), "1m").is_empty()


@pytest.mark.parametrize(("name", "factor"), [("high", 9.0), ("low", 1 / 9)])
def test_a_wick_far_from_both_candles_beside_it_is_a_spike(tmp_path, name, factor):
    candles = times(walk(), [100], name, factor)
    (spike,) = found(tmp_path, candles).iter_rows(named=True)
    assert (spike["fault"], spike["first"], spike["candles"]) == ("spike", at(candles, 100), 1)
    assert spike["detail"].startswith(f"{name} is ")


def test_a_price_that_rises_and_stays_is_none(tmp_path):
    candles = walk()
    candles = times(candles, [100], "high", 9.0)
    candles = times(candles, [100], "close", 9.0)
    for name in ("open", "high", "low", "close"):
        candles = times(candles, range(101, 400), name, 9.0)
    assert found(tmp_path, candles).is_empty()


def test_a_wick_after_a_long_silence_is_not_judged(tmp_path):
    candles = times(walk(), [100], "high", 9.0)
    later = pl.when(pl.int_range(pl.len()) >= 100).then(pl.duration(days=3)).otherwise(pl.duration(days=0))
    assert found(tmp_path, candles.with_columns(pl.col("timestamp") + later)).is_empty()


@pytest.mark.parametrize("factor", [1000.0, 1 / 1000, 150.0])
def test_prices_that_begin_elsewhere_and_stay_there_are_of_another_unit(tmp_path, factor):
    candles = walk()
    for name in ("open", "high", "low", "close"):
        candles = times(candles, range(200, 400), name, factor)
    (unit,) = found(tmp_path, candles).filter(pl.col("fault") == Fault.UNIT).iter_rows(named=True)
    assert unit["first"] == at(candles, 200)
    assert "times as high from here on" in unit["detail"]


def test_trades_that_never_move_the_price_are_flat(tmp_path):
    candles = walk()
    still = pl.int_range(pl.len()).is_between(50, 50 + 2 * RUN - 1)
    candles = candles.with_columns(
        pl.when(still).then(candles["close"][49]).otherwise(name).alias(name)
        for name in ("open", "high", "low", "close")
    )
    (flat,) = found(tmp_path, candles).iter_rows(named=True)
    assert (flat["fault"], flat["first"], flat["candles"]) == ("flat", at(candles, 50), 2 * RUN)


def test_candles_in_a_row_without_a_trade_are_told_and_a_few_are_not(tmp_path):
    candles = times(walk(), range(50, 50 + RUN), "volume", 0.0)
    candles = times(candles, range(100, 99 + RUN), "volume", 0.0)
    (silent,) = found(tmp_path, candles).iter_rows(named=True)
    assert (silent["fault"], silent["last"], silent["candles"]) == ("no_volume", at(candles, 49 + RUN), RUN)


def test_the_history_of_another_token_is_told_of_both(tmp_path):
    candles = walk()
    copy = walk(seed=2, mint="BBB")
    stolen = candles[48:168].with_columns(mint=pl.lit("BBB"), volume=pl.lit(1.0))
    copy = pl.concat([copy[:48], stolen, copy[168:]])
    told = found(tmp_path, candles, copy).filter(pl.col("fault") == Fault.COPY)
    assert told.select("mint", "detail").rows() == [("AAA", "the prices of BBB"), ("BBB", "the prices of AAA")]
    assert told["candles"].to_list() == [120, 120]
    assert found(tmp_path, candles, copy, mints=["BBB"])["mint"].unique().to_list() == ["BBB"]


def test_tokens_that_stand_still_alike_are_no_copies(tmp_path):
    still = walk().with_columns(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close"))
    told = found(tmp_path, still, still.with_columns(mint=pl.lit("BBB")))
    assert set(told["fault"]) == {"flat"}


def test_faults_are_counted_by_mint_and_the_worst_comes_first(tmp_path):
    one, other = times(walk(), [100], "high", 9.0), times(walk(seed=2, mint="BBB"), range(50, 90), "volume", 0.0)
    counts = by_mint(found(tmp_path, one, other))
    assert counts.columns == ["mint", "spike", "unit", "copy", "flat", "no_volume", "restated"]
    assert counts.rows() == [("BBB", 0, 0, 0, 0, 40, 0), ("AAA", 1, 0, 0, 0, 0, 0)]


def test_candles_that_came_again_with_other_values_are_told(tmp_path):
    one, other = walk(), walk(seed=2, mint="BBB")
    lake = Lake(tmp_path / "lake")
    lake.write_candles(pl.concat([one, other]), "1m")
    assert find_faults(lake, "1m").is_empty()
    corrected = times(one, [10, 11, 12, 40], "close", 1.01).with_columns(high=pl.max_horizontal("high", "close"))
    lake.write_candles(pl.concat([corrected, other]), "1m")
    told = find_faults(lake, "1m")
    assert told.select("mint", "fault", "first", "last", "candles").rows() == [
        ("AAA", "restated", at(one, 10), at(one, 12), 3),
        ("AAA", "restated", at(one, 40), at(one, 40), 1),
    ]
    was, now = (float(re.search(rf"{word} ([0-9.]+)", told["detail"][1])[1]) for word in ("was", "is"))
    assert (was, now) == pytest.approx((one["close"][40], one["close"][40] * 1.01), rel=1e-4)
    lake.write_candles(corrected, "1m")
    assert find_faults(lake, "1m").height == 2, "the same rows again restate nothing"
    assert find_faults(lake, "1m", ["BBB"]).is_empty()


def test_a_restatement_counts_once_its_commit_is_there(tmp_path, monkeypatch):
    """Whoever is killed between the record and the commit has restated nothing; a later one forgets it."""
    lake = Lake(tmp_path / "lake")
    lake.write_candles(walk(), "1m")
    with monkeypatch.context() as dying:
        dying.setattr(tables, "commit", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lake.write_candles(times(walk(), [10], "volume", 2.0), "1m")
    assert len(list((tmp_path / "lake" / "restated").iterdir())) == 1
    assert find_faults(lake, "1m").is_empty()
    lake.write_candles(walk(seed=3, mint="CCC"), "1m")
    lake.write_candles(times(walk(), [20], "volume", 2.0), "1m")
    (told,) = find_faults(lake, "1m").iter_rows(named=True)
    assert told["first"] == at(walk(), 20)
    assert len(list((tmp_path / "lake" / "restated").iterdir())) == 1


def test_a_market_that_is_restated_as_a_whole_is_one_line_a_token(tmp_path):
    lake = Lake(tmp_path / "lake")
    mints = [walk(seed=number, mint=f"M{number}") for number in range(5)]
    lake.write_candles(pl.concat(mints), "1m")
    lake.write_candles(pl.concat(mints).with_columns(pl.col("volume") * 2), "1m")
    told = find_faults(lake, "1m")
    assert told["candles"].to_list() == [len(walk())] * 5
