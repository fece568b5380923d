"""How a run's summary reads in a terminal."""

from typing import TYPE_CHECKING

from lab_pipeline.cli.app import open_lab, table
from lab_pipeline.cli.tables import TextTable

if TYPE_CHECKING:
    from lab_pipeline.domain.summary import Summary
    from lab_pipeline.runs.artifacts import Manifest
    from lab_pipeline.statistics.luck import Luck

UNDEFINED = "-"
RETURNS = ("total_return", "expectancy")
SHARES = ("win_rate", "max_drawdown", "avg_exposure")
"""How names of the summary begin that are plain fractions: those with a direction, and those without."""


def percent(value: float | None) -> str:
    """Write a fraction as a signed percentage."""
    return UNDEFINED if value is None else f"{value:+.2%}"


def number(value: float | None) -> str:
    """Write a plain number with two decimals."""
    return UNDEFINED if value is None else f"{value:,.2f}"


def figure(name: str, value: float | None) -> str:
    """Write a number of the summary as what it is: a count, a return with its sign, a share, or plainly."""
    if value is None:
        return UNDEFINED
    if name.startswith(RETURNS):
        return percent(value)
    if name.startswith(SHARES):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else number(value)


def summary_table(summary: "Summary") -> TextTable:
    """Lay the headline numbers out in two pairs of columns."""
    skipped = sum(summary.skipped.values())
    interval = f"{percent(summary.expectancy_low)} to {percent(summary.expectancy_high)}"
    stops = f"{percent(summary.expectancy_stop_at_level)}, {percent(summary.expectancy_stop_at_low)}"
    win_rate = UNDEFINED if summary.win_rate is None else f"{summary.win_rate:.1%}"
    exposure = UNDEFINED if summary.avg_exposure is None else f"{summary.avg_exposure:.1%}"
    pairs = [
        ("calls", f"{summary.calls:,}", "total return", percent(summary.total_return)),
        ("entered", f"{summary.entered:,}", "max drawdown", percent(-summary.max_drawdown)),
        ("trades", f"{summary.trades:,}", "mean net return", percent(summary.expectancy)),
        ("wins", f"{summary.wins:,}", "  95 % interval", interval),
        ("win rate", win_rate, "profit factor", number(summary.profit_factor)),
        ("skipped by the account", f"{skipped:,}", "sharpe", number(summary.sharpe)),
        ("ambiguous candles", f"{summary.ambiguous_candles:,}", "sortino", number(summary.sortino)),
        ("mean hold, minutes", number(summary.avg_hold_minutes), "mean exposure", exposure),
        ("fees paid", number(summary.fees_paid), "  stops at level, low", stops),
    ]
    rows = table("", " ", "  ", "   ", right=(" ", "   "))
    rows.show_header = False
    for left, left_value, right, right_value in pairs:
        rows.add_row(left, left_value, "  " + right, right_value)
    return rows


def luck_of_run(manifest: "Manifest") -> "Luck":
    """Return of how many tries a published backtest is one, by now."""
    from lab_pipeline.statistics.luck import luck_of

    ledger = open_lab().trials
    ledger.catch_up()
    return luck_of(manifest, ledger)
