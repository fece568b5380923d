"""Whether what won still earns what it did: a winner on calls that came after the sweep that chose it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lab_pipeline.domain.backtest import TimeRange
from lab_pipeline.lake import Lake
from lab_pipeline.runs import backtest as backtests
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import SweepManifest, SweepStore
from lab_pipeline.sweeps.walking import by_age, known_until

Interval = tuple[float, float]


@dataclass(frozen=True)
class Drift:
    """A winner then and now.

    Attributes:
        strategy: whose parameters were swept.
        sweep_id: of the sweep.
        set_id: of its winner.
        then: interval of its mean net return, 95 %, on the days that chose it.
        now: likewise, on later calls; none where they are too few to tell.
        trades: on these.
    """

    strategy: str
    sweep_id: str
    set_id: int
    then: Interval
    now: Interval | None
    trades: int

    @property
    def has_left(self) -> bool:
        """Whether the intervals have nothing in common: what it earns is another, whatever luck did."""
        return self.now is not None and (self.now[1] < self.then[0] or self.then[1] < self.now[0])


def drifts(
    names: Sequence[str],
    period: TimeRange,
    *,
    store: SweepStore,
    lake: Lake,
    strategies: StrategyStore,
    threads: int | None = None,
) -> Iterator[Drift]:
    """Run the latest winner of each strategy that knew nothing of a period on the calls of the period.

    A sweep knew of the days that it held out, too: they are not later ones. A strategy without such a sweep, or whose
    winner has no interval, is left out, and one without calls in the period.

    Args:
        names: ids of strategies.
        period: of the later calls.
        store: of the sweeps.
        lake: that has the candles.
        strategies: of the lab.
        threads: of the simulation.
    """
    latest = {str(one.spec["strategy"]): one for one in by_age(store) if known_until(store, one) <= period.start}
    for name in names:
        manifest = latest.get(name)
        told = None if manifest is None else _selection(store, manifest)
        if manifest is None or told is None or told["expectancy_low"] is None:
            continue
        spec = SweepSpec.parse(manifest.spec).model_copy(update={"start": period.start, "end": period.end})
        asked = spec.backtest(period).model_copy(
            update={"strategy_version": manifest.strategy_version, "params": told["winner_values"]}
        )
        backtest = backtests.resolve(asked, strategies, lake)
        if backtest.calls.is_empty():
            continue
        summary = backtests.simulate(backtest, backtests.plan(backtest, lake), threads=threads).simulation.summary
        low, high = summary.expectancy_low, summary.expectancy_high
        yield Drift(
            strategy=name,
            sweep_id=manifest.sweep_id,
            set_id=told["winner"],
            then=(told["expectancy_low"], told["expectancy_high"]),
            now=None if low is None or high is None else (low, high),
            trades=summary.trades,
        )


def drift_table(found: Sequence[Drift]) -> pl.DataFrame:
    """Return a row a winner: what it earned then and now, at least and at most."""
    rows = [
        (one.strategy, one.sweep_id, one.set_id, *one.then, *(one.now or (None, None)), one.trades, one.has_left)
        for one in found
    ]
    names = ("strategy", "sweep", "set", "then_low", "then_high", "now_low", "now_high", "trades", "has_left")
    kinds = (pl.String(), pl.String(), pl.Int64(), *[pl.Float64()] * 4, pl.Int64(), pl.Boolean())
    return pl.DataFrame(rows, pl.Schema(dict(zip(names, kinds, strict=True))), orient="row")


def _selection(store: SweepStore, manifest: SweepManifest) -> dict[str, Any] | None:
    told = store.document(manifest.sweep_id, "selection")
    return told if told["winner"] is not None else None
