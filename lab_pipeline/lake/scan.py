"""Read a part of the candles, one state of them, as few bytes as the row groups allow.

The files of a slice are opened under the lake's shared lock and stay open: a writer that replaces them afterwards
removes their names, not the rows, so the slice needs no lock while it is read and never holds a writer up.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain.candles import CandleColumns, Integers
from lab_pipeline.lake import commit
from lab_pipeline.lake.layout import bucket_dir, mint_bucket, parts, timeframe_dir
from lab_pipeline.lake.snapshot import COLUMNS, bucket_digest, combine

Column = npt.NDArray[Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHARD_ROWS = 1 << 17
"""Small buckets are put together until a shard has about this many rows; a larger bucket is a shard of its own."""

READERS = 2
"""Shards read at once: hashing one overlaps with decoding the other."""


class CandleSlice:
    """The candles of some mints with start <= timestamp < end, iterated shard by shard.

    A shard holds one or more whole mint buckets; each mint is in exactly one shard. While the caller works on a shard,
    threads read and hash the next. Close it, or use it as a context manager, to let go of the files.

    Attributes:
        rows_planned: rows of the row groups that will be read, at least those that qualify.
        row_groups: number of those row groups.
        bytes: their compressed size.
        files: part files that they lie in.
        rows: rows that qualified; complete once the slice was iterated, like the following.
        mints: number of mints that have such rows.
        first: earliest timestamp (ms since the epoch), null without rows.
        last: latest timestamp.
    """

    def __init__(self, root: Path, timeframe: str, mints: Sequence[str], start_ms: int, end_ms: int) -> None:
        wanted: dict[int, list[str]] = {}
        for mint in sorted(set(mints)):
            wanted.setdefault(mint_bucket(mint), []).append(mint)
        directory = timeframe_dir(root, timeframe)
        with commit.reading(root) if directory.is_dir() else nullcontext():
            opened = [
                _Part(bucket, path, wanted[bucket], start_ms, end_ms)
                for bucket in sorted(wanted)
                for path in parts(bucket_dir(root, timeframe, bucket))
            ]
        self._parts = [part for part in opened if part.groups]
        self.rows_planned = sum(part.rows for part in self._parts)
        self.row_groups = sum(len(part.groups) for part in self._parts)
        self.bytes = sum(part.bytes for part in self._parts)
        self.files = len(self._parts)
        self._digest: str | None = None
        self._reset()

    def _reset(self) -> None:
        self.rows = 0
        self.mints = 0
        self.first: int | None = None
        self.last: int | None = None

    @property
    def snapshot(self) -> str:
        """BLAKE3 (hex) of the rows; known once the slice was iterated to its end."""
        if self._digest is None:
            raise RuntimeError("the snapshot is known once the slice was iterated to its end")
        return self._digest

    def __iter__(self) -> Iterator[CandleColumns]:
        self._reset()
        digests: list[tuple[int, bytes]] = []
        for shard in _read_ahead(self._shards()):
            digests.extend(shard.digests)
            if len(shard.candles):
                self._count(shard.candles)
                yield shard.candles
        self._digest = combine(digests)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        for part in self._parts:
            part.close()

    def _shards(self) -> list[list["_Part"]]:
        shards: list[list[_Part]] = []
        rows = SHARD_ROWS
        for part in self._parts:
            if rows >= SHARD_ROWS:
                shards.append([])
                rows = 0
            shards[-1].append(part)
            rows += part.rows
        return shards

    def _count(self, shard: CandleColumns) -> None:
        first = int(shard.timestamp[shard.offsets[:-1]].min())
        last = int(shard.timestamp[shard.offsets[1:] - 1].max())
        self.rows += len(shard)
        self.mints += len(shard.mints)
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)


def mints_of(path: Path) -> list[str]:
    """Read the mints of a part file, ascending."""
    table = pq.ParquetFile(path, read_dictionary=["mint"]).read(["mint"])
    return _runs(table.column("mint"))[0]


def extent(paths: Sequence[Path], column: str) -> tuple[datetime, datetime] | None:
    """Return the least and the greatest value of a time column from the statistics of part files."""
    bounds = [
        group.column(index).statistics
        for metadata in map(pq.read_metadata, paths)
        for index in [metadata.schema.names.index(column)]
        for group in map(metadata.row_group, range(metadata.num_row_groups))
    ]
    return (min(bound.min for bound in bounds), max(bound.max for bound in bounds)) if bounds else None


def milliseconds(moment: datetime | int) -> int:
    """Return milliseconds since the epoch, rounded up; a moment without an offset is UTC."""
    if isinstance(moment, int):
        return moment
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return -((EPOCH - aware) // timedelta(milliseconds=1))


@dataclass(frozen=True)
class _Shard:
    candles: CandleColumns
    digests: list[tuple[int, bytes]]


class _Part:
    """An open part file, and which of its row groups can hold rows of a slice.

    Attributes:
        groups: those row groups.
        rows: rows in them.
        bytes: their compressed size.
    """

    def __init__(self, bucket: int, path: Path, mints: list[str], start_ms: int, end_ms: int) -> None:
        self.bucket = bucket
        self._mints = mints
        self._start_ms, self._end_ms = start_ms, end_ms
        self._file = pq.ParquetFile(pa.OSFile(str(path)), read_dictionary=["mint"], pre_buffer=False)
        groups = [self._file.metadata.row_group(number) for number in range(self._file.num_row_groups)]
        self.groups = [number for number, group in enumerate(groups) if self._may_hold(group)]
        self.rows = sum(groups[number].num_rows for number in self.groups)
        self.bytes = sum(_compressed_size(groups[number]) for number in self.groups)

    def close(self) -> None:
        self._file.close(force=True)

    def read(self) -> CandleColumns:
        """Read the qualifying rows; without a copy if they are all rows of the groups."""
        table = self._file.read_row_groups(self.groups)
        mints, offsets = _runs(table.column("mint"))
        arrays = [_array(table.column(name)) for name in COLUMNS]
        timestamp = arrays[0]
        wanted = set(self._mints)
        segments = []
        for mint, start, end in zip(mints, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            if mint in wanted:
                low, high = start + np.searchsorted(timestamp[start:end], (self._start_ms, self._end_ms))
                if low < high:
                    segments.append((mint, int(low), int(high)))
        return _gather(segments, arrays)

    def _may_hold(self, group: pq.RowGroupMetaData) -> bool:
        """Compare the row group's statistics with the slice."""
        mint, timestamp = group.column(0).statistics, group.column(1).statistics
        position = bisect_left(self._mints, mint.min)
        if position == len(self._mints) or self._mints[position] > mint.max:
            return False
        return milliseconds(timestamp.max) >= self._start_ms and milliseconds(timestamp.min) < self._end_ms


