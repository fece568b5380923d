"""A run's series over simulated time."""

from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Annotated

import polars as pl
from anyio import to_thread
from fastapi import APIRouter, Query, Response

from lab_pipeline.api.downloads import send_text
from lab_pipeline.api.errors import describe
from lab_pipeline.api.routes.logs import JSON
from lab_pipeline.api.routes.runs import From, RunId, To
from lab_pipeline.api.schemas.series import MetricsAnswer, MetricType
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.clickhouse.series import EARLIEST, FEWEST_POINTS, LATEST, Bucket, fill_series, metric_series
from lab_pipeline.domain.timeframe import timeframe_ms

MOST_POINTS = 100_000
COLUMNS = {
    MetricType.EQUITY: {"open": "equity_open", "high": "equity_high", "low": "equity_low", "close": "equity_close"},
    MetricType.DRAWDOWN: {"min": "drawdown_min"},
    MetricType.EXPOSURE: {"mean": "exposure_mean", "max": "exposure_max"},
    MetricType.FILLS: {"count": "fills", "buys": "buys", "sells": "sells", "notional": "notional"},
}

router = APIRouter(tags=["metrics"])


@router.get(
    "/runs/{runId}/metrics",
    summary="Read a run's series",
    response_model=MetricsAnswer,
    responses=describe(404),
)
async def get_metrics(
    stores: LabStores,
    run_id: RunId,
    types: Annotated[
        list[MetricType] | None, Query(alias="type", description="Which series; all by default. May be repeated.")
    ] = None,
    start: From = None,
    end: To = None,
    interval: Annotated[
        Bucket, Query(description="Length of a bucket; `raw`: one for each candle close.")
    ] = Bucket.RAW,
    max_points: Annotated[
        int | None,
        Query(
            alias="maxPoints",
            ge=FEWEST_POINTS,
            le=MOST_POINTS,
            description="Points of a series at most: buckets become longer until they fit. 100,000 by default.",
        ),
    ] = None,
) -> Response:
    """Return equity, drawdown, exposure and fills in buckets of simulated time."""
    wanted = list(dict.fromkeys(types or MetricType))
    ask = partial(_answer, stores, run_id, wanted, start, end, interval, max_points)
    text = await to_thread.run_sync(ask, limiter=stores.threads.queries)
    with ExitStack() as place:
        return send_text(text, JSON, place, stores.downloads)


def _answer(
    stores: Stores,
    run_id: str,
    wanted: list[MetricType],
    start: datetime | None,
    end: datetime | None,
    interval: Bucket,
    max_points: int | None,
) -> str:
    result = stores.runs.result(run_id)
    rows = {file.name: file.rows for file in result.files} if result else {}
    limits = {
        "start": None if start is None else min(max(start, EARLIEST), LATEST),
        "end": None if end is None else min(max(end, EARLIEST), LATEST),
    }
    frames: dict[MetricType, pl.DataFrame] = {}
    with stores.clickhouse.connection() as clickhouse:
        if MetricType.FILLS in wanted:
            frames[MetricType.FILLS] = fill_series(
                clickhouse, run_id, interval, max_points=max_points or _limit(rows.get("fills.parquet")), **limits
            )
        others = [kind for kind in wanted if kind is not MetricType.FILLS]
        if others:
            found = metric_series(
                clickhouse,
                run_id,
                interval,
                max_points=max_points or _limit(rows.get("equity.parquet")),
                kinds=others,
                spacing_ms=timeframe_ms(result.spec.timeframe) if result else None,
                **limits,
            )
            frames |= dict.fromkeys(others, found)
    parts = ",".join(f'"{kind}":{_points(frames[kind], COLUMNS[kind])}' for kind in wanted)
    return f'{{"metrics":{{{parts}}}}}'


def _limit(rows: int | None) -> int | None:
    """Spare ClickHouse a look at the range where a series cannot have too many points anyway."""
    return None if rows is not None and rows <= MOST_POINTS else MOST_POINTS


def _points(frame: pl.DataFrame, columns: dict[str, str]) -> str:
    """Write rows as JSON objects, by polars: a series may have a hundred thousand of them."""
    time = pl.col("bucket").dt.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").alias("timestamp")
    shown = frame.select(time, *(pl.col(source).alias(name) for name, source in columns.items()))
    return shown.with_columns(pl.col(pl.Float64).fill_nan(None)).write_json()
