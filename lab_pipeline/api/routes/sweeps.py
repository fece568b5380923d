"""Sweeps: ask for them, look at what they found, make strategies of it."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response

from lab_pipeline.api.errors import describe, leads_to
from lab_pipeline.api.pagination import PAGE, Cursor, Limit, decode_cursor, encode_cursor
from lab_pipeline.api.routes.artifacts import DOWNLOAD, Form, describe_files, place_in, send_artifact
from lab_pipeline.api.routes.backtests import IdempotencyKey
from lab_pipeline.api.schemas import sweeps as schemas
from lab_pipeline.api.schemas.artifacts import ArtifactList, FileFormat
from lab_pipeline.api.schemas.base import JsonRoute, parsed
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.errors import ConflictError, FieldError, InvalidConfigError
from lab_pipeline.domain.model import canonical_json
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.operations import run_actions
from lab_pipeline.operations.notes import notes_of_sweep, write_sweep_notes
from lab_pipeline.operations.sweeps import SweepPosition
from lab_pipeline.runs.artifacts import Publication
from lab_pipeline.runs.strategies import UnknownStrategyError
from lab_pipeline.sweeps import checking, questions
from lab_pipeline.sweeps.heatmap import Reduce, heat_map
from lab_pipeline.sweeps.holdout import holdout_of, reveal
from lab_pipeline.sweeps.promoting import promote
from lab_pipeline.sweeps.published import PublishedSweep
from lab_pipeline.sweeps.questions import SortOrder
from lab_pipeline.sweeps.sets import set_config, set_row
from lab_pipeline.sweeps.store import UnknownSweepError

LARGEST_ID = 2**31 - 1
MOST_FILTERS = 20
LONGEST_FILTER = 500
SHOWN_INVALID = 10
SWEEPS, SETS, CALLERS = "sweeps", "sweeps/sets", "sweeps/callers"
"""Kinds of cursors."""

Result = TypeVar("Result")

router = APIRouter(prefix="/sweeps", tags=["sweeps"], route_class=JsonRoute)

Asked = Annotated[schemas.SweepRequest, parsed(schemas.SweepRequest)]
SweepId = Annotated[str, Path(alias="sweepId", description="Id of a sweep.", examples=[schemas.SWEEP_EXAMPLE])]
SetId = Annotated[int, Path(alias="setId", ge=0, le=LARGEST_ID, description="Number of a set in its sweep.")]
Named = Annotated[str, Query(max_length=LONGEST_FILTER)]

ABOUT_THE_SWEEP = leads_to(
    getSweep="sweepId=$response.body#/sweepId",
    cancelSweep="sweepId=$response.body#/sweepId",
    listSets="sweepId=$response.body#/sweepId",
    getSelection="sweepId=$response.body#/sweepId",
)


@router.post("", status_code=202, summary="Queue a sweep", responses={**describe(409, 429), 202: ABOUT_THE_SWEEP})
def create_sweep(
    stores: LabStores, request: Asked, response: Response, idempotency_key: IdempotencyKey = None
) -> schemas.QueuedSweep:
    """Check the request, then put a run into Dagster's queue; it is recorded when the answer leaves.

    Its sets are made by the run: a space of which none is a strategy fails there, and in a dry run. Under an
    idempotency key the same request returns the same sweep, and another one is a 409.
    """
    spec = request.spec
    if problems := checking.find_problems(spec, stores.strategies, stores.lake):
        raise _refused(InvalidConfigError("the request", problems))
    version = stores.strategies.get(spec.strategy, spec.strategy_version).version
    sweep_id = stores.launcher.sweep(
        spec.model_copy(update={"strategy_version": version}),
        key=idempotency_key,
        request=canonical_json(spec.to_json_dict()),
    )
    response.headers["Location"] = f"/sweeps/{sweep_id}"
    return schemas.QueuedSweep(sweep_id=sweep_id, status=stores.sweep_runs.get(sweep_id).status)


@router.post("/dry-run", summary="Say what a sweep would be and take")
async def dry_run_sweep(stores: LabStores, request: Asked) -> schemas.SweepDryRun:
    """Make and count the sets of a request, and resolve it against the lake and the catalog; nothing is started."""
    return await _in_turn(stores, _estimate, stores, request)


@router.get("", summary="List the sweeps")
def list_sweeps(stores: LabStores, limit: Limit = PAGE, cursor: Cursor = None) -> schemas.SweepPage:
    """Return sweeps newest first; walking the pages gives each exactly once."""
    found, more = stores.sweep_runs.page(after=None if cursor is None else position_of(cursor), limit=limit)
    return schemas.SweepPage(
        sweeps=[schemas.SweepItem(**schemas.SweepItem.fields(one)) for one in found],
        next_cursor=None if more is None else encode_cursor(SWEEPS, more.created_at.isoformat(), more.sweep_id),
    )


@router.get("/{sweepId}", summary="Look at a sweep", responses=describe(404))
def get_sweep(stores: LabStores, sweep_id: SweepId) -> schemas.SweepDetail:
    """Return what was asked for and what became of it."""
    return _detail(stores, sweep_id)


@router.patch("/{sweepId}", summary="Write about a sweep", responses=describe(404, 409))
def change_sweep(
    stores: LabStores, sweep_id: SweepId, change: Annotated[schemas.SweepChange, parsed(schemas.SweepChange)]
) -> schemas.SweepDetail:
    """Change name, labels and notes of a sweep, or keep it for ever; what it was asked and found stays as it is."""
    write_sweep_notes(
        stores.sweep_runs,
        sweep_id,
        name=change.name,
        labels=change.labels,
        text=change.notes,
        pinned=change.pinned,
    )
    return _detail(stores, sweep_id)


def _detail(stores: Stores, sweep_id: str) -> schemas.SweepDetail:
    sweep = stores.sweep_runs.get(sweep_id)
    holdout = holdout_of(stores.sweeps, sweep_id) if sweep.published else None
    return schemas.SweepDetail(
        **schemas.SweepItem.fields(sweep),
        config=schemas.SweepRequest.of(dict(sweep.asked)),
        error=stores.sweep_runs.error(sweep),
        fingerprint=sweep.published.fingerprint if sweep.published else None,
        snapshot=sweep.published.snapshot if sweep.published else None,
        holdout=None if holdout is None else schemas.HoldoutAnswer.of(holdout),
        dagster_url=f"{stores.webserver.url}/runs/{sweep_id}" if sweep.is_run else None,
        **schemas.SweepDetail.written(notes_of_sweep(stores.sweep_runs, sweep)),
    )


@router.get("/{sweepId}/sets", summary="List the sets of a sweep", responses=describe(404, 409))
async def list_sets(
    stores: LabStores,
    sweep_id: SweepId,
    sort: Annotated[
        str, Query(max_length=LONGEST_FILTER, description="A figure, such as `expectancyLower`, or a varied parameter.")
    ] = "rank",
    order: Annotated[
        SortOrder, Query(description="`asc`: smallest first; `desc`: largest first. Sets without it come last.")
    ] = SortOrder.ASCENDING,
    filters: Annotated[
        list[Annotated[str, Query(max_length=LONGEST_FILTER)]] | None,
        Query(
            alias="filter",
            max_length=MOST_FILTERS,
            description="A comparison by `< <= > >= = !=`: `trades>=30`, `exit.stopLoss=null`. All of several hold.",
            examples=[["trades>=30", "eligible=true"]],
        ),
    ] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> schemas.SetPage:
    """Return sets in the order of a figure or a parameter, those that are equal by their ids."""

    def answer() -> schemas.SetPage:
        kind = f"{SETS}/{sweep_id}/{sort}/{order}"
        after = None if cursor is None else decode_cursor(kind, cursor, int)[0]
        found, more = questions.page_of_sets(
            _published(stores, sweep_id), filters=filters or (), sort=sort, order=order, after=after, limit=limit
        )
        return schemas.SetPage(
            sets=[schemas.SetItem(**schemas.SetItem.fields(row)) for row in found.iter_rows(named=True)],
            next_cursor=None if more is None else encode_cursor(kind, more),
        )

    return await _in_turn(stores, answer)


@router.get("/{sweepId}/sets/{setId}", summary="Look at a set", responses=describe(404, 409))
async def get_set(stores: LabStores, sweep_id: SweepId, set_id: SetId) -> schemas.SetDetail:
    """Return a set, the strategy that it is, and what it earned day by day."""

    def answer() -> schemas.SetDetail:
        sweep = _published(stores, sweep_id)
        days, lanes = (questions.rows_of_set(sweep, table, set_id) for table in ("days", "lanes"))
        return schemas.SetDetail(
            **schemas.SetItem.fields(set_row(stores.sweeps, sweep_id, set_id)),
            config=_config(stores, sweep_id, set_id),
            by_day=[schemas.SetDay(**schemas.fields_of(schemas.SetDay, day)) for day in days.iter_rows(named=True)],
            lanes=[schemas.SetLane(**schemas.fields_of(schemas.SetLane, one)) for one in lanes.iter_rows(named=True)],
        )

    return await _in_turn(stores, answer)


@router.get("/{sweepId}/heatmap", summary="Two parameters against a figure", responses=describe(404, 409))
async def get_heatmap(
    stores: LabStores,
    sweep_id: SweepId,
    x: Annotated[str, Query(max_length=LONGEST_FILTER, description="A varied parameter.", examples=["exit.stopLoss"])],
    y: Annotated[str, Query(max_length=LONGEST_FILTER, description="Another.", examples=["entry.delayMinutes"])],
    z: Annotated[str, Query(max_length=LONGEST_FILTER, description="A figure of the sets.")] = "expectancyLower",
    reduce: Annotated[Reduce, Query(description="Of the sets of a cell, the best or the median.")] = Reduce.BEST,
) -> schemas.HeatMapAnswer:
    """Return a cell for each pair of values; of what else is varied, the best or the median."""

    def answer() -> schemas.HeatMapAnswer:
        found = heat_map(_published(stores, sweep_id), x, y, z, reduce)
        across, down = (
            schemas.Axis(path=axis.path, values=list(axis.values), width=axis.width) for axis in (found.x, found.y)
        )
        return schemas.HeatMapAnswer(
            x=across,
            y=down,
            z=z,
            reduce=reduce,
            values=[list(row) for row in found.values],
            sets=[list(row) for row in found.sets],
            eligible=[list(row) for row in found.eligible],
        )

    return await _in_turn(stores, answer)


@router.get("/{sweepId}/selection", summary="How far the winner can be believed", responses=describe(404, 409))
def get_selection(stores: LabStores, sweep_id: SweepId) -> schemas.SelectionAnswer:
    """Return every figure of the selection, and the verdict."""
    return schemas.SelectionAnswer.of(_published(stores, sweep_id).document("selection"))


@router.get("/{sweepId}/folds", summary="The walk forward", responses=describe(404, 409))
def list_folds(stores: LabStores, sweep_id: SweepId) -> schemas.FoldList:
    """Return the windows of the walk forward, the set that won in each, and what became of it."""
    folds = _published(stores, sweep_id).table("folds").sort("fold")
    return schemas.FoldList(
        folds=[schemas.FoldItem.model_validate(row) for row in folds.iter_rows(named=True)], next_cursor=None
    )


@router.get("/{sweepId}/callers", summary="List the callers of sets", responses=describe(404, 409))
async def list_callers(
    stores: LabStores,
    sweep_id: SweepId,
    set_ids: Annotated[
        list[Annotated[int, Query(ge=0, le=LARGEST_ID)]] | None,
        Query(alias="setId", max_length=100, description="Only these sets. Any of them, where it is repeated."),
    ] = None,
    callers: Annotated[
        list[str] | None,
        Query(alias="caller", max_length=100, description="Only this caller. Any of them, where it is repeated."),
    ] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> schemas.CallerPage:
    """Return what each caller's calls brought each set, by set and then by name."""

    def answer() -> schemas.CallerPage:
        kind = f"{CALLERS}/{sweep_id}"
        after = None if cursor is None else tuple(decode_cursor(kind, cursor, int, str))
        found, more = questions.page_of_callers(
            _published(stores, sweep_id), set_ids=set_ids or (), callers=callers or (), after=after, limit=limit
        )
        return schemas.CallerPage(
            callers=[schemas.CallerItem.of(row) for row in found.iter_rows(named=True)],
            next_cursor=None if more is None else encode_cursor(kind, *more),
        )

    return await _in_turn(stores, answer)


