"""Get ClickHouse ready while something else is being done."""

import logging
from threading import Thread

from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.gateway.launch import require_engine

logger = logging.getLogger(__name__)


def warm_up(config: ClickHouseConfig) -> None:
    """Start the embedded server, and load the client, in the background.

    Raises:
        EmbeddedServerError: if there can be no embedded server and none is configured instead.
    """
    if config.embedded:
        require_engine()
    Thread(target=_connect, args=(config,), name="clickhouse-warm-up", daemon=True).start()


def _connect(config: ClickHouseConfig) -> None:
    from lab_pipeline.clickhouse.client import ClickHouse  # noqa: PLC0415 - its import is part of what takes time
    from lab_pipeline.clickhouse.errors import ClickHouseError  # noqa: PLC0415 - the same

    try:
        with ClickHouse(config) as clickhouse:
            logger.debug("ClickHouse %s is there", clickhouse.client.server_version)
    except ClickHouseError as error:
        logger.debug("ClickHouse is not there yet; who needs it will wait for it: %s", error)
