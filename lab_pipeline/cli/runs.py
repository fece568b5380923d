"""`lab runs`: what has run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab_pipeline.cli.app import app, open_lab, out, settings, table
from lab_pipeline.cli.summary import luck_of_run, percent, summary_table
from lab_pipeline.domain.errors import LabError

if TYPE_CHECKING:
    from lab_pipeline.operations.runs import Run, Runs
    from lab_pipeline.runs.listing import ListedRun

runs_app = typer.Typer(help="Queued, running and finished backtests.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunId = Annotated[str, typer.Argument(help="A run id, or the start of one.", metavar="RUN")]


@runs_app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the backtests, newest first."""
    if as_json:
        with open_lab() as lab:
            out.show_json({"runs": [_describe(lab.runs, run) for run in lab.runs.page(limit=limit)[0]]})
        return
    runs = _newest(limit)
    rows = table("run", "status", "strategy", "candles", "created (UTC)", "trades", "mean net", "total return",
                 right=("trades", "mean net", "total return"))  # fmt: skip
    for run in runs:
        summary = run.summary or {}
        rows.add_row(
            run.run_id[:8],
            run.status,
            f"{run.strategy_id or '?'} v{run.strategy_version or '?'}",
            run.timeframe or "?",
            f"{run.created_at:%Y-%m-%d %H:%M}",
            f"{summary['trades']:,}" if summary else "-",
            percent(summary.get("expectancy")),
            percent(summary.get("total_return")),
        )
    out.print(rows if runs else "no backtests yet: `lab demo` makes one, `lab backtest` another")


@runs_app.command("show")
def show(run: RunId, as_json: AsJson = False) -> None:
    """Show one backtest: status, numbers, error."""
    with open_lab() as lab:
        found = lab.runs.find(run)
        description = _describe(lab.runs, found)
        description["tries"] = luck_of_run(found.published).as_json() if found.published else None
    if as_json:
        out.show_json(description)
        return
    for key in (
        "runId",
        "status",
        "strategyId",
        "strategyVersion",
        "timeframe",
        "createdAt",
        "completedAt",
        "fingerprint",
        "fills",
        "fillAssumptions",
        "parentRunId",
        "error",
    ):
        if description[key] is not None:
            out.print(f"{key:16} {description[key]}", markup=False)
    for key, value in (description["legacyResult"] or {}).items():
        out.print(f"{key:16} {value:g} (as the old lab computed it)", markup=False)
    if found.published:
        out.print()
        out.print(summary_table(found.published.summary))
        out.print(f"\n{luck_of_run(found.published).said}")
        out.print(f"\nartifacts {settings().artifacts_dir / found.run_id}")


@runs_app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Ends in .parquet (one row per run) or .duckdb (a full copy).")],
) -> None:
    """Copy the record of all runs, in one state, while the lab runs; open the copy, never the live file."""
    from lab_pipeline.storage.export import export_runs
    from lab_pipeline.storage.run_storage import DuckDBRunStorage

    with open_lab() as lab:
        storage = lab.instance.run_storage
        if not isinstance(storage, DuckDBRunStorage):
            raise LabError(f"the runs of this lab are kept in {type(storage).__name__}: use its own tools")
        count = export_runs(storage.path, file)
    out.print(f"{count:,} runs written to {file}", markup=False)


@runs_app.command("cancel")
def cancel(run: RunId) -> None:
    """Cancel a queued or running backtest."""
    from lab_pipeline.operations.run_actions import cancel as cancel_run

    with open_lab() as lab:
        found = lab.runs.find(run)
        cancel_run(lab.runs, found.run_id)
    out.print(f"canceling run {found.run_id}")


@runs_app.command("retry")
def retry(run: RunId) -> None:
    """Queue the same backtest again, with the version it ran with; `lab up` must be running."""
    with open_lab() as lab:
        again = lab.launcher.retry(lab.runs.find(run).run_id)
    out.print(f"queued run {again}")


@runs_app.command("delete")
def delete(
    runs_to_delete: Annotated[list[str], typer.Argument(help="Run ids, or the starts of them.", metavar="RUN...")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete backtests with their artifacts, metrics and logs; cancel queued and running ones first."""
    from lab_pipeline.operations.run_actions import delete as delete_run

    with open_lab() as lab:
        found = [lab.runs.find(run).run_id for run in runs_to_delete]
        for run_id in found:
            if yes or typer.confirm(f"Delete run {run_id} for good?", err=True):
                delete_run(lab, run_id)
                out.print(f"deleted run {run_id}")


def _newest(limit: int) -> "list[ListedRun]":
    """Read the newest runs without Dagster if that is possible, or else with it."""
    from lab_pipeline.runs.listing import ListedRun, newest

    found = newest(settings(), limit)
    if found is not None:
        return found
    with open_lab() as lab:
        return [
            ListedRun(
                run.run_id,
                run.status,
                run.strategy_id,
                run.strategy_version,
                run.timeframe,
                run.created_at,
                run.published.summary.model_dump() if run.published else None,
            )
            for run in lab.runs.page(limit=limit)[0]
        ]


def _describe(runs: "Runs", run: "Run") -> dict[str, Any]:
    from lab_pipeline.domain.backtest import iso
    from lab_pipeline.domain.model import to_camel_keys

    assumed = run.published.fill_assumptions if run.published else None
    return {
        "runId": run.run_id,
        "status": run.status,
        "strategyId": run.strategy_id,
        "strategyVersion": run.strategy_version,
        "timeframe": run.timeframe,
        "fingerprint": run.fingerprint,
        "fills": assumed.id if assumed else None,
        "fillAssumptions": assumed.text if assumed else None,
        "parentRunId": run.parent_run_id,
        "createdAt": iso(run.created_at),
        "startedAt": None if run.started_at is None else iso(run.started_at),
        "completedAt": None if run.completed_at is None else iso(run.completed_at),
        "error": runs.error(run),
        "legacyResult": run.legacy_result,
        "summary": to_camel_keys(run.published.summary.model_dump()) if run.published else None,
    }
