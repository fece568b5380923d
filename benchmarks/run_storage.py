"""Compare the run storage in DuckDB with Dagster's own in SQLite, side by side on this machine.

    python benchmarks/run_storage.py [--runs 1000 10000 100000] [--processes 1 4 8 16] [--rounds 3] [--seconds 6]
        [--without lease compression_switch]

Everything is interleaved, call by call in one process and round by round with many, so that other work on the machine
hits both. Figures are medians over the rounds. Nothing is kept: the files lie in a temporary directory. `--without`
also measures what a part of the policy by which processes share the file adds.
"""

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
import uuid
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from dagster import DagsterEvent, DagsterEventType, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.runs.base import RunStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._daemon.types import DaemonHeartbeat
from dagster._serdes import serialize_value
from sqlalchemy.exc import OperationalError

from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.storage.run_storage import DuckDBRunStorage

BACKENDS = ("duckdb", "sqlite")
WITHOUT = {
    "lease": replace(DuckFile.policy, linger_seconds=0.0),
    "compression_switch": replace(DuckFile.policy, slow_compression=""),
}
WANTED = {(8, 0.1): "wanted 0.95, 1.5", (8, 0.0): "wanted 0.7"}
PRELOADED_FOR_MANY_PROCESSES = 1000
CALLS = 60
BLOCK = 10  # calls to one storage before it is the other's turn
PAUSE_SECONDS = 0.05  # longer than any lease: what a call costs a process that was doing something else