@router.get("/{sweepId}/artifacts", summary="List what a sweep published", responses=describe(404))
def list_sweep_artifacts(stores: LabStores, sweep_id: SweepId) -> ArtifactList:
    """Return the files of a sweep, from its manifest; none before it has published."""
    published = stores.sweep_runs.get(sweep_id).published
    if published is None:
        return ArtifactList(artifacts=[], next_cursor=None)
    place = place_in(stores, stores.sweeps.storage, sweep_id)
    return describe_files(published.files, published.created_at, place, f"/sweeps/{sweep_id}/artifacts")


@router.get(
    "/{sweepId}/artifacts/{name:path}",
    summary="Download an artifact of a sweep",
    response_class=Response,
    responses={**describe(404, 416), **DOWNLOAD},
)
async def get_sweep_artifact(
    stores: LabStores,
    request: Request,
    sweep_id: SweepId,
    name: Annotated[str, Path(description="As listed, with or without its suffix.", examples=["sets"])],
    form: Form = None,
) -> Response:
    """Send a file, streamed, as artifacts of runs are."""
    with ExitStack() as place:
        place.enter_context(stores.downloads.one())
        answer = partial(_file, stores, request, sweep_id, name, form, place)
        return await to_thread.run_sync(answer, limiter=stores.threads.files)


