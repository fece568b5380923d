"""`lab clickhouse`: the server behind metrics, fills and logs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lab_pipeline.cli.app import RUN_FAILED, err, group, open_lab, out
from lab_pipeline.cli.progress import progress_bar
from lab_pipeline.cli.runs import AsJson
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.loglines import log_to_stderr

if TYPE_CHECKING:
    from lab_pipeline.clickhouse.client import Status
    from lab_pipeline.operations.lab import Lab

clickhouse_app = group("clickhouse", "The store of metrics, fills and logs.")


@clickhouse_app.command("start")
def start() -> None:
    """Start the embedded server, which otherwise starts when first needed."""
    from lab_pipeline.clickhouse.client import status
    from lab_pipeline.clickhouse.gateway.launch import lease_server

    config = _embedded("start")
    with lease_server(config):
        _show(status(config))
    out.print(f"it stops when nobody has used it for {config.idle_seconds:,.0f} s, or by `lab clickhouse stop`")


@clickhouse_app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """Show where ClickHouse is and whether it answers; nothing is started. Exit status 1 if a server does not."""
    from lab_pipeline.clickhouse.client import status

    seen = status(open_lab().clickhouse.config)
    if as_json:
        out.show_json(asdict(seen))
    else:
        _show(seen)
    if seen.state == "unreachable":
        raise typer.Exit(RUN_FAILED)


@clickhouse_app.command("stop")
def stop() -> None:
    """Stop the embedded server; whoever needs it next starts it again."""
    from lab_pipeline.clickhouse.gateway.launch import stop_server

    out.print("stopped" if stop_server(_embedded("stop")) else "it was not running")


@clickhouse_app.command("migrate")
def migrate() -> None:
    """Create and migrate the tables and their retention; the embedded server does so by itself."""
    with open_lab() as lab, lab.clickhouse.connection() as clickhouse:
        applied = clickhouse.migrate()
    done = f"applied {', '.join(map(str, applied))}" if applied else "the tables are up to date"
    out.print(f"{done}, in database {clickhouse.config.database}")


@clickhouse_app.command("rebuild")
def rebuild(
    runs: Annotated[list[str] | None, typer.Argument(help="Run ids, or the starts of them; all by default.")] = None,
) -> None:
    """Write metrics and fills of published runs, and sets and days of sweeps, again; and logs from the event log."""
    from lab_pipeline.operations.rebuild_clickhouse import rebuild_rows

    with open_lab() as lab:
        chosen = [_find(lab, run) for run in runs or []]
        with progress_bar("rebuilding", "runs") as bar:
            rebuilt = rebuild_rows(lab, chosen or None, on_progress=bar)
    out.print(str(rebuilt))


@clickhouse_app.command("ship")
def ship(
    once: Annotated[bool, typer.Option("--once", help="Ship what is there now, then exit.")] = False,
) -> None:
    """Copy the event log of all runs to ClickHouse, until Ctrl-C; `lab up` does so by itself."""
    import logging
    import signal

    from lab_pipeline.cli.stop_signal import StopSignal
    from lab_pipeline.operations.log_shipper import Shipper, run_shipper

    with open_lab() as lab:
        if once:
            with lab.clickhouse.connection() as clickhouse:
                shipper, sent = Shipper(clickhouse), 0
                while shipper.behind:
                    sent += shipper.ship(lab.instance)
            out.print(f"{sent:,} lines shipped")
            return
        stop = StopSignal().handles(signal.SIGINT, signal.SIGTERM)
        log_to_stderr(("lab_pipeline",), level=logging.WARNING)
        run_shipper(lab, stop)


def _find(lab: "Lab", start: str) -> str:
    """Return the id of a published run, or of a sweep, that is or starts with a text."""
    from lab_pipeline.runs.artifacts import UnknownRunError

    try:
        return lab.artifacts.find(start)
    except UnknownRunError:
        if any(sweep_id.startswith(start) for sweep_id in lab.sweeps.sweep_ids()):
            return lab.sweeps.find(start)
        raise


def _embedded(verb: str) -> ClickHouseConfig:
    config = open_lab().clickhouse.config
    if not config.embedded:
        raise LabError(f"LAB_CLICKHOUSE_URL names a server, which is not the lab's to {verb}; unset it first")
    return config


def _show(seen: "Status") -> None:
    fields = {name: value for name, value in asdict(seen).items() if value is not None and name != "password"}
    for name, value in fields.items():
        out.print(f"{name:10} {value}")
    if seen.password:
        err.print("the password is in `lab clickhouse status --json`")
