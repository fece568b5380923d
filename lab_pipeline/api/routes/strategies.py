"""Strategies: named, versioned, a version never changed."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from lab_pipeline.api.errors import describe, leads_to
from lab_pipeline.api.pagination import PAGE, Cursor, Limit, decode_cursor, encode_cursor
from lab_pipeline.api.schemas.base import JsonRoute, Problem, parsed
from lab_pipeline.api.schemas.strategies import (
    Checked,
    ConfigToCheck,
    NewStrategy,
    StrategyAnswer,
    StrategyChange,
    StrategyDetail,
    StrategyPage,
    StrategyVersion,
)
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.runs.strategies import StoredStrategy

CURSOR = "strategies"

router = APIRouter(prefix="/strategies", tags=["strategies"], route_class=JsonRoute)

StrategyId = Annotated[str, Path(alias="id", description="Id of a strategy, such as `ladder`.", examples=["ladder"])]


@router.get("", summary="List the strategies")
def list_strategies(stores: LabStores, limit: Limit = PAGE, cursor: Cursor = None) -> StrategyPage:
    """Return each strategy in its latest version, in the order of their ids."""
    (after,) = decode_cursor(CURSOR, cursor, str) if cursor is not None else [""]
    found = stores.strategies.list_latest(after, limit + 1)
    more = encode_cursor(CURSOR, found[limit - 1].strategy.id) if len(found) > limit else None
    shown = [StrategyAnswer(**StrategyAnswer.fields(stored)) for stored in found[:limit]]
    return StrategyPage(strategies=shown, next_cursor=more)


@router.post(
    "",
    status_code=201,
    summary="Store a strategy",
    responses={
        201: leads_to(getStrategy="id=$response.body#/id", changeStrategy="id=$response.body#/id"),
        200: {"model": StrategyDetail, "description": "The configuration was there already: its version"},
    },
)
def create_strategy(
    stores: LabStores, new: Annotated[NewStrategy, parsed(NewStrategy)], response: Response
) -> StrategyDetail:
    """Store a configuration as the next version of a strategy; an identical one answers with the version it has."""
    stored, created = stores.strategies.add_version(new.strategy())
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/strategies/{stored.strategy.id}?version={stored.version}"
    return _detail(stores, stored)


@router.get("/{id}", summary="Look at a strategy", responses=describe(404))
def get_strategy(
    stores: LabStores,
    strategy_id: StrategyId,
    version: Annotated[
        str | None, Query(pattern=r"^[1-9]\d{0,8}$", description="A version; the latest by default.", examples=["1"])
    ] = None,
) -> StrategyDetail:
    """Return a version of a strategy, and which others there are."""
    return _detail(stores, stores.strategies.get(strategy_id, version))


@router.patch("/{id}", summary="Describe a strategy", responses=describe(404))
def change_strategy(
    stores: LabStores,
    strategy_id: StrategyId,
    change: Annotated[StrategyChange, parsed(StrategyChange)],
) -> StrategyDetail:
    """Change name, description, tags or activity; configurations and versions stay as they are."""
    stored = stores.strategies.describe(
        strategy_id,
        name=change.name,
        description=change.description,
        tags=change.tags,
        is_active=change.is_active,
    )
    return _detail(stores, stored)


@router.post("/{id}/validate", summary="Check a configuration")
def validate_strategy(
    strategy_id: StrategyId,
    checked: Annotated[ConfigToCheck, parsed(ConfigToCheck)],
) -> Checked:
    """Say what would keep a configuration from being stored under an id; nothing is stored."""
    try:
        Strategy.parse({**checked.config, "id": strategy_id})
    except InvalidConfigError as error:
        problems = [Problem(path=one.path, message=one.message) for one in error.errors]
        return Checked(valid=False, errors=problems)
    return Checked(valid=True, errors=[])


def _detail(stores: Stores, stored: StoredStrategy) -> StrategyDetail:
    versions = [
        StrategyVersion(version=one.version, config_hash=one.config_hash, created_at=one.created_at)
        for one in stores.strategies.versions(stored.strategy.id)
    ]
    return StrategyDetail(**StrategyAnswer.fields(stored), versions=versions)
