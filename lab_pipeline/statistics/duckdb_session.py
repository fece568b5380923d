"""A DuckDB of the process' own in which statistics are computed: it holds no file open."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import duckdb
import pyarrow as pa

from lab_pipeline.domain.errors import LabError
from lab_pipeline.statistics.queries import sql


class TimeLimitError(LabError):
    """A computation took longer than its asker would wait."""


class DuckDBSession:
    """Run the queries of this package over registered tables and Parquet files, on all cores."""

    def __init__(self, threads: int | None = None) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        if threads is not None:
            config["threads"] = threads
        self._connection = duckdb.connect(":memory:", config=config)
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(sql("prepare_session"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def put(self, name: str, rows: pa.Table) -> None:
        """Make rows readable under a name."""
        self._connection.register(name, rows)

    def define(self, name: str, query: str) -> None:
        """Make a query's result readable under a name; it runs whenever it is read."""
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")

    def keep(self, name: str, query: str) -> None:
        """Run a query once and keep its result under a name."""
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}")

    def run(self, query: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing."""
        self._connection.execute(query, parameters or {})

    def read(self, query: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run a query and return its rows."""
        return self._connection.sql(query, params=dict(parameters) if parameters else None).to_arrow_table()

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Interrupt what runs in the block when the time is over.

        Raises:
            TimeLimitError: if it was.
        """
        timer = threading.Timer(seconds, self._connection.interrupt)
        timer.start()
        try:
            yield
        except duckdb.InterruptException:
            raise TimeLimitError(
                f"this would take longer than {seconds:g} s: ask for a shorter range or fewer runs"
            ) from None
        finally:
            timer.cancel()
