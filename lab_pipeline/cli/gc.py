"""`lab gc`: delete the runs that need not be kept."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from lab_pipeline.cli.app import app, out, settings, table
from lab_pipeline.cli.runs import AsJson
from lab_pipeline.domain.backtest import iso


@app.command("gc")
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go, with its bytes.")] = False,
    keep_days: Annotated[
        int | None, typer.Option(min=1, help="Keep runs for so many days; default: LAB_KEEP_DAYS.")
    ] = None,
    keep_per_strategy: Annotated[
        int | None, typer.Option(min=1, help="Keep so many of each strategy; default: LAB_KEEP_RUNS_PER_STRATEGY.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Delete old runs with their artifacts, rows, logs and events; pinned ones (tag lab/pinned) stay."""
    from lab_pipeline.defs.operations.instance import open_instance
    from lab_pipeline.defs.operations.retention import Policy, collect, expired
    from lab_pipeline.defs.operations.runs import Runs
    from lab_pipeline.runs.artifacts import ArtifactStore

    lab = settings()
    days = keep_days or lab.keep_days
    policy = Policy(None if days is None else timedelta(days=days), keep_per_strategy or lab.keep_runs_per_strategy)
    with open_instance(lab) as instance:
        runs = Runs(instance, ArtifactStore(lab.artifacts_dir))
        found = expired(runs, policy, datetime.now(UTC))
        gone = found if dry_run else list(collect(lab, runs, found))
    total = sum(run.bytes for run in gone)
    if as_json:
        listed = [
            {"runId": run.run_id, "strategyId": run.strategy_id, "createdAt": iso(run.created_at),
             "reason": run.reason, "bytes": run.bytes}
            for run in gone
        ]  # fmt: skip
        out.print_json(json.dumps({"dryRun": dry_run, "bytes": total, "runs": listed}))
        return
    if days is None and policy.per_strategy is None:
        out.print("everything is kept: set LAB_KEEP_DAYS or LAB_KEEP_RUNS_PER_STRATEGY, or give --keep-days")
        return
    rows = table("run", "strategy", "created", "reason", "bytes", right=("bytes",))
    for run in gone:
        rows.add_row(run.run_id, run.strategy_id or "?", iso(run.created_at), run.reason, f"{run.bytes:,}")
    if gone:
        out.print(rows)
    out.print(f"{len(gone):,} runs, {total:,} bytes {'would go' if dry_run else 'deleted'}")
