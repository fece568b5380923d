"""What is asked of the tables of a sweep: which rows, in which order, page by page.

Columns are called as clients know them: figures in camelCase, parameters by their path in the strategy. A filter is one
comparison, `trades>=30` or `exit.trailing.distance=null`: its name is looked up, its value read as what the column
holds, and nothing of either is ever run.
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import polars as pl
from pydantic.alias_generators import to_camel

from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.text import shown
from lab_pipeline.sweeps.published import PublishedSweep

SETS, CALLERS = "sets", "callers"
SET_ID = "set_id"
PARAMETER = "p."
"""Begins the names of columns that are parameters."""
COMPARISON = re.compile(r"\s*([A-Za-z0-9_.\[\]]+)\s*(<=|>=|==|!=|=|<|>)(.*)", re.DOTALL)
SIGNS: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "<": pl.Expr.lt,
    "<=": pl.Expr.le,
    ">": pl.Expr.gt,
    ">=": pl.Expr.ge,
    "=": pl.Expr.eq_missing,
    "==": pl.Expr.eq_missing,
    "!=": pl.Expr.ne_missing,
}
EQUALITIES = {"=", "==", "!="}
EXAMPLE = "write a comparison such as trades>=30 or exit.stopLoss=0.2"
NULL, TRUTHS = "null", {"true": True, "false": False}


class SortOrder(StrEnum):
    """Which comes first; what is not there comes last in both."""

    ASCENDING = "asc"
    DESCENDING = "desc"


@dataclass(frozen=True)
class Columns:
    """The columns of a table by the names of those who ask.

    Attributes:
        by_name: name -> column.
        schema: of the table.
        example: what is said of a text that is no condition.
    """

    by_name: Mapping[str, str]
    schema: pl.Schema
    example: str = EXAMPLE

    @classmethod
    def of(cls, sweep: PublishedSweep, table: str = SETS) -> Self:
        """Return those of a table by the names of clients: figures in camelCase, parameters by their path."""
        schema = sweep.schema(table)
        named = {to_camel(name): name for name in schema if not name.startswith(PARAMETER)}
        return cls(
            {name.removeprefix(PARAMETER): name for name in schema if name.startswith(PARAMETER)} | named, schema
        )

    @property
    def parameters(self) -> "Columns":
        """Those that are varied."""
        return self._those(lambda column: column.startswith(PARAMETER))

    @property
    def numbers(self) -> "Columns":
        """Figures that are numbers."""
        return self._those(lambda column: not column.startswith(PARAMETER) and self.schema[column].is_numeric())

    def find(self, name: str, field: str) -> str:
        """Return the column of a name.

        Raises:
            InvalidConfigError: if there is none; `field` is where it was named.
        """
        if name in self.by_name:
            return self.by_name[name]
        near = difflib.get_close_matches(name, self.by_name, n=1, cutoff=0.0)
        raise _wrong(field, f"no column {shown(name)}" + (f"; the nearest is {near[0]}" if near else " to choose from"))

    def where(self, conditions: Sequence[str], field: str = "filter") -> pl.Expr:
        """Return what holds of a row that passes all conditions.

        Raises:
            InvalidConfigError: naming every condition that is wrong.
        """
        passed, problems = pl.lit(value=True), list[FieldError]()
        for text in conditions:
            try:
                passed &= self._comparison(field, text)
            except InvalidConfigError as error:
                problems += error.errors
        if problems:
            raise InvalidConfigError("the request", problems)
        return passed

    def _comparison(self, field: str, text: str) -> pl.Expr:
        found = COMPARISON.fullmatch(text)
        if found is None:
            raise _wrong(field, f"{shown(text)} is no condition: {self.example}")
        name, sign, value = found[1], found[2], found[3].strip()
        column = self.find(name, field)
        compare = SIGNS[sign]
        if value == NULL:
            return compare(pl.col(column), pl.lit(None)) if sign in EQUALITIES else pl.lit(value=False)
        return compare(pl.col(column), pl.lit(_value(field, name, value, self.schema[column])))

    def _those(self, wanted: Callable[[str], bool]) -> "Columns":
        return Columns({name: column for name, column in self.by_name.items() if wanted(column)}, self.schema)


def page_of_sets(
    sweep: PublishedSweep,
    *,
    filters: Sequence[str] = (),
    sort: str = "rank",
    order: SortOrder = SortOrder.ASCENDING,
    after: int | None = None,
    limit: int = 50,
) -> tuple[pl.DataFrame, int | None]:
    """Return sets in order, those that are equal by their ids, and where the next page begins if there is more.

    Args:
        sweep: whose.
        filters: that a set must pass, all of them.
        sort: name of a figure or parameter; sets without it come last.
        order: of the values.
        after: id of the last set of the page before, of the same sets in the same order.
        limit: rows at most.

    Raises:
        InvalidConfigError: naming what there is no column for, or no value of one, and an `after` that was not shown.
    """
    columns = Columns.of(sweep)
    by, passed = columns.find(sort, "sort"), columns.where(filters)
    keys = sweep.table(SETS, by, SET_ID, where=passed)
    ids = keys.sort(by, SET_ID, descending=[order is SortOrder.DESCENDING, False], nulls_last=True)[SET_ID].to_list()
    begin = 0
    if after is not None:
        if after not in ids:
            raise _wrong("cursor", "is no cursor of this list")
        begin = ids.index(after) + 1
    wanted = ids[begin : begin + limit]
    rows = sweep.table(SETS, where=pl.col(SET_ID).is_in(wanted))
    place = {set_id: number for number, set_id in enumerate(wanted)}
    found = rows[sorted(range(rows.height), key=lambda row: place[rows[SET_ID][row]])] if wanted else rows
    return found, wanted[-1] if begin + limit < len(ids) else None


def page_of_callers(
    sweep: PublishedSweep,
    *,
    set_ids: Sequence[int] = (),
    callers: Sequence[str] = (),
    after: tuple[int, str] | None = None,
    limit: int = 50,
) -> tuple[pl.DataFrame, tuple[int, str] | None]:
    """Return what callers brought sets, by set and then by name, and where the next page begins if there is more.

    Args:
        sweep: whose.
        set_ids: of the sets that are wanted; all by default.
        callers: that are wanted; all by default.
        after: set and caller of the last row of the page before.
        limit: rows at most.
    """
    where = pl.lit(value=True)
    if set_ids:
        where &= pl.col("set_id").is_in(list(set_ids))
    if callers:
        where &= pl.col("caller").is_in(list(callers))
    if after is not None:
        set_id, caller = after
        where &= (pl.col("set_id") > set_id) | ((pl.col("set_id") == set_id) & (pl.col("caller") > caller))
    rows = sweep.table(CALLERS, where=where).sort("set_id", "caller")
    found = rows.head(limit)
    return found, found.select("set_id", "caller").row(-1) if rows.height > limit else None


def rows_of_set(sweep: PublishedSweep, table: str, set_id: int) -> pl.DataFrame:
    """Return the rows of another table that are about a set, in their order."""
    return sweep.table(table, where=pl.col(SET_ID) == set_id)


def _value(field: str, name: str, text: str, kind: pl.DataType) -> float | bool | str:
    """Read a value as what a column holds."""
    if kind == pl.Boolean:
        if text not in TRUTHS:
            raise _wrong(field, f"{name} is true, false or null, not {shown(text)}")
        return TRUTHS[text]
    if not kind.is_numeric():
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _wrong(field, f"{name} is compared with a number or null: {shown(text)} is no number")
    return number


def _wrong(field: str, said: str) -> InvalidConfigError:
    return InvalidConfigError("the request", [FieldError(field, said)])
