"""`lab ingest`: bring candles and calls into the lake."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab_pipeline.cli.app import app, open_lab, out
from lab_pipeline.cli.progress import progress_bar

if TYPE_CHECKING:
    from lab_pipeline.lake.ingest import IngestReport

ingest_app = typer.Typer(help="Ingest files into the lake: all rows of a file or none.", no_args_is_help=True)
app.add_typer(ingest_app, name="ingest")

Files = Annotated[list[Path], typer.Argument(help="CSV or Parquet, plain or gzip.", metavar="FILE...")]


@ingest_app.command("candles")
def candles(
    files: Files,
    timeframe: Annotated[str, typer.Option(help="Length of the candles in the files: 1m, 5m, 1h, ...")],
    mint: Annotated[str | None, typer.Option(help="The token of all rows, for files without such a column.")] = None,
    matching_only: Annotated[
        bool, typer.Option("--matching-only", help="Skip rows that say they are of another length.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Accept candles whose spacing suggests longer ones.")] = False,
) -> None:
    """Add candles. The same rows again change nothing; a changed row replaces the old one and is reported."""
    from lab_pipeline.defs.lake.events import report_candles

    lab = open_lab()
    with progress_bar("ingesting candles", "steps") as bar:
        report = lab.lake.ingest_candles(
            files, timeframe, mint=mint, matching_only=matching_only, force=force, on_progress=bar
        )
    _print(report, "candles")
    with lab:
        report_candles(lab, report)


@ingest_app.command("calls")
def calls(files: Files) -> None:
    """Add calls. A call_id that the lake has with other values is replaced and reported."""
    from lab_pipeline.defs.lake.events import report_calls

    lab = open_lab()
    with progress_bar("ingesting calls", "steps") as bar:
        report = lab.lake.ingest_calls(files, on_progress=bar)
    _print(report, "calls")
    with lab:
        report_calls(lab, report)


def _print(report: "IngestReport", noun: str) -> None:
    out.print(
        f"{report.rows:,} {noun} on {report.mints:,} mints: {report.added:,} added, {report.changed:,} changed, "
        f"{report.unchanged:,} already there"
    )
    for remark in report.remarks():
        out.print(remark)
