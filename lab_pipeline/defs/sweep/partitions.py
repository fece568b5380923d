"""Walking forward: one asset of which every strategy has a partition for every window that is tested.

A sweep adds the windows of its own walk. The UI shows which are missing, and a backfill of them is the walk: each fold
is a run that sweeps the days before its window and follows the winner into it, and nothing else.
"""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from lab_pipeline.dagster_ext.config_schema import form
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.defs.sweep.progress_log import ProgressLog
from lab_pipeline.domain.backtest import TimeRange
from lab_pipeline.domain.errors import LabError
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.lake import Lake
from lab_pipeline.operations.lab import Lab
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.runs.tags import STRATEGY_DIMENSION, WALK_JOB, WINDOW_DIMENSION
from lab_pipeline.statistics.selection.out_of_sample import Tested
from lab_pipeline.sweeps.holdout import holdout_of
from lab_pipeline.sweeps.running import SelectedSweep
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import SweepManifest, SweepStore
from lab_pipeline.sweeps.walking import Walked, latest_sweeps, walk_fold

WALK = dg.AssetKey(["sweep", "walk"])
WINDOWS, STRATEGIES = "walk_windows", "walk_strategies"
"""Names of the dynamic partitions; a sweep adds to them, and anybody may in the UI."""
WALKS = dg.MultiPartitionsDefinition(
    {
        STRATEGY_DIMENSION: dg.DynamicPartitionsDefinition(name=STRATEGIES),
        WINDOW_DIMENSION: dg.DynamicPartitionsDefinition(name=WINDOWS),
    }
)


class WalkConfig(dg.Config):
    """What a partition does not say."""

    sweep: str | None = Field(
        default=None, description="Id of the sweep whose space is searched; by default the strategy's latest."
    )


@dg.asset(
    key=WALK,
    group_name=WALK_JOB,
    partitions_def=WALKS,
    deps=[dg.AssetKey(["lake", "candles"]), dg.AssetKey(["lake", "calls"])],
    kinds={"numba"},
    code_version=ENGINE_VERSION,
    config_schema=form(WalkConfig),
    description="The best set of the days before a window, and what it earns in the window: a fold of a walk forward.",
)
def walk(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    strategies: dg.ResourceParam[StrategyStore],
    lab: dg.ResourceParam[Lab],
) -> dg.MaterializeResult[None]:
    """Search the days before the window of the partition with its strategy, and test the winner in the window."""
    key = context.partition_key
    assert isinstance(key, dg.MultiPartitionKey)  # noqa: S101 - by the definition of the partitions
    strategy, window = (key.keys_by_dimension[name] for name in (STRATEGY_DIMENSION, WINDOW_DIMENSION))
    asked = WalkConfig(**context.op_execution_context.op_config).sweep
    with failing_clearly(context.log):
        manifest = _template(lab.sweeps, strategy, asked)
        spec = SweepSpec.parse(manifest.spec).model_copy(update={"strategy_version": manifest.strategy_version})
        _require_seen(lab.sweeps, manifest, window_range(window))
        log = ProgressLog(context.log, "calls", manifest.sets, spec.objective.name)
        walked = walk_fold(
            spec,
            window_range(window),
            lake=lake,
            strategies=strategies,
            threads=lab.settings.threads,
            memory=lab.settings.sweep_memory,
            on_progress=log.report,
        )
    return dg.MaterializeResult(metadata=_metadata(walked, manifest))


def _require_seen(store: SweepStore, manifest: SweepManifest, window: TimeRange) -> None:
    """Refuse to test in days that a sweep holds out and nobody has revealed: it would be a look that is not counted.

    Raises:
        LabError: saying whose days they are.
    """
    kept = holdout_of(store, manifest.sweep_id)
    if kept is not None and not kept.looks and window.start < kept.held.end and kept.held.start < window.end:
        raise LabError(
            f"the window lies in days that sweep {manifest.sweep_id} holds out: `lab sweep reveal {manifest.sweep_id}` "
            "opens them, and counts the look"
        )


def window_name(tested: Tested) -> str:
    """Return the key of the window of a fold among the partitions."""
    start, end = (datetime.fromtimestamp(one / 1000, tz=UTC) for one in (tested.fold.test_start, tested.fold.test_end))
    return f"{start:%Y-%m-%d}/{end:%Y-%m-%d}"


def window_range(name: str) -> TimeRange:
    """Return the days of a window.

    Raises:
        LabError: if that is no name of one.
    """
    start, _, end = name.partition("/")
    try:
        return TimeRange(
            start=datetime.fromisoformat(start).replace(tzinfo=UTC), end=datetime.fromisoformat(end).replace(tzinfo=UTC)
        )
    except ValueError:
        raise LabError(f"window {name!r} is not two days such as 2025-01-01/2025-01-11, the end not included") from None


def add_windows(instance: dg.DagsterInstance, selected: SelectedSweep) -> None:
    """Add the partitions of the walk of a sweep, which a backfill may walk by itself."""
    folds = selected.selection.walk.folds if selected.selection.walk else ()
    instance.add_dynamic_partitions(STRATEGIES, [selected.resolved.spec.strategy])
    instance.add_dynamic_partitions(WINDOWS, [window_name(one) for one in folds])


def _template(store: SweepStore, strategy: str, asked: str | None) -> SweepManifest:
    if asked is None:
        found = latest_sweeps(store).get(strategy)
        if found is None:
            raise LabError(f"strategy {strategy} was never swept: the walk searches the space of its latest sweep")
        return found
    manifest = store.manifest(asked)
    if manifest.spec["strategy"] != strategy:
        raise LabError(f"sweep {asked} is of strategy {manifest.spec['strategy']}, not of {strategy}")
    return manifest


def _metadata(walked: Walked, manifest: SweepManifest) -> dict[str, dg.MetadataValue]:
    """Return what the UI shows of a fold: numbers, which it draws over the partitions; undefined ones are left out."""
    tested = walked.tested
    shown: dict[str, dg.MetadataValue] = {
        "space of sweep": dg.MetadataValue.text(manifest.sweep_id),
        "sets": dg.MetadataValue.int(walked.sets),
        "training days": dg.MetadataValue.int(int(tested.fold.train.sum())),
        "purged days": dg.MetadataValue.int(int(tested.fold.purged.sum())),
        "test trades": dg.MetadataValue.int(tested.test_trades),
    }
    if walked.values is not None:
        shown["set"] = dg.MetadataValue.int(tested.chosen)
        shown["winner"] = dg.MetadataValue.json(walked.values)
        shown["training expectancy"] = dg.MetadataValue.float(tested.train_expectancy)
    if tested.test_trades:
        shown["test expectancy"] = dg.MetadataValue.float(tested.test_expectancy)
    return shown
