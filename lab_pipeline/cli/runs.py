"""`lab runs`: what has run."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab_pipeline.cli.app import app, out, settings, table
from lab_pipeline.cli.summary import percent, summary_table
from lab_pipeline.domain.backtest import iso
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.model import to_camel_keys
from lab_pipeline.runs.artifacts import ArtifactStore, Manifest, UnknownRunError, UnreadableManifestError

if TYPE_CHECKING:
    import dagster as dg

runs_app = typer.Typer(help="Backtests that have run, are running or wait.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunId = Annotated[str, typer.Argument(help="A run id, or the start of one.", metavar="RUN")]

STATUS = {
    "QUEUED": "queued",
    "NOT_STARTED": "queued",
    "STARTING": "queued",
    "STARTED": "running",
    "CANCELING": "running",
    "SUCCESS": "completed",
    "FAILURE": "failed",
    "CANCELED": "canceled",
}


class NoExportError(LabError):
    """The runs are not in a file that the lab can copy."""


@runs_app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Newest first, at most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the backtests, newest first."""
    runs = [_describe(record) for record in _records(limit=limit)]
    if as_json:
        out.print_json(json.dumps({"runs": runs}))
        return
    rows = table("run", "status", "strategy", "candles", "created", "trades", "mean net", "total return",
                 right=("trades", "mean net", "total return"))  # fmt: skip
    for run in runs:
        summary = run["summary"] or {}
        rows.add_row(
            run["runId"][:8],
            run["status"],
            f"{run['strategyId'] or '?'} v{run['strategyVersion'] or '?'}",
            run["timeframe"] or "?",
            run["createdAt"][5:16].replace("T", " "),
            f"{summary['trades']:,}" if summary else "-",
            percent(summary.get("expectancy")),
            percent(summary.get("totalReturn")),
        )
    out.print(rows if runs else "no backtests yet: `lab demo` makes one, `lab backtest` another")


@runs_app.command("show")
def show(run: RunId, as_json: AsJson = False) -> None:
    """Show one backtest: status, numbers, error."""
    description = _describe(_find(run))
    if as_json:
        out.print_json(json.dumps(description))
        return
    manifest, _ = _manifest(description["runId"])
    for key in (
        "runId",
        "status",
        "strategyId",
        "strategyVersion",
        "timeframe",
        "createdAt",
        "completedAt",
        "fingerprint",
        "error",
    ):
        if description[key] is not None:
            out.print(f"{key:16} {description[key]}", markup=False)
    if manifest:
        out.print()
        out.print(summary_table(manifest.summary))
        out.print(f"\nartifacts {settings().artifacts_dir / manifest.run_id}")


@runs_app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Ends in .parquet (one row a run) or .duckdb (a whole copy).")],
) -> None:
    """Copy the record of all runs, in one state, while everything goes on; open the copy, never the live file."""
    from lab_pipeline.defs.operations.instance import open_instance
    from lab_pipeline.storage.export import export_runs
    from lab_pipeline.storage.run_storage import DuckDBRunStorage

    with open_instance(settings()) as instance:
        storage = instance.run_storage
        if not isinstance(storage, DuckDBRunStorage):
            raise NoExportError(f"the runs of this lab are kept in {type(storage).__name__}: use its own tools")
        count = export_runs(storage.path, file)
    out.print(f"{count:,} runs written to {file}", markup=False)


def _records(limit: int | None = None, run_id: str | None = None) -> "list[dg.RunRecord]":
    import dagster as dg

    from lab_pipeline.defs.operations.instance import open_instance

    wanted = dg.RunsFilter(job_name="backtest", run_ids=None if run_id is None else [run_id])
    with open_instance(settings()) as instance:
        return list(instance.get_run_records(filters=wanted, limit=limit))


def _find(start: str) -> "dg.RunRecord":
    found = _records(run_id=start) or [run for run in _records() if run.dagster_run.run_id.startswith(start)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownRunError(f"unknown run '{start}': `lab runs list` shows the runs there are")
    raise UnknownRunError(f"'{start}' is the start of {len(found)} run ids: write more of it")


def _describe(record: "dg.RunRecord") -> dict[str, Any]:
    run = record.dagster_run
    manifest, damage = _manifest(run.run_id)
    config: Any = run.run_config  # whatever the launcher wrote; the op checks it, and may have refused it
    asked = config.get("ops", {}).get("run", {}).get("config", {})
    return {
        "runId": run.run_id,
        "status": STATUS.get(run.status.value, run.status.value.lower()),
        "strategyId": run.tags.get("lab/strategy", asked.get("strategy")),
        "strategyVersion": run.tags.get("lab/strategy_version", asked.get("strategy_version")),
        "timeframe": run.tags.get("lab/timeframe", asked.get("timeframe")),
        "fingerprint": run.tags.get("lab/fingerprint"),
        "createdAt": iso(record.create_timestamp.astimezone(UTC)),
        "startedAt": _iso(record.start_time),
        "completedAt": _iso(record.end_time),
        "error": damage or (_error(run.run_id) if run.status.value == "FAILURE" else None),
        "summary": to_camel_keys(manifest.summary.model_dump()) if manifest else None,
    }


def _manifest(run_id: str) -> tuple[Manifest | None, str | None]:
    """Return the manifest of a run, none if it has not published, and what is wrong with it if it cannot be read."""
    try:
        return ArtifactStore(settings().artifacts_dir).manifest(run_id), None
    except UnknownRunError:
        return None, None
    except UnreadableManifestError as error:
        return None, str(error)


def _error(run_id: str) -> str:
    from lab_pipeline.defs.operations.instance import open_instance
    from lab_pipeline.defs.operations.reasons import failure_reason

    with open_instance(settings()) as instance:
        return failure_reason(instance, run_id)


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else iso(datetime.fromtimestamp(seconds, UTC))
