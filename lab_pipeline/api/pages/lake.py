"""The pages of the lake: what there is of which token when, and the candles of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, JSONResponse, Response
from markupsafe import Markup

from lab_pipeline.api.downloads import MEDIA_TYPES, as_csv
from lab_pipeline.api.pages.frame import ROOT, SECURITY, show
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.enums import Fault
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake import Lake
from lab_pipeline.lake.coverage import by_day, quality
from lab_pipeline.lake.faults import by_mint, find_faults
from lab_pipeline.reports import coverage_chart

TOKENS_SHOWN = 60
FAULTS_DRAWN = 200
MOST_CANDLES = 5_000
"""Drawn of a token; of more, several are put together."""
LENGTHS_KEPT = 4
"""Lengths of candles whose measures stay in memory until something is ingested: a large lake takes seconds to read."""

router = APIRouter(prefix=f"{ROOT}/lake", include_in_schema=False)

Length = Annotated[str | None, Query(max_length=20)]
Mint = Annotated[str, Query(max_length=500)]


@router.get("")
def get_lake(stores: LabStores, timeframe: Length = None) -> HTMLResponse:
    """Show how complete the candles of each token are, the tokens with most calls first."""
    lake = stores.lake
    lengths = lake.timeframes()
    chosen = _chosen(stores, timeframe) if lengths else None
    found = None if chosen is None else _found(lake, chosen, lake.candles_version(chosen), lake.calls_version())
    return show(
        "lake.html", title="Lake", section="lake", timeframes=lengths, timeframe=chosen,
        extent=lake.calls_extent(), found=found,
    )  # fmt: skip


@router.get(".csv")
def get_quality(stores: LabStores, timeframe: Length = None) -> Response:
    """Send the table of all tokens."""
    table = _quality(stores.lake, _chosen(stores, timeframe))
    return Response(as_csv(table), media_type=MEDIA_TYPES["csv"], headers=SECURITY)


@router.get("/faults")
def get_faults(stores: LabStores, timeframe: Length = None) -> HTMLResponse:
    """Show what looks wrong in candles, token by token, the worst first."""
    chosen = _chosen(stores, timeframe)
    worst = by_mint(_faults(stores.lake, chosen))
    return show(
        "faults.html", title="What looks wrong", section="lake", timeframe=chosen, timeframes=stores.lake.timeframes(),
        kinds=[str(fault) for fault in Fault], worst=worst.head(TOKENS_SHOWN).to_dicts(), tokens=worst.height,
        known=len(stores.lake.mints(chosen)),
    )  # fmt: skip


@router.get("/faults.csv")
def get_every_fault(stores: LabStores, timeframe: Length = None) -> Response:
    """Send every fault of every token."""
    table = _faults(stores.lake, _chosen(stores, timeframe))
    return Response(as_csv(table), media_type=MEDIA_TYPES["csv"], headers=SECURITY)


@router.get("/token")
def get_token(stores: LabStores, mint: Mint, timeframe: Length = None) -> HTMLResponse:
    """Show the candles of a token, with its calls."""
    chosen = _chosen(stores, timeframe)
    calls = stores.lake.calls(mints=[mint]).sort("called_at")
    found = _quality(stores.lake, chosen).filter(pl.col("mint") == mint)
    return show(
        "token.html", title="Token", section="lake", mint=mint, timeframe=chosen, timeframes=stores.lake.timeframes(),
        measured=found.row(0, named=True) if found.height else None, calls=calls.to_dicts(),
        faults=_faults(stores.lake, chosen).filter(pl.col("mint") == mint).to_dicts(),
    )  # fmt: skip


@router.get("/token.json")
def get_candles(stores: LabStores, mint: Mint, timeframe: Length = None) -> JSONResponse:
    """Return what is drawn: candles, several together where there are many, and calls and faults by their times.

    Times are in seconds since the epoch.
    """
    chosen = _chosen(stores, timeframe)
    extent = stores.lake.candles_extent(chosen)
    candles = pl.DataFrame()
    if extent is not None:
        candles = stores.lake.candles(chosen, mint, extent[0], extent[1] + timedelta(milliseconds=1))
    together = max(1, -(-candles.height // MOST_CANDLES))
    rows: list[tuple[float, ...]] = []
    if candles.height:
        length = timeframe_ms(chosen) * together
        slot = pl.col("timestamp").to_physical() // length * (length / 1000)
        drawn = candles.group_by(slot.cast(pl.Int64).alias("slot"), maintain_order=True).agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
        )
        rows = drawn.rows()
    calls = stores.lake.calls(mints=[mint]).sort("called_at").select(pl.col("called_at").dt.epoch("s"), "caller")
    seen = _faults(stores.lake, chosen).filter(pl.col("mint") == mint)
    faults = seen.head(FAULTS_DRAWN).select(pl.col("first").dt.epoch("s"), "fault")
    body = {"candles": rows, "together": together, "calls": calls.rows(), "faults": faults.rows()}
    return JSONResponse(body, headers=SECURITY)


@dataclass(frozen=True)
class Found:
    """What a lake has of a length of candles: `tokens` are rows of those shown, the rest counts all of them."""

    tokens: Sequence[Mapping[str, Any]]
    others: int
    chart: Markup | None
    candles: int
    mints: int
    gaps: int
    uncalled: int
    without: int
    callers: int


@lru_cache(maxsize=LENGTHS_KEPT)
def _found(lake: Lake, timeframe: str, candles_version: str, calls_version: str) -> Found:  # noqa: ARG001 - what is remembered
    """Look through a lake, once for as long as nothing is ingested."""
    named = lake.calls()
    calls = named.group_by("mint").agg(calls=pl.len())
    table = _quality(lake, timeframe).join(calls, on="mint", how="left").with_columns(pl.col("calls").fill_null(0))
    ranked = table.sort("calls", "mint", descending=[True, False])
    first = ranked.head(TOKENS_SHOWN)
    days = by_day(lake, timeframe, first["mint"].to_list())
    return Found(
        tokens=first.to_dicts(),
        others=ranked.height - first.height,
        # what the canvas wrote is markup; the text in it is escaped
        chart=Markup(coverage_chart(days, first["mint"].to_list())) if days.height else None,  # noqa: S704
        candles=int(table["rows"].sum()),
        mints=table.height,
        gaps=int(table["gaps"].sum()),
        uncalled=int((table["calls"] == 0).sum()),
        without=calls.join(table, on="mint", how="anti").height,
        callers=named["caller"].n_unique(),
    )


def _quality(lake: Lake, timeframe: str) -> pl.DataFrame:
    return _measured(lake, timeframe, lake.candles_version(timeframe))


@lru_cache(maxsize=LENGTHS_KEPT)
def _measured(lake: Lake, timeframe: str, version: str) -> pl.DataFrame:  # noqa: ARG001 - what is remembered
    return quality(lake, timeframe)


def _faults(lake: Lake, timeframe: str) -> pl.DataFrame:
    return _looked_at(lake, timeframe, lake.candles_version(timeframe))


@lru_cache(maxsize=LENGTHS_KEPT)
def _looked_at(lake: Lake, timeframe: str, version: str) -> pl.DataFrame:  # noqa: ARG001 - what is remembered
    return find_faults(lake, timeframe)


def _chosen(stores: Stores, timeframe: str | None) -> str:
    lengths = stores.lake.timeframes()
    if timeframe is not None and timeframe not in lengths:
        has = ", ".join(lengths) or "no candles at all"
        raise InvalidConfigError("the request", [FieldError("timeframe", f"the lake has {has}")])
    if not lengths:
        raise InvalidConfigError("the request", [FieldError("timeframe", "the lake has no candles")])
    return timeframe or lengths[0]
