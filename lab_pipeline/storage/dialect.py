"""Let SQLAlchemy speak to a DuckDB connection that is already open."""

import functools
import re
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb
from sqlalchemy import LargeBinary, create_engine, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.pool import NullPool


def connection_over(raw: duckdb.DuckDBPyConnection) -> Connection:
    """Wrap an open DuckDB connection; closing and committing it stay with whoever opened it."""
    _lent.raw = raw
    try:
        return _engine().connect()
    finally:
        del _lent.raw


class _Blob(LargeBinary):
    """Bytes as they are; DuckDB's driver takes and gives them without a type of its own."""

    def bind_processor(self, dialect: Dialect) -> None: ...

    def result_processor(self, dialect: Dialect, coltype: object) -> None: ...


class DuckDBDialect(PGDialect):
    """DuckDB's SQL, which is PostgreSQL's to a large part, without the catalog queries that are not."""

    name = "duckdb"
    driver = "duckdb"
    default_paramstyle = "qmark"
    supports_statement_cache = True
    supports_server_side_cursors = False
    colspecs = {**PGDialect.colspecs, LargeBinary: _Blob}  # noqa: RUF012 - as SQLAlchemy declares it
    use_insertmanyvalues_wo_returning = True  # one statement for many rows, where executemany() would run one for each

    @classmethod
    def import_dbapi(cls) -> Any:  # noqa: ANN401 - SQLAlchemy's own type
        """Return the module whose errors SQLAlchemy is to translate."""
        return duckdb

    def initialize(self, connection: Connection) -> None:  # noqa: ARG002 - nothing is asked
        """Skip PostgreSQL's questions to its server about itself."""
        self.server_version_info = (16, 0)
        self.default_schema_name = "main"
        self._backslash_escapes = False

    def has_table(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> bool:  # noqa: ANN401
        """Return whether the attached file has a table or view of this name."""
        return bool(self.get_columns(connection, table_name, schema))

    def get_table_names(self, connection: Connection, schema: str | None = None, **_: Any) -> list[str]:  # noqa: ANN401
        """List the tables of the attached file."""
        rows = connection.execute(
            text(
                "SELECT table_name FROM duckdb_tables() "
                "WHERE database_name = current_database() AND schema_name = :schema"
            ),
            {"schema": schema or "main"},
        )
        return [row[0] for row in rows]

    def get_columns(self, connection: Connection, table_name: str, schema: str | None = None, **_: Any) -> list[Any]:  # noqa: ANN401
        """List the columns of a table, with their types as DuckDB names them."""
        rows = connection.execute(
            text(
                "SELECT column_name, data_type, is_nullable, column_default FROM duckdb_columns() "
                "WHERE database_name = current_database() AND schema_name = :schema AND table_name = :table "
                "ORDER BY column_index"
            ),
            {"schema": schema or "main", "table": table_name},
        )
        return [
            {"name": name, "type": self.ischema_names.get(kind.lower()), "nullable": nullable, "default": default}
            for name, kind, nullable, default in rows
        ]


class _OpenConnection:
    """Look like a fresh DBAPI connection. Transactions belong to the connection's owner."""

    def __init__(self, raw: duckdb.DuckDBPyConnection) -> None:
        self._raw = raw

    def cursor(self) -> "_Cursor":
        return _Cursor(self._raw)

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None: ...


class _Cursor:
    """A DBAPI cursor on the one connection: DuckDB's own ``cursor()`` would open another, outside the transaction.

    Rows are fetched at once, so that no open result can keep the file open after the transaction.
    """

    _counts_only = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b(?!.*\bRETURNING\b)", re.IGNORECASE | re.DOTALL)

    def __init__(self, raw: duckdb.DuckDBPyConnection) -> None:
        self._raw = raw
        self._rows: list[Any] = []
        self.description: Sequence[Any] | None = None
        self.rowcount = -1
        self.arraysize = 1

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        self._raw.execute(statement, parameters)
        self.description = self._raw.description
        self._rows = self._raw.fetchall() if self.description else []
        if self.description and self._counts_only.match(statement):
            self.description, self.rowcount, self._rows = None, self._rows[0][0], []
        self._rows.reverse()

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> None:
        for row in parameters:
            self.execute(statement, row)

    def fetchone(self) -> Any:  # noqa: ANN401 - a row
        return self._rows.pop() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        return [self._rows.pop() for _ in range(min(size or self.arraysize, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows[::-1], []
        return rows

    def close(self) -> None: ...


@functools.cache
def _engine() -> Engine:
    return create_engine(
        "duckdb+shared_file://",
        creator=lambda: _OpenConnection(_lent.raw),
        poolclass=NullPool,
        pool_reset_on_return=None,
    )


_lent = threading.local()
registry.register("duckdb.shared_file", __name__, "DuckDBDialect")
