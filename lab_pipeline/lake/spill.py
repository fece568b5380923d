"""Rows on their way from files to partitions: on the disk, for no ingest holds all of them in memory."""

import mmap
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

FILE = "file"
"""Column with the position of a source among the inputs."""


class Spill:
    """Rows by partition, in Arrow files with a batch for each partition that an addition has rows of.

    There is one file for each set of columns that rows come with. Use it as a context manager, to let go of the files.
    First all rows are added, then they are taken.
    """

    def __init__(self, directory: Path) -> None:
        """Take a directory that is there, for as long as the spill is used, and removed by another."""
        self._directory = directory
        self._open = ExitStack()
        self._writers: dict[tuple[str, ...], pa.RecordBatchFileWriter] = {}
        self._readers: list[pa.ipc.RecordBatchFileReader] | None = None
        self._maps: list[mmap.mmap] = []
        self._reading = threading.Lock()
        self._batches: dict[int, list[tuple[int, int]]] = {}
        self._written: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def partitions(self) -> list[int]:
        """The partitions that have rows, ascending."""
        return sorted(self._batches)

    def add(self, rows: pl.DataFrame, partitions: npt.NDArray[np.integer]) -> None:
        """Put rows aside.

        Args:
            rows: at least one.
            partitions: to which partition each belongs. Length n.
        """
        begins = _begins(partitions)
        if len(np.unique(partitions[begins])) < len(begins):  # rows of one partition do not lie together yet
            order = np.argsort(partitions, kind="stable")
            rows, partitions = rows[order], partitions[order]
            begins = _begins(partitions)
        table = rows.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        (batch,) = table.combine_chunks().to_batches()
        columns = tuple(rows.columns)
        if columns not in self._writers:
            file = self._open.enter_context(self._path(len(self._writers)).open("wb"))
            self._writers[columns] = self._open.enter_context(pa.ipc.new_file(file, table.schema))
            self._written.append(0)
        number = list(self._writers).index(columns)
        for begin, count in zip(begins.tolist(), np.diff(begins, append=len(partitions)).tolist(), strict=True):
            self._writers[columns].write_batch(batch.slice(begin, count))
            self._batches.setdefault(int(partitions[begin]), []).append((number, self._written[number]))
            self._written[number] += 1

    def take(self, partition: int) -> pl.DataFrame:
        """Read the rows of a partition, null in columns that they were added without. Threads may take several at once.

        They are in the order in which they were added, if all were added with the same columns.
        """
        with self._reading:
            if self._readers is None:
                self._open.close()
                self._readers = [self._opened(number) for number in range(len(self._writers))]
            batches = [
                [reader.get_batch(place) for file, place in self._batches[partition] if file == number]
                for number, reader in enumerate(self._readers)
            ]
        tables = [pl.from_arrow(pa.Table.from_batches(some)) for some in batches if some]
        rows = pl.concat([table for table in tables if isinstance(table, pl.DataFrame)], how="diagonal").rechunk()
        for one in self._maps:
            one.madvise(mmap.MADV_DONTNEED)  # what was copied counts as this process's memory no longer
        return rows

    def _path(self, number: int) -> Path:
        return self._directory / f"spill-{number}.arrow"

    def _opened(self, number: int) -> pa.ipc.RecordBatchFileReader:
        with self._path(number).open("rb") as file:
            self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return pa.ipc.open_file(pa.py_buffer(self._maps[-1]))


def _begins(partitions: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return the rows at which another partition begins than that of the row before."""
    return np.concatenate([[0], np.flatnonzero(np.diff(partitions)) + 1])
