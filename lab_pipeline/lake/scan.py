"""Read a part of the candles, one state of them, as few bytes as the row groups allow.

The files of a slice are those of one version of the table, which nobody changes: what writers replace stays until
retention removes it, so a slice needs no lock, and other processes can read it in pieces by the names of its files.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import RULES, CandleColumns, Integers
from lab_pipeline.lake.damage import damaged_rows, explained, require_whole
from lab_pipeline.lake.layout import Note, mint_bucket, require_timeframe
from lab_pipeline.lake.snapshot import COLUMNS, LIQUIDITY, bucket_digest, combine, liquidity_digest
from lab_pipeline.lake.store import Store
from lab_pipeline.lake.tables import DataFile, Snapshot

Column = npt.NDArray[Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHARD_ROWS = 1 << 17
"""Small buckets are put together until a shard has about this many rows; a larger bucket is a shard of its own."""

READERS = 2
"""Shards read at once: hashing one overlaps with decoding the other."""
OPENERS = 16
"""Files of a bucket that are opened at once: each takes several answers."""


@dataclass(frozen=True)
class PartFile:
    """A file of the lake, and what of it belongs to a slice.

    Attributes:
        file: as the log has it.
        mints: those that are wanted, ascending.
        rows: rows of the row groups that will be read.
    """

    file: DataFile
    mints: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class SlicePiece:
    """Some mint buckets of a slice, which any process that sees the files can read: small, and can be pickled.

    Attributes:
        root: of the lake.
        files: ascending by bucket.
        start_ms: candles from this time on.
        end_ms: candles before this time.
        liquidity: whether their liquidity is read, too.
        finer: files of the finer candles of its mints.
    """

    root: str
    files: tuple[PartFile, ...]
    start_ms: int
    end_ms: int
    liquidity: bool = False
    finer: tuple[PartFile, ...] = ()

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
        finer: the finer candles of the same mints and times, of which only those are read that are asked for.
        rows: rows that qualified; complete once the slice was iterated, like the following.
        mints: number of mints that have such rows.
        first: earliest timestamp (ms since the epoch), null without rows.
        last: latest timestamp.
    """

    def __init__(
        self,
        store: Store,
        opened: Sequence["_Part"],
        start_ms: int,
        end_ms: int,
        *,
        finer: Sequence["_Part"] = (),
        liquidity: bool,
    ) -> None:
        self._root = store.root
        self._parts = [part for part in opened if part.groups]
        self._start_ms, self._end_ms = start_ms, end_ms
        self._liquidity = liquidity
        self.finer = FinerCandles([part for part in finer if part.groups])
        self.rows_planned = sum(part.rows for part in self._parts)
        self.row_groups = sum(len(part.groups) for part in self._parts)
        self.bytes = sum(part.bytes for part in self._parts)
        self.files = len(self._parts)
        self._digests: list[tuple[int, bytes]] | None = None
        self._reset()

    @classmethod
    def select(  # noqa: PLR0917 - as `Lake.slice` has them
        cls,
        store: Store,
        version: Snapshot,
        timeframe: str,
        mints: Sequence[str],
        start_ms: int,
        end_ms: int,
        *,
        liquidity: bool = False,
        finer: str | None = None,
    ) -> Self:
        """Open the files of a version of the candles that can have those that are asked for.

        Args:
            store: of the lake.
            version: of its candles.
            timeframe: length of the candles.
            mints: whose candles.
            start_ms: earliest timestamp, inclusive, milliseconds since the epoch.
            end_ms: latest timestamp, exclusive.
            liquidity: read the candles' liquidity, too.
            finer: length of the finer candles that may be asked for.
        """
        wanted: dict[int, list[str]] = {}
        for mint in sorted(set(mints)):
            wanted.setdefault(mint_bucket(mint), []).append(mint)

        def opened(length: str, *, liquidity: bool) -> list[_Part]:
            require_timeframe(length)
            buckets = version.by_timeframe.get(length, {})
            require_whole(store, [file for files in buckets.values() for file in files])
            within = [
                (file, tuple(wanted[bucket]))
                for bucket in sorted(wanted)
                for file in buckets.get(bucket, ())
                if file.times[0] < end_ms and file.times[1] >= start_ms
            ]
            return _opened(store, within, start_ms, end_ms, liquidity=liquidity)

        found = opened(timeframe, liquidity=liquidity)
        more = [] if finer is None else opened(finer, liquidity=False)
        return cls(store, found, start_ms, end_ms, finer=more, liquidity=liquidity)

    @classmethod
    def of(cls, piece: SlicePiece) -> Self:
        """Open a piece of a slice, in whatever process."""
        store = Store(piece.root)

        def opened(files: Sequence[PartFile], *, liquidity: bool) -> list[_Part]:
            named = [(one.file, one.mints) for one in files]
            return _opened(store, named, piece.start_ms, piece.end_ms, liquidity=liquidity)

        found, finer = opened(piece.files, liquidity=piece.liquidity), opened(piece.finer, liquidity=False)
        return cls(store, found, piece.start_ms, piece.end_ms, finer=finer, liquidity=piece.liquidity)

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
            pieces[-1].append(part.planned)
        finer = self.finer.files
        return [
            SlicePiece(
                self._root,
                tuple(files),
                self._start_ms,
                self._end_ms,
                self._liquidity,
                tuple(finer[one.file.bucket] for one in files if one.file.bucket in finer),
            )
            for files in pieces
        ]

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
        self.finer.close()

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


