"""Why a run failed, from its event log."""

import dagster as dg

UNKNOWN = "the run failed without saying why; its event log in the UI may tell more"

INTERRUPTED = "the run was interrupted before it was done"


def failure_reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return the reason of the first failed step, or of the run itself, in one line."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = entry.get_dagster_event().step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return str(data.user_failure_data.description)
        error = data.error
        if error:
            while error.cause is not None:  # Dagster wraps what an op raised in an error of its own
                error = error.cause
            return (
                INTERRUPTED
                if error.cls_name == "DagsterExecutionInterruptedError"
                else str(error.message).strip().splitlines()[0]
            )
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE):
        return entry.get_dagster_event().message or UNKNOWN
    return UNKNOWN
