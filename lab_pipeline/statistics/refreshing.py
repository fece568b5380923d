"""Bring the statistics up to date: read the artifacts of new runs only, and leave no trace of those that are gone."""

import hashlib
import random
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
import pyarrow.compute as pc

from lab_pipeline.domain.backtest import now
from lab_pipeline.domain.t_quantile import student_t_975
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.files.locks import locked
from lab_pipeline.runs.artifact_storage import MANIFEST, ChangedError
from lab_pipeline.runs.artifacts import REMEDY, ArtifactStore, DamagedArtifactError
from lab_pipeline.settings import Settings
from lab_pipeline.statistics.buckets import COLUMNS, BucketRange, Metric, bucket_number, classic_buckets
from lab_pipeline.statistics.catalog import FORMAT, Catalog, CatalogState, Change, NotComputedError, read_table, showing
from lab_pipeline.statistics.correlations import correlate
from lab_pipeline.statistics.duckdb_session import DuckDBSession
from lab_pipeline.statistics.manifests import ManifestHead, SummaryHead, directories, read_head
from lab_pipeline.statistics.queries import sql
from lab_pipeline.statistics.run_record import COMPLETED, KNOWN, RunRecord, as_table, known_frame
from lab_pipeline.statistics.segments import CALLS, PATHS, TRADES, Segment, SegmentFiles
from lab_pipeline.storage.plain_path import plain

ESTABLISHED_CALLS = 20
"""Calls from which a caller is ranked among the others; with fewer, behind them."""
LOOKED_AT_AGAIN = 2_000
"""Manifests a refresh looks at though nothing says that they have changed, drawn by lot; to look at all of a hundred
thousand would take longer than everything else."""
LARGEST_FREEDOM = 10_000
"""Degrees of freedom beyond which Student's t no longer differs."""


EQUITY = "equity"
RUN_LABELS = "SELECT run_no, strategy_id, fills FROM runs"
"""What groups of trades are told of the runs that they come from."""


