"""`lab sweep show`, `sets`, `compare`, `promote`, `reveal`, `pin`, `delete`: what came of sweeps."""

import getpass
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from lab_pipeline.cli.app import open_lab, out, table
from lab_pipeline.cli.runs import AsJson
from lab_pipeline.cli.summary import UNDEFINED, percent
from lab_pipeline.cli.sweep import sweep_app
from lab_pipeline.domain.backtest import iso

if TYPE_CHECKING:
    from lab_pipeline.cli.tables import TextTable
    from lab_pipeline.sweeps.holdout import Holdout
    from lab_pipeline.sweeps.store import SweepStore

SweepId = Annotated[str, typer.Argument(help="A sweep id, or the start of one.", metavar="SWEEP")]
SetId = Annotated[int, typer.Argument(min=0, help="A set of it, by its set_id.", metavar="SET")]
FIGURES = (
    ("days that select", "days", "count"),
    ("tries of the family then", "trials", "count"),
    ("effective tries", "effective_trials", "number"),
    ("deflated Sharpe ratio", "dsr", "number"),
    ("probability of overfit", "pbo", "number"),
    ("superiority, p", "spa_consistent_p", "number"),
    ("placebos, p", "placebo_p", "number"),
    ("out of sample", "oos_expectancy", "percent"),
    ("plateau by peak", "plateau_ratio", "number"),
    ("worst lane", "weakest_lane_expectancy", "percent"),
)
"""What is shown of a selection: words, name in `selection.json`, how it is written."""


