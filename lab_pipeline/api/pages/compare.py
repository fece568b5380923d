"""Runs side by side, and call by call."""

from typing import Annotated

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from lab_pipeline.api.downloads import MEDIA_TYPES, as_csv
from lab_pipeline.api.pages.frame import ROOT, SECURITY, show
from lab_pipeline.api.routes.compare import completed
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.text import visible_json
from lab_pipeline.reports import CURVES, comparison_chart
from lab_pipeline.runs.compare import FEWEST, MOST, NUMBERS, align_equity, differing_fields
from lab_pipeline.runs.published import PublishedRun
from lab_pipeline.statistics.pairs import compare_calls, made_by_call

router = APIRouter(prefix=f"{ROOT}/compare", include_in_schema=False)

RunIds = Annotated[list[str], Query(alias="run", min_length=FEWEST, max_length=MOST)]


@router.get("")
def get_comparison(stores: LabStores, run_ids: RunIds) -> HTMLResponse:
    """Show how completed runs differ: in what was asked, in what they made, and what each made beyond the first."""
    runs = _published(stores, run_ids)
    manifests = [run.manifest for run in runs]
    names = [f"{one.spec.strategy_id} v{one.spec.strategy_version}" for one in manifests]
    if len(set(names)) < len(names):
        names = [f"{name}, {one.run_id[:8]}" for name, one in zip(names, manifests, strict=True)]
    curves = [
        (name, equity, manifest.spec.strategy.portfolio.initial_capital)
        for name, run, manifest in zip(names, runs, manifests, strict=True)
        if not (equity := run.frame("equity")).is_empty()
    ]
    differing = differing_fields([manifest.spec for manifest in manifests])
    return show(
        "compare.html",
        title="Compare",
        section="runs",
        runs=manifests,
        names=names,
        numbers=NUMBERS,
        # what the canvas wrote is markup; the text in it is escaped
        chart=Markup(comparison_chart(curves)) if len(curves) == len(runs) else None,  # noqa: S704
        curves=CURVES,
        pairs=[compare_calls(runs[0], run) for run in runs[1:]],
        differing={path: [visible_json(value) for value in values] for path, values in differing.items()},
        query=[("run", one.run_id) for one in manifests],
    )


@router.get("/calls.csv")
def get_calls(stores: LabStores, run_ids: RunIds) -> Response:
    """Send what each call made under each run: a row a call, a column a run, empty where a run has no such call."""
    table = pl.DataFrame()
    for run in _published(stores, run_ids):
        made = made_by_call(run).rename({"made": run.manifest.run_id})
        shared = [name for name in made.columns if name != run.manifest.run_id]
        table = made if table.is_empty() else table.join(made, on=shared, how="full", coalesce=True)
    return _csv(table.sort("called_at", "call_id"))


@router.get("/curves.csv")
def get_curves(stores: LabStores, run_ids: RunIds) -> Response:
    """Send the equity of each run on one clock: a row a step, a column a run."""
    aligned = align_equity([run.frame("equity") for run in _published(stores, run_ids)])
    return _csv(pl.DataFrame({"timestamp": aligned.timestamps, **dict(zip(run_ids, aligned.values, strict=True))}))


def _published(stores: Stores, run_ids: list[str]) -> list[PublishedRun]:
    manifests = [run.published for run in completed(stores, run_ids) if run.published]
    return [PublishedRun.of(stores.artifacts, manifest) for manifest in manifests]


def _csv(table: pl.DataFrame) -> Response:
    return Response(as_csv(table), media_type=MEDIA_TYPES["csv"], headers=SECURITY)
