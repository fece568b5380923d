"""What the ops get from outside: the stores of the lab, and how values travel between ops."""

import os

import dagster as dg

from lab_pipeline.clickhouse.config import ClickHouseConfig, clickhouse_config
from lab_pipeline.dagster_ext.executor import lab_executor
from lab_pipeline.dagster_ext.io_manager import HANDOVER, handover_io_manager
from lab_pipeline.lake import Lake
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import Settings, load_settings, places_of_libraries


class Lab(dg.ConfigurableResource[None]):
    """The stores of a lab, where the settings of the process that asks say they are: no run can say otherwise."""

    @property
    def settings(self) -> Settings:
        """The settings of this process."""
        return load_settings()

    @property
    def lake(self) -> Lake:
        """Candles and calls."""
        return Lake(self.settings.lake_dir)

    @property
    def strategies(self) -> StrategyStore:
        """Strategies, with the examples that ship with the lab."""
        return StrategyStore.of(self.settings)

    @property
    def artifacts(self) -> ArtifactStore:
        """Published runs."""
        return ArtifactStore(self.settings.artifacts_dir)

    @property
    def clickhouse(self) -> ClickHouseConfig:
        """Where metrics, fills and logs go."""
        return clickhouse_config(self.settings)


@dg.definitions
def resources() -> dg.Definitions:
    """Bind the resources; a run is one process unless its configuration says otherwise.

    Dagster's own `io_manager` lets a run say in which directory it writes and unpickles; the lab's has nothing to say.
    """
    os.environ |= places_of_libraries(load_settings().home)  # of whoever loads the definitions, by whatever program
    return dg.Definitions(
        resources={"lab": Lab(), HANDOVER: handover_io_manager, "io_manager": handover_io_manager},
        executor=lab_executor,
    )
