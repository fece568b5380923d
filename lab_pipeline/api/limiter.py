"""Room for what takes long: places that are taken or refused at once, and threads that serve one kind of work alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from anyio import CapacityLimiter

from lab_pipeline.api.errors import UnavailableError


@dataclass
class Limiter:
    """How many of something there are at once; counted in the event loop, by one thread.

    Attributes:
        most: places there are.
        full: the message of the error when all places are taken.
        taken: places that are taken.
    """

    most: int
    full: str
    taken: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place.

        Raises:
            UnavailableError: at once, if all are taken.
        """
        if self.taken >= self.most:
            raise UnavailableError(self.full)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


@dataclass(frozen=True)
class Threads:
    """Threads by what they are for: no kind of work ever waits for another, nor do the routes that have none here.

    Attributes:
        health: what is looked at to know whether the lab works.
        queries: pages and series from ClickHouse; more of them at once only wait for one another there.
        streams: what the followers of runs need.
        files: reading and converting what is downloaded.
    """

    health: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    queries: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))
    streams: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
    files: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(2))
