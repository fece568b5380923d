"""`lab sweep`: many sets of parameters on the same calls, and how far the best of them can be believed."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab_pipeline.cli.app import app, open_lab, out, table
from lab_pipeline.cli.progress import progress_bar

if TYPE_CHECKING:
    from lab_pipeline.sweeps.running import SelectedSweep

sweep_app = typer.Typer(
    help="Many sets of parameters on the same calls, and how far the best can be believed.", no_args_is_help=True
)
app.add_typer(sweep_app, name="sweep")

SHOWN_SETS = 5
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@sweep_app.command("run")
def run(
    file: Annotated[Path, typer.Argument(help="What to sweep, in YAML or JSON.", metavar="FILE")],
    as_json: AsJson = False,
) -> None:
    """Run a sweep here, without Dagster, and print its best sets and the verdict."""
    from lab_pipeline.sweeps.running import run_sweep
    from lab_pipeline.sweeps.spec import read_spec

    spec = read_spec(file)
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
    _print_best(selected)
    _print_verdict(selected)
    out.print(f"sweep {manifest.sweep_id}")
    out.print(f"artifacts {directory}")


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


def _print_best(selected: "SelectedSweep") -> None:
    from lab_pipeline.sweeps.artifacts import ranked

    resolved, best = selected.resolved, ranked(selected.selection)[:SHOWN_SETS]
    sets = selected.sweep.sets
    rows = table("set", "parameters", "trades", "days", "mean net return", "at least", right=("set", "trades", "days"))
    for number in best:
        row = sets.row(number, named=True)
        named = ", ".join(f"{path}={_shown(value)}" for path, value in resolved.sets.values(number).items())
        lower = "-" if row["expectancy_lower"] is None else f"{row['expectancy_lower']:+.2%}"
        rows.add_row(str(number), named, f"{row['trades']:,}", str(row["days"]), f"{row['expectancy']:+.2%}", lower)
    if best:
        out.print(rows)


def _print_verdict(selected: "SelectedSweep") -> None:
    resolved, selection = selected.resolved, selected.selection
    sets = resolved.sets
    out.print(
        f"\n{len(sets):,} sets by {resolved.method} ({sets.duplicates:,} twice, {sets.excluded:,} excluded, "
        f"{sets.invalid_count:,} invalid) on {resolved.calls.height:,} calls; "
        f"days that select: {selection.days:,}, held out: {resolved.held_days:,}"
    )
    out.print(f"tried {selection.trials:,} sets of this strategy so far, {selected.earlier:,} of them in other sweeps")
    out.print(selection.verdict.words, style="green" if selection.verdict.supported else "yellow")


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
