"""What a simulation returns, whichever implementation made it."""

from dataclasses import dataclass

import polars as pl

from lab_pipeline.domain.summary import Summary


@dataclass(frozen=True, eq=False)
class Simulation:
    """A run's frames, with the columns of `domain.frames`, and its summary.

    Rows are ordered by called_at and call_id, then trade_no and fill_no; `equity` by timestamp. The same
    inputs give the same bytes.
    """

    fills: pl.DataFrame
    trades: pl.DataFrame
    paths: pl.DataFrame
    outcomes: pl.DataFrame
    equity: pl.DataFrame
    summary: Summary
