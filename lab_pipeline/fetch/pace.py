"""How often a source may be asked, by all processes of a home together."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab_pipeline.files.locks import locked

SECONDS_A_MINUTE = 60.0
LONGEST_WAIT_SECONDS = 600.0
"""What a file asks for beyond it was written under a clock that went wrong since."""


@dataclass(frozen=True)
class Pace:
    """Gives turns: a file holds when the next one is, and whoever takes it moves it on.

    Attributes:
        path: of the file.
        per_minute: turns a minute.
    """

    path: Path
    per_minute: int
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def wait(self) -> None:
        """Wait for a turn."""
        with self._alone() as descriptor:
            now = self.clock()
            turn = max(now, self._next(descriptor, now))
            _write(descriptor, turn + SECONDS_A_MINUTE / self.per_minute)
        if turn > now:
            self.sleep(turn - now)

    def hold(self, seconds: float) -> None:
        """Give nobody a turn for some time, as a source has asked."""
        with self._alone() as descriptor:
            now = self.clock()
            _write(descriptor, max(now + min(seconds, LONGEST_WAIT_SECONDS), self._next(descriptor, now)))

    def _next(self, descriptor: int, now: float) -> float:
        text = os.pread(descriptor, 64, 0)
        try:
            turn = float(text)
        except ValueError:
            return 0.0  # nobody had one, or the power went while it was written
        return min(turn, now + LONGEST_WAIT_SECONDS)

    def _alone(self) -> "_Opened":
        return _Opened(self.path)


class _Opened:
    """A file that is open and locked."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = locked(path.with_suffix(".lock"))

    def __enter__(self) -> int:
        self._lock.__enter__()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)
        self._lock.__exit__(None, None, None)


def _write(descriptor: int, turn: float) -> None:
    text = f"{turn:.6f}".encode()
    os.pwrite(descriptor, text.ljust(32), 0)
