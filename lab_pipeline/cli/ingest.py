"""`lab ingest`: bring candles and calls into the lake."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab_pipeline.cli.app import app, open_lab, out
from lab_pipeline.cli.progress import progress_bar
from lab_pipeline.domain.errors import LabError

if TYPE_CHECKING:
    from lab_pipeline.lake.ingest import IngestReport

ingest_app = typer.Typer(help="Ingest files into the lake: all rows of a file or none.", no_args_is_help=True)
app.add_typer(ingest_app, name="ingest")

Files = Annotated[list[Path], typer.Argument(help="CSV or Parquet, plain or gzip.", metavar="FILE...")]

CallFiles = Annotated[
    list[Path], typer.Argument(help="CSV, Parquet or Telegram's result.json, plain or gzip.", metavar="FILE...")
]


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
def calls(  # noqa: PLR0917 - one parameter an option
    files: CallFiles,
    caller: Annotated[str | None, typer.Option(help="Who calls, for files without such a column.")] = None,
    aliases: Annotated[
        Path | None, typer.Option(help="Who is who (YAML); by default callers.yaml of the home.", metavar="FILE")
    ] = None,
    patterns: Annotated[
        Path | None,
        typer.Option(
            help="What is a call in a message (YAML); by default chat_patterns.yaml of the home.", metavar="FILE"
        ),
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="Zone of messages that have their local time alone: Europe/Berlin.")
    ] = None,
    skipped: Annotated[
        Path | None,
        typer.Option(help="List messages that are no calls in this file, a line of JSON each.", metavar="FILE"),
    ] = None,
) -> None:
    """Add calls, of tables or chats. A call_id that the lake has with other values is replaced and reported."""
    from lab_pipeline.defs.lake.events import report_calls
    from lab_pipeline.lake.chats import Reading

    for given in (aliases, patterns):
        if given is not None and not given.is_file():
            raise LabError(f"{given} is no file")
    lab = open_lab()
    chats = Reading.of(
        patterns or lab.settings.chat_patterns_path,
        aliases or lab.settings.callers_path,
        caller=caller,
        zone=zone,
        skipped=skipped,
    )
    with progress_bar("ingesting calls", "steps") as bar:
        report = lab.lake.ingest_calls(files, chats=chats, on_progress=bar)
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
