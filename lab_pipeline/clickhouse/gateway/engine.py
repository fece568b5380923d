"""chDB: one connection a request, so that nothing of a request outlives it."""

import os
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chdb.state.sqlitelike import Connection, StreamingInserter

from lab_pipeline.clickhouse.gateway.errors import BAD_ARGUMENTS, GatewayError
from lab_pipeline.clickhouse.gateway.permissions import USERS_FILE, users_config

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NOT_STREAMABLE = "Streaming query is not supported"
STREAMABLE = frozenset(
    {
        *("native", "rowbinary", "csv", "tsv", "tabseparated", "tsvraw", "tabseparatedraw"),
        *("raw", "jsoneachrow", "jsonlines", "ndjson", "lineasstring"),
    }
)
"""Formats whose output is the concatenation of the outputs of its parts; chDB streams parts."""

CONFIG_FILE = "config.xml"
TARGET = f"data?config-file={CONFIG_FILE}"
"""Without a file of its own the engine would read that of the home directory."""
CONFIG = """\
<clickhouse>
    <max_server_memory_usage>{memory_bytes}</max_server_memory_usage>
    <mark_cache_size>67108864</mark_cache_size>
    <timezone>UTC</timezone>
    <users_config>{users}</users_config>
    <merge_tree>
        <fsync_after_insert>1</fsync_after_insert>
        <fsync_part_directory>1</fsync_part_directory>
    </merge_tree>
</clickhouse>
"""


BEFORE_WRITING = frozenset({46, 47, 60, 62, 81, 115, 394})
"""Errors of statements that are not understood, or were stopped: writing rows causes none of them."""


@dataclass(frozen=True)
class Result:
    """What a statement returned.

    Attributes:
        data: the whole result in its format.
        read_rows, read_bytes: what was read from tables.
        written_rows, written_bytes: what was written to them.
        result_rows: rows of the result.
    """

    data: bytes = b""
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0


@dataclass(frozen=True)
class ExternalTable:
    """A table that a request brings along."""

    name: str
    structure: str
    format: str
    data: bytes


