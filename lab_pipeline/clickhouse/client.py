"""The lab's way to ClickHouse: the ordinary client, a server behind it, and writes that arrive exactly once."""

import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from random import uniform
from types import TracebackType
from typing import Any, Self, TypeVar

import clickhouse_connect
import polars as pl
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.errors import (
    ClickHouseAwayError,
    ClickHouseBusyError,
    ClickHouseError,
    ClickHouseUnavailableError,
)
from lab_pipeline.clickhouse.gateway.files import StateFiles
from lab_pipeline.clickhouse.gateway.launch import Lease, answering, lease_server
from lab_pipeline.clickhouse.schema import Run, UploadTarget, applied_versions, latest_version, migrate, require_known

Answer = TypeVar("Answer")

CONNECT_SECONDS = 10
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
PASSING_CODES = frozenset({159, 160, 202, 203, 209, 210, 236, 241, 242, 252, 279, 285, 286, 319, 394, 425, 473, 999})
"""Errors of a server that is overloaded, shutting down or without its replicas: the same write may succeed later."""
NOT_ENOUGH_SPACE = 243
UNKNOWN_TABLE_CODES = frozenset({60, 81})
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
# Or its errors would go to standard error, too; they are raised, and told from there.
ARROW_SETTINGS = {"output_format_arrow_string_as_string": 1}


