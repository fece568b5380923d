"""The tables of the tear sheet as frames: who called well, how trades ended, which were best and worst."""

import polars as pl

from lab_pipeline.domain.enums import Outcome
from lab_pipeline.domain.t_quantile import student_t_975


def by_caller(trades: pl.DataFrame, outcomes: pl.DataFrame, paths: pl.DataFrame) -> pl.DataFrame:
    """Judge the callers, best first by what their mean return is at least, with 95 % confidence.

    The interval is by clusters of days (`domain.clusters`). Where the caller's own trades happen to agree it is that of
    independent trades with the run's standard deviation: a few lucky calls are no proof of skill. Trades of one day
    have no interval and rank below all that do.

    Returns:
        caller, calls, entered, trades, win_rate, mean_return, low, high, pnl (of the trades the portfolio took),
        median_ath. Ties are in order of mean return, then name.
    """
    spread = trades.select(pl.col("net_return").std()).item()
    called = outcomes.group_by("caller").agg(
        calls=pl.len(), entered=(pl.col("outcome") == Outcome.ENTERED).sum().cast(pl.Int64)
    )
    of_day = pl.col("net_return").sum() - pl.col("caller_mean").first() * pl.len()
    days = (
        trades.with_columns(caller_mean=pl.col("net_return").mean().over("caller"))
        .group_by("caller", day=pl.col("called_at").dt.date())
        .agg(deviation=of_day)
        .group_by("caller")
        .agg(days=pl.len(), squares=(pl.col("deviation") ** 2).sum())
    )
    traded = trades.group_by("caller").agg(
        trades=pl.len(),
        win_rate=(pl.col("net_return") > 0).mean(),
        mean_return=pl.col("net_return").mean(),
        pnl=pl.col("pnl").filter("taken").sum(),
    )
    peaks = paths.group_by("caller").agg(median_ath=pl.col("ath_multiple").median())
    table = called
    for part in (traded, days, peaks):
        table = table.join(part, on="caller", how="left")
    table = table.with_columns(pl.col("trades", "pnl", "days").fill_null(0))
    count = pl.col("trades").cast(pl.Float64)
    by_day = (pl.col("squares") * pl.col("days") / (pl.col("days") - 1.0)).sqrt() / count
    error = pl.max_horizontal(by_day, pl.lit(spread, pl.Float64) / count.sqrt())
    quantile = pl.Series(student_t_975(table["days"].to_numpy() - 1.0))
    interval = pl.when(pl.col("days") > 1).then(quantile * error)
    return (
        table.with_columns(low=pl.col("mean_return") - interval, high=pl.col("mean_return") + interval)
        .drop("days", "squares")
        .sort("low", "mean_return", "caller", descending=[True, True, False], nulls_last=True)
        .with_columns(pl.col("low").clip(lower_bound=-1))  # nobody loses more than all
    )


def with_chances(callers: pl.DataFrame, nulls: pl.DataFrame) -> pl.DataFrame:
    """Add what chance makes of each caller's calls: hold_expectancy, random_expectancy, p_random, q_random, q_shuffled.

    Args:
        callers: of `by_caller`.
        nulls: columns of `frames.NULLS`; may be empty.
    """
    chances = nulls.select("caller", "hold_expectancy", "random_expectancy", "p_random", "q_random", "q_shuffled")
    return callers.join(chances, on="caller", how="left", maintain_order="left")


def by_exit_reason(trades: pl.DataFrame) -> pl.DataFrame:
    """Count the ways out: exit_reason, trades, share, mean_return, median_hold; the most frequent first."""
    return (
        trades.group_by("exit_reason")
        .agg(
            trades=pl.len(),
            mean_return=pl.col("net_return").mean(),
            median_hold=pl.col("hold_minutes").median(),
        )
        .with_columns(share=pl.col("trades") / pl.col("trades").sum())
        .sort("trades", "exit_reason", descending=[True, False])
    )


def by_outcome(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Count what became of the calls: outcome, calls, share; every outcome has its row."""
    every = pl.DataFrame({"outcome": [str(outcome) for outcome in Outcome]})
    counts = outcomes.group_by("outcome").agg(calls=pl.len().cast(pl.Int64))
    return every.join(counts, on="outcome", how="left", maintain_order="left").with_columns(
        pl.col("calls").fill_null(0),
        share=pl.col("calls").fill_null(0) / max(1, len(outcomes)),
    )


def ranked(trades: pl.DataFrame, count: int, *, best: bool) -> pl.DataFrame:
    """Pick the trades with the highest or lowest net return; ties by time of call, call and trade number."""
    if trades.is_empty():
        return trades
    # top_k first: sorting a hundred thousand rows by four keys costs more than the rest of the page
    edge = trades["net_return"].top_k(count).min() if best else trades["net_return"].bottom_k(count).max()
    near = trades.filter(pl.col("net_return") >= edge if best else pl.col("net_return") <= edge)
    return near.sort("net_return", "called_at", "call_id", "trade_no", descending=[best, False, False, False]).head(
        count
    )
