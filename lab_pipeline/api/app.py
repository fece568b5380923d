"""The application: routes, errors, and the OpenAPI document."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from pydantic.alias_generators import to_camel

from lab_pipeline import __version__
from lab_pipeline.api import errors
from lab_pipeline.api.middleware import OPEN_PATHS, Gate
from lab_pipeline.api.pages import answer as answer_page
from lab_pipeline.api.pages import calls as call_pages
from lab_pipeline.api.pages import compare as compare_page
from lab_pipeline.api.pages import frame as page_frame
from lab_pipeline.api.pages import lake as lake_pages
from lab_pipeline.api.pages import launch as launch_page
from lab_pipeline.api.pages import runs as run_pages
from lab_pipeline.api.pages import sweeps as sweep_pages
from lab_pipeline.api.pages import trades as trade_pages
from lab_pipeline.api.pagination import refuse_unknown_parameters
from lab_pipeline.api.routes import (
    artifacts,
    backtests,
    compare,
    docs,
    health,
    leaderboard,
    logs,
    metrics,
    runs,
    statistics,
    strategies,
    sweeps,
    telemetry,
)
from lab_pipeline.api.stores import Stores
from lab_pipeline.api.telemetry import Requests, Telemetry
from lab_pipeline.doors import SAFE_METHODS, SCHEME
from lab_pipeline.settings import Settings

DESCRIPTION = """\
Backtests, their runs and what they leave; sweeps, and how far the best of them can be believed.

A `runId` is Dagster's run id. Names are camelCase, moments ISO 8601 in UTC with milliseconds, returns
plain fractions, amounts of money in quote currency. Lists are pages: `nextCursor` leads to the next, null where there
is none. Errors have one shape. What cannot be answered because a store is down is a 503, never an empty list.
"""
ANYWHERE = errors.describe(400, 401, 403, 408, 413, 421, 422, 500, 503)
"""Errors that every route may answer with."""


def create_app(settings: Settings) -> FastAPI:
    """Build the application of a lab; it opens the stores when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with Stores(settings) as stores:
            stores.make_all()
            app.state.stores = stores
            app.state.telemetry = Telemetry(stores, registry)
            yield

    registry = CollectorRegistry()
    app = FastAPI(
        title="lab_pipeline",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        dependencies=[Depends(refuse_unknown_parameters)],
        responses=ANYWHERE,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    for routes in (
        health,
        telemetry,
        backtests,
        runs,
        logs,
        metrics,
        artifacts,
        strategies,
        compare,
        leaderboard,
        statistics,
        sweeps,
    ):
        app.include_router(routes.router)
    app.include_router(docs.router)
    for page in (
        page_frame,
        answer_page,
        run_pages,
        trade_pages,
        call_pages,
        compare_page,
        sweep_pages,
        lake_pages,
        launch_page,
    ):
        app.include_router(page.router)
    for older in (strategies, leaderboard):
        app.include_router(older.router, prefix="/api")
    app.state.home = settings.home
    errors.add_handlers(app)
    app.add_middleware(Gate, settings=settings, requests=Requests(registry))
    app.openapi = lambda: _openapi(app, guarded=settings.api_token is not None)  # type: ignore[method-assign]  # the way that FastAPI documents
    return app


def _operation_id(route: APIRoute) -> str:
    """Name an operation after its function; older addresses of the same get a suffix."""
    alias = route.path.startswith("/api/") and route.path not in OPEN_PATHS
    return to_camel(route.name) + ("Alias" if alias else "")


def _openapi(app: FastAPI, *, guarded: bool) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        document["components"]["securitySchemes"] = {
            SCHEME: {
                "type": "http",
                "scheme": SCHEME,
                "description": "The token of LAB_API_TOKEN; not needed where the lab has none.",
            }
        }
        _drop_object_defaults(document)
        for operations in document["paths"].values():
            for method in SAFE_METHODS & {name.upper() for name in operations}:
                del operations[method.lower()]["responses"]["403"]  # other sites may ask, if not change
        if guarded:
            document["security"] = [{SCHEME: []}]
            for path in OPEN_PATHS:
                for operation in document["paths"][path].values():
                    operation["security"] = []
        app.openapi_schema = document
    return app.openapi_schema


def _drop_object_defaults(document: dict[str, Any]) -> None:
    """Leave out what generators of clients cannot write: such a default is made of those of the object's own fields."""
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            if isinstance(field.get("default"), dict):
                del field["default"]
