"""Dagster's daemons for sensors, which let one tick that is due only where it has cause to (`causes`).

A tick costs a call to the code server and some ten writes to the disk, and ticks of an idle lab have nothing
to report. What makes a tick due, and what it does, remains Dagster's business.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

import dagster as dg

from lab_pipeline.dagster_ext.daemon.causes import Causes
from lab_pipeline.dagster_ext.daemon.internals import (
    DEFAULT_DAEMON_INTERVAL_SECONDS,
    AssetDaemon,
    DaemonIterator,
    DagsterDaemon,
    IWorkspaceProcessContext,
    QueuedRunCoordinatorDaemon,
    RemoteSensor,
    SensorDaemon,
    create_daemon_of_type,
    execute_sensor_iteration_loop,
    inst,
)
from lab_pipeline.dagster_ext.daemon.queueing import PromptQueueDaemon
from lab_pipeline.dagster_ext.internals import QueuedRunCoordinator
from lab_pipeline.settings import load_settings
from lab_pipeline.storage.internals import InstigatorState

P = ParamSpec("P")
T = TypeVar("T")


def daemons(instance: dg.DagsterInstance) -> Iterator[DagsterDaemon[Any]]:
    """Make Dagster's daemons, those of the lab in place of those for sensors and for the queue."""
    causes = Causes(instance, load_settings())
    for kind in instance.get_required_daemon_types():
        if kind == SensorDaemon.daemon_type():
            yield CausedSensorDaemon(instance, causes)
        elif kind == AssetDaemon.daemon_type():
            yield CausedAssetDaemon(instance, causes)
        elif kind == QueuedRunCoordinatorDaemon.daemon_type():
            coordinator = inst(instance.run_coordinator, QueuedRunCoordinator)
            yield PromptQueueDaemon(instance, coordinator.dequeue_interval_seconds)
        else:
            yield create_daemon_of_type(kind, instance)


class CausedSensorDaemon(SensorDaemon):
    """Evaluates the sensors that have cause to tick."""

    def __init__(self, instance: dg.DagsterInstance, causes: Causes) -> None:
        super().__init__(instance.get_sensor_settings())
        self._causes = causes

    def core_loop(
        self, workspace_process_context: IWorkspaceProcessContext[Any], shutdown_event: threading.Event
    ) -> DaemonIterator:
        """Go through the sensors every few seconds, for ever."""
        yield from execute_sensor_iteration_loop(
            workspace_process_context,
            self._logger,
            shutdown_event,
            threadpool_executor=_Caused(self._causes, self._threadpool_executor),  # type: ignore[arg-type]  # as good
            submit_threadpool_executor=self._submit_threadpool_executor,
            instrument_elapsed=self.instrument_elapsed,
        )


class CausedAssetDaemon(AssetDaemon):
    """Evaluates the conditions of assets where their sensor has cause to tick."""

    def __init__(self, instance: dg.DagsterInstance, causes: Causes) -> None:
        before_there_were_sensors = instance.auto_materialize_minimum_interval_seconds
        super().__init__(
            settings=instance.get_auto_materialize_settings(),
            pre_sensor_interval_seconds=before_there_were_sensors or DEFAULT_DAEMON_INTERVAL_SECONDS,
        )
        self._instance = instance
        self._causes = causes

    def _process_auto_materialize_tick(self, *args: Any) -> None:  # noqa: ANN401 - the base class' own, handed on
        for sensor in (one for one in args if isinstance(one, RemoteSensor)):
            state = self._instance.get_instigator_state(sensor.get_remote_origin_id(), sensor.selector_id)
            if not self._causes.has_any(sensor, state):
                return
        super()._process_auto_materialize_tick(*args)


class _Caused(Executor):
    """Executes a tick at once, or in other threads if the instance has some for that; not at all without a cause."""

    def __init__(self, causes: Causes, threads: Executor | None) -> None:
        self._causes = causes
        self._threads = threads

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Execute a tick, whose arguments name the sensor and its state, if there is a cause for it."""
        (sensor,) = (one for one in args if isinstance(one, RemoteSensor))
        (state,) = (one for one in args if isinstance(one, InstigatorState))
        done: Future[T] = Future()
        if not self._causes.has_any(sensor, state):
            done.cancel()
            return done
        if self._threads is not None:
            return self._threads.submit(fn, *args, **kwargs)
        done.set_result(fn(*args, **kwargs))
        return done
