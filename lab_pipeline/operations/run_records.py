"""What Dagster's record says of every backtest, as the statistics want to know it."""

from collections.abc import Iterable, Mapping

from lab_pipeline.operations.runs import Run, Runs
from lab_pipeline.statistics.run_record import KnownRun

MANY = 50
"""Unknown runs from which it is quicker to walk through all of them."""


def known_runs(runs: Runs, remembered: Mapping[str, KnownRun]) -> list[KnownRun]:
    """Return every backtest; only those that are new, or whose status has changed, are looked up.

    Args:
        runs: the record.
        remembered: what was known before, by run id.
    """
    statuses = runs.statuses()
    known = {run_id: remembered[run_id] for run_id, status in statuses.items() if _is_same(remembered, run_id, status)}
    unknown = [run_id for run_id in statuses if run_id not in known]
    found: Iterable[Run] = runs.all() if len(unknown) > MANY else map(runs.get, unknown)
    for run in found:
        known[run.run_id] = KnownRun(run.run_id, run.status, run.strategy_id, run.completed_at)
    return list(known.values())


def _is_same(remembered: Mapping[str, KnownRun], run_id: str, status: str) -> bool:
    return run_id in remembered and remembered[run_id].status == status
