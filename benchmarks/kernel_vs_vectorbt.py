"""The kernel beside vectorbt on the same calls: python -m benchmarks.kernel_vs_vectorbt.

Every call enters at the open of its first candle, with one target and one stop, on 1,440 one-minute candles. Both are
given their own layout in memory, made before the clock starts: vectorbt a matrix with a column a call, the kernel
columns with the calls one after the other. Compilation is over before the clock starts. vectorbt runs in every
engine that is installed (`pip install vectorbt[rust]` brings the fast one) and in batches of several widths; its best
counts. The kernel's time includes the path metrics, which vectorbt does not compute. The trades are compared before
anything is printed. Exit status 1 if the kernel is less than 50 times as fast as vectorbt's public interface.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import vectorbt
from vectorbt.portfolio import dispatch

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns
from lab_pipeline.domain.strategy import Exit, StrategyConfig, Target
from lab_pipeline.engine import Simulator

ROWS = 1_440
MINUTE_MS = 60_000
START_MS = 1_704_067_200_000
TARGET, STOP = 1.5, 0.3
CONFIG = StrategyConfig(exit=Exit(targets=(Target(multiple=TARGET, fraction=1.0),), stop_loss=STOP))
WIDTHS = (100, 500, 100_000)
"""Columns that vectorbt is given at once."""
REPEATS = 5
REQUIRED = 50

Prices = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description="The kernel beside vectorbt.")
    parser.add_argument("--calls", type=int, default=2_000)
    count = parser.parse_args().calls
    prices = make_prices(count)
    candles, calls = lay_out(prices)
    peers = {f"from_signals, {engine}": public(prices, engine) for engine in engines()}
    cores = {f"simulate_from_signals alone, {engine}": bare(prices, engine) for engine in engines()}
    ours = {f"kernel, {threads} core{'s' * (threads > 1)}": kernel(candles, calls, threads) for threads in (1, 2)}
    compare(candles, calls, prices)
    speeds = {name: count * ROWS / fastest(runs) for name, runs in (peers | cores | ours).items()}
    best_peer, best_core = (max(speeds[name] for name in group) for group in (peers, cores))
    print(f"{count:,} calls x {ROWS:,} candles, target {TARGET}, stop {STOP}; best of {REPEATS}; same trades\n")
    print(f"{'engine':<52}{'candles/s':>14}{'vs public':>12}{'vs bare':>10}")
    for name, speed in speeds.items():
        label = name if name in ours else f"vectorbt {vectorbt.__version__} {name}"
        print(f"{label:<52}{speed / 1e6:>12.1f} M{speed / best_peer:>11.1f}x{speed / best_core:>9.1f}x")
    slowest = min(speeds[name] for name in ours) / best_peer
    print(f"\nrequired: {REQUIRED} times vectorbt's public interface; seen at least: {slowest:.0f}")
    sys.exit(slowest < REQUIRED)


def engines() -> list[str]:
    """Return the engines that this installation of vectorbt has."""
    return ["numba", "rust"] if vectorbt._engine.is_rust_available() else ["numba"]  # noqa: SLF001 - no public question


def make_prices(count: int) -> Prices:
    """Make random walks of shape (count, ROWS) that open where they closed."""
    random = np.random.default_rng(1)
    close = np.exp(random.normal(0, 0.006, (count, ROWS)).cumsum(axis=1))
    opened = np.hstack([np.ones((count, 1)), close[:, :-1]])
    shadow = np.abs(random.normal(0, 0.003, (2, count, ROWS)))
    high, low = np.maximum(opened, close) * (1 + shadow[0]), np.minimum(opened, close) * (1 - shadow[1])
    return {"open": opened, "high": high, "low": low, "close": close}


def lay_out(prices: Prices) -> tuple[CandleColumns, pl.DataFrame]:
    """Return the kernel's candles and calls: a token and a call a row of the prices."""
    count = len(prices["open"])
    mints = [f"mint{index:06d}" for index in range(count)]
    columns = CandleColumns(
        mints=mints,
        offsets=np.arange(count + 1) * ROWS,
        timestamp=np.tile(START_MS + np.arange(ROWS) * MINUTE_MS, count),
        **{name: values.ravel() for name, values in prices.items()},
        volume=np.ones(count * ROWS),
    )
    calls = pl.DataFrame({"call_id": mints, "caller": "caller", "mint": mints, "called_at": [START_MS] * count})
    return columns, calls.cast(frames.CALLS)


