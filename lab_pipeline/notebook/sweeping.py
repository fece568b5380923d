"""Many rules on the same frames of candles and calls, with a result that shows itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import polars as pl

from lab_pipeline.domain.luck import best_by_luck
from lab_pipeline.domain.space import Space
from lab_pipeline.domain.strategy import Strategy, StrategyConfig
from lab_pipeline.engine import sweep as engine
from lab_pipeline.engine.signals import NONE, Signal
from lab_pipeline.notebook.shown import ShownSweep

OBJECTIVE = "expectancy_lower"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SweepResult(ShownSweep, engine.Sweep):
    """What the sets of a sweep earned: `sets`, a row each, and the cells that the figures are made of.

    A notebook displays it: how far to believe it, the best sets, and how all of them are spread.

    Attributes:
        strategy: what was not varied.
    """

    strategy: StrategyConfig

    @property
    def title(self) -> str:
        """What to call it."""
        name = self.strategy.id if isinstance(self.strategy, Strategy) else "strategy"
        return f"{name}, a sweep of {self.sets.height:,} sets"

    @property
    def objective(self) -> str:
        """By which figure sets are ranked."""
        return OBJECTIVE

    def ranked(self) -> pl.DataFrame:
        """Return the sets by set_id, with `eligible`, `objective` and `rank`; equal ones share the rank of the first.

        Sets with trades on one day alone have no bound, and no rank.
        """
        bound = pl.col(OBJECTIVE).fill_nan(None)
        return self.sets.with_columns(
            eligible=bound.is_not_null(),
            objective=bound,
            rank=bound.rank("min", descending=True).cast(pl.Int32),
        ).sort("set_id")

    def sentences(self) -> Iterator[str]:
        """Yield what is to be read before the numbers."""
        from lab_pipeline.reports.formats import number, signed_percent

        best = self.best(1)
        if best.is_empty():
            yield "No set has trades on two days, so none can be ranked."
            return
        luck = best_by_luck(best["expectancy_se"][0], self.sets.height)
        yield (
            f"Best lower bound first. The best of {number(self.sets.height, 0)} sets without any edge would show a "
            f"mean net return of about {signed_percent(luck)} by luck alone; sets that are much alike show less."
        )
        yield "What the best have earned is not to be expected again: a sweep in a lab says how far to believe it."


def sweep(
    candles: pl.DataFrame,
    calls: pl.DataFrame,
    strategy: StrategyConfig,
    space: Space | Mapping[str, object],
    *,
    timeframe: str,
    threads: int | None = None,
    finer: Mapping[str, pl.DataFrame] | None = None,
    all_calls: pl.DataFrame | None = None,
    signals: Mapping[str, Signal] = NONE,
) -> SweepResult:
    """Evaluate every set of a space on the same calls, each as a backtest would.

    Args:
        candles: as of `simulate`.
        calls: as of `simulate`.
        strategy: what is not varied.
        space: paths of the strategy and their values, such as `{"exit.stopLoss": [0.1, 0.2]}` or
            `{"exit.stopLoss": {"from": 0.05, "to": 0.5, "n": 10}}`.
        timeframe: length of a candle, such as `5m`.
        threads: how many to use, all processors by default. The result does not depend on it.
        finer: candles by timeframe, for sets whose `intrabar` is `finer`.
        all_calls: over which filters count, `calls` by default.
        signals: functions by the names of registered conditions.

    Raises:
        LabError: naming the path of the space, the column, or the mint and time, that is not as it must be.
    """
    made = engine.sweep(
        candles,
        calls,
        strategy,
        space,
        timeframe=timeframe,
        threads=threads,
        finer=finer,
        all_calls=all_calls,
        signals=signals,
    )
    return SweepResult(**{field.name: getattr(made, field.name) for field in fields(made)}, strategy=strategy)
