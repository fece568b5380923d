"""What the Dagster UI shows of a run: rows, columns, paths, headline numbers, pictures."""

from pathlib import Path
from urllib.parse import quote

import dagster as dg

from lab_pipeline.domain.summary import Summary
from lab_pipeline.runs.artifacts import ArtifactFile, Manifest

PREVIEW_ROWS = 10
PLAIN_IN_A_DATA_URL = " /:=',;-.~"
"""What an SVG is full of and Markdown takes as it is within angle brackets; base64 would add a third to it."""


def file_metadata(file: ArtifactFile, directory: Path, manifest: Manifest) -> dict[str, dg.MetadataValue]:
    """Describe an artifact: where it lies, what is in it, and which result it belongs to."""
    metadata: dict[str, dg.MetadataValue] = {
        "path": dg.MetadataValue.path(str(directory / file.name)),
        "bytes": dg.MetadataValue.int(file.bytes),
        "sha256": dg.MetadataValue.text(file.sha256),
        "fingerprint": dg.MetadataValue.text(manifest.fingerprint),
    }
    if file.rows is not None:
        metadata["dagster/row_count"] = dg.MetadataValue.int(file.rows)
    if file.columns is not None:
        columns = [dg.TableColumn(column.name, column.type) for column in file.columns]
        metadata["dagster/column_schema"] = dg.MetadataValue.table_schema(dg.TableSchema(columns))
    return metadata


def headline(summary: Summary) -> dict[str, dg.MetadataValue]:
    """Return the summary as numbers, which the UI plots from run to run; undefined ones are left out."""
    return {
        name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)
        for name, value in summary.model_dump().items()
        if value is not None
    }


def picture(svg: str, title: str) -> dg.MetadataValue:
    """Embed a picture, which the UI shows as Markdown; it should be small, for the event storage has it three times."""
    data = quote(svg.replace('"', "'"), safe=PLAIN_IN_A_DATA_URL)  # both quote attributes; in texts they are escaped
    return dg.MetadataValue.md(f"![{title}](<data:image/svg+xml,{data}>)")
