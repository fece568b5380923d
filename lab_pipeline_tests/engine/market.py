"""Candles, calls and strategies in as few words as the tests need."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import polars.selectors as cs

from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import Exit, StopFill, StrategyConfig, Target, TrailingStop
from lab_pipeline.engine import Simulation

T0 = datetime(2024, 1, 1, tzinfo=UTC)
Prices = tuple[float, float, float, float]
Engine = Callable[..., Simulation]

FRAMES = ("fills", "trades", "paths", "outcomes", "equity")


def minute(count: float) -> datetime:
    return T0 + timedelta(minutes=count)


def candles(
    rows: Iterable[Prices], *, mint: str = "m", minutes: Iterable[float] | None = None, volume: float = 1.0
) -> pl.DataFrame:
    """Lay out (open, high, low, close) rows, one a minute from T0 on unless `minutes` says when."""
    listed = list(rows)
    times = range(len(listed)) if minutes is None else minutes
    return pl.DataFrame(
        [(mint, minute(time), *map(float, row), volume) for time, row in zip(times, listed, strict=True)],
        schema=frames.CANDLES,
        orient="row",
    )


def flat(price: float) -> Prices:
    return (price, price, price, price)


def calls(*entries: tuple[str, str, float]) -> pl.DataFrame:
    """Lay out (call_id, mint, minute) entries, by default one call on mint m at T0."""
    rows = entries or (("c", "m", 0.0),)
    return pl.DataFrame(
        [(call_id, "caller", mint, minute(time)) for call_id, mint, time in rows], schema=frames.CALLS, orient="row"
    )


def strategy(
    targets: Sequence[tuple[float, float]] = (),
    stop: float | None = None,
    trail: tuple[float, float] | None = None,
    break_even_after: int | None = None,
    max_hold: float | None = None,
    **blocks: Any,
) -> StrategyConfig:
    """Make a strategy whose stops fill at their levels; without any exit rule it holds to the horizon."""
    if not targets and stop is None and trail is None and max_hold is None:
        max_hold = 1e6
    return StrategyConfig(
        exit=Exit(
            targets=tuple(Target(multiple=multiple, fraction=fraction) for multiple, fraction in targets),
            stop_loss=stop,
            stop_fill=StopFill(through=0),
            trailing=TrailingStop(activation=trail[0], distance=trail[1]) if trail else None,
            break_even_after=break_even_after,
            max_hold_minutes=max_hold,
        ),
        **blocks,
    )


def bytes_of(frame: pl.DataFrame) -> list[bytes]:
    """Return every column's values and nulls as bytes: -0.0 differs from 0.0, and no two floats are near enough."""
    return [
        column.is_null().to_numpy().tobytes()
        + (
            "\0".join(value or "" for value in column).encode()
            if column.dtype == pl.String
            else column.to_physical().fill_null(0).to_numpy().tobytes()
        )
        for column in frame
    ]


def bits_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame that equals another only if no bit of any value differs; quicker than `bytes_of`."""
    return frame.with_columns(cs.float().reinterpret(dtype=pl.UInt64))


def assert_identical(left: pl.DataFrame, right: pl.DataFrame) -> None:
    assert left.schema == right.schema
    if not bits_of(left).equals(bits_of(right)):
        differing = [
            name for name in left.columns if not bits_of(left.select(name)).equals(bits_of(right.select(name)))
        ]
        raise AssertionError(f"{differing} differ:\n{left}\n{right}")


def assert_same_simulation(left: Simulation, right: Simulation) -> None:
    for name in FRAMES:
        assert_identical(getattr(left, name), getattr(right, name))
    assert left.summary == right.summary
