"""What a lab costs that has run 100,000 backtests, beside one that has run 1,000.

Run: python -m benchmarks.growth [--runs 1000 100000] [--rounds 3] [--directory DIR]

The runs are made, not run: records and tags in the run storage, three events each in the index of the event log, and a
directory of artifacts each, whose tables are hard links to those of a few small runs. The statistics are computed of
the few, and the rows of the others are added beside theirs. `--directory` keeps the homes for the next time. Whatever
is measured is measured in turn on all homes; the first is the peer of the others.
"""

import argparse
import http.client
import os
import resource
import signal
import statistics as stats
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._serdes import serialize_value
from sqlalchemy import create_engine

from benchmarks.statistics_world import World
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.clickhouse.logs import seal_logs
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations.run_records import known_runs
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.artifacts import MANIFEST, ArtifactStore
from lab_pipeline.settings import Settings
from lab_pipeline.statistics import KnownRun, Statistics, refresh
from lab_pipeline.statistics.catalog import insert, read_table
from lab_pipeline.statistics.manifests import signature
from lab_pipeline.storage.catalog_file import open_catalog
from lab_pipeline.storage.run_storage import DuckDBRunStorage

LIMIT = 2.0
PATTERNS = 100
"""Runs that are made in full; all others are like one of them."""
TRADES = 20
BEGIN = datetime(2025, 6, 1, tzinfo=UTC)
AT_ONCE = 10_000
READS = 20
LAB = Path(sys.executable).parent / "lab"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, nargs="*", default=[1_000, 100_000])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--directory", type=Path)
    asked = options.parse_args()
    with nullcontext(asked.directory) if asked.directory else tempfile.TemporaryDirectory() as name:
        homes = [Path(name) / str(count) for count in asked.runs]
        for home, count in zip(homes, asked.runs, strict=True):
            if not (home / "artifacts").exists():
                began = time.perf_counter()
                make(home, count)
                print(f"{count:,} runs made in {time.perf_counter() - began:.0f} s", flush=True)
        print(f"\n{'':34}" + "".join(f"{count:>12,}" for count in asked.runs) + f"{'ratio':>8}{'limit':>7}")
        for title, measure in MEASURES.items():
            taken: dict[Path, list[float]] = {home: [] for home in homes}
            for _ in range(asked.rounds):
                for home in homes:
                    taken[home].append(measure(home))
            best = [min(taken[home]) for home in homes]
            columns = "".join(f"{value:>12.3f}" for value in best)
            print(f"{title:34}{columns}{best[-1] / best[0]:>8.1f}{LIMIT:>7g}", flush=True)


# -- a lab that has run for long -------------------------------------------------------------------------------------


def make(home: Path, count: int) -> None:
    """Fill a home."""
    home.mkdir(mode=0o700, parents=True)
    settings = settings_of(home)
    world = World(settings.artifacts_dir, TRADES)
    patterns = [world.add_run()[0] for _ in range(min(PATTERNS, count))]
    others = [str(uuid.uuid4()) for _ in range(count - len(patterns))]
    for number, run_id in enumerate(others):
        like = patterns[number % PATTERNS]
        directory = settings.artifacts_dir / run_id
        directory.mkdir()
        for path in (settings.artifacts_dir / like).iterdir():
            if path.name == MANIFEST:
                (directory / MANIFEST).write_text(path.read_text().replace(like, run_id))
            else:
                os.link(path, directory / path.name)
    remember(settings, patterns, others)


