"""Lines of the logs of the lab's own programs: timed in UTC, like everything else that it says."""

import logging
import time


class UtcFormatter(logging.Formatter):
    """Write the time as ISO 8601 in UTC, with milliseconds and Z."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


def log_to_stderr(
    logger: logging.Logger, level: int, pattern: str = "%(asctime)s %(levelname)s %(name)s: %(message)s"
) -> None:
    """Write what a logger and those below it say, from a level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(UtcFormatter(pattern))
    logger.addHandler(handler)
    logger.setLevel(level)
