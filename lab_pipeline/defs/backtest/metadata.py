"""What the Dagster UI shows of a run: rows, columns, links, headline numbers, pictures."""

from collections.abc import Mapping
from urllib.parse import quote

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.metadata_table import column_schema
from lab_pipeline.defs.backtest.lineage import LINEAGE
from lab_pipeline.domain.backtest import ResolvedSpec
from lab_pipeline.domain.fill_assumptions import fill_assumptions
from lab_pipeline.domain.summary import Summary
from lab_pipeline.runs.artifacts import ArtifactFile, Manifest

PREVIEW_ROWS = 10
RETURNS = {
    "mean net return": "expectancy",
    "total return": "total_return",
    "win rate": "win_rate",
    "max drawdown": "max_drawdown",
}
"""Fields of the summary that the UI draws from run to run, fractions all of them."""
PLAIN_IN_A_DATA_URL = " /:=',;-.~"
"""What an SVG is full of and Markdown takes as it is within angle brackets; base64 would add a third to it."""


def file_metadata(file: ArtifactFile, uri: str, manifest: Manifest, api: str) -> dict[str, dg.MetadataValue]:
    """Describe an artifact: where it is, what is in it, and which result it belongs to.

    Its size is text, since the UI draws numbers: what is worth a line are returns, not bytes.

    Args:
        file: of the manifest.
        uri: where the file is.
        manifest: of the run.
        api: address of the HTTP API.
    """
    name = file.name.partition(".")[0]
    metadata: dict[str, dg.MetadataValue] = {
        "url": dg.MetadataValue.url(artifact_url(api, manifest.run_id, file.name)),
        "dagster/uri": dg.MetadataValue.text(uri),
        "bytes": dg.MetadataValue.text(f"{file.bytes:,}"),
        "sha256": dg.MetadataValue.text(file.sha256),
        "fingerprint": dg.MetadataValue.text(manifest.fingerprint),
    }
    if file.rows is not None:
        metadata["dagster/row_count"] = dg.MetadataValue.int(file.rows)
    if file.columns is not None:
        metadata["dagster/column_schema"] = column_schema(name, ((one.name, one.type) for one in file.columns))
    if name in LINEAGE:
        metadata["dagster/column_lineage"] = dg.MetadataValue.column_lineage(LINEAGE[name])
    return metadata


def describe_asset(context: dg.OpExecutionContext, output: str, metadata: Mapping[str, dg.MetadataValue]) -> None:
    """Describe the asset of an output that is about to be yielded.

    As metadata of the output, the log of the run would have it twice: of the output, and of the asset.

    Args:
        context: of an op of the asset.
        output: its name.
        metadata: of the asset.
    """
    context.get_step_execution_context().add_asset_metadata(metadata, context.asset_key_for_output(output))


def artifact_url(api: str, run_id: str, name: str) -> str:
    """Return where the HTTP API has an artifact."""
    return f"{api}/runs/{run_id}/artifacts/{name}"


def page_url(api: str, run_id: str) -> str:
    """Return where the lab shows a run to people."""
    return f"{api}/lab/runs/{run_id}"


def equity_line(equity: pl.DataFrame) -> dict[str, dg.MetadataValue]:
    """Return the equity as a line of text, which the UI shows as it is: a picture there waits for a click."""
    if equity.is_empty():
        return {}
    from lab_pipeline.reports import sparkline  # noqa: PLC0415 - loaded with the sheet

    values = equity["equity"].to_list()
    return {"equity": dg.MetadataValue.text(f"{values[0]:,.2f} {sparkline(values)} {values[-1]:,.2f}")}


def headline(summary: Summary, spec: ResolvedSpec) -> dict[str, dg.MetadataValue]:
    """Return the summary under the strategy: returns as numbers, all of it as a table; undefined ones are left out.

    The UI draws numbers from run to run as one line. Of returns that is worth having, though the next run may be of
    another strategy, or over other calls; all else would be drawn in their way.
    """
    numbers = [(name, value) for name, value in summary.model_dump().items() if value is not None]
    records = [dg.TableRecord({"number": name, "value": value}) for name, value in numbers]
    schema = dg.TableSchema([dg.TableColumn("number"), dg.TableColumn("value", "float")])
    returns = {name: getattr(summary, field) for name, field in RETURNS.items()}
    return {
        "strategy": dg.MetadataValue.text(spec.strategy_id),
        **{name: dg.MetadataValue.float(round(value, 6)) for name, value in returns.items() if value is not None},
        "fill assumptions": dg.MetadataValue.text(fill_assumptions(spec.strategy.to_json_dict()).text),
        "headline": dg.MetadataValue.table(records, schema),
    }


def numbers(summary: Summary) -> dict[str, dg.MetadataValue]:
    """Return the summary as numbers, which the UI draws over an asset's partitions; undefined ones are left out."""
    return {
        name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)
        for name, value in summary.model_dump().items()
        if value is not None
    }


def picture(svg: str, title: str) -> dg.MetadataValue:
    """Embed a picture, which the UI shows as Markdown; it should be small, for the event storage has it twice."""
    data = quote(svg.replace('"', "'"), safe=PLAIN_IN_A_DATA_URL)  # both quote attributes; in texts they are escaped
    return dg.MetadataValue.md(f"![{title}](<data:image/svg+xml,{data}>)")
