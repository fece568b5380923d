"""The SQL with which the lab reads ClickHouse; values reach it as bound parameters only."""

import re
from functools import cache
from importlib.resources import files

COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


@cache
def sql(name: str) -> str:
    """Return the text of a query in this directory, without comments: the client reads every character of it."""
    return COMMENT.sub("", (files(__package__) / f"{name}.sql").read_text(encoding="utf-8"))
