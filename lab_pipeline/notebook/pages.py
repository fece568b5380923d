"""The numbers and pictures of runs and sweeps, as HTML that stands among the output of others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import polars as pl

from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.summary import Summary
from lab_pipeline.notebook.display import Picture
from lab_pipeline.notebook.shown import PARAMETER, Chart, ShownSets
from lab_pipeline.reports import charts, sweep_charts
from lab_pipeline.reports.dimensions import Dimension, along, dimensions_of, heat_maps, worths
from lab_pipeline.reports.formats import MISSING, day, number, percent, signed_percent
from lab_pipeline.reports.pages import template
from lab_pipeline.reports.sheet import RunResult, conclude, judge, why_nothing_traded

if TYPE_CHECKING:
    from datetime import datetime

    from lab_pipeline.notebook.shown import ShownRun


@dataclass(frozen=True)
class Table:
    """A table of what is written already.

    Attributes:
        heads: of its columns.
        rows: as many texts each.
        names: how many columns, from the left, are names; the others are numbers.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 0


def outline(
    title: str, *, under: str = "", sentences: Sequence[str] = (), table: Table, picture: Picture | None = None
) -> str:
    """Render HTML that has no style sheet, no script and no ids; all names in it are text.

    Args:
        title: of it.
        under: what belongs to the title, smaller.
        sentences: what to read before the numbers.
        table: the numbers.
        picture: the same to look at.
    """
    image = "" if picture is None else picture.to_html()
    return _OUTLINE.render(title=title, under=under, sentences=sentences, table=table, image=image)


def say_run(run: "ShownRun") -> str:
    """Say the headline numbers of a run in one line."""
    said = ", ".join(f"{name} {value}" for name, value in _headline(run.summary).items())
    return f"<{run.title}: {said}>"


def show_run(run: "ShownRun") -> str:
    """Show a run: what to conclude, the headline numbers, and the equity."""
    sentences, picture = [conclude(run).text, f"{judge(run.summary).text}."], None
    if run.trades.is_empty():
        sentences = [why_nothing_traded(run)]
    elif not run.equity.is_empty():
        picture = draw_run(run, "equity")
    called, under = run.outcomes["called_at"], f"{run.timeframe} candles"
    if len(called):
        first, last = cast("datetime", called.min()), cast("datetime", called.max())
        under = f"calls from {day(first)} to {day(last)} UTC, {under}"
    told = _headline(run.summary)
    table = Table(list(told), [list(told.values())])
    return outline(run.title, under=under, sentences=sentences, table=table, picture=picture)


def draw_run(run: "ShownRun", chart: Chart) -> Picture:
    """Draw a chart of a run; arguments and errors as of `Shown.plot`."""
    if chart not in _DRAWN:
        raise LabError(f"there is no chart '{chart}': choose one of {', '.join(get_args(Chart))}")
    source, draw = _DRAWN[chart]
    frame: pl.DataFrame = getattr(run, source)
    if frame.is_empty() or run.trades.is_empty():
        raise LabError(_nothing_to_draw(run, chart))
    return Picture.of(draw(frame, run.strategy.portfolio.initial_capital))


_DRAWN: dict[str, tuple[str, Callable[[pl.DataFrame, float], str]]] = {
    "equity": ("equity", lambda equity, capital: charts.equity_chart(equity, initial_capital=capital)),
    "returns": ("trades", lambda trades, _: charts.distribution_chart(trades)),
    "mean": ("trades", lambda trades, _: charts.running_mean_chart(trades)),
    "hours": ("trades", lambda trades, _: charts.hours_chart(trades)),
    "excursions": ("trades", lambda trades, _: charts.excursions_chart(trades)),
    "fills": ("fill_certainty", lambda lanes, _: charts.certainty_chart(lanes)),
}
"""The frame of each chart, and what draws it from that and the initial capital."""


def _nothing_to_draw(run: RunResult, chart: str) -> str:
    if run.trades.is_empty():
        return f"there is nothing to draw. {why_nothing_traded(run)}"
    if chart == "fills":
        return "there is nothing to draw: what other fills would have made of the trades was not simulated"
    return f"there is nothing to draw. {charts.NOTHING}."