@dataclass(frozen=True)
class Statistics:
    """The statistics of a lab.

    Attributes:
        catalog: their tables.
        files: columns of the counted runs.
        artifacts: published runs.
        threads: of a computation; default: all cores. The result does not depend on it.
    """

    catalog: Catalog
    files: SegmentFiles
    artifacts: ArtifactStore
    threads: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return those of a lab."""
        return cls(
            Catalog(settings.catalog_path),
            SegmentFiles(settings.statistics_dir),
            ArtifactStore.of(settings),
            settings.threads,
        )


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        changed: whether the tables were written; if not, a hash has shown that they are up to date.
        added: runs that were read.
        removed: runs that are gone, or were published again.
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


def refresh(statistics: Statistics, runs: pl.DataFrame | Iterable[RunRecord], *, rebuild: bool = False) -> Refreshed:
    """Compute what is not up to date, and write it in one transaction.

    Counted are completed runs with artifacts. One refresh at a time; readers see the old tables or the new ones.
    All records, and the names of all directories, are compared with those of before, but only what differs is looked
    at, and `LOOKED_AT_AGAIN` of the others, in case somebody has changed a manifest where it lies.

    Args:
        statistics: where everything lies.
        runs: every backtest that is on record; many are best given as a frame with the columns of `KNOWN`.
        rebuild: read all artifacts again, whatever has been computed before; the tables come out the same.

    Raises:
        LabError: if a manifest is damaged, or a store cannot be read or written; the tables stay as they were.
    """
    started = time.monotonic()
    recorded = (runs if isinstance(runs, pl.DataFrame) else known_frame(runs)).unique("run_id", keep="last")
    with alone(statistics):
        before = None if rebuild else _read_before(statistics, recorded)
        plan = _plan(statistics.artifacts, recorded, before)
        changed = before is None or plan.source_hash != before.state.source_hash
        if changed:
            try:
                change = _computed(statistics, plan, before)
            except duckdb.Error:
                if before is None:
                    raise
                # A file of before has an end that can be read, and something else that cannot.
                plan = _plan(statistics.artifacts, recorded, None)
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
    """What has been computed, and what is no longer as it was then.

    Attributes:
        state: of it.
        runs: a row a counted run, with the columns by which strategies are judged.
        groups: all of them.
        distribution: counts by metric and number of the bucket.
        records: runs whose record has changed, as list_changed_records.sql says.
        artifacts: those whose artifacts have to be looked at, as list_artifacts_to_look_at.sql says.
    """

    state: CatalogState
    runs: pa.Table
    groups: pa.Table
    distribution: dict[tuple[str, int], int]
    records: pl.DataFrame
    artifacts: pl.DataFrame


@dataclass(frozen=True)
class _NewRun:
    run_id: str
    completed_at: datetime | None
    directory: int
    signature: str
    sha256: str
    manifest: ManifestHead


@dataclass(frozen=True)
class _Plan:
    """What is to do.

    Attributes:
        added: runs to read.
        gone: numbers of runs to forget.
        moved: `run_id` and `directory` of those that lie elsewhere and are the same.
        unrecorded: ids of runs whose record is gone or has changed.
        recorded: runs whose record is new or has changed, with the columns of `KNOWN`.
        counted: how many runs count afterwards.
        known: how many are on record.
        source_hash: of all that.
    """

    added: list[_NewRun]
    gone: set[int]
    moved: pl.DataFrame
    unrecorded: list[str]
    recorded: pl.DataFrame
    counted: int
    known: int
    source_hash: str


def _read_before(statistics: Statistics, recorded: pl.DataFrame) -> _Before | None:
    """Return what there is, or none where nothing is or its files are lost: then all comes from the artifacts again.

    The tables are compared where they lie, and only differences leave the database, for there may be very many runs.
    """
    found = directories(statistics.artifacts.storage)
    try:
        with statistics.catalog.reading() as (connection, state):
            if not statistics.files.are_whole(state.files, state.calls_file):
                return None
            counts = connection.execute("SELECT metric, number, count FROM statistics_distribution")
            shares = -(-state.next_run_no // LOOKED_AT_AGAIN) or 1
            with showing(connection, {"recorded": as_table(recorded), "found": found}):
                records = read_table(connection, sql("list_changed_records"))
                share = {"shares": shares, "share": random.randrange(shares)}  # noqa: S311 - no secret
                artifacts = read_table(connection, sql("list_artifacts_to_look_at"), share)
            return _Before(
                state=state,
                runs=read_table(connection, f"SELECT {', '.join(_JUDGED)} FROM leaderboard_runs ORDER BY run_no"),  # noqa: S608 - our own names
                groups=read_table(connection, "FROM statistics_pnl"),
                distribution={(metric, number): count for metric, number, count in counts},
                records=pl.DataFrame(records),
                artifacts=pl.DataFrame(artifacts),
            )
    except NotComputedError:
        return None


def _plan(artifacts: ArtifactStore, runs: pl.DataFrame, before: _Before | None) -> _Plan:
    if before is None:
        found = pl.DataFrame(directories(artifacts.storage))
        looked_at = runs.filter(pl.col("status") == COMPLETED).join(found, on="run_id")
    else:
        looked_at = before.artifacts
    added: list[_NewRun] = []
    gone: dict[int, tuple[str, str]] = {}
    moved: list[tuple[str, int]] = []
    for run in looked_at.iter_rows(named=True):
        run_id, number = run["run_id"], run.get("run_no")
        seen = None if run["directory"] is None else artifacts.storage.signature(run_id)
        if seen is not None and seen == run.get("signature"):
            if run["directory"] != run["old_directory"]:
                moved.append((run_id, run["directory"]))
            continue
        if number is not None:
            gone[number] = (run_id, run["manifest_sha256"])
        if seen is not None:  # or else its artifacts are gone
            content, place = artifacts.storage.manifest(run_id), artifacts.storage.at(run_id, MANIFEST)
            added.append(_NewRun(run_id, run["completed_at"], run["directory"], seen, *read_head(content, place)))
    added.sort(key=lambda new: new.run_id)
    changed = _all_new(runs) if before is None else before.records
    recorded = changed.filter("is_recorded").select(list(KNOWN))
    return _Plan(
        added=added,
        gone=set(gone),
        moved=pl.DataFrame(moved, {"run_id": pl.String, "directory": pl.UInt64}, orient="row"),
        unrecorded=changed.filter("was_recorded")["run_id"].to_list(),
        recorded=recorded,
        counted=(0 if before is None else before.runs.num_rows) - len(gone) + len(added),
        known=runs.height,
        source_hash=_source_hash(changed, added, gone.values(), before),
    )


def _all_new(runs: pl.DataFrame) -> pl.DataFrame:
    """Say of all runs that they are new on record, as list_changed_records.sql does."""
    none = pl.lit(None, pl.String)
    return runs.with_columns(is_recorded=True, was_recorded=False, old_status=none, old_strategy_id=none)


def _source_hash(
    changed: pl.DataFrame, added: Iterable[_NewRun], gone: Iterable[tuple[str, str]], before: _Before | None
) -> str:
    """Hash the format, the manifests that count, and the status and strategy of every run.

    It is the sum of a hash for each of them: in any order and however one got there it is the same, and what comes or
    goes is added or subtracted without a look at the rest.
    """
    coming = [f"format {FORMAT}"] if before is None else []
    going = [f"manifest {run_id} {sha256}" for run_id, sha256 in gone]
    coming += [f"manifest {new.run_id} {new.sha256}" for new in added]
    for run in changed.iter_rows(named=True):
        if run["was_recorded"]:
            going.append(f"record {run['run_id']} {run['old_status']} {run['old_strategy_id']}")
        if run["is_recorded"]:
            coming.append(f"record {run['run_id']} {run['status']} {run['strategy_id']}")
    total = 0 if before is None else int(before.state.source_hash, 16)
    total += sum(map(_hashed, coming)) - sum(map(_hashed, going))
    return f"{total % 2**256:064x}"


def _hashed(line: str) -> int:
    return int.from_bytes(hashlib.sha256(line.encode()).digest())


def _computed(statistics: Statistics, plan: _Plan, before: _Before | None) -> Change:
    """Compute, and name the artifact that is to blame if one is damaged.

    Raises:
        LabError: naming it.
    """
    try:
        with DuckDBSession(statistics.threads) as bench:
            return _compute(statistics, bench, plan, before)
    except (duckdb.Error, FileNotFoundError, ChangedError) as error:
        damaged = [problem for one in plan.added for problem in statistics.artifacts.damage(one.run_id)]
        if not damaged:
            raise
        raise DamagedArtifactError(f"the statistics cannot be computed: {damaged[0]}. {REMEDY}") from error


def _compute(statistics: Statistics, bench: DuckDBSession, plan: _Plan, before: _Before | None) -> Change:
    files = statistics.files
    segments = list(before.state.segments) if before else []
    first = before.state.next_run_no if before else 0
    afresh = before is None or bool(plan.gone)
    if plan.gone:
        segments = files.without(bench, segments, plan.gone)
    new: list[Segment] = []
    if plan.added:
        artifacts = {kind: _artifacts(statistics.artifacts, plan.added, kind) for kind in (TRADES, PATHS, EQUITY)}
        new = [files.write(bench, artifacts, first)]
    files.define_views(bench, new)
    added = _measure_runs(bench, plan.added, artifacts[EQUITY] if plan.added else [], first)
    runs_now = {"leaderboard_runs": added, "statistics_runs": as_table(plan.recorded)}
    runs = _all_runs(added, plan.gone, before)
    bench.put("runs", runs)
    bench.define("run_labels", RUN_LABELS)
    if afresh:
        files.define_views(bench, [*segments, *new])
    groups = {"statistics_pnl": _merge_groups(bench, None if afresh else before)}
    calls_file = _merge_calls(statistics, bench, None if afresh else before)
    distribution = _count_values(bench, None if afresh else before)
    segments = files.compacted(bench, [*segments, *new])
    files.define_views(bench, segments)
    computed_at = _naive(now())
    state = CatalogState(computed_at, plan.source_hash, calls_file, first + len(plan.added), tuple(segments))
    return Change(
        state=state,
        forget=plan.gone,
        unrecorded=plan.unrecorded,
        moved=as_table(plan.moved),
        replace={
            **(groups if afresh else {}),
            **(runs_now if before is None else {}),
            "statistics_overview": _overview(bench, plan, state),
            "statistics_distribution": distribution,
            "statistics_correlation": read_correlations(bench),
            "leaderboard_strategies": bench.read(sql("measure_strategies")),
            "leaderboard_callers": measure_callers(bench),
        },
        append={} if before is None else runs_now,
        merge={} if afresh else groups,
    )


def _artifacts(store: ArtifactStore, added: Sequence[_NewRun], name: str) -> list[Path]:
    """Return where a table of each run can be read."""
    return store.storage.local_all([(new.run_id, new.manifest.file(f"{name}.parquet")) for new in added])


def _measure_runs(bench: DuckDBSession, added: Sequence[_NewRun], equity: Sequence[Path], first: int) -> pa.Table:
    bench.put("new_runs", _run_rows(added, first))
    if added:
        files = [plain(path) for path in equity]
        bench.put("steps", bench.read(sql("list_daily_returns"), {"files": files, "first_run_no": first}))
    else:
        bench.put("steps", bench.read("SELECT 0 AS owner, 0 AS step, 0.0e0 AS change WHERE false"))
    bench.keep("steadiness", sql("measure_steadiness"))
    return bench.read(sql("measure_runs"))


def _run_rows(added: Sequence[_NewRun], first: int) -> pa.Table:
    rows = [
        {
            "run_no": first + number,
            "run_id": new.run_id,
            "directory": new.directory,
            "signature": new.signature,
            "manifest_sha256": new.sha256,
            "manifest_trades": new.manifest.rows("trades.parquet"),
            "manifest_paths": new.manifest.rows("paths.parquet"),
            "strategy_id": new.manifest.spec.strategyId,
            "strategy_version": new.manifest.spec.strategyVersion,
            "timeframe": new.manifest.spec.timeframe,
            "fills": new.manifest.fill_assumptions.id,
            "fill_assumptions": new.manifest.fill_assumptions.text,
            "timeframe_ms": timeframe_ms(new.manifest.spec.timeframe),
            "fingerprint": new.manifest.fingerprint,
            "completed_at": new.completed_at or _naive(new.manifest.created_at),
            "initial_capital": new.manifest.spec.strategy.portfolio.initialCapital,
            **{name: getattr(new.manifest.summary, name) for name in SummaryHead.model_fields},
        }
        for number, new in enumerate(added)
    ]
    return as_table(pl.DataFrame(rows, schema=_RUN_ROWS, orient="row"))


_RUN_ROWS: dict[str, Any] = {
    "run_no": pl.Int32,
    "run_id": pl.String,
    "directory": pl.UInt64,
    "signature": pl.String,
    "manifest_sha256": pl.String,
    "manifest_trades": pl.Int64,
    "manifest_paths": pl.Int64,
    "strategy_id": pl.String,
    "strategy_version": pl.String,
    "timeframe": pl.String,
    "fills": pl.String,
    "fill_assumptions": pl.String,
    "timeframe_ms": pl.Int64,
    "fingerprint": pl.String,
    "completed_at": pl.Datetime("us"),
    "initial_capital": pl.Float64,
    **{name: pl.Int64 if field.annotation is int else pl.Float64 for name, field in SummaryHead.model_fields.items()},
}


def _all_runs(added: pa.Table, gone: set[int], before: _Before | None) -> pa.Table:
    if before is None:
        return added
    gone_numbers = pa.array(sorted(gone), pa.int32())
    kept = before.runs.filter(pc.invert(pc.is_in(before.runs["run_no"], gone_numbers))) if gone else before.runs
    return pa.concat_tables([kept, added.select(kept.column_names)], promote_options="permissive")


_JUDGED = (
    "run_no", "strategy_id", "strategy_version", "fills", "fill_assumptions", "trades", "wins", "pnl", "total_return",
    "sharpe", "gains", "losses", "max_drawdown", "stability",
)  # fmt: skip


def _merge_groups(bench: DuckDBSession, before: _Before | None) -> pa.Table:
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


def _merge_calls(statistics: Statistics, bench: DuckDBSession, before: _Before | None) -> str:
    """Write the sums per call, keep them as `calls`, and return the name of the file."""
    parts = sql("list_call_parts")
    if before is not None:
        old = str(statistics.files.path(before.state.calls_file, CALLS)).replace("'", "''")
        parts = f"SELECT * FROM '{old}' UNION ALL ({parts})"  # noqa: S608 - our own file
    bench.define("call_parts", parts)
    bench.keep("calls", sql("merge_calls"))
    return statistics.files.write_calls(bench, "FROM calls")


def _count_values(bench: DuckDBSession, before: _Before | None) -> pa.Table:
    rows = []
    for metric in Metric:
        buckets = classic_buckets(metric)
        counts = count_in_buckets(bench, metric, buckets)
        for number, bucket in enumerate(buckets):
            old = before.distribution.get((metric.value, number), 0) if before and metric is not Metric.TRADES else 0
            rows.append((metric.value, number, bucket.bucket, bucket.lower, bucket.upper, old + counts.get(number, 0)))
    return as_table(pl.DataFrame(rows, schema=_DISTRIBUTION, orient="row"))


def count_in_buckets(bench: DuckDBSession, metric: Metric, buckets: Sequence[BucketRange]) -> dict[int, int]:
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


def measure_callers(bench: DuckDBSession) -> pa.Table:
    """Judge every caller by the sums in `calls`: the columns of leaderboard_callers, ordered by name."""
    freedom = pl.int_range(1, LARGEST_FREEDOM + 1, eager=True).cast(pl.Float64).to_numpy()
    student = pl.DataFrame({"freedom": freedom, "student": student_t_975(freedom)})
    bench.put("student_quantiles", student.to_arrow(compat_level=pl.CompatLevel.oldest()))
    bench.put("steps", bench.read(sql("list_caller_steps")))
    bench.keep("steadiness", sql("measure_steadiness"))
    parameters = {"largest_freedom": LARGEST_FREEDOM, "established": ESTABLISHED_CALLS}
    return bench.read(sql("measure_callers"), parameters)


def read_correlations(bench: DuckDBSession) -> pa.Table:
    """Correlate over the calls in `calls`: the columns of statistics_correlation."""
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
    return as_table(pl.DataFrame(rows, schema=schema, orient="row"))


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _overview(bench: DuckDBSession, plan: _Plan, state: CatalogState) -> pa.Table:
    bench.keep("totals", sql("summarise_groups"))
    parameters = {
        "total_runs": plan.known,
        "computed_at": state.computed_at,
        "source_hash": state.source_hash,
    }
    return bench.read(sql("list_overview"), parameters)