@sweep_app.command("show")
def show(
    sweep: SweepId,
    top: Annotated[int, typer.Option(min=0, max=10_000, help="Sets to show, the best first.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show one sweep: its verdict and what it rests on, its best sets, and who has looked at its holdout."""
    from lab_pipeline.sweeps.holdout import holdout_of
    from lab_pipeline.sweeps.sets import sets_of

    lab = open_lab()
    store = lab.sweeps
    sweep_id = store.find(sweep)
    manifest, selection = store.manifest(sweep_id), store.document(sweep_id, "selection")
    best = sets_of(store, sweep_id, where=["rank != null"], limit=top)
    store.catch_up()
    tried = lab.trials.tried(str(manifest.spec["strategy"]))
    holdout = holdout_of(store, sweep_id)
    if as_json:
        described = {
            **_head(store, sweep_id),
            "space": store.document(sweep_id, "space"),
            "selection": selection,
            "tried": {"trials": tried.trials, "sweeps": tried.sweeps, "backtests": tried.backtests},
            "holdout": holdout and holdout.as_json(),
            "top": _plain(best),
        }
        out.show_json(described)
        return
    for name, value in _head(store, sweep_id).items():
        if name not in {"verdict", "isPinned"}:
            out.print(f"{name:16} {value}", markup=False)
    out.print()
    if best.height:
        out.print(_table(best))
        out.print()
    for words, name, kind in FIGURES:
        out.print(f"{words:26} {_written(selection[name], kind)}", markup=False)
    out.print(
        f"\ntried {tried.trials:,} times by now, in {tried.sweeps:,} sweeps and {tried.backtests:,} backtests of this "
        "strategy and its family"
    )
    out.print(f"holdout: {_holdout_line(holdout)}")
    if store.is_pinned(sweep_id):
        out.print("pinned: kept for ever")
    out.print(manifest.verdict, style="green" if selection["supported"] else "yellow")


@sweep_app.command("sets")
def sets(  # noqa: PLR0917 - one parameter an option
    sweep: SweepId,
    sort: Annotated[str, typer.Option(help="Column to sort by, the best or largest first.")] = "rank",
    ascending: Annotated[bool, typer.Option("--ascending", help="The smallest first.")] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Only these, such as 'trades >= 50'; all that are given must hold."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List sets of a sweep with what they earned."""
    from lab_pipeline.sweeps.sets import sets_of

    store = open_lab().sweeps
    sweep_id = store.find(sweep)
    found = sets_of(store, sweep_id, sort=sort, descending=False if ascending else None, where=where or [], limit=limit)
    if as_json:
        out.show_json({"sweepId": sweep_id, "sets": _plain(found)})
        return
    out.print(_table(found) if found.height else "no set is so")


@sweep_app.command("compare")
def compare(
    first: Annotated[str, typer.Argument(help="A sweep id, or the start of one.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Another.", metavar="B")],
    as_json: AsJson = False,
) -> None:
    """Compare two sweeps: their verdicts, and how the winner of each fares in the other."""
    store = open_lab().sweeps
    ids = [store.find(first), store.find(second)]
    sides = [_side(store, one, other) for one, other in zip(ids, reversed(ids), strict=True)]
    common = _common(store, ids)
    if as_json:
        out.show_json({"sweeps": sides, "commonSets": common})
        return
    rows = table("", "A", "B", right=("A", "B"), prose=("A", "B"))
    for name in ("sweepId", "strategyId", "strategyVersion", "createdAt", "sets"):
        rows.add_row(name, *(str(side[name]) for side in sides))
    for words, name, kind in FIGURES:
        rows.add_row(words, *(_written(side["selection"][name], kind) for side in sides))
    rows.add_row("winner", *(_winner(side["winner"]) for side in sides))
    rows.add_row("  in the other sweep", *(_winner(side["winnerInOther"]) for side in sides))
    out.print(rows)
    out.print(f"\n{common:,} configurations are in both")
    for label, side in zip("AB", sides, strict=True):
        out.print(f"{label}: {side['verdict']}")


@sweep_app.command("promote")
def promote(
    sweep: SweepId,
    set_id: SetId,
    name: Annotated[str, typer.Option("--as", help="Id of the strategy; a new one, or one that gets a version.")],
    despite_verdict: Annotated[
        bool, typer.Option("--despite-verdict", help="Although the verdict does not support the set.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Store a set of a sweep as a version of a strategy that carries its verdict and the number of tries."""
    from lab_pipeline.sweeps.promoting import promote as promote_set

    with open_lab() as lab:
        sweep_id = lab.sweeps.find(sweep)
        done = promote_set(lab.sweeps, lab.strategies, sweep_id, set_id, name, despite_verdict=despite_verdict)
    strategy, version = done.stored.strategy, done.stored.version
    if as_json:
        out.show_json(
            {
                "sweepId": sweep_id,
                "setId": set_id,
                "strategyId": strategy.id,
                "strategyVersion": version,
                "configHash": done.stored.config_hash,
                "isNew": done.is_new,
                "tags": list(strategy.tags),
            }
        )
        return
    out.print(f"strategy {strategy.id} version {version}{'' if done.is_new else ' (which it was already)'}")
    out.print(f"tags {', '.join(strategy.tags)}")


@sweep_app.command("reveal")
def reveal(sweep: SweepId, as_json: AsJson = False) -> None:
    """Look at the days that were held out: how the winner and the plateau fare there. Every look is recorded."""
    from lab_pipeline.sweeps.holdout import reveal as look

    with open_lab() as lab:
        store = lab.sweeps
        found = look(
            store,
            store.find(sweep),
            lake=lab.lake,
            strategies=lab.strategies,
            by=getpass.getuser(),
            threads=lab.settings.threads,
        )
    if as_json:
        out.show_json({"sweepId": found.sweep_id, "holdout": found.as_json()})
        return
    rows = table("set", "as", "trades", "mean net return", "95 % interval", "where it was chosen",
                 right=("set", "trades", "mean net return", "where it was chosen"), prose=("as",),
                 drop=("where it was chosen",))  # fmt: skip
    for one in (found.result or {})["sets"]:
        interval = f"{percent(one['expectancy_low'])} to {percent(one['expectancy_high'])}"
        rows.add_row(
            str(one["set_id"]),
            " and ".join(one["roles"]),
            f"{one['trades']:,}",
            percent(one["expectancy"]),
            interval,
            percent(one["selected_expectancy"]),
        )
    out.print(rows)
    out.print(f"holdout: {_holdout_line(found)}")


@sweep_app.command("pin")
def pin(
    sweep: SweepId, off: Annotated[bool, typer.Option("--off", help="Let retention have it again.")] = False
) -> None:
    """Keep a sweep for ever, whatever its age."""
    store = open_lab().sweeps
    sweep_id = store.find(sweep)
    store.pin(sweep_id, pinned=not off)
    out.print(f"sweep {sweep_id} {'may go when it is old' if off else 'is kept for ever'}")


@sweep_app.command("delete")
def delete(sweep: SweepId) -> None:
    """Delete a sweep and everything that it left, but for its tries and the looks at its holdout: they still count."""
    from lab_pipeline.operations.sweep_actions import delete as delete_sweep

    with open_lab() as lab:
        sweep_id = lab.sweeps.find(sweep)
        delete_sweep(lab, sweep_id)
    out.print(f"sweep {sweep_id} deleted; what it tried still counts")


def _head(store: "SweepStore", sweep_id: str) -> dict[str, Any]:
    manifest = store.manifest(sweep_id)
    return {
        "sweepId": sweep_id,
        "strategyId": manifest.spec["strategy"],
        "strategyVersion": manifest.strategy_version,
        "createdAt": iso(manifest.created_at),
        "sets": manifest.sets,
        "fingerprint": manifest.fingerprint,
        "snapshot": manifest.snapshot,
        "engineVersion": manifest.engine_version,
        "artifactsDir": store.storage.at(sweep_id),
        "isPinned": store.is_pinned(sweep_id),
        "verdict": manifest.verdict,
    }


def _side(store: "SweepStore", sweep_id: str, other: str) -> dict[str, Any]:
    """Return what is compared of a sweep: its winner is looked up in the other one by its configuration."""
    selection = store.document(sweep_id, "selection")
    winner, elsewhere = None, None
    if selection["winner"] is not None:
        from lab_pipeline.sweeps.sets import set_row, sets_of

        winner = set_row(store, sweep_id, selection["winner"])
        elsewhere = next(
            sets_of(store, other, where=[f"config_hash = {winner['config_hash']}"]).iter_rows(named=True), None
        )
    return {
        **_head(store, sweep_id),
        "selection": selection,
        "winner": winner and _finite(winner),
        "winnerInOther": elsewhere and _finite(elsewhere),
    }


def _common(store: "SweepStore", ids: Sequence[str]) -> int:
    a, b = (pl.scan_parquet(store.path(one, "sets"), glob=False).select("config_hash") for one in ids)
    return a.join(b, on="config_hash", how="semi").collect().height


def _table(found: pl.DataFrame) -> "TextTable":
    from lab_pipeline.sweeps.sets import values_of

    numbers = ("set", "rank", "trades", "days", "callers", "mean net return", "at least", "plateau")
    rows = table("set", "rank", "parameters", *numbers[2:], right=numbers, prose=("parameters",),
                 drop=("days", "callers", "plateau"))  # fmt: skip
    for row in found.iter_rows(named=True):
        named = ", ".join(f"{path}={_shown(value)}" for path, value in values_of(row).items())
        rows.add_row(
            str(row["set_id"]),
            UNDEFINED if row["rank"] is None else f"{row['rank']:,}",
            named,
            f"{row['trades']:,}",
            str(row["days"]),
            str(row["callers"]),
            percent(row["expectancy"]),
            percent(row["expectancy_lower"]),
            percent(row["plateau"]),
        )
    return rows


def _winner(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "none"
    place = "not eligible" if row["rank"] is None else f"rank {row['rank']:,}"
    return f"set {row['set_id']}, {place}: {percent(row['expectancy'])} in {row['trades']:,} trades"


def _holdout_line(holdout: "Holdout | None") -> str:
    if holdout is None:
        return "none, every day selects"
    days = f"{holdout.held.start:%Y-%m-%d} to {holdout.held.end:%Y-%m-%d}"
    last = f", last by {holdout.looks[-1].by} at {iso(holdout.looks[-1].at)}" if holdout.looks else ""
    return f"{days}, {holdout.said}{last}"


def _written(value: float | None, kind: str) -> str:
    if value is None:
        return UNDEFINED
    match kind:
        case "percent":
            return percent(value)
        case "count":
            return f"{value:,}"
        case _:
            return f"{value:,.3f}"


def _plain(found: pl.DataFrame) -> list[dict[str, Any]]:
    return [_finite(row) for row in found.iter_rows(named=True)]


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON can write it."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
