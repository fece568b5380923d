"""Hold rows against the rules of `domain.schemas`, all at once, and say which cells break them.

pandera, which costs half a second, is imported once it has something to say.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import polars as pl
import polars.selectors as cs

from lab_pipeline.domain.candles import prices_hold
from lab_pipeline.domain.identifiers import is_identifier
from lab_pipeline.domain.options import CALL_RULES, CANDLE_RULES
from lab_pipeline.lake.errors import VIOLATIONS_SHOWN, IngestError, Violation
from lab_pipeline.lake.layout import CALLS, CANDLES, Table
from lab_pipeline.lake.parsing import Parsed, TimeUnit, unread, value_at, why_null
from lab_pipeline.lake.sniffing import plain
from lab_pipeline.lake.sources import ROW, Source

if TYPE_CHECKING:
    import pandera.polars as pa

NULL_CHECK = "not_nullable"


@dataclass(frozen=True)
class Batch:
    """Rows of one source, before and after parsing.

    Attributes:
        file: position of the source among the inputs.
        raw: the rows as they stood there, with `ROW`.
        parsed: the same rows in the lake's types.
        unit: how the source writes times.
    """

    file: int
    raw: pl.DataFrame
    parsed: Parsed
    unit: TimeUnit | None


@dataclass(frozen=True)
class RowProblem:
    """A violation whose place in the file is not looked up yet: most are only counted.

    Attributes:
        file: position of the source among the inputs.
        row: position of the record in the source.
        column: column under its canonical name.
        value: the value as it is shown.
        rule: the rule that it breaks; ``{other}`` stands for the place of the other record.
        other: file and row of the record that this one contradicts, if it does.
    """

    file: int
    row: int
    column: str
    value: str
    rule: str
    other: tuple[int, int] | None = None


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
        self._first: list[RowProblem] = []
        self._identifiers: set[str] = set()

    def check(self, batch: Batch) -> None:
        """Record what breaks the rules in a batch, all rules and rows at once."""
        options = _options_failures(batch, self._table)
        if self._table is CANDLES and options.is_empty() and self._keeps_rules(batch.parsed):
            return
        required = batch.parsed.frame.select(self._table.columns.names())
        broken = pl.concat([_schema_failures(required, self._table), self._off_grid(batch.parsed), options])
        first = broken.sort("index", maintain_order=True).head(VIOLATIONS_SHOWN)
        findings = []
        for index, column, rule in first.iter_rows():
            values = batch.raw[column]
            said = why_null(column, values, index, self._table, batch.unit) if rule == NULL_CHECK else rule
            findings.append(RowProblem(batch.file, batch.raw[ROW][index], column, shown(values, index), said))
        self.add(broken.height, findings)

    def add(self, total: int, first: Sequence[RowProblem]) -> None:
        """Record how many violations there are, and the first of them."""
        self.total += total
        self._first = sorted([*self._first, *first], key=lambda finding: (finding.file, finding.row))
        del self._first[VIOLATIONS_SHOWN:]

    def raise_if_any(self, sources: Sequence[Source], hint: str = "") -> None:
        """Raise everything that was found as one error, with the places looked up in the sources.

        Args:
            sources: what was read.
            hint: what can be done about it.
        """
        if not self.total:
            return
        rows: dict[int, list[int]] = {}
        for finding in self._first:
            for file, row in filter(None, [(finding.file, finding.row), finding.other]):
                rows.setdefault(file, []).append(row)
        places = {file: sources[file].positions(wanted) for file, wanted in rows.items()}
        violations = []
        for finding in self._first:
            rule = finding.rule
            if finding.other:
                file, row = finding.other
                name = "" if file == finding.file else f"{sources[file].name}, "
                rule = rule.format(other=name + places[file][row])
            place = places[finding.file][finding.row]
            violations.append(Violation(sources[finding.file].name, place, finding.column, finding.value, rule))
        raise IngestError(violations, self.total, hint)

    def _keeps_rules(self, parsed: Parsed) -> bool:
        """Tell in one pass whether candles break no rule: pandera says which they break, in five times the time."""
        frame = parsed.frame
        nulls = frame.select(self._table.columns.names()).null_count()
        if parsed.off_grid.any() or any(nulls.row(0)) or not frame.select(prices_hold().all()).item():
            return False
        mints = frame["mint"].rle().struct.field("value").unique()  # of runs, which are few where a file is sorted
        new = set(mints) - self._identifiers
        self._identifiers |= {mint for mint in new if is_identifier(mint)}
        return new <= self._identifiers

    def _off_grid(self, parsed: Parsed) -> pl.DataFrame:
        rows = parsed.off_grid.arg_true().cast(pl.Int64).alias("index").to_frame()
        rule = pl.lit(f"must be on the {self._grid} grid").alias("rule")
        return rows.with_columns(pl.lit(self._table.time).alias("column"), rule)


@cache
def _schema(name: str) -> "pa.DataFrameSchema":
    """Leave uniqueness to the merge, which sorts by key anyway and sees all files; pandera takes 15 times longer."""
    from lab_pipeline.domain import schemas  # noqa: PLC0415 - as above

    schema = deepcopy({CANDLES.name: schemas.CANDLES, CALLS.name: schemas.CALLS}[name])
    schema.unique = None
    return schema


def _schema_failures(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return index, column and rule of every cell that breaks the table's schema."""
    import pandera.errors  # noqa: PLC0415 - as above

    try:
        _schema(table.name).validate(frame, lazy=True)
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


def _options_failures(batch: Batch, table: Table) -> pl.DataFrame:
    """Return index, column and rule of every option that could not be read or breaks a rule."""
    frame = batch.parsed.frame
    found = [pl.DataFrame(schema={"index": pl.Int64, "column": pl.String, "rule": pl.String})]
    options = [name for name in table.options if name in frame.columns]
    if not options:
        return found[0]
    found += [_failures(unread(batch.raw[name], frame[name]), name, NULL_CHECK) for name in options]
    known = frame.with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in table.options.items() if name not in options
    )
    for name, holds, rule in CANDLE_RULES if table is CANDLES else CALL_RULES:
        if name in options:
            broken = known.select(pl.col(name).is_not_null() & ~holds.fill_null(value=True)).to_series()
            found.append(_failures(broken, name, rule))
    return pl.concat(found).unique(["index", "column"], maintain_order=True)  # one thing to say of a cell


def _failures(broken: pl.Series, column: str, rule: str) -> pl.DataFrame:
    rows = broken.fill_null(value=False).arg_true().cast(pl.Int64).alias("index").to_frame()
    return rows.with_columns(pl.lit(column).alias("column"), pl.lit(rule).alias("rule"))


def shown(values: pl.Series, row: int) -> str:
    """Return a raw value as a message shows it: text in quotes, short, and nothing that a terminal would obey."""
    value = value_at(values, row)
    if value is None:
        return "nothing"
    return f"'{plain(value)}'" if values.dtype == pl.String else plain(value)
