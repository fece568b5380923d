"""Waiting for what happens in other processes."""

import time


def until(condition, seconds=60.0, *, what="what was waited for"):
    """Wait until a condition holds, and return what it answers; fail once so much time has passed."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)
    return answer
