"""What a run would have returned had its fills been others: one row a lane.

The trades of the lanes that are not late are those of the run, settled anew; which re-entries there are is as it was.
A late lane has trades of its own. The account is not run again: `total_return` is that of the run, with what the trades
that it took would have made instead, of the amounts that it spent, and never less than the loss of
everything; a late trade that has no counterpart in the run is none of them.

Nothing is said, nulls, of a lane without trades, and of other stakes where the costs do not depend on them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.clusters import mean_interval
from lab_pipeline.domain.enums import LaneKind
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.stress_lanes import STRESS_LANES
from lab_pipeline.engine.kernel import Records
from lab_pipeline.engine.portfolio import account_of, at_least, costs_of, settled, stakes_of
from lab_pipeline.engine.witness import LATE_AND_DEAR, LATEST, Evidence

STAKES = (0.5, 1.0, 2.0, 5.0)
DEAR = tuple((lane.fee_bps, lane.slippage_bps) for lane in STRESS_LANES if not lane.delay_candles)
"""Fee and slippage, in basis points, of the stress lanes that are not late."""
HALF_WAY = 0.5


class Lane(NamedTuple):
    """One assumption about the fills, and the trades under it.

    Attributes:
        net: their net returns; NaN for one that would not have been made.
        calls: of the trades, by rank.
        counterpart: index of the trade of the run that each stands for, -1 for none.
    """

    kind: LaneKind
    name: str
    net: Floats
    calls: Integers
    counterpart: Integers
    through: float
    haircut: float
    stake: float = 1.0
    delay: int = 0
    fee_bps: float = 0.0
    slippage_bps: float = 0.0


class Taken(NamedTuple):
    """What the account made of the trades of the run: zeros for those that it did not take."""

    invested: Floats
    total_return: float
    capital: float


def lanes_frame(
    trades: Records,
    fills: Records,
    evidence: Evidence,
    config: StrategyConfig,
    timeframe: int,
    *,
    days: Integers,
    callers: Integers,
    taken: Taken,
) -> pl.DataFrame:
    """Return the table of the lanes: columns of `frames.FILL_CERTAINTY`.

    Args:
        trades: of the run, as the portfolio has settled them.
        fills: theirs.
        evidence: with `thinnest` in the order of the trades.
        config: the strategy.
        timeframe: length of a candle in milliseconds.
        days: of the calls, by rank.
        callers: numbers of the calls' callers.
        taken: what the account made of them.
    """
    rows = []
    for lane in _lanes(trades, fills, evidence, config, timeframe):
        made = ~np.isnan(lane.net)
        net, calls = lane.net[made], lane.calls[made]
        low, high = mean_interval(net, days[calls], callers[calls])
        rows.append(
            {
                "kind": lane.kind,
                "lane": lane.name,
                "through": lane.through,
                "haircut": lane.haircut,
                "stake": lane.stake,
                "delay_candles": lane.delay,
                "fee_bps": lane.fee_bps,
                "slippage_bps": lane.slippage_bps,
                "trades": len(net),
                "expectancy": float(net.mean()) if len(net) else None,
                "expectancy_low": low,
                "expectancy_high": high,
                "total_return": _total_return(lane, trades["net_return"], taken) if len(net) else None,
                "thin_share": None,
            }
        )
    table = pl.DataFrame(rows, schema=frames.FILL_CERTAINTY)
    share = _thin_share(trades, evidence.thinnest, stakes_of(trades, account_of(config, timeframe)))
    thin = pl.col("kind") == LaneKind.THIN
    return table.with_columns(thin_share=pl.when(thin).then(pl.lit(share, pl.Float64)))


def _total_return(lane: Lane, net: Floats, taken: Taken) -> float:
    """Return what the account would have made: its own result, corrected by what its trades would have made instead."""
    instead = np.zeros(len(net))
    known = lane.counterpart >= 0
    instead[lane.counterpart[known]] = np.nan_to_num(lane.net[known])
    changed = float((taken.invested * (lane.stake * instead - net)).sum())
    return max(-1.0, taken.total_return + changed / taken.capital)


def _thin_share(trades: Records, thinnest: Floats, stakes: Floats) -> float | None:
    """Return the part of what winning trades won that was won in candles that traded less than the stake."""
    won = np.maximum(trades["net_return"], 0.0)
    total = float(won.sum())
    return float(won[thinnest < stakes].sum()) / total if total > 0 else None


def _lanes(
    trades: Records, fills: Records, evidence: Evidence, config: StrategyConfig, timeframe: int
) -> Iterator[Lane]:
    account, costs = account_of(config, timeframe), costs_of(config)
    through, haircut = config.exit.stop_fill.through, config.end_of_data.haircut
    calls, every = trades["call"].copy(), np.arange(len(trades))
    last = fills[np.cumsum(trades["fills"], dtype=np.int64) - 1]
    as_run = Lane(
        LaneKind.RUN, "as run", trades["net_return"].copy(), calls, every, through, haircut,
        fee_bps=config.costs.fee_bps, slippage_bps=config.costs.slippage_bps,
    )  # fmt: skip
    yield as_run
    at_level, at_low = trades["at_level"].copy(), trades["at_low"].copy()
    half = np.maximum(at_level - HALF_WAY * (at_level - at_low), at_low)
    depth = trades["depth_at_level"] * np.sqrt(half / at_level)  # of a pool, if the two depths differ at all
    depth = np.where(trades["depth_at_level"] == trades["depth_at_low"], trades["depth_at_level"], depth)
    half_way = as_run.net if through == HALF_WAY else settled(trades, fills, costs, account, half, depth)
    for name, share, net in (
        ("stops at their level", 0.0, trades["net_at_level"].copy()),
        ("stops half way to the low", HALF_WAY, half_way),
        ("stops at the low", 1.0, trades["net_at_low"].copy()),
    ):
        yield as_run._replace(kind=LaneKind.STOPS, name=name, through=share, net=net)
    dead = trades["net_if_dead"].copy()
    yield as_run._replace(kind=LaneKind.ENDED, name="ended tokens worthless", haircut=1.0, net=dead)
    price, depth = last["price"].copy(), last["depth"].copy()
    for stake in STAKES:
        net = as_run.net
        if stake != 1.0 and not costs.by_size:
            net = np.full(len(net), np.nan)  # nobody said what size does
        elif stake != 1.0:
            other = account._replace(size=stake * account.size, max_fraction=stake * account.max_fraction)
            net = settled(trades, fills, costs, other, price, depth)
        yield as_run._replace(kind=LaneKind.STAKE, name=f"{stake:g} times the stake", stake=stake, net=net)
    for delay in range(LATEST + 1):
        lane = as_run if delay == 0 else _late(as_run, evidence.late, delay, "net")
        yield lane._replace(kind=LaneKind.DELAY, name=_later(delay))
    for fee_bps, slippage_bps in DEAR:
        dear = at_least(costs, fee_bps, slippage_bps)
        net = settled(trades, fills, dear, account, price, depth)
        yield _priced(as_run._replace(net=net), fee_bps, slippage_bps, config)
    for number, (delay, fee_bps, slippage_bps) in enumerate(LATE_AND_DEAR):
        yield _priced(_late(as_run, evidence.late, delay, f"dear_{number}"), fee_bps, slippage_bps, config)
    thin = evidence.thinnest < stakes_of(trades, account)
    yield as_run._replace(kind=LaneKind.THIN, name="without thin candles", net=np.where(thin, np.nan, as_run.net))


def _late(as_run: Lane, late: Records, delay: int, column: str) -> Lane:
    """Return the lane whose trades are those of calls entered so many candles late."""
    chosen = late[late["delay"] == delay]
    chosen = chosen[np.argsort(chosen["call"], kind="stable")]  # of whatever shards: sums are in one order
    mine = np.flatnonzero(as_run.calls[1:] != as_run.calls[:-1]) + 1 if len(as_run.calls) else np.empty(0, np.int64)
    starts = np.concatenate([np.zeros(min(1, len(as_run.calls)), np.int64), mine])
    lengths = np.diff(starts, append=len(as_run.calls))
    most = int(as_run.calls.max(initial=-1)) + 2
    first, count = np.zeros(most, np.int64), np.zeros(most, np.int64)
    first[as_run.calls[starts]], count[as_run.calls[starts]] = starts, lengths
    call = np.minimum(chosen["call"], most - 1)  # no trade of the run is of the last
    known = chosen["trade_no"] <= count[call]
    counterpart = np.where(known, first[call] + chosen["trade_no"] - 1, -1)
    return as_run._replace(net=chosen[column].copy(), calls=chosen["call"].copy(), counterpart=counterpart, delay=delay)


def _priced(lane: Lane, fee_bps: float, slippage_bps: float, config: StrategyConfig) -> Lane:
    later = f", {_later(lane.delay)}" if lane.delay else ""
    return lane._replace(
        kind=LaneKind.STRESS,
        name=f"{fee_bps:g}/{slippage_bps:g} bp{later}",
        fee_bps=max(fee_bps, config.costs.fee_bps),
        slippage_bps=max(slippage_bps, config.costs.slippage_bps),
    )


def _later(candles: int) -> str:
    return f"{candles} candle{'' if candles == 1 else 's'} later"
