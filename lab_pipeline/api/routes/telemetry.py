"""The lab in numbers, for Prometheus."""

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from lab_pipeline.api.telemetry import Telemetry

TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Samples", "content": {"text/plain": {"schema": {"type": "string"}}}}
}

router = APIRouter(tags=["health"])


@router.get("/metrics", summary="The lab in numbers, for Prometheus", response_class=Response, responses=TEXT)
async def get_telemetry(request: Request) -> Response:
    """Return queue, runs by status, their durations, the lag of the log shipper, disk, and the API's own answers.

    What is down has `lab_store_up` 0, and its numbers are missing. The stores are asked every 5 s at most.
    """
    telemetry: Telemetry = request.app.state.telemetry
    return Response(await telemetry.scrape(), media_type=CONTENT_TYPE_LATEST)
