"""Leaderboards: runs, strategies and callers, filtered first and then ranked."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from lab_pipeline.api.errors import describe
from lab_pipeline.api.etag import NOT_MODIFIED, Model, tagged
from lab_pipeline.api.pagination import PAGE, Cursor, Limit, decode_cursor, encode_cursor
from lab_pipeline.api.schemas.statistics import CallerLeaderboard, RunLeaderboard, StrategyLeaderboard
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.fill_assumptions import ID_PATTERN
from lab_pipeline.statistics import Board, Filters, Place, RankBy, leaderboard, window_start

MOST_STRATEGIES = 100_000
FILLS_DESCRIPTION = "Only runs that assume this of their fills: an id of `fillAssumptions`."

router = APIRouter(prefix="/leaderboard", tags=["leaderboard"], responses=NOT_MODIFIED | describe(503))

Metric = Annotated[RankBy, Query(description="What decides; `pareto` shows those that no other beats in everything.")]
StrategyId = Annotated[str | None, Query(alias="strategyId", description="Only runs of this strategy.")]
Timeframe = Annotated[str | None, Query(description="Only runs on candles of this length.")]
Fills = Annotated[str | None, Query(pattern=ID_PATTERN, description=FILLS_DESCRIPTION)]
Window = Annotated[str, Query(description="Only runs that completed within `24h`, `7d`, `4w`, ..., or `all`.")]


@router.get("", summary="The best runs", response_model=RunLeaderboard)
def rank_runs(
    stores: LabStores,
    request: Request,
    response: Response,
    *,
    metric: Metric = RankBy.PNL,
    strategy_id: StrategyId = None,
    timeframe: Timeframe = None,
    fills: Fills = None,
    window: Window = "all",
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> RunLeaderboard | Response:
    """Return runs, best first; what has no such number comes last."""
    filters = _filters(strategy_id, timeframe, window, fills)
    return _page(stores, request, response, RunLeaderboard, Board.RUNS, metric, filters, limit, cursor)


@router.get("/strategies", summary="The best strategies", response_model=StrategyLeaderboard)
def rank_strategies(
    stores: LabStores,
    request: Request,
    response: Response,
    *,
    metric: Metric = RankBy.PNL,
    strategy_id: StrategyId = None,
    timeframe: Timeframe = None,
    fills: Fills = None,
    window: Window = "all",
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> StrategyLeaderboard | Response:
    """Return versions of strategies, best first, by the medians of their runs."""
    filters = _filters(strategy_id, timeframe, window, fills)
    return _page(stores, request, response, StrategyLeaderboard, Board.STRATEGIES, metric, filters, limit, cursor)


@router.get("/callers", summary="The best callers", response_model=CallerLeaderboard)
def rank_callers(
    stores: LabStores,
    request: Request,
    response: Response,
    *,
    metric: Metric = RankBy.PNL,
    strategy_id: StrategyId = None,
    timeframe: Timeframe = None,
    fills: Fills = None,
    window: Window = "all",
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> CallerLeaderboard | Response:
    """Return callers by what their calls surely return; those with few calls come behind all others."""
    filters = _filters(strategy_id, timeframe, window, fills)
    return _page(stores, request, response, CallerLeaderboard, Board.CALLERS, metric, filters, limit, cursor)


def _page(
    stores: Stores,
    request: Request,
    response: Response,
    model: type[Model],
    board: Board,
    rank_by: RankBy,
    filters: Filters,
    limit: int,
    cursor: str | None,
) -> Model | Response:
    kind = f"leaderboard/{board.value}/{rank_by.value}"
    after = None if cursor is None else _read_place(kind, cursor)
    answer, more = leaderboard(stores.statistics, board, rank_by, filters, after=after, limit=limit)
    rows = answer.body["leaderboard"]
    if board is not Board.CALLERS:
        names = {one.strategy.id: one.strategy.name for one in stores.strategies.list_latest("", MOST_STRATEGIES)}
        rows = [row | {"strategyName": names.get(row["strategyId"]) or row["strategyId"]} for row in rows]
    following = None if more is None else _write_place(kind, more)
    return tagged(request, response, model, answer, leaderboard=rows, nextCursor=following)


def _write_place(kind: str, place: Place) -> str:
    return encode_cursor(kind, int(place.established), "" if place.score is None else repr(place.score), place.name)


def _read_place(kind: str, cursor: str) -> Place:
    established, score, name = decode_cursor(kind, cursor, int, str, str)
    try:
        return Place(name, float(score) if score else None, bool(established))
    except ValueError:
        raise InvalidConfigError("the request", [FieldError("cursor", "is no cursor of this list")]) from None


def _filters(strategy_id: str | None, timeframe: str | None, window: str, fills: str | None) -> Filters:
    try:
        return Filters(strategy_id, timeframe, window_start(window), fills)
    except ValueError as error:
        raise InvalidConfigError("the request", [FieldError("window", str(error))]) from None
