"""`lab settings` and `lab doctor`: what is set, and whether it works."""

import importlib.metadata
import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer

from lab_pipeline.cli.app import RUN_FAILED, app, open_lab, out, settings, table
from lab_pipeline.cli.runs import AsJson
from lab_pipeline.cli.up import connects, is_up
from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import PREFIX, Settings, origin, unknown_variables

GIB = 2**30
MIB = 2**20
SHOWN = 3
LOW_DISK_BYTES = 2 * GIB
LOCK_SECONDS = 5.0
WAITING_SECONDS = 300.0
"""After which a log line should have arrived: the shipper takes seconds, also after a pause of ClickHouse."""
SERVED = "its service, here or elsewhere, or `lab up` starts it"
PACKAGES = ("dagster", "dagster-webserver", "polars", "numba", "pyarrow", "pandera")


@dataclass(frozen=True)
class Finding:
    """What one check of `lab doctor` saw.

    Attributes:
        part: what was looked at.
        state: what was seen, in one line.
        remedy: what to do about it; none if all is well.
        hint: what to do next where nothing is wrong.
    """

    part: str
    state: str
    remedy: str | None = None
    hint: str | None = None


@app.command("settings")
def show_settings(
    as_json: AsJson = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write them to LAB_HOME/dagster/dagster.yaml, for Dagster's own programs.")
    ] = False,
) -> None:
    """Print every setting with its value and where the value comes from."""
    current = settings()
    if apply:
        from lab_pipeline.dagster_ext.instance import prepare_environment

        prepare_environment(current, apply_settings=True)
    values = {PREFIX + name.upper(): (getattr(current, name), origin(name)) for name in Settings.model_fields}
    if as_json:
        records = [{"name": k, "value": None if v is None else str(v), "origin": o} for k, (v, o) in values.items()]
        out.show_json({"settings": records})
        return
    rows = table("setting", "value", "origin", "meaning", prose=("meaning",), drop=("origin", "meaning"))
    for field, (name, (value, source)) in zip(Settings.model_fields.values(), values.items(), strict=True):
        rows.add_row(name, "-" if value is None else str(value), source, field.description or "")
    out.print(rows)


@app.command("doctor")
def doctor() -> None:
    """Check every part of the lab, one line each; exit status 1 if one needs attention."""
    healthy = True
    with open_lab() as lab:
        for finding in _findings(lab):
            mark = "ok  " if finding.remedy is None else "FAIL"
            out.print(f"{mark} {finding.part:12} {finding.state}", markup=False)
            if advice := finding.remedy or finding.hint:
                out.print(f"     {'':12} -> {advice}", markup=False)
            healthy &= finding.remedy is None
    if not healthy:
        raise typer.Exit(RUN_FAILED)


def _findings(lab: Lab) -> Iterator[Finding]:
    yield from (_looked(check, lab) for check in (_versions, _environment, _home, _disk, _lake, _artifacts, _sweeps))
    locks = _looked(_locks, lab)
    yield locks
    if locks.remedy is None:  # else all of these would wait for whoever holds a store
        yield from (_looked(check, lab) for check in (_strategies, _log_shipper, _dagster, _daemon, _automation))
    yield from (_looked(check, lab) for check in (_runs, _clickhouse, _webserver, _api))


def _looked(check: Callable[[Lab], Finding], lab: Lab) -> Finding:
    try:
        return check(lab)
    except Exception as error:  # noqa: BLE001 - a part that breaks is a finding, whatever the reason
        said = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
        said = disk_error(error, lab.settings.home) or said
        return Finding(check.__name__.strip("_").replace("_", " "), said, "fix it, or move LAB_HOME away")


def _versions(lab: Lab) -> Finding:  # noqa: ARG001 - one signature for all checks
    return Finding("versions", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES))


def _environment(lab: Lab) -> Finding:  # noqa: ARG001
    unknown = unknown_variables()
    if unknown:
        return Finding("environment", f"unknown: {', '.join(unknown)}", "`lab settings` lists the names there are")
    return Finding("environment", "every LAB_ variable is a setting")


