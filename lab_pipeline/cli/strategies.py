"""`lab strategies`: list, add and check strategies."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lab_pipeline.cli.app import app, out, settings, table
from lab_pipeline.runs.strategies import StrategyStore, read_strategy

strategies_app = typer.Typer(help="Named, versioned strategies.", no_args_is_help=True)
app.add_typer(strategies_app, name="strategies")

StrategyFile = Annotated[Path, typer.Argument(help="A strategy in JSON.", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def strategy_store() -> StrategyStore:
    """Open the lab's strategies, with the examples that ship with it."""
    return StrategyStore.of(settings())


@strategies_app.command("list")
def list_strategies(as_json: AsJson = False) -> None:
    """List the latest version of every strategy."""
    latest = strategy_store().list_latest()
    if as_json:
        out.print_json(json.dumps({"strategies": [stored.to_json_dict() for stored in latest]}))
        return
    rows = table("id", "version", "name", "description", right=("version",))
    for stored in latest:
        rows.add_row(stored.strategy.id, stored.version, stored.strategy.name, stored.strategy.description)
    out.print(rows)


@strategies_app.command("add")
def add(file: StrategyFile) -> None:
    """Store a strategy; an identical configuration keeps its version, a changed one gets the next."""
    stored = strategy_store().add(read_strategy(file))
    out.print(f"strategy {stored.strategy.id} version {stored.version} ({stored.config_hash[:12]})")


@strategies_app.command("validate")
def validate(file: StrategyFile) -> None:
    """Check a strategy file; every wrong field is named."""
    strategy = read_strategy(file)
    out.print(f"{file} is valid: strategy {strategy.id} ({strategy.config_hash()[:12]})")
