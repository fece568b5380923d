"""What changes in a record of Dagster's when the events that it refers to get other numbers."""

import json
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lab_pipeline.storage.internals import (
    INPUT_EVENT_POINTER_TAG_PREFIX,
    InstigatorState,
    RunStatusSensorCursor,
    SensorInstigatorData,
    SensorType,
    asset_daemon_cursor_from_instigator_serialized_cursor,
    asset_daemon_cursor_to_instigator_serialized_cursor,
    deserialize_value,
    serialize_value,
)

POINTER = f"{INPUT_EVENT_POINTER_TAG_PREFIX}/"
NUMBERED = {
    "AssetCheckEvaluationTargetMaterializationData": "storage_id",
    "EventLogRecord": "storage_id",
    "AutomationConditionCursor": "last_event_id",
}
"""Classes that hold the number of an event, and in which field."""


@dataclass(frozen=True)
class Numbering:
    """The numbers of the events that all runs are asked for together: of assets, checks and statuses of runs.

    Attributes:
        old: ascending.
        new: their numbers from now on, ascending, too.
    """

    old: Sequence[int]
    new: Sequence[int]

    def position(self, number: int) -> int:
        """Return the new place of a reader that has seen everything up to an old number."""
        place = bisect_right(self.old, number)
        return self.new[place - 1] if place else 0

    def text(self, serialized: str) -> str:
        """Renumber what a serialized record says of events."""
        if not any(name in serialized for name in (*NUMBERED, POINTER)):
            return serialized
        return json.dumps(self._renumbered(json.loads(serialized)))

    def pointer(self, tag: str, value: str | None) -> str | None:
        """Renumber the value of a tag that points to the event of an input."""
        return str(self.position(int(value))) if value and tag.startswith(POINTER) and value.isdigit() else value

    def state(self, serialized: str, numbered: Collection[str]) -> str:
        """Renumber the cursor of a schedule's or sensor's stored state.

        Args:
            serialized: an `InstigatorState`.
            numbered: names of sensors whose cursor is the number of an event.
        """
        state = deserialize_value(serialized, InstigatorState)
        data = state.instigator_data
        if not isinstance(data, SensorInstigatorData) or not data.cursor:
            return serialized
        cursor = self._cursor(data.cursor, data.sensor_type, is_number=state.instigator_name in numbered)
        return serialize_value(state.with_data(data._replace(cursor=cursor)))

    def _cursor(self, cursor: str, kind: SensorType | None, *, is_number: bool) -> str:
        if kind in {SensorType.AUTOMATION, SensorType.AUTO_MATERIALIZE}:
            seen = asset_daemon_cursor_from_instigator_serialized_cursor(cursor, asset_graph=None)
            return asset_daemon_cursor_to_instigator_serialized_cursor(
                deserialize_value(self.text(serialize_value(seen)), type(seen))
            )
        if RunStatusSensorCursor.is_valid(cursor):
            status = RunStatusSensorCursor.from_json(cursor)
            return status._replace(record_id=self.position(status.record_id)).to_json()
        if cursor.isdigit() and (is_number or kind is SensorType.ASSET):
            return str(self.position(int(cursor)))
        return cursor

    def _renumbered(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(value, list):
            return [self._renumbered(one) for one in value]
        if not isinstance(value, dict):
            return value
        field = NUMBERED.get(value.get("__class__", ""))
        return {
            key: self.position(one)
            if key == field and isinstance(one, int)
            else self.pointer(key, one)
            if isinstance(one, str)
            else self._renumbered(one)
            for key, one in value.items()
        }
