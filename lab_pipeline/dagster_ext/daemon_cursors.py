"""Where Dagster's daemon keeps how far it has come."""

import zlib

import dagster as dg
from dagster_shared.serdes.errors import DeserializationError

from lab_pipeline.dagster_ext.internals import InstigatorType, _create_cursor_key
from lab_pipeline.storage.internals import (
    SensorInstigatorData,
    SensorType,
    asset_daemon_cursor_from_instigator_serialized_cursor,
)

FAILED_RUNS_CURSOR = _create_cursor_key(dg.DagsterEventType.RUN_FAILURE)
"""How far the daemon has come among the failed runs; it advances whether or not it could re-execute them."""


def clear_unreadable(instance: dg.DagsterInstance) -> list[str]:
    """Clear the cursors of automation that Dagster cannot read, and return the names of their sensors.

    It evaluates these sensors itself, and fails to at every tick while anybody's text stands in their cursor.
    """
    cleared = []
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        data = state.instigator_data
        if (
            isinstance(data, SensorInstigatorData)
            and data.sensor_type is SensorType.AUTO_MATERIALIZE
            and data.cursor
            and not _is_readable(data.cursor)
        ):
            instance.update_instigator_state(state.with_data(data._replace(cursor=None)))
            cleared.append(state.instigator_name)
    return sorted(cleared)


def _is_readable(cursor: str) -> bool:
    try:
        asset_daemon_cursor_from_instigator_serialized_cursor(cursor, asset_graph=None)
    except (dg.DagsterError, DeserializationError, ValueError, TypeError, KeyError, RecursionError, zlib.error):
        return False
    return True
