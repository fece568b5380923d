"""What sees files that were dropped into the inbox."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from lab_pipeline.dagster_ext.sensor_causes import FILES, WAITS_FOR
from lab_pipeline.dagster_ext.ticks import is_tick
from lab_pipeline.defs.lake.jobs import DroppedFile, InboxFiles, inbox_job, ingest_inbox
from lab_pipeline.domain.backtest import now
from lab_pipeline.lake import Drop, Inbox
from lab_pipeline.operations.lab import Lab

INTERVAL_SECONDS = 5
REST_SECONDS = 5.0
"""For which a file must not change until it is taken to be whole."""
FILES_AT_ONCE = 200
NAMES_SHOWN = 3
RUNS_LOOKED_AT = 20
FIRST_PAUSE = timedelta(minutes=1)
"""After a run that ended and left its files in the inbox; doubled each time."""
LONGEST_PAUSE = timedelta(hours=1)
NOT_OURS = "the cursor was none of this sensor, so files rest from now on"
FILES_TAG = "lab/inbox"
"""Stands for the files that a run is about."""


@dg.sensor(
    job_name=inbox_job.name,
    minimum_interval_seconds=INTERVAL_SECONDS,
    tags={WAITS_FOR: FILES},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ingests files that are dropped into LAB_INBOX, once they do not change any more.",
)
def watch_inbox(context: dg.SensorEvaluationContext, lab: dg.ResourceParam[Lab]) -> dg.SensorResult | dg.SkipReason:
    """Request one run for all files that have stopped changing; the cursor says since when each has been as it is.

    Only one run at a time is asked for. Its key is that of its files and of the last run that these had, so that the
    same files are asked for again only after a run has ended and left them, after a pause. Runs can be deleted, so
    their number could repeat; their ids do not.
    """
    inbox = Inbox(lab.settings.inbox_dir)
    if lab.settings.inbox is None:
        inbox.root.mkdir(parents=True, exist_ok=True)
    moment = now()
    drops = inbox.drops()
    stuck = _listed([f"{drop.name} ({drop.obstacle})" for drop in drops if drop.obstacle is not None])
    left_alone = f"; left alone: {stuck}" if stuck else ""
    before = _read(context)
    seen = _seen(before or {}, [drop for drop in drops if drop.obstacle is None], moment)
    cursor = json.dumps({drop.key: since for drop, since in seen.items()})
    rested = [
        drop
        for drop, since in seen.items()
        if moment.timestamp() - since >= REST_SECONDS and not inbox.is_being_written(drop)
    ][:FILES_AT_ONCE]
    if before is None:
        left_alone += f"; {NOT_OURS}"
    if not rested:
        nothing = f"{inbox.root} has nothing to ingest" if stuck else f"{inbox.root} is empty"
        waiting = f"{len(seen)} files are new or being written" if seen else nothing
        return dg.SensorResult(skip_reason=waiting + left_alone, cursor=cursor)
    if _unfinished(context.instance):
        return dg.SensorResult(skip_reason="a run is ingesting files" + left_alone, cursor=cursor)
    files = hashlib.sha256("".join(sorted(drop.key for drop in rested)).encode()).hexdigest()[:16]
    runs = context.instance.get_run_records(dg.RunsFilter(job_name=inbox_job.name, tags={FILES_TAG: files}))
    earlier = [record for record in runs if record.dagster_run.is_finished]
    if pause := _pause(earlier, moment):
        names = _listed([drop.name for drop in rested])
        again = f"{len(rested)} files are tried again in {pause}: {names}"
        return dg.SensorResult(skip_reason=again + left_alone, cursor=cursor)
    if stuck:
        context.log.warning(f"left alone: {stuck}")
    config = InboxFiles(files=[DroppedFile(key=drop.key, name=drop.name) for drop in rested])
    request = dg.RunRequest(
        run_key=f"inbox/{files}/{earlier[0].dagster_run.run_id if earlier else 0}",
        run_config=dg.RunConfig(ops={ingest_inbox.name: config}),
        tags={FILES_TAG: files},
    )
    return dg.SensorResult([request], cursor=cursor)


def _read(context: dg.SensorEvaluationContext) -> dict[str, float] | None:
    """Return since when files were seen, by key; none if the cursor says nothing of the kind."""
    if not context.cursor:
        return {}
    try:
        read = json.loads(context.cursor)
    except (ValueError, RecursionError):
        read = None
    if isinstance(read, dict) and all(isinstance(one, float) and math.isfinite(one) for one in read.values()):
        return read
    if is_tick(context):
        context.log.warning(f"{NOT_OURS}: {context.cursor[:40]!r}")
    return None


def _seen(before: Mapping[str, float], drops: Sequence[Drop], moment: datetime) -> dict[Drop, float]:
    """Return since when each file has been seen in its present state, in seconds since 1970.

    A sighting in the future came from a clock that has since been set back: the file rests from now on.
    """
    return {drop: min(before.get(drop.key, moment.timestamp()), moment.timestamp()) for drop in drops}


def _listed(names: Sequence[str]) -> str:
    """Name the first few."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _unfinished(instance: dg.DagsterInstance) -> bool:
    """Return whether a run is under way; one that was made and never started is not: the same key starts it."""
    runs = instance.get_runs(dg.RunsFilter(job_name=inbox_job.name), limit=RUNS_LOOKED_AT)
    return any(not run.is_finished and run.status is not dg.DagsterRunStatus.NOT_STARTED for run in runs)


def _pause(earlier: Sequence[dg.RunRecord], moment: datetime) -> timedelta | None:
    """Return how long files wait that earlier runs, newest first, have not brought to an end; none if no longer."""
    if not earlier:
        return None
    pause = min(FIRST_PAUSE * 2 ** min(len(earlier) - 1, 10), LONGEST_PAUSE)
    ended = datetime.fromtimestamp(earlier[0].end_time or 0.0, UTC)
    if ended > moment:  # by a clock that has since been set back
        return None
    rest = pause - (moment - ended)
    return timedelta(seconds=int(rest.total_seconds())) if rest > timedelta() else None
