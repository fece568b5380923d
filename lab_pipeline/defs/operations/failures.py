"""How an op fails for a reason that the user can mend: one line, no retry."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from lab_pipeline.domain.errors import LabError


@contextmanager
def failing_clearly(log: dg.DagsterLogManager) -> Iterator[None]:
    """Turn a `LabError` into one line of the event log and a failure that is not retried."""
    try:
        yield
    except LabError as error:
        log.error(str(error))  # noqa: TRY400 - one line that says what to do, no stack
        raise dg.Failure(description=str(error), allow_retries=False) from None
