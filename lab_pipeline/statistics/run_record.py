"""What the statistics are told about runs by whoever keeps the record of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

COMPLETED = "completed"


@dataclass(frozen=True)
class KnownRun:
    """A backtest run as its record says.

    Attributes:
        run_id: of the run.
        status: `queued`, `running`, `completed`, `failed`, `canceled`, or whatever else a run can be.
        strategy_id: the strategy it was asked for; none if the record does not say.
        completed_at: when it ended, UTC; none if it has not.
    """

    run_id: str
    status: str
    strategy_id: str | None = None
    completed_at: datetime | None = None


def completed(runs: Iterable[KnownRun]) -> dict[str, KnownRun]:
    """Return the runs whose artifacts count, by id."""
    return {run.run_id: run for run in runs if run.status == COMPLETED}
