"""`lab statistics` and `lab leaderboard`: what all runs together say."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab_pipeline.cli.app import RUN_FAILED, app, err, open_lab, out, table
from lab_pipeline.cli.summary import UNDEFINED, number, percent
from lab_pipeline.domain.enums import Board, GroupBy, RankBy
from lab_pipeline.domain.errors import LabError

if TYPE_CHECKING:
    from datetime import datetime

    from lab_pipeline.cli.tables import TextTable
    from lab_pipeline.statistics import Place, Range

BAR = 30
MIXED = "mixed"
MOST_ROWS = 1000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
FillsId = Annotated[
    str | None,
    typer.Option("--fills", help="Only runs that assume this of their fills (an id of theirs).", metavar="ID"),
]
StrategyId = Annotated[str | None, typer.Option("--strategy", help="Only runs of this strategy.", metavar="ID")]


@app.command("statistics")
def show_statistics(
    *,
    by: Annotated[GroupBy, typer.Option("--by", help="Group trades by this.")] = GroupBy.STRATEGY,
    start: Annotated[
        str | None, typer.Option("--from", help="Trades on calls from this time on (UTC).", metavar="T")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Trades on calls before this time (UTC).", metavar="T")
    ] = None,
    strategy: StrategyId = None,
    fills: FillsId = None,
    bins: Annotated[str, typer.Option(help="classic, 20 (equally wide) or quantile:20 (equally full).")] = "classic",
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="Groups at most.")] = 20,
    refresh: Annotated[bool, typer.Option("--refresh", help="First count the runs that have completed since.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show statistics over all completed runs: totals, net returns by group, distributions, correlations."""
    from lab_pipeline.statistics import (
        Method,
        correlation,
        distribution,
        overview,
        pnl,
    )

    period = _period(start, end)
    chosen = _bins(bins)
    if refresh:
        _refresh()
    statistics = open_lab().statistics
    totals = overview(statistics, period, strategy, fills).body
    groups, _ = pnl(statistics, by, period, fills=fills)
    rows = sorted(groups.body["groups"], key=lambda row: row["totalPnl"], reverse=True) if by in _NAMED else None
    rows = (rows or groups.body["groups"])[:limit]
    shapes = distribution(statistics, bins=chosen, fills=fills).body["distributions"]
    pairs = {method.value: correlation(statistics, method, fills=fills).body["correlations"] for method in Method}
    if as_json:
        answer = {"overview": totals, "pnl": {by.value: rows}, "distributions": shapes, "correlations": pairs}
        out.show_json(answer)
        return
    _print_totals(totals)
    out.print(_groups_table(by, rows))
    for name, buckets in shapes.items():
        out.print()
        out.print(_buckets_table(name, buckets))
    out.print()
    out.print(_correlations_table(pairs))
    _print_assumptions(totals)
    out.print(f"\ncomputed at {totals['computedAt']}; `lab statistics --refresh` counts what has run since")


