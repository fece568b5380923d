"""What all answers have in common: camelCase names, moments in UTC, one shape for errors."""

import json
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema, WrapValidator
from pydantic.alias_generators import to_camel

from lab_pipeline.domain.backtest import MOMENT_SCHEMA, iso
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.json_text import read_json
from lab_pipeline.domain.model import Document

Moment = Annotated[datetime, PlainSerializer(iso, return_type=str), WithJsonSchema(MOMENT_SCHEMA)]
"""A moment in UTC, written with milliseconds and Z."""


class Answer(BaseModel):
    """The base of everything that is sent."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="null",
        json_schema_serialization_defaults_required=True,
    )


class Problem(Answer):
    """One thing that is wrong."""

    path: str
    """Where: the field, as it is written in the request, such as `params.exit.stopLoss`; empty for the whole."""
    message: str
    """What is wrong with it, and what to do."""


class ErrorDetail(Answer):
    """What went wrong."""

    code: str
    """A word for programs: `malformed`, `unauthorized`, `not_found`, `conflict`, `invalid`, `unavailable`, ..."""
    message: str
    """A sentence for people."""
    details: list[Problem]
    """The offending fields, the first 10 of them; `message` says how many there are. Empty where the error is not about
    fields."""
    request_id: str
    """Id of the request, that of the header `X-Request-Id` and of the server's log."""


class Error(Answer):
    """The one shape of every error."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "code": "invalid",
                        "message": "the request is not valid: timeframe: missing",
                        "details": [{"path": "timeframe", "message": "missing"}],
                        "requestId": "0d9c0a4a5d7f4b53b5b2a7c1f0c1d2e3",
                    }
                }
            ]
        }
    )

    error: ErrorDetail
    """The error."""


class JsonRoute(APIRoute):
    """A route that reads its body as documents are read: deep, long and repeated as it may be, it gets an answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand the route a request whose body is read by `read_json`."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handler


class _JsonRequest(Request):
    async def json(self) -> Any:  # noqa: ANN401 - JSON has no narrower type
        try:
            return read_json(await self.body())
        except json.JSONDecodeError:
            raise  # which FastAPI answers
        except ValueError as error:
            raise HTTPException(400, f"the request is not valid JSON: {error}") from None


def parsed(document: type[Document]) -> WrapValidator:
    """Make the annotation that reads a request's body as a document: strict, every wrong field named by its path.

    >>> from lab_pipeline.domain.backtest import BacktestSpec
    >>> Spec = Annotated[BacktestSpec, parsed(BacktestSpec)]
    """

    def parse(value: Any, _handler: object) -> Document:  # noqa: ANN401 - whatever the client sent
        if isinstance(value, bytes):
            raise InvalidConfigError("the request", [FieldError("", "send JSON, with Content-Type: application/json")])
        return document.parse(value, subject="the request")

    return WrapValidator(parse)
