"""The page of one call: its trades on its candles."""

from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, JSONResponse, Response

from lab_pipeline.api.downloads import MEDIA_TYPES, as_csv
from lab_pipeline.api.pages.frame import ROOT, SECURITY, show
from lab_pipeline.api.routes.runs import RunId
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.errors import ConflictError
from lab_pipeline.domain.frames import CALL_OPTIONS
from lab_pipeline.runs.call_view import CallView, view_call
from lab_pipeline.runs.published import PublishedRun

OPEN, HIGH, LOW, CLOSE, VOLUME = ("open", "high", "low", "close", "volume")

router = APIRouter(prefix=f"{ROOT}/runs/{{runId}}", include_in_schema=False)

CallId = Annotated[str, Query(alias="call", max_length=1000)]


@router.get("/calls")
def get_call(stores: LabStores, run_id: RunId, call_id: CallId) -> HTMLResponse:
    """Show a call; the page asks for its candles."""
    view, run = call_of(stores, run_id, call_id)
    said = {name: view.call[name] for name in CALL_OPTIONS if view.call.get(name) is not None}
    return show(
        "call.html",
        title=f"Call by {view.call['caller']}",
        section="runs",
        run=run.manifest,
        call=view.call,
        said=said,
        trades=view.trades.to_dicts(),
        fills=view.fills.to_dicts(),
        policies=view.policies,
        ambiguous=view.ambiguous,
        own_policy=str(run.manifest.spec.strategy.intrabar),
        candles=view.candles.height,
        doubt=view.doubt,
        query={"call": call_id},
    )


@router.get("/calls.json")
def get_picture(stores: LabStores, run_id: RunId, call_id: CallId) -> JSONResponse:
    """Return what is drawn: times in seconds since the epoch, prices in quote currency."""
    view, _ = call_of(stores, run_id, call_id)
    body: dict[str, Any] = {
        "calledAt": int(view.call["called_at"].timestamp()),
        "candles": _candles(view.candles),
        "finer": _candles(view.finer),
        "levels": view.levels.with_columns(pl.col("timestamp").dt.epoch("s")).rows(),
        "fills": [
            [
                int(row["timestamp"].timestamp()),
                row["trade_no"],
                row["side"],
                row["price"],
                row["fraction"],
                row["reason"],
            ]
            for row in view.fills.iter_rows(named=True)
        ],
    }
    return JSONResponse(body, headers=SECURITY)


@router.get("/calls.csv")
def get_candles(stores: LabStores, run_id: RunId, call_id: CallId) -> Response:
    """Send the candles with the levels that they were tested against."""
    view, _ = call_of(stores, run_id, call_id)
    return Response(as_csv(view.on_candles), media_type=MEDIA_TYPES["csv"], headers=SECURITY)


def call_of(stores: Stores, run_id: str, call_id: str) -> tuple[CallView, PublishedRun]:
    """Return what there is to see of a call, and its run.

    Raises:
        UnknownRunError: if there is no such run.
        UnknownCallError: if it has no such call.
        ConflictError: if it has published nothing.
    """
    manifest = stores.runs.result(run_id)
    if manifest is None:
        raise ConflictError(f"run {run_id} has published nothing yet")
    run = PublishedRun.of(stores.artifacts, manifest)
    return view_call(run, call_id, stores.lake), run


def _candles(frame: pl.DataFrame) -> list[tuple[float, ...]]:
    seconds = pl.col("timestamp").dt.epoch("s").alias("seconds")
    return frame.select(seconds, OPEN, HIGH, LOW, CLOSE, VOLUME).rows()
