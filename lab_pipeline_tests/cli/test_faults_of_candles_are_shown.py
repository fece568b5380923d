import polars as pl
import pytest

from lab_pipeline.lake import Lake
from lab_pipeline_tests.support.markets import calls, candles


@pytest.fixture
def spiked(lab):
    """A lab one of whose two tokens has a spike."""
    time = pl.Datetime("ms", "UTC")
    row = pl.int_range(pl.len())
    high = pl.when(row == 60).then(pl.col("high") * 9).otherwise("high")
    market = pl.concat(
        [candles(["AAA"]).with_columns(high), candles(["BBB"]).with_columns(pl.col("open", "high", "low", "close") * 2)]
    )
    Lake(lab.home / "lake").write_candles(market.with_columns(pl.col("timestamp").cast(time)), "1m")
    return lab


def test_tokens_are_counted_and_the_worst_shown(spiked):
    ended = spiked("lake", "quality")
    assert ended.status == 0, ended.err
    assert "1m: 1 faults on 1 of 2 tokens" in ended.out
    assert "AAA" in ended.out
    assert "BBB" not in ended.out


def test_each_fault_of_a_token_is_said_and_drawn(spiked, tmp_path):
    ended = spiked("lake", "quality", "--timeframe", "1m", "--mint", "AAA", "--pictures", tmp_path / "drawn")
    assert "AAA  2018-01-10 01:00  spike: high is 8.9" in ended.out
    picture = (tmp_path / "drawn" / "AAA-1m.svg").read_text()
    assert picture.startswith("<svg")
    assert "AAA, 1m" in picture
    assert "spike: 1" in picture


def test_programs_get_every_fault(spiked):
    (fault,) = spiked("lake", "quality", "--json").json
    assert (fault["timeframe"], fault["mint"], fault["fault"]) == ("1m", "AAA", "spike")
    assert fault["first"] == "2018-01-10T01:00:00+00:00"


def test_a_length_that_is_not_there_is_named(spiked):
    ended = spiked("lake", "quality", "--timeframe", "5m")
    assert (ended.status, "the lake has no candles of 5m: it has 1m" in ended.err) == (2, True)


def test_what_was_restated_is_drawn_and_leaves_out_its_calls(spiked, tmp_path):
    lake, time = Lake(spiked.home / "lake"), pl.Datetime("ms", "UTC")
    last = pl.int_range(pl.len()) == pl.len() - 1
    other = candles(["BBB"]).with_columns(pl.col("timestamp").cast(time), pl.col("open", "high", "low", "close") * 2)
    lake.write_candles(other.with_columns(volume=pl.when(last).then(99.0).otherwise("volume")), "1m")
    ended = spiked("lake", "quality", "--mint", "BBB", "--pictures", tmp_path / "drawn")
    assert "BBB  2018-01-10 01:59  restated: the close was " in ended.out
    assert "restated: 1" in (tmp_path / "drawn" / "BBB-1m.svg").read_text()
    lake.write_calls(calls().with_columns(pl.col("called_at").cast(time)))
    said = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--param", "horizonMinutes=110", "--json")
    assert spiked(*said).json["summary"]["calls"] == 3
    assert spiked(*said, "--without-faults", "restated").json["summary"]["calls"] == 1
