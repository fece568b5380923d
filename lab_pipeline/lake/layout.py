"""Where rows lie on disk: tables, partitions, and how a part file is encoded."""

import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain import frames
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.files import atomic
from lab_pipeline.lake.errors import LakeError

MINT_BUCKETS = 64
ROW_GROUP_ROWS = 32_768
"""Small enough that an hour of a token is a small part of its file, large enough that decoding stays columnar."""
NOTE = b"lab.candles"
"""Key of a `Note` in the footer of a part file."""
MOST_FILES = 100_000
"""That one run brings in."""


@dataclass(frozen=True)
class Table:
    """A kind of row that the lake keeps.

    Attributes:
        name: directory under the lake's root.
        columns: names and types, in order, which every row has.
        options: columns that rows may have, too, null where they do not say it.
        key: columns that identify a row.
        order: columns by which a part is sorted.
        aliases: other names under which a file may have a column, lower case, `_` for what is not letter or digit.
    """

    name: str
    columns: pl.Schema
    options: pl.Schema
    key: tuple[str, ...]
    order: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]]

    @property
    def time(self) -> str:
        """The only time that every row has."""
        return next(name for name, dtype in self.columns.items() if dtype == frames.TIMESTAMP)

    @property
    def types(self) -> dict[str, pl.DataType]:
        """Types of all columns, options after the others."""
        return {**self.columns, **self.options}

    def present(self, found: Collection[str]) -> list[str]:
        """Return the table's columns, with those options alone that are among the names."""
        return [*self.columns, *(name for name in self.options if name in found)]


MINT_ALIASES = ("token", "symbol", "token_address", "address")
TIME_ALIASES = ("time", "date", "ts", "datetime", "unixtime", "unix_time")
CANDLES = Table(
    name="candles",
    columns=frames.CANDLES,
    options=frames.CANDLE_OPTIONS,
    key=("mint", "timestamp"),
    order=("mint", "timestamp"),
    aliases={
        "mint": (*MINT_ALIASES, "pair", "contract", "contract_address"),
        "timestamp": (*TIME_ALIASES, "open_time", "opentime", "unix", "unix_timestamp"),
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
    options=frames.CALL_OPTIONS,
    key=("call_id",),
    order=("called_at", "call_id"),
    aliases={
        "call_id": ("id",),
        "caller": ("caller_name", "user", "username", "author"),
        "mint": (*MINT_ALIASES, "pair", "contract", "contract_address"),
        "called_at": ("call_ts_ms", "call_datetime", "timestamp", *TIME_ALIASES),
        "direction": ("side",),
        "entry_price": ("entry",),
        "targets": ("take_profit", "takeprofit"),
        "stop_price": ("stop", "stop_loss", "stoploss", "sl"),
        "price_at_call": ("price_usd",),
        "market_cap_at_call": ("mcap_usd", "market_cap"),
        "liquidity_at_call": ("liquidity_usd",),
    },
)


def mint_bucket(mint: str) -> int:
    """Return the bucket (0 to 63) that holds every candle of a mint: CRC-32 of its UTF-8 bytes, modulo 64.

    >>> mint_bucket("ADA_BTC")
    16
    """
    return zlib.crc32(mint.encode()) % MINT_BUCKETS


def require_timeframe(timeframe: str) -> None:
    """Refuse what is not a timeframe.

    Raises:
        LakeError: if the text is none.
    """
    try:
        timeframe_ms(timeframe)
    except ValueError as error:
        raise LakeError(str(error)) from None


@dataclass(frozen=True)
class Note:
    """What the lake writes down of the candles in a part file when it has checked them.

    Attributes:
        rules: number of the rules that they keep, `domain.candles.RULES` of that day.
        timeframe_ms: length of a candle in milliseconds, by which they are apart or more.
        digest: BLAKE3 (hex) of the rows, `snapshot.bucket_digest`: rows that have it are those that were checked.
        liquidity: that of their liquidity, `snapshot.liquidity_digest`; null if no row has any.
    """

    rules: int
    timeframe_ms: int
    digest: str
    liquidity: str | None = None

    @classmethod
    def of(cls, metadata: Mapping[bytes, bytes] | None) -> "Note | None":
        """Read the note from the footer of a part file; none in files of earlier versions."""
        written = (metadata or {}).get(NOTE)
        return None if written is None else cls(**json.loads(written))


def write_part(frame: pl.DataFrame, table: Table, path: Path, note: Note | None = None) -> None:
    """Write sorted rows to a new part file and wait until the disk has it.

    Required (non-null) columns, statistics of the columns that rows are sorted by and small row groups are what make a
    narrow read narrow and a wide one fast: only strings are dictionary-encoded, times are stored as deltas. Numbers are
    split into their bytes, all first ones first: lz4 then packs them as well as zstd does without that, and they are
    read twice as fast. Of the options only those are written that a row has.
    """
    types = {name: table.types[name] for name in table.present(frame.columns)}
    encodings = {pl.Float64(): "BYTE_STREAM_SPLIT", frames.TIMESTAMP: "DELTA_BINARY_PACKED"}
    rows = _to_arrow(frame, table)
    with (
        path.open("wb") as file,
        pq.ParquetWriter(
            file,
            rows.schema,
            compression="lz4",
            use_dictionary=[name for name, dtype in types.items() if dtype == pl.String],
            column_encoding={name: encodings[dtype] for name, dtype in types.items() if dtype in encodings},
            write_statistics=list(table.order),
            write_batch_size=ROW_GROUP_ROWS,
            store_schema=False,
        ) as parquet,
    ):
        parquet.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        if note is not None:
            parquet.add_key_value_metadata({NOTE: json.dumps(asdict(note))})
    atomic.sync_file(path)


def read_part(file: pa.NativeFile) -> tuple[pl.DataFrame, Note | None]:
    """Read all rows of an open part file, and what the lake wrote down of them."""
    table = pq.ParquetFile(file).read()
    rows = pl.from_arrow(table.replace_schema_metadata(None))
    assert isinstance(rows, pl.DataFrame)  # noqa: S101 - a table is one
    return rows, Note.of(table.schema.metadata)


def _to_arrow(frame: pl.DataFrame, table: Table) -> pa.Table:
    """Convert rows, without a null but in options; texts that order them become a dictionary, as in the file."""
    types = {
        pl.Float64(): pa.float64(),
        frames.TIMESTAMP: pa.timestamp("ms", "UTC"),
        pl.List(pl.Float64()): pa.list_(pa.float64()),
    }
    names = table.present(frame.columns)
    columns: list[pa.Array] = []
    for name in names:
        dtype = table.types[name]
        if dtype != pl.String:
            columns.append(frame[name].rechunk().to_arrow().cast(types[dtype]))
        elif isinstance(frame.schema[name], pl.Enum):
            codes = frame[name].rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
            columns.append(codes.cast(pa.dictionary(pa.int32(), pa.string())))
        elif name == table.order[0]:
            runs = frame[name].rle().struct
            codes = np.repeat(np.arange(len(runs.field("len")), dtype=np.int32), runs.field("len").to_numpy())
            texts = runs.field("value").to_arrow(compat_level=pl.CompatLevel.oldest())
            columns.append(pa.DictionaryArray.from_arrays(codes, texts.cast(pa.string())))
        else:
            columns.append(frame[name].rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string()))
    fields = [
        pa.field(name, column.type, nullable=name in table.options) for name, column in zip(names, columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))
