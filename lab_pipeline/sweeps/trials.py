"""The trials of a search on disk, a file a batch: whoever is killed goes on after the last whole one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.atomic import drafted, make_directory
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.statistics.selection import Objective
from lab_pipeline.sweeps.optimiser import Trial


@dataclass(frozen=True)
class TrialFiles:
    """`part-*.parquet` in a directory, each there as a whole or not at all.

    A row a trial: `number`, `at.` and path for where it lies in each dimension, `objective.` and name for how it fared,
    `kept` for what the sampler keeps with it (JSON).

    Attributes:
        directory: of the files; made when the first is written.
        paths: of the space, in its order.
        objectives: that are weighed.
        batch: trials of a batch; only the last may have fewer.
    """

    directory: Path
    paths: tuple[str, ...]
    objectives: tuple[Objective, ...]
    batch: int

    def read(self) -> list[Trial]:
        """Return the trials of all batches up to the first that is not there.

        Raises:
            LabError: if a file is damaged.
        """
        trials: list[Trial] = []
        while len(trials) % self.batch == 0 and (path := self._path(len(trials))).is_file():
            try:
                rows = pl.read_parquet(path, columns=[*self._schema()], glob=False)
            except (pl.exceptions.PolarsError, OSError) as error:
                remedy = "remove it, and the search goes on from the batch before it"
                raise LabError(f"{path} is damaged ({error}): {remedy}") from None
            trials += map(self._trial, rows.iter_rows(named=True))
        return trials

    def write(self, first: int, trials: list[Trial]) -> None:
        """Write a batch, whose first trial has this number.

        Raises:
            LabError: if the disk is full or cannot be written.
        """
        rows = [
            {
                "number": first + place,
                **{f"at.{path}": float(one) for path, one in zip(self.paths, trial.places, strict=True)},
                **{f"objective.{name}": one for name, one in zip(self.objectives, trial.objectives, strict=True)},
                "kept": json.dumps(trial.kept, sort_keys=True),
            }
            for place, trial in enumerate(trials)
        ]
        try:
            make_directory(self.directory)
            with drafted(self._path(first)) as draft:
                pl.DataFrame(rows, schema=self._schema()).write_parquet(draft)
        except OSError as error:
            reason = disk_error(error, self.directory) or error.strerror or str(error)
            raise LabError(f"cannot write the trials of the search to {self.directory}: {reason}") from error

    def _path(self, first: int) -> Path:
        return self.directory / f"part-{first // self.batch:05}.parquet"

    def _schema(self) -> dict[str, pl.DataType]:
        floats = [*(f"at.{path}" for path in self.paths), *(f"objective.{name}" for name in self.objectives)]
        return {"number": pl.Int32(), **dict.fromkeys(floats, pl.Float64()), "kept": pl.String()}

    def _trial(self, row: dict[str, Any]) -> Trial:
        places = tuple(row[f"at.{path}"] for path in self.paths)
        return Trial(places, tuple(row[f"objective.{name}"] for name in self.objectives), json.loads(row["kept"]))
