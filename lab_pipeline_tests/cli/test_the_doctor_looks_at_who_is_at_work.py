"""`lab doctor` fails for log lines that nobody ships, and for services other than those of `lab up` that are dead."""

import time
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.events.log import EventLogEntry
from dagster._daemon.types import DaemonHeartbeat

from lab_pipeline.cli.up import only_one
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import load_settings

AWAY = "http://127.0.0.1:9"
HOUR, DAYS = timedelta(hours=1).total_seconds(), timedelta(days=3).total_seconds()


def finding(lab, part):
    """Return what `lab doctor` says of a part, with its mark, and the remedy or hint below it."""
    lines = lab("doctor").out.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line[5:].startswith(f"{part} "))
    below = lines[at + 1] if len(lines) > at + 1 else ""
    return lines[at], below.partition("-> ")[2] if below.startswith("     ") else ""


def beat(seconds_ago):
    with open_instance(load_settings()) as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - seconds_ago, kind, "one", []))


@pytest.fixture
def say(lab):
    """Begin a run and write a line to its log as if some seconds ago."""

    def say(seconds_ago):
        with open_instance(load_settings()) as instance:
            run_id = instance.add_run(dg.DagsterRun(job_name="other", status=dg.DagsterRunStatus.STARTED)).run_id
            line = EventLogEntry(None, 20, "a line", run_id, time.time() - seconds_ago)
            instance.handle_new_event(line)

    assert lab("runs", "list").status == 0
    return say


@pytest.fixture
def own(lab):
    """Make the dagster.yaml of the home its user's own."""
    assert lab("runs", "list").status == 0
    path = load_settings().dagster_home / "dagster.yaml"
    path.write_text(path.read_text().partition("# part is for")[2].partition("\n")[2])


def test_lines_that_wait_for_long_are_a_failure_where_something_should_ship_them(lab, say):
    say(HOUR)
    assert finding(lab, "log shipper")[0] == (
        "ok   log shipper  1 log lines of 1 runs are on their way (`lab up` or `lab clickhouse ship`)"
    )
    beat(0)
    line, remedy = finding(lab, "log shipper")
    assert line == "FAIL log shipper  1 log lines of 1 runs wait, the oldest for 60 minutes"
    assert "`lab clickhouse ship --once`" in remedy
    beat(HOUR)
    with only_one(load_settings()):
        line, remedy = finding(lab, "log shipper")
    assert line.startswith("FAIL")
    assert "api.log" in remedy
    assert lab("clickhouse", "ship", "--once").status == 0
    beat(0)
    assert finding(lab, "log shipper")[0] == "ok   log shipper  every log line is there"


def test_lines_that_have_just_been_written_are_none(lab, say):
    say(10)
    beat(0)
    assert finding(lab, "log shipper")[0].startswith("ok")


def test_lines_wait_while_clickhouse_does_not_answer(lab, say, monkeypatch):
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", AWAY)
    beat(0)
    assert finding(lab, "log shipper")[0].startswith("ok")  # no run, no line
    say(HOUR)
    line, remedy = finding(lab, "log shipper")
    assert line == "FAIL log shipper  ClickHouse does not answer, so new log lines of 1 runs wait"
    assert "LAB_CLICKHOUSE_URL" in remedy
    beat(HOUR)
    assert finding(lab, "log shipper")[0] == "ok   log shipper  not looked at: ClickHouse does not run"


@pytest.mark.usefixtures("own")
def test_a_daemon_that_runs_without_lab_up_is_judged_by_its_signs_of_life(lab):
    assert (
        finding(lab, "daemon")[0] == "ok   daemon       has never run; its service (`lab daemon`) or `lab up` starts it"
    )
    beat(0)
    assert finding(lab, "daemon")[0].startswith("ok")
    beat(DAYS)
    line, remedy = finding(lab, "daemon")
    assert line.startswith("FAIL daemon       ")
    assert line.endswith("silent for over 90 s")
    assert remedy == "start the daemon's service (`lab daemon`), or `lab up` if that runs this lab"
    assert lab("doctor").status == 1


def test_a_daemon_of_lab_up_that_was_stopped_is_no_failure(lab):
    beat(DAYS)
    assert finding(lab, "daemon")[0] == "ok   daemon       not running; `lab up` starts it"


@pytest.mark.usefixtures("own")
def test_services_that_run_elsewhere_are_named_and_not_lab_up(lab, monkeypatch):
    monkeypatch.setenv("LAB_PORT", "1")
    monkeypatch.setenv("LAB_API_PORT", "1")
    assert finding(lab, "webserver")[0].startswith("ok   webserver    nothing answers on 127.0.0.1:1; its service")
    assert finding(lab, "HTTP API")[0].startswith("ok   HTTP API     nothing answers on 127.0.0.1:1; its service")
    monkeypatch.setenv("LAB_DAGSTER_URL", AWAY)
    line, remedy = finding(lab, "webserver")
    assert line == f"FAIL webserver    does not answer on {AWAY}"
    assert remedy.startswith("start the webserver's service, or correct LAB_DAGSTER_URL; it and this command have one")