def remember(settings: Settings, patterns: list[str], others: list[str]) -> None:
    """Fill the stores with what is known of published runs."""
    record(settings, [*patterns, *others])
    seal(settings, [*patterns, *others])
    refresh(Statistics.of(settings), [KnownRun(run_id, "completed", "strategy-0") for run_id in patterns])
    with open_catalog(settings.catalog_path).transaction(write=True) as connection:
        rows = read_table(connection, "FROM leaderboard_runs ORDER BY run_no")
        by_id = dict(zip(rows["run_id"].to_pylist(), rows.to_pylist(), strict=True))
        for first in range(0, len(others), AT_ONCE):
            more = [
                {
                    **by_id[patterns[number % PATTERNS]],
                    "run_id": run_id,
                    "run_no": len(patterns) + number,
                    "signature": signature(str(settings.artifacts_dir / run_id / MANIFEST)),
                }
                for number, run_id in enumerate(others[first : first + AT_ONCE], first)
            ]
            insert(connection, "leaderboard_runs", pa.Table.from_pylist(more, schema=rows.schema))
        known = read_table(connection, "FROM statistics_runs LIMIT 1")
        for first in range(0, len(others), AT_ONCE):
            more = [{**known.to_pylist()[0], "run_id": run_id} for run_id in others[first : first + AT_ONCE]]
            insert(connection, "statistics_runs", pa.Table.from_pylist(more, schema=known.schema))
        connection.execute("UPDATE statistics_state SET next_run_no = ?", [len(patterns) + len(others)])
    measure_refresh(settings.home)


def record(settings: Settings, run_ids: list[str]) -> None:
    """Record runs as the queue and the launcher would have: body, tags, status, events in the index."""
    config = {"ops": {"run": {"config": {"strategy": "STRATEGY", "timeframe": "5m", "strategy_version": "1"}}}}
    tags = {
        "lab/strategy": "STRATEGY", "lab/timeframe": "5m", "lab/strategy_version": "1", "lab/fingerprint": "f" * 64,
        ".lab/worker": "RUN", ".lab/launch": "RUN", ".dagster/repository": "__repository__@lab_pipeline",
    }  # fmt: skip
    pattern = dg.DagsterRun("backtest", run_id="RUN", run_config=config, tags=tags, status=dg.DagsterRunStatus.SUCCESS)
    body, kept = serialize_value(pattern), pattern.tags_for_storage()
    with open_instance(settings) as instance:
        storage = instance.run_storage
        if not isinstance(storage, DuckDBRunStorage):
            raise TypeError(storage)
        for first in range(0, len(run_ids), AT_ONCE):
            runs, tag_rows = [], []
            for number, run_id in enumerate(run_ids[first : first + AT_ONCE], first):
                at, strategy = (BEGIN + timedelta(minutes=number)).replace(tzinfo=None), f"strategy-{number % 20}"
                runs.append(
                    {
                        "run_id": run_id,
                        "pipeline_name": "backtest",
                        "status": "SUCCESS",
                        "run_body": body.replace("RUN", run_id).replace("STRATEGY", strategy),
                        "create_timestamp": at,
                        "update_timestamp": at,
                        "start_time": at.timestamp(),
                        "end_time": at.timestamp() + 5,
                    }
                )
                tag_rows += [
                    {
                        "run_id": run_id,
                        "key": key,
                        "value": value.replace("RUN", run_id).replace("STRATEGY", strategy),
                    }
                    for key, value in kept.items()
                ]
            with storage._transaction(write=True) as connection:  # noqa: SLF001
                for table, rows in ((RunsTable, runs), (RunTagsTable, tag_rows)):
                    connection.raw.register("content", pa.Table.from_pylist(rows))
                    connection.raw.execute(f"INSERT INTO {table.name} BY NAME FROM content")
                    connection.raw.unregister("content")
        instance.event_log_storage.get_maximum_record_id()
    index(settings, run_ids)


def seal(settings: Settings, run_ids: list[str]) -> None:
    """Say of all logs that they have been shipped."""
    config = clickhouse_config(settings)
    with ClickHouse(config) as clickhouse:
        for first in range(0, len(run_ids), AT_ONCE):
            seal_logs(clickhouse, dict.fromkeys(run_ids[first : first + AT_ONCE], 3))
    stop_server(config)


