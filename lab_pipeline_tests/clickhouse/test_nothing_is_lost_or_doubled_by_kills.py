"""kill -9 of the server and of writers at random moments, dozens of times; then everything is counted."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from lab_pipeline.clickhouse import writer
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.gateway.files import StateFiles
from lab_pipeline.clickhouse.logs import append_lines, list_lines
from lab_pipeline.clickhouse.series import visible_rows
from lab_pipeline.clickhouse.writer import METRIC_KINDS, publish_run
from lab_pipeline_tests.clickhouse.market import equity_frame, fills_frame
from lab_pipeline_tests.support.logbook import lines_of

pytestmark = pytest.mark.long
SERVER_KILLS = 30
WRITER_KILLS = 36
LINES_A_BATCH = 40
PUBLISHER = """
import sys
from pathlib import Path
from lab_pipeline.clickhouse import writer
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline_tests.clickhouse.market import equity_frame, fills_frame
state_dir, url, run_id, points, fills = sys.argv[1:]
writer.BATCH_ROWS = 100
with ClickHouse(ClickHouseConfig(state_dir=Path(state_dir), url=url or None)) as clickhouse:
    equity, fills = equity_frame(int(points)), fills_frame(int(fills))
    clickhouse.client.ping()
    print("begin", flush=True)
    writer.publish_run(clickhouse, run_id, equity, fills)
    print("end", flush=True)
"""


def rows_of(points, fills):
    return {**dict.fromkeys(METRIC_KINDS, points), "fills": fills}


def kill_server(files, times, acknowledged, seed):
    """Kill every server that comes up: now and then while it starts, mostly soon after it has done something."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    killed = set()
    while len(killed) < times:
        while (pid := files.server_pid()) is None or pid in killed:
            time.sleep(0.01)
        before, starting = len(acknowledged), chance.random() < 0.2
        deadline = time.monotonic() + 60
        while not starting and len(acknowledged) == before and files.server_pid() == pid:
            assert time.monotonic() < deadline, "nothing was written for a minute"
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.3))
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)


def test_killed_servers(own_server, monkeypatch):
    monkeypatch.setattr(writer, "BATCH_ROWS", 400)
    files = StateFiles(own_server.state_dir)
    done, published, shipped, acknowledged = threading.Event(), {}, [], []

    def publish(number):
        with ClickHouse(own_server) as clickhouse:
            attempt = 0
            while not done.is_set():
                run_id, points = f"run-{number}-{attempt // 2}", 300 + attempt  # each run twice
                published[run_id] = (publish_run(clickhouse, run_id, equity_frame(points), fills_frame(60)), points)
                attempt += 1

    def ship():
        with ClickHouse(own_server) as clickhouse:
            first = 1
            while not done.is_set():
                append_lines(clickhouse, lines_of("shipped", range(max(1, first - 7), first + LINES_A_BATCH)))
                first += LINES_A_BATCH
                shipped.append(first - 1)
                acknowledged.append("lines")

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(3)]
    threads.append(threading.Thread(target=ship))
    with ClickHouse(own_server) as clickhouse:
        assert clickhouse.client.ping()
        for thread in threads:
            thread.start()
        kill_server(files, SERVER_KILLS, acknowledged, seed=20_240_228)
        done.set()
        for thread in threads:
            thread.join()
        assert len(acknowledged) > SERVER_KILLS // 2
        assert published
        for run_id, (newest, points) in published.items():
            assert visible_rows(clickhouse, run_id) == rows_of(points, 60)
            assert newest.rows == {"run_metrics": 5 * points, "run_fills": 60}
        twice = "SELECT count() - uniqExact(run_id, attempt, kind, seq) AS twice FROM run_metrics"
        assert clickhouse.query(twice)["twice"].item() == 0
        numbers, cursor = [], None
        while (page := list_lines(clickhouse, "shipped", cursor=cursor, limit=1_000)).lines.height:
            numbers += page.lines["seq"].to_list()
            cursor = numbers[-1]
        assert numbers == list(range(1, shipped[-1] + 1))


def test_killed_writers(config, clickhouse, run_id):
    chance = random.Random(7)  # noqa: S311 - moments, not secrets
    broken_off = 0
    for number in range(WRITER_KILLS):
        run, points = f"{run_id}-{number}", 400
        arguments = [str(config.state_dir), config.url or "", run, str(points), "200"]
        with subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, *arguments], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout.readline() == "begin\n"
            time.sleep(chance.uniform(0.0, 0.4))
            child.kill()
            finished = "end" in child.stdout.read()
        seen = visible_rows(clickhouse, run)
        assert seen == rows_of(points, 200) or (seen == {} and not finished)
        broken_off += seen == {}
        publish_run(clickhouse, run, equity_frame(points), fills_frame(200))  # the retry
        assert visible_rows(clickhouse, run) == rows_of(points, 200)
    assert broken_off >= WRITER_KILLS // 3
