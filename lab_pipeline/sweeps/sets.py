"""Single sets of a published sweep: what they earned, and the strategies that they are."""

import itertools
from collections.abc import Sequence
from typing import Any

import polars as pl

from lab_pipeline.domain.errors import ConflictError, LabError
from lab_pipeline.domain.space import Dimension, Space, leaves
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.published import PublishedSweep
from lab_pipeline.sweeps.questions import Columns
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import SweepStore


class UnknownSetError(LabError):
    """The sweep has no set of that number."""


def sets_of(
    store: SweepStore,
    sweep_id: str,
    *,
    sort: str = "rank",
    descending: bool | None = None,
    where: Sequence[str] = (),
    limit: int | None = None,
) -> pl.DataFrame:
    """Return sets of a sweep, a row each, as `sets.parquet` has them.

    Args:
        store: the sweeps of the lab.
        sweep_id: which one.
        sort: a column; nulls come last, equals in the order of their ids.
        descending: the largest first; by default so for all but `rank` and `set_id`.
        where: conditions that all must hold, such as `trades >= 50` or `p.exit.stopLoss = null`.
        limit: rows at most.

    Raises:
        InvalidConfigError: naming a column that is not there, or a condition that is none.
    """
    sweep = PublishedSweep.open(store, sweep_id)
    schema = sweep.schema("sets")
    columns = Columns({name: name for name in schema}, schema)
    if descending is None:
        descending = sort not in {"rank", "set_id"}
    by, passed = columns.find(sort, "sort"), columns.where(where, "where")
    found = sweep.table("sets", where=passed).sort([by, "set_id"], descending=[descending, False], nulls_last=True)
    return found if limit is None else found.head(limit)


def set_row(store: SweepStore, sweep_id: str, set_id: int) -> dict[str, Any]:
    """Return the row of a set.

    Raises:
        UnknownSetError: if the sweep has no such set.
    """
    sweep = PublishedSweep.open(store, sweep_id)
    found = sweep.table("sets", where=pl.col("set_id") == set_id)
    if found.is_empty():
        count = sweep.manifest.sets
        raise UnknownSetError(f"sweep {sweep_id} has no set {set_id}: it has 0 to {count - 1:,}")
    return found.row(0, named=True)


def set_config(store: SweepStore, strategies: StrategyStore, sweep_id: str, set_id: int) -> StrategyConfig:
    """Return the strategy that a set is: the one that was swept, with the set's values.

    Raises:
        UnknownSetError: if the sweep has no such set.
        ConflictError: if its strategy is no longer as it was.
    """
    manifest, row = store.manifest(sweep_id), set_row(store, sweep_id, set_id)
    spec = SweepSpec.parse(manifest.spec)
    base = strategies.get(spec.strategy, manifest.strategy_version).strategy.config.to_json_dict()
    space = Space.parse(spec.space)
    for point in itertools.product(*(_values(dimension, row) for dimension in space.dimensions)):
        config = StrategyConfig.of_plain(space.document(base, point))
        if config.config_hash() == row["config_hash"]:
            return config
    raise ConflictError(
        f"set {set_id} of sweep {sweep_id} cannot be made again: strategy {spec.strategy} version "
        f"{manifest.strategy_version} is not what was swept, or the sweep is of another version of the lab"
    )


def values_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a set by path, of those that are set."""
    return {
        name.removeprefix("p."): value for name, value in row.items() if name.startswith("p.") and value is not None
    }


def _values(dimension: Dimension, row: dict[str, Any]) -> list[Any]:
    """Return the values of a dimension that read as the row does."""
    if dimension.values is None:
        number = row[f"p.{dimension.path}"]
        return [int(number) if dimension.whole else number]
    parts = [dict(leaves(dimension.path, value)) for value in dimension.values]
    columns = {path for one in parts for path in one}
    return [
        value
        for value, one in zip(dimension.values, parts, strict=True)
        if all(_reads(one.get(path), row.get(f"p.{path}")) for path in columns)
    ]


def _reads(leaf: float | str | None, cell: float | str | None) -> bool:
    """Tell whether a part of a value is what a column has, which is text where one of its values is."""
    return str(leaf) == cell if isinstance(cell, str) else leaf == cell
