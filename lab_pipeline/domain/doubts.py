"""What makes a result doubtful though every number in it is right."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from lab_pipeline.domain.enums import LaneKind, Outcome
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.summary import Summary

FEW_TRADES = 30
MOST_AMBIGUOUS = 0.05
MOST_WITHOUT_CANDLES = 0.2
MOST_OF_THE_PROFIT = 0.3

DOUBTS = {
    "has_costs": "The strategy pays fees or slippage.",
    "has_enough_trades": f"There are at least {FEW_TRADES} trades.",
    "profit_is_told_from_zero": "The 95 % interval of a mean net return above 0 does not contain 0.",
    "fills_do_not_decide_the_sign": "The mean net return has the same sign wherever stops fill, whatever tokens are "
    "worth whose candles end, and under higher costs and later entries.",
    "few_calls_are_ambiguous": f"Of the calls that were entered, at most {MOST_AMBIGUOUS:.0%} have a candle that "
    "reached both a target and the stop.",
    "calls_have_candles": f"At most {MOST_WITHOUT_CANDLES:.0%} of the calls have no candles.",
    "no_token_makes_the_profit": f"No token makes more than {MOST_OF_THE_PROFIT:.0%} of the profit.",
    "no_day_makes_the_profit": f"No day (UTC, of the exit) makes more than {MOST_OF_THE_PROFIT:.0%} of the profit.",
}
"""Each doubt by its name, and what holds where there is no reason for it."""


@dataclass(frozen=True)
class Judgement:
    """What one of `DOUBTS` comes to.

    Attributes:
        name: of the doubt.
        passed: whether there is no reason for it.
        text: what was found, a sentence.
        value: the number that decides, in the unit of its limit; None if there is none.
    """

    name: str
    passed: bool
    text: str
    value: float | None = None


def judge(
    strategy: StrategyConfig,
    summary: Summary,
    outcomes: pl.DataFrame,
    trades: pl.DataFrame,
    certainty: pl.DataFrame,
) -> Iterator[Judgement]:
    """Judge a result by each of `DOUBTS`, in their order.

    Args:
        strategy: that was simulated.
        summary: of the run.
        outcomes: of the run, columns of `frames.OUTCOMES`; may be empty.
        trades: of the run, columns of `frames.TRADES`; may be empty.
        certainty: of the run, columns of `frames.FILL_CERTAINTY`.
    """
    costs = strategy.costs
    paid = f"{costs.fee_bps:g} bp of fees and {costs.slippage_bps:g} bp of slippage on every fill"
    yield Judgement("has_costs", bool(costs.fee_bps or costs.slippage_bps), paid, costs.fee_bps + costs.slippage_bps)
    yield Judgement("has_enough_trades", summary.trades >= FEW_TRADES, f"{summary.trades:,} trades", summary.trades)
    yield _of_the_interval(summary)
    yield _of_the_fills(certainty)
    ambiguous = int((outcomes["ambiguous_candles"] > 0).sum())
    yield _of_a_share("few_calls_are_ambiguous", ambiguous, summary.entered, MOST_AMBIGUOUS, "entered calls")
    without = int((outcomes["outcome"] == Outcome.NO_CANDLES).sum())
    yield _of_a_share("calls_have_candles", without, summary.calls, MOST_WITHOUT_CANDLES, "calls")
    taken = trades.filter("taken")
    yield _of_the_profit("no_token_makes_the_profit", taken, pl.col("mint"))
    yield _of_the_profit("no_day_makes_the_profit", taken, pl.col("exit_time").dt.strftime("%Y-%m-%d"))


def _of_the_interval(summary: Summary) -> Judgement:
    """Ask a profit whether it can be told from zero; a loss promises nothing."""
    name, mean = "profit_is_told_from_zero", summary.expectancy
    if mean is None or mean <= 0:
        return Judgement(name, passed=True, text="there is no profit", value=mean)
    low, high = summary.expectancy_low, summary.expectancy_high
    if low is None or high is None:
        return Judgement(name, passed=False, text="trades of one day have no interval", value=mean)
    return Judgement(name, low > 0, f"the interval is {low:+.2%} to {high:+.2%}", mean)


def other_signs(certainty: pl.DataFrame) -> pl.DataFrame:
    """Return the lanes whose mean net return has another sign than that of the run, the furthest from it first.

    Asked are those of stops, ended tokens and stress: what is a matter of the fills, not of the stake or the delay.
    """
    as_run = certainty.filter(pl.col("kind") == LaneKind.RUN)["expectancy"]
    if as_run.is_empty() or as_run[0] is None:
        return certainty.clear()
    differs = (pl.col("expectancy") > 0) != (as_run[0] > 0)
    lanes = certainty.filter(pl.col("kind").is_in([LaneKind.STOPS, LaneKind.ENDED, LaneKind.STRESS]) & differs)
    return lanes.sort((pl.col("expectancy") - as_run[0]).abs(), descending=True, maintain_order=True)


def named(lane: Mapping[str, object]) -> str:
    """Say what a lane (a row of `frames.FILL_CERTAINTY`) assumes, after *with*."""
    return f"fee and slippage of {lane['lane']}" if lane["kind"] == LaneKind.STRESS else str(lane["lane"])


def _of_the_fills(certainty: pl.DataFrame) -> Judgement:
    other = other_signs(certainty)
    name = "fills_do_not_decide_the_sign"
    if other.is_empty():
        return Judgement(name, passed=True, text="every lane has the sign of the run", value=0)
    as_run = certainty.filter(pl.col("kind") == LaneKind.RUN)["expectancy"][0]
    worst = other.row(0, named=True)
    text = f"{as_run:+.2%} as run, but {worst['expectancy']:+.2%} with {named(worst)}"
    return Judgement(name, passed=False, text=text, value=len(other))


def _of_a_share(name: str, count: int, total: int, most: float, noun: str) -> Judgement:
    share = count / total if total else 0.0
    return Judgement(name, share <= most, f"{count:,} of {total:,} {noun}", share)


def _of_the_profit(name: str, taken: pl.DataFrame, group: pl.Expr) -> Judgement:
    """Compare what the best group makes with what all make together; a loss has no such share."""
    profit = float(taken["pnl"].sum())
    if taken.is_empty() or profit <= 0:
        return Judgement(name, passed=True, text="there is no profit")
    best, made = taken.group_by(group.alias("group")).agg(pl.col("pnl").sum()).sort("pnl", "group").row(-1)
    share = made / profit
    return Judgement(name, share <= MOST_OF_THE_PROFIT, f"{best} makes {share:.0%} of {profit:,.2f}", share)
