"""The sweep: one asset for each of its tables, made by ops that resolve, sweep, select and publish.

A large one fans out: `plan_sweep` yields parts of the candles instead of all, each is swept by an op of its own, in
processes or on machines of its own if the executor has such, and `merge_cells` puts them together. The result is the
same, bit for bit. The sets are no runs: thousands of them are one run, whose id is that of the sweep.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.io_manager import SCRATCH, crosses_processes, run_directory
from lab_pipeline.dagster_ext.io_manager import sweep as clean_scratch
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.dagster_ext.reconcile import unpublish_late
from lab_pipeline.defs.backtest.metadata import describe_asset
from lab_pipeline.defs.sweep.checks import CHECKS, evaluate, refuted
from lab_pipeline.defs.sweep.metadata import describe
from lab_pipeline.defs.sweep.partitions import add_windows
from lab_pipeline.defs.sweep.progress_log import ProgressLog
from lab_pipeline.doors import api_url
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.lake import CandleSlice, Lake, SlicePiece
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.sweep_config import sweep_form, to_spec
from lab_pipeline.runs import progress
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.runs.tags import FINGERPRINT_TAG, RESULT_TAG, SWEEP_OP, search_tags, without_result
from lab_pipeline.sweeps import parts as in_parts
from lab_pipeline.sweeps import running as steps
from lab_pipeline.sweeps.outlook import Outlook
from lab_pipeline.sweeps.partial import KeptPart, Partials, forget, keep_part, read_part
from lab_pipeline.sweeps.proofs import RefutedError, look_ahead
from lab_pipeline.sweeps.store import PARTIAL

if TYPE_CHECKING:
    from lab_pipeline.engine.sweep import Sweep

DESCRIPTIONS = {
    "sets": "Every set of parameters: what it earned, whether it could win, and its rank.",
    "days": "Trades and net returns by set and day.",
    "callers": "Trades and net returns by set and caller.",
    "folds": "The walk forward: who won each training, and what became of it in the test.",
    "selection": "How far the winner can be believed, and the verdict.",
    "report": "The sweep in pictures, one HTML file that needs nothing else.",
}
CALLS_PER_PART = 50_000
"""Where ops have processes of their own and nobody says it: takes longer to sweep than a process takes to start."""
WHOLE, PARTS = "whole", "parts"
CELLS = "cells"
"""Directory of a run's own, with the cells of its parts."""


@dataclass(frozen=True)
class Swept:
    """What came of all sets, and the hash of what was read."""

    sweep: "Sweep"
    snapshot: str


@dataclass(frozen=True)
class Placebos:
    """The best objective of each placebo, if there are any."""

    best: pl.DataFrame | None


@dataclass(frozen=True)
class Judged:
    """The selection, or why there is none: the sweep was refuted by a backtest of its own winner."""

    outcome: steps.SelectedSweep | RefutedError


@dg.op(
    ins={"calls": dg.In(dg.Nothing)},
    out=dg.Out(io_manager_key=SCRATCH),
    config_schema={"spec": dg.Permissive()},  # type: ignore[no-untyped-call]  # Dagster's
    description="Look up the strategy, choose the sets, at once or by an optimiser, and keep the holdout apart.",
)
def resolve_space(
    context: dg.OpExecutionContext,
    lake: dg.ResourceParam[Lake],
    strategies: dg.ResourceParam[StrategyStore],
    lab: dg.ResourceParam[Lab],
) -> steps.ResolvedSweep:
    """Turn the launchpad's form into a sweep with nothing left to look up, and tag the run with it.

    What an optimiser has tried is kept batch by batch, so that a run that was killed goes on where it was.
    """
    with failing_clearly(context.log):
        resolved = steps.resolve(to_spec(context.op_config["spec"]), strategies, lake, memory=lab.settings.sweep_memory)
        for part, why in Outlook.of(resolved).unsaid.items():
            context.log.warning(f"{part} will not be said: {why}")
        log = _progress(context, "sets", resolved)
        resolved = steps.search(resolved, lake, lab.sweeps, threads=lab.settings.threads, on_progress=log.report)
    found = {
        "strategy": resolved.spec.strategy,
        "strategy_version": resolved.strategy_version,
        "timeframe": resolved.spec.timeframe,
    }
    context.instance.add_run_tags(context.run.run_id, search_tags(found) | without_result(context.run.tags))
    sets = resolved.sets
    context.log.info(
        f"strategy {resolved.spec.strategy} version {resolved.strategy_version}: {len(sets):,} sets by "
        f"{resolved.method} ({sets.duplicates:,} twice, {sets.excluded:,} excluded, {sets.invalid_count:,} invalid) "
        f"on {resolved.calls.height:,} calls ({resolved.repeats:,} repeats and {resolved.faulty:,} calls on faulty "
        f"candles left out), {resolved.held_days:,} days held out"
    )
    return resolved


