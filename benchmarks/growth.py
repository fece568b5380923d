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
import sqlite3
import statistics as stats
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
from dagster._serdes import serialize_value

from benchmarks.statistics_world import World
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import clickhouse_config
from lab_pipeline.clickhouse.gateway.launch import stop_server
from lab_pipeline.clickhouse.logs import seal_logs
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations.run_records import run_records
from lab_pipeline.operations.runs import Runs
from lab_pipeline.runs.artifact_storage import MANIFEST
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.settings import Settings
from lab_pipeline.statistics import RunRecord, Statistics, refresh
from lab_pipeline.storage.catalog_file import open_catalog
from lab_pipeline.storage.run_storage import DuckDBRunStorage

LIMIT = 2.0
PATTERNS = 100
"""Runs that are made in full; all others are like one of them."""
TRADES = 20
TABLES = ("trades.parquet", "paths.parquet", "equity.parquet")
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
    """Fill a home: the runs of a few patterns in full, and those like them by writing their records directly."""
    home.mkdir(mode=0o700, parents=True)
    settings = settings_of(home)
    world = World(settings.artifacts_dir, TRADES)
    patterns = [world.add_run()[0] for _ in range(min(PATTERNS, count))]
    others = [str(uuid.uuid4()) for _ in range(count - len(patterns))]
    publish(settings, patterns, others)
    record(settings, [*patterns, *others])
    seal(settings, [*patterns, *others])
    refresh(Statistics.of(settings), [RunRecord(run_id, "completed", "strategy-0") for run_id in patterns])
    count_others(settings, patterns, others)
    measure_refresh(settings.home)


def publish(settings: Settings, patterns: Sequence[str], others: Sequence[str]) -> None:
    """Link the tables of the patterns, and write a manifest a run."""
    artifacts = str(settings.artifacts_dir)
    manifests = [Path(artifacts, like, MANIFEST).read_text() for like in patterns]
    for number, run_id in enumerate(others):
        like, directory = patterns[number % PATTERNS], f"{artifacts}/{run_id}"
        os.mkdir(directory)  # noqa: PTH102 - a hundred thousand of them, and Path is slow
        for name in TABLES:
            os.link(f"{artifacts}/{like}/{name}", f"{directory}/{name}")
        with open(f"{directory}/{MANIFEST}", "w") as file:  # noqa: PTH123
            file.write(manifests[number % PATTERNS].replace(like, run_id))


def count_others(settings: Settings, patterns: Sequence[str], others: Sequence[str]) -> None:
    """Add the rows of the others to the statistics, beside those of the patterns that they are like."""
    artifacts = ArtifactStore.of(settings)
    made = pa.table(
        {
            "run_no": [len(patterns) + number for number in range(len(others))],
            "run_id": others,
            "signature": [artifacts.signature(run_id) for run_id in others],
            "pattern": [patterns[number % PATTERNS] for number in range(len(others))],
        }
    )
    with open_catalog(settings.catalog_path).transaction(write=True) as connection:
        connection.raw.register("made", made)
        connection.execute(
            "INSERT INTO leaderboard_runs SELECT like_it.* REPLACE (made.run_no AS run_no, made.run_id AS run_id, "
            "made.signature AS signature) FROM made JOIN leaderboard_runs like_it ON like_it.run_id = made.pattern"
        )
        connection.execute(
            "INSERT INTO statistics_runs SELECT like_it.* REPLACE (made.run_id AS run_id) "
            "FROM made JOIN statistics_runs like_it ON like_it.run_id = made.pattern"
        )
        connection.raw.unregister("made")
        connection.execute("UPDATE statistics_state SET next_run_no = ?", [len(patterns) + len(others)])


def record(settings: Settings, run_ids: Sequence[str]) -> None:
    """Record runs as the queue and the launcher would have: body, tags, status, events in the index."""
    config = {"ops": {"run": {"config": {"strategy": "STRATEGY", "timeframe": "5m", "strategy_version": "1"}}}}
    tags = {
        "lab/strategy": "STRATEGY", "lab/timeframe": "5m", "lab/strategy_version": "1", "lab/fingerprint": "f" * 64,
        ".dagster/lab_worker": "RUN", ".dagster/lab_launch": "RUN",
        ".dagster/repository": "__repository__@lab_pipeline",
    }  # fmt: skip
    pattern = dg.DagsterRun("backtest", run_id="RUN", run_config=config, tags=tags, status=dg.DagsterRunStatus.SUCCESS)
    made = pa.table(
        {
            "run_id": run_ids,
            "moment": [(BEGIN + timedelta(minutes=number)).replace(tzinfo=None) for number in range(len(run_ids))],
            "strategy": [f"strategy-{number % 20}" for number in range(len(run_ids))],
        }
    )
    kept = pattern.tags_for_storage()
    with open_instance(settings) as instance:
        storage = instance.run_storage
        if not isinstance(storage, DuckDBRunStorage):
            raise TypeError(storage)
        with storage._transaction(write=True) as connection:  # noqa: SLF001
            connection.raw.register("made", made)
            connection.raw.register("tags", pa.table({"key": list(kept), "value": list(kept.values())}))
            connection.raw.execute(
                "INSERT INTO runs BY NAME SELECT run_id, 'backtest' AS pipeline_name, 'SUCCESS' AS status, "
                "replace(replace(?, 'RUN', run_id), 'STRATEGY', strategy) AS run_body, moment AS create_timestamp, "
                "moment AS update_timestamp, epoch(moment) AS start_time, epoch(moment) + 5 AS end_time "
                "FROM made ORDER BY moment",
                [serialize_value(pattern)],
            )
            connection.raw.execute(
                "INSERT INTO run_tags BY NAME SELECT run_id, key, "
                "replace(replace(value, 'RUN', run_id), 'STRATEGY', strategy) AS value FROM made, tags ORDER BY moment"
            )
            connection.raw.unregister("made")
            connection.raw.unregister("tags")
        instance.event_log_storage.get_maximum_record_id()  # makes the index
    index(settings, run_ids)


def seal(settings: Settings, run_ids: Sequence[str]) -> None:
    """Say of all logs that they have been shipped."""
    config = clickhouse_config(settings)
    with ClickHouse(config) as clickhouse:
        for first in range(0, len(run_ids), AT_ONCE):
            seal_logs(clickhouse, dict.fromkeys(run_ids[first : first + AT_ONCE], 3))
    stop_server(config)


def index(settings: Settings, run_ids: Sequence[str]) -> None:
    """Write the events of each run that Dagster mirrors for all runs."""
    events = {}
    for kind in ("PIPELINE_ENQUEUED", "PIPELINE_START", "PIPELINE_SUCCESS"):
        event = dg.DagsterEvent(event_type_value=kind, job_name="backtest", message="")
        began = BEGIN.timestamp()
        entry = dg.EventLogEntry(  # type: ignore[no-untyped-call]  # Dagster's
            error_info=None, level=20, user_message="", run_id="RUN", timestamp=began, dagster_event=event
        )
        events[kind] = serialize_value(entry)
    rows = (
        (run_id, text.replace("RUN", run_id), kind, str((BEGIN + timedelta(minutes=number)).replace(tzinfo=None)))
        for number, run_id in enumerate(run_ids)
        for kind, text in events.items()
    )
    path = settings.dagster_home / "history" / "runs" / "index.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp) VALUES (?, ?, ?, ?)", rows
        )


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
        runs = run_records(Runs(instance, ArtifactStore.of(settings)), statistics.catalog.run_records())
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
