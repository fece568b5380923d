"""A shard's candles as the kernel takes them, which calls are on them, and the rules that frames and candles keep."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE, CandleColumns, Floats, Integers
from lab_pipeline.domain.errors import LabError
from lab_pipeline.engine import kernel
from lab_pipeline.engine.calls import ranges
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.kernel import Candles

T = TypeVar("T", bound=np.generic)


class CallsByMint:
    """Which calls are on which mint: by rank, their place in the order of called_at and call_id."""

    def __init__(self, mints: pl.Series) -> None:
        """Take the mint of each call."""
        self._by_mint, self._groups = _group_by_mint(mints)
        self._seen: set[str] = set()

    def on(self, candles: CandleColumns) -> tuple[Integers, Integers, Integers]:
        """Return the ranks of the calls on a shard's mints, mint by mint, and the first and end row of each.

        Raises:
            LabError: naming a mint that comes twice.
        """
        called = [index for index, mint in enumerate(candles.mints) if mint in self._groups]
        for mint in (candles.mints[index] for index in called):
            if mint in self._seen:
                raise LabError(f"mint {mint}: its candles come in more than one piece, they must be handed over in one")
            self._seen.add(mint)
        groups = np.array([self._groups[candles.mints[index]] for index in called], np.int64).reshape(-1, 2)
        lengths = groups[:, 1] - groups[:, 0]
        return (
            self._by_mint[ranges(groups[:, 0], lengths)],
            readonly(np.repeat(candles.offsets[:-1][called], lengths)),
            readonly(np.repeat(candles.offsets[1:][called], lengths)),
        )


def laid_out(candles: CandleColumns) -> tuple[Candles, Floats]:
    """Return a shard's columns for the kernel, and its liquidity, which is empty where nobody knows it."""
    liquidity = column(np.empty(0) if candles.liquidity is None else candles.liquidity, np.float64)
    prices = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    return Candles(column(candles.timestamp, np.int64), *(column(one, np.float64) for one in prices)), liquidity


def check_candles(
    candles: CandleColumns, columns: Candles, timeframe: int, bounds: list[int], pool: ThreadPoolExecutor
) -> None:
    """Hold a shard's candles to their rules, in chunks of mints between `bounds`.

    Raises:
        LabError: naming the mint and time of the first candle that breaks one.
    """
    offsets = column(candles.offsets, np.int64)
    bad = pool.map(
        lambda span: kernel.first_bad_row(columns, offsets[span[0] : span[1] + 1], timeframe), pairwise(bounds)
    )
    for row in bad:
        if row >= 0:
            raise LabError(candle_problem(candles, row))


def _group_by_mint(mints: pl.Series) -> tuple[Integers, dict[str, tuple[int, int]]]:
    """Return the calls' ranks ordered by mint, and the part of them that each mint has."""
    order = np.argsort(mints.rank("dense").to_numpy(), kind="stable")
    runs = mints.gather(order).rle().struct
    ends = np.cumsum(runs.field("len").to_numpy().astype(np.int64))
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
    return order, dict(zip(runs.field("value"), zip(begins.tolist(), ends.tolist(), strict=True), strict=True))


def column(values: npt.NDArray[T], dtype: type[T]) -> npt.NDArray[T]:
    """Return values as one readonly run of memory, copied only if they are not."""
    return readonly(np.ascontiguousarray(values, dtype))


def check_columns(subject: str, frame: pl.DataFrame, columns: pl.Schema) -> None:
    """Hold a frame to the columns that it must have: their types, and no nulls."""
    for name, dtype in columns.items():
        if name not in frame.columns:
            raise LabError(f"{subject}: column {name} is missing; the frame has {', '.join(frame.columns) or 'none'}")
        if frame.schema[name] != dtype:
            raise LabError(f"{subject}: column {name} is {frame.schema[name]}, cast it to {dtype}")
        if frame[name].null_count():
            row = frame[name].is_null().arg_max()
            raise LabError(f"{subject}: column {name} is null in row {row}; drop the row or fill the value in")


def check_options(subject: str, frame: pl.DataFrame, columns: pl.Schema) -> None:
    """Hold the columns that may be there to their types, and numbers to what prices and values can be."""
    for name, dtype in columns.items():
        if name not in frame.columns:
            continue
        if frame.schema[name] != dtype:
            raise LabError(f"{subject}: column {name} is {frame.schema[name]}, cast it to {dtype}")
        number = pl.element() if isinstance(dtype, pl.List) else pl.col(name)
        if dtype == pl.String:
            continue
        least = pl.lit(0.0) if name.startswith("liquidity") else pl.lit(SMALLEST_PRICE)
        holds = number.is_between(least, LARGEST)
        wrong = ~(pl.col(name).list.eval(holds).list.all() if isinstance(dtype, pl.List) else holds)
        row = frame.select(wrong.fill_null(value=False).arg_true().first()).item()
        if row is not None:
            bound = "0" if name.startswith("liquidity") else f"{SMALLEST_PRICE:g}"
            raise LabError(
                f"{subject}: column {name} is {frame[name][row]} in row {row}; "
                f"it must be null or a number from {bound} to {LARGEST:g}"
            )


def check_unique(calls: pl.DataFrame) -> None:
    """Hold calls to ids of their own."""
    if calls["call_id"].n_unique() < len(calls):
        repeated = calls.filter(pl.col("call_id").is_duplicated())["call_id"][0]
        raise LabError(f"calls: call_id {repeated} occurs more than once; give every call an id of its own")


def candle_problem(candles: CandleColumns, row: int) -> str:
    """Say which candle breaks which rule."""
    mint = candles.mints[int(np.searchsorted(candles.offsets, row, side="right")) - 1]
    time = pl.Series([int(candles.timestamp[row])]).cast(frames.TIMESTAMP).dt.strftime("%Y-%m-%dT%H:%M:%SZ")[0]
    values = {name: float(getattr(candles, name)[row]) for name in ("open", "high", "low", "close", "volume")}
    shown = ", ".join(f"{name} {value:.17g}" for name, value in values.items())
    where = f"candle of {mint} at {time} ({shown})"
    prices = [values[name] for name in ("open", "high", "low", "close")]
    if not all(SMALLEST_PRICE <= price <= LARGEST for price in prices):
        problem = f"prices must be numbers from {SMALLEST_PRICE:g} to {LARGEST:g}"
    elif not 0 <= values["volume"] <= LARGEST:
        problem = f"volume must be a number from 0 to {LARGEST:g}"
    elif values["low"] > min(prices) or values["high"] < max(prices):
        problem = "low must be <= open and close, high >= open and close"
    else:
        problem = "it opens before the candle before it closes: timestamps must ascend, a timeframe apart or more"
    return f"{where}: {problem}"
