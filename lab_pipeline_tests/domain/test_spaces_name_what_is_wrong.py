"""A space is read as it was meant, or refused with the path that is wrong."""

import pytest

from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.space import Space, known_paths
from lab_pipeline.domain.strategy import Exit, StrategyConfig, Target

BASE = StrategyConfig(
    exit=Exit(targets=(Target(multiple=1.5, fraction=0.5), Target(multiple=2.0, fraction=0.5)), stop_loss=0.3)
).to_json_dict()


def values_of(values: object, path: str = "exit.stopLoss") -> tuple:
    return Space.parse({path: values}).dimensions[0].values


def problem_of(space: dict, *constraints: str) -> str:
    with pytest.raises(InvalidConfigError) as caught:
        Space.parse(space, constraints)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([0.1, 0.2], (0.1, 0.2)),
        ({"choice": [None, 0.2]}, (None, 0.2)),
        ({"from": 0.1, "to": 0.3, "step": 0.1}, (0.1, 0.2, 0.3)),
        ({"from": 0.05, "to": 0.5, "n": 10}, (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)),
        ({"from": 0.01, "to": 1, "n": 3, "scale": "log"}, (0.01, 0.1, 1.0)),
        ({"from": 1, "to": 5, "step": 2}, (1, 3, 5)),
        ({"from": 0, "to": 1, "step": 0.4}, (0.0, 0.4, 0.8)),
    ],
)
def test_values_are_those_that_people_write(values, read):
    assert values_of(values) == read


def test_whole_numbers_stay_whole():
    assert [type(value) for value in values_of({"from": 1, "to": 3, "n": 3}, "exit.breakEvenAfter")] == [int] * 3


def test_a_ladder_has_every_ascending_combination_for_which_there_are_fractions():
    ladder = {"multiples": [2, 1.5, 3], "fractions": [[1.0], [0.5, 0.5], [0.2, 0.3, 0.5]], "maxSteps": 2}
    ladders = values_of({"ladder": ladder}, "exit.targets")
    assert [[step["multiple"] for step in one] for one in ladders] == [[1.5], [2], [3], [1.5, 2], [1.5, 3], [2, 3]]
    assert ladders[3] == [{"multiple": 1.5, "fraction": 0.5}, {"multiple": 2, "fraction": 0.5}]


def test_a_range_without_steps_is_searched_not_walked():
    space = Space.parse({"exit.stopLoss": {"from": 0.1, "to": 0.5}, "entry.delayMinutes": [0, 1, 2]})
    assert space.size is None
    assert [space.dimensions[0].at(share) for share in (0.0, 0.5)] == [0.1, 0.3]
    assert [space.dimensions[1].at(share) for share in (0.0, 0.34, 0.999)] == [0, 1, 2]
    whole = Space.parse({"exit.breakEvenAfter": {"from": 1, "to": 3}}).dimensions[0]
    assert [whole.at(share) for share in (0.0, 0.32, 0.34, 0.999)] == [1, 1, 2, 3]
    with pytest.raises(InvalidConfigError, match=r"exit\.stopLoss: has no end of values"):
        space.grid()


