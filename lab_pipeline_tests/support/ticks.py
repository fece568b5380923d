"""Records of sensors and of their ticks, as the daemon leaves them."""

from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, TickData, TickStatus
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin


def origin_of(name):
    """Return the origin of a schedule or sensor that no code has."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="nowhere"), "nowhere")
    return RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)


def tick(instance, at):
    """Record a tick of the inbox at a time."""
    origin = origin_of("inbox")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    if not instance.all_instigator_state():
        instance.add_instigator_state(state)
    at = at.timestamp()
    instance.create_tick(
        TickData(origin.get_id(), "inbox", InstigatorType.SENSOR, TickStatus.SKIPPED, at, selector_id=state.selector_id)
    )
