"""Answers that a client may keep until their numbers change."""

from typing import Any, TypeVar

from fastapi import Request, Response

from lab_pipeline.api.schemas.base import Answer
from lab_pipeline.statistics import StatisticsAnswer as Computed

Model = TypeVar("Model", bound=Answer)
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "What `If-None-Match` names is still right"}}


def tagged(
    request: Request, response: Response, model: type[Model], computed: Computed, **more: object
) -> Model | Response:
    """Send computed numbers with their ETag, or 304 if the client has them.

    Args:
        request: whose `If-None-Match` counts.
        response: gets the ETag.
        model: what is sent.
        computed: the numbers.
        more: further fields.
    """
    tag = f'"{computed.etag}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    known = {one.strip().removeprefix("W/") for one in request.headers.get("If-None-Match", "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return model.model_validate({**computed.body, **more})
