"""The columns that statistics need, of all counted runs, in a few files: ten thousand small ones take long to open."""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.atomic import drafted
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.statistics.duckdb_session import DuckDBSession
from lab_pipeline.statistics.queries import sql
from lab_pipeline.storage.plain_path import plain, quoted

TRADES, PATHS, CALLS = "trades", "paths", "calls"
LARGE = 500_000
"""Trades from which a segment is never put together with others: bounds what one addition can cost."""
GROWTH = 2
"""A segment is put together with the one before it if that is at most so many times as large: few segments remain, and
a row is rewritten a logarithmic number of times."""
GRACE_SECONDS = 120.0
"""For which a file that nothing refers to any more stays, since somebody may be reading it."""


@dataclass(frozen=True)
class Segment:
    """Two immutable files with the trades and paths of some runs.

    Attributes:
        name: of the files.
        trades: rows of trades.
    """

    name: str
    trades: int


@dataclass(frozen=True)
class SegmentFiles:
    """Where segments and the sums per call lie. A file appears by a rename, whole, and never changes."""

    directory: Path

    def path(self, name: str, kind: str) -> Path:
        """Return the path of a file."""
        return self.directory / f"{name}.{kind}.parquet"

    def are_whole(self, names: Sequence[str], calls_file: str) -> bool:
        """Return whether the files are there and have an end that can be read; without it nothing of them can be."""
        paths = [self.path(name, kind) for name in names if name != calls_file for kind in (TRADES, PATHS)]
        try:
            for path in (*paths, self.path(calls_file, CALLS)):
                pq.read_metadata(path)
        except (OSError, pa.ArrowException):
            return False
        return True

    def write(self, bench: DuckDBSession, files: Mapping[str, Sequence[Path]], first_run_no: int) -> Segment:
        """Copy the columns of the artifacts of runs, which get numbers from `first_run_no` on, by their kind."""
        name = uuid.uuid4().hex
        with self._whole(name):
            for kind in (TRADES, PATHS):
                parameters = {"files": [plain(path) for path in files[kind]], "first_run_no": first_run_no}
                self._copy(bench, sql(f"copy_{kind}"), name, kind, parameters)
        return Segment(name, self._count(bench, name))

    def put_together(self, bench: DuckDBSession, segments: Sequence[Segment]) -> Segment:
        """Write the rows of several segments as one."""
        return self._rewrite(bench, segments, "true")

    def without(self, bench: DuckDBSession, segments: Iterable[Segment], run_nos: set[int]) -> list[Segment]:
        """Rewrite the segments that hold one of the runs; one that holds nothing else goes."""
        kept = []
        gone = ", ".join(map(str, sorted(run_nos)))
        for segment in segments:
            if gone and self._holds(bench, segment, gone):
                kept.append(self._rewrite(bench, [segment], f"run_no NOT IN ({gone})"))
            else:
                kept.append(segment)
        return [segment for segment in kept if segment.trades]

    def compacted(self, bench: DuckDBSession, segments: Sequence[Segment]) -> list[Segment]:
        """Put small segments at the end together, so that there are few."""
        kept = list(segments)
        tail = len(kept) - 1
        while tail > 0 and kept[tail - 1].trades < LARGE:
            size = sum(segment.trades for segment in kept[tail:])
            if kept[tail - 1].trades > GROWTH * size:
                break
            tail -= 1
        return kept if tail >= len(kept) - 1 else [*kept[:tail], self.put_together(bench, kept[tail:])]

    def define_views(self, bench: DuckDBSession, segments: Sequence[Segment]) -> None:
        """Make `trades` and `paths` the rows of the segments."""
        for kind in (TRADES, PATHS):
            bench.define(kind, f"SELECT * FROM {self.source(segments, kind)}")  # noqa: S608 - our own names

    def source(self, segments: Sequence[Segment], kind: str) -> str:
        """Write the SQL that reads one kind of file of the segments."""
        files = ", ".join(f"'{quoted(self.path(segment.name, kind))}'" for segment in segments)
        return f"read_parquet([{files}])" if files else f"empty_{kind}"

    def write_calls(self, bench: DuckDBSession, query: str) -> str:
        """Keep the sums per call that a query gives; return the name of the file."""
        name = uuid.uuid4().hex
        with self._whole(name):
            self._copy(bench, f"COPY ({query}) TO '{{path}}' (FORMAT parquet, COMPRESSION lz4)", name, CALLS, {})
        return name

    def sweep(self, used: Iterable[str]) -> None:
        """Remove files that have not been referred to for a while: those of a killed process too."""
        names = set(used)
        for path in self.directory.glob("*.parquet*"):
            if path.name.partition(".")[0] not in names and time.time() - path.stat().st_mtime > GRACE_SECONDS:
                path.unlink(missing_ok=True)

    def _rewrite(self, bench: DuckDBSession, segments: Sequence[Segment], condition: str) -> Segment:
        name = uuid.uuid4().hex
        with self._whole(name):
            for kind in (TRADES, PATHS):
                query = f"SELECT * FROM {self.source(segments, kind)} WHERE {condition}"  # noqa: S608 - our own names
                self._copy(bench, f"COPY ({query}) TO '{{path}}' (FORMAT parquet, COMPRESSION lz4)", name, kind, {})
        return Segment(name, self._count(bench, name))

    @contextmanager
    def _whole(self, name: str) -> Iterator[None]:
        """Leave no file of that name if the block fails.

        Raises:
            LabError: if the disk was the reason.
        """
        try:
            yield
        except BaseException as error:
            for path in self.directory.glob(f"{name}.*"):
                path.unlink(missing_ok=True)
            said = disk_error(error, self.directory)
            if said is None:
                raise
            raise LabError(
                f"cannot write statistics to {self.directory}, those computed before stay: {said}"
            ) from error

    def _copy(self, bench: DuckDBSession, query: str, name: str, kind: str, parameters: dict[str, object]) -> None:
        with drafted(self.path(name, kind)) as draft:
            bench.run(query.replace("{path}", quoted(draft)), parameters)

    def _count(self, bench: DuckDBSession, name: str) -> int:
        source = quoted(self.path(name, TRADES))
        return int(bench.read(f"SELECT count(*) AS rows FROM '{source}'")["rows"][0].as_py())  # noqa: S608 - ours

    def _holds(self, bench: DuckDBSession, segment: Segment, gone: str) -> bool:
        query = f"SELECT 1 FROM {self.source([segment], TRADES)} WHERE run_no IN ({gone}) LIMIT 1"  # noqa: S608 - ours
        found: int = bench.read(query).num_rows
        return found > 0
