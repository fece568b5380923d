"""What the statistics need to know about runs, from the keeper of their records."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

COMPLETED = "completed"
KNOWN = pl.Schema(
    {
        "run_id": pl.String(),
        "status": pl.String(),
        "strategy_id": pl.String(),
        "completed_at": pl.Datetime("us"),
    }
)
"""Columns of many runs at once: the fields of `RunRecord`, times in UTC without a zone."""


@dataclass(frozen=True)
class RunRecord:
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


def known_frame(runs: Iterable[RunRecord]) -> pl.DataFrame:
    """Return runs with the columns of `KNOWN`."""
    rows = [
        (
            run.run_id,
            run.status,
            run.strategy_id,
            None if run.completed_at is None else run.completed_at.astimezone(UTC).replace(tzinfo=None),
        )
        for run in runs
    ]
    return pl.DataFrame(rows, schema=KNOWN, orient="row")


def as_table(frame: pl.DataFrame) -> pa.Table:
    """Return a frame in the Arrow types that every reader knows."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
