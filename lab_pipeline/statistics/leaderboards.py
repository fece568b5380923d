"""Runs, strategies and callers, best first: filter, then rank."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from lab_pipeline.domain.backtest import iso, now
from lab_pipeline.domain.enums import Board, RankBy
from lab_pipeline.domain.model import to_camel_keys
from lab_pipeline.domain.text import shown
from lab_pipeline.statistics.answers import StatisticsAnswer, answer_of, computed, select_trades
from lab_pipeline.statistics.catalog import CatalogState, read_table
from lab_pipeline.statistics.duckdb_session import DuckDBSession
from lab_pipeline.statistics.queries import sql
from lab_pipeline.statistics.refreshing import Statistics, measure_callers
from lab_pipeline.storage.duck_connection import DuckConnection

Floats = npt.NDArray[np.float64]

ALL_ROWS = 10**9
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True)
class Filters:
    """Which runs count; None selects all.

    Attributes:
        strategy_id: of the strategy they ran.
        timeframe: of their candles.
        completed_from: the moment from which on they completed.
    """

    strategy_id: str | None = None
    timeframe: str | None = None
    completed_from: datetime | None = None

    @property
    def are_open(self) -> bool:
        """Whether they select every run."""
        return self.strategy_id is None and self.timeframe is None and self.completed_from is None


@dataclass(frozen=True)
class Place:
    """Where a page begins: behind the one with this name and score; `established` counts among callers only."""

    name: str
    score: float | None
    established: bool = True


def window_start(window: str) -> datetime | None:
    """Return the beginning of a window that ends now: `24h`, `7d`, `4w`; None for `all`.

    Raises:
        ValueError: saying what can be written.
    """
    if window == "all":
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})([hdw])", window, re.ASCII)
    if not match:
        raise ValueError(f"write a number of hours, days or weeks such as 24h, 7d or 4w, or all, not {shown(window)}")
    this_minute = now().replace(second=0, microsecond=0)  # so that answers can be told to be the same
    return this_minute - int(match[1]) * _UNITS[match[2]]


def leaderboard(
    statistics: Statistics,
    board: Board,
    rank_by: RankBy = RankBy.PNL,
    filters: Filters | None = None,
    *,
    after: Place | None = None,
    limit: int | None = None,
) -> tuple[StatisticsAnswer, Place | None]:
    """Return a page of a leaderboard, best first, and where the next one begins.

    What has no such number comes last; ties are in order of id. Callers with few calls (`established` false) come
    behind all others, and pnl, win rate and Sharpe ratio of a caller count by the lower end of their 95 % interval:
    a caller with five lucky calls does not lead. Runs of a strategy count by their medians.

    Args:
        statistics: where to read.
        board: what to rank.
        rank_by: what decides.
        filters: which runs count, before anything is ranked.
        after: where the page begins.
        limit: rows at most; all by default.
    """
    ask = _Asked(board, rank_by, filters or Filters(), after, limit)
    with statistics.catalog.reading() as (connection, state):
        if board is not Board.CALLERS or ask.filters.are_open:
            rows, more = _ranked(connection, _source(board, ask.filters), ask)
            return _shown(state, ask, rows), more
        condition = _condition(ask.filters)
        runs = connection.execute(f"SELECT run_no FROM leaderboard_runs WHERE {condition} ORDER BY run_no")  # noqa: S608 - quoted
    numbers = [number for (number,) in runs]
    identity = {"what": "callers", "runs": numbers}
    computed_at, callers = computed(statistics, state, identity, lambda bench: _judge(bench, numbers))
    table = pl.DataFrame(callers, schema=_CALLERS, orient="row").to_arrow(compat_level=pl.CompatLevel.oldest())
    with statistics.catalog.reading() as (connection, _):
        connection.raw.register("judged_callers", table)
        try:
            rows, more = _ranked(connection, "judged_callers", ask)
        finally:
            connection.raw.unregister("judged_callers")
    return _shown(state, ask, rows, computed_at), more


@dataclass(frozen=True)
class _Asked:
    board: Board
    rank_by: RankBy
    filters: Filters
    after: Place | None
    limit: int | None


def frontier(returns: Floats, drawdowns: Floats, stabilities: Floats) -> list[bool]:
    """Tell which points no other dominates: return up, drawdown down, stability up; NaN is on no frontier.

    A point dominates another if it is at least as good in all three and better in one. Equal points share their fate.
    """
    on = [False] * len(returns)
    known = np.flatnonzero(~(np.isnan(returns) | np.isnan(drawdowns) | np.isnan(stabilities)))
    falls: list[float] = []  # of points on the frontier so far, ascending, with the best stability up to each
    best: list[float] = []
    before, fate = None, False
    for index in known[np.lexsort((-stabilities[known], drawdowns[known], -returns[known]))].tolist():
        point = (returns[index], drawdowns[index], stabilities[index])
        if point != before:  # whoever dominates a point comes before it
            place = bisect_right(falls, point[1])
            fate = place == 0 or best[place - 1] < point[2]
            if fate:
                end = bisect_right(best, point[2], lo=place)
                falls[place:end], best[place:end] = [point[1]], [point[2]]
        on[index], before = fate, point
    return on


_CALLERS: dict[str, Any] = {
    "caller": pl.String,
    "calls": pl.Int64,
    "trades": pl.Int64,
    "wins": pl.Int64,
    "win_rate": pl.Float64,
    "win_rate_low": pl.Float64,
    "pnl": pl.Float64,
    "mean_return": pl.Float64,
    "mean_return_low": pl.Float64,
    "mean_return_high": pl.Float64,
    "sharpe": pl.Float64,
    "sharpe_low": pl.Float64,
    "profit_factor": pl.Float64,
    "max_drawdown": pl.Float64,
    "stability": pl.Float64,
    "established": pl.Boolean,
}
_NAMES = {
    Board.RUNS: "run_id",
    Board.STRATEGIES: "strategy_id || ' ' || strategy_version",
    Board.CALLERS: "caller",
}
_RETURNS = {Board.RUNS: "total_return", Board.STRATEGIES: "total_return", Board.CALLERS: "mean_return_low"}
_SCORES = {
    RankBy.PNL: "pnl",
    RankBy.SHARPE: "sharpe",
    RankBy.STABILITY: "stability",
    RankBy.WIN_RATE: "win_rate",
    RankBy.PROFIT_FACTOR: "profit_factor",
    RankBy.DRAWDOWN: "-max_drawdown",
}
_SCORES_OF_CALLERS = {RankBy.PNL: "mean_return_low", RankBy.SHARPE: "sharpe_low", RankBy.WIN_RATE: "win_rate_low"}
_SHOWN = {
    Board.RUNS: (
        "rank", "run_id", "strategy_id", "strategy_version", "timeframe", "completed_at", "pnl", "total_return",
        "trades", "wins", "win_rate", "expectancy", "expectancy_low", "expectancy_high", "max_drawdown",
        "profit_factor", "sharpe", "sortino", "stability",
    ),
    Board.STRATEGIES: (
        "rank", "strategy_id", "strategy_version", "runs", "trades", "wins", "win_rate", "pnl", "total_return",
        "max_drawdown", "profit_factor", "sharpe", "stability",
    ),
    Board.CALLERS: (
        "rank", "caller", "calls", "trades", "wins", "win_rate", "win_rate_low", "pnl", "mean_return",
        "mean_return_low", "mean_return_high", "max_drawdown", "profit_factor", "sharpe", "sharpe_low", "stability",
        "established",
    ),
}  # fmt: skip


def _source(board: Board, filters: Filters) -> str:
    match board:
        case Board.RUNS:
            return f"(FROM leaderboard_runs WHERE {_condition(filters)})"
        case Board.STRATEGIES if not filters.are_open:
            runs = f"SELECT * FROM leaderboard_runs WHERE {_condition(filters)}"  # noqa: S608 - quoted
            return f"(WITH runs AS ({runs}) {sql('measure_strategies')})"
        case _:
            return f"leaderboard_{board.value}"


def _condition(filters: Filters) -> str:
    conditions = ["true"]
    for column, value in (("strategy_id", filters.strategy_id), ("timeframe", filters.timeframe)):
        if value is not None:
            text = value.replace("'", "''")
            conditions.append(f"{column} = '{text}'")
    if filters.completed_from is not None:
        moment = filters.completed_from.astimezone(UTC).replace(tzinfo=None)
        conditions.append(f"completed_at >= TIMESTAMP '{moment.isoformat(sep=' ')}'")
    return " AND ".join(conditions)


def _ranked(connection: DuckConnection, source: str, ask: "_Asked") -> tuple[list[dict[str, Any]], Place | None]:
    board = ask.board
    name, score = _NAMES[board], _SCORES.get(ask.rank_by, _RETURNS[board])
    if board is Board.CALLERS:
        score = _SCORES_OF_CALLERS.get(ask.rank_by, score)
    parameters: dict[str, Any] = {}
    if ask.rank_by is RankBy.PARETO:
        parameters["frontier"] = _frontier_names(connection, source, board)
        source = f"(FROM {source} WHERE list_contains($frontier, {name}))"
    after = "true"
    if ask.after is not None:
        after = sql("come_after")
        place = ask.after
        parameters |= {"after_established": place.established, "after_score": place.score, "after_name": place.name}
    query = sql("rank_rows").format(
        name=name,
        score=score,
        established="established" if board is Board.CALLERS else "true",
        source=source,
        after=after,
        limit=ALL_ROWS if ask.limit is None else ask.limit + 1,  # one more tells whether there is more
    )
    found = connection.raw.execute(query, parameters)
    columns = [column[0] for column in found.description or []]
    rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    if ask.limit is None or len(rows) <= ask.limit:
        return rows, None
    last = rows[ask.limit - 1]
    return rows[: ask.limit], Place(last["_name"], last["_score"], last["_established"])


def _frontier_names(connection: DuckConnection, source: str, board: Board) -> list[str]:
    if board is Board.CALLERS:  # who has few calls beats nobody, unless nobody has many
        source = f"(FROM {source} WHERE established OR NOT EXISTS (FROM {source} WHERE established))"
    query = f"SELECT {_NAMES[board]} AS name, {_RETURNS[board]} AS gain, max_drawdown, stability FROM {source}"  # noqa: S608
    rows = read_table(connection, query)
    gain, fall, stability = (
        rows[column].cast(pa.float64()).to_numpy() for column in ("gain", "max_drawdown", "stability")
    )
    on = frontier(gain, fall, stability)
    return [name for name, kept in zip(rows["name"].to_pylist(), on, strict=True) if kept]


def _judge(bench: DuckDBSession, run_nos: Sequence[int]) -> list[dict[str, Any]]:
    select_trades(bench, "true", run_nos)
    bench.define("paths", "SELECT * FROM empty_paths")
    bench.define("call_parts", sql("list_call_parts"))
    bench.keep("calls", sql("merge_calls"))
    callers: list[dict[str, Any]] = measure_callers(bench).to_pylist()
    return callers


def _shown(
    state: CatalogState, ask: "_Asked", rows: list[dict[str, Any]], computed_at: datetime | None = None
) -> StatisticsAnswer:
    shown = [to_camel_keys({name: row[name] for name in _SHOWN[ask.board]}) for row in rows]
    for row in shown:
        if "completedAt" in row:
            row["completedAt"] = iso(row["completedAt"].replace(tzinfo=UTC))
    identity = [ask.board.value, ask.rank_by.value, _condition(ask.filters), [str(ask.after), ask.limit]]
    return answer_of(state, identity, {"leaderboard": shown}, computed_at)
