"""A sweep beside the kernel, set by set, and beside vectorbt's broadcasting: python -m benchmarks.sweep.

Every call enters at the open of its first candle, on 1,440 one-minute candles; the calls are of twenty days and fifty
callers. The rich grid varies targets, stop, trail, break-even, time and what comes first in a candle; the plain one
target and stop, which vectorbt has, too; the random sets have no level in common. All figures are processor seconds of
one thread, the best of several, taken in turn; what a loop of the kernel over all sets takes is that of a few of them,
spread over the grid. vectorbt is given a column a call and set. Returns are compared before anything is printed. A
placebo is a sweep of a thousand sets and the choice of its best. Exit status 1 if a wanted figure is missed.

The limit: each candle's high and low are read once, as NumPy finds their extremes, and a set takes three comparisons,
as NumPy makes them for all sets at once. No fill is computed and nothing is counted in that.
"""

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import vectorbt

from benchmarks.kernel_vs_vectorbt import MINUTE_MS, ROWS, engines, lay_out, make_prices, padded
from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.space import Space
from lab_pipeline.domain.strategy import Exit, Reentry, StopFill, StrategyConfig
from lab_pipeline.engine import kernel
from lab_pipeline.engine.calls import NO_FINER, CallBook
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.rules import options_of, rules_of
from lab_pipeline.engine.shards import laid_out
from lab_pipeline.engine.sweep import Sets, Sweeper
from lab_pipeline.engine.sweep.cells import bytes_needed
from lab_pipeline.engine.sweep.touch import build_index
from lab_pipeline.statistics.selection import best_objective
from lab_pipeline.statistics.selection.cells import DAY_MS, DayCells, Minimum, Objective
from lab_pipeline.sweeps.search import find_points
from lab_pipeline.sweeps.spec import SearchSpec

BASE = StrategyConfig(exit=Exit(stop_loss=0.3, stop_fill=StopFill(through=0)))
RICH = {
    "exit.targets": {
        "ladder": {"multiples": [1.2, 1.5, 2, 3], "fractions": [[1.0], [0.5, 0.5], [0.3, 0.3, 0.4]], "maxSteps": 3}
    },
    "exit.stopLoss": [0.1, 0.15, 0.2, 0.3, 0.4, 0.5],
    "exit.trailing": [None]
    + [{"activation": start, "distance": distance} for start in (1.2, 1.5) for distance in (0.1, 0.2)],
    "exit.breakEvenAfter": [None, 1],
    "exit.maxHoldMinutes": [None, 30, 120, 480],
    "intrabar": ["stop_first", "target_first", "nearest_open"],
}
PLAIN = {
    "exit.targets": {
        "ladder": {"multiples": [round(1.05 + 0.05 * step, 2) for step in range(20)], "fractions": [[1.0]]}
    },
    "exit.stopLoss": {"from": 0.025, "to": 0.5, "n": 20},
}
RANDOM = {
    "exit.targets": {"choice": [[{"multiple": 1.2 + step / 256, "fraction": 1}] for step in range(256)]},
    "exit.stopLoss": {"from": 0.05, "to": 0.6},
    "exit.trailing": {
        "choice": [{"activation": 1.1 + step / 512, "distance": 0.05 + step / 600} for step in range(256)]
    },
    "exit.maxHoldMinutes": {"from": 10, "to": 1_400},
}
PLACEBO = {name: RICH[name] for name in ("exit.targets", "exit.stopLoss", "exit.maxHoldMinutes", "intrabar")}
AGAIN = BASE.model_copy(update={"reentry": Reentry(max_count=2, retrace=0.1)})
"""Sets that buy a dip after their exit, which tables do not follow."""
PLACEBOS, PLACEBO_CALLS = 200, 10_000
REPEATS = 9
LOOPED_SETS = 12
DAYS, CALLERS = 20, 50
COMPARED = 100
"""Times that all sets are compared, for the clock to tell."""
TILED_CALLS = 8
WANTED_TIMES_KERNEL, WANTED_TIMES_VECTORBT, WANTED_CANDLES, WANTED_RANDOM = 150, 5_000, 3e10, 1e10
WANTED_PLACEBO_SECONDS = 90
WANTED_MEMORY = 64e6


