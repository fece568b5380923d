"""Read a part of the candles, one state of them, as few bytes as the row groups allow.

The files of a slice are opened under the lake's shared lock and stay open: a writer that replaces them afterwards
removes their names, not the rows, so the slice needs no lock while it is read and never holds a writer up. A slice
that several processes read in pieces gives its files second names under that lock, which stay until they are removed.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain.candles import RULES, CandleColumns, Integers
from lab_pipeline.files.atomic import link_or_copy
from lab_pipeline.lake import commit, inventory
from lab_pipeline.lake.layout import Note, bucket_dir, mint_bucket, parts, timeframe_dir
from lab_pipeline.lake.snapshot import COLUMNS, bucket_digest, combine

Column = npt.NDArray[Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHARD_ROWS = 1 << 17
"""Small buckets are put together until a shard has about this many rows; a larger bucket is a shard of its own."""

READERS = 2
"""Shards read at once: hashing one overlaps with decoding the other."""


@dataclass(frozen=True)
class PartFile:
    """A part file of the lake, or another name of it, and what of it belongs to a slice.

    Attributes:
        bucket: of its mints.
        path: where it is.
        mints: those that are wanted, ascending.
        rows: rows of the row groups that will be read.
    """

    bucket: int
    path: Path
    mints: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class SlicePiece:
    """Some mint buckets of a slice, which any process that sees the files can read: small, and can be pickled.

    Attributes:
        files: ascending by bucket.
        start_ms: candles from this time on.
        end_ms: candles before this time.
    """

    files: tuple[PartFile, ...]
    start_ms: int
    end_ms: int

    @property
    def rows_planned(self) -> int:
        """Rows of the row groups that will be read."""
        return sum(file.rows for file in self.files)


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

    def __init__(self, opened: Sequence["_Part"], start_ms: int, end_ms: int) -> None:
        self._parts = [part for part in opened if part.groups]
        self._start_ms, self._end_ms = start_ms, end_ms
        self.rows_planned = sum(part.rows for part in self._parts)
        self.row_groups = sum(len(part.groups) for part in self._parts)
        self.bytes = sum(part.bytes for part in self._parts)
        self.files = len(self._parts)
        self._digests: list[tuple[int, bytes]] | None = None
        self._reset()

    @classmethod
    def select(
        cls, root: Path, timeframe: str, mints: Sequence[str], start_ms: int, end_ms: int, *, hold: Path | None = None
    ) -> Self:
        """Open the files of a lake that can have the candles.

        Args:
            root: of the lake.
            timeframe: length of the candles.
            mints: whose candles.
            start_ms: earliest timestamp, inclusive, milliseconds since the epoch.
            end_ms: latest timestamp, exclusive.
            hold: a directory in which the files get another name, for `pieces`: the same files where the file system
                lets it be so, copies elsewhere.
        """
        wanted: dict[int, list[str]] = {}
        for mint in sorted(set(mints)):
            wanted.setdefault(mint_bucket(mint), []).append(mint)
        directory = timeframe_dir(root, timeframe)
        with commit.reading(root) if root.is_dir() else nullcontext(), inventory.explained(root):
            inventory.require_whole(root, directory)
            opened = [
                _Part(bucket, path if hold is None else _named(path, hold, bucket), wanted[bucket], start_ms, end_ms)
                for bucket in sorted(wanted)
                for path in parts(bucket_dir(root, timeframe, bucket))
            ]
        return cls(opened, start_ms, end_ms)

    @classmethod
    def of(cls, piece: SlicePiece) -> Self:
        """Open a piece of a slice, in whatever process."""
        opened = [_Part(file.bucket, file.path, list(file.mints), piece.start_ms, piece.end_ms) for file in piece.files]
        return cls(opened, piece.start_ms, piece.end_ms)

    def pieces(self, rows: int) -> list[SlicePiece]:
        """Cut the slice into pieces of whole mint buckets: each begun one is filled until it has so many rows.

        There is always at least one, be it without files. The cut depends on nothing but the rows and the number.

        Args:
            rows: that a piece should have at least, by `rows_planned`.
        """
        pieces: list[list[PartFile]] = [[]]
        for part in self._parts:
            if sum(file.rows for file in pieces[-1]) >= rows:
                pieces.append([])
            pieces[-1].append(PartFile(part.bucket, part.path, part.mints, part.rows))
        return [SlicePiece(tuple(files), self._start_ms, self._end_ms) for files in pieces]

    def _reset(self) -> None:
        self.rows = 0
        self.mints = 0
        self.first: int | None = None
        self.last: int | None = None

    @property
    def snapshot(self) -> str:
        """BLAKE3 (hex) of the rows; known once the slice was iterated to its end."""
        return combine(self.digests)

    @property
    def digests(self) -> list[tuple[int, bytes]]:
        """What the snapshot is made of, by mint bucket, ascending; known once the slice was iterated to its end."""
        if self._digests is None:
            raise RuntimeError("the snapshot is known once the slice was iterated to its end")
        return self._digests

    def __iter__(self) -> Iterator[CandleColumns]:
        self._reset()
        digests: list[tuple[int, bytes]] = []
        for shard in _read_ahead(self._shards()):
            digests.extend(shard.digests)
            if len(shard.candles):
                self._count(shard.candles)
                yield shard.candles
        self._digests = digests

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
        whole: rows of the file.
        note: what the lake wrote down when it checked them.
    """

    def __init__(self, bucket: int, path: Path, mints: list[str], start_ms: int, end_ms: int) -> None:
        self.bucket = bucket
        self.path = path
        self._mints = mints
        self._start_ms, self._end_ms = start_ms, end_ms
        self._file = pq.ParquetFile(pa.OSFile(str(path)), read_dictionary=["mint"], pre_buffer=False)
        groups = [self._file.metadata.row_group(number) for number in range(self._file.num_row_groups)]
        self.groups = [number for number, group in enumerate(groups) if self._may_hold(group)]
        self.rows = sum(groups[number].num_rows for number in self.groups)
        self.bytes = sum(_compressed_size(groups[number]) for number in self.groups)
        self.whole = self._file.metadata.num_rows
        self.note = Note.of(self._file.metadata.metadata)

    @property
    def mints(self) -> tuple[str, ...]:
        return tuple(self._mints)

    def close(self) -> None:
        self._file.close(force=True)

    def read(self) -> CandleColumns:
        """Read the qualifying rows; without a copy if they are all rows of the groups."""
        with inventory.explained(self.path):
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
        return bool(timestamp.max_raw >= self._start_ms and timestamp.min_raw < self._end_ms)


