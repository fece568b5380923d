"""What runs have published, read back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import polars as pl

from lab_pipeline.domain.frames import TIMESTAMP
from lab_pipeline.domain.results import RESULTS
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.summary import Summary
from lab_pipeline.notebook.display import Sheet
from lab_pipeline.notebook.shown import Shown
from lab_pipeline.runs.artifacts import REPORT, ArtifactStore, Manifest, Publication, UnknownRunError

ID_SHOWN = 8
"""Characters of a run's id: enough to tell it from others."""


@dataclass(frozen=True, eq=False, repr=False)
class PublishedRun(Shown):
    """The frames of a run, each read when it is first asked for: columns of `domain.frames`.

    A notebook displays it: what to conclude, the headline numbers, and the equity. Runs of earlier engines have
    published fewer files, and files with fewer columns: what is not there is empty, or null.

    Attributes:
        files: where they are.
        manifest: what was published.
    """

    files: Publication
    manifest: Manifest

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same publication: none ever changes."""
        return isinstance(other, PublishedRun) and self._identity == other._identity

    def __hash__(self) -> int:
        """Return the hash of what tells it from others."""
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, str]:
        return self.files.place, self.manifest.fingerprint

    @classmethod
    def of(cls, store: ArtifactStore, manifest: Manifest) -> "PublishedRun":
        """Return the run of a manifest."""
        return cls(Publication(store.storage, manifest.run_id), manifest)

    @property
    def run_id(self) -> str:
        """Dagster's id of it."""
        return self.manifest.run_id

    @property
    def title(self) -> str:
        """What to call it."""
        spec = self.manifest.spec
        return f"{spec.strategy_id} version {spec.strategy_version}, run {self.run_id[:ID_SHOWN]}"

    @property
    def strategy(self) -> StrategyConfig:
        """What was simulated, overrides applied."""
        return self.manifest.spec.strategy

    @property
    def timeframe(self) -> str:
        """Length of the candles."""
        return self.manifest.spec.timeframe

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

    def sheet(self) -> Sheet:
        """Return the tear sheet, as it was published.

        Raises:
            UnknownRunError: if the run was deleted meanwhile.
            DamagedArtifactError: if it is not what was published.
        """
        file = next(file for file in self.manifest.files if file.name == REPORT)
        try:
            return Sheet(self.files.path(file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise self._deleted() from None

    def frame(self, name: str) -> pl.DataFrame:
        """Read a table.

        Args:
            name: of its file, without the suffix; one of `RESULTS`.

        Raises:
            UnknownRunError: if the run was deleted meanwhile.
            DamagedArtifactError: if the file is not what was published.
        """
        wanted = RESULTS[name].columns
        file = next((file for file in self.manifest.files if file.name == f"{name}.parquet"), None)
        if file is None:
            return pl.DataFrame(schema=wanted)
        try:
            found = pl.read_parquet(self.files.path(file), glob=False)
        except FileNotFoundError:
            raise self._deleted() from None
        missing = [pl.lit(None, kind).alias(column) for column, kind in wanted.items() if column not in found.columns]
        return found.with_columns(missing).select(*wanted, *(name for name in found.columns if name not in wanted))

    def _deleted(self) -> UnknownRunError:
        return UnknownRunError(f"run {self.run_id} was deleted meanwhile")


@dataclass(frozen=True, repr=False)
class PublishedRuns(Sequence[PublishedRun]):
    """Some runs, newest first. A notebook displays them as a table.

    Attributes:
        runs: what they published.
        names: what people call them, empty for none; as many.
    """

    runs: tuple[PublishedRun, ...]
    names: tuple[str, ...]

    @property
    def frame(self) -> pl.DataFrame:
        """A row a run: `run_id, name, strategy, version, timeframe, created_at`, and every figure of `Summary`."""
        figures = {name: pl.Int64() if kind is int else pl.Float64() for name, kind in _FIGURES.items()}
        texts = dict.fromkeys(("run_id", "name", "strategy", "version", "timeframe"), pl.String())
        schema = pl.Schema({**texts, "created_at": TIMESTAMP, **figures})
        rows = [
            {
                "run_id": run.run_id,
                "name": name,
                "strategy": run.manifest.spec.strategy_id,
                "version": run.manifest.spec.strategy_version,
                "timeframe": run.timeframe,
                "created_at": run.manifest.created_at,
                **{figure: getattr(run.summary, figure) for figure in figures},
            }
            for run, name in zip(self.runs, self.names, strict=True)
        ]
        return pl.DataFrame(rows, schema=schema)

    @overload
    def __getitem__(self, place: int) -> PublishedRun: ...
    @overload
    def __getitem__(self, place: slice) -> "PublishedRuns": ...
    def __getitem__(self, place: int | slice) -> "PublishedRun | PublishedRuns":
        if isinstance(place, slice):
            return PublishedRuns(self.runs[place], self.names[place])
        return self.runs[place]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[PublishedRun]:
        return iter(self.runs)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.runs)) or f"<{self._title}>"

    def _repr_html_(self) -> str:
        from lab_pipeline.notebook import pages  # noqa: PLC0415 - templates, which few ask for

        rows = [
            pages.row_of(
                run,
                run.run_id[:ID_SHOWN],
                name,
                f"{run.manifest.spec.strategy_id} {run.manifest.spec.strategy_version}",
                run.timeframe,
                f"{run.manifest.created_at:%Y-%m-%d %H:%M}",
            )
            for run, name in zip(self.runs, self.names, strict=True)
        ]
        return pages.show_runs(self._title, rows)

    @property
    def _title(self) -> str:
        return f"{len(self.runs):,} published run{'' if len(self.runs) == 1 else 's'}"


_FIGURES = {name: field.annotation for name, field in Summary.model_fields.items()}
