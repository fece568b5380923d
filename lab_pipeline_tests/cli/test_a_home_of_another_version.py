"""A home of a later version is left alone."""

import json
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.runs import strategies
from lab_pipeline.settings import load_settings
from lab_pipeline.storage import catalog_file
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline_tests.support.duck_files import content, leave_no_log

BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")


def changed(path, statement):
    """Return a file that another version has written to, and that nobody has open."""
    file = DuckFile.at(path)
    with file.transaction(write=True) as connection:
        connection.execute(statement)
    leave_no_log(path)
    return file


def assert_refused(ended, what, status=2):
    assert ended.status == status, ended.out + ended.err
    assert f"{what} was written in layout 99 by a later version" in ended.err
    assert "update it" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", [("runs", "list"), ("statistics", "--refresh"), ("gc",), ("up",), BACKTEST])
def test_a_home_of_a_later_version_is_refused_and_left_alone(stocked, command, monkeypatch):
    monkeypatch.setenv("LAB_PORT", "0")
    monkeypatch.setenv("LAB_API_PORT", "0")
    assert stocked("runs", "list").status == 0
    file = changed(stocked.home / "dagster" / "runs.duckdb", "UPDATE run_storage_layout SET version = 99")
    before = content(file.path)
    assert_refused(stocked(*command), "the run storage")
    file.close()
    assert content(file.path) == before


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("strategies", "list"), 2),
        (("statistics",), 2),
        (("statistics", "--refresh"), 1),  # a run, which fails
        (("up",), 2),
        (("api",), 2),
        (BACKTEST, 2),
    ],
)
def test_a_catalog_of_a_later_version_is_refused_and_left_alone(stocked, command, status, monkeypatch):
    monkeypatch.setenv("LAB_PORT", "0")
    monkeypatch.setenv("LAB_API_PORT", "0")
    assert stocked("strategies", "list").status == 0
    file = changed(stocked.home / "catalog.duckdb", "UPDATE catalog_layout SET version = 99")
    before = content(file.path)
    monkeypatch.setattr(catalog_file, "_seen", {})  # as in the process of a command
    assert_refused(stocked(*command), f"the catalog {file.path}", status)
    file.close()
    assert content(file.path) == before


@pytest.mark.parametrize(
    ("command", "status"), [(("statistics",), 2), (("statistics", "--refresh"), 1), (("leaderboard", "runs"), 2)]
)
def test_statistics_of_a_later_version_are_refused_and_left_alone(stocked, command, status):
    assert stocked("statistics", "--refresh").status == 0
    file = changed(stocked.home / "catalog.duckdb", "UPDATE statistics_state SET format = 99")
    before = content(file.path)
    kept = sorted((stocked.home / "statistics").rglob("*"))
    assert_refused(stocked(*command), "the record of statistics", status)
    file.close()
    assert content(file.path) == before
    assert sorted((stocked.home / "statistics").rglob("*")) == kept
    assert stocked("strategies", "list").status == 0  # the rest of the catalog is this version's


@pytest.mark.parametrize("command", [("strategies", "list"), ("statistics", "--refresh")])
def test_a_catalog_without_a_record_of_its_layout_goes_on_and_gets_one(stocked, command, monkeypatch):
    assert stocked("strategies", "list").status == 0
    assert stocked("statistics", "--refresh").status == 0
    file = changed(stocked.home / "catalog.duckdb", "DROP TABLE catalog_layout")
    monkeypatch.setattr(catalog_file, "_seen", {})
    monkeypatch.setattr(strategies, "_prepared", set())
    assert stocked(*command).status == 0
    assert stocked("strategies", "list", "--json").json["strategies"]
    with file.transaction(write=False) as connection:
        assert connection.execute("FROM catalog_layout") == [(1,)]


@pytest.mark.parametrize("command", [("ingest", "calls"), BACKTEST])
def test_a_lake_of_a_later_version_is_refused_and_left_alone(stocked, files, command):
    (stocked.home / "lake" / ".layout").write_text("99\n")
    before = {path: path.read_bytes() for path in (stocked.home / "lake").rglob("*") if path.is_file()}
    words = (*command, files / "calls.csv") if command[0] == "ingest" else command
    assert_refused(stocked(*words), f"the lake {stocked.home / 'lake'}")
    assert {path: path.read_bytes() for path in (stocked.home / "lake").rglob("*") if path.is_file()} == before


def test_artifacts_of_a_later_version_are_told_from_damaged_ones(stocked):
    run_id = stocked(*BACKTEST, "--json").json["runId"]
    path = stocked.home / "artifacts" / run_id / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"layout": 99}))
    before = path.read_bytes()
    assert_refused(stocked("artifacts", "list", run_id), str(path))
    (run,) = stocked("runs", "list", "--json").json["runs"]
    assert "was written in layout 99 by a later version" in run["error"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("command", [("clickhouse", "migrate"), ("clickhouse", "status"), ("clickhouse", "rebuild")])
def test_a_clickhouse_of_a_later_version_is_refused_and_left_alone(stocked, command, monkeypatch, clickhouse_url):
    database = f"later_{uuid4().hex[:12]}"
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", urlsplit(clickhouse_url)._replace(path=f"/{database}").geturl())
    assert stocked("clickhouse", "migrate").status == 0
    query = "SELECT version, name, applied_at FROM schema_migrations ORDER BY version"
    with ClickHouse(clickhouse_config(load_settings())) as clickhouse:
        clickhouse.command("INSERT INTO schema_migrations SELECT 99, 'later', now64(3)")
        before = clickhouse.query(query)
        assert_refused(stocked(*command), f"the ClickHouse database {database}")
        assert clickhouse.query(query).equals(before)
        clickhouse.command(f"DROP DATABASE {database}")
