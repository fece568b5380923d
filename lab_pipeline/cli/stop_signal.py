"""An event that signals set."""

import os
import signal
from contextlib import suppress
from multiprocessing.connection import wait
from types import FrameType


class StopSignal:
    """Like `threading.Event`, but for handlers of signals.

    Those interrupt the main thread anywhere, also while it holds the lock inside of an Event that it waits for: a
    handler that sets the Event then waits for that lock for ever. This one has no lock.
    """

    def __init__(self) -> None:
        """Start unset."""
        self._set = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the handler's signature
        """Set it: the handler."""
        self._set = True
        with suppress(BlockingIOError):  # full: who waits has long been woken
            os.write(self._writer, b"\0")

    def handles(self, *numbers: signal.Signals) -> "StopSignal":
        """Have these signals set it, and return it."""
        for number in numbers:
            signal.signal(number, self.handle)
        return self

    def is_set(self) -> bool:
        """Return whether one of the signals has come."""
        return self._set

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, for so many seconds at most; return whether it is."""
        if not self._set:
            wait([self._reader], timeout)
        return self._set
