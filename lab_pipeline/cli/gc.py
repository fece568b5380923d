"""`lab gc`: delete the runs that need not be kept."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from lab_pipeline.cli.app import app, open_lab, out, table
from lab_pipeline.cli.runs import AsJson
from lab_pipeline.domain.backtest import iso
from lab_pipeline.settings import MOST, MOST_DAYS


@app.command("gc")
def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be deleted, with its bytes.")
    ] = False,
    keep_days: Annotated[
        int | None, typer.Option(min=1, max=MOST_DAYS, help="Keep runs for this many days; default: LAB_KEEP_DAYS.")
    ] = None,
    keep_per_strategy: Annotated[
        int | None,
        typer.Option(min=1, max=MOST, help="Keep this many of each strategy; default: LAB_KEEP_RUNS_PER_STRATEGY."),
    ] = None,
    trust_clock: Annotated[
        bool, typer.Option("--trust-clock", help="Trust the clock, although this lab was off for a long time.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete old runs and sweeps with all that they left; pinned ones, leaders and what was promoted stay."""
    from lab_pipeline.operations.retention import Policy, collect, expired, forget_versions, leftovers

    now = datetime.now(UTC)
    with open_lab() as lab:
        policy = Policy.of(lab.settings, keep_days=keep_days, per_strategy=keep_per_strategy)
        found = expired(lab, policy, now, trust_clock=trust_clock)
        gone = found if dry_run else list(collect(lab, found))
        old = forget_versions(lab, policy, now, remove=not dry_run, trust_clock=trust_clock)
        left = sum(leftovers(lab, remove=not dry_run).values())
    total = sum(run.bytes for run in gone)
    if as_json:
        listed = [
            {"runId": run.run_id, "job": run.job, "strategyId": run.strategy_id, "createdAt": iso(run.created_at),
             "reason": run.reason, "bytes": run.bytes}
            for run in gone
        ]  # fmt: skip
        out.show_json({"dryRun": dry_run, "bytes": total, "leftoverBytes": left, "lakeBytes": old, "runs": listed})
        return
    if left:
        fate = "would go" if dry_run else "deleted"
        out.print(f"{left:,} bytes that killed processes and forgotten ticks left {fate}")
    if old:
        fate = "would go" if dry_run else "deleted"
        out.print(f"{old:,} bytes of old versions of the lake {fate}")
    if policy.keeps_everything:
        out.print("everything is kept: set LAB_KEEP_DAYS or LAB_KEEP_RUNS_PER_STRATEGY, or give --keep-days")
        return
    if policy.leaders:
        out.print(f"the first of each leaderboard stay, however old (LAB_KEEP_LEADERS: {policy.leaders})")
    rows = table("run", "job", "strategy", "created (UTC)", "reason", "bytes", right=("bytes",), prose=("reason",),
                 drop=("job", "created (UTC)", "bytes"))  # fmt: skip
    for run in gone:
        rows.add_row(run.run_id, run.job, run.strategy_id or "-", iso(run.created_at), run.reason, f"{run.bytes:,}")
    if gone:
        out.print(rows)
    out.print(f"{len(gone):,} runs, {total:,} bytes {'would go' if dry_run else 'deleted'}")