@router.post("/{sweepId}/cancel", status_code=202, summary="Stop a sweep", responses=describe(404, 409))
def cancel_sweep(stores: LabStores, sweep_id: SweepId) -> schemas.QueuedSweep:
    """Stop a sweep: one that waits never starts, one that runs is asked to stop. A finished one is a 409."""
    sweep = stores.sweep_runs.get(sweep_id)
    if sweep.finished:
        raise ConflictError(f"sweep {sweep_id} is {sweep.status}: there is nothing to cancel")
    run_actions.stop(stores.instance, sweep_id)
    return schemas.QueuedSweep(sweep_id=sweep_id, status=stores.sweep_runs.get(sweep_id).status)


@router.post("/{sweepId}/reveal", summary="Open the holdout", responses=describe(404, 409))
async def reveal_holdout(
    stores: LabStores, sweep_id: SweepId, request: Annotated[schemas.Reveal, parsed(schemas.Reveal)]
) -> schemas.HoldoutAnswer:
    """Say how the winner fares on the days that were held out; the look is recorded, and counted for ever."""

    def answer() -> schemas.HoldoutAnswer:
        sweep = _published(stores, sweep_id)
        found = reveal(
            stores.sweeps, sweep.manifest.sweep_id, lake=stores.lake, strategies=stores.strategies, by=request.by
        )
        return schemas.HoldoutAnswer.of(found)

    return await _in_turn(stores, answer)


