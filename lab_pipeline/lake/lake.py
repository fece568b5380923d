"""The lake: every candle and call that was ever ingested, in a directory or a bucket."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake import adoption, commit, damage, tables, versions
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.layout import CALLS, CANDLES, Table, require_timeframe
from lab_pipeline.lake.scan import EPOCH, CandleSlice, milliseconds, mints_of
from lab_pipeline.lake.store import Store
from lab_pipeline.lake.tables import DataFile, Snapshot

if TYPE_CHECKING:
    from lab_pipeline.lake.chats import Reading
    from lab_pipeline.lake.ingest import IngestReport
    from lab_pipeline.lake.sources import Hints

Moment = datetime | int
"""A UTC moment, or milliseconds since the epoch."""


@dataclass(frozen=True, eq=False)
class Market:
    """Frames to simulate on.

    Attributes:
        candles: columns of `frames.CANDLES`; `liquidity`, too, where it is known.
        calls: columns of `frames.CALLS`, and what some call has of `frames.CALL_OPTIONS`; by called_at and call_id.
    """

    candles: pl.DataFrame
    calls: pl.DataFrame


class Lake:
    """Candles and calls under one root, which need not exist yet: an absent lake is an empty one.

    Any number of processes may read and ingest at once. Readers see the state before or after an ingest, never
    a part of one.
    """

    def __init__(self, root: Path | str) -> None:
        """Take a directory, or the URL of a prefix of a bucket (`s3://…`)."""
        self.store = Store.at(root)
        self.root = self.store.directory or self.store.root
        self._versions: dict[str, int] = {}

    @property
    def version(self) -> str:
        """The version that is read, such as `v12.5`: of the candles, then of the calls."""
        return versions.named(*(self._version(table).version for table in tables.TABLES))

    def at(self, as_of: str | None) -> "Lake":
        """Return the lake as it was, to be read; whatever is ingested later, it stays so.

        Args:
            as_of: a version, or a time (ISO 8601, UTC) for the last version until then; null for the one of now.

        Raises:
            LakeError: if there is no such version, or none from so early.
        """
        adoption.require_layout(self.store)
        then = Lake(self.root)
        if as_of is None and self._versions:
            then._versions = self._versions
            return then
        found = versions.parse(self.version) if as_of is None else versions.find(self.store, as_of)
        then._versions = {table.name: version for table, version in zip(tables.TABLES, found, strict=True)}
        return then

    def history(self) -> list[versions.Version]:
        """List all versions that there were, oldest first."""
        adoption.require_layout(self.store)
        return versions.history(self.store)

    def ingest_candles(
        self,
        files: Sequence[Path],
        timeframe: str | None,
        *,
        mint: str | None = None,
        hints: "Hints | None" = None,
        matching_only: bool = False,
        force: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
        receipt: str | None = None,
    ) -> "IngestReport":
        """Bring candle files in, all rows of all files or none.

        A row with a known (mint, timestamp) replaces the old one if its values differ, and is reported.

        Args:
            files: CSV, Parquet, Feather or JSON, plain or packed.
            timeframe: length of the candles, such as ``5m``; every timestamp must be a multiple of it. Null for what
                the files say: a column of them, which may say several, or a name.
            mint: the token of all rows, of files that do not say.
            hints: whatever else they do not say; with it, `mint` is said there.
            matching_only: leave out rows that say they are candles of another length, instead of refusing the file.
            force: take candles though their spacing is that of longer ones.
            on_progress: called with the steps done and the steps in all.
            receipt: name under which the lake remembers that this was done, in one commit with the rows. An ingest
                whose receipt is there is not done again: it returns what was reported then.

        Raises:
            LakeError: if a file cannot be used; IngestError, naming rows and rules, if its rows are wrong;
                LakeUnwritableError if the disk does not take them.
        """
        from lab_pipeline.lake import ingest  # noqa: PLC0415 - what readers need not pay for
        from lab_pipeline.lake.sources import Hints  # noqa: PLC0415 - as above

        choices = ingest.Choices(hints or Hints(mint=mint), matching_only, force)
        if timeframe is None:
            return ingest.ingest_as_stated(self.store, files, on_progress, receipt=receipt, choices=choices)
        return ingest.ingest_files(self.store, files, timeframe, on_progress, receipt=receipt, choices=choices)

    def ingest_calls(
        self,
        files: Sequence[Path],
        *,
        chats: "Reading | None" = None,
        on_progress: Callable[[int, int], None] | None = None,
        receipt: str | None = None,
    ) -> "IngestReport":
        """Bring call files in, all rows of all files or none.

        A call with a known call_id replaces the old one if its values differ, and is reported. Times below a
        millisecond round up, so that no call is known before it was made.

        Args:
            files: CSV, Parquet, Feather or JSON, or what Telegram Desktop exports; plain or packed.
            chats: what is a call in a message, and who is who.
            on_progress: called with the steps done and the steps in all.
            receipt: as of `ingest_candles`.
        """
        from lab_pipeline.lake import ingest  # noqa: PLC0415 - as above
        from lab_pipeline.lake.sources import Hints  # noqa: PLC0415 - as above

        choices = ingest.Choices(Hints(chats=chats))
        return ingest.ingest_files(self.store, files, None, on_progress, receipt=receipt, choices=choices)

    def receipts(self) -> list[str]:
        """List the receipts that the lake keeps."""
        return sorted(
            name.rpartition("/")[2].removesuffix(".json")
            for name in self.store.found(commit.RECEIPTS)
            if name.endswith(".json")
        )

    def forget_receipt(self, receipt: str) -> None:
        """Drop a receipt that nobody will ask for any more; one that is not there is no error."""
        from lab_pipeline.lake import ingest  # noqa: PLC0415 - as above

        self.store.remove(ingest.receipt_name(receipt))

    def write_candles(self, frame: pl.DataFrame, timeframe: str) -> "IngestReport":
        """Bring candles in from a frame, by the same rules as from a file, but for those about their spacing."""
        from lab_pipeline.lake import ingest  # noqa: PLC0415 - as above

        return ingest.ingest_frame(self.store, frame, timeframe)

    def write_calls(
        self, frame: pl.DataFrame, *, chats: "Reading | None" = None, name: str = "frame"
    ) -> "IngestReport":
        """Bring calls in from a frame, by the same rules as from a file; errors and the report call it by a name."""
        from lab_pipeline.lake import ingest  # noqa: PLC0415 - as above
        from lab_pipeline.lake.sources import Hints  # noqa: PLC0415 - as above

        return ingest.ingest_frame(self.store, frame, None, Hints(chats=chats), name)

    def timeframes(self) -> list[str]:
        """List the candle lengths that the lake has, shortest first."""
        return sorted(self._version(CANDLES).by_timeframe, key=timeframe_ms)

    def mints(self, timeframe: str) -> list[str]:
        """List the mints that have candles of a length, ascending."""
        return sorted({mint for file in self.candle_files(timeframe) for mint in mints_of(self.store, file)})

    def callers(self) -> list[str]:
        """List the callers, ascending."""
        return self.calls()["caller"].unique().sort().to_list()

    def calls(
        self,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        mints: Sequence[str] | None = None,
        callers: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Read calls, sorted by called_at and call_id: `frames.CALLS`, and what some call has of `frames.CALL_OPTIONS`.

        Args:
            start: earliest called_at, inclusive.
            end: latest called_at, exclusive.
            mints: only calls on these.
            callers: only calls of these.
        """
        time = pl.col("called_at").to_physical()
        rules = [
            pl.lit(value=True) if start is None else time >= milliseconds(start),
            pl.lit(value=True) if end is None else time < milliseconds(end),
            pl.lit(value=True) if mints is None else pl.col("mint").is_in(list(mints)),
            pl.lit(value=True) if callers is None else pl.col("caller").is_in(list(callers)),
        ]
        files = self._call_files()
        if not files:
            return pl.DataFrame(schema=frames.CALLS)
        return pl.concat(self.each(files, lambda calls: calls.filter(rules)), how="diagonal").sort(*CALLS.order)

    def calls_version(self) -> str:
        """Return a name that changes when, and only when, an ingest has changed calls; empty without calls."""
        return " ".join(file.stem for file in self._call_files())

    def candles_version(self, timeframe: str) -> str:
        """Return a name that changes when, and only when, an ingest has changed candles of a length; empty without."""
        return " ".join(file.stem for file in self.candle_files(timeframe))

    def calls_extent(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last called_at, or null without calls."""
        return _extent(self._call_files())

    def candles_extent(self, timeframe: str) -> tuple[datetime, datetime] | None:
        """Return the first and the last timestamp of a candle length, or null."""
        return _extent(self.candle_files(timeframe))

    def candles_count(self, timeframe: str) -> int:
        """Count the candles of a length."""
        return sum(file.rows for file in self.candle_files(timeframe))

    def has_liquidity(self, timeframe: str) -> bool:
        """Return whether some candle of a length says what the pool holds."""
        return any(file.liquidity for file in self.candle_files(timeframe))

    def slice(
        self,
        timeframe: str,
        mints: Sequence[str],
        start: Moment,
        end: Moment,
        *,
        liquidity: bool = False,
        finer: str | None = None,
    ) -> CandleSlice:
        """Open the candles of some mints with start <= timestamp < end; what the lake lacks is left out.

        Args:
            timeframe: length of the candles.
            mints: whose candles.
            start: earliest timestamp, inclusive.
            end: latest timestamp, exclusive.
            liquidity: read the candles' liquidity, too.
            finer: length of the finer candles that may be asked for, by `CandleSlice.finer`.
        """
        times = milliseconds(start), milliseconds(end)
        version = self._version(CANDLES)
        return CandleSlice.select(self.store, version, timeframe, mints, *times, liquidity=liquidity, finer=finer)

    def candles(
        self, timeframe: str, mint: str | Sequence[str], start: Moment, end: Moment, *, liquidity: bool = False
    ) -> pl.DataFrame:
        """Return the candles of a mint, or of several, with start <= timestamp < end, to be looked at.

        Returns:
            Columns of `frames.CANDLES`, ascending by mint; `liquidity`, too, where it is asked for and known.
        """
        mints = [mint] if isinstance(mint, str) else list(mint)
        columns = [name for name in frames.CANDLES if name not in ("mint", "timestamp")]
        found = []
        with self.slice(timeframe, mints, start, end, liquidity=liquidity) as candles:
            for shard in candles:
                lengths = np.diff(shard.offsets)
                rows = {
                    "mint": pl.Series(shard.mints, dtype=pl.String).gather(np.repeat(np.arange(len(lengths)), lengths))
                }
                rows |= {"timestamp": pl.Series(shard.timestamp).cast(frames.TIMESTAMP)}
                rows |= {name: pl.Series(getattr(shard, name)) for name in columns}
                if shard.liquidity is not None:
                    rows["liquidity"] = pl.Series(shard.liquidity).fill_nan(None)
                found.append(pl.DataFrame(rows))
        return pl.concat(found, how="diagonal") if found else pl.DataFrame(schema=frames.CANDLES)

    def market(
        self,
        timeframe: str,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        mints: Sequence[str] | None = None,
        callers: Sequence[str] | None = None,
    ) -> Market:
        """Read calls and all candles of the tokens that they name into memory, as `simulate` takes them.

        A backtest reads far less at a time: this is for lakes, or choices of calls, that fit.

        Args:
            timeframe: length of the candles.
            start: earliest called_at, inclusive.
            end: latest called_at, exclusive.
            mints: only calls on these.
            callers: only calls of these.

        Raises:
            LakeError: if the lake has no candles of that length.
        """
        known = self.candles_extent(timeframe)
        if known is None:
            there = ", ".join(self.timeframes()) or "none at all"
            raise LakeError(f"the lake has no {timeframe} candles: it has {there}")
        first, last = (milliseconds(moment) for moment in known)
        calls = self.calls(start=start, end=end, mints=mints, callers=callers)
        named = calls["mint"].unique().sort().to_list()
        liquidity = self.has_liquidity(timeframe)
        return Market(self.candles(timeframe, named, first, last + 1, liquidity=liquidity), calls)

    def candle_files(self, timeframe: str) -> list[DataFile]:
        """List the files of a candle length.

        Raises:
            LakeError: if one is lost or cut.
        """
        require_timeframe(timeframe)
        files = [file for some in self._version(CANDLES).by_timeframe.get(timeframe, {}).values() for file in some]
        damage.require_whole(self.store, files)
        return files

    def each(self, files: Sequence[DataFile], query: Callable[[pl.LazyFrame], pl.LazyFrame]) -> list[pl.DataFrame]:
        """Ask every file the same; an optional column that none of its rows has a value of is not there."""
        options = self.store.reading_options or None
        with damage.explained(self.store, files):
            scans = [
                pl.scan_parquet(self.store.place(file.name), glob=False, storage_options=options) for file in files
            ]
            return pl.collect_all([query(one) for one in scans])

    def damage(self) -> list[str]:
        """Say of each file that is lost or cannot be opened which it is."""
        return damage.damage(self.store)

    def repair(self) -> list[str]:
        """Go on without what is lost or damaged, and say of each file which it was."""
        return damage.repair(self.store)

    def leftovers(self, *, remove: bool = False) -> int:
        """Return the bytes that killed ingests left, which the next ingest would remove; or remove them now."""
        return commit.leftovers(self.store, remove=remove)

    def forget_versions(self, before: datetime, kept: Collection[str], *, settled: datetime, remove: bool) -> int:
        """Return the bytes of files that only versions have which are not to be kept, and remove them.

        Args:
            before: versions that were replaced before this moment go.
            kept: names of versions that are kept, whatever their age.
            settled: versions that were replaced before this moment are thinned out, as `unneeded` says.
            remove: whether they go, or are only measured.
        """
        from lab_pipeline.lake.retention import unneeded  # noqa: PLC0415 - as above

        adoption.require_layout(self.store)
        found = unneeded(self.store, before, kept, settled=settled)
        for name in found if remove else ():
            self.store.remove(name)
        return sum(found.values())

    def _version(self, table: Table) -> Snapshot:
        adoption.require_layout(self.store)
        return tables.snapshot(self.store, table, self._versions.get(table.name))

    def _call_files(self) -> tuple[DataFile, ...]:
        files = self._version(CALLS).files
        damage.require_whole(self.store, files)
        return files


def _extent(files: Sequence[DataFile]) -> tuple[datetime, datetime] | None:
    """Return the first and the last time in files, or null without any."""
    if not files:
        return None
    first, last = min(file.times[0] for file in files), max(file.times[1] for file in files)
    return EPOCH + timedelta(milliseconds=first), EPOCH + timedelta(milliseconds=last)
