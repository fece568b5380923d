"""`lab backup` and `lab restore`: what comes back is what was there, and what is wrong is said in one message."""

import json
import os
import sqlite3
from contextlib import closing

import dagster as dg
import pytest

from lab_pipeline.backup import Repository
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.series import visible_rows
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.run_launcher import WORKER_TAG
from lab_pipeline.lake import Lake
from lab_pipeline.operations import backup as module
from lab_pipeline.operations.deletion_lock import deleting, nothing_deleted
from lab_pipeline.runs.idempotency import IdempotencyKeys
from lab_pipeline.settings import load_settings
from lab_pipeline.statistics.catalog import TABLES
from lab_pipeline.storage.catalog_file import open_catalog
from lab_pipeline_tests.support.markets import candles

BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "backup"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, clickhouse_url):
    """Go on as another lab, which has neither a home nor rows in ClickHouse."""

    def move(name="restored"):
        home = tmp_path / name
        monkeypatch.setenv("LAB_HOME", str(home))
        monkeypatch.setenv("LAB_CLICKHOUSE_URL", f"{clickhouse_url.rpartition('/')[0]}/{name}_{os.getpid()}")
        return home

    return move


def everything(lab):
    """Show all that a lab has of its runs, its market and its strategies."""
    settings = load_settings()
    runs = lab("runs", "list", "--json").json["runs"]
    seen = {"runs": runs, "strategies": lab("strategies", "list").out}
    for run in runs:
        run_id = run["runId"]
        seen[run_id] = lab("runs", "show", run_id, "--json").json
        seen[f"log of {run_id}"] = lab("runs", "logs", run_id, "--level", "debug", "--json").out
        directory = settings.artifacts_dir / run_id
        seen[f"artifacts of {run_id}"] = {path.name: path.read_bytes() for path in directory.glob("*")}
        with ClickHouse(clickhouse_config(settings)) as clickhouse:
            for table in ("run_fills", "run_metrics"):
                rows = f"SELECT * EXCEPT (attempt, written_at) FROM {table} WHERE run_id = {{run:String}} ORDER BY ALL"  # noqa: S608
                seen[f"{table} of {run_id}"] = clickhouse.query(rows, {"run": run_id}).to_dicts()
            seen[f"rows of {run_id}"] = visible_rows(clickhouse, run_id)
    with open_catalog(settings.catalog_path).transaction(write=False) as connection:
        for table in TABLES:
            seen[table] = connection.execute(f"SELECT * FROM {table} ORDER BY ALL")  # noqa: S608 - our own names
    with open_instance(settings) as instance:
        seen["tags"] = {run.run_id: run.tags for run in instance.get_runs()}
        keys = [dg.AssetKey(["backtest", "trades"]), dg.AssetKey(["lake", "candles"])]
        events = instance.get_latest_materialization_events(keys)
        seen["assets"] = {str(key): event and (event.run_id, event.timestamp) for key, event in events.items()}
    lake = Lake(settings.lake_dir)
    seen["calls"] = lake.calls().to_dicts()
    with lake.slice("1m", ["AAA", "BBB"], 0, 2**42) as candles_there:
        seen["candles"] = (sum(len(columns) for columns in candles_there), candles_there.snapshot)
    return seen


