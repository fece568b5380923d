"""Capital shared among rules, or among callers under a rule: from their trades to shares and what became of them.

Shares are made in every training of the walk forward and followed through its test. The members of a sweep have been
chosen on the same days, so that what they earn is flattered, and alike for every method: the methods are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import minutes_to_ms
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.statistics.allocation import Allotment, Terms, walk_allocations
from lab_pipeline.statistics.selection import Windows
from lab_pipeline.statistics.selection.folds import walk_forward

if TYPE_CHECKING:
    from lab_pipeline.engine.sweep import Sweep
    from lab_pipeline.sweeps.replays import Replay
    from lab_pipeline.sweeps.spec import SweepSpec

MOST_CALLERS = 50
"""That share the capital: those with most trades."""
LEAST_DAYS = 10
"""On which a caller must have traded where no sweep says it."""
SHARES = pl.Schema(
    {
        "kind": pl.String(),
        "method": pl.String(),
        "fold": pl.Int32(),
        "member": pl.String(),
        "share": pl.Float64(),
    }
)


@dataclass(frozen=True)
class Portfolio:
    """What is published of the shares.

    Attributes:
        shares: columns of `SHARES`; fold null for those of all days together, which hold from now on.
        document: what `portfolio.json` says.
    """

    shares: pl.DataFrame
    document: dict[str, Any]


def share_among(replays: "Sequence[Replay]", sweep: "Sweep", spec: "SweepSpec") -> Portfolio:
    """Share the capital among the sets that were run once more, and among the callers of the best."""
    windows, terms = spec.validation.validation.walk, Terms()
    members = {"sets": {str(one.set_id): one.simulation.trades for one in replays}, "callers": {}}
    if replays:
        members["callers"] = by_caller(replays[0].simulation.trades, spec.objective.min_days)
    found = {kind: allocate(some, sweep.days, sweep.reach, windows, terms) for kind, some in members.items()}
    shares = [
        (kind, str(one.method), fold, member, share)
        for kind, allotments in found.items()
        for one in allotments
        for fold, row in [*enumerate(one.shares), (None, one.now)]
        for member, share in zip(members[kind], row.tolist(), strict=True)
    ]
    return Portfolio(
        pl.DataFrame(shares, schema=SHARES, orient="row"),
        {
            "fraction": terms.fraction,
            "cap": terms.cap,
            **{
                kind: {"members": list(members[kind]), "methods": [figures(one) for one in allotments]}
                for kind, allotments in found.items()
            },
        },
    )


def allocate(
    members: Mapping[str, pl.DataFrame], days: Integers, reach: Integers, windows: Windows, terms: Terms
) -> list[Allotment]:
    """Share the capital among members by every method, judged by a walk forward.

    Args:
        members: name -> trades, with `called_at` and `net_return`; none gives no allotment.
        days: (D,) of all calls, midnights in milliseconds since 1970, ascending.
        reach: (D,) when the last window of a call of that day ends.
        windows: of the walk.
        terms: of Kelly's shares.
    """
    if not members:
        return []
    returns = np.column_stack([day_returns(trades, days) for trades in members.values()])
    return walk_allocations(returns, walk_forward(days, reach, windows), terms)[1]


def day_returns(trades: pl.DataFrame, days: Integers) -> Floats:
    """Return the mean net return of the trades on calls of each day, (D,): 0 on a day without."""
    by_day = trades.group_by(day=pl.col("called_at").dt.truncate("1d").to_physical()).agg(pl.col("net_return").mean())
    returns = np.zeros(len(days))
    by_day = by_day.sort("day")
    returns[np.searchsorted(days, by_day["day"].to_numpy())] = by_day["net_return"].to_numpy()
    return returns


def by_caller(trades: pl.DataFrame, least_days: int) -> dict[str, pl.DataFrame]:
    """Return the trades of the callers with most of them, who have called on enough days, by name."""
    called = trades.group_by("caller").agg(
        pl.len().alias("trades"), pl.col("called_at").dt.date().n_unique().alias("days")
    )
    able = called.filter(pl.col("days") >= least_days).sort(["trades", "caller"], descending=[True, False])
    return {name: trades.filter(pl.col("caller") == name) for name in sorted(able["caller"][:MOST_CALLERS])}


def figures(one: Allotment) -> dict[str, Any]:
    """Return what became of the capital out of sample; null where there is no number."""
    told = {
        "mean_day_return": one.mean,
        "mean_day_return_lower": one.mean_lower,
        "sharpe": one.sharpe,
        "total_return": one.total_return if len(one.returns) else np.nan,
        "max_drawdown": one.max_drawdown if len(one.returns) else np.nan,
    }
    return {
        "method": str(one.method),
        "test_days": len(one.returns),
        **{name: value if np.isfinite(value) else None for name, value in told.items()},
        "invested": float(one.now.sum()),
    }


def days_of_calls(called_at: pl.Series, horizon_ms: int) -> tuple[Integers, Integers]:
    """Return the UTC days of calls and when the last window of each ends, in milliseconds since 1970."""
    ends = (
        pl.DataFrame({"called_at": called_at.cast(frames.TIMESTAMP)})
        .group_by(day=pl.col("called_at").dt.truncate("1d").to_physical())
        .agg(pl.col("called_at").max().to_physical())
        .sort("day")
    )
    return ends["day"].to_numpy(), ends["called_at"].to_numpy() + horizon_ms


def allocate_runs(
    artifacts: ArtifactStore, runs: Sequence[str], windows: Windows, terms: Terms, *, callers: bool = False
) -> tuple[list[str], list[Allotment]]:
    """Share the capital among the rules of published backtests, or among the callers of one.

    Args:
        artifacts: of the lab.
        runs: ids, or the start of them.
        windows: of the walk.
        terms: of Kelly's shares.
        callers: whether the callers of the one run are the members.

    Returns:
        Names of the members, and an allotment for each method.

    Raises:
        LabError: if a run is not known, is named twice, has no calls, or callers are asked of more than one.
    """
    ids = [artifacts.find(one) for one in runs]
    if len(set(ids)) < len(ids):
        raise LabError("a run is named twice")
    if callers and len(ids) > 1:
        raise LabError("callers share the capital under one rule: name one run")
    members: dict[str, pl.DataFrame] = {}
    ends: list[pl.DataFrame] = []
    for run_id in ids:
        spec = artifacts.manifest(run_id).spec
        trades, outcomes = (
            pl.read_parquet(artifacts.path(run_id, name), glob=False) for name in ("trades", "outcomes")
        )
        if callers:
            members = by_caller(trades, LEAST_DAYS)
        else:
            members[f"{spec.strategy_id} v{spec.strategy_version} {run_id[:8]}"] = trades
        days, reach = days_of_calls(outcomes["called_at"], minutes_to_ms(spec.strategy.horizon_minutes))
        ends.append(pl.DataFrame({"day": days, "reach": reach}))
    seen = pl.concat(ends).group_by("day").agg(pl.col("reach").max()).sort("day")
    if seen.is_empty() or not members:
        raise LabError("there is nobody to share the capital: no calls, or no caller with ten days of trades")
    return list(members), allocate(members, seen["day"].to_numpy(), seen["reach"].to_numpy(), windows, terms)
