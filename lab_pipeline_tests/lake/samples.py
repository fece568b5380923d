"""Small frames and files for tests, and everything a lake holds as one frame."""

import json
import shutil
from datetime import UTC, datetime

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.lake import tables

START_MS = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1000
MINUTE_MS = 60_000
FOREVER = (0, 1 << 60)


def candles(mints, rows, *, price=1.0, start_ms=START_MS, step_ms=MINUTE_MS):
    """Candles of some mints, `rows` each, whose opens rise by 1 % of the price a candle."""
    count = len(mints) * rows
    step = pl.int_range(count, eager=True) % rows
    opens = (step * 0.01 + 1) * price
    columns = {
        "mint": pl.Series(mints, dtype=pl.String).gather(pl.int_range(count, eager=True) // rows),
        "timestamp": (step.cast(pl.Int64) * step_ms + start_ms).cast(frames.TIMESTAMP),
        "open": opens,
        "high": opens * 1.1,
        "low": opens * 0.9,
        "close": opens * 1.05,
        "volume": step.cast(pl.Float64),
    }
    return pl.DataFrame(columns)


def calls(count, *, prefix="call", caller="ann", mint="AAA"):
    """Calls one minute and a bit apart."""
    numbers = pl.int_range(count, eager=True)
    return pl.DataFrame(
        {
            "call_id": [f"{prefix}-{number:04d}" for number in range(count)],
            "caller": [caller] * count,
            "mint": [mint] * count,
            "called_at": (numbers * (MINUTE_MS + 7) + START_MS).cast(frames.TIMESTAMP),
        },
        schema=frames.CALLS,
    )


def frame_of(shards):
    """Turn shards back into one frame of candles, sorted."""
    parts = [
        pl.DataFrame(
            {
                "mint": [mint for i, mint in enumerate(s.mints) for _ in range(s.offsets[i], s.offsets[i + 1])],
                "timestamp": pl.Series(s.timestamp).cast(frames.TIMESTAMP),
                **{name: getattr(s, name) for name in ("open", "high", "low", "close", "volume")},
            }
        )
        for s in shards
    ]
    return pl.concat([pl.DataFrame(schema=frames.CANDLES), *parts]).sort("mint", "timestamp")


def everything(lake, timeframe="1m"):
    """Read all candles of a timeframe."""
    with lake.slice(timeframe, lake.mints(timeframe), *FOREVER) as part:
        return frame_of(part)


def snapshot(lake, timeframe="1m", mints=None, window=FOREVER):
    """Read a slice for its hash."""
    with lake.slice(timeframe, lake.mints(timeframe) if mints is None else mints, *window) as part:
        for _ in part:
            pass
        return part.snapshot


def as_of_layout_1(lake):
    """Make a lake one of the layout before there were tables: of what it has now there are only the files."""
    now = {path.relative_to(lake.root).as_posix(): len(content) for path, (content, _) in files_of(lake).items()}
    for path in lake.root.rglob("part-*.parquet"):
        if path.relative_to(lake.root).as_posix() not in now:
            path.unlink()
    for table in tables.TABLES:
        shutil.rmtree(lake.root / table.name / tables.LOG, ignore_errors=True)
    (lake.root / ".layout").write_text("1\n")
    (lake.root / ".parts.json").write_text(json.dumps(now))


def paths_of(lake, timeframe="1m"):
    """The files of the candles of a timeframe as they are now."""
    return [lake.root / file.name for file in lake.candle_files(timeframe)]


def files_of(lake):
    """Every file of the newest versions of the tables with its content and time of change."""
    files = [file for table in tables.TABLES for file in tables.snapshot(lake.store, table).files]
    paths = [lake.root / file.name for file in files]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def unnamed_files(lake):
    """Part files that no version of a table has."""
    named = set()
    for table in tables.TABLES:
        for version in range(tables.snapshot(lake.store, table).version + 1):
            named |= {lake.root / file.name for file in tables.snapshot(lake.store, table, version).files}
    return set(lake.root.rglob("part-*.parquet")) - named