@dg.op(
    ins={"candles": dg.In(dg.Nothing)},
    out={
        WHOLE: dg.Out(CandleSlice, is_required=False, io_manager_key=SCRATCH),
        PARTS: dg.DynamicOut(SlicePiece, is_required=False, io_manager_key=SCRATCH),
    },
    description="Choose the row groups of the lake that the calls' windows can reach under any set.",
)
def plan_sweep(
    context: dg.OpExecutionContext,
    resolved: steps.ResolvedSweep,
    lake: dg.ResourceParam[Lake],
    lab: dg.ResourceParam[Lab],
) -> Iterator[dg.Output[CandleSlice] | dg.DynamicOutput[SlicePiece]]:
    """Plan what is read of the lake, as a whole or in parts."""
    apart = crosses_processes(context.get_step_execution_context())
    fans_out = apart or resolved.spec.calls_per_part is not None
    if fans_out:
        clean_scratch(lab.settings, context.instance)
    with failing_clearly(context.log):
        candles = steps.plan(resolved, lake)
    context.log.info(f"reading {candles.rows_planned:,} candles in {candles.row_groups:,} row groups")
    if not fans_out:
        yield dg.Output(candles, WHOLE)
        return
    with candles:
        pieces = in_parts.cut(resolved, candles, resolved.spec.calls_per_part or CALLS_PER_PART)
    context.log.info(f"sweeping in {len(pieces)} parts")
    for number, piece in enumerate(pieces):
        yield dg.DynamicOutput(piece, mapping_key=f"{number:02d}", output_name=PARTS)


@dg.op(out=dg.Out(io_manager_key=SCRATCH), description="Evaluate every set on every call.")
def sweep_whole(
    context: dg.OpExecutionContext,
    resolved: steps.ResolvedSweep,
    candles: CandleSlice,
    lake: dg.ResourceParam[Lake],
    lab: dg.ResourceParam[Lab],
) -> Swept:
    """Sweep; progress goes to the event log and to whoever listens in this process."""
    log = _progress(context, "calls", resolved, progress.listener())
    with failing_clearly(context.log):
        swept = steps.evaluate(
            resolved,
            lake,
            candles=candles,
            threads=lab.settings.threads,
            on_progress=log.report,
            on_best=log.note_best,
        )
    return Swept(*swept)


@dg.op(
    out=dg.Out(io_manager_key=SCRATCH),
    description="Evaluate every set on the calls of one part, unless a sweep that was killed has done it.",
)
def sweep_part(
    context: dg.OpExecutionContext, resolved: steps.ResolvedSweep, piece: SlicePiece, lab: dg.ResourceParam[Lab]
) -> KeptPart:
    """Sweep a part, wherever the executor has put this op."""
    log = _progress(context, "calls", resolved)
    own = run_directory(lab.settings, context.run.run_id) / CELLS
    with failing_clearly(context.log):
        part = keep_part(
            resolved,
            piece,
            Partials(lab.settings.sweeps_dir / PARTIAL, own),
            threads=lab.settings.threads,
            on_progress=log.report,
            on_best=log.note_best,
        )
    context.log.info("found, as a sweep has left it that was not done" if part.found else "swept")
    return part


@dg.op(out=dg.Out(io_manager_key=SCRATCH), description="Add up the cells of all parts.")
def merge_cells(context: dg.OpExecutionContext, resolved: steps.ResolvedSweep, parts: list[KeptPart]) -> Swept:
    """Merge, one part after the other; the result is that of `sweep_whole`."""
    with failing_clearly(context.log):
        return Swept(*in_parts.merge_parts(resolved, (read_part(resolved, part.path) for part in parts)))


@dg.op(
    ins={"swept": dg.In(dg.Nothing)},  # not side by side: each takes all cores
    out=dg.Out(io_manager_key=SCRATCH),
    description="Do the whole search on the same calls at other moments.",
)
def search_placebos(
    context: dg.OpExecutionContext,
    resolved: steps.ResolvedSweep,
    lake: dg.ResourceParam[Lake],
    lab: dg.ResourceParam[Lab],
) -> Placebos:
    """Search the placebos."""
    log = _progress(context, "placebos", resolved)
    with failing_clearly(context.log):
        return Placebos(steps.draw_placebos(resolved, lake, threads=lab.settings.threads, on_progress=log.report))


