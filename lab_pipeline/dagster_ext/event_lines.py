"""Dagster's events as log lines: what a reader of a log wants of them, as text and as plain JSON."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg

from lab_pipeline.clickhouse.logs import LEVELS
from lab_pipeline.storage.internals import serialize_value

LONGEST_FACT = 8_192
"""Characters of one value: pictures in metadata are in the event log, not in the log of its lines."""
EMPTY: tuple[Any, ...] = (None, "", [], {})


def line_of(record: dg.EventLogRecord) -> dict[str, Any]:
    """Return the line of an event, columns of `LOG_LINES`; the timestamp in microseconds since 1970."""
    entry = record.event_log_entry
    event = entry.dagster_event
    data = event.event_specific_data if event else None
    error = getattr(data, "error", None) or entry.error_info
    return {
        "run_id": entry.run_id,
        "seq": record.storage_id,
        "timestamp": round(entry.timestamp * 1e6),
        "level": level_of(entry.level),
        "step_key": entry.step_key or "",
        "event_type": event.event_type_value if event else "",
        "logger": "dagster" if event else "user",
        "message": (event.message if event else entry.user_message) or entry.user_message,
        "stack": error.to_string() if error else "",
        "data": json.dumps(plain(json.loads(serialize_value(data))) if data is not None else {}, ensure_ascii=False),
    }


def level_of(number: int | str) -> str:
    """Return the greatest of LEVELS that is not above a level of Python's logging."""
    if not isinstance(number, int):
        return number.upper()
    return next((name for name in reversed(LEVELS) if number >= logging.getLevelNamesMapping()[name]), LEVELS[0])


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Take the marks of serialisation out of an event's data: `{"path": ["a", "b"]}` becomes `a/b`, and so on.

    Empty values are left out, and errors, which the line has as its stack.
    """
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and len(value) > LONGEST_FACT:
        return f"{value[:LONGEST_FACT]}… ({len(value):,} characters)"
    if not isinstance(value, Mapping):
        return value
    if "__enum__" in value:
        return value["__enum__"].rpartition(".")[2]
    kind = value.get("__class__", "")
    if kind == "AssetKey":
        return "/".join(value["path"])
    if kind.endswith("MetadataEntryData"):
        facts = {name: plain(fact) for name, fact in value.items() if name != "__class__" and fact not in EMPTY}
        return next(iter(facts.values())) if len(facts) == 1 else facts
    named = {name: fact for name, fact in value.items() if name not in ("__class__", "error", "metadata_entries")}
    if "metadata_entries" in value:
        named["metadata"] = {entry["label"]: entry["entry_data"] for entry in value["metadata_entries"]}
    facts = {name: plain(fact) for name, fact in named.items()}
    return {name: fact for name, fact in facts.items() if fact not in EMPTY}
