"""What the ops get from outside: the stores of the lab, and how values travel between ops."""

from pathlib import Path

import dagster as dg

from lab_pipeline.lake import Lake
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import Settings, load_settings

MEMORY = "memory"


class Lab(dg.ConfigurableResource[None]):
    """The stores of a lab."""

    home: str
    """LAB_HOME: the directory with all state."""

    @property
    def settings(self) -> Settings:
        """The settings, with this home."""
        return load_settings().model_copy(update={"home": Path(self.home)})

    @property
    def lake(self) -> Lake:
        """Candles and calls."""
        return Lake(self.settings.lake_dir)

    @property
    def strategies(self) -> StrategyStore:
        """Strategies, with the examples that ship with the lab."""
        store = StrategyStore(self.settings.strategies_dir)
        store.add_examples()
        return store

    @property
    def artifacts(self) -> ArtifactStore:
        """Published runs."""
        return ArtifactStore(self.settings.artifacts_dir)


@dg.definitions
def resources() -> dg.Definitions:
    """Bind the resources to the settings of this process; runs are one process each, so nothing is pickled."""
    return dg.Definitions(
        resources={"lab": Lab(home=str(load_settings().home)), MEMORY: dg.mem_io_manager},
        executor=dg.in_process_executor,
    )
