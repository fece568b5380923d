"""What is asked of the statistics: read from the catalog, or computed from the kept columns and kept in turn."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lab_pipeline.domain.backtest import iso, now
from lab_pipeline.domain.enums import GroupBy
from lab_pipeline.domain.model import canonical_json, to_camel_keys
from lab_pipeline.statistics.buckets import COLUMNS, Binning, Bins, BucketRange, Metric, buckets_between
from lab_pipeline.statistics.catalog import CatalogState, read_state, read_table
from lab_pipeline.statistics.correlations import FEATURES, Method
from lab_pipeline.statistics.duckdb_session import DuckDBSession
from lab_pipeline.statistics.queries import sql
from lab_pipeline.statistics.refreshing import Statistics, count_in_buckets, refresh
from lab_pipeline.statistics.segments import TRADES
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


def overview(statistics: Statistics, period: Range = EVERYTHING, strategy_id: str | None = None) -> StatisticsAnswer:
    """Return the totals over completed runs; averages and rates without trades are null.

    The period selects trades, not runs: a run is at no time of the market. The strategy selects both.
    """
    with statistics.catalog.reading() as (connection, state):
        statuses = connection.execute(
            "SELECT status, count(*) FROM statistics_runs"
            " WHERE $1 IS NULL OR strategy_id = $1 GROUP BY status ORDER BY status",
            [strategy_id],
        )
        runs = {"totalRuns": sum(count for _, count in statuses), "runsByStatus": dict(statuses)}
        if period.is_open and strategy_id is None:
            totals = _records(connection, "SELECT * EXCLUDE (computed_at, source_hash) FROM statistics_overview")[0]
            return answer_of(state, "overview", to_camel_keys(totals) | runs)
    asked = {"what": "overview", "period": period.to_json(), "strategy": strategy_id}
    computed_at, totals = computed(statistics, state, asked, lambda bench: _total(bench, period, strategy_id))
    return answer_of(state, asked, totals | runs, computed_at)


def pnl(
    statistics: Statistics,
    group_by: GroupBy,
    period: Range = EVERYTHING,
    *,
    after: str | None = None,
    limit: int | None = None,
) -> tuple[StatisticsAnswer, str | None]:
    """Return net returns of trades by group, ascending by key, and the key after which the next page begins.

    Groups without a trade are absent.

    Args:
        statistics: where to read.
        group_by: what a group is.
        period: which trades.
        after: key that the page begins after.
        limit: groups at most; all by default.
    """
    if period.is_open:
        with statistics.catalog.reading() as (connection, state):
            condition = "group_by = $1 AND ($2 IS NULL OR key > $2)"
            query = f"{sql('list_groups')} WHERE {condition} ORDER BY key"
            if limit is not None:
                query += f" LIMIT {limit + 1}"
            rows = [to_camel_keys(row) for row in _records(connection, query, [group_by.value, after])]
        computed_at = None
    else:
        state = _state(statistics)
        asked = {"what": "pnl", "period": period.to_json(), "groupBy": group_by.value}
        computed_at, found = computed(statistics, state, asked, lambda bench: _group(bench, group_by, period))
        rows = [row for row in found if after is None or row["key"] > after]
    page = rows if limit is None else rows[:limit]
    more = page[-1]["key"] if page and len(page) < len(rows) else None
    identity = ["pnl", group_by.value, period.to_json(), after, limit]
    return answer_of(state, identity, {"groups": page}, computed_at), more


def distribution(statistics: Statistics, metric: Metric | None = None, bins: Bins | None = None) -> StatisticsAnswer:
    """Return how many values lie in each bucket, for one metric or all; buckets hold their lower edge.

    The last of computed buckets holds its upper edge, the largest value, too. Without values there are none of them.
    """
    bins = bins or Bins()
    metrics = [metric] if metric else list(Metric)
    with statistics.catalog.reading() as (connection, state):
        rows = _records(connection, "FROM statistics_distribution ORDER BY metric, number")
    if bins.binning is Binning.CLASSIC:
        shown = {
            one.value: [_without(row, "metric", "number") for row in rows if row["metric"] == one.value]
            for one in metrics
        }
        return answer_of(state, ["distribution", metric], {"distributions": shown})
    asked = {"what": "distribution", "metrics": [one.value for one in metrics], "bins": str(bins)}
    computed_at, shown = computed(
        statistics, state, asked, lambda bench: {one.value: _count(bench, one, bins) for one in metrics}
    )
    return answer_of(state, asked, {"distributions": shown}, computed_at)


def correlation(
    statistics: Statistics, method: Method = Method.PEARSON, features: Sequence[str] = FEATURES
) -> StatisticsAnswer:
    """Return how far each feature goes with each outcome, over calls, with a 95 % interval; null where undefined."""
    with statistics.catalog.reading() as (connection, state):
        rows = _records(connection, "FROM statistics_correlation WHERE method = $1", [method.value])
    shown = [
        {"metric1": camel(row["feature"]), "metric2": camel(row["outcome"]),
         **{key: row[key] for key in ("correlation", "low", "high", "n")}}
        for row in rows if row["feature"] in features
    ]  # fmt: skip
    return answer_of(state, ["correlation", method.value, list(features)], {"correlations": shown})


def camel(name: str) -> str:
    """Return the JSON name of a feature or outcome.

    >>> camel("pre_return_1h")
    'preReturn1h'
    """
    first, *others = name.split("_")
    return first + "".join(part[0].upper() + part[1:] for part in others)


def _total(bench: DuckDBSession, period: Range, strategy_id: str | None) -> dict[str, Any]:
    _select(bench, period, strategy_id)
    bench.keep("groups", sql("group_trades"))
    bench.keep("totals", sql("summarise_groups"))
    found = bench.read(sql("list_overview"), {"total_runs": 0, "computed_at": now().replace(tzinfo=None),
                                              "source_hash": ""}).to_pylist()[0]  # fmt: skip
    return to_camel_keys(_without(found, "total_runs", "computed_at", "source_hash"))


def _group(bench: DuckDBSession, group_by: GroupBy, period: Range) -> list[dict[str, Any]]:
    _select(bench, period, None)
    bench.keep("statistics_pnl", sql("group_trades"))
    found = bench.read(f"{sql('list_groups')} WHERE group_by = '{group_by.value}' ORDER BY key")
    return [to_camel_keys(row) for row in found.to_pylist()]


def _count(bench: DuckDBSession, metric: Metric, bins: Bins) -> list[dict[str, Any]]:
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
    counts = count_in_buckets(bench, metric, buckets)
    return [
        {"bucket": one.bucket, "lower": one.lower, "upper": one.upper, "count": counts.get(number, 0)}
        for number, one in enumerate(buckets)
    ]


def _select(bench: DuckDBSession, period: Range, strategy_id: str | None) -> None:
    condition = period.condition()
    numbers: list[int] | None = None
    if strategy_id is not None:
        wanted = bench.read("SELECT run_no FROM runs WHERE strategy_id = $strategy", {"strategy": strategy_id})
        numbers = wanted["run_no"].to_pylist()
    select_trades(bench, condition, numbers)
    bench.define("run_strategies", "SELECT run_no, strategy_id FROM runs")


def select_trades(bench: DuckDBSession, condition: str, run_nos: Sequence[int] | None) -> None:
    """Narrow `trades` down to those that keep a condition, of the runs with these numbers or of all."""
    if run_nos is not None:
        condition += f" AND run_no IN ({', '.join(map(str, run_nos)) or 'NULL'})"
    bench.define("trades", f"SELECT * FROM every_trade WHERE {condition}")  # noqa: S608 - numbers and times


def computed(
    statistics: Statistics, state: CatalogState, asked: Mapping[str, Any], compute: Callable[[DuckDBSession], Any]
) -> tuple[datetime, Any]:
    """Return a kept answer to the same question of the same numbers, or compute and keep it.

    In view are `trades` and `paths`, which `every_trade` is another name of, and `runs`.

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
        bench.put("runs", runs)
        statistics.files.define_views(bench, state.segments)
        bench.define("every_trade", f"SELECT * FROM {statistics.files.source(state.segments, TRADES)}")  # noqa: S608
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


def _state(statistics: Statistics) -> CatalogState:
    with statistics.catalog.reading() as (_, state):
        return state


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