class ClickHouse:
    """A ClickHouse, embedded or not, from this thread.

    The connection is made when first needed. An embedded server is started where none runs, and kept from stopping
    until `close`.
    """

    def __init__(self, config: ClickHouseConfig) -> None:
        self.config = config
        self._client: Client | None = None
        self._lease: Lease | None = None

    @property
    def client(self) -> Client:
        """The ordinary client, connected.

        Raises:
            EmbeddedServerError: if there is no server and none can be started.
            ClickHouseUnavailableError: if the server does not answer.
            ClickHouseError: if it does not let us in, or has tables of a later version of the lab.
        """
        if self._client is None:
            with self._explained():
                client = self._connect(self.config.database)
                try:
                    self._require_fitting_schema(client)
                except BaseException:
                    client.close()
                    raise
                self._client = client
        return self._client

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None, *, wait: bool = False) -> pl.DataFrame:
        """Return the rows of a SELECT.

        Args:
            sql: the statement, with `{name:Type}` where parameters go.
            parameters: values by name; bound by the server, never formatted into the text.
            wait: whether to be as patient as a write while ClickHouse is away.

        Raises:
            ClickHouseUnavailableError: if ClickHouse does not answer, not even after connecting again.
            ClickHouseError: if it refuses the statement.
        """
        call = self._until_acknowledged if wait else self._again_if_away
        answer = call(
            lambda client: client.raw_query(sql, dict(parameters or {}), settings=ARROW_SETTINGS, fmt="ArrowStream")
        )
        return pl.read_ipc_stream(io.BytesIO(answer))

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns no rows and may be run twice: it is sent again if the connection breaks.

        Raises:
            ClickHouseUnavailableError: if ClickHouse does not answer, not even after connecting again.
            ClickHouseError: if it refuses the statement.
        """
        self._again_if_away(lambda client: client.command(sql, dict(parameters or {})))

    def insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        """Insert rows once, whatever happens on the way: the same bytes under the same token until acknowledged.

        The rows must fit into one block and one partition, and the token must never be used for other rows.

        Raises:
            ClickHouseUnavailableError: if ClickHouse stays away beyond the deadline; the rows may or may not be there.
            ClickHouseError: if it refuses the rows.
        """
        buffer = io.BytesIO()
        rows.write_ipc_stream(buffer, compression="lz4", compat_level=pl.CompatLevel.oldest())
        settings = {
            "insert_deduplication_token": token,
            "async_insert": 0,  # queued inserts of several clients would share a block and lose their tokens
            **({"distributed_foreground_insert": 1} if self.config.cluster else {}),
        }
        columns, data = rows.columns, buffer.getvalue()
        self._until_acknowledged(
            lambda client: client.raw_insert(table, columns, data, settings=settings, fmt="ArrowStream")
        )

    def close(self) -> None:
        """Disconnect and let an embedded server stop when it is idle."""
        if self._client is not None:
            self._client.close_connections()
            self._client.close()
            self._client = None
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def migrate(self) -> list[int]:
        """Bring the schema up to date, retention included, and return the versions that were applied now.

        An embedded server does so when it starts.

        Raises:
            ClickHouseUnavailableError: if ClickHouse does not answer.
            ClickHouseError: if it refuses, for want of a right for example.
        """
        with self._explained(), closing(self._connect(database="default")) as client:
            return _migrate(client, self.config)

    def _connect(self, database: str) -> Client:
        if self.config.embedded:
            if self._lease is None:
                self._lease = lease_server(self.config)
            endpoint = self._lease.endpoint
            return clickhouse_connect.get_client(
                host=endpoint.host,
                port=endpoint.port,
                username=endpoint.username,
                password=endpoint.password,
                database=database,
                compress=False,  # on loopback it costs more than it saves
                pool_mgr=urllib3.PoolManager(retries=1),  # the client's own would send loopback to http_proxy
                autogenerate_session_id=False,
                connect_timeout=CONNECT_SECONDS,
                tz_mode="aware",
            )
        server = self.config.server
        return clickhouse_connect.get_client(
            host=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            interface="https" if server.secure else "http",
            database=database,
            dedicated_pool=True,
            autogenerate_session_id=False,
            connect_timeout=CONNECT_SECONDS,
            tz_mode="aware",
        )

    def _require_fitting_schema(self, client: Client) -> None:
        """Leave tables of a later version alone, and bring those up to date whose server an older one has started.

        Without any tables nothing is to be required: the first statement says what to do.

        Raises:
            LaterSchemaError: if the tables are of a later version.
        """
        if self._lease is not None:
            require_known(self._lease.endpoint.schema, self.config.database)
            if self._lease.endpoint.schema < latest_version():
                _migrate(client, self.config)
            return
        try:
            applied = applied_versions(_runner(client), UploadTarget(self.config.database, self.config.cluster))
        except DatabaseError as error:
            if error.code not in UNKNOWN_TABLE_CODES:
                raise
        else:
            require_known(max(applied, default=0), self.config.database)

    def _again_if_away(self, call: Callable[[Client], Answer]) -> Answer:
        try:
            with self._explained():
                return call(self.client)
        except ClickHouseAwayError:
            self.close()
        with self._explained():
            return call(self.client)

    def _until_acknowledged(self, call: Callable[[Client], Answer]) -> Answer:
        deadline = time.monotonic() + self.config.write_deadline_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                with self._explained():
                    return call(self.client)
            except (ClickHouseAwayError, ClickHouseBusyError):
                self.close()
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause * uniform(0.5, 1.0))  # noqa: S311 - spreads writers out, keeps no secret
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise self._explain(error) from error

    def _explain(self, error: DatabaseError) -> ClickHouseError:
        reason = str(error).partition(" (for url")[0]
        if self.config.embedded:
            which = "the embedded ClickHouse"
            advice = f"its log is {StateFiles(self.config.state_dir).log}"
        else:
            which = f"ClickHouse at {self.config.server.host}:{self.config.server.port}"
            advice = "check LAB_CLICKHOUSE_URL and that the server runs"
        if error.code is None and type(error) in (OperationalError, DatabaseError):
            # No server has answered: no connection, a broken one, or a proxy with nothing behind it.
            return ClickHouseAwayError(f"{which} does not answer ({advice}): {reason}")
        if error.code in PASSING_CODES:
            return ClickHouseBusyError(f"{which} cannot do it now: {reason}")
        if error.code == NOT_ENOUGH_SPACE:
            return ClickHouseError(f"{which} has no room left on its disk: make room, then do it again ({reason})")
        if error.code in UNKNOWN_TABLE_CODES:
            return ClickHouseError(f"{which} lacks a table; `lab clickhouse migrate` creates them: {reason}")
        return ClickHouseError(f"{which} refuses: {reason}")


def _migrate(client: Client, config: ClickHouseConfig) -> list[int]:
    return migrate(_runner(client), UploadTarget(config.database, config.cluster), config.retention_days)


def _runner(client: Client) -> Run:
    def run(sql: str) -> str:
        return client.raw_query(sql, use_database=False).decode()

    return run


@dataclass(frozen=True)
class Status:
    """What `lab clickhouse status` tells.

    Attributes:
        state: `running`, `stopped` (embedded) or `unreachable` (a server).
        host, port, username, password, database: as clients take them; None where stopped.
        pid: of the embedded server.
        version: of ClickHouse, where it answers.
    """

    state: str
    host: str | None = None
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    pid: int | None = None
    version: str | None = None


def status(config: ClickHouseConfig) -> Status:
    """Look at the configured ClickHouse without starting anything."""
    if config.embedded:
        endpoint = answering(StateFiles(config.state_dir))
        if endpoint is None:
            return Status("stopped")
        return Status(
            "running",
            endpoint.host,
            endpoint.port,
            endpoint.username,
            endpoint.password,
            endpoint.database,
            endpoint.pid,
            endpoint.version,
        )
    server = config.server
    address = (server.host, server.port, server.username, server.password, config.database)
    with ClickHouse(config) as clickhouse:
        try:
            version = str(clickhouse.client.server_version)
        except ClickHouseUnavailableError:
            return Status("unreachable", *address)
    return Status("running", *address, version=version)