def _home(lab: Lab) -> Finding:
    if not lab.settings.home.exists():
        return Finding("home", f"{lab.settings.home} does not exist yet; the first command that needs it makes it")
    with NamedTemporaryFile(dir=lab.settings.home, prefix=".doctor-"):
        return Finding("home", f"{lab.settings.home} can be written")


def _disk(lab: Lab) -> Finding:
    from lab_pipeline.operations.disk_usage import disk_use

    free = shutil.disk_usage(
        next(path for path in (lab.settings.home, *lab.settings.home.parents) if path.exists())
    ).free
    remedy = None if free >= LOW_DISK_BYTES else "make room: runs fail when the disk is full"
    used = ", ".join(f"{area} {size / MIB:,.1f}" for area, size in disk_use(lab.settings).items() if size)
    return Finding("disk", f"{free / GIB:,.1f} GiB free; MiB used: {used or 'none'}", remedy)


def _lake(lab: Lab) -> Finding:
    from lab_pipeline.lake.damage import REMEDY

    lake = lab.lake
    if problems := lake.damage():
        return Finding("lake", _first(problems), REMEDY)
    timeframes, calls = lake.timeframes(), lake.calls().height
    seen = f"candles: {', '.join(timeframes) or 'none yet'}; calls: {calls:,} of {len(lake.callers()):,} callers"
    missing = not timeframes or not calls
    return Finding("lake", seen, hint="`lab demo` makes up a market, `lab ingest` brings yours" if missing else None)


def _strategies(lab: Lab) -> Finding:
    if not lab.settings.home.exists():
        return Finding("strategies", "none yet")
    return Finding("strategies", f"{len(lab.strategies.list_latest())} stored, all readable")


def _artifacts(lab: Lab) -> Finding:
    from lab_pipeline.runs.artifacts import REMEDY

    store = lab.artifacts
    run_ids = sorted(store.run_ids())
    problems = [problem for run_id in run_ids for problem in store.missed(run_id)]
    problems += [f"{store.storage.at(run_id)} is lost, or its manifest is" for run_id in _unpublished(lab, run_ids)]
    if problems:
        return Finding("artifacts", _first(problems), REMEDY)
    where = f" in {lab.settings.artifacts}" if lab.settings.artifacts else ""
    return Finding("artifacts", f"{len(run_ids):,} runs{where}, every file there")


def _sweeps(lab: Lab) -> Finding:
    from lab_pipeline.sweeps.store import GIVEN_UP, REMEDY

    store = lab.sweeps
    if problems := store.damage():
        return Finding("sweeps", _first(problems), REMEDY)
    seen = f"{len(store.sweep_ids()):,} sweeps, every file there"
    if left := store.given_up():
        seen += f"; {len(left):,} unfinished ones that nobody has gone on with for {GIVEN_UP.days} days"
        return Finding("sweeps", seen, hint="`lab gc` removes what they have computed")
    return Finding("sweeps", seen)


def _unpublished(lab: Lab, published: Sequence[str]) -> list[str]:
    """Return the completed backtests that have no artifacts; those of the old lab never had any."""
    import dagster as dg

    from lab_pipeline.operations.runs import LEGACY_RESULT_TAG
    from lab_pipeline.runs.tags import BACKTEST_JOBS

    if not lab.settings.dagster_home.is_dir():
        return []
    wanted = [dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS]) for job in BACKTEST_JOBS]
    completed = {run_id for one in wanted for run_id in lab.instance.get_run_ids(one)}
    without = sorted(completed - set(published))
    runs = lab.instance.get_runs(dg.RunsFilter(run_ids=without)) if without else []
    return [run.run_id for run in runs if LEGACY_RESULT_TAG not in run.tags]


