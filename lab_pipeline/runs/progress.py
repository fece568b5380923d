"""Who wants to see how far a run is: set by the command line, asked by the op that takes long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Progress = Callable[[int, int], None]

_listener: ContextVar[Progress | None] = ContextVar("progress", default=None)


@contextmanager
def listening(listener: Progress) -> Iterator[None]:
    """Send the progress of what runs in this context to `listener(done, total)`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Progress | None:
    """Return who listens in this context."""
    return _listener.get()
