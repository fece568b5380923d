import json
import threading
import time

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import load_settings

BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")


def numbered(ended):
    return [json.loads(line) for line in ended.out.splitlines()]


@pytest.fixture
def run_id(stocked):
    return stocked(*BACKTEST).json["runId"]


def test_lines_are_there_without_any_shipper(stocked, run_id):
    ended = stocked("runs", "logs", run_id[:8])
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert "INFO     run.resolve strategy ladder version 1, 3 calls" in lines[0]
    assert "rows of metrics and fills are in ClickHouse" in lines[-1]
    assert "STEP_START" not in ended.out


def test_json_is_an_object_a_line_and_all_levels_are_the_event_log(stocked, run_id):
    lines = numbered(stocked("runs", "logs", run_id, "--level", "debug", "--json"))
    with open_instance(load_settings()) as instance:
        records = instance.get_records_for_run(run_id).records
    assert [line["seq"] for line in lines] == [record.storage_id for record in records]
    assert [line["message"] for line in lines] == [record.event_log_entry.message for record in records]
    checks = [line["data"]["metadata"] for line in lines if line["eventType"] == "ASSET_CHECK_EVALUATION"]
    rows = [
        (data["rows in ClickHouse"], data["rows in the artifacts"]) for data in checks if "rows in ClickHouse" in data
    ]
    assert len(rows) == 2
    assert all(written == expected for written, expected in rows)
    assert set(lines[0]) == {"seq", "timestamp", "level", "step", "eventType", "message", "stack", "data"}


def test_search_level_and_tail_choose_lines(stocked, run_id):
    (found,) = numbered(stocked("runs", "logs", run_id, "--search", "SIMULATED 3 calls", "--json"))
    assert found["step"] == "run.simulate"
    assert stocked("runs", "logs", run_id, "--level", "error").out == ""
    everything = numbered(stocked("runs", "logs", run_id, "--json"))
    assert numbered(stocked("runs", "logs", run_id, "--tail", 2, "--json")) == everything[-2:]


def test_the_stack_of_a_failure_is_printed(stocked, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError("no candles")

    monkeypatch.setattr("lab_pipeline.runs.backtest.simulate", broken)
    stocked(*BACKTEST)
    run_id = stocked("runs", "list", "--json").json["runs"][0]["runId"]
    ended = stocked("runs", "logs", run_id, "--level", "error")
    assert "ZeroDivisionError: no candles" in ended.out
    assert "in simulate\n" in ended.out


def test_following_ends_with_the_run(stocked):
    with open_instance(load_settings()) as instance:
        other = create_run_for_test(instance, job_name="other", status=dg.DagsterRunStatus.STARTED)

        def end():
            time.sleep(1.5)
            instance.report_engine_event("half way", other)
            time.sleep(1.5)
            instance.report_run_failed(other, "the end")

        thread = threading.Thread(target=end)
        thread.start()
        lines = numbered(stocked("runs", "logs", other.run_id, "--follow", "--level", "debug", "--json"))
        thread.join()
        assert [line["message"] for line in lines][:1] == ["half way"]
        assert lines[-1]["message"] == "the end"
        assert len({line["seq"] for line in lines}) == len(lines)


def test_an_unknown_run_and_a_clickhouse_that_is_away(stocked, run_id, monkeypatch):
    unknown = stocked("runs", "logs", "nothing")
    assert unknown.status == 2
    assert "unknown run 'nothing'" in unknown.err
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LAB_CLICKHOUSE_WAIT_SECONDS", "0.2")
    away = stocked("runs", "logs", run_id)
    assert away.status == 2
    assert away.out == ""
    assert "does not answer" in away.err


def test_shipping_once_reports_and_the_doctor_sees_it(stocked, run_id):
    assert "log lines of 1 runs are on their way" in stocked("doctor").out
    assert stocked("clickhouse", "ship", "--once").out.endswith(" lines shipped\n")
    assert "every log line is there" in stocked("doctor").out
    assert len(numbered(stocked("runs", "logs", run_id, "--json"))) > 3