def _clickhouse(lab: Lab) -> Finding:
    from lab_pipeline.clickhouse.client import status

    config = lab.clickhouse.config
    seen = status(config)
    if seen.state == "stopped" and importlib.util.find_spec("chdb") is None:
        return Finding("clickhouse", "there is none", "pip install 'lab-pipeline[embedded]', or set LAB_CLICKHOUSE_URL")
    if seen.state == "stopped":
        return Finding("clickhouse", "the embedded server is stopped; it starts when it is needed")
    where = f"{'the embedded server' if config.embedded else 'the server'} at {seen.host}:{seen.port}"
    if seen.state == "unreachable":
        return Finding("clickhouse", f"{where} does not answer", "start it, or correct LAB_CLICKHOUSE_URL")
    return Finding("clickhouse", f"{where} runs, version {seen.version}, database {seen.database}")


def _log_shipper(lab: Lab) -> Finding:
    from lab_pipeline.clickhouse.client import status
    from lab_pipeline.dagster_ext.instance import gives_signs_of_life
    from lab_pipeline.operations.log_shipper import COUNTED_RUNS, backlog

    state = status(lab.clickhouse.config).state
    at_work = is_up(lab.settings) or gives_signs_of_life(lab.instance, time.time())
    recorded = lab.instance.get_runs_count()
    if state != "running" and not (at_work and recorded):
        return Finding("log shipper", "not looked at: ClickHouse does not run")
    if state == "unreachable":
        unknown = f"ClickHouse does not answer, so new log lines of {recorded:,} runs wait"
        return Finding("log shipper", unknown, "start ClickHouse, or correct LAB_CLICKHOUSE_URL: they follow then")
    with lab.clickhouse.connection() as clickhouse:  # an embedded one that is stopped starts: it is needed
        waiting = backlog(lab.instance, clickhouse)
    if waiting.oldest is None:
        return Finding("log shipper", "every log line is there")
    lines = f"{'at least ' if waiting.runs > COUNTED_RUNS else ''}{waiting.lines:,} log lines of {waiting.runs:,} runs"
    age = abs(time.time() - waiting.oldest)  # a line of a time that is yet to come is an old one
    if at_work and age > WAITING_SECONDS:
        home = lab.settings.home
        log = f"see {home / 'logs' / 'api.log'}" if is_up(lab.settings) else "`lab clickhouse ship` is the service"
        remedy = f"{log}; `lab clickhouse ship --once` ships them, or says why it cannot"
        return Finding("log shipper", f"{lines} wait, the oldest for {age / 60:,.0f} minutes", remedy)
    return Finding("log shipper", f"{lines} are on their way (`lab up` or `lab clickhouse ship`)")


def _dagster(lab: Lab) -> Finding:
    from lab_pipeline.files.sqlite_damage import damaged_files

    if problems := list(damaged_files(lab.settings.dagster_home)):
        seen, _, remedy = problems[0].partition(". ")
        more = f"; and {len(problems) - 1:,} more files" if len(problems) > 1 else ""
        return Finding("dagster", seen + more, remedy)
    recorded = lab.instance.get_runs_count()
    return Finding("dagster", f"{recorded:,} runs recorded in {lab.settings.dagster_home}")


def _locks(lab: Lab) -> Finding:
    from lab_pipeline.storage.duck_file import DuckFile

    files = [
        path
        for path in (lab.settings.dagster_home / "runs.duckdb", lab.settings.catalog_path)
        if DuckFile.at(path).exists()
    ]
    for path in files:
        with DuckFile.at(path).transaction(write=True, timeout=LOCK_SECONDS) as connection:
            # Whoever holds it for longer is named by the error, and so is what cannot be read.
            for (name,) in connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
            ):
                connection.execute(f'SELECT bit_xor(hash(rows)) FROM "{name}" AS rows')  # noqa: S608 - a name of ours
    return Finding("locks", f"{', '.join(path.name for path in files) or 'no file yet'}: nobody holds them for long")


def _runs(lab: Lab) -> Finding:
    from lab_pipeline.dagster_ext import worker_locks

    directory = worker_locks.workers_dir(lab.settings.dagster_home)
    alive = worker_locks.living(directory)
    dead = len(worker_locks.killed(directory))
    state = f"{len(alive)} are executing"
    if dead and not is_up(lab.settings):
        remedy = "`lab up`, or the next `lab backtest`, reconciles what they left"
        return Finding("run processes", f"{state}, {dead} were killed", remedy)
    return Finding("run processes", state)


