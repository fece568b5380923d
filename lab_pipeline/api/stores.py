"""The stores behind the routes, opened once a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, LifoQueue
from threading import Semaphore
from typing import Annotated

import dagster as dg
from fastapi import Depends, Request

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig, clickhouse_config
from lab_pipeline.defs.operations.launching import Launcher
from lab_pipeline.defs.operations.runs import Runs
from lab_pipeline.defs.operations.webserver import Webserver
from lab_pipeline.lake import Lake
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.idempotency import IdempotencyKeys
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import Settings

AT_ONCE = 4
"""Queries that are sent to ClickHouse together: more of them only wait for one another there."""

FOLLOWERS = 64
"""Streams at once: each asks ClickHouse every second for as long as its run lasts."""


@dataclass
class Places:
    """How many of something there are at once; counted in the event loop, by one thread.

    Attributes:
        most: places there are.
        taken: places that are taken.
    """

    most: int
    taken: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place."""
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


@dataclass(frozen=True)
class ClickHousePool:
    """Connections to ClickHouse, each used by one thread at a time."""

    config: ClickHouseConfig
    _idle: LifoQueue[ClickHouse] = field(default_factory=LifoQueue)
    _turns: Semaphore = field(default_factory=lambda: Semaphore(AT_ONCE))

    @contextmanager
    def connection(self) -> Iterator[ClickHouse]:
        """Borrow a connection; wait for one where as many are in use as may."""
        with self._turns:
            try:
                connection = self._idle.get_nowait()
            except Empty:
                connection = ClickHouse(self.config)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._idle.put(connection)

    def close(self) -> None:
        """Disconnect, and let an embedded server stop when it is idle."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


@dataclass(frozen=True)
class Stores:
    """Everything that the routes read and write.

    Attributes:
        settings: of the lab.
        instance: Dagster's.
        runs: the record of backtests.
        launcher: starts them.
        webserver: Dagster's.
        artifacts: what they published.
        clickhouse: their metrics, fills and logs.
        lake: candles and calls.
        followers: places for streams that follow a run.
    """

    settings: Settings
    instance: dg.DagsterInstance
    runs: Runs
    launcher: Launcher
    webserver: Webserver
    artifacts: ArtifactStore
    clickhouse: ClickHousePool
    lake: Lake
    followers: Places = field(default_factory=lambda: Places(FOLLOWERS))

    @property
    def strategies(self) -> StrategyStore:
        """Strategies, by version."""
        return StrategyStore(self.settings.catalog_path, self.settings.strategies_dir)


@contextmanager
def opened(settings: Settings, instance: dg.DagsterInstance) -> Iterator[Stores]:
    """Open the stores of a lab; the instance stays the caller's."""
    StrategyStore.of(settings)
    artifacts = ArtifactStore(settings.artifacts_dir)
    runs = Runs(instance, artifacts)
    webserver = Webserver.of(settings)
    keys = IdempotencyKeys(settings.catalog_path)
    pool = ClickHousePool(clickhouse_config(settings))
    try:
        yield Stores(
            settings=settings,
            instance=instance,
            runs=runs,
            launcher=Launcher(runs, webserver, keys, settings.max_queued),
            webserver=webserver,
            artifacts=artifacts,
            clickhouse=pool,
            lake=Lake(settings.lake_dir),
        )
    finally:
        pool.close()
        webserver.close()


async def _stores(request: Request) -> Stores:  # async: what does nothing need not go to a thread
    stores: Stores = request.app.state.stores
    return stores


LabStores = Annotated[Stores, Depends(_stores)]
"""Parameter of a route that needs the stores."""
