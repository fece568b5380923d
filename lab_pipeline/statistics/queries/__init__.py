"""The SQL of the statistics; values reach it as bound parameters or registered tables only."""

from functools import cache
from importlib.resources import files


@cache
def sql(name: str) -> str:
    """Return the text of a query in this directory."""
    return (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
