"""What sets earn on the days that were held out. Whoever looks has looked: it is to be written down by the caller."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from lab_pipeline.domain.clusters import interval_of_sums
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.frames import CALL_OPTIONS, CALLS
from lab_pipeline.lake import Lake
from lab_pipeline.sweeps.running import ResolvedSweep, evaluate

HOLDOUT = pl.Schema(
    {
        "set_id": pl.Int32(),
        "holdout_trades": pl.Int32(),
        "holdout_days": pl.Int32(),
        "holdout_callers": pl.Int32(),
        "holdout_expectancy": pl.Float64(),
        "holdout_low": pl.Float64(),
        "holdout_high": pl.Float64(),
    }
)


def evaluate_holdout(
    resolved: ResolvedSweep, lake: Lake, sets: Sequence[int], *, threads: int | None = None
) -> pl.DataFrame:
    """Evaluate some sets on the calls of the days that did not select.

    A sweep that was published is resolved anew for this, with its `strategy_version`, `start` and the `holdout_end` of
    its `space.json` as `end`: else days that came to the lake since would shift the holdout.

    Args:
        resolved: what was swept.
        lake: that has the calls and candles.
        sets: ids of those to evaluate.
        threads: of the simulation; the result does not depend on it.

    Returns:
        A row a set in the order of `sets`, each once; columns of `HOLDOUT`: trades, days and callers with a trade, mean
        net return of a trade, and its 95 % interval by clusters of days or of callers, whichever is the wider. Null
        without trades, the interval also where all trades are of one day.

    Raises:
        LabError: if no days were held out, no set is asked for, or one is not of the sweep.
    """
    if resolved.held is None:
        raise LabError("the sweep held no days out: validation.holdout is 0")
    known = len(resolved.sets)
    if not sets:
        raise LabError("name the sets that the holdout is to be opened for")
    if unknown := [one for one in sets if not 0 <= one < known]:
        raise LabError(f"the sweep has no set {unknown[0]}: its sets are 0 to {known - 1:,}")
    spec = resolved.spec
    calls = lake.calls(start=resolved.held.start, end=resolved.held.end, mints=spec.mints, callers=spec.callers)
    if calls.is_empty():
        raise LabError("the calls that were held out are no longer in the lake")
    calls = calls.select(*CALLS, *(name for name in CALL_OPTIONS if name in calls.columns))
    sets = list(dict.fromkeys(sets))
    swept, _ = evaluate(replace(resolved, sets=resolved.sets.some(sets), calls=calls), lake, threads=threads)
    rows = []
    for place, number in enumerate(sets):
        trades, days, callers, mean = swept.sets.select("trades", "days", "callers", "expectancy").row(place)
        low, high = interval_of_sums(
            swept.day_trades[place], swept.day_net[place], swept.caller_trades[place], swept.caller_net[place]
        )
        rows.append((number, trades, days, callers, mean, low, high))
    return pl.DataFrame(rows, schema=HOLDOUT, orient="row")
