"""Bring the statistics up to date: read the artifacts of new runs only, and leave no trace of those that are gone."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import polars as pl
import pyarrow as pa

from lab_pipeline.domain.backtest import now
from lab_pipeline.domain.t_quantile import student_t_975
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.files.locks import locked
from lab_pipeline.runs.artifacts import MANIFEST, REMEDY, ArtifactStore, DamagedArtifactError
from lab_pipeline.settings import Settings
from lab_pipeline.statistics.buckets import COLUMNS, Bucket, Metric, bucket_number, classic_buckets
from lab_pipeline.statistics.catalog import FORMAT, Catalog, Change, NotComputedError, State, read_table
from lab_pipeline.statistics.correlations import correlate
from lab_pipeline.statistics.duckdb_session import Workbench
from lab_pipeline.statistics.manifests import ManifestHead, SummaryHead, read_head, signature
from lab_pipeline.statistics.queries import sql
from lab_pipeline.statistics.run_record import KnownRun, completed
from lab_pipeline.statistics.segments import CALLS, Segment, SegmentFiles
from lab_pipeline.storage.plain_path import plain

ESTABLISHED_CALLS = 20
"""Calls from which a caller is ranked among the others; with fewer, behind them."""
LARGEST_FREEDOM = 10_000
"""Degrees of freedom beyond which Student's t no longer differs."""


@dataclass(frozen=True)
class Statistics:
    """The statistics of a lab.

    Attributes:
        catalog: their tables.
        files: columns of the counted runs.
        artifacts_dir: published runs.
        threads: of a computation; default: all cores. The result does not depend on it.
    """

    catalog: Catalog
    files: SegmentFiles
    artifacts_dir: Path
    threads: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return those of a lab."""
        return cls(
            Catalog(settings.catalog_path),
            SegmentFiles(settings.statistics_dir),
            settings.artifacts_dir,
            settings.threads,
        )


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        changed: whether the tables were written; if not, a hash has shown that they are up to date.
        added: runs that were read.
        removed: runs that are gone, or have been published anew.
        runs: runs that count now.
        source_hash: of what the tables are computed from.
        seconds: that it took.
    """

    changed: bool
    added: int
    removed: int
    runs: int
    source_hash: str
    seconds: float


def refresh(statistics: Statistics, runs: Sequence[KnownRun], *, rebuild: bool = False) -> Refreshed:
    """Compute what is not up to date, and write it in one transaction.

    Counted are completed runs with artifacts. One refresh at a time; readers see the old tables or the new ones.

    Args:
        statistics: where everything lies.
        runs: every backtest that is on record.
        rebuild: read all artifacts again, whatever has been computed before; the tables come out the same.

    Raises:
        LabError: if a manifest is damaged, or a store cannot be read or written; the tables stay as they were.
    """
    started = time.monotonic()
    with alone(statistics):
        before = None if rebuild else _read_before(statistics)
        plan = _plan(statistics.artifacts_dir, runs, before)
        changed = before is None or plan.source_hash != before.state.source_hash
        if changed:
            try:
                change = _computed(statistics, plan, before)
            except duckdb.Error:
                if before is None:
                    raise
                # A file of before has an end that can be read, and something else that cannot.
                plan = _plan(statistics.artifacts_dir, runs, None)
                change = _computed(statistics, plan, None)
            statistics.catalog.apply(change)
            statistics.files.sweep(change.state.files)
    return Refreshed(
        changed, len(plan.added), len(plan.gone), plan.counted, plan.source_hash, time.monotonic() - started
    )


@contextmanager
def alone(statistics: Statistics) -> Iterator[None]:
    """Keep every other refresh waiting."""
    statistics.files.directory.mkdir(parents=True, exist_ok=True)
    with locked(statistics.files.directory / ".lock"):
        yield


@dataclass(frozen=True)
class _Before:
    """What has been computed: state, a row a counted run, groups and classic distributions."""

    state: State
    runs: pa.Table
    groups: pa.Table
    distribution: dict[tuple[str, int], int]
    tables: dict[str, pa.Table]


@dataclass(frozen=True)
class _NewRun:
    run: KnownRun
    signature: str
    sha256: str
    manifest: ManifestHead


