"""`lab runs`: what has run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab_pipeline.cli.app import group, open_lab, out, settings, table
from lab_pipeline.cli.summary import figure, luck_of_run, summary_table
from lab_pipeline.domain.errors import LabError

if TYPE_CHECKING:
    from lab_pipeline.cli.tables import TextTable
    from lab_pipeline.operations.runs import Run, Runs
    from lab_pipeline.runs.listing import ListedRun

runs_app = group("runs", "Queued, running and finished backtests.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SHOWN = {"trades": "trades", "expectancy": "mean net", "total_return": "total return"}
"""Numbers of the summary that the list always has, and what they are called there."""
TEXTS = {
    "run": "run_id", "status": "status", "strategy": "strategy_id", "version": "strategy_version",
    "timeframe": "timeframe",
}  # fmt: skip
"""What conditions may be about beside the summary, and where a listed run has it."""
EXAMPLE = "write a comparison such as trades>100 or strategy=ladder"
RunId = Annotated[str, typer.Argument(help="A run id, or the start of one.", metavar="RUN")]


@runs_app.command("list")
def list_runs(
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="By a number of the summary, such as sharpe, the largest first. [default: the newest first]",
        ),
    ] = None,
    ascending: Annotated[bool, typer.Option("--ascending", help="The smallest first.")] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Only these, such as 'trades > 100' or 'strategy = ladder'; all that are given must hold.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the backtests, newest first or by a number of theirs."""
    if ascending and sort is None:
        raise LabError("--ascending goes with --sort")
    if sort is None and not where:
        runs, asked = _newest(limit), list[str]()
    else:
        runs, asked = _chosen(_newest(None), sort, where or [], ascending=ascending)
        runs = runs[:limit]
    if as_json:
        with open_lab() as lab:
            found = lab.runs.get_many([run.run_id for run in runs])
            told = [_describe(lab.runs, found[run.run_id]) for run in runs if run.run_id in found]
        out.show_json({"runs": told})
        return
    if not runs:
        out.print("no run is so" if where else "no backtests yet: `lab demo` makes one, `lab backtest` another")
        return
    out.print(_table(runs, asked))


@runs_app.command("show")
def show(run: RunId, as_json: AsJson = False) -> None:
    """Show one backtest: status, numbers, error."""
    with open_lab() as lab:
        found = lab.runs.find(run)
        description = _describe(lab.runs, found)
        description["tries"] = luck_of_run(found.published).as_json() if found.published else None
    if as_json:
        out.show_json(description)
        return
    for key in (
        "runId",
        "status",
        "strategyId",
        "strategyVersion",
        "timeframe",
        "createdAt",
        "completedAt",
        "fingerprint",
        "fills",
        "fillAssumptions",
        "parentRunId",
        "error",
    ):
        if description[key] is not None:
            out.print(f"{key:16} {description[key]}", markup=False)
    for key, value in (description["legacyResult"] or {}).items():
        out.print(f"{key:16} {value:g} (as the old lab computed it)", markup=False)
    if found.published:
        out.print()
        out.print(summary_table(found.published.summary))
        out.print(f"\n{luck_of_run(found.published).said}")
        out.print(f"\nartifacts {open_lab().artifacts.storage.at(found.run_id)}")


@runs_app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Ends in .parquet (one row per run) or .duckdb (a full copy).")],
) -> None:
    """Copy the record of all runs, in one state, while the lab runs; open the copy, never the live file."""
    from lab_pipeline.storage.export import export_runs
    from lab_pipeline.storage.run_storage import DuckDBRunStorage

    with open_lab() as lab:
        storage = lab.instance.run_storage
        if not isinstance(storage, DuckDBRunStorage):
            raise LabError(f"the runs of this lab are kept in {type(storage).__name__}: use its own tools")
        count = export_runs(storage.path, file)
    out.print(f"{count:,} runs written to {file}", markup=False)


@runs_app.command("cancel")
def cancel(run: RunId) -> None:
    """Cancel a queued or running backtest."""
    from lab_pipeline.operations.run_actions import cancel as cancel_run

    with open_lab() as lab:
        found = lab.runs.find(run)
        cancel_run(lab.runs, found.run_id)
    out.print(f"canceling run {found.run_id}")


@runs_app.command("retry")
def retry(run: RunId) -> None:
    """Queue the same backtest again, with the version it ran with; `lab up` must be running."""
    with open_lab() as lab:
        again = lab.launcher.retry(lab.runs.find(run).run_id)
    out.print(f"queued run {again}")