class FinerCandles:
    """Finer candles, of which only the row groups are read that can hold some that are asked for.

    Attributes:
        bytes: compressed size of the row groups that were read.
        rows: candles that were asked for and are there.
    """

    def __init__(self, opened: Sequence["_Part"]) -> None:
        self._parts = {part.file.bucket: part for part in opened}
        self._found: list[pl.DataFrame] = []
        self.bytes = 0
        self.rows = 0

    @property
    def files(self) -> dict[int, PartFile]:
        """The part files, by mint bucket."""
        return {bucket: part.planned for bucket, part in self._parts.items()}

    def within(self, wanted: pl.DataFrame, length_ms: int) -> pl.DataFrame:
        """Read the finer candles that lie in candles.

        Args:
            wanted: `mint` and `timestamp` of each candle, which lie on their grid.
            length_ms: length of the candles, in milliseconds.

        Returns:
            Columns of `frames.CANDLES`, sorted by mint and timestamp.
        """
        found = [pl.DataFrame(schema=frames.CANDLES)]
        buckets = {mint: mint_bucket(mint) for mint in wanted["mint"].unique()}
        by_bucket = wanted.with_columns(bucket=pl.col("mint").replace_strict(buckets, return_dtype=pl.Int64))
        for (bucket,), some in by_bucket.partition_by("bucket", as_dict=True, include_key=False).items():
            if isinstance(bucket, int) and bucket in self._parts:
                rows, size = self._parts[bucket].read_within(some, length_ms)
                found.append(rows)
                self.bytes += size
        rows = pl.concat(found).sort("mint", "timestamp")
        self.rows += rows.height
        self._found.append(rows)
        return rows

    @property
    def digests(self) -> list[tuple[int, bytes]]:
        """Digests of all candles that were found, by mint bucket, ascending."""
        if not self._found:
            return []
        rows = pl.concat(self._found).unique(["mint", "timestamp"]).sort("mint", "timestamp")
        buckets = {mint: mint_bucket(mint) for mint in rows["mint"].unique()}
        return sorted(
            (bucket, bucket_digest(CandleColumns.from_frame(rows.filter(pl.col("mint").is_in(mints)))))
            for bucket in set(buckets.values())
            for mints in [[mint for mint, its in buckets.items() if its == bucket]]
        )

    def close(self) -> None:
        """Let go of the files."""
        for part in self._parts.values():
            part.close()


