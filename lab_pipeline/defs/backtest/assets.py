"""The backtest: one asset for each artifact, made by ops that resolve, load, simulate and publish.

A large one fans out: `load` yields parts of the candles instead of all, each is simulated by an op of its own, in
processes or on machines of its own if the executor has such, and `merge` puts them together. The result is the same,
bit for bit.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from lab_pipeline.clickhouse.pool import ClickHousePool
from lab_pipeline.dagster_ext.config_schema import form
from lab_pipeline.dagster_ext.io_manager import SCRATCH, crosses_processes, sweep
from lab_pipeline.dagster_ext.metadata_table import table
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.dagster_ext.reconcile import unpublish_late
from lab_pipeline.defs.backtest.checks import DOUBT_SPECS, evaluate
from lab_pipeline.defs.backtest.metadata import (
    PREVIEW_ROWS,
    artifact_url,
    describe_asset,
    equity_line,
    file_metadata,
    headline,
    page_url,
    picture,
)
from lab_pipeline.domain.backtest import MOST_CANDLES
from lab_pipeline.domain.enums import Fault
from lab_pipeline.domain.fill_assumptions import fill_assumptions
from lab_pipeline.doors import api_url
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.lake import CandleSlice, Lake, SlicePiece
from lab_pipeline.operations.backtest_config import CANDLES_PER_PART, BacktestConfig
from lab_pipeline.operations.lab import Lab
from lab_pipeline.runs import backtest as steps
from lab_pipeline.runs import progress
from lab_pipeline.runs.artifacts import REPORT, ArtifactStore
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.runs.tags import FILLS_TAG, FINGERPRINT_TAG, LAKE_TAG, RESULT_TAG, search_tags, without_result
from lab_pipeline.statistics.luck import luck_of

DESCRIPTIONS = {
    "fills": "Every buy and sell: price, fraction, quantity, fee and the rule that caused it.",
    "trades": "One row a trade: entry, exit, returns after costs, what the portfolio made of it.",
    "paths": "What the price did after each entry, whatever the exits did, and what was known before it.",
    "outcomes": "What became of each call: entered, no entry, no candles.",
    "equity": "The portfolio at every candle close: equity, cash, exposure, drawdown.",
    "fill_certainty": "What the run would have returned had its fills been others: stops, costs, stake, delay.",
    "nulls": "What chance would have made of the calls: held, at random moments, under other names.",
    "summary": "The run in numbers.",
    "report": "The tear sheet, one HTML file that needs nothing else.",
}
CONCLUDED = ("summary", "trades", "report")
"""What begins with a conclusion; it would stand in every event of a run."""
LANE_COLUMNS = ("lane", "trades", "expectancy", "expectancy_low", "expectancy_high", "total_return")
NULL_COLUMNS = ("caller", "trades", "expectancy", "hold_expectancy", "random_expectancy", "q_random", "q_shuffled")
SECONDS_BETWEEN_LOG_LINES = 2.0
WHOLE, PARTS = "whole", "parts"


class Parts(dg.Config):
    """How `load` cuts the candles."""

    candles_per_part: int | None = Field(default=None, gt=0, le=MOST_CANDLES)


@dg.op(
    ins={"calls": dg.In(dg.Nothing)},
    out=dg.Out(io_manager_key=SCRATCH),
    description="Look up the strategy, apply the overrides, select the calls.",
)
def resolve(
    context: dg.OpExecutionContext,
    config: BacktestConfig,
    lake: dg.ResourceParam[Lake],
    strategies: dg.ResourceParam[StrategyStore],
    clickhouse: dg.ResourceParam[ClickHousePool],
) -> steps.ResolvedBacktest:
    """Turn the launchpad's form into a backtest with nothing left to look up, and tag the run with it."""
    return resolved(context, config, lake, strategies, clickhouse)


