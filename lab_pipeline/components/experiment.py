"""A backtest and when it is run, as a component."""

import dagster as dg
from pydantic import Field

from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.runs.tags import BACKTEST_JOB, run_config, search_tags

EXPERIMENT_TAG = "lab/experiment"


class Experiment(dg.Component, dg.Model, dg.Resolvable):
    """A saved experiment: a backtest with everything that was chosen for it, and when the job `backtest` runs it.

    Each tick of its schedule is a run, tagged `lab/experiment`; *Preview tick result* in the UI runs it at once.
    """

    name: str = Field(description="Of the schedule, and the value of the tag `lab/experiment`.")
    strategy: str = Field(description="Id of a strategy, such as `ladder`.")
    timeframe: str = Field(description="Length of the candles, as ingested: 1m, 5m, 1h, ...")
    cron: str = Field(description="When it is run, in UTC: `0 6 * * 1` is each Monday at six.")
    strategy_version: str | None = Field(default=None, description="Of the strategy; the latest by default.")
    start: str | None = Field(default=None, description="Calls from this time on (ISO 8601); all by default.")
    end: str | None = Field(default=None, description="Calls before this time.")
    mints: list[str] = Field(default=[], description="Only calls on these tokens.")
    callers: list[str] = Field(default=[], description="Only calls of these callers.")
    params: dict[str, str | float | int | bool | None] = Field(
        default={}, description="Strategy fields to override, by path: `exit.stopLoss: 0.25`; null clears one."
    )
    seed: int = Field(default=0, description="Seeds what chance makes of the calls.")
    running: bool = Field(default=False, description="Whether the schedule is on before anybody switches it.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Return the schedule, with the run that it asks for."""
        fields = BacktestConfig(**self.model_dump(exclude={"name", "cron", "running"})).fields()
        schedule = dg.ScheduleDefinition(
            name=self.name,
            job_name=BACKTEST_JOB,
            cron_schedule=self.cron,
            execution_timezone="UTC",
            run_config=run_config(fields),
            tags={EXPERIMENT_TAG: self.name, **search_tags(fields)},
            default_status=dg.DefaultScheduleStatus.RUNNING if self.running else dg.DefaultScheduleStatus.STOPPED,
            description=f"Runs {self.strategy} on {self.timeframe} candles.",
        )
        return dg.Definitions(schedules=[schedule])
