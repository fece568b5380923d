"""The pages of runs: the list, and one with its sheet in place."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse, Response
from markupsafe import Markup
from pydantic import Field

from lab_pipeline.api.downloads import MEDIA_TYPES, as_csv
from lab_pipeline.api.pages.frame import OR_NONE, ROOT, SECURITY, show
from lab_pipeline.api.pagination import Cursor, encode_cursor
from lab_pipeline.api.routes.runs import CURSOR, RunId, position_of
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.backtest import now
from lab_pipeline.domain.enums import RunStatus
from lab_pipeline.domain.errors import ConflictError
from lab_pipeline.domain.text import visible_json
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.operations.estimate import estimate_seconds
from lab_pipeline.operations.notes import Notes
from lab_pipeline.operations.runs import Run, RunFilter
from lab_pipeline.reports import days_chart, render_sheet
from lab_pipeline.reports.periods import DRAWDOWNS_SHOWN, Year, by_day, by_year, drawdowns
from lab_pipeline.runs.compare import leaves
from lab_pipeline.runs.published import PublishedRun

ON_A_PAGE = 50
SHEETS_KEPT = 32
DAYS_SHOWN = 400
"""Newest days in the table; all of them are in the CSV."""

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
        account=_account(_published(stores, run)) if run.published else None,
        parameters=_parameters(run) if run.published else None,
        days_shown=DAYS_SHOWN,
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


@router.get("/{runId}/days.csv")
def get_days(stores: LabStores, run_id: RunId) -> Response:
    """Send the days of the account as CSV."""
    return _csv(_days(_published(stores, stores.runs.get(run_id))))


@router.get("/{runId}/drawdowns.csv")
def get_drawdowns(stores: LabStores, run_id: RunId) -> Response:
    """Send every drawdown of the account as CSV, the deepest first."""
    return _csv(drawdowns(_published(stores, stores.runs.get(run_id)).equity))


def _csv(frame: pl.DataFrame) -> Response:
    return Response(as_csv(frame), media_type=MEDIA_TYPES["csv"], headers=SECURITY)


@dataclass(frozen=True)
class Account:
    """The account of a run by time.

    Attributes:
        chart: of its days.
        falls: its deepest drawdowns, rows of `periods.DRAWDOWN`.
        years: its months.
        days: rows of `periods.DAY`, the newest first, at most `DAYS_SHOWN`.
        count: of its days.
        up: days with a gain.
        best: return of the best day; `worst` of the worst, null where there is none.
        invested: share of the steps with an open position.
        most_open: positions open at once, at most.
        highest_exposure: of a step.
    """

    chart: Markup
    falls: list[dict[str, Any]]
    years: list[Year]
    days: list[dict[str, Any]]
    count: int
    up: int
    best: float | None
    worst: float | None
    invested: float
    most_open: int
    highest_exposure: float


@lru_cache(maxsize=SHEETS_KEPT)
def _account(run: PublishedRun) -> Account | None:
    """Return the account of a run; null where it has bought nothing."""
    equity = run.equity
    if equity.is_empty():
        return None
    days = _days(run)
    returns = days["return"].drop_nulls()
    open_positions = equity["open_positions"].to_numpy()
    return Account(
        chart=Markup(days_chart(days)),  # noqa: S704 - its text is escaped by the canvas
        falls=drawdowns(equity).head(DRAWDOWNS_SHOWN).to_dicts(),
        years=by_year(days, run.manifest.spec.strategy.portfolio.initial_capital),
        days=days.tail(DAYS_SHOWN).reverse().to_dicts(),
        count=days.height,
        up=int((returns > 0).sum()),
        best=float(returns.to_numpy().max()) if len(returns) else None,
        worst=float(returns.to_numpy().min()) if len(returns) else None,
        invested=float((open_positions > 0).mean()),
        most_open=int(open_positions.max()),
        highest_exposure=float(equity["exposure"].to_numpy().max()),
    )


def _days(run: PublishedRun) -> pl.DataFrame:
    spec = run.manifest.spec
    return by_day(run.equity, spec.strategy.portfolio.initial_capital, timeframe_ms(spec.timeframe))


def _parameters(run: Run) -> list[tuple[str, str, bool]]:
    """Return path and value of every parameter, and whether the run was asked to change it."""
    if run.published is None:
        return []
    spec = run.published.spec
    return [
        (path, visible_json(value), any(_concerns(one, path) for one in spec.params))
        for path, value in leaves(spec.strategy.to_json_dict())
    ]


def _concerns(changed: str, path: str) -> bool:
    """Return whether a change is one of a parameter, of a part of it, or of what it is a part of."""
    return changed == path or changed.startswith(f"{path}[") or path.startswith(f"{changed}.")


def _published(stores: Stores, run: Run) -> PublishedRun:
    if run.published is None:
        raise ConflictError(f"run {run.run_id} is {run.status}: it has published nothing")
    return PublishedRun.of(stores.artifacts, run.published)


def _sheet(stores: Stores, run: Run) -> Markup | None:
    if run.published is None:
        return None
    return _rendered(stores, run.run_id, run.published.created_at)


@lru_cache(maxsize=SHEETS_KEPT)
def _rendered(stores: Stores, run_id: str, published_at: datetime) -> Markup:  # noqa: ARG001 - what is remembered
    published = PublishedRun.of(stores.artifacts, stores.artifacts.manifest(run_id))
    manifest = published.manifest
    made_of: dict[str, Any] = {name: getattr(manifest, name) for name in ("fingerprint", "snapshot", "engine_version")}
    return render_sheet(published, manifest.spec, files=f"/runs/{run_id}/artifacts", **made_of)


def _name(run: Run) -> str:
    return f"{run.strategy_id or 'run'} {run.run_id[:8]}"
