"""Sweeps of chance, without an edge and with one: cells of sets on a grid of two dimensions, drawn at random."""

from dataclasses import dataclass

import numpy as np

from lab_pipeline.statistics.selection.cells import DAY_MS, DayCells, Minimum, Objective
from lab_pipeline.statistics.selection.placebo import best_objective
from lab_pipeline.statistics.selection.selecting import Evidence, Selection, Validation, assess, choose

START = 1_735_689_600_000
MINIMUM = Minimum()
QUICK = Validation(cscv_blocks=8, resamples=400)


def some_cells(seed=0, sets=12, days=40, idle=0.25):
    """Make cells without any order in them; on some days a set does not trade."""
    random = np.random.default_rng(seed)
    trades = random.integers(1, 5, (sets, days)) * (random.random((sets, days)) > idle)
    net = np.where(trades > 0, random.normal(0.02, 0.3, (sets, days)) * np.sqrt(trades), 0.0)
    return DayCells.of(midnights(days), trades, net)


def midnights(days):
    return START + np.arange(days) * DAY_MS


@dataclass(frozen=True)
class World:
    """A grid of rules on random days.

    Rules share the market of a day, and neighbours share more than that; what is left is their own.

    Attributes:
        side: rules a dimension.
        days: with a handful of calls each.
        edge: mean net return of a trade at the middle of the good region, nothing at its rim.
        radius: of the region, as a part of the grid's side.
    """

    side: tuple[int, int] = (20, 25)
    days: int = 120
    edge: float = 0.0
    radius: float = 0.2

    @property
    def levels(self):
        return np.indices(self.side).reshape(2, -1).T

    @property
    def edges(self):
        """Mean net return of each rule."""
        away = np.hypot(*((self.levels + 0.5) / self.side - (0.35, 0.6)).T)
        return self.edge * np.maximum(0.0, 1.0 - (away / self.radius) ** 2)

    def draw(self, seed):
        random = np.random.default_rng(seed)
        calls = 2 + random.poisson(4, self.days)
        wave = random.normal(0, 4, (12, 2)) @ (self.levels / self.side).T + random.uniform(0, 2 * np.pi, (12, 1))
        shared = np.sqrt(2 / 12) * np.cos(wave).T @ random.normal(size=(12, self.days))
        own = random.normal(size=(len(self.levels), self.days))
        market = random.normal(size=self.days)
        noise = 0.3 * (0.4 * market + 0.6 * shared + 0.69 * own) * np.sqrt(calls)
        trades = np.broadcast_to(calls, noise.shape)
        return DayCells.of(midnights(self.days), trades, noise + self.edges[:, None] * calls)


def placebo(world, seed):
    """Return the best objective of the same search where nothing is to be found."""
    nothing = World(world.side, world.days)
    return best_objective(nothing.draw(seed), Objective.EXPECTANCY_LOWER, MINIMUM)


def swept(world, seed, placebos, validation=QUICK) -> Selection:
    """Sweep a world and select as a researcher would, with placebos, lanes and all."""
    cells = world.draw(seed)
    choice = choose(cells, minimum=MINIMUM)
    earned = cells.net[choice.winner].sum() / cells.trades[choice.winner].sum()
    evidence = Evidence(
        levels=world.levels,
        grid=True,
        lanes={"baseline": earned, "worse": earned - 0.01, "full": earned - 0.03},
        placebos=np.array([placebo(world, 1_000_000 * (seed + 1) + number) for number in range(placebos)]),
    )
    return assess(cells, choice, evidence, validation, seed=seed)
