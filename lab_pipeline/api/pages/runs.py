"""The pages of runs: the list, and one with its sheet in place."""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse
from markupsafe import Markup
from pydantic import Field

from lab_pipeline.api.pages.frame import OR_NONE, ROOT, SECURITY, show
from lab_pipeline.api.pagination import Cursor, encode_cursor
from lab_pipeline.api.routes.runs import CURSOR, RunId, position_of
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.backtest import now
from lab_pipeline.domain.enums import RunStatus
from lab_pipeline.operations.estimate import estimate_seconds
from lab_pipeline.operations.notes import Notes
from lab_pipeline.operations.runs import Run, RunFilter
from lab_pipeline.reports import render_sheet
from lab_pipeline.runs.published import PublishedRun

ON_A_PAGE = 50
SHEETS_KEPT = 32

router = APIRouter(prefix=f"{ROOT}/runs", include_in_schema=False)


@router.get("")
def list_runs(
    stores: LabStores,
    status: Annotated[RunStatus | None, OR_NONE] = None,
    strategy: Annotated[Annotated[str, Field(max_length=200)] | None, OR_NONE] = None,
    cursor: Cursor = None,
) -> HTMLResponse:
    """Show the runs, newest first."""
    wanted = RunFilter([status] if status else (), [strategy] if strategy else ())
    found, more = stores.runs.page(wanted, after=None if cursor is None else position_of(cursor), limit=ON_A_PAGE)
    return show(
        "runs.html",
        title="Runs",
        section="runs",
        runs=[(run, Notes.of(run.tags)) for run in found],
        statuses=list(RunStatus),
        strategies=stores.strategies.ids(),
        status=status,
        strategy=strategy,
        is_first=cursor is None,
        next_cursor=None if more is None else encode_cursor(CURSOR, more.created_at.isoformat(), more.storage_id),
    )


@router.get("/{runId}")
def get_run(stores: LabStores, run_id: RunId) -> HTMLResponse:
    """Show a run: what it published, in place, or how far it is and why it failed."""
    run = stores.runs.get(run_id)
    return show(
        "run.html",
        title=_name(run),
        section="runs",
        run=run,
        sheet=_sheet(stores, run),
        notes=Notes.of(run.tags),
        error=stores.runs.error(run),
        dagster_url=f"{stores.webserver.url}/runs/{run.run_id}",
    )


@router.get("/{runId}/progress.json")
def get_progress(stores: LabStores, run_id: RunId) -> JSONResponse:
    """Return how far a run is: `done` of `total` calls once it says so, and the seconds that it is likely to take."""
    run = stores.runs.get(run_id)
    done, total = stores.runs.progress(run_id) or (None, None)
    since = run.started_at or run.created_at
    spent = ((run.completed_at or now()) - since).total_seconds()
    expected = None
    if run.timeframe and not run.finished:
        expected = estimate_seconds(stores.runs, run.timeframe, total or 0).seconds
    body = {
        "status": run.status,
        "finished": run.finished,
        "started": run.started_at is not None,
        "done": done,
        "total": total,
        "seconds": spent,
        "expectedSeconds": expected,
    }
    return JSONResponse(body, headers=SECURITY)


def _sheet(stores: Stores, run: Run) -> Markup | None:
    if run.published is None:
        return None
    return _rendered(stores, run.run_id, run.published.created_at)


@lru_cache(maxsize=SHEETS_KEPT)
def _rendered(stores: Stores, run_id: str, published_at: datetime) -> Markup:  # noqa: ARG001 - what is remembered
    published = PublishedRun.of(stores.artifacts, stores.artifacts.manifest(run_id))
    manifest = published.manifest
    made_of: dict[str, Any] = {name: getattr(manifest, name) for name in ("fingerprint", "snapshot", "engine_version")}
    return render_sheet(published, manifest.spec, **made_of)


def _name(run: Run) -> str:
    return f"{run.strategy_id or 'run'} {run.run_id[:8]}"
