"""The pages of sweeps: the list, and one with its sheet in place."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl
from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse
from markupsafe import Markup

from lab_pipeline.api.pages.frame import ROOT, SECURITY, show
from lab_pipeline.api.pagination import Cursor, encode_cursor
from lab_pipeline.api.routes.sweeps import SWEEPS, SweepId, position_of
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.backtest import now
from lab_pipeline.domain.errors import LabError
from lab_pipeline.operations.notes import Notes, notes_of_sweep
from lab_pipeline.operations.sweeps import SweepRun
from lab_pipeline.reports import SETS_BESIDE, conclude_sweep, render_sweep_sheet
from lab_pipeline.sweeps.holdout import Holdout, holdout_of
from lab_pipeline.sweeps.published import PublishedSweep
from lab_pipeline.sweeps.store import SweepManifest, SweepStore

ON_A_PAGE = 50
SHEETS_KEPT = 8
HEADS_KEPT = 1_000
SMALL_TABLES = ("folds", "oos", "cscv", "paths", "lanes", "placebo")
"""Of a sweep, what has no row for each set."""

router = APIRouter(prefix=f"{ROOT}/sweeps", include_in_schema=False)


@dataclass(frozen=True)
class Head:
    """What the list says of a sweep.

    Attributes:
        sweep: its record.
        notes: what was written about it.
        method: how its space was searched; null before it has published.
        trials: configurations of which its winner is the best; null likewise.
        supported: whether the verdict supports the winner; null likewise.
        conclusion: the verdict in a sentence; null likewise.
        damage: why nothing of it can be read, if so.
    """

    sweep: SweepRun
    notes: Notes
    method: str | None = None
    trials: int | None = None
    supported: bool | None = None
    conclusion: str | None = None
    damage: str | None = None


@router.get("")
def list_sweeps(stores: LabStores, cursor: Cursor = None) -> HTMLResponse:
    """Show the sweeps, newest first, with what became of each in words."""
    after = None if cursor is None else position_of(cursor)
    found, more = stores.sweep_runs.page(after=after, limit=ON_A_PAGE)
    return show(
        "sweeps.html",
        title="Sweeps",
        section="sweeps",
        heads=[_head(stores, sweep) for sweep in found],
        is_first=cursor is None,
        next_cursor=None if more is None else encode_cursor(SWEEPS, more.created_at.isoformat(), more.sweep_id),
    )


@router.get("/{sweepId}")
def get_sweep(stores: LabStores, sweep_id: SweepId) -> HTMLResponse:
    """Show a sweep: its sheet and what can be done with it, or how far it is and why it failed."""
    sweep = stores.sweep_runs.get(sweep_id)
    selection: dict[str, Any] | None = None
    holdout: Holdout | None = None
    if sweep.published is not None:
        selection = stores.sweeps.document(sweep_id, "selection")
        holdout = holdout_of(stores.sweeps, sweep_id)
    return show(
        "sweep.html",
        title=f"{sweep.strategy_id or 'sweep'} {sweep_id[:8]}",
        section="sweeps",
        sweep=sweep,
        sheet=_sheet(stores.sweeps, sweep.published) if sweep.published else None,
        selection=selection,
        holdout=holdout,
        notes=notes_of_sweep(stores.sweep_runs, sweep),
        error=stores.sweep_runs.error(sweep),
        dagster_url=f"{stores.webserver.url}/runs/{sweep_id}" if sweep.is_run else None,
    )


@router.get("/{sweepId}/progress.json")
def get_progress(stores: LabStores, sweep_id: SweepId) -> JSONResponse:
    """Return how far a sweep is in what it is doing: as of a run, and what is counted and the best set so far."""
    sweep = stores.sweep_runs.get(sweep_id)
    at = stores.sweep_runs.progress(sweep_id) if sweep.is_run else None
    since = sweep.started_at or sweep.created_at
    body = {
        "status": sweep.status,
        "finished": sweep.finished,
        "started": sweep.started_at is not None,
        "done": at.done if at else None,
        "total": at.total if at else None,
        "noun": at.noun if at else None,
        "best": at.best if at else None,
        "secondsLeft": at.seconds_left if at else None,
        "seconds": ((sweep.completed_at or now()) - since).total_seconds(),
        "expectedSeconds": None,
    }
    return JSONResponse(body, headers=SECURITY)


def _head(stores: Stores, sweep: SweepRun) -> Head:
    notes = notes_of_sweep(stores.sweep_runs, sweep)
    if sweep.published is None:
        return Head(sweep, notes, damage=sweep.damage)
    try:
        return Head(sweep, notes, *found_of(_Publication(stores.sweeps, sweep.published)))
    except LabError as error:
        return Head(sweep, notes, damage=str(error))


@dataclass(frozen=True, eq=False)
class _Publication:
    """What a sweep has published, by which is remembered what was made of it: it never changes."""

    store: SweepStore
    manifest: SweepManifest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Publication) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[object, ...]:
        return self.store.directory, self.manifest.sweep_id, self.manifest.created_at, self.manifest.fingerprint


@lru_cache(maxsize=HEADS_KEPT)
def found_of(one: _Publication) -> tuple[str, int, bool, str]:
    """Return method, tries, whether the winner is supported, and that in a sentence."""
    sweep_id = one.manifest.sweep_id
    space, selection = one.store.document(sweep_id, "space"), one.store.document(sweep_id, "selection")
    return space["method"], selection["trials"], selection["supported"], conclude_sweep(selection)


def _sheet(store: SweepStore, manifest: SweepManifest) -> Markup:
    return _rendered(_Publication(store, manifest))


@lru_cache(maxsize=SHEETS_KEPT)
def _rendered(one: _Publication) -> Markup:
    """Render a sheet; of the tables with rows for each set, what it shows is read and no more."""
    manifest = one.manifest
    sweep = PublishedSweep(one.store, manifest)
    frames = {name: sweep.table(name) for name in ("sets", *SMALL_TABLES)}
    best = frames["sets"].drop_nulls("rank").sort("rank").head(SETS_BESIDE)["set_id"].to_list()
    frames["days"] = sweep.table("days", "set_id", "day", "net_sum")
    frames["callers"] = sweep.table("callers", where=pl.col("set_id").is_in(best))
    return render_sweep_sheet(
        frames,
        sweep.document("selection"),
        sweep.document("space"),
        manifest.spec,
        files=f"/sweeps/{manifest.sweep_id}/artifacts",
        strategy_version=manifest.strategy_version,
        fingerprint=manifest.fingerprint,
        snapshot=manifest.snapshot,
        engine_version=manifest.engine_version,
    )
