"""`lab ingest`: bring candles and calls into the lake."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab_pipeline.cli.app import group, open_lab, out
from lab_pipeline.cli.progress import progress_bar
from lab_pipeline.domain.errors import LabError

if TYPE_CHECKING:
    from lab_pipeline.lake.ingest import IngestReport
    from lab_pipeline.lake.layout import Table
    from lab_pipeline.lake.sources import Hints

ingest_app = group("ingest", "Ingest files into the lake: all rows of a file or none.")

Files = Annotated[list[Path], typer.Argument(help="CSV, Parquet, Feather or JSON, plain or packed.", metavar="FILE...")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what the files are taken for, and ingest nothing.")]
Columns = Annotated[
    str | None, typer.Option(help="Names of the columns of files without a header: timestamp,open,high,low,...")
]
Map = Annotated[
    list[str] | None, typer.Option("--map", help="Take a column for one of the lake's, such as volume='Volume BTC'.")
]
Decimal = Annotated[str | None, typer.Option(help="What is before the fraction of numbers in text: , or .")]

CallFiles = Annotated[
    list[Path],
    typer.Argument(help="CSV, Parquet, Feather, JSON or Telegram's result.json, plain or packed.", metavar="FILE..."),
]


@ingest_app.command("candles")
def candles(  # noqa: PLR0917 - options of a command
    files: Files,
    timeframe: Annotated[
        str | None, typer.Option(help="Length of the candles, if the files do not say: 1m, 5m, 1h, ...")
    ] = None,
    mint: Annotated[str | None, typer.Option(help="The token of all rows, for files without such a column.")] = None,
    mint_from_name: Annotated[
        bool, typer.Option("--mint-from-name", help="The file's name is the token, for files without such a column.")
    ] = False,
    columns: Columns = None,
    mapped: Map = None,
    decimal: Decimal = None,
    matching_only: Annotated[
        bool, typer.Option("--matching-only", help="Skip rows that say they are of another length.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Accept candles whose spacing suggests longer ones.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Add candles. The same rows again change nothing; a changed row replaces the old one and is reported."""
    from lab_pipeline.defs.lake.events import report_candles
    from lab_pipeline.lake.layout import CANDLES

    hints = _hints(mint, columns, mapped, decimal, mint_from_name=mint_from_name)
    if dry_run:
        _show(files, CANDLES, timeframe, hints)
        return
    lab = open_lab()
    with progress_bar("ingesting candles", "steps") as bar:
        report = lab.lake.ingest_candles(
            files, timeframe, hints=hints, matching_only=matching_only, force=force, on_progress=bar
        )
    print_report(report, "candles")
    with lab:
        report_candles(lab, report)


@ingest_app.command("calls")
def calls(  # noqa: PLR0917 - options of a command
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
    dry_run: DryRun = False,
) -> None:
    """Add calls, of tables or chats. A call_id that the lake has with other values is replaced and reported."""
    from lab_pipeline.defs.lake.events import report_calls
    from lab_pipeline.lake.chats import Reading
    from lab_pipeline.lake.layout import CALLS
    from lab_pipeline.lake.sources import Hints

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
    if dry_run:
        _show(files, CALLS, None, Hints(chats=chats))
        return
    with progress_bar("ingesting calls", "steps") as bar:
        report = lab.lake.ingest_calls(files, chats=chats, on_progress=bar)
    print_report(report, "calls")
    with lab:
        report_calls(lab, report)


def _hints(
    mint: str | None, columns: str | None, mapped: list[str] | None, decimal: str | None, *, mint_from_name: bool
) -> "Hints":
    from lab_pipeline.lake import LakeError
    from lab_pipeline.lake.ingest import check_hints
    from lab_pipeline.lake.sources import Hints

    taken = {}
    for one in mapped or []:
        column, equals, there = one.partition("=")
        if not equals or not there:
            raise LakeError(f"--map {one} is not of the form volume='Volume BTC'")
        taken[column.strip()] = there
    names = tuple(name.strip() for name in columns.split(",")) if columns is not None else ()
    hints = Hints(mint, mint_from_name, names, taken, decimal)
    check_hints(hints)
    return hints


def _show(files: list[Path], table: "Table", timeframe: str | None, hints: "Hints") -> None:
    """Print what files are taken for."""
    import polars as pl

    from lab_pipeline.lake.understanding import understand

    for understood in understand(files, table, timeframe, hints):
        first, *rest = understood.lines()
        out.print(first)
        for line in rest:
            out.print(f"  {line}")
        rows = understood.first_rows
        lists = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.List)]
        rows = rows.with_columns(pl.col(lists).cast(pl.List(pl.String)).list.join(";"))
        out.print(f"  {','.join(rows.columns)}")
        for line in rows.write_csv(include_header=False).splitlines():
            out.print(f"  {line}")
    out.print("nothing was ingested: this was a dry run")


def print_report(report: "IngestReport", noun: str) -> None:
    """Say what an ingest did, and what it did not take."""
    out.print(
        f"{report.rows:,} {noun} on {report.mints:,} mints: {report.added:,} added, {report.changed:,} changed, "
        f"{report.unchanged:,} already there"
    )
    for remark in report.remarks():
        out.print(remark)
