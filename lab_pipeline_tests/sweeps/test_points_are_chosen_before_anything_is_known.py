import numpy as np
import pytest

from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.space import Space
from lab_pipeline.sweeps.search import find_points
from lab_pipeline.sweeps.spec import SearchSpec

GRID = Space.parse({"exit.stopLoss": [0.1, 0.2], "exit.maxHoldMinutes": [None, 60, 90]})
ENDLESS = Space.parse({"exit.stopLoss": {"from": 0.1, "to": 0.9}, "reentry.maxCount": {"from": 10, "to": 1000}})


def found(space, seed=0, **search):
    method, points = find_points(space, SearchSpec(**search), seed)
    return method, list(points)


def test_a_small_grid_is_tried_whole():
    method, points = found(GRID)
    assert method == "grid"
    assert points == [(0.1, None), (0.1, 60), (0.1, 90), (0.2, None), (0.2, 60), (0.2, 90)]
    assert found(GRID, sets=5)[0] == found(ENDLESS)[0] == "sobol"


def test_sobols_points_are_a_power_of_two_and_fill_the_space_evenly():
    method, points = found(ENDLESS, method="sobol", sets=100)
    assert (method, len(points)) == ("sobol", 128)
    stops, counts = zip(*points, strict=True)
    assert np.histogram(stops, bins=16, range=(0.1, 0.9))[0].tolist() == [8] * 16
    assert all(isinstance(value, int) for value in counts)
    assert min(counts) >= 10
    assert max(counts) <= 1000


@pytest.mark.parametrize("method", ["sobol", "random"])
def test_the_seed_decides_what_is_drawn(method):
    first, again, other = (found(ENDLESS, seed, method=method, sets=64)[1] for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == len(set(first)) == 64


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InvalidConfigError, match="no end of values"):
        found(ENDLESS, method="grid")
    with pytest.raises(InvalidConfigError, match="next power of two"):
        found(ENDLESS, method="sobol", sets=600_000)