@app.command("leaderboard")
def show_leaderboard(
    what: Annotated[Board, typer.Argument(help="What to rank.", metavar="[runs|strategies|callers]")] = Board.RUNS,
    *,
    metric: Annotated[RankBy, typer.Option("--metric", help="The number to rank by.")] = RankBy.PNL,
    strategy: StrategyId = None,
    timeframe: Annotated[str | None, typer.Option(help="Only runs on candles of this length.")] = None,
    fills: FillsId = None,
    window: Annotated[str, typer.Option(help="Only runs that completed within 24h, 7d, 4w, ..., or all.")] = "all",
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="Rows at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the best runs, strategies or callers: filter first, then rank."""
    from lab_pipeline.statistics import Filters, leaderboard, window_start

    try:
        filters = Filters(strategy, timeframe, window_start(window), fills)
    except ValueError as error:
        raise LabError(f"--window: {error}") from None
    place: Place | None = None
    answer, place = leaderboard(open_lab().statistics, what, metric, filters, limit=limit)
    if as_json:
        out.show_json(answer.body)
        return
    rows = answer.body["leaderboard"]
    out.print(_board_table(what, rows, metric) if rows else "no runs like that have been counted")
    _print_assumptions(answer.body)
    more = f", more with --limit {2 * limit}" if place is not None else ""
    out.print(f"\ncomputed at {answer.body['computedAt']}{more}")


_NAMED = (GroupBy.TOKEN, GroupBy.CALLER, GroupBy.STRATEGY)
"""Groups without an order of their own: the best come first."""
_COLUMNS = {
    RankBy.PNL: "pnl",
    RankBy.SHARPE: "sharpe",
    RankBy.STABILITY: "stability",
    RankBy.WIN_RATE: "win rate",
    RankBy.PROFIT_FACTOR: "profit factor",
    RankBy.DRAWDOWN: "drawdown",
    RankBy.PARETO: "return",
}
"""Of a leaderboard, which has what decides."""


def _refresh() -> None:
    from lab_pipeline.cli.backtest import silenced
    from lab_pipeline.cli.jobs import run_statistics_job
    from lab_pipeline.dagster_ext.foreground import alive

    with open_lab() as lab, alive(lab.settings, lab.instance) as tags, silenced():
        reason = run_statistics_job(lab.instance, tags)
    if reason is not None:
        err.print(f"error: {reason}", style="red")
        raise typer.Exit(RUN_FAILED)


def _period(start: str | None, end: str | None) -> "Range":
    from lab_pipeline.statistics import Range

    first, last = _moment("--from", start), _moment("--to", end)
    if first is not None and last is not None and first >= last:
        raise LabError(f"--to: {end} is not after {start}")
    return Range(first, last)


def _moment(option: str, text: str | None) -> "datetime | None":
    from pydantic import TypeAdapter, ValidationError

    from lab_pipeline.domain.backtest import Moment

    if text is None:
        return None
    try:
        moment: datetime = TypeAdapter(Moment).validate_python(text)
    except ValidationError:
        raise LabError(
            f"{option}: write a time as 2018-01-10T00:00:00Z or a date as 2018-01-10, not {text!r}"
        ) from None
    return moment


def _bins(text: str) -> Any:  # noqa: ANN401 - imported late, so that `lab --help` is quick
    from lab_pipeline.statistics import Bins

    try:
        return Bins.parse(text)
    except ValueError as error:
        raise LabError(f"--bins: {error}") from None


def _print_assumptions(body: dict[str, Any]) -> None:
    """Say what the counted runs assume of their fills, and warn where they differ."""
    labels = body["fillAssumptions"]
    out.print()
    for label in labels:
        runs = "run" if label["runs"] == 1 else "runs"
        out.print(f"fills {label['fills']}: {label['assumptions']} ({label['runs']:,} {runs})", markup=False)
    if body["fillsNote"]:
        out.print(body["fillsNote"].replace("`fills`", "--fills ID"), style="yellow", markup=False)


def _print_totals(totals: dict[str, Any]) -> None:
    statuses = ", ".join(f"{count:,} {status}" for status, count in totals["runsByStatus"].items())
    out.print(f"{totals['totalRuns']:,} runs{f' ({statuses})' if statuses else ''}")
    out.print(
        f"{totals['totalTrades']:,} trades on {totals['totalTokens']:,} tokens "
        f"called by {totals['totalCallers']:,} callers"
    )
    out.print(
        f"net return a trade: mean {percent(totals['avgPnl'])}, median {percent(totals['medianPnl'])}; "
        f"win rate {_share(totals['winRate'])}\n"
    )


def _groups_table(by: GroupBy, rows: list[dict[str, Any]]) -> "TextTable":
    columns = ("runs", "trades", "mean net", "total net", "lowest", "highest", "win rate", "fills")
    by_time = by in (GroupBy.DAY, GroupBy.WEEK, GroupBy.MONTH)
    made = table(f"{by.value} (UTC)" if by_time else by.value, *columns, right=columns,
                 drop=("fills", "lowest", "highest", "runs"))  # fmt: skip
    for row in rows:
        made.add_row(
            row["key"],
            f"{row['runCount']:,}",
            f"{row['tradeCount']:,}",
            percent(row["avgPnl"]),
            f"{row['totalPnl']:+,.2f}",
            percent(row["minPnl"]),
            percent(row["maxPnl"]),
            _share(row["winRate"]),
            row["fills"] or MIXED,
        )
    return made


def _buckets_table(name: str, buckets: list[dict[str, Any]]) -> "TextTable":
    made = table(name, "count", "", right=("count",))
    most = max((row["count"] for row in buckets), default=0)
    for row in buckets:
        made.add_row(row["bucket"], f"{row['count']:,}", "█" * round(BAR * row["count"] / most) if most else "")
    return made


def _correlations_table(pairs: dict[str, list[dict[str, Any]]]) -> "TextTable":
    columns = ("n", *(part for method in pairs for part in (method, f"95 % of {method}")))
    first = columns[1:3]
    made = table("known before", "outcome", *columns, right=columns, drop=(*reversed(first), "n"))
    for together in zip(*pairs.values(), strict=True):
        cells = [cell for row in together for cell in (_signed(row["correlation"]), _interval(row["low"], row["high"]))]
        made.add_row(together[0]["metric1"], together[0]["metric2"], f"{together[0]['n']:,}", *cells)
    return made


def _board_table(what: Board, rows: list[dict[str, Any]], metric: RankBy) -> "TextTable":
    return _callers_table(rows) if what is Board.CALLERS else _runs_table(what, rows, metric)


def _callers_table(rows: list[dict[str, Any]]) -> "TextTable":
    columns = ("calls", "trades", "mean net", "95 % interval", "win rate", "profit factor", "stability", "fills")
    made = table("", "caller", *columns, right=("", *columns), drop=("fills", "stability", "profit factor", "win rate"))
    for row in rows:
        made.add_row(
            str(row["rank"]),
            row["caller"] + ("" if row["established"] else " (few calls)"),
            f"{row['calls']:,}",
            f"{row['trades']:,}",
            percent(row["meanReturn"]),
            _interval(row["meanReturnLow"], row["meanReturnHigh"], percent),
            _share(row["winRate"]),
            number(row["profitFactor"]),
            number(row["stability"]),
            row["fills"] or MIXED,
        )
    return made


def _runs_table(what: Board, rows: list[dict[str, Any]], metric: RankBy) -> "TextTable":
    runs = what is Board.RUNS
    columns = ("trades", "win rate", "pnl", "return", "drawdown", "sharpe", "profit factor", "stability", "fills")
    ranked = _COLUMNS[metric]
    drop = [
        name for name in ("fills", "stability", "profit factor", "win rate", "drawdown", "sharpe") if name != ranked
    ]
    made = table("", "run" if runs else "runs", "strategy", *columns, right=("", *columns), drop=drop)
    for row in rows:
        made.add_row(
            str(row["rank"]),
            row["runId"][:8] if runs else f"{row['runs']:,}",
            f"{row['strategyId']} v{row['strategyVersion']}",
            f"{row['trades']:,}",
            _share(row["winRate"]),
            f"{row['pnl']:+,.2f}",
            percent(row["totalReturn"]),
            percent(-row["maxDrawdown"]),
            number(row["sharpe"]),
            number(row["profitFactor"]),
            number(row["stability"]),
            row["fills"],
        )
    return made


def _share(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.1%}"


def _signed(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:+.3f}"


def _interval(low: float | None, high: float | None, write: Any = _signed) -> str:  # noqa: ANN401 - a function
    return UNDEFINED if low is None else f"{write(low)} to {write(high)}"