def resolved(
    context: dg.OpExecutionContext,
    config: BacktestConfig,
    lake: Lake,
    strategies: StrategyStore,
    clickhouse: ClickHousePool,
) -> steps.ResolvedBacktest:
    """Look up what a form means, and tag the run with it."""
    if config.as_of is None and (read := _read_before(context)) is not None:
        config = config.model_copy(update={"as_of": read})
    with failing_clearly(context.log):
        backtest = steps.resolve(config.to_spec(lake), strategies, lake)
        clickhouse.warm_up()
    spec = backtest.spec
    config = BacktestConfig.of(spec, spec.strategy_version)
    assumed = fill_assumptions(spec.strategy.to_json_dict())
    own = {FILLS_TAG: assumed.id, LAKE_TAG: backtest.lake}
    context.instance.add_run_tags(
        context.run.run_id, {**search_tags(config.fields()), **own, **without_result(context.run.tags)}
    )
    context.log.info(f"strategy {spec.strategy_id} version {spec.strategy_version}, {backtest.calls.height:,} calls")
    context.log.info(f"fills: {assumed.text} ({assumed.id})")
    context.log.info(f"lake: {backtest.lake}")
    return backtest


def _read_before(context: dg.OpExecutionContext) -> str | None:
    """Return the version of the lake that the run read which this one executes again."""
    parent = context.run.parent_run_id
    found = None if parent is None else context.instance.get_run_by_id(parent)
    return None if found is None else found.tags.get(LAKE_TAG)


@dg.op(
    ins={"candles": dg.In(dg.Nothing)},
    out={
        WHOLE: dg.Out(CandleSlice, is_required=False, io_manager_key=SCRATCH),
        PARTS: dg.DynamicOut(SlicePiece, is_required=False, io_manager_key=SCRATCH),
    },
    description="Choose the row groups of the lake that the calls' windows can reach; they are read shard by shard.",
)
def load(
    context: dg.OpExecutionContext,
    config: Parts,
    backtest: steps.ResolvedBacktest,
    lake: dg.ResourceParam[Lake],
    lab: dg.ResourceParam[Lab],
) -> Iterator[dg.Output[CandleSlice] | dg.DynamicOutput[SlicePiece]]:
    """Plan what is read of the lake, as a whole or in parts."""
    apart = crosses_processes(context.get_step_execution_context())
    fans_out = apart or config.candles_per_part is not None
    if fans_out:
        sweep(lab.settings, context.instance)
    with failing_clearly(context.log):
        candles = steps.plan(backtest, lake)
    context.log.info(f"reading {candles.rows_planned:,} candles in {candles.row_groups:,} row groups")
    if not fans_out:
        yield dg.Output(candles, WHOLE)
        return
    with candles:
        pieces = candles.pieces(config.candles_per_part or CANDLES_PER_PART)
    context.log.info(f"simulating in {len(pieces)} parts")
    for number, piece in enumerate(pieces):
        yield dg.DynamicOutput(piece, mapping_key=f"{number:02d}", output_name=PARTS)


@dg.op(out=dg.Out(io_manager_key=SCRATCH), description="Simulate every call and run the portfolio over the trades.")
def simulate(
    context: dg.OpExecutionContext,
    backtest: steps.ResolvedBacktest,
    candles: CandleSlice,
    lab: dg.ResourceParam[Lab],
) -> steps.SimulatedBacktest:
    """Simulate; progress goes to the event log and to whoever listens in this process."""
    started = time.monotonic()
    with failing_clearly(context.log):
        report = _log_progress(context, progress.listener())
        result = steps.simulate(backtest, candles, threads=lab.settings.threads, on_progress=report)
    _describe(context, result, "simulated", time.monotonic() - started)
    return result


