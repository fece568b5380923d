"""`lab strategies`: list, add and check strategies."""

from pathlib import Path
from typing import Annotated

import typer

from lab_pipeline.cli.app import group, open_lab, out, table

strategies_app = group("strategies", "Named, versioned strategies.")

StrategyFile = Annotated[Path, typer.Argument(help="A strategy in JSON.", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@strategies_app.command("list")
def list_strategies(as_json: AsJson = False) -> None:
    """List the latest version of every strategy."""
    latest = open_lab().strategies.list_latest()
    if as_json:
        out.show_json({"strategies": [stored.to_json_dict() for stored in latest]})
        return
    rows = table("id", "version", "active", "tags", "name", "description", right=("version",),
                 prose=("tags", "name", "description"), drop=("tags", "name"))  # fmt: skip
    for stored in latest:
        strategy, active = stored.strategy, "yes" if stored.is_active else "no"
        rows.add_row(strategy.id, stored.version, active, ", ".join(strategy.tags), strategy.name, strategy.description)
    out.print(rows)


@strategies_app.command("add")
def add(file: StrategyFile) -> None:
    """Store a strategy; an identical configuration keeps its version, a changed one gets the next."""
    from lab_pipeline.runs.strategies import read_strategy

    stored = open_lab().strategies.add(read_strategy(file))
    out.print(f"strategy {stored.strategy.id} version {stored.version} ({stored.config_hash[:12]})")


@strategies_app.command("describe")
def describe(
    strategy_id: Annotated[str, typer.Argument(help="Id of a strategy.", metavar="ID")],
    tags: Annotated[
        str | None, typer.Option(help="New tags, separated by commas, replacing the old; '' for none.")
    ] = None,
    active: Annotated[
        bool | None, typer.Option("--active/--inactive", help="Whether the nightly schedule and sensors run it.")
    ] = None,
) -> None:
    """Set the tags of a strategy, for all its versions, and whether it is active; prints the result."""
    wanted = None if tags is None else [tag for tag in (part.strip() for part in tags.split(",")) if tag]
    stored = open_lab().strategies.describe(strategy_id, tags=wanted, is_active=active)
    state = "active" if stored.is_active else "not active"
    out.print(f"strategy {strategy_id} is {state}, tags: {', '.join(stored.strategy.tags) or 'none'}")


@strategies_app.command("validate")
def validate(file: StrategyFile) -> None:
    """Check a strategy file; every wrong field is named."""
    from lab_pipeline.runs.strategies import read_strategy

    strategy = read_strategy(file)
    out.print(f"{file} is valid: strategy {strategy.id} ({strategy.config_hash()[:12]})")