@dataclass(frozen=True)
class _Plan:
    """What is to do: runs to read, numbers of runs to forget, runs that count afterwards, and the hash of it all."""

    added: list[_NewRun]
    gone: set[int]
    counted: int
    runs: Sequence[KnownRun]
    source_hash: str


def _read_before(statistics: Statistics) -> _Before | None:
    """Return what there is, or none where nothing is or its files are lost: then all comes from the artifacts again."""
    try:
        with statistics.catalog.reading() as (connection, state):
            if not statistics.files.are_whole(state.files, state.calls_file):
                return None
            counts = connection.execute("SELECT metric, number, count FROM statistics_distribution")
            return _Before(
                state=state,
                runs=read_table(connection, "FROM leaderboard_runs ORDER BY run_no"),
                groups=read_table(connection, "FROM statistics_pnl"),
                distribution={(metric, number): count for metric, number, count in counts},
                tables={"statistics_overview": read_table(connection, "FROM statistics_overview")},
            )
    except NotComputedError:
        return None


def _plan(artifacts_dir: Path, runs: Sequence[KnownRun], before: _Before | None) -> _Plan:
    known: dict[str, tuple[int, str, str]] = {}
    if before is not None:
        columns = (before.runs[name].to_pylist() for name in ("run_id", "run_no", "signature", "manifest_sha256"))
        known = {run_id: (number, seen, sha) for run_id, number, seen, sha in zip(*columns, strict=True)}
    hashes: dict[str, str] = {}
    added = []
    for run_id, run in completed(runs).items():
        path = f"{artifacts_dir}/{run_id}/{MANIFEST}"  # text: there are ten thousand of them
        found = signature(path)
        if found is None:
            continue  # its artifacts are gone
        if run_id in known and known[run_id][1] == found:
            hashes[run_id] = known[run_id][2]
        else:
            added.append(_NewRun(run, found, *read_head(Path(path))))
            hashes[run_id] = added[-1].sha256
    again = {new.run.run_id for new in added}
    gone = {number for run_id, (number, _, _) in known.items() if run_id not in hashes or run_id in again}
    added.sort(key=lambda new: new.run.run_id)
    return _Plan(added, gone, len(hashes), runs, _source_hash(hashes, runs))


def _source_hash(hashes: dict[str, str], runs: Iterable[KnownRun]) -> str:
    """Hash the format, the manifests that count, and the status and strategy of every run."""
    lines = [f"{run.run_id} {hashes.get(run.run_id)} {run.status} {run.strategy_id}\n" for run in runs]
    return hashlib.sha256("".join([f"{FORMAT}\n", *sorted(lines)]).encode()).hexdigest()


def _computed(statistics: Statistics, plan: _Plan, before: _Before | None) -> Change:
    """Compute, and name the artifact that is to blame if one is damaged.

    Raises:
        LabError: naming it.
    """
    try:
        with Workbench(statistics.threads) as bench:
            return _compute(statistics, bench, plan, before)
    except duckdb.Error as error:
        store = ArtifactStore(statistics.artifacts_dir)
        damaged = [problem for one in plan.added for problem in store.damage(one.run.run_id)]
        if not damaged:
            raise
        raise DamagedArtifactError(f"the statistics cannot be computed: {damaged[0]}. {REMEDY}") from error