def mints_of(store: Store, file: DataFile) -> list[str]:
    """Read the mints of a file, ascending."""
    with explained(store, [file]), store.open(file.name) as opened:
        table = pq.ParquetFile(opened, read_dictionary=["mint"]).read(["mint"])
    return _runs(table.column("mint"))[0]


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
        store: of the lake.
        file: as the log has it.
        groups: those row groups.
        rows: rows in them.
        bytes: their compressed size.
        whole: rows of the file.
        note: what the lake wrote down when it checked them.
    """

    def __init__(
        self, store: Store, file: DataFile, mints: Sequence[str], start_ms: int, end_ms: int, *, liquidity: bool
    ) -> None:
        self.store = store
        self.file = file
        self._mints = list(mints)
        self._start_ms, self._end_ms = start_ms, end_ms
        with explained(store, [file]):
            far = store.directory is None  # there it pays to ask for neighbouring pages at once
            self._file = pq.ParquetFile(store.open(file.name), read_dictionary=["mint"], pre_buffer=far)
        groups = [self._file.metadata.row_group(number) for number in range(self._file.num_row_groups)]
        self.groups = [number for number, group in enumerate(groups) if self._may_hold(group)]
        self.rows = sum(groups[number].num_rows for number in self.groups)
        has_liquidity = liquidity and LIQUIDITY in self._file.schema_arrow.names
        self._columns = ["mint", *COLUMNS, *([LIQUIDITY] if has_liquidity else [])]
        self.bytes = sum(self._size(number) for number in self.groups)
        self.whole = self._file.metadata.num_rows
        self.note = Note.of(self._file.metadata.metadata)

    @property
    def planned(self) -> PartFile:
        return PartFile(self.file, tuple(self._mints), self.rows)

    def close(self) -> None:
        self._file.close(force=True)

    def read(self) -> CandleColumns:
        """Read the qualifying rows; without a copy if they are all rows of the groups."""
        with explained(self.store, [self.file]):
            table = self._file.read_row_groups(self.groups, columns=self._columns)
        mints, offsets = _runs(table.column("mint"))
        arrays = [_array(table.column(name)) for name in self._columns[1:]]
        timestamp = arrays[0]
        wanted = set(self._mints)
        segments = []
        for mint, start, end in zip(mints, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            if mint in wanted:
                low, high = start + np.searchsorted(timestamp[start:end], (self._start_ms, self._end_ms))
                if low < high:
                    segments.append((mint, int(low), int(high)))
        return _gather(segments, arrays)

    def read_within(self, wanted: pl.DataFrame, length_ms: int) -> tuple[pl.DataFrame, int]:
        """Read the candles that lie in longer ones, as `FinerCandles.within`, and say how many bytes that took."""
        begins = wanted["timestamp"].to_physical()
        mints, asked = wanted["mint"], []
        for number in self.groups:
            group = self._file.metadata.row_group(number)
            mint, timestamp = group.column(0).statistics, group.column(1).statistics
            reached = (mints >= mint.min) & (mints <= mint.max)
            if mint.min == mint.max:  # of one mint alone the times say which candles it has
                reached &= (begins + length_ms > timestamp.min_raw) & (begins <= timestamp.max_raw)
            if reached.any():
                asked.append(number)
        found = [pl.DataFrame(schema=frames.CANDLES)]
        for number in asked:
            with explained(self.store, [self.file]):
                table = self._file.read_row_group(number, columns=self._columns)
            rows = pl.from_arrow(table)
            assert isinstance(rows, pl.DataFrame)  # noqa: S101 - a table is one
            rows = rows.cast(frames.CANDLES).with_columns(
                begin=(pl.col("timestamp").to_physical() // length_ms * length_ms).cast(frames.TIMESTAMP)
            )
            inside = rows.join(wanted, left_on=["mint", "begin"], right_on=["mint", "timestamp"], how="semi")
            found.append(inside.select(frames.CANDLES.names()))
        return pl.concat(found), sum(self._size(number) for number in asked)

    def _size(self, group: int) -> int:
        """Return the compressed size of what is read of a row group."""
        metadata = self._file.metadata.row_group(group)
        chunks = [metadata.column(number) for number in range(metadata.num_columns)]
        return sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in self._columns)

    def _may_hold(self, group: pq.RowGroupMetaData) -> bool:
        """Compare the row group's statistics with the slice."""
        mint, timestamp = group.column(0).statistics, group.column(1).statistics
        position = bisect_left(self._mints, mint.min)
        if position == len(self._mints) or self._mints[position] > mint.max:
            return False
        return bool(timestamp.max_raw >= self._start_ms and timestamp.min_raw < self._end_ms)


def _opened(
    store: Store, named: Sequence[tuple[DataFile, Sequence[str]]], start_ms: int, end_ms: int, *, liquidity: bool
) -> list[_Part]:
    """Open files, each for the mints that are wanted of it; those of a bucket several at a time."""

    def one(file: DataFile, mints: Sequence[str]) -> _Part:
        return _Part(store, file, mints, start_ms, end_ms, liquidity=liquidity)

    if store.directory is not None or not named:
        return [one(*each) for each in named]
    with ThreadPoolExecutor(min(OPENERS, len(named)), thread_name_prefix="lake-open") as openers:
        return list(openers.map(one, *zip(*named, strict=True)))


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
            with_liquidity = None if candles.liquidity is None else liquidity_digest(digest, candles.liquidity)
            digests.append((part.file.bucket, with_liquidity or digest))
            candles = _vouched_for(part, candles, digest.hex(), with_liquidity.hex() if with_liquidity else None)
        buckets.append(candles)
    return _Shard(_merge(buckets), digests)


def _vouched_for(part: _Part, candles: CandleColumns, digest: str, with_liquidity: str | None) -> CandleColumns:
    """Mark candles that are those which the lake has checked; of a part of a file the digest does not tell.

    Raises:
        LakeDamagedError: if they are not those that were written.
    """
    if part.note is None or len(candles) < part.whole:
        return candles
    if digest != part.note.digest or (with_liquidity is not None and with_liquidity != part.note.liquidity):
        raise damaged_rows(part.store, part.file.name)
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
    if any(candles.liquidity is not None for candles in buckets):
        known = [np.full(len(one), np.nan) if one.liquidity is None else one.liquidity for one in buckets]
        laid.append(np.concatenate([known[number][low:high] for _, number, low, high in segments]))
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
    timestamp, opens, highs, lows, closes, volumes, *pools = laid
    liquidity = next((pool for pool in pools if not np.isnan(pool).all()), None)  # without a value as without a column
    mints = [mint for mint, _, _ in segments]
    return CandleColumns(mints, offsets, timestamp, opens, highs, lows, closes, volumes, liquidity=liquidity)


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
    array: Column = values.to_numpy(zero_copy_only=values.null_count == 0)  # a null becomes NaN
    return array
