"""The SQL of sweeps; values reach it as bound parameters only."""

from functools import cache
from importlib.resources import files


@cache
def sql(name: str) -> str:
    """Return the text of a query in this directory."""
    return (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
