"""Backtests and runs over HTTP."""

from typing import Any, Self

from pydantic import ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from lab_pipeline.api.schemas.base import Answer, Moment
from lab_pipeline.domain.backtest import AllUniverse, BacktestSpec, CallersUniverse, ResolvedSpec, TokensUniverse
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.summary import Summary
from lab_pipeline.operations.backtest_config import Asked
from lab_pipeline.operations.runs import Run
from lab_pipeline.statistics.luck import Luck

RUN_EXAMPLE = "87fb7da4-727b-4cfc-841a-4da23928c4b2"


class BacktestRequest(BacktestSpec):
    """A request: which strategy on which calls. What is left out: the latest version, every call, no change."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "strategyId": "ladder",
                    "strategyVersion": "1",
                    "universe": {"type": "callers", "callers": ["Marta Lindqvist"]},
                    "timeframe": "5m",
                    "range": {"start": "2025-01-10T00:00:00Z", "end": "2025-01-30T00:00:00Z"},
                    "seed": 7,
                    "params": {"exit.stopLoss": 0.3},
                }
            ]
        }
    )


class RunSummary(Summary):
    """A run in numbers: returns and fractions are plain, amounts in quote currency, null where undefined."""

    model_config = ConfigDict(alias_generator=to_camel, json_schema_serialization_defaults_required=True)

    @classmethod
    def of(cls, summary: Summary) -> "RunSummary":
        """Give the numbers their camelCase names."""
        return RunSummary.model_construct(**dict(summary))


class QueuedRun(Answer):
    """A run that was asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"runId": RUN_EXAMPLE, "status": "queued"}]})

    run_id: str
    """Of the run; it is Dagster's run id, too."""
    status: str
    """`queued`; for an idempotency key that was used before, where the run is by now."""


class EstimatedCost(Answer):
    """What a backtest would take."""

    calls: int
    """Calls that it selects."""
    candles: int
    """Candles that it reads, at most."""
    estimated_time_seconds: float
    """Seconds from its beginning to its end, by the times of the latest completed runs."""
    based_on_runs: int
    """How many runs that is based on; 0: on the lab's usual figures."""


class DryRun(Answer):
    """What a backtest would be; nothing is started."""

    valid: bool
    """true: a request that could not run is a 422."""
    estimated_cost: EstimatedCost
    """What it would take."""
    resolved_config: ResolvedSpec
    """What would be simulated, with nothing left to look up."""


class AskedRange(Answer):
    """Which calls were asked for, by time."""

    start: Moment | None
    """Earliest call, inclusive, UTC; null for the first there is."""
    end: Moment | None
    """Latest call, exclusive, UTC; null for the last there is."""


class RunConfig(Answer):
    """What a run was asked to do."""

    strategy_id: str | None
    """Id of the strategy; null where somebody launched a run without one."""
    strategy_version: str | None
    """Its version; null where the latest was asked for and the run has not begun."""
    universe: TokensUniverse | CallersUniverse | AllUniverse | None = Field(discriminator="type")
    """Which calls; null where what was asked for makes no sense."""
    timeframe: str | None
    """Length of the candles, such as `5m`."""
    range: AskedRange
    """Which calls, by time."""
    seed: int | None
    """Seeds what chance makes of the calls."""
    params: dict[str, JsonValue]
    """Strategy fields that were overridden, by path."""
    strategy: StrategyConfig | None
    """The configuration that was simulated, overrides applied; null before the run has published."""


class RunItem(Answer):
    """A run in the list."""

    run_id: str
    """Of the run; it is Dagster's run id, too."""
    strategy_id: str | None
    """Id of the strategy; null where somebody launched a run without one."""
    strategy_version: str | None
    """Its version; null where the latest was asked for and the run has not begun."""
    timeframe: str | None
    """Length of the candles, such as `5m`."""
    status: str
    """`queued`, `running`, `completed`, `failed`, `canceled`, or the lower-case name of another status of Dagster's."""
    summary: RunSummary | None
    """The run in numbers; null before it has published."""
    fills: str | None
    """Id of what it assumes of its fills: runs of equal id are comparable; null before it has published."""
    fill_assumptions: str | None
    """The same in words, such as `stops 0.5 through, stop first, fee 30 bps`."""
    created_at: Moment
    """When it was asked for, UTC."""
    started_at: Moment | None
    """When its process began, UTC; null if it never did."""
    completed_at: Moment | None
    """When it ended, however it did, UTC; null before that."""

    @classmethod
    def fields(cls, run: Run) -> dict[str, Any]:
        """Return what an answer says of a run."""
        assumed = run.published.fill_assumptions if run.published else None
        return {
            "run_id": run.run_id,
            "strategy_id": run.strategy_id,
            "strategy_version": run.strategy_version,
            "timeframe": run.timeframe,
            "status": run.status,
            "summary": RunSummary.of(run.published.summary) if run.published else None,
            "fills": assumed.id if assumed else None,
            "fill_assumptions": assumed.text if assumed else None,
            "created_at": run.created_at,
            "started_at": run.started_at,
            "completed_at": run.completed_at,
        }


class Tries(Answer):
    """One of how many tries a backtest is."""

    trials: int
    """Tries of the strategy and its family on calls whose range overlaps with that of the run, this one included."""
    best_by_luck: float | None
    """Mean net return that the best of so many is expected to show without any edge; null where nothing can be said."""
    said: str
    """The same in a sentence."""

    @classmethod
    def of(cls, luck: Luck) -> Self:
        """Write what is to be held against a run."""
        return cls(trials=luck.trials, best_by_luck=luck.best, said=luck.said)


class RunDetail(RunItem):
    """A run, whole."""

    config: RunConfig
    """What it was asked to do."""
    error: str | None
    """Why it failed, in one line; null if it did not."""
    fingerprint: str | None
    """sha256 (hex) of what the result is made of: runs that share it have the same bytes; null before it is known."""
    tries: Tries | None
    """One of how many tries it is, by now; null before it has published."""
    dagster_url: str
    """The run in the Dagster UI."""
    parent_run_id: str | None
    """The run that this one repeats; null if it is no retry."""
    legacy_result: dict[str, float] | None
    """What the old lab had computed, by the names of a summary, of a run taken over from it; it is not part of any
    statistics of trades, whose trades it does not have. Null for all others."""


class RunPage(Answer):
    """Runs, newest first."""

    runs: list[RunItem]
    """The runs of this page."""
    next_cursor: str | None
    """Leads to the next page; null on the last."""


def config_of(run: Run) -> RunConfig:
    """Say what a run was asked to do: as it was resolved, or, before that, as it was written."""
    if run.published:
        spec = run.published.spec
        return RunConfig(
            strategy_id=spec.strategy_id,
            strategy_version=spec.strategy_version,
            universe=spec.universe,
            timeframe=spec.timeframe,
            range=AskedRange(start=spec.range.start, end=spec.range.end),
            seed=spec.seed,
            params=spec.params,
            strategy=spec.strategy,
        )
    asked = Asked.of(run.asked)
    return RunConfig(
        strategy_id=run.strategy_id,
        strategy_version=run.strategy_version,
        universe=asked.universe,
        timeframe=run.timeframe,
        range=AskedRange(start=asked.start, end=asked.end),
        seed=asked.seed,
        params=asked.params,
        strategy=None,
    )
