"""Runs of chance in a world, and the world's statistics computed from nothing."""

import uuid
from datetime import timedelta

import numpy as np

from lab_pipeline.statistics import refresh
from lab_pipeline_tests.support.world import START, Call, World, rows_of

CHANCE = np.random.default_rng(7)


def some_calls(count=40):
    return [
        Call(
            f"c{number}",
            f"caller {number % 7}",
            f"mint {number % 11}",
            tuple(CHANCE.normal(0.1, 1 / 3, 1 + int(number % 5 == 0)).clip(-1, 5)),
            called_at=START + timedelta(hours=int(number)),
            hold=float(CHANCE.integers(1, 3000)),
            ath=float(1 + CHANCE.pareto(1.5)),
            features=(
                None if number % 6 == 0 else float(CHANCE.normal()),
                float(CHANCE.gamma(2)),
                float(CHANCE.lognormal(9, 2)),
                number % 24,
            ),
        )
        for number in CHANCE.choice(300, count, replace=False)
    ]


def add_some(world, count=1):
    for _ in range(count):
        closes = 10_000 * np.exp(np.cumsum(CHANCE.normal(0, 0.02, 8)))
        world.add(some_calls(), strategy=f"s{CHANCE.integers(3)}", closes=closes, sharpe=float(CHANCE.normal()))


def from_nothing(world, tmp_path):
    other = World(tmp_path / uuid.uuid4().hex, runs=world.runs)
    other.home.mkdir()
    (other.home / "artifacts").symlink_to(world.home / "artifacts")
    refresh(other.statistics, other.runs)
    return rows_of(other.statistics)