def kernel(candles: CandleColumns, calls: pl.DataFrame, threads: int) -> list[Callable[[], object]]:
    """Return the compiled simulation of all calls, in as many equal parts as threads."""
    from lab_pipeline.engine import kernel as compiled  # noqa: PLC0415 - what is measured, beside its import
    from lab_pipeline.engine.calls import NO_FINER, CallBook  # noqa: PLC0415
    from lab_pipeline.engine.compiled import readonly  # noqa: PLC0415
    from lab_pipeline.engine.rules import options_of, rules_of  # noqa: PLC0415

    names = ("timestamp", "open", "high", "low", "close", "volume")
    columns = compiled.Candles(*(readonly(getattr(candles, name)) for name in names))
    rules, options = rules_of(CONFIG, MINUTE_MS), options_of(CONFIG, MINUTE_MS)
    book, unknown = CallBook(calls, CONFIG, MINUTE_MS), readonly(np.empty(0))
    first, last = readonly(candles.offsets[:-1]), readonly(candles.offsets[1:])
    bounds = [len(calls) * part // threads for part in range(threads + 1)]
    parts = [
        book.of(np.arange(begin, end), first[begin:end], last[begin:end], columns) for begin, end in pairwise(bounds)
    ]
    pool = ThreadPoolExecutor(threads)

    def run() -> object:
        return list(
            pool.map(lambda part: compiled.simulate_calls(columns, unknown, NO_FINER, rules, options, part), parts)
        )

    return [run]


def padded(prices: Prices, begin: int, end: int) -> dict[str, np.ndarray]:
    """Return columns of calls, with a flat candle at the first open above each.

    vectorbt tests stops from the candle after the entry on; the entry is put on the flat one.
    """
    first = prices["open"][begin:end, :1]
    return {name: np.ascontiguousarray(np.hstack([first, values[begin:end]]).T) for name, values in prices.items()}


def batches(prices: Prices, width: int) -> list[dict[str, np.ndarray]]:
    return [padded(prices, begin, begin + width) for begin in range(0, len(prices["open"]), width)]


def public(prices: Prices, engine: str) -> list[Callable[[], object]]:
    """Return runs of `Portfolio.from_signals` over all calls, one run a width of batches."""
    return [over(batches(prices, width), lambda batch: from_signals(batch, engine)) for width in WIDTHS]


def bare(prices: Prices, engine: str) -> list[Callable[[], object]]:
    """Return runs of the simulation inside `from_signals` alone, which vectorbt does not document for use."""
    return [over(batches(prices, width), lambda batch: simulate_from_signals(batch, engine)) for width in WIDTHS]


def over(
    parts: Sequence[dict[str, np.ndarray]], run: Callable[[dict[str, np.ndarray]], object]
) -> Callable[[], object]:
    return lambda: [run(part) for part in parts]


def entry_signals(shape: tuple[int, ...]) -> np.ndarray:
    entries = np.zeros(shape, np.bool_)
    entries[0] = True
    return entries


def from_signals(batch: dict[str, np.ndarray], engine: str) -> Any:  # noqa: ANN401 - vectorbt has no types
    return vectorbt.Portfolio.from_signals(
        **batch,
        entries=entry_signals(batch["open"].shape),
        exits=False,
        size=1.0,
        init_cash=1e6,
        tp_stop=TARGET - 1,
        sl_stop=STOP,
        max_orders=2 * batch["open"].shape[1],
        engine=engine,
    )


def simulate_from_signals(batch: dict[str, np.ndarray], engine: str) -> object:
    shape = batch["open"].shape
    return dispatch.simulate_from_signals(
        shape,
        np.ones(shape[1], np.int64),
        np.full(shape[1], 1e6),
        np.zeros(shape, np.int64),
        **batch,
        entries=entry_signals(shape),
        size=np.asarray(1.0),
        tp_stop=np.asarray(TARGET - 1),
        sl_stop=np.asarray(STOP),
        max_orders=2 * shape[1],
        engine=engine,
    )


def fastest(runs: Sequence[Callable[[], object]]) -> float:
    """Return the shortest time of any of the runs, in seconds, after one that is not counted."""
    seconds = []
    for run in runs:
        run()
        for _ in range(REPEATS):
            begin = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begin)
    return min(seconds)


def compare(candles: CandleColumns, calls: pl.DataFrame, prices: Prices) -> None:
    """Check that all engines make the same trades: exit candle and price of every call."""
    simulator = Simulator(calls, CONFIG, timeframe="1m")
    simulator.add(candles)
    ours = simulator.finish().trades
    exits = (ours["exit_time"].to_physical().to_numpy() - START_MS) // MINUTE_MS
    for engine in engines():
        portfolio = from_signals(padded(prices, 0, len(calls)), engine)
        trades = portfolio.exit_trades.records.sort_values("col")
        if not (trades["exit_idx"].to_numpy() - 1 == exits).all():
            sys.exit(f"vectorbt ({engine}) leaves at other candles")
        if not np.allclose(trades["exit_price"], ours["exit_price"].to_numpy(), rtol=1e-13, atol=0):
            sys.exit(f"vectorbt ({engine}) leaves at other prices")


if __name__ == "__main__":
    main()
