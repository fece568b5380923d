import math
import re
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from lab_pipeline.statistics.selection.cells import Minimum
from lab_pipeline.statistics.selection.selecting import Evidence, Validation, assess, choose
from lab_pipeline.statistics.selection.verdict import RULES, Part, judge
from lab_pipeline_tests.statistics.selection.worlds import QUICK, World, some_cells, swept

PASSING = {
    Part.DSR: 0.95,
    Part.PBO: 0.2,
    Part.SPA: 0.05,
    Part.PLACEBO: 0.05,
    Part.OUT_OF_SAMPLE: 0.001,
    Part.PLATEAU: 0.5,
    Part.LANES: 0.001,
}
FAILING = {
    Part.DSR: 0.949,
    Part.PBO: 0.201,
    Part.SPA: 0.051,
    Part.PLACEBO: 0.051,
    Part.OUT_OF_SAMPLE: 0.0,
    Part.PLATEAU: 0.49,
    Part.LANES: 0.0,
}


def test_a_winner_that_passes_everything_is_supported():
    verdict = judge(PASSING)
    assert verdict.supported
    assert verdict.words == "supported"
    assert (verdict.failed, verdict.unsaid) == ((), ())


@pytest.mark.parametrize("part", Part)
def test_a_single_failure_is_named(part):
    verdict = judge(PASSING | {part: FAILING[part]})
    assert not verdict.supported
    assert verdict.failed == (part,)
    assert verdict.words == (
        f"not supported: {RULES[part].title} {FAILING[part]:.3g}, wanted {RULES[part].wanted}: {RULES[part].doubt}"
    )


@pytest.mark.parametrize("part", Part)
def test_what_is_no_number_fails(part):
    verdict = judge(PASSING | {part: math.nan})
    assert verdict.failed == (part,)
    assert "does not exist" in verdict.words


@pytest.mark.parametrize("part", Part)
def test_what_could_not_be_said_supports_nothing(part):
    verdict = judge(PASSING | {part: "it needs 16 days, there are 9"})
    assert not verdict.supported
    assert (verdict.failed, verdict.unsaid) == ((), (part,))
    assert verdict.words == f"not supported: {RULES[part].title}: not said, it needs 16 days, there are 9"


def test_a_verdict_needs_every_part():
    with pytest.raises(ValueError, match="every part"):
        judge({Part.DSR: 1.0})


def test_few_days_leave_parts_unsaid_and_say_how_many_are_needed():
    cells = some_cells(days=9, idle=0.0)
    told = assess(cells, choose(cells, minimum=Minimum(trades=5, days=3, callers=0)), validation=QUICK)
    assert told.verdict.unsaid == (
        Part.PBO,
        Part.SPA,
        Part.PLACEBO,
        Part.OUT_OF_SAMPLE,
        Part.PLATEAU,
        Part.LANES,
    )
    for words in (
        "probability of overfitting: not said, it needs 16 days, there are 9",
        "superior ability, p: not said, it needs 10 days, there are 9",
        "mean net return out of sample: not said, it needs 31 days, there are 9",
        "placebo, p: not said, no placebo was simulated",
    ):
        assert words in told.verdict.words
    assert (told.overfitting, told.superiority, told.walk, told.paths) == (None, None, None, None)


def test_sixteen_days_are_enough_for_halves_and_two_for_nothing():
    cells = some_cells(days=16, idle=0.0)
    anything = Minimum(trades=1, days=1, callers=0)
    told = assess(cells, choose(cells, minimum=anything), validation=QUICK)
    assert Part.PBO not in told.verdict.unsaid
    two = cells.within(np.arange(16) < 2)
    told = assess(two, choose(two, minimum=anything), validation=QUICK)
    assert told.verdict.unsaid == tuple(Part)
    assert told.deflation is None


def test_where_no_set_may_win_nothing_is_said_of_any():
    cells = some_cells()
    told = assess(cells, choose(cells, minimum=Minimum(trades=10_000)))
    assert not told.verdict.supported
    assert told.verdict.words == "not supported: no set has enough trades, days and callers to win"


