"""Ask for backtests."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from lab_pipeline.api.errors import describe, leads_to
from lab_pipeline.api.schemas.base import JsonRoute, parsed
from lab_pipeline.api.schemas.runs import BacktestRequest, DryRun, EstimatedCost, QueuedRun
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.model import canonical_json
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.estimate import estimate_seconds
from lab_pipeline.runs import backtest as steps

router = APIRouter(prefix="/backtest", tags=["backtests"], route_class=JsonRoute)

Request = Annotated[BacktestRequest, parsed(BacktestRequest)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Chosen by the client: however often a request is sent under it, there is one run.",
        examples=["2b9f5f0e-nightly"],
    ),
]


ABOUT_THE_RUN = leads_to(
    getRun="runId=$response.body#/runId",
    cancelRun="runId=$response.body#/runId",
    listLogs="runId=$response.body#/runId",
    getMetrics="runId=$response.body#/runId",
    listArtifacts="runId=$response.body#/runId",
    deleteRun="runId=$response.body#/runId",
)


@router.post("", status_code=202, summary="Queue a backtest", responses={**describe(409, 429), 202: ABOUT_THE_RUN})
def create_backtest(
    stores: LabStores, request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> QueuedRun:
    """Check everything, then put a run into Dagster's queue; it is recorded when the answer leaves.

    Under an idempotency key the same request returns the same run, and another one is a 409.
    """
    _check(stores, request)
    version = stores.strategies.get(request.strategy_id, request.strategy_version).version
    run_id = stores.launcher.backtest(
        BacktestConfig.of(request, version), key=idempotency_key, request=canonical_json(request.to_json_dict())
    )
    response.headers["Location"] = f"/runs/{run_id}"
    return QueuedRun(run_id=run_id, status=stores.runs.get(run_id).status)


@router.post("/dry-run", summary="Say what a backtest would be and take")
def dry_run(stores: LabStores, request: Request) -> DryRun:
    """Resolve a request against the lake and the catalog; nothing is started."""
    _check(stores, request)
    resolved = steps.resolve(request, stores.strategies, stores.lake)
    with steps.plan(resolved, stores.lake) as candles:
        rows = candles.rows_planned
    estimate = estimate_seconds(stores.runs, request.timeframe, resolved.calls.height)
    return DryRun(
        valid=True,
        estimated_cost=EstimatedCost(
            calls=resolved.calls.height,
            candles=rows,
            estimated_time_seconds=round(estimate.seconds, 3),
            based_on_runs=estimate.runs,
        ),
        resolved_config=resolved.spec,
    )


def _check(stores: Stores, request: BacktestRequest) -> None:
    problems = steps.find_problems(request, stores.strategies, stores.lake)
    if problems:
        raise InvalidConfigError("the request", problems)
