"""Write what ClickHouse has of runs and sweeps again, from their artifacts and the event log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab_pipeline.clickhouse.upload import upload_run
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.log_shipper import ship_runs
from lab_pipeline.sweeps.upload import upload_sweep


@dataclass(frozen=True)
class Rebuilt:
    """What was written.

    Attributes:
        runs: that are published.
        rows: of their metrics and fills.
        sweeps: that are published.
        sets: of theirs, and days of these: rows of both.
        lines: of logs.
    """

    runs: int
    rows: int
    sweeps: int
    sets: int
    lines: int

    def __str__(self) -> str:
        return (
            f"{self.runs:,} runs, {self.rows:,} rows of metrics and fills, {self.sweeps:,} sweeps, {self.sets:,} rows "
            f"of sets and days, {self.lines:,} lines of logs"
        )


def rebuild_rows(
    lab: Lab,
    run_ids: Sequence[str] | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Rebuilt:
    """Write metrics, fills and logs of some runs again, or of all, and sets and days of those that are sweeps.

    Raises:
        LabError: if ClickHouse does not answer; what was written stays, and the same again goes on.
    """
    published, swept = (
        (lab.artifacts.run_ids(), lab.sweeps.sweep_ids())
        if run_ids is None
        else [[run_id for run_id in run_ids if store.has(run_id)] for store in (lab.artifacts, lab.sweeps)]
    )
    logged = list(lab.instance.get_run_ids()) if run_ids is None else run_ids
    rows = sets = lines = 0

    def progress(done: int) -> None:
        if on_progress:
            on_progress(done, len(published) + len(swept) + len(logged))

    with lab.clickhouse.connection() as clickhouse:
        clickhouse.migrate()
        for done, run_id in enumerate(published):
            progress(done)
            rows += sum(upload_run(clickhouse, lab.artifacts, run_id).values())
        for done, sweep_id in enumerate(swept, len(published)):
            progress(done)
            sets += sum(upload_sweep(clickhouse, lab.sweeps, sweep_id).values())
        for done, run_id in enumerate(logged, len(published) + len(swept)):
            progress(done)
            lines += ship_runs(lab.instance, clickhouse, [run_id], again=True)
    return Rebuilt(len(published), rows, len(swept), sets, lines)
