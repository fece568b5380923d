"""What is asked of the statistics: read from the catalog, or computed from the kept columns and kept in turn."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lab_pipeline.domain.backtest import iso, now
from lab_pipeline.domain.enums import GroupBy
from lab_pipeline.domain.fill_assumptions import Labelled, note_on
from lab_pipeline.domain.model import canonical_json, to_camel_keys
from lab_pipeline.statistics.buckets import (
    COLUMNS,
    Binning,
    Bins,
    BucketRange,
    Metric,
    buckets_between,
    classic_buckets,
)
from lab_pipeline.statistics.catalog import CatalogState, read_state, read_table
from lab_pipeline.statistics.correlations import FEATURES, Method
from lab_pipeline.statistics.duckdb_session import DuckDBSession
from lab_pipeline.statistics.queries import sql
from lab_pipeline.statistics.refreshing import RUN_LABELS, Statistics, count_in_buckets, read_correlations, refresh
from lab_pipeline.statistics.run_record import COMPLETED
from lab_pipeline.statistics.segments import PATHS, TRADES
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.duck_file import DuckFile

TIME_LIMIT_SECONDS = 10.0
"""For a computation that somebody waits for."""
MOST_ANSWERS = 1000
"""Computed answers that are kept until the next refresh; the oldest go first."""


@dataclass(frozen=True)
class StatisticsAnswer:
    """Something to show.

    Attributes:
        computed_at: when the numbers were computed, UTC.
        etag: changes when, and only when, the numbers can.
        body: camelCase keys, JSON values.
    """

    computed_at: datetime
    etag: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Range:
    """Selects trades by the time of their call: start <= called_at < end; None for an open end."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it selects everything."""
        return self.start is None and self.end is None

    def condition(self) -> str:
        """Write it in SQL."""
        bounds = [
            f"called_at {sign} TIMESTAMP '{moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}'"
            for sign, moment in ((">=", self.start), ("<", self.end))
            if moment is not None
        ]
        return " AND ".join(bounds) or "true"

    def to_json(self) -> list[str | None]:
        """Return what tells it from others."""
        return [None if moment is None else iso(moment.astimezone(UTC)) for moment in (self.start, self.end)]


EVERYTHING = Range()


@dataclass(frozen=True)
class _Selection:
    """Selects runs; None selects all."""

    strategy_id: str | None = None
    fills: str | None = None

    @property
    def is_open(self) -> bool:
        return self == _Selection()

    def condition(self) -> str:
        """Write it in SQL, over runs that count."""
        return (
            " AND ".join(
                [
                    f"{name} = '{value.replace(chr(39), chr(39) * 2)}'"
                    for name, value in asdict(self).items()
                    if value is not None
                ]
            )
            or "true"
        )


def overview(
    statistics: Statistics,
    period: Range = EVERYTHING,
    strategy_id: str | None = None,
    fills: str | None = None,
) -> StatisticsAnswer:
    """Return the totals over completed runs; averages and rates without trades are null.

    The period selects trades, not runs: a run is at no time of the market. The strategy selects both, and so does the
    id of what runs assume of their fills, which only runs that count have: with it, no others are among the runs.
    """
    selection = _Selection(strategy_id, fills)
    with statistics.catalog.reading() as (connection, state):
        labels = read_labels(connection, selection.condition())
        statuses = connection.execute(
            "SELECT status, count(*) FROM statistics_runs"
            " WHERE $1 IS NULL OR strategy_id = $1 GROUP BY status ORDER BY status",
            [strategy_id],
        )
        if fills is not None:
            counted = sum(label.runs for label in labels)
            statuses = [(COMPLETED, counted)] if counted else []
        runs = {"totalRuns": sum(count for _, count in statuses), "runsByStatus": dict(statuses)} | say(labels)
        if period.is_open and selection.is_open:
            totals = _records(connection, "SELECT * EXCLUDE (computed_at, source_hash) FROM statistics_overview")[0]
            return answer_of(state, "overview", to_camel_keys(totals) | runs)
    asked = {"what": "overview", "period": period.to_json(), "strategy": strategy_id, "fills": fills}
    computed_at, totals = computed(statistics, state, asked, lambda bench: _total(bench, period, selection))
    return answer_of(state, asked, totals | runs, computed_at)