def _read_ahead(shards: list[list[_Part]]) -> Iterator[_Shard]:
    """Yield shards in order; while the caller has one, threads read and hash the next."""
    with ThreadPoolExecutor(READERS, thread_name_prefix="lake-read-ahead") as readers:
        ahead: deque[Future[_Shard]] = deque()
        for shard in shards:
            ahead.append(readers.submit(_read_shard, shard))
            if len(ahead) > READERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _read_shard(parts_of_shard: list[_Part]) -> _Shard:
    buckets = [(part.bucket, part.read()) for part in parts_of_shard]
    digests = [(bucket, bucket_digest(candles)) for bucket, candles in buckets if len(candles)]
    return _Shard(_merge([candles for _, candles in buckets]), digests)


def _merge(buckets: list[CandleColumns]) -> CandleColumns:
    """Put buckets together, mints ascending."""
    if len(buckets) == 1:
        return buckets[0]
    base = np.cumsum([0, *map(len, buckets)])
    arrays = [np.concatenate([getattr(candles, name) for candles in buckets]) for name in COLUMNS]
    segments = [
        (mint, int(start + low), int(start + high))
        for start, candles in zip(base, buckets, strict=False)
        for mint, low, high in zip(candles.mints, candles.offsets[:-1], candles.offsets[1:], strict=True)
    ]
    return _gather(sorted(segments), arrays)


def _gather(segments: list[tuple[str, int, int]], arrays: list[Column]) -> CandleColumns:
    """Lay (mint, first row, last row + 1) segments end to end; arrays that already are so stay where they are."""
    lengths = [high - low for _, low, high in segments]
    spans = _joined([(low, high) for _, low, high in segments])
    if len(spans) == 1:
        laid = [array[slice(*spans[0])] for array in arrays]
    elif spans:
        laid = [np.concatenate([array[low:high] for low, high in spans]) for array in arrays]
    else:
        laid = [array[:0] for array in arrays]
    for array in laid:
        array.flags.writeable = False  # as arrays that lie in Parquet buffers are: one type, one compiled kernel
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    return CandleColumns([mint for mint, _, _ in segments], offsets, **dict(zip(COLUMNS, laid, strict=True)))


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join spans that touch."""
    joined: list[tuple[int, int]] = []
    for low, high in spans:
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def _runs(column: pa.ChunkedArray) -> tuple[list[str], Integers]:
    """Return each mint of a sorted, dictionary-encoded column once, and the row at which it starts."""
    mints: list[str] = []
    starts: list[int] = []
    offset = 0
    for chunk in column.chunks:
        codes = chunk.indices.to_numpy()
        changes = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
        names = chunk.dictionary.take(pa.array(codes[changes])).to_pylist()
        for name, change in zip(names, changes.tolist(), strict=True):
            if not mints or mints[-1] != name:
                mints.append(name)
                starts.append(offset + change)
        offset += len(chunk)
    return mints, np.array([*starts, offset], np.int64)


def _array(column: pa.ChunkedArray) -> Column:
    values = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(values, pa.TimestampArray):
        values = values.view(pa.int64())
    array: Column = values.to_numpy()
    return array


def _compressed_size(group: pq.RowGroupMetaData) -> int:
    return sum(group.column(number).total_compressed_size for number in range(group.num_columns))
