"""How far a sweep is, in the log of its run."""

import time

import dagster as dg

from lab_pipeline.runs.progress import Progress

SECONDS_BETWEEN_LINES = 2.0


class ProgressLog:
    """Writes a line every two seconds: what is done, the best set so far, the time that is left."""

    def __init__(
        self, log: dg.DagsterLogManager, noun: str, sets: int, objective: str, listener: Progress | None = None
    ) -> None:
        """Begin now.

        Args:
            log: of the op.
            noun: of what is counted.
            sets: that are evaluated.
            objective: name of what ranks them.
            listener: who is told every step, too.
        """
        self._log, self._noun, self._listener = log, noun, listener
        self._sets, self._objective = sets, objective
        self._began = self._last = time.monotonic()
        self._best: tuple[int, float] | None = None

    def note_best(self, number: int, objective: float) -> None:
        """Remember the best set so far, by the days that select, and its objective."""
        self._best = number, objective

    def report(self, done: int, total: int) -> None:
        """Take note of how many are done, of how many."""
        if self._listener:
            self._listener(done, total)
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._log.info(self._line(done, total, now - self._began))

    def _line(self, done: int, total: int, seconds: float) -> str:
        left = seconds * (total - done) / done if done else 0.0
        text = f"{self._sets:,} sets x {done:,} of {total:,} {self._noun} ({done / total:.0%}), {left:,.0f} s left"
        if self._best is None:
            return text
        number, objective = self._best
        return f"{text}; best so far is set {number} ({self._objective} {objective:+.4f})"
