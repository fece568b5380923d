"""A published sweep, table by table."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl

from lab_pipeline.notebook.display import Sheet
from lab_pipeline.notebook.shown import ShownSweep
from lab_pipeline.runs.artifacts import REPORT, DamagedArtifactError
from lab_pipeline.sweeps.store import REMEDY, SweepManifest, SweepStore, UnknownSweepError

ID_SHOWN = 8
"""Characters of a sweep's id: enough to tell it from others."""
LUCKY = "The best of so many are good by luck, too: the report says how far each test goes."


@dataclass(frozen=True, repr=False)
class PublishedSweep(ShownSweep):
    """The artifacts of one sweep. A notebook displays it: the verdict, the best sets, and how all are spread.

    Attributes:
        store: that it is in.
        manifest: what they are.
    """

    store: SweepStore
    manifest: SweepManifest

    @classmethod
    def open(cls, store: SweepStore, sweep_id: str) -> Self:
        """Find a sweep.

        Raises:
            UnknownSweepError: if nothing is published under that id.
            DamagedArtifactError: if its manifest cannot be read.
        """
        return cls(store, store.manifest(sweep_id))

    @property
    def title(self) -> str:
        """What to call it."""
        manifest = self.manifest
        name = f"{manifest.spec['strategy']} version {manifest.strategy_version}"
        return f"{name}, sweep {manifest.sweep_id[:ID_SHOWN]} of {manifest.sets:,} sets"

    @property
    def objective(self) -> str:
        """By which figure sets are ranked."""
        name: str = self.document("selection")["objective"]
        return name

    @property
    def sets(self) -> pl.DataFrame:
        """A row a set: its parameters and its figures."""
        return self.table("sets")

    def ranked(self) -> pl.DataFrame:
        """Return the sets by set_id, with `eligible`, `objective` and `rank`; errors as of `table`."""
        return self.sets.sort("set_id")

    def sentences(self) -> Iterator[str]:
        """Yield the verdict in words; errors as of `table`."""
        from lab_pipeline.reports.sweep_sheet import conclude_sweep  # noqa: PLC0415 - templates, which few ask for

        yield conclude_sweep(self.document("selection"))
        yield LUCKY

    def sheet(self) -> Sheet:
        """Return the report, as it was published; errors as of `table`."""
        with self._reading(REPORT) as path:
            return Sheet(path.read_text(encoding="utf-8"))

    def schema(self, name: str) -> pl.Schema:
        """Return the columns of a table; errors as of `table`."""
        with self._reading(name) as path:
            return pl.scan_parquet(path, glob=False).collect_schema()

    def table(self, name: str, *columns: str, where: pl.Expr | None = None) -> pl.DataFrame:
        """Read a table.

        Args:
            name: of the table.
            columns: to read; all by default.
            where: which rows; all by default.

        Raises:
            UnknownSweepError: if the sweep was deleted meanwhile.
            UnknownArtifactError: naming what there is.
            DamagedArtifactError: if it is not what was published.
        """
        with self._reading(name) as path:
            rows = pl.scan_parquet(path, glob=False)
            rows = rows if where is None else rows.filter(where)
            return (rows.select(list(dict.fromkeys(columns))) if columns else rows).collect()

    def document(self, name: str) -> dict[str, Any]:
        """Return what a JSON file says; errors as of `table`."""
        with self._reading(name):
            return self.store.document(self.manifest.sweep_id, name)

    @contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        """Say of a file that cannot be read which it is, or that the whole sweep is gone."""
        sweep_id = self.manifest.sweep_id
        try:
            path = self.store.path(sweep_id, name)
            try:
                yield path
            except (pl.exceptions.ComputeError, OSError) as error:
                raise DamagedArtifactError(f"{path} cannot be read: {error}. {REMEDY}") from None
        except DamagedArtifactError:
            if not self.store.has(sweep_id):
                raise UnknownSweepError(f"sweep {sweep_id} was deleted meanwhile") from None
            raise
