"""Statistics: aggregates over all completed runs, read from the catalog."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from lab_pipeline.api.errors import describe
from lab_pipeline.api.etag import NOT_MODIFIED, tagged
from lab_pipeline.api.pagination import PAGE, Cursor, Limit, decode_cursor, encode_cursor
from lab_pipeline.api.schemas.statistics import CorrelationAnswer, DistributionAnswer, OverviewAnswer, PnlPage
from lab_pipeline.api.stores import LabStores
from lab_pipeline.domain.backtest import Moment
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.fill_assumptions import ID_PATTERN
from lab_pipeline.statistics import FEATURES, Bins, GroupBy, Method, Metric, Range
from lab_pipeline.statistics import answers as ask

router = APIRouter(prefix="/statistics", tags=["statistics"], responses=NOT_MODIFIED | describe(503))

From = Annotated[Moment | None, Query(alias="from", description="Trades on calls from this time on.")]
To = Annotated[Moment | None, Query(alias="to", description="Trades on calls before this time.")]
Fills = Annotated[
    str | None,
    Query(pattern=ID_PATTERN, description="Only runs that assume this of their fills: an id of `fillAssumptions`."),
]
Feature = StrEnum("Feature", {name: ask.camel(name) for name in FEATURES})  # type: ignore[misc]  # made from a tuple


@router.get("/overview", summary="All runs in numbers", response_model=OverviewAnswer)
def get_overview(
    stores: LabStores,
    request: Request,
    response: Response,
    *,
    start: From = None,
    end: To = None,
    strategy_id: Annotated[str | None, Query(alias="strategyId", description="Only runs of this strategy.")] = None,
    fills: Fills = None,
) -> OverviewAnswer | Response:
    """Return totals over completed runs. A range selects trades, not runs: a run is at no time of the market."""
    answer = ask.overview(stores.statistics, _range(start, end), strategy_id, fills)
    return tagged(request, response, OverviewAnswer, answer)


@router.get("/pnl", summary="Net returns by group", response_model=PnlPage)
def get_pnl(
    stores: LabStores,
    request: Request,
    response: Response,
    *,
    group_by: Annotated[GroupBy, Query(alias="groupBy", description="What a group is.")] = GroupBy.DAY,
    start: From = None,
    end: To = None,
    fills: Fills = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> PnlPage | Response:
    """Return groups in the order of their keys; every grouping adds up to the overview."""
    kind = f"pnl/{group_by.value}"
    after = decode_cursor(kind, cursor, str)[0] if cursor is not None else None
    answer, more = ask.pnl(stores.statistics, group_by, _range(start, end), fills=fills, after=after, limit=limit)
    return tagged(request, response, PnlPage, answer, nextCursor=None if more is None else encode_cursor(kind, more))


@router.get("/distribution", summary="How values are spread", response_model=DistributionAnswer)
def get_distribution(
    stores: LabStores,
    request: Request,
    response: Response,
    metric: Annotated[Metric | None, Query(description="All by default.")] = None,
    bins: Annotated[
        str, Query(description="`classic`, `20` for equally wide ones, or `quantile:20` for equally full ones.")
    ] = "classic",
    fills: Fills = None,
) -> DistributionAnswer | Response:
    """Return how many values lie in each bucket, lower edge inclusive."""
    try:
        chosen = Bins.parse(bins)
    except ValueError as error:
        raise InvalidConfigError("the request", [FieldError("bins", str(error))]) from None
    return tagged(request, response, DistributionAnswer, ask.distribution(stores.statistics, metric, chosen, fills))


@router.get("/correlation", summary="What goes with what", response_model=CorrelationAnswer)
def get_correlation(
    stores: LabStores,
    request: Request,
    response: Response,
    method: Annotated[Method, Query(description="Of the values, or of their ranks.")] = Method.PEARSON,
    features: Annotated[list[Feature] | None, Query(description="Known before the entry; all by default.")] = None,
    fills: Fills = None,
) -> CorrelationAnswer | Response:
    """Return how far features known before the entry go with outcomes, over calls."""
    wanted = [feature.name for feature in features] if features else FEATURES
    return tagged(request, response, CorrelationAnswer, ask.correlation(stores.statistics, method, wanted, fills))


def _range(start: datetime | None, end: datetime | None) -> Range:
    if start is not None and end is not None and start >= end:
        raise InvalidConfigError("the request", [FieldError("to", "must be after from")])
    return Range(start, end)
