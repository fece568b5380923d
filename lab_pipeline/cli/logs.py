"""`lab runs logs`: what a run has logged."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab_pipeline.cli.app import open_lab, out
from lab_pipeline.cli.runs import AsJson, RunId, runs_app
from lab_pipeline.domain.text import visible_json

if TYPE_CHECKING:
    import dagster as dg

    from lab_pipeline.clickhouse.client import ClickHouse

PAGE_LINES = 1_000
FOLLOW_SECONDS = 1.0
STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}


class Level(StrEnum):
    """The least level that is shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@runs_app.command("logs")
def logs(  # noqa: PLR0917 - one parameter an option
    run: RunId,
    level: Annotated[
        Level, typer.Option(case_sensitive=False, help="Show lines of this level and above.")
    ] = Level.INFO,
    search: Annotated[str, typer.Option(help="Show lines whose message or stack has this text.")] = "",
    tail: Annotated[
        int | None, typer.Option(min=1, max=PAGE_LINES, help="Show only this many of the newest lines.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log until the run ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the log of a run of any job, oldest line first; with --json one object a line."""
    from lab_pipeline.clickhouse.logs import Order, list_lines
    from lab_pipeline.operations.log_shipper import ship_runs

    show = _print_json if as_json else _print_text
    wanted: dict[str, Any] = {"level": level.name, "text": search}
    with open_lab() as lab, lab.clickhouse.connection() as clickhouse:
        instance = lab.instance
        found = _find(instance, run)
        ship_runs(instance, clickhouse, [found])
        if tail is not None:
            newest = list_lines(clickhouse, found, order=Order.NEWEST_FIRST, limit=tail, **wanted).lines.reverse()
            cursor = _show(newest.iter_rows(named=True), show)
        else:
            cursor = _show(_lines(clickhouse, found, None, wanted), show)
        while follow:
            state = instance.get_run_by_id(found)
            ended = state is None or state.is_finished
            ship_runs(instance, clickhouse, [found])
            cursor = _show(_lines(clickhouse, found, cursor, wanted), show) or cursor
            if ended:
                return
            sys.stdout.flush()
            time.sleep(FOLLOW_SECONDS)


def _lines(
    clickhouse: "ClickHouse", run_id: str, cursor: int | None, wanted: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    from lab_pipeline.clickhouse.logs import list_lines

    more = True
    while more:
        page = list_lines(clickhouse, run_id, cursor=cursor, limit=PAGE_LINES, **wanted)
        yield from page.lines.iter_rows(named=True)
        cursor, more = page.next_cursor, page.next_cursor is not None


def _show(lines: Iterator[dict[str, Any]], show: Callable[[dict[str, Any]], None]) -> int | None:
    """Show lines and return the number of the last, or None if there was none."""
    last = None
    for line in lines:
        show(line)
        last = int(line["seq"])
    return last


def _print_text(line: dict[str, Any]) -> None:
    from lab_pipeline.domain.backtest import iso

    where = f" {line['step_key']}" if line["step_key"] else ""
    out.print(
        f"{iso(line['timestamp'])} {line['level']:8}{where} {line['message']}",
        style=STYLES.get(line["level"]),
        soft_wrap=True,
    )
    if line["stack"]:
        out.print(line["stack"].rstrip(), style=STYLES.get(line["level"]), soft_wrap=True)


def _print_json(line: dict[str, Any]) -> None:
    from lab_pipeline.domain.backtest import iso

    record = {
        "seq": line["seq"],
        "timestamp": iso(line["timestamp"]),
        "level": line["level"],
        "step": line["step_key"] or None,
        "eventType": line["event_type"] or None,
        "message": line["message"],
        "stack": line["stack"] or None,
        "data": json.loads(line["data"]),
    }
    sys.stdout.write(visible_json(record) + "\n")


def _find(instance: "dg.DagsterInstance", start: str) -> str:
    from lab_pipeline.runs.artifacts import UnknownRunError

    if instance.has_run(start):
        return start
    found = [run_id for run_id in instance.get_run_ids() if run_id.startswith(start)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownRunError(f"unknown run '{start}': `lab runs list` shows the backtests there are")
    raise UnknownRunError(f"'{start}' is the start of {len(found)} run ids: write more of it")
