"""The stores behind the routes, opened once a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, LifoQueue
from typing import Annotated

import dagster as dg
from fastapi import Depends, Request

from lab_pipeline.api.following import Following
from lab_pipeline.api.limiter import Places, Threads
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig, clickhouse_config
from lab_pipeline.dagster_ext.graphql import Webserver
from lab_pipeline.lake import Lake
from lab_pipeline.operations.launch import Launcher
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.idempotency import IdempotencyKeys
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import Settings

FOLLOWERS = 64
"""Streams at once that follow runs."""
DOWNLOADS = 64
"""Downloads at once."""


@dataclass(frozen=True)
class ClickHousePool:
    """Connections to ClickHouse, each used by one thread at a time."""

    config: ClickHouseConfig
    _idle: LifoQueue[ClickHouse] = field(default_factory=LifoQueue)

    @contextmanager
    def connection(self) -> Iterator[ClickHouse]:
        """Borrow a connection."""
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
        threads: in which all that is slow is done.
        following: looks for what is new of the runs that streams follow.
        followers: places for streams that follow a run.
        downloads: places for downloads.
    """

    settings: Settings
    instance: dg.DagsterInstance
    runs: Runs
    launcher: Launcher
    webserver: Webserver
    artifacts: ArtifactStore
    clickhouse: ClickHousePool
    lake: Lake
    threads: Threads
    following: Following
    followers: Places = field(
        default_factory=lambda: Places(FOLLOWERS, f"{FOLLOWERS} streams follow runs already: read pages, or come later")
    )
    downloads: Places = field(
        default_factory=lambda: Places(DOWNLOADS, f"{DOWNLOADS} downloads are under way already: come later")
    )

    @property
    def strategies(self) -> StrategyStore:
        """Strategies, by version."""
        return StrategyStore(self.settings.catalog_path)


@contextmanager
def opened(settings: Settings, instance: dg.DagsterInstance) -> Iterator[Stores]:
    """Open the stores of a lab; the instance stays the caller's."""
    StrategyStore.of(settings)
    artifacts = ArtifactStore(settings.artifacts_dir)
    runs = Runs(instance, artifacts)
    webserver = Webserver.of(settings)
    keys = IdempotencyKeys(settings.catalog_path)
    pool = ClickHousePool(clickhouse_config(settings))
    threads = Threads()
    following = Following(runs, pool.connection, threads.streams)
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
            threads=threads,
            following=following,
        )
    finally:
        following.stop()
        pool.close()
        webserver.close()


async def _stores(request: Request) -> Stores:  # async: what does nothing need not go to a thread
    stores: Stores = request.app.state.stores
    return stores


LabStores = Annotated[Stores, Depends(_stores)]
"""Parameter of a route that needs the stores."""
