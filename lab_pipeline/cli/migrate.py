"""`lab migrate`: bring what other labs have kept into this one."""

from pathlib import Path
from typing import Annotated

import typer

from lab_pipeline.cli.app import app, err, out, settings

migrate_app = typer.Typer(help="Take over what was kept elsewhere.", no_args_is_help=True)
app.add_typer(migrate_app, name="migrate")


@migrate_app.command("legacy")
def legacy(
    source: Annotated[
        Path, typer.Argument(help="A DuckDB file of the old lab, or a directory that holds some.", exists=True)
    ],
) -> None:
    """Record the runs of the old lab here: tables run_status and simulation_runs. Once is enough, twice does no harm.

    Percentages become fractions and times UTC. What cannot be converted is named, row by row.
    """
    from lab_pipeline.defs.operations.instance import open_instance
    from lab_pipeline.defs.operations.legacy import take_over
    from lab_pipeline.defs.operations.runs import Runs
    from lab_pipeline.runs.artifacts import ArtifactStore
    from lab_pipeline.runs.legacy import read_legacy

    found = read_legacy(source)
    with open_instance(settings()) as instance:
        done = take_over(Runs(instance, ArtifactStore(settings().artifacts_dir)), found.runs)
    for problem in found.problems:
        err.print(f"not converted: {problem.where}: {problem.why}")
    out.print(
        f"{done.added:,} runs taken over, {done.known:,} already there, {len(found.problems):,} things not converted"
    )
