from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lab_pipeline.clickhouse import client
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.errors import ClickHouseError, EmbeddedServerError, LaterSchemaError
from lab_pipeline.clickhouse.gateway.files import StateFiles
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.clickhouse.schema import (
    RECORD,
    UploadTarget,
    latest_version,
    migrate,
    migrations,
    rendered,
    split_statements,
)

ROWS = ("run_metrics", "run_fills", "run_logs", "run_commits", "sweep_sets", "sweep_days")
TABLES = {*ROWS, "schema_migrations"}


@pytest.fixture
def run(admin, new_database):
    """Runs a statement on the new database, called `$database` in it."""
    target = UploadTarget(new_database.database)
    return lambda sql: admin.raw_query(target.render(sql)).decode()


def migrated(config):
    with ClickHouse(config) as clickhouse:
        return clickhouse.migrate()


def recorded(run):
    return run("SELECT version, name, count() FROM $database.schema_migrations FINAL GROUP BY ALL ORDER BY version")


EVERY_MIGRATION = "".join(f"{migration.version}\t{migration.name}\t1\n" for migration in migrations())


def test_a_new_database_gets_its_tables_and_a_record(new_database, run):
    with ClickHouse(new_database) as clickhouse, pytest.raises(ClickHouseError, match="lab clickhouse migrate"):
        clickhouse.query("SELECT count() FROM run_metrics")
    assert migrated(new_database) == [migration.version for migration in migrations()]
    tables = run("SELECT name FROM system.tables WHERE database = '$database'")
    assert set(tables.split()) == TABLES
    assert recorded(run) == EVERY_MIGRATION
    assert migrated(new_database) == []


def test_many_at_once_end_with_one_schema(new_database, run):
    with ThreadPoolExecutor(8) as pool:
        applied = list(pool.map(migrated, [new_database] * 8))
    assert any(latest_version() in versions for versions in applied)
    assert recorded(run) == EVERY_MIGRATION


def test_a_migration_that_broke_off_is_completed(new_database, run):
    target, statements = UploadTarget(new_database.database), []

    def breaking(sql):
        statements.append(sql)
        if "run_logs" in sql:
            raise ConnectionError
        return run(sql)

    with pytest.raises(ConnectionError):
        migrate(breaking, target, None)
    assert recorded(run) == ""
    assert migrated(new_database) == [migration.version for migration in migrations()]


def test_fills_of_the_first_version_stay_and_get_columns_that_say_nothing_of_them(new_database, run):
    target = UploadTarget(new_database.database)
    run("CREATE DATABASE $database")
    run(target.render(RECORD))
    for statement in rendered(target, 1):
        run(statement)
    run("INSERT INTO $database.schema_migrations VALUES (1, 'create_tables', now64(3))")
    run("INSERT INTO $database.run_fills (run_id, price) VALUES ('old', 1.5)")
    assert migrated(new_database) == [migration.version for migration in migrations()[1:]]
    assert run("SELECT price, slippage, filled FROM $database.run_fills") == "1.5\t\\N\t\\N\n"


def test_every_statement_may_be_run_twice(new_database, run):
    migrated(new_database)
    for migration in migrations():
        for statement in rendered(UploadTarget(new_database.database), migration.version):
            run(statement)


def retention(run):
    found = run(
        "SELECT extract(engine_full, 'toIntervalDay.([0-9]+)') FROM system.tables "
        "WHERE database = '$database' AND name LIKE 'run_%'"
    )
    return set(found.split("\n")[:-1])


def test_retention_is_set_changed_and_removed(new_database, run):
    for days, shown in ((30, "30"), (90, "90"), (90, "90"), (None, "")):
        migrated(replace(new_database, retention_days=days))
        assert retention(run) == {shown}


def test_old_rows_go_and_fresh_rows_of_old_markets_stay(new_database, run):
    migrated(replace(new_database, retention_days=30))
    run(
        "INSERT INTO $database.run_metrics "
        "SELECT 'old', 1, 'equity', now(), number, 0, now() - toIntervalDay(100) FROM numbers(10)"
    )
    run(
        "INSERT INTO $database.run_metrics "
        "SELECT 'new', 1, 'equity', toDateTime('2005-01-01') + number * 864000, number, 0, now() FROM numbers(700)"
    )
    run("OPTIMIZE TABLE $database.run_metrics FINAL")
    assert run("SELECT run_id, count() FROM $database.run_metrics GROUP BY run_id") == "new\t700\n"
    assert run("SELECT uniq(_partition_id) FROM $database.run_metrics") == "1\n"


