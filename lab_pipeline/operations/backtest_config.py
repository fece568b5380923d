"""The launchpad's form of a backtest."""

from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from pydantic import Field

from lab_pipeline.domain.backtest import MOST_CANDLES, BacktestSpec, CallersUniverse, TokensUniverse
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.lake import Lake
from lab_pipeline.runs.backtest import full_range

NULL = "null"
"""Stands for null at the top of `params`, where Dagster's configuration admits none; no strategy field is text."""


CANDLES_PER_PART = 4_000_000
"""Takes longer to simulate than a process takes to start, and is a fraction of a gigabyte."""


class BacktestConfig(dg.Config):
    """What to simulate. Only the strategy and the timeframe must be given."""

    strategy: str = Field(description="Id of a strategy, such as `ladder`.")
    strategy_version: str | None = Field(default=None, description="Its version; the latest by default.")
    timeframe: str = Field(description="Length of the candles: 1m, 5m, 15m, 1h, ... as ingested.")
    start: str | None = Field(
        default=None,
        description="Simulate calls from this time on (ISO 8601, UTC): 2018-01-10 or 2018-01-10T12:00:00Z.",
    )
    end: str | None = Field(default=None, description="Simulate calls before this time.")
    mints: list[str] = Field(default=[], description="Only calls on these tokens; all by default.")
    callers: list[str] = Field(default=[], description="Only calls of these callers; all by default.")
    params: dict[str, Any] = Field(
        default={},
        description="Strategy fields to override, by path: `{exit.stopLoss: 0.25}`. Write `'null'` to clear a field.",
    )
    seed: int = Field(default=0, description="Seeds the resampling behind the confidence intervals.")
    candles_per_part: int | None = Field(
        default=None,
        gt=0,
        le=MOST_CANDLES,
        description="Simulate in parts of at least so many candles, an op each, which can run side by side; "
        "the result is the same. By default in one op, or, where ops have processes of their own, in parts of "
        f"{CANDLES_PER_PART:,}.",
    )

    @classmethod
    def of(cls, spec: BacktestSpec, version: str) -> Self:
        """Write a request as the launchpad would hold it, with the version that it means."""
        universe = spec.universe
        return cls(
            strategy=spec.strategy_id,
            strategy_version=version,
            timeframe=spec.timeframe,
            start=spec.range.start.isoformat(),
            end=spec.range.end.isoformat(),
            mints=list(universe.mints) if isinstance(universe, TokensUniverse) else [],
            callers=list(universe.callers) if isinstance(universe, CallersUniverse) else [],
            params={path: NULL if value is None else value for path, value in spec.params.items()},
            seed=spec.seed,
        )

    def to_spec(self, lake: Lake) -> BacktestSpec:
        """Build the request; a range left open is that of the lake's calls.

        Raises:
            LabError: naming each field that cannot be used.
        """
        universe: dict[str, Any] = {"type": "all"}
        if self.mints and self.callers:
            raise InvalidConfigError("backtest", [FieldError("callers", "give mints or callers, not both")])
        if self.mints:
            universe = {"type": "tokens", "mints": self.mints}
        elif self.callers:
            universe = {"type": "callers", "callers": self.callers}
        start, end = self.start, self.end
        if start is None or end is None:
            extent = full_range(lake).to_json_dict()
            start, end = start or extent["start"], end or extent["end"]
        return BacktestSpec.parse(
            {
                "strategyId": self.strategy,
                "strategyVersion": self.strategy_version,
                "universe": universe,
                "timeframe": self.timeframe,
                "range": {"start": start, "end": end},
                "seed": self.seed,
                "params": {path: None if value == NULL else value for path, value in self.params.items()},
            },
            subject="backtest",
        )


def run_config(config: BacktestConfig, executor: Mapping[str, Any] | None = None) -> dict[str, object]:
    """Return what the launchpad would hold: the fields that differ from their defaults."""
    execution = {} if executor is None else {"execution": {"config": dict(executor)}}
    return {"ops": {"run": {"config": config.model_dump(exclude_defaults=True)}}, **execution}