# Shares of the calls in the mix of many processes, in percent.
MIX = {"add_run": 12, "event": 25, "tags": 4, "heartbeat": 5, "cursor": 2, "get": 27, "page": 15, "tag_filter": 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 4, 8, 16])
    parser.add_argument("--think", type=float, nargs="*", default=[0.0, 0.1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--without", choices=WITHOUT, nargs="*", default=[])
    options = parser.parse_args()
    for count in options.runs:
        compare_one_process(count)
    for think in options.think:
        label = f"think time {think} s" if think else "saturated"
        print(f"\n{label}, medians of {options.rounds} rounds of {options.seconds} s; latencies in ms")
        columns = "".join(f"{name:>7}" for name in ("ops/s", "p50", "p95", "p99", "max", "failed"))
        print(f"processes | {'':<26} | {columns} | to sqlite: ops/s, p95")
        for processes in options.processes:
            compare_many_processes(processes, think, options)


# -- one process ----------------------------------------------------------------------------------------------------


def compare_one_process(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        storages = {name: open_storage(name, Path(directory)) for name in BACKENDS}
        runs = [make_run(number) for number in range(count)]
        for storage in storages.values():
            load(storage, runs)
        sizes = {name: size_of(name, Path(directory)) for name in BACKENDS}
        duck, lite = (sizes[name] / 1e6 for name in BACKENDS)
        print(f"\none process, {count} runs; file {duck:.1f} MB against {lite:.1f} MB, ratio {duck / lite:.2f}; ms")
        print(f"{'call':<22} | duckdb p50   p95 | sqlite p50   p95 | p50 ratio")
        users = {
            name: User(storage, [run.run_id for run in runs], number)
            for number, (name, storage) in enumerate(storages.items())
        }
        for call in (
            "get",
            "event",
            "add_run",
            "tags",
            "heartbeat",
            "cursor",
            "page",
            "tag_filter",
            "two_tags",
            "job_filter",
            "count",
            "count_status",
        ):
            report_calls(call, users)
        for call in ("get", "event", "page"):
            report_calls(call, users, pause=PAUSE_SECONDS)


def report_calls(call: str, users: "dict[str, User]", pause: float = 0.0) -> None:
    times = defaultdict(list)
    for repeat in range(CALLS // BLOCK):
        for name in BACKENDS if repeat % 2 else BACKENDS[::-1]:
            for _ in range(BLOCK):
                time.sleep(pause)
                began = time.perf_counter()
                users[name].do(call)
                times[name].append(1000 * (time.perf_counter() - began))
    duck, lite = (quantiles(times[name]) for name in BACKENDS)
    label = call + (" after a pause" if pause else "")
    print(f"{label:<22} | {duck[0]:10.2f} {duck[1]:5.1f} | {lite[0]:10.2f} {lite[1]:5.1f} | {duck[0] / lite[0]:.2f}")


# -- many processes -------------------------------------------------------------------------------------------------


def compare_many_processes(processes: int, think: float, options: argparse.Namespace) -> None:
    results = defaultdict(list)
    names = (*BACKENDS, *options.without)
    for repeat in range(options.rounds):
        for name in names if repeat % 2 else names[::-1]:
            results[name].append(run_processes(name, processes, think, options.seconds))
    medians = {name: [statistics.median(column) for column in zip(*results[name], strict=True)] for name in names}
    lite = medians["sqlite"]
    for name in names:
        cells = "".join(f"{value:7.1f}" for value in medians[name])
        ratios = f"{medians[name][0] / lite[0]:.2f}, {medians[name][2] / lite[2]:.2f}"
        label = name if name in BACKENDS else f"without {name}"
        wanted = WANTED.get((processes, think), "") if name == "duckdb" else ""
        print(f"{processes:>9} | {label:<26} | {cells} | {ratios} {wanted}".rstrip(), flush=True)


class Task(NamedTuple):
    """What one of many processes is to do."""

    name: str
    directory: str
    run_ids: list[str]
    number: int
    think: float
    seconds: float


def run_processes(name: str, processes: int, think: float, seconds: float) -> tuple[float, ...]:
    """Return calls per second, their p50, p95, p99, maximum in ms, how many failed; raise if a write was lost."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        storage = open_storage(name, Path(directory))
        runs = [make_run(number) for number in range(PRELOADED_FOR_MANY_PROCESSES)]
        load(storage, runs)
        storage.dispose()
        barrier, answers = context.Barrier(processes), context.Queue()
        run_ids = [run.run_id for run in runs]
        tasks = [Task(name, directory, run_ids, number, think, seconds) for number in range(processes)]
        workers = [context.Process(target=work, args=(task, barrier, answers)) for task in tasks]
        for worker in workers:
            worker.start()
        outcomes = [answers.get(timeout=seconds + 120) for _ in workers]
        for worker in workers:
            worker.join()
        check(storage, outcomes)
    latencies = sorted(latency for outcome in outcomes for latency in outcome["latencies"])
    at = [latencies[int(share * (len(latencies) - 1))] for share in (0.5, 0.95, 0.99, 1)]
    return (len(latencies) / seconds, *at, sum(outcome["failed"] for outcome in outcomes))


def work(task: Task, barrier: Barrier, answers: "multiprocessing.Queue[Any]") -> None:
    DuckFile.policy = WITHOUT.get(task.name, DuckFile.policy)
    user = User(open_storage(task.name, Path(task.directory)), task.run_ids, task.number)
    latencies = []
    failed = 0
    chance = random.Random(task.number)  # noqa: S311 - a repeatable mix, no secret
    user.do("get")
    barrier.wait()
    end = time.perf_counter() + task.seconds
    while (began := time.perf_counter()) < end:
        try:
            user.do(chance.choices(list(MIX), list(MIX.values()))[0])
        except OperationalError:  # SQLite's "database is locked", when too many wait for too long
            failed += 1
        latencies.append(1000 * (time.perf_counter() - began))
        if task.think:
            time.sleep(task.think)
    answers.put({"latencies": latencies, "statuses": user.statuses, "tags": user.tags, "failed": failed})


def check(storage: RunStorage, outcomes: list[dict[str, Any]]) -> None:
    stored = {run.run_id: run for run in storage.get_runs()}
    for outcome in outcomes:
        for run_id, status in outcome["statuses"].items():
            assert stored[run_id].status is status, f"{run_id}: {stored[run_id].status} instead of {status}"  # noqa: S101
        for run_id, tags in outcome["tags"].items():
            assert tags.items() <= stored[run_id].tags.items(), f"{run_id}: a tag was lost"  # noqa: S101
    added = sum(len(outcome["statuses"]) for outcome in outcomes)
    assert len(stored) == PRELOADED_FOR_MANY_PROCESSES + added, "runs were lost or doubled"  # noqa: S101


# -- what both do ---------------------------------------------------------------------------------------------------


class User:
    """Call a storage as Dagster does, and remember what was acknowledged."""

    def __init__(self, storage: RunStorage, run_ids: list[str], number: int) -> None:
        self._storage = storage
        self._run_ids = run_ids
        self._chance = random.Random(number)  # noqa: S311 - as above
        self._own: list[str] = []
        self._name = f"daemon {number}"
        self.statuses: dict[str, DagsterRunStatus] = {}
        self.tags: dict[str, dict[str, str]] = defaultdict(dict)

    def do(self, call: str) -> None:
        """Make one call of a kind."""
        getattr(self, f"_{call}")()

    def _add_run(self) -> None:
        run = make_run(self._chance.randrange(10**6))
        self._storage.add_run(run)
        self._own.append(run.run_id)
        self.statuses[run.run_id] = run.status

    def _event(self) -> None:
        if not self._own:
            self._add_run()
        run_id = self._chance.choice(self._own[-5:])
        kind = self._chance.choice([DagsterEventType.PIPELINE_START, DagsterEventType.PIPELINE_SUCCESS])
        event = DagsterEvent(message="", event_type_value=kind.value, job_name="backtest")
        self._storage.handle_run_event(run_id, event)
        self.statuses[run_id] = (
            DagsterRunStatus.STARTED if kind is DagsterEventType.PIPELINE_START else DagsterRunStatus.SUCCESS
        )

    def _tags(self) -> None:
        if not self._own:
            self._add_run()
        run_id, tags = self._own[-1], {f"extra/{self._chance.randrange(5)}": str(uuid.uuid4())}
        self._storage.add_run_tags(run_id, tags)
        self.tags[run_id].update(tags)

    def _heartbeat(self) -> None:
        self._storage.add_daemon_heartbeat(DaemonHeartbeat(time.time(), self._name, str(uuid.uuid4()), []))

    def _cursor(self) -> None:
        self._storage.set_cursor_values({self._name: str(time.time())})

    def _get(self) -> None:
        run_id = self._chance.choice(self._own or self._run_ids)
        (record,) = self._storage.get_run_records(RunsFilter(run_ids=[run_id]))
        if run_id in self.statuses:
            assert record.dagster_run.status is self.statuses[run_id], "a stale read"  # noqa: S101

    def _page(self) -> None:
        assert len(self._storage.get_run_records(limit=26)) == 26  # noqa: S101

    def _tag_filter(self) -> None:
        self._storage.get_run_records(RunsFilter(tags={"lab/strategy": "ladder"}), limit=25)

    def _two_tags(self) -> None:
        self._storage.get_run_records(RunsFilter(tags={"lab/strategy": "ladder", "lab/timeframe": "5m"}), limit=25)

    def _job_filter(self) -> None:
        self._storage.get_run_records(RunsFilter(job_name="backtest"), limit=25)

    def _count(self) -> None:
        self._storage.get_runs_count()

    def _count_status(self) -> None:
        self._storage.get_runs_count(RunsFilter(statuses=[DagsterRunStatus.SUCCESS]))


def open_storage(name: str, directory: Path) -> SqlRunStorage:
    if name == "sqlite":
        return SqliteRunStorage.from_local(str(directory / "sqlite"))
    return DuckDBRunStorage(directory / "runs.duckdb")


def size_of(name: str, directory: Path) -> int:
    pattern = "runs.duckdb*" if name == "duckdb" else "sqlite/*"
    return sum(path.stat().st_size for path in directory.glob(pattern))


def make_run(number: int) -> DagsterRun:
    chance = random.Random(number)  # noqa: S311 - as above
    config = {
        "strategy": chance.choice(["ladder", "trail", "dip"]),
        "timeframe": "5m",
        "seed": chance.randrange(10**9),
        "parameters": {f"parameter_{index}": chance.random() for index in range(20)},
    }
    tags = {
        "lab/strategy": config["strategy"],
        "lab/strategy_version": str(chance.randrange(9)),
        "lab/timeframe": chance.choice(["1m", "5m", "1h"]),
        "lab/fingerprint": uuid.UUID(int=chance.getrandbits(128)).hex,
        ".dagster/repository": "__repository__@lab_pipeline",
    }
    return DagsterRun(
        job_name=chance.choice(["backtest", "ingest", "statistics"]),
        run_id=str(uuid.uuid4()),
        run_config={"ops": {"backtest": {"config": config}}},
        status=DagsterRunStatus.SUCCESS,
        tags=tags,
    )


def load(storage: SqlRunStorage, runs: list[DagsterRun]) -> None:
    """Store many runs at once, as `add_run` would one by one; no call of a run storage does that."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [
        {
            "run_id": run.run_id,
            "pipeline_name": run.job_name,
            "status": run.status.value,
            "run_body": serialize_value(run),
            "create_timestamp": now,
            "update_timestamp": now,
        }
        for run in runs
    ]
    tags = [
        {"run_id": run.run_id, "key": key, "value": value}
        for run in runs
        for key, value in run.tags_for_storage().items()
    ]
    if isinstance(storage, DuckDBRunStorage):
        with storage._transaction(write=True) as connection:  # noqa: SLF001
            for table, content in ((RunsTable, rows), (RunTagsTable, tags)):
                connection.raw.register("content", pa.Table.from_pylist(content))
                connection.raw.execute(f"INSERT INTO {table.name} BY NAME FROM content")
                connection.raw.unregister("content")
    else:
        with storage.connect() as connection:
            connection.execute(RunsTable.insert(), rows)
            connection.execute(RunTagsTable.insert(), tags)


def quantiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[int(0.95 * len(ordered))]


if __name__ == "__main__":
    main()
