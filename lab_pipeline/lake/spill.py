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
    """Rows by partition, in one Arrow file with a batch for each partition that an addition has rows of.

    Use it as a context manager, to let go of the file. First all rows are added, then they are taken.
    """

    def __init__(self, directory: Path) -> None:
        """Take a directory that is there, for as long as the spill is used, and removed by another."""
        self._path = directory / "spill.arrow"
        self._open = ExitStack()
        self._writer: pa.RecordBatchFileWriter | None = None
        self._reader: pa.ipc.RecordBatchFileReader | None = None
        self._map: mmap.mmap
        self._reading = threading.Lock()
        self._batches: dict[int, list[int]] = {}
        self._written = 0

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
        if self._writer is None:
            file = self._open.enter_context(self._path.open("wb"))
            self._writer = self._open.enter_context(pa.ipc.new_file(file, table.schema))
        for begin, count in zip(begins.tolist(), np.diff(begins, append=len(partitions)).tolist(), strict=True):
            self._writer.write_batch(batch.slice(begin, count))
            self._batches.setdefault(int(partitions[begin]), []).append(self._written)
            self._written += 1

    def take(self, partition: int) -> pl.DataFrame:
        """Read the rows of a partition, in the order in which they were added. Threads may take several at once."""
        with self._reading:
            if self._reader is None:
                self._open.close()
                with self._path.open("rb") as file:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._reader = pa.ipc.open_file(pa.py_buffer(self._map))
            batches = [self._reader.get_batch(number) for number in self._batches[partition]]
        rows = pl.from_arrow(pa.Table.from_batches(batches))
        assert isinstance(rows, pl.DataFrame)  # noqa: S101 - a table is one
        rows = rows.rechunk()
        self._map.madvise(mmap.MADV_DONTNEED)  # what was copied counts as this process's memory no longer
        return rows


def _begins(partitions: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return the rows at which another partition begins than that of the row before."""
    return np.concatenate([[0], np.flatnonzero(np.diff(partitions)) + 1])