@dg.op(out=dg.Out(io_manager_key=SCRATCH), description="Simulate the calls on the mints of one part.")
def simulate_part(
    context: dg.OpExecutionContext,
    backtest: steps.ResolvedBacktest,
    piece: SlicePiece,
    lab: dg.ResourceParam[Lab],
) -> steps.SimulatedPart:
    """Simulate a part, wherever the executor has put this op."""
    started = time.monotonic()
    with failing_clearly(context.log):
        part = steps.simulate_part(backtest, piece, threads=lab.settings.threads, on_progress=_log_progress(context))
    seconds = time.monotonic() - started
    context.log.info(f"simulated {len(part.simulation.ranks):,} calls on {part.candles:,} candles in {seconds:.2f} s")
    return part


@dg.op(out=dg.Out(io_manager_key=SCRATCH), description="Put the parts together and run the portfolio over all trades.")
def merge(
    context: dg.OpExecutionContext,
    backtest: steps.ResolvedBacktest,
    parts: list[steps.SimulatedPart],
    lab: dg.ResourceParam[Lab],
) -> steps.SimulatedBacktest:
    """Merge; the result is that of `simulate`."""
    started = time.monotonic()
    with failing_clearly(context.log):
        result = steps.merge(backtest, parts, threads=lab.settings.threads)
    _describe(context, result, f"put {len(parts)} parts together:", time.monotonic() - started)
    return result


@dg.op(
    out={name: dg.Out(dg.Nothing) for name in (*DESCRIPTIONS, *DOUBT_SPECS)},
    description="Check, write and reveal the artifacts by one rename.",
)
def publish(
    context: dg.OpExecutionContext,
    results: list[steps.SimulatedBacktest],
    artifacts: dg.ResourceParam[ArtifactStore],
    lab: dg.ResourceParam[Lab],
) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
    """Publish the artifacts and describe each to Dagster; the result comes from one of two ops, the other skipped."""
    (result,) = results
    from lab_pipeline.reports import conclude  # noqa: PLC0415 - the sheet needs it all, and nothing before it

    run_id, api = context.run.run_id, api_url(lab.settings)
    concluded = conclude(result.simulation).text
    shown = _previews(result)  # before anything is visible: if a picture fails, so does the run, with nothing published
    with failing_clearly(context.log):
        lab.trials.record_backtest(run_id, result.provenance.spec, result.provenance.snapshot)
        manifest = steps.publish(run_id, result, artifacts)
    unpublish_late(context, lab.settings)
    for file in manifest.files:
        name = file.name.partition(".")[0]
        if name not in context.selected_output_names:  # the asset of this file was not asked for
            continue
        page = {"page": dg.MetadataValue.url(page_url(api, run_id))}
        said = {"conclusion": dg.MetadataValue.text(concluded)} if name in CONCLUDED else {}
        described = file_metadata(file, artifacts.storage.uri(run_id, file), manifest, api)
        metadata = said | page | shown.get(name, {}) | described
        if name == "summary":
            metadata["tear sheet"] = dg.MetadataValue.url(artifact_url(api, run_id, REPORT))
            metadata["tries"] = dg.MetadataValue.text(luck_of(manifest, lab.trials).said)
        describe_asset(context, name, metadata)
        yield dg.Output(None, name, data_version=dg.DataVersion(manifest.fingerprint))
    if not context.selected_output_names.isdisjoint(DOUBT_SPECS):
        yield from evaluate(result)
    context.log.info(f"published {len(manifest.files)} artifacts to {artifacts.storage.at(run_id)}")


@dg.config_mapping(config_schema=form(BacktestConfig, {"without_faults": Fault}))
def backtest_config(val: Mapping[str, Any]) -> dict[str, object]:
    """Let the launchpad ask for the fields of a backtest in one place."""
    config = BacktestConfig(**val)
    return {
        "resolve": {"config": config.model_dump(exclude={"candles_per_part"})},
        "load": {"config": {"candles_per_part": config.candles_per_part}},
    }


