"""The account by day and month, and how it fell, as frames."""

from dataclasses import dataclass

import polars as pl

DRAWDOWNS_SHOWN = 5
DAY = pl.Schema(
    {
        "day": pl.Date(),
        "equity": pl.Float64(),
        "return": pl.Float64(),
        "exposure": pl.Float64(),
        "drawdown": pl.Float64(),
    }
)
DRAWDOWN = pl.Schema(
    {
        "peak_at": pl.Datetime("ms", "UTC"),
        "trough_at": pl.Datetime("ms", "UTC"),
        "recovered_at": pl.Datetime("ms", "UTC"),
        "depth": pl.Float64(),
        "days": pl.Float64(),
    }
)
MONTHS = 12


def by_day(equity: pl.DataFrame, initial_capital: float, timeframe_ms: int) -> pl.DataFrame:
    """Return the days of an account.

    Args:
        equity: columns of `frames.EQUITY`: a step each candle, without gaps.
        initial_capital: in quote currency; the first day's return is from there.
        timeframe_ms: length of a candle. A step belongs to the UTC day in which its candle opens.

    Returns:
        `DAY`, ascending: equity at the end of the day, its return (null after a day that left nothing), the mean
        exposure of its steps, and the deepest drawdown in it, which is at most zero.
    """
    day = (pl.col("timestamp") - pl.duration(milliseconds=timeframe_ms)).dt.date()
    days = equity.group_by(day.alias("day"), maintain_order=True).agg(
        pl.col("equity").last(), pl.col("exposure").mean(), pl.col("drawdown").min()
    )
    before = pl.col("equity").shift(1, fill_value=initial_capital)
    made = pl.when(before > 0).then(pl.col("equity") / before - 1.0)
    return days.with_columns(made.alias("return")).select(DAY.names()).cast(DAY)


@dataclass(frozen=True)
class Year:
    """The returns of a year.

    Attributes:
        year: which one.
        months: January to December; null where the account has no day in it, or nothing was left before.
        whole: of all its days.
    """

    year: int
    months: tuple[float | None, ...]
    whole: float | None


def by_year(days: pl.DataFrame, initial_capital: float) -> list[Year]:
    """Return the months of an account, year by year, ascending.

    Args:
        days: of `by_day`.
        initial_capital: as given there.
    """
    found: dict[int, list[float | None]] = {}
    wholes: dict[int, float | None] = {}
    before = year_before = initial_capital
    ends = days.group_by(year=pl.col("day").dt.year(), month=pl.col("day").dt.month(), maintain_order=True)
    for year, month, end in ends.agg(pl.col("equity").last()).iter_rows():
        if year not in found:
            found[year], year_before = [None] * MONTHS, before
        found[year][month - 1] = _grown(end, before)
        wholes[year] = _grown(end, year_before)
        before = end
    return [Year(year, tuple(months), wholes[year]) for year, months in found.items()]


def drawdowns(equity: pl.DataFrame) -> pl.DataFrame:
    """Return the times between a peak of the equity and the next that is as high, the deepest first.

    Args:
        equity: columns of `frames.EQUITY`.

    Returns:
        `DRAWDOWN`: when the peak was left and the lowest point reached, when it was recovered (null where it was not),
        the depth there as a fraction of the peak, negative, and the days from the peak to the recovery or the end.
    """
    last = pl.col("timestamp").last()
    found = (
        equity.select("timestamp", "drawdown")
        .with_columns(
            piece=(pl.col("drawdown") < 0).rle_id(),
            before=pl.col("timestamp").shift(1),
            after=pl.col("timestamp").shift(-1),
            end=last,
        )
        .filter(pl.col("drawdown") < 0)
        .group_by("piece", maintain_order=True)
        .agg(
            peak_at=pl.coalesce(pl.col("before").first(), pl.col("timestamp").first()),
            trough_at=pl.col("timestamp").get(pl.col("drawdown").arg_min()),
            recovered_at=pl.col("after").last(),
            depth=pl.col("drawdown").min(),
            end=pl.col("end").first(),
        )
    )
    took = pl.coalesce("recovered_at", "end") - pl.col("peak_at")
    found = found.with_columns(days=took.dt.total_milliseconds() / 86_400_000)
    return found.sort("depth", "peak_at").select(DRAWDOWN.names()).cast(DRAWDOWN)


def _grown(end: float, before: float) -> float | None:
    return end / before - 1.0 if before > 0 else None