def _headline(summary: Summary) -> dict[str, str]:
    stops = (summary.expectancy_stop_at_level, summary.expectancy_stop_at_low)
    low, high = summary.expectancy_low, summary.expectancy_high
    interval = MISSING if low is None or high is None else f"{signed_percent(low, 2)} to {signed_percent(high, 2)}"
    return {
        "calls": number(summary.calls, 0),
        "trades": number(summary.trades, 0),
        "mean net return": signed_percent(summary.expectancy, 2),
        "95% interval": interval,
        "stops at level, low": " and ".join(signed_percent(value, 2) for value in stops),
        "win rate": percent(summary.win_rate),
        "total return": signed_percent(summary.total_return, 2),
        "max drawdown": signed_percent(-summary.max_drawdown, 2),
        "sharpe": number(summary.sharpe),
    }


def show_runs(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Show a list of runs: id, name, strategy, length of candles, moment, and their numbers, all written."""
    return outline(title, under="newest first, UTC", table=Table(_OF_RUNS, rows, names=_OF_RUNS.index("made") + 1))


_OF_RUNS = ("run", "name", "strategy", "candles", "made", "trades", "mean net return", "total return", "sharpe")


def row_of(run: "ShownRun", *names: str) -> list[str]:
    """Return a row of `show_runs`: its names, as they are, and the numbers of the run."""
    told = _headline(run.summary)
    return [*names, *(told[head] for head in _OF_RUNS[len(names) :])]


def show_sweep(sweep: ShownSets) -> str:
    """Show a sweep: how far to believe it, its best sets, and how all of them are spread."""
    best = sweep.best()
    values = [name for name in best.columns if name.startswith(PARAMETER)]
    rows = [
        [f"{row['rank']:,}", f"{row['set_id']:,}", *(_value(row[name]) for name in values), *_figures(row)]
        for row in best.iter_rows(named=True)
    ]
    heads = ["rank", "set", *(name.removeprefix(PARAMETER) for name in values)]
    heads += ["trades", "mean net return", "lower 95% bound", "win rate"]
    picture = None if best.is_empty() else draw_sweep(sweep)
    return outline(sweep.title, sentences=list(sweep.sentences()), table=Table(heads, rows), picture=picture)


def draw_sweep(sweep: ShownSets, path: str | None = None, across: str | None = None) -> Picture:
    """Draw a chart of a sweep; arguments and errors as of `ShownSweep.plot`."""
    rows, unit = sweep.ranked(), sweep_charts.Unit(sweep.objective)
    worth = worths(rows)
    if not np.isfinite(worth).any():
        raise LabError("there is nothing to draw: no set has trades enough to be ranked")
    winner = int(np.nanargmax(worth))
    best = float(worth[winner])
    if path is None:
        known = worth[np.isfinite(worth)]
        return Picture.of(sweep_charts.objective_chart(known, unit, winner=best, placebos=np.array([])))
    chosen = _varied(rows, path)
    if across is None:
        at = (int(chosen.levels[winner]), best)
        return Picture.of(sweep_charts.along_chart("along", chosen, along(rows, chosen), unit, winner=at, ring=None))
    if across == path:
        raise LabError(f"'{path}' is given twice: a heat map needs two parameters")
    other = _varied(rows, across)
    worths_of_both = heat_maps(rows, [chosen, other])[0, 1].best
    return Picture.of(sweep_charts.heat_chart("heat", chosen, other, worths_of_both, unit))


def _varied(rows: pl.DataFrame, path: str) -> Dimension:
    found = dimensions_of(rows, [path])
    if not found:
        varied = [name.removeprefix(PARAMETER) for name in rows.columns if name.startswith(PARAMETER)]
        raise LabError(f"'{path}' is not varied: choose one of {', '.join(varied)}")
    return found[0]


def _value(value: object) -> str:
    """Write a parameter."""
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _figures(row: dict[str, Any]) -> list[str]:
    bound = signed_percent(row["expectancy_lower"], 2)
    return [number(row["trades"], 0), signed_percent(row["expectancy"], 2), bound, percent(row["win_rate"])]


_OUTLINE = template("outline.html")