def index(settings: Settings, run_ids: list[str]) -> None:
    """Write the events of each run that Dagster mirrors for all runs."""
    rows = []
    for number, run_id in enumerate(run_ids):
        at = BEGIN + timedelta(minutes=number)
        for kind in ("PIPELINE_ENQUEUED", "PIPELINE_START", "PIPELINE_SUCCESS"):
            event = dg.DagsterEvent(event_type_value=kind, job_name="backtest", message="")
            entry = dg.EventLogEntry(
                error_info=None, level=20, user_message="", run_id=run_id, timestamp=at.timestamp(), dagster_event=event
            )
            rows.append(
                {
                    "run_id": run_id,
                    "event": serialize_value(entry),
                    "dagster_event_type": kind,
                    "timestamp": at.replace(tzinfo=None),
                }
            )
    engine = create_engine(create_db_conn_string(str(settings.dagster_home / "history" / "runs"), "index"))
    with engine.begin() as connection:
        connection.execute(SqlEventLogStorageTable.insert(), rows)
    engine.dispose()


def settings_of(home: Path) -> Settings:
    os.environ |= {"LAB_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "LAB_PORT": "0"}
    return Settings(home=home)


# -- what is measured: seconds ---------------------------------------------------------------------------------------


def measure_refresh(home: Path) -> float:
    """Refresh the statistics after one more run, as the run of the assets does; processor seconds."""
    settings = settings_of(home)
    world = World(settings.artifacts_dir, TRADES, seed=time.time_ns() % 2**32)
    record(settings, [world.add_run()[0]])
    statistics = Statistics.of(settings)
    with open_instance(settings) as instance:
        began = time.process_time()
        runs = known_runs(Runs(instance, ArtifactStore(settings.artifacts_dir)), statistics.catalog.known_runs())
        done = refresh(statistics, runs)
        taken = time.process_time() - began
    if not done.changed:
        raise RuntimeError("nothing was computed")
    return taken


def measure_runs_list(home: Path) -> float:
    """`lab runs list`, the whole process; processor seconds."""
    settings_of(home)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([LAB, "runs", "list"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_start(home: Path) -> float:
    """`lab up` until all of it answers; seconds."""
    settings_of(home)
    environment = {**os.environ, "LAB_API_PORT": "0"}
    began = time.perf_counter()
    with subprocess.Popen([LAB, "up"], env=environment, stdout=subprocess.PIPE, text=True) as up:
        for line in up.stdout or ():
            if "Ctrl-C" in line:
                break
        taken = time.perf_counter() - began
        up.send_signal(signal.SIGTERM)
    stop_server(clickhouse_config(Settings(home=home)))
    return taken


def asking(path: Callable[[Path], str]) -> Callable[[Path], float]:
    def measure(home: Path) -> float:
        """Ask the API of a home; seconds of the median of some requests."""
        where, taken = path(home), []
        with serving(home) as connection:
            for _ in range(READS):
                began = time.perf_counter()
                connection.request("GET", where)
                answer = connection.getresponse()
                answer.read()
                taken.append(time.perf_counter() - began)
                if answer.status != http.client.OK:
                    raise RuntimeError(f"{answer.status} from {where}")
        return stats.median(taken)

    return measure


@contextmanager
def serving(home: Path) -> Iterator[http.client.HTTPConnection]:
    from benchmarks.api import serving as api_serving  # noqa: PLC0415 - it loads much

    settings_of(home)
    with api_serving([LAB, "api"], "/strategies") as (port, _):
        yield http.client.HTTPConnection("127.0.0.1", port)


def some_run(home: Path) -> str:
    return next(path.name for path in (home / "artifacts").iterdir() if not path.name.startswith("."))


MEASURES: dict[str, Callable[[Path], float]] = {
    "statistics after one run, CPU s": measure_refresh,
    "lab runs list, CPU s": measure_runs_list,
    "GET /runs, s": asking(lambda _: "/runs?limit=50"),
    "GET /runs of a strategy, s": asking(lambda _: "/runs?limit=50&strategyId=strategy-7"),
    "GET /runs of none, s": asking(lambda _: "/runs?limit=50&strategyId=nobody"),
    "GET /runs/ID, s": asking(lambda home: f"/runs/{some_run(home)}"),
    "GET /leaderboard/strategies, s": asking(lambda _: "/leaderboard/strategies"),
    "lab up until it answers, s": measure_start,
}

if __name__ == "__main__":
    main()
