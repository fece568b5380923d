"""Artifacts over HTTP."""

from enum import StrEnum

from pydantic import Field

from lab_pipeline.api.schemas.base import Answer, Moment


class FileFormat(StrEnum):
    """Forms in which an artifact can be had."""

    PARQUET = "parquet"
    CSV = "csv"
    JSON = "json"


class Column(Answer):
    """A column of a table."""

    name: str
    """Its name."""
    type: str
    """Its Arrow type, such as `timestamp[ms, tz=UTC]`."""


class Artifact(Answer):
    """A file that a run published."""

    name: str
    """Its name, such as `trades.parquet`."""
    format: str
    """`parquet`, `json` or `html`."""
    path: str
    """Where it lies, relative to LAB_HOME, or its address in a bucket."""
    rows: int | None
    """Rows of a table; null for other files."""
    bytes: int
    """Its size."""
    sha256: str
    """Hash (hex) of its bytes, which is also the ETag of its download."""
    columns: list[Column] | None = Field(alias="schema")
    """Columns of a table; null for other files."""
    created_at: Moment
    """When the run published it, UTC."""
    download_url: str
    """Where to download it, on this server."""


class ArtifactList(Answer):
    """Everything that a run published; nothing before it has."""

    artifacts: list[Artifact]
    """The files."""
    next_cursor: str | None
    """Always null: the files of a run are one page."""
