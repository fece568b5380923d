"""Runs side by side, and call by call."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from lab_pipeline.api.pages.frame import ROOT, show
from lab_pipeline.api.routes.compare import completed
from lab_pipeline.api.stores import LabStores
from lab_pipeline.domain.text import visible_json
from lab_pipeline.reports import CURVES, comparison_chart
from lab_pipeline.runs.compare import FEWEST, MOST, NUMBERS, differing_fields
from lab_pipeline.runs.published import PublishedRun
from lab_pipeline.statistics.pairs import compare_calls

router = APIRouter(prefix=f"{ROOT}/compare", include_in_schema=False)


@router.get("")
def get_comparison(
    stores: LabStores, run_ids: Annotated[list[str], Query(alias="run", min_length=FEWEST, max_length=MOST)]
) -> HTMLResponse:
    """Show how completed runs differ: in what was asked, in what they made, and what each made beyond the first."""
    manifests = [run.published for run in completed(stores, run_ids) if run.published]
    runs = [PublishedRun.of(stores.artifacts, manifest) for manifest in manifests]
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
