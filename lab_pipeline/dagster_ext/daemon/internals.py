"""The private names of Dagster that the daemon uses, in a module of their own: nobody else loads them."""

from dagster._check import inst
from dagster._core.remote_representation.external import RemoteSensor
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.asset_daemon import AssetDaemon
from dagster._daemon.controller import (
    DEFAULT_DAEMON_INTERVAL_SECONDS,
    create_daemon_of_type,
    daemon_controller_from_instance,
)
from dagster._daemon.daemon import DaemonIterator, DagsterDaemon, SensorDaemon
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration_loop
from dagster._utils.interrupts import setup_interrupt_handlers