def _compute(statistics: Statistics, bench: Workbench, plan: _Plan, before: _Before | None) -> Change:
    files = statistics.files
    segments = list(before.state.segments) if before else []
    first = before.state.next_run_no if before else 0
    afresh = before is None or bool(plan.gone)
    if plan.gone:
        segments = files.without(bench, segments, plan.gone)
    new: list[Segment] = []
    if plan.added:
        directories = [statistics.artifacts_dir / one.run.run_id for one in plan.added]
        new = [files.write(bench, directories, first)]
    files.define_views(bench, new)
    added = _measure_runs(bench, plan.added, directories if plan.added else [], first)
    runs = _all_runs(added, plan.gone, before)
    bench.put("runs", runs)
    bench.define("run_strategies", "SELECT run_no, strategy_id FROM runs")
    if afresh:
        files.define_views(bench, [*segments, *new])
    groups = _merge_groups(bench, None if afresh else before)
    calls_file = _merge_calls(statistics, bench, None if afresh else before)
    distribution = _count_values(bench, None if afresh else before)
    segments = files.compacted(bench, [*segments, *new])
    files.define_views(bench, segments)
    computed_at = _naive(now())
    state = State(computed_at, plan.source_hash, calls_file, first + len(plan.added), tuple(segments))
    return Change(
        state=state,
        forget=plan.gone,
        everything=afresh,
        replace={
            "statistics_runs": _known_rows(plan.runs),
            "statistics_overview": _overview(bench, plan, state),
            "statistics_distribution": distribution,
            "statistics_correlation": _correlations(bench),
            "leaderboard_strategies": bench.read(sql("measure_strategies")),
            "leaderboard_callers": measure_callers(bench),
        },
        add={"statistics_pnl": groups, "leaderboard_runs": runs if afresh else added},
    )


def _measure_runs(bench: Workbench, added: Sequence[_NewRun], directories: Sequence[Path], first: int) -> pa.Table:
    bench.put("new_runs", _run_rows(added, first))
    if added:
        files = [plain(directory / "equity.parquet") for directory in directories]
        bench.put("steps", bench.read(sql("list_daily_returns"), {"files": files, "first_run_no": first}))
    else:
        bench.put("steps", bench.read("SELECT 0 AS owner, 0 AS step, 0.0e0 AS change WHERE false"))
    bench.keep("steadiness", sql("measure_steadiness"))
    return bench.read(sql("measure_runs"))


def _run_rows(added: Sequence[_NewRun], first: int) -> pa.Table:
    rows = [
        {
            "run_no": first + number,
            "run_id": new.run.run_id,
            "signature": new.signature,
            "manifest_sha256": new.sha256,
            "manifest_trades": new.manifest.rows("trades.parquet"),
            "manifest_paths": new.manifest.rows("paths.parquet"),
            "strategy_id": new.manifest.spec.strategyId,
            "strategy_version": new.manifest.spec.strategyVersion,
            "timeframe": new.manifest.spec.timeframe,
            "timeframe_ms": timeframe_ms(new.manifest.spec.timeframe),
            "fingerprint": new.manifest.fingerprint,
            "completed_at": _naive(new.run.completed_at or new.manifest.created_at),
            "initial_capital": new.manifest.spec.strategy.portfolio.initialCapital,
            **{name: getattr(new.manifest.summary, name) for name in SummaryHead.model_fields},
        }
        for number, new in enumerate(added)
    ]
    return pl.DataFrame(rows, schema=_RUN_ROWS, orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())


_RUN_ROWS: dict[str, Any] = {
    "run_no": pl.Int32,
    "run_id": pl.String,
    "signature": pl.String,
    "manifest_sha256": pl.String,
    "manifest_trades": pl.Int64,
    "manifest_paths": pl.Int64,
    "strategy_id": pl.String,
    "strategy_version": pl.String,
    "timeframe": pl.String,
    "timeframe_ms": pl.Int64,
    "fingerprint": pl.String,
    "completed_at": pl.Datetime("us"),
    "initial_capital": pl.Float64,
    **{name: pl.Int64 if field.annotation is int else pl.Float64 for name, field in SummaryHead.model_fields.items()},
}


def _all_runs(added: pa.Table, gone: set[int], before: _Before | None) -> pa.Table:
    if before is None:
        return added
    numbers = before.runs["run_no"].to_pylist()
    kept = before.runs.filter(pa.array([number not in gone for number in numbers], pa.bool_())) if gone else before.runs
    return pa.concat_tables([kept, added.select(kept.column_names)], promote_options="permissive")


def _merge_groups(bench: Workbench, before: _Before | None) -> pa.Table:
    """Return the groups that the trades in view touch, and keep all of them as `groups`."""
    bench.keep("new_groups", sql("group_trades"))
    if before is None:
        bench.define("groups", "SELECT * FROM new_groups")
        return bench.read("FROM new_groups ORDER BY group_by, key")
    bench.put("old_groups", before.groups)
    bench.keep("merged_groups", sql("merge_groups"))
    bench.define(
        "groups",
        "SELECT * FROM merged_groups UNION ALL SELECT * FROM old_groups ANTI JOIN merged_groups USING (group_by, key)",
    )
    return bench.read("FROM merged_groups ORDER BY group_by, key")


