"""Take runs of the old lab over into Dagster's record of runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa

from lab_pipeline.operations.runs import ERROR_TAG, LEGACY_RESULT_TAG, Runs
from lab_pipeline.runs.legacy import LegacyRun
from lab_pipeline.runs.tags import BACKTEST_JOB, run_config, search_tags
from lab_pipeline.storage.internals import RunsTable

LEGACY_TAG = "lab/legacy"
REQUEST_FIELDS = ("strategy_id", "strategy_version", "caller", "mint", "timeframe", "start", "end")
STATUS = {
    "completed": dg.DagsterRunStatus.SUCCESS,
    "failed": dg.DagsterRunStatus.FAILURE,
    "canceled": dg.DagsterRunStatus.CANCELED,
}


@dataclass(frozen=True)
class TakenOver:
    """How it went.

    Attributes:
        added: runs that are new.
        known: runs that were there already.
    """

    added: int
    known: int


def take_over(runs: Runs, legacy: list[LegacyRun]) -> TakenOver:
    """Record runs of the old lab with their times; one that is there already stays as it is."""
    added = 0
    for run in legacy:
        if not runs.instance.has_run(run.run_id):
            _record(runs, run)
            added += 1
    return TakenOver(added, len(legacy) - added)


def _record(runs: Runs, run: LegacyRun) -> None:
    fields = run.fields
    asked = _asked(fields)
    result = {name: value for name, value in fields.items() if name not in REQUEST_FIELDS}
    tags = {
        LEGACY_TAG: "true",
        **search_tags(asked),
        ERROR_TAG: run.error,
        LEGACY_RESULT_TAG: json.dumps(result) if result else None,
    }
    recorded = dg.DagsterRun(
        job_name=BACKTEST_JOB,
        run_id=run.run_id,
        run_config=run_config(asked),
        status=STATUS[run.status],
        tags={key: str(value) for key, value in tags.items() if value is not None},
    )
    times = {"start_time": _seconds(run.started_at), "end_time": _seconds(run.completed_at)}
    with runs.storage.connect() as connection:  # what follows is one transaction, in the lab's own storage
        runs.storage.add_historical_run(recorded, run.created_at)
        connection.execute(sa.update(RunsTable).where(RunsTable.c.run_id == run.run_id).values(**times))


def _asked(fields: Mapping[str, Any]) -> dict[str, Any]:
    asked = {
        "strategy": fields.get("strategy_id"),
        "strategy_version": fields.get("strategy_version"),
        "timeframe": fields.get("timeframe"),
        "start": _iso(fields.get("start")),
        "end": _iso(fields.get("end")),
        "callers": [fields["caller"]] if "caller" in fields else None,
        "mints": [fields["mint"]] if "mint" in fields and "caller" not in fields else None,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
