"""`lab demo`: a market, a backtest, and where to look."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from lab_pipeline.cli.app import app, open_lab, out, settings, table
from lab_pipeline.cli.backtest import print_result, run_foreground
from lab_pipeline.cli.progress import progress_bar
from lab_pipeline.cli.summary import percent
from lab_pipeline.cli.sweep_verdict import print_sweep
from lab_pipeline.cli.tables import TextTable
from lab_pipeline.domain.backtest import iso

DEMO_TIMEFRAME = "5m"
MOST_TOKENS = 100_000
MOST_CALLS = 10_000_000
DEMO_STRATEGY = "ladder"
DEMO_SWEEP = {
    "strategy": DEMO_STRATEGY,
    "timeframe": DEMO_TIMEFRAME,
    "space": {
        "reentry": [None],
        "exit.stopLoss": [0.1, 0.15, 0.2, 0.3, 0.4],
        "exit.trailing": [
            None,
            {"activation": 1.3, "distance": 0.2},
            {"activation": 1.5, "distance": 0.3},
            {"activation": 2.0, "distance": 0.3},
        ],
        "exit.maxHoldMinutes": [60, 120, 240, 480, 1440],
        "exit.targets": {"ladder": {"multiples": [1.3, 1.6, 2, 3], "fractions": [[1.0], [0.5, 0.5]]}},
    },
    "objective": {"min_days": 5},
    "validation": {
        "holdout": 0,
        "walk_forward": {"train_days": 8, "test_days": 1, "step_days": 1},
        "placebo": 39,
    },
    "keep": {"top": 3},
}
"""A thousand ways out. The demo's two weeks are too few to hold days out of, and for the overfitting to be said."""


@app.command("demo")
def demo(
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the generated market.")] = 7,
    tokens: Annotated[int, typer.Option(min=1, max=MOST_TOKENS, help="Tokens in the market.")] = 300,
    calls: Annotated[int, typer.Option(min=1, max=MOST_CALLS, help="Calls made on them.")] = 1500,
) -> None:
    """Generate a token market, load it into the lake, run a backtest on it through Dagster, and sweep its exits."""
    import polars as pl

    from lab_pipeline.defs.lake.events import report_calls, report_candles
    from lab_pipeline.lake import generate_market
    from lab_pipeline.operations.backtest_config import BacktestConfig
    from lab_pipeline.runs.strategies import example_strategies

    lab = open_lab()
    with progress_bar("making up a market", "steps") as bar:
        market = generate_market(seed=seed, tokens=tokens, calls=calls, timeframe=DEMO_TIMEFRAME)
        bar(1, 3)
        candle_report = lab.lake.write_candles(market.candles, DEMO_TIMEFRAME)
        bar(2, 3)
        call_report = lab.lake.write_calls(market.calls)
        bar(3, 3)
    with lab:
        report_candles(lab, candle_report)
        report_calls(lab, call_report)
    shape = f"{market.candles.height:,} {DEMO_TIMEFRAME} candles of {tokens:,} tokens, {market.calls.height:,} calls"
    out.print(f"market: {shape}\n")

    strategy = lab.strategies.get(DEMO_STRATEGY).strategy
    out.print(f"strategy '{strategy.name}': {strategy.description}\n", markup=False)
    first, last = market.calls.select(first=pl.col("called_at").min(), last=pl.col("called_at").max()).row(0)
    start, end = iso(first), iso(last + timedelta(milliseconds=1))
    others = [one.id for one in example_strategies() if one.id != DEMO_STRATEGY]
    for one in (*others, DEMO_STRATEGY):  # the one that is shown comes last: Dagster's pages are about the latest
        _, manifest = run_foreground(BacktestConfig(strategy=one, timeframe=DEMO_TIMEFRAME, start=start, end=end))
    out.print(_callers(open_lab().artifacts.path(manifest.run_id, "trades")))
    out.print()
    print_result(manifest)
    out.print(
        f"\nThe other {len(others)} strategies that ship ran on the same calls, too: once `lab up` runs,\n"
        "`lab open` shows on whose calls each of them makes money."
    )
    _sweep()
    port = settings().port
    address = f"http://{settings().host}:{port}" if port else "the address that it prints"  # 0: a free one, each time
    out.print(f"\nNow `make up` and open {address}: the run, its assets, lineage, plots and logs.")


def _sweep() -> None:
    """Sweep the exits of the demo's strategy, and print which survive."""
    from lab_pipeline.sweeps.running import run_sweep
    from lab_pipeline.sweeps.spec import SweepSpec

    spec = SweepSpec.parse(DEMO_SWEEP)
    with open_lab() as lab, progress_bar("sweeping its exits", "calls or placebos") as bar:
        manifest, selected = run_sweep(
            spec, lake=lab.lake, strategies=lab.strategies, store=lab.sweeps, on_progress=bar, on_placebos=bar
        )
    sets, calls, placebos = len(selected.resolved.sets), selected.resolved.calls.height, spec.validation.placebo
    out.print(
        f"\nWhich exits would have been better? {sets:,} sets of them on the same {calls:,} calls,\n"
        f"and the same search on {placebos} markets in which the calls were made at other moments.\n"
    )
    print_sweep(selected, manifest, lab.sweeps.storage)


def _callers(trades: Path) -> TextTable:
    """Tabulate what each caller's trades returned, best first."""
    import polars as pl

    net = pl.col("net_return")
    callers = (
        pl.read_parquet(trades, glob=False)
        .group_by("caller")
        .agg(
            trades=pl.len(),
            win_rate=(net > 0).mean(),
            mean=net.mean(),
            error=net.std() / pl.len().sqrt(),
            pnl=pl.col("pnl").sum(),
        )
        .sort("mean", descending=True)
    )
    columns = ("trades", "win rate", "mean net return", "± standard error", "pnl")
    rows = table("caller", *columns, right=columns, drop=("pnl", "± standard error"))
    for row in callers.iter_rows(named=True):
        rows.add_row(
            row["caller"],
            f"{row['trades']:,}",
            f"{row['win_rate']:.1%}",
            percent(row["mean"]),
            percent(row["error"]).lstrip("+"),
            f"{row['pnl']:+,.2f}",
        )
    return rows
