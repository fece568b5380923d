"""The tables of quantBot: `ohlcv_candles` in ClickHouse or a DuckDB file, and `user_calls_d` in a DuckDB file.

Candles are read in both generations of their schema.

The first has `interval` (text, `5m`), the second `interval_seconds`, `ingested_at` and `ingestion_run_id`. Neither
keeps a candle once: of several the one that was ingested last counts, or, where nothing tells, the one with the most
volume, as it was taken latest.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
import polars as pl

from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.fetch import rows
from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.source import Request

TABLE, CALLS_TABLE = "ohlcv_candles", "user_calls_d"
DATABASE = "quantbot"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MOST_MS = 366 * 86_400_000

Query = Callable[[str, list[Any]], list[Sequence[Any]]]


@dataclass(frozen=True)
class Dialect:
    """How a database writes what is asked.

    Attributes:
        table: with its database.
        mark: of a parameter, by number and type.
        seconds: of a time, Unix.
        latest: the value of the row with the greatest other value.
    """

    table: str
    mark: Callable[[int, str], str]
    seconds: Callable[[str], str]
    latest: str


class QuantBot:
    """A store of quantBot's candles."""

    per_minute: int | None = None
    cost_per_1000: float | None = 0.0
    by_chain = False

    def __init__(
        self, name: str, dialect: Dialect, query: Query, columns: Sequence[str], on_close: Callable[[], None]
    ) -> None:
        self.name = name
        self._dialect, self._query, self._on_close = dialect, query, on_close
        self._columns = frozenset(columns)
        if not {"interval", "interval_seconds"} & self._columns:
            raise FetchError(f"{name}: {dialect.table} has neither interval nor interval_seconds")

    def most_ms(self, timeframe: str) -> int:  # noqa: ARG002 - whatever it has
        """Return how much time is asked for at once, in milliseconds."""
        return MOST_MS

    def until_ms(self, now_ms: int) -> int:
        """Return until when it can have candles that are closed."""
        return now_ms

    def estimate(self, requests: list[Request], timeframe: str) -> int:  # noqa: ARG002 - alike for all
        """Count the queries."""
        return len(requests)

    def candles(self, request: Request, timeframe: str) -> pl.DataFrame:
        """Return the candles of the token."""
        say, seconds = self._dialect, timeframe_ms(timeframe) // 1000
        time = say.seconds("timestamp")
        by = "ingested_at" if "ingested_at" in self._columns else "volume"
        values = [f"{say.latest}({name}, {by})" for name in rows.VALUES]
        length, sort = ("interval_seconds", "UInt32") if "interval_seconds" in self._columns else ("interval", "String")
        statement = (
            f"SELECT {time} AS opened, {', '.join(values)} FROM {say.table} "  # noqa: S608 - names of ours
            f"WHERE token_address = {say.mark(1, 'String')} AND {length} = {say.mark(2, sort)} "
            f"AND {time} >= {say.mark(3, 'Int64')} AND {time} < {say.mark(4, 'Int64')} GROUP BY opened ORDER BY opened"
        )
        wanted = seconds if length == "interval_seconds" else timeframe
        found = self._query(statement, [request.mint, wanted, request.start // 1000, -(-request.end // 1000)])
        return rows.candles(found)

    def close(self) -> None:
        """Let go of the connection."""
        self._on_close()


def in_clickhouse(url: str) -> QuantBot:
    """Open the table on a ClickHouse server.

    Args:
        url: ``http[s]://user:password@host[:port][/database]``.

    Raises:
        FetchError: if it cannot be reached or has no such table.
    """
    import clickhouse_connect  # noqa: PLC0415 - other sources need not pay for it
    from clickhouse_connect.driver.exceptions import Error  # noqa: PLC0415 - as above

    server = urlsplit(url)
    database = server.path.strip("/") or DATABASE
    if not NAME.fullmatch(database):
        raise FetchError(f"clickhouse: {database!r} is no name of a database")
    try:
        client = clickhouse_connect.get_client(
            host=server.hostname or "",
            port=server.port or (8443 if server.scheme == "https" else 8123),
            username=unquote(server.username or "default"),
            password=unquote(server.password or ""),
            secure=server.scheme == "https",
        )
    except Error as error:
        raise FetchError(f"clickhouse at {server.hostname} cannot be used: {_first_line(error)}") from None

    def query(statement: str, parameters: list[Any]) -> list[Sequence[Any]]:
        named = {f"p{number}": value for number, value in enumerate(parameters, 1)}
        try:
            return list(client.query(statement, parameters=named).result_rows)
        except Error as error:
            raise FetchError(f"clickhouse at {server.hostname}: {_first_line(error)}") from None

    dialect = Dialect(
        table=f"{database}.{TABLE}",
        mark=lambda number, sort: f"{{p{number}:{sort}}}",
        seconds=lambda name: f"toInt64(toUnixTimestamp({name}))",
        latest="argMax",
    )
    columns = [row[0] for row in query(f"DESCRIBE TABLE {dialect.table}", [])]
    return QuantBot("clickhouse", dialect, query, columns, client.close)


def in_duckdb(path: Path) -> QuantBot:
    """Open the table in a DuckDB file, to read only.

    Raises:
        FetchError: if the file cannot be opened or has no such table.
    """
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise FetchError(f"duckdb: {path} cannot be opened: {_first_line(error)}") from None

    def query(statement: str, parameters: list[Any]) -> list[Sequence[Any]]:
        try:
            return list(connection.execute(statement, parameters).fetchall())
        except duckdb.Error as error:
            raise FetchError(f"duckdb: {path}: {_first_line(error)}") from None

    dialect = Dialect(table=TABLE, mark=lambda *_: "?", seconds=lambda name: f"epoch({name})::BIGINT", latest="arg_max")
    columns = [row[0] for row in query(f"DESCRIBE {TABLE}", [])]
    return QuantBot("duckdb", dialect, query, columns, connection.close)


def calls_in(path: Path) -> pl.DataFrame:
    """Return the table of calls in a DuckDB file, to read only, as it is; the lake knows its columns.

    Raises:
        FetchError: if the file cannot be opened or has no such table.
    """
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            found: pl.DataFrame = connection.sql(f"SELECT * FROM {CALLS_TABLE}").pl()  # noqa: S608 - a name of ours
            return found
    except duckdb.Error as error:
        raise FetchError(f"duckdb: {path}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
