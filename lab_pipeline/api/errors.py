"""Every error in one shape, whoever raises it."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from lab_pipeline.api.schemas.base import Error, ErrorDetail, Problem
from lab_pipeline.clickhouse.errors import ClickHouseError
from lab_pipeline.dagster_ext.graphql import DagsterDownError, LaunchRefusedError
from lab_pipeline.domain.errors import (
    MOST_NAMED,
    ConflictError,
    FieldError,
    InvalidConfigError,
    LabError,
    listed,
    shortened,
)
from lab_pipeline.files.disk_errors import disk_error, full_disk, is_full
from lab_pipeline.files.errors import StorageError
from lab_pipeline.operations.launch import QueueFullError
from lab_pipeline.runs.artifacts import UnknownArtifactError, UnknownRunError, UnreadableManifestError
from lab_pipeline.runs.idempotency import IdempotencyBusyError, LaunchUnknownError
from lab_pipeline.runs.strategies import UnknownStrategyError
from lab_pipeline.sweeps.sets import UnknownSetError
from lab_pipeline.sweeps.store import UnknownSweepError

RETRY_AFTER_SECONDS = 5
LONGEST_MESSAGE = 4000
"""Characters: what a client sent may be part of it."""
CODES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "too_late",
    409: "conflict",
    413: "too_large",
    416: "range_not_satisfiable",
    421: "misdirected",
    422: "invalid",
    429: "queue_full",
    431: "too_large",
    500: "internal",
    503: "unavailable",
}
STATUS_OF: dict[type[Exception], int] = {
    InvalidConfigError: 422,
    LaunchRefusedError: 422,
    UnknownRunError: 404,
    UnknownArtifactError: 404,
    UnknownStrategyError: 404,
    UnknownSweepError: 404,
    UnknownSetError: 404,
    ConflictError: 409,
    QueueFullError: 429,
    IdempotencyBusyError: 503,
    LaunchUnknownError: 503,
    DagsterDownError: 503,
    StorageError: 503,
    ClickHouseError: 503,
    UnreadableManifestError: 503,
    SQLAlchemyError: 503,
    LabError: 503,
}
"""What an error of the inner rooms is over HTTP; the nearest base class counts."""
COME_BACK = {429, 503}

_log = logging.getLogger(__name__)


class UnavailableError(LabError):
    """Something the lab needs does not work; `problems` says what."""

    def __init__(self, message: str, problems: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class RangeError(LabError):
    """The part of a file that was asked for is beyond its end."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the range is beyond the end of the file, which has {size:,} bytes")
        self.size = size


class NotAcceptableError(LabError):
    """The client accepts none of the forms there are."""


def describe(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer with these errors."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        found[status] = {"model": Error, "description": HTTPStatus(status).phrase}
        if status in COME_BACK:
            found[status]["headers"] = {
                "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}
            }
    return found


def leads_to(**operations: str) -> dict[str, Any]:
    """Return what a response says of requests about what it made: operation -> parameter=expression."""
    links = {
        operation: {"operationId": operation, "parameters": {name: expression}}
        for operation, target in operations.items()
        for name, _, expression in [target.partition("=")]
    }
    return {"links": links}


def error_response(
    request_id: str,
    status: int,
    message: str,
    details: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Build the answer of an error; of many details it has the first, its message says how many there are."""
    problems = [Problem(path=shortened(one.path), message=shortened(one.message)) for one in details[:MOST_NAMED]]
    code = CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    text = shortened(message, LONGEST_MESSAGE)
    detail = ErrorDetail(code=code, message=text, details=problems, request_id=request_id)
    extra = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in COME_BACK else {}
    return JSONResponse(
        Error(error=detail).model_dump(by_alias=True), status_code=status, headers={**extra, **(headers or {})}
    )


def add_handlers(app: FastAPI) -> None:
    """Answer every error in the one shape."""
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(RangeError, _on_bad_range)
    app.add_exception_handler(NotAcceptableError, _on_not_acceptable)
    app.add_exception_handler(UnavailableError, _on_unavailable)
    for kind in STATUS_OF:
        app.add_exception_handler(kind, _on_lab_error)


def request_id(request: Request) -> str:
    """Return the id of a request."""
    return str(request.scope["state"]["request_id"])


def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    message = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND and message == HTTPStatus.NOT_FOUND.phrase:
        message = f"there is nothing at {request.url.path}: /docs lists what there is"
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
    return error_response(request_id(request), error.status_code, message, headers=headers)


def _methods(request: Request) -> list[str]:
    """Return the methods that an address has, of whichever routes."""
    app: FastAPI = request.app
    routes = [route for route in iter_route_contexts(app.routes) if route.path_regex.match(request.url.path)]
    found = {method for route in routes for method in route.methods or ()}
    return sorted(found | {"HEAD"} if "GET" in found else found)


def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    found = [_field_error(item) for item in error.errors()]
    malformed = any(item["type"] == "json_invalid" for item in error.errors())
    message = f"the request is not valid: {listed(found)}"
    return error_response(request_id(request), 400 if malformed else 422, message, found)


def _field_error(item: dict[str, Any]) -> FieldError:
    if item["type"] == "json_invalid":
        return FieldError("", f"not valid JSON: {item['ctx']['error']}")
    place, *path = item["loc"]
    message = item["ctx"]["error"] if item["type"] == "value_error" else item["msg"][0].lower() + item["msg"][1:]
    if item["type"] == "missing":
        message = "missing"
    return FieldError(".".join(map(str, path)) or ("" if place == "body" else place), str(message))


def _with_disk(message: str, home: Path) -> str:
    """Add to what went wrong that the disk is full, if it is: the error of another process need not say so."""
    if not is_full(home) or " is full (" in message:
        return message
    return f"{message}: {full_disk(home)}, then do it again"


def _on_lab_error(request: Request, error: Exception) -> JSONResponse:
    status = next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)
    details: Sequence[FieldError] = error.errors if isinstance(error, InvalidConfigError) else ()
    message = str(error)
    home: Path = request.app.state.home
    if isinstance(error, SQLAlchemyError):
        reason = disk_error(error, home) or "the server's log says why"
        message = f"Dagster's storage cannot be used now: {reason}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        message = _with_disk(message, home)
        _log.error("%s: %s", request_id(request), error)
    return error_response(request_id(request), status, message, details)


def _on_unavailable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UnavailableError)  # noqa: S101 - registered for nothing else
    return error_response(request_id(request), 503, str(error), error.problems)


def _on_bad_range(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RangeError)  # noqa: S101 - registered for nothing else
    return error_response(request_id(request), 416, str(error), headers={"Content-Range": f"bytes */{error.size}"})


def _on_not_acceptable(request: Request, error: Exception) -> JSONResponse:
    return error_response(request_id(request), 406, str(error))
