import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test, instance_for_test

from lab_pipeline.storage.event_log_storage import KEPT_CONNECTIONS, BatchingEventLogStorage, _Watchdog

CLASS = {"module": BatchingEventLogStorage.__module__, "class": BatchingEventLogStorage.__name__}


@pytest.fixture
def instance():
    with instance_for_test(overrides={"event_log_storage": CLASS}) as opened:
        yield opened


@pytest.fixture
def run(instance):
    return create_run_for_test(instance)


def opened_files():
    links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return [str(link.readlink()) for link in links if link.is_symlink()]


def said(instance, run_id):
    return [entry.message for entry in instance.all_logs(run_id)]


def test_a_process_keeps_few_files_open_and_none_once_it_has_done(instance):
    for number in range(3 * KEPT_CONNECTIONS):
        instance.report_engine_event(str(number), create_run_for_test(instance))
    directory = str(Path(instance.event_log_storage.path_for_shard("index")).parent)
    assert (
        len({name for name in opened_files() if name.startswith(directory) and name.endswith(".db")})
        <= KEPT_CONNECTIONS
    )
    instance.event_log_storage.dispose()
    assert not [name for name in opened_files() if name.startswith(directory)]
    assert not list(Path(directory).glob("*-wal"))


def test_the_log_of_a_run_takes_little_more_than_its_events(instance, run):
    for number in range(20):
        instance.report_engine_event(str(number), run)
    path = Path(instance.event_log_storage.path_for_shard(run.run_id))
    instance.event_log_storage.dispose()
    with closing(sqlite3.connect(path)) as connection:
        ((text,),) = connection.execute("SELECT sum(length(event)) FROM event_logs")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    assert path.stat().st_size < 2 * text + 40_000


def test_what_one_process_writes_another_reads_at_once(instance, run):
    with dg.DagsterInstance.from_ref(instance.get_ref()) as other:
        for number in range(3):
            instance.report_engine_event(f"mine {number}", run)
            other.report_engine_event(f"theirs {number}", run)
        expected = [f"{whose} {number}" for number in range(3) for whose in ("mine", "theirs")]
        assert said(instance, run.run_id) == said(other, run.run_id) == expected


def test_an_event_goes_to_the_file_that_has_the_name_now(instance, run):
    instance.report_engine_event("before", run)
    path = Path(instance.event_log_storage.path_for_shard(run.run_id))
    instance.event_log_storage.dispose()
    before = path.read_bytes()
    instance.report_engine_event("to the file that goes", run)
    for name in path.parent.glob(f"{path.name}*"):
        name.unlink()
    path.write_bytes(before)
    instance.report_engine_event("after", run)
    assert said(instance, run.run_id) == ["before", "after"]


def test_a_log_is_followed_while_its_writer_keeps_the_file_open(instance, run):
    seen, arrived = [], threading.Event()

    def listen(entry, _cursor):
        seen.append(entry.message)
        if "second" in seen:
            arrived.set()

    instance.report_engine_event("first", run)
    with dg.DagsterInstance.from_ref(instance.get_ref()) as other:
        other.watch_event_logs(run.run_id, None, listen)
        instance.report_engine_event("second", run)
        assert arrived.wait(30)
        other.end_watch_event_logs(run.run_id, listen)
    assert seen[-1] == "second"


def test_whoever_follows_a_log_waits_for_the_commit_that_is_being_written(instance, run):
    seen = []
    instance.report_engine_event("first", run)
    storage = instance.event_log_storage
    watchdog = _Watchdog(storage, run.run_id, lambda entry, _cursor: seen.append(entry.message), None)
    with closing(sqlite3.connect(storage.path_for_shard(run.run_id), isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(
            "INSERT INTO event_logs (run_id, event, timestamp) SELECT run_id, event, timestamp FROM event_logs"
        )
        following = threading.Thread(target=watchdog.on_modified, args=(None,))
        following.start()
        following.join(0.2)
        assert following.is_alive()
        assert not seen
        writer.execute("COMMIT")
    following.join()
    assert seen == ["first", "first"]


def test_a_forked_process_leaves_the_connections_of_its_parent_alone(instance, run):
    instance.report_engine_event("parent", run)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            instance.report_engine_event("child", run)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    instance.report_engine_event("parent again", run)
    assert said(instance, run.run_id) == ["parent", "child", "parent again"]


def test_an_error_within_a_transaction_leaves_a_connection_that_works(instance, run):
    storage = instance.event_log_storage
    instance.report_engine_event("before", run)

    def fail():
        with storage.run_connection(run.run_id) as connection:
            connection.exec_driver_sql("DELETE FROM event_logs")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    instance.report_engine_event("after", run)
    assert said(instance, run.run_id) == ["before", "after"]


def test_a_log_is_read_within_a_read_of_the_same_log(instance, run):
    instance.report_engine_event("one", run)
    storage = instance.event_log_storage
    with storage.run_connection(run.run_id) as outer, storage.run_connection(run.run_id) as inner:
        counts = [one.exec_driver_sql("SELECT count(*) FROM event_logs").scalar() for one in (outer, inner)]
    assert counts == [1, 1]
