"""`lab fetch`: candles from where they are."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab_pipeline.cli.app import group, open_lab, out
from lab_pipeline.cli.progress import progress_bar
from lab_pipeline.domain.errors import LabError

if TYPE_CHECKING:
    from lab_pipeline.fetch import Fetched, Plan, Wanted
    from lab_pipeline.fetch.source import CandleSource

fetch_app = group("fetch", "Fetch candles from where they are: what calls need and the lake lacks; and calls.")
NAMED = 5
"""Tokens that a message names."""


@fetch_app.command("candles")
def candles(
    *,
    source: Annotated[
        str,
        typer.Option(help="geckoterminal, coingecko, birdeye, ccxt, binance_vision, freqtrade, clickhouse or duckdb."),
    ],
    timeframe: Annotated[str, typer.Option(help="Length of the candles: 1m, 5m, 1h, ...")],
    for_calls: Annotated[
        bool, typer.Option("--for-calls", help="What the calls of the lake need, for all active strategies.")
    ] = False,
    callers: Annotated[list[str] | None, typer.Option("--caller", help="Only calls of this caller; repeat it.")] = None,
    mints: Annotated[list[str] | None, typer.Option("--mint", help="Only calls on this token; repeat it.")] = None,
    chain: Annotated[
        str | None, typer.Option(help="Chain of tokens whose calls do not say it. [default: solana, unless 0x...]")
    ] = None,
    path: Annotated[
        Path | None, typer.Option(help="freqtrade's data directory of an exchange, or a DuckDB file.")
    ] = None,
    exchange: Annotated[str | None, typer.Option(help="One of ccxt's exchanges, for --source ccxt: kraken.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would take, and fetch nothing.")] = False,
) -> None:
    """Fetch exactly the candles that calls need and the lake lacks. Killed at any time, it goes on where it was."""
    from lab_pipeline.domain.timeframe import timeframe_ms
    from lab_pipeline.fetch import Fetcher, Ledger, open_source
    from lab_pipeline.operations.fetching import needed_candles

    if not for_calls:
        raise LabError("say what to fetch: --for-calls is what the calls of the lake need")
    try:
        timeframe_ms(timeframe)
    except ValueError as error:
        raise LabError(f"--timeframe: {error}") from None
    lab = open_lab()
    ledger = Ledger(lab.settings.catalog_path)
    with closing(open_source(source, lab.settings, ledger, path, exchange)) as asked:
        fetcher = Fetcher(asked, lab.lake, ledger, timeframe)
        found = needed_candles(
            lab,
            timeframe,
            fetcher.until_ms(),
            by_chain=asked.by_chain,
            callers=callers or (),
            mints=mints or (),
            chain=chain,
        )
        plan = fetcher.plan(found.tokens)
        _announce(plan, found, asked)
        if estimate or not plan.requests:
            return
        with progress_bar(f"fetching from {source}", "windows") as bar:
            fetched = fetcher.carry_out(plan, bar)
    _print(fetched)
    if fetched.report is not None:
        from lab_pipeline.defs.lake.events import report_candles

        with lab:
            report_candles(lab, fetched.report)


@fetch_app.command("calls")
def calls(
    path: Annotated[Path, typer.Option(help="A DuckDB file with quantBot's table user_calls_d.")],
    aliases: Annotated[
        Path | None, typer.Option(help="Who is who (YAML); by default callers.yaml of the home.", metavar="FILE")
    ] = None,
) -> None:
    """Fetch the calls that a bot has kept of its chats. The same calls again change nothing."""
    from lab_pipeline.cli.ingest import print_report
    from lab_pipeline.defs.lake.events import report_calls
    from lab_pipeline.fetch.quantbot import calls_in
    from lab_pipeline.lake.chats import Reading

    if aliases is not None and not aliases.is_file():
        raise LabError(f"{aliases} is no file")
    lab = open_lab()
    chats = Reading.of(lab.settings.chat_patterns_path, aliases or lab.settings.callers_path)
    report = lab.lake.write_calls(calls_in(path), chats=chats, name=str(path))
    print_report(report, "calls")
    with lab:
        report_calls(lab, report)


def _announce(plan: "Plan", found: "Wanted", source: "CandleSource") -> None:
    if found.no_chain:
        named = ", ".join(found.no_chain[:NAMED]) + (", ..." if len(found.no_chain) > NAMED else "")
        out.print(f"{len(found.no_chain):,} tokens left out, since no call says their chain (--chain does): {named}")
    if not plan.requests:
        out.print(f"nothing to fetch: the lake has what {len(found.tokens):,} tokens need, or {source.name} has not")
        return
    mints = len({request.mint for request in plan.requests})
    cost = "cost unknown" if plan.cost is None else "free" if plan.cost == 0 else f"cost {plan.cost:,.2f}"
    again = f", {plan.read_again:,} windows once more, since they are young" if plan.read_again else ""
    out.print(
        f"up to {plan.candles:,} candles on {mints:,} mints: about {plan.estimate:,} requests, at least "
        f"{plan.seconds:,.0f} s, {cost}{again}"
    )


def _print(fetched: "Fetched") -> None:
    report = fetched.report
    said = (
        ""
        if report is None
        else (f": {report.added:,} added, {report.changed:,} changed, {report.unchanged:,} already there")
    )
    out.print(f"{fetched.candles:,} candles in {fetched.windows:,} windows, {fetched.empty:,} of them empty{said}")
    if fetched.excluded:
        out.print(f"{fetched.excluded:,} candles left out, since they break the lake's rules")
