"""Forms for a backtest and for a sweep: filled in with what the lake has, and what it would take beside them."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field

from lab_pipeline.api.middleware import BODY_BYTES
from lab_pipeline.api.pages.frame import ROOT, SECURITY, show
from lab_pipeline.api.schemas.base import JsonRoute, parsed
from lab_pipeline.api.schemas.sweeps import SweepRequest
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.backtest import iso
from lab_pipeline.domain.enums import Fault
from lab_pipeline.domain.model import Document
from lab_pipeline.operations.runs import RunFilter
from lab_pipeline.sweeps.draft import draft
from lab_pipeline.sweeps.spec import SweepSpec, parse_request

WAITING_SHOWN = 20

router = APIRouter(prefix=f"{ROOT}/launch", include_in_schema=False, route_class=JsonRoute)


class SweepText(Document):
    """A sweep as people write it."""

    text: Annotated[str, Field(max_length=BODY_BYTES)]
    """YAML or JSON, as in a file of `lab sweep run`."""


@router.get("")
def get_form(stores: LabStores, strategy: str | None = None) -> HTMLResponse:
    """Show the form of a backtest, and the runs that wait or run."""
    extent = stores.lake.calls_extent()
    waiting, _ = stores.runs.page(RunFilter(["queued", "running"]), limit=WAITING_SHOWN)
    return show(
        "launch.html",
        title="Launch",
        section="launch",
        strategies=stores.strategies.ids(),
        strategy=strategy,
        timeframes=stores.lake.timeframes(),
        version=stores.lake.version,
        faults=[str(fault) for fault in Fault],
        start=iso(extent[0]) if extent else "",
        end=iso(extent[1]) if extent else "",
        waiting=[("runs", run.run_id, run) for run in waiting],
    )


@router.get("/sweep")
def get_sweep_form(stores: LabStores, strategy: str | None = None) -> HTMLResponse:
    """Show a sweep as a text to change, and the sweeps that wait or run."""
    strategies, timeframes = stores.strategies.ids(), stores.lake.timeframes()
    chosen = strategy if strategy is not None else next(iter(strategies), None)
    found, _ = stores.sweep_runs.page(limit=WAITING_SHOWN)
    return show(
        "launch_sweep.html",
        title="Launch a sweep",
        section="launch",
        strategies=strategies,
        strategy=chosen,
        timeframes=timeframes,
        text=_draft(stores, chosen, timeframes) if chosen and timeframes else "",
        waiting=[("sweeps", sweep.sweep_id, sweep) for sweep in found if not sweep.finished],
    )


@router.post("/sweep/validate")
def read_sweep(asked: Annotated[SweepText, parsed(SweepText)]) -> JSONResponse:
    """Return the request to the API that a text is; what is wrong is named as it is written there."""
    subject = "the sweep"
    spec = SweepSpec.parse(parse_request(asked.text, subject=subject), subject=subject)
    request: dict[str, Any] = SweepRequest.like(spec).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return JSONResponse(request, headers=SECURITY)


def _draft(stores: Stores, strategy_id: str, timeframes: list[str]) -> str:
    return draft(strategy_id, stores.strategies.get(strategy_id).strategy.config, timeframes[0])
