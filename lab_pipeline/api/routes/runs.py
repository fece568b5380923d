"""Runs: list them, look at one, stop, repeat and delete it."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from lab_pipeline.api.errors import describe
from lab_pipeline.api.pagination import PAGE, Cursor, Limit, decode_cursor, encode_cursor
from lab_pipeline.api.schemas.runs import RUN_EXAMPLE, QueuedRun, RunDetail, RunItem, RunPage, Tries, config_of
from lab_pipeline.api.stores import LabStores
from lab_pipeline.domain.backtest import Moment
from lab_pipeline.domain.enums import RunStatus
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.operations import run_actions
from lab_pipeline.operations.runs import ListPosition, RunFilter
from lab_pipeline.statistics.luck import luck_of

CURSOR = "runs"

router = APIRouter(tags=["runs"])

RunId = Annotated[str, Path(alias="runId", description="Id of a run.", examples=[RUN_EXAMPLE])]
From = Annotated[
    Moment | None, Query(alias="from", description="Earliest, inclusive; ISO 8601, UTC if it says nothing.")
]
To = Annotated[Moment | None, Query(alias="to", description="Latest, exclusive; ISO 8601, UTC if it says nothing.")]

MOST_VALUES = 100
REPEATED = "Any of them, where it is repeated."


@router.get("/runs", summary="List the runs")
@router.get("/api/simulation-runs", summary="List the runs, under their older address")
def list_runs(
    stores: LabStores,
    statuses: Annotated[
        list[RunStatus] | None, Query(alias="status", max_length=MOST_VALUES, description=f"Only these. {REPEATED}")
    ] = None,
    strategy_ids: Annotated[
        list[str] | None,
        Query(alias="strategyId", max_length=MOST_VALUES, description=f"Only runs of this strategy. {REPEATED}"),
    ] = None,
    timeframes: Annotated[
        list[str] | None,
        Query(
            alias="timeframe",
            max_length=MOST_VALUES,
            description=f"Only runs on candles of this length, such as `5m`. {REPEATED}",
        ),
    ] = None,
    callers: Annotated[
        list[str] | None,
        Query(
            alias="caller",
            max_length=MOST_VALUES,
            description=f"Only runs restricted to this caller, alone or with others. {REPEATED}",
        ),
    ] = None,
    created_from: From = None,
    created_to: To = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> RunPage:
    """Return runs newest first; walking the pages gives each exactly once. `from` and `to` are about `createdAt`."""
    wanted = RunFilter(statuses or (), strategy_ids or (), timeframes or (), callers or (), created_from, created_to)
    found, more = stores.runs.page(wanted, after=None if cursor is None else _position(cursor), limit=limit)
    return RunPage(
        runs=[RunItem(**RunItem.fields(run)) for run in found],
        next_cursor=None if more is None else encode_cursor(CURSOR, more.created_at.isoformat(), more.storage_id),
    )


@router.get("/runs/{runId}", summary="Look at a run", responses=describe(404))
def get_run(stores: LabStores, run_id: RunId) -> RunDetail:
    """Return everything that is known of a run."""
    run = stores.runs.get(run_id)
    return RunDetail(
        **RunItem.fields(run),
        config=config_of(run),
        error=stores.runs.error(run),
        fingerprint=run.fingerprint,
        tries=Tries.of(luck_of(run.published, stores.trials)) if run.published else None,
        dagster_url=f"{stores.webserver.url}/runs/{run.run_id}",
        parent_run_id=run.parent_run_id,
        legacy_result=run.legacy_result,
    )


@router.post("/runs/{runId}/cancel", status_code=202, summary="Stop a run", responses=describe(404, 409))
def cancel_run(stores: LabStores, run_id: RunId) -> QueuedRun:
    """Stop a run: one that waits never starts, one that runs is asked to stop. A finished one is a 409."""
    run_actions.cancel(stores.runs, run_id)
    return QueuedRun(run_id=run_id, status=stores.runs.get(run_id).status)


@router.post("/runs/{runId}/retry", status_code=202, summary="Run the same again", responses=describe(404, 409, 429))
def retry_run(stores: LabStores, run_id: RunId, response: Response) -> QueuedRun:
    """Queue what a finished run was asked to do, in the version it ran with; the new run names it as its parent."""
    again = stores.launcher.retry(run_id)
    response.headers["Location"] = f"/runs/{again}"
    return QueuedRun(run_id=again, status=stores.runs.get(again).status)


@router.delete("/runs/{runId}", status_code=204, summary="Delete a run", responses=describe(404, 409))
def delete_run(stores: LabStores, run_id: RunId) -> None:
    """Delete a run with its logs, metrics and artifacts; one that waits or runs is a 409: cancel it first."""
    run_actions.delete(stores, run_id)


def _position(cursor: str) -> ListPosition:
    created_at, storage_id = decode_cursor(CURSOR, cursor, str, int)
    try:
        return ListPosition(datetime.fromisoformat(created_at).astimezone(UTC), storage_id)
    except (ValueError, OverflowError):
        raise InvalidConfigError("the request", [FieldError("cursor", "is no cursor of this list")]) from None
