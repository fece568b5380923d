"""An engineer finds the parts of the lab where Dagster has such things: under resources, by their usual names."""

import dagster as dg
import duckdb
import pytest
from dagster_duckdb import DuckDBResource

from lab_pipeline.clickhouse.pool import ClickHousePool
from lab_pipeline.definitions import defs
from lab_pipeline.lake import Lake
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.run_records import run_records
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.statistics import refresh


def asked(instance, op):
    """Execute an op of somebody's own with the lab's resources, and return what it returns."""
    resources = defs().get_repository_def().get_top_level_resources()
    job = dg.GraphDefinition("own", node_defs=[op]).to_job(resource_defs=resources)
    return job.execute_in_process(instance=instance).output_for_node(op.name)


def test_an_op_gets_the_parts_that_it_asks_for(lab):
    settings, instance = lab

    @dg.op
    def look(
        lake: dg.ResourceParam[Lake],
        artifacts: dg.ResourceParam[ArtifactStore],
        strategies: dg.ResourceParam[StrategyStore],
        clickhouse: dg.ResourceParam[ClickHousePool],
    ) -> list[object]:
        with clickhouse.connection() as client:
            (one,) = client.query("SELECT 1 AS one")["one"]
        return [lake.timeframes(), artifacts.storage.directory, "ladder" in strategies.ids(), one]

    assert asked(instance, look) == [["1m"], settings.artifacts_dir, True, 1]


def test_the_lab_as_a_whole_is_on_the_instance_of_the_run(lab):
    _, instance = lab

    @dg.op
    def count(context: dg.OpExecutionContext, lab: dg.ResourceParam[Lab]) -> bool:
        return lab.instance is context.instance and lab.runs.instance is context.instance

    assert asked(instance, count)


def test_duckdb_has_strategies_statistics_and_trades_to_read_only(run, lab):
    settings, instance = lab
    assert run.error is None
    stores = Lab(settings, instance)
    refresh(stores.statistics, run_records(stores.runs, stores.statistics.catalog.run_records()))
    files = set(settings.statistics_dir.iterdir())

    @dg.op
    def look(duckdb: DuckDBResource) -> list[object]:
        stores.strategies.describe("ladder", tags=["later"])  # nobody who writes has to wait for the reader
        with duckdb.get_connection() as connection:
            (runs,) = connection.execute("SELECT count(*) FROM leaderboard_runs").fetchone()
            (trades,) = connection.execute("SELECT count(*) FROM trades").fetchone()
            tags = connection.execute("SELECT DISTINCT tags FROM strategies WHERE id = 'ladder'").fetchone()
            with pytest.raises(REFUSED, match="read-only"):
                connection.execute("DELETE FROM strategies")
        return [runs, trades > 0, "later" in tags[0]]

    assert asked(instance, look) == [1, True, False]
    assert set(settings.statistics_dir.iterdir()) == files
    assert not list(settings.scratch_dir.glob("*/*"))


REFUSED = duckdb.InvalidInputException