def _named(path: Path, directory: Path, bucket: int) -> Path:
    """Give a file another name, which outlives the one that it has."""
    directory.mkdir(parents=True, exist_ok=True)
    name = directory / f"bucket={bucket:02d}.{path.name}"
    with suppress(FileExistsError):  # an op that is executed again: names of parts are never used twice, it is the same
        link_or_copy(path, name)
    return name


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
    buckets: list[CandleColumns] = []
    digests: list[tuple[int, bytes]] = []
    for part in parts_of_shard:
        candles = part.read()
        if len(candles):
            digest = bucket_digest(candles)
            digests.append((part.bucket, digest))
            candles = _vouched_for(part, candles, digest.hex())
        buckets.append(candles)
    return _Shard(_merge(buckets), digests)


def _vouched_for(part: _Part, candles: CandleColumns, digest: str) -> CandleColumns:
    """Mark candles that are those which the lake has checked; of a part of a file the digest does not tell.

    Raises:
        LakeDamagedError: if they are not those that were written.
    """
    if part.note is None or len(candles) < part.whole:
        return candles
    if digest != part.note.digest:
        raise inventory.damaged_rows(part.path)
    return replace(candles, checked=part.note.timeframe_ms if part.note.rules >= RULES else 0)


def _merge(buckets: list[CandleColumns]) -> CandleColumns:
    """Put buckets together, mints ascending."""
    buckets = [candles for candles in buckets if len(candles)] or buckets[:1]
    if len(buckets) == 1:
        return buckets[0]
    segments = sorted(
        (mint, number, int(low), int(high))
        for number, candles in enumerate(buckets)
        for mint, low, high in zip(candles.mints, candles.offsets[:-1], candles.offsets[1:], strict=True)
    )
    laid = [
        np.concatenate([columns[number][low:high] for _, number, low, high in segments])
        for columns in ([getattr(candles, name) for candles in buckets] for name in COLUMNS)
    ]
    checked = {candles.checked for candles in buckets}
    return replace(
        _columns([(mint, low, high) for mint, _, low, high in segments], laid),
        checked=checked.pop() if len(checked) == 1 else 0,
    )


def _gather(segments: list[tuple[str, int, int]], arrays: list[Column]) -> CandleColumns:
    """Lay (mint, first row, last row + 1) segments end to end; arrays that already are so stay where they are."""
    spans = _joined([(low, high) for _, low, high in segments])
    if len(spans) == 1:
        laid = [array[slice(*spans[0])] for array in arrays]
    elif spans:
        laid = [np.concatenate([array[low:high] for low, high in spans]) for array in arrays]
    else:
        laid = [array[:0] for array in arrays]
    return _columns(segments, laid)


def _columns(segments: list[tuple[str, int, int]], laid: list[Column]) -> CandleColumns:
    """Name columns in which the rows of (mint, first row, last row + 1) segments lie end to end."""
    for array in laid:
        array.flags.writeable = False  # as arrays that lie in Parquet buffers are: one type, one compiled kernel
    offsets = np.cumsum([0, *(high - low for _, low, high in segments)], dtype=np.int64)
    timestamp, opens, highs, lows, closes, volumes = laid
    return CandleColumns([mint for mint, _, _ in segments], offsets, timestamp, opens, highs, lows, closes, volumes)


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
