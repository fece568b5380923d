"""One strategy on frames of candles and calls, with a result that shows itself."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import cast

import polars as pl

from lab_pipeline.domain.backtest import AllUniverse, ResolvedSpec, TimeRange
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import Strategy, StrategyConfig
from lab_pipeline.engine import ENGINE_VERSION, Simulation, simulator
from lab_pipeline.engine.signals import NONE, Signal
from lab_pipeline.notebook.display import Sheet
from lab_pipeline.notebook.shown import Shown

DRAFT = "draft"
"""Version of a strategy that is not stored."""
NO_HASH = "none: computed from frames in memory"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Result(Shown, Simulation):
    """What a simulation returns: frames with the columns of `domain.frames`, and the summary.

    A notebook displays it: what to conclude, the headline numbers, and the equity.

    Attributes:
        strategy: what was simulated.
        timeframe: length of the candles.
        seed: of what chance made of the calls.
    """

    strategy: StrategyConfig
    timeframe: str
    seed: int

    @property
    def title(self) -> str:
        """What to call it."""
        return f"{_name_of(self.strategy)}, {DRAFT}"

    def sheet(self) -> Sheet:
        """Render the tear sheet.

        Raises:
            LabError: if there were no calls to simulate.
        """
        from lab_pipeline.reports import render_report

        if self.outcomes.is_empty():
            raise LabError("there is no tear sheet of no calls: there were none to simulate")
        page = render_report(self, self._spec(), fingerprint=NO_HASH, snapshot=NO_HASH, engine_version=ENGINE_VERSION)
        return Sheet(page)

    def _spec(self) -> ResolvedSpec:
        called = self.outcomes["called_at"]
        first, last = cast("datetime", called.min()), cast("datetime", called.max())
        config = self.strategy
        return ResolvedSpec(
            strategy_id=_name_of(config),
            strategy_version=DRAFT,
            strategy=config.config if isinstance(config, Strategy) else config,
            universe=AllUniverse(),
            timeframe=self.timeframe,
            range=TimeRange(start=first, end=last + timedelta(milliseconds=1)),
            seed=self.seed,
            params={},
        )


def simulate(
    candles: pl.DataFrame,
    calls: pl.DataFrame,
    strategy: StrategyConfig,
    *,
    timeframe: str,
    seed: int = 0,
    threads: int | None = None,
    finer: pl.DataFrame | None = None,
    all_calls: pl.DataFrame | None = None,
    signals: Mapping[str, Signal] = NONE,
    doubted: bool = True,
) -> Result:
    """Simulate a strategy on every call, alone and in a portfolio.

    Args:
        candles: `mint` (text), `timestamp` (UTC, milliseconds), `open, high, low, close, volume` (numbers), in any
            order; `liquidity`, where a strategy asks for it.
        calls: `call_id`, `caller`, `mint` (text), `called_at` (UTC, milliseconds), in any order, `call_id` unique; what
            else callers said, where a strategy asks for it.
        strategy: what to do with a call.
        timeframe: length of a candle, such as `5m`.
        seed: of the moments and names that chance gives the calls; it decides nothing else.
        threads: how many to use, all processors by default. The result does not depend on it.
        finer: candles of the strategy's finer timeframe, where it has one.
        all_calls: over which filters count, `calls` by default.
        signals: functions by the names of registered conditions, which are asked before installed packages.
        doubted: whether to simulate what other fills, and chance, would have made of the calls, too. Without it nothing
            can be concluded, in a fraction of the time.

    Raises:
        LabError: naming the column, or the mint and time, that is not as it must be.
    """
    made = simulator.simulate(
        candles,
        calls,
        strategy,
        timeframe=timeframe,
        seed=seed,
        threads=threads,
        finer=finer,
        all_calls=all_calls,
        signals=signals,
        doubted=doubted,
    )
    frames = {field.name: getattr(made, field.name) for field in fields(made)}
    return Result(**frames, strategy=strategy, timeframe=timeframe, seed=seed)


def _name_of(strategy: StrategyConfig) -> str:
    return strategy.id if isinstance(strategy, Strategy) else "strategy"
