"""Log lines of runs: appended by whoever ships them, read in pages.

A line is known by its run and its number there (`seq`), and lines are in the order of their numbers: timestamps of
several processes may tie or go backwards, numbers do not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

import polars as pl

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.queries import sql
from lab_pipeline.clickhouse.schema import UploadTarget
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

COMMITS = {"attempt": pl.UInt64(), "rows": pl.UInt64(), "committed_at": pl.Datetime("ms", "UTC")}
SEAL = "logs"
"""The dataset of run_commits whose row says that a log is complete."""

PAGE_LINES = 100
RUNS_ASKED_AT_ONCE = 200
AFTER_ALL = 2**64 - 1
BEFORE_ALL = 0


class Order(StrEnum):
    """In which order lines are listed."""

    OLDEST_FIRST = "asc"
    NEWEST_FIRST = "desc"


@dataclass(frozen=True)
class LinePage:
    """Some lines of a run.

    Attributes:
        lines: columns of LOG_LINES without run_id.
        next_cursor: where the next page begins; None where there is no more now.
    """

    lines: pl.DataFrame
    next_cursor: int | None


def append_lines(clickhouse: ClickHouse, lines: pl.DataFrame) -> None:
    """Append a batch; a line that has been appended before stays one.

    Numbers begin at 1. Batches of 500 lines or a second's worth are cheap. What has arrived of a run's lines is always
    the beginning of what was appended, even if the server is killed meanwhile.

    Args:
        clickhouse: where to write.
        lines: as LOG_LINES says.

    Raises:
        ClickHouseUnavailableError: if ClickHouse stays away beyond the deadline: append them again later.
        ClickHouseError: if it refuses them.
    """
    for part in _months_apart(lines.match_to_schema(LOG_LINES)):
        clickhouse.insert("run_logs", part, f"run_logs/{uuid4()}")


def last_lines(clickhouse: ClickHouse, run_ids: Sequence[str]) -> dict[str, int]:
    """Return the number of the newest line that has arrived, of each run that has any."""
    found: dict[str, int] = {}
    for first in range(0, len(run_ids), RUNS_ASKED_AT_ONCE):
        asked = list(run_ids[first : first + RUNS_ASKED_AT_ONCE])
        found |= dict(clickhouse.query(sql("find_last_log_lines"), {"run_ids": asked}).iter_rows())
    return found


def seal_logs(clickhouse: ClickHouse, last: Mapping[str, int]) -> None:
    """Record that the logs of runs have arrived, up to the last line of each, and that no more is expected.

    Raises:
        ClickHouseUnavailableError: if ClickHouse stays away beyond the deadline: seal them again later.
    """
    if last:
        seals = {
            "run_id": list(last),
            "attempt": 0,
            "dataset": SEAL,
            "rows": list(last.values()),
            "committed_at": datetime.now(UTC),
        }
        clickhouse.insert("run_commits", pl.DataFrame(seals, schema_overrides=COMMITS), f"seals/{uuid4()}")


def sealed_runs(clickhouse: ClickHouse) -> dict[str, datetime]:
    """Return the runs whose logs are sealed, and when they were, the last time."""
    return dict(clickhouse.query(sql("list_sealed_runs")).iter_rows())


def forget_logs(clickhouse: ClickHouse, run_ids: Sequence[str]) -> None:
    """Delete the log lines of runs, so that a shipper brings them again, with the numbers that they have by then.

    Raises:
        ClickHouseUnavailableError: if ClickHouse does not answer; forget them again then.
    """
    target = UploadTarget(clickhouse.config.database, clickhouse.config.cluster)
    for first in range(0, len(run_ids), RUNS_ASKED_AT_ONCE):
        some = {"run_ids": list(run_ids[first : first + RUNS_ASKED_AT_ONCE])}
        for statement in ("delete_log_seals", "delete_log_lines"):  # what is not sealed is looked for
            clickhouse.command(target.render(sql(statement)), some)


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
) -> LinePage:
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
    return LinePage(lines, lines["seq"].item(-1) if found.height > limit else None)


def _months_apart(lines: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Split lines so that no part holds lines of one run and of two months, in order.

    A month is a partition, and only what goes into one partition is inserted as a whole or not at all.
    """
    month = pl.col("timestamp").dt.truncate("1mo")
    turns = (month != month.shift().over("run_id")).fill_null(value=False)
    numbered = lines.with_columns(turns.cum_sum().over("run_id").alias("turn"))
    for turn in numbered["turn"].unique().sort():
        yield numbered.filter(pl.col("turn") == turn).drop("turn")
