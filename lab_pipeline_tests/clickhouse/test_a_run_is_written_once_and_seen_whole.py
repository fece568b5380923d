import time
from dataclasses import replace

import polars as pl
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from polars.testing import assert_frame_equal

from lab_pipeline.clickhouse import writer
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.errors import ClickHouseError, ClickHouseUnavailableError
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.clickhouse.series import metric_series, visible_rows
from lab_pipeline.clickhouse.writer import METRIC_KINDS, delete_run, publish_run
from lab_pipeline.domain.frames import FILLS
from lab_pipeline_tests.clickhouse.market import equity_frame, fills_frame

NOWHERE = "http://user:secret@127.0.0.1:9/lab"


def rows_of(points, fills):
    return {**dict.fromkeys(METRIC_KINDS, points), "fills": fills}


def stored(clickhouse, table, run_id):
    return clickhouse.query(
        "SELECT * FROM {table:Identifier} WHERE run_id = {run:String} ORDER BY seq", {"table": table, "run": run_id}
    )


def breaking_at(clickhouse, table, monkeypatch):
    insert = clickhouse.insert

    def broken(name, rows, token):
        if name == table:
            raise ClickHouseUnavailableError("gone")
        insert(name, rows, token)

    monkeypatch.setattr(clickhouse, "insert", broken)


def test_frames_arrive_as_they_are(clickhouse, run_id):
    equity, fills = equity_frame(300), fills_frame(40)
    published = publish_run(clickhouse, run_id, equity, fills)
    assert published.rows == {"run_metrics": 1500, "run_fills": 40}
    assert visible_rows(clickhouse, run_id) == rows_of(300, 40)
    assert_frame_equal(stored(clickhouse, "run_fills", run_id).select(FILLS.names()), fills)
    metrics = stored(clickhouse, "run_metrics", run_id)
    for kind in METRIC_KINDS:
        values = metrics.filter(kind=kind).select("timestamp", pl.col("value").alias(kind))
        assert_frame_equal(values, equity.select("timestamp", pl.col(kind).cast(pl.Float64)))


def test_a_run_without_trades_is_committed_too(clickhouse, run_id):
    publish_run(clickhouse, run_id, equity_frame(0), fills_frame(0))
    assert visible_rows(clickhouse, run_id) == rows_of(0, 0)
    assert metric_series(clickhouse, run_id).height == 0


def test_a_run_in_many_batches_is_whole(clickhouse, run_id, monkeypatch):
    monkeypatch.setattr(writer, "BATCH_ROWS", 70)
    publish_run(clickhouse, run_id, equity_frame(333), fills_frame(150))
    assert visible_rows(clickhouse, run_id) == rows_of(333, 150)


def test_an_unknown_run_has_no_rows(clickhouse, run_id):
    assert visible_rows(clickhouse, run_id) == {}
    assert metric_series(clickhouse, run_id).columns[:2] == ["bucket", "equity_open"]


@pytest.mark.parametrize("table", ["run_metrics", "run_fills", "run_commits"])
def test_an_attempt_that_broke_off_is_never_seen(clickhouse, run_id, monkeypatch, table):
    with monkeypatch.context() as patch:
        breaking_at(clickhouse, table, patch)
        with pytest.raises(ClickHouseUnavailableError):
            publish_run(clickhouse, run_id, equity_frame(50), fills_frame(10))
        assert visible_rows(clickhouse, run_id) == {}
    publish_run(clickhouse, run_id, equity_frame(40), fills_frame(8))
    assert visible_rows(clickhouse, run_id) == rows_of(40, 8)
    breaking_at(clickhouse, table, monkeypatch)
    with pytest.raises(ClickHouseUnavailableError):
        publish_run(clickhouse, run_id, equity_frame(60), fills_frame(12))
    assert visible_rows(clickhouse, run_id) == rows_of(40, 8)


