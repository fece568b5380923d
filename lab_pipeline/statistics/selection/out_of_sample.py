"""What selection would have earned on days it did not see: forward in time, and along combinatorial paths.

In every fold the winner is chosen anew by the same objective and the same minimum, from the cells of the days that
train. Nothing is simulated again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.statistics.selection.cells import (
    DayCells,
    Minimum,
    Moments,
    Objective,
    best,
    eligible,
    expectancy,
    score,
)
from lab_pipeline.statistics.selection.folds import Fold, combinatorial, path_of


@dataclass(frozen=True)
class Tested:
    """One fold and what became of its winner.

    Attributes:
        fold: which days.
        chosen: position of the winner; -1 where no set had enough trades, and then nothing is traded.
        purged_trades: of the winner on days that the purge or the embargo took from the training.
        train_expectancy: mean net return of its trades in training; no number without a winner.
        test_expectancy: in the test; no number without a trade.
        test_trades: how many there were.
    """

    fold: Fold
    chosen: int
    purged_trades: int
    train_expectancy: float
    test_expectancy: float
    test_trades: int


@dataclass(frozen=True)
class WalkForward:
    """All folds of a walk, put together.

    Attributes:
        folds: in the order of time.
        days: (T,) days that were tested.
        chosen: (T,) the set of that day, -1 for none.
        trades: (T,) its trades on that day.
        net: (T,) its day return.
    """

    folds: tuple[Tested, ...]
    days: Integers
    chosen: Integers
    trades: Floats
    net: Floats

    @property
    def expectancy(self) -> float:
        """Mean net return of a trade out of sample; no number without one."""
        trades = float(self.trades.sum())
        return float(self.net.sum()) / trades if trades else float("nan")

    @property
    def efficiency(self) -> float:
        """Mean net return out of sample by that in training (WFE); no number unless training promised a gain.

        Training counts by the trades of the tests, so that both sides are of the same mixture of winners.
        """
        told = [fold for fold in self.folds if fold.test_trades]
        promised = sum(fold.train_expectancy * fold.test_trades for fold in told)
        return float(self.net.sum()) / promised if promised > 0 else float("nan")


def walk(
    cells: DayCells, folds: Sequence[Fold], objective: Objective, minimum: Minimum, callers: Integers | None = None
) -> WalkForward:
    """Choose a winner in every fold and follow it through the test.

    Args:
        cells: of all days.
        folds: as `folds.walk_forward` returns them; no day is in two tests.
        objective: what ranks the sets.
        minimum: what a set must have, in the days that train; callers are counted over all days.
        callers: (S,) of each set; none where they are not known.
    """
    trained, winners = _train(cells, folds, objective, minimum, callers)
    tested, parts = [], []
    for number, (fold, chosen) in enumerate(zip(folds, winners, strict=True)):
        days = np.flatnonzero(fold.test)
        trades, net = (
            values[chosen, days] if chosen >= 0 else np.zeros(len(days)) for values in (cells.trades, cells.net)
        )
        count = int(trades.sum())
        tested.append(
            Tested(
                fold,
                int(chosen),
                int(cells.trades[chosen, fold.purged].sum()) if chosen >= 0 else 0,
                float(trained[number, chosen]) if chosen >= 0 else float("nan"),
                float(net.sum()) / count if count else float("nan"),
                count,
            )
        )
        parts.append((days, np.full(len(days), chosen), trades, net))
    if not parts:
        return WalkForward((), *(np.empty(0, np.int64),) * 2, *(np.empty(0),) * 2)
    days, chosen, trades, net = (np.concatenate(column) for column in zip(*parts, strict=True))
    return WalkForward(tuple(tested), cells.days[days], chosen, trades, net)


@dataclass(frozen=True)
class Paths:
    """Every way through the days on which each was tested once.

    Attributes:
        chosen: (folds,) the winner of each fold, -1 for none.
        trades: (paths, D) trades of the winner that the path follows on that day.
        net: (paths, D) its day return.
    """

    chosen: Integers
    trades: Floats
    net: Floats

    @property
    def expectancies(self) -> Floats:
        """Mean net return of a trade along each path, (paths,); no number without one."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean: Floats = self.net.sum(axis=1) / self.trades.sum(axis=1)
        return mean


def paths(
    cells: DayCells,
    objective: Objective,
    minimum: Minimum,
    callers: Integers | None = None,
    *,
    groups: int = 10,
    tested: int = 2,
    embargo_days: int = 1,
) -> Paths:
    """Choose a winner for every choice of tested groups and lay the tests into paths; arguments as in `combinatorial`.

    Raises:
        ValueError: fewer days than groups.
    """
    folds = combinatorial(cells.days, cells.reach, groups=groups, tested=tested, embargo_days=embargo_days)
    if not folds:
        raise ValueError(f"days: {groups} groups need as many days, there are {len(cells.days)}")
    _, winners = _train(cells, folds, objective, minimum, callers)
    of_path = path_of(groups, tested)
    trades, net = (np.zeros((len(of_path), len(cells.days))) for _ in range(2))
    for group, days in enumerate(np.array_split(np.arange(len(cells.days)), groups)):
        for path, fold in enumerate(of_path[:, group]):
            chosen = winners[fold]
            if chosen >= 0:
                trades[path, days], net[path, days] = cells.trades[chosen, days], cells.net[chosen, days]
    return Paths(winners, trades, net)


def _train(
    cells: DayCells, folds: Sequence[Fold], objective: Objective, minimum: Minimum, callers: Integers | None
) -> tuple[Floats, Integers]:
    """Return the mean net return of all sets in all trainings, (folds, S), and the winners, (folds,)."""
    days = np.array([fold.train for fold in folds], np.float64).reshape(len(folds), len(cells.days))
    moments = Moments.of(cells, days)
    return expectancy(moments), best(score(moments, objective), eligible(moments, callers, minimum))