def pnl(
    statistics: Statistics,
    group_by: GroupBy,
    period: Range = EVERYTHING,
    *,
    fills: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> tuple[StatisticsAnswer, str | None]:
    """Return net returns of trades by group, ascending by key, and the key after which the next page begins.

    Groups without a trade are absent.

    Args:
        statistics: where to read.
        group_by: what a group is.
        period: which trades.
        fills: id of what their runs assume of their fills; all by default.
        after: key that the page begins after.
        limit: groups at most; all by default.
    """
    selection = _Selection(fills=fills)
    with statistics.catalog.reading() as (connection, state):
        labels = read_labels(connection, selection.condition())
        if period.is_open and selection.is_open:
            condition = "group_by = $1 AND ($2 IS NULL OR key > $2)"
            query = f"{sql('list_groups')} WHERE {condition} ORDER BY key"
            if limit is not None:
                query += f" LIMIT {limit + 1}"
            rows = [to_camel_keys(row) for row in _records(connection, query, [group_by.value, after])]
    computed_at = None
    if not (period.is_open and selection.is_open):
        asked = {"what": "pnl", "period": period.to_json(), "groupBy": group_by.value, "fills": fills}
        computed_at, found = computed(
            statistics, state, asked, lambda bench: _group(bench, group_by, period, selection)
        )
        rows = [row for row in found if after is None or row["key"] > after]
    page = rows if limit is None else rows[:limit]
    more = page[-1]["key"] if page and len(page) < len(rows) else None
    identity = ["pnl", group_by.value, period.to_json(), fills, after, limit]
    return answer_of(state, identity, {"groups": page, **say(labels)}, computed_at), more


def distribution(
    statistics: Statistics, metric: Metric | None = None, bins: Bins | None = None, fills: str | None = None
) -> StatisticsAnswer:
    """Return how many values lie in each bucket, for one metric or all; buckets hold their lower edge.

    The last of computed buckets holds its upper edge, the largest value, too. Without values there are none of them.
    """
    bins = bins or Bins()
    metrics = [metric] if metric else list(Metric)
    selection = _Selection(fills=fills)
    with statistics.catalog.reading() as (connection, state):
        labels = read_labels(connection, selection.condition())
        rows = _records(connection, "FROM statistics_distribution ORDER BY metric, number")
    if bins.binning is Binning.CLASSIC and selection.is_open:
        shown = {
            one.value: [_without(row, "metric", "number") for row in rows if row["metric"] == one.value]
            for one in metrics
        }
        return answer_of(state, ["distribution", metric], {"distributions": shown, **say(labels)})
    asked = {"what": "distribution", "metrics": [one.value for one in metrics], "bins": str(bins), "fills": fills}

    def compute(bench: DuckDBSession) -> dict[str, Any]:
        _select(bench, EVERYTHING, selection)
        return {one.value: _count(bench, one, bins) for one in metrics}

    computed_at, shown = computed(statistics, state, asked, compute)
    return answer_of(state, asked, {"distributions": shown, **say(labels)}, computed_at)


def correlation(
    statistics: Statistics,
    method: Method = Method.PEARSON,
    features: Sequence[str] = FEATURES,
    fills: str | None = None,
) -> StatisticsAnswer:
    """Return how far each feature goes with each outcome, over calls, with a 95 % interval; null where undefined."""
    selection = _Selection(fills=fills)
    with statistics.catalog.reading() as (connection, state):
        labels = read_labels(connection, selection.condition())
        rows = _records(connection, "FROM statistics_correlation WHERE method = $1", [method.value])
    computed_at = None
    if not selection.is_open:
        asked = {"what": "correlation", "fills": fills}
        computed_at, found = computed(statistics, state, asked, lambda bench: _correlate(bench, selection))
        rows = [row for row in found if row["method"] == method.value]
    shown = [
        {"metric1": camel(row["feature"]), "metric2": camel(row["outcome"]),
         **{key: row[key] for key in ("correlation", "low", "high", "n")}}
        for row in rows if row["feature"] in features
    ]  # fmt: skip
    identity = ["correlation", method.value, list(features), fills]
    return answer_of(state, identity, {"correlations": shown, **say(labels)}, computed_at)


def camel(name: str) -> str:
    """Return the JSON name of a feature or outcome.

    >>> camel("pre_return_1h")
    'preReturn1h'
    """
    first, *others = name.split("_")
    return first + "".join(part[0].upper() + part[1:] for part in others)


def _total(bench: DuckDBSession, period: Range, selection: _Selection) -> dict[str, Any]:
    _select(bench, period, selection)
    bench.keep("groups", sql("group_trades"))
    bench.keep("totals", sql("summarise_groups"))
    found = bench.read(sql("list_overview"), {"total_runs": 0, "computed_at": now().replace(tzinfo=None),
                                              "source_hash": ""}).to_pylist()[0]  # fmt: skip
    return to_camel_keys(_without(found, "total_runs", "computed_at", "source_hash"))


def _group(bench: DuckDBSession, group_by: GroupBy, period: Range, selection: _Selection) -> list[dict[str, Any]]:
    _select(bench, period, selection)
    bench.keep("statistics_pnl", sql("group_trades"))
    found = bench.read(f"{sql('list_groups')} WHERE group_by = '{group_by.value}' ORDER BY key")
    return [to_camel_keys(row) for row in found.to_pylist()]


def _correlate(bench: DuckDBSession, selection: _Selection) -> list[dict[str, Any]]:
    _select(bench, EVERYTHING, selection)
    bench.define("call_parts", sql("list_call_parts"))
    bench.keep("calls", sql("merge_calls"))
    rows: list[dict[str, Any]] = read_correlations(bench).to_pylist()
    return rows


def _count(bench: DuckDBSession, metric: Metric, bins: Bins) -> list[dict[str, Any]]:
    if bins.binning is Binning.CLASSIC:
        return _counted(bench, metric, classic_buckets(metric))
    table, column = COLUMNS[metric]
    steps = [step / bins.count for step in range(bins.count + 1)]
    found = bench.read(
        f"SELECT CAST(min({column}) AS DOUBLE) AS low, CAST(max({column}) AS DOUBLE) AS high,"  # noqa: S608 - our names
        f" quantile_cont(CAST({column} AS DOUBLE), {steps}) AS quantiles FROM {table}"
    ).to_pylist()[0]
    if found["low"] is None:
        return []
    equal = np.linspace(found["low"], found["high"], bins.count + 1)
    edges = sorted({float(edge) for edge in (equal if bins.binning is Binning.WIDTH else found["quantiles"])})
    buckets = buckets_between(edges) if len(edges) > 1 else [BucketRange(f"{edges[0]:.6g}", edges[0], edges[0])]
    return _counted(bench, metric, buckets)


def _counted(bench: DuckDBSession, metric: Metric, buckets: Sequence[BucketRange]) -> list[dict[str, Any]]:
    counts = count_in_buckets(bench, metric, buckets)
    return [
        {"bucket": one.bucket, "lower": one.lower, "upper": one.upper, "count": counts.get(number, 0)}
        for number, one in enumerate(buckets)
    ]


def _select(bench: DuckDBSession, period: Range, selection: _Selection) -> None:
    numbers: list[int] | None = None
    if not selection.is_open:
        numbers = bench.read(f"SELECT run_no FROM every_run WHERE {selection.condition()}")["run_no"].to_pylist()  # noqa: S608 - quoted
    narrow(bench, period.condition(), numbers)


def narrow(bench: DuckDBSession, condition: str, run_nos: Sequence[int] | None) -> None:
    """Leave in view `trades` that keep a condition, `paths` and `runs`, of the runs with these numbers or of all."""
    of_runs = "true" if run_nos is None else f"run_no IN ({', '.join(map(str, run_nos)) or 'NULL'})"
    bench.define("runs", f"SELECT * FROM every_run WHERE {of_runs}")  # noqa: S608 - numbers
    bench.define("paths", f"SELECT * FROM every_path WHERE {of_runs}")  # noqa: S608 - the same
    bench.define("trades", f"SELECT * FROM every_trade WHERE {condition} AND {of_runs}")  # noqa: S608 - and times
    bench.define("run_labels", RUN_LABELS)


def read_labels(connection: DuckConnection, condition: str) -> list[Labelled]:
    """Return what the counted runs that keep a condition assume of their fills, the most frequent first."""
    rows = connection.execute(
        "SELECT fills, any_value(fill_assumptions), count(*) AS runs FROM leaderboard_runs"  # noqa: S608 - quoted
        f" WHERE {condition} GROUP BY fills ORDER BY runs DESC, fills"
    )
    return [Labelled(*row) for row in rows]


def say(labels: Sequence[Labelled]) -> dict[str, Any]:
    """Write what the runs behind numbers assume of their fills, as every answer says it."""
    return {"fillAssumptions": [asdict(label) for label in labels], "fillsNote": note_on(labels)}


def computed(
    statistics: Statistics, state: CatalogState, asked: Mapping[str, Any], compute: Callable[[DuckDBSession], Any]
) -> tuple[datetime, Any]:
    """Return a kept answer to the same question of the same numbers, or compute and keep it.

    In view are `every_trade`, `every_path` and `every_run`, of which `narrow` makes `trades`, `paths` and `runs`.

    Raises:
        TimeLimitError: if it takes too long.
    """
    key = hashlib.sha256(state.source_hash.encode() + canonical_json(asked)).hexdigest()
    file = DuckFile.at(statistics.catalog.path)
    with file.transaction(write=False) as connection:
        kept = connection.execute("SELECT computed_at, answer FROM statistics_answers WHERE key = $1", [key])
        runs = read_table(connection, "FROM leaderboard_runs")
    if kept:
        return kept[0][0].replace(tzinfo=UTC), json.loads(kept[0][1])
    if not statistics.files.are_whole(state.files, state.calls_file):
        refresh(statistics, statistics.catalog.run_records())  # they come from the artifacts again
        with file.transaction(write=False) as connection:
            state = read_state(connection) or state
            runs = read_table(connection, "FROM leaderboard_runs")
    with DuckDBSession(statistics.threads) as bench, bench.limited(TIME_LIMIT_SECONDS):
        bench.put("every_run", runs)
        for name, kind in (("every_trade", TRADES), ("every_path", PATHS)):
            bench.define(name, f"SELECT * FROM {statistics.files.source(state.segments, kind)}")  # noqa: S608 - ours
        answer = compute(bench)
    computed_at = now()
    with file.transaction(write=True) as connection:
        current = read_state(connection)
        if current is not None and current.source_hash == state.source_hash:
            _keep(connection, key, computed_at, answer)
    return computed_at, answer


def _keep(connection: DuckConnection, key: str, computed_at: datetime, answer: object) -> None:
    connection.execute("DELETE FROM statistics_answers WHERE key = $1", [key])
    newest = f"SELECT key FROM statistics_answers ORDER BY computed_at DESC LIMIT {MOST_ANSWERS - 1}"  # noqa: S608 - ours
    connection.execute(f"DELETE FROM statistics_answers WHERE key NOT IN ({newest})")  # noqa: S608 - the same
    text = json.dumps(answer, allow_nan=False)
    connection.execute(
        "INSERT INTO statistics_answers VALUES ($1, $2, $3)", [key, computed_at.replace(tzinfo=None), text]
    )


def answer_of(
    state: CatalogState, asked: object, body: dict[str, Any], computed_at: datetime | None = None
) -> StatisticsAnswer:
    """Say when the numbers were computed, and tag them by what they were computed from and what was asked."""
    moment = computed_at or state.computed_at.replace(tzinfo=UTC)
    etag = hashlib.sha256(state.source_hash.encode() + canonical_json(asked)).hexdigest()
    return StatisticsAnswer(moment, etag, body | {"computedAt": iso(moment)})


def _records(connection: DuckConnection, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    found = connection.raw.execute(query, list(parameters))
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in names}