def _merge_calls(statistics: Statistics, bench: Workbench, before: _Before | None) -> str:
    """Write the sums per call, keep them as `calls`, and return the name of the file."""
    parts = sql("list_call_parts")
    if before is not None:
        old = str(statistics.files.path(before.state.calls_file, CALLS)).replace("'", "''")
        parts = f"SELECT * FROM '{old}' UNION ALL ({parts})"  # noqa: S608 - our own file
    bench.define("call_parts", parts)
    bench.keep("calls", sql("merge_calls"))
    return statistics.files.write_calls(bench, "FROM calls")


def _count_values(bench: Workbench, before: _Before | None) -> pa.Table:
    rows = []
    for metric in Metric:
        buckets = classic_buckets(metric)
        counts = count_in_buckets(bench, metric, buckets)
        for number, bucket in enumerate(buckets):
            old = before.distribution.get((metric.value, number), 0) if before and metric is not Metric.TRADES else 0
            rows.append((metric.value, number, bucket.bucket, bucket.lower, bucket.upper, old + counts.get(number, 0)))
    return pl.DataFrame(rows, schema=_DISTRIBUTION, orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())


def count_in_buckets(bench: Workbench, metric: Metric, buckets: Sequence[Bucket]) -> dict[int, int]:
    """Count the values in view by the number of their bucket, from 0; empty buckets are absent."""
    table, column = COLUMNS[metric]
    number = bucket_number(buckets, column)
    query = f"SELECT CAST({number} AS INTEGER) AS number, count(*) AS count FROM {table} GROUP BY number"  # noqa: S608
    found = bench.read(query)
    return dict(zip(found["number"].to_pylist(), found["count"].to_pylist(), strict=True))


_DISTRIBUTION = {
    "metric": pl.String,
    "number": pl.Int32,
    "bucket": pl.String,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "count": pl.Int64,
}


def measure_callers(bench: Workbench) -> pa.Table:
    """Judge every caller by the sums in `calls`: the columns of leaderboard_callers, ordered by name."""
    freedom = pl.int_range(1, LARGEST_FREEDOM + 1, eager=True).cast(pl.Float64).to_numpy()
    student = pl.DataFrame({"freedom": freedom, "student": student_t_975(freedom)})
    bench.put("student_quantiles", student.to_arrow(compat_level=pl.CompatLevel.oldest()))
    bench.put("steps", bench.read(sql("list_caller_steps")))
    bench.keep("steadiness", sql("measure_steadiness"))
    parameters = {"largest_freedom": LARGEST_FREEDOM, "established": ESTABLISHED_CALLS}
    return bench.read(sql("measure_callers"), parameters)


def _correlations(bench: Workbench) -> pa.Table:
    observations = pl.DataFrame(bench.read(sql("list_observations")))
    rows = [
        (one.method.value, one.feature, one.outcome, one.correlation, one.low, one.high, one.n)
        for one in correlate(observations)
    ]
    schema = {
        "method": pl.String,
        "feature": pl.String,
        "outcome": pl.String,
        "correlation": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "n": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())


def _known_rows(runs: Iterable[KnownRun]) -> pa.Table:
    schema: dict[str, Any] = {
        "run_id": pl.String,
        "status": pl.String,
        "strategy_id": pl.String,
        "completed_at": pl.Datetime("us"),
    }
    rows = [
        (run.run_id, run.status, run.strategy_id, None if run.completed_at is None else _naive(run.completed_at))
        for run in runs
    ]
    return pl.DataFrame(rows, schema=schema, orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _overview(bench: Workbench, plan: _Plan, state: State) -> pa.Table:
    bench.keep("totals", sql("summarise_groups"))
    parameters = {
        "total_runs": len(plan.runs),
        "computed_at": state.computed_at,
        "source_hash": state.source_hash,
    }
    return bench.read(sql("list_overview"), parameters)
