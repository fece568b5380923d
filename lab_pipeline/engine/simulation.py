"""What a simulation returns, whichever implementation made it."""

from dataclasses import dataclass, field

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.summary import Summary


@dataclass(frozen=True, eq=False)
class Simulation:
    """A run's frames, with the columns of `domain.frames`, and its summary.

    Rows are ordered by called_at and call_id, then trade_no and fill_no; `equity` by timestamp. The same
    inputs give the same bytes. `fill_certainty` and `nulls` are empty unless they were asked for.
    """

    fills: pl.DataFrame
    trades: pl.DataFrame
    paths: pl.DataFrame
    outcomes: pl.DataFrame
    equity: pl.DataFrame
    summary: Summary
    fill_certainty: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=frames.FILL_CERTAINTY))
    nulls: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=frames.NULLS))
