"""Runs side by side."""

from typing import Annotated

import polars as pl
from fastapi import APIRouter, Query

from lab_pipeline.api.errors import describe
from lab_pipeline.api.schemas.compare import AlignedEquity, Comparison, EquitySeries
from lab_pipeline.api.schemas.runs import RUN_EXAMPLE, RunItem
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.errors import ConflictError, FieldError, InvalidConfigError
from lab_pipeline.domain.fill_assumptions import labelled, note_on
from lab_pipeline.operations.runs import Run
from lab_pipeline.runs.artifacts import UnknownRunError
from lab_pipeline.runs.compare import FEWEST, MOST, align_equity, differing_fields

router = APIRouter(tags=["compare"])


@router.get("/compare", summary="Compare runs", responses=describe(404, 409))
def compare_runs(
    stores: LabStores,
    run_ids: Annotated[
        list[str],
        Query(alias="run", min_length=FEWEST, max_length=MOST, description="2 to 20 runs.", examples=[[RUN_EXAMPLE]]),
    ],
) -> Comparison:
    """Say how completed runs differ: in what was asked, in their numbers, in their equity on one clock."""
    runs = completed(stores, run_ids)
    published = [run.published for run in runs if run.published]
    aligned = align_equity([_equity(stores, run_id) for run_id in run_ids])
    series = [EquitySeries(run_id=key, values=values) for key, values in zip(run_ids, aligned.values, strict=True)]
    return Comparison(
        runs=[RunItem(**RunItem.fields(run)) for run in runs],
        fills_note=note_on(labelled(manifest.fill_assumptions for manifest in published)),
        config_diff=differing_fields([manifest.spec for manifest in published]),
        equity=AlignedEquity(timestamps=aligned.timestamps, series=series),
    )


def _equity(stores: Stores, run_id: str) -> pl.DataFrame:
    try:
        path = stores.artifacts.path(run_id, "equity")
        return pl.read_parquet(path, glob=False, columns=["timestamp", "equity"])
    except (FileNotFoundError, UnknownRunError):
        raise UnknownRunError(f"run {run_id} was deleted meanwhile") from None


def completed(stores: Stores, run_ids: list[str]) -> list[Run]:
    """Return runs to be compared.

    Raises:
        InvalidConfigError: if one is named twice.
        UnknownRunError: if there is none of an id.
        ConflictError: if one has published nothing.
    """
    if len(set(run_ids)) < len(run_ids):
        raise InvalidConfigError("the request", [FieldError("run", "names a run more than once")])
    runs = [stores.runs.get(run_id) for run_id in run_ids]
    if waiting := [run for run in runs if not run.published]:
        without = ", ".join(f"{run.run_id} ({run.status})" for run in waiting)
        raise ConflictError(f"there is nothing to compare yet of {without}")
    return runs
