"""A run's metrics and fills, written once and seen whole or not at all."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.queries import sql
from lab_pipeline.clickhouse.schema import RETENTION_COLUMN, UploadTarget
from lab_pipeline.domain.fill_assumptions import FillAssumptions

METRIC_KINDS = ("cash", "drawdown", "equity", "exposure", "open_positions")
"""Columns of the equity frame that become metrics, in the order of the table's key."""
BATCH_ROWS = 500_000
"""Well under what the server makes one block of: a block is inserted whole or not at all."""
MILLISECONDS = pl.Datetime("ms", "UTC")


@dataclass(frozen=True)
class Published:
    """What was written of a run.

    Attributes:
        attempt: that readers see from now on.
        rows: by table.
    """

    attempt: int
    rows: Mapping[str, int]


def publish_run(
    clickhouse: ClickHouse,
    run_id: str,
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    assumed: FillAssumptions | None = None,
) -> Published:
    """Write the metrics and fills of a run and make them visible together.

    Every call is a new attempt, with rows and tokens of its own, so that nothing has to be deleted before. Readers
    see the newest attempt that is complete: what a killed writer leaves is never seen, and writing a run again
    replaces it.

    Args:
        clickhouse: where to write.
        run_id: of the run.
        equity: the frame of `equity.parquet`.
        fills: the frame of `fills.parquet`.
        assumed: what the run assumes of its fills, where that is known.

    Raises:
        ClickHouseUnavailableError: if ClickHouse stays away beyond the deadline. Readers see what they saw before,
            unless only the last acknowledgement was lost: then they see this attempt, whole.
        ClickHouseError: if it refuses the rows.
    """
    tables = {"run_metrics": _metrics(equity), "run_fills": _fills(fills)}
    return publish(clickhouse, run_id, tables, assumed)


def publish(
    clickhouse: ClickHouse,
    run_id: str,
    tables: Mapping[str, Iterator[pl.DataFrame]],
    assumed: FillAssumptions | None = None,
) -> Published:
    """Write rows of a run to some tables and make them visible together; as `publish_run` does.

    Args:
        clickhouse: where to write.
        run_id: of the run.
        tables: table -> its rows in pieces of at most `BATCH_ROWS`, without run, attempt and time of writing.
        assumed: what the run assumes of its fills, where that is known.
    """
    now = datetime.now(UTC)
    # Microseconds: they grow from attempt to attempt, and a run deleted and written again meets none of its old tokens.
    attempt = time.time_ns() // 1000
    # One time for all rows: rows sent again must fall into the same partition, where their token is known.
    stamp = _Stamp(run_id, attempt, now)
    written = {table: _write(clickhouse, table, pieces, stamp) for table, pieces in tables.items()}
    commits = pl.DataFrame(
        {
            "run_id": run_id,
            "attempt": attempt,
            "dataset": [table.removeprefix("run_") for table in written],
            "rows": list(written.values()),
            "fills": assumed.id if assumed else "",
            "fill_assumptions": assumed.text if assumed else "",
            "committed_at": now,
        },
        schema={
            "run_id": pl.String(),
            "attempt": pl.UInt64(),
            "dataset": pl.String(),
            "rows": pl.UInt64(),
            "fills": pl.String(),
            "fill_assumptions": pl.String(),
            "committed_at": MILLISECONDS,
        },
    )
    clickhouse.insert("run_commits", commits, f"{run_id}/{attempt}/run_commits")
    return Published(attempt, written)


def delete_run(clickhouse: ClickHouse, run_id: str, *, logs: bool = True) -> None:
    """Delete all rows of a run; a run that is not there is no error.

    Args:
        clickhouse: where they are.
        run_id: of the run.
        logs: whether its log goes too.

    Raises:
        ClickHouseUnavailableError: if ClickHouse does not answer; deleting again completes what was begun.
    """
    target = UploadTarget(clickhouse.config.database, clickhouse.config.cluster)
    for table in ("run_commits", *(name for name in RETENTION_COLUMN if name != "run_commits")):
        if table == "run_logs" and not logs:
            continue
        clickhouse.command(target.render(sql("delete_run_rows"), table=table), {"run_id": run_id})


@dataclass(frozen=True)
class _Stamp:
    """What all rows of an attempt have in common; text that repeats is categorical, which halves what is sent."""

    run_id: str
    attempt: int
    written_at: datetime

    def on(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(
            pl.lit(self.run_id, pl.Categorical()).alias("run_id"),
            pl.lit(self.attempt, pl.UInt64()).alias("attempt"),
            pl.lit(self.written_at, MILLISECONDS).alias("written_at"),
        )


def _write(clickhouse: ClickHouse, table: str, pieces: Iterator[pl.DataFrame], stamp: _Stamp) -> int:
    rows = 0
    for number, batch in enumerate(_batches(pieces)):
        clickhouse.insert(table, stamp.on(batch), f"{stamp.run_id}/{stamp.attempt}/{table}/{number}")
        rows += batch.height
    return rows


def _batches(pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Put pieces together, up to BATCH_ROWS."""
    held: list[pl.DataFrame] = []
    for piece in pieces:
        if held and sum(frame.height for frame in held) + piece.height > BATCH_ROWS:
            yield pl.concat(held, rechunk=True)
            held = []
        held.append(piece)
    if sum(frame.height for frame in held):
        yield pl.concat(held, rechunk=True)


def _metrics(equity: pl.DataFrame) -> Iterator[pl.DataFrame]:
    numbered = equity.with_row_index("seq").with_columns(pl.col("seq").cast(pl.UInt64()))
    for kind in METRIC_KINDS:
        for part in numbered.iter_slices(BATCH_ROWS):
            yield part.select(
                pl.lit(kind, pl.Categorical()).alias("kind"),
                "timestamp",
                "seq",
                pl.col(kind).cast(pl.Float64()).alias("value"),
            )


def _fills(fills: pl.DataFrame) -> Iterator[pl.DataFrame]:
    unknown = [pl.lit(None, pl.Float64()).alias(name) for name in ("slippage", "filled") if name not in fills.columns]
    numbered = (
        fills.with_columns(unknown)
        .with_row_index("seq")
        .with_columns(  # earlier engines did not tell them
            pl.col("seq").cast(pl.UInt64()), pl.col("mint", "side", "reason").cast(pl.Categorical())
        )
    )
    yield from numbered.iter_slices(BATCH_ROWS)
