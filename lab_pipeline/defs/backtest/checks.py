"""Checks on the result of a backtest: reasons to doubt it, as warnings that stop nothing."""

from collections.abc import Iterator

import dagster as dg

from lab_pipeline.domain.doubts import DOUBTS, Judgement, judge
from lab_pipeline.operations.notices import ABOUT
from lab_pipeline.runs.backtest import SimulatedBacktest

SUMMARY = dg.AssetKey(["backtest", "summary"])
DOUBT_SPECS = {
    spec.get_python_identifier(): spec
    for spec in (dg.AssetCheckSpec(name, asset=SUMMARY, description=text) for name, text in DOUBTS.items())
}
"""By the name of the output of the op that evaluates them."""


def evaluate(result: SimulatedBacktest) -> Iterator[dg.AssetCheckResult]:
    """Yield the result of each check; it says which strategy it is about, since the next run may be of another."""
    spec, simulation = result.provenance.spec, result.simulation
    frames = simulation.outcomes, simulation.trades, simulation.fill_certainty
    for judgement in judge(spec.strategy, simulation.summary, *frames):
        yield _result(judgement, spec.strategy_id)


def _result(judgement: Judgement, strategy_id: str) -> dg.AssetCheckResult:
    metadata: dict[str, dg.MetadataValue] = {ABOUT: dg.MetadataValue.text(strategy_id)}
    if judgement.value is not None:
        metadata["value"] = dg.MetadataValue.float(float(judgement.value))
    return dg.AssetCheckResult(
        passed=judgement.passed,
        asset_key=SUMMARY,
        check_name=judgement.name,
        severity=dg.AssetCheckSeverity.WARN,
        description=judgement.text,
        metadata=metadata,
    )
