"""Two runs on the same calls, call by call: what one rule made beyond the other."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from lab_pipeline.domain.clusters import mean_interval, standard_error
from lab_pipeline.runs.published import PublishedRun

RUNS_KEPT = 2
"""Runs whose calls stay in memory: the one that others are compared with, and the last of those."""


@dataclass(frozen=True)
class Paired:
    """The paired difference of two runs, per call: the second minus the first.

    Attributes:
        calls: that both have simulated.
        only_first: calls of the first alone, which are not compared.
        only_second: calls of the second alone.
        better: on how many the second made more.
        worse: on how many it made less; on the others both made the same.
        mean: mean difference of what a call made, a plain fraction; null without calls.
        low: lower end of its 95 % interval by days and callers; null for calls of one day.
        high: upper end.
        p_value: two-sided, of no difference, by the clusters that make it the larger; null where nothing can be said.
    """

    calls: int
    only_first: int
    only_second: int
    better: int
    worse: int
    mean: float | None
    low: float | None
    high: float | None
    p_value: float | None


def compare_calls(first: PublishedRun, second: PublishedRun) -> Paired:
    """Compare what two runs made of the calls that both have simulated.

    What a call made is the sum of the net returns of its trades, 0 where none was made: a rule that stays out of bad
    calls is to be given credit for it. What the calls have in common, the market and the caller, is in both and
    cancels, so that a difference is seen with far fewer calls than two means would need.
    """
    mine, theirs = made_by_call(first), made_by_call(second)
    both = mine.join(theirs.select("call_id", other="made"), on="call_id").sort("called_at", "call_id")
    counts = {"calls": both.height, "only_first": mine.height - both.height, "only_second": theirs.height - both.height}
    if both.is_empty():
        return Paired(**counts, better=0, worse=0, mean=None, low=None, high=None, p_value=None)
    difference = (both["other"] - both["made"]).to_numpy()
    days = both["called_at"].dt.date().to_physical().to_numpy()
    callers = both["caller"].rank("dense").cast(pl.Int64).to_numpy()
    low, high = mean_interval(difference, days, callers, least=-np.inf)
    mean = float(difference.mean())
    found = [one for one in (standard_error(difference, days), standard_error(difference, callers)) if one is not None]
    return Paired(
        **counts,
        better=int((difference > 0).sum()),
        worse=int((difference < 0).sum()),
        mean=mean,
        low=low,
        high=high,
        p_value=None if low is None else max((_chance(mean, *one) for one in found), default=None),
    )


@lru_cache(maxsize=RUNS_KEPT)
def made_by_call(run: PublishedRun) -> pl.DataFrame:
    """Return `call_id`, `caller`, `called_at` and `made`, the sum of the net returns of its trades, of every call."""
    made = run.frame("trades").group_by("call_id").agg(made=pl.col("net_return").sum())
    calls = run.frame("outcomes").select("call_id", "caller", "called_at")
    return calls.join(made, on="call_id", how="left").with_columns(pl.col("made").fill_null(0.0))


def _chance(mean: float, error: float, freedom: int) -> float:
    from scipy.special import stdtr  # noqa: PLC0415 - a quarter of a second

    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(freedom, -abs(mean) / error))
