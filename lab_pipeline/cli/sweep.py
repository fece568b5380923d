"""`lab sweep`: many sets of parameters on the same calls, and how far the best of them can be believed."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lab_pipeline.cli.app import app, open_lab, out, table
from lab_pipeline.cli.progress import progress_bar
from lab_pipeline.cli.sweep_result import print_sweep

sweep_app = typer.Typer(
    help="Many sets of parameters on the same calls, and how far the best can be believed.", no_args_is_help=True
)
app.add_typer(sweep_app, name="sweep")

SweepId = Annotated[str, typer.Argument(help="The id of a sweep, or the start of one.", metavar="SWEEP")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@sweep_app.command("run")
def run(
    file: Annotated[Path, typer.Argument(help="What to sweep, in YAML or JSON.", metavar="FILE")],
    as_json: AsJson = False,
    queue: Annotated[bool, typer.Option("--queue", help="Put it into the queue of `lab up` and print its id.")] = False,
) -> None:
    """Run a sweep here, without Dagster, and print its best sets and the verdict."""
    from lab_pipeline.sweeps.running import resolve, run_sweep
    from lab_pipeline.sweeps.spec import read_spec

    spec = read_spec(file)
    if queue:
        with open_lab() as lab:
            resolve(spec, lab.strategies, lab.lake)
            sweep_id = lab.launcher.sweep(spec)
        if as_json:
            out.show_json({"sweepId": sweep_id})
        else:
            out.print(f"queued sweep {sweep_id}")
        return
    with open_lab() as lab, progress_bar("sweeping", "calls or placebos") as bar:
        manifest, selected = run_sweep(
            spec, lake=lab.lake, strategies=lab.strategies, store=lab.sweeps, on_progress=bar, on_placebos=bar
        )
    directory = lab.settings.sweeps_dir / manifest.sweep_id
    if as_json:
        selection = json.loads((directory / "selection.json").read_bytes())
        result = {"sweepId": manifest.sweep_id, "fingerprint": manifest.fingerprint, "artifactsDir": str(directory)}
        sys.stdout.write(json.dumps(result | {"selection": selection}) + "\n")
        return
    print_sweep(selected, directory)


@sweep_app.command("cancel")
def cancel(sweep: SweepId) -> None:
    """Cancel a sweep that is queued or running in `lab up`; what it has of its parts is kept for a week."""
    from lab_pipeline.operations.run_actions import stop
    from lab_pipeline.operations.sweep_runs import find_sweep_run

    with open_lab() as lab:
        found = find_sweep_run(lab.instance, sweep)
        stop(lab.instance, found.run_id)
    out.print(f"canceling sweep {found.run_id}")


@sweep_app.command("resume")
def resume(sweep: SweepId) -> None:
    """Queue a sweep again that has failed or was canceled; it goes on from the parts that it has."""
    from lab_pipeline.operations.sweep_runs import find_sweep_run

    with open_lab() as lab:
        again = lab.launcher.resume(find_sweep_run(lab.instance, sweep))
    out.print(f"queued sweep {again}")


@sweep_app.command("list")
def list_sweeps(as_json: AsJson = False) -> None:
    """List the published sweeps, the oldest first."""
    store = open_lab().sweeps
    manifests = sorted((store.manifest(one) for one in store.sweep_ids()), key=lambda one: one.created_at)
    if as_json:
        out.show_json({"sweeps": [one.model_dump(mode="json", exclude={"files"}) for one in manifests]})
        return
    rows = table("sweep", "strategy", "version", "sets", "at", "verdict", right=("sets",))
    for one in manifests:
        at = one.created_at.strftime("%Y-%m-%d %H:%M")
        rows.add_row(one.sweep_id, str(one.spec["strategy"]), one.strategy_version, f"{one.sets:,}", at, one.verdict)
    out.print(rows)
