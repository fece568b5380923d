"""The lab's own Dagster instance, whichever process asks for it."""

import os
import time
from pathlib import Path
from typing import Any

import dagster as dg
import yaml  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.exc import SQLAlchemyError

from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.atomic import write_whole
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.home import project_root
from lab_pipeline.settings import Settings, keep_private, places_of_libraries
from lab_pipeline.storage.event_log_storage import batches_allowed
from lab_pipeline.storage.internals import DaemonHeartbeat

CONFIG = "dagster.yaml"
SILENT_SECONDS = 90.0
"""After which a daemon is not alive: every part of it writes a heartbeat each half minute."""
HEADER = """\
# Written by `lab` from its settings: `lab up` and `lab settings --apply` write it again, so do not edit it. What each
# part is for, the project's dagster.yaml says. Put a file of your own here, without this line, and it stays as it is.
"""


def prepare_environment(settings: Settings, *, apply_settings: bool = False) -> dict[str, str]:
    """Make the home directory and return the variables that every Dagster process of this lab needs.

    LAB_HOME/dagster/dagster.yaml is written if it is not there; one that a user put there stays.

    Args:
        settings: of the lab.
        apply_settings: whether to bring a file that the lab wrote earlier up to these settings. Only a command that is
            about the whole lab does: another one may have been started with other variables than its daemon.

    Raises:
        LabError: if the home directory cannot be made or written.
    """
    dagster_home = settings.dagster_home
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        keep_private(settings.home)
        dagster_home.mkdir(parents=True, exist_ok=True)
        path = dagster_home / CONFIG
        if not path.exists() or is_torn(path) or (apply_settings and is_ours(path)):
            write_whole(path, instance_config(settings))
    except OSError as error:
        reason = disk_error(error, dagster_home) or f"{error.strerror}. Set LAB_HOME elsewhere."
        raise LabError(f"cannot use {settings.home} as LAB_HOME: {reason}") from error
    return {
        "LAB_HOME": str(settings.home),
        "DAGSTER_HOME": str(dagster_home),
        **batches_allowed(),
        **places_of_libraries(settings.home),
    }


def instance_config(settings: Settings) -> str:
    """Return the project's dagster.yaml with the settings in it."""
    config: dict[str, Any] = yaml.safe_load((project_root() / CONFIG).read_text())
    runs = config["concurrency"]["runs"]
    runs["max_concurrent_runs"] = settings.max_concurrent_runs
    (per_strategy,) = runs["tag_concurrency_limits"]
    per_strategy["limit"] = settings.max_concurrent_runs_per_strategy
    config["run_retries"]["max_retries"] = settings.run_retries
    return HEADER + str(yaml.safe_dump(config, sort_keys=False))


def adopt(settings: Settings, text: str) -> Path | None:
    """Make a text the dagster.yaml of the lab and return where the file that it replaces is kept, if there was one."""
    path = settings.dagster_home / CONFIG
    kept = None
    if path.exists() and path.read_text() != text:
        kept = path.with_name(f"{CONFIG}.{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        write_whole(kept, path.read_text())
    write_whole(path, text)
    return kept


def is_ours(path: Path) -> bool:
    """Return whether a dagster.yaml was written by the lab."""
    return path.is_file() and path.read_text(errors="replace").startswith(HEADER.splitlines()[0])


def is_torn(path: Path) -> bool:
    """Return whether a dagster.yaml is what a power cut left of one that the lab wrote; Dagster takes an empty one."""
    if not path.is_file():
        return False
    content = path.read_bytes().rstrip(b"\0")
    text = content.decode(errors="replace")
    if not text.strip() or HEADER.startswith(text):
        return True
    if not text.startswith(HEADER.splitlines()[0]):
        return False
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        return True
    wanted: dict[str, Any] = yaml.safe_load((project_root() / CONFIG).read_text())
    return not isinstance(config, dict) or any(not config.get(name) for name in wanted)


def is_users_own(settings: Settings) -> bool:
    """Return whether the dagster.yaml of a lab is its user's, so that others than `lab up` may run its services."""
    path = settings.dagster_home / CONFIG
    return path.exists() and not is_ours(path)


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the lab's Dagster instance, for this process and those it starts."""
    os.environ.update(prepare_environment(settings))
    try:
        return dg.DagsterInstance.get()
    except (dg.DagsterInvalidConfigError, yaml.YAMLError, UnicodeDecodeError) as error:
        path = settings.dagster_home / CONFIG
        raise LabError(
            f"{path} cannot be used: {' '.join(str(error).split())[:300]}. Fix it, or delete it: the lab then writes "
            "its own"
        ) from error
    except (OSError, SQLAlchemyError) as error:
        reason = disk_error(error, settings.dagster_home) or str(error).splitlines()[0]
        raise LabError(f"cannot open Dagster's storage in {settings.dagster_home}: {reason}") from error


def is_silent(heartbeat: DaemonHeartbeat, now: float) -> bool:
    """Return whether a part of the daemon gave no sign of life lately; a sign from the future counts as old.

    Args:
        heartbeat: its last.
        now: the clock's time, seconds since 1970.
    """
    return abs(now - heartbeat.timestamp) > SILENT_SECONDS


def gives_signs_of_life(instance: dg.DagsterInstance, now: float) -> bool:
    """Return whether any part of the daemon has been alive lately; `now` is as for `is_silent`."""
    return any(not is_silent(heartbeat, now) for heartbeat in instance.get_daemon_heartbeats().values())
