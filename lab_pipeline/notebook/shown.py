"""What runs and sweeps show of themselves. Pictures and templates are loaded by who asks for one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol

import polars as pl

if TYPE_CHECKING:
    from lab_pipeline.domain.strategy import StrategyConfig
    from lab_pipeline.notebook.display import Picture
    from lab_pipeline.reports import RunResult

    class ShownRun(RunResult, Protocol):
        """A run that `Shown` shows."""

        @property
        def title(self) -> str:
            """What to call it."""

        @property
        def strategy(self) -> StrategyConfig:
            """What was simulated."""

        @property
        def timeframe(self) -> str:
            """Length of the candles."""


Chart = Literal["equity", "returns", "mean", "hours", "excursions", "fills"]
"""What can be drawn of a run."""
SETS_SHOWN = 10
PARAMETER = "p."
"""How the column of a varied value begins."""
OF_A_SET = ("trades", "expectancy", "expectancy_se", "expectancy_lower", "win_rate", "profit_factor", "days", "callers")
"""Figures that `best` returns of each set."""


class Shown:
    """A run that a notebook displays: what to conclude, the headline numbers, and the equity."""

    def plot(self: "ShownRun", chart: Chart = "equity") -> "Picture":
        """Draw a chart.

        Args:
            chart: `equity` (with drawdown and exposure), `returns` (how the net returns of trades are spread), `mean`
                (of all trades so far, with its 95 % band), `hours` (mean net return by the UTC hour of the call),
                `excursions` (how far trades went up and down before they were sold) or `fills` (mean net return if
                fills were others; of runs that have simulated them).

        Raises:
            LabError: if there is no such chart, or nothing to draw.
        """
        from lab_pipeline.notebook import pages

        return pages.draw_run(self, chart)

    def __repr__(self: "ShownRun") -> str:
        from lab_pipeline.notebook import pages

        return pages.say_run(self)

    def _repr_html_(self: "ShownRun") -> str:
        from lab_pipeline.notebook import pages

        return pages.show_run(self)


class ShownSets(Protocol):
    """A sweep that `ShownSweep` shows."""

    @property
    def title(self) -> str:
        """What to call it."""

    @property
    def objective(self) -> str:
        """By which figure sets are ranked."""

    def ranked(self) -> pl.DataFrame:
        """Return a row a set, by set_id: its parameters and figures, `eligible`, `objective`, `rank` (1 is best)."""

    def sentences(self) -> Iterator[str]:
        """Yield what is to be read before the numbers."""

    def best(self, count: int = SETS_SHOWN) -> pl.DataFrame:
        """Return the best sets, a row each."""


class ShownSweep:
    """A sweep that a notebook displays: how far to believe it, its best sets, and how all of them are spread."""

    def best(self: ShownSets, count: int = SETS_SHOWN) -> pl.DataFrame:
        """Return the best sets: `rank`, `set_id`, a column `p.` and path for each value, and their figures.

        Args:
            count: how many; sets that may not win, for too few trades, are never among them.
        """
        rows = self.ranked()
        names = [name for name in rows.columns if name.startswith(PARAMETER) or name in OF_A_SET]
        ranked = rows.filter(pl.col("rank").is_not_null()).sort("rank", "set_id")
        return ranked.head(count).select("rank", "set_id", *names)

    def plot(self: ShownSets, path: str | None = None, across: str | None = None) -> "Picture":
        """Draw how the objective is spread over the sets, how it changes along one parameter, or a heat map of two.

        Args:
            path: of the parameter, such as `exit.stopLoss`; then the best and the median set of each of its values are
                drawn, whatever the other parameters are.
            across: path of a second one; then the best set of each pair of values is, this one across.

        Raises:
            LabError: if the parameter is not varied, naming those that are, or no set may win.
        """
        from lab_pipeline.notebook import pages

        return pages.draw_sweep(self, path, across)

    def __repr__(self: ShownSets) -> str:
        return f"<{self.title}: {' '.join(self.sentences())}>"

    def _repr_html_(self: ShownSets) -> str:
        from lab_pipeline.notebook import pages

        return pages.show_sweep(self)
