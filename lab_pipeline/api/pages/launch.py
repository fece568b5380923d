"""A form for a backtest: filled in with what the lake has, and what it would take beside it."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from lab_pipeline.api.pages.frame import ROOT, show
from lab_pipeline.api.stores import LabStores
from lab_pipeline.domain.backtest import iso
from lab_pipeline.operations.runs import RunFilter

WAITING_SHOWN = 20

router = APIRouter(prefix=f"{ROOT}/launch", include_in_schema=False)


@router.get("")
def get_form(stores: LabStores, strategy: str | None = None) -> HTMLResponse:
    """Show the form, and the runs that wait or run."""
    extent = stores.lake.calls_extent()
    waiting, _ = stores.runs.page(RunFilter(["queued", "running"]), limit=WAITING_SHOWN)
    return show(
        "launch.html",
        title="Launch",
        section="launch",
        strategies=stores.strategies.ids(),
        strategy=strategy,
        timeframes=stores.lake.timeframes(),
        start=iso(extent[0]) if extent else "",
        end=iso(extent[1]) if extent else "",
        waiting=waiting,
    )
