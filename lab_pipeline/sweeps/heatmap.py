"""Two parameters against a figure: a cell for each pair of their values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.sweeps.published import PublishedSweep
from lab_pipeline.sweeps.questions import SETS, Columns

MOST_LEVELS = 50
"""Of an axis; numbers that are more share as many equal parts of their range."""


class Reduce(StrEnum):
    """What a cell says of its sets."""

    BEST = "best"
    MEDIAN = "median"


@dataclass(frozen=True)
class Axis:
    """The values of one parameter, ascending; null, which stands for not set, comes first.

    Attributes:
        path: of the parameter.
        values: one a row or column; the middles of the parts, where `width` is set.
        width: of each part, where there are too many values to show each.
    """

    path: str
    values: Sequence[float | str | None]
    width: float | None


@dataclass(frozen=True)
class HeatMap:
    """Cells of shape (values of y, values of x).

    Attributes:
        x: columns.
        y: rows.
        values: of the figure, null where no set may win.
        sets: in the cell.
        eligible: sets of it that may win, of which alone the value is.
    """

    x: Axis
    y: Axis
    values: Sequence[Sequence[float | None]]
    sets: Sequence[Sequence[int]]
    eligible: Sequence[Sequence[int]]


def heat_map(sweep: PublishedSweep, x: str, y: str, z: str, reduce: Reduce) -> HeatMap:
    """Put the sets of a sweep into cells; the other parameters are reduced.

    Args:
        sweep: whose.
        x: path of a parameter that is varied.
        y: of another.
        z: name of a figure, in camelCase.
        reduce: of several sets in a cell, the largest figure or the median.

    Raises:
        InvalidConfigError: if there is no such parameter or figure, or there are too many texts to show.
    """
    columns = Columns.of(sweep)
    varied = columns.parameters
    across, down, figure = varied.find(x, "x"), varied.find(y, "y"), columns.numbers.find(z, "z")
    if across == down:
        raise InvalidConfigError("the request", [FieldError("y", "must be another parameter than x")])
    rows = sweep.table(SETS, across, down, figure, "eligible")
    (columns_, x_axis), (rows_, y_axis) = _levels(rows[across], "x", x), _levels(rows[down], "y", y)
    placed = pl.DataFrame({"x": columns_, "y": rows_, "z": rows[figure].cast(pl.Float64), "able": rows["eligible"]})
    able = pl.col("z").filter("able")
    cells = placed.group_by("x", "y").agg(
        (able.max() if reduce is Reduce.BEST else able.median()).alias("value"),
        pl.len().alias("sets"),
        pl.col("able").sum().alias("eligible"),
    )
    shape = len(y_axis.values), len(x_axis.values)
    place = cells["y"].to_numpy(), cells["x"].to_numpy()
    values, sets, eligible = np.full(shape, np.nan), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    values[place] = cells["value"].fill_null(math.nan).to_numpy()
    sets[place], eligible[place] = cells["sets"].to_numpy(), cells["eligible"].to_numpy()
    told = [[None if math.isnan(value) else value for value in row] for row in values.tolist()]
    return HeatMap(x_axis, y_axis, told, sets.tolist(), eligible.tolist())


def _levels(values: pl.Series, field: str, path: str) -> tuple[npt.NDArray[np.int64], Axis]:
    """Return the place of each value on an axis, and the axis."""
    known = values.drop_nulls().unique().sort()
    if len(known) <= MOST_LEVELS:
        levels: list[Any] = ([None] if values.null_count() else []) + known.to_list()
        place = {value: number for number, value in enumerate(levels)}
        return np.array([place[value] for value in values.to_list()], np.int64), Axis(path, levels, None)
    if not values.dtype.is_numeric():
        said = f"{path} has {len(known):,} values, at most {MOST_LEVELS} can be shown"
        raise InvalidConfigError("the request", [FieldError(field, said)])
    low, high = float(known[0]), float(known[-1])
    width = (high - low) / MOST_LEVELS
    middles = [low + width * (number + 0.5) for number in range(MOST_LEVELS)]
    unset = values.is_null().to_numpy()
    place_of = np.minimum((values.cast(pl.Float64).fill_null(low).to_numpy() - low) / width, MOST_LEVELS - 1)
    places = place_of.astype(np.int64)
    if not unset.any():
        return places, Axis(path, middles, width)
    return np.where(unset, 0, places + 1), Axis(path, [None, *middles], width)
