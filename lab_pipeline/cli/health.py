"""`lab settings` and `lab doctor`: what is set, and whether it works."""

import importlib.metadata
import importlib.util
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer

from lab_pipeline.cli.app import RUN_FAILED, app, out, settings, table
from lab_pipeline.cli.runs import AsJson
from lab_pipeline.settings import PREFIX, Settings, origin, unknown_variables

GIB = 2**30
MIB = 2**20
LOW_DISK_BYTES = 2 * GIB
PACKAGES = ("dagster", "dagster-webserver", "polars", "numba", "pyarrow", "pandera")


@dataclass(frozen=True)
class Finding:
    """What one check of `lab doctor` saw.

    Attributes:
        part: what was looked at.
        state: what was seen, in one line.
        remedy: what to do about it; none if all is well.
    """

    part: str
    state: str
    remedy: str | None = None


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
        from lab_pipeline.defs.operations.instance import prepare_environment

        prepare_environment(current, apply_settings=True)
    values = {PREFIX + name.upper(): (getattr(current, name), origin(name)) for name in Settings.model_fields}
    if as_json:
        records = [{"name": k, "value": None if v is None else str(v), "origin": o} for k, (v, o) in values.items()]
        out.print_json(json.dumps({"settings": records}))
        return
    rows = table("setting", "value", "origin", "meaning")
    for field, (name, (value, source)) in zip(Settings.model_fields.values(), values.items(), strict=True):
        rows.add_row(name, "-" if value is None else str(value), source, field.description)
    out.print(rows)


@app.command("doctor")
def doctor() -> None:
    """Check every part of the lab, one line each; exit status 1 if one needs attention."""
    lab = settings()
    healthy = True
    for finding in _findings(lab):
        mark = "ok  " if finding.remedy is None else "FAIL"
        out.print(f"{mark} {finding.part:12} {finding.state}", markup=False)
        if finding.remedy is not None:
            healthy = False
            out.print(f"     {'':12} -> {finding.remedy}", markup=False)
    if not healthy:
        raise typer.Exit(RUN_FAILED)


def _findings(lab: Settings) -> Iterator[Finding]:
    checks: list[Callable[[Settings], Finding]] = [
        _versions, _environment, _home, _disk, _lake, _strategies, _artifacts, _clickhouse, _dagster, _webserver,
    ]  # fmt: skip
    for check in checks:
        try:
            yield check(lab)
        except Exception as error:  # noqa: BLE001 - a part that breaks is a finding, whatever the reason
            yield Finding(
                check.__name__.strip("_"), f"{type(error).__name__}: {error}", "mend it, or move LAB_HOME away"
            )


def _versions(lab: Settings) -> Finding:  # noqa: ARG001 - one signature for all checks
    return Finding("versions", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES))


def _environment(lab: Settings) -> Finding:  # noqa: ARG001
    unknown = unknown_variables()
    if unknown:
        return Finding("environment", f"unknown: {', '.join(unknown)}", "`lab settings` lists the names there are")
    return Finding("environment", "every LAB_ variable is a setting")


def _home(lab: Settings) -> Finding:
    if not lab.home.exists():
        return Finding("home", f"{lab.home} does not exist yet; the first command that needs it makes it")
    with NamedTemporaryFile(dir=lab.home, prefix=".doctor-"):
        return Finding("home", f"{lab.home} can be written")


def _disk(lab: Settings) -> Finding:
    from lab_pipeline.defs.operations.disk import disk_use

    free = shutil.disk_usage(next(path for path in (lab.home, *lab.home.parents) if path.exists())).free
    remedy = None if free >= LOW_DISK_BYTES else "make room: runs fail when the disk is full"
    used = ", ".join(f"{area} {size / MIB:,.1f}" for area, size in disk_use(lab).items() if size)
    return Finding("disk", f"{free / GIB:,.1f} GiB free; MiB used: {used or 'none'}", remedy)


def _lake(lab: Settings) -> Finding:
    from lab_pipeline.lake import Lake

    lake = Lake(lab.lake_dir)
    timeframes = lake.timeframes()
    calls = lake.calls().height
    if not timeframes or not calls:
        return Finding(
            "lake", f"candles: {', '.join(timeframes) or 'none'}; calls: {calls:,}", "`lab demo` or `lab ingest`"
        )
    return Finding("lake", f"candles: {', '.join(timeframes)}; calls: {calls:,} of {len(lake.callers()):,} callers")


def _strategies(lab: Settings) -> Finding:
    from lab_pipeline.runs.strategies import StrategyStore

    if not lab.home.exists():
        return Finding("strategies", "none yet")
    return Finding("strategies", f"{len(StrategyStore.of(lab).list_latest())} stored, all readable")


def _artifacts(lab: Settings) -> Finding:
    from lab_pipeline.runs.artifacts import ArtifactStore

    store = ArtifactStore(lab.artifacts_dir)
    wrong = [
        f"{manifest.run_id}/{file.name}"
        for manifest in store.manifests()
        for file in manifest.files
        if _size(store.directory / manifest.run_id / file.name) != file.bytes
    ]
    if wrong:
        return Finding("artifacts", f"missing or of another size: {', '.join(wrong[:3])}", "restore them or run again")
    return Finding("artifacts", f"{sum(1 for _ in store.manifests()):,} runs, every file there")


def _clickhouse(lab: Settings) -> Finding:
    from lab_pipeline.clickhouse.client import status
    from lab_pipeline.clickhouse.config import clickhouse_config

    config = clickhouse_config(lab)
    seen = status(config)
    if seen.state == "stopped" and importlib.util.find_spec("chdb") is None:
        return Finding("clickhouse", "there is none", "pip install 'lab-pipeline[embedded]', or set LAB_CLICKHOUSE_URL")
    if seen.state == "stopped":
        return Finding("clickhouse", "the embedded server is stopped; it starts when it is needed")
    where = f"{'the embedded server' if config.embedded else 'the server'} at {seen.host}:{seen.port}"
    if seen.state == "unreachable":
        return Finding("clickhouse", f"{where} does not answer", "start it, or mend LAB_CLICKHOUSE_URL")
    return Finding("clickhouse", f"{where} runs, version {seen.version}, database {seen.database}; {_log_lines(lab)}")


def _log_lines(lab: Settings) -> str:
    from lab_pipeline.clickhouse.client import ClickHouse
    from lab_pipeline.clickhouse.config import clickhouse_config
    from lab_pipeline.defs.operations.instance import open_instance
    from lab_pipeline.defs.operations.shipper import COUNTED_RUNS, backlog

    with open_instance(lab) as instance, ClickHouse(clickhouse_config(lab)) as clickhouse:
        waiting = backlog(instance, clickhouse)
    if not waiting.lines:
        return "every log line is there"
    lines = f"{'at least ' if waiting.runs > COUNTED_RUNS else ''}{waiting.lines:,} log lines"
    return f"{lines} of {waiting.runs:,} runs are on their way (`lab up` or `lab clickhouse ship`)"


def _dagster(lab: Settings) -> Finding:
    from lab_pipeline.defs.operations.instance import open_instance

    with open_instance(lab) as instance:
        return Finding("dagster", f"{instance.get_runs_count():,} runs recorded in {lab.dagster_home}")


def _webserver(lab: Settings) -> Finding:
    with socket.socket() as probe:
        listening = probe.connect_ex((lab.host, lab.port)) == 0
    state = f"something answers on {lab.host}:{lab.port}" if listening else "not running; `lab up` starts it"
    return Finding("webserver", state)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