@pytest.mark.slow
def test_every_run_row_log_and_statistic_is_equal_in_a_new_home(stocked, directory, elsewhere, tmp_path):
    (tmp_path / "mine.json").write_text('{"id": "mine", "exit": {"stopLoss": 0.2}}')
    assert stocked("strategies", "add", tmp_path / "mine.json").status == 0
    for strategy in ("ladder", "mine"):
        assert stocked("backtest", "--strategy", strategy, "--timeframe", "1m").status == 0
    with open_instance(load_settings()) as instance:
        failed = record(instance, dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(instance.get_run_by_id(failed), "it went wrong")
    assert stocked("statistics", "--refresh").status == 0
    inbox = stocked.home / "inbox"
    (inbox / "rejected").mkdir(parents=True)
    (inbox / "rejected" / os.fsdecode(b"M\xfcnchen.csv")).write_text("mint\n")
    (inbox / "waits-1m.csv").write_text("not yet")
    before = everything(stocked)
    assert [run["status"] for run in before["runs"]] == ["failed", "completed", "completed"]
    assert len(before[f"run_fills of {before['runs'][1]['runId']}"]) > 3
    done = stocked("backup", directory)
    assert done.status == 0, done.err
    assert "snapshot 000001-" in done.out
    assert f"{len(before['tags'])} runs" in done.out

    home = elsewhere()
    done = stocked("restore", directory)
    assert done.status == 0, done.err
    assert f"in ClickHouse: {len(before['runs']) - 1} runs" in done.out
    assert everything(stocked) == before
    assert stocked("artifacts", "verify").status == 0
    assert stocked("statistics", "--refresh").status == 0
    after = everything(stocked)
    assert {name: after[name] for name in TABLES} == {name: before[name] for name in TABLES}  # none was computed again
    assert (home / "inbox" / "waits-1m.csv").read_text() == "not yet"
    assert (home / "inbox" / "rejected" / os.fsdecode(b"M\xfcnchen.csv")).read_text() == "mint\n"
    assert stocked(*BACKTEST).status == 0  # and it goes on
    assert stocked("doctor").out.count("FAIL") == 0


def contents(directory):
    repository = Repository(directory)
    return {file.path: file.objects for file in repository.read(repository.find(None)).files}


def test_a_second_backup_writes_only_what_has_changed(stocked, directory):
    with open_instance(load_settings()):
        pass
    first = stocked("backup", directory)
    assert first.status == 0, first.err
    before = contents(directory)
    parts = {path.relative_to(stocked.home).as_posix() for path in stocked.home.rglob("part-*.parquet")}
    path = directory.with_name("more.csv")
    candles(mints=("CCC",)).write_csv(path)
    assert stocked("ingest", "candles", path, "--timeframe", "1m").status == 0
    new = {path.relative_to(stocked.home).as_posix() for path in stocked.home.rglob("part-*.parquet")} - parts
    written = {path.name for path in directory.glob("objects/*/*")}
    assert stocked("backup", directory).status == 0
    after = contents(directory)
    changed = {path for path, objects in after.items() if before.get(path) != objects}
    assert changed >= new
    others = {path for path in changed - new if not path.startswith("dagster/")}  # where the ingest is recorded
    assert others == {"lake/candles/_delta_log/00000000000000000002.json"}
    needed = {one for path in changed for one in after[path]}
    assert {path.name for path in directory.glob("objects/*/*")} == written | needed
    again = stocked("backup", directory)
    assert again.out.endswith("of which 0 were new\n")
    listed = stocked("backup", directory, "--list").out
    assert [line.split()[0][:7] for line in listed.splitlines()[1:]] == ["000001-", "000002-", "000003-"]
    assert "3 snapshots: every content is as it was written" in stocked("backup", directory, "--verify").out
    assert stocked("backup", directory, "--keep", "1").status == 0
    assert Repository(directory).snapshots() == [Repository(directory).find("000004")]


def test_harm_is_found_and_a_backup_mends_it(stocked, directory):
    assert stocked("backup", directory).status == 0
    path = max(directory.glob("objects/*/*"), key=lambda path: path.stat().st_size)
    path.write_bytes(b"!")
    ended = stocked("backup", directory, "--verify")
    assert ended.status == 1
    assert f"{path} is cut or changed: part of " in ended.out
    path.unlink()
    assert stocked("backup", directory).status == 0
    assert stocked("backup", directory, "--verify").status == 0


def test_what_cannot_be_backed_up_or_restored_is_one_clear_message(stocked, directory, tmp_path, monkeypatch):
    def refused(*words):
        ended = stocked(*words)
        assert ended.status == 2
        assert ended.err.strip().count("\n") == 0
        assert "Traceback" not in ended.err
        return ended.err

    assert "there is no backup in" in refused("restore", directory)
    assert "there is no backup in" in refused("backup", directory, "--list")
    assert "lie in one another" in refused("backup", stocked.home / "backup")
    assert "lie in one another" in refused("backup", tmp_path)
    assert "give one of --keep, --list and --verify" in refused("backup", directory, "--list", "--verify")
    assert stocked("backup", directory).status == 0
    assert "is not empty: set LAB_HOME to a directory" in refused("restore", directory)
    assert "no snapshot begins with '7'" in refused("restore", directory, "--snapshot", "7")
    monkeypatch.setattr(module, "DuckDBRunStorage", type("Other", (), {}))
    assert "`pg_dump`" in refused("backup", directory)
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "nowhere"))
    assert "there is no lab at" in refused("backup", directory)
    assert not (tmp_path / "nowhere").exists()


