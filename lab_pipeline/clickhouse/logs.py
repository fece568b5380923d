"""Log lines of runs: appended by whoever ships them, read in pages.

A line is known by its run and its number there (`seq`), and lines are in the order of their numbers: timestamps of
several processes may tie or go backwards, numbers do not.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import uuid4

import polars as pl

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.queries import sql
from lab_pipeline.clickhouse.series import EARLIEST, LATEST

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_LINES = pl.Schema(
    {
        "run_id": pl.String(),
        "seq": pl.UInt64(),
        "timestamp": pl.Datetime("us", "UTC"),
        "level": pl.String(),
        "step_key": pl.String(),
        "event_type": pl.String(),
        "logger": pl.String(),
        "message": pl.String(),
        "stack": pl.String(),
        "data": pl.String(),
    }
)
"""Columns of a batch: `level` is one of LEVELS, `data` JSON; what a line does not have is the empty string."""

PAGE_LINES = 100
AFTER_ALL = 2**64 - 1
BEFORE_ALL = 0


class Order(StrEnum):
    """In which order lines are listed."""

    OLDEST_FIRST = "asc"
    NEWEST_FIRST = "desc"


@dataclass(frozen=True)
class LogPage:
    """Some lines of a run.

    Attributes:
        lines: columns of LOG_LINES without run_id.
        next_cursor: where the next page begins; None where there is no more now.
    """

    lines: pl.DataFrame
    next_cursor: int | None


def append_lines(clickhouse: ClickHouse, lines: pl.DataFrame) -> None:
    """Append a batch; a line that has been appended before stays one.

    Numbers begin at 1. Batches of 500 lines or a second's worth are cheap; of any size they are right.

    Args:
        clickhouse: where to write.
        lines: as LOG_LINES says.

    Raises:
        ClickHouseUnavailableError: if ClickHouse stays away beyond the deadline: append them again later.
        ClickHouseError: if it refuses them.
    """
    if lines.height:
        clickhouse.insert("run_logs", lines.match_to_schema(LOG_LINES), f"run_logs/{uuid4()}")


def last_line(clickhouse: ClickHouse, run_id: str) -> int | None:
    """Return the number of the newest line of a run that has arrived, or None."""
    found = clickhouse.query(sql("find_last_log_line"), {"run_id": run_id})
    return found["seq"].item() if found.height else None


def list_lines(
    clickhouse: ClickHouse,
    run_id: str,
    *,
    cursor: int | None = None,
    order: Order = Order.OLDEST_FIRST,
    limit: int = PAGE_LINES,
    level: str = LEVELS[0],
    text: str = "",
    start: datetime | None = None,
    end: datetime | None = None,
) -> LogPage:
    """Return a page of a run's lines; walking the cursors gives every line once, new ones included.

    Args:
        clickhouse: where to read.
        run_id: of the run.
        cursor: `next_cursor` of the page before, or any line's `seq`: the page begins after that line.
        order: of the lines.
        limit: lines at most.
        level: the least one wanted.
        text: that message or stack must contain, whatever the case.
        start: first moment, inclusive.
        end: last moment, exclusive.

    Raises:
        ValueError: for an unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)} (got {level!r})")
    newest_first = order is Order.NEWEST_FIRST
    found = clickhouse.query(
        sql("list_log_lines_newest_first" if newest_first else "list_log_lines"),
        {
            "run_id": run_id,
            "cursor": cursor if cursor is not None else (AFTER_ALL if newest_first else BEFORE_ALL),
            "levels": list(LEVELS[LEVELS.index(level) :]),
            "text": text,
            "start": start or EARLIEST,
            "end": end or LATEST,
            "limit": limit + 1,  # one more tells whether there is more
        },
    )
    lines = found.head(limit)
    return LogPage(lines, lines["seq"].item(-1) if found.height > limit else None)
