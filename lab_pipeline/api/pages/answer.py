"""The first page: which exit rules make money on which callers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import polars as pl
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from lab_pipeline.api.downloads import MEDIA_TYPES, as_csv
from lab_pipeline.api.pages.frame import ROOT, SECURITY, show
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.enums import RunStatus
from lab_pipeline.domain.errors import ConflictError
from lab_pipeline.operations.runs import RunFilter
from lab_pipeline.runs.published import PublishedRun
from lab_pipeline.statistics.answer import CALLERS, SURE, callers_of, calls_digest, cells_of
from lab_pipeline.sweeps.winner import winner_run

if TYPE_CHECKING:
    from lab_pipeline.runs.artifacts import Manifest
    from lab_pipeline.sweeps.store import SweepManifest

RULES, MOST_RULES = 8, 20
OFFERED = 5
"""Newest sweeps whose winners are offered as columns."""
LOOKED_AT = 200
"""Newest runs among which the rules are looked for that nobody named."""
CALLERS_SHOWN = 60

router = APIRouter(prefix=f"{ROOT}/answer", include_in_schema=False)

RunIds = Annotated[list[str] | None, Query(alias="run", max_length=MOST_RULES)]
SweepIds = Annotated[list[str] | None, Query(alias="sweep", max_length=MOST_RULES)]


@router.get("")
def get_answer(
    stores: LabStores, run_ids: RunIds = None, sweep_ids: SweepIds = None, callers: Literal["most", "all"] = "most"
) -> HTMLResponse:
    """Show callers by rules, the best first, in full colour where it is no luck."""
    winners = winners_of(stores, sweep_ids)
    runs = rules_of(stores, run_ids) + winners
    cells = cells_of(runs)
    mean = (pl.col("expectancy") * pl.col("trades")).sum() / pl.col("trades").sum()
    means = dict(cells.group_by("run_id").agg(mean).iter_rows())
    runs.sort(key=lambda run: means.get(run.manifest.run_id, -1.0), reverse=True)
    ranked = cells.group_by("caller").agg(mean.alias("mean"), trades=pl.col("trades").max())
    ranked = ranked.sort("trades", "caller", descending=[True, False])
    shown = ranked if callers == "all" else ranked.head(CALLERS_SHOWN)
    rows = {(row["run_id"], row["caller"]): row for row in cells.to_dicts()}
    known: dict[str, dict[str, object]] = {}
    for run in runs:
        known = {row["caller"]: row for row in callers_of(run).to_dicts()} | known
    manifests = [run.manifest for run in runs]
    tries = {one.manifest.run_id: _tries(stores, one) for one in winners}
    return show(
        "answer.html",
        title="Answer",
        section="answer",
        runs=manifests,
        callers=shown.sort("mean", descending=True)["caller"].to_list(),
        left_out=ranked.height - shown.height,
        cells=rows,
        known=known,
        scale=_scale(cells),
        sure=SURE,
        sure_cells=int((cells["q_value"] <= SURE).sum()),
        tested_cells=int(cells["p_value"].is_not_null().sum()),
        fills=len({one.fill_assumptions.id for one in manifests}),
        same_calls=len({(calls_digest(run), run.manifest.spec.timeframe) for run in runs}) <= 1,
        query=_query(manifests, tries),
        run_query=[("run", one.run_id) for one in manifests if one.run_id not in tries],
        tries=tries,
        offered=_offered(stores, tries),
    )


@router.get(".csv")
def get_cells(stores: LabStores, run_ids: RunIds = None, sweep_ids: SweepIds = None) -> Response:
    """Send the cells as CSV, each with what would be known of its caller without the rule."""
    runs = rules_of(stores, run_ids) + winners_of(stores, sweep_ids)
    known = [callers_of(run).with_columns(run_id=pl.lit(run.manifest.run_id)) for run in runs]
    without = CALLERS.to_frame().with_columns(run_id=pl.lit(""))
    table = cells_of(runs).join(
        pl.concat(known or [without]), on=["run_id", "caller"], how="left", maintain_order="left"
    )
    return Response(as_csv(table), media_type=MEDIA_TYPES["csv"], headers=SECURITY)


def winners_of(stores: Stores, sweep_ids: Sequence[str] | None) -> list[PublishedRun]:
    """Return the winners of the sweeps that were named."""
    return [winner_run(stores.sweeps, stores.strategies, sweep_id) for sweep_id in dict.fromkeys(sweep_ids or ())]


def _tries(stores: Stores, winner: PublishedRun) -> int:
    """Return of how many tries a winner is the best."""
    return int(stores.sweeps.document(winner.manifest.run_id, "selection")["trials"])


def _offered(stores: Stores, shown: Mapping[str, int]) -> list["SweepManifest"]:
    """Return the newest sweeps whose winners are not shown."""
    found, _ = stores.sweep_runs.page(limit=OFFERED + len(shown))
    return [one.published for one in found if one.published and one.sweep_id not in shown][:OFFERED]


def _query(manifests: Sequence["Manifest"], tries: Mapping[str, int]) -> list[tuple[str, str]]:
    return [("sweep" if one.run_id in tries else "run", one.run_id) for one in manifests]


def rules_of(stores: Stores, run_ids: Sequence[str] | None) -> list[PublishedRun]:
    """Return the runs that were named, or else of each set of rules the one over the most calls, the newest of equals.

    What runs every night is over the calls of a day, and says less than what was run over all of them.

    Raises:
        UnknownRunError: if there is none of a name.
        ConflictError: if one has published nothing.
    """
    if run_ids:
        named = [stores.runs.get(run_id) for run_id in dict.fromkeys(run_ids)]
        if waiting := [run.run_id for run in named if run.published is None]:
            raise ConflictError(f"there is nothing to show yet of {', '.join(waiting)}")
        manifests = [run.published for run in named if run.published]
    else:
        found, _ = stores.runs.page(RunFilter([RunStatus.COMPLETED]), limit=LOOKED_AT)
        widest: dict[str, Manifest] = {}
        for manifest in (run.published for run in found if run.published):
            rules = manifest.spec.strategy.config_hash()
            if rules not in widest or manifest.summary.calls > widest[rules].summary.calls:
                widest[rules] = manifest
        manifests = list(widest.values())[:RULES]
    return [PublishedRun.of(stores.artifacts, manifest) for manifest in manifests]


def _scale(cells: pl.DataFrame) -> float:
    """Return the mean return at which a colour is as strong as it gets: that of nine of ten cells."""
    return cells["expectancy"].abs().quantile(0.9) or 1.0
