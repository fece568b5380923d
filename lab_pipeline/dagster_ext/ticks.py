"""Tells ticks of sensors from mere tests of a sensor, which look at everything and do nothing."""

import dagster as dg

from lab_pipeline.dagster_ext.internals import InstigatorType, TickStatus
from lab_pipeline.storage.internals import SensorInstigatorData

TESTED = "a test: nothing was done, which a tick of the daemon would do"


def is_tick(context: dg.SensorEvaluationContext) -> bool:
    """Return whether the daemon evaluates a sensor, rather than somebody who tests it.

    The UI's *Test sensor*, `sensorDryRun` and `dagster sensor preview` evaluate a sensor where the daemon does, in the
    code server, with a cursor of their own. But only the daemon records a tick first, whose number ends the key of its
    log; Dagster makes up a key with the time where there is none.
    """
    number = context.log_key[-1] if context.log_key else ""
    if not number.isdecimal() or (storage := context.instance.schedule_storage) is None:
        return False
    return any(tick.status is TickStatus.STARTED for tick in storage.get_ticks_by_ids([int(number)]))


def stored_cursors(instance: dg.DagsterInstance, sensor: str) -> set[str]:
    """Return the cursors from which the next ticks of a sensor go on; code locations may have one each."""
    every = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    found = (state.instigator_data for state in every if state.instigator_name == sensor)
    return {data.cursor for data in found if isinstance(data, SensorInstigatorData) and data.cursor}