def test_a_home_is_restored_though_clickhouse_is_away(stocked, directory, elsewhere, monkeypatch):
    assert stocked("backup", directory).status == 0
    home = elsewhere()
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", "http://user:secret@127.0.0.1:9/lab")
    ended = stocked("restore", directory)
    assert ended.status == 1
    assert "the home is restored, but ClickHouse has not got its rows" in ended.err
    assert "`lab clickhouse rebuild`" in ended.err
    assert Lake(home / "lake").timeframes() == ["1m"]


def record(instance, status, **tags):
    return instance.add_run(dg.DagsterRun(job_name="backtest", status=status, tags=tags)).run_id


def test_runs_that_were_not_done_are_those_of_a_lab_that_was_killed(stocked, directory, elsewhere):
    settings = load_settings()
    with open_instance(settings) as instance:
        executed = record(instance, dg.DagsterRunStatus.STARTED)
        instance.add_run_tags(executed, {WORKER_TAG: executed})
        foreign = record(instance, dg.DagsterRunStatus.STARTED)
        odd = record(instance, dg.DagsterRunStatus.STARTED, **{WORKER_TAG: "../../../odd"})
        waiting = record(instance, dg.DagsterRunStatus.NOT_STARTED)
        ended = record(instance, dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(instance.get_run_by_id(ended), "so it ended")
    with closing(sqlite3.connect(settings.dagster_home / "history" / "runs" / "index.db")) as index:
        assert index.execute("SELECT count(*) FROM event_logs WHERE run_id = ?", [ended]).fetchone() == (1,)
    with open_instance(settings) as instance, instance.run_storage.connect() as connection:
        # As if its end had been recorded after the runs were read, and before the index of events was.
        connection.exec_driver_sql(f"UPDATE runs SET status = 'STARTED' WHERE run_id = '{ended}'")  # noqa: S608
    keys = IdempotencyKeys(settings.catalog_path)
    keys.once("known", b"{}", lambda _: waiting)
    keys.once("later", b"{}", lambda _: "a-run-that-was-asked-for-later")
    assert stocked("backup", directory).status == 0

    home = elsewhere()
    done = stocked("restore", directory)
    assert done.status == 0, done.err
    assert f"3 runs ({', '.join(sorted([executed, foreign, odd]))}) were under way" in done.out
    assert f"1 run ({waiting}) was waiting in the queue" in done.out
    assert {path.name for path in (home / "dagster" / "workers").iterdir()} == {
        f"{run}.lock" for run in (executed, foreign, odd)
    }
    from lab_pipeline.dagster_ext.reconcile import reconcile_dead  # noqa: PLC0415 - what `lab up` begins with

    with open_instance(load_settings()) as instance:
        reconcile_dead(instance, load_settings())
        status = {run.run_id: run.status.value for run in instance.get_runs()}
    assert status == {waiting: "NOT_STARTED"} | dict.fromkeys((executed, foreign, odd, ended), "FAILURE")
    keys = IdempotencyKeys(load_settings().catalog_path)
    assert keys.once("known", b"{}", lambda _: "another") == waiting
    assert keys.once("later", b"{}", lambda _: "another") == "another"


def test_a_run_without_artifacts_is_named(stocked, directory):
    with open_instance(load_settings()) as instance:
        lost = record(instance, dg.DagsterRunStatus.SUCCESS)
        record(instance, dg.DagsterRunStatus.SUCCESS, **{"lab/legacy": "true"})
    ended = stocked("backup", directory)
    assert ended.status == 0
    assert f"1 run ({lost}) was without artifacts in the lab itself" in ended.out


def test_links_into_other_disks_are_followed_and_circles_are_not(stocked, directory, elsewhere, tmp_path):
    far = tmp_path / "far"
    (stocked.home / "lake" / "calls").rename(far)
    (stocked.home / "lake" / "calls").symlink_to(far)
    (stocked.home / "lake" / "circle").symlink_to(stocked.home / "lake")
    (stocked.home / "nowhere").symlink_to(tmp_path / "gone")
    before = Lake(stocked.home / "lake").calls().to_dicts()
    assert stocked("backup", directory).status == 0
    home = elsewhere()
    assert stocked("restore", directory).status == 0
    assert not (home / "lake" / "calls").is_symlink()
    assert Lake(home / "lake").calls().to_dicts() == before


def test_what_is_about_this_machine_stays_here(stocked, directory):
    with open_instance(load_settings()):
        pass
    for path in ("clickhouse/password", "logs/api.log", "scratch/one", "locks/two", "dagster/workers/three.lock"):
        (stocked.home / path).parent.mkdir(parents=True, exist_ok=True)
        (stocked.home / path).write_text("x")
    (stocked.home / "notes.txt").write_text("mine")
    assert stocked("backup", directory).status == 0
    repository = Repository(directory)
    paths = {file.path for file in repository.read(repository.find(None)).files}
    assert {"notes.txt", "dagster/dagster.yaml", "dagster/runs.duckdb", "lake/.layout"} <= paths
    assert not [path for path in paths if path.startswith(("clickhouse", "logs", "scratch", "locks")) or "lock" in path]


def test_deletions_wait_for_a_backup_and_it_for_them(lab, monkeypatch):  # noqa: ARG001 - it sets where the home is
    settings = load_settings()
    monkeypatch.setattr("lab_pipeline.operations.deletion_lock.WAIT_SECONDS", 0.2)
    with (
        deleting(settings),
        deleting(settings),
        pytest.raises(Exception, match="stayed locked"),
        nothing_deleted(settings),
    ):
        pass
    with nothing_deleted(settings), pytest.raises(Exception, match="stayed locked"), deleting(settings):
        pass
    with nothing_deleted(settings):
        pass


def test_the_order_of_a_backup_is_that_in_which_runs_are_written(stocked, directory, monkeypatch):
    """What is written after a store was read may be in those that are read later, never the other way round."""
    order = []
    for name in ("copy_sqlite", "copy_duckdb"):
        original = getattr(module.Copier, name)

        def spy(self, path, original=original):
            order.append(path.name)
            return original(self, path)

        monkeypatch.setattr(module.Copier, name, spy)
    copy = module.Copier.copy

    def listed(self, paths):
        paths = list(paths)
        order.extend(path.relative_to(stocked.home).parts[0] for path in paths)
        return copy(self, paths)

    assert json.loads(stocked(*BACKTEST).out)["status"] == "completed"
    monkeypatch.setattr(module.Copier, "copy", listed)
    (stocked.home / "inbox" / "done").mkdir(parents=True)
    (stocked.home / "inbox" / "done" / "file.csv").touch()
    assert stocked("backup", directory).status == 0
    second = order[order.index("schedules.db") - 1 :]  # of the first pass nothing is kept
    wanted = ["inbox", "schedules.db", "runs.duckdb", "index.db", "artifacts", "catalog.duckdb", "lake"]
    assert sorted(wanted, key=second.index) == wanted
