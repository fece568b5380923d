"""A connection to a shared DuckDB file, for the length of one transaction."""

import ctypes
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import duckdb

from lab_pipeline.files.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class DuckConnection:
    """A connection inside one transaction of a `DuckFile`. Not to be kept beyond it.

    Attributes:
        writable: whether the transaction may write.
    """

    def __init__(self, raw: duckdb.DuckDBPyConnection) -> None:
        self._raw = raw
        self._begun = False
        self.writable = False

    @property
    def raw(self) -> duckdb.DuckDBPyConnection:
        """DuckDB's own connection; unqualified names mean the tables of the file."""
        if not self._begun:
            self._raw.execute("BEGIN TRANSACTION READ ONLY")
            self._begun = True
        return self._raw

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        return self.raw.execute(sql, parameters).fetchall()

    @cached_property
    def sqlalchemy(self) -> "Connection":
        """The same connection for SQLAlchemy; the transaction's end belongs to the `DuckFile`, not to it."""
        from lab_pipeline.storage.dialect import connection_over  # noqa: PLC0415 - plain SQL goes without the import

        return connection_over(self._raw)

    def begin(self, *, write: bool) -> None:
        """Begin a transaction.

        A reading one begins when its raw connection is asked for, and never for SQLAlchemy, which leaves no result open
        and reads one state anyway: whoever might change it waits for the end of this transaction.
        """
        self.writable = write
        if write:
            self._raw.execute("BEGIN TRANSACTION")
            self._begun = True

    def end(self, *, commit: bool) -> None:
        """Commit or roll back; either closes a result that was not read to its end."""
        if "sqlalchemy" in self.__dict__:
            self.sqlalchemy.rollback()  # its view of a transaction only: to DuckDB it says nothing
        if self._begun:
            self._begun = False
            self._raw.execute("COMMIT" if commit else "ROLLBACK")

    def close(self) -> None:
        """Close the connection for good."""
        self._raw.close()

    def disown(self) -> None:
        """Make every further use an error, and keep what lies beneath from ever being closed by this process."""
        keep_forever(self._raw)
        self._raw = _NotOurs()  # type: ignore[assignment]  # its every use is an error


def keep_forever(inherited: duckdb.DuckDBPyConnection) -> None:
    """Keep a connection that a fork copied from ever being closed: that would wait for threads of the parent."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


class _NotOurs:
    def __getattr__(self, name: str) -> object:
        raise StorageError("a transaction begun before a fork belongs to the parent process; begin one of your own")
