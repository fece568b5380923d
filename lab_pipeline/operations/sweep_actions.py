"""Delete a sweep with everything that it left."""

from lab_pipeline.clickhouse.gateway.files import StateFiles
from lab_pipeline.clickhouse.writer import delete_run
from lab_pipeline.domain.errors import ConflictError
from lab_pipeline.operations.deletion_lock import deleting
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.run_actions import erase


def delete(lab: Lab, sweep_id: str) -> None:
    """Delete a sweep, and the run that has made it, if one has.

    What it tried and who has looked at its holdout stay on record.

    Raises:
        ConflictError: if its run is not done.
        ClickHouseUnavailableError: if ClickHouse, which may have rows of it, does not answer; nothing is gone then.
        LabError: if the disk does not let go of the artifacts.
    """
    run = lab.instance.get_run_by_id(sweep_id)
    if run is None:
        with deleting(lab.settings):
            _delete_rows(lab, sweep_id)
            lab.sweeps.delete(sweep_id)
        return
    if not run.is_finished:
        raise ConflictError(f"sweep {sweep_id} is being computed: cancel it first")
    erase(lab, sweep_id)


def _delete_rows(lab: Lab, sweep_id: str) -> None:
    """Delete what `lab clickhouse rebuild` may have written of a sweep; an embedded server that never ran has none."""
    config = lab.clickhouse.config
    if config.embedded and not StateFiles(config.state_dir).data.exists():
        return
    with lab.clickhouse.connection() as client:
        delete_run(client, sweep_id)
