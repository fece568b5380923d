"""Many small backtests, asked for over HTTP, while every process of the lab is killed at random again and again.

`make soak` runs more of them: LAB_SOAK_RUNS says how many, LAB_SOAK_SEED chooses another order of kills.
"""

import json
import logging
import os
import random
import sqlite3
import subprocess
import time
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.logs import list_lines
from lab_pipeline.clickhouse.upload import count_rows
from lab_pipeline.client import ApiError
from lab_pipeline.dagster_ext import worker_locks
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.domain.backtest import BacktestSpec, CallersUniverse, TimeRange
from lab_pipeline.lake import Lake, generate_market
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import full_range, plan, resolve, simulate
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.soak.chaos_lab import PROGRAM, AbusedLab

RUNS = int(os.environ.get("LAB_SOAK_RUNS", "20"))
SEED = int(os.environ.get("LAB_SOAK_SEED", "1"))
CALM = 0.25
"""The share of the runs during which nothing is killed: then memory is watched."""
OUTSTANDING = 10
"""Runs that may be under way before more are asked for."""
CANCELED = 0.05
"""How often somebody changes his mind."""
STANDSTILL_SECONDS = 120
"""Within so long something has to end, whatever was killed."""
GROWTH_BYTES = 40 << 20
"""What a process may take more in the second half of the calm, beside a tenth."""
ENDED = {"completed", "failed", "canceled"}
TIMEFRAME = "5m"
STRATEGIES = ("dip-scalper", "ladder", "trend-rider")

pytestmark = pytest.mark.long
log = logging.getLogger("soak")


@dataclass(frozen=True)
class Asked:
    """A backtest that the lab has acknowledged."""

    run_id: str
    strategy: str
    caller: str
    canceled: bool


class Soak:
    """The lab, its user, and what the user knows."""

    def __init__(self, lab: AbusedLab, period: TimeRange, callers: list[str]) -> None:
        self.lab = lab
        self.asked: list[Asked] = []
        self._period = {"start": period.start.isoformat(), "end": period.end.isoformat()}
        self._callers = callers
        self._random = random.Random(SEED)  # noqa: S311 - chooses requests
        self._moved = time.monotonic()
        self._unfinished: set[str] = set()

    def ask_for(self, count: int) -> None:
        """Ask for so many backtests, a few at a time."""
        for _ in range(count):
            while len(self.look()) >= OUTSTANDING:
                time.sleep(0.5)
            number = len(self.asked)
            strategy, caller = self._random.choice(STRATEGIES), self._random.choice(self._callers)
            body = {
                "strategyId": strategy,
                "timeframe": TIMEFRAME,
                "range": self._period,
                "universe": {"type": "callers", "callers": [caller]},
                "seed": number,
            }
            # The key makes asking again harmless, when the answer was lost with the process that was to give it.
            answer = self.lab.ask("POST", "/backtest", json=body, headers={"Idempotency-Key": f"soak-{number}"})
            canceled = self._random.random() < CANCELED
            self.asked.append(Asked(answer["runId"], strategy, caller, canceled))
            self._unfinished.add(answer["runId"])
            self._moved = time.monotonic()
            if canceled:
                time.sleep(self._random.uniform(0, 8))
                self._cancel(answer["runId"])
        log.info("%d backtests asked for; killed so far: %s", len(self.asked), dict(self.lab.kills))

    def look(self) -> set[str]:
        """Return the runs that have not ended, of those asked for and of their re-executions."""
        unfinished = set()
        for status in ("queued", "running"):
            page = self.lab.ask("GET", "/runs", params={"status": status, "limit": 100})
            unfinished |= {run["runId"] for run in page["runs"]}
        if unfinished != self._unfinished:
            self._moved = time.monotonic()
        assert time.monotonic() - self._moved < STANDSTILL_SECONDS, f"nothing moves: {unfinished}"
        self._unfinished = unfinished
        return unfinished

    def wait(self) -> None:
        """Wait until nothing is under way, and nothing is about to be repeated."""
        quiet = 0
        while quiet < 5:  # a run is repeated some seconds after it died
            quiet = 0 if self.look() else quiet + 1
            time.sleep(2)

    def _cancel(self, run_id: str) -> None:
        deadline = time.monotonic() + STANDSTILL_SECONDS
        while True:
            try:
                self.lab.ask("POST", f"/runs/{run_id}/cancel")
            except ApiError:  # it has ended, or is just starting
                if self.lab.ask("GET", f"/runs/{run_id}")["status"] in ENDED or time.monotonic() > deadline:
                    return  # what was not canceled in time is found at the end
                time.sleep(0.5)
            else:
                return


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.delenv("LAB_CLICKHOUSE_URL", raising=False)  # the embedded server is killed, too
    monkeypatch.setenv("LAB_MAX_CONCURRENT_RUNS", "2")
    monkeypatch.setenv("LAB_RUN_RETRIES", "20")  # however often one is hit, it is not given up
    monkeypatch.setenv("LAB_THREADS", "1")
    yield tmp_path
    subprocess.run([PROGRAM, "clickhouse", "stop"], check=True, capture_output=True)


