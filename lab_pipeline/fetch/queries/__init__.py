"""SQL of what is remembered of fetches, a file a statement."""

from functools import cache
from importlib import resources


@cache
def sql(name: str) -> str:
    """Return the text of a statement."""
    return resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
