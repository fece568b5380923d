"""The tables and their history: numbered SQL, applied once, recorded, for one server or a cluster.

Every statement of a migration must be idempotent (`IF NOT EXISTS` and the like). ClickHouse has no lock that two
processes could take, so both may run the same migration at once; each statement then takes effect once.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template

from lab_pipeline.clickhouse.errors import LaterSchemaError
from lab_pipeline.domain.errors import later_layout

Run = Callable[[str], str]
"""Runs one statement and returns its rows as tab-separated text."""

MIGRATION_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
DEDUPLICATED_BLOCKS = 10_000
"""Inserts into a table until its oldest token is forgotten; a writer gives up long before."""

RETENTION_COLUMN = {
    "run_metrics": "written_at",
    "run_fills": "written_at",
    "run_logs": "timestamp",
    "sweep_sets": "written_at",
    "sweep_days": "written_at",
    "run_commits": "committed_at",
}
"""From which time on each table's rows grow old."""
RECORD = """\
CREATE TABLE IF NOT EXISTS $database.schema_migrations $on_cluster
(
    version UInt32,
    name String,
    applied_at DateTime64(3, 'UTC')
)
ENGINE = $replacing_merge_tree
ORDER BY version
"""


RECORD_ONE = "INSERT INTO $database.schema_migrations (version, name, applied_at) SELECT"
ENGINE_OF = "SELECT engine_full FROM system.tables WHERE database = '$database' AND name = '$table$local'"


@dataclass(frozen=True)
class Migration:
    """One step of the schema's history.

    Attributes:
        version: its number.
        name: what it does.
        statements: templates for every server, then those for clusters alone.
    """

    version: int
    name: str
    statements: tuple[str, ...]
    cluster_statements: tuple[str, ...]


@dataclass(frozen=True)
class UploadTarget:
    """Where the schema is to be.

    Attributes:
        database: in which the tables are; a plain name, as `ClickHouseConfig` makes sure.
        cluster: on which DDL runs; None: one server.
    """

    database: str
    cluster: str | None = None

    @property
    def local(self) -> str:
        """Suffix of the tables that hold rows."""
        return "_local" if self.cluster else ""

    def render(self, template: str, **names: str) -> str:
        """Fill names into a statement."""
        prefix = "Replicated" if self.cluster else ""
        kind = "replicated" if self.cluster else "non_replicated"
        return Template(template).substitute(
            database=self.database,
            cluster=self.cluster or "",
            on_cluster=f"ON CLUSTER '{self.cluster}'" if self.cluster else "",
            local=self.local,
            merge_tree=f"{prefix}MergeTree",
            replacing_merge_tree=f"{prefix}ReplacingMergeTree",
            deduplication=f"{kind}_deduplication_window = {DEDUPLICATED_BLOCKS}",
            **names,
        )


@cache
def migrations() -> tuple[Migration, ...]:
    """Return the schema's history, oldest first."""
    directory = files(__package__) / "migrations"
    found = []
    for file in sorted(directory.iterdir(), key=lambda file: file.name):
        named = MIGRATION_FILE.fullmatch(file.name)
        if named:
            more = directory / file.name.replace(".sql", ".cluster.sql")
            found.append(
                Migration(
                    version=int(named.group(1)),
                    name=named.group(2),
                    statements=split_statements(file.read_text(encoding="utf-8")),
                    cluster_statements=split_statements(more.read_text(encoding="utf-8")) if more.is_file() else (),
                )
            )
    return tuple(found)


def split_statements(text: str) -> tuple[str, ...]:
    """Split a migration at the semicolons that end lines; comments between statements are dropped."""
    code = re.sub(r"^--[^\n]*\n", "", text, flags=re.MULTILINE)
    return tuple(statement.strip() for statement in re.split(r";\s*$", code, flags=re.MULTILINE) if statement.strip())


def latest_version() -> int:
    """Return the version that this package needs."""
    return migrations()[-1].version


def rendered(target: UploadTarget, version: int) -> list[str]:
    """Return the statements of one migration for a server or cluster."""
    migration = next(migration for migration in migrations() if migration.version == version)
    templates = migration.statements + (migration.cluster_statements if target.cluster else ())
    return [target.render(template) for template in templates]


def migrate(run: Run, target: UploadTarget, retention_days: int | None) -> list[int]:
    """Bring the schema up to date and return the versions that were applied now.

    Args:
        run: runs a statement; not in `target.database`, which need not exist yet.
        target: where the schema is to be.
        retention_days: after which rows are dropped; None: never.

    Raises:
        LaterSchemaError: a later version of the lab has brought it further than this one knows; nothing was changed.
    """
    run(target.render("CREATE DATABASE IF NOT EXISTS $database $on_cluster"))
    run(target.render(RECORD))
    applied = applied_versions(run, target)
    require_known(max(applied, default=0), target.database)
    missing = [migration for migration in migrations() if migration.version not in applied]
    for migration in missing:
        for statement in rendered(target, migration.version):
            run(statement)
        run(target.render(f"{RECORD_ONE} {migration.version}, '{migration.name}', now64(3)"))
    for table in RETENTION_COLUMN:
        _retain(run, target, table, retention_days)
    return [migration.version for migration in missing]


def require_known(version: int, database: str) -> None:
    """Require that a version of the schema is none of a later lab's.

    Raises:
        LaterSchemaError: if it is.
    """
    if version > latest_version():
        raise LaterSchemaError(later_layout(f"the ClickHouse database {database}", version, latest_version()))


def applied_versions(run: Run, target: UploadTarget) -> set[int]:
    """Return the recorded versions."""
    return {
        int(line) for line in run(target.render("SELECT DISTINCT version FROM $database.schema_migrations")).split()
    }


def _retain(run: Run, target: UploadTarget, table: str, days: int | None) -> None:
    """Set, change or remove the time to live of a table; do nothing where it is as wanted."""
    engine = run(target.render(ENGINE_OF, table=table))
    found = re.search(r" TTL .*?toIntervalDay\((\d+)\)", engine)
    present = int(found.group(1)) if found else None
    if present == days:
        return
    column = RETENTION_COLUMN[table]
    change = "REMOVE TTL" if days is None else f"MODIFY TTL toDateTime({column}) + toIntervalDay({days})"
    run(target.render(f"ALTER TABLE $database.$table$local $on_cluster {change}", table=table))
