"""Dagster's own scheduler and sensor daemon, one turn at a time, in this process: nothing here starts the runs."""

import logging
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from lab_pipeline.dagster_ext.graphql import LOCATION, REPOSITORY
from lab_pipeline.definitions import defs
from lab_pipeline.defs.operations.resources import LabResource

LOGGER = logging.getLogger("daemon")


class Daemon:
    """The daemon of an instance, without its clock."""

    def __init__(self, instance, workspace):
        self.instance = instance
        self.workspace = workspace
        location = workspace.create_request_context().get_code_location(LOCATION)
        self._repository = location.get_repository(REPOSITORY)

    def request_context(self):
        """Return what a request to the webserver works with."""
        return self.workspace.create_request_context()

    def start_schedule(self, name, at):
        """Switch a schedule on, as the UI does, at a time."""
        with freeze_time(at):
            self.instance.start_schedule(self._repository.get_schedule(name))

    def stop_schedule(self, name):
        """Switch a schedule off, as the UI does."""
        schedule = self._repository.get_schedule(name)
        self.instance.stop_schedule(schedule.get_remote_origin_id(), schedule.selector_id, schedule)

    def run_schedules(self, now):
        """Do what the daemon does when it looks at the schedules at a time."""
        with freeze_time(now):
            for _ in launch_scheduled_runs(self.workspace, LOGGER, now, iteration_times={}):
                pass

    def run_sensor(self, name, now=None):
        """Evaluate one sensor, as the daemon does when its time has come; return the tick."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dagster._daemon.sensor.is_under_min_interval", lambda *_: False)
            return self.look_at_sensor(name, now or datetime.now(UTC))[0]

    def look_at_sensor(self, name, now):
        """Do what the daemon does when it looks at a sensor, alone, at a time; return its ticks, newest first."""
        sensor = self._repository.get_sensor(name)
        for other in self._repository.get_sensors():
            if other.name != name:
                self.instance.stop_sensor(other.get_remote_origin_id(), other.selector_id, other)
        with freeze_time(now):
            state = self.instance.get_instigator_state(sensor.get_remote_origin_id(), sensor.selector_id)
            if state is None or not state.is_running:
                self.instance.start_sensor(sensor)
            for _ in execute_sensor_iteration(self.workspace, LOGGER, None, None):
                pass
        return self.ticks(sensor)

    def sensors(self):
        """Name all sensors, in order."""
        return sorted(sensor.name for sensor in self._repository.get_sensors())

    def ticking(self):
        """Name the sensors that the sensor daemon evaluates: not those of automation, which are the asset daemon's."""
        automatic = SensorType.AUTO_MATERIALIZE
        return sorted(one.name for one in self._repository.get_sensors() if one.sensor_type is not automatic)

    def test_sensor(self, name, cursor):
        """Evaluate a sensor as the UI's *Test sensor* does, from any cursor; return what it says, or its error."""
        request = self.workspace.create_request_context()
        handle = self._repository.handle
        try:
            return request.get_code_location(LOCATION).get_sensor_execution_data(
                self.instance, handle, name, None, None, cursor, None, None
            )
        except DagsterUserCodeProcessError as error:
            return error

    def cursor_of(self, name):
        sensor = self._repository.get_sensor(name)
        state = self.instance.get_instigator_state(sensor.get_remote_origin_id(), sensor.selector_id)
        return state.instigator_data.cursor if state and state.instigator_data else None

    def set_cursor(self, name, cursor):
        """Set the cursor of a sensor, as the UI does."""
        sensor = self._repository.get_sensor(name)
        state = self.instance.get_instigator_state(sensor.get_remote_origin_id(), sensor.selector_id)
        if state is None:
            origin, declared = sensor.get_remote_origin(), InstigatorStatus.DECLARED_IN_CODE
            state = InstigatorState(origin, InstigatorType.SENSOR, declared)
            self.instance.add_instigator_state(state)
        data = state.instigator_data or SensorInstigatorData(sensor_type=sensor.sensor_type)
        self.instance.update_instigator_state(state.with_data(data._replace(cursor=cursor or None)))

    def repeat_the_dead(self):
        """Do what the daemon does every five seconds about runs that failed."""
        for _ in EventLogConsumerDaemon().run_iteration(self.workspace):
            pass

    def launched(self, job="backtest", **config):
        """Record a run as the webserver does before it queues it."""
        run_config = {"ops": {"run": {"config": config}}}
        remote = self._repository.get_full_job(job)
        return self.instance.create_run_for_job(
            defs().resolve_job_def(job),
            run_config=run_config,
            remote_job_origin=remote.get_remote_origin(),
            job_code_origin=remote.get_python_origin(),
        )

    def submit(self, run):
        """Queue a run that is recorded, as the webserver does."""
        return self.instance.submit_run(run.run_id, self.workspace.create_request_context())

    def repeated(self, run):
        """Record and queue a run again, as the UI's Re-execute does."""
        request = self.workspace.create_request_context()
        again = self.instance.create_reexecuted_run(
            parent_run=self.instance.get_run_by_id(run.run_id),
            request_context=request,
            code_location=request.get_code_location(LOCATION),
            remote_job=self._repository.get_full_job(run.job_name),
            strategy=ReexecutionStrategy.ALL_STEPS,
            use_parent_run_tags=True,
        )
        return self.instance.submit_run(again.run_id, request)

    def ticks(self, instigator):
        return self.instance.get_ticks(instigator.get_remote_origin_id(), instigator.selector_id)

    def schedule_ticks(self, name):
        return self.ticks(self._repository.get_schedule(name))

    def sensor_ticks(self, name):
        return self.ticks(self._repository.get_sensor(name))


@contextmanager
def daemon(instance):
    """Open the daemon of an instance on the lab's definitions."""
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(module_name="lab_pipeline.definitions"), location_name=LOCATION
    )
    with create_test_daemon_workspace_context(InProcessWorkspaceLoadTarget(origin), instance) as workspace:
        yield Daemon(instance, workspace)


@contextmanager
def dying_at(point):
    """Let the daemon die at a point of its own naming: what `kill -9` leaves there is left there.

    An interrupt is the one end at which the daemon writes nothing more about its tick.
    """

    def die(_flags, key):
        if key == point:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        for module in ("dagster._daemon.sensor", "dagster._scheduler.scheduler"):
            patch.setattr(f"{module}.check_for_debug_crash", die)
        try:
            yield
        except KeyboardInterrupt:
            return
    pytest.fail(f"the daemon never came to {point}")


@contextmanager
def tick_of(sensor, instance, cursor):
    """Yield what a sensor is given in a tick of the daemon."""
    tick = instance.create_tick(
        TickData("origin", sensor.name, InstigatorType.SENSOR, TickStatus.STARTED, time.time(), selector_id="selector")
    )
    with dg.SensorEvaluationContext(
        None,
        cursor=cursor,
        log_key=[REPOSITORY, sensor.name, str(tick.tick_id)],
        instance=instance,
        sensor_name=sensor.name,
        repository_def=defs().get_repository_def(),
        resources={"lab": LabResource()},
    ) as context:
        yield context


def queued(instance, job="backtest"):
    """Return the runs of a job, oldest first."""
    return instance.get_runs(dg.RunsFilter(job_name=job))[::-1]
