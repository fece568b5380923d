"""Checks on a sweep: whether it has kept its word, and reasons not to believe its winner."""

from collections.abc import Iterator

import dagster as dg

from lab_pipeline.operations.notices import ABOUT
from lab_pipeline.sweeps.proofs import CELLS_EQUAL, NO_LOOK_AHEAD, TOP_EQUALS, RefutedError
from lab_pipeline.sweeps.running import SelectedSweep

SETS, DAYS, SELECTION = (dg.AssetKey(["sweep", name]) for name in ("sets", "days", "selection"))
OVERFIT, HOLDOUT = "overfit", "holdout_untouched"

SPECS = [
    dg.AssetCheckSpec(
        TOP_EQUALS,
        asset=SETS,
        blocking=True,
        description="A backtest of the winner has its trades, wins and mean net return, bit for bit.",
    ),
    dg.AssetCheckSpec(
        CELLS_EQUAL,
        asset=DAYS,
        blocking=True,
        description="The winner's trades and net returns by day and caller are those of the backtest's trades.",
    ),
    dg.AssetCheckSpec(
        NO_LOOK_AHEAD,
        asset=SETS,
        blocking=True,
        description="Fills of the winner do not change where candles after them do.",
    ),
    dg.AssetCheckSpec(OVERFIT, asset=SELECTION, description="The verdict on the winner is *supported*."),
    dg.AssetCheckSpec(
        HOLDOUT,
        asset=SELECTION,
        description="No call that selected has a window that reaches into the days that are held out.",
    ),
]
CHECKS = {spec.get_python_identifier(): spec for spec in SPECS}
"""By the name of the output of the op that evaluates them."""


def refuted(error: RefutedError) -> dg.AssetCheckResult:
    """Return the result of the check that a sweep has failed before it was published."""
    key = next(spec.asset_key for spec in SPECS if spec.name == error.check)
    return dg.AssetCheckResult(passed=False, asset_key=key, check_name=error.check, description=str(error))


def evaluate(selected: SelectedSweep) -> Iterator[dg.AssetCheckResult]:
    """Yield the result of each check of a sweep that was not refuted, saying which strategy it is about."""
    resolved, selection = selected.resolved, selected.selection
    about = {ABOUT: dg.MetadataValue.text(resolved.spec.strategy)}
    winner = selection.choice.winner
    done = {
        (SETS, TOP_EQUALS): f"a backtest of set {winner} has its numbers",
        (DAYS, CELLS_EQUAL): f"a backtest of set {winner} has its trades and returns by day and caller",
        (SETS, NO_LOOK_AHEAD): f"fills of set {winner} are the same where candles after them are others",
    }
    for (key, name), text in done.items():
        told = "there is no winner to run" if winner < 0 else text
        yield dg.AssetCheckResult(passed=True, asset_key=key, check_name=name, description=told, metadata=about)
    verdict = selection.verdict
    yield dg.AssetCheckResult(
        passed=verdict.supported,
        asset_key=SELECTION,
        check_name=OVERFIT,
        severity=dg.AssetCheckSeverity.WARN,
        description=verdict.words,
        metadata={
            **about,
            "failed": dg.MetadataValue.text(", ".join(map(str, verdict.failed)) or "nothing"),
            "not said": dg.MetadataValue.text(", ".join(map(str, verdict.unsaid)) or "nothing"),
        },
    )
    first = resolved.held.start.timestamp() * 1000 if resolved.held else None
    late = 0 if first is None else int((selected.sweep.reach > first).sum())
    yield dg.AssetCheckResult(
        passed=late == 0,
        asset_key=SELECTION,
        check_name=HOLDOUT,
        description="no day is held out"
        if resolved.held is None
        else f"{resolved.held_days:,} days from {resolved.held.start:%Y-%m-%d} on; {late:,} days reach into them",
        metadata=about,
    )
