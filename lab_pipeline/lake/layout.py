"""Where rows lie on disk: tables, partitions, and how a part file is encoded."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain import frames
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.storage import durable

MINT_BUCKETS = 64
ROW_GROUP_ROWS = 16_384
"""Small enough that a token's candles are a small part of a bucket, large enough that decoding stays columnar."""
MOST_FILES = 100_000
"""That one run brings in."""


@dataclass(frozen=True)
class Table:
    """A kind of row that the lake keeps.

    Attributes:
        name: directory under the lake's root.
        columns: names and types, in order.
        key: columns that identify a row.
        order: columns by which a part is sorted.
        aliases: other names under which a file may have a column, lower case, `_` for what is not letter or digit.
    """

    name: str
    columns: pl.Schema
    key: tuple[str, ...]
    order: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]]


MINT_ALIASES = ("token", "symbol", "token_address", "address")
TIME_ALIASES = ("time", "date", "ts", "datetime", "unixtime", "unix_time")
CANDLES = Table(
    name="candles",
    columns=frames.CANDLES,
    key=("mint", "timestamp"),
    order=("mint", "timestamp"),
    aliases={
        "mint": MINT_ALIASES,
        "timestamp": (*TIME_ALIASES, "open_time", "opentime"),
        "open": ("o",),
        "high": ("h",),
        "low": ("l",),
        "close": ("c",),
        "volume": ("v",),
    },
)
CALLS = Table(
    name="calls",
    columns=frames.CALLS,
    key=("call_id",),
    order=("called_at", "call_id"),
    aliases={
        "call_id": ("id",),
        "caller": ("caller_name", "user", "username", "author"),
        "mint": MINT_ALIASES,
        "called_at": ("timestamp", *TIME_ALIASES),
    },
)


def mint_bucket(mint: str) -> int:
    """Return the bucket (0 to 63) that holds every candle of a mint: CRC-32 of its UTF-8 bytes, modulo 64.

    >>> mint_bucket("ADA_BTC")
    16
    """
    return zlib.crc32(mint.encode()) % MINT_BUCKETS


def timeframe_dir(root: Path, timeframe: str) -> Path:
    """Return the directory of one candle length.

    Raises:
        LakeError: if the text is not a timeframe.
    """
    try:
        timeframe_ms(timeframe)
    except ValueError as error:
        raise LakeError(str(error)) from None
    return root / CANDLES.name / f"timeframe={timeframe}"


def bucket_dir(root: Path, timeframe: str, bucket: int) -> Path:
    """Return the directory of one mint bucket."""
    return timeframe_dir(root, timeframe) / f"mint_bucket={bucket:02d}"


def parts(directory: Path) -> list[Path]:
    """List the part files of a partition: one, or none if it has no rows."""
    return sorted(directory.glob("part-*.parquet"))


def write_part(frame: pl.DataFrame, table: Table, path: Path) -> None:
    """Write sorted rows to a new part file and wait until the disk has it.

    Required (non-null) columns, statistics and small row groups are what make a narrow read narrow and a wide one
    fast: only strings are dictionary-encoded, times are stored as deltas.
    """
    arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_arrow_schema(table))
    texts = [name for name, dtype in table.columns.items() if dtype == pl.String]
    times = {name: "DELTA_BINARY_PACKED" for name, dtype in table.columns.items() if dtype == frames.TIMESTAMP}
    with path.open("wb") as file:
        pq.write_table(
            arrow,
            file,
            row_group_size=ROW_GROUP_ROWS,
            compression="zstd",
            compression_level=1,
            use_dictionary=texts,
            column_encoding=times,
            write_statistics=True,
        )
    durable.sync_file(path)


def _arrow_schema(table: Table) -> pa.Schema:
    types = {pl.String(): pa.string(), pl.Float64(): pa.float64(), frames.TIMESTAMP: pa.timestamp("ms", "UTC")}
    return pa.schema([pa.field(name, types[dtype], nullable=False) for name, dtype in table.columns.items()])