def main() -> None:
    parser = argparse.ArgumentParser(description="A sweep beside the kernel and vectorbt.")
    parser.add_argument("--calls", type=int, default=2_000)
    count = parser.parse_args().calls
    prices = make_prices(count)
    candles, calls = laid(prices)
    begin = time.process_time()
    rich = Sets(BASE, Space.parse(RICH))
    made = time.process_time() - begin
    plain, placebo = (Sets(BASE, Space.parse(space)) for space in (PLAIN, PLACEBO))
    again = Sets(AGAIN, Space.parse(PLACEBO))
    space = Space.parse(RANDOM)
    random = Sets(BASE, space, find_points(space, SearchSpec(method="random", sets=256), 1)[1])
    check_returns(plain, prices)
    seconds = fastest(
        {
            "rich": lambda: swept(rich, candles, calls),
            "plain": lambda: swept(plain, candles, calls),
            "random": lambda: swept(random, candles, calls),
            "placebo": lambda: swept(placebo, candles, calls),
            "again": lambda: swept(again, candles, calls),
            "placebo and choice": lambda: chosen(placebo, candles, calls),
            "looped rich": lambda: looped(rich, candles, calls),
            "looped plain": lambda: looped(plain, candles, calls),
            "looped again": lambda: looped(again, candles, calls),
            "index": lambda: indexed(candles, calls),
            "reading": lambda: (candles.high.max(), candles.low.min()),
            "comparing": comparing(len(rich)),
            "vectorbt": lambda: tiled(prices, plain),
        }
    )
    pairs_rich, pairs_plain, pairs_random, pairs_again = (
        len(sets) * count / seconds[name]
        for sets, name in ((rich, "rich"), (plain, "plain"), (random, "random"), (again, "again"))
    )
    looped_rich, looped_plain, looped_again = (
        LOOPED_SETS * count / seconds[f"looped {name}"] for name in ("rich", "plain", "again")
    )
    broadcast = len(plain) * TILED_CALLS / seconds["vectorbt"]
    index, reading = (seconds[name] / count * 1e6 for name in ("index", "reading"))
    a_set = seconds["comparing"] / len(rich) / COMPARED * 1e6
    choice = seconds["placebo and choice"] - seconds["placebo"]
    placebos = (seconds["placebo"] * PLACEBO_CALLS / count + choice) * PLACEBOS
    memory = extra_memory(rich, candles, calls)
    print(f"{count:,} calls x {ROWS:,} candles, one thread, processor seconds, best of {REPEATS}; same returns\n")
    print(f"{'':<48}{'sets x calls/s':>16}{'candles/s':>12}{'ours is':>10}")
    for name, speed, ours in (
        (f"sweep, {len(rich):,} sets of the rich grid", pairs_rich, pairs_rich),
        ("kernel set by set, rich grid", looped_rich, pairs_rich),
        (f"sweep, {len(plain)} sets of target x stop", pairs_plain, pairs_plain),
        ("kernel set by set, target x stop", looped_plain, pairs_plain),
        (f"sweep, {len(random)} random sets, no level in common", pairs_random, pairs_random),
        (f"sweep, {len(again):,} sets that buy dips after an exit", pairs_again, pairs_again),
        ("kernel set by set, the same", looped_again, pairs_again),
        (f"vectorbt {vectorbt.__version__} broadcasting, target x stop", broadcast, pairs_plain),
    ):
        print(f"{name:<48}{speed:>16,.0f}{speed * ROWS:>12.1e}{ours / speed:>9,.0f}x")
    for name, sets in (("rich", rich), ("plain", plain)):
        limit, took = reading + a_set * len(sets), seconds[name] / count * 1e6
        print(
            f"\nlimit of a call, {name} grid: {reading:.1f} us to read it, {a_set * 1e3:.2f} ns a set to compare: "
            f"{limit:.1f} us; took {took:.1f} us, {took / limit:.1f} times as long"
        )
    print(
        f"\nreading a call of {ROWS:,} candles for its records: {index:.1f} us, 16 bytes a candle, "
        f"{16 * ROWS / index / 1e3:.1f} GB/s; wanted at most 5 us"
    )
    print(f"making {len(rich):,} sets of the space: {made:.2f} s, {made / len(rich) * 1e6:.0f} us a set")
    print(
        f"{PLACEBOS} placebos of {len(placebo):,} sets on {PLACEBO_CALLS:,} calls, by one: {placebos:.0f} s; wanted at "
        f"most {WANTED_PLACEBO_SECONDS}"
    )
    print(f"memory beside candles and cells: {memory / 1e6:.0f} MB; wanted at most {WANTED_MEMORY / 1e6:.0f}")
    missed = [
        f"{said}: {seen:,.3g}, wanted {wanted:,.3g}"
        for said, seen, wanted in (
            ("times the kernel", pairs_rich / looped_rich, WANTED_TIMES_KERNEL),
            ("times vectorbt", pairs_plain / broadcast, WANTED_TIMES_VECTORBT),
            ("candles a second, target x stop", pairs_plain * ROWS, WANTED_CANDLES),
            ("candles a second, random sets", pairs_random * ROWS, WANTED_RANDOM),
            ("placebos in the time that is wanted", PLACEBOS * WANTED_PLACEBO_SECONDS / placebos, PLACEBOS),
            ("room of the memory that is wanted", WANTED_MEMORY / memory, 1),
        )
        if seen < wanted
    ]
    print("\n" + ("\n".join(missed) or "all that is wanted is reached"))
    sys.exit(bool(missed))


def laid(prices: dict[str, np.ndarray]) -> tuple[CandleColumns, pl.DataFrame]:
    """Return candles, checked as those of the lake are, since the bare kernel checks none, and calls."""
    candles, calls = lay_out(prices)
    later = np.arange(len(calls)) % DAYS * DAY_MS
    timestamp = candles.timestamp + np.repeat(later, np.diff(candles.offsets))
    called_at = calls["called_at"] + pl.Series(later).cast(pl.Duration("ms"))
    callers = [f"caller{number % CALLERS}" for number in range(len(calls))]
    calls = calls.with_columns(called_at=called_at.cast(calls["called_at"].dtype), caller=pl.Series(callers))
    return replace(candles, timestamp=timestamp, checked=MINUTE_MS), calls