@dg.op(
    out=dg.Out(io_manager_key=SCRATCH),
    description="Choose a winner, run it as a backtest, and say how far it can be believed.",
)
def select(  # noqa: PLR0917 - one parameter an input or a resource
    context: dg.OpExecutionContext,
    resolved: steps.ResolvedSweep,
    results: list[Swept],
    placebos: Placebos,
    lake: dg.ResourceParam[Lake],
    strategies: dg.ResourceParam[StrategyStore],
    lab: dg.ResourceParam[Lab],
) -> Judged:
    """Select; the result comes from one of two ops, the other skipped."""
    (swept,) = results
    with failing_clearly(context.log):
        try:
            selected = steps.select(
                resolved,
                swept.sweep,
                swept.snapshot,
                lake=lake,
                strategies=strategies,
                store=lab.sweeps,
                placebos=placebos.best,
                threads=lab.settings.threads,
            )
            land = selected.selection.plateau
            for one in dict.fromkeys((selected.selection.choice.winner, land.chosen if land else -1)):
                if one < 0:
                    continue
                fills = look_ahead(resolved, one, lake, strategies, threads=lab.settings.threads)
                context.log.info(f"{fills:,} fills are the same where candles after them are others")
        except RefutedError as error:  # the op that publishes has the checks, and fails
            context.log.error(str(error))  # noqa: TRY400 - what differs says it all
            return Judged(error)
    context.log.info(f"tried {selected.selection.trials:,} sets so far: {selected.selection.verdict.words}")
    return Judged(selected)


@dg.op(
    out={name: dg.Out(dg.Nothing, is_required=False) for name in DESCRIPTIONS}
    | {name: dg.Out(dg.Nothing, is_required=False) for name in CHECKS},
    description="Write and reveal the artifacts by one rename.",
)
def publish_sweep(
    context: dg.OpExecutionContext, judged: Judged, lab: dg.ResourceParam[Lab]
) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
    """Publish the artifacts and describe each to Dagster; a sweep that was refuted is not published."""
    selected = judged.outcome
    if isinstance(selected, RefutedError):
        yield from _asked(context, [refuted(selected)])
        raise dg.Failure(f"nothing is published: {selected}", allow_retries=False)
    from lab_pipeline.reports import conclude_sweep  # noqa: PLC0415 - templates, which the sheet of a sweep needs, too

    run_id, store = context.run.run_id, lab.sweeps
    with failing_clearly(context.log):
        manifest = steps.publish(run_id, selected, store)
        forget(selected.resolved, store.directory / PARTIAL)
    unpublish_late(context, lab.settings)
    add_windows(context.instance, selected)
    concluded = conclude_sweep(store.document(run_id, "selection"))
    context.instance.add_run_tags(run_id, {FINGERPRINT_TAG: manifest.fingerprint, RESULT_TAG: concluded})
    described = describe(manifest, selected, store.storage, api_url(lab.settings), concluded)
    for name, metadata in described.items():
        if name in context.selected_output_names:  # else it is no asset, or was not asked for
            describe_asset(context, name, metadata)
            yield dg.Output(None, name, data_version=dg.DataVersion(manifest.fingerprint))
    yield from _asked(context, evaluate(selected))
    context.log.info(f"published {len(manifest.files)} artifacts to {store.storage.at(run_id)}")


@dg.config_mapping(config_schema=sweep_form())
def sweep_config(val: Mapping[str, Any]) -> dict[str, object]:
    """Let the launchpad ask for the fields of a sweep in one place."""
    return {"resolve_space": {"config": {"spec": val}}}


@dg.graph_multi_asset(
    name=SWEEP_OP,
    group_name="sweep",
    ins={
        "candles": dg.AssetIn(["lake", "candles"], dagster_type=dg.Nothing),
        "calls": dg.AssetIn(["lake", "calls"], dagster_type=dg.Nothing),
    },
    outs={
        name: dg.AssetOut(
            key=["sweep", name],
            description=description,
            kinds={"numba", "html" if name == "report" else "json" if name == "selection" else "parquet"},
            code_version=ENGINE_VERSION,
            is_required=False,
        )
        for name, description in DESCRIPTIONS.items()
    },
    check_specs=list(CHECKS.values()),
    config=sweep_config,
    can_subset=True,  # *Materialize* of one sweeps, and publishes, all the same
)
def sweep_assets(candles: None, calls: None) -> dict[str, None]:
    """Sweep the parameters of a strategy over the calls of the lake, and say how far the best can be believed."""
    resolved = resolve_space(calls=calls)
    planned = plan_sweep(resolved, candles=candles)
    whole = sweep_whole(resolved, planned.whole)
    parts = planned.parts.map(lambda piece: sweep_part(resolved, piece))
    swept = [whole, merge_cells(resolved, parts.collect())]
    outputs = publish_sweep(select(resolved, swept, search_placebos(resolved, swept=swept)))
    return {name: getattr(outputs, name) for name in (*DESCRIPTIONS, *CHECKS)}


def _asked(context: dg.OpExecutionContext, results: Iterable[dg.AssetCheckResult]) -> Iterator[dg.AssetCheckResult]:
    """Leave out the results of checks that were not asked for."""
    asked = {spec.name for name, spec in CHECKS.items() if name in context.selected_output_names}
    return (one for one in results if one.check_name in asked)


def _progress(
    context: dg.OpExecutionContext, noun: str, resolved: steps.ResolvedSweep, listener: progress.Progress | None = None
) -> ProgressLog:
    return ProgressLog(context.log, noun, len(resolved.sets), resolved.spec.objective.name, listener)
