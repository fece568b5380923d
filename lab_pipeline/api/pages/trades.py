"""The trades of a run, however many, and the calls that became none."""

from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field

from lab_pipeline.api.downloads import MILLISECONDS
from lab_pipeline.api.pages.frame import OR_NONE, ROOT, SECURITY, show
from lab_pipeline.api.routes.runs import RunId
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.enums import FillReason, Outcome
from lab_pipeline.domain.errors import ConflictError
from lab_pipeline.runs.published import PublishedRun

ROWS_AT_ONCE = 500
RUNS_KEPT = 4
"""Runs whose rows stay in memory: 100,000 trades take about 20 MB."""
ORDERS_KEPT = 64
"""Choices and orders of rows that stay in memory, for whoever scrolls through them: four bytes a row."""
COLUMNS = (
    "called_at", "caller", "mint", "outcome", "net_return", "exit_reason", "entry_time", "hold_minutes", "mfe", "mae",
    "invested", "pnl", "taken", "skip_reason", "call_id", "trade_no",
)  # fmt: skip

router = APIRouter(prefix=f"{ROOT}/runs/{{runId}}", include_in_schema=False)


class Taken(StrEnum):
    """Whether the account took a trade."""

    YES = "yes"
    NO = "no"


class SortBy(StrEnum):
    """What orders the rows."""

    CALLED_AT = "called_at"
    CALLER = "caller"
    MINT = "mint"
    NET_RETURN = "net_return"
    HOLD_MINUTES = "hold_minutes"
    MFE = "mfe"
    PNL = "pnl"


Text = Annotated[Annotated[str, Field(max_length=500)] | None, OR_NONE]
Reason = Annotated[FillReason | None, OR_NONE]
Became = Annotated[Outcome | None, OR_NONE]
Account = Annotated[Taken | None, OR_NONE]


@router.get("/trades")
def get_trades(
    stores: LabStores,
    run_id: RunId,
    caller: Text = None,
    mint: Text = None,
    reason: Reason = None,
    outcome: Became = None,
    taken: Account = None,
) -> HTMLResponse:
    """Show the trades; the page asks for the rows that are seen."""
    run = _published(stores, run_id)
    wanted = {"caller": caller, "mint": mint, "reason": reason, "outcome": outcome, "taken": taken}
    return show(
        "trades.html",
        title="Trades",
        section="runs",
        run=run.manifest,
        wanted={name: value or "" for name, value in wanted.items()},
        reasons=[one for one in FillReason if one not in {FillReason.ENTRY, FillReason.REENTRY}],
        outcomes=list(Outcome),
    )


@router.get("/trades.json")
def get_rows(
    stores: LabStores,
    run_id: RunId,
    caller: Text = None,
    mint: Text = None,
    reason: Reason = None,
    outcome: Became = None,
    taken: Account = None,
    sort: SortBy = SortBy.CALLED_AT,
    order: Annotated[str, Query(pattern="^(asc|desc)$")] = "asc",
    offset: Annotated[int, Query(ge=0, le=100_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=ROWS_AT_ONCE)] = 200,
) -> JSONResponse:
    """Return some of the rows, as lists in the order of `columns`, and what all of those that fit come to."""
    run = _published(stores, run_id)
    is_taken = None if taken is None else taken is Taken.YES
    wanted = {"caller": caller, "mint": mint, "exit_reason": reason, "outcome": outcome, "taken": is_taken}
    given = tuple((name, value) for name, value in wanted.items() if value is not None)
    rows, fitting = _rows(run), _order(run, given, sort, order)
    page = rows[fitting.slice(offset, limit)].with_columns(pl.col(pl.Datetime).dt.strftime(MILLISECONDS))
    returns = rows["net_return"].gather(fitting).drop_nulls()
    body: dict[str, Any] = {
        "columns": COLUMNS,
        "rows": [list(row) for row in page.iter_rows()],
        "total": len(fitting),
        "trades": len(returns),
        "wins": int((returns > 0).sum()),
        "meanReturn": returns.mean(),
    }
    return JSONResponse(body, headers=SECURITY)


def _published(stores: Stores, run_id: str) -> PublishedRun:
    manifest = stores.runs.result(run_id)
    if manifest is None:
        raise ConflictError(f"run {run_id} has published no trades yet")
    return PublishedRun.of(stores.artifacts, manifest)


@lru_cache(maxsize=ORDERS_KEPT)
def _order(run: PublishedRun, given: tuple[tuple[str, str | bool], ...], sort: SortBy, order: str) -> pl.Series:
    """Return the numbers of the rows that fit, in order: who scrolls asks for one piece of them after the other."""
    conditions = [pl.col(name) == value for name, value in given]
    rows = _rows(run).with_row_index("row")
    fitting = rows.filter(*conditions) if conditions else rows
    directions = [order == "desc", False, False]
    return fitting.sort(sort, "call_id", "trade_no", descending=directions, nulls_last=True)["row"]


@lru_cache(maxsize=RUNS_KEPT)
def _rows(run: PublishedRun) -> pl.DataFrame:
    """Return a row a trade, and one for each call without any, by the time of the call."""
    trades = run.frame("trades").drop("caller", "mint", "called_at")
    calls = run.frame("outcomes").select("call_id", "caller", "mint", "called_at", "outcome")
    return calls.join(trades, on="call_id", how="left").select(COLUMNS).sort("called_at", "call_id", "trade_no")
