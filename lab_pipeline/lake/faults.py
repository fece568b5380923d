"""What looks wrong in candles: found and told, never repaired."""

import math
from collections.abc import Sequence

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.enums import Fault
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake.lake import Lake
from lab_pipeline.lake.restated import restated

SPIKE_TIMES, UNIT_TIMES = 5.0, 20.0
"""So many times the price beside it is a spike; so many times the last close is another unit."""
NEAR = 12
"""Candles away from each other that still are neighbours."""
SIDE = 6
"""Candles on either side of a change of units that tell whether it stays."""
STAYS = 0.75
"""Share of the change, in logarithms, by which the middles of both sides must differ."""
RUN = 12
"""Candles in a row that are told."""
BLOCK, BLOCK_ROWS, BLOCK_PRICES = 24, 12, 6
"""Copies are found by blocks of so many candles, with so many rows and different closes at least."""
FAULTS = pl.Schema(
    {
        "mint": pl.String(),
        "fault": pl.String(),
        "first": frames.TIMESTAMP,
        "last": frames.TIMESTAMP,
        "candles": pl.Int64(),
        "detail": pl.String(),
    }
)
PRICES = ("open", "high", "low", "close")


def find_faults(lake: Lake, timeframe: str, mints: Sequence[str] | None = None) -> pl.DataFrame:
    """Look at the candles of a timeframe.

    Every candle is read, however few mints are asked for: any token can be a copy of any other.

    Args:
        lake: that has the candles.
        timeframe: their length.
        mints: whose faults to return; of all by default.

    Returns:
        `FAULTS` by mint, time and fault: each spike, each change of units, and each run of candles that are flat,
        without volume, another token's, or were restated together; `first` and `last` are the times of its first and
        last candle.
    """
    found, blocks = [], []
    length = timeframe_ms(timeframe)
    for file in lake.candle_files(timeframe):
        (candles,) = lake.each([file], lambda all_of_it: all_of_it.select("mint", "timestamp", *PRICES, "volume"))
        blocks.append(_blocks(candles, length))
        if mints is not None:
            candles = candles.filter(pl.col("mint").is_in(list(mints)))
        found += [_spikes(candles, length), _units(candles), *_runs(candles)]
    if blocks:
        copies = _copies(pl.concat(blocks))
        found.append(copies if mints is None else copies.filter(pl.col("mint").is_in(list(mints))))
    corrected = _restated(lake, timeframe)
    found.append(corrected if mints is None else corrected.filter(pl.col("mint").is_in(list(mints))))
    return pl.concat(found).sort("mint", "first", "fault", "detail")


def candles_of(lake: Lake, timeframe: str, mint: str) -> pl.DataFrame:
    """Return `timestamp`, `high` and `low` of a token's candles, by time."""
    with lake.slice(timeframe, [mint], 0, int(frames.END.timestamp() * 1000)) as shards:
        columns = [
            pl.DataFrame({"timestamp": shard.timestamp, "high": shard.high, "low": shard.low}) for shard in shards
        ]
    return pl.concat(columns).with_columns(pl.col("timestamp").cast(frames.TIMESTAMP))


def by_mint(faults: pl.DataFrame) -> pl.DataFrame:
    """Count faults by mint: a column for each kind, those with the most first.

    Spikes and changes of units are counted themselves, of the others their candles.
    """
    counts = [
        pl.col("candles").filter(pl.col("fault") == fault).sum().cast(pl.Int64).alias(fault.value) for fault in Fault
    ]
    total = pl.sum_horizontal(*(fault.value for fault in Fault))
    return faults.group_by("mint").agg(counts).sort(total, "mint", descending=[True, False])


def _spikes(candles: pl.DataFrame, length: int) -> pl.DataFrame:
    before, after = _beside(1, length), _beside(-1, length)
    high = pl.max_horizontal(pl.col("high").shift(), pl.col("high").shift(-1))
    low = pl.min_horizontal(pl.col("low").shift(), pl.col("low").shift(-1))
    up, down = pl.col("high") / high, low / pl.col("low")
    marked = candles.with_columns(
        pl.when(before & after).then(pl.max_horizontal(up, down)).alias("times"), (up >= down).alias("up")
    ).filter(pl.col("times") >= SPIKE_TIMES)
    which = pl.when("up").then(pl.lit("high")).otherwise(pl.lit("low"))
    said = pl.format("{} is {} times off", which, pl.col("times").round_sig_figs(3))
    return _told(marked.with_columns(last=pl.col("timestamp"), candles=pl.lit(1)), Fault.SPIKE, said)