@pytest.fixture
def soak(home):
    market = generate_market(seed=3, tokens=30, days=2, timeframe=TIMEFRAME, calls=120)
    lake = Lake(home / "lake")
    lake.write_candles(market.candles, TIMEFRAME)
    lake.write_calls(market.calls)
    lab = AbusedLab(home, SEED)
    yield Soak(lab, full_range(lake), sorted(market.calls["caller"].unique()))
    lab.stop()


def test_everything_adds_up_after_random_kills(soak):
    soak.lab.start()
    soak.ask_for(RUNS - int(CALM * RUNS))
    soak.lab.make_peace()
    soak.wait()
    half = int(CALM * RUNS) // 2
    soak.ask_for(half)
    soak.wait()
    before = soak.lab.memory()
    soak.ask_for(int(CALM * RUNS) - half)
    soak.wait()
    after = soak.lab.memory()
    log.info("killed: %s; `lab up` started %d times", dict(soak.lab.kills), soak.lab.starts)
    log.info("resident MB: %s, then %s", *({kind: used >> 20 for kind, used in m.items()} for m in (before, after)))
    assert after.keys() == before.keys()
    assert {kind: used for kind, used in after.items() if used > 1.1 * before[kind] + GROWTH_BYTES} == {}

    settings = load_settings()
    with open_instance(settings) as instance:
        assert_every_run_ends(instance)
        assert_logs_arrive(instance, settings)
        completed = assert_each_was_done_once(instance, soak.asked)
        assert_artifacts_are_those_of(completed, settings)
        assert_clickhouse_has(set(completed), settings)
        assert_statistics_count(completed, settings)
        assert soak.lab.stop() == 0
        assert_nothing_is_left(instance, settings, soak.lab)


def assert_every_run_ends(instance, seconds=120):
    """Runs of all jobs: backtests, and the statistics that the lab refreshes after them at a moment of its own."""
    deadline = time.monotonic() + seconds
    while left := {run.run_id: run.status for run in instance.get_runs() if not run.is_finished}:
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def assert_each_was_done_once(instance, asked):
    """Return what was asked for, by the one run that completed it."""
    family = defaultdict(list)
    for run in instance.get_runs(filters=dg.RunsFilter(job_name="backtest")):
        family[run.root_run_id or run.run_id].append(run)
    assert set(family) == {one.run_id for one in asked}
    assert len(family) == len(asked) == RUNS
    completed = {}
    for one in asked:
        statuses = Counter(run.status for run in family[one.run_id])
        assert statuses[dg.DagsterRunStatus.SUCCESS] <= 1, (one, statuses)
        for run in family[one.run_id]:
            if run.is_success:
                completed[run.run_id] = one
        if not one.canceled:
            failures = [str(run.run_id) for run in family[one.run_id] if run.is_failure]
            assert statuses[dg.DagsterRunStatus.SUCCESS] == 1, (one, statuses, failures)
        assert statuses[dg.DagsterRunStatus.CANCELED] <= one.canceled, (one, statuses)
    runs = sum(map(len, family.values()))
    log.info("%d backtests took %d runs; %d were canceled", RUNS, runs, RUNS - len(completed))
    return completed