@router.post(
    "/{sweepId}/sets/{setId}/promote",
    status_code=201,
    summary="Make a strategy of a set",
    responses={
        **describe(404, 409),
        200: {"description": "The strategy had this version already", "model": schemas.PromotedSet},
    },
)
async def promote_set(
    stores: LabStores,
    sweep_id: SweepId,
    set_id: SetId,
    request: Annotated[schemas.Promotion, parsed(schemas.Promotion)],
    response: Response,
) -> schemas.PromotedSet:
    """Store a set as a version of a strategy that carries the verdict; one that it does not support is a 409."""

    def answer() -> schemas.PromotedSet:
        set_row(_published(stores, sweep_id).store, sweep_id, set_id)
        made = promote(
            stores.sweeps,
            stores.strategies,
            sweep_id,
            set_id,
            request.strategy_id,
            despite_verdict=request.despite_verdict,
        )
        return schemas.PromotedSet.of(made)

    promoted = await _in_turn(stores, answer)
    response.status_code = 201 if promoted.is_new else 200
    response.headers["Location"] = f"/strategies/{promoted.strategy_id}?version={promoted.version}"
    return promoted


async def _in_turn(stores: Stores, ask: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401 - those of `ask`
    """Do what reads many rows, or simulates, in the threads for queries: it keeps nobody else waiting."""
    return await to_thread.run_sync(partial(ask, *arguments), limiter=stores.threads.queries)


def _published(stores: Stores, sweep_id: str) -> PublishedSweep:
    """Open a sweep; one that has not published is a conflict, never without rows."""
    try:
        return PublishedSweep.open(stores.sweeps, sweep_id)
    except UnknownSweepError:
        sweep = stores.sweep_runs.get(sweep_id)
        raise ConflictError(f"sweep {sweep_id} is {sweep.status}: it has published nothing") from None


def _config(stores: Stores, sweep_id: str, set_id: int) -> StrategyConfig | None:
    try:
        return set_config(stores.sweeps, stores.strategies, sweep_id, set_id)
    except (ConflictError, UnknownStrategyError):
        return None  # the strategy is not, or no longer, what was swept


def _estimate(stores: Stores, request: schemas.SweepRequest) -> schemas.SweepDryRun:
    try:
        found = checking.estimate(request.spec, stores.strategies, stores.lake, memory=stores.settings.sweep_memory)
    except InvalidConfigError as error:
        raise _refused(error) from None
    sets = found.resolved.sets
    return schemas.SweepDryRun(
        valid=True,
        exact=found.exact,
        method=found.method,
        asked=found.asked,
        duplicates=sets.duplicates if found.exact else None,
        excluded=sets.excluded if found.exact else None,
        invalid=sets.invalid_count if found.exact else None,
        first_invalid=[
            schemas.InvalidSetItem(number=one.number, values=one.values, problems=[str(each) for each in one.problems])
            for one in sets.invalid[:SHOWN_INVALID]
        ],
        holdout_days=found.resolved.held_days,
        repeats=found.resolved.repeats,
        faulty=found.resolved.faulty,
        strategy_version=found.resolved.strategy_version,
        estimated_cost=schemas.SweepCost(
            sets=found.sets,
            calls=found.resolved.calls.height,
            days=found.days,
            callers=found.callers,
            candles=found.candles,
            memory_bytes=found.cell_bytes,
            memory_allowed_bytes=found.allowed_bytes,
        ),
        unsaid=found.unsaid,
    )


def _file(
    stores: Stores, request: Request, sweep_id: str, name: str, form: FileFormat | None, place: ExitStack
) -> Response:
    published = stores.sweep_runs.get(sweep_id).published
    files = published.files if published else ()
    place_of_files = Publication(stores.sweeps.storage, sweep_id)
    return send_artifact(stores, request, f"sweep {sweep_id}", files, place_of_files, name, form, place)


def _refused(error: InvalidConfigError) -> InvalidConfigError:
    """Name wrong fields as the request does."""
    return InvalidConfigError("the request", schemas.as_requested(error.errors))


def position_of(cursor: str) -> SweepPosition:
    """Return where a page of the list begins.

    Raises:
        InvalidConfigError: if the cursor is none of this list.
    """
    created_at, sweep_id = decode_cursor(SWEEPS, cursor, str, str)
    try:
        return SweepPosition(datetime.fromisoformat(created_at).astimezone(UTC), sweep_id)
    except (ValueError, OverflowError):
        raise InvalidConfigError("the request", [FieldError("cursor", "is no cursor of this list")]) from None
