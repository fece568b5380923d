"""Move what Dagster keeps of a lab to the storages of another dagster.yaml, and the lab with it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from lab_pipeline.clickhouse.logs import forget_logs
from lab_pipeline.dagster_ext import worker_locks
from lab_pipeline.dagster_ext.instance import CONFIG, adopt, instance_config
from lab_pipeline.dagster_ext.internals import InstanceRef
from lab_pipeline.domain.errors import LabError
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.log_shipper import ship_runs, shipping
from lab_pipeline.settings import Settings
from lab_pipeline.storage.copy import DagsterStores, Progress, move

EMBEDDED = "embedded"
"""Stands for the dagster.yaml that the lab writes itself."""
NUMBERED_SENSORS = frozenset({"notify_failures"})
"""Sensors of the lab whose cursor is the number of an event."""
HEARTBEAT_SECONDS = 30.0
"""In which a daemon that lives shows it again."""
SLACK_SECONDS = 5.0
SHOWN = 5


@dataclass(frozen=True)
class Moved:
    """How it went.

    Attributes:
        rows: by table; none if the lab was there already.
        kept: where the dagster.yaml is now that the lab had.
    """

    rows: dict[str, int]
    kept: Path | None


def move_storage(settings: Settings, target: str, *, on_progress: Progress | None = None) -> Moved:
    """Copy runs, events and schedules to where a dagster.yaml says, compare, and make that file the lab's.

    Args:
        settings: of the lab; nothing of it may run, which is for the caller to see to as far as `lab up` goes.
        target: path of a dagster.yaml, or `embedded`.
        on_progress: called with the runs whose events have been copied, and all.

    Raises:
        LabError: if a run is not finished, or a daemon or log shipper is at work.
        LabError: if the target cannot be opened, is not empty, or did not get everything; the lab stays as it is.
    """
    text = instance_config(settings) if target == EMBEDDED else _read(Path(target))
    with Lab(settings) as lab, _opened(settings, text) as other:
        source, into = DagsterStores.of(lab.instance), DagsterStores.of(other)
        if source.id == into.id:
            return Moved({}, None)
        with shipping(settings) as alone, lab.clickhouse.connection() as clickhouse:
            if not alone:
                raise LabError("a log shipper is at work on this home: stop `lab clickhouse ship` first")
            _require_idle(settings, lab.instance)
            clickhouse.query("SELECT 1 AS one")  # before anything is done: is it there at all?
            rows = move(source, into, numbered_sensors=NUMBERED_SENSORS, on_progress=on_progress)
            run_ids = list(other.get_run_ids())
            forget_logs(clickhouse, run_ids)  # it knows lines by numbers that have changed
            kept = adopt(settings, text)
            ship_runs(other, clickhouse, run_ids)  # what is cut off here the next shipper does
    return Moved(rows, kept)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"cannot read {path}: {error}. Name a dagster.yaml, or `{EMBEDDED}`") from None


def _require_idle(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Refuse while something changes what is to be moved."""
    if living := worker_locks.living(worker_locks.workers_dir(settings.dagster_home)):
        raise LabError(f"runs are being executed ({', '.join(living[:SHOWN])}): wait for them, or cancel them")
    if unfinished := [run.run_id for run in instance.get_runs() if not run.is_finished]:
        raise LabError(
            f"{len(unfinished):,} runs are not finished ({', '.join(unfinished[:SHOWN])}): start the lab and wait for "
            "them, or cancel them with `lab runs cancel`"
        )
    before = _latest_heartbeat(instance)
    longest = HEARTBEAT_SECONDS + SLACK_SECONDS
    deadline = time.monotonic() + min(before + longest - time.time(), longest)  # a clock set back: no longer than that
    while (rest := deadline - time.monotonic()) > 0:
        time.sleep(min(rest, 1.0))
        if _latest_heartbeat(instance) != before:
            raise LabError("a Dagster daemon is at work on this storage: stop it, webserver and code server first")


def _latest_heartbeat(instance: dg.DagsterInstance) -> float:
    return max((beat.timestamp for beat in instance.get_daemon_heartbeats().values()), default=0.0)


@contextmanager
def _opened(settings: Settings, text: str) -> Iterator[dg.DagsterInstance]:
    """Open the instance that a dagster.yaml describes, as if it were the lab's."""
    draft = settings.dagster_home / f".target-{CONFIG}"
    draft.write_text(text)
    try:
        ref = InstanceRef.from_dir(str(settings.dagster_home), config_filename=draft.name)
        instance = dg.DagsterInstance.from_ref(ref)
    except Exception as error:  # a plugin raises what it likes if it cannot be loaded, configured or reached
        raise LabError(f"cannot open the storage of the target: {_reason(error)}") from error
    finally:
        draft.unlink()
    with instance:
        yield instance


def _reason(error: BaseException) -> str:
    """Return the first line of what is behind an error, with what to do where that is known."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{line}: pip install 'lab-pipeline[postgres]'" if "dagster_postgres" in line else line
