"""`lab migrate`: bring what other labs have kept into this one, or what this one keeps to other storages."""

from pathlib import Path
from typing import Annotated

import typer

from lab_pipeline.cli.app import err, group, open_lab, out, settings
from lab_pipeline.cli.progress import progress_bar

migrate_app = group("migrate", "Import runs of the old lab, or move Dagster's storage.")


@migrate_app.command("legacy")
def legacy(
    source: Annotated[Path, typer.Argument(help="A DuckDB file of the old lab, or a directory of them.", exists=True)],
) -> None:
    """Import the runs of the old lab: tables run_status and simulation_runs. Running it twice is harmless.

    Percentages become fractions and times UTC. What cannot be converted is named, row by row.
    """
    from lab_pipeline.operations.legacy_import import take_over
    from lab_pipeline.runs.legacy import read_legacy

    found = read_legacy(source)
    with open_lab() as lab:
        done = take_over(lab.runs, found.runs)
    for problem in found.problems:
        err.print(f"not converted: {problem.where}: {problem.why}")
    out.print(
        f"{done.added:,} runs taken over, {done.known:,} already there, {len(found.problems):,} things not converted"
    )


@migrate_app.command("storage")
def storage(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A dagster.yaml, such as deploy/dagster.yaml for Postgres; `embedded` to move back.",
        ),
    ],
) -> None:
    """Move Dagster's runs, events and schedules to the storage of another dagster.yaml, while nothing runs.

    Everything is copied and compared before the lab switches; the old storage stays. Running it twice is harmless.
    """
    from lab_pipeline.cli.up import only_one
    from lab_pipeline.operations.move_storage import move_storage

    lab = settings()
    lab.dagster_home.mkdir(parents=True, exist_ok=True)
    out.print("looking whether anything of the lab runs, which can take half a minute ...")
    with only_one(lab), progress_bar("moving", "runs") as bar:
        moved = move_storage(lab, target, on_progress=bar)
    if not moved.rows:
        out.print("the lab is on that storage already")
        return
    for name, rows in moved.rows.items():
        out.print(f"{rows:>12,}  {name}")
    out.print(f"all of it arrived. {lab.dagster_home / 'dagster.yaml'} is {target} now, the one before {moved.kept}")