def test_writing_a_run_again_replaces_it(clickhouse, run_id):
    for points in (50, 20, 20):
        publish_run(clickhouse, run_id, equity_frame(points), fills_frame(points // 2))
        assert visible_rows(clickhouse, run_id) == rows_of(points, points // 2)


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize("error", [OperationalError("connection reset by peer"), DatabaseError("too busy", code=202)])
def test_an_insert_whose_answer_was_lost_is_there_once(config, run_id, monkeypatch, executed, error):
    with ClickHouse(config) as clickhouse:
        raw_insert = type(clickhouse.client).raw_insert
        calls = []

        def losing_every_second(self, *arguments, **named):
            calls.append(arguments)
            lose = len(calls) % 2
            if executed or not lose:
                raw_insert(self, *arguments, **named)
            if lose:
                raise error

        monkeypatch.setattr(type(clickhouse.client), "raw_insert", losing_every_second)
        publish_run(clickhouse, run_id, equity_frame(100), fills_frame(20))
        assert [table for table, *_ in calls] == ["run_metrics"] * 2 + ["run_fills"] * 2 + ["run_commits"] * 2
        assert visible_rows(clickhouse, run_id) == rows_of(100, 20)
        assert stored(clickhouse, "run_metrics", run_id).height == 500


def test_deleting_a_run_leaves_others_and_it_can_be_written_again(clickhouse, run_id):
    other = f"{run_id}-other"
    for run in (run_id, other):
        publish_run(clickhouse, run, equity_frame(30), fills_frame(6))
    delete_run(clickhouse, run_id)
    assert visible_rows(clickhouse, run_id) == {}
    assert stored(clickhouse, "run_fills", run_id).height == 0
    assert visible_rows(clickhouse, other) == rows_of(30, 6)
    publish_run(clickhouse, run_id, equity_frame(30), fills_frame(6))
    assert visible_rows(clickhouse, run_id) == rows_of(30, 6)
    delete_run(clickhouse, "never was")


def test_a_run_published_while_the_server_is_stopped_starts_it(own_server, run_id):
    with ClickHouse(own_server) as clickhouse:
        assert clickhouse.client.ping()
        stop_server(own_server)
        publish_run(clickhouse, run_id, equity_frame(30), fills_frame(6))
        assert visible_rows(clickhouse, run_id) == rows_of(30, 6)


def test_a_server_that_stays_away_fails_the_run_with_a_clear_error(tmp_path, run_id):
    config = ClickHouseConfig(state_dir=tmp_path, url=NOWHERE, write_deadline_seconds=0.5)
    begin = time.monotonic()
    with (
        ClickHouse(config) as clickhouse,
        pytest.raises(
            ClickHouseUnavailableError, match=r"127\.0\.0\.1:9 does not answer.*LAB_CLICKHOUSE_URL"
        ) as caught,
    ):
        publish_run(clickhouse, run_id, equity_frame(3), fills_frame(2))
    assert 0.2 < time.monotonic() - begin < 5
    assert "secret" not in str(caught.value) + repr(config)


def test_reading_from_a_server_that_is_away_says_so(tmp_path):
    with (
        ClickHouse(ClickHouseConfig(state_dir=tmp_path, url=NOWHERE)) as clickhouse,
        pytest.raises(ClickHouseUnavailableError, match="does not answer"),
    ):
        visible_rows(clickhouse, "run")


def test_a_refused_statement_is_not_tried_again(config):
    with ClickHouse(replace(config, write_deadline_seconds=30)) as clickhouse:
        begin = time.monotonic()
        with pytest.raises(ClickHouseError, match="nonsense"):
            clickhouse.insert("run_metrics", pl.DataFrame({"nonsense": [1]}), "token")
        with pytest.raises(ClickHouseError, match="UNKNOWN_IDENTIFIER"):
            clickhouse.query("SELECT nonsense")
        assert time.monotonic() - begin < 5