def assert_artifacts_are_those_of(completed, settings):
    store = ArtifactStore.of(settings)
    assert set(store.run_ids()) == set(completed)
    assert [problem for run_id in completed for problem in store.damage(run_id)] == []
    assert store.leftovers() == 0
    lake, strategies = Lake(settings.lake_dir), StrategyStore.of(settings)
    expected = {}
    for run_id, one in completed.items():
        if (kind := (one.strategy, one.caller)) not in expected:
            universe = CallersUniverse(type="callers", callers=(one.caller,))
            spec = BacktestSpec(
                strategy_id=one.strategy, timeframe=TIMEFRAME, range=full_range(lake), universe=universe
            )
            backtest = resolve(spec, strategies, lake)
            expected[kind] = simulate(backtest, plan(backtest, lake)).simulation.trades
        assert_frame_equal(pl.read_parquet(store.path(run_id, "trades")), expected[kind])


def assert_clickhouse_has(completed, settings):
    store = ArtifactStore.of(settings)
    with ClickHouse(clickhouse_config(settings)) as clickhouse:
        unequal = [str(c) for run_id in sorted(completed) if not (c := count_rows(clickhouse, store, run_id)).equal]
        assert unequal == []
        rows = clickhouse.query("SELECT DISTINCT run_id FROM run_commits WHERE dataset IN ('metrics', 'fills')")
        assert set(rows["run_id"]) == completed


def assert_logs_arrive(instance, settings, seconds=60):
    """Every line of every run, once."""
    deadline = time.monotonic() + seconds
    with ClickHouse(clickhouse_config(settings)) as clickhouse:
        for run in instance.get_runs():
            with closing(sqlite3.connect(settings.dagster_home / "history" / "runs" / f"{run.run_id}.db")) as events:
                stored = [number for (number,) in events.execute("SELECT id FROM event_logs ORDER BY id")]
            while (arrived := list_lines(clickhouse, run.run_id, limit=10_000).lines["seq"].to_list()) != stored:
                assert time.monotonic() < deadline, (run.run_id, len(arrived), len(stored))
                time.sleep(0.5)


def assert_statistics_count(completed, settings):
    printed = subprocess.run(
        [PROGRAM, "statistics", "--refresh", "--json"], check=True, capture_output=True, text=True
    ).stdout
    told = json.loads(printed)["overview"]
    store = ArtifactStore.of(settings)
    trades = [pl.read_parquet(store.path(run_id, "trades"))["net_return"] for run_id in completed]
    assert told["runsByStatus"]["completed"] == len(completed)
    assert told["totalTrades"] == sum(frame.len() for frame in trades)
    assert told["totalWins"] == sum((frame > 0).sum() for frame in trades)


def assert_nothing_is_left(instance, settings, lab):
    subprocess.run([PROGRAM, "clickhouse", "stop"], check=True, capture_output=True)
    deadline = time.monotonic() + 30
    while (processes := lab.processes()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes == {}
    assert sorted(worker_locks.workers_dir(settings.dagster_home).glob("*")) == []
    assert sorted(settings.scratch_dir.glob("*")) == []
    assert [path for path in settings.home.rglob("*") if path.name.endswith((".part", ".tmp", ".draft"))] == []
    storage = instance.event_log_storage
    for key in storage.get_concurrency_keys():
        info = storage.get_concurrency_info(key)
        assert (info.active_slot_count, info.pending_step_count, info.assigned_step_count) == (0, 0, 0), key
    known = {run.run_id for run in instance.get_runs()}
    history = settings.dagster_home / "history" / "runs"
    without_a_run = {"index.db", ".db"}  # of all runs, and of events that belong to none: what was ingested by hand
    assert {path.name for path in history.glob("*.db")} - without_a_run == {f"{run_id}.db" for run_id in known}
    assert {path.name for path in (settings.dagster_home / "storage").glob("*-*-*-*-*")} <= known
