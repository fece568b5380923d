"""One lab: its settings, and its stores, each made when it is first used."""

from contextlib import ExitStack, closing
from functools import cached_property
from typing import TYPE_CHECKING, Self

from lab_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from lab_pipeline.clickhouse.pool import ClickHousePool
    from lab_pipeline.dagster_ext.graphql import Webserver
    from lab_pipeline.lake import Lake
    from lab_pipeline.operations.launch import Launcher
    from lab_pipeline.operations.runs import Runs
    from lab_pipeline.runs.artifacts import ArtifactStore
    from lab_pipeline.runs.idempotency import IdempotencyKeys
    from lab_pipeline.runs.strategies import StrategyStore
    from lab_pipeline.statistics import Statistics
    from lab_pipeline.sweeps.store import SweepStore


class Lab:
    """The stores of a lab. What takes long to import is imported by the store that needs it.

    A `with` closes what was opened in it: Dagster's instance, and connections to ClickHouse and to the webserver.
    """

    def __init__(self, settings: Settings, instance: "dg.DagsterInstance | None" = None) -> None:
        """Make a lab of its settings.

        Args:
            settings: of the lab.
            instance: Dagster's, where the caller has opened it, and closes it; by default, the lab's own.
        """
        self.settings = settings
        self._opened = ExitStack()
        if instance is not None:
            self.instance = instance

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @cached_property
    def instance(self) -> "dg.DagsterInstance":
        """Dagster's instance."""
        from lab_pipeline.dagster_ext.instance import open_instance

        return self._opened.enter_context(open_instance(self.settings))

    @cached_property
    def lake(self) -> "Lake":
        """Candles and calls."""
        from lab_pipeline.lake import Lake

        return Lake(self.settings.lake_dir)

    @cached_property
    def strategies(self) -> "StrategyStore":
        """Strategies by version, with the examples that ship with the lab."""
        from lab_pipeline.runs.strategies import StrategyStore

        return StrategyStore.of(self.settings)

    @cached_property
    def artifacts(self) -> "ArtifactStore":
        """Published runs."""
        from lab_pipeline.runs.artifacts import ArtifactStore

        return ArtifactStore(self.settings.artifacts_dir)

    @cached_property
    def sweeps(self) -> "SweepStore":
        """Published sweeps."""
        from lab_pipeline.sweeps.store import SweepStore

        return SweepStore(self.settings.sweeps_dir)

    @cached_property
    def statistics(self) -> "Statistics":
        """What all completed runs together say."""
        from lab_pipeline.statistics import Statistics

        return Statistics.of(self.settings)

    @cached_property
    def clickhouse(self) -> "ClickHousePool":
        """Metrics, fills and logs."""
        from lab_pipeline.clickhouse.config import clickhouse_config
        from lab_pipeline.clickhouse.pool import ClickHousePool

        return self._opened.enter_context(closing(ClickHousePool(clickhouse_config(self.settings))))

    @cached_property
    def runs(self) -> "Runs":
        """The record of backtests."""
        from lab_pipeline.operations.runs import Runs

        return Runs(self.instance, self.artifacts)

    @cached_property
    def keys(self) -> "IdempotencyKeys":
        """Under which runs were asked for."""
        from lab_pipeline.runs.idempotency import IdempotencyKeys

        return IdempotencyKeys(self.settings.catalog_path)

    @cached_property
    def webserver(self) -> "Webserver":
        """Dagster's."""
        from lab_pipeline.dagster_ext.graphql import Webserver

        return self._opened.enter_context(closing(Webserver.of(self.settings)))

    @cached_property
    def launcher(self) -> "Launcher":
        """What starts backtests."""
        from lab_pipeline.operations.launch import Launcher

        return Launcher(self.runs, self.webserver, self.keys, self.settings.max_queued)