@runs_app.command("delete")
def delete(
    runs_to_delete: Annotated[list[str], typer.Argument(help="Run ids, or the starts of them.", metavar="RUN...")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete backtests with their artifacts, metrics and logs; cancel queued and running ones first."""
    from lab_pipeline.operations.run_actions import delete as delete_run

    with open_lab() as lab:
        found = [lab.runs.find(run).run_id for run in runs_to_delete]
        for run_id in found:
            if yes or typer.confirm(f"Delete run {run_id} for good?", err=True):
                delete_run(lab, run_id)
                out.print(f"deleted run {run_id}")


def _table(runs: "Sequence[ListedRun]", asked: Sequence[str]) -> "TextTable":
    """Tabulate runs, with the numbers that were asked for beside those that are always shown."""
    numbers = dict.fromkeys([*SHOWN, *(name for name in asked if name not in TEXTS)])
    headings = [SHOWN.get(name, name.replace("_", " ")) for name in numbers]
    needless = [heading for name, heading in reversed(SHOWN.items()) if name not in asked]
    rows = table("run", "status", "strategy", "candles", "created (UTC)", *headings, right=headings,
                 drop=("candles", *needless, "created (UTC)", "status"))  # fmt: skip
    for run in runs:
        summary = run.summary or {}
        rows.add_row(
            run.run_id[:8],
            run.status,
            f"{run.strategy_id or '?'} v{run.strategy_version or '?'}",
            run.timeframe or "?",
            f"{run.created_at:%Y-%m-%d %H:%M}",
            *(figure(name, summary.get(name)) for name in numbers),
        )
    return rows


def _chosen(
    runs: "Sequence[ListedRun]", sort: str | None, where: Sequence[str], *, ascending: bool
) -> "tuple[list[ListedRun], list[str]]":
    """Return the runs that conditions hold of, in order, and the columns that were asked about.

    Raises:
        InvalidConfigError: naming a column that there is not, or a condition that is none.
    """
    import polars as pl
    from pydantic.alias_generators import to_camel

    from lab_pipeline.domain.summary import Summary
    from lab_pipeline.sweeps.questions import COMPARISON, Columns

    numbers = {
        name: pl.Int64() if field.annotation is int else pl.Float64() for name, field in Summary.model_fields.items()
    }
    schema = pl.Schema({**{name: pl.String() for name in TEXTS}, **numbers})
    columns = Columns({to_camel(name): name for name in schema} | {name: name for name in schema}, schema, EXAMPLE)
    rows = [
        [getattr(run, of) for of in TEXTS.values()] + [(run.summary or {}).get(name) for name in numbers]
        for run in runs
    ]
    passed = columns.where(where, "--where")
    found = pl.DataFrame(rows, schema, orient="row", strict=False).with_row_index("at").filter(passed)
    asked = [columns.find(match[1], "--where") for text in where if (match := COMPARISON.fullmatch(text))]
    if sort is not None:
        by = columns.find(sort, "--sort")
        found = found.sort(by, "at", descending=[not ascending, False], nulls_last=True)
        asked.insert(0, by)
    return [runs[at] for at in found["at"]], asked


def _newest(limit: int | None) -> "list[ListedRun]":
    """Read the newest runs without Dagster if that is possible, or else with it."""
    from lab_pipeline.runs.listing import ListedRun, newest

    found = newest(settings(), limit)
    if found is not None:
        return found
    with open_lab() as lab:
        return [
            ListedRun(
                run.run_id,
                run.status,
                run.strategy_id,
                run.strategy_version,
                run.timeframe,
                run.created_at,
                run.published.summary.model_dump() if run.published else None,
            )
            for run in (lab.runs.all() if limit is None else lab.runs.page(limit=limit)[0])
        ]


def _describe(runs: "Runs", run: "Run") -> dict[str, Any]:
    from lab_pipeline.domain.backtest import iso
    from lab_pipeline.domain.model import to_camel_keys

    assumed = run.published.fill_assumptions if run.published else None
    return {
        "runId": run.run_id,
        "status": run.status,
        "strategyId": run.strategy_id,
        "strategyVersion": run.strategy_version,
        "timeframe": run.timeframe,
        "fingerprint": run.fingerprint,
        "fills": assumed.id if assumed else None,
        "fillAssumptions": assumed.text if assumed else None,
        "parentRunId": run.parent_run_id,
        "createdAt": iso(run.created_at),
        "startedAt": None if run.started_at is None else iso(run.started_at),
        "completedAt": None if run.completed_at is None else iso(run.completed_at),
        "error": runs.error(run),
        "legacyResult": run.legacy_result,
        "summary": to_camel_keys(run.published.summary.model_dump()) if run.published else None,
    }
