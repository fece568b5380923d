"""Write what ClickHouse has of runs again, from their artifacts and the event log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab_pipeline.clickhouse.upload import upload_run
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.log_shipper import ship_runs


@dataclass(frozen=True)
class Rebuilt:
    """What was written.

    Attributes:
        runs: that are published.
        rows: of their metrics and fills.
        lines: of logs.
    """

    runs: int
    rows: int
    lines: int

    def __str__(self) -> str:
        return f"{self.runs:,} runs, {self.rows:,} rows of metrics and fills, {self.lines:,} lines of logs"


def rebuild_rows(
    lab: Lab,
    run_ids: Sequence[str] | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Rebuilt:
    """Write metrics, fills and logs of some runs again, or of all.

    Raises:
        LabError: if ClickHouse does not answer; what was written stays, and the same again goes on.
    """
    published = lab.artifacts.run_ids() if run_ids is None else run_ids
    logged = list(lab.instance.get_run_ids()) if run_ids is None else run_ids
    rows = lines = 0

    def progress(done: int) -> None:
        if on_progress:
            on_progress(done, len(published) + len(logged))

    with lab.clickhouse.connection() as clickhouse:
        clickhouse.migrate()
        for done, run_id in enumerate(published):
            progress(done)
            rows += sum(upload_run(clickhouse, lab.artifacts, run_id).values())
        for done, run_id in enumerate(logged):
            progress(len(published) + done)
            lines += ship_runs(lab.instance, clickhouse, [run_id], again=True)
    return Rebuilt(len(published), rows, lines)
