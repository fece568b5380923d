"""What can go wrong with a shared DuckDB file, said so that its user can act."""

from lab_pipeline.domain.errors import LabError


class StorageError(LabError):
    """A shared DuckDB file cannot be used as asked."""


class StorageTimeoutError(StorageError):
    """Somebody else held a shared DuckDB file for longer than the caller would wait."""
