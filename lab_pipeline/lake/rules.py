"""Hold rows against the rules of `domain.schemas`, all at once, and say which cells break them.

Import this only where rows come in: pandera costs half a second.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import pandera.errors
import pandera.polars as pa
import polars as pl
import polars.selectors as cs

from lab_pipeline.domain import schemas
from lab_pipeline.lake.errors import VIOLATIONS_SHOWN, IngestError, Violation
from lab_pipeline.lake.layout import CALLS, CANDLES, Table
from lab_pipeline.lake.parsing import Parsed, TimeUnit, time_column, why_null
from lab_pipeline.lake.sources import ROW, Source

NULL_CHECK = "not_nullable"


def _without_unique(schema: pa.DataFrameSchema) -> pa.DataFrameSchema:
    """Leave uniqueness to the merge, which sorts by key anyway and sees all files; pandera takes 15 times longer."""
    copy = deepcopy(schema)
    copy.unique = None
    return copy


SCHEMAS = {CANDLES.name: _without_unique(schemas.CANDLES), CALLS.name: _without_unique(schemas.CALLS)}


@dataclass(frozen=True)
class Batch:
    """Rows of one source, before and after parsing.

    Attributes:
        file: position of the source among the inputs.
        source: where they came from.
        raw: the rows as they stood there, with `ROW`.
        parsed: the same rows in the lake's types.
        unit: how the source writes times.
    """

    file: int
    source: Source
    raw: pl.DataFrame
    parsed: Parsed
    unit: TimeUnit | None


class Findings:
    """The violations of an ingest: the first in the order of files and rows, and the count of all."""

    def __init__(self, table: Table, grid: str | None) -> None:
        """Hold rows against a table's rules.

        Args:
            table: whose rules apply.
            grid: name of the grid of times, for the message; null where there is none.
        """
        self.total = 0
        self._table = table
        self._grid = grid
        self._first: list[tuple[int, int, Violation]] = []

    def check(self, batch: Batch) -> None:
        """Record what breaks the rules in a batch, all rules and rows at once."""
        broken = pl.concat([_schema_failures(batch.parsed.frame, self._table), self._off_grid(batch.parsed)])
        if broken.is_empty():
            return
        first = broken.sort("index", maintain_order=True).head(VIOLATIONS_SHOWN)
        rows = [batch.raw[ROW][index] for index in first["index"]]
        places = batch.source.positions(rows)
        violations = []
        for row, (index, column, rule) in zip(rows, first.iter_rows(), strict=True):
            value = batch.raw[column][index]
            said = why_null(column, value, self._table, batch.unit) if rule == NULL_CHECK else rule
            violations.append((row, Violation(batch.source.name, places[row], column, _shown(value), said)))
        self.add(batch.file, broken.height, violations)

    def add(self, file: int, total: int, first: Sequence[tuple[int, Violation]]) -> None:
        """Record violations of one file: how many, and the first of them with their positions."""
        self.total += total
        self._first.extend((file, row, violation) for row, violation in first)
        self._first.sort(key=lambda item: item[:2])
        del self._first[VIOLATIONS_SHOWN:]

    def raise_if_any(self) -> None:
        """Raise everything that was found as one error."""
        if self.total:
            raise IngestError([violation for *_, violation in self._first], self.total)

    def _off_grid(self, parsed: Parsed) -> pl.DataFrame:
        rows = parsed.off_grid.arg_true().cast(pl.Int64).alias("index").to_frame()
        rule = pl.lit(f"must be on the {self._grid} grid").alias("rule")
        return rows.with_columns(pl.lit(time_column(self._table)).alias("column"), rule)


def _schema_failures(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return index, column and rule of every cell that breaks the table's schema."""
    try:
        SCHEMAS[table.name].validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases: pl.DataFrame = error.failure_cases
        whole_row = pl.col("column").is_null()  # such a rule starts with the name of the column it is about
        not_finite = frame.with_columns(~cs.float().is_finite().fill_null(value=False)).select(
            pl.any_horizontal(pl.repeat(value=False, n=pl.len()), cs.boolean())
        )  # no comparison with NaN says anything
        pointless = whole_row & not_finite.to_series().gather(cases["index"])
        return cases.filter(  # NaN breaks "must be finite"; that it counts as null too is pandera's affair
            ~pointless & ~((pl.col("check") == NULL_CHECK) & (pl.col("failure_case") == "NaN").fill_null(value=False))
        ).select(
            pl.col("index").cast(pl.Int64),
            pl.when(whole_row).then(pl.col("check").str.split(" ").list.first()).otherwise("column").alias("column"),
            pl.col("check").alias("rule"),
        )
    return pl.DataFrame(schema={"index": pl.Int64, "column": pl.String, "rule": pl.String})


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value) if isinstance(value, str) else str(value)
