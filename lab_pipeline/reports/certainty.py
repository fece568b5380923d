"""How sure a result is of its fills, and of not being chance: what to conclude, before any other number."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from lab_pipeline.domain.clusters import trades_error
from lab_pipeline.domain.doubts import named, other_signs
from lab_pipeline.domain.enums import LaneKind
from lab_pipeline.domain.luck import best_by_luck
from lab_pipeline.domain.strategy import (
    DEFAULT_THROUGH,
    AmmImpact,
    Costs,
    StopFill,
    StrategyConfig,
    VolumeShareImpact,
)
from lab_pipeline.reports.formats import MISSING, TIMES, percent, signed_percent

HEADINGS = {
    LaneKind.RUN: "As run",
    LaneKind.STOPS: "Where stops fill",
    LaneKind.ENDED: "When the candles end",
    LaneKind.STRESS: "Under stress: fee and slippage",
    LaneKind.THIN: "Where there is volume",
    LaneKind.STAKE: "With another stake: the capacity",
    LaneKind.DELAY: "Entered later: the reaction",
}
COLUMNS = (
    (LaneKind.RUN, LaneKind.STOPS, LaneKind.ENDED, LaneKind.STRESS),
    (LaneKind.STAKE, LaneKind.DELAY, LaneKind.THIN),
)
CHANCE = 0.05
TRIES = (10, 100, 1_000, 10_000)
WORDS = {LaneKind.STOPS, LaneKind.ENDED, LaneKind.STRESS}


@dataclass(frozen=True)
class Conclusion:
    """One sentence; `tone` is the CSS class of its colour."""

    text: str
    tone: str


UNASKED = Conclusion(
    "Conclude nothing yet: what other fills would have made of these trades was not simulated.", "flat"
)
"""Of a run that has no lanes."""


def conclude(certainty: pl.DataFrame) -> Conclusion:
    """Say what a reader should conclude of a run from the lanes of its fills (columns of `frames.FILL_CERTAINTY`)."""
    run = certainty.filter(pl.col("kind") == LaneKind.RUN)
    if run.is_empty() or run["expectancy"][0] is None:
        return Conclusion("Nothing was traded, so there is nothing to conclude.", "flat")
    mean, low, high = run.select("expectancy", "expectancy_low", "expectancy_high").row(0)
    other = other_signs(certainty)
    if not other.is_empty():
        lane = other.row(0, named=True)
        return Conclusion(
            f"Conclude nothing yet: what is assumed of the fills decides whether this gains or loses. A trade returns "
            f"{signed_percent(mean)} as run, but {signed_percent(lane['expectancy'])} with {named(lane)}.",
            "down",
        )
    if low is None:
        return Conclusion(
            "Conclude nothing yet: all trades are of one day, and what one day says of others cannot be said.", "flat"
        )
    asked = certainty.filter(pl.col("kind").is_in([LaneKind.RUN, *WORDS]))
    luck = f"though it cannot be told from luck (95% interval: {signed_percent(low)} to {signed_percent(high)})"
    if mean > 0:
        lane = asked.sort("expectancy", maintain_order=True).row(0, named=True)
        worst = f"It gains whatever is assumed of its fills, {signed_percent(lane['expectancy'])} a trade at the worst"
        return Conclusion(f"{worst}, {luck}." if low <= 0 else f"{worst}.", "flat" if low <= 0 else "up")
    lane = asked.sort("expectancy", descending=True, maintain_order=True).row(0, named=True)
    best = f"It loses whatever is assumed of its fills, {signed_percent(lane['expectancy'])} a trade at the best"
    return Conclusion(f"{best}, {luck}." if high >= 0 else f"{best}.", "down")


def against_chance(nulls: pl.DataFrame) -> Iterator[str]:
    """Say how the calls compare with holding, random moments and other names (columns of `frames.NULLS`)."""
    run = nulls.filter(pl.col("caller").is_null())
    if run.is_empty() or not run["trades"][0]:
        return
    row = run.row(0, named=True)
    if row["hold_expectancy"] is not None:
        held = f"Held to the horizon, the same entries return {signed_percent(row['hold_expectancy'])} a trade"
        yield f"{held}: {_over(row['over_hold_low'], row['over_hold_high'])}."
    if row["p_random"] is None:
        yield (
            "How the calls compare with random moments on their tokens cannot be said: the run has no candles far "
            "enough from them."
        )
    else:
        drawn = f"{signed_percent(row['random_low'])} to {signed_percent(row['random_high'])}"
        yield (
            f"At random moments on the same tokens they return {signed_percent(row['random_expectancy'])} (95% of "
            f"draws: {drawn}). At their own the {row['moved_calls']:,} of them that can be moved return "
            f"{signed_percent(row['moved_expectancy'])}: p = {chance(row['p_random'])} that random moments do as well."
        )
    if row["p_shuffled"] is None:
        yield "Whether callers differ cannot be said: no two of them called on the same day."
    else:
        yield (
            f"With the calls of each day handed out to its callers at random, callers differ as much as they do with "
            f"p = {chance(row['p_shuffled'])}."
        )
    callers = nulls.filter(pl.col("caller").is_not_null() & pl.col("q_random").is_not_null())
    better = callers.filter(pl.col("q_random") <= CHANCE)["caller"].to_list()
    if not callers.is_empty():
        some = f"{len(better)} of {len(callers)} callers beat their own tokens at random times"
        yield f"{some}, corrected for their number (q ≤ {CHANCE:g})."


def by_luck(trades: pl.DataFrame) -> Iterator[str]:
    """Say what the best of many such runs shows by luck alone (columns of `frames.TRADES`).

    How many tries there were is no part of the page: the number grows, and equal runs have equal pages.
    """
    error = None if trades.is_empty() else trades_error(trades)
    if error is None:
        return
    shown = ", ".join(f"of {tries:,} {signed_percent(best_by_luck(error, tries))}" for tries in TRIES)
    yield (
        f"Chosen among others, it has to beat luck: without any edge, the best {shown} a trade. "
        "`lab runs show` says one of how many tries on these calls it is."
    )


def assumptions(strategy: StrategyConfig) -> Iterator[str]:
    """Say what the run assumes of its fills."""
    yield _stops(strategy.exit.stop_fill)
    yield from _costs(strategy.costs)
    cut = strategy.end_of_data.haircut
    yield "Tokens whose candles end are sold at the last close" + (f" less {percent(cut)}." if cut else " (default).")


def lane_tables(certainty: pl.DataFrame) -> list[list[tuple[str, list[dict[str, object]]]]]:
    """Arrange the lanes in columns of headed groups; none for a run without them."""
    if certainty.is_empty():
        return []
    return [
        [(HEADINGS[kind], certainty.filter(pl.col("kind") == kind).to_dicts()) for kind in column] for column in COLUMNS
    ]


def thin_share(certainty: pl.DataFrame) -> str:
    """Say what part of the gains was made in candles with less volume than the stake."""
    thin = certainty.filter(pl.col("kind") == LaneKind.THIN)
    if thin.is_empty() or thin["thin_share"][0] is None:
        return ""
    return (
        f"{percent(thin['thin_share'][0])} of what winning trades won came from trades with a fill in a candle that "
        "traded less than the stake."
    )


def chance(value: float | None) -> str:
    """Write a p-value.

    >>> chance(0.0005), chance(0.25)
    ('0.0005', '0.25')
    """
    return MISSING if value is None else f"{value:.2g}"


def _over(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "whether the exits are better than that cannot be said from one day"
    if low > 0:
        return f"the exits are better than that by {signed_percent(low)} to {signed_percent(high)}"
    if high < 0:
        return f"the exits are worse than that by {signed_percent(low)} to {signed_percent(high)}"
    return f"the exits make no difference that can be told from luck ({signed_percent(low)} to {signed_percent(high)})"


def _stops(fill: StopFill) -> str:
    default = " (default)" if fill.through == DEFAULT_THROUGH else ""
    match fill.through:
        case 0:
            place = "at their level, the best that can be"
        case 0.5:
            place = "half way from their level to the candle's low"
        case 1:
            place = "at the candle's low, the worst that can be"
        case through:
            place = f"{percent(through, 0)} of the way from their level to the candle's low"
    return f"Stops inside a candle fill {place}: through {fill.through:g}{default}."


def _costs(costs: Costs) -> Iterator[str]:
    fixed = f" and {costs.fixed_fee:,.10g} whatever its size" if costs.fixed_fee else ""
    yield f"Every fill pays {costs.fee_bps:g} bp fee, {costs.slippage_bps:g} bp slippage{fixed}."
    match costs.impact:
        case VolumeShareImpact(coefficient=coefficient, exponent=exponent):
            yield f"Size moves the price by {coefficient:g} {TIMES} (share of the candle's volume) ^ {exponent:g}."
        case AmmImpact():
            yield "Size moves the price as in a constant-product pool."
        case _:
            yield (
                "Size moves no price (impact none, default): how much money the strategy can take cannot be said "
                "before costs.impact is set."
            )
