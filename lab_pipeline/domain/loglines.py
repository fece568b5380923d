"""Lines of the logs of the lab's own programs: timed in UTC, and each one line, whatever somebody named is in it."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from lab_pipeline.domain.text import visible

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class LineFormatter(logging.Formatter):
    """Write the time as ISO 8601 in UTC, and a message on one line; a stack follows on lines of its own."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Write the line."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802, ANN401 - logging's name and tuple
        """Write the stack."""
        return visible(super().formatException(ei), keep="\n\t")


def log_to_stderr(names: Sequence[str], line: str = LINE, level: int = logging.INFO) -> None:
    """Write the records of loggers to standard error.

    Args:
        names: of the loggers.
        line: the format of a line.
        level: the least that is written.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(line))
    for name in names:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
