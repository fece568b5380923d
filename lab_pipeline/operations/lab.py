"""One lab: its settings, and its stores, each made when it is first used."""

from contextlib import ExitStack, closing
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

    from lab_pipeline.clickhouse.pool import ClickHousePool
    from lab_pipeline.dagster_ext.graphql import Webserver
    from lab_pipeline.lake import Lake
    from lab_pipeline.operations.launch import Launcher
    from lab_pipeline.operations.runs import Runs
    from lab_pipeline.operations.sweeps import Sweeps
    from lab_pipeline.runs.artifacts import ArtifactStore
    from lab_pipeline.runs.idempotency import IdempotencyKeys
    from lab_pipeline.runs.published import PublishedRun
    from lab_pipeline.runs.strategies import StrategyStore
    from lab_pipeline.statistics import Statistics
    from lab_pipeline.statistics.trials import TrialsLedger
    from lab_pipeline.sweeps.published import PublishedSweep
    from lab_pipeline.sweeps.store import SweepStore


class Lab:
    """The stores of a lab. What takes long to import is imported by the store that needs it.

    A `with` closes what was opened in it: Dagster's instance, and connections to ClickHouse and to the webserver. A
    notebook may leave that to the end of its process.

    Example:
        >>> lab = Lab()  # doctest: +SKIP
        >>> lab.runs("ladder")[0].trades  # doctest: +SKIP
    """

    def __init__(
        self, home: Settings | str | PathLike[str] | None = None, instance: "dg.DagsterInstance | None" = None
    ) -> None:
        """Open a lab.

        Args:
            home: its directory; by default the one that the command line takes, LAB_HOME or `.lab` of the project. Or
                its settings, with which there need be no directory yet.
            instance: Dagster's, where the caller has opened it, and closes it; by default, the lab's own.

        Raises:
            LabError: if there is no such directory.
            InvalidConfigError: naming every variable of the environment whose value cannot be used.
        """
        self.settings = home if isinstance(home, Settings) else _settings_in(home)
        self._opened = ExitStack()
        if instance is not None:
            self.instance = instance

    def run(self, run_id: str) -> "PublishedRun":
        """Return what a run has published.

        Args:
            run_id: of the run, or the start of it.

        Raises:
            UnknownRunError: if no published run has such an id, or more than one.
        """
        from lab_pipeline.runs.published import PublishedRun

        return PublishedRun.of(self.artifacts, self.artifacts.manifest(self.artifacts.find(run_id)))

    def sweep(self, sweep_id: str) -> "PublishedSweep":
        """Return what a sweep has published.

        Args:
            sweep_id: of the sweep, or the start of it.

        Raises:
            UnknownSweepError: if no published sweep has such an id, or more than one.
        """
        from lab_pipeline.sweeps.published import PublishedSweep

        return PublishedSweep.open(self.sweeps, self.sweeps.find(sweep_id))

    def __repr__(self) -> str:
        return f"Lab({str(self.settings.home)!r})"

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

        return ArtifactStore.of(self.settings)

    @cached_property
    def sweeps(self) -> "SweepStore":
        """Published sweeps."""
        from lab_pipeline.sweeps.store import SweepStore, sweeps_of

        return SweepStore(self.settings.sweeps_dir, self.trials, sweeps_of(self.settings))

    @cached_property
    def trials(self) -> "TrialsLedger":
        """Every parameter set that was ever evaluated."""
        from lab_pipeline.statistics.trials import TrialsLedger

        return TrialsLedger.of(self.settings)

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
        """The record of backtests; called, it returns what they have published, newest first."""
        from lab_pipeline.operations.runs import Runs

        return Runs(self.instance, self.artifacts)

    @cached_property
    def sweep_runs(self) -> "Sweeps":
        """The record of sweeps."""
        from lab_pipeline.operations.sweeps import Sweeps

        return Sweeps(self.runs, self.sweeps)

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


def _settings_in(home: str | PathLike[str] | None) -> Settings:
    settings = load_settings(None if home is None else Path(home))
    if not settings.home.is_dir():
        raise LabError(
            f"there is no lab in {settings.home}: name the directory of one, Lab(PATH), or set LAB_HOME; `lab demo` "
            "makes a lab with data"
        )
    return settings