def test_a_winner_without_rivals_has_no_halves():
    cells = some_cells(sets=1)
    told = assess(cells, choose(cells, minimum=Minimum(callers=0)), validation=QUICK)
    assert "only one set has enough trades" in told.verdict.words


def test_a_winner_that_never_varies_has_no_sharpe_ratio():
    cells = some_cells(sets=3)
    sure = type(cells).of(cells.days, np.ones((3, 40)), np.full((3, 40), 0.1))
    told = assess(sure, choose(sure, minimum=Minimum(callers=0)), validation=QUICK)
    assert "day returns do not vary" in told.verdict.words
    assert Part.SPA in told.verdict.failed


def test_sets_are_told_by_their_place_among_all():
    """Though only those that could have won are ranked and tested."""
    good = World(edge=0.2).draw(2)
    idle = np.zeros((7, 120))
    cells = type(good).of(good.days, np.vstack([idle, good.trades]), np.vstack([idle, good.net]))
    told, alone = (
        assess(some, choose(some), validation=Validation(cscv_blocks=2, resamples=200), seed=1)
        for some in (cells, good)
    )
    assert told.choice.winner == alone.choice.winner + 7
    np.testing.assert_array_equal(told.overfitting.chosen, alone.overfitting.chosen + 7)
    assert len(alone.superiority.superior)
    np.testing.assert_array_equal(told.superiority.superior, alone.superiority.superior + 7)


def test_callers_decide_in_every_fold():
    cells = World(edge=0.2).draw(2)
    callers = np.where(np.arange(500) == choose(cells).winner, 2, 3)
    choice = choose(cells, callers=callers)
    told = assess(cells, choice, validation=Validation(cscv_blocks=2, resamples=50))
    assert choice.winner != choose(cells).winner
    assert choose(cells).winner not in {fold.chosen for fold in told.walk.folds} | set(told.paths.chosen)


def test_earlier_tries_count():
    cells = World(edge=0.1).draw(3)
    choice = choose(cells)
    alone, among = (
        assess(cells, choice, Evidence(trials=trials), Validation(cscv_blocks=2, resamples=50))
        for trials in (0, 1_000_000)
    )
    assert (alone.trials, among.trials) == (500, 1_000_000)
    assert alone.deflation.luck < among.deflation.luck
    assert alone.deflation.dsr > among.deflation.dsr
    assert among.effective_trials == pytest.approx(alone.effective_trials * 2000)
    assert 1 < alone.effective_trials < 119
    assert among.deflation.dsr < among.deflation.dsr_effective


def test_the_interval_is_the_widest_of_days_and_callers():
    cells = World(edge=0.1).draw(3)
    choice = choose(cells)
    few = Evidence(caller_trades=np.array([200.0, 200.0, 200.0]), caller_net=np.array([-40.0, 10.0, 130.0]))
    quick = Validation(cscv_blocks=2, resamples=200)
    days, both = (assess(cells, choice, evidence, quick).interval for evidence in (Evidence(), few))
    assert both[0] < days[0]
    assert both[1] > days[1]


def test_a_strategy_that_is_traded_already_is_a_second_benchmark():
    cells = World(edge=0.2).draw(2)
    choice = choose(cells)
    told = assess(cells, choice, Evidence(current=cells.net[choice.winner]), Validation(cscv_blocks=2, resamples=200))
    assert told.superiority.consistent < 0.05 < told.superiority_to_current.consistent


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_seed_says_the_same_on_any_number_of_cores(threads):
    world = World(days=64)
    first = swept(world, 1, placebos=3)
    with threadpool_limits(threads):
        second = swept(world, 1, placebos=3)
    assert first.verdict.words == second.verdict.words
    assert (first.interval, first.effective_trials) == (second.interval, second.effective_trials)
    assert first.overfitting.in_sample.tobytes() == second.overfitting.in_sample.tobytes()
    assert first.paths.net.tobytes() == second.paths.net.tobytes()


def test_the_documentation_names_every_part_and_its_bound():
    page = (Path(__file__).parents[3] / "docs" / "selection.md").read_text()
    told = dict(re.findall(r"(?m)^\| `(\w+)` \| .* \| (.*) \|$", page))
    assert told == {part.value: RULES[part].wanted for part in Part}
