"""What Dagster's record says of every backtest, as the statistics want to know it."""

import polars as pl

from lab_pipeline.operations.runs import Runs
from lab_pipeline.statistics.run_record import RunRecord, known_frame

MANY = 50
"""Unknown runs from which it is quicker to walk through all of them."""


def run_records(runs: Runs, remembered: pl.DataFrame) -> pl.DataFrame:
    """Return every backtest; only those that are new, or whose status has changed, are looked up.

    Args:
        runs: the record.
        remembered: what was known before, with the columns of `KNOWN`.

    Returns:
        The same columns.
    """
    statuses = runs.statuses()
    known = remembered.join(statuses, on=["run_id", "status"], how="semi")
    unknown = statuses.join(known, on="run_id", how="anti")["run_id"].to_list()
    found = runs.all() if len(unknown) > MANY else runs.get_many(unknown).values()
    looked_up = known_frame(RunRecord(run.run_id, run.status, run.strategy_id, run.completed_at) for run in found)
    return pl.concat([known.join(looked_up, on="run_id", how="anti"), looked_up])
