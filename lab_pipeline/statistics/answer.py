"""Which exit rules make money on which callers: the runs of several rules, caller by caller."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl

from lab_pipeline.domain.clusters import adjusted
from lab_pipeline.runs.published import PublishedRun

SURE = 0.05
"""False discovery rate at which a cell is told apart from zero."""
FEWEST_DAYS = 5
"""Days with trades below which a cell is not tested: an error of a handful of days is itself mostly luck."""
RUNS_KEPT = 1_000
"""Runs whose cells are remembered: what was published does not change."""
CELLS = pl.Schema(
    {
        "run_id": pl.String(),
        "caller": pl.String(),
        "trades": pl.Int64(),
        "days": pl.Int64(),
        "wins": pl.Int64(),
        "expectancy": pl.Float64(),
        "error": pl.Float64(),
        "p_value": pl.Float64(),
        "q_value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
    }
)
CALLERS = pl.Schema(
    {
        "caller": pl.String(),
        "calls": pl.Int64(),
        "reached_2x": pl.Float64(),
        "mean_ath": pl.Float64(),
        "hold_expectancy": pl.Float64(),
        "random_expectancy": pl.Float64(),
    }
)


def cells_of(runs: Sequence[PublishedRun]) -> pl.DataFrame:
    """Return what each caller's calls made under the rules of each run.

    Returns:
        `CELLS`, a row for each run and caller with a trade, runs in their order, callers by name. `expectancy` is the
        mean net return of a trade, `error` its standard error clustered by UTC day of the call, `p_value` two-sided by
        Student's t with a degree of freedom less than days, null below `FEWEST_DAYS` or without spread. `q_value` is
        corrected for all cells that were tested (Benjamini and Yekutieli). `low` and `high` are the interval corrected
        for as many cells as are sure (Benjamini and Yekutieli 2005): it excludes zero where, and only where, `q_value`
        is at most `SURE`.
    """
    if not runs:
        return pl.DataFrame(schema=CELLS)
    return _corrected(pl.concat([_cells(run) for run in runs]))


@lru_cache(maxsize=RUNS_KEPT)
def callers_of(run: PublishedRun) -> pl.DataFrame:
    """Return what would be known of callers without any rule.

    Returns:
        `CALLERS`, by name: calls, the share of those that entered whose price doubled, the mean of their highest price
        over that of the entry, the mean net return of holding to the horizon, and of the same tokens at random times;
        null where a run does not know it.
    """
    calls = run.frame("outcomes").group_by("caller").agg(calls=pl.len().cast(pl.Int64))
    paths = (
        run.frame("paths")
        .group_by("caller")
        .agg(reached_2x=pl.col("time_to_2x_minutes").is_not_null().mean(), mean_ath=pl.col("ath_multiple").mean())
    )
    chance = run.frame("nulls").drop_nulls("caller").select("caller", "hold_expectancy", "random_expectancy")
    joined = calls.join(paths, on="caller", how="left").join(chance, on="caller", how="left")
    return joined.select(CALLERS.names()).cast(CALLERS).sort("caller")


@lru_cache(maxsize=RUNS_KEPT)
def calls_digest(run: PublishedRun) -> int:
    """Return a number that runs on the same calls share, in this process."""
    return int(run.frame("outcomes")["call_id"].hash().sum())


def _corrected(cells: pl.DataFrame) -> pl.DataFrame:
    from scipy.special import stdtrit  # noqa: PLC0415 - a quarter of a second

    tested = cells["p_value"].is_not_null().to_numpy()
    chances = cells["p_value"].drop_nulls().to_numpy()
    if not len(chances):
        return cells
    corrected = np.full(cells.height, np.nan)
    corrected[tested] = adjusted(chances)
    sure = max(1, int((corrected <= SURE).sum()))
    level = SURE * sure / (len(chances) * (1.0 / np.arange(1, len(chances) + 1)).sum())
    days, mean, error = (cells[name].to_numpy() for name in ("days", "expectancy", "error"))
    half = np.full(cells.height, np.nan)
    half[tested] = stdtrit(days[tested] - 1.0, 1 - level / 2) * error[tested]
    return cells.with_columns(
        pl.Series("q_value", corrected, nan_to_null=True),
        pl.Series("low", np.maximum(mean - half, -1.0), nan_to_null=True),
        pl.Series("high", mean + half, nan_to_null=True),
    )


@lru_cache(maxsize=RUNS_KEPT)
def _cells(run: PublishedRun) -> pl.DataFrame:
    from scipy.special import stdtr  # noqa: PLC0415 - a quarter of a second

    day = pl.col("called_at").dt.truncate("1d")
    apart = pl.col("net_return") - pl.col("net_return").mean().over("caller")
    cells = (
        run.frame("trades")
        .select("caller", "net_return", day=day, apart=apart)
        .group_by("caller", "day")
        .agg(trades=pl.len(), wins=(pl.col("net_return") > 0).sum(), net=pl.col("net_return").sum(),
             apart=pl.col("apart").sum())
        .group_by("caller")
        .agg(pl.col("trades", "wins").sum(), days=pl.len(), expectancy=pl.col("net").sum() / pl.col("trades").sum(),
             error=(pl.col("apart") ** 2).sum().sqrt() / pl.col("trades").sum())
        .sort("caller")
    )  # fmt: skip
    days = cells["days"].to_numpy().astype(np.float64)
    mean = cells["expectancy"].to_numpy()
    error = cells["error"].to_numpy() * np.sqrt(days / np.maximum(days - 1, 1))
    tested = (days >= FEWEST_DAYS) & (error > 0)
    chance = np.full(cells.height, np.nan)
    chance[tested] = 2 * stdtr(days[tested] - 1, -np.abs(mean[tested]) / error[tested])
    return cells.select(
        pl.lit(run.manifest.run_id).alias("run_id"),
        "caller",
        pl.col("trades", "days", "wins").cast(pl.Int64), "expectancy",
        pl.Series("error", error), pl.Series("p_value", chance, nan_to_null=True),
        *(pl.lit(None, pl.Float64).alias(name) for name in ("q_value", "low", "high")),
    )  # fmt: skip
