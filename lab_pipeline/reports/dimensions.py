"""What a sweep varies, as axes of pictures: the levels of every set, and what the sets of a level are worth."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain.text import visible
from lab_pipeline.reports.formats import MISSING, TIMES

MOST_LEVELS, FEW_LEVELS = 24, 12
"""Of an axis; where there are more values than the first, neighbours share the second."""
MOST_DIMENSIONS = 8
"""That are drawn: those that matter most."""
LONGEST_LABEL = 60
TARGET = re.compile(r"\[(\d+)\]\.(multiple|fraction)$")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dimension:
    """One path of the strategy that is varied.

    Attributes:
        path: of the strategy's document.
        labels: of its levels, ascending; unset comes first.
        ends: the first and the last value, written.
        levels: (S,) the level of each set.
        fine: (S,) the place of each set's value among all of them, from 0 to 1: as `levels`, but with no value shared.
        matters: the part of the spread of the objective that the levels' means explain.
    """

    path: str
    labels: tuple[str, ...]
    ends: tuple[str, str]
    levels: Ints
    fine: Floats
    matters: float

    @property
    def shared(self) -> bool:
        """Whether a level has several values."""
        return len(self.labels) < len(np.unique(self.fine))


def dimensions_of(sets: pl.DataFrame, paths: Iterable[str]) -> list[Dimension]:
    """Return the dimensions with at least two values, those that matter most first.

    Args:
        sets: rows of `sets.parquet` in the order of `set_id`.
        paths: that the space varies.
    """
    worth = worths(sets)
    found = [_dimension(sets, path, worth) for path in paths]
    varied = [one for one in found if len(one.labels) > 1]
    return sorted(varied, key=lambda one: -one.matters)


def worths(sets: pl.DataFrame) -> Floats:
    """Return the objective of each set that may win, no number for the others."""
    able = sets["eligible"] & sets["objective"].is_not_null()
    return np.where(able.to_numpy(), sets["objective"].fill_null(0.0).to_numpy(), np.nan)


def label_of(sets: pl.DataFrame, path: str, row: Mapping[str, object], *, named: bool = False) -> str:
    """Write the value that a row of `sets` has at a path, its parts with their names if that is asked for."""
    return _label({name: row[name] for name in _columns(sets, path)}, path, named=named)


@dataclass(frozen=True)
class HeatMap:
    """Two dimensions, all others reduced to their best set or to the median one; no number where none may win.

    Attributes:
        best: shape (levels of the row, levels of the column).
        median: likewise.
    """

    best: Floats
    median: Floats


def heat_maps(sets: pl.DataFrame, dimensions: list[Dimension]) -> dict[tuple[int, int], HeatMap]:
    """Return the map of every pair of dimensions, by their places in the list, the row's before the column's."""
    worth = worths(sets)
    if len(dimensions) == 1:
        (only,) = dimensions
        alone = Dimension("", ("",), ("", ""), np.zeros_like(only.levels), only.fine, 0.0)
        return {(0, 0): _heat_map(worth, alone, only)}
    pairs = combinations(range(len(dimensions)), 2)
    return {(row, column): _heat_map(worth, dimensions[row], dimensions[column]) for row, column in pairs}


def along(sets: pl.DataFrame, dimension: Dimension) -> HeatMap:
    """Return the best and the median set of each level of a dimension; shape (levels,)."""
    return _reduced(worths(sets), dimension.levels, len(dimension.labels))


def _heat_map(worth: Floats, row: Dimension, column: Dimension) -> HeatMap:
    shape = (len(row.labels), len(column.labels))
    flat = _reduced(worth, row.levels * shape[1] + column.levels, shape[0] * shape[1])
    return HeatMap(flat.best.reshape(shape), flat.median.reshape(shape))


def _reduced(worth: Floats, cell: Ints, cells: int) -> HeatMap:
    told = ~np.isnan(worth)
    grouped = pl.DataFrame({"cell": cell[told], "worth": worth[told]}).group_by("cell")
    found = grouped.agg(best=pl.col("worth").max(), median=pl.col("worth").median())
    best, median = np.full(cells, np.nan), np.full(cells, np.nan)
    at = found["cell"].to_numpy()
    best[at], median[at] = found["best"].to_numpy(), found["median"].to_numpy()
    return HeatMap(best, median)


def _columns(sets: pl.DataFrame, path: str) -> list[str]:
    """Return the columns of a path: its own, and those of the parts of its values."""
    name = f"p.{path}"
    return [column for column in sets.columns if column == name or column.startswith((f"{name}.", f"{name}["))]


def _dimension(sets: pl.DataFrame, path: str, worth: Floats) -> Dimension:
    columns = _columns(sets, path)
    if not columns:  # every value of it is an empty list or object
        return Dimension(path, ("",), ("", ""), np.zeros(sets.height, np.int64), np.zeros(sets.height), 0.0)
    distinct = sets.select(columns).unique().sort(columns, nulls_last=False).with_row_index("level")
    place = sets.select(columns).join(distinct, on=columns, how="left", nulls_equal=True, maintain_order="left")
    exact = place["level"].to_numpy().astype(np.int64)
    written = [_label(row, path) for row in distinct.select(columns).iter_rows(named=True)]
    count = len(written)
    shared = np.arange(count) if count <= MOST_LEVELS else np.arange(count) * FEW_LEVELS // count
    labels = written
    if count > MOST_LEVELS:
        short = [_label(row, path, digits=3) for row in distinct.select(columns).iter_rows(named=True)]
        groups = [np.flatnonzero(shared == number) for number in range(FEW_LEVELS)]
        labels = [f"{short[group[0]]} to {short[group[-1]]}" for group in groups]
    levels = shared[exact]
    ends = (written[0], written[-1])
    return Dimension(path, tuple(labels), ends, levels, exact / max(1, count - 1), _explained(worth, levels))


def _label(row: Mapping[str, object], path: str, *, named: bool = False, digits: int = 6) -> str:
    """Write a value: its parts in their order, targets as what is sold at which multiple."""
    parts: list[str] = []
    targets: dict[str, dict[str, object]] = {}
    for column, value in row.items():
        if value is None:
            continue
        if found := TARGET.search(column):
            targets.setdefault(found[1], {})[found[2]] = value
        else:
            name = column.removeprefix(f"p.{path}").removeprefix(".")
            parts.append(f"{name} {_written(value, digits)}" if named and name else _written(value, digits))
    parts += [_target(target, digits) for target in targets.values()]
    text = ", ".join(parts) or "none"
    return visible(text if len(text) <= LONGEST_LABEL else f"{text[:LONGEST_LABEL]}…")


def _target(target: Mapping[str, object], digits: int) -> str:
    fraction = target.get("fraction")
    multiple = f"{_written(target.get('multiple'), digits)}{TIMES}"
    return f"{multiple} {100 * fraction:.3g}%" if isinstance(fraction, float) and fraction < 1 else multiple


def _written(value: object, digits: int) -> str:
    if value is None:
        return MISSING
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _explained(worth: Floats, levels: Ints) -> float:
    """Return the part of the variance that lies between the levels."""
    told = ~np.isnan(worth)
    if not told.any():
        return 0.0
    values, level = worth[told], levels[told]
    counts = np.bincount(level)
    means = np.bincount(level, values) / np.maximum(counts, 1)
    whole = float(((values - values.mean()) ** 2).sum())
    between = float((counts * (means - values.mean()) ** 2).sum())
    return between / whole if whole > 0 else 0.0
