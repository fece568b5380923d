"""From the artifacts of a run, which are the truth, to its rows in ClickHouse."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.series import FILLS, visible_rows
from lab_pipeline.clickhouse.writer import METRIC_KINDS, publish_run
from lab_pipeline.runs.artifacts import ArtifactStore


@dataclass(frozen=True)
class Counts:
    """Rows of a run by name: each kind of metric, and `fills`.

    Attributes:
        artifacts: that the Parquet files have.
        clickhouse: that readers of ClickHouse see; empty for a run that is not there.
    """

    artifacts: Mapping[str, int]
    clickhouse: Mapping[str, int]

    def __str__(self) -> str:
        pairs = ((name, self.clickhouse.get(name, 0), rows) for name, rows in self.artifacts.items())
        return ", ".join(f"{name}: {seen:,} of {rows:,}" for name, seen, rows in pairs if seen != rows)

    @property
    def equal(self) -> bool:
        """Whether ClickHouse has just what the files have."""
        return self.artifacts == self.clickhouse


def upload_run(clickhouse: ClickHouse, artifacts: ArtifactStore, run_id: str) -> Mapping[str, int]:
    """Write the metrics and fills of a published run, and return the rows written by table.

    Readers see all of them or, until then, what they saw before; uploading a run again replaces it.

    Raises:
        UnknownRunError: if nothing is published under that id.
        ClickHouseError: as `publish_run` does.
    """
    equity, fills = (pl.read_parquet(artifacts.path(run_id, name), glob=False) for name in ("equity", "fills"))
    return publish_run(clickhouse, run_id, equity, fills, artifacts.manifest(run_id).fill_assumptions).rows


def count_rows(clickhouse: ClickHouse, artifacts: ArtifactStore, run_id: str) -> Counts:
    """Count a run's rows in its files and in ClickHouse.

    Raises:
        UnknownRunError: if nothing is published under that id.
        ClickHouseUnavailableError: if ClickHouse stays away beyond the deadline of a write.
    """
    rows = {file.name: file.rows or 0 for file in artifacts.manifest(run_id).files}
    files = {**dict.fromkeys(METRIC_KINDS, rows["equity.parquet"]), FILLS: rows["fills.parquet"]}
    return Counts(files, visible_rows(clickhouse, run_id, wait=True))