def _units(candles: pl.DataFrame) -> pl.DataFrame:
    jump = (pl.col("open") / pl.col("close").shift()).log()
    middle = pl.col("close").log().rolling_median(SIDE)
    whole = (pl.col("mint") == pl.col("mint").shift(SIDE)) & (pl.col("mint") == pl.col("mint").shift(1 - SIDE))
    moved = middle.shift(1 - SIDE) - middle.shift()
    marked = candles.with_columns(pl.when(whole).then(jump).alias("jump"), moved.alias("moved")).filter(
        (pl.col("jump").abs() >= math.log(UNIT_TIMES)) & (pl.col("moved") / pl.col("jump") >= STAYS)
    )
    times = pl.col("jump").exp().round_sig_figs(4)
    said = pl.format("prices are {} times as high from here on", times)
    return _told(marked.with_columns(last=pl.col("timestamp"), candles=pl.lit(1)), Fault.UNIT, said)


def _runs(candles: pl.DataFrame) -> list[pl.DataFrame]:
    same = pl.all_horizontal(pl.col(name) == pl.col("close").shift() for name in PRICES)
    is_same_mint = pl.col("mint") == pl.col("mint").shift()
    no_volume, flat = pl.col("volume") == 0, same & is_same_mint & (pl.col("volume") > 0)
    return [
        _told(_in_a_row(candles, flat), Fault.FLAT, pl.format("at {}", "close")),
        _told(_in_a_row(candles, no_volume), Fault.NO_VOLUME, pl.format("at {}", "close")),
    ]


def _in_a_row(candles: pl.DataFrame, holds: pl.Expr) -> pl.DataFrame:
    """Return one row for each run of candles of a mint for which something holds."""
    marked = candles.select("mint", "timestamp", "close", holds.fill_null(value=False).alias("holds"))
    changes = (pl.col("holds") != pl.col("holds").shift()) | (pl.col("mint") != pl.col("mint").shift())
    runs = marked.with_columns(run=changes.fill_null(value=True).cum_sum()).filter("holds")
    return (
        runs.group_by("run", maintain_order=True)
        .agg(pl.col("mint", "timestamp", "close").first(), last=pl.col("timestamp").last(), candles=pl.len())
        .filter(pl.col("candles") >= RUN)
    )


def _blocks(candles: pl.DataFrame, length: int) -> pl.DataFrame:
    """Digest the prices of each mint by blocks of time, those that are too few or too much alike left out."""
    time = pl.col("timestamp").to_physical()
    return (
        candles.select(
            "mint",
            "timestamp",
            "close",
            (time // (length * BLOCK)).alias("block"),
            pl.struct("timestamp", *PRICES).hash().alias("row"),
        )
        .group_by("mint", "block")
        .agg(
            first=pl.col("timestamp").min(),
            last=pl.col("timestamp").max(),
            candles=pl.len(),
            digest=pl.col("row").bitwise_xor(),
            prices=pl.col("close").n_unique(),
        )
        .filter(pl.col("candles") >= BLOCK_ROWS, pl.col("prices") >= BLOCK_PRICES)
        .drop("prices")
    )


def _copies(blocks: pl.DataFrame) -> pl.DataFrame:
    """Tell of mints that share blocks, each with the first other that does; blocks that touch are one."""
    shared = blocks.filter(pl.struct("block", "digest").is_duplicated())
    others = shared.group_by("block", "digest").agg(mints=pl.col("mint").sort())
    first, second = pl.col("mints").list.get(0), pl.col("mints").list.get(1)
    pairs = (
        shared.join(others, on=["block", "digest"])
        .with_columns(other=pl.when(pl.col("mint") == first).then(second).otherwise(first))
        .sort("mint", "other", "block")
    )
    apart = (pl.col("block") != pl.col("block").shift() + 1) | pl.any_horizontal(
        pl.col(name) != pl.col(name).shift() for name in ("mint", "other")
    )
    runs = (
        pairs.with_columns(run=apart.fill_null(value=True).cum_sum())
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("mint", "other").first(),
            timestamp=pl.col("first").first(),
            last=pl.col("last").last(),
            candles=pl.col("candles").sum(),
        )
    )
    return _told(runs, Fault.COPY, pl.format("the prices of {}", "other"))


def _restated(lake: Lake, timeframe: str) -> pl.DataFrame:
    said = pl.format("the close was {} and is {}", pl.col("was").round_sig_figs(6), pl.col("close").round_sig_figs(6))
    return _told(restated(lake.store, timeframe), Fault.RESTATED, said)


def _beside(step: int, length: int) -> pl.Expr:
    """Return whether the candle some rows before is of the same mint, and not long before."""
    apart = (pl.col("timestamp").to_physical() - pl.col("timestamp").to_physical().shift(step)).abs()
    return (pl.col("mint") == pl.col("mint").shift(step)) & (apart <= NEAR * length)


def _told(rows: pl.DataFrame, fault: Fault, detail: pl.Expr) -> pl.DataFrame:
    named = rows.select(
        "mint",
        pl.lit(fault.value).alias("fault"),
        pl.col("timestamp").alias("first"),
        "last",
        "candles",
        detail.alias("detail"),
    )
    return named.select(pl.col(name).cast(dtype) for name, dtype in FAULTS.items())
