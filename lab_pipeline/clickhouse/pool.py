"""Connections to ClickHouse that are used again, or made before they are needed."""

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, LifoQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.gateway.launch import require_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab_pipeline.clickhouse.client import ClickHouse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClickHousePool:
    """Connections to ClickHouse, each used by one thread at a time."""

    config: ClickHouseConfig
    _idle: "LifoQueue[ClickHouse]" = field(default_factory=LifoQueue)
    _closed: Event = field(default_factory=Event)

    @contextmanager
    def connection(self) -> "Iterator[ClickHouse]":
        """Borrow a connection."""
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self._new()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)

    def warm_up(self) -> None:
        """Start the embedded server, load the client and connect, in the background.

        Raises:
            EmbeddedServerError: if there can be no embedded server and none is configured instead.
        """
        if self.config.embedded:
            require_engine()
        Thread(target=self._connect, name="clickhouse-warm-up", daemon=True).start()

    def close(self) -> None:
        """Disconnect, and let an embedded server stop when it is idle."""
        self._closed.set()
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    def _connect(self) -> None:
        from lab_pipeline.clickhouse.errors import ClickHouseError  # noqa: PLC0415 - as of the client

        connection = self._new()
        try:
            logger.debug("ClickHouse %s is there", connection.client.server_version)
        except ClickHouseError as error:
            logger.debug("ClickHouse is not there yet; who needs it will wait for it: %s", error)
            return
        self._give_back(connection)

    def _new(self) -> "ClickHouse":
        from lab_pipeline.clickhouse.client import ClickHouse  # noqa: PLC0415 - its import is part of what takes time

        return ClickHouse(self.config)

    def _give_back(self, connection: "ClickHouse") -> None:
        self._idle.put(connection)
        if self._closed.is_set():
            self.close()
