"""The queue as Dagster's daemon sees it."""

from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon


def origin_of(job):
    """Return the origin of a job of a code server that is nowhere."""
    location = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name="lab_pipeline")
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job)


def chosen(instance):
    """Return the runs that the daemon would take from the queue now."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    config = instance.get_concurrency_config()
    # The very method that each turn of the daemon asks; a turn itself would also start what it chose.
    return [run.run_id for run in daemon._get_runs_to_dequeue(instance, config, None)]  # noqa: SLF001
