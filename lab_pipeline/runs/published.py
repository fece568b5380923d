"""What a run has published, read back."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from lab_pipeline.domain.results import RESULTS
from lab_pipeline.domain.summary import Summary
from lab_pipeline.runs.artifacts import ArtifactStore, Manifest, UnknownRunError


@dataclass(frozen=True, eq=False)
class PublishedRun:
    """The frames of a run, each read when it is first asked for: columns of `domain.frames`.

    Runs of earlier engines have published fewer files, and files with fewer columns: what is not there is empty, or
    null.

    Attributes:
        directory: that it was published to.
        manifest: what was published.
    """

    directory: Path
    manifest: Manifest

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same publication: none ever changes."""
        return isinstance(other, PublishedRun) and self._identity == other._identity

    def __hash__(self) -> int:
        """Return the hash of what tells it from others."""
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[Path, str]:
        return self.directory, self.manifest.fingerprint

    @classmethod
    def of(cls, store: ArtifactStore, manifest: Manifest) -> "PublishedRun":
        """Return the run of a manifest."""
        return cls(store.directory / manifest.run_id, manifest)

    @property
    def summary(self) -> Summary:
        """The run in numbers."""
        return self.manifest.summary

    @cached_property
    def trades(self) -> pl.DataFrame:
        """One row a trade."""
        return self.frame("trades")

    @cached_property
    def fills(self) -> pl.DataFrame:
        """One row a fill."""
        return self.frame("fills")

    @cached_property
    def paths(self) -> pl.DataFrame:
        """One row a call that entered."""
        return self.frame("paths")

    @cached_property
    def outcomes(self) -> pl.DataFrame:
        """One row a call."""
        return self.frame("outcomes")

    @cached_property
    def equity(self) -> pl.DataFrame:
        """One row a step of the series."""
        return self.frame("equity")

    @cached_property
    def fill_certainty(self) -> pl.DataFrame:
        """One row a lane."""
        return self.frame("fill_certainty")

    @cached_property
    def nulls(self) -> pl.DataFrame:
        """A row for the run, and one a caller."""
        return self.frame("nulls")

    def frame(self, name: str) -> pl.DataFrame:
        """Read a table.

        Args:
            name: of its file, without the suffix; one of `RESULTS`.

        Raises:
            UnknownRunError: if the run was deleted meanwhile.
        """
        wanted = RESULTS[name].columns
        if not any(file.name == f"{name}.parquet" for file in self.manifest.files):
            return pl.DataFrame(schema=wanted)
        try:
            found = pl.read_parquet(self.directory / f"{name}.parquet", glob=False)
        except FileNotFoundError:
            raise UnknownRunError(f"run {self.manifest.run_id} was deleted meanwhile") from None
        missing = [pl.lit(None, kind).alias(column) for column, kind in wanted.items() if column not in found.columns]
        return found.with_columns(missing).select(*wanted, *(name for name in found.columns if name not in wanted))
