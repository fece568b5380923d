"""How an op fails for a reason that the user can fix: one line, no retry."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import dagster as dg

from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.settings import load_settings


@contextmanager
def failing_clearly(log: dg.DagsterLogManager) -> Iterator[None]:
    """Turn a `LabError`, or what a disk did, into one line of the event log and a failure that is not retried."""
    try:
        yield
    except LabError as error:
        _fail(log, str(error))
    except Exception as error:
        said = disk_error(error, load_settings().home)
        if said is None:
            raise
        _fail(log, said)


def _fail(log: dg.DagsterLogManager, reason: str) -> NoReturn:
    log.error(reason)
    raise dg.Failure(description=reason, allow_retries=False) from None
