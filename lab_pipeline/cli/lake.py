"""`lab lake`: what the lake has, and what looks wrong in it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab_pipeline.cli.app import group, open_lab, out, table
from lab_pipeline.domain.errors import LabError

if TYPE_CHECKING:
    import polars as pl

    from lab_pipeline.lake import Lake

lake_app = group("lake", "What the lake has, and what looks wrong in it.")
TOKENS_SHOWN = 20
VERSIONS_SHOWN = 20
PICTURES = 100
NOT_IN_NAMES = '/\\:*?"<>|'


@lake_app.callback()
def _group() -> None: ...


@lake_app.command("quality")
def show_quality(
    *,
    timeframe: Annotated[
        str | None, typer.Option(help="Length of the candles. [default: all that the lake has]")
    ] = None,
    mints: Annotated[
        list[str] | None, typer.Option("--mint", help="Only this token, each of its faults; repeat it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Tokens at most, the worst first.")] = TOKENS_SHOWN,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Draw the candles of each token that is shown into this directory.", metavar="DIR"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every fault as JSON.")] = False,
) -> None:
    """Show what looks wrong in candles: spikes, changed units, copies, flat runs, runs without volume."""
    from lab_pipeline.lake.faults import by_mint, find_faults

    lake = open_lab().lake
    found = {length: find_faults(lake, length, mints) for length in _lengths(lake, timeframe)}
    if as_json:
        _print_json(found)
        return
    for length, faults in found.items():
        worst = by_mint(faults)
        known = lake.mints(length)
        out.print(f"{length}: {faults.height:,} faults on {worst.height:,} of {len(known):,} tokens")
        if worst.is_empty():
            continue
        shown = worst.head(limit)
        if mints:
            _print_each(faults.filter(faults["mint"].is_in(shown["mint"].to_list())))
        else:
            counted = shown.columns[1:]
            rarest = sorted(counted, key=lambda name: int(worst[name].sum()))
            columns = table(*shown.columns, right=counted, drop=rarest[:-1])
            for row in shown.iter_rows():
                columns.add_row(str(row[0]), *(f"{count:,}" for count in row[1:]))
            out.print(columns)
            if worst.height > limit:
                out.print(f"and {worst.height - limit:,} tokens more")
        if pictures is not None:
            _draw(lake, length, shown["mint"].head(PICTURES).to_list(), faults, pictures)


@lake_app.command("history")
def show_history(
    *,
    limit: Annotated[int, typer.Option(min=1, help="Versions at most, the newest first.")] = VERSIONS_SHOWN,
    as_json: Annotated[bool, typer.Option("--json", help="Print the versions as JSON.")] = False,
) -> None:
    """List the versions of the lake, which backtests can go back to with --as-of."""
    from lab_pipeline.domain.backtest import iso
    from lab_pipeline.lake.versions import is_kept

    lake = open_lab().lake
    versions = lake.history()
    shown = [(one, is_kept(lake.store, one)) for one in reversed(versions[-limit:])]
    if as_json:
        rows = [
            {
                "version": one.name,
                "at": iso(one.at),
                "table": one.table,
                "what": one.what,
                "added": one.added,
                "changed": one.changed,
                "isKept": kept,
            }
            for one, kept in shown
        ]
        out.print_json(json.dumps({"versions": rows}))
        return
    columns = table("version", "committed (UTC)", "table", "what", "added", "changed", "", right=["added", "changed"])
    for one, kept in shown:
        counts = ("" if count is None else f"{count:,}" for count in (one.added, one.changed))
        columns.add_row(one.name, f"{one.at:%Y-%m-%d %H:%M:%S}", one.table, one.what, *counts, "" if kept else "gone")
    out.print(columns)
    if len(versions) > limit:
        out.print(f"and {len(versions) - limit:,} versions before")


@lake_app.command("repair")
def repair() -> None:
    """Go on without what is lost or damaged: the rows of such files are gone, those of all others stay."""
    done = open_lab().lake.repair()
    for said in done:
        out.print(said)
    out.print(f"{len(done):,} files were taken off the lake" if done else "nothing is lost or damaged")


def _lengths(lake: "Lake", timeframe: str | None) -> list[str]:
    """Return the lengths of candles that are asked for."""
    there = lake.timeframes()
    if timeframe is None:
        return there
    if timeframe not in there:
        raise LabError(f"the lake has no candles of {timeframe}: it has {', '.join(there) or 'none'}")
    return [timeframe]


def _print_each(faults: "pl.DataFrame") -> None:
    for fault in faults.iter_rows(named=True):
        last = "" if fault["candles"] == 1 else f" to {fault['last']:%Y-%m-%d %H:%M}, {fault['candles']:,} candles"
        out.print(f"  {fault['mint']}  {fault['first']:%Y-%m-%d %H:%M}{last}  {fault['fault']}: {fault['detail']}")


def _print_json(found: "dict[str, pl.DataFrame]") -> None:
    rows = [
        {"timeframe": length, **fault, "first": fault["first"].isoformat(), "last": fault["last"].isoformat()}
        for length, faults in found.items()
        for fault in faults.iter_rows(named=True)
    ]
    out.print_json(json.dumps(rows))


def _draw(lake: "Lake", timeframe: str, mints: list[str], faults: "pl.DataFrame", directory: Path) -> None:
    """Write a picture a token; names of files are those of tokens, without what no file may be called."""
    from lab_pipeline.lake.faults import candles_of
    from lab_pipeline.reports.candle_picture import candle_picture

    directory.mkdir(parents=True, exist_ok=True)
    for mint in mints:
        name = "".join("_" if sign in NOT_IN_NAMES else sign for sign in mint)
        path = directory / f"{name}-{timeframe}.svg"
        marks = faults.filter(faults["mint"] == mint)
        path.write_text(candle_picture(candles_of(lake, timeframe, mint), marks, title=f"{mint}, {timeframe}"))
        out.print(f"  {path}")
