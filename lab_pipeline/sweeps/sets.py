"""Single sets of a published sweep: what they earned, and the strategies that they are."""

import difflib
import itertools
import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.space import Dimension, Space, leaves
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import SweepStore

_CONDITION = re.compile(r"\s*(?P<column>[^\s<>=!]+)\s*(?P<sign><=|>=|==|!=|=|<|>)\s*(?P<value>.+?)\s*")
_SIGNS = {
    "<": pl.Expr.lt, "<=": pl.Expr.le, ">": pl.Expr.gt, ">=": pl.Expr.ge, "=": pl.Expr.eq_missing,
    "==": pl.Expr.eq_missing, "!=": pl.Expr.ne_missing,
}  # fmt: skip


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
        LabError: naming a column that is not there, or a condition that is none.
    """
    frame = pl.scan_parquet(store.path(sweep_id, "sets"), glob=False)
    schema = frame.collect_schema()
    if descending is None:
        descending = sort not in {"rank", "set_id"}
    for text in where:
        frame = frame.filter(_condition(text, schema))
    by = _column(sort, schema)
    found = frame.sort([by, "set_id"], descending=[descending, False], nulls_last=True)
    return (found if limit is None else found.head(limit)).collect()


def set_row(store: SweepStore, sweep_id: str, set_id: int) -> dict[str, Any]:
    """Return the row of a set.

    Raises:
        LabError: if the sweep has no such set.
    """
    found = pl.scan_parquet(store.path(sweep_id, "sets"), glob=False).filter(pl.col("set_id") == set_id).collect()
    if found.is_empty():
        count = store.manifest(sweep_id).sets
        raise LabError(f"sweep {sweep_id} has no set {set_id}: it has 0 to {count - 1:,}")
    return found.row(0, named=True)


def set_config(store: SweepStore, strategies: StrategyStore, sweep_id: str, set_id: int) -> StrategyConfig:
    """Return the strategy that a set is: the one that was swept, with the set's values.

    Raises:
        LabError: if the sweep has no such set, or its strategy is no longer as it was.
    """
    manifest, row = store.manifest(sweep_id), set_row(store, sweep_id, set_id)
    spec = SweepSpec.parse(manifest.spec)
    base = strategies.get(spec.strategy, manifest.strategy_version).strategy.config.to_json_dict()
    space = Space.parse(spec.space)
    for point in itertools.product(*(_values(dimension, row) for dimension in space.dimensions)):
        config = StrategyConfig.of_plain(space.document(base, point))
        if config.config_hash() == row["config_hash"]:
            return config
    raise LabError(
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


def _column(name: str, schema: pl.Schema) -> str:
    if name in schema:
        return name
    near = difflib.get_close_matches(name, schema.names(), n=1, cutoff=0.0)[0]
    raise LabError(f"sets have no column '{name}'; the nearest is {near}")


def _condition(text: str, schema: pl.Schema) -> pl.Expr:
    read = _CONDITION.fullmatch(text)
    if read is None:
        raise LabError(f"'{text}' is no condition: write a column, a sign and a value, such as 'trades >= 50'")
    name, value = _column(read["column"], schema), read["value"]
    kind = schema[name]
    return _SIGNS[read["sign"]](pl.col(name), pl.lit(_value(text, value, kind), kind))


def _value(text: str, value: str, kind: pl.DataType) -> float | str | bool | None:
    if value == "null":
        return None
    if kind == pl.String:
        return value
    if kind == pl.Boolean:
        if value in {"true", "false"}:
            return value == "true"
        raise LabError(f"'{text}': write true, false or null")
    try:
        return float(value) if kind.is_float() else int(value)
    except ValueError:
        raise LabError(f"'{text}': {value} is no {'number' if kind.is_float() else 'whole number'}") from None
