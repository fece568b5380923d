"""The whole selection over ten thousand sets, and its parts beside libraries: python -m benchmarks.selection.

A grid of sets on 365 days, some of them with an edge, is selected on one core: halves of sixteen blocks in all 12,870
ways, superiority with 2,000 resamples against cash, a rolling walk forward, 45 purged folds and their paths, plateau,
interval and verdict. Beside it, on the same cells and in CPU seconds:

- halves by purgedcv, one split at a time: timed on a few splits and sets, and extrapolated to all of them;
- superiority by arch on 1,000 sets with 500 resamples, and ours on the same.

Exit status 1 if the whole selection takes more than 60 CPU seconds.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one core: before numpy is there

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from arch.bootstrap import SPA
from purgedcv import probability_of_backtest_overfitting

from lab_pipeline.statistics.selection.cells import DAY_MS, DayCells, Objective
from lab_pipeline.statistics.selection.overfitting import overfitting
from lab_pipeline.statistics.selection.selecting import Evidence, Selection, assess, choose
from lab_pipeline.statistics.selection.superiority import superiority

SIDES = (7, 6, 6, 5, 4, 2)
"""Values a dimension: 10,080 sets."""
FEW_SETS, FEW_BLOCKS = 500, 4
SHORTLIST, RESAMPLES = 1000, 500
WANTED_SECONDS = 60.0

Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    days = parser.parse_args().days
    levels = np.indices(SIDES).reshape(len(SIDES), -1).T
    cells = make_cells(levels, days)
    seconds, selection = timed(lambda: select(cells, levels))
    print(f"{cells.sets:,} sets x {days} days, one core, CPU seconds; verdict: {selection.verdict.words}\n")
    print(f"{'part':<46}{'ours':>9}{'peer':>11}{'ratio':>9}  peer")
    beside_purgedcv(cells)
    beside_arch(cells)
    for name, part in {
        "halves, 12,870 splits": lambda: overfitting(cells, Objective.EXPECTANCY_LOWER, 16),
        "superiority, 2,000 resamples": lambda: superiority(cells.net, resamples=2000),
    }.items():
        row(f"{name}, all sets", timed(part)[0])
    row(f"whole selection, wanted: at most {WANTED_SECONDS:.0f}", seconds)
    print(f"\nlargest resident size: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    sys.exit(seconds > WANTED_SECONDS)


def make_cells(levels: np.ndarray, days: int) -> DayCells:
    """Make sets that share the market of each day, neighbours more than others; the middle of the grid has an edge."""
    random = np.random.default_rng(1)
    calls = 2 + random.poisson(25, days)
    place = levels / levels.max(axis=0)
    wave = np.cos(place @ random.normal(0, 3, (levels.shape[1], 16)) + random.uniform(0, 2 * math.pi, 16))
    noise = wave @ random.normal(size=(16, days)) / 4 + random.normal(size=days) / 2
    noise += random.normal(size=noise.shape) / 2
    edge = 0.08 * np.maximum(0.0, 1.0 - 0.8 * ((place - 0.5) ** 2).sum(axis=1))
    trades = np.broadcast_to(calls, noise.shape).astype(np.float64)
    return DayCells.of(np.arange(days) * DAY_MS, trades, 0.3 * noise * np.sqrt(calls) + edge[:, None] * calls)


def select(cells: DayCells, levels: np.ndarray) -> Selection:
    choice = choose(cells)
    mean = cells.net[choice.winner].sum() / cells.trades[choice.winner].sum()
    placebos = np.linspace(-0.01, 0.01, 200)
    return assess(
        cells, choice, Evidence(levels=levels, grid=True, lanes={"full": mean - 0.01}, placebos=placebos), seed=1
    )


def beside_purgedcv(cells: DayCells) -> None:
    some = cells.of_sets(np.arange(FEW_SETS))
    peer, theirs = timed(lambda: probability_of_backtest_overfitting(some.net, n_splits=FEW_BLOCKS))
    ours = overfitting(some, Objective.SHARPE, FEW_BLOCKS)
    if not np.allclose(ours.logits[::-1], theirs.logits, rtol=0, atol=1e-9):
        sys.exit("purgedcv has other logits")
    splits = math.comb(FEW_BLOCKS, FEW_BLOCKS // 2)
    whole = peer / splits / FEW_SETS * math.comb(16, 8) * cells.sets
    seconds, _ = timed(lambda: overfitting(cells, Objective.SHARPE, 16))
    row("halves by Sharpe ratio, 12,870 splits, all sets", seconds, whole, "purgedcv, extrapolated; same logits")


def beside_arch(cells: DayCells) -> None:
    some = cells.net[:: cells.sets // SHORTLIST][:SHORTLIST]

    def theirs() -> object:
        test = SPA(np.zeros(some.shape[1]), -some.T, block_size=2, reps=RESAMPLES, seed=1)
        test.compute()
        return test.pvalues

    peer, _ = timed(theirs)
    seconds, _ = timed(lambda: superiority(some, resamples=RESAMPLES, block=2))
    row(f"superiority, {RESAMPLES} resamples, {SHORTLIST:,} sets", seconds, peer, "arch, not studentised, no steps")


def row(name: str, ours: float, peer: float | None = None, words: str = "") -> None:
    beside = f"{peer:>11,.2f}{peer / ours:>8,.0f}x  {words}" if peer else ""
    print(f"{name:<46}{ours:>9.2f}{beside}", flush=True)


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


if __name__ == "__main__":
    main()
