"""Whether a sweep has kept its word: a set of it, run as a backtest, is held against what the sweep counted."""

import math
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from lab_pipeline.domain.candles import Floats
    from lab_pipeline.engine import Simulation
    from lab_pipeline.engine.sweep import Sweep

TOP_EQUALS, CELLS_EQUAL = "top_equals_backtest", "cells_equal_trades"


class RefutedError(RuntimeError):
    """A sweep has counted what is not so: a fault of the lab, after which nothing is published.

    Attributes:
        check: the name of what failed.
    """

    def __init__(self, check: str, text: str) -> None:
        super().__init__(check, text)  # both, so that it can be pickled
        self.check, self.text = check, text

    def __str__(self) -> str:
        return self.text


def hold_to(simulation: "Simulation", sweep: "Sweep", number: int) -> None:
    """Compare a backtest of a set with the set, bit for bit: its summary, then trades and returns by day and caller.

    Raises:
        RefutedError: naming the first difference.
    """
    swept = sweep.sets.select("trades", "wins", "expectancy").row(number)
    summary = simulation.summary
    if (again := (summary.trades, summary.wins, summary.expectancy)) != swept:
        raise RefutedError(TOP_EQUALS, f"set {number} made {swept} in the sweep, but {again} in a backtest")
    trades = simulation.trades.select(
        "net_return",
        day=pl.col("called_at").dt.truncate("1d").to_physical(),
        caller=pl.when(pl.col("caller").is_in(sweep.callers))
        .then(pl.col("caller"))
        .otherwise(pl.lit(sweep.callers[-1])),
    )
    days, callers = sweep.days.tolist(), sweep.callers
    _compare(number, "day", days, sweep.day_trades[number], sweep.day_net[number], trades)
    _compare(number, "caller", callers, sweep.caller_trades[number], sweep.caller_net[number], trades)


def _compare(  # noqa: PLR0917 - what is compared with what
    number: int, by: str, names: list[int] | list[str], counts: "Floats", sums: "Floats", trades: pl.DataFrame
) -> None:
    made = dict(trades.group_by(by).agg("net_return").rows())
    for name, count, net in zip(names, counts.tolist(), sums.tolist(), strict=True):
        returns = made.get(name, [])
        if (again := (len(returns), math.fsum(returns))) != (count, net):
            raise RefutedError(
                CELLS_EQUAL, f"set {number} made {(count, net)} for {by} {name} in the sweep, but {again} in a backtest"
            )