def fastest(runs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the fewest processor seconds of each run, taken in turn, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 1):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            if repeat:
                seconds[name].append(time.process_time() - begin)
    return {name: min(taken) for name, taken in seconds.items()}


def swept(sets: Sets, candles: CandleColumns, calls: pl.DataFrame) -> Sweeper:
    sweeper = Sweeper(calls, sets, timeframe="1m", threads=1)
    sweeper.add(candles)
    return sweeper


def chosen(sets: Sets, candles: CandleColumns, calls: pl.DataFrame) -> float:
    """Sweep and choose, as every placebo does."""
    made = swept(sets, candles, calls).finish()
    cells = DayCells.of(made.days, made.day_trades, made.day_net, made.reach)
    callers = made.sets["callers"].to_numpy().astype(np.int64)
    return best_objective(cells, Objective.EXPECTANCY_LOWER, Minimum(), callers)


def comparing(sets: int) -> Callable[[], object]:
    """Return what compares, for each of some sets, rows at which something sells, and their first with its time."""
    rows = np.random.default_rng(1).integers(0, ROWS, (4, sets))
    first, decided = np.empty(sets, np.int64), np.empty(sets, np.bool_)

    def compare() -> None:
        for _ in range(COMPARED):
            np.minimum(rows[0], rows[1], out=first)
            np.minimum(first, rows[2], out=first)
            np.less(first, rows[3], out=decided)

    return compare


def given(candles: CandleColumns, calls: pl.DataFrame) -> tuple[kernel.Candles, kernel.Calls]:
    columns, _ = laid_out(candles)
    first, last = readonly(candles.offsets[:-1]), readonly(candles.offsets[1:])
    return columns, CallBook(calls, BASE, MINUTE_MS).of(np.arange(len(calls)), first, last, columns)


def looped(sets: Sets, candles: CandleColumns, calls: pl.DataFrame) -> None:
    """Simulate some of the sets one after another, by the compiled kernel alone."""
    columns, told = given(candles, calls)
    unknown = readonly(np.empty(0))
    for number in np.linspace(0, len(sets) - 1, LOOPED_SETS).astype(int).tolist():
        config = sets.config(number)
        rules, options = rules_of(config, MINUTE_MS), options_of(config, MINUTE_MS)
        kernel.simulate_calls(columns, unknown, NO_FINER, rules, options, told)


def indexed(candles: CandleColumns, calls: pl.DataFrame) -> None:
    columns, told = given(candles, calls)
    rules, options = rules_of(BASE, MINUTE_MS), options_of(BASE, MINUTE_MS)
    _, entries = kernel.find_entries(columns, rules, options, told, False)  # noqa: FBT003
    build_index(columns, entries)


def tiled(prices: dict[str, np.ndarray], sets: Sets) -> np.ndarray:
    """Return vectorbt's net returns by set and call, of the first few calls."""
    columns = padded(prices, 0, TILED_CALLS)
    targets = np.array([sets.values(number)["exit.targets"][0]["multiple"] - 1 for number in range(len(sets))])
    stops = np.array([sets.values(number)["exit.stopLoss"] for number in range(len(sets))])
    wide = {name: np.tile(values, len(sets)) for name, values in columns.items()}
    entries = np.zeros(wide["open"].shape, np.bool_)
    entries[0] = True
    portfolio = vectorbt.Portfolio.from_signals(
        **wide,
        entries=entries,
        exits=False,
        size=1.0,
        init_cash=1e6,
        tp_stop=np.repeat(targets, TILED_CALLS)[None, :],
        sl_stop=np.repeat(stops, TILED_CALLS)[None, :],
        max_orders=2 * entries.shape[1],
        engine=engines()[-1],
    )
    trades = portfolio.exit_trades.records.sort_values("col")
    return (trades["exit_price"] / trades["entry_price"] - 1.0).to_numpy().reshape(len(sets), TILED_CALLS)


def check_returns(sets: Sets, prices: dict[str, np.ndarray]) -> None:
    """Check that vectorbt's returns are ours; a caller of its own for each call gives each a cell."""
    candles, calls = laid({name: values[:TILED_CALLS] for name, values in prices.items()})
    ours = swept(sets, candles, calls.with_columns(caller="mint")).finish().caller_net
    if not np.allclose(ours, tiled(prices, sets), rtol=0, atol=1e-12):
        sys.exit("vectorbt has other returns")


def extra_memory(sets: Sets, candles: CandleColumns, calls: pl.DataFrame) -> int:
    """Return the most that a sweep holds beside candles, sets and cells, in bytes."""
    tracemalloc.start()
    swept(sets, candles, calls)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most - bytes_needed(len(sets), DAYS, CALLERS)


if __name__ == "__main__":
    main()
