"""What the ops get from outside: the parts of the lab, and how values travel between ops.

The settings of the process that asks say where they are; no run can override that, so none has a field.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import dagster as dg

from lab_pipeline.clickhouse.pool import ClickHousePool
from lab_pipeline.dagster_ext.executor import lab_executor
from lab_pipeline.dagster_ext.io_manager import SCRATCH, lab_io_manager, run_directory
from lab_pipeline.lake import Lake
from lab_pipeline.operations.lab import Lab
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import load_settings, places_of_libraries
from lab_pipeline.storage.plain_path import plain

if TYPE_CHECKING:
    from dagster_duckdb import DuckDBResource


class LabResource(dg.ConfigurableResource[Lab]):
    """The lab as a whole: its settings, and services such as retention, which work on several stores at once."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Lab]:
        """Lend the lab on the instance of whoever asks."""
        with Lab(load_settings(), context.instance) as lab:
            yield lab


class LakeResource(dg.ConfigurableResource[Lake]):
    """Candles and calls: Parquet files."""

    def create_resource(self, context: dg.InitResourceContext) -> Lake:  # noqa: ARG002 - Dagster's signature
        """Open the lake."""
        return Lab(load_settings()).lake


class ArtifactsResource(dg.ConfigurableResource[ArtifactStore]):
    """What runs have published: a directory a run."""

    def create_resource(self, context: dg.InitResourceContext) -> ArtifactStore:  # noqa: ARG002
        """Open the artifacts."""
        return Lab(load_settings()).artifacts


class StrategiesResource(dg.ConfigurableResource[StrategyStore]):
    """Strategies by version, with the examples that ship with the lab."""

    def create_resource(self, context: dg.InitResourceContext) -> StrategyStore:  # noqa: ARG002
        """Open the strategies."""
        return Lab(load_settings()).strategies


class ClickHouseResource(dg.ConfigurableResource[ClickHousePool]):
    """Clients of the store of metrics, fills and logs; one connects when it is first used."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[ClickHousePool]:  # noqa: ARG002
        """Lend connections."""
        with Lab(load_settings()) as lab:
            yield lab.clickhouse


class DuckDBSnapshotResource(dg.ConfigurableResource["DuckDBResource"]):
    """Strategies, statistics and the trades behind them, as they were when the op began: a copy, to read only."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> "Iterator[DuckDBResource]":
        """Take a copy, which goes with the op."""
        from dagster_duckdb import DuckDBResource  # noqa: PLC0415 - the lab's own runs go without

        from lab_pipeline.statistics.snapshot import take_snapshot  # noqa: PLC0415

        lab = Lab(load_settings())
        lab.strategies.ids()  # makes the catalog, if there is none
        place = run_directory(lab.settings, context.run.run_id if context.run else "none")
        place.mkdir(parents=True, exist_ok=True)  # it is swept, if this process is killed
        with TemporaryDirectory(dir=place) as directory:
            path = take_snapshot(lab.statistics, Path(directory))
            yield DuckDBResource(database=plain(path), connection_config={"access_mode": "READ_ONLY"})


@dg.definitions
def resources() -> dg.Definitions:
    """Bind the resources; a run is one process unless its configuration says otherwise.

    Dagster's own `io_manager` lets a run choose the directory where it writes and unpickles; the lab's does not.
    """
    os.environ |= places_of_libraries(load_settings().home)  # of whoever loads the definitions, by whatever program
    return dg.Definitions(
        resources={
            "lab": LabResource(),
            "lake": LakeResource(),
            "artifacts": ArtifactsResource(),
            "strategies": StrategiesResource(),
            "clickhouse": ClickHouseResource(),
            "duckdb": DuckDBSnapshotResource(),
            SCRATCH: lab_io_manager,
            "io_manager": lab_io_manager,
        },
        executor=lab_executor,
    )
