"""Numbers over runs that assume different things of their fills say so, and can be asked of one kind alone."""

import json

import pytest

from lab_pipeline.domain.fill_assumptions import fill_assumptions
from lab_pipeline.statistics import (
    Board,
    Filters,
    GroupBy,
    Method,
    Metric,
    correlation,
    distribution,
    leaderboard,
    overview,
    pnl,
    refresh,
)
from lab_pipeline_tests.statistics.chance import add_some, from_nothing, some_calls
from lab_pipeline_tests.support.world import CAPITAL, Call, World, rows_of

HONEST = {"exit": {"stopLoss": 0.2}}
LEVEL = {"exit": {"stopLoss": 0.2, "stopFill": {"through": 0}}}
AT_LEVEL = fill_assumptions(LEVEL).id
HALF = fill_assumptions({"exit": {"stopFill": {"through": 0.5}}}).id


@pytest.fixture
def mixed(world):
    """Two honest runs and one whose stops fill at their level, of one version of a strategy."""
    calls = [Call("c1", "ann", "A", (-0.4,)), Call("c2", "ben", "B", (0.2,))]
    world.add(calls, config=HONEST, total_return=-0.1)
    world.add(calls[:1], config=HONEST, total_return=-0.3)
    world.add([Call("c1", "ann", "A", (-0.125,))], config=LEVEL, total_return=0.5, closes=[CAPITAL, CAPITAL * 1.5])
    refresh(world.statistics, world.runs)
    return world.statistics


def every_answer(statistics, fills=None):
    yield overview(statistics, fills=fills).body
    yield pnl(statistics, GroupBy.CALLER, fills=fills)[0].body
    yield distribution(statistics, fills=fills).body
    yield correlation(statistics, fills=fills).body
    for board in Board:
        yield leaderboard(statistics, board, filters=Filters(fills=fills))[0].body


def test_every_answer_says_what_is_assumed_and_that_it_is_mixed(mixed):
    for body in every_answer(mixed):
        assert [(one["fills"], one["runs"]) for one in body["fillAssumptions"]] == [(HALF, 2), (AT_LEVEL, 1)]
        assert "2 different fill assumptions" in body["fillsNote"]


def test_of_one_kind_no_answer_is_mixed(mixed):
    for body in every_answer(mixed, HALF):
        assert [(one["fills"], one["runs"]) for one in body["fillAssumptions"]] == [(HALF, 2)]
        assert body["fillsNote"] is None
    for body in every_answer(mixed, "0" * 12):
        assert (body["fillAssumptions"], body["fillsNote"]) == ([], None)


def test_a_strategy_has_a_row_for_each_kind(mixed):
    rows = leaderboard(mixed, Board.STRATEGIES)[0].body["leaderboard"]
    assert [(row["fills"], row["runs"], row["totalReturn"]) for row in rows] == [(AT_LEVEL, 1, 0.5), (HALF, 2, -0.2)]
    assert rows[0]["fillAssumptions"] == "stops at their level, stop first, no costs"


def test_groups_and_callers_with_runs_of_several_kinds_have_none(mixed):
    groups = {row["key"]: row["fills"] for row in pnl(mixed, GroupBy.CALLER)[0].body["groups"]}
    callers = {row["caller"]: row["fills"] for row in leaderboard(mixed, Board.CALLERS)[0].body["leaderboard"]}
    assert groups == callers == {"ann": None, "ben": HALF}
    rows = leaderboard(mixed, Board.CALLERS, filters=Filters(fills=AT_LEVEL))[0].body["leaderboard"]
    assert [(row["caller"], row["fills"], row["meanReturn"]) for row in rows] == [("ann", AT_LEVEL, -0.125)]


def test_numbers_of_one_kind_are_those_of_a_lab_without_the_others(world, tmp_path):
    for number in range(6):
        closes = [CAPITAL * (1 + 0.01 * number * day) for day in range(1, 6)]
        world.add(some_calls(), config=(HONEST, LEVEL)[number % 2], closes=closes, strategy=f"s{number % 3}")
    refresh(world.statistics, world.runs)
    alone = World(tmp_path / "alone", runs=world.runs[::2])
    alone.home.mkdir()
    (alone.home / "artifacts").symlink_to(world.home / "artifacts")
    refresh(alone.statistics, alone.runs)
    for some, whole in zip(every_answer(world.statistics, HALF), every_answer(alone.statistics), strict=True):
        assert {**some, "computedAt": None} == {**whole, "computedAt": None}
    for group in GroupBy:
        some, whole = (pnl(one, group, fills=HALF)[0].body for one in (world.statistics, alone.statistics))
        assert some["groups"] == whole["groups"]
    for metric in Metric:
        some = distribution(world.statistics, metric, fills=HALF).body["distributions"]
        assert some == distribution(alone.statistics, metric).body["distributions"]
    some = correlation(world.statistics, Method.SPEARMAN, fills=HALF).body["correlations"]
    assert some == correlation(alone.statistics, Method.SPEARMAN).body["correlations"]


def test_runs_that_come_and_go_leave_the_labels_of_a_computation_from_nothing(world, tmp_path):
    for _ in range(2):
        add_some(world)
        world.add(some_calls(), config=LEVEL, strategy="s1")
        refresh(world.statistics, world.runs)
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)
    for run in [run for run in world.runs if run.strategy_id == "s1"]:
        world.forget(run.run_id)
    refresh(world.statistics, world.runs)
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)
    assert len(overview(world.statistics).body["fillAssumptions"]) == 1


def test_a_run_from_before_there_was_a_choice_is_counted_as_what_it_did(world):
    run_id = world.add([Call("c1", "ann", "A", (-0.4,))], config=HONEST)
    path = world.home / "artifacts" / run_id / "manifest.json"
    document = json.loads(path.read_text())
    strategy = document["spec"]["strategy"]
    del strategy["exit"]["stopFill"], strategy["endOfData"], strategy["finerTimeframe"], strategy["costs"]["impact"]
    path.write_text(json.dumps(document))
    refresh(world.statistics, world.runs)
    (row,) = leaderboard(world.statistics, Board.RUNS)[0].body["leaderboard"]
    assert row["fills"] == AT_LEVEL
    manifest = world.artifacts.manifest(run_id)
    assert manifest.fill_assumptions.id == AT_LEVEL
    assert manifest.spec.strategy.exit.stop_fill.through == 0
