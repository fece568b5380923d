"""Whether the clock can be right, by what the lab itself has seen."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from lab_pipeline.domain.backtest import iso
from lab_pipeline.domain.errors import LabError

TRUSTED_AGE = timedelta(hours=20)
"""A clock that was put ahead dates all that the lab does from then on; only what is older than this is evidence.

Dagster keeps the ticks of sensors that do nothing for a day, so a lab that is up has witnesses of that age, and one
that was off for months has them on the day after it is on again.
"""
LONGEST_GAP = timedelta(days=7)
"""How long a lab may be off without being questioned."""


def require_plausible(instance: dg.DagsterInstance, now: datetime) -> None:
    """Require that the lab showed life shortly before the clock's time, and not only since it may have been put ahead.

    Raises:
        LabError: if it did not.
    """
    seen = newest_witness(instance, now - TRUSTED_AGE)
    if seen is not None and now - seen <= TRUSTED_AGE + LONGEST_GAP:
        return
    hours = int(TRUSTED_AGE.total_seconds() // 3600)
    was = "there is none" if seen is None else f"the newest is of {iso(seen)}"
    raise LabError(
        f"the clock says {iso(now)}, but of what this lab did more than {hours} hours before that, {was}; runs would "
        f"be deleted by an age that may be wrong, so none was. If the clock is wrong, put it right. If the lab was "
        f"off: `lab gc --trust-clock`, or wait until it has been up for {hours} hours"
    )


def newest_witness(instance: dg.DagsterInstance, until: datetime) -> datetime | None:
    """Return when the lab last did something, up to a time: recorded a run, evaluated a sensor or schedule, beat."""
    return max(_witnesses(instance, until), default=None)


def _witnesses(instance: dg.DagsterInstance, until: datetime) -> Iterator[datetime]:
    before = dg.RunsFilter(created_before=until)
    for record in instance.get_run_records(before, limit=1, order_by="create_timestamp"):
        yield record.create_timestamp
    for state in instance.all_instigator_state():
        for tick in instance.get_ticks(
            state.instigator_origin_id, state.selector_id, before=until.timestamp(), limit=1
        ):
            yield datetime.fromtimestamp(tick.timestamp, UTC)
    for beat in instance.get_daemon_heartbeats().values():
        if beat.timestamp <= until.timestamp():
            yield datetime.fromtimestamp(beat.timestamp, UTC)
