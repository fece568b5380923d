"""Made-up log lines of runs."""

from datetime import UTC, datetime, timedelta

import polars as pl

from lab_pipeline.clickhouse.logs import LEVELS, LOG_LINES, list_lines

MOMENT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def lines_of(run_id, numbers, **columns):
    numbers = list(numbers)
    given = {
        "timestamp": [MOMENT + timedelta(seconds=n // 50) for n in numbers],  # fifty of a kind
        "level": [LEVELS[n % len(LEVELS)] for n in numbers],
        "step_key": "simulate",
        "event_type": "",
        "logger": "dagster",
        "message": [f"Candle {n} read" for n in numbers],
        "stack": ["Traceback: ZeroDivisionError" if n % 100 == 4 else "" for n in numbers],
        "data": '{"a": 1}',
    }
    return pl.DataFrame({"run_id": run_id, "seq": numbers, **given, **columns}, schema_overrides=LOG_LINES).select(
        LOG_LINES.names()
    )


def walk(clickhouse, run_id, column="seq", **options):
    """Return a column of a run's log, gathered page by page."""
    found, cursor = [], None
    while True:
        page = list_lines(clickhouse, run_id, cursor=cursor, **options)
        found += page.lines[column].to_list()
        cursor = page.next_cursor
        if cursor is None:
            return found
