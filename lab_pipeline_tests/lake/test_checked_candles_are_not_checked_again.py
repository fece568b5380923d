"""What ingest has checked is believed while its checksum holds; everything else is checked when it is simulated."""

from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_pipeline.domain import candles as domain
from lab_pipeline.domain import schemas
from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE, CandleColumns, prices_hold
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import Exit, StrategyConfig
from lab_pipeline.engine import Simulator, kernel
from lab_pipeline.lake.errors import LakeDamagedError
from lab_pipeline.lake.layout import CANDLES, Note, read_part, write_part
from lab_pipeline_tests.lake.samples import (
    FOREVER,
    MINUTE_MS,
    START_MS,
    as_of_layout_1,
    calls,
    candles,
    everything,
    paths_of,
    snapshot,
)

MINTS = ["AAA", "BBB", "CCC", "DDD"]
ROWS = candles(MINTS, 40)


def shards(lake, mints=MINTS, window=FOREVER):
    with lake.slice("1m", mints, *window) as part:
        return list(part)


def as_of_old(lake):
    """Write the parts as versions before the notes did: zstd, no bytes split, nothing in the footer."""
    for path in paths_of(lake):
        rows = part(path)[0].to_arrow(compat_level=pl.CompatLevel.oldest())
        pq.write_table(rows, path, row_group_size=16, compression="zstd", use_dictionary=["mint"])
    as_of_layout_1(lake)


def part(path):
    with pa.OSFile(str(path)) as file:
        return read_part(file)


def notes(lake):
    return [Note.of(pq.read_metadata(path).metadata) for path in paths_of(lake)]


@pytest.fixture
def stored(lake):
    lake.write_candles(ROWS, "1m")
    return lake


def test_whole_files_are_marked_as_checked_for_their_timeframe(stored):
    assert [shard.checked for shard in shards(stored)] == [MINUTE_MS]


@pytest.mark.parametrize("window", [(START_MS + MINUTE_MS, FOREVER[1]), (0, START_MS + MINUTE_MS)])
def test_of_a_part_of_a_file_nobody_can_tell(stored, window):
    assert [shard.checked for shard in shards(stored, window=window)] == [0]


def test_rows_that_are_not_those_that_were_written_are_damage(stored):
    path = paths_of(stored)[0]
    rows, note = part(path)
    write_part(rows.with_columns(volume=pl.col("volume") + 1), CANDLES, path, note)

    with pytest.raises(LakeDamagedError, match=rf"{path.name} is damaged \(its checksum does not hold\)"):
        shards(stored)
    with pytest.raises(LakeDamagedError, match="its checksum does not hold"):
        stored.write_candles(ROWS.with_columns(volume=pl.lit(7.0)), "1m")


def test_what_was_checked_by_older_rules_is_checked_again(stored, monkeypatch):
    monkeypatch.setattr("lab_pipeline.lake.scan.RULES", domain.RULES + 1)
    assert [shard.checked for shard in shards(stored)] == [0]


def test_a_lake_of_an_earlier_version_is_read_as_it_is(stored):
    before = snapshot(stored)
    as_of_old(stored)

    assert notes(stored) == [None] * len(notes(stored))
    assert [shard.checked for shard in shards(stored)] == [0]
    assert snapshot(stored) == before
    assert everything(stored).equals(ROWS)


def test_its_parts_are_checked_and_rewritten_as_rows_come(stored):
    as_of_old(stored)
    report = stored.write_candles(candles(MINTS, 41), "1m")

    assert (report.added, report.unchanged) == (len(MINTS), ROWS.height)
    assert {(note.rules, note.timeframe_ms) for note in notes(stored)} == {(domain.RULES, MINUTE_MS)}
    assert [shard.checked for shard in shards(stored)] == [MINUTE_MS]


def test_wrong_rows_of_an_earlier_version_are_not_noted_as_right(lake):
    lake.write_candles(candles(["AAA"], 40), "1m")
    (path,) = paths_of(lake)
    write_part(part(path)[0].with_columns(high=pl.col("low")), CANDLES, path)
    as_of_layout_1(lake)
    lake.write_candles(candles(["AAA"], 41).tail(1), "1m")

    assert notes(lake) == [None]
    assert [shard.checked for shard in shards(lake)] == [0]


def columns_of(frame, *, checked):
    return replace(CandleColumns.from_frame(frame), checked=checked)


def test_the_simulator_checks_what_is_not_marked_and_what_is_marked_for_another_timeframe():
    wrong = candles(["AAA"], 5).with_columns(high=pl.col("low"))
    config = StrategyConfig(exit=Exit(stop_loss=0.5))
    for checked in (0, 5 * MINUTE_MS):
        with pytest.raises(LabError, match="candle of AAA"):
            Simulator(calls(1), config, timeframe="1m").add(columns_of(wrong, checked=checked))
    right = candles(["AAA"], 5)
    assert Simulator(calls(1), config, timeframe="1m").add(columns_of(right, checked=MINUTE_MS)) == 1


VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, SMALLEST_PRICE, LARGEST, 1e-101, 1.1e100, np.inf, -np.inf, np.nan]),
    st.floats(0.5, 3.0),
)


@settings(deadline=None)
@given(st.lists(st.tuples(*[VALUES] * 5), min_size=1, max_size=4))
def test_the_three_checks_of_prices_agree(values):
    """The quick one of ingest, the one that names what is wrong, and the kernel's."""
    frame = candles(["AAA"], len(values)).with_columns(
        pl.Series(name, column)
        for name, column in zip(("open", "high", "low", "close", "volume"), zip(*values, strict=True), strict=True)
    )
    quick = bool(frame.select(prices_hold().all()).item())
    try:
        schemas.CANDLES.validate(frame, lazy=True)
        named = True
    except Exception as error:  # noqa: BLE001 - pandera has many
        assert "SchemaError" in type(error).__name__  # noqa: PT017 - what it is does not matter
        named = False
    columns = CandleColumns.from_frame(frame)
    arrays = [getattr(columns, name) for name in kernel.Candles._fields]
    compiled = kernel.first_bad_row(kernel.Candles(*arrays), columns.offsets, MINUTE_MS) < 0
    assert quick == named == compiled
