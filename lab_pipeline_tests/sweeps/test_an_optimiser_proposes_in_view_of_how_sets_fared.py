import builtins
import math

import pytest

from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.domain.space import Space
from lab_pipeline.statistics.selection import Objective
from lab_pipeline.sweeps.optimiser import Optimiser
from lab_pipeline.sweeps.search import find_points
from lab_pipeline.sweeps.spec import SearchSpec
from lab_pipeline.sweeps.trials import TrialFiles

SPACE = Space.parse(
    {
        "exit.stopLoss": {"from": 0.05, "to": 0.9},
        "exit.maxHoldMinutes": [None, 15, 60],
        "entry.delayMinutes": [0, 1, 2, 3],
        "reentry.maxCount": {"from": 1, "to": 9},
        "exit.targets[0].multiple": [2],
    }
)
METHODS = ["tpe", "cmaes", "nsga2"]
BEST = (0.3, 15, 2)


def worth(point):
    """Return how a point fares: best at a stop of 0.3, a hold of 15 and a delay of 2; a stop above 0.8 is none."""
    stop, hold, delay, count, _ = point
    return -math.inf if stop > 0.8 else (hold == 15) - (stop - 0.3) ** 2 - (delay - 2) ** 2 + count / 100


def objectives(method, points):
    number = 2 if method == "nsga2" else 1
    return [(worth(point), -point[0])[:number] for point in points]


def optimiser(method, trials=(), *, batch=8, batches=6, seed=3):
    search = SearchSpec(method=method, sets=batches * batch - 1, batch=batch)
    return Optimiser(SPACE, search, seed, objectives=2 if method == "nsga2" else 1, trials=trials)


def searched(made, method):
    while points := made.ask():
        made.tell(objectives(method, points))
    return made


@pytest.mark.parametrize("method", METHODS)
def test_it_proposes_so_many_sets_and_better_ones_in_the_end(method):
    made = searched(optimiser(method, batch=16), method)
    fared = [trial.objectives[0] for trial in made.trials]
    assert len(made.points()) == len(fared) == 95
    assert max(fared[16:]) > max(fared[:16])
    assert {point[4] for point in made.points()} == {2}
    assert all(isinstance(point[3], int) and 1 <= point[3] <= 9 for point in made.points())


@pytest.mark.parametrize("method", METHODS)
def test_a_study_made_anew_of_its_trials_proposes_the_same(method):
    """After every batch: 30 of them, so that generations follow on generations."""
    whole = optimiser(method, batch=4, batches=30)
    trials = []
    while points := whole.ask():
        again = optimiser(method, trials, batch=4, batches=30)
        assert (again.batch, again.ask()) == (len(trials) // 4, points)
        trials += whole.tell(objectives(method, points))
    assert trials == whole.trials


@pytest.mark.parametrize("method", METHODS)
def test_trials_read_from_files_are_those_that_were_written(method, tmp_path):
    made = searched(optimiser(method), method)
    weighed = (Objective.EXPECTANCY_LOWER, Objective.SHARPE)[: len(made.trials[0].objectives)]
    files = TrialFiles(tmp_path / "trials", tuple(one.path for one in SPACE.dimensions), weighed, 8)
    assert files.read() == []
    for first in range(0, 47, 8):
        files.write(first, made.trials[first : first + 8])
    assert files.read() == made.trials
    assert any(-math.inf in trial.objectives for trial in made.trials)
    (tmp_path / "trials" / "part-00003.parquet").unlink()
    assert files.read() == made.trials[:24]
    (tmp_path / "trials" / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(LabError, match=r"part-00001\.parquet is damaged .* remove it"):
        files.read()


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_decides_what_is_proposed(method):
    first, again, other = (searched(optimiser(method, seed=seed), method).points() for seed in (1, 1, 2))
    assert first == again != other


def test_the_first_batch_is_known_before_anything_is_simulated():
    search = SearchSpec(method="tpe", sets=100, batch=16)
    method, points = find_points(SPACE, search, 5)
    assert (method, points) == ("tpe", Optimiser(SPACE, search, 5).ask())
    assert len(points) == 16


def test_cmaes_needs_two_paths_that_vary():
    space = Space.parse({"exit.stopLoss": [0.1, 0.2], "exit.maxHoldMinutes": [5]})
    with pytest.raises(InvalidConfigError, match="cmaes needs 2 paths that vary"):
        Optimiser(space, SearchSpec(method="cmaes"), 0)


def test_without_optuna_the_remedy_is_named(monkeypatch):
    brought = builtins.__import__

    def missing(name, *rest):
        if name == "optuna":
            raise ImportError(name)
        return brought(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(LabError, match=r"tpe needs Optuna: pip install 'lab-pipeline\[optuna\]', or search by sobol"):
        find_points(SPACE, SearchSpec(method="tpe"), 0)
