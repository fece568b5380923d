import polars as pl
import pytest

from lab_pipeline.lake import Lake, layout, scan, snapshot_hash
from lab_pipeline_tests.lake.samples import MINUTE_MS, START_MS, calls, candles, snapshot

MINTS = [f"mint-{number}" for number in range(12)]


@pytest.fixture
def rows():
    return candles(MINTS, 30)


def written(path, *frames):
    lake = Lake(path)
    for frame in frames:
        lake.write_candles(frame, "1m")
    return lake


def test_whatever_the_order_and_number_of_ingests(tmp_path, rows):
    once = written(tmp_path / "once", rows)
    pieces = written(tmp_path / "pieces", rows[210:], rows[:90].reverse(), rows[60:270])
    assert snapshot(pieces) == snapshot(once)


def test_whatever_the_row_groups_and_shards(tmp_path, rows, monkeypatch):
    expected = snapshot(written(tmp_path / "usual", rows))
    monkeypatch.setattr(layout, "ROW_GROUP_ROWS", 17)
    monkeypatch.setattr(scan, "SHARD_ROWS", 50)
    lake = written(tmp_path / "small", rows)
    with lake.slice("1m", MINTS, 0, 1 << 60) as part:
        assert len(list(part)) > 2
        assert part.snapshot == expected


def test_whatever_else_the_lake_has(tmp_path, rows):
    window = (START_MS + 5 * MINUTE_MS, START_MS + 20 * MINUTE_MS)
    few = rows.filter(pl.col("mint").is_in(MINTS[:5]) & pl.col("timestamp").to_physical().is_between(*window, "left"))
    lake = written(tmp_path / "all", rows)
    assert snapshot(lake, mints=MINTS[:5], window=window) == snapshot(written(tmp_path / "few", few))
    assert snapshot(lake, mints=[*MINTS[:5], "unknown"], window=window) == snapshot(
        lake, mints=MINTS[:5], window=window
    )


def test_read_twice(tmp_path, rows):
    with written(tmp_path / "lake", rows).slice("1m", MINTS, 0, 1 << 60) as part:
        assert sum(map(len, part)) == rows.height
        first = part.snapshot
        assert sum(map(len, part)) == part.rows == rows.height
        assert part.snapshot == first


def test_negative_zero_is_zero(tmp_path, rows):
    zero = rows.with_columns(volume=pl.lit(0.0))
    negative = rows.with_columns(volume=pl.lit(-0.0))
    assert snapshot(written(tmp_path / "a", zero)) == snapshot(written(tmp_path / "b", negative))


@pytest.mark.parametrize("column", ["mint", "timestamp", "open", "high", "low", "close", "volume"])
def test_any_changed_value_changes_it(tmp_path, rows, column):
    other = {
        "mint": pl.lit("mint-99"),
        "timestamp": pl.col("timestamp") + pl.duration(days=1),
    }.get(column, pl.col(column) * (1 + 1e-15) + (1e-300 if column == "volume" else 0))
    last = pl.int_range(pl.len()) == pl.len() - 1
    changed = rows.with_columns(pl.when(last).then(other).otherwise(column).alias(column))
    assert not changed.equals(rows)
    assert snapshot(written(tmp_path / "a", rows)) != snapshot(written(tmp_path / "b", changed))


def test_a_row_more_or_less_changes_it(tmp_path, rows):
    assert snapshot(written(tmp_path / "a", rows)) != snapshot(written(tmp_path / "b", rows[:-1]))


def test_rows_cannot_move_between_mints_unnoticed(tmp_path):
    left = pl.concat([candles(["a"], 2), candles(["bc"], 2, start_ms=START_MS + 2 * MINUTE_MS)])
    right = pl.concat([candles(["ab"], 2), candles(["c"], 2, start_ms=START_MS + 2 * MINUTE_MS)])
    assert snapshot(written(tmp_path / "a", left)) != snapshot(written(tmp_path / "b", right))


def test_unfinished_reading_has_none(tmp_path, rows):
    with written(tmp_path / "lake", rows).slice("1m", MINTS, 0, 1 << 60) as part:
        next(iter(part))
        with pytest.raises(RuntimeError, match="iterated to its end"):
            _ = part.snapshot


def test_calls_count_in_any_order_and_to_the_last_character():
    frame, digest = calls(20), "ab" * 32
    expected = snapshot_hash(frame, digest)
    assert snapshot_hash(frame.reverse(), digest) == expected
    assert snapshot_hash(frame[:-1], digest) != expected
    assert snapshot_hash(frame, "ac" * 32) != expected
    for column in ("call_id", "caller", "mint"):
        assert snapshot_hash(frame.with_columns(pl.col(column) + "x"), digest) != expected
    assert snapshot_hash(frame.with_columns(pl.col("called_at") + pl.duration(milliseconds=1)), digest) != expected
    moved = frame.with_columns(caller=pl.col("caller").str.head(2), mint=pl.lit("n") + pl.col("mint"))
    assert snapshot_hash(moved, digest) != expected