class Engine:
    """The engine of this process, open until `close`.

    Connections share one engine and run in parallel; a connection runs one thing at a time. The engine lives as long
    as one connection is open, hence the anchor. The directory becomes the process's own.

    Raises:
        GatewayError: if the directory cannot be used.
    """

    def __init__(self, directory: Path, *, memory_bytes: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / CONFIG_FILE).write_text(CONFIG.format(memory_bytes=memory_bytes, users=USERS_FILE))
        (directory / USERS_FILE).write_text(users_config())
        os.chdir(directory)  # the connection string can quote no path
        self._memory_bytes = memory_bytes
        with _engine_errors():
            self._anchor = Connection(TARGET)
        self._witness = Witness()
        self.version = self.run("SELECT version()").strip()
        self.formats = frozenset(self.run("SELECT lower(name) FROM system.formats").split())

    def run(self, sql: str) -> str:
        """Run a statement of the server's own, before it serves, and return its rows as tab-separated text."""
        with _engine_errors():
            rows: bytes = self._anchor.query(sql, "TabSeparated").bytes()
        return rows.decode()

    def session(
        self, tag: str, *, database: str, settings: Mapping[str, str], parameters: Mapping[str, str]
    ) -> "Session":
        """Open the connection of one request.

        Args:
            tag: by which `kill` finds the request's statements.
            database: the current one.
            settings: by name, applied in this order.
            parameters: query parameters, escaped as in a URL's `param_x`.

        Raises:
            GatewayError: for an unknown database or setting, or a value that a setting cannot take.
        """
        connection = Connection(TARGET)
        session = Session(connection, parameters, self._witness.watching(tag))
        try:
            # Unlimited, one query could take the memory of all others before the server's limit stops it.
            fixed = {"max_memory_usage": str(self._memory_bytes * 3 // 4)}
            session.execute(f"USE {quote_identifier(database)}")
            session.execute("SET " + _assignments({**fixed, **settings, "log_comment": tag}))
        except GatewayError:
            session.close()
            raise
        return session

    def kill(self, tag: str) -> None:
        """Ask the engine to stop what the session of that tag is doing; ask again while it goes on."""
        with closing(Connection(TARGET)) as connection, suppress(RuntimeError):  # out of memory, for example
            connection.query(f"KILL QUERY WHERE Settings['log_comment'] = {quote_text(tag)} ASYNC")

    def close(self) -> None:
        """Shut the engine down, once all sessions are closed."""
        self._witness.close()
        self._anchor.close()


class Session:
    """One request's connection: its settings, temporary tables and parameters are seen by nobody else."""

    def __init__(self, connection: Connection, parameters: Mapping[str, str], watch: "Callable[[], Watch]") -> None:
        self._connection = connection
        self._watch = watch
        self._parameters = dict(parameters)
        self._under_way: list[Generator[bytes, None, None] | Insert] = []

    def execute(self, sql: str, output_format: str = "TabSeparated") -> Result:
        """Run a statement and return its whole result.

        Raises:
            GatewayError: what the engine reports.
        """
        with _engine_errors():
            answer = self._connection.query(sql, output_format, params=self._parameters)
            return Result(
                data=answer.bytes(),
                read_rows=answer.storage_rows_read(),
                read_bytes=answer.storage_bytes_read(),
                written_rows=answer.rows_written(),
                written_bytes=answer.bytes_written(),
                result_rows=answer.rows_read(),
            )

    def stream(self, sql: str, output_format: str) -> Iterator[bytes]:
        """Yield the result of a SELECT part by part; the engine waits while nobody asks for the next.

        A statement or format that cannot be streamed is yielded whole.

        Raises:
            GatewayError: what the engine reports, at any part.
        """
        parts = self._parts(sql, output_format)
        self._under_way.append(parts)
        return parts

    def _parts(self, sql: str, output_format: str) -> Generator[bytes, None, None]:
        if output_format.lower() not in STREAMABLE:
            yield self.execute(sql, output_format).data
            return
        with _engine_errors():
            try:
                stream = self._connection.send_query(sql, output_format, params=self._parameters)
            except RuntimeError as error:
                if NOT_STREAMABLE not in str(error):
                    raise
                yield self.execute(sql, output_format).data
                return
            with stream:
                for part in stream:
                    yield part.bytes()

    def insert(self, clause: str, input_format: str) -> "Insert":
        """Begin an INSERT whose rows are given in parts.

        Raises:
            GatewayError: what the engine reports.
        """
        with _engine_errors():
            if self._parameters:
                # The streaming insert takes none, but reads those of the connection.
                settings = {f"param_{name}": value for name, value in self._parameters.items()}
                self._connection.query("SET " + _assignments(settings))
            insert = Insert(self._connection.send_insert(clause, input_format), self._watch)
        self._under_way.append(insert)
        return insert

    def bring(self, table: ExternalTable) -> None:
        """Create and fill a temporary table.

        Raises:
            GatewayError: for a malformed name or structure, or rows that do not fit.
        """
        if not NAME.fullmatch(table.name):
            raise GatewayError(BAD_ARGUMENTS, f"'{table.name}' cannot be the name of an external table")
        self.execute(f"CREATE TEMPORARY TABLE {quote_identifier(table.name)} ({table.structure})")
        insert = self.insert(f"INSERT INTO {quote_identifier(table.name)}", table.format)
        insert.append(table.data)
        insert.finish()

    def close(self) -> None:
        """Cancel what is under way and close the connection."""
        for work in self._under_way:
            work.close()
        self._connection.close()


class Insert:
    """An INSERT under way; of rows that fill no whole block nothing is visible before `finish`."""

    def __init__(self, inserter: StreamingInserter, watch: "Callable[[], Watch]") -> None:
        self._inserter = inserter
        try:
            self._watch = watch()  # before there is any row that could not be written
        except RuntimeError:
            self.close()
            raise

    def append(self, data: bytes) -> None:
        """Give the next bytes of the rows."""
        if data:
            with _engine_errors():
                self._inserter.append(data)  # type: ignore[no-untyped-call,unused-ignore]  # chDB's signature

    def finish(self) -> Result:
        """Write what was given.

        Raises:
            GatewayError: if the rows were not written, or if that cannot be told.
        """
        with _engine_errors():
            written = self._inserter.finish()
            self._watch.raise_what_was_kept_quiet()
        return Result(written_rows=written.rows_written, written_bytes=written.bytes_written)

    def close(self) -> None:
        """Cancel unless finished: what has not been written is dropped."""
        with suppress(RuntimeError):  # the engine has given the insert up already
            self._inserter.cancel()  # type: ignore[no-untyped-call,unused-ignore]  # chDB's signature


class Witness:
    """Knows what chDB does not tell of an insert: that its rows could not be written.

    The engine counts errors by code, and knows the query that was the last to cause each.
    """

    def __init__(self) -> None:
        self._connection = Connection(TARGET)  # kept, for opening one takes as long as asking
        self._lock = threading.Lock()

    def watching(self, tag: str) -> "Callable[[], Watch]":
        """Return what begins to watch the insert that the session of that tag has under way."""
        return lambda: Watch(self, tag)

    def ask(self, sql: str) -> list[list[str]]:
        """Return the rows of a statement; no value of it may hold tabs or line ends."""
        with self._lock:
            rows: bytes = self._connection.query(sql, "TabSeparatedRaw").bytes()
        return [line.split("\t") for line in rows.decode().splitlines()]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Watch:
    """An insert under way, and the errors that there had been before it."""

    def __init__(self, witness: Witness, tag: str) -> None:
        self._witness = witness
        rows = witness.ask(
            "SELECT toString(code), toString(value) FROM system.errors WHERE NOT remote UNION ALL "  # noqa: S608 - quoted
            "SELECT '', query_id FROM system.processes "
            f"WHERE query_kind = 'Insert' AND Settings['log_comment'] = {quote_text(tag)}"
        )
        self._query_id = next((value for code, value in rows if not code), None)
        self._before = {code: int(value) for code, value in rows if code}

    def raise_what_was_kept_quiet(self) -> None:
        """Raise the error of a write that chDB has met and does not tell: of a full disk, a broken constraint.

        Where others caused the same one meanwhile, ours may be hidden behind theirs: then it is not said that the rows
        were written.
        """
        for code, count, last_query_id in self._witness.ask(
            "SELECT code, value, query_id FROM system.errors WHERE NOT remote"
        ):
            new = int(count) - self._before.get(code, 0)
            if new and (last_query_id == self._query_id or (new > 1 and int(code) not in BEFORE_WRITING)):
                raise GatewayError(int(code), self._message(code))

    def _message(self, code: str) -> str:
        ((message,),) = self._witness.ask(
            r"SELECT replaceRegexpAll(last_error_message, '\s+', ' ') FROM system.errors "  # noqa: S608 - a number
            f"WHERE NOT remote AND code = {code}"
        )
        return message


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # ChdbError is one, and the streaming calls raise bare ones
        raise GatewayError.from_engine(error) from None


def _assignments(settings: Mapping[str, str]) -> str:
    for name in settings:
        if not NAME.fullmatch(name):
            raise GatewayError(BAD_ARGUMENTS, f"'{name}' cannot be the name of a setting")
    return ", ".join(f"{name} = {quote_text(value)}" for name, value in settings.items())


def quote_text(value: str) -> str:
    """Write a string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_identifier(name: str) -> str:
    """Quote a name, whatever it contains."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
