"""What schedules and sensors logged in ticks that Dagster keeps no longer: it deletes the ticks, not their logs."""

import time
from contextlib import suppress
from pathlib import Path

import dagster as dg

from lab_pipeline.dagster_ext.graphql import REPOSITORY

UNDER_WAY_SECONDS = 86_400
"""Within which a tick has ended: while it is evaluated, its record does not name its log."""


def forgotten_logs(instance: dg.DagsterInstance, *, remove: bool) -> int:
    """Return the bytes of the logs, on this host, that no tick on record refers to, and remove them if wanted."""
    logs = _old_logs(instance)
    referred_to = _referred_to(instance, {path.parent.name for path in logs}) if logs else set()
    forgotten = [path for path in logs if (path.parent.name, path.stem) not in referred_to]
    for path in forgotten if remove else ():
        path.unlink(missing_ok=True)
    return sum(logs[path] for path in forgotten)


def _old_logs(instance: dg.DagsterInstance) -> dict[Path, int]:
    """Return the logs of ticks that have ended, and their bytes."""
    found = {}
    for path in (Path(instance.storage_directory()) / REPOSITORY).glob("*/*.err"):
        with suppress(FileNotFoundError):  # somebody else removed it
            log = path.stat()
            if time.time() - log.st_mtime > UNDER_WAY_SECONDS:
                found[path] = log.st_size
    return found


def _referred_to(instance: dg.DagsterInstance, names: set[str]) -> set[tuple[str, str]]:
    """Return the last two parts of the keys of logs of all ticks of the named schedules and sensors.

    The key, not the number of the tick: that changes when the lab is moved to other storages.
    """
    return {
        (key[-2], key[-1])
        for state in instance.all_instigator_state()
        if state.instigator_name in names
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        if (key := tick.log_key)
    }