def test_numbers_of_migrations_are_unique_and_ascend():
    versions = [migration.version for migration in migrations()]
    assert versions == sorted(set(versions))
    assert all(migration.statements for migration in migrations())


@pytest.mark.parametrize("migration", migrations(), ids=lambda migration: migration.name)
def test_the_cluster_variant_is_sound_sql(migration, run):
    """Parsed only: there is no cluster to run it on here."""
    target = UploadTarget("lab", "my_cluster")
    for statement in rendered(target, migration.version):
        assert "$" not in statement
        assert "ON CLUSTER 'my_cluster'" in statement
        assert run("EXPLAIN AST " + statement).startswith(("CreateQuery", "AlterQuery"))


def test_the_cluster_variant_spreads_every_table_and_replicates_it():
    target = UploadTarget("lab", "my_cluster")
    joined = "\n".join(one for migration in migrations() for one in rendered(target, migration.version))
    for table in ROWS:
        assert f"Distributed('my_cluster', 'lab', '{table}_local', cityHash64(run_id))" in joined
    assert "ENGINE = MergeTree" not in joined
    assert "non_replicated" not in joined
    assert "ReplicatedReplacingMergeTree" in joined


def test_statements_are_split_at_line_ends_only():
    text = "-- a; comment\nSELECT ';' AS a;\n\n-- another\nSELECT\n  2;\n"
    assert split_statements(text) == ("SELECT ';' AS a", "SELECT\n  2")


LATER = "INSERT INTO $database.schema_migrations SELECT 99, 'later', now64(3)"
REFUSED = "the ClickHouse database .* was written in layout 99 by a later version.*: update it"


@pytest.fixture
def server(new_database, address):
    """The new database as that of a server which is not the lab's own."""
    login = f"{address['username']}:{address['password']}@{address['host']}:{address['port']}"
    return replace(new_database, url=f"{address.get('interface', 'http')}://{login}/{new_database.database}")


def test_tables_of_a_later_version_are_refused_and_left_alone(server, run):
    migrated(server)
    run(LATER)
    before = recorded(run)
    with ClickHouse(server) as clickhouse:
        with pytest.raises(LaterSchemaError, match=REFUSED):
            clickhouse.query("SELECT count() FROM run_metrics")
        with pytest.raises(LaterSchemaError, match=REFUSED):
            clickhouse.migrate()
    assert recorded(run) == before


def test_the_version_is_asked_for_once_a_connection(server, monkeypatch):
    migrated(server)
    asked = []
    monkeypatch.setattr(client, "applied_versions", lambda *_: asked.append(1) or {latest_version()})
    with ClickHouse(server) as clickhouse:
        for _ in range(3):
            clickhouse.query("SELECT count() FROM run_metrics")
    assert asked == [1]


def test_a_server_without_the_database_or_its_tables_is_told_to_migrate(server, run):
    for statement in ("SELECT 1", "CREATE DATABASE $database"):
        run(statement)
        with ClickHouse(server) as clickhouse, pytest.raises(ClickHouseError, match="lab clickhouse migrate"):
            clickhouse.query("SELECT count() FROM run_metrics")


def test_an_embedded_server_refuses_the_tables_of_a_later_version(own_server):
    files = StateFiles(own_server.state_dir)
    with ClickHouse(own_server) as clickhouse:
        clickhouse.command(UploadTarget(own_server.database).render(LATER))
        files.publish(replace(files.endpoint(), schema=99))  # as if the later version had started it
        with ClickHouse(own_server) as other, pytest.raises(LaterSchemaError, match=REFUSED):
            other.query("SELECT 1")
    stop_server(own_server)
    with ClickHouse(own_server) as clickhouse, pytest.raises(EmbeddedServerError, match=REFUSED):
        clickhouse.query("SELECT 1")
