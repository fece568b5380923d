"""Get ClickHouse ready while something else is being done."""

import logging
from threading import Thread
from typing import TYPE_CHECKING

from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.gateway.launch import require_engine

if TYPE_CHECKING:
    from lab_pipeline.clickhouse.client import ClickHouse

logger = logging.getLogger(__name__)

_ready: "dict[ClickHouseConfig, ClickHouse]" = {}
"""Connections that were made in advance and wait to be taken."""


def warm_up(config: ClickHouseConfig) -> None:
    """Start the embedded server, load the client and connect, in the background.

    Raises:
        EmbeddedServerError: if there can be no embedded server and none is configured instead.
    """
    if config.embedded:
        require_engine()
    Thread(target=_connect, args=(config,), name="clickhouse-warm-up", daemon=True).start()


def connected(config: ClickHouseConfig) -> "ClickHouse":
    """Return the connection that was made in advance, or else one that is yet to be made; close it after use."""
    from lab_pipeline.clickhouse.client import ClickHouse  # noqa: PLC0415 - its import is part of what takes time

    return _ready.pop(config, None) or ClickHouse(config)


def _connect(config: ClickHouseConfig) -> None:
    from lab_pipeline.clickhouse.client import ClickHouse  # noqa: PLC0415 - the same
    from lab_pipeline.clickhouse.errors import ClickHouseError  # noqa: PLC0415 - the same

    clickhouse = ClickHouse(config)
    try:
        logger.debug("ClickHouse %s is there", clickhouse.client.server_version)
    except ClickHouseError as error:
        logger.debug("ClickHouse is not there yet; who needs it will wait for it: %s", error)
        return
    earlier, _ready[config] = _ready.pop(config, None), clickhouse
    if earlier is not None:  # of a run that failed before it took it
        earlier.close()
