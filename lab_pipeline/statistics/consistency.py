"""Whether the tables agree with each other and with the manifests."""

from dataclasses import dataclass
from typing import Any

from lab_pipeline.statistics.catalog import Catalog


@dataclass(frozen=True)
class Disagreement:
    """What a question found.

    Attributes:
        checked: how many things were looked at.
        wrong: those that are not as they should be, at most twenty.
        count: of them in all.
    """

    checked: int
    wrong: list[dict[str, Any]]
    count: int


SHOWN = 20

_TOTALS = """
    SELECT group_by, sum(trades) AS trades, sum(wins) AS wins, sum(net) AS net,
        any_value(total_trades) AS total_trades, any_value(total_wins) AS total_wins
    FROM statistics_pnl, statistics_overview
    GROUP BY group_by
"""
_ALL_TOTALS = f"""
    SELECT group_by, trades, wins, net, total_trades, total_wins,
        trades <> total_trades OR wins <> total_wins OR net <> (SELECT sum(net) FROM leaderboard_runs) AS wrong
    FROM ({_TOTALS})
"""  # noqa: S608 - constants
_WIN_RATES = """
    SELECT 'group' AS of, group_by || ' ' || key AS name, wins / trades AS win_rate FROM statistics_pnl
    UNION ALL
    SELECT 'overview', 'all', win_rate FROM statistics_overview
    UNION ALL
    SELECT 'run', run_id, win_rate FROM leaderboard_runs
    UNION ALL
    SELECT 'strategy', strategy_id || ' ' || strategy_version, win_rate FROM leaderboard_strategies
    UNION ALL
    SELECT 'caller', caller, win_rate FROM leaderboard_callers
"""
_ALL_WIN_RATES = f"SELECT *, win_rate < 0 OR win_rate > 1 OR isnan(win_rate) AS wrong FROM ({_WIN_RATES})"  # noqa: S608
_COUNTS = """
    SELECT run_id, trades, manifest_trades, paths, manifest_paths,
        trades <> manifest_trades OR paths <> manifest_paths AS wrong
    FROM leaderboard_runs
"""


def compare_totals(catalog: Catalog) -> Disagreement:
    """Compare trades, wins and the exact sum of net returns of every grouping with those of overview and runs."""
    return _ask(catalog, _ALL_TOTALS)


def check_win_rates(catalog: Catalog) -> Disagreement:
    """Look for win rates outside of 0 to 1; an undefined one is none."""
    return _ask(catalog, _ALL_WIN_RATES)


def compare_counts(catalog: Catalog) -> Disagreement:
    """Compare the rows that were counted of each run with those that its manifest promises."""
    return _ask(catalog, _COUNTS)


def _ask(catalog: Catalog, query: str) -> Disagreement:
    with catalog.reading() as (connection, _):
        ((checked, count),) = connection.execute(f"SELECT count(*), count(*) FILTER (wrong) FROM ({query})")  # noqa: S608 - ours
        found = connection.raw.execute(f"SELECT * EXCLUDE (wrong) FROM ({query}) WHERE wrong LIMIT {SHOWN}")  # noqa: S608 - ours
        names = [column[0] for column in found.description or []]
        return Disagreement(checked, [dict(zip(names, map(str, row), strict=True)) for row in found.fetchall()], count)
