"""Shipping logs as part of the daemon's work, for deployments that run no shipper of their own."""

import time
from functools import cache

import dagster as dg

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.defs.operations.resources import Lab
from lab_pipeline.defs.operations.shipper import Shipper, impatient, shipping

INTERVAL_SECONDS = 5
TURN_SECONDS = 20.0
"""After which other sensors have their turn, whatever is left."""


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Copies new lines of the event log to ClickHouse, unless `lab clickhouse ship` is doing so.",
)
def ship_logs(context: dg.SensorEvaluationContext, lab: Lab) -> dg.SkipReason:
    """Ship what is there; a ClickHouse that is away makes the tick fail, and the next one goes on from there."""
    with shipping(lab.settings) as mine:
        if not mine:
            return dg.SkipReason("another shipper is at work")
        shipper = shipper_of(lab.clickhouse)
        deadline = time.monotonic() + TURN_SECONDS
        try:
            sent = shipper.ship(context.instance)
            while shipper.behind and time.monotonic() < deadline:
                sent += shipper.ship(context.instance)
        except Exception:  # whatever it was, it goes on to Dagster
            shipper_of.cache_clear()  # what ClickHouse has must be looked up again
            raise
    return dg.SkipReason(f"shipped {sent:,} lines")


@cache
def shipper_of(config: ClickHouseConfig) -> Shipper:
    """Return the shipper of this process, which knows where it was."""
    return Shipper(ClickHouse(impatient(config)))