def test_the_grid_is_every_combination():
    space = Space.parse({"exit.stopLoss": [0.1, 0.2], "entry.delayMinutes": [0, 1, 2]})
    assert space.size == 6
    assert list(space.grid())[:4] == [(0.1, 0), (0.1, 1), (0.1, 2), (0.2, 0)]


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "no parameter to vary"),
        ({"exit.stoploss": [0.1]}, "exit.stoploss: is no parameter of a strategy; the nearest is exit.stopLoss"),
        ({"exit.target[0].multiple": [2]}, "the nearest is exit.targets[0].multiple"),
        ({"exit.stopLoss": []}, "has no values"),
        ({"exit.stopLoss": 0.1}, "must be a list of values"),
        ({"exit.stopLoss": {"choice": [0.1], "n": 2}}, "must be a list of values"),
        ({"exit.stopLoss": {"from": 0.5, "to": 0.1, "n": 3}}, "goes nowhere: from 0.5 to 0.1"),
        ({"exit.stopLoss": {"from": 0.1, "to": 0.1, "n": 3}}, "goes nowhere"),
        ({"exit.stopLoss": {"from": 0.1, "to": 0.5, "n": 1}}, "n must be an integer from 2"),
        ({"exit.stopLoss": {"from": 0.1, "to": 0.5, "step": 0}}, "step must be above 0"),
        ({"exit.stopLoss": {"from": 0.1, "to": 0.5, "step": 0.1, "n": 3}}, "set step or n, not both"),
        ({"exit.stopLoss": {"from": 0, "to": 0.5, "n": 3, "scale": "log"}}, "must begin above 0"),
        ({"exit.stopLoss": {"from": 0.1, "to": 0.5, "n": 3, "scale": "cubic"}}, "linear or log"),
        ({"exit.stopLoss": {"from": 0.1, "to": 0.5, "number": 3}}, "a range has no 'number'"),
        ({"exit.stopLoss": {"from": "0.1", "to": 0.5, "n": 3}}, "must be numbers"),
        ({"exit.targets": {"ladder": {"multiples": [2], "fractions": [1.0]}}}, "must be lists"),
        ({"exit.targets": {"ladder": {"multiples": [2], "fractions": [[0.5, 0.5]]}}}, "has no ladder"),
        ({"exit.targets": [[]], "exit.targets[0].multiple": [2]}, "is a part of exit.targets"),
        ({"exit.stopLoss": [float("inf")]}, "must be a finite number"),
    ],
)
def test_what_is_wrong_is_named(space, said):
    assert said in problem_of(space)


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ("exit.stoploss < 1", "the nearest is exit.stopLoss"),
        ("__import__('os').system('true')", "compares nothing"),
        ("exit.stopLoss < __import__('os').getpid()", "no Call"),
        ("exit.stopLoss < (lambda: 1)()", "no Call"),
        ("exit.stopLoss.real < 1", "is no parameter of a strategy"),
        ("exit.stopLoss < 'a'", "compares numbers"),
        ("exit.stopLoss ** 9 < 1", "no BinOp"),
        ("exit.stopLoss", "compares nothing"),
        ("exit.stopLoss <", "is no comparison"),
        ("(" * 999, "is no comparison"),
        ("1 < " * 999, "must be text of at most"),
        ("exit.targets[-1].multiple > 1", "names no path"),
    ],
)
def test_constraints_are_parsed_and_never_run(constraint, said):
    assert said in problem_of({"exit.stopLoss": [0.1]}, constraint)


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        ("exit.targets[0].multiple - 1 > exit.stopLoss", True),
        ("exit.targets[0].multiple - 1 < exit.stopLoss", False),
        ("0.1 <= exit.stopLoss <= 0.3 and not exit.stopLoss == 0.2", True),
        ("exit.stopLoss > 1 or -exit.stopLoss < 0", True),
        ("exit.maxHoldMinutes > 1e9", True),
        ("exit.stopLoss / (exit.stopLoss - 0.3) > 0", False),
    ],
)
def test_constraints_compare_numbers_and_hold_where_one_is_not_set(constraint, holds):
    assert Space.parse({"exit.stopLoss": [0.1]}, [constraint]).constraints[0].holds(BASE) is holds


def test_values_are_put_in_their_places_and_the_base_stays_as_it_is():
    space = Space.parse(
        {"exit.targets[1].multiple": [4], "exit.trailing.distance": [0.2], "exit.trailing.activation": [1.2]}
    )
    document = space.document(BASE, (4, 0.2, 1.2))
    assert [one["multiple"] for one in document["exit"]["targets"]] == [1.5, 4]
    assert document["exit"]["trailing"] == {"distance": 0.2, "activation": 1.2}
    assert BASE["exit"]["targets"][1]["multiple"] == 2.0
    assert BASE["exit"]["trailing"] is None


def test_a_place_that_is_not_there_is_named():
    space = Space.parse({"exit.targets[2].multiple": [4]})
    with pytest.raises(InvalidConfigError, match=r"exit\.targets\[2\]\.multiple: there are 2 of them"):
        space.document(BASE, (4,))


def test_every_block_and_field_of_a_strategy_has_a_path():
    assert {"entry", "entry.delayMinutes", "exit.targets[].fraction", "exit.stopLoss.atr.k"} <= known_paths()
    assert {"costs.impact.maxShare", "filters[].in", "portfolio.sizing.amount"} <= known_paths()
