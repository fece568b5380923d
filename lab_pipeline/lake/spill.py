"""Rows on their way from files to partitions: on the disk, for no ingest holds all of them in memory."""

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from lab_pipeline.domain.candles import Integers

FILE = "file"
"""Column with the position of a source among the inputs."""


class Spill:
    """Rows by partition: each addition is one Arrow file, with a batch for each partition that has rows in it."""

    def __init__(self, directory: Path) -> None:
        """Take a directory that is there, for as long as the spill is used, and removed by another."""
        self._directory = directory
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._files: list[pa.ipc.RecordBatchFileReader] = []
        self._reading = threading.Lock()

    @property
    def partitions(self) -> list[int]:
        """The partitions that have rows, ascending."""
        return sorted(self._places)

    def add(self, rows: pl.DataFrame, partitions: Integers) -> None:
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
        path = self._directory / f"spill-{len(self._files):06d}.arrow"
        with path.open("wb") as file, pa.ipc.new_file(file, table.schema) as batches:
            for number, (begin, rows_of_it) in enumerate(
                zip(begins.tolist(), np.diff(begins, append=len(partitions)).tolist(), strict=True)
            ):
                batches.write_batch(batch.slice(begin, rows_of_it))
                self._places.setdefault(int(partitions[begin]), []).append((len(self._files), number))
        self._files.append(pa.ipc.open_file(pa.OSFile(str(path))))

    def take(self, partition: int) -> pl.DataFrame:
        """Read the rows of a partition, in the order in which they were added. Threads may take several at once."""
        with self._reading:
            batches = [self._files[file].get_batch(number) for file, number in self._places[partition]]
        rows = pl.from_arrow(pa.Table.from_batches(batches))
        assert isinstance(rows, pl.DataFrame)  # noqa: S101 - a table is one
        return rows


def _begins(partitions: Integers) -> Integers:
    """Return the rows at which another partition begins than that of the row before."""
    return np.flatnonzero(np.diff(partitions, prepend=partitions[0] - 1))