@dg.graph_multi_asset(
    name="run",
    group_name="backtest",
    ins={
        "candles": dg.AssetIn(["lake", "candles"], dagster_type=dg.Nothing),
        "calls": dg.AssetIn(["lake", "calls"], dagster_type=dg.Nothing),
    },
    outs={
        name: dg.AssetOut(
            key=["backtest", name],
            description=description,
            kinds={"numba", "html" if name == "report" else "json" if name == "summary" else "parquet"},
            code_version=ENGINE_VERSION,
        )
        for name, description in DESCRIPTIONS.items()
    },
    check_specs=list(DOUBT_SPECS.values()),
    config=backtest_config,
    can_subset=True,  # *Materialize* of one simulates, and publishes, all the same
)
def backtest_assets(candles: None, calls: None) -> dict[str, None]:
    """Simulate a strategy on the calls of the lake."""
    backtest = resolve(calls=calls)
    planned = load(backtest, candles=candles)
    whole = simulate(backtest, planned.whole)
    parts = planned.parts.map(lambda piece: simulate_part(backtest, piece))
    outputs = publish([whole, merge(backtest, parts.collect())])
    return {name: getattr(outputs, name) for name in (*DESCRIPTIONS, *DOUBT_SPECS)}


def _previews(result: steps.SimulatedBacktest) -> dict[str, dict[str, dg.MetadataValue]]:
    simulation = result.simulation
    best = simulation.trades.sort("net_return", descending=True, maintain_order=True).head(PREVIEW_ROWS)
    columns = ["call_id", "caller", "mint", "entry_time", "exit_time", "exit_reason", "net_return", "pnl"]
    capital = result.provenance.spec.strategy.portfolio.initial_capital
    shown: dict[str, dict[str, dg.MetadataValue]] = {
        "trades": {"best trades": table(best.select(columns))},
        "fill_certainty": {"lanes": table(simulation.fill_certainty.select(LANE_COLUMNS))},
        "nulls": {"callers": table(simulation.nulls.select(NULL_COLUMNS).head(PREVIEW_ROWS))},
        "outcomes": {"outcomes": table(simulation.outcomes.group_by("outcome").len("calls").sort("outcome"))},
        "summary": equity_line(simulation.equity) | headline(simulation.summary, result.provenance.spec),
    }
    if not simulation.equity.is_empty():
        from lab_pipeline.reports import equity_picture  # noqa: PLC0415 - needed only here

        drawn = equity_picture(simulation.equity, initial_capital=capital)
        title = "equity and drawdown"
        shown["equity"] = equity_line(simulation.equity) | {title: picture(drawn, title)}
    return shown


def _describe(context: dg.OpExecutionContext, result: steps.SimulatedBacktest, done: str, seconds: float) -> None:
    """Tag the run with what it has simulated, and say it."""
    summary, costs = result.simulation.summary, result.provenance.spec.strategy.costs
    from lab_pipeline.reports import in_few_words  # noqa: PLC0415 - the sheet needs it all, and nothing before it

    tags = {FINGERPRINT_TAG: result.provenance.fingerprint, RESULT_TAG: in_few_words(summary)}
    context.instance.add_run_tags(context.run.run_id, tags)
    context.log.info(
        f"{done} {summary.calls:,} calls on {result.candles:,} candles in {seconds:.2f} s: {summary.trades:,} trades"
    )
    if result.provenance.spec.strategy.finer_timeframe is not None:
        context.log.info(
            f"finer candles: {result.finer_bytes:,} bytes read, {summary.ambiguous_resolved:,} of "
            f"{summary.ambiguous_candles:,} ambiguous candles resolved"
        )
    if not (costs.fee_bps or costs.slippage_bps):
        context.log.warning("the strategy has no costs: set costs.feeBps and costs.slippageBps to see real returns")


def _log_progress(context: dg.OpExecutionContext, listener: progress.Progress | None = None) -> progress.Progress:
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if listener:
            listener(done, total)
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LOG_LINES:
            last = now
            context.log.info(f"simulated {done:,} of {total:,} calls ({done / total:.0%})")

    return report
