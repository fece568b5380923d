"""How long a backtest will take, from those that ran before."""

from dataclasses import dataclass

from lab_pipeline.domain.enums import RunStatus
from lab_pipeline.operations.runs import RunFilter, Runs

RUNS_LOOKED_AT = 50
START_SECONDS = 4.0
"""A process, its imports and Dagster's bookkeeping: what a run takes however small it is."""
SECONDS_PER_CALL = 1e-3
"""Where no run tells better: reading, simulating and publishing a call with a day of one-minute candles."""


@dataclass(frozen=True)
class Estimate:
    """A guess.

    Attributes:
        seconds: that the run will take once it has begun.
        runs: finished runs that it is based on.
    """

    seconds: float
    runs: int


def estimate_seconds(runs: Runs, timeframe: str, calls: int) -> Estimate:
    """Fit a line through calls and seconds of the latest completed runs on candles of that length.

    With fewer than two different sizes the line has the usual slope; without any run, the usual start, too.
    """
    latest, _ = runs.page(RunFilter(statuses=[RunStatus.COMPLETED], timeframes=[timeframe]), limit=RUNS_LOOKED_AT)
    points = [
        (run.published.summary.calls, (run.completed_at - run.started_at).total_seconds())
        for run in latest
        if run.published and run.started_at and run.completed_at
    ]
    if not points:
        return Estimate(START_SECONDS + calls * SECONDS_PER_CALL, 0)
    mean_calls = sum(size for size, _ in points) / len(points)
    mean_seconds = sum(seconds for _, seconds in points) / len(points)
    spread = sum((size - mean_calls) ** 2 for size, _ in points)
    slope = SECONDS_PER_CALL
    if spread > 0:
        slope = max(0.0, sum((size - mean_calls) * (seconds - mean_seconds) for size, seconds in points) / spread)
    least = min(seconds for _, seconds in points)
    return Estimate(max(least, mean_seconds + slope * (calls - mean_calls)), len(points))
