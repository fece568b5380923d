"""Dagster's run storage tables in a DuckDB file: creating them, and letting an older file grow."""

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Float, Table
from sqlalchemy.types import NullType

from lab_pipeline.domain.errors import later_layout
from lab_pipeline.files.errors import StorageError
from lab_pipeline.storage.dialect import DuckDBDialect
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.internals import ALEMBIC_SCRIPTS_LOCATION, RunStorageSqlMetadata
from lab_pipeline.storage.run_rows import LAYOUT


def is_current(connection: DuckConnection) -> bool:
    """Return whether the file has been created as a run storage.

    Raises:
        StorageError: a later version of this storage has written it.
    """
    if "run_storage_layout" not in columns(connection):
        return False
    ((layout,),) = connection.execute("SELECT max(version) FROM run_storage_layout")
    if layout > LAYOUT:
        raise StorageError(later_layout("the run storage", layout, LAYOUT))
    return True


def create(connection: DuckConnection) -> None:
    """Create what the file lacks of the tables and columns that the installed Dagster declares; record the versions.

    DuckDB's limits decide how: ids come from sequences; there are no foreign keys (they cannot cascade, and forbid
    updates), and no indexes but those that keep keys unique, since each makes every attachment and update slower.
    """
    present = columns(connection)
    for table in RunStorageSqlMetadata.sorted_tables:
        if table.name not in present:
            _create_table(connection, table)
            continue
        for column in table.columns:
            if column.name not in present[table.name]:
                connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {_type_of(column)}")
    connection.execute("CREATE TABLE IF NOT EXISTS run_storage_layout (version INTEGER NOT NULL)")
    connection.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR NOT NULL)")
    connection.execute("DELETE FROM run_storage_layout")
    connection.execute("DELETE FROM alembic_version")
    connection.execute("INSERT INTO run_storage_layout VALUES (?)", [LAYOUT])
    connection.execute("INSERT INTO alembic_version VALUES (?)", [head_revision()])


def columns(connection: DuckConnection) -> dict[str, set[str]]:
    """List the columns of every table of the file."""
    rows = connection.execute(
        "SELECT table_name, list(column_name) FROM duckdb_columns() "
        "WHERE database_name = current_database() GROUP BY ALL"
    )
    return {table: set(names) for table, names in rows}


def revision(connection: DuckConnection) -> str | None:
    """Return the revision of Dagster's schema that the file was brought to."""
    rows = connection.execute("SELECT version_num FROM alembic_version")
    return rows[0][0] if rows else None


def head_revision() -> str | None:
    """Return the latest revision of the schema that the installed Dagster knows."""
    config = Config()
    config.set_main_option("script_location", ALEMBIC_SCRIPTS_LOCATION)
    return ScriptDirectory.from_config(config).get_current_head()


def _create_table(connection: DuckConnection, table: Table) -> None:
    connection.execute(f"CREATE SEQUENCE {table.name}_id_seq")
    lines = ", ".join(_define(table, column) for column in table.columns)
    connection.execute(f"CREATE TABLE {table.name} ({lines})")


def _define(table: Table, column: Column[object]) -> str:
    if column.primary_key:  # unique by its sequence: an index would only have to be kept
        return f"{column.name} BIGINT NOT NULL DEFAULT nextval('{table.name}_id_seq')"
    parts = [f'"{column.name}"', _type_of(column)]
    if not column.nullable:
        parts.append("NOT NULL")
    if column.server_default is not None:
        parts.append("DEFAULT CURRENT_TIMESTAMP")  # Dagster's tables know no other
    if column.unique or any(index.unique and list(index.columns) == [column] for index in table.indexes):
        parts.append("UNIQUE")
    return " ".join(parts)


def _type_of(column: Column[object]) -> str:
    if isinstance(column.type, Float):
        return "DOUBLE"  # FLOAT has 24 bits, too few for seconds since 1970
    if isinstance(column.type, NullType):
        return "VARCHAR"  # typed by the key it refers to, a run id
    return column.type.compile(dialect=DuckDBDialect())  # type: ignore[no-untyped-call]  # SQLAlchemy's