def _daemon(lab: Lab) -> Finding:
    from lab_pipeline.dagster_ext.instance import SILENT_SECONDS, is_silent, is_users_own

    beats = lab.instance.get_daemon_heartbeats()
    required = lab.instance.get_required_daemon_types()
    late = sorted(kind for kind in required if kind not in beats or is_silent(beats[kind], time.time()))
    if not late:
        return Finding("daemon", f"{len(required)} parts of it gave a sign of life within {SILENT_SECONDS:.0f} s")
    since = f"{', '.join(late)} silent for over {SILENT_SECONDS:.0f} s"
    if is_up(lab.settings):
        log = lab.settings.home / "logs" / "daemon.log"
        return Finding("daemon", since, f"see {log}; restart `lab up` if it stays so")
    if not is_users_own(lab.settings):
        return Finding("daemon", "not running; `lab up` starts it")
    if not beats:
        return Finding("daemon", "has never run; its service (`lab daemon`) or `lab up` starts it")
    return Finding("daemon", since, "start the daemon's service (`lab daemon`), or `lab up` if that runs this lab")


def _automation(lab: Lab) -> Finding:
    """Say which schedules and sensors are on, and whose last evaluation failed."""
    from lab_pipeline.dagster_ext.internals import TickStatus
    from lab_pipeline.definitions import defs

    repository = defs().get_repository_def()
    known = {one.name: one.default_status.value == "RUNNING" for one in repository.schedule_defs}
    known |= {one.name: one.default_status.value == "RUNNING" for one in repository.sensor_defs}
    failed = {}
    for state in lab.instance.all_instigator_state():
        if state.name in known:
            known[state.name] = state.is_running
            ticks = lab.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            if known[state.name] and ticks and ticks[0].status is TickStatus.FAILURE and ticks[0].error:
                failed[state.name] = ticks[0].error.message.strip().splitlines()[0]
    on, off = (", ".join(sorted(name for name in known if known[name] is wanted)) for wanted in (True, False))
    seen = f"on: {on or 'none'}; off: {off or 'none'}"
    if failed:
        why = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        return Finding("automation", f"{seen}; the last evaluation failed of {why}", "see its ticks in the UI")
    return Finding("automation", seen)


def _webserver(lab: Lab) -> Finding:
    from lab_pipeline.dagster_ext.instance import is_users_own

    if lab.settings.dagster_url is None or is_up(lab.settings) or not is_users_own(lab.settings):
        return _port("webserver", lab, lab.settings.port, "LAB_PORT")
    url = lab.webserver.url
    if lab.webserver.is_alive():
        return Finding("webserver", f"answers on {url}")
    remedy = "start the webserver's service, or correct LAB_DAGSTER_URL; it and this command have one LAB_API_TOKEN"
    return Finding("webserver", f"does not answer on {url}", remedy)


def _api(lab: Lab) -> Finding:
    return _port("HTTP API", lab, lab.settings.api_port, "LAB_API_PORT")


def _port(part: str, lab: Lab, port: int, setting: str) -> Finding:
    from lab_pipeline.dagster_ext.instance import is_users_own

    listening = connects(lab.settings.host, port)
    where, up = f"{lab.settings.host}:{port}", is_up(lab.settings)
    if not listening and up and port:
        remedy = f"set {setting} here as for `lab up`, or see {lab.settings.home / 'logs'}"
        return Finding(part, f"`lab up` runs, but nothing answers on {where}", remedy)
    if not up and is_users_own(lab.settings):  # its services may be anywhere
        return Finding(part, f"answers on {where}" if listening else f"nothing answers on {where}; {SERVED}")
    if listening and not up:
        return Finding(part, f"{where} is taken by a program that was started by hand, or is not the lab's")
    return Finding(part, f"answers on {where}" if listening else "not running; `lab up` starts it")


def _first(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
    return "; ".join(problems[:SHOWN]) + more
