"""The whole selection: choose a winner, then say how far it can be believed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.clusters import interval_of_sums
from lab_pipeline.statistics.selection.cells import (
    DAY_MS,
    Booleans,
    DayCells,
    Minimum,
    Objective,
    best,
    day_sharpe,
    eligible,
    score,
    whole,
)
from lab_pipeline.statistics.selection.folds import Windows, walk_forward
from lab_pipeline.statistics.selection.out_of_sample import Paths, WalkForward, paths, walk
from lab_pipeline.statistics.selection.overfitting import FEWEST_DAYS as DAYS_FOR_HALVES
from lab_pipeline.statistics.selection.overfitting import Overfitting, blocks_for, overfitting
from lab_pipeline.statistics.selection.placebo import Placebo, against_placebos
from lab_pipeline.statistics.selection.plateau import Levels, Plateau, plateau
from lab_pipeline.statistics.selection.sharpe import FEWEST_DAYS as DAYS_FOR_SHAPE
from lab_pipeline.statistics.selection.sharpe import Deflation, deflate, effective_trials, varies
from lab_pipeline.statistics.selection.stress import Stress, weakest_lane
from lab_pipeline.statistics.selection.superiority import Superiority, superiority
from lab_pipeline.statistics.selection.verdict import Part, Verdict, judge

Said = TypeVar("Said")

DAYS_FOR_RESAMPLING = 10
"""Days below which drawing days anew says nothing about other days."""


@dataclass(frozen=True)
class Validation:
    """How a winner is looked at.

    Attributes:
        walk: windows of the walk forward.
        cscv_blocks: of days; by their number where none is given.
        resamples: of the bootstrap of the tests of superiority.
        groups: of days, for the combinatorial paths.
        tested: groups that each of their folds tests.
    """

    walk: Windows = field(default_factory=Windows)
    cscv_blocks: int | None = None
    resamples: int = 2000
    groups: int = 10
    tested: int = 2


@dataclass(frozen=True)
class Choice:
    """The best set and its rivals.

    Attributes:
        objective: that ranked them.
        minimum: that a set had to have.
        callers: (S,) callers of each set with a trade; none where they are not known.
        scores: (S,) objective of every set; minus infinity where it has too few days.
        allowed: (S,) which could win.
        winner: position of the best; -1 where none could win.
    """

    objective: Objective
    minimum: Minimum
    callers: Integers | None
    scores: Floats
    allowed: Booleans
    winner: int

    @property
    def ranking(self) -> Integers:
        """The sets that could win, best first; of equals the first."""
        able = np.flatnonzero(self.allowed & np.isfinite(self.scores))
        return able[np.argsort(-self.scores[able], kind="stable")]


@dataclass(frozen=True)
class Evidence:
    """What has to be simulated beside the sweep; what is not there is not said.

    Attributes:
        trials: distinct sets that were ever tried for this family of strategies, this sweep's included.
        caller_trades: (C,) trades of the winner by caller.
        caller_net: (C,) sums of their net returns.
        levels: (S, dimensions) as in `plateau`.
        grid: whether all sets of a grid are there.
        lanes: mean net return of the winner by lane.
        placebos: best objective of each placebo.
        current: (D,) day returns of the strategy that is traded now.
    """

    trials: int = 0
    caller_trades: Floats | None = None
    caller_net: Floats | None = None
    levels: Levels | None = None
    grid: bool = False
    lanes: Mapping[str, float] | None = None
    placebos: Floats | None = None
    current: Floats | None = None


@dataclass(frozen=True)
class Selection:
    """Everything that is said about a winner; none where it is not said.

    Attributes:
        choice: the winner.
        days: that were selected on.
        trials: sets that were tried, here and before.
        effective_trials: independent ones that these amount to.
        interval: of the winner's mean net return, 95 %, as a backtest shows it: by clusters of days or of callers,
            whichever is the wider.
        deflation: of the winner's Sharpe ratio.
        overfitting: CSCV.
        superiority: against cash.
        superiority_to_current: against what is traded now.
        walk: forward in time.
        paths: combinatorial.
        plateau: and peak.
        stress: the worst lane.
        placebo: rank among the placebos.
        verdict: the word on it.
    """

    choice: Choice
    days: int
    trials: int
    effective_trials: float
    interval: tuple[float, float] | None = None
    deflation: Deflation | None = None
    overfitting: Overfitting | None = None
    superiority: Superiority | None = None
    superiority_to_current: Superiority | None = None
    walk: WalkForward | None = None
    paths: Paths | None = None
    plateau: Plateau | None = None
    stress: Stress | None = None
    placebo: Placebo | None = None
    verdict: Verdict = field(default_factory=Verdict)


def choose(
    cells: DayCells,
    objective: Objective = Objective.EXPECTANCY_LOWER,
    minimum: Minimum = Minimum(),  # noqa: B008 - it is frozen
    callers: Integers | None = None,
) -> Choice:
    """Choose the best of the sets that may win.

    Args:
        cells: of the days that select; the holdout is not among them.
        objective: that ranks the sets.
        minimum: of trades, days and callers.
        callers: (S,) of each set; none where they are not known, and then they do not decide.
    """
    moments = whole(cells)
    scores, allowed = score(moments, objective), eligible(moments, callers, minimum)
    return Choice(objective, minimum, callers, scores[0], allowed[0], int(best(scores, allowed)[0]))


def unsayable(days: Integers, reach: Integers, validation: Validation = Validation()) -> dict[Part, str]:
    """Say which parts of a verdict so few days do not suffice for, and why, whatever the sets will earn.

    Args:
        days: (D,) that select, as in `DayCells`.
        reach: (D,) likewise.
        validation: how a winner would be looked at.
    """
    count = len(days)
    needed = {
        Part.DSR: DAYS_FOR_SHAPE,
        Part.PBO: _days_for_halves(count, validation.cscv_blocks),
        Part.SPA: DAYS_FOR_RESAMPLING,
    }
    found = {part: _too_few(least, count) for part, least in needed.items() if count < least}
    if not walk_forward(days, reach, validation.walk):
        found[Part.OUT_OF_SAMPLE] = _too_few_to_walk(days, validation.walk)
    return found


def assess(
    cells: DayCells,
    choice: Choice,
    evidence: Evidence = Evidence(),
    validation: Validation = Validation(),
    *,
    seed: int = 0,
) -> Selection:
    """Say how far the winner can be believed.

    Args:
        cells: that the choice was made from.
        choice: as `choose` made it.
        evidence: what was simulated beside the sweep.
        validation: how to look at it.
        seed: of all that is drawn.
    """
    days, trials = len(cells.days), max(evidence.trials, cells.sets)
    # Of the tries before this sweep only the number is known: they are taken to be as much alike as these.
    effective = min(float(trials), effective_trials(cells.net) * trials / cells.sets)
    if choice.winner < 0:
        return Selection(choice, days, trials, effective)
    able = np.flatnonzero(choice.allowed)
    rivals = cells.of_sets(able)
    deflation = _deflation(cells, choice, rivals, trials, effective)
    halves = _halves(rivals, able, choice.objective, validation.cscv_blocks)
    superior = _superior(rivals, able, None, validation.resamples, seed)
    forward = _forward(cells, choice, validation.walk)
    land = _land(choice, evidence)
    stress = "no lane was simulated" if evidence.lanes is None else weakest_lane(evidence.lanes)
    placebo = _placebo(choice, evidence)
    parts: dict[Part, float | str] = {
        Part.DSR: deflation if isinstance(deflation, str) else deflation.dsr,
        Part.PBO: halves if isinstance(halves, str) else halves.probability,
        Part.SPA: superior if isinstance(superior, str) else superior.consistent,
        Part.PLACEBO: placebo if isinstance(placebo, str) else placebo.p_value,
        Part.OUT_OF_SAMPLE: forward if isinstance(forward, str) else forward.expectancy,
        Part.PLATEAU: land if isinstance(land, str) else land.ratio,
        Part.LANES: stress if isinstance(stress, str) else stress.expectancy,
    }
    current = (
        None if evidence.current is None else _superior(rivals, able, evidence.current, validation.resamples, seed)
    )
    return Selection(
        choice,
        days,
        trials,
        effective,
        interval=_interval(cells, choice.winner, evidence),
        deflation=_said(deflation),
        overfitting=_said(halves),
        superiority=_said(superior),
        superiority_to_current=_said(current),
        walk=_said(forward),
        paths=_paths(cells, choice, validation),
        plateau=_said(land),
        stress=_said(stress),
        placebo=_said(placebo),
        verdict=judge(parts),
    )


def _said(part: Said | str | None) -> Said | None:
    """Return what was said, nothing where there is only a reason why it was not."""
    return None if isinstance(part, str) else part


def _too_few(needed: int, days: int) -> str:
    return f"it needs {needed} days, there are {days}"


def _too_few_to_walk(days: Integers, windows: Windows) -> str:
    return _too_few(windows.train_days + 1, int(days[-1] - days[0]) // DAY_MS + 1)


def _days_for_halves(days: int, wanted: int | None) -> int:
    return max(2 * (blocks_for(days) if wanted is None else wanted), DAYS_FOR_HALVES)


def _deflation(cells: DayCells, choice: Choice, rivals: DayCells, trials: int, effective: float) -> Deflation | str:
    if len(cells.days) < DAYS_FOR_SHAPE:
        return _too_few(DAYS_FOR_SHAPE, len(cells.days))
    returns = cells.net[choice.winner]
    if not varies(returns):
        return "the winner's day returns do not vary"
    earlier = max(0, trials - cells.sets)
    return deflate(returns, day_sharpe(whole(rivals))[0], trials, effective, earlier)


def _halves(rivals: DayCells, able: Integers, objective: Objective, wanted: int | None) -> Overfitting | str:
    days = len(rivals.days)
    blocks = blocks_for(days) if wanted is None else wanted
    if days < (needed := _days_for_halves(days, wanted)):
        return _too_few(needed, days)
    if rivals.sets < 2:  # noqa: PLR2004 - the middle of one is itself
        return "only one set has enough trades, days and callers to win"
    halves = overfitting(rivals, objective, blocks)
    return replace(halves, chosen=able[halves.chosen])


def _superior(
    rivals: DayCells, able: Integers, benchmark: Floats | None, resamples: int, seed: int
) -> Superiority | str:
    if len(rivals.days) < DAYS_FOR_RESAMPLING:
        return _too_few(DAYS_FOR_RESAMPLING, len(rivals.days))
    tested = superiority(rivals.net, benchmark=benchmark, resamples=resamples, seed=seed)
    return replace(tested, superior=able[tested.superior])


def _forward(cells: DayCells, choice: Choice, windows: Windows) -> WalkForward | str:
    folds = walk_forward(cells.days, cells.reach, windows)
    if not folds:
        return _too_few_to_walk(cells.days, windows)
    forward = walk(cells, folds, choice.objective, choice.minimum, choice.callers)
    if not forward.trades.any():
        return "no training had a set with enough trades, days and callers, so nothing was traded"
    return forward


def _paths(cells: DayCells, choice: Choice, validation: Validation) -> Paths | None:
    if len(cells.days) < 2 * validation.groups:
        return None
    return paths(
        cells,
        choice.objective,
        choice.minimum,
        choice.callers,
        groups=validation.groups,
        tested=validation.tested,
        embargo_days=validation.walk.embargo_days,
    )


def _land(choice: Choice, evidence: Evidence) -> Plateau | str:
    if evidence.levels is None:
        return "the sets have no neighbours"
    return plateau(choice.scores, choice.allowed, evidence.levels, grid=evidence.grid)


def _placebo(choice: Choice, evidence: Evidence) -> Placebo | str:
    if evidence.placebos is None:
        return "no placebo was simulated"
    return against_placebos(float(choice.scores[choice.winner]), evidence.placebos)


def _interval(cells: DayCells, winner: int, evidence: Evidence) -> tuple[float, float] | None:
    low, high = interval_of_sums(cells.trades[winner], cells.net[winner], evidence.caller_trades, evidence.caller_net)
    return None if low is None or high is None else (low, high)
